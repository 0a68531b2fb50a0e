//! Owns the comparison with the reference encoders: `npm ci` installs them into the cache folder, `make.mjs`
//! makes strings with them, and every field of every string is read here and compared, and what the decoders
//! make of them with what the fields say. Without node or npm it fails.
//!
//! `CLEARPIXEL_ENCODED=100000` asks for so many strings of each kind, `CLEARPIXEL_ENCODED_SEED=7` for others.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on has failed")]
#![expect(clippy::disallowed_methods, reason = "the cache folder's place and the number of strings come from the environment")]

use clearpixel::hit::clock::Moment;
use clearpixel::rules::bits::{Bits, Field, IdSet};
use clearpixel::rules::ruling::StringVerdict;
use clearpixel::rules::tcf_string::{PUBLISHER, TcString};
use clearpixel::rules::{gpp, tcf, tcf_canada, us_privacy, us_sections};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

/// Strings of each kind where nothing else is asked for.
const STRINGS: usize = 5_000;
/// 1 March 2027, after every day that the strings are made for; what is older than 13 months then is unreadable.
const NOW: Moment = Moment(1_803_859_200_000_000);
const VENDOR: u16 = 8;

/// The folder that holds the encoders.
static MODULES: LazyLock<PathBuf> = LazyLock::new(|| {
    let here = here();
    let home = || PathBuf::from(std::env::var_os("HOME").expect("a home, or XDG_CACHE_HOME"));
    let folder = std::env::var_os("XDG_CACHE_HOME").map_or_else(|| home().join(".cache"), PathBuf::from).join("clearpixel/encoders");
    let lock = std::fs::read(here.join("package-lock.json")).unwrap();
    let installed = folder.join("node_modules/.installed");
    if std::fs::read(&installed).ok().as_ref() != Some(&lock) {
        std::fs::create_dir_all(&folder).unwrap();
        for name in ["package.json", "package-lock.json"] {
            std::fs::copy(here.join(name), folder.join(name)).unwrap();
        }
        let status = Command::new("npm").args(["ci", "--no-audit", "--no-fund", "--ignore-scripts"]).current_dir(&folder).stdout(Stdio::null()).status();
        assert!(status.expect("npm is there").success(), "npm ci failed in {}", folder.display());
        std::fs::write(installed, lock).unwrap();
    }
    folder
});

fn here() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/encoders")
}

fn asked(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |text| text.parse().expect(name))
}

/// Lets the encoders make strings, gives each line to `compare`, which adds the fields that it compared, and
/// says how many there were.
#[expect(clippy::explicit_write, reason = "what print! says the harness keeps to itself")]
fn each_made(form: &str, mut compare: impl FnMut(&Value, &mut usize)) {
    let count = asked("CLEARPIXEL_ENCODED", STRINGS);
    let seed = asked("CLEARPIXEL_ENCODED_SEED", 1).to_string();
    let mut node = Command::new("node")
        .arg(here().join("make.mjs"))
        .arg(&*MODULES)
        .args([form, &count.to_string(), &seed])
        .stdout(Stdio::piped())
        .spawn()
        .expect("node is there");
    let (mut strings, mut fields) = (0, 0);
    for line in BufReader::new(node.stdout.take().unwrap()).lines() {
        let made: Value = serde_json::from_str(&line.unwrap()).unwrap();
        compare(&made, &mut fields);
        strings += 1;
    }
    assert!(node.wait().unwrap().success(), "make.mjs failed");
    assert_eq!(strings, count);
    writeln!(std::io::stderr(), "{form}: {strings} strings of the reference encoders, {fields} fields compared").unwrap();
}

/// Compares a segment's fields, each of which is a list of numbers.
fn compare_fields<'a>(bits: &Bits<'_>, layout: impl IntoIterator<Item = &'a Field>, expected: &Value, of: &str) -> usize {
    let mut names = 0;
    for field in layout {
        let read: Vec<Option<u64>> = (0..field.count).map(|index| field.at(bits, index)).collect();
        assert_eq!(json!(read), expected[field.name], "{} of {of}", field.name);
        names += 1;
    }
    assert_eq!(names, expected.as_object().unwrap().len(), "fields of {of}");
    names
}

