//! Holds `clearpixel site add`: the block it writes is one that the collector takes, and the secret opens it.

use crate::program::{Home, Settings};

#[test]
fn a_site_is_added_whole_or_not_at_all() {
    let home = Home::new(Settings { sites: "# the first\n[[site]]\nkey = \"acme\"", ..Settings::default() });
    let before = std::fs::read_to_string(home.settings()).unwrap();
    for wrong in [["Acme", "https://a.example"], ["acme", "https://a.example"], ["shop", "a.example"]] {
        let output = home.run_here(&["site", "add", wrong[0], "--origin", wrong[1]]);
        assert_eq!(output.status.code(), Some(64), "{wrong:?}: {}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(std::fs::read_to_string(home.settings()).unwrap(), before);
    }
    let output = home.run_here(&["site", "add", "shop", "--name", "The \"Shop\"", "--origin", "https://shop.example", "--collector", "https://data.shop.example/"]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let told = String::from_utf8(output.stdout).unwrap();
    let secret = told.lines().map(str::trim).find(|line| line.len() == 64 && line.bytes().all(|byte| byte.is_ascii_hexdigit())).unwrap();
    let after = std::fs::read_to_string(home.settings()).unwrap();
    assert!(after.starts_with(&before) && !after.contains(secret), "{after}");
    assert!(told.contains("<script async src=\"https://data.shop.example/tag.js\" data-site=\"shop\"></script>"));
    let versioned = told.split('"').find(|text| text.starts_with("https://data.shop.example/tag.") && text.len() > 40).unwrap();
    let path = versioned.strip_prefix("https://data.shop.example").unwrap();

    let program = home.start();
    let bearer = format!("Bearer {secret}");
    let answer = program.connect().call("POST", "/v1/interactions", &[("Authorization", &bearer)], br#"{"event":"call","consent":"granted"}"#);
    assert_eq!(answer.text(), r#"{"results":[{"event_id":null,"result":"stored"}]}"#);
    let versions = [path, "/tag.0123456789ab.js", "/tag.js"].map(|path| program.connect().get(path, &[]));
    let keeping = versions.each_ref().map(|answer| (answer.status, answer.header("cache-control").unwrap().to_owned()));
    assert_eq!(keeping, ["public, max-age=31536000, immutable", "public, max-age=3600", "public, max-age=3600"].map(|keeping| (200, keeping.to_owned())));
    assert!(versions.iter().all(|answer| answer.body == versions[0].body && answer.header("access-control-allow-origin") == Some("*")));
    program.stop();
}
