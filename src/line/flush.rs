//! Owns the carrying of sealed segments into the lake.
//!
//! Promises: a segment goes only after both tables have it, durably; what is loaded was settled before,
//! so that the second table gets what the first got; while the lake is away the journal keeps everything, up to its
//! bound; what the last run left is recalled from the journal, so that a start waits for no Parquet. `app` runs it on a
//! thread of its own; only to recall does it have threads, which end before it goes on.

use super::guard::{Memories, Recalling};
use super::intake::Journal;
use super::ledger::{self, Counts, Ledger, Names};
use crate::hit::clock::{Clock, Moment};
use crate::hit::record::{Record, Text};
use crate::journal::frame::Frame;
use crate::journal::replay::{Replayed, replay_segment};
use crate::journal::segment::{Register, Sealed};
use crate::lake::load::{Lake, LoadError, Loaded, Portion};
use crate::lake::recall::recall;
use std::io;
use std::panic;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Duration;

/// Carries segments to the lake.
pub struct Flusher {
    pub lake: Lake,
    pub register: Arc<Register>,
    pub journals: Vec<Journal>,
    pub ledger: Arc<Ledger>,
    pub figures: Arc<Figures>,
    pub clock: Clock,
}

/// What flushing did so far, for metrics and readiness.
#[derive(Default)]
pub struct Figures {
    pub rows: AtomicU64,
    pub bytes: AtomicU64,
    pub commits: AtomicU64,
    pub failures: AtomicU64,
    pub torn_bytes: AtomicU64,
    pub files: AtomicU64,
    /// So many subjects were erased a while before the last flush began of which no segment is left.
    pub erased: AtomicU64,
    /// Seconds since the epoch, 0 = never.
    pub last_success: AtomicI64,
}

impl Figures {
    /// Whether since the start the lake once had everything: also what the last run had left in the journal.
    pub fn has_caught_up(&self) -> bool {
        self.last_success.load(Ordering::Acquire) != 0
    }

    /// The lake has everything.
    pub fn caught_up(&self, now: Moment) {
        self.last_success.store(now.seconds(), Ordering::Release);
    }
}

/// A day.
const REMEMBERED_MICROS: i64 = 86_400_000_000;

impl Flusher {
    /// One flush: seals what is open, loads all that is ready, forgets what the lake has. `Some` says that
    /// the lake has everything that was durable when the flush began; `None`, that `goes_on` ended it between
    /// two commits.
    pub async fn flush(&mut self, goes_on: impl Fn() -> bool) -> Result<Option<Loaded>, LoadError> {
        self.seal_all();
        let now = self.clock.now();
        let mut whole = Loaded::default();
        let ready = self.register.ready();
        for slice in ready.chunks(SEGMENTS_A_COMMIT) {
            if !goes_on() {
                return Ok(None);
            }
            match self.load(slice, now).await {
                Ok(loaded) => {
                    whole.rows += loaded.rows;
                    whole.bytes += loaded.bytes;
                    whole.torn_bytes += loaded.torn_bytes;
                }
                Err(error) => {
                    self.figures.failures.fetch_add(1, Ordering::Relaxed);
                    self.ledger.put_by(ready.last().map_or(0, |last| last.sequence));
                    return Err(error);
                }
            }
        }
        if let Err(error) = self.register.tidy() {
            tracing::warn!(%error, "segments that the lake has could not be removed; the next flush tries again");
        }
        self.figures.caught_up(now);
        Ok(Some(whole))
    }

