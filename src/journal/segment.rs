//! Owns segments: the files of the journal, who may write one and which are ready for the lake.
//!
//! A segment is a header of 32 bytes and then frames; one writer appends whole groups of frames.
//! `[magic "CPJOURN1"][sequence u64][zero …]`, little-endian. Sequence numbers rise and are never
//! used twice: the lake remembers the highest it has (see `lake::table`).
//!
//! Promises: a failed write or sync is fatal for its segment: it is sealed at its last good length,
//! never written again, and cut there durably before any writer acknowledges anything more, since
//! what failed is sent again and would otherwise be there twice after a crash. Before a segment goes
//! to the lake it is settled, cut and synced, so that both tables are loaded from the same bytes
//! whatever happens between them. Starting after a crash and after a clean stop is the same:
//! whatever lies there is sealed and waits for the lake. Limits: 64 MiB a segment.

use super::disk::{PastTheCache, SET_ASIDE_BYTES, SegmentOnDisk};
use super::folder;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub const SEGMENT_BYTES_MAX: u64 = 64 << 20;
pub const HEADER_LENGTH: usize = 32;
const MAGIC: &[u8; 8] = b"CPJOURN1";

/// Where segments lie. One for files; tests have one that crashes and fails.
pub trait Shelf: Send + Sync {
    /// All segments there, as long as their files are, in no order.
    fn list(&self) -> io::Result<Vec<Sealed>>;
    /// A new, empty segment whose name is durable when this returns.
    fn create(&self, sequence: u64) -> io::Result<Box<dyn SegmentFile>>;
    /// A segment's bytes, header and unused space included.
    fn read(&self, sequence: u64) -> io::Result<Box<dyn Read>>;
    /// Cuts a segment to its length. When this returns, no power loss changes it any more.
    fn settle(&self, sealed: &Sealed) -> io::Result<()>;
    /// Forgets a segment, durably. One that is not there is no error.
    fn remove(&self, sequence: u64) -> io::Result<()>;
}

/// A segment being written.
pub trait SegmentFile: Send {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Returns when all that was appended survives a power loss.
    fn sync(&mut self) -> io::Result<()>;
    /// Does beforehand what would make the next append or sync slow. Changes nothing that was appended.
    fn make_ready(&mut self) {}
}

/// Which segments are being written, which wait for the lake, and how many bytes that is.
pub struct Register {
    shelf: Arc<dyn Shelf>,
    bytes_max: u64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    next: u64,
    open: BTreeSet<u64>,
    /// Sequence number → good length.
    sealed: BTreeMap<u64, u64>,
    /// Those of them that may hold more than their good length: a group that failed.
    overlong: BTreeSet<u64>,
    /// What the lake has, or what never held a frame: to be removed.
    leaving: BTreeSet<u64>,
    bytes: u64,
}

/// Why a group of frames could not be made durable.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    #[error("the journal is full: {bytes} of journal.bytes_max = {bytes_max} bytes wait for the lake")]
    Full { bytes: u64, bytes_max: u64 },
    #[error("the journal cannot be written: {0}")]
    Io(#[from] io::Error),
}

impl Register {
    /// Opens the shelf; every segment found there is sealed. `committed` is the highest sequence
    /// number that the lake knows of.
    pub fn open(shelf: Arc<dyn Shelf>, bytes_max: u64, committed: u64) -> io::Result<Self> {
        let mut state = State { next: committed + 1, ..State::default() };
        for Sealed { sequence, length } in shelf.list()? {
            state.sealed.insert(sequence, length);
            state.bytes += length;
            state.next = state.next.max(sequence + 1);
        }
        Ok(Self { shelf, bytes_max, state: Mutex::new(state) })
    }

    /// The sealed segments below every segment still open, oldest first: committing up to the last
    /// of them leaves none behind.
    pub fn ready(&self) -> Vec<Sealed> {
        let state = self.lock();
        let bound = state.open.first().copied().unwrap_or(u64::MAX);
        state.sealed.range(..bound).map(|(&sequence, &length)| Sealed { sequence, length }).collect()
    }

