//! Owns the collector's own cookies: their names, how they are read and how they are set.
//!
//! Knows `__Host-cp_optout[.KEY]`, `__Host-cp_consent.KEY`, `__Host-cp_id.KEY` and RFC 6265bis.
//! Promises: headers are read as bytes; every copy of a cookie counts (a partitioned one beside an
//! unpartitioned one), and the one that refuses wins; what cannot be read never grants. Never reads
//! a cookie that is not the collector's.

use super::identity::SignedId;
use crate::hit::clock::Moment;
use crate::hit::site::SiteKey;
use std::fmt;

/// What the visitor's cookies say about one site.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Findings<'a> {
    /// Opted out of this site.
    pub opted_out_here: bool,
    /// Opted out of every site of the collector.
    pub opted_out_everywhere: bool,
    pub consent: Remembered,
    /// A header held bytes outside ASCII: nothing in it may be taken for consent (RFC 6265bis §5.7;
    /// such a byte comes from a tossed or broken cookie).
    pub unreadable: bool,
    /// The values of the id cookies, unproven, first come first.
    pub ids: [Option<&'a [u8]>; 2],
}

impl Findings<'_> {
    pub const fn opted_out(&self) -> bool {
        self.opted_out_here || self.opted_out_everywhere
    }
}

/// The choice remembered in the consent cookie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Remembered {
    #[default]
    Nothing,
    Granted,
    Denied,
}

/// Reads what the headers say about `site`.
pub fn read<'a>(headers: &[&'a [u8]], site: &SiteKey, now: Moment) -> Findings<'a> {
    let mut findings = Findings::default();
    for header in headers {
        findings.unreadable |= !header.is_ascii();
        let mut at = 0;
        while let Some(rest) = header.get(at..) {
            let pair = rest.get(..memchr::memchr(b';', rest).unwrap_or(rest.len())).unwrap_or(rest);
            at += pair.len() + 1;
            let pair = trim(pair);
            // Most cookies are the page's own: seen by their first letters.
            if own_name(pair).is_none() {
                continue;
            }
            let Some(at) = memchr::memchr(b'=', pair) else { continue };
            let (name, value) = (trim(&pair[..at]), trim(&pair[at + 1..]));
            let Some(own) = own_name(name) else { continue };
            note(&mut findings, own, value, site, now);
        }
    }
    findings
}

fn note<'a>(findings: &mut Findings<'a>, own: &[u8], value: &'a [u8], site: &SiteKey, now: Moment) {
    let (kind, key) = own.iter().position(|byte| *byte == b'.').map_or((own, None), |at| (&own[..at], Some(&own[at + 1..])));
    let for_site = key == Some(site.as_bytes());
    // An opt-out's name may differ in case and its value be anything but `0`: read to refuse.
    if kind.eq_ignore_ascii_case(b"optout") && (key.is_none() || for_site) && value != b"0" {
        findings.opted_out_here |= for_site;
        findings.opted_out_everywhere |= key.is_none();
    } else if kind == b"consent" && for_site {
        findings.consent = match (findings.consent, read_consent(value, now)) {
            (Remembered::Denied, _) | (_, Remembered::Denied) => Remembered::Denied,
            (Remembered::Granted, _) | (_, Remembered::Granted) => Remembered::Granted,
            (Remembered::Nothing, Remembered::Nothing) => Remembered::Nothing,
        };
    } else if kind == b"id" && for_site
        && let Some(free) = findings.ids.iter_mut().find(|slot| slot.is_none())
    {
        *free = Some(value);
    }
}

/// The name behind `__Host-cp_`, whose prefix browsers compare without regard to case.
fn own_name(name: &[u8]) -> Option<&[u8]> {
    const PREFIX: &[u8] = b"__Host-cp_";
    let (head, tail) = name.split_at_checked(PREFIX.len())?;
    head.eq_ignore_ascii_case(PREFIX).then_some(tail)
}

