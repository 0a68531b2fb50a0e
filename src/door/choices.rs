//! Owns the visitor's own door: `/choices` shows and sets the choice, `/optout` refuses, `/consent` and
//! `/optin` allow.
//!
//! Promises: refusing needs nothing and can be said any number of times; what loosens needs a token and
//! the collector's own origin; every form works without a script. Never toggles.

use super::request;
use super::respond::{self, Reply};
use crate::hit::clock::Moment;
use crate::hit::site::{Site, SiteKey};
use crate::line::collect::Rulebook;
use crate::rules::cookies::{self, Change, Findings, Remembered};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::header::{ACCEPT, HOST, HeaderMap, ORIGIN, REFERER};
use hyper::{Method, Request, StatusCode};
use std::fmt::Write as _;

/// Answers a call of one of the four paths.
pub async fn answer(book: &Rulebook, now: Moment, call: Request<Incoming>) -> Reply {
    let (head, body) = call.into_parts();
    let form = match tokio::time::timeout(request::BODY_DEADLINE, Limited::new(body, FORM_MAX).collect()).await {
        Ok(Ok(collected)) => collected.to_bytes(),
        Err(_) => return respond::text(StatusCode::REQUEST_TIMEOUT, "The form did not arrive within 30 s.\n"),
        Ok(Err(_)) => return respond::text(StatusCode::PAYLOAD_TOO_LARGE, "The form is larger than 16 KiB.\n"),
    };
    let fields = Fields::read(head.uri.query().unwrap_or(""), &form);
    let site = match fields.site.as_deref().map(|key| book.sites.find(key)) {
        Some(None) => return respond::text(StatusCode::NOT_FOUND, "There is no such site here: `s` is a site's key.\n"),
        Some(Some((_, site))) => Some(site.clone()),
        None => None,
    };
    let site = site.as_deref();
    match (head.uri.path(), &head.method) {
        ("/choices", &Method::GET | &Method::HEAD) => match site {
            Some(site) => respond::page(StatusCode::OK, page(book, now, site, &head.headers)),
            None => respond::text(StatusCode::NOT_FOUND, "Say which site: /choices?s=KEY\n"),
        },
        ("/optout", &Method::GET | &Method::POST) => {
            let mut changes = vec![Change::OptOut(site.map(|site| site.key.clone()))];
            let forgotten: Vec<SiteKey> = match site {
                Some(site) => vec![site.key.clone()],
                None => book.sites.iter().map(|site| site.key.clone()).filter(|key| holds_id(&head.headers, key)).collect(),
            };
            changes.extend(forgotten.into_iter().map(Change::Forget));
            done(&head.headers, site, &changes)
        }
        ("/consent" | "/optin", &Method::POST) => {
            let Some(site) = site else {
                return respond::text(StatusCode::BAD_REQUEST, "Say which site: the form's field `s`.\n");
            };
            match loosen(book, now, &head.headers, site, head.uri.path(), &fields) {
                Ok(changes) => done(&head.headers, Some(site), &changes),
                Err((status, message)) => respond::text(status, message),
            }
        }
        _ => respond::text(StatusCode::METHOD_NOT_ALLOWED, "This method is not for this path.\n"),
    }
}

/// A token that a form of the collector's own pages carries.
pub fn form_token(book: &Rulebook, now: Moment, site: &str) -> String {
    book.key.form_token(site, now.day()).to_string()
}

/// The choice as the visitor's cookies tell it: `none`, `granted`, `denied` or `opted_out`.
pub fn choice_word(now: Moment, site: &str, headers: &HeaderMap) -> &'static str {
    let Some(key) = SiteKey::parse(site) else { return "none" };
    let found = with_findings(now, headers, &key, |found| (found.opted_out, found.consent));
    match found {
        (true, _) => "opted_out",
        (false, Remembered::Granted) => "granted",
        (false, Remembered::Denied) => "denied",
        (false, Remembered::Nothing) => "none",
    }
}

const FORM_MAX: usize = 16 << 10;

