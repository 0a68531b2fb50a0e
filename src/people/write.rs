//! Owns writing people: identify calls behind one another, and the rewrite that makes of them what they
//! come to.
//!
//! Promises: what `append` returned for is synced; a group that failed is cut off again, and where that
//! fails too nothing more is taken; `rewrite` writes a new file, syncs it, puts it in the old one's place by
//! its name, removes the old one and looks that it is gone, so that a crash at any step leaves one whole
//! file in force; calls that come while it runs are taken over at its end, under the same change. One
//! process at a time: whoever opens this holds the data folder.

use super::file::{GROUP_BYTES, PeopleError, PeopleFile, Place};
use super::frame::Cipher;
use super::read::{People, files_in, fold, generation_of};
use crate::hit::field::hex;
use crate::hit::site::SiteKey;
use crate::journal::folder;
use crate::rules::person::Person;
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The people of all sites, open for writing.
pub struct PeopleWriter {
    people: Arc<People>,
    shelves: BTreeMap<SiteKey, Mutex<Shelf>>,
}

/// The file in force of a site.
struct Shelf {
    path: PathBuf,
    generation: u64,
    cipher: Cipher,
    file: File,
    end: Place,
    /// A failed write could not be cut off.
    is_broken: bool,
}

/// What a rewrite did to a site's people: files with their digests, no person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rewritten {
    pub site: String,
    pub before: Kept,
    pub after: Kept,
    pub removed: u64,
    pub changed: u64,
}

/// A file of people, as a receipt tells of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Kept {
    pub file: String,
    pub bytes: u64,
    pub sha256: String,
}

/// What becomes of a person in a rewrite; `None`: removed.
pub type Change<'c> = &'c mut dyn FnMut(Person) -> Option<Person>;

impl PeopleWriter {
    /// Appends calls of one site in one group, durably. `admit` has the last word on each, at a moment from
    /// which on a rewrite will see it; says of each call whether it was taken.
    pub fn append(&self, site: &SiteKey, calls: Vec<Person>, admit: &dyn Fn(Person) -> Option<Person>) -> Result<Vec<bool>, PeopleError> {
        let mut shelf = self.lock(site)?;
        let admitted: Vec<Option<Vec<u8>>> = calls.into_iter().map(|call| admit(call).map(|call| call.to_bytes())).collect();
        let taken = admitted.iter().map(Option::is_some).collect();
        shelf.append(admitted.into_iter().flatten())?;
        Ok(taken)
    }

    /// Opens the people of every site that has a key, made where there are none; removes what a crash left.
    pub fn open(people: Arc<People>) -> Result<Self, PeopleError> {
        let mut shelves = BTreeMap::new();
        for site in people.sites() {
            shelves.insert(*site, Mutex::new(Shelf::open(&people, site)?));
        }
        Ok(Self { people, shelves })
    }

    pub const fn people(&self) -> &Arc<People> {
        &self.people
    }

    pub fn sites(&self) -> impl Iterator<Item = &SiteKey> {
        self.shelves.keys()
    }

    /// So many frames are in the file in force.
    pub fn calls(&self, site: &SiteKey) -> Result<u32, PeopleError> {
        Ok(self.lock(site)?.end.number)
    }

    /// The number of the file in force and its length: where both are the same, nothing was written.
    pub fn stamp(&self, site: &SiteKey) -> Result<(u64, u64), PeopleError> {
        let shelf = self.lock(site)?;
        Ok((shelf.generation, shelf.end.bytes))
    }

    /// Writes a site's people anew, each person once, as `change` lets them be.
    pub fn rewrite(&self, site: &SiteKey, change: Change<'_>) -> Result<Rewritten, PeopleError> {
        let (old_path, generation, to) = {
            let shelf = self.lock(site)?;
            (shelf.path.clone(), shelf.generation, shelf.end.bytes)
        };
        let key = self.people.key_of(site)?;
        let unfinished = old_path.with_file_name(format!("{:08}.new", generation + 1));
        let mut new = Shelf::make(&unfinished, key_cipher(key, site, &unfinished)?, generation + 1)?;
        let mut old = PeopleFile::open(&old_path, key, site)?;
        let (mut removed, mut changed) = (0, 0);
        let mut one = |person: Person, new: &mut Shelf| {
            let before = person.clone();
            match change(person) {
                Some(person) => {
                    changed += u64::from(person != before);
                    new.write(person.to_bytes())?;
                }
                None => removed += 1,
            }
            Ok(())
        };
        let seen = fold(&mut old, to, &|_| true, &mut |person| one(person, &mut new))?;
        // From here on nobody appends: what came meanwhile is taken over as it is.
        let mut shelf = self.lock(site)?;
        old.read(seen, shelf.end.bytes, &mut |call| one(call, &mut new))?;
        let failed = failed(&unfinished);
        new.file.sync_all().map_err(&failed)?;
        let path = old_path.with_file_name(format!("{:08}.people", generation + 1));
        std::fs::rename(&unfinished, &path).and_then(|()| folder::sync_above(&path)).map_err(&failed)?;
        new.path.clone_from(&path);
        *shelf = new;
        drop(shelf);
        let (before, after) = (kept(&old_path)?, kept(&path)?);
        remove(&old_path)?;
        Ok(Rewritten { site: site.to_string(), before, after, removed, changed })
    }

