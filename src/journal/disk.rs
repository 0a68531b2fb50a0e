//! Owns the file that a segment is written to and read from, and the two ways to it.
//!
//! Where a reply waits for `write()` alone, bytes go through the page cache. Where it waits for the disk they
//! go past it (`O_DIRECT`): whole blocks, onto blocks that were written before, with zeros. A sync then finds
//! no pages to look through and no blocks to turn from set aside to written, which is half of what it costs. Who brings
//! such a segment into the lake reads it past the page cache too, which has nothing of it (`docs/decisions/0042`).
//! Promises: an append that failed leaves all that was appended before as it was; where a file system knows no such way
//! (`EINVAL`), the page cache's is taken. Limits: two buffers of 256 KiB a writer, one a reader; zeros are written
//! 512 KiB ahead at most, and no further than the segment is long.

use rustix::fs::{FallocateFlags, OFlags};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::ops::Range;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

/// A segment's file, open for appending.
pub struct SegmentOnDisk {
    file: File,
    written: u64,
    set_aside: u64,
    direct: Option<Direct>,
}

/// What it takes to write past the page cache.
struct Direct {
    /// Begins with what is written of the last block that is not full.
    buffer: Aligned,
    zeros: Aligned,
    /// Blocks up to here were written, with frames or with zeros.
    ready: u64,
}

/// Space is set aside so much at a time, so that a sync need not change the file's length.
pub const SET_ASIDE_BYTES: u64 = 4 << 20;
/// A multiple of every usual disk's logical block; one that has larger ones is written through the page cache.
const BLOCK: usize = 4 << 10;
const BUFFER: usize = 256 << 10;
const AHEAD_MAX: u64 = 512 << 10;

impl SegmentOnDisk {
    /// Makes the file, readable by its owner alone, with its first space set aside, durably but for its name.
    pub fn create(path: &Path, past_the_cache: bool) -> io::Result<Self> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        let direct = (past_the_cache && rustix::fs::fcntl_setfl(&file, OFlags::DIRECT).is_ok()).then(Direct::new);
        let mut made = Self { file, written: 0, set_aside: 0, direct };
        if let Err(error) = made.set_aside(SET_ASIDE_BYTES).and_then(|()| made.file.sync_all()) {
            std::fs::remove_file(path)?;
            return Err(error);
        }
        Ok(made)
    }

    pub fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let end = self.written + bytes.len() as u64;
        if end > self.set_aside {
            self.set_aside(end.next_multiple_of(SET_ASIDE_BYTES))?;
        }
        match self.direct.as_mut().map(|direct| direct.append(&self.file, self.written, bytes)) {
            None => self.file.write_all(bytes)?,
            Some(Err(error)) if error.kind() == io::ErrorKind::InvalidInput && self.written == 0 => {
                rustix::fs::fcntl_setfl(&self.file, OFlags::empty())?;
                self.direct = None;
                self.file.write_all(bytes)?;
            }
            Some(written) => written?,
        }
        self.written = end;
        Ok(())
    }

    /// Returns when all that was appended survives a power loss.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Writes zeros where frames will come, a piece at most, where less than half of what shall be ready is, so that
    /// the next sync costs less. Where that fails nothing is lost but this.
    pub fn make_ready(&mut self) {
        let Some(direct) = &mut self.direct else { return };
        // As much ahead as there is, so that a short segment is not made long.
        let end = self.written.next_multiple_of(BLOCK as u64);
        let ahead = end.min(AHEAD_MAX).min(self.set_aside.saturating_sub(end));
        let from = direct.ready.max(end);
        if from < end + ahead.div_ceil(2) {
            let length = (end + ahead - from).min(BUFFER as u64);
            let zeros = &direct.zeros.bytes()[..usize::try_from(length).unwrap_or(BUFFER)];
            if self.file.write_all_at(zeros, from).is_ok() {
                direct.ready = from + length;
            }
        }
    }

    fn set_aside(&mut self, upto: u64) -> io::Result<()> {
        if upto > self.set_aside {
            rustix::fs::fallocate(&self.file, FallocateFlags::empty(), 0, upto)?;
            self.set_aside = upto;
        }
        Ok(())
    }
}

impl Direct {
    fn new() -> Self {
        Self { buffer: Aligned::new(), zeros: Aligned::new(), ready: 0 }
    }

    /// Appends `bytes` behind the `written` ones of the file. The last block is written again with what was
    /// in it, as the page cache does; behind the end are zeros.
    fn append(&mut self, file: &File, mut written: u64, bytes: &[u8]) -> io::Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let begun = usize::try_from(written % BLOCK as u64).unwrap_or(0);
            let (piece, after) = rest.split_at(rest.len().min(BUFFER - begun));
            let end = begun + piece.len();
            let whole = end.next_multiple_of(BLOCK);
            let buffer = self.buffer.bytes_mut();
            buffer[begun..end].copy_from_slice(piece);
            buffer[end..whole].fill(0);
            let at = written - begun as u64;
            file.write_all_at(&buffer[..whole], at)?;
            buffer.copy_within(end / BLOCK * BLOCK..end, 0);
            self.ready = self.ready.max(at + whole as u64);
            written += piece.len() as u64;
            rest = after;
        }
        Ok(())
    }
}

/// A segment's file, read from its start past the page cache, a buffer at a time.
pub struct PastTheCache {
    file: File,
    buffer: Aligned,
    /// What of the buffer is read and not yet given away.
    left: Range<usize>,
}

impl PastTheCache {
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        // Where it cannot be asked for, the page cache's way is as good.
        if let Err(error) = rustix::fs::fcntl_setfl(&file, OFlags::DIRECT) {
            tracing::debug!(%error, "segments are read through the page cache");
        }
        Ok(Self { file, buffer: Aligned::new(), left: 0..0 })
    }
}

