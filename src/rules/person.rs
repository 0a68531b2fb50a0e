//! Owns `Person`, what is kept of one whom a client named to us: the traits of identify calls.
//!
//! Promises: made of a hit only by `sight`, which the ruling has to allow; payment cards, bank accounts,
//! numbers of authorities, addresses of machines and credentials are taken out as from any text, and a name
//! that asks for one of them loses its value; e-mail addresses, telephone numbers and names stay, for they
//! are what people are for. Later calls add to earlier ones; the newest value of a trait counts. Limits: 64
//! traits of 64 + 1,024 bytes are 68 KiB a person, of which one call brings 16 KiB at most; 256 linked ids
//! of 16 bytes are 4 KiB.

use super::echo::Echo;
use super::names::{asks_for_a_credential, asks_for_a_person};
use super::scrub::{self, PROPERTY_KEY_LENGTH_MAX, PROPERTY_VALUE_LENGTH_MAX};
use crate::hit::clock::Moment;
use crate::hit::field::Id;
use crate::hit::scrubbed::{Kind, Scrubbed};
use bumpalo::Bump;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// A person as a client named them to us, or one identify call of theirs.
#[derive(Clone, PartialEq, Eq)]
pub struct Person {
    /// The pseudonym under which the person's rows stand.
    pub visitor: Id,
    /// The client's own name of the person.
    pub user_id: Option<String>,
    /// Other ids under which the same person was met: a browser, a device.
    pub linked: Vec<Id>,
    /// There were more of them than are kept.
    pub linked_more: bool,
    pub traits: BTreeMap<String, String>,
    pub first_seen: Moment,
    pub last_seen: Moment,
}

/// What a person may be made of, as the hit said it.
#[derive(Clone, Copy)]
pub struct Said<'a> {
    pub visitor: Id,
    pub user_id: Option<&'a str>,
    pub linked: &'a [Id],
    pub traits: &'a [(&'a str, &'a str)],
    pub at: Moment,
}

/// The person of an identify call, cleaned.
pub fn sight(said: Said<'_>, echo: Echo<'_>, removed: &mut Scrubbed, arena: &Bump) -> Person {
    let mut person = Person {
        visitor: said.visitor,
        user_id: said.user_id.map(|name| value(name, echo, removed, arena)).filter(|name| Some(name.as_str()) == said.user_id && name.len() <= USER_ID_LENGTH_MAX),
        linked: Vec::new(),
        linked_more: false,
        traits: BTreeMap::new(),
        first_seen: said.at,
        last_seen: said.at,
    };
    let mut bytes = 0;
    for (name, said) in said.traits {
        let (name, value) = trait_of(name, said, echo, removed, arena);
        bytes += name.len() + value.len();
        if bytes <= CALL_BYTES_MAX {
            person.set(name, value);
        }
    }
    said.linked.iter().for_each(|id| person.link(*id));
    person
}

/// A trait's name and value, cleaned.
pub fn trait_of(name: &str, said: &str, echo: Echo<'_>, removed: &mut Scrubbed, arena: &Bump) -> (String, String) {
    let clean = scrub::text(name, PROPERTY_KEY_LENGTH_MAX, echo, removed, arena).to_owned();
    if !said.is_empty() && asks_for_a_secret(name) {
        removed.count(Kind::Key);
        return (clean, Kind::Key.mark().to_owned());
    }
    (clean, value(said, echo, removed, arena))
}

/// Traits of a person; further ones are left out.
pub const TRAITS_MAX: usize = 64;
const LINKED_MAX: usize = 256;
const CALL_BYTES_MAX: usize = 16 << 10;
const USER_ID_LENGTH_MAX: usize = 256;

impl Person {
    /// Takes in what a later call said.
    pub fn take(&mut self, later: Self) {
        self.user_id = later.user_id.or_else(|| self.user_id.take());
        later.traits.into_iter().for_each(|(name, value)| self.set(name, value));
        later.linked.into_iter().for_each(|id| self.link(id));
        self.linked_more |= later.linked_more;
        self.first_seen = self.first_seen.min(later.first_seen);
        self.last_seen = self.last_seen.max(later.last_seen);
    }

    /// Gives a trait a value; of a person who has too many, a new one is left out.
    pub fn set(&mut self, name: String, value: String) {
        if !name.is_empty() && (self.traits.len() < TRAITS_MAX || self.traits.contains_key(&name)) {
            self.traits.insert(name, value);
        }
    }

    fn link(&mut self, id: Id) {
        if id == self.visitor || self.linked.contains(&id) {
            return;
        }
        if self.linked.len() < LINKED_MAX {
            self.linked.push(id);
        } else {
            self.linked_more = true;
        }
    }

