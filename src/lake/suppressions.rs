//! Owns where suppressions lie: in the data folder and beside the tables, each the whole of what this
//! node wrote, both read as one.
//!
//! `DATA/subjects/NODE.suppressions` and `LAKE/_subjects/NODE.suppressions`, lines of `rules::suppression`.
//! Promises: what `add` returned for is on disk in both places; what one place lacks (an older copy of the
//! lake was put back, the data folder was lost) is written there again at the next start; a line cut short
//! by a crash was never acknowledged and is cut off. Any number of processes of a node may write, one
//! after the other. Never holds an id. Limits: read whole at every change, 150 bytes an entry.

use crate::hit::clock::Moment;
use crate::hit::field::{Id, Suppression};
use crate::journal::folder;
use crate::rules::suppression::{Entry, SuppressionKey, Suppressions};
use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The suppressions of a lake, open for writing by one node.
pub struct SuppressionStore {
    places: Places,
    node: String,
    key: SuppressionKey,
}

/// The two folders that hold suppressions.
#[derive(Debug, Clone)]
pub struct Places {
    own: PathBuf,
    shared: PathBuf,
}

/// How the files looked: where this is the same, nothing was added.
pub type Stamp = Vec<(PathBuf, u64, Option<SystemTime>)>;

impl SuppressionStore {
    /// Adds a decision about a subject, durably in both places. The moment written is later than that of
    /// every entry in `known`, even where the clock was set back.
    pub fn add(&self, known: &Suppressions, kind: Suppression, subject: Id, request: Id, now: Moment) -> io::Result<()> {
        let at = now.max(Moment(known.newest().0.saturating_add(1)));
        let line = Entry { kind, subject, at, request }.line(&self.key);
        for folder in self.places.both() {
            append(&folder.join(self.file()), &[line.as_bytes()])?;
        }
        Ok(())
    }

    /// Opens both places, made where missing, and writes to each what only the other has.
    pub fn open(data_dir: &Path, lake: &Path, node: &str, secret: &[u8; 32]) -> io::Result<Self> {
        let key = SuppressionKey::new(secret).ok_or_else(|| io::Error::other("the secret makes no key"))?;
        let store = Self { places: Places::of(data_dir, lake), node: node.to_owned(), key };
        for folder in store.places.both() {
            folder::make_private(folder)?;
        }
        let [own, shared] = store.places.both().map(|folder| lines_of(folder));
        let (own, shared) = (own?, shared?);
        for (folder, has, other) in [(&store.places.own, &own, &shared), (&store.places.shared, &shared, &own)] {
            let missing: Vec<&[u8]> = other.difference(has).map(Vec::as_slice).collect();
            if !missing.is_empty() {
                tracing::info!(entries = missing.len(), "suppressions that one of their two places had lost were written there again");
                append(&folder.join(store.file()), &missing)?;
            }
        }
        Ok(store)
    }

    /// All that is in force now.
    pub fn read(&self) -> io::Result<Suppressions> {
        self.places.read(Some(self.key.clone()))
    }

    pub fn stamp(&self) -> io::Result<Stamp> {
        self.places.stamp()
    }

    pub const fn key(&self) -> &SuppressionKey {
        &self.key
    }

    fn file(&self) -> String {
        format!("{}{ENDING}", self.node)
    }
}

/// What is in force of a lake, for one who only reads: makes no file.
pub fn in_force(data_dir: &Path, lake: &Path) -> io::Result<Suppressions> {
    let secret = match std::fs::read(data_dir.join("secret")) {
        Ok(bytes) => <[u8; 32]>::try_from(bytes.as_slice()).ok(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    Places::of(data_dir, lake).read(secret.as_ref().and_then(SuppressionKey::new))
}

impl Places {
    fn of(data_dir: &Path, lake: &Path) -> Self {
        Self { own: data_dir.join("subjects"), shared: lake.join("_subjects") }
    }

    const fn both(&self) -> [&PathBuf; 2] {
        [&self.own, &self.shared]
    }

    fn read(&self, key: Option<SuppressionKey>) -> io::Result<Suppressions> {
        let mut lines = BTreeSet::new();
        for folder in self.both() {
            lines.extend(lines_of(folder)?);
        }
        Ok(Suppressions::of_lines(key, lines.iter().map(Vec::as_slice)))
    }

    fn stamp(&self) -> io::Result<Stamp> {
        let mut stamp = Stamp::new();
        for folder in self.both() {
            for path in files_of(folder)? {
                let about = std::fs::metadata(&path)?;
                stamp.push((path, about.len(), about.modified().ok()));
            }
        }
        stamp.sort();
        Ok(stamp)
    }
}

const ENDING: &str = ".suppressions";

fn files_of(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.to_str().is_some_and(|path| path.ends_with(ENDING)) {
            files.push(path);
        }
    }
    Ok(files)
}

/// The whole lines of all files; what has no end of line was never acknowledged.
fn lines_of(folder: &Path) -> io::Result<BTreeSet<Vec<u8>>> {
    let mut lines = BTreeSet::new();
    for path in files_of(folder)? {
        let bytes = std::fs::read(path)?;
        lines.extend(bytes.split_inclusive(|byte| *byte == b'\n').filter_map(|line| line.strip_suffix(b"\n")).map(<[u8]>::to_vec));
    }
    Ok(lines)
}

/// Appends lines, durably. A lock keeps others of this node from writing in between.
fn append(path: &Path, lines: &[&[u8]]) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
    rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive)?;
    let whole = whole_lines(&mut file)?;
    file.set_len(whole)?;
    file.seek(SeekFrom::Start(whole))?;
    let mut text = Vec::new();
    for line in lines {
        text.extend_from_slice(line);
        text.push(b'\n');
    }
    file.write_all(&text)?;
    file.sync_all()?;
    folder::sync_above(path)
}

