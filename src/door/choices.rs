//! Owns the visitor's own door: `/choices` shows and sets the choice, `/optout` refuses, `/consent` and
//! `/optin` allow.
//!
//! Promises: refusing needs nothing and can be said any number of times; what loosens needs a token and
//! the collector's own origin; every form works without a script, and its answer says whether the browser
//! kept the choice. Never toggles, and never sends anyone to a place elsewhere.

use super::choices_page::{self, Choice, Speech, View};
use super::language::Language;
use super::request;
use super::respond::{self, Reply};
use crate::hit::clock::Moment;
use crate::hit::raw::HeaderSignals;
use crate::hit::site::{Site, SiteKey, UNKNOWN_SITE};
use crate::line::collect::Rulebook;
use crate::rules::cookies::{self, Change, Findings, Remembered};
use crate::rules::place::Place;
use crate::rules::suppression::Standing;
use crate::rules::ruling::{self, Signals};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::header::{ACCEPT, ACCEPT_LANGUAGE, HOST, HeaderMap, ORIGIN, REFERER};
use hyper::{Method, Request, StatusCode};

/// Answers a call of one of the four paths; `place` is that of the caller's cut address.
pub async fn answer(book: &Rulebook, now: Moment, place: &Place, call: Request<Incoming>) -> Reply {
    let (head, body) = call.into_parts();
    let form = match tokio::time::timeout(request::BODY_DEADLINE, Limited::new(body, FORM_MAX).collect()).await {
        Ok(Ok(collected)) => collected.to_bytes(),
        Err(_) => return respond::text(StatusCode::REQUEST_TIMEOUT, "The form did not arrive within 30 s.\n"),
        Ok(Err(_)) => return respond::text(StatusCode::PAYLOAD_TOO_LARGE, "The form is larger than 16 KiB.\n"),
    };
    let fields = Fields::read(head.uri.query().unwrap_or(""), &form);
    // A page whose tag knows the site by another tracker's name opts out by that name.
    let site = match fields.site.as_deref().map(|name| book.sites.find_by_any_name(name)) {
        Some(None) => return respond::text(StatusCode::NOT_FOUND, "There is no such site here: `s` is a site's key.\n"),
        Some(Some((_, site))) => Some(site),
        None => None,
    };
    let caller = Caller { book, now, place, headers: &head.headers, fields: &fields, site };
    match (head.uri.path(), &head.method) {
        ("/choices", &Method::GET | &Method::HEAD) => respond::page(StatusCode::OK, caller.page(fields.set.as_deref())),
        ("/optout", &Method::GET | &Method::POST) => caller.done(Choice::OptedOut, &caller.opt_out()),
        ("/consent" | "/optin", &Method::POST) => match caller.loosen(head.uri.path()) {
            Ok((choice, changes)) => caller.done(choice, &changes),
            Err(Refused::Unproven(choice)) if caller.wants_page() => respond::page(StatusCode::FORBIDDEN, caller.page(Some(choice.name()))),
            Err(refused) => refused.answer(),
        },
        _ => respond::text(StatusCode::METHOD_NOT_ALLOWED, "This method is not for this path.\n"),
    }
}

/// A token that a form of the collector's own pages carries; `""` is every site.
pub fn form_token(book: &Rulebook, now: Moment, site: &str) -> String {
    book.key.form_token(site, now.day()).to_string()
}

/// The choice as the visitor's cookies tell it: `none`, `granted`, `denied` or `opted_out`.
pub fn choice_word(now: Moment, site: &str, headers: &HeaderMap) -> &'static str {
    SiteKey::parse(site).map_or(Choice::None, |key| with_findings(now, headers, &key, choice)).name()
}

const FORM_MAX: usize = 16 << 10;

#[derive(Default)]
struct Fields {
    site: Option<String>,
    choice: Option<String>,
    token: Option<String>,
    /// The language chosen by hand.
    language: Option<Language>,
    /// The choice just made, in the address that its answer leads to.
    set: Option<String>,
}

