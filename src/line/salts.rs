//! Owns the salt of daily ids: random, one a UTC day, in memory and in one file that outlives a restart
//! of the day but not the day.
//!
//! Promises: when the day is over its salt is overwritten, in the file as well, and nobody can compute
//! that day's ids again. Never in a log, never in the lake.

use crate::hit::clock::Day;
use crate::rules::identity::{DailySalt, keyed_hash};
use std::fs::OpenOptions;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};
use zeroize::Zeroize;

/// The salts of daily ids.
pub enum Salts {
    /// Of a running collector: today's alone.
    Kept { path: PathBuf, today: RwLock<Option<(Day, DailySalt)>> },
    /// Of an import: every day's, from one secret that is destroyed when the import is through.
    Derived([u8; 32]),
}

impl Salts {
    /// The salt of `day`, made anew where the day is new; `None` where there is no randomness, or, for a
    /// running collector, for a day that is over.
    pub fn of(&self, day: Day) -> Option<DailySalt> {
        let (path, today) = match self {
            Self::Derived(secret) => return Some(derived(secret, day)),
            Self::Kept { path, today } => (path, today),
        };
        if let Some((known, salt)) = &*today.read().unwrap_or_else(PoisonError::into_inner)
            && day <= *known
        {
            return (day == *known).then(|| salt.clone());
        }
        let mut today = today.write().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, salt)) = &*today
            && day <= *known
        {
            return (day == *known).then(|| salt.clone());
        }
        let mut salt = DailySalt([0; 32]);
        getrandom::fill(&mut salt.0).ok()?;
        if let Err(error) = overwrite(path, day, &salt) {
            tracing::warn!(%error, "today's salt is in memory only: daily ids change with a restart");
        }
        *today = Some((day, salt.clone()));
        Some(salt)
    }

    /// Destroys the salt of a day that is over, whether or not anybody came since.
    pub fn let_go(&self, today: Day) {
        let Self::Kept { path, today: kept } = self else { return };
        let mut kept = kept.write().unwrap_or_else(PoisonError::into_inner);
        if kept.as_ref().is_some_and(|(day, _)| *day < today) {
            *kept = None;
            if let Err(error) = overwrite(path, Day(0), &DailySalt([0; 32])) {
                tracing::error!(%error, path = %path.display(), "yesterday's salt cannot be wiped from its file: delete it");
            }
        }
    }

    /// Reads the salt that an earlier process left in `path`, to be used if it is of the same day.
    pub fn open(path: &Path) -> io::Result<Self> {
        let today = match std::fs::File::open(path) {
            Ok(mut file) => {
                let mut bytes = [0; LENGTH];
                let read = file.read_exact(&mut bytes).ok().and_then(|()| parse(&bytes));
                bytes.zeroize();
                read
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        Ok(Self::Kept { path: path.to_owned(), today: RwLock::new(today) })
    }
}

fn derived(secret: &[u8; 32], day: Day) -> DailySalt {
    let half = |which: &[u8]| keyed_hash(secret, &[b"salt", which, &day.0.to_le_bytes()]).0;
    let mut salt = DailySalt([0; 32]);
    let (first, second) = salt.0.split_at_mut(16);
    first.copy_from_slice(&half(b"first"));
    second.copy_from_slice(&half(b"second"));
    salt
}

const LENGTH: usize = 40;

fn parse(bytes: &[u8; LENGTH]) -> Option<(Day, DailySalt)> {
    let (day, salt) = bytes.split_at(8);
    Some((Day(i64::from_le_bytes(day.try_into().ok()?)), DailySalt(salt.try_into().ok()?)))
}

/// Writes over the old salt in place, so that no second copy of it stays in a file's old blocks.
fn overwrite(path: &Path, day: Day, salt: &DailySalt) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
    file.seek(SeekFrom::Start(0))?;
    file.write_all(&day.0.to_le_bytes())?;
    file.write_all(&salt.0)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::Salts;
    use crate::hit::clock::Day;

    #[test]
    fn an_import_has_a_salt_for_every_day() {
        let salts = Salts::Derived([7; 32]);
        let of = |day| salts.of(Day(day)).unwrap().0;
        let (five, seven, six) = (of(5), of(7), of(6));
        assert_eq!((of(5), of(6), of(7)), (five, six, seven));
        assert!(five != six && six != seven);
    }

    #[test]
    fn a_salt_outlives_a_restart_but_not_its_day() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("salt");
        let first = Salts::open(&path).unwrap().of(Day(5)).unwrap();
        let again = Salts::open(&path).unwrap();
        assert_eq!(again.of(Day(5)).unwrap().0, first.0);
        assert_ne!(again.of(Day(6)).unwrap().0, first.0);
        assert!(again.of(Day(5)).is_none());
        let bytes = std::fs::read(&path).unwrap();
        assert!(!bytes.windows(32).any(|window| window == first.0));
        assert_eq!(bytes.len(), 40);
    }

    #[test]
    fn a_day_that_is_over_has_no_salt_though_nobody_came_since() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("salt");
        let salt = Salts::open(&path).unwrap().of(Day(5)).unwrap();
        let later = Salts::open(&path).unwrap();
        later.let_go(Day(5));
        assert_eq!(later.of(Day(5)).unwrap().0, salt.0);
        later.let_go(Day(6));
        assert_eq!(std::fs::read(&path).unwrap(), [0; 40]);
        assert_ne!(later.of(Day(5)).unwrap().0, salt.0);
    }
}