    /// Gives the line what it remembers of the last day: first what the lake in the folder `lake` has, then what
    /// only the journal has, which is newer. How many interactions those last are.
    ///
    /// # Errors
    /// As `recall`; and a lake that cannot be read.
    pub async fn remember_last_day(&self, lake: &Path, memories: Memories<'_>) -> Result<usize, LoadError> {
        let now = self.clock.now();
        let is_remembered = |received_at| now.since(received_at) < REMEMBERED_MICROS;
        let mut recalling = Recalling::new(memories);
        recall(lake, now.day(), |row| {
            if is_remembered(row.received_at) {
                recalling.remember(memories.recollect(row.site, row.event_id, row.received_at, row.visitor));
            }
        })
        .await?;
        let recollect = |record: &Record<'_>| {
            let Record { received_at, visitor_id, .. } = *record;
            is_remembered(received_at).then(|| memories.recollect(record.text(Text::Site), record.text(Text::EventId), received_at, visitor_id))
        };
        let count = self.recall(recollect, |row| recalling.remember(row)).await?;
        recalling.finish();
        Ok(count)
    }

    /// Reads what the last run left in the journal and the lake does not have, several segments at a time: `each` gets
    /// what `pick` took of every interaction, oldest segment first, the ledger how all hits ended. It stays there for
    /// the next flush. How many interactions that was.
    ///
    /// # Errors
    /// A segment that cannot be read, or not be made to stay as it was read.
    pub async fn recall<T: Send>(&self, pick: impl Fn(&Record<'_>) -> Option<T> + Sync, mut each: impl FnMut(T)) -> Result<usize, LoadError> {
        let (everywhere, _) = self.lake.committed().await?;
        // Others were loaded before the crash and only not removed yet.
        let is_left = |sealed: &Sealed| !i64::try_from(sealed.sequence).is_ok_and(|sequence| sequence <= everywhere);
        let left: Vec<Sealed> = self.register.ready().into_iter().filter(is_left).collect();
        let count_of_readers = thread::available_parallelism().map_or(1, usize::from).min(READERS_MAX).min(left.len());
        let (register, left, pick) = (&*self.register, &*left, &pick);
        #[expect(clippy::disallowed_methods, reason = "the threads end before this returns")]
        thread::scope(|scope| {
            // What a repeat is answered by has to be on disk. The disk takes as long as the reading does: side by side.
            let settled = scope.spawn(|| left.iter().try_for_each(|sealed| register.settle(sealed).map_err(|error| of_segment(sealed, &error))));
            let readers = Vec::from_iter((0..count_of_readers).map(|first| {
                // Nothing lies between: who has read a segment waits until it is wanted.
                let (sender, receiver) = sync_channel(0);
                let mine = left.iter().skip(first).step_by(count_of_readers);
                scope.spawn(move || {
                    let mut names = Names::default();
                    // Nobody wants more where one could not be read.
                    mine.map(|sealed| Picked::read(register, *sealed, pick, &mut names)).try_for_each(|picked| sender.send(picked).ok())
                });
                receiver
            }));
            let mut recalled = 0;
            for (sealed, reader) in left.iter().zip(readers.iter().cycle()) {
                let picked = reader.recv().map_err(io::Error::other).flatten();
                let Picked { of_rows, rows, counts } = picked.map_err(|error| of_segment(sealed, &error))?;
                recalled += rows;
                of_rows.into_iter().for_each(&mut each);
                self.ledger.recall(sealed.sequence, counts);
            }
            settled.join().unwrap_or_else(|panicked| panic::resume_unwind(panicked))?;
            Ok(recalled)
        })
    }

    async fn load(&mut self, ready: &[Sealed], now: Moment) -> Result<Loaded, LoadError> {
        let Some(last) = ready.last() else { return Ok(Loaded::default()) };
        for sealed in ready {
            self.register.settle(sealed)?;
        }
        let portions: Vec<_> = ready.iter().map(|sealed| Segment { register: &self.register, sealed: *sealed }).collect();
        let loaded = self.lake.load(&portions, now).await?;
        self.ledger.committed(last.sequence);
        for sealed in ready {
            self.register.forget(sealed);
        }
        self.figures.rows.fetch_add(loaded.rows as u64, Ordering::Relaxed);
        self.figures.bytes.fetch_add(loaded.bytes as u64, Ordering::Relaxed);
        self.figures.commits.fetch_add(1, Ordering::Relaxed);
        self.figures.torn_bytes.fetch_add(loaded.torn_bytes, Ordering::Relaxed);
        self.figures.files.store(self.lake.count_of_files().unwrap_or(0) as u64, Ordering::Relaxed);
        if loaded.torn_bytes > 0 {
            tracing::info!(bytes = loaded.torn_bytes, "the journal ended in a write that was cut short and never acknowledged");
        }
        Ok(loaded)
    }

    /// Asks every journal to end its segment. One that does not answer within its time keeps its segment
    /// open, and `ready` stops below it.
    fn seal_all(&self) {
        let (done, sealed) = std::sync::mpsc::sync_channel(self.journals.len());
        let asked = self.journals.iter().filter(|journal| journal.ask_to_seal(&done)).count();
        for _ in 0..asked {
            if sealed.recv_timeout(SEAL_WAIT).is_err() {
                tracing::warn!("a journal did not end its segment in time");
                return;
            }
        }
    }
}

