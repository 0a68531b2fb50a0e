//! Owns what the choices pages look like: what is recorded, on which basis, for how long, and the forms.
//!
//! Knows WCAG 2.2 AA, and 11 CCR §7025(c)(6) (an opt-out signal is shown as honoured). Promises: says of a
//! site what its contract says and what `rules::ruling` decides, nothing else; works without a script; every
//! value from outside is escaped; to agree and to refuse look alike. Sets nothing and decides nothing.

use super::language::{Language, fill};
use super::phrases::Phrases;
use super::respond::escape;
use crate::hit::field::{ConsentMode, GpcMode, Id, IdentityMode, LegalBasis, Regime, WithoutConsent};
use crate::hit::outcome::Reason;
use crate::hit::raw::HeaderSignals;
use crate::hit::site::Site;
use crate::rules::place::Place;
use crate::rules::regime::Law;
use crate::rules::ruling::{Grounds, Ruling};
use std::fmt::Write as _;

/// What the visitor's cookies say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    None,
    Granted,
    Denied,
    OptedOut,
    /// Of every site of this collector.
    OptedOutEverywhere,
}

impl Choice {
    /// As pages and addresses write it: `none`, `granted`, `denied`, `opted_out`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Granted => "granted",
            Self::Denied => "denied",
            Self::OptedOut | Self::OptedOutEverywhere => "opted_out",
        }
    }

    const fn is_opt_out(self) -> bool {
        matches!(self, Self::OptedOut | Self::OptedOutEverywhere)
    }
}

/// A visitor before the page of a site.
pub struct View<'a> {
    pub site: &'a Site,
    pub speech: Speech<'a>,
    pub choice: Choice,
    pub signals: HeaderSignals,
    pub place: Place,
    /// What would become of a visit of theirs right now, as far as is known here.
    pub ruling: Ruling,
    /// The id in their cookie.
    pub visitor: Option<Id>,
}

/// How a page is spoken, and what it answers to.
pub struct Speech<'a> {
    pub language: Language,
    /// Chosen by hand: the forms and their answers keep it.
    pub is_chosen: bool,
    pub token: Id,
    /// The choice that was just made; the cookies may say otherwise.
    pub wanted: Option<&'a str>,
}

/// The page of a site.
pub fn of_site(view: &View<'_>) -> String {
    let (site, words) = (view.site, view.speech.language.phrases());
    let values = Values::of(view);
    let say = |phrase| values.fill(phrase);
    let mut html = head(&say(words.title), &view.speech, Some(site));
    let _ = write!(html, "<h1>{}</h1><p class=lead>{}</p>", say(words.heading), say(words.intro));

    let _ = write!(html, "<section class=choice aria-labelledby=choice><h2 id=choice>{}</h2>", words.choice_heading);
    status(&mut html, view, &values);
    forms(&mut html, view, &values);
    html.push_str("</section>");

    let sections = [
        ("signals", words.signals_heading, paragraphs(&signals(view), &values)),
        ("recorded", words.recorded_heading, recorded(view, &values)),
        ("basis", words.basis_heading, paragraphs(&basis(view), &values)),
        ("term", words.term_heading, paragraphs(&terms(view), &values)),
        ("limits", words.limits_heading, paragraphs(&[words.limits_clearing, words.limits_third_party], &values)),
        ("rights", words.rights_heading, rights(view, &values)),
    ];
    for (id, heading, body) in sections {
        let _ = write!(html, "<section aria-labelledby={id}><h2 id={id}>{heading}</h2>{body}</section>");
    }
    foot(&mut html, words);
    html
}

/// The page of all sites at once: only refused or not.
pub fn of_all(speech: &Speech<'_>, choice: Choice) -> String {
    let words = speech.language.phrases();
    let mut html = head(words.all_heading, speech, None);
    let _ = write!(html, "<h1>{}</h1><p class=lead>{}</p>", words.all_heading, words.all_intro);
    let _ = write!(html, "<section class=choice aria-labelledby=choice><h2 id=choice>{}</h2><div role=status>", words.choice_heading);
    saved(&mut html, speech, choice);
    let (state, form) = if choice.is_opt_out() {
        (words.state_opted_out_all, form(speech, None, "/optin", None, words.take_back))
    } else {
        (words.state_none, form(speech, None, "/optout", None, words.opt_out_all))
    };
    let _ = write!(html, "<p class=state>{state}</p></div><div class=forms>{form}</div><p>{}</p>", words.opt_out_means);
    let _ = write!(html, "<p>{} <a href=\"#limits\">{}</a></p></section>", words.reach, words.limits_heading);
    let _ = write!(html, "<section aria-labelledby=limits><h2 id=limits>{}</h2>", words.limits_heading);
    let _ = write!(html, "<p>{}</p><p>{}</p></section>", words.limits_clearing, words.limits_third_party);
    foot(&mut html, words);
    html
}