#[derive(Default)]
struct Fields {
    site: Option<String>,
    choice: Option<String>,
    token: Option<String>,
}

impl Fields {
    fn read(query: &str, form: &[u8]) -> Self {
        let mut fields = Self::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()).chain(form_urlencoded::parse(form)) {
            match &*name {
                "s" | "site" => fields.site = Some(value.into_owned()),
                "choice" => fields.choice = Some(value.into_owned()),
                "token" => fields.token = Some(value.into_owned()),
                _ => {}
            }
        }
        fields
    }
}

type Refused = (StatusCode, &'static str);

/// What allows more than before: only from the collector's own pages, and only with their token.
fn loosen(book: &Rulebook, now: Moment, headers: &HeaderMap, site: &Site, path: &str, fields: &Fields) -> Result<Vec<Change>, Refused> {
    let granted = match (path, fields.choice.as_deref()) {
        ("/optin", _) => None,
        (_, Some("granted")) => Some(true),
        (_, Some("denied")) => Some(false),
        (_, _) => return Err((StatusCode::BAD_REQUEST, "The field `choice` is `granted` or `denied`.\n")),
    };
    let token = fields.token.as_deref().unwrap_or("").as_bytes();
    let is_proven = is_same_origin(headers) && book.key.proves_form(site.key.as_str(), now.day(), token);
    if granted != Some(false) && !is_proven {
        return Err((StatusCode::FORBIDDEN, "This can be set from the collector's own pages only: open /choices?s=KEY.\n"));
    }
    let site_key = site.key.clone();
    Ok(match granted {
        Some(true) => vec![Change::OptIn(Some(site_key.clone())), Change::Consent { site: site_key, granted: true, at: now }],
        Some(false) => vec![Change::Consent { site: site_key.clone(), granted: false, at: now }, Change::Forget(site_key)],
        None => vec![Change::OptIn(Some(site_key)), Change::OptIn(None)],
    })
}

/// `Sec-Fetch-Site`, or where a browser does not send it, `Origin` against `Host`.
fn is_same_origin(headers: &HeaderMap) -> bool {
    if let Some(site) = headers.get("sec-fetch-site") {
        return site.as_bytes() == b"same-origin";
    }
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    let origin = headers.get(ORIGIN).and_then(|origin| origin.to_str().ok()).and_then(|origin| origin.split_once("://"));
    matches!((host, origin), (Some(host), Some((_, authority))) if host.eq_ignore_ascii_case(authority))
}

/// 204 for a script, 303 back to the page for a form.
fn done(headers: &HeaderMap, site: Option<&Site>, changes: &[Change]) -> Reply {
    let wants_page = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).is_some_and(|accept| accept.contains("text/html"));
    if !wants_page {
        return respond::no_content(changes);
    }
    let choices = site.map_or_else(|| "/".to_owned(), |site| format!("/choices?s={}", site.key));
    respond::see_other(&own_referer(headers).unwrap_or(choices), changes)
}

/// The path of the referring page, if that page is this collector's: never a place elsewhere.
fn own_referer(headers: &HeaderMap) -> Option<String> {
    let referer = url::Url::parse(headers.get(REFERER)?.to_str().ok()?).ok()?;
    let host = headers.get(HOST)?.to_str().ok()?;
    let authority = referer.port().map_or_else(|| referer.host_str().map(str::to_owned), |port| Some(format!("{}:{port}", referer.host_str()?)))?;
    let is_own = authority.eq_ignore_ascii_case(host) && is_same_origin(headers);
    is_own.then(|| referer.query().map_or_else(|| referer.path().to_owned(), |query| format!("{}?{query}", referer.path())))
}

