//! Owns where people lie, and reading them: each person once, as all their calls left them.
//!
//! `DATA/people/SITE/NUMBER.people`, the highest number in force; a folder is its owner's alone, and so are
//! the files. Promises: reads beside a writer, which may replace the file meanwhile; memory is bounded
//! whatever the file's size: persons are gathered by the first byte of their id, one portion of 32 MiB of
//! frames at a time, so that a file of 1 GiB is read 32 times. Writes nothing.

use super::file::{PeopleError, PeopleFile, Place};
use super::frame::Cipher;
use super::frame::{HEAD_LENGTH, PREFIX_LENGTH, Prefix};
use super::key::{KeyError, PeopleKey, keys};
use crate::hit::field::Id;
use crate::hit::site::{Site, SiteKey};
use crate::rules::person::Person;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The people of all sites that have a key.
pub struct People {
    folder: PathBuf,
    keys: BTreeMap<SiteKey, PeopleKey>,
}

impl People {
    /// Gives every person of a site for whose id `wanted` is true to `each`, in the order of their ids by
    /// portions. A site without people has none.
    pub fn each(&self, site: &SiteKey, wanted: &dyn Fn(Id) -> bool, each: &mut dyn FnMut(Person) -> Result<(), PeopleError>) -> Result<(), PeopleError> {
        match self.open(site)? {
            Some(mut file) => {
                let to = file.length()?;
                fold(&mut file, to, wanted, each).map(|_| ())
            }
            None => Ok(()),
        }
    }

    /// The people below `data_dir`, with the keys that the settings name.
    pub fn of_settings(sites: &[Site], data_dir: &Path, lake: &Path) -> Result<Self, KeyError> {
        Ok(Self { folder: data_dir.join("people"), keys: keys(sites, data_dir, lake)? })
    }

    /// The persons of some ids, each id's own record alone.
    pub fn of(&self, site: &SiteKey, ids: &[Id]) -> Result<Vec<Person>, PeopleError> {
        let mut found = Vec::new();
        self.each(site, &|id| ids.contains(&id), &mut |person| {
            found.push(person);
            Ok(())
        })?;
        Ok(found)
    }

    /// Proves that every key opens the people that lie here.
    pub fn prove(&self) -> Result<(), PeopleError> {
        self.sites().try_for_each(|site| self.open(site).map(|_| ()))
    }

    /// Whether a site has a key, and so may have people.
    pub fn has(&self, site: &SiteKey) -> bool {
        self.keys.contains_key(site)
    }

    pub fn sites(&self) -> impl Iterator<Item = &SiteKey> {
        self.keys.keys()
    }

    pub(super) fn folder_of(&self, site: &SiteKey) -> PathBuf {
        self.folder.join(site.as_str())
    }

    pub(super) fn key_of(&self, site: &SiteKey) -> Result<&PeopleKey, PeopleError> {
        self.keys.get(site).ok_or_else(|| PeopleError::NoKey(site.to_string()))
    }

    /// Refuses where people of a site lie here and no key opens them.
    pub fn must_open(&self, site: &SiteKey) -> Result<(), PeopleError> {
        let lies_here = || files_in(&self.folder_of(site)).map(|files| !files.is_empty());
        if !self.has(site) && lies_here()? { Err(PeopleError::NoKey(site.to_string())) } else { Ok(()) }
    }

    /// The file in force.
    fn open(&self, site: &SiteKey) -> Result<Option<PeopleFile>, PeopleError> {
        if !self.has(site) {
            self.must_open(site)?;
            return Ok(None);
        }
        let key = self.key_of(site)?;
        let mut looks = 0;
        loop {
            looks += 1;
            let Some(path) = files_in(&self.folder_of(site))?.pop() else { return Ok(None) };
            match PeopleFile::open(&path, key, site) {
                // Replaced between the look and the opening.
                Err(PeopleError::Io { reason, .. }) if reason.kind() == io::ErrorKind::NotFound && looks < LOOKS_MAX => {}
                opened => return opened.map(Some),
            }
        }
    }

