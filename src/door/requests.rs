//! Owns the requests of the admin port: how a client hands a person's request in, and what it is told.
//!
//! Promises: an answer never repeats an identifier, nor what of a body could not be read; a web page
//! elsewhere cannot hand a request in through an operator's browser; a copy leaves whole or not at all.

use super::request::BODY_DEADLINE;
use super::respond::{self, Reply};
use crate::desk::persons::{Persons, PersonsError};
use crate::desk::book::Request;
use crate::desk::rights::{Ask, Rights, RightsError};
use crate::desk::subject::{self, Bounded, CopyFormat, Whose};
use crate::desk::text::rfc3339;
use crate::hit::clock::Moment;
use crate::hit::field::{Asker, Id, RequestKind};
use crate::hit::site::{Site, SiteKey};
use crate::lake::audience::Audience;
use crate::lake::sql::{Session, SessionOptions};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_DISPOSITION, HOST, HeaderMap, HeaderValue, ORIGIN};
use hyper::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Where requests are kept, and the lake that copies are made from.
pub struct Desk<'a> {
    pub rights: &'a Rights,
    pub persons: Persons<'a>,
    pub lake: &'a Path,
    pub spill: PathBuf,
    pub site: &'a Site,
    pub by: Asker,
    pub now: Moment,
}