impl Fields {
    fn read(query: &str, form: &[u8]) -> Self {
        let mut fields = Self::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()).chain(form_urlencoded::parse(form)) {
            match &*name {
                "s" | "site" => fields.site = Some(value.into_owned()),
                "choice" => fields.choice = Some(value.into_owned()),
                "token" => fields.token = Some(value.into_owned()),
                "lang" => fields.language = Language::from_tag(&value),
                "set" => fields.set = Some(value.into_owned()),
                _ => {}
            }
        }
        fields
    }
}

/// Why a choice is not set.
enum Refused {
    NoSite,
    NoChoice,
    /// Not from the collector's own pages, or from one that was open for more than a day.
    Unproven(Choice),
}

impl Refused {
    fn answer(&self) -> Reply {
        let (status, message) = match self {
            Self::NoSite => (StatusCode::BAD_REQUEST, "Say which site: the form's field `s`.\n"),
            Self::NoChoice => (StatusCode::BAD_REQUEST, "The field `choice` is `granted` or `denied`.\n"),
            Self::Unproven(_) => (StatusCode::FORBIDDEN, "This can be set from the collector's own pages only: open /choices?s=KEY.\n"),
        };
        respond::text(status, message)
    }
}

/// Who calls, and about which site; `None` is every site of the collector.
struct Caller<'a> {
    book: &'a Rulebook,
    now: Moment,
    place: &'a Place,
    headers: &'a HeaderMap,
    fields: &'a Fields,
    site: Option<&'a Site>,
}

impl Caller<'_> {
    /// Remembers the opt-out, and forgets the id and the choice that were before it.
    fn opt_out(&self) -> Vec<Change> {
        let mut changes = vec![Change::OptOut(self.site.map(|site| site.key))];
        match self.site {
            Some(site) => changes.extend([Change::Forget(site.key), Change::Unchoose(site.key)]),
            None => {
                for key in self.book.sites.iter().map(|site| &site.key) {
                    changes.extend(holds(self.headers, "id", key).then_some(Change::Forget(*key)));
                    changes.extend(holds(self.headers, "consent", key).then_some(Change::Unchoose(*key)));
                }
            }
        }
        changes
    }

    /// What allows more than before: only from the collector's own pages, and only with their token.
    fn loosen(&self, path: &str) -> Result<(Choice, Vec<Change>), Refused> {
        let choice = match (path, self.fields.choice.as_deref()) {
            ("/optin", _) => Choice::None,
            (_, Some("granted")) => Choice::Granted,
            (_, Some("denied")) => Choice::Denied,
            (_, _) => return Err(Refused::NoChoice),
        };
        let key = self.site.map(|site| site.key);
        let token = self.fields.token.as_deref().unwrap_or("").as_bytes();
        let token_for = key.as_ref().map_or("", |key| key.as_str());
        let is_proven = is_same_origin(self.headers) && self.book.key.proves_form(token_for, self.now.day(), token);
        if choice != Choice::Denied && !is_proven {
            return Err(Refused::Unproven(choice));
        }
        let changes = match (choice, key) {
            (Choice::Granted, Some(site)) => {
                vec![Change::OptIn(Some(site)), Change::Consent { site, granted: true, at: self.now }]
            }
            (Choice::Denied, Some(site)) => {
                vec![Change::Consent { site, granted: false, at: self.now }, Change::Forget(site)]
            }
            (Choice::None, Some(site)) => vec![Change::OptIn(Some(site)), Change::OptIn(None)],
            (Choice::None, None) => vec![Change::OptIn(None)],
            (_, _) => return Err(Refused::NoSite),
        };
        Ok((choice, changes))
    }

    /// 204 for a script; for a form or a link 303, back to the demonstration's page or to the choices, which
    /// look whether the browser kept the choice.
    fn done(&self, choice: Choice, changes: &[Change]) -> Reply {
        if !self.wants_page() {
            return respond::no_content(changes);
        }
        let choices = || {
            let site = self.site.map(|site| format!("s={}&", site.key)).unwrap_or_default();
            let language = self.fields.language.map(|language| format!("&lang={}", language.code())).unwrap_or_default();
            format!("/choices?{site}set={}{language}", choice.name())
        };
        respond::see_other(&own_referer(self.headers).unwrap_or_else(choices), changes)
    }

    fn wants_page(&self) -> bool {
        self.headers.get_all(ACCEPT).iter().any(|accept| accept.to_str().is_ok_and(|accept| accept.contains("text/html")))
    }

    fn page(&self, wanted: Option<&str>) -> String {
        let accepted = self.headers.get(ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok());
        let speech = Speech {
            language: self.fields.language.unwrap_or_else(|| Language::accepted(accepted)),
            is_chosen: self.fields.language.is_some(),
            token: self.book.key.form_token(self.site.map_or("", |site| site.key.as_str()), self.now.day()),
            wanted,
        };
        let Some(site) = self.site else {
            // The key that no site can have: only the opt-out of every site is read.
            let found = SiteKey::parse(UNKNOWN_SITE).map_or(Choice::None, |key| with_findings(self.now, self.headers, &key, choice));
            return choices_page::of_all(&speech, found);
        };
        let signals = request::signals(self.headers);
        with_findings(self.now, self.headers, &site.key, |found| {
            let visitor = found.ids.into_iter().flatten().find_map(|value| self.book.key.prove(&site.key, value));
            let standing = visitor.map_or_else(Standing::default, |visitor| self.book.suppressions.borrow().standing(site.key.as_str(), visitor));
            let ruling = ruling::rule(site, &Signals {
                headers: HeaderSignals { prefetch: false, ..signals },
                opted_out: found.opted_out() || standing.objected,
                erased: standing.erased,
                restricted: standing.restricted,
                cookies_unreadable: found.unreadable,
                remembered: found.consent,
                ..Signals::quiet(self.place.law)
            });
            choices_page::of_site(&View {
                site,
                speech,
                choice: choice(found),
                signals,
                place: *self.place,
                ruling,
                visitor,
            })
        })
    }
}