/// The ranges of a set as few as can be: ascending and apart.
fn ranges(bits: Bits<'_>, set: IdSet) -> Value {
    let mut found: Vec<(u16, u16)> = Vec::new();
    for range in set.ranges(bits) {
        let (first, last) = range.unwrap();
        match found.last_mut() {
            Some(before) if before.1.checked_add(1) == Some(first) => before.1 = last,
            _ => found.push((first, last)),
        }
    }
    json!(found)
}

fn compare_tc(tc: &TcString<'_>, core: &[Field], made: &Value) -> usize {
    let text = made["text"].as_str().unwrap();
    let mut fields = compare_fields(&tc.core, core, &made["core"], text);
    assert_eq!(ranges(tc.core, tc.vendor_consents), made["consents"], "consents of {text}");
    assert_eq!(ranges(tc.core, tc.vendor_interests), made["interests"], "interests of {text}");
    let mut restrictions = Vec::new();
    tc.each_restriction(|purpose, kind, vendors| restrictions.push(json!([purpose, kind, ranges(tc.core, vendors)]))).unwrap();
    assert_eq!(json!(restrictions), made["restrictions"], "restrictions of {text}");
    assert_eq!(tc.disclosed.map_or(Value::Null, |(bits, set)| ranges(bits, set)), made["disclosed"], "disclosed of {text}");
    fields += 4;
    match tc.publisher {
        None => assert!(made["publisher"].is_null(), "publisher of {text}"),
        Some(bits) => {
            let custom = [tc.custom_purposes(0).unwrap(), tc.custom_purposes(1).unwrap()];
            fields += compare_fields(&bits, PUBLISHER.iter().chain(&custom), &made["publisher"], text);
        }
    }
    fields
}

fn has(made: &Value, vendor: u16) -> bool {
    made.as_array().unwrap().iter().any(|range| (range[0].as_u64().unwrap()..=range[1].as_u64().unwrap()).contains(&u64::from(vendor)))
}

/// What the fields of a European string say of measuring, by the rule as it is written down.
fn verdict_of(made: &Value) -> StringVerdict {
    let core = &made["core"];
    let is_set = |field: &str, id: usize| core[field][id - 1] == 1;
    let age_days = |field: &str| (NOW.0 / 100_000 - core[field][0].as_i64().unwrap()) / 864_000;
    let is_young = ["Created", "LastUpdated"].iter().all(|field| (-1..13 * 31).contains(&age_days(field)));
    let is_disclosing = !made["disclosed"].is_null() || ["Created", "LastUpdated"].iter().all(|field| core[*field][0].as_i64().unwrap() < 17_722_368_000);
    if core["TcfPolicyVersion"][0].as_u64().unwrap() < 4 || core["IsServiceSpecific"][0] == 0 || !is_young || !is_disclosing {
        return StringVerdict::Unreadable;
    }
    let asked = [1, 8];
    let is_restricted = made["restrictions"].as_array().unwrap().iter().any(|one| {
        asked.iter().any(|purpose| one[0] == *purpose) && one[1] != 1 && has(&one[2], VENDOR)
    });
    let is_asked = core["PurposeOneTreatment"][0] == 0 && asked.iter().all(|purpose| is_set("PurposesConsent", *purpose));
    let is_allowed = has(&made["consents"], VENDOR) && (made["disclosed"].is_null() || has(&made["disclosed"], VENDOR)) && !is_restricted;
    if is_asked && is_allowed { StringVerdict::Grants } else { StringVerdict::Denies }
}

#[test]
fn tc_strings() {
    let mut verdicts = [0; 3];
    each_made("tcf", |made, fields| {
        let text = made["text"].as_str().unwrap();
        let tc = tcf::parse(text).unwrap_or_else(|| panic!("not read: {text}"));
        *fields += compare_tc(&tc, tcf::CORE, made);
        let verdict = tcf::verdict(text, VENDOR, NOW);
        assert_eq!(verdict, verdict_of(made), "{text}");
        assert_ne!(tcf::verdict(text, 0, NOW), StringVerdict::Grants, "{text}");
        let at = [StringVerdict::Grants, StringVerdict::Denies, StringVerdict::Unreadable].iter().position(|known| *known == verdict);
        verdicts[at.unwrap()] += 1;
    });
    assert!(verdicts.iter().all(|count| *count > 0), "grants, denials and unreadable ones: {verdicts:?}");
}

