//! Proves that the operator's own country database is used, and read again when it changes.

use crate::program::{BEHIND_PROXY, Home, Settings, UNITED_STATES};
use std::path::Path;

const BUILT_IN: &[u8] = include_bytes!("../../assets/country/dbip-country.mmdb");

/// As an operator replaces a file: whole.
fn replace(path: &Path, bytes: &[u8]) {
    let fresh = path.with_extension("fresh");
    std::fs::write(&fresh, bytes).unwrap();
    std::fs::rename(fresh, path).unwrap();
}

#[test]
fn a_changed_database_is_taken_up_and_a_broken_one_is_not() {
    let home = Home::new(Settings { door: BEHIND_PROXY, ..Settings::default() });
    let database = home.file("own.mmdb");
    let sections = format!("[geo]\ndatabase = \"{}\"\n", database.display());
    home.settle(Settings { door: BEHIND_PROXY, sections: &sections, ..Settings::default() });
    // The data section says each country once: a two-byte text (0x42) `US`.
    let at = BUILT_IN.windows(3).rposition(|window| window == b"\x42US").unwrap();
    let mut french = BUILT_IN.to_vec();
    french[at + 1..at + 3].copy_from_slice(b"FR");
    replace(&database, BUILT_IN);

    let program = home.start();
    let mut client = program.connect();
    client.pixel_from(UNITED_STATES, "s=acme&id=before");
    replace(&database, b"no database");
    program.await_printed("cannot be read; the one before stays in use");
    client.pixel_from(UNITED_STATES, "s=acme&id=broken");
    replace(&database, &french);
    program.await_printed("changed and was read again");
    client.pixel_from(UNITED_STATES, "s=acme&id=in-france-now");
    client.pixel_from(UNITED_STATES, "s=acme&id=in-france-with-consent&consent=granted");
    program.stop();
    let rows = home.query("select event_id, country from interactions order by received_at");
    let rows: Vec<_> = rows.iter().map(|row| (row["event_id"].as_str().unwrap(), row["country"].as_str().unwrap())).collect();
    assert_eq!(rows, [("before", "US"), ("broken", "US"), ("in-france-with-consent", "FR")]);

    replace(&database, b"no database");
    let (status, printed) = home.spawn().ended();
    assert_eq!(status.code(), Some(64), "{printed}");
    assert!(printed.contains("own.mmdb"), "{printed}");
    assert_eq!(home.run_here(&["check"]).status.code(), Some(64));
}
