//! Holds OpenDSR 2.0: its forms over a socket, that it is the same request as any other, and that its signatures
//! can be checked.

use crate::program::{Answer, BEHIND_PROXY, Home, Program, Settings, UNITED_STATES, eventually, sha256_hex};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{ED25519, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

const SECRET: &str = "acme's own secret";
const UUID: &str = "a7551968-d5d6-44b2-9831-815ac9017798";
const OTHER_UUID: &str = "a7551968-d5d6-44b2-9831-815ac9017799";

fn home(sections: &str) -> Home {
    let sites = format!("[[site]]\nkey = \"acme\"\nsecret_sha256 = \"{}\"\n[[site]]\nkey = \"other\"\nsecret_sha256 = \"{}\"\n", sha256_hex(SECRET), sha256_hex("another"));
    Home::new(Settings { door: BEHIND_PROXY, sections, sites: &sites, ..Settings::default() })
}

fn arrive(program: &Program, event_id: &str) -> String {
    let answer = program.connect().pixel_from(UNITED_STATES, &format!("s=acme&id={event_id}"));
    let cookie = answer.cookies("__Host-cp_id.acme")[0].to_owned();
    cookie.split_once('=').unwrap().1.split_once('.').unwrap().0.to_owned()
}

fn body(kind: &str, id: &str, visitors: &[&str]) -> Value {
    let identity = |visitor: &&str| json!({"identity_type": "controller_customer_id", "identity_value": visitor, "identity_format": "raw"});
    json!({
        "regulation": "gdpr", "subject_request_id": id, "subject_request_type": kind, "submitted_time": "2026-10-02T15:00:00Z",
        "subject_identities": visitors.iter().map(identity).collect::<Vec<_>>(), "api_version": "2.0",
    })
}

fn call(program: &Program, method: &str, path: &str, bearer: &str, body: &str) -> Answer {
    let authorization = format!("Bearer {bearer}");
    program.connect_admin().call(method, path, &[("Authorization", &authorization), ("Host", "Stats.shop.example:8081")], body.as_bytes())
}

fn told(answer: &Answer) -> Value {
    serde_json::from_slice(&answer.body).unwrap()
}

fn signature(answer: &Answer) -> Vec<u8> {
    assert_eq!(answer.header("x-opendsr-processor-domain"), Some("stats.shop.example"));
    STANDARD.decode(answer.header("x-opendsr-signature").unwrap()).unwrap()
}

#[test]
fn an_erasure_by_opendsr_is_the_request_that_it_is_elsewhere() {
    let home = home("");
    let program = home.start();
    let (jane, jane_again, other) = (arrive(&program, "jane-1"), arrive(&program, "jane-2"), arrive(&program, "other-1"));
    home.await_rows(3);
    let discovery = program.connect_admin().get("/opendsr/v2/discovery", &[("Host", "stats.shop.example")]);
    assert_eq!(discovery.status, 200);
    let discovered = told(&discovery);
    assert_eq!((&discovered["api_version"], &discovered["supported_subject_request_types"]), (&json!("2.0"), &json!(["access", "portability", "erasure"])));
    assert_eq!(discovered["processor_certificate"], Value::Null);
    let digits = discovered["extensions"]["stats.shop.example"]["public_key"].as_str().unwrap().to_owned();
    assert_eq!(digits, std::fs::read_to_string(home.data().join("subjects/audit.pub")).unwrap().trim());
    let key: Vec<u8> = digits.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect();
    let holds = |answer: &Answer| UnparsedPublicKey::new(&ED25519, &key).verify(&Sha256::digest(&answer.body), &signature(answer)).is_ok();
    assert!(holds(&discovery));

    let mut asked = body("erasure", UUID, &[&jane, &jane_again]);
    asked["status_callback_urls"] = json!(["http://169.254.169.254/latest/meta-data"]);
    let asked = asked.to_string();
    let answer = call(&program, "POST", "/opendsr/v2/requests", SECRET, &asked);
    assert_eq!(answer.status, 201, "{}", answer.text());
    assert!(holds(&answer));
    let taken = told(&answer);
    assert_eq!((&taken["controller_id"], &taken["subject_request_id"], &taken["encoded_request"]), (&json!("acme"), &json!(UUID), &json!(STANDARD.encode(&asked))));
    let ours = &taken["extensions"]["stats.shop.example"];
    assert!(ours["status_callbacks"].as_str().unwrap().contains("never called"), "{taken}");
    assert_eq!(ours["status_url"], json!(format!("/opendsr/v2/requests/{UUID}")));
    assert_eq!(home.number(&format!("select count(*) as n from interactions where visitor_id in ('{jane}', '{jane_again}')")), 0, "in force when it is answered");
    assert_eq!(home.number(&format!("select count(*) as n from interactions where visitor_id = '{other}'")), 1);

    let id = ours["requests"][0]["id"].as_str().unwrap();
    let known = told(&call(&program, "GET", &format!("/v1/sites/acme/requests/{id}"), SECRET, ""));
    assert_eq!((&known["kind"], &known["due_at"], &known["received_at"]), (&json!("erasure"), &taken["expected_completion_time"], &taken["received_time"]));
    let list = told(&call(&program, "GET", "/v1/sites/acme/requests", SECRET, ""));
    assert_eq!(list["requests"].as_array().unwrap().len(), 2);

    let again = call(&program, "POST", "/opendsr/v2/requests", SECRET, &asked);
    assert_eq!((again.status, &told(&again)["received_time"]), (201, &taken["received_time"]));
    assert_eq!(told(&call(&program, "GET", "/v1/sites/acme/requests", SECRET, ""))["requests"].as_array().unwrap().len(), 2, "handed in again it is the same");
    let mixed_up = call(&program, "POST", "/opendsr/v2/requests", SECRET, &body("erasure", UUID, &[&other]).to_string());
    assert_eq!((mixed_up.status, &told(&mixed_up)["error"]["errors"][0]["reason"]), (400, &json!("subject_request_id")));

    for path in [format!("/opendsr/v2/requests/{UUID}"), format!("/opendsr/v2/requests/{UUID}/status"), format!("/opendsr/v2/status/{UUID}")] {
        let status = call(&program, "GET", &path, SECRET, "");
        assert!(holds(&status), "{path}");
        let status = told(&status);
        assert_eq!((&status["request_status"], &status["subject_request_id"], &status["controller_id"]), (&json!("in_progress"), &json!(UUID), &json!("acme")), "{path}");
    }
    assert_eq!(call(&program, "GET", &format!("/opendsr/v2/requests/{UUID}"), "another", "").status, 404, "another controller's");
    let cancelled = call(&program, "DELETE", &format!("/opendsr/v2/requests/{UUID}"), SECRET, "");
    assert_eq!((cancelled.status, &told(&cancelled)["error"]["errors"][0]["reason"]), (400, &json!("not_pending")));
    assert_eq!(call(&program, "DELETE", &format!("/opendsr/v2/requests/{OTHER_UUID}"), SECRET, "").status, 404);

    let access = call(&program, "POST", "/opendsr/v2/requests", SECRET, &body("portability", OTHER_UUID, &[&other]).to_string());
    assert_eq!(access.status, 201, "{}", access.text());
    let status = told(&call(&program, "GET", &format!("/opendsr/v2/requests/{OTHER_UUID}"), SECRET, ""));
    assert_eq!(status["request_status"], json!("completed"));
    let url = status["results_url"].as_str().unwrap();
    let path = url.strip_prefix("https://Stats.shop.example:8081").unwrap();
    let copy = call(&program, "GET", path, SECRET, "");
    assert!(copy.status == 200 && copy.text().contains(&other), "{}", copy.text());
    let printed = program.stop();
    assert!(!printed.contains(&jane) && !printed.contains(&STANDARD.encode(&asked)) && !printed.contains("169.254"), "{printed}");

    // The work in the files is done by whoever comes next, and the status tells of it.
    let maintained = home.run_here(&["maintain", "--once"]);
    assert!(maintained.status.success(), "{}", String::from_utf8_lossy(&maintained.stderr));
    for (path, bytes) in crate::program::files_below(&home.data()) {
        for secret in [jane.as_bytes(), STANDARD.encode(&asked).as_bytes(), b"169.254.169.254"] {
            assert!(!bytes.windows(secret.len()).any(|window| window == secret), "{}", path.display());
        }
    }
    let program = home.start();
    eventually("the end of the request", || {
        let status = told(&call(&program, "GET", &format!("/opendsr/v2/requests/{UUID}"), SECRET, ""));
        if (&status["request_status"], &status["results_count"]) == (&json!("completed"), &json!(2)) { Ok(()) } else { Err(status.to_string()) }
    });
    program.stop();
}

#[test]
fn errors_have_the_form_of_the_specification_and_no_word_of_a_body() {
    let home = home("");
    let program = home.start();
    let jane = arrive(&program, "jane-1");
    let good = body("erasure", UUID, &[&jane]).to_string();
    let mut by_mail = body("erasure", UUID, &[&jane]);
    by_mail["subject_identities"][0]["identity_type"] = json!("email");
    by_mail["subject_identities"][0]["identity_value"] = json!("jane@mail.example");
    for (method, path, bearer, body, status) in [
        ("POST", "/opendsr/v2/requests", "a guess", good.as_str(), 401),
        ("POST", "/opendsr/v2/requests?site=other", SECRET, &good, 401),
        ("GET", "/opendsr/v2/requests/x", SECRET, "", 404),
        ("POST", "/opendsr/v2/requests", SECRET, &by_mail.to_string(), 400),
        ("POST", "/opendsr/v2/requests", SECRET, &body("erasure", UUID, &["jane@mail.example"]).to_string(), 400),
        ("POST", "/opendsr/v2/requests", SECRET, &body("correction", UUID, &[&jane]).to_string(), 400),
        ("POST", "/opendsr/v2/requests", SECRET, "jane@mail.example", 400),
        ("POST", "/opendsr/v2/requests", SECRET, &"x".repeat(70_000), 413),
        ("PUT", "/opendsr/v2/requests", SECRET, "", 405),
        ("GET", "/opendsr/v2/nothing", SECRET, "", 404),
        ("GET", "/opendsr/discovery", SECRET, "", 404),
        ("GET", "/opendsr/v1/discovery", SECRET, "", 404),
        ("GET", "/opendsr/v2/certificate", SECRET, "", 404),
    ] {
        let answer = call(&program, method, path, bearer, body);
        assert_eq!(answer.status, status, "{method} {path} {body}: {}", answer.text());
        let error = &told(&answer)["error"];
        assert_eq!((&error["code"], error["errors"].as_array().unwrap().len()), (&json!(status), 1));
        assert!(error["message"].is_string() && !answer.text().contains("jane@") && !answer.text().contains(&jane), "{}", answer.text());
    }
    let from_a_page = [("Authorization", &*format!("Bearer {SECRET}")), ("Origin", "https://elsewhere.example")];
    assert_eq!(program.connect_admin().call("POST", "/opendsr/v2/requests", &from_a_page, good.as_bytes()).status, 403);
    // An operator, here by the loopback address, says which site it is.
    assert_eq!(program.connect_admin().call("POST", "/opendsr/v2/requests", &[("Host", "localhost")], good.as_bytes()).status, 400);
    assert_eq!(program.connect_admin().call("POST", "/opendsr/v2/requests?site=nobody", &[("Host", "localhost")], good.as_bytes()).status, 400);
    let list = told(&call(&program, "GET", "/v1/sites/acme/requests", SECRET, ""));
    assert_eq!(list["requests"], json!([]), "none of these was taken");
    assert_eq!(program.connect_admin().call("POST", "/opendsr/v2/requests?site=acme", &[("Host", "localhost")], good.as_bytes()).status, 201);
    program.stop();
}

#[test]
fn an_operators_certificate_signs() {
    let file = |name: &str| format!("{}/tests/data/opendsr/{name}.pem", env!("CARGO_MANIFEST_DIR"));
    let section = |certificate: &str, key: &str| format!("[opendsr]\ncertificate = \"{}\"\nprivate_key = \"{}\"\n", file(certificate), file(key));
    for (certificate, key, told) in [("rsa", "p256-key", "do not go together"), ("nothing", "rsa-key", "opendsr.certificate: "), ("rsa", "rsa", "opendsr.private_key: ")] {
        let checked = home(&section(certificate, key)).run_here(&["check"]);
        let error = String::from_utf8_lossy(&checked.stderr).into_owned();
        assert!(checked.status.code() == Some(64) && error.contains(told), "{error}");
    }
    for (name, algorithm) in [("rsa", "RSASSA-PKCS1-v1_5"), ("p256", "ECDSA on P-256")] {
        let home = home(&section(name, &format!("{name}-key")));
        let program = home.start();
        let discovery = call(&program, "GET", "/opendsr/v2/discovery", "nobody", "");
        let discovered = told(&discovery);
        assert_eq!(discovered["processor_certificate"], json!("https://stats.shop.example/opendsr/v2/certificate"));
        assert!(discovered["extensions"]["stats.shop.example"]["signature"].as_str().unwrap().starts_with(algorithm), "{discovered}");
        let certificate = call(&program, "GET", "/opendsr/v2/certificate", "nobody", "");
        assert_eq!(certificate.text(), std::fs::read_to_string(file(name)).unwrap());
        if name == "rsa" {
            // The RSAPublicKey of 2048 bits in the certificate, as RFC 8017 A.1.1 writes it.
            let text: String = certificate.text().lines().filter(|line| !line.starts_with('-')).collect();
            let der = STANDARD.decode(text).unwrap();
            let at = der.windows(8).position(|bytes| bytes == [0x30, 0x82, 0x01, 0x0a, 0x02, 0x82, 0x01, 0x01]).unwrap();
            let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &der[at..at + 270]);
            assert!(key.verify(&discovery.body, &signature(&discovery)).is_ok());
            assert!(key.verify(b"another body", &signature(&discovery)).is_err());
        }
        program.stop();
    }
}