    /// A text that only this site's key opens.
    pub fn seal(&self, site: &SiteKey, bytes: &[u8]) -> Result<String, PeopleError> {
        let failed = |reason| PeopleError::Io { path: "a sealed text".to_owned(), reason };
        let cipher = Cipher::fresh(self.key_of(site)?, site).map_err(failed)?;
        let mut sealed = cipher.head().to_vec();
        cipher.seal(0, 0, bytes.to_vec(), &mut sealed).map_err(failed)?;
        Ok(STANDARD.encode(sealed))
    }

    /// What `seal` made a text of; `None` where this key does not open it.
    pub fn unseal(&self, site: &SiteKey, text: &str) -> Option<Vec<u8>> {
        let bytes = STANDARD.decode(text).ok()?;
        let (head, frame) = bytes.split_at_checked(HEAD_LENGTH)?;
        let cipher = Cipher::of_head(self.keys.get(site)?, site, head)?;
        let (prefix, sealed) = frame.split_first_chunk::<PREFIX_LENGTH>()?;
        cipher.open(Prefix::parse(prefix)?, sealed.to_vec())
    }

    /// Reads all people of all sites; a fact for each site, and what is wrong. Where a collector has the folder
    /// `is_in_use`, a file that it is writing anew is none of it.
    pub fn survey(&self, is_in_use: bool) -> (Vec<String>, Vec<String>) {
        let (mut facts, mut faults) = (Vec::new(), Vec::new());
        let found = std::fs::read_dir(&self.folder).into_iter().flatten().flatten().map(|entry| entry.path());
        let mut folders: Vec<PathBuf> = found.collect();
        folders.sort();
        if !folders.is_empty() {
            owners_alone(&self.folder, 0o700, &mut faults);
        }
        for folder in folders {
            let site = folder.file_name().and_then(|name| name.to_str()).and_then(SiteKey::parse);
            let Some(site) = site.filter(|_| folder.is_dir()) else {
                faults.push(format!("people: {} is no site's folder", folder.display()));
                continue;
            };
            if let Err(error) = self.survey_site(&site, &folder, is_in_use, &mut facts, &mut faults) {
                faults.push(format!("people: {error}"));
            }
        }
        (facts, faults)
    }

    fn survey_site(&self, site: &SiteKey, folder: &Path, is_in_use: bool, facts: &mut Vec<String>, faults: &mut Vec<String>) -> Result<(), PeopleError> {
        owners_alone(folder, 0o700, faults);
        let known = files_in(folder)?;
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            owners_alone(&entry.path(), 0o600, faults);
            if !is_in_use && !known.contains(&entry.path()) {
                faults.push(format!("people: {} was left by a rewrite that was cut short, or belongs to none; the next start removes it", entry.path().display()));
            }
        }
        if !is_in_use && known.len() > 1 {
            faults.push(format!("people: {} holds {} files and one is in force; the next start removes the others", folder.display(), known.len()));
        }
        let Some(mut file) = self.open(site)? else { return Ok(()) };
        let (to, mut calls) = (file.length()?, 0_u64);
        let end = file.read(Place::FIRST, to, &mut |_| {
            calls += 1;
            Ok(())
        })?;
        facts.push(format!("people of {site}: {calls} identify calls or persons in {to} bytes, all of which open; {} bytes after the last", to - end.bytes));
        Ok(())
    }
}

const LOOKS_MAX: u32 = 20;
const PORTION_BYTES: u64 = 32 << 20;

/// Gives each wanted person of the file's first `to` bytes to `each`; where the last good call ends.
pub(super) fn fold(file: &mut PeopleFile, to: u64, wanted: &dyn Fn(Id) -> bool, each: &mut dyn FnMut(Person) -> Result<(), PeopleError>) -> Result<Place, PeopleError> {
    fold_in(file, to, (to / PORTION_BYTES + 1).min(256), wanted, each)
}

fn fold_in(file: &mut PeopleFile, to: u64, portions: u64, wanted: &dyn Fn(Id) -> bool, each: &mut dyn FnMut(Person) -> Result<(), PeopleError>) -> Result<Place, PeopleError> {
    let mut end = Place::FIRST;
    for portion in 0..portions {
        let mut persons: BTreeMap<Id, Person> = BTreeMap::new();
        end = file.read(Place::FIRST, to, &mut |person| {
            if u64::from(person.visitor.0[0]) * portions / 256 == portion && wanted(person.visitor) {
                match persons.get_mut(&person.visitor) {
                    Some(known) => known.take(person),
                    None => drop(persons.insert(person.visitor, person)),
                }
            }
            Ok(())
        })?;
        persons.into_values().try_for_each(&mut *each)?;
    }
    Ok(end)
}

