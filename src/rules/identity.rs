//! Owns visitor ids: the signed cookie, the daily hash, the visit.
//!
//! Knows HMAC-SHA-256 (RFC 2104). Promises: a cookie's id is valid only for the site it was made
//! for; ids of two sites or two days never match; every hashed field carries its length, so that
//! no two different sets of fields hash alike. Never sees a full address: the network comes
//! truncated. Holds no key itself.

use crate::hit::clock::Day;
use crate::hit::field::Id;
use crate::hit::site::{Site, SiteKey};
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};
use std::fmt;
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

/// The collector's own secret: signs ids, never leaves the process but to its file.
pub struct SigningKey(Keyed);

/// The kind of name that is a client's own of a person.
pub const PERSON: &str = "person";

impl SigningKey {
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Keyed::new(&bytes))
    }

    /// The cookie's value: `VISITOR_ID.MAC`.
    pub fn sign(&self, site: &SiteKey, visitor: Id) -> SignedId {
        SignedId { visitor, mac: self.mac(site, visitor) }
    }

    /// The id of a cookie's value, if this collector made it for this site.
    pub fn prove(&self, site: &SiteKey, value: &[u8]) -> Option<Id> {
        let (id, mac) = (value.get(..32)?, value.get(33..)?);
        let visitor = Id::parse(id)?;
        let mac = Id::parse(mac).filter(|_| value.get(32) == Some(&b'.'))?;
        let [told, made] = [mac, self.mac(site, visitor)].map(|id| u128::from_le_bytes(id.0)).map(|bits| [bits as u64, (bits >> 64) as u64]);
        bool::from(told[0].ct_eq(&made[0]) & told[1].ct_eq(&made[1])).then_some(visitor)
    }

    /// The id of a visitor whom the sender names itself, by a name of one kind (a device, a person, a caller):
    /// the name cannot be had back without this key, which stays with the collector.
    pub fn pseudonym(&self, site: &SiteKey, kind: &str, name: &str) -> Id {
        self.0.hash(&[b"pseudonym", site.as_bytes(), kind.as_bytes(), name.as_bytes()])
    }

    /// A token for forms that loosen a choice: bound to the site, good for today and yesterday.
    pub fn form_token(&self, site: &str, day: Day) -> Id {
        self.0.hash(&[b"form", site.as_bytes(), &day.0.to_le_bytes()])
    }

    /// Whether `token` is a form token of today or yesterday.
    pub fn proves_form(&self, site: &str, today: Day, token: &[u8]) -> bool {
        [today, Day(today.0 - 1)].into_iter().any(|day| bool::from(self.form_token(site, day).digits().ct_eq(token)))
    }

    fn mac(&self, site: &SiteKey, visitor: Id) -> Id {
        self.0.hash(&[b"visitor", site.as_bytes(), &visitor.0])
    }
}

/// A visitor's id with the proof that this collector made it: shown as `VISITOR_ID.MAC`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignedId {
    visitor: Id,
    mac: Id,
}

impl fmt::Display for SignedId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.visitor.fmt(formatter)?;
        formatter.write_str(".")?;
        self.mac.fmt(formatter)
    }
}

/// Whether `secret` is the one that the site's settings hold the SHA-256 of. Takes the same time either way.
pub fn proves_client(site: &Site, secret: &str) -> bool {
    let digest: [u8; 32] = Sha256::digest(secret.as_bytes()).into();
    site.secret_sha256.is_some_and(|known| bool::from(known.ct_eq(&digest)))
}

/// A secret that lives for one UTC day and is destroyed after it: every copy is wiped where it ends.
#[derive(Clone)]
pub struct DailySalt(pub [u8; 32]);

impl Drop for DailySalt {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// The id of one who is counted for a day and not remembered: from the truncated network and the
/// user agent, under that day's salt.
pub fn daily(salt: &DailySalt, site: &SiteKey, day: Day, network: &str, user_agent: &[u8]) -> Id {
    keyed_hash(&salt.0, &[b"daily", site.as_bytes(), &day.0.to_le_bytes(), network.as_bytes(), user_agent])
}

/// The id of the visit that `visitor` began at `start_minute`: the first 16 bytes of a SHA-256 of fields that are
/// always as long, in one block. It needs no key: a visitor's 128 bits, random or of an HMAC, are had back from no hash.
pub fn visit(visitor: Id, start_minute: i64) -> Id {
    let mut fields = [0; 32];
    fields[..8].copy_from_slice(b"visit\0\0\0");
    fields[8..24].copy_from_slice(&visitor.0);
    fields[24..].copy_from_slice(&start_minute.to_le_bytes());
    first_16(&Sha256::digest(fields))
}

/// The first 16 bytes of HMAC-SHA-256 over the fields, each behind its length in eight bytes.
pub fn keyed_hash(key: &[u8], fields: &[&[u8]]) -> Id {
    Keyed::new(key).hash(fields)
}

/// A key made ready: of the four blocks that HMAC hashes for a short text, two are the key's alone.
struct Keyed(Option<Hmac<Sha256>>);

impl Keyed {
    fn new(key: &[u8]) -> Self {
        // HMAC takes keys of every length: there is no such error.
        Self(Hmac::new_from_slice(key).ok())
    }