/// Only space and tab: Unicode spaces are how one cookie is dressed up as another.
fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = bytes {
        bytes = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

/// 13 months: after that the question is asked again (TCF policy, CNIL).
const CONSENT_SECONDS: i64 = 390 * 86_400;

/// `1.PURPOSES.SECONDS`: version, `m` (measurement) or `-` (denied), when. Anything else is nothing,
/// and so is a consent from the future or from more than 13 months ago.
fn read_consent(value: &[u8], now: Moment) -> Remembered {
    let mut parts = value.split(|byte| *byte == b'.');
    let (Some(b"1"), Some(purposes), Some(seconds), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return Remembered::Nothing;
    };
    if purposes == b"-" {
        return Remembered::Denied;
    }
    let given = std::str::from_utf8(seconds).ok().and_then(|text| text.parse::<i64>().ok());
    let is_fresh = given.is_some_and(|given| (-300..CONSENT_SECONDS).contains(&(now.seconds().saturating_sub(given))));
    if purposes == b"m" && is_fresh { Remembered::Granted } else { Remembered::Nothing }
}

/// A cookie to set, or to delete, with the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Remember an opt-out: for one site, or for all.
    OptOut(Option<SiteKey>),
    /// Forget an opt-out.
    OptIn(Option<SiteKey>),
    /// Remember a choice.
    Consent { site: SiteKey, granted: bool, at: Moment },
    /// Forget a choice: an opt-out that is taken back is not to bring an old consent back to life.
    Unchoose(SiteKey),
    /// Set the id, from its first day and never prolonged.
    Identify { site: SiteKey, value: SignedId },
    /// Delete the id.
    Forget(SiteKey),
}

/// How long a browser is to keep a cookie, in seconds as they are written: a new visitor's answer has one, and to
/// format a number costs more than all the rest of it.
type MaxAge = &'static str;
/// 400 days: the longest a browser keeps a cookie (RFC 6265bis §5.5).
const OPT_OUT_MAX_AGE: MaxAge = "34560000";
/// 390 days, as `CONSENT_SECONDS`.
const CONSENT_MAX_AGE: MaxAge = "33696000";
/// 390 days: within the 13 months of the CNIL's exemption.
const ID_MAX_AGE: MaxAge = "33696000";
/// Deletes it.
const NONE: MaxAge = "0";

/// The `Set-Cookie` values of a change. A third party's cookie is set twice where it refuses: in the
/// page's partition and outside of it; an id only in the partition, so that it follows nobody.
pub fn set(change: &Change) -> impl Iterator<Item = SetCookie<'_>> {
    let (kind, site, value, max_age) = match change {
        Change::OptOut(site) => ("optout", site.as_ref(), Value::Word("1"), OPT_OUT_MAX_AGE),
        Change::OptIn(site) => ("optout", site.as_ref(), Value::Word(""), NONE),
        Change::Consent { site, granted, at } => ("consent", Some(site), Value::Consent { granted: *granted, at: *at }, CONSENT_MAX_AGE),
        Change::Unchoose(site) => ("consent", Some(site), Value::Word(""), NONE),
        Change::Identify { site, value } => ("id", Some(site), Value::Id(*value), ID_MAX_AGE),
        Change::Forget(site) => ("id", Some(site), Value::Word(""), NONE),
    };
    let only_partitioned = matches!(change, Change::Identify { .. });
    let places = [false, true].into_iter().filter(move |is_partitioned| *is_partitioned || !only_partitioned);
    places.map(move |is_partitioned| SetCookie { kind, site, value, max_age, is_partitioned })
}

/// A cookie as `Set-Cookie` says it (RFC 6265bis §4.1).
pub struct SetCookie<'a> {
    kind: &'static str,
    site: Option<&'a SiteKey>,
    value: Value,
    max_age: MaxAge,
    is_partitioned: bool,
}

