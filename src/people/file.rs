//! Owns reading a file of people: frames in their order, and what a broken one means.
//!
//! Promises: what was cut short by a crash was never acknowledged and ends the file; what was changed
//! before the last group is told as damage and nothing is read past it. The two are told apart by the
//! frames behind: one of a later group proves that the group before it had been synced. What is broken in
//! the last group itself may be either, and ends the file. Bounded memory: a frame at a time, and for the
//! look behind a broken frame 3 MiB.

use super::frame::{Cipher, FRAME_MAX, HEAD_LENGTH, PREFIX_LENGTH, Prefix};
use super::key::PeopleKey;
use crate::hit::site::SiteKey;
use crate::rules::person::Person;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// Why a file of people cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum PeopleError {
    #[error("the people of the site `{site}` were not written with its people_key, or {path} was changed: put the key back that they were written with")]
    WrongKey { site: SiteKey, path: String },
    #[error("{path} was changed at byte {at}: put a good copy back, or move it away")]
    Damaged { path: String, at: u64 },
    #[error("the people of the site `{0}` lie here and the settings have no people_key for it: set it, for as long as they lie here")]
    NoKey(String),
    #[error("{path}: {reason}")]
    Io { path: String, reason: io::Error },
}

/// A file of people, open for reading.
pub struct PeopleFile {
    pub path: PathBuf,
    pub cipher: Cipher,
    file: File,
}

/// Between two frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub bytes: u64,
    /// Of the frame that follows.
    pub number: u32,
}

impl Place {
    pub const FIRST: Self = Self { bytes: HEAD_LENGTH as u64, number: 0 };
}

/// A group is ended when it has this, and so is a frame longer at most.
pub const GROUP_BYTES: usize = 1 << 20;
const TORN_MAX: u64 = (GROUP_BYTES + FRAME_MAX + PREFIX_LENGTH) as u64;

type Each<'e> = &'e mut dyn FnMut(Person) -> Result<(), PeopleError>;

impl PeopleFile {
    pub fn open(path: &Path, key: &PeopleKey, site: &SiteKey) -> Result<Self, PeopleError> {
        let failed = |reason| PeopleError::Io { path: path.display().to_string(), reason };
        let mut file = File::open(path).map_err(failed)?;
        let mut head = Vec::with_capacity(HEAD_LENGTH);
        file.by_ref().take(HEAD_LENGTH as u64).read_to_end(&mut head).map_err(failed)?;
        match Cipher::of_head(key, site, &head) {
            Some(cipher) => Ok(Self { path: path.to_owned(), cipher, file }),
            None => Err(PeopleError::WrongKey { site: *site, path: path.display().to_string() }),
        }
    }

    pub fn length(&self) -> Result<u64, PeopleError> {
        Ok(self.file.metadata().map_err(|reason| self.failed(reason))?.len())
    }

    /// Gives the calls between `from` and the byte `to` to `each`, the oldest first; where the last good one ends.
    pub fn read(&mut self, from: Place, to: u64, each: Each<'_>) -> Result<Place, PeopleError> {
        let mut place = from;
        let (failed, path) = (failed(&self.path), self.path.clone());
        self.file.seek(SeekFrom::Start(from.bytes)).map_err(&failed)?;
        let mut bytes = BufReader::with_capacity(128 << 10, &self.file);
        while place.bytes < to {
            let Some(person) = next(&mut bytes, &self.cipher, &mut place, to).map_err(&failed)? else {
                drop(bytes);
                return if self.is_damage(place, to)? { Err(PeopleError::Damaged { path: path.display().to_string(), at: place.bytes }) } else { Ok(place) };
            };
            each(person)?;
        }
        Ok(place)
    }

    /// Whether what is broken at `place` was whole once: a later group follows, or more than one group could be.
    fn is_damage(&mut self, place: Place, to: u64) -> Result<bool, PeopleError> {
        if to - place.bytes > TORN_MAX {
            return Ok(true);
        }
        let mut rest = Vec::new();
        self.file.seek(SeekFrom::Start(place.bytes)).and_then(|_| self.file.by_ref().take(to - place.bytes).read_to_end(&mut rest)).map_err(failed(&self.path))?;
        let later = (1..rest.len()).filter_map(|at| {
            let (head, sealed) = rest.get(at..)?.split_first_chunk::<PREFIX_LENGTH>()?;
            let prefix = Prefix::parse(head).filter(|prefix| prefix.first > place.number)?;
            self.cipher.open(prefix, sealed.get(..prefix.length)?.to_vec())
        });
        Ok(later.take(1).count() > 0)
    }

    fn failed(&self, reason: io::Error) -> PeopleError {
        failed(&self.path)(reason)
    }
}

fn failed(path: &Path) -> impl Fn(io::Error) -> PeopleError + use<> {
    let path = path.display().to_string();
    move |reason| PeopleError::Io { path: path.clone(), reason }
}