    fn lock(&self, site: &SiteKey) -> Result<MutexGuard<'_, Shelf>, PeopleError> {
        let shelf = self.shelves.get(site).ok_or_else(|| PeopleError::NoKey(site.to_string()))?;
        // A shelf says itself where it ends: what a panic left behind it is written over.
        Ok(shelf.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Shelf {
    fn open(people: &People, site: &SiteKey) -> Result<Self, PeopleError> {
        let (place, key) = (people.folder_of(site), people.key_of(site)?);
        folder::make_private(place.parent().unwrap_or(&place)).and_then(|()| folder::make_private(&place)).map_err(failed(&place))?;
        let mut files = files_in(&place)?;
        let Some(path) = files.pop() else {
            let (unfinished, path) = (place.join("00000001.new"), place.join("00000001.people"));
            let mut made = Self::make(&unfinished, key_cipher(key, site, &unfinished)?, 1)?;
            made.file.sync_all().and_then(|()| std::fs::rename(&unfinished, &path)).and_then(|()| folder::sync_above(&path)).map_err(failed(&path))?;
            made.path = path;
            return Ok(made);
        };
        let mut file = PeopleFile::open(&path, key, site)?;
        let length = file.length()?;
        let end = file.read(Place::FIRST, length, &mut |_| Ok(()))?;
        let writable = OpenOptions::new().write(true).open(&path).map_err(failed(&path))?;
        rustix::fs::fchmod(&writable, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR).map_err(|error| failed(&path)(error.into()))?;
        if end.bytes < length {
            tracing::warn!(%site, bytes = length - end.bytes, "the end of the people's file was cut short by a crash, or changed: it was cut off");
            writable.set_len(end.bytes).and_then(|()| writable.sync_all()).map_err(failed(&path))?;
        }
        // What a rewrite that was killed left: its new file, or the old one behind the new.
        for entry in std::fs::read_dir(&place).map_err(failed(&place))? {
            let other = entry.map_err(failed(&place))?.path();
            if other != path && (generation_of(&other).is_some() || other.extension().is_some_and(|ending| ending == "new")) {
                remove(&other)?;
            }
        }
        let generation = generation_of(&path).unwrap_or(0);
        Ok(Self { path, generation, cipher: file.cipher, file: writable, end, is_broken: false })
    }

    /// A new file with its head, not yet synced.
    fn make(path: &Path, cipher: Cipher, generation: u64) -> Result<Self, PeopleError> {
        let make = || {
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
            file.write_all(cipher.head())?;
            Ok(file)
        };
        let file = make().map_err(failed(path))?;
        Ok(Self { path: path.to_owned(), generation, cipher, file, end: Place::FIRST, is_broken: false })
    }

    /// A frame of a group of its own, not synced: whoever flips a byte of it later is found.
    fn write(&mut self, payload: Vec<u8>) -> Result<(), PeopleError> {
        let failed = failed(&self.path);
        let mut frame = Vec::with_capacity(payload.len() + 64);
        self.cipher.seal(self.end.number, self.end.number, payload, &mut frame).and_then(|()| self.file.write_all(&frame)).map_err(&failed)?;
        self.end = Place { bytes: self.end.bytes + frame.len() as u64, number: next(self.end.number).map_err(&failed)? };
        Ok(())
    }

    /// Groups of frames, each synced.
    fn append(&mut self, payloads: impl Iterator<Item = Vec<u8>>) -> Result<(), PeopleError> {
        let mut payloads = payloads.peekable();
        while payloads.peek().is_some() {
            self.append_group(&mut payloads).map_err(failed(&self.path))?;
        }
        Ok(())
    }

    fn append_group(&mut self, payloads: &mut impl Iterator<Item = Vec<u8>>) -> io::Result<()> {
        if self.is_broken {
            return Err(io::Error::other("an earlier write failed and could not be taken back"));
        }
        let (mut group, mut number) = (Vec::new(), self.end.number);
        for payload in payloads.by_ref() {
            self.cipher.seal(number, self.end.number, payload, &mut group)?;
            number = next(number)?;
            if group.len() >= GROUP_BYTES {
                break;
            }
        }
        let written = self.file.seek(SeekFrom::Start(self.end.bytes)).and_then(|_| self.file.write_all(&group)).and_then(|()| self.file.sync_data());
        match written {
            Ok(()) => {
                self.end = Place { bytes: self.end.bytes + group.len() as u64, number };
                Ok(())
            }
            Err(error) => {
                self.is_broken = self.file.set_len(self.end.bytes).and_then(|()| self.file.sync_all()).is_err();
                Err(error)
            }
        }
    }
}

fn key_cipher(key: &super::key::PeopleKey, site: &SiteKey, path: &Path) -> Result<Cipher, PeopleError> {
    Cipher::fresh(key, site).map_err(failed(path))
}

/// A file holds 2^32 frames at most: maintenance writes it anew long before.
fn next(number: u32) -> io::Result<u32> {
    number.checked_add(1).ok_or_else(|| io::Error::other("the file is full"))
}

fn failed(path: &Path) -> impl Fn(io::Error) -> PeopleError + use<> {
    let path = path.display().to_string();
    move |reason| PeopleError::Io { path: path.clone(), reason }
}

fn remove(path: &Path) -> Result<(), PeopleError> {
    std::fs::remove_file(path).and_then(|()| folder::sync_above(path)).map_err(failed(path))?;
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed(path)(error)),
        Ok(_) => Err(failed(path)(io::Error::other("it is still there after it was removed"))),
    }
}

