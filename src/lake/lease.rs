//! Owns the lease: who may change old files of a lake, one at a time.
//!
//! A lease is an object `_maintain/lease-TOKEN` below the lake; TOKEN rises by one with every holder and
//! is never used twice. Taking the lease is the conditional put of the next token, which one alone can
//! win on a folder as on an object store. Promises: a lease that was not renewed within `TERM` is free
//! to take; a holder looks for a successor whenever it renews and right before each commit, and stops
//! where there is one. What a stopped clock or a paused machine still lets through is caught by the
//! token in the log (`lake::rewrite`). Spawns nothing: renewals happen while the holder works.

use crate::hit::field::hex;
use super::store::{self, Layer, StoreError};
use crate::hit::clock::{Clock, Moment};
use futures::TryStreamExt;
use object_store::path::Path as StorePath;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

/// The right to change old files, for as long as it is kept.
pub struct Lease {
    store: Arc<dyn ObjectStore>,
    token: i64,
    holder: String,
    clock: Clock,
    /// When it was last renewed (µs since the epoch).
    renewed_at: AtomicI64,
    /// Numbers given out under this token.
    given: AtomicI64,
}

/// What the object says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Note {
    holder: String,
    /// Milliseconds since the epoch; 0 once it was given back.
    until_ms: i64,
}

/// Why the lease is not this holder's.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    #[error("{holder} maintains this lake until {until_ms} (ms since the epoch) or longer")]
    Held { holder: String, until_ms: i64 },
    #[error("the lease was lost to another maintainer")]
    Lost,
    #[error("the lease cannot be read or written: {0}")]
    Store(#[from] object_store::Error),
    #[error(transparent)]
    Place(#[from] StoreError),
}

impl Lease {
    /// Takes the lease of `lake` for `holder` (a name for people), or says who has it.
    pub async fn take(lake: &Path, holder: &str, clock: &Clock) -> Result<Self, LeaseError> {
        Self::take_on(lake, holder, clock, &|store| store).await
    }

    /// The same with `layer` laid over the store: tests put failures there.
    pub async fn take_on(lake: &Path, holder: &str, clock: &Clock, layer: Layer<'_>) -> Result<Self, LeaseError> {
        let folder = lake.join("_maintain");
        store::make_table_folder(&folder)?;
        let store = layer(store::open_table_folder(&folder)?.files);
        let there = tokens(&store).await?;
        let now = clock.now();
        let last = there.last().copied().unwrap_or(0);
        if last > 0 {
            match read(&store, last).await? {
                Some(note) if note.until_ms > millis(now) => return Err(LeaseError::Held { holder: note.holder, until_ms: note.until_ms }),
                Some(_) | None => {}
            }
        }
        let mut nonce = [0; 8];
        getrandom::fill(&mut nonce).map_err(|error| object_store::Error::Generic { store: "lease", source: error.to_string().into() })?;
        let holder = format!("{holder} {}", hex(&nonce));
        let lease = Self { store, token: last + 1, holder, clock: clock.clone(), renewed_at: AtomicI64::new(now.micros()), given: AtomicI64::new(0) };
        lease.put(lease.note(now), PutMode::Create).await?;
        for token in there {
            // Whoever takes it next removes what is left behind here.
            let _ = lease.store.delete(&path(token)).await;
        }
        Ok(lease)
    }

    /// Renews when a third of its term has passed. To be called often.
    pub async fn keep(&self) -> Result<(), LeaseError> {
        let now = self.clock.now();
        if now.since(Moment(self.renewed_at.load(Ordering::Relaxed))) < micros(TERM) / 3 {
            return Ok(());
        }
        self.check().await?;
        self.put(self.note(now), PutMode::Overwrite).await?;
        self.renewed_at.store(now.micros(), Ordering::Relaxed);
        Ok(())
    }

    /// Looks whether somebody else has taken it. To be called right before a commit.
    pub async fn check(&self) -> Result<(), LeaseError> {
        match self.store.head(&path(self.token + 1)).await {
            Err(object_store::Error::NotFound { .. }) => {}
            Err(error) => return Err(error.into()),
            Ok(_) => return Err(LeaseError::Lost),
        }
        // A second successor removes the first one's note, and this one with it.
        match self.store.head(&path(self.token)).await {
            Err(object_store::Error::NotFound { .. }) => Err(LeaseError::Lost),
            Err(error) => Err(error.into()),
            Ok(_) => Ok(()),
        }
    }

    /// Keeps the lease while `work` goes on, however long that sits in one step.
    pub async fn during<T>(&self, work: impl Future<Output = T>) -> Result<T, LeaseError> {
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return Ok(done),
                () = tokio::time::sleep(TERM / 6) => self.keep().await?,
            }
        }
    }

    /// Gives it back, so that the next need not wait.
    pub async fn give_back(self) -> Result<(), LeaseError> {
        self.check().await?;
        self.put(Note { holder: self.holder.clone(), until_ms: 0 }, PutMode::Overwrite).await
    }

    /// A number for a commit and its files: above every number of every holder before.
    pub fn next_number(&self) -> i64 {
        (self.token << NUMBER_BITS) + self.given.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub const fn token(&self) -> i64 {
        self.token
    }

    fn note(&self, now: Moment) -> Note {
        Note { holder: self.holder.clone(), until_ms: millis(now) + i64::try_from(TERM.as_millis()).unwrap_or(i64::MAX) }
    }

    async fn put(&self, note: Note, mode: PutMode) -> Result<(), LeaseError> {
        let is_first = mode == PutMode::Create;
        let bytes = serde_json::to_vec(&note).unwrap_or_default();
        match self.store.put_opts(&path(self.token), bytes.into(), PutOptions { mode, ..PutOptions::default() }).await {
            Ok(_) => Ok(()),
            // The one that was first may be this very put, whose answer was lost.
            Err(object_store::Error::AlreadyExists { .. }) if is_first => match read(&self.store, self.token).await? {
                Some(there) if there.holder == self.holder => Ok(()),
                Some(there) => Err(LeaseError::Held { holder: there.holder, until_ms: there.until_ms }),
                None => Err(LeaseError::Lost),
            },
            Err(error) => Err(error.into()),
        }
    }
}

