//! Owns what a right means for people: who is meant by a client's own name of a person, what is known of
//! them, and what becomes of it when they are erased, put right, or past their term.
//!
//! Promises: a request by a user's id reaches the rows under its pseudonym and under every id that an
//! identify call linked to it; after an erasure no record and no link of the erased is left, and that was
//! looked for; values of traits and addresses wait for their work sealed with the site's key. Never says an
//! identifier in a message or a report.

use super::book::TRAITS;
use super::rights::{Ask, RightsError};
use crate::hit::clock::Moment;
use crate::hit::field::Id;
use crate::hit::scrubbed::Scrubbed;
use crate::hit::site::{Site, SiteKey};
use crate::people::file::PeopleError;
use crate::people::read::People;
use crate::people::write::{PeopleWriter, Rewritten};
use crate::rules::echo::Echo;
use crate::rules::identity::{PERSON, SigningKey};
use crate::rules::person::{self, Person};
use crate::rules::suppression::Suppressions;
use bumpalo::Bump;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The people of one site, and how their names become ids.
#[derive(Clone, Copy)]
pub struct Persons<'p> {
    pub people: &'p People,
    pub key: &'p SigningKey,
    pub site: &'p SiteKey,
}

/// Why a request about a person was not taken.
#[derive(Debug, thiserror::Error)]
pub enum PersonsError {
    #[error("`user_id` is not known here: the contract of this site takes no personal information (personal_information, people_key)")]
    NotTaken,
    #[error(transparent)]
    People(#[from] PeopleError),
    #[error(transparent)]
    Rights(#[from] RightsError),
}

/// What a rectification of traits is to do, and whom to write to of it.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Correction {
    traits: BTreeMap<String, Option<String>>,
    notify: Vec<String>,
}

impl Persons<'_> {
    /// Makes of a request one by the client's own name of the person: for the pseudonym and all linked ids.
    pub fn by_user(&self, ask: Ask, user_id: &str) -> Result<Ask, PersonsError> {
        if !self.people.has(self.site) {
            return Err(PersonsError::NotTaken);
        }
        let visitor = self.key.pseudonym(self.site, PERSON, user_id);
        let linked = self.people.of(self.site, &[visitor])?.into_iter().flat_map(|person| person.linked).collect();
        Ok(Ask { visitor, linked, ..ask })
    }

    /// Seals what a rectification says of traits, so that it lies in clear nowhere.
    pub fn seal(&self, mut ask: Ask) -> Result<Ask, PersonsError> {
        if !self.people.has(self.site) || !ask.fields.keys().any(|field| field.starts_with(TRAITS)) {
            return Ok(ask);
        }
        let records = self.records(&ask_ids(&ask))?;
        let (mut correction, arena) = (Correction::default(), Bump::new());
        for (field, value) in &mut ask.fields {
            let Some(name) = field.strip_prefix(TRAITS) else { continue };
            let said = value.take();
            let clean = person::trait_of(name, said.as_deref().unwrap_or(""), Echo::default(), &mut Scrubbed::default(), &arena);
            if clean.0 != name || name.is_empty() {
                return Err(RightsError::UnknownField("traits.…".to_owned()).into());
            }
            if said.as_ref().is_some_and(|said| clean.1 != *said) {
                return Err(RightsError::Value { field: field.clone(), problem: "a trait is 1,024 bytes at most, without a payment card, an account or a secret" }.into());
            }
            let old = records.iter().filter_map(|record| record.traits.get(name));
            let addresses = old.chain(&said).filter(|value| is_address(name, value));
            for address in addresses {
                if said.as_deref() != Some(address) || records.iter().any(|record| record.traits.get(name) != Some(address)) {
                    correction.notify.push(address.clone());
                }
            }
            correction.traits.insert(name.to_owned(), said);
        }
        let bytes = serde_json::to_vec(&correction).unwrap_or_default();
        ask.sealed = Some(self.people.seal(self.site, &bytes)?);
        Ok(ask)
    }