    /// As it is stored, before it is encrypted.
    pub fn to_bytes(&self) -> Vec<u8> {
        let stored = Stored {
            visitor: self.visitor.to_string(),
            user: self.user_id.clone(),
            linked: self.linked.iter().map(ToString::to_string).collect(),
            more: self.linked_more,
            traits: self.traits.clone(),
            first: self.first_seen.0,
            last: self.last_seen.0,
        };
        // Texts and numbers alone: there is no such error.
        serde_json::to_vec(&stored).unwrap_or_default()
    }

    pub fn of_bytes(bytes: &[u8]) -> Option<Self> {
        let stored: Stored = serde_json::from_slice(bytes).ok()?;
        Some(Self {
            visitor: Id::parse(stored.visitor.as_bytes())?,
            user_id: stored.user,
            linked: stored.linked.iter().map(|id| Id::parse(id.as_bytes())).collect::<Option<_>>()?,
            linked_more: stored.more,
            traits: stored.traits,
            first_seen: Moment(stored.first),
            last_seen: Moment(stored.last),
        })
    }
}

impl fmt::Debug for Person {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("[person]")
    }
}

#[derive(Serialize, Deserialize)]
struct Stored {
    visitor: String,
    user: Option<String>,
    linked: Vec<String>,
    #[serde(default)]
    more: bool,
    traits: BTreeMap<String, String>,
    first: i64,
    last: i64,
}

/// The value as it may stay. What is found in it besides an e-mail address or a telephone number takes both
/// with it: a text that holds a card is no address.
fn value(said: &str, echo: Echo<'_>, removed: &mut Scrubbed, arena: &Bump) -> String {
    let mut found = Scrubbed::default();
    let strict = scrub::text(said, PROPERTY_VALUE_LENGTH_MAX, echo, &mut found, arena);
    let is_contact = |found: &Scrubbed| found.kinds().all(|(kind, _)| matches!(kind, Kind::Email | Kind::Phone));
    if strict != said && is_contact(&found) && said.len() <= PROPERTY_VALUE_LENGTH_MAX {
        // What is before an `@`, or behind a `+`, may be a card.
        let apart = said.replace(['@', '+'], " ");
        let mut within = Scrubbed::default();
        scrub::text(&apart, PROPERTY_VALUE_LENGTH_MAX, echo, &mut within, arena);
        if is_contact(&within) {
            return said.to_owned();
        }
    }
    removed.add(found);
    strict.to_owned()
}

/// Whether a trait so named holds what is not kept of a person either.
fn asks_for_a_secret(name: &str) -> bool {
    if asks_for_a_credential(name) {
        return true;
    }
    let mut plain: String = name.chars().filter(char::is_ascii_alphanumeric).map(|letter| letter.to_ascii_lowercase()).collect();
    plain.truncate(plain.trim_end_matches(|letter: char| letter.is_ascii_digit()).len());
    let bare = ["number", "value", "num", "no", "nr"].iter().find_map(|tail| plain.strip_suffix(tail)).unwrap_or(&plain);
    asks_for_a_person(name) && !MAY_STAY.iter().any(|last| plain.ends_with(last) || bare.ends_with(last))
}

/// Of the names that ask for a person, those that a client keeps of its customers.
const MAY_STAY: &[&str] = &[
    "addr", "address", "addressline", "birthdate", "birthday", "cellphone", "customerid", "dateofbirth", "dob", "email", "emails", "fax", "firstname",
    "fname", "fullname", "givenname", "homephone", "lastname", "lname", "maidenname", "mail", "memberid", "middlename", "mobile", "mobilephone", "msisdn",
    "phone", "phonenumber", "plz", "postalcode", "postcode", "street", "surname", "tel", "telefon", "telephone", "userid", "username", "whatsapp", "zip",
    "zipcode",
];

#[cfg(test)]
mod tests {
    use super::{Person, Said, TRAITS_MAX, sight, trait_of};
    use crate::hit::clock::Moment;
    use crate::hit::field::Id;
    use crate::hit::scrubbed::{Kind, Scrubbed};
    use crate::rules::echo::Echo;
    use bumpalo::Bump;
    use proptest::prelude::*;

    fn of(traits: &[(&str, &str)], at: i64) -> Person {
        let said = Said { visitor: Id([1; 16]), user_id: Some("u-7"), linked: &[Id([2; 16])], traits, at: Moment(at) };
        sight(said, Echo::default(), &mut Scrubbed::default(), &Bump::new())
    }