fn kept(path: &Path) -> Result<Kept, PeopleError> {
    let read = || {
        let (mut file, mut sha256, mut bytes) = (File::open(path)?, Sha256::new(), vec![0; 128 << 10]);
        let mut length = 0;
        loop {
            let count = file.read(&mut bytes)?;
            if count == 0 {
                return Ok((length, hex(&sha256.finalize())));
            }
            length += count as u64;
            sha256.update(bytes.get(..count).unwrap_or_default());
        }
    };
    let (bytes, sha256) = read().map_err(failed(path))?;
    Ok(Kept { file: path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(), bytes, sha256 })
}

#[cfg(test)]
mod tests {
    use super::PeopleWriter;
    use crate::hit::clock::Moment;
    use crate::hit::field::Id;
    use crate::hit::site::SiteKey;
    use crate::people::file::PeopleError;
    use crate::people::read::People;
    use crate::rules::person::Person;
    use std::collections::BTreeMap;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;
    use std::sync::Arc;

    fn acme() -> SiteKey {
        SiteKey::parse("acme").unwrap()
    }

    fn call(visitor: u8, email: &str, at: i64) -> Person {
        let traits = BTreeMap::from([("email".to_owned(), email.to_owned())]);
        Person { visitor: Id([visitor; 16]), user_id: Some(format!("user-{visitor}")), linked: vec![], linked_more: false, traits, first_seen: Moment(at), last_seen: Moment(at) }
    }

    fn open(folder: &Path) -> PeopleWriter {
        PeopleWriter::open(Arc::new(People::sample(folder, 1))).unwrap()
    }

    fn emails(folder: &Path) -> Vec<(u8, String)> {
        let mut found = Vec::new();
        let all = |person: Person| {
            found.push((person.visitor.0[0], person.traits["email"].clone()));
            Ok(())
        };
        let mut all = all;
        People::sample(folder, 1).each(&acme(), &|_| true, &mut all).unwrap();
        found
    }