/// What cannot be read never grants.
const fn choice(found: &Findings<'_>) -> Choice {
    match found {
        Findings { opted_out_everywhere: true, .. } => Choice::OptedOutEverywhere,
        Findings { opted_out_here: true, .. } => Choice::OptedOut,
        Findings { consent: Remembered::Granted, unreadable: false, .. } => Choice::Granted,
        Findings { consent: Remembered::Denied, .. } => Choice::Denied,
        Findings { consent: Remembered::Granted | Remembered::Nothing, .. } => Choice::None,
    }
}

/// `Sec-Fetch-Site`, or where a browser does not send it, `Origin` against `Host`.
fn is_same_origin(headers: &HeaderMap) -> bool {
    let mut sites = headers.get_all("sec-fetch-site").iter().peekable();
    if sites.peek().is_some() {
        return sites.all(|site| site.as_bytes() == b"same-origin");
    }
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    let origin = headers.get(ORIGIN).and_then(|origin| origin.to_str().ok()).and_then(|origin| origin.split_once("://"));
    matches!((host, origin), (Some(host), Some((_, authority))) if host.eq_ignore_ascii_case(authority))
}

/// The path of the referring page, if that page is this collector's own and not the choices themselves.
fn own_referer(headers: &HeaderMap) -> Option<String> {
    let referer = url::Url::parse(headers.get(REFERER)?.to_str().ok()?).ok()?;
    let host = headers.get(HOST)?.to_str().ok()?;
    let authority = referer.port().map_or_else(|| referer.host_str().map(str::to_owned), |port| Some(format!("{}:{port}", referer.host_str()?)))?;
    let is_own = authority.eq_ignore_ascii_case(host) && is_same_origin(headers);
    // `//elsewhere.example` would be another host.
    let is_page = referer.path() != "/choices" && !referer.path().starts_with("//");
    (is_own && is_page).then(|| referer.query().map_or_else(|| referer.path().to_owned(), |query| format!("{}?{query}", referer.path())))
}

