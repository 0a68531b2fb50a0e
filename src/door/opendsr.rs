//! Owns OpenDSR 2.0 (github.com/opengdpr/OpenDSR): persons' requests as other processors take them, under
//! `/opendsr/v2/`.
//!
//! A translation and nothing more: what is asked goes the way of every request (`desk::rights`), so its due
//! date, entries and receipts are the same. A request's id is made of the caller's, so handing it in again is
//! harmless. Promises: no error holds a word of a body; `encoded_request`, which the specification asks to
//! be sent back, is neither kept nor logged; callbacks are never called, for a collector that calls any address
//! it is told can be made to call those behind its own walls, and the answer says so.

use super::opendsr_seal::Seal;
use super::request::BODY_DEADLINE;
use super::requests::is_own;
use super::respond::{self, Reply};
use crate::desk::persons::{Persons, PersonsError};
use crate::desk::book::Request;
use crate::desk::rights::{Ask, Rights, RightsError};
use crate::desk::text::{moment, rfc3339};
use crate::hit::clock::Moment;
use crate::hit::field::{Asker, Id, RequestKind, RequestState};
use crate::hit::private::Private;
use crate::hit::site::Site;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::header::{HOST, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, StatusCode};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;

/// What needs no token: what is supported, and the certificate. `None` for any other path.
pub fn discover(below: &[&str], headers: &HeaderMap, seal: &Seal, rights: &Rights) -> Option<Reply> {
    match below {
        ["discovery"] => Some(discovery(headers, seal, rights)),
        ["certificate"] => Some(match seal {
            Seal::Certificate { pem, .. } => respond::of(StatusCode::OK, "application/x-pem-file", pem.clone().into()),
            Seal::AuditLog => error(StatusCode::NOT_FOUND, "no_certificate", "This processor has no certificate: /opendsr/v2/discovery says how it signs."),
        }),
        _ => None,
    }
}

/// Where requests are kept, and who asks.
pub struct OpenDsr<'a> {
    pub rights: &'a Rights,
    pub persons: Persons<'a>,
    pub seal: &'a Seal,
    /// The controller.
    pub site: &'a Site,
    pub by: Asker,
    pub now: Moment,
}

