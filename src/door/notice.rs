//! Owns `docs/privacy-policy-snippet.md`: what a client may put into the privacy policy of its pages, in
//! every language of the choices page and in the same phrases, so that the two cannot differ.
//!
//! Promises: every contract that a site may have is covered, each sentence under the setting that makes it
//! true. Not legal advice.

use super::choices_page::{contract, items};
use super::language::{Language, fill};
use crate::hit::site::Site;
use std::fmt::Write as _;

/// The document; `site` has the default of every setting, and its name and contact are placeholders.
pub fn document(site: &Site) -> String {
    let mut text = String::from(INTRODUCTION);
    for language in Language::ALL {
        let words = language.phrases();
        let code = language.code();
        let [interactions, trends, people] = [site.interactions_keep_seconds, site.trends_keep_seconds, site.people_keep_seconds].map(|seconds| language.term(seconds));
        let say_between = |phrases: &[&str], between: &str| {
            fill(&phrases.join(between), &[
                ("name", &site.name),
                ("contact", &site.contact),
                ("interactions", &interactions),
                ("trends", &trends),
                ("people", &people),
                ("choices", &format!("<https://COLLECTOR/choices?s=KEY&lang={code}>")),
                ("optout", &format!("<https://COLLECTOR/optout?s=KEY&lang={code}>")),
            ])
        };
        let say = |phrases: &[&str]| say_between(phrases, " ");
        let _ = write!(text, "\n## {} ({code})\n\n### {}\n\n", language.own_name(), words.notice_heading);
        let _ = write!(text, "{}\n\n", say(&[words.notice_intro, words.recorded_intro]));
        for item in items(site, words) {
            let _ = writeln!(text, "- {}", say(&[item]));
        }
        for phrases in [
            &[words.not_recorded][..],
            &contract(site, words),
            &[words.retention, words.term_cookie, words.term_choice],
            &[words.notice_choices, words.limits_clearing, words.limits_third_party],
            &[words.notice_gpc, words.notice_dnt, words.children],
            &[words.rights, words.rights_term, words.rights_authority],
            &[words.rights_contact],
        ] {
            let _ = write!(text, "\n{}\n", say(phrases));
        }
        text.push_str("\nWhere a setting differs:\n\n| setting | in place of | write |\n|---|---|---|\n");
        for (setting, old, new) in [
            ("identity = \"daily\"", &[words.rec_number_cookie, words.term_cookie][..], &[words.rec_number_daily][..]),
            ("identity = \"none\"", &[words.rec_number_cookie, words.rec_visit, words.term_cookie], &[words.rec_number_none]),
            ("consent = \"opt-in\"", &[words.basis_general], &[words.contract_opt_in]),
            ("gb_statistics = true", &[], &[words.contract_gb]),
            ("without_consent = \"count\"", &[], &[words.contract_count]),
            ("gpc = \"refuse\"", &[], &[words.gpc_seen_refuses]),
            ("honour_dnt = false", &[words.notice_dnt], &[]),
            ("share = true", &[], &[words.rec_share]),
            ("personal_information = true", &[], &[words.rec_personal, words.term_personal]),
            ("child_directed = true", &[words.recorded_intro], &[words.now_child]),
        ] {
            let _ = writeln!(text, "| `{setting}` | {} | {} |", say_between(old, "<br>"), say_between(new, "<br>"));
        }
    }
    text
}

const INTRODUCTION: &str = "# For a client's privacy policy\n\n\
    Generated from `src/door/words`, the phrases of the choices page. Replace CLIENT, CONTACT, KEY (the site's key) and COLLECTOR \
    (the host of the public port); the terms are those of the default settings, so write your own where \
    `interactions_keep`, `trends_keep` and `people_keep` differ. The choices page of a site (`/choices?s=KEY`) always says what that \
    site's settings say. Have your own lawyer read it: this is what the program does, and no legal advice.\n";