    fn append(writer: &PeopleWriter, calls: Vec<Person>) -> Vec<bool> {
        writer.append(&acme(), calls, &|call| (call.visitor != Id([66; 16])).then_some(call)).unwrap()
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(folder.join("people/acme")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn calls_are_there_after_a_start_and_in_clear_nowhere() {
        let folder = tempfile::tempdir().unwrap();
        let writer = open(folder.path());
        assert_eq!(append(&writer, vec![call(1, "old@example.org", 1), call(66, "gone@example.org", 1), call(2, "other@example.org", 1)]), [true, false, true]);
        append(&writer, vec![call(1, "new@example.org", 2)]);
        drop(writer);
        let expected = [(1, "new@example.org".to_owned()), (2, "other@example.org".to_owned())];
        assert_eq!(emails(folder.path()), expected);
        append(&open(folder.path()), vec![call(2, "third@example.org", 3)]);
        assert_eq!(emails(folder.path())[1].1, "third@example.org");
        let file = folder.path().join("people/acme/00000001.people");
        assert!(!std::fs::read(&file).unwrap().windows(7).any(|window| window == b"example"));
        for (path, mode) in [(folder.path().join("people"), 0o700), (folder.path().join("people/acme"), 0o700), (file, 0o600)] {
            assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o777, mode);
        }
        assert!(matches!(PeopleWriter::open(Arc::new(People::sample(folder.path(), 2))), Err(PeopleError::WrongKey { .. })));
        assert_eq!(People::sample(folder.path(), 1).survey(false).1, [""; 0]);
    }

    #[test]
    fn a_rewrite_leaves_each_person_once_and_no_old_file() {
        let folder = tempfile::tempdir().unwrap();
        let writer = open(folder.path());
        for at in 0..5 {
            append(&writer, vec![call(1, "jane@example.org", at), call(2, &format!("{at}@example.org"), at)]);
        }
        let before = std::fs::read(folder.path().join("people/acme/00000001.people")).unwrap();
        let mut is_first = true;
        let report = writer
            .rewrite(&acme(), &mut |person| {
                // A call that comes while the rewrite runs, and one of whom it removes.
                if std::mem::take(&mut is_first) {
                    append(&writer, vec![call(3, "late@example.org", 9), call(1, "again@example.org", 9)]);
                }
                (person.visitor != Id([1; 16])).then_some(person)
            })
            .unwrap();
        assert_eq!((report.removed, report.changed, report.before.file.as_str()), (2, 0, "00000001.people"));
        assert!(report.before.bytes > before.len() as u64 && report.after.bytes < report.before.bytes);
        assert_eq!(emails(folder.path()), [(2, "4@example.org".to_owned()), (3, "late@example.org".to_owned())]);
        assert_eq!(names(folder.path()), ["00000002.people"]);
        append(&writer, vec![call(4, "more@example.org", 10)]);
        assert_eq!(emails(folder.path()).len(), 3);
        assert_eq!(emails(folder.path()), { drop(writer); open(folder.path()); emails(folder.path()) });
    }

    #[test]
    fn killed_at_any_step_of_a_rewrite_one_whole_file_is_in_force() {
        for left in [&["00000002.new"][..], &["00000002.people", "00000001.people"], &["00000003.new"]] {
            let folder = tempfile::tempdir().unwrap();
            append(&open(folder.path()), vec![call(1, "jane@example.org", 1)]);
            let old = folder.path().join("people/acme/00000001.people");
            for name in left {
                let path = folder.path().join("people/acme").join(name);
                if path != old {
                    std::fs::copy(&old, path).unwrap();
                }
            }
            assert!(!People::sample(folder.path(), 1).survey(false).1.is_empty());
            append(&open(folder.path()), vec![call(2, "other@example.org", 1)]);
            assert_eq!((emails(folder.path()).len(), names(folder.path()).len()), (2, 1), "{left:?}");
            assert_eq!(People::sample(folder.path(), 1).survey(false).1, [""; 0]);
        }
    }

    #[test]
    fn a_torn_end_is_cut_off_and_a_changed_middle_keeps_the_program_from_starting() {
        let folder = tempfile::tempdir().unwrap();
        let writer = open(folder.path());
        append(&writer, vec![call(1, "jane@example.org", 1)]);
        let one = writer.stamp(&acme()).unwrap().1 as usize;
        append(&writer, vec![call(2, "other@example.org", 1)]);
        drop(writer);
        let path = folder.path().join("people/acme/00000001.people");
        let whole = std::fs::read(&path).unwrap();
        for length in one..whole.len() {
            std::fs::write(&path, &whole[..length]).unwrap();
            append(&open(folder.path()), vec![call(3, "third@example.org", 1)]);
            assert_eq!(emails(folder.path()), [(1, "jane@example.org".to_owned()), (3, "third@example.org".to_owned())], "cut at {length}");
        }
        let mut flipped = whole;
        flipped[one - 1] ^= 1;
        std::fs::write(&path, flipped).unwrap();
        assert!(matches!(PeopleWriter::open(Arc::new(People::sample(folder.path(), 1))), Err(PeopleError::Damaged { .. })));
        assert!(People::sample(folder.path(), 1).survey(false).1[0].contains("was changed at byte"));
    }
}