    /// The records of some ids.
    pub fn records(&self, ids: &[Id]) -> Result<Vec<Person>, PeopleError> {
        self.people.of(self.site, ids)
    }

    /// The old and the new e-mail address of a rectification: whom its notice goes to.
    pub fn notify(&self, sealed: &str) -> Vec<String> {
        let mut notify = opened(self.people, self.site, sealed).map(|correction| correction.notify).unwrap_or_default();
        notify.sort();
        notify.dedup();
        notify
    }
}

fn ask_ids(ask: &Ask) -> Vec<Id> {
    std::iter::once(ask.visitor).chain(ask.linked.iter().copied()).collect()
}

fn is_address(name: &str, value: &str) -> bool {
    name.to_ascii_lowercase().contains("mail") && value.contains('@')
}

fn opened(people: &People, site: &SiteKey, sealed: &str) -> Option<Correction> {
    serde_json::from_slice(&people.unseal(site, sealed)?).ok()
}

/// Puts traits right as a sealed correction says; `None` where its key is gone.
pub fn rectify(writer: &PeopleWriter, site: &SiteKey, ids: &[Id], sealed: &str) -> Result<Option<Rewritten>, PeopleError> {
    let Some(correction) = opened(writer.people(), site, sealed) else { return Ok(None) };
    let rewritten = writer.rewrite(site, &mut |mut person| {
        if ids.contains(&person.visitor) {
            for (name, value) in &correction.traits {
                match value {
                    Some(value) => person.set(name.clone(), value.clone()),
                    None => drop(person.traits.remove(name)),
                }
            }
        }
        Some(person)
    })?;
    Ok(Some(rewritten))
}

/// Takes out of a site's people whoever is erased, and every link to one; `None` where nobody is there.
pub fn erase(writer: &PeopleWriter, site: &SiteKey, suppressions: &Suppressions) -> Result<Option<Rewritten>, PeopleError> {
    if left(writer.people(), site, suppressions)? == 0 {
        return Ok(None);
    }
    let is_erased = |id: &Id| suppressions.standing(site.as_str(), *id).erased;
    let rewritten = writer.rewrite(site, &mut |mut person| {
        person.linked.retain(|id| !is_erased(id));
        (!is_erased(&person.visitor)).then_some(person)
    })?;
    Ok(Some(rewritten))
}

/// So many records are, or lead to, somebody who is erased.
pub fn left(people: &People, site: &SiteKey, suppressions: &Suppressions) -> Result<u64, PeopleError> {
    let mut count = 0;
    people.each(site, &|_| true, &mut |person| {
        let mut ids = std::iter::once(&person.visitor).chain(&person.linked);
        count += u64::from(ids.any(|id| suppressions.standing(site.as_str(), *id).erased));
        Ok(())
    })?;
    Ok(count)
}

/// Lets go of whoever is past the term of the site, and of calls that later ones outdid; `None` where there is
/// too little of either.
pub fn tend(writer: &PeopleWriter, site: &Site, now: Moment) -> Result<Option<Rewritten>, PeopleError> {
    let first_kept = now.plus_seconds(-site.people_keep_seconds);
    let (mut persons, mut past) = (0_u64, 0_u64);
    writer.people().each(&site.key, &|_| true, &mut |person| {
        persons += 1;
        past += u64::from(person.last_seen < first_kept);
        Ok(())
    })?;
    let calls = u64::from(writer.calls(&site.key)?);
    // Written anew when more than half of it is of the past: what a call costs stays in proportion.
    if past == 0 && calls <= 2 * persons + CALLS_LEFT_MAX {
        return Ok(None);
    }
    writer.rewrite(&site.key, &mut |person| (person.last_seen >= first_kept).then_some(person)).map(Some)
}

const CALLS_LEFT_MAX: u64 = 1_000;