impl OpenDsr<'_> {
    /// Answers a call below `/opendsr/v2/`.
    pub async fn answer(&self, method: &Method, below: &[&str], headers: &HeaderMap, body: Incoming) -> Reply {
        match (method, below) {
            (&Method::POST, ["requests"]) if !is_own(headers) => error(StatusCode::FORBIDDEN, "origin", "A page of another origin may not hand a request in."),
            (&Method::POST, ["requests"]) => self.take(headers, body).await,
            (&Method::GET | &Method::HEAD, ["requests", id] | ["requests", id, "status"] | ["status", id]) => self.status(id, headers),
            (&Method::DELETE, ["requests", id]) => self.cancel(id),
            (_, ["requests"] | ["requests", _] | ["requests", _, "status"] | ["status", _]) => error(StatusCode::METHOD_NOT_ALLOWED, "method", "This method is not for this path."),
            _ => error(StatusCode::NOT_FOUND, "path", "There is nothing here: discovery, requests or requests/SUBJECT_REQUEST_ID?"),
        }
    }

    async fn take(&self, headers: &HeaderMap, body: Incoming) -> Reply {
        let bytes = match tokio::time::timeout(BODY_DEADLINE, Limited::new(body, BODY_MAX).collect()).await {
            Ok(Ok(collected)) => collected.to_bytes(),
            Err(_) => return error(StatusCode::REQUEST_TIMEOUT, "deadline", "The request did not arrive within 30 s."),
            Ok(Err(_)) => return error(StatusCode::PAYLOAD_TOO_LARGE, "size", "The request is larger than 64 KiB."),
        };
        let asked = match parse(&bytes, self.persons.people.has(&self.site.key)) {
            Ok(asked) => asked,
            Err(problem) => return error(StatusCode::BAD_REQUEST, problem.field, problem.message),
        };
        let mut requests = Vec::with_capacity(asked.whom.len());
        for (number, whom) in asked.whom.iter().enumerate() {
            let ask = |visitor| Ask::of(asked.kind, self.site.key, visitor, self.by);
            let ask = match whom {
                Whom::Visitor(visitor) => Ok(ask(*visitor)),
                Whom::User(name) => self.persons.by_user(ask(Id([0; 16])), name.reveal()),
            };
            match ask.and_then(|ask| Ok(self.rights.ask_as(self.id(&asked.id, number), &ask, self.now)?)) {
                Ok(request) => requests.push(request),
                Err(error) => return not_taken(&error),
            }
        }
        let mut extension = self.extension(&requests);
        if asked.has_callbacks
            && let Some(extension) = extension.as_object_mut()
        {
            extension.insert("status_callbacks".to_owned(), json!("not supported: `status_callback_urls` are never called and not kept; ask for the status at `status_url`"));
            extension.insert("status_url".to_owned(), json!(format!("/opendsr/v2/requests/{}", asked.id)));
        }
        let domain = domain(headers);
        let answer = json!({
            "controller_id": self.site.key.as_str(),
            "expected_completion_time": rfc3339(due(&requests)),
            "received_time": rfc3339(requests.iter().map(|request| request.received_at).min().unwrap_or(self.now)),
            "encoded_request": STANDARD.encode(&bytes),
            "subject_request_id": asked.id,
            "api_version": API_VERSION,
            "extensions": {domain.as_str(): extension},
        });
        self.signed(StatusCode::CREATED, &answer, &domain)
    }

    fn status(&self, id: &str, headers: &HeaderMap) -> Reply {
        let requests = match self.found(id) {
            Ok(requests) => requests,
            Err(reply) => return *reply,
        };
        let domain = domain(headers);
        let mut answer = json!({
            "controller_id": self.site.key.as_str(),
            "expected_completion_time": rfc3339(due(&requests)),
            "subject_request_id": id,
            "request_status": status_of(&requests),
            "api_version": API_VERSION,
            "extensions": {domain.as_str(): self.extension(&requests)},
        });
        if let Some(answer) = answer.as_object_mut() {
            if let [only] = requests.as_slice()
                && only.kind == RequestKind::Access
            {
                // Whoever stands before the admin port for others does so with TLS; on the machine itself there is none.
                let scheme = if domain == "localhost" || domain.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') { "http" } else { "https" };
                let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or(&domain);
                answer.insert("results_url".to_owned(), json!(format!("{scheme}://{host}{}", self.export_path(only))));
            }
            let counts: Option<Vec<u64>> = requests.iter().map(rows).collect();
            if let Some(counts) = counts {
                answer.insert("results_count".to_owned(), json!(counts.iter().sum::<u64>()));
            }
        }
        self.signed(StatusCode::OK, &answer, &domain)
    }

    /// "MAY be cancelled by the Controller while in status `pending`" (§9): none is, here.
    fn cancel(&self, id: &str) -> Reply {
        match self.found(id) {
            Ok(_) => error(StatusCode::BAD_REQUEST, "not_pending", "This request cannot be cancelled: it was in force when it was answered, and so was never pending."),
            Err(reply) => *reply,
        }
    }

    /// The requests under a caller's id, one for each identity.
    fn found(&self, id: &str) -> Result<Vec<Request>, Box<Reply>> {
        let unknown = || Box::new(error(StatusCode::NOT_FOUND, "subject_request_id", "There is no request of this controller under this id."));
        if !is_uuid_v4(id) {
            return Err(unknown());
        }
        let mut requests = Vec::new();
        for number in 0..2 * IDENTITIES_MAX {
            match self.rights.request(self.site.key.as_str(), self.id(id, number)) {
                Ok(Some(request)) => requests.push(request),
                Ok(None) => break,
                Err(error) => return Err(Box::new(refused(&error))),
            }
        }
        if requests.is_empty() { Err(unknown()) } else { Ok(requests) }
    }

    /// Our id of a caller's request: of the controller and the number of the identity as well, for two
    /// controllers may choose the same.
    fn id(&self, subject_request_id: &str, number: usize) -> Id {
        let digest = Sha256::digest(format!("opendsr\n{}\n{subject_request_id}\n{number}", self.site.key));
        let mut id = [0; 16];
        id.iter_mut().zip(digest).for_each(|(byte, of)| *byte = of);
        Id(id)
    }

    /// The requests as the paths under `/v1` know them.
    fn extension(&self, requests: &[Request]) -> Value {
        let told = |request: &Request| {
            let mut told = json!({"id": request.id.to_string(), "kind": request.kind.name(), "state": request.state.name()});
            if let Some(told) = told.as_object_mut() {
                if request.kind == RequestKind::Access {
                    told.insert("export".to_owned(), json!(self.export_path(request)));
                }
                if let Some(receipt) = &request.receipt {
                    told.insert("receipt".to_owned(), receipt.clone());
                }
                if let Some(reason) = &request.reason {
                    told.insert("reason".to_owned(), json!(reason));
                }
            }
            told
        };
        json!({"requests": requests.iter().map(told).collect::<Vec<_>>()})
    }

    fn export_path(&self, request: &Request) -> String {
        format!("/v1/sites/{}/requests/{}/export", self.site.key, request.id)
    }

    fn signed(&self, status: StatusCode, answer: &Value, domain: &str) -> Reply {
        signed(status, answer, domain, self.seal, self.rights)
    }
}