impl Desk<'_> {
    /// Answers a call below `/v1/sites/KEY/requests`; `below` is what comes after it.
    pub async fn answer(&self, method: &Method, below: &[&str], query: &str, headers: &HeaderMap, body: Incoming) -> Reply {
        match (method, below) {
            (&Method::POST, []) if !is_own(headers) => respond::text(StatusCode::FORBIDDEN, "A page of another origin may not hand a request in.\n"),
            (&Method::POST, []) => self.take(body).await,
            (&Method::GET | &Method::HEAD, []) => self.list(),
            (&Method::GET | &Method::HEAD, [id]) => self.of(id, |request| respond::json(StatusCode::OK, self.told_in_full(request).to_string())),
            (&Method::GET, [id, "export"]) => self.export(id, query).await,
            (_, [] | [_] | [_, "export"]) => respond::text(StatusCode::METHOD_NOT_ALLOWED, "This method is not for this path.\n"),
            _ => respond::text(StatusCode::NOT_FOUND, "There is nothing here: requests, requests/ID or requests/ID/export?\n"),
        }
    }

    async fn take(&self, body: Incoming) -> Reply {
        let bytes = match tokio::time::timeout(BODY_DEADLINE, Limited::new(body, BODY_MAX).collect()).await {
            Ok(Ok(collected)) => collected.to_bytes(),
            Err(_) => return respond::text(StatusCode::REQUEST_TIMEOUT, "The request did not arrive within 30 s.\n"),
            Ok(Err(_)) => return respond::text(StatusCode::PAYLOAD_TOO_LARGE, "The request is larger than 64 KiB.\n"),
        };
        let (ask, user_id) = match parse(&bytes, &self.site.key, self.by) {
            Ok(parsed) => parsed,
            Err(problem) => return respond::text(StatusCode::BAD_REQUEST, &problem),
        };
        let ask = match user_id {
            Some(user_id) => self.persons.by_user(ask, &user_id),
            None => Ok(ask),
        };
        let taken = ask.and_then(|ask| self.persons.seal(ask)).and_then(|ask| Ok(self.rights.ask(&ask, self.now)?));
        match taken {
            Ok(request) => respond::json(StatusCode::ACCEPTED, self.told_in_full(&request).to_string()),
            Err(PersonsError::Rights(error)) => refused(&error),
            Err(error @ PersonsError::NotTaken) => respond::text(StatusCode::BAD_REQUEST, &format!("{error}.\n")),
            Err(PersonsError::People(error)) => unreadable(&error),
        }
    }

    fn list(&self) -> Reply {
        match self.rights.requests(self.site.key.as_str()) {
            Ok(requests) => respond::json(StatusCode::OK, json!({"site": self.site.key.as_str(), "requests": requests.iter().map(told).collect::<Vec<_>>()}).to_string()),
            Err(error) => refused(&error),
        }
    }

    fn of(&self, id: &str, then: impl FnOnce(&Request) -> Reply) -> Reply {
        let found = Id::parse(id.as_bytes()).map(|id| self.rights.request(self.site.key.as_str(), id)).transpose();
        match found {
            Ok(Some(Some(request))) => then(&request),
            Ok(Some(None) | None) => respond::text(StatusCode::NOT_FOUND, "This site has no such request.\n"),
            Err(error) => refused(&error),
        }
    }

    /// With what was done to which files, and whom the notice of a changed e-mail address goes to: until the
    /// request was due, and in this answer alone.
    fn told_in_full(&self, request: &Request) -> Value {
        let mut told = told(request);
        let sealed = if request.has_traits() { self.rights.sealed(request).ok().flatten() } else { None };
        let notify = sealed.map(|sealed| self.persons.notify(&sealed)).unwrap_or_default();
        if !notify.is_empty()
            && let Some(told) = told.as_object_mut()
        {
            told.insert("notify".to_owned(), json!(notify));
        }
        if let Some(pass) = self.rights.pass_of(request)
            && let Some(receipt) = told.get_mut("receipt").and_then(Value::as_object_mut)
        {
            receipt.insert("pass".to_owned(), pass);
        }
        told
    }

    async fn export(&self, id: &str, query: &str) -> Reply {
        let asked = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "format").map(|(_, value)| value.into_owned());
        let Some(format) = CopyFormat::from_name(asked.as_deref().unwrap_or("json")) else {
            return respond::text(StatusCode::BAD_REQUEST, "`format` is json, csv or pdf.\n");
        };
        let found = Id::parse(id.as_bytes()).map(|id| self.rights.request(self.site.key.as_str(), id)).transpose();
        let request = match found {
            Ok(Some(Some(request))) if request.kind == RequestKind::Access => request,
            Ok(Some(Some(_))) => return respond::text(StatusCode::CONFLICT, "Only a request of the kind `access` has a copy.\n"),
            Ok(Some(None) | None) => return respond::text(StatusCode::NOT_FOUND, "This site has no such request.\n"),
            Err(error) => return refused(&error),
        };
        let visitors = match self.rights.identifiers(&request) {
            Ok(Some(visitors)) => visitors,
            Ok(None) => return respond::text(StatusCode::GONE, "The copy can no longer be made: the request is past its time, or the person was erased. Hand a new one in.\n"),
            Err(error) => return refused(&error),
        };
        match self.copy(&visitors, format).await {
            Ok((bytes, copied)) => match self.rights.exported(request.id, format.name(), copied.rows, copied.sha256, self.now) {
                Ok(()) => copy_reply(&request, format, bytes),
                Err(error) => refused(&error),
            },
            Err(error) => {
                tracing::warn!(%error, "a copy could not be made");
                respond::text(StatusCode::SERVICE_UNAVAILABLE, "The copy cannot be made at the moment. One of more than 64 MiB is written by `clearpixel subject export --output FILE`.\n")
            }
        }
    }

    async fn copy(&self, visitors: &[Id], format: CopyFormat) -> Result<(Vec<u8>, subject::Copied), crate::desk::query::QueryError> {
        let records = self.persons.records(visitors)?;
        let suppressions = self.rights.subscribe().borrow().clone();
        let options = SessionOptions { memory_bytes: 64 << 20, ..SessionOptions::new(self.spill.clone(), Audience::Subject(suppressions)) };
        let session = Session::open(self.lake, options)?;
        let mut bytes = Bounded::new(COPY_BYTES_MAX);
        let whose = Whose { site: &self.site.key, visitors, records: &records };
        let copied = subject::copy(&session, whose, format, &mut bytes, self.now).await?;
        Ok((bytes.bytes, copied))
    }
}