#[cfg(test)]
mod tests {
    use super::{Persons, erase, left, opened, rectify, tend};
    use crate::desk::rights::{Ask, RightsError};
    use crate::desk::persons::PersonsError;
    use crate::hit::clock::Moment;
    use crate::hit::field::{Asker, Id, RequestKind, Suppression};
    use crate::hit::site::{Site, SiteKey};
    use crate::people::read::People;
    use crate::people::write::PeopleWriter;
    use crate::rules::identity::{PERSON, SigningKey};
    use crate::rules::person::Person;
    use crate::rules::suppression::{Entry, SuppressionKey, Suppressions};
    use std::collections::BTreeMap;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;
    use std::sync::Arc;

    const NOW: Moment = Moment(1_795_132_800_000_000);

    fn acme() -> Site {
        Site { personal_information: true, ..Site::sample() }
    }

    fn people(folder: &Path) -> Arc<People> {
        let key = folder.join("key");
        std::fs::write(&key, (10..42).collect::<Vec<u8>>()).unwrap();
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
        let site = Site { people_key: Some(key), ..acme() };
        Arc::new(People::of_settings(&[site], &folder.join("data"), &folder.join("lake")).unwrap())
    }

    fn person(visitor: Id, email: &str, linked: &[Id], at: Moment) -> Person {
        let traits = BTreeMap::from([("email".to_owned(), email.to_owned())]);
        Person { visitor, user_id: None, linked: linked.to_vec(), linked_more: false, traits, first_seen: at, last_seen: at }
    }

    fn jane(key: &SigningKey) -> Id {
        key.pseudonym(&acme().key, PERSON, "jane-7")
    }

    fn erased(ids: &[Id]) -> Suppressions {
        let key = SuppressionKey::new(&[7; 32]).unwrap();
        let lines: Vec<String> = ids.iter().map(|id| Entry { kind: Suppression::Erased, subject: key.subject("acme", *id), at: NOW, request: Id([9; 16]) }.line(&key)).collect();
        Suppressions::of_lines(Some(key), lines.iter().map(String::as_bytes))
    }