/// 8 segments of 64 MiB are some 2.8 million rows of 190 bytes, 80 MB of Parquet in memory.
const SEGMENTS_A_COMMIT: usize = 8;

const SEAL_WAIT: Duration = Duration::from_secs(5);

fn of_segment(sealed: &Sealed, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("segment {:016x}: {error}", sealed.sequence))
}

/// Each holds what it picked of one segment, 32 bytes a row, and of one more it is being taken: of rows as they come
/// 6 MB a segment, of the shortest there can be some 40.
const READERS_MAX: usize = 4;

/// What was picked of a segment that the last run left.
struct Picked<T> {
    of_rows: Vec<T>,
    rows: usize,
    counts: Counts,
}

impl<T> Picked<T> {
    fn read(register: &Register, sealed: Sealed, pick: &impl Fn(&Record<'_>) -> Option<T>, names: &mut Names) -> io::Result<Self> {
        let mut picked = Self { of_rows: Vec::new(), rows: 0, counts: Counts::new() };
        Segment { register, sealed }.read(&mut |frame| {
            ledger::count(frame, &mut picked.counts, names);
            if let Frame::Interaction(record) = frame {
                picked.rows += 1;
                picked.of_rows.extend(pick(record));
            }
        })?;
        Ok(picked)
    }
}

/// A sealed segment as a portion of this node's journal.
struct Segment<'r> {
    register: &'r Register,
    sealed: Sealed,
}

impl Portion for Segment<'_> {
    fn number(&self) -> i64 {
        i64::try_from(self.sealed.sequence).unwrap_or(i64::MAX)
    }

    fn read(&self, each: &mut dyn FnMut(&Frame<'_>)) -> std::io::Result<Replayed> {
        replay_segment(self.register.read(&self.sealed)?, self.sealed.sequence, each)
    }
}

#[cfg(test)]
mod tests {
    use super::{Figures, Flusher, READERS_MAX};
    use crate::hit::clock::{Clock, Hour};
    use crate::hit::outcome::{Outcome, Reason};
    use crate::hit::site::{Site, Sites};
    use crate::hit::sample::page_view;
    use crate::journal::frame::{Framed, write_tally};
    use crate::journal::segment::{Directory, Register, Sealed, SegmentFile, Shelf, Writer};
    use crate::lake::load::Lake;
    use crate::line::ledger::Ledger;
    use std::io::{self, Read, Write};
    use std::path::{Path, PathBuf};
    use std::sync::Arc;

    /// As after a start: what lies in the journal is there, nothing is in memory.
    async fn started(data: &Path) -> Flusher {
        started_on(data, Arc::new(Directory::open(&data.join("journal")).unwrap())).await
    }

    async fn started_on(data: &Path, shelf: Arc<dyn Shelf>) -> Flusher {
        let lake = Lake::open(&data.join("lake"), "node").await.unwrap();
        let highest = lake.committed().await.unwrap().1.unsigned_abs();
        let register = Arc::new(Register::open(shelf, 1 << 30, highest).unwrap());
        Flusher { lake, register, journals: Vec::new(), ledger: Arc::new(Ledger::of(&[Site::sample()])), figures: Arc::new(Figures::default()), clock: Clock::system() }
    }

    /// Segments of two rows and three refused hits each; the last ends in a write that was cut short.
    fn left(register: &Arc<Register>, data: &Path, segments: i64) -> Vec<PathBuf> {
        let mut writer = Writer::new(register.clone(), true);
        for segment in 0..segments {
            let mut group = Vec::new();
            for row in 0..2 {
                let path = format!("/{segment}-{row}");
                let mut record = page_view(60 * segment + row, 1, 1, &path);
                record.texts[crate::hit::record::Text::EventId as usize] = &path;
                group.extend_from_slice(Framed::of_record(&record).bytes());
            }
            write_tally("acme", Hour(1), Outcome::Refused(Reason::NoConsent), 3, &mut group);
            writer.append(&group).unwrap();
            writer.seal();
        }
        let mut files: Vec<_> = std::fs::read_dir(data.join("journal")).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        let mut last = std::fs::OpenOptions::new().append(true).open(files.last().unwrap()).unwrap();
        last.write_all(&[9; 40]).unwrap();
        files
    }

    fn counted(flusher: &Flusher, above: u64) -> (u64, u64) {
        let sites = Sites::new(vec![Site::sample()]);
        let (acme, _) = sites.find("acme").unwrap();
        let counts = flusher.ledger.above(acme, above);
        let of = |outcome| counts.values().map(|account| account.ends.of(outcome)).sum();
        (of(Outcome::Stored), of(Outcome::Refused(Reason::NoConsent)))
    }