/// The call at `place`, which is moved behind it; `None` where there is no whole one.
fn next(bytes: &mut impl Read, cipher: &Cipher, place: &mut Place, to: u64) -> io::Result<Option<Person>> {
    let left = to - place.bytes;
    let mut head = [0; PREFIX_LENGTH];
    if left < head.len() as u64 {
        return Ok(None);
    }
    bytes.read_exact(&mut head)?;
    let is_next = |prefix: &Prefix| prefix.number == place.number && (PREFIX_LENGTH + prefix.length) as u64 <= left;
    let Some(prefix) = Prefix::parse(&head).filter(is_next) else { return Ok(None) };
    let mut sealed = vec![0; prefix.length];
    bytes.read_exact(&mut sealed)?;
    let Some(person) = cipher.open(prefix, sealed).and_then(|opened| Person::of_bytes(&opened)) else { return Ok(None) };
    *place = Place { bytes: place.bytes + (PREFIX_LENGTH + prefix.length) as u64, number: place.number.saturating_add(1) };
    Ok(Some(person))
}

#[cfg(test)]
mod tests {
    use super::{PeopleError, PeopleFile, Place};
    use crate::hit::clock::Moment;
    use crate::hit::field::Id;
    use crate::hit::site::SiteKey;
    use crate::people::frame::{Cipher, HEAD_LENGTH};
    use crate::people::key::PeopleKey;
    use crate::rules::person::Person;
    use std::collections::BTreeMap;
    use std::path::Path;

    fn person(visitor: u8) -> Person {
        let traits = BTreeMap::from([("email".to_owned(), "jane@example.org".to_owned())]);
        Person { visitor: Id([visitor; 16]), user_id: None, linked: vec![], linked_more: false, traits, first_seen: Moment(1), last_seen: Moment(2) }
    }

    /// Groups of so many frames; the bytes, and where each frame begins.
    fn written(groups: &[u32]) -> (Vec<u8>, Vec<usize>) {
        let cipher = Cipher::fresh(&PeopleKey::sample(1), &SiteKey::parse("acme").unwrap()).unwrap();
        let (mut bytes, mut begins, mut number) = (cipher.head().to_vec(), Vec::new(), 0);
        for group in groups {
            let first = number;
            for _ in 0..*group {
                begins.push(bytes.len());
                cipher.seal(number, first, person(number as u8).to_bytes(), &mut bytes).unwrap();
                number += 1;
            }
        }
        begins.push(bytes.len());
        (bytes, begins)
    }

    fn read(path: &Path, bytes: &[u8]) -> Result<(usize, Place), PeopleError> {
        std::fs::write(path, bytes).unwrap();
        let mut file = PeopleFile::open(path, &PeopleKey::sample(1), &SiteKey::parse("acme").unwrap())?;
        let (mut count, to) = (0, file.length()?);
        let end = file.read(Place::FIRST, to, &mut |found| {
            assert!(found == person(count as u8), "never another person, never half of one");
            count += 1;
            Ok(())
        })?;
        Ok((count, end))
    }

    #[test]
    fn every_cut_is_cut_off_at_the_frame_before() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let (bytes, begins) = written(&[1, 2, 2]);
        for length in 0..=bytes.len() {
            let whole = begins.iter().filter(|begin| **begin <= length).count();
            match read(&path, &bytes[..length]) {
                Ok((count, end)) => assert_eq!((count, end.bytes as usize), (whole - 1, begins[whole - 1]), "cut at {length}"),
                Err(error) => assert!(length < HEAD_LENGTH && matches!(error, PeopleError::WrongKey { .. }), "cut at {length}: {error}"),
            }
        }
    }

    #[test]
    fn every_flipped_bit_is_damage_or_in_the_last_group() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let (bytes, begins) = written(&[2, 1, 2]);
        for bit in (0..bytes.len()).map(|at| at * 8 + at % 8) {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let frame = begins.iter().filter(|begin| **begin <= bit / 8).count();
            match (frame, read(&path, &flipped)) {
                (0, Err(PeopleError::WrongKey { .. })) => {}
                (1..=3, Err(PeopleError::Damaged { at, .. })) => assert_eq!(at as usize, begins[frame - 1], "bit {bit}"),
                (4..=5, Ok((count, end))) => assert_eq!((count, end.bytes as usize), (frame - 1, begins[frame - 1]), "bit {bit}"),
                (_, other) => panic!("bit {bit} of frame {frame}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_frame_left_out_or_given_twice_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let (bytes, begins) = written(&[1, 1, 1]);
        let without = [&bytes[..begins[0]], &bytes[begins[1]..]].concat();
        assert!(matches!(read(&path, &without), Err(PeopleError::Damaged { .. })));
        let twice = [&bytes[..begins[1]], &bytes[begins[0]..]].concat();
        assert!(matches!(read(&path, &twice), Err(PeopleError::Damaged { .. })));
        let zeros = [&bytes[..], &[0; 5_000]].concat();
        assert_eq!(read(&path, &zeros).unwrap().0, 3);
        let far = [&bytes[..], &vec![0; 4 << 20]].concat();
        assert!(matches!(read(&path, &far), Err(PeopleError::Damaged { .. })), "more than a group can be");
    }
}