#[test]
fn gpp_strings() {
    let (mut opt_outs, mut children) = ([0; 2], [0; 2]);
    each_made("gpp", |made, fields| {
        let text = made["text"].as_str().unwrap();
        let mut expected = gpp::Said { verdict: StringVerdict::Silent, opts_out: false, is_child: false };
        let mut sections = made["sections"].as_array().unwrap().iter();
        let whole = gpp::each_section(text, |id, section| {
            let made = sections.next().unwrap();
            assert_eq!(json!([id, section]), json!([made["id"], made["text"]]), "{text}");
            match id {
                2 => {
                    *fields += compare_tc(&tcf::parse(section).unwrap(), tcf::CORE, made);
                    expected.verdict = verdict_of(made);
                }
                5 => {
                    *fields += compare_tc(&tcf_canada::parse(section).unwrap(), tcf_canada::CORE, made);
                    let consents = |field: &str| made["core"][field][7] == 1;
                    if !consents("PurposesExpressConsent") && !consents("PurposesImpliedConsent") {
                        expected.verdict = StringVerdict::Denies;
                    }
                }
                6 => expected.opts_out |= us_privacy_opts_out(section),
                _ => *fields += compare_us(id, section, made, &mut expected),
            }
            Some(())
        });
        assert!(whole.is_some() && sections.next().is_none(), "{text}");
        assert_eq!(gpp::read(text, VENDOR, NOW), expected, "{text}");
        opt_outs[usize::from(expected.opts_out)] += 1;
        children[usize::from(expected.is_child)] += 1;
    });
    assert!(opt_outs.iter().chain(&children).all(|count| *count > 0), "opt-outs {opt_outs:?}, children {children:?}");
}

/// Compares a US section, and adds what its fields say of opting out and of children.
fn compare_us(id: u16, text: &str, made: &Value, expected: &mut gpp::Said) -> usize {
    let section = us_sections::read(id, text).unwrap_or_else(|| panic!("section {id} is not known")).unwrap_or_else(|| panic!("not read: {id} {text}"));
    let (core, layout) = section.core;
    let mut fields = compare_fields(&core, layout.iter().map(|field| &field.field), &made["core"], text);
    match section.part {
        None => assert!(made["part"].is_null(), "part of {text}"),
        Some((part, layout)) => fields += compare_fields(&part, layout.iter().map(|field| &field.field), &made["part"], text),
    }
    let says = |name: &str, meaning: &dyn Fn(u64) -> bool| {
        [&made["core"][name], &made["part"][name]].iter().filter_map(|values| values.as_array()).flatten().any(|value| meaning(value.as_u64().unwrap()))
    };
    expected.opts_out |= ["SaleOptOut", "SharingOptOut", "TargetedAdvertisingOptOut", "Gpc"].iter().any(|name| says(name, &|value| value == 1));
    expected.is_child |= says("KnownChildSensitiveDataConsents", &|value| value != 0);
    fields
}

/// Opted out of sale, or not saying so where the law applies.
fn us_privacy_opts_out(text: &str) -> bool {
    text != "1---" && text.as_bytes()[2] != b'N'
}

#[test]
fn us_privacy_strings() {
    each_made("us_privacy", |made, fields| {
        let text = made["text"].as_str().unwrap();
        let letter = |name: &str| made[name].as_str().unwrap().to_owned();
        assert_eq!(text, format!("1{}{}{}", letter("notice"), letter("sale"), letter("agreement")));
        let applies = ["notice", "sale", "agreement"].iter().any(|name| made[*name] != "-");
        assert_eq!(us_privacy::opts_out(text), applies && made["sale"] != "N", "{text}");
        *fields += 3;
    });
}