impl Read for PastTheCache {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        if self.left.is_empty() {
            let read = match self.file.read(self.buffer.bytes_mut()) {
                // Such a file system, or a file whose end is no block's, at its end.
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                    rustix::fs::fcntl_setfl(&self.file, OFlags::empty())?;
                    self.file.read(self.buffer.bytes_mut())?
                }
                read => read?,
            };
            self.left = 0..read;
        }
        let read = (&self.buffer.bytes()[self.left.clone()]).read(room)?;
        self.left.start += read;
        Ok(read)
    }
}

/// `BUFFER` bytes whose place in memory is a multiple of `BLOCK`.
struct Aligned {
    bytes: Vec<u8>,
    start: usize,
}

impl Aligned {
    fn new() -> Self {
        let bytes = vec![0; BUFFER + BLOCK];
        // Never more than `BLOCK`, but the standard library need not say.
        let start = bytes.as_ptr().align_offset(BLOCK).min(BLOCK);
        Self { bytes, start }
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[self.start..self.start + BUFFER]
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.start + BUFFER]
    }
}

#[cfg(test)]
mod tests {
    use super::{AHEAD_MAX, BLOCK, BUFFER, PastTheCache, SET_ASIDE_BYTES, SegmentOnDisk};
    use proptest::prelude::*;
    use std::io::Read;
    use std::os::unix::fs::FileExt;

    /// What is read of a file of this length, past the page cache or by a buffer that may not lie where it does.
    fn read_back(length: usize, is_refused: bool) -> (Vec<u8>, Vec<u8>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("segment");
        let bytes: Vec<u8> = (0..length).map(|at| (at / 7) as u8).collect();
        std::fs::write(&path, &bytes).unwrap();
        let mut file = PastTheCache::open(&path).unwrap();
        file.buffer.start ^= usize::from(is_refused);
        let mut read = Vec::new();
        file.read_to_end(&mut read).unwrap();
        (read, bytes)
    }

    #[test]
    fn a_file_of_any_length_is_read_past_the_page_cache() {
        for length in [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, BUFFER, BUFFER + 513, 3 * BUFFER - 1] {
            for is_refused in [false, true] {
                let (read, bytes) = read_back(length, is_refused);
                assert!(read == bytes, "{length} bytes, {} were read", read.len());
            }
        }
    }

    fn appended(past_the_cache: bool, groups: &[Vec<u8>]) -> Vec<u8> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("segment");
        let mut file = SegmentOnDisk::create(&path, past_the_cache).unwrap();
        for group in groups {
            file.append(group).unwrap();
            file.sync().unwrap();
            file.make_ready();
        }
        std::fs::read(&path).unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn both_ways_write_the_same_bytes(
            lengths in prop::collection::vec(prop_oneof![0..200_usize, 4_000..4_200_usize, 250_000..300_000_usize], 1..12),
        ) {
            let groups: Vec<Vec<u8>> = lengths.iter().zip(1_u8..).map(|(length, byte)| vec![byte; *length]).collect();
            let whole = groups.concat();
            for past_the_cache in [false, true] {
                let bytes = appended(past_the_cache, &groups);
                prop_assert!(bytes.len().is_multiple_of(SET_ASIDE_BYTES as usize));
                let (frames, behind) = bytes.split_at(whole.len());
                prop_assert!(frames == whole && behind.iter().all(|byte| *byte == 0));
            }
        }
    }

    /// A buffer that does not lie where blocks may is what file systems refuse that know no such way.
    #[test]
    fn where_the_way_past_the_page_cache_is_refused_the_other_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let create = |name| {
            let path = folder.path().join(name);
            let mut file = SegmentOnDisk::create(&path, true).unwrap();
            if let Some(direct) = &mut file.direct {
                direct.buffer.start ^= 1;
            }
            (file, path)
        };
        let (tried, _) = create("tried");
        let is_refused = tried.direct.as_ref().is_none_or(|direct| tried.file.write_all_at(&direct.buffer.bytes()[..BLOCK], 0).is_err());
        let (mut file, path) = create("segment");
        for group in [&[1; 5_000][..], &[2; 5_000][..]] {
            file.append(group).unwrap();
            file.sync().unwrap();
            file.make_ready();
        }
        assert_eq!(file.direct.is_none(), is_refused);
        let bytes = std::fs::read(path).unwrap();
        assert!(bytes[..5_000] == [1; 5_000] && bytes[5_000..10_000] == [2; 5_000]);
        assert!(bytes[10_000..].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn zeros_go_ahead_of_frames_as_far_as_these_have_come() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = SegmentOnDisk::create(&folder.path().join("segment"), true).unwrap();
        let Some(_) = &file.direct else { return };
        let ready = |file: &SegmentOnDisk| file.direct.as_ref().map(|direct| direct.ready);
        file.append(&[1; 32]).unwrap();
        assert_eq!(ready(&file), Some(BLOCK as u64));
        file.make_ready();
        assert_eq!(ready(&file), Some(2 * BLOCK as u64));
        file.append(&vec![1; 1 << 20]).unwrap();
        for _ in 0..9 {
            file.make_ready();
        }
        let end = (1 << 20) + BLOCK as u64;
        assert_eq!(ready(&file), Some(end + AHEAD_MAX / 2), "a piece at a time, until half of it is there");
        file.append(&vec![1; BUFFER]).unwrap();
        assert_eq!(ready(&file), Some(end + AHEAD_MAX / 2), "frames took the place of zeros");
        file.make_ready();
        assert_eq!(ready(&file), Some(end + AHEAD_MAX));
    }
}