    /// Makes a sealed segment what it will be for every later reader, after whatever crash.
    pub fn settle(&self, sealed: &Sealed) -> io::Result<()> {
        self.shelf.settle(sealed)?;
        self.lock().overlong.remove(&sealed.sequence);
        Ok(())
    }

    /// The bytes of a sealed segment, up to its good length.
    pub fn read(&self, sealed: &Sealed) -> io::Result<impl Read> {
        Ok(self.shelf.read(sealed.sequence)?.take(sealed.length))
    }

    /// Takes a segment that the lake has off the list; `tidy` removes it.
    pub fn forget(&self, sealed: &Sealed) {
        let mut state = self.lock();
        if let Some(length) = state.sealed.remove(&sealed.sequence) {
            state.bytes = state.bytes.saturating_sub(length);
            state.overlong.remove(&sealed.sequence);
            state.leaving.insert(sealed.sequence);
        }
    }

    /// Removes what is forgotten. What cannot be removed is tried again the next time: a file that is
    /// perhaps gone is never read again.
    pub fn tidy(&self) -> io::Result<()> {
        let leaving: Vec<u64> = self.lock().leaving.iter().copied().collect();
        let mut result = Ok(());
        for sequence in leaving {
            match self.shelf.remove(sequence) {
                Ok(()) => {
                    self.lock().leaving.remove(&sequence);
                }
                Err(error) => result = Err(error),
            }
        }
        result
    }

    /// Bytes that are not in the lake yet.
    pub fn bytes(&self) -> u64 {
        self.lock().bytes
    }

    fn begin(&self) -> io::Result<(u64, Box<dyn SegmentFile>)> {
        let sequence = {
            let mut state = self.lock();
            let sequence = state.next;
            state.next += 1;
            // Open before it exists, so that no later segment is flushed ahead of it.
            state.open.insert(sequence);
            sequence
        };
        match self.shelf.create(sequence) {
            Ok(file) => Ok((sequence, file)),
            Err(error) => {
                self.abandon(sequence);
                Err(error)
            }
        }
    }

    fn grew(&self, bytes: u64) {
        self.lock().bytes += bytes;
    }

    fn seal(&self, sequence: u64, length: u64) {
        let mut state = self.lock();
        state.open.remove(&sequence);
        state.sealed.insert(sequence, length);
    }

    /// Ends a segment of which more than `length` may be on disk.
    fn seal_overlong(&self, sequence: u64, length: u64) {
        let mut state = self.lock();
        state.open.remove(&sequence);
        state.sealed.insert(sequence, length);
        state.overlong.insert(sequence);
    }

    /// Ends a segment that never held a frame.
    fn abandon(&self, sequence: u64) {
        let mut state = self.lock();
        state.open.remove(&sequence);
        state.leaving.insert(sequence);
    }