    async fn recalled(flusher: &Flusher) -> Vec<String> {
        let mut ids = Vec::new();
        let count = flusher.recall(|record| Some(record.text(crate::hit::record::Text::EventId).to_owned()), |id| ids.push(id)).await.unwrap();
        assert_eq!(count, ids.len());
        ids
    }

    #[tokio::test]
    async fn what_the_last_run_left_is_remembered_before_the_lake_has_it_and_counted_once() {
        let data = tempfile::tempdir().unwrap();
        let files = left(&started(data.path()).await.register, data.path(), 2);

        let mut flusher = started(data.path()).await;
        assert_eq!(recalled(&flusher).await, ["/0-0", "/0-1", "/1-0", "/1-1"]);
        assert_eq!(counted(&flusher, 0), (4, 6));
        assert!(flusher.ledger.totals().is_empty(), "these are no hits of this run");

        // A stop between two commits: nothing is said to be there that is not.
        assert!(flusher.flush(|| false).await.unwrap().is_none());
        assert_eq!(recalled(&started(data.path()).await).await.len(), 4);

        let copies: Vec<_> = files.iter().map(|file| std::fs::read(file).unwrap()).collect();
        assert_eq!(flusher.flush(|| true).await.unwrap().unwrap().rows, 4);
        let (committed, _) = flusher.lake.committed().await.unwrap();
        assert_eq!(counted(&flusher, committed.unsigned_abs()), (0, 0));
        assert!(files.iter().all(|file| !file.exists()));

        // Loaded before the crash, and not removed yet.
        for (file, bytes) in files.iter().zip(copies) {
            std::fs::write(file, bytes).unwrap();
        }
        let mut flusher = started(data.path()).await;
        assert_eq!(recalled(&flusher).await, [""; 0]);
        assert_eq!(counted(&flusher, 0), (0, 0));
        assert_eq!(flusher.flush(|| true).await.unwrap().unwrap().rows, 0);
        assert!(files.iter().all(|file| !file.exists()));
    }

    /// A shelf of which one segment cannot be read, and one cannot be made to stay.
    struct Broken {
        shelf: Directory,
        unread: u64,
        unsettled: u64,
    }

    impl Shelf for Broken {
        fn list(&self) -> io::Result<Vec<Sealed>> {
            self.shelf.list()
        }
        fn create(&self, sequence: u64) -> io::Result<Box<dyn SegmentFile>> {
            self.shelf.create(sequence)
        }
        fn read(&self, sequence: u64) -> io::Result<Box<dyn Read>> {
            if sequence == self.unread { Err(io::Error::other("no longer there")) } else { self.shelf.read(sequence) }
        }
        fn settle(&self, sealed: &Sealed) -> io::Result<()> {
            if sealed.sequence == self.unsettled { Err(io::Error::other("the disk is full")) } else { self.shelf.settle(sealed) }
        }
        fn remove(&self, sequence: u64) -> io::Result<()> {
            self.shelf.remove(sequence)
        }
    }

    #[tokio::test]
    async fn many_segments_are_recalled_in_their_order_and_what_fails_is_named() {
        let data = tempfile::tempdir().unwrap();
        let segments = 3 * i64::try_from(READERS_MAX).unwrap() + 1;
        left(&started(data.path()).await.register, data.path(), segments);
        let in_order: Vec<_> = (0..segments).flat_map(|segment| [format!("/{segment}-0"), format!("/{segment}-1")]).collect();
        assert_eq!(recalled(&started(data.path()).await).await, in_order);

        for (unread, unsettled, expected) in [(6, 0, "segment 0000000000000006: no longer there"), (0, 9, "segment 0000000000000009: the disk is full")] {
            let shelf = Broken { shelf: Directory::open(&data.path().join("journal")).unwrap(), unread, unsettled };
            let flusher = started_on(data.path(), Arc::new(shelf)).await;
            let mut ids = Vec::new();
            let failed = flusher.recall(|record| Some(record.text(crate::hit::record::Text::EventId).to_owned()), |id| ids.push(id)).await;
            assert!(failed.unwrap_err().to_string().ends_with(expected));
            assert!(in_order.starts_with(&ids));
            assert_eq!(ids.len(), if unread == 6 { 10 } else { in_order.len() });
        }
    }
}