const BODY_MAX: usize = 64 << 10;
/// Some 60,000 rows of 1 KiB of JSON.
const COPY_BYTES_MAX: usize = 64 << 20;

/// A request as the contract's client is told of it.
pub fn told(request: &Request) -> Value {
    let mut told = json!({
        "id": request.id.to_string(),
        "kind": request.kind.name(),
        "received_at": rfc3339(request.received_at),
        "due_at": rfc3339(request.due_at),
        "state": request.state.name(),
        "asked_by": request.by.name(),
    });
    let receipt = request.receipt.clone();
    let more = [
        ("fields", (!request.fields.is_empty()).then(|| json!(request.fields))),
        ("done_at", request.done_at.map(|at| json!(rfc3339(at)))),
        ("held_until", request.held_until.map(|at| json!(rfc3339(at)))),
        ("reason", request.reason.as_ref().map(|reason| json!(reason))),
        ("receipt", receipt),
        ("notice", subject::notice(request).map(Value::from)),
    ];
    if let Some(told) = told.as_object_mut() {
        told.extend(more.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
    }
    told
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    kind: String,
    visitor_id: Option<String>,
    user_id: Option<String>,
    #[serde(default)]
    fields: BTreeMap<String, Option<String>>,
    #[serde(default)]
    now: bool,
}

/// What a body asks for, and the user's id where it is about one; an error never holds a word of it.
fn parse(bytes: &[u8], site: &SiteKey, by: Asker) -> Result<(Ask, Option<String>), String> {
    let Ok(body) = serde_json::from_slice::<Body>(bytes) else {
        return Err("Send JSON: {\"kind\":\"…\",\"visitor_id\":\"…\"}, for a rectification with \"fields\":{\"NAME\":\"TEXT\"}, and \"now\":true to do it at once.\n".to_owned());
    };
    let Some(kind) = RequestKind::from_name(&body.kind) else {
        return Err("`kind` is access, erasure, rectification, restriction, release or objection.\n".to_owned());
    };
    let visitor = match (&body.visitor_id, &body.user_id) {
        (None, Some(user_id)) if !user_id.is_empty() => Id([0; 16]),
        (Some(_), Some(_)) => return Err("Name one of `visitor_id` and `user_id`.\n".to_owned()),
        (visitor, _) => match visitor.as_deref().and_then(|text| Id::parse(text.as_bytes())) {
            Some(visitor) => visitor,
            None => return Err("`visitor_id` is 32 lower-case hexadecimal digits, as /choices shows them to the person.\n".to_owned()),
        },
    };
    Ok((Ask { fields: body.fields, now: body.now, ..Ask::of(kind, *site, visitor, by) }, body.user_id))
}

fn refused(error: &RightsError) -> Reply {
    match error {
        RightsError::NoFields | RightsError::NeedlessFields | RightsError::UnknownField(_) | RightsError::Value { .. } | RightsError::HoldReason => {
            respond::text(StatusCode::BAD_REQUEST, &format!("{error}.\n"))
        }
        RightsError::Taken => respond::text(StatusCode::CONFLICT, &format!("{error}.\n")),
        RightsError::Audit(_) | RightsError::Io(_) => {
            tracing::error!(%error, "a request could not be kept");
            respond::text(StatusCode::SERVICE_UNAVAILABLE, "Requests cannot be kept at the moment; nothing was taken.\n")
        }
    }
}

fn unreadable(error: &dyn std::fmt::Display) -> Reply {
    tracing::error!(%error, "people cannot be read");
    respond::text(StatusCode::SERVICE_UNAVAILABLE, "People cannot be read at the moment; nothing was taken.\n")
}

fn copy_reply(request: &Request, format: CopyFormat, bytes: Vec<u8>) -> Reply {
    let kind = match format {
        CopyFormat::Json => "application/json",
        CopyFormat::Csv => "text/csv; charset=utf-8",
        CopyFormat::Pdf => "application/pdf",
    };
    let mut reply = respond::of(StatusCode::OK, kind, bytes.into());
    if let Ok(name) = HeaderValue::from_str(&format!("attachment; filename=\"{}.{}\"", request.id, format.name())) {
        reply.headers_mut().insert(CONTENT_DISPOSITION, name);
    }
    reply
}

/// A browser says where a page's call comes from; what is no browser says nothing.
pub fn is_own(headers: &HeaderMap) -> bool {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or("");
    match headers.get(ORIGIN) {
        None => true,
        Some(origin) => origin.to_str().ok().and_then(|origin| origin.split_once("://")).is_some_and(|(_, authority)| authority.eq_ignore_ascii_case(host)),
    }
}

#[cfg(test)]
mod tests {
    use super::{is_own, parse};
    use crate::hit::field::{Asker, RequestKind};
    use crate::hit::site::SiteKey;
    use hyper::header::HeaderMap;
    use proptest::prelude::*;

    fn parsed(body: &str) -> Result<super::Ask, String> {
        parse(body.as_bytes(), &SiteKey::parse("acme").unwrap(), Asker::Client).map(|(ask, _)| ask)
    }

    #[test]
    fn bodies() {
        let id = "ab".repeat(16);
        let ask = parsed(&format!("{{\"kind\":\"rectification\",\"visitor_id\":\"{id}\",\"fields\":{{\"country\":\"DE\",\"language\":null}},\"now\":true}}")).unwrap();
        assert_eq!((ask.kind, ask.visitor.to_string(), ask.now, ask.fields.len()), (RequestKind::Rectification, id.clone(), true, 2));
        for (body, told) in [
            ("", "Send JSON"),
            ("{\"kind\":\"erasure\"}", "`visitor_id` is"),
            (&format!("{{\"kind\":\"erase\",\"visitor_id\":\"{id}\"}}"), "`kind` is"),
            (&format!("{{\"kind\":\"erasure\",\"visitor_id\":\"{id}\",\"more\":1}}"), "Send JSON"),
            (&format!("{{\"kind\":\"erasure\",\"visitor_id\":\"{}\"}}", id.to_uppercase()), "`visitor_id` is"),
            (&format!("{{\"kind\":\"erasure\",\"user_id\":\"jane\",\"visitor_id\":\"{id}\"}}"), "Name one of"),
            ("{\"kind\":\"erasure\",\"user_id\":\"\"}", "`visitor_id` is"),
        ] {
            let error = parsed(body).unwrap_err();
            assert!(error.contains(told) && !error.contains(&id) && !error.contains("jane"), "{body}: {error}");
        }
    }

    #[test]
    fn a_page_elsewhere_may_not_ask() {
        let of = |origin: Option<&str>| {
            let mut headers = HeaderMap::new();
            headers.insert("host", "127.0.0.1:8081".parse().unwrap());
            if let Some(origin) = origin {
                headers.insert("origin", origin.parse().unwrap());
            }
            is_own(&headers)
        };
        assert!(of(None) && of(Some("http://127.0.0.1:8081")));
        assert!(!of(Some("https://evil.example")) && !of(Some("null")) && !of(Some("http://127.0.0.1:8080")));
    }

    proptest! {
        #[test]
        fn no_error_tells_what_was_sent(kind in "[a-z]{0,12}", secret in "[a-zA-Z0-9@.]{6,40}") {
            prop_assume!(!["access", "erasure", "kind", "visitor_id", "release"].contains(&secret.as_str()));
            for body in [format!("{{\"kind\":\"{kind}\",\"visitor_id\":\"{secret}\"}}"), format!("{{\"{secret}\":1}}"), secret.clone()] {
                if let Err(error) = parsed(&body) {
                    prop_assert!(!error.contains(&secret), "{}", error);
                }
            }
        }
    }
}