    /// Cuts off what failed. As long as that cannot be done nothing may be acknowledged, by no writer.
    fn mend(&self) -> io::Result<()> {
        let overlong: Vec<Sealed> = {
            let state = self.lock();
            let length = |sequence| state.sealed.get(sequence).copied();
            state.overlong.iter().filter_map(|sequence| Some(Sealed { sequence: *sequence, length: length(sequence)? })).collect()
        };
        for sealed in overlong {
            if let Err(error) = self.settle(&sealed) {
                // Gone to the lake meanwhile: then it is no more to be cut.
                if self.lock().overlong.contains(&sealed.sequence) {
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Bytes that are not in the lake yet, and whether there is something to mend.
    fn look(&self) -> (u64, bool) {
        let state = self.lock();
        (state.bytes, !state.overlong.is_empty())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change above is whole before anything can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A segment that nobody writes any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sealed {
    pub sequence: u64,
    pub length: u64,
}

/// Appends groups of frames, one segment after the other.
pub struct Writer {
    register: Arc<Register>,
    sync: bool,
    current: Option<Current>,
}

struct Current {
    sequence: u64,
    file: Box<dyn SegmentFile>,
    length: u64,
}

impl Writer {
    /// `sync`: whether an append returns only when the group survives a power loss.
    pub const fn new(register: Arc<Register>, sync: bool) -> Self {
        Self { register, sync, current: None }
    }

    /// Appends a group of whole frames: all of it, or an error and none of it. Gives back the
    /// sequence number of the segment that it is in.
    pub fn append(&mut self, group: &[u8]) -> Result<u64, AppendError> {
        let (bytes, is_to_mend) = self.register.look();
        let wanted = group.len() as u64;
        if bytes + wanted > self.register.bytes_max {
            return Err(AppendError::Full { bytes, bytes_max: self.register.bytes_max });
        }
        if is_to_mend {
            self.register.mend()?;
        }
        if self.current.as_ref().is_some_and(|current| current.length + wanted > SEGMENT_BYTES_MAX) {
            self.seal();
        }
        if self.current.is_none() {
            self.begin()?;
        }
        let Some(current) = &mut self.current else {
            return Err(AppendError::Io(io::Error::other("no segment is open")));
        };
        let written = current.file.append(group).and_then(|()| if self.sync { current.file.sync() } else { Ok(()) });
        if let Err(error) = written {
            // What of the group is on disk now is unknown: never written over, never synced again.
            self.give_up();
            return Err(AppendError::Io(error));
        }
        current.length += wanted;
        self.register.grew(wanted);
        Ok(current.sequence)
    }

    /// Does beforehand what would make the next group slow: to be called when nobody waits.
    pub fn make_ready(&mut self) {
        if let Some(current) = &mut self.current {
            current.file.make_ready();
        }
    }

    /// Ends the segment being written, so that the lake can have it.
    pub fn seal(&mut self) {
        if let Some(current) = self.current.take() {
            self.register.seal(current.sequence, current.length);
        }
    }

    /// Ends the segment being written at its last good length.
    fn give_up(&mut self) {
        if let Some(current) = self.current.take() {
            self.register.seal_overlong(current.sequence, current.length);
            if let Err(error) = self.register.mend() {
                tracing::warn!(segment = current.sequence, %error, "a failed write could not be cut off: nothing is taken until it is");
            }
        }
    }

    fn begin(&mut self) -> io::Result<()> {
        let (sequence, mut file) = self.register.begin()?;
        let mut header = [0; HEADER_LENGTH];
        header[..8].copy_from_slice(MAGIC);
        header[8..16].copy_from_slice(&sequence.to_le_bytes());
        match file.append(&header) {
            Ok(()) => {
                let length = HEADER_LENGTH as u64;
                self.register.grew(length);
                self.current = Some(Current { sequence, file, length });
                Ok(())
            }
            Err(error) => {
                self.register.abandon(sequence);
                Err(error)
            }
        }
    }
}

/// Whether these are the first bytes of the segment of this sequence number. Where they are not, a file was cut short
/// before its header was whole: it never held an acknowledged hit.
pub fn is_header(bytes: &[u8], sequence: u64) -> bool {
    bytes.len() >= HEADER_LENGTH && bytes.starts_with(MAGIC) && bytes.get(8..16) == Some(&sequence.to_le_bytes()[..])
}

/// Segments as files `SEQUENCE.segment` in a directory.
pub struct Directory {
    path: PathBuf,
    past_the_cache: bool,
}

impl Directory {
    /// Opens the directory, made where it is missing, readable by its owner alone.
    pub fn open(path: &Path) -> io::Result<Self> {
        folder::make_private(path)?;
        Ok(Self { path: path.to_owned(), past_the_cache: false })
    }

    /// With new segments written past the page cache, and all read past it: for writers that sync each group.
    pub fn past_the_cache(self, past_the_cache: bool) -> Self {
        Self { past_the_cache, ..self }
    }

    fn path(&self, sequence: u64) -> PathBuf {
        self.path.join(format!("{sequence:016x}.segment"))
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }
}

impl Shelf for Directory {
    fn list(&self) -> io::Result<Vec<Sealed>> {
        let mut segments = Vec::new();
        for entry in std::fs::read_dir(&self.path)? {
            let entry = entry?;
            let name = entry.file_name();
            let number = name.to_str().and_then(|name| name.strip_suffix(".segment"));
            if let Some(Ok(sequence)) = number.map(|digits| u64::from_str_radix(digits, 16)) {
                segments.push(Sealed { sequence, length: entry.metadata()?.len() });
            }
        }
        Ok(segments)
    }

    fn create(&self, sequence: u64) -> io::Result<Box<dyn SegmentFile>> {
        let path = self.path(sequence);
        let file = SegmentOnDisk::create(&path, self.past_the_cache)?;
        if let Err(error) = self.sync() {
            std::fs::remove_file(&path)?;
            return Err(error);
        }
        Ok(Box::new(file))
    }

    fn read(&self, sequence: u64) -> io::Result<Box<dyn Read>> {
        let path = self.path(sequence);
        let file: Box<dyn Read> = if self.past_the_cache { Box::new(PastTheCache::open(&path)?) } else { Box::new(File::open(path)?) };
        Ok(Box::new(file.take(SEGMENT_BYTES_MAX + SET_ASIDE_BYTES)))
    }

    fn settle(&self, sealed: &Sealed) -> io::Result<()> {
        let file = OpenOptions::new().write(true).open(self.path(sealed.sequence))?;
        file.set_len(sealed.length)?;
        file.sync_all()
    }

    fn remove(&self, sequence: u64) -> io::Result<()> {
        match std::fs::remove_file(self.path(sequence)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => self.sync(),
        }
    }
}

impl SegmentFile for SegmentOnDisk {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.append(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        Self::sync(self)
    }

    fn make_ready(&mut self) {
        self.make_ready();
    }
}

#[cfg(test)]
mod tests {
    use super::{AppendError, Directory, HEADER_LENGTH, Register, Shelf, Writer, is_header};
    use std::io::Read;
    use std::sync::Arc;

    fn register(path: &std::path::Path, bytes_max: u64) -> Arc<Register> {
        let shelf: Arc<dyn Shelf> = Arc::new(Directory::open(path).unwrap());
        Arc::new(Register::open(shelf, bytes_max, 6).unwrap())
    }

    #[test]
    fn segments_are_ready_only_below_every_open_one() {
        let folder = tempfile::tempdir().unwrap();
        let register = register(folder.path(), 1 << 20);
        let (mut first, mut second) = (Writer::new(register.clone(), true), Writer::new(register.clone(), false));
        assert_eq!(first.append(b"aaaa").unwrap(), 7);
        assert_eq!(second.append(b"bbbb").unwrap(), 8);
        second.seal();
        assert!(register.ready().is_empty());
        first.seal();
        let ready = register.ready();
        assert_eq!(ready.iter().map(|sealed| sealed.sequence).collect::<Vec<_>>(), [7, 8]);
        let mut bytes = Vec::new();
        register.read(&ready[0]).unwrap().read_to_end(&mut bytes).unwrap();
        assert!(is_header(&bytes, 7) && !is_header(&bytes, 8) && !is_header(&bytes[..HEADER_LENGTH - 1], 7));
        assert_eq!(bytes[HEADER_LENGTH..], *b"aaaa");
        assert_eq!(register.bytes(), 72);
        for sealed in &ready {
            register.settle(sealed).unwrap();
            assert_eq!(std::fs::metadata(folder.path().join(format!("{:016x}.segment", sealed.sequence))).unwrap().len(), 36);
            register.forget(sealed);
        }
        register.tidy().unwrap();
        assert_eq!(register.bytes(), 0);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_lies_there_at_the_start_is_sealed_and_numbers_go_on() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = Writer::new(register(folder.path(), 1 << 20), true);
        writer.append(b"x").unwrap();
        std::mem::forget(writer);
        let again = register(folder.path(), 1 << 30);
        assert_eq!(again.ready()[0].sequence, 7);
        assert_eq!(Writer::new(again, true).append(b"y").unwrap(), 8);
    }

    #[test]
    fn a_full_journal_refuses_and_says_how_full() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = Writer::new(register(folder.path(), 40), true);
        assert_eq!(writer.append(b"12345678").unwrap(), 7);
        assert!(matches!(writer.append(b"1"), Err(AppendError::Full { bytes: 40, bytes_max: 40 })));
    }
}
