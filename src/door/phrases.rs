//! Owns the list of phrases that a language must have for the choices page and the privacy notice.
//!
//! Promises: a language that lacks a phrase does not compile. Placeholders stand in braces: `{name}` the
//! site's name, `{country}` a code, `{interactions}`, `{trends}` and `{people}` terms, `{contact}`, `{number}`,
//! `{choices}`, `{optout}`. Never holds HTML.

macro_rules! phrases {
    ($($(#[$doc:meta])* $phrase:ident),+ $(,)?) => {
        /// All phrases in one language. A phrase that ends in no mark is an item of a list.
        pub struct Phrases {
            pub days: Forms,
            pub years: Forms,
            $($(#[$doc])* pub $phrase: &'static str),+
        }

        #[cfg(test)]
        impl Phrases {
            /// Every phrase with its name.
            pub fn all(&self) -> Vec<(&'static str, &'static str)> {
                vec![$((stringify!($phrase), self.$phrase)),+]
            }
        }
    };
}

phrases! {
    title, heading, intro, languages, all_heading, all_intro,

    // What was chosen, and what follows from it right now.
    choice_heading, state_none, state_granted, state_denied, state_opted_out, state_opted_out_all, saved, unsaved,
    now_opt_out, now_statistics, now_count, now_nothing, now_dnt, now_gpc, now_child,
    /// A choice holds where the browser passes it on; followed by a link to the limits.
    reach,
    /// Where the site's contract believes a consent given on its own pages.
    elsewhere_both,
    /// Where it does not: a refusal counts all the same.
    elsewhere_refusal,
    agree, refuse, withdraw, opt_out, opt_out_all, take_back, agree_means, opt_out_means,

    // 11 CCR §7025(c)(6) (CCPA): show that an opt-out signal was honoured.
    signals_heading, gpc_seen, gpc_seen_refuses, gpc_absent, dnt_honoured, dnt_unused,

    recorded_heading, recorded_intro, rec_page, rec_from, rec_clicks, rec_time, rec_when, rec_browser, rec_screen, rec_place,
    rec_own, rec_visit, rec_number_cookie, rec_number_daily, rec_basis, rec_number_none, rec_personal, rec_share, not_recorded,

    basis_heading, place_known, place_unknown, here_opt_in, here_opt_out, basis_general, contract_opt_in, contract_gb, contract_count,

    term_heading,
    /// The one place that says how long rows and trends are kept.
    retention,
    term_cookie, term_choice, term_personal,

    limits_heading, limits_clearing, limits_third_party, children,

    rights_heading, rights, rights_contact, rights_term, rights_authority, number_shown, number_unseen, number_impossible, policy_link,

    notice_heading, notice_intro, notice_choices, notice_gpc, notice_dnt,
    country_source,
}

/// The forms of a counted noun, `{n}` before or in them: one; two to four where a language tells them
/// apart; all others (CLDR plural rules, for whole numbers).
pub struct Forms {
    pub one: &'static str,
    pub few: &'static str,
    pub many: &'static str,
}

impl Forms {
    /// `{n}` in the form that `count` asks for.
    pub fn of(&self, count: i64) -> String {
        let form = match (count, count % 10, count % 100) {
            (1, _, _) => self.one,
            (_, _, 12..=14) => self.many,
            (_, 2..=4, _) => self.few,
            (_, _, _) => self.many,
        };
        form.replace("{n}", &count.to_string())
    }
}