#[derive(Clone, Copy)]
enum Value {
    Word(&'static str),
    Id(SignedId),
    Consent { granted: bool, at: Moment },
}

impl fmt::Display for SetCookie<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Word by word, as above.
        for word in ["__Host-cp_", self.kind, if self.site.is_some() { "." } else { "" }, self.site.map_or("", SiteKey::as_str)] {
            formatter.write_str(word)?;
        }
        match self.value {
            Value::Word(word) => formatter.write_str("=").and_then(|()| formatter.write_str(word))?,
            Value::Id(id) => formatter.write_str("=").and_then(|()| id.fmt(formatter))?,
            Value::Consent { granted, at } => write!(formatter, "=1.{}.{}", if granted { "m" } else { "-" }, at.seconds())?,
        }
        for word in ["; Max-Age=", self.max_age, "; Path=/; Secure; HttpOnly; SameSite=None"] {
            formatter.write_str(word)?;
        }
        if self.is_partitioned { formatter.write_str("; Partitioned") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::{CONSENT_MAX_AGE, CONSENT_SECONDS, Change, Findings, ID_MAX_AGE, OPT_OUT_MAX_AGE, Remembered, read, set};
    use crate::hit::clock::Moment;
    use crate::hit::site::SiteKey;
    use proptest::prelude::*;

    const NOW: Moment = Moment(1_700_000_000_000_000);

    fn find<'a>(headers: &[&'a [u8]]) -> Findings<'a> {
        read(headers, &SiteKey::parse("acme").unwrap(), NOW)
    }

    #[test]
    fn ages_are_days_in_seconds() {
        for (written, seconds) in [(OPT_OUT_MAX_AGE, 400 * 86_400), (CONSENT_MAX_AGE, CONSENT_SECONDS), (ID_MAX_AGE, 390 * 86_400)] {
            assert_eq!(written, seconds.to_string());
        }
    }

    #[test]
    fn any_copy_of_an_opt_out_counts() {
        for headers in [
            &[&b"__Host-cp_optout=1"[..]][..],
            &[b"__Host-cp_optout.acme=1"],
            &[b"a=b; __Host-cp_optout=0; __Host-cp_optout=1"],
            &[b"__Host-cp_optout=1; __Host-cp_optout=0"],
            &[b"x=y", b"__HOST-cp_OptOut=yes"],
            &[b"\xff=1; \t__Host-cp_optout=1"],
        ] {
            assert!(find(headers).opted_out(), "{headers:?}");
        }
        for headers in [
            &b"__Host-cp_optout=0"[..], b"__Host-cp_optout.other=1", b"cp_optout=1", b"\xe2\x80\x80__Host-cp_optout=1", b"",
        ] {
            assert!(!find(&[headers]).opted_out(), "{headers:?}");
        }
    }

    #[test]
    fn consent_is_read_strictly() {
        for (header, consent) in [
            ("__Host-cp_consent.acme=1.m.1699999000", Remembered::Granted),
            ("__Host-cp_consent.acme=1.-.1699999000", Remembered::Denied),
            ("__Host-cp_consent.acme=1.m.1699999000; __Host-cp_consent.acme=1.-.1", Remembered::Denied),
            ("__Host-cp_consent.acme=1.m.1600000000", Remembered::Nothing),
            ("__Host-cp_consent.acme=1.m.1800000000", Remembered::Nothing),
            ("__Host-cp_consent.acme=2.m.1699999000", Remembered::Nothing),
            ("__Host-cp_consent.acme=1.m.1699999000.x", Remembered::Nothing),
            ("__Host-cp_consent.other=1.m.1699999000", Remembered::Nothing),
            ("__host-cp_Consent.acme=1.m.1699999000", Remembered::Nothing),
        ] {
            assert_eq!(find(&[header.as_bytes()]).consent, consent, "{header}");
        }
    }

    #[test]
    fn a_byte_outside_ascii_makes_the_header_unreadable() {
        assert!(find(&[b"a=\x80; __Host-cp_consent.acme=1.m.1699999000"]).unreadable);
        assert!(!find(&[b"a=b"]).unreadable);
    }

    #[test]
    fn what_is_set_is_host_bound_and_reads_back() {
        let site = SiteKey::parse("acme").unwrap();
        let set: Vec<String> = set(&Change::Consent { site, granted: true, at: NOW }).map(|cookie| cookie.to_string()).collect();
        assert_eq!(set.len(), 2);
        for cookie in &set {
            assert!(cookie.contains("; Path=/; Secure; HttpOnly; SameSite=None"));
            let pair = cookie.split(';').next().unwrap();
            assert_eq!(find(&[pair.as_bytes()]).consent, Remembered::Granted);
        }
        assert_eq!(
            super::set(&Change::OptOut(None)).last().unwrap().to_string(),
            "__Host-cp_optout=1; Max-Age=34560000; Path=/; Secure; HttpOnly; SameSite=None; Partitioned"
        );
    }

    proptest! {
        #[test]
        fn no_bytes_at_all_grant_without_the_whole_form(header in proptest::collection::vec(any::<u8>(), 0..200)) {
            let findings = find(&[&header]);
            prop_assert!(findings.consent != Remembered::Granted);
        }

        #[test]
        fn an_opt_out_is_found_among_any_other_cookies(before in "[ -:<-~]{0,40}", after in "[ -:<-~]{0,40}") {
            let header = format!("{before};__Host-cp_optout=1;{after}");
            prop_assert!(find(&[header.as_bytes()]).opted_out());
        }
    }
}
