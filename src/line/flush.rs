//! Owns the carrying of sealed segments into the lake.
//!
//! Promises: a segment goes only after both tables have it, durably; what is loaded was settled before,
//! so that the second table gets what the first got; while the lake is away the journal keeps everything, up to its
//! bound. Spawns nothing: `app` runs it on a thread of its own.

use super::intake::Journal;
use super::ledger::Ledger;
use crate::hit::clock::{Clock, Moment};
use crate::journal::frame::Frame;
use crate::journal::replay::{Replayed, replay};
use crate::journal::segment::{Register, Sealed, frames_of};
use crate::lake::load::{Lake, LoadError, Loaded, Portion};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
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

impl Flusher {
    /// One flush: seals what is open, loads all that is ready, forgets what the lake has. `Ok` says that
    /// the lake has everything that was durable when the flush began.
    pub async fn flush(&mut self) -> Result<Loaded, LoadError> {
        self.seal_all();
        let now = self.clock.now();
        let mut whole = Loaded::default();
        for slice in self.register.ready().chunks(SEGMENTS_A_COMMIT) {
            match self.load(slice, now).await {
                Ok(loaded) => {
                    whole.rows += loaded.rows;
                    whole.bytes += loaded.bytes;
                    whole.torn_bytes += loaded.torn_bytes;
                }
                Err(error) => {
                    self.figures.failures.fetch_add(1, Ordering::Relaxed);
                    return Err(error);
                }
            }
        }
        if let Err(error) = self.register.tidy() {
            tracing::warn!(%error, "segments that the lake has could not be removed; the next flush tries again");
        }
        self.figures.last_success.store(now.seconds(), Ordering::Relaxed);
        Ok(whole)
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
        self.figures.files.store(self.lake.live_files().unwrap_or(0) as u64, Ordering::Relaxed);
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
        let bytes = self.register.read(&self.sealed)?;
        let Some(frames) = frames_of(&bytes, self.sealed.sequence) else {
            return Ok(Replayed { frames: 0, torn_bytes: bytes.iter().filter(|byte| **byte != 0).count() as u64 });
        };
        Ok(replay(frames, |frame| each(&frame)))
    }
}