    #[test]
    fn what_people_are_for_stays_and_what_pays_or_opens_goes() {
        let arena = Bump::new();
        for (name, value) in [
            ("email", "jane@example.org"), ("Phone", "+44 20 7946 0958"), ("firstName", "Jane"), ("address.street", "1 High Street"), ("plan", "gold"), ("birthday", "1980-01-01"),
            ("phone_number", "(555) 123-4567"), ("mobile-number", "+49 30 901820"), ("contact[zip]", "10117"), ("note", "ask jane@example.org or +44 20 7946 0958"),
        ] {
            let mut removed = Scrubbed::default();
            assert_eq!(trait_of(name, value, Echo::default(), &mut removed, &arena), (name.to_owned(), value.to_owned()), "{name}");
            assert_eq!(removed, Scrubbed::default());
        }
        for (name, value) in [
            ("note", "4111 1111 1111 1111"), ("email", "4111111111111111@example.org"), ("email", "jane@example.org 4111-1111-1111-1111"), ("phone", "+4111111111111111"),
            ("cvv", "123"), ("cvv2", "123"), ("card_number", "1"), ("iban", "1"), ("bank_account", "1"), ("password", "x"), ("user.apiKey", "x"), ("email_token", "x"), ("ssn", "x"),
            ("passport_no", "x"), ("ip", "x"), ("clientIp", "x"), ("note", "from 203.0.113.77"), ("idfa", "x"), ("session", "x"), ("bank", "DE89370400440532013000"),
            ("note", "Bearer abcdef0123456789"), ("note", "%34111111111111111"), ("card", "x"),
        ] {
            let mut removed = Scrubbed::default();
            let (_, kept) = trait_of(name, value, Echo::default(), &mut removed, &arena);
            assert!(kept.contains("[redacted:") && removed != Scrubbed::default() && !kept.contains("4111"), "{name}: {kept}");
        }
        assert_eq!(trait_of("jane@example.org", "x", Echo::default(), &mut Scrubbed::default(), &arena).0, Kind::Email.mark());
    }

    #[test]
    fn later_calls_add_to_earlier_ones() {
        let mut person = of(&[("email", "old@example.org"), ("plan", "gold")], 5);
        let mut later = of(&[("email", "new@example.org")], 9);
        later.user_id = None;
        later.linked = vec![Id([2; 16]), Id([3; 16]), Id([1; 16])];
        person.take(later);
        assert_eq!((person.traits["email"].as_str(), person.traits["plan"].as_str(), person.user_id.as_deref()), ("new@example.org", "gold", Some("u-7")));
        assert_eq!((person.linked.as_slice(), person.first_seen, person.last_seen), (&[Id([2; 16]), Id([3; 16])][..], Moment(5), Moment(9)));
    }

    #[test]
    fn a_person_has_bounds() {
        let many: Vec<(String, String)> = (0..200).map(|at| (format!("t{at}"), "x".repeat(100))).collect();
        let traits: Vec<(&str, &str)> = many.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let mut person = of(&traits, 1);
        assert_eq!(person.traits.len(), TRAITS_MAX);
        let large = "y".repeat(2_000);
        let call: Vec<(&str, &str)> = traits.iter().map(|(name, _)| (*name, large.as_str())).collect();
        let person_bytes: usize = of(&call, 1).traits.iter().map(|(name, value)| name.len() + value.len()).sum();
        assert!(person_bytes <= 16 << 10, "{person_bytes}");
        for at in 0..300_u16 {
            let mut other = of(&[], 2);
            other.linked = vec![Id([(at >> 8) as u8, at as u8, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9])];
            person.take(other);
        }
        assert!(person.linked.len() == 256 && person.linked_more);
        assert_eq!(format!("{person:?}"), "[person]");
    }

    proptest! {
        #[test]
        fn a_person_comes_back(name in "\\PC{0,40}", text in "\\PC{0,200}", user in proptest::option::of("\\PC{1,40}"), at: i64) {
            let said = Said { visitor: Id([1; 16]), user_id: user.as_deref(), linked: &[], traits: &[(&name, &text)], at: Moment(at) };
            let person = sight(said, Echo::default(), &mut Scrubbed::default(), &Bump::new());
            prop_assert!(Person::of_bytes(&person.to_bytes()) == Some(person));
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            Person::of_bytes(&bytes);
        }

        #[test]
        fn a_card_never_stays(before in "[a-z@+ ]{0,10}", separator in "[ -]?", after in "[a-z@+. ]{0,10}") {
            let card = ["4111", "1111", "1111", "1111"].join(&separator);
            let (_, kept) = trait_of("note", &format!("{before}{card}{after}"), Echo::default(), &mut Scrubbed::default(), &Bump::new());
            prop_assert!(!kept.contains(&card), "{}", kept);
        }
    }
}