/// The values of a site's phrases, fit for HTML.
struct Values {
    name: String,
    country: String,
    interactions: String,
    trends: String,
    people: String,
    contact: String,
    number: String,
}

impl Values {
    fn of(view: &View<'_>) -> Self {
        let (site, language) = (view.site, view.speech.language);
        Self {
            name: escape(&site.name),
            country: view.place.country.as_ref().map(|country| escape(country.code())).unwrap_or_default(),
            interactions: language.term(site.interactions_keep_seconds),
            trends: language.term(site.trends_keep_seconds),
            people: language.term(site.people_keep_seconds),
            contact: contact(&site.contact),
            number: view.visitor.map(|visitor| format!("<code>{visitor}</code>")).unwrap_or_default(),
        }
    }

    fn fill(&self, phrase: &str) -> String {
        fill(phrase, &[
            ("name", &self.name),
            ("country", &self.country),
            ("interactions", &self.interactions),
            ("trends", &self.trends),
            ("people", &self.people),
            ("contact", &self.contact),
            ("number", &self.number),
        ])
    }
}

fn paragraphs(phrases: &[&str], values: &Values) -> String {
    phrases.iter().map(|phrase| format!("<p>{}</p>", values.fill(phrase))).collect()
}

/// What was chosen, and what follows from it where it does not follow by itself.
fn status(html: &mut String, view: &View<'_>, values: &Values) {
    let words = view.speech.language.phrases();
    html.push_str("<div role=status>");
    if view.site.child_directed {
        let _ = write!(html, "<p class=state>{}</p></div>", values.fill(words.now_child));
        return;
    }
    saved(html, &view.speech, view.choice);
    let state = match view.choice {
        Choice::None => words.state_none,
        Choice::Granted => words.state_granted,
        Choice::Denied => words.state_denied,
        Choice::OptedOut => words.state_opted_out,
        Choice::OptedOutEverywhere => words.state_opted_out_all,
    };
    let _ = write!(html, "<p class=state>{}</p>", values.fill(state));
    if let Some(now) = now(view) {
        let _ = write!(html, "<p>{}</p>", values.fill(now));
    }
    html.push_str("</div>");
}