const API_VERSION: &str = "2.0";
const BODY_MAX: usize = 64 << 10;
/// Identities of one person in a request: more are more than one person's. Each may mean two (`whom`).
const IDENTITIES_MAX: usize = 16;

fn discovery(headers: &HeaderMap, seal: &Seal, rights: &Rights) -> Reply {
    let domain = domain(headers);
    let (certificate, public_key) = match seal {
        Seal::Certificate { .. } => (Some(format!("https://{domain}/opendsr/v2/certificate")), None),
        Seal::AuditLog => (None, Some(rights.sign(b"").1)),
    };
    let answer = json!({
        "api_version": API_VERSION,
        "supported_identities": [{"identity_type": "controller_customer_id", "identity_format": "raw"}],
        "supported_subject_request_types": ["access", "portability", "erasure"],
        "processor_certificate": certificate,
        "extensions": {domain.as_str(): {"signature": seal.algorithm(), "public_key": public_key, "status_callbacks": "not supported: ask for the status"}},
    });
    signed(StatusCode::OK, &answer, &domain, seal, rights)
}

fn signed(status: StatusCode, answer: &Value, domain: &str, seal: &Seal, rights: &Rights) -> Reply {
    let body = answer.to_string();
    let Some(signature) = seal.sign(body.as_bytes(), rights).and_then(|signature| HeaderValue::from_str(&signature).ok()) else {
        return error(StatusCode::SERVICE_UNAVAILABLE, "signature", "The answer cannot be signed at the moment.");
    };
    let mut reply = respond::json(status, body);
    reply.headers_mut().insert(HeaderName::from_static("x-opendsr-signature"), signature);
    if let Ok(domain) = HeaderValue::from_str(domain) {
        reply.headers_mut().insert(HeaderName::from_static("x-opendsr-processor-domain"), domain);
    }
    reply
}

/// The domain that was asked, which the specification says the signature is of (§8.3).
fn domain(headers: &HeaderMap) -> String {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or("");
    let name = host.rsplit_once(':').map_or(host, |(name, port)| if port.bytes().all(|byte| byte.is_ascii_digit()) { name } else { host });
    let is_name = (1..=253).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.');
    if is_name { name.to_ascii_lowercase() } else { "localhost".to_owned() }
}

fn due(requests: &[Request]) -> Moment {
    requests.iter().map(|request| request.due_at).max().unwrap_or_default()
}