/// The length up to the last end of a line.
fn whole_lines(file: &mut File) -> io::Result<u64> {
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at as u64 + 1))
}

#[cfg(test)]
mod tests {
    use super::{SuppressionStore, in_force};
    use crate::hit::clock::Moment;
    use crate::hit::field::{Id, Suppression};
    use std::path::Path;

    const SECRET: [u8; 32] = [7; 32];
    const VISITOR: Id = Id([1; 16]);

    fn open(folder: &Path) -> SuppressionStore {
        SuppressionStore::open(&folder.join("data"), &folder.join("lake"), "node", &SECRET).unwrap()
    }

    fn erase(store: &SuppressionStore, visitor: Id) {
        let known = store.read().unwrap();
        store.add(&known, Suppression::Erased, store.key().subject("acme", visitor), Id([9; 16]), Moment(5)).unwrap();
    }

    #[test]
    fn either_place_brings_back_the_other() {
        for lost in ["data/subjects", "lake/_subjects"] {
            let folder = tempfile::tempdir().unwrap();
            erase(&open(folder.path()), VISITOR);
            std::fs::remove_dir_all(folder.path().join(lost)).unwrap();
            assert!(open(folder.path()).read().unwrap().standing("acme", VISITOR).erased, "{lost}");
            assert!(folder.path().join(lost).join("node.suppressions").exists(), "{lost}");
        }
    }

    #[test]
    fn an_older_copy_of_the_lake_brings_nobody_back() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path());
        erase(&store, VISITOR);
        let shared = folder.path().join("lake/_subjects/node.suppressions");
        let older = std::fs::read(&shared).unwrap();
        erase(&store, Id([2; 16]));
        let newest = std::fs::read(&shared).unwrap();
        std::fs::write(&shared, older).unwrap();
        assert!(in_force(&folder.path().join("data"), &folder.path().join("lake")).is_ok_and(|found| found.erased() == 0), "no secret, no key");
        std::fs::write(folder.path().join("data/secret"), SECRET).unwrap();
        let found = in_force(&folder.path().join("data"), &folder.path().join("lake")).unwrap();
        assert_eq!((found.erased(), found.unreadable()), (2, 0));
        open(folder.path());
        assert_eq!(std::fs::read(&shared).unwrap(), newest);
    }

    #[test]
    fn a_line_cut_short_was_never_there() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path());
        erase(&store, VISITOR);
        for file in ["data/subjects/node.suppressions", "lake/_subjects/node.suppressions"] {
            let path = folder.path().join(file);
            let mut bytes = std::fs::read(&path).unwrap();
            bytes.extend_from_slice(b"erased 0123");
            std::fs::write(&path, bytes).unwrap();
        }
        assert_eq!(store.read().unwrap().unreadable(), 0);
        let stamp = store.stamp().unwrap();
        erase(&store, Id([2; 16]));
        assert_ne!(store.stamp().unwrap(), stamp);
        let found = store.read().unwrap();
        assert_eq!((found.erased(), found.unreadable()), (2, 0));
    }

    #[test]
    fn a_release_counts_though_the_clock_was_set_back() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path());
        let subject = store.key().subject("acme", VISITOR);
        store.add(&store.read().unwrap(), Suppression::Restricted, subject, Id([9; 16]), Moment(5_000)).unwrap();
        store.add(&store.read().unwrap(), Suppression::Released, subject, Id([9; 16]), Moment(4_000)).unwrap();
        assert!(!store.read().unwrap().standing("acme", VISITOR).restricted);
    }

    #[test]
    fn files_are_their_owners_alone() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        erase(&open(folder.path()), VISITOR);
        for (path, mode) in [("data/subjects", 0o700), ("data/subjects/node.suppressions", 0o600), ("lake/_subjects/node.suppressions", 0o600)] {
            assert_eq!(std::fs::metadata(folder.path().join(path)).unwrap().permissions().mode() & 0o777, mode, "{path}");
        }
    }
}