fn now(view: &View<'_>) -> Option<&'static str> {
    let words = view.speech.language.phrases();
    let is_british = view.place.law == Law::OptInButStatistics;
    match view.ruling {
        Ruling::Keep(Grounds { basis, .. }) => match basis {
            LegalBasis::Consent => None,
            LegalBasis::OptOutRegime | LegalBasis::Contract => Some(if is_british { words.now_statistics } else { words.now_opt_out }),
            LegalBasis::Count => Some(words.now_count),
        },
        Ruling::Refuse(reason) => match reason {
            Reason::Dnt => Some(words.now_dnt),
            Reason::Gpc => Some(words.now_gpc),
            Reason::NoConsent if view.choice != Choice::Denied => Some(words.now_nothing),
            // Said by the choice itself, or no matter of the visitor's.
            Reason::NoConsent
            | Reason::OptedOut
            | Reason::Child
            | Reason::UnknownSite
            | Reason::BadRequest
            | Reason::Prefetch
            | Reason::ErasedSubject
            | Reason::RestrictedSubject
            | Reason::WrongOrigin
            | Reason::OverQuota
            | Reason::TooOld
            | Reason::ConsentString => None,
        },
    }
}

/// Whether a choice that was just made is in the cookies.
fn saved(html: &mut String, speech: &Speech<'_>, choice: Choice) {
    let Some(wanted) = speech.wanted else { return };
    let words = speech.language.phrases();
    let is_saved = if wanted == Choice::None.name() {
        // An opt-out was taken back.
        !choice.is_opt_out()
    } else {
        // An opt-out is at least as much as a refusal.
        wanted == choice.name() || (wanted == Choice::Denied.name() && choice.is_opt_out())
    };
    let (class, word) = if is_saved { ("saved", words.saved) } else { ("unsaved", words.unsaved) };
    let _ = write!(html, "<p class={class}>{word}</p>");
}

fn forms(html: &mut String, view: &View<'_>, values: &Values) {
    if view.site.child_directed {
        return;
    }
    let (speech, words) = (&view.speech, view.speech.language.phrases());
    let form = |path, choice, label| form(speech, Some(view.site), path, choice, label);
    let agree = || form("/consent", Some(Choice::Granted), words.agree);
    let forms = match view.choice {
        Choice::OptedOut | Choice::OptedOutEverywhere => vec![form("/optin", None, words.take_back)],
        Choice::None => vec![agree(), form("/consent", Some(Choice::Denied), words.refuse)],
        Choice::Granted => vec![form("/consent", Some(Choice::Denied), words.withdraw)],
        Choice::Denied => vec![agree()],
    };
    let _ = write!(html, "<div class=forms>{}</div>", forms.concat());
    if !view.choice.is_opt_out() {
        let everywhere = self::form(speech, None, "/optout", None, words.opt_out_all);
        let _ = write!(html, "<p>{}</p><div class=forms>{}{everywhere}</div>", values.fill(words.agree_means), form("/optout", None, words.opt_out));
        let _ = write!(html, "<p>{}</p>", words.opt_out_means);
    }
    let elsewhere = if view.site.relayed_consent || view.site.tcf_vendor_id > 0 { words.elsewhere_both } else { words.elsewhere_refusal };
    let _ = write!(html, "<p>{} <a href=\"#limits\">{}</a></p><p>{}</p>", words.reach, words.limits_heading, values.fill(elsewhere));
}

fn form(speech: &Speech<'_>, site: Option<&Site>, path: &str, choice: Option<Choice>, label: &str) -> String {
    let mut form = format!("<form method=post action={path}>");
    let mut field = |name: &str, value: &str| {
        let _ = write!(form, "<input type=hidden name={name} value=\"{}\">", escape(value));
    };
    if let Some(site) = site {
        field("s", site.key.as_str());
    }
    if let Some(choice) = choice {
        field("choice", choice.name());
    }
    if speech.is_chosen {
        field("lang", speech.language.code());
    }
    // To opt out needs none.
    if path != "/optout" {
        field("token", &speech.token.to_string());
    }
    let _ = write!(form, "<button>{label}</button></form>");
    form
}

fn signals(view: &View<'_>) -> Vec<&'static str> {
    let words = view.speech.language.phrases();
    let mut lines = vec![if view.signals.gpc { words.gpc_seen } else { words.gpc_absent }];
    if view.signals.gpc && view.site.gpc == GpcMode::Refuse {
        lines.push(words.gpc_seen_refuses);
    }
    if view.signals.dnt {
        lines.push(if view.site.honour_dnt { words.dnt_honoured } else { words.dnt_unused });
    }
    lines
}

/// The columns of a row, in words (`lake::columns`).
fn recorded(view: &View<'_>, values: &Values) -> String {
    let words = view.speech.language.phrases();
    let mut html = format!("<p>{}</p><ul>", words.recorded_intro);
    for item in items(view.site, words) {
        let _ = write!(html, "<li>{}</li>", values.fill(item));
    }
    html.push_str("</ul>");
    let mut more = Vec::new();
    if view.site.identity == IdentityMode::None {
        more.push(words.rec_number_none);
    }
    if view.site.personal_information {
        more.push(words.rec_personal);
    }
    if view.site.share {
        more.push(words.rec_share);
    }
    more.extend([words.not_recorded, words.children]);
    html.push_str(&paragraphs(&more, values));
    html
}

/// What is kept of an interaction of this site.
pub fn items(site: &Site, words: &Phrases) -> Vec<&'static str> {
    let mut items = vec![
        words.rec_page,
        words.rec_from,
        words.rec_clicks,
        words.rec_time,
        words.rec_when,
        words.rec_browser,
        words.rec_screen,
        words.rec_place,
        words.rec_own,
    ];
    match site.identity {
        IdentityMode::Cookie => items.extend([words.rec_number_cookie, words.rec_visit]),
        IdentityMode::Daily => items.extend([words.rec_number_daily, words.rec_visit]),
        IdentityMode::None => {}
    }
    items.push(words.rec_basis);
    items
}

/// What the law of the visitor's place asks, then the law in general, then the site's contract.
fn basis(view: &View<'_>) -> Vec<&'static str> {
    let (site, words) = (view.site, view.speech.language.phrases());
    let mut lines = Vec::new();
    if site.consent == ConsentMode::ByRegion {
        match (view.place.country, view.place.law.regime(site.gb_statistics)) {
            (None, _) => lines.push(words.place_unknown),
            (Some(_), Regime::OptIn) => lines.extend([words.place_known, words.here_opt_in]),
            (Some(_), Regime::OptOut) => lines.extend([words.place_known, words.here_opt_out]),
        }
    }
    lines.extend(contract(site, words));
    lines
}

/// The law in general, as this site's contract has it applied.
pub fn contract(site: &Site, words: &Phrases) -> Vec<&'static str> {
    let mut lines = match site.consent {
        ConsentMode::OptIn => vec![words.contract_opt_in],
        ConsentMode::ByRegion if site.gb_statistics => vec![words.basis_general, words.contract_gb],
        ConsentMode::ByRegion => vec![words.basis_general],
    };
    if site.without_consent == WithoutConsent::Count {
        lines.push(words.contract_count);
    }
    lines
}

fn terms(view: &View<'_>) -> Vec<&'static str> {
    let words = view.speech.language.phrases();
    let mut lines = vec![words.retention];
    if view.site.identity == IdentityMode::Cookie {
        lines.push(words.term_cookie);
    }
    lines.push(words.term_choice);
    if view.site.personal_information {
        lines.push(words.term_personal);
    }
    lines
}

fn rights(view: &View<'_>, values: &Values) -> String {
    let (site, words) = (view.site, view.speech.language.phrases());
    let mut lines = vec![words.rights, words.rights_term];
    if !site.contact.is_empty() {
        lines.push(words.rights_contact);
    }
    lines.push(match (site.identity, view.visitor) {
        (_, Some(_)) => words.number_shown,
        (IdentityMode::Cookie, None) => words.number_unseen,
        (IdentityMode::Daily | IdentityMode::None, None) => words.number_impossible,
    });
    lines.push(words.rights_authority);
    let mut html = paragraphs(&lines, values);
    if !site.privacy_policy.is_empty() {
        let _ = write!(html, "<p><a href=\"{}\">{}</a></p>", escape(&site.privacy_policy), values.fill(words.policy_link));
    }
    html
}

/// A link, where the contact is an address of the web or of e-mail.
fn contact(written: &str) -> String {
    let shown = escape(written);
    let is_mail = written.matches('@').count() == 1 && written.chars().all(|c| c.is_ascii_alphanumeric() || "@.-_+".contains(c));
    if written.starts_with("https://") || written.starts_with("http://") {
        format!("<a href=\"{shown}\">{shown}</a>")
    } else if is_mail {
        format!("<a href=\"mailto:{shown}\">{shown}</a>")
    } else {
        shown
    }
}

fn head(title: &str, speech: &Speech<'_>, site: Option<&Site>) -> String {
    let code = speech.language.code();
    let mut html = format!("<!doctype html><html lang={code}><head>{HEAD}<title>{title}</title></head><body>");
    let _ = write!(html, "<header><nav aria-label=\"{}\"><ul>", speech.language.phrases().languages);
    let of_site = site.map(|site| format!("s={}&amp;", site.key)).unwrap_or_default();
    for language in Language::ALL {
        let (code, name) = (language.code(), language.own_name());
        let current = if language == speech.language { " aria-current=true" } else { "" };
        let _ = write!(html, "<li><a href=\"/choices?{of_site}lang={code}\" lang={code} hreflang={code}{current}>{name}</a></li>");
    }
    html.push_str("</ul></nav></header><main>");
    html
}

fn foot(html: &mut String, words: &Phrases) {
    let _ = write!(
        html,
        "</main><footer><p>{} <a href=\"https://db-ip.com\" lang=en>IP Geolocation by DB-IP</a></p></footer></body></html>",
        words.country_source
    );
}

const HEAD: &str = "<meta charset=utf-8><link rel=icon href=\"data:,\"><meta name=viewport content=\"width=device-width,initial-scale=1\">\
<meta name=color-scheme content=\"light dark\"><style>\
:root{color-scheme:light dark;--ground:#f6f8f6;--sheet:#fff;--ink:#16302b;--soft:#4d5d57;--line:#d3dbd6;--edge:#5c7069;--leaf:#1e6b55;--pale:#e3f0ea;--warm:#9a3f1b;--warm-pale:#fbebe4}\
@media (prefers-color-scheme:dark){:root{--ground:#0f1b18;--sheet:#172723;--ink:#e7efeb;--soft:#b0c1ba;--line:#2f453e;--edge:#8aa39a;--leaf:#82d3b6;--pale:#1d3a31;--warm:#f3ab8a;--warm-pale:#40271c}}\
*{box-sizing:border-box}body{margin:0;background:var(--ground);color:var(--ink);font:1.0625rem/1.6 system-ui,sans-serif;overflow-wrap:break-word}\
header,main,footer{max-width:46rem;margin:auto;padding:0 1.25rem}\
nav ul{display:flex;flex-wrap:wrap;gap:.1rem .3rem;list-style:none;margin:0 -.5rem;padding:.8rem 0}\
nav a{display:block;padding:.35rem .5rem;border-radius:.4rem;color:var(--soft);font-size:.94rem}nav a[aria-current]{color:var(--ink);font-weight:650;text-decoration:none;background:var(--pale)}\
h1{font-size:clamp(1.6rem,1.2rem + 2vw,2.2rem);line-height:1.2;letter-spacing:-.015em;margin:1.2rem 0 .6rem;text-wrap:balance}\
h2{font-size:1.2rem;line-height:1.3;margin:0 0 .6rem}p{margin:0 0 .8rem}p:last-child{margin-bottom:0}.lead{color:var(--soft);margin-bottom:1.6rem}\
section{margin:0 0 1.1rem;padding:1.3rem 1.4rem;background:var(--sheet);border:1px solid var(--line);border-radius:.75rem}\
.choice{border-color:var(--leaf);border-width:2px}.state{font-size:1.15rem;font-weight:600;line-height:1.4}\
.saved,.unsaved{padding:.6rem .9rem;border-radius:.5rem;background:var(--pale);border-left:.3rem solid var(--leaf)}.unsaved{background:var(--warm-pale);border-color:var(--warm)}\
.forms{display:flex;flex-wrap:wrap;gap:.6rem;margin:1rem 0}form{margin:0}\
button{font:inherit;font-weight:600;min-height:2.9rem;min-width:8rem;padding:.5rem 1.3rem;border:2px solid var(--edge);border-radius:.5rem;background:var(--sheet);color:var(--ink);cursor:pointer}\
button:hover{border-color:var(--leaf);background:var(--pale)}a{color:var(--leaf);text-underline-offset:.15em}\
:focus-visible{outline:3px solid var(--leaf);outline-offset:2px}\
section>ul{margin:0 0 .9rem;padding-left:1.2rem}section li{margin:.3rem 0}li::marker{color:var(--leaf)}\
code{font-size:.94em;padding:.1rem .35rem;border-radius:.3rem;background:var(--pale);word-break:break-all}\
footer{color:var(--soft);font-size:.9rem;padding-bottom:2.5rem}\
@media (max-width:30rem){section{padding:1.1rem 1rem}.forms form,button{width:100%}}\
@media (forced-colors:active){.choice{border-width:3px}}\
</style>";

#[cfg(test)]
mod tests {
    use super::{Choice, Speech, View, items, of_all, of_site};
    use crate::door::language::Language;
    use crate::door::phrases::Phrases;
    use crate::hit::field::{ConsentMode, ConsentSource, Country, GpcMode, Id, IdentityMode, LegalBasis, Regime, WithoutConsent};
    use crate::hit::outcome::Reason;
    use crate::hit::raw::HeaderSignals;
    use crate::hit::site::Site;
    use crate::lake::columns::INTERACTIONS;
    use crate::rules::place::Place;
    use crate::rules::regime::law_of;
    use crate::rules::ruling::{Grounds, Ruling};

    fn site() -> Site {
        Site {
            name: "Acme".to_owned(),
            privacy_policy: "https://acme.example/privacy?a=1&b=2".to_owned(),
            contact: "privacy@acme.example".to_owned(),
            ..Site::sample()
        }
    }

    fn at(country: &str) -> Place {
        let country = Country::parse(country);
        Place { network: None, country, law: law_of(country) }
    }

    const QUIET: HeaderSignals = HeaderSignals { gpc: false, dnt: false, prefetch: false };

    const fn keep(basis: LegalBasis) -> Ruling {
        Ruling::Keep(Grounds { regime: Regime::OptOut, basis, source: ConsentSource::None, may_share: true, identity: IdentityMode::Cookie })
    }

    fn view(site: &Site, language: Language) -> View<'_> {
        View {
            site,
            speech: Speech { language, is_chosen: false, token: Id([7; 16]), wanted: None },
            choice: Choice::None,
            signals: QUIET,
            place: at("FR"),
            ruling: Ruling::Refuse(Reason::NoConsent),
            visitor: None,
        }
    }

    /// What a page says of a phrase with this site's name: everything up to the first value that is not the name.
    fn said(phrase: &str) -> String {
        phrase.replace("{name}", "Acme").split('{').next().unwrap().to_owned()
    }

    #[test]
    fn every_language_says_all_that_must_be_said() {
        for language in Language::ALL {
            let words = language.phrases();
            let site = site();
            let mut view = view(&site, language);
            view.signals = HeaderSignals { gpc: true, dnt: true, ..QUIET };
            view.visitor = Some(Id([0xab; 16]));
            let page = of_site(&view);
            for phrase in [
                words.title, words.heading, words.intro, words.state_none, words.now_nothing, words.reach, words.elsewhere_both, words.agree_means,
                words.opt_out_means, words.gpc_seen, words.dnt_honoured, words.rec_page, words.rec_from, words.rec_clicks, words.rec_time,
                words.rec_when, words.rec_browser, words.rec_screen, words.rec_place, words.rec_own, words.rec_visit, words.rec_number_cookie,
                words.rec_basis, words.not_recorded, words.place_known, words.here_opt_in, words.basis_general, words.retention, words.term_cookie,
                words.term_choice, words.limits_clearing, words.limits_third_party, words.children, words.rights, words.rights_contact,
                words.rights_term, words.rights_authority, words.number_shown, words.policy_link,
            ] {
                assert!(page.contains(&said(phrase)), "{language:?}: {phrase}");
            }
            for part in [
                &format!("<html lang={}>", language.code()),
                "<a href=\"mailto:privacy@acme.example\">", "href=\"https://acme.example/privacy?a=1&amp;b=2\"",
                &"ab".repeat(16), "FR", &language.term(760 * 86_400), &language.term(5 * 366 * 86_400),
                "action=/consent", "action=/optout", "name=s value=\"acme\"", &format!("name=token value=\"{}\"", "07".repeat(16)),
                &format!(">{}</button>", words.agree), &format!(">{}</button>", words.refuse), &format!(">{}</button>", words.opt_out),
            ] {
                assert!(page.contains(part), "{language:?}: {part}");
            }
            for other in Language::ALL {
                assert!(page.contains(&format!("<a href=\"/choices?s=acme&amp;lang={0}\" lang={0}", other.code())), "{language:?}");
            }
            let all = of_all(&view.speech, Choice::OptedOutEverywhere);
            for phrase in [words.all_heading, words.all_intro, words.state_opted_out_all, words.take_back, words.limits_clearing] {
                assert!(all.contains(phrase), "{language:?}: {phrase}");
            }
            for (phrase, number) in [
                (words.rights_term, "30"), (words.children, "13"), (words.term_cookie, "390"), (words.term_choice, "390"),
                (words.term_choice, "400"), (words.rec_visit, "30"), (words.rec_place, "48"),
            ] {
                assert!(phrase.contains(number), "{language:?}: {phrase}");
            }
            for page in [page, all] {
                assert!(!page.contains(['{', '}']) || page.split("</style>").nth(1).is_some_and(|body| !body.contains(['{', '}'])), "{language:?}: a value is missing");
            }
        }
    }

    /// A column that is added must be told of: here, and by a phrase in every language.
    #[test]
    fn every_column_is_told_of() {
        let words = Language::English.phrases();
        let told = [
            // The page's own heading.
            (words.heading, "site"),
            (words.rec_when, "event_id received_at occurred_at channel event protocol"),
            (words.rec_page, "page_url page_host page_path page_title utm_source utm_medium utm_campaign utm_term utm_content"),
            (words.rec_from, "referrer_url referrer_host source_medium source_name"),
            (words.rec_clicks, "target_url target_host element"),
            (words.rec_number_cookie, "visitor_id"),
            (words.rec_visit, "visit_id"),
            (words.rec_time, "engaged_ms scroll_percent"),
            (words.rec_place, "network country"),
            (words.rec_browser, "browser browser_version os os_version device is_bot"),
            (words.rec_screen, "language screen_width screen_height"),
            (words.rec_basis, "regime legal_basis consent_source may_share"),
            (words.rec_own, "properties"),
        ];
        let mut columns: Vec<_> = told.iter().flat_map(|(_, columns)| columns.split(' ')).collect();
        let mut kept: Vec<_> = INTERACTIONS.iter().map(|column| column.name).collect();
        columns.sort_unstable();
        kept.sort_unstable();
        assert_eq!(columns, kept);
        let mut phrases: Vec<_> = told[1..].iter().map(|(phrase, _)| *phrase).collect();
        let mut listed = items(&site(), words);
        phrases.sort_unstable();
        listed.sort_unstable();
        assert_eq!(phrases, listed);
    }

    #[test]
    fn a_page_shows_nothing_that_its_site_is_not() {
        type Turn = fn(&mut Site);
        type Pick = fn(&Phrases) -> &'static str;
        let cases: [(&str, Turn, &[Pick], &[Pick]); 10] = [
            ("daily", |s| s.identity = IdentityMode::Daily, &[|w| w.rec_number_daily, |w| w.number_impossible], &[|w| w.rec_number_cookie, |w| w.term_cookie, |w| w.number_unseen]),
            ("none", |s| s.identity = IdentityMode::None, &[|w| w.rec_number_none, |w| w.number_impossible], &[|w| w.rec_number_cookie, |w| w.rec_visit, |w| w.term_cookie]),
            ("opt-in", |s| s.consent = ConsentMode::OptIn, &[|w| w.contract_opt_in], &[|w| w.basis_general, |w| w.here_opt_in]),
            ("gb", |s| s.gb_statistics = true, &[|w| w.contract_gb, |w| w.basis_general], &[]),
            ("count", |s| s.without_consent = WithoutConsent::Count, &[|w| w.contract_count], &[]),
            ("share", |s| s.share = true, &[|w| w.rec_share], &[]),
            ("personal", |s| s.personal_information = true, &[|w| w.rec_personal, |w| w.term_personal], &[]),
            ("relayed", |s| s.relayed_consent = false, &[|w| w.elsewhere_refusal], &[|w| w.elsewhere_both]),
            ("child", |s| s.child_directed = true, &[|w| w.now_child], &[|w| w.state_none, |w| w.agree_means]),
            ("no contact", |s| { s.contact.clear(); s.privacy_policy.clear(); }, &[|w| w.rights], &[|w| w.rights_contact, |w| w.policy_link]),
        ];
        for language in Language::ALL {
            let words = language.phrases();
            let plain = of_site(&view(&site(), language));
            for (name, turn, there, gone) in cases {
                let mut site = site();
                turn(&mut site);
                let page = of_site(&view(&site, language));
                for phrase in there {
                    assert!(page.contains(&said(phrase(words))), "{name}: {}", phrase(words));
                }
                for phrase in gone {
                    assert!(plain.contains(&said(phrase(words))) && !page.contains(&said(phrase(words))), "{name}: {}", phrase(words));
                }
            }
            for phrase in [words.contract_gb, words.contract_count, words.contract_opt_in, words.rec_share, words.rec_personal, words.term_personal, words.rec_number_none, words.gpc_seen, words.dnt_honoured] {
                assert!(!plain.contains(&said(phrase)), "{phrase}");
            }
        }
    }

    #[test]
    fn what_follows_now_is_what_the_ruling_says() {
        let words = Language::English.phrases();
        let dnt = HeaderSignals { dnt: true, ..QUIET };
        for (choice, country, ruling, signals, phrase) in [
            (Choice::None, "US", keep(LegalBasis::OptOutRegime), QUIET, words.now_opt_out),
            (Choice::None, "US", keep(LegalBasis::OptOutRegime), QUIET, words.here_opt_out),
            (Choice::None, "GB", keep(LegalBasis::OptOutRegime), QUIET, words.now_statistics),
            (Choice::None, "FR", keep(LegalBasis::Count), QUIET, words.now_count),
            (Choice::None, "FR", Ruling::Refuse(Reason::NoConsent), QUIET, words.now_nothing),
            (Choice::None, "??", Ruling::Refuse(Reason::NoConsent), QUIET, words.place_unknown),
            (Choice::None, "US", Ruling::Refuse(Reason::Gpc), HeaderSignals { gpc: true, ..QUIET }, words.now_gpc),
            (Choice::Granted, "FR", Ruling::Refuse(Reason::Dnt), dnt, words.now_dnt),
            (Choice::Granted, "FR", keep(LegalBasis::Consent), QUIET, words.state_granted),
            (Choice::Denied, "FR", Ruling::Refuse(Reason::NoConsent), QUIET, words.state_denied),
            (Choice::OptedOut, "FR", Ruling::Refuse(Reason::OptedOut), QUIET, words.state_opted_out),
            (Choice::OptedOutEverywhere, "FR", Ruling::Refuse(Reason::OptedOut), QUIET, words.state_opted_out_all),
        ] {
            let site = site();
            let view = View { choice, place: at(country), ruling, signals, ..view(&site, Language::English) };
            let page = of_site(&view);
            assert!(page.contains(&said(phrase)), "{choice:?} {country} {ruling:?}: {phrase}");
            assert_eq!(page.contains("action=/optin"), choice.name() == "opted_out", "{choice:?}");
            assert_eq!(page.contains("value=\"granted\""), matches!(choice, Choice::None | Choice::Denied), "{choice:?}");
            assert_eq!(page.contains("value=\"denied\""), matches!(choice, Choice::None | Choice::Granted), "{choice:?}");
        }
        let site = Site { honour_dnt: false, gpc: GpcMode::Refuse, ..site() };
        let page = of_site(&View { signals: HeaderSignals { gpc: true, dnt: true, ..QUIET }, ..view(&site, Language::English) });
        assert!(page.contains(&said(words.dnt_unused)) && page.contains(words.gpc_seen_refuses));
    }

    #[test]
    fn a_choice_that_the_browser_did_not_keep_is_told() {
        let words = Language::English.phrases();
        let site = site();
        for (wanted, choice, phrase) in [
            ("opted_out", Choice::OptedOut, words.saved), ("opted_out", Choice::OptedOutEverywhere, words.saved), ("granted", Choice::Granted, words.saved),
            ("denied", Choice::OptedOut, words.saved), ("none", Choice::None, words.saved), ("none", Choice::Granted, words.saved), ("none", Choice::OptedOut, words.unsaved),
            ("opted_out", Choice::None, words.unsaved), ("granted", Choice::Denied, words.unsaved), ("<b>", Choice::None, words.unsaved),
        ] {
            let mut view = View { choice, ..view(&site, Language::English) };
            assert!(!of_site(&view).contains(words.saved) && !of_site(&view).contains(words.unsaved));
            view.speech.wanted = Some(wanted);
            assert!(of_site(&view).contains(phrase), "{wanted} {choice:?}");
            assert!(!of_site(&view).contains("<b>"));
        }
    }

    #[test]
    fn what_a_client_wrote_is_text() {
        let hostile = "<script>alert('1')</script>\" onload=\"&{country}";
        let site = Site { name: hostile.to_owned(), contact: hostile.to_owned(), privacy_policy: format!("https://x.example/{hostile}"), ..site() };
        for language in Language::ALL {
            let page = of_site(&view(&site, language));
            assert!(!page.contains("<script") && !page.contains("\" onload"), "{language:?}");
            assert!(page.contains("&lt;script&gt;alert(&#39;1&#39;)") && page.contains("&amp;{country}"), "{language:?}");
        }
        for (written, shown) in [
            ("privacy@shop.example", "<a href=\"mailto:privacy@shop.example\">privacy@shop.example</a>"),
            ("https://shop.example/?a&b", "<a href=\"https://shop.example/?a&amp;b\">https://shop.example/?a&amp;b</a>"),
            ("javascript:alert(1)", "javascript:alert(1)"),
            ("a@b?bcc=c@d", "a@b?bcc=c@d"),
            ("Acme, 1 High Street", "Acme, 1 High Street"),
        ] {
            assert_eq!(super::contact(written), shown);
        }
    }
}