    fn hash(&self, fields: &[&[u8]]) -> Id {
        let Some(mut mac) = self.0.clone() else { return Id([0; 16]) };
        // Laid side by side first: to take in a few bytes costs as much as to take in many.
        let (mut room, mut length) = ([0; 128], 0);
        for field in fields {
            // A length is copied by one move, a field by a call.
            if let Some((head, tail)) = room.get_mut(length..).and_then(<[u8]>::split_first_chunk_mut::<8>)
                && let Some(tail) = tail.get_mut(..field.len())
            {
                *head = (field.len() as u64).to_le_bytes();
                tail.copy_from_slice(field);
                length += 8 + field.len();
            } else {
                mac.update(&room[..length]);
                mac.update(&(field.len() as u64).to_le_bytes());
                mac.update(field);
                length = 0;
            }
        }
        mac.update(&room[..length]);
        first_16(&mac.finalize().into_bytes())
    }
}

fn first_16(digest: &[u8]) -> Id {
    Id(digest.first_chunk().copied().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::{DailySalt, SigningKey, daily, keyed_hash, visit};
    use hmac::{Hmac, Mac};
    use sha2::Sha256;
    use crate::hit::clock::Day;
    use crate::hit::field::Id;
    use crate::hit::site::SiteKey;

    #[test]
    fn a_cookie_is_good_for_its_site_alone() {
        let key = SigningKey::new([7; 32]);
        let (acme, other) = (SiteKey::parse("acme").unwrap(), SiteKey::parse("other").unwrap());
        let value = key.sign(&acme, Id([9; 16])).to_string();
        assert_eq!(key.prove(&acme, value.as_bytes()), Some(Id([9; 16])));
        assert_eq!(key.prove(&other, value.as_bytes()), None);
        assert_eq!(SigningKey::new([8; 32]).prove(&acme, value.as_bytes()), None);
        for at in 0..value.len() {
            let mut forged = value.clone().into_bytes();
            forged[at] ^= 1;
            assert_eq!(key.prove(&acme, &forged), None);
            assert_eq!(key.prove(&acme, &value.as_bytes()[..at]), None);
        }
    }

    #[test]
    fn a_form_is_good_for_its_site_today_and_tomorrow() {
        let key = SigningKey::new([7; 32]);
        let token = key.form_token("acme", Day(10)).to_string();
        let proves = |site, day, token: &str| key.proves_form(site, Day(day), token.as_bytes());
        assert!(proves("acme", 10, &token) && proves("acme", 11, &token));
        assert!(!proves("acme", 12, &token) && !proves("acme", 9, &token), "stale, or from the future");
        assert!(!proves("other", 10, &token) && !proves("", 10, &token) && !proves("acme", 10, "") && !proves("acme", 10, &token[1..]));
    }

    #[test]
    fn a_sender_s_name_has_an_id_for_each_site_kind_and_key() {
        let key = SigningKey::new([7; 32]);
        let (acme, other) = (SiteKey::parse("acme").unwrap(), SiteKey::parse("other").unwrap());
        let id = key.pseudonym(&acme, "caller", "+15550100");
        assert_eq!(id, key.pseudonym(&acme, "caller", "+15550100"));
        assert_ne!(id, key.pseudonym(&other, "caller", "+15550100"));
        assert_ne!(id, key.pseudonym(&acme, "device", "+15550100"));
        assert_ne!(id, SigningKey::new([8; 32]).pseudonym(&acme, "caller", "+15550100"));
    }

    #[test]
    fn daily_ids_differ_by_site_day_salt_and_person() {
        let acme = SiteKey::parse("acme").unwrap();
        let salt = DailySalt([1; 32]);
        let base = daily(&salt, &acme, Day(1), "203.0.113.0/24", b"UA");
        assert_eq!(base, daily(&salt, &acme, Day(1), "203.0.113.0/24", b"UA"));
        for other in [
            daily(&DailySalt([2; 32]), &acme, Day(1), "203.0.113.0/24", b"UA"),
            daily(&salt, &SiteKey::parse("acm").unwrap(), Day(1), "203.0.113.0/24", b"UA"),
            daily(&salt, &acme, Day(2), "203.0.113.0/24", b"UA"),
            daily(&salt, &acme, Day(1), "203.0.113.0/2", b"4UA"),
        ] {
            assert_ne!(base, other);
        }
    }

    #[test]
    fn visits_differ_by_visitor_and_beginning() {
        let base = visit(Id([1; 16]), 7);
        assert_eq!(base, visit(Id([1; 16]), 7));
        assert_ne!(base, visit(Id([2; 16]), 7));
        assert_ne!(base, visit(Id([1; 16]), 8));
    }

    #[test]
    fn however_long_fields_are_they_hash_as_rfc_2104_says() {
        for length in [0, 1, 100, 119, 120, 121, 300] {
            let (long, short) = (vec![7; length], [9; 20]);
            let mut mac = Hmac::<Sha256>::new_from_slice(b"k").unwrap();
            for field in [&short[..], &long, &short] {
                mac.update(&(field.len() as u64).to_le_bytes());
                mac.update(field);
            }
            assert_eq!(keyed_hash(b"k", &[&short, &long, &short]).0, mac.finalize().into_bytes()[..16], "{length}");
        }
    }

    #[test]
    fn fields_do_not_run_into_each_other() {
        assert_ne!(keyed_hash(b"k", &[b"ab", b"c"]), keyed_hash(b"k", &[b"a", b"bc"]));
    }
}