/// A lease that is not renewed is free after this. Three renewals fit in it, and a step of a rewrite
/// (a batch of rows) takes far less than one.
pub const TERM: Duration = Duration::from_secs(60);

/// Commits a holder can number: 2^20, a thousand a second for a quarter of an hour. Tokens get the
/// other 43 bits.
const NUMBER_BITS: i64 = 20;

/// Under which token a number was given.
pub const fn token_of(number: i64) -> i64 {
    number >> NUMBER_BITS
}

fn path(token: i64) -> StorePath {
    StorePath::from(format!("lease-{token:012}.json"))
}

async fn tokens(store: &Arc<dyn ObjectStore>) -> Result<Vec<i64>, LeaseError> {
    let all: Vec<_> = store.list(None).try_collect().await?;
    let names = all.iter().filter_map(|meta| meta.location.filename()?.strip_prefix("lease-")?.strip_suffix(".json")?.parse().ok());
    let mut tokens: Vec<i64> = names.collect();
    tokens.sort_unstable();
    Ok(tokens)
}

/// What a lease says; `None` where it was removed meanwhile, or says nothing that can be read.
async fn read(store: &Arc<dyn ObjectStore>, token: i64) -> Result<Option<Note>, LeaseError> {
    match store.get(&path(token)).await {
        Ok(found) => Ok(serde_json::from_slice(&found.bytes().await?).ok()),
        Err(object_store::Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

const fn millis(moment: Moment) -> i64 {
    moment.micros().div_euclid(1_000)
}

const fn micros(duration: Duration) -> i64 {
    duration.as_micros() as i64
}

#[cfg(test)]
mod tests {
    use super::{Lease, LeaseError, TERM, token_of};
    use crate::hit::clock::Clock;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicI64, Ordering};

    fn clock() -> (Arc<AtomicI64>, Clock) {
        let hand = Arc::new(AtomicI64::new(1_795_132_800_000_000));
        (hand.clone(), Clock::set(hand))
    }

    #[tokio::test]
    async fn one_of_many_who_ask_at_once_gets_it() {
        let lake = tempfile::tempdir().unwrap();
        let (_, clock) = clock();
        let asked = futures::future::join_all((0..8).map(|number| {
            let (lake, clock) = (lake.path().to_owned(), clock.clone());
            async move { Lease::take(&lake, &format!("m{number}"), &clock).await }
        }));
        let got: Vec<_> = asked.await.into_iter().filter_map(Result::ok).collect();
        assert_eq!(got.len(), 1);
        got[0].check().await.unwrap();
        assert_eq!(std::fs::read_dir(lake.path().join("_maintain")).unwrap().count(), 1);
    }

    #[tokio::test]
    async fn a_lease_that_is_kept_stays_and_one_that_is_not_is_lost_with_a_higher_token() {
        let lake = tempfile::tempdir().unwrap();
        let (hand, clock) = clock();
        let first = Lease::take(lake.path(), "first", &clock).await.unwrap();
        let number = first.next_number();
        for _ in 0..4 {
            hand.fetch_add(super::micros(TERM) / 2, Ordering::Relaxed);
            first.keep().await.unwrap();
            let held = Lease::take(lake.path(), "second", &clock).await.err().unwrap();
            assert!(matches!(&held, LeaseError::Held { holder, .. } if holder.starts_with("first ")), "{held:?}");
        }
        hand.fetch_add(super::micros(TERM) + 1, Ordering::Relaxed);
        let second = Lease::take(lake.path(), "second", &clock).await.unwrap();
        assert!(matches!(first.check().await, Err(LeaseError::Lost)));
        assert!(matches!(first.keep().await, Err(LeaseError::Lost)));
        assert!(second.next_number() > number && second.next_number() > first.next_number());
        assert_eq!((token_of(number), second.token()), (1, 2));
        second.give_back().await.unwrap();
        let third = Lease::take(lake.path(), "third", &clock).await.unwrap();
        assert_eq!(third.token(), 3);
        assert!(matches!(first.give_back().await, Err(LeaseError::Lost)));
    }
}