/// What is held or failed is not completed; why is in the extension.
fn status_of(requests: &[Request]) -> &'static str {
    let all = |state: RequestState| requests.iter().all(|request| request.state == state);
    if all(RequestState::Done) {
        "completed"
    } else if all(RequestState::Failed) {
        "cancelled"
    } else {
        "in_progress"
    }
}

/// So many rows an erasure was about, by its receipt.
fn rows(request: &Request) -> Option<u64> {
    let signed: Value = serde_json::from_str(request.receipt.as_ref()?.get("signed")?.as_str()?).ok()?;
    signed.get("rows")?.as_u64()
}

/// What a body asks for.
#[derive(Debug)]
struct Asked {
    id: String,
    kind: RequestKind,
    whom: Vec<Whom>,
    has_callbacks: bool,
}

/// Whom an identity means.
#[derive(Debug)]
enum Whom {
    Visitor(Id),
    /// The client's own name of a person.
    User(Private<String>),
}

/// What is wrong with a body: never a word of it.
#[derive(Debug, PartialEq, Eq)]
struct Problem {
    field: &'static str,
    message: &'static str,
}

fn parse(bytes: &[u8], has_people: bool) -> Result<Asked, Problem> {
    let problem = |field, message| Problem { field, message };
    let Ok(Value::Object(body)) = serde_json::from_slice(bytes) else {
        return Err(problem("body", "The body is no JSON object."));
    };
    let text = |name: &str| body.get(name).and_then(Value::as_str);
    if !matches!(text("regulation"), Some("gdpr" | "ccpa")) {
        return Err(problem("regulation", "regulation is gdpr or ccpa."));
    }
    let id = text("subject_request_id").filter(|id| is_uuid_v4(id)).ok_or(problem("subject_request_id", "subject_request_id is a UUID of version 4 in lower case."))?;
    let kind = match text("subject_request_type") {
        Some("erasure") => RequestKind::Erasure,
        Some("access" | "portability") => RequestKind::Access,
        Some(_) | None => return Err(problem("subject_request_type", "subject_request_type is access, portability or erasure; for others there is /v1/sites/KEY/requests.")),
    };
    if text("submitted_time").and_then(moment).is_none() {
        return Err(problem("submitted_time", "submitted_time is an RFC 3339 time, such as 2026-11-23T10:00:00Z."));
    }
    if !body.get("api_version").is_none_or(|version| version.is_null() || version.as_str().is_some_and(|version| version == "2" || version.starts_with("2."))) {
        return Err(problem("api_version", "api_version is 2.0 here."));
    }
    let callbacks = body.get("status_callback_urls").filter(|urls| !urls.is_null());
    if !callbacks.is_none_or(|urls| urls.as_array().is_some_and(|urls| urls.iter().all(Value::is_string))) {
        return Err(problem("status_callback_urls", "status_callback_urls is an array of URLs."));
    }
    let identities = body.get("subject_identities").and_then(Value::as_array).filter(|identities| (1..=IDENTITIES_MAX).contains(&identities.len()));
    let identities = identities.ok_or(problem("subject_identities", "subject_identities is an array of 1 to 16 identities."))?;
    let (mut means, mut seen) = (Vec::new(), BTreeSet::new());
    for identity in identities {
        let value = value_of(identity)?;
        if seen.insert(value) {
            means.extend(whom(value, has_people)?);
        }
    }
    let has_callbacks = callbacks.and_then(Value::as_array).is_some_and(|urls| !urls.is_empty());
    Ok(Asked { id: id.to_owned(), kind, whom: means, has_callbacks })
}

fn value_of(identity: &Value) -> Result<&str, Problem> {
    let text = |name: &str| identity.get(name).and_then(Value::as_str);
    match (text("identity_type"), text("identity_format"), text("identity_value")) {
        (Some("controller_customer_id"), Some("raw"), Some(value)) => Ok(value),
        _ => Err(Problem { field: "subject_identities", message: "An identity is of identity_type controller_customer_id and identity_format raw: others are not kept here." }),
    }
}