    fn ask(fields: &[(&str, Option<&str>)]) -> Ask {
        let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), value.map(str::to_owned))).collect();
        Ask { fields, ..Ask::of(RequestKind::Rectification, acme().key, Id([1; 16]), Asker::Client) }
    }

    #[test]
    fn a_user_s_id_means_its_pseudonym_and_all_that_was_linked_to_it() {
        let (folder, key, site) = (tempfile::tempdir().unwrap(), SigningKey::new([7; 32]), acme());
        let people = people(folder.path());
        let writer = PeopleWriter::open(people.clone()).unwrap();
        let persons = Persons { people: &people, key: &key, site: &site.key };
        let found = |user: &str| persons.by_user(ask(&[]), user).map(|ask| (ask.visitor, ask.linked));
        assert_eq!(found("jane-7").unwrap(), (jane(&key), vec![]));
        writer.append(&site.key, vec![person(jane(&key), "a@example.org", &[Id([2; 16])], NOW), person(jane(&key), "a@example.org", &[Id([3; 16])], NOW), person(Id([4; 16]), "b@example.org", &[Id([5; 16])], NOW)], &Some).unwrap();
        assert_eq!(found("jane-7").unwrap(), (jane(&key), vec![Id([2; 16]), Id([3; 16])]));
        assert_ne!(found("jane-8").unwrap().0, jane(&key));
        let other = SiteKey::parse("other").unwrap();
        let refused = Persons { site: &other, ..persons }.by_user(ask(&[]), "jane-7").unwrap_err();
        assert!(matches!(refused, PersonsError::NotTaken) && !refused.to_string().contains("jane"));
    }

    #[test]
    fn an_erasure_leaves_no_record_and_no_link() {
        let (folder, site) = (tempfile::tempdir().unwrap(), acme().key);
        let people = people(folder.path());
        let writer = PeopleWriter::open(people.clone()).unwrap();
        let ids = [Id([1; 16]), Id([2; 16]), Id([3; 16])];
        writer.append(&site, vec![person(ids[0], "a@example.org", &[ids[1]], NOW), person(ids[2], "c@example.org", &[ids[1], Id([8; 16])], NOW)], &Some).unwrap();
        assert_eq!(erase(&writer, &site, &erased(&[Id([77; 16])])).unwrap(), None);
        let suppressions = erased(&ids[..2]);
        assert_eq!(left(&people, &site, &suppressions).unwrap(), 2);
        let report = erase(&writer, &site, &suppressions).unwrap().unwrap();
        assert_eq!((report.removed, report.changed, left(&people, &site, &suppressions).unwrap()), (1, 1, 0));
        let rest = people.of(&site, &ids).unwrap();
        assert_eq!((rest.len(), rest[0].linked.as_slice()), (1, &[Id([8; 16])][..]));
    }

    #[test]
    fn traits_are_put_right_and_whom_to_write_to_is_told() {
        let (folder, key, site) = (tempfile::tempdir().unwrap(), SigningKey::new([7; 32]), acme().key);
        let people = people(folder.path());
        let writer = PeopleWriter::open(people.clone()).unwrap();
        let persons = Persons { people: &people, key: &key, site: &site };
        writer.append(&site, vec![person(Id([1; 16]), "old@example.org", &[], NOW), person(Id([2; 16]), "old@example.org", &[], NOW)], &Some).unwrap();
        let sealed = persons.seal(ask(&[("traits.email", Some("new@example.org")), ("traits.plan", None), ("country", Some("DE"))])).unwrap();
        assert_eq!((sealed.fields["traits.email"].clone(), sealed.fields["country"].clone()), (None, Some("DE".to_owned())));
        let text = sealed.sealed.unwrap();
        assert!(!text.contains("example") && opened(&people, &site, &text).is_some());
        assert_eq!(persons.notify(&text), ["new@example.org", "old@example.org"]);
        let report = rectify(&writer, &site, &[Id([1; 16])], &text).unwrap().unwrap();
        assert_eq!((report.changed, report.removed), (1, 0));
        let emails = |id: u8| people.of(&site, &[Id([id; 16])]).unwrap()[0].traits["email"].clone();
        assert_eq!((emails(1), emails(2)), ("new@example.org".to_owned(), "old@example.org".to_owned()));
        for (field, value) in [("traits.card", "4111111111111111"), ("traits.note", "4111111111111111"), ("traits.", "x"), ("traits.jane@example.org", "x")] {
            let error = persons.seal(ask(&[(field, Some(value))])).unwrap_err();
            assert!(matches!(error, PersonsError::Rights(RightsError::Value { .. } | RightsError::UnknownField(_))) && !error.to_string().contains("4111") && !error.to_string().contains("jane@"), "{error}");
        }
        assert_eq!(persons.notify("nonsense"), [""; 0]);
    }

    #[test]
    fn whoever_is_past_the_term_is_let_go_and_repeats_are_gathered() {
        let (folder, site) = (tempfile::tempdir().unwrap(), acme());
        let people = people(folder.path());
        let writer = PeopleWriter::open(people.clone()).unwrap();
        let old = NOW.plus_seconds(-site.people_keep_seconds - 1);
        writer.append(&site.key, vec![person(Id([1; 16]), "a@example.org", &[], NOW), person(Id([2; 16]), "b@example.org", &[], old), person(Id([1; 16]), "a@example.org", &[], old)], &Some).unwrap();
        let report = tend(&writer, &site, NOW).unwrap().unwrap();
        assert_eq!(report.removed, 1);
        assert_eq!(people.of(&site.key, &[Id([1; 16]), Id([2; 16])]).unwrap().len(), 1);
        assert_eq!(tend(&writer, &site, NOW).unwrap(), None);
        let many = (0..1_010).map(|_| person(Id([1; 16]), "a@example.org", &[], NOW)).collect();
        writer.append(&site.key, many, &Some).unwrap();
        let report = tend(&writer, &site, NOW).unwrap().unwrap();
        assert!(report.removed == 0 && report.after.bytes * 100 < report.before.bytes);
    }
}