fn with_findings<T>(now: Moment, headers: &HeaderMap, key: &SiteKey, look: impl FnOnce(&Findings<'_>) -> T) -> T {
    let cookies: Vec<&[u8]> = headers.get_all(hyper::header::COOKIE).iter().map(|value| value.as_bytes()).collect();
    look(&cookies::read(&cookies, key, now))
}

fn holds_id(headers: &HeaderMap, key: &SiteKey) -> bool {
    let name = format!("__Host-cp_id.{key}=");
    headers.get_all(hyper::header::COOKIE).iter().any(|value| value.to_str().is_ok_and(|value| value.contains(&name)))
}

fn page(book: &Rulebook, now: Moment, site: &Site, headers: &HeaderMap) -> String {
    let choice = choice_word(now, site.key.as_str(), headers);
    let visitor = with_findings(now, headers, &site.key, |found| {
        found.ids.into_iter().flatten().find_map(|value| book.key.prove(&site.key, value))
    });
    let signals = request::signals(headers);
    let state = match choice {
        "opted_out" => "You opted out. Nothing about your visits is kept.",
        "granted" => "You agreed that your visits are measured.",
        "denied" => "You refused. Your visits are not kept.",
        _ => "You have not chosen. Where the law asks for consent first, nothing is kept until you agree.",
    };
    let mut html = String::new();
    let name = escape(&site.name);
    let key = &site.key;
    let token = form_token(book, now, key.as_str());
    let _ = write!(
        html,
        "<!doctype html><html lang=en><meta charset=utf-8><link rel=icon href=\"data:,\"><meta name=viewport content=\"width=device-width\"><title>Your choices: {name}</title>\
         <style>body{{font:1.05rem/1.6 system-ui,sans-serif;max-width:42rem;margin:2rem auto;padding:0 1rem;color:#1d2330;background:#fff}}\
         button{{font:inherit;padding:.6rem 1.2rem;margin:.3rem .6rem .3rem 0;border:2px solid #1d2330;border-radius:.4rem;background:#fff;color:#1d2330;cursor:pointer}}\
         button:focus-visible,a:focus-visible{{outline:3px solid #1a5fb4}}form{{display:inline}}code{{word-break:break-all}}.state{{padding:1rem;border-left:.4rem solid #1a5fb4;background:#eef3fb}}</style>\
         <main><h1>Your choices at {name}</h1><p class=state role=status>{state}</p>"
    );
    if signals.gpc {
        html.push_str("<p class=state>Your browser sends Global Privacy Control. It was seen and is honoured: nothing about your visits is shared.</p>");
    }
    let form = |path: &str, choice: &str, label: &str| {
        format!("<form method=post action={path}><input type=hidden name=s value={key}><input type=hidden name=choice value={choice}><input type=hidden name=token value={token}><button>{label}</button></form>")
    };
    let _ = write!(
        html,
        "<p>{}{}{}</p><h2>What is recorded</h2><p>The page and the page before it, what you click, how long you stay, your browser's name and major version, \
         your country, and your address with its last part removed. No name, no e-mail address, no full address..</p>\
         <h2>On which basis</h2><p>In places whose law asks for it (the EU and EEA, the United Kingdom, Switzerland and others) only with your consent; elsewhere unless you opt out. \
         An opt-out lasts 400 days from your last visit and is renewed with each; clearing your browser's cookies clears it as well.</p>",
        form("/consent", "granted", "Agree"),
        form("/consent", "denied", "Refuse"),
        if choice == "opted_out" { form("/optin", "granted", "Take the opt-out back") } else { form("/optout", "denied", "Opt out") },
    );
    if let Some(visitor) = visitor {
        let _ = write!(html, "<h2>Your number</h2><p>To ask for your data, quote <code>{visitor}</code>.</p>");
    }
    if !site.contact.is_empty() {
        let _ = write!(html, "<p>Requests and complaints: {}</p>", escape(&site.contact));
    }
    if !site.privacy_policy.is_empty() {
        let _ = write!(html, "<p><a href=\"{}\">Privacy policy of {name}</a></p>", escape(&site.privacy_policy));
    }
    html.push_str("<p><small>Country by <a href=\"https://db-ip.com\">IP Geolocation by DB-IP</a>.</small></p></main></html>");
    html
}

/// Text for HTML, in elements and quoted attributes.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}