/// Whom a value means: a visitor by the number that `/choices` shows, and where the site has people a person
/// by the client's own name. A client may name its persons by 32 digits too: then it means both.
fn whom(value: &str, has_people: bool) -> Result<Vec<Whom>, Problem> {
    let visitor = Id::parse(value.as_bytes()).map(Whom::Visitor);
    let user = (has_people && (1..=USER_BYTES_MAX).contains(&value.len())).then(|| Whom::User(Private::new(value.to_owned())));
    let whom: Vec<Whom> = visitor.into_iter().chain(user).collect();
    match (whom.is_empty(), has_people) {
        (false, _) => Ok(whom),
        (true, false) => Err(Problem { field: "subject_identities", message: "identity_value is a visitor id: 32 lower-case hexadecimal digits, as /choices shows them to the person." }),
        (true, true) => Err(Problem { field: "subject_identities", message: "identity_value is a visitor id of 32 lower-case hexadecimal digits, or the user id of identify calls, of 1 to 1,024 bytes." }),
    }
}

const USER_BYTES_MAX: usize = 1_024;

/// RFC 9562: version 4, and the variant of that document.
fn is_uuid_v4(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            14 => byte == b'4',
            19 => matches!(byte, b'8' | b'9' | b'a' | b'b'),
            _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
        })
}

/// An error in the specification's form (§7.6).
pub fn error(status: StatusCode, reason: &str, message: &str) -> Reply {
    let detail = json!({"domain": "opendsr", "reason": reason, "message": message});
    respond::json(status, json!({"error": {"code": status.as_u16(), "message": message, "errors": [detail]}}).to_string())
}

fn not_taken(problem: &PersonsError) -> Reply {
    match problem {
        PersonsError::Rights(problem) => refused(problem),
        PersonsError::NotTaken => error(StatusCode::BAD_REQUEST, "subject_identities", "This site keeps no people."),
        PersonsError::People(problem) => {
            tracing::error!(error = %problem, "people cannot be read");
            error(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "People cannot be read at the moment; nothing was taken.")
        }
    }
}

