//! Owns a disk in memory for the journal: what was not synced may be lost, kept, or kept in part.
//!
//! A file is the list of its states since its last sync; a power loss leaves one of them, or a state
//! between two. Names are durable when `create` or `remove` returned well, and may come or go at a power
//! loss where it did not. A killed program loses nothing that it wrote.

use crate::faults::{Dice, Fault, Faults};
use clearpixel::journal::segment::{Sealed, SegmentFile, Shelf};
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

pub struct Disk(Mutex<Content>);

struct Content {
    files: BTreeMap<u64, File>,
    /// Removed, but perhaps not durably.
    undead: BTreeMap<u64, File>,
    dice: Dice,
}

#[derive(Clone)]
struct File {
    /// What a power loss may leave; the last one is what a reader sees. Never empty.
    states: Vec<Vec<u8>>,
    has_durable_name: bool,
}

impl File {
    fn now(&self) -> &Vec<u8> {
        self.states.last().unwrap()
    }

    fn settle(&mut self) {
        self.states = vec![self.now().clone()];
    }

    fn lose_power(&mut self, dice: &mut Dice) {
        let at = dice.below(self.states.len());
        let mut left = self.states[at].clone();
        if let Some(next) = self.states.get(at + 1)
            && next.starts_with(&left)
        {
            let part = dice.below(next.len() - left.len() + 1);
            left.extend_from_slice(&next[left.len()..left.len() + part]);
        }
        self.states = vec![left];
    }
}

impl Disk {
    pub fn new(seed: u64) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Content { files: BTreeMap::new(), undead: BTreeMap::new(), dice: Dice::new(seed) })))
    }

    pub fn lose_power(&self) {
        let content = &mut *self.0.lock().unwrap();
        let dice = &mut content.dice;
        for (sequence, file) in std::mem::take(&mut content.undead) {
            if dice.below(2) == 0 {
                content.files.entry(sequence).or_insert(file);
            }
        }
        content.files.retain(|_, file| file.has_durable_name || dice.below(2) == 0);
        for file in content.files.values_mut() {
            file.lose_power(dice);
            file.has_durable_name = true;
        }
    }

    pub fn segments(&self) -> Vec<u64> {
        self.0.lock().unwrap().files.keys().copied().collect()
    }
}

/// The disk as one life of the program sees it.
pub struct FakeShelf {
    pub disk: Arc<Disk>,
    pub faults: Arc<Faults>,
}

fn broken() -> io::Error {
    io::Error::other("the disk of the test does not")
}

fn ended(error: Option<Fault>) -> io::Result<()> {
    error.map_or(Ok(()), |_| Err(broken()))
}

impl Shelf for FakeShelf {
    fn list(&self) -> io::Result<Vec<Sealed>> {
        ended(self.faults.next(false).error)?;
        let content = self.disk.0.lock().unwrap();
        Ok(content.files.iter().map(|(&sequence, file)| Sealed { sequence, length: file.now().len() as u64 }).collect())
    }

    fn settle(&self, sealed: &Sealed) -> io::Result<()> {
        let course = self.faults.next(true);
        let length = usize::try_from(sealed.length).unwrap();
        let content = &mut *self.disk.0.lock().unwrap();
        let Some(file) = content.files.get_mut(&sealed.sequence) else { return Err(io::ErrorKind::NotFound.into()) };
        // A cut that fails may have been made all the same, and not be durable.
        let is_cut = course.happens || (course.error == Some(Fault::Fails) && content.dice.below(2) == 0);
        if is_cut {
            let mut next = file.now().clone();
            next.resize(length, 0);
            file.states.push(next);
        }
        if course.happens {
            file.settle();
        }
        ended(course.error)
    }

    fn create(&self, sequence: u64) -> io::Result<Box<dyn SegmentFile>> {
        let course = self.faults.next(true);
        if course.happens {
            let mut content = self.disk.0.lock().unwrap();
            if content.files.contains_key(&sequence) {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            let file = File { states: vec![Vec::new()], has_durable_name: course.error.is_none() };
            content.undead.remove(&sequence);
            content.files.insert(sequence, file);
        }
        ended(course.error)?;
        Ok(Box::new(FakeFile { disk: self.disk.clone(), faults: self.faults.clone(), sequence }))
    }

    fn read(&self, sequence: u64) -> io::Result<Box<dyn io::Read>> {
        ended(self.faults.next(false).error)?;
        let content = self.disk.0.lock().unwrap();
        let bytes = content.files.get(&sequence).map(|file| file.now().clone()).ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(io::Cursor::new(bytes)))
    }

    fn remove(&self, sequence: u64) -> io::Result<()> {
        let course = self.faults.next(true);
        if course.happens {
            let content = &mut *self.disk.0.lock().unwrap();
            if let Some(file) = content.files.remove(&sequence)
                && course.error.is_some()
            {
                content.undead.insert(sequence, file);
            }
            if course.error.is_none() {
                content.undead.remove(&sequence);
            }
        }
        ended(course.error)
    }
}

struct FakeFile {
    disk: Arc<Disk>,
    faults: Arc<Faults>,
    sequence: u64,
}

impl FakeFile {
    fn change(&self, change: impl FnOnce(&mut File, &mut Dice)) {
        let content = &mut *self.disk.0.lock().unwrap();
        if let Some(file) = content.files.get_mut(&self.sequence) {
            change(file, &mut content.dice);
        }
    }
}

impl SegmentFile for FakeFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let course = self.faults.next(true);
        self.change(|file, dice| {
            let written = if course.happens { bytes.len() } else { dice.below(bytes.len() + 1) };
            let is_of_the_past = course.error == Some(Fault::StopsBefore);
            if !is_of_the_past {
                let mut next = file.now().clone();
                next.extend_from_slice(&bytes[..written]);
                file.states.push(next);
            }
        });
        ended(course.error)
    }

    fn sync(&mut self) -> io::Result<()> {
        let course = self.faults.next(true);
        if course.happens {
            self.change(|file, _| file.settle());
        }
        ended(course.error)
    }
}