fn with_findings<T>(now: Moment, headers: &HeaderMap, key: &SiteKey, look: impl FnOnce(&Findings<'_>) -> T) -> T {
    let cookies: Vec<&[u8]> = headers.get_all(hyper::header::COOKIE).iter().map(|value| value.as_bytes()).collect();
    look(&cookies::read(&cookies, key, now))
}

fn holds(headers: &HeaderMap, kind: &str, key: &SiteKey) -> bool {
    let name = format!("__Host-cp_{kind}.{key}=");
    headers.get_all(hyper::header::COOKIE).iter().any(|value| value.to_str().is_ok_and(|value| value.contains(&name)))
}

#[cfg(test)]
mod tests {
    use super::{choice, is_same_origin, own_referer};
    use crate::door::choices_page::Choice;
    use crate::rules::cookies::{Findings, Remembered};
    use hyper::header::{HeaderMap, HeaderName, HeaderValue};

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn only_the_collector_s_own_origin_is_its_own() {
        let host = ("host", "cp.example:8443");
        for (lines, is_own) in [
            (&[host, ("sec-fetch-site", "same-origin")][..], true),
            (&[host, ("origin", "https://cp.example:8443")], true),
            (&[host, ("origin", "https://CP.example:8443")], true),
            (&[host], false),
            (&[host, ("origin", "null")], false),
            (&[host, ("origin", "https://cp.example")], false),
            (&[host, ("origin", "https://cp.example:8443.evil.example")], false),
            (&[("origin", "https://cp.example:8443")], false),
            (&[host, ("sec-fetch-site", "same-site"), ("origin", "https://cp.example:8443")], false),
            (&[host, ("sec-fetch-site", "none"), ("origin", "https://cp.example:8443")], false),
            (&[host, ("sec-fetch-site", "same-origin"), ("sec-fetch-site", "cross-site")], false),
        ] {
            assert_eq!(is_same_origin(&headers(lines)), is_own, "{lines:?}");
        }
    }

    #[test]
    fn the_way_back_is_a_page_of_this_host() {
        let back = |referer: &'static str| own_referer(&headers(&[("host", "cp.example"), ("sec-fetch-site", "same-origin"), ("referer", referer)]));
        for (referer, path) in [
            ("https://cp.example/demo/about?x=1", Some("/demo/about?x=1")),
            ("https://cp.example/choices?s=acme", None),
            ("https://cp.example//evil.example/x", None),
            ("https://cp.example/\\evil.example/x", None),
            ("https://cp.example@evil.example/x", None),
            ("https://evil.example/x", None),
            ("nonsense", None),
        ] {
            assert_eq!(back(referer).as_deref(), path, "{referer}");
        }
    }

    #[test]
    fn the_strictest_of_the_cookies_is_the_choice() {
        let found = |opted_out_here, opted_out_everywhere, consent, unreadable| Findings { opted_out_here, opted_out_everywhere, consent, unreadable, ids: [None; 2] };
        for (found, expected) in [
            (found(true, true, Remembered::Granted, false), Choice::OptedOutEverywhere),
            (found(true, false, Remembered::Granted, false), Choice::OptedOut),
            (found(false, false, Remembered::Granted, false), Choice::Granted),
            (found(false, false, Remembered::Granted, true), Choice::None),
            (found(false, false, Remembered::Denied, true), Choice::Denied),
            (found(false, false, Remembered::Nothing, false), Choice::None),
        ] {
            assert_eq!(choice(&found), expected, "{found:?}");
        }
    }
}