fn refused(problem: &RightsError) -> Reply {
    match problem {
        RightsError::Taken => error(StatusCode::BAD_REQUEST, "subject_request_id", "Another request was handed in under this subject_request_id."),
        RightsError::NoFields | RightsError::NeedlessFields | RightsError::UnknownField(_) | RightsError::Value { .. } | RightsError::HoldReason => {
            error(StatusCode::BAD_REQUEST, "request", "The request cannot be taken.")
        }
        RightsError::Audit(_) | RightsError::Io(_) => {
            tracing::error!(error = %problem, "a request could not be kept");
            error(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Requests cannot be kept at the moment; nothing was taken.")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Whom, domain, is_uuid_v4, parse};
    use crate::hit::field::RequestKind;
    use hyper::header::{HOST, HeaderMap};
    use proptest::prelude::*;
    use serde_json::{Value, json};

    const UUID: &str = "a7551968-d5d6-44b2-9831-815ac9017798";

    fn body() -> Value {
        let identity = |visitor: &str| json!({"identity_type": "controller_customer_id", "identity_value": visitor.repeat(16), "identity_format": "raw"});
        json!({
            "regulation": "gdpr", "subject_request_id": UUID, "subject_request_type": "erasure", "submitted_time": "2018-10-02T15:00:00Z",
            "subject_identities": [identity("ab"), identity("cd"), identity("ab")], "api_version": "2.0",
            "status_callback_urls": ["https://controller.example/callbacks"], "extensions": {"other.example": {"id": 1}},
        })
    }

    #[test]
    fn bodies() {
        let asked = parse(body().to_string().as_bytes(), false).unwrap();
        assert_eq!((asked.id.as_str(), asked.kind, asked.has_callbacks), (UUID, RequestKind::Erasure, true));
        assert_eq!(told(&asked.whom), ["visitor ".to_owned() + &"ab".repeat(16), "visitor ".to_owned() + &"cd".repeat(16)]);
        for (field, value, told) in [
            ("regulation", json!("lgpd"), "regulation"),
            ("regulation", Value::Null, "regulation"),
            ("subject_request_id", json!("A7551968-D5D6-44B2-9831-815AC9017798"), "subject_request_id"),
            ("subject_request_type", json!("correction"), "subject_request_type"),
            ("submitted_time", json!("yesterday"), "submitted_time"),
            ("api_version", json!("1.0"), "api_version"),
            ("status_callback_urls", json!("https://controller.example/"), "status_callback_urls"),
            ("subject_identities", json!([]), "subject_identities"),
            ("subject_identities", json!([{"identity_type": "email", "identity_value": "jane@mail.example", "identity_format": "raw"}]), "subject_identities"),
            ("subject_identities", json!([{"identity_type": "controller_customer_id", "identity_value": "jane@mail.example", "identity_format": "raw"}]), "subject_identities"),
            ("subject_identities", json!([{"identity_type": "controller_customer_id", "identity_value": "ab", "identity_format": "sha256"}]), "subject_identities"),
        ] {
            let mut wrong = body();
            wrong[field] = value;
            let problem = parse(wrong.to_string().as_bytes(), false).unwrap_err();
            assert_eq!(problem.field, told);
            assert!(!problem.message.contains("jane"));
        }
        assert_eq!(parse(b"jane", false).unwrap_err().field, "body");
        for kind in ["access", "portability"] {
            let mut other = body();
            other["subject_request_type"] = json!(kind);
            other["api_version"] = Value::Null;
            other["status_callback_urls"] = Value::Null;
            let asked = parse(other.to_string().as_bytes(), false).unwrap();
            assert_eq!((asked.kind, asked.has_callbacks), (RequestKind::Access, false));
        }
    }

    fn told(whom: &[Whom]) -> Vec<String> {
        let told = whom.iter().map(|whom| match whom {
            Whom::Visitor(id) => format!("visitor {id}"),
            Whom::User(name) => format!("user {}", name.reveal()),
        });
        told.collect()
    }

    #[test]
    fn where_a_site_has_people_a_customer_is_a_user() {
        let mut asked = body();
        let identity = |value: &str| json!({"identity_type": "controller_customer_id", "identity_value": value, "identity_format": "raw"});
        let hex = "ab".repeat(16);
        asked["subject_identities"] = json!([identity("jane-7"), identity(&hex), identity("jane-7")]);
        let whom = parse(asked.to_string().as_bytes(), true).unwrap().whom;
        assert_eq!(told(&whom), ["user jane-7".to_owned(), format!("visitor {hex}"), format!("user {hex}")]);
        assert!(!format!("{whom:?}").contains("jane"));
        for wrong in ["", &"x".repeat(1_025)] {
            asked["subject_identities"] = json!([identity(wrong)]);
            assert_eq!(parse(asked.to_string().as_bytes(), true).unwrap_err().field, "subject_identities");
        }
    }

    #[test]
    fn ids_and_domains() {
        assert!(is_uuid_v4(UUID));
        for bad in ["", "a7551968-d5d6-14b2-9831-815ac9017798", "a7551968-d5d6-44b2-c831-815ac9017798", "a7551968d5d644b29831815ac9017798", "../requests"] {
            assert!(!is_uuid_v4(bad), "{bad}");
        }
        for (host, expected) in [("Stats.Shop.example:8081", "stats.shop.example"), ("127.0.0.1:9", "127.0.0.1"), ("[::1]:8081", "localhost"), ("a b", "localhost"), ("", "localhost")] {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, host.parse().unwrap());
            assert_eq!(domain(&headers), expected, "{host}");
        }
    }

    proptest! {
        #[test]
        fn no_body_breaks_the_reader(bytes in prop::collection::vec(any::<u8>(), 0..200), field in "[a-z_]{1,20}", at in 0..400usize) {
            let _ = parse(&bytes, true);
            let mut other = body();
            other[&field] = json!({"x": [1, null]});
            let text = other.to_string();
            let _ = parse(text.as_bytes(), true);
            let _ = parse(&text.as_bytes()[..at.min(text.len())], false);
        }
    }
}