/// The files of a site, the one in force last.
pub(super) fn files_in(folder: &Path) -> Result<Vec<PathBuf>, PeopleError> {
    let failed = |reason| PeopleError::Io { path: folder.display().to_string(), reason };
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        if generation_of(&path).is_some() {
            files.push(path);
        }
    }
    files.sort_by_key(|path| generation_of(path));
    Ok(files)
}

/// The number of a file of people.
pub(super) fn generation_of(path: &Path) -> Option<u64> {
    path.file_name()?.to_str()?.strip_suffix(".people")?.parse().ok()
}

fn owners_alone(path: &Path, mode: u32, faults: &mut Vec<String>) {
    if let Ok(about) = std::fs::metadata(path)
        && about.mode() & 0o777 != mode
    {
        faults.push(format!("people: {} has the mode {:o}; it should be {mode:o}, its owner's alone", path.display(), about.mode() & 0o777));
    }
}

#[cfg(test)]
mod tests {
    use super::{People, fold_in};
    use crate::hit::clock::Moment;
    use crate::hit::field::Id;
    use crate::hit::site::SiteKey;
    use crate::people::file::{PeopleFile, Place};
    use crate::people::frame::Cipher;
    use crate::people::key::PeopleKey;
    use crate::rules::person::Person;
    use std::collections::BTreeMap;
    use std::path::Path;

    impl People {
        pub fn sample(folder: &Path, first: u8) -> Self {
            Self { folder: folder.join("people"), keys: BTreeMap::from([(SiteKey::parse("acme").unwrap(), PeopleKey::sample(first))]) }
        }
    }

    #[test]
    fn in_portions_everyone_is_met_once_as_all_calls_left_them() {
        let folder = tempfile::tempdir().unwrap();
        let (path, acme) = (folder.path().join("1.people"), SiteKey::parse("acme").unwrap());
        let cipher = Cipher::fresh(&PeopleKey::sample(1), &acme).unwrap();
        let mut bytes = cipher.head().to_vec();
        for number in 0..600_u32 {
            let traits = BTreeMap::from([(format!("t{}", number / 200), number.to_string())]);
            let person = Person { visitor: Id([(number % 200) as u8; 16]), user_id: None, linked: vec![], linked_more: false, traits, first_seen: Moment(1), last_seen: Moment(i64::from(number)) };
            cipher.seal(number, number, person.to_bytes(), &mut bytes).unwrap();
        }
        std::fs::write(&path, &bytes).unwrap();
        let met = |portions| {
            let mut file = PeopleFile::open(&path, &PeopleKey::sample(1), &acme).unwrap();
            let mut met = Vec::new();
            let end = fold_in(&mut file, bytes.len() as u64, portions, &|_| true, &mut |person| {
                met.push((person.visitor, person.traits.clone(), person.last_seen));
                Ok(())
            });
            assert_eq!(end.unwrap(), Place { bytes: bytes.len() as u64, number: 600 });
            met
        };
        assert_eq!((met(1).len(), met(1)[7].1.len(), met(1)[7].2), (200, 3, Moment(407)));
        assert!(met(1) == met(7) && met(1) == met(256));
    }

    #[test]
    fn a_sealed_text_is_opened_by_its_key_alone() {
        let folder = tempfile::tempdir().unwrap();
        let (acme, people) = (SiteKey::parse("acme").unwrap(), People::sample(folder.path(), 1));
        let sealed = people.seal(&acme, b"jane@example.org").unwrap();
        assert_eq!(people.unseal(&acme, &sealed).unwrap(), b"jane@example.org");
        assert_eq!(People::sample(folder.path(), 2).unseal(&acme, &sealed), None);
        for at in (0..sealed.len()).step_by(3) {
            assert_eq!(people.unseal(&acme, &sealed[..at]), None);
        }
        assert!(people.seal(&SiteKey::parse("other").unwrap(), b"").is_err());
    }
}
