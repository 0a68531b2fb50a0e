//! Owns the audit log of rights: what was asked, by whom, and what came of it, and what left for third
//! parties, in a chain that shows every change.
//!
//! `DATA/subjects/audit.ndjson`, one entry a line: `{"body":BODY,"signature":"HEX"}`. BODY names the
//! SHA-256 of the line before; the signature is Ed25519 (RFC 8032) over BODY's bytes, under a key made
//! at the first start (`audit.key`, its owner's alone; `audit.pub` is for auditors). Promises: an entry
//! is on disk when `append` returns; a byte changed anywhere is found by `verify`; what a crash cut short
//! was never acknowledged and is cut off; never holds an identifier, only the keyed hash of a subject.
//! What a chain cannot show: that its last entries were taken away. Whoever must rule that out keeps the
//! head that `verify` prints. Limits: read whole at the start, some 600 bytes an entry.

use crate::hit::clock::Moment;
use crate::hit::field::{Asker, Id, RequestKind, hex};
use crate::journal::folder;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// The log, open for appending.
pub struct AuditLog {
    path: PathBuf,
    key: Ed25519KeyPair,
    chain: Chain,
    /// Bytes read so far: the end of the last whole entry.
    offset: u64,
}

/// What an entry says happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case")]
pub enum Event {
    /// The log began; its public key in hexadecimal.
    Began { public_key: String },
    Received {
        #[serde(with = "id_text")]
        request: Id,
        #[serde(with = "kind_text")]
        kind: RequestKind,
        site: String,
        /// The keyed hash of site and visitor.
        #[serde(with = "id_text")]
        subject: Id,
        /// The keyed hashes of other ids that the same person was met under.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        linked: Vec<String>,
        #[serde(with = "asker_text")]
        by: Asker,
        #[serde(with = "time_text")]
        due_at: Moment,
        now: bool,
        /// Of a rectification: the names of the fields, without their values.
        fields: Vec<String>,
    },
    /// A legal hold keeps an erasure from being done.
    Held {
        #[serde(with = "id_text")]
        request: Id,
        #[serde(with = "time_text")]
        until: Moment,
        reason: String,
    },
    /// The work in the files begins, or, where a hold ended, may begin.
    Running {
        #[serde(with = "id_text")]
        request: Id,
    },
    Done {
        #[serde(with = "id_text")]
        request: Id,
        /// `signed`, a JSON text, and its `signature` by the log's key: without an identifier.
        receipt: Option<serde_json::Value>,
    },
    /// One pass over the files, in which some requests were done: files, versions, counts, digests.
    Pass {
        #[serde(with = "id_text")]
        pass: Id,
        report: serde_json::Value,
    },
    Failed {
        #[serde(with = "id_text")]
        request: Id,
        reason: String,
    },
    /// So many days have passed and the request is not done.
    Warned {
        #[serde(with = "id_text")]
        request: Id,
        days: i64,
    },
    /// A copy of a subject's data was made for the subject.
    Exported {
        #[serde(with = "id_text")]
        request: Id,
        format: String,
        rows: u64,
        sha256: String,
    },
    /// Aggregates of a site's week left for a third party.
    Shared {
        site: String,
        /// As ISO 8601 writes it: `2026-W47`.
        week: String,
        dimension: String,
        format: String,
        #[serde(with = "asker_text")]
        by: Asker,
        /// Rows of the answer.
        cells: u64,
        /// Values that are in no row of their own.
        withheld: u64,
        /// Of the answer's bytes.
        sha256: String,
        /// Of the week as it was published once and for all.
        published_sha256: String,
    },
    /// A legal hold of a subject, or of a whole site, from now until then.
    Hold {
        site: String,
        subject: Option<String>,
        #[serde(with = "time_text")]
        until: Moment,
        reason: String,
    },
}

/// An entry as it is signed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    pub number: u64,
    #[serde(with = "time_text")]
    pub at: Moment,
    /// The SHA-256 of the line before, in hexadecimal; zeros before the first.
    previous: String,
    pub event: Event,
}

/// Why the log cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    #[error("the audit log is broken at entry {entry}: {problem}")]
    Broken { entry: u64, problem: &'static str },
    #[error("the audit log cannot be used: {0}")]
    Io(#[from] io::Error),
    #[error("the key of the audit log cannot be used")]
    Key,
}

impl AuditLog {
    /// Appends an entry, durably. `note` is told first of what others appended meanwhile, then of this one.
    pub fn append(&mut self, event: Event, now: Moment, note: &mut dyn FnMut(Entry)) -> Result<(), AuditError> {
        let mut file = self.lock()?;
        self.catch_up(&mut file, note)?;
        let entry = Entry { number: self.chain.entries, at: now, previous: hex(&self.chain.head), event };
        let body = serde_json::to_string(&entry).map_err(io::Error::from)?;
        let line = format!("{OPENING}{body}{MIDDLE}{}{CLOSING}", hex(self.key.sign(body.as_bytes()).as_ref()));
        file.seek(SeekFrom::Start(self.offset))?;
        file.write_all(format!("{line}\n").as_bytes())?;
        file.sync_all()?;
        self.offset += line.len() as u64 + 1;
        self.chain.follow(line.as_bytes());
        note(entry);
        Ok(())
    }

    /// Tells `note` of every entry that was appended since this log was read last.
    pub fn read_new(&mut self, note: &mut dyn FnMut(Entry)) -> Result<(), AuditError> {
        if std::fs::metadata(&self.path)?.len() == self.offset {
            return Ok(());
        }
        let mut file = File::open(&self.path)?;
        self.take_in(&mut file, note).map(|_| ())
    }

    /// Opens the log in `folder`, with a first entry where it is new; `note` is told of every entry.
    pub fn open(folder: &Path, now: Moment, note: &mut dyn FnMut(Entry)) -> Result<Self, AuditError> {
        folder::make_private(folder)?;
        let key = Ed25519KeyPair::from_seed_unchecked(&folder::kept_bytes(&folder.join("audit.key"))?).map_err(|_| AuditError::Key)?;
        let public_key = hex(key.public_key().as_ref());
        std::fs::write(folder.join("audit.pub"), format!("{public_key}\n"))?;
        let mut log = Self { path: folder.join("audit.ndjson"), key, chain: Chain::default(), offset: 0 };
        let mut file = log.lock()?;
        folder::sync_above(&log.path)?;
        log.catch_up(&mut file, note)?;
        drop(file);
        if log.chain.entries == 0 {
            log.append(Event::Began { public_key }, now, note)?;
        }
        Ok(log)
    }

    /// A signature over `bytes` under the log's key, in hexadecimal: for receipts that stand alone.
    pub fn sign(&self, bytes: &[u8]) -> String {
        hex(self.key.sign(bytes).as_ref())
    }

    /// The key that the log's signatures are checked with.
    pub fn public_key(&self) -> Vec<u8> {
        self.key.public_key().as_ref().to_vec()
    }

    /// The log's file, this process's alone until it is dropped.
    fn lock(&self) -> io::Result<File> {
        use std::os::unix::fs::OpenOptionsExt;
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&self.path)?;
        rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive)?;
        Ok(file)
    }

    /// Reads to the end, and cuts off or ends what a crash left there: it was never acknowledged.
    fn catch_up(&mut self, file: &mut File, note: &mut dyn FnMut(Entry)) -> Result<(), AuditError> {
        let tail = self.take_in(file, note)?;
        let public_key = self.public_key();
        match tail.as_slice() {
            [] => {}
            whole if self.chain.clone().take(whole, &public_key).is_ok() => {
                // Only the end of its line is missing.
                file.write_all(b"\n")?;
                note(self.chain.take(whole, &public_key)?);
                self.offset += whole.len() as u64 + 1;
            }
            [whole @ .., _] if self.chain.clone().take(whole, &public_key).is_ok() => return Err(self.chain.broken("the end of its line was changed")),
            _ => file.set_len(self.offset)?,
        }
        Ok(())
    }

    /// Reads from where it stopped; gives back what comes after the last end of a line.
    fn take_in(&mut self, file: &mut File, note: &mut dyn FnMut(Entry)) -> Result<Vec<u8>, AuditError> {
        file.seek(SeekFrom::Start(self.offset))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let public_key = self.public_key();
        let mut rest = bytes.as_slice();
        while let Some(at) = rest.iter().position(|byte| *byte == b'\n') {
            let (line, after) = rest.split_at(at);
            note(self.chain.take(line, &public_key)?);
            self.offset += at as u64 + 1;
            rest = after.get(1..).unwrap_or_default();
        }
        Ok(rest.to_vec())
    }
}

/// What `verify` found in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    pub entries: u64,
    /// The SHA-256 of the last line: whoever keeps it sees later whether entries were taken away.
    pub head: String,
}

/// Reads a whole log and proves that no byte of it was changed; `note` is told of every entry.
pub fn verify(log: &[u8], public_key: &[u8], note: &mut dyn FnMut(Entry)) -> Result<Verified, AuditError> {
    let mut chain = Chain::default();
    for line in log.split_inclusive(|byte| *byte == b'\n') {
        let Some(line) = line.strip_suffix(b"\n") else { return Err(chain.broken("it is not whole")) };
        note(chain.take(line, public_key)?);
    }
    Ok(Verified { entries: chain.entries, head: hex(&chain.head) })
}

/// Verifies the log of a data folder, and tells `note` of every entry; `None` where there is none.
pub fn verify_folder(data_dir: &Path, note: &mut dyn FnMut(Entry)) -> Result<Option<Verified>, AuditError> {
    let folder = data_dir.join("subjects");
    let log = match std::fs::read(folder.join("audit.ndjson")) {
        Ok(log) => log,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let seed = std::fs::read(folder.join("audit.key"))?;
    let key = Ed25519KeyPair::from_seed_unchecked(&seed).map_err(|_| AuditError::Key)?;
    verify(&log, key.public_key().as_ref(), note).map(Some)
}

const OPENING: &str = "{\"body\":";
const MIDDLE: &str = ",\"signature\":\"";
const CLOSING: &str = "\"}";
/// 64 bytes in hexadecimal.
const SIGNATURE_DIGITS: usize = 128;

/// The chain up to some entry.
#[derive(Clone, Default)]
struct Chain {
    entries: u64,
    head: [u8; 32],
}

impl Chain {
    /// The entry of a line, if it is the next of this chain.
    fn take(&mut self, line: &[u8], public_key: &[u8]) -> Result<Entry, AuditError> {
        let (body, signature) = parts(line).ok_or_else(|| self.broken("it has not the form of an entry"))?;
        UnparsedPublicKey::new(&ED25519, public_key).verify(body, &signature).map_err(|_| self.broken("its signature does not fit"))?;
        let entry: Entry = serde_json::from_slice(body).map_err(|_| self.broken("it says what this version does not know"))?;
        if entry.number != self.entries || entry.previous != hex(&self.head) {
            return Err(self.broken("it does not follow the entry before it"));
        }
        self.follow(line);
        Ok(entry)
    }

    fn follow(&mut self, line: &[u8]) {
        self.entries += 1;
        self.head = Sha256::digest(line).into();
    }

    const fn broken(&self, problem: &'static str) -> AuditError {
        AuditError::Broken { entry: self.entries, problem }
    }
}

/// The body's bytes and the signature of a line.
fn parts(line: &[u8]) -> Option<(&[u8], Vec<u8>)> {
    let rest = line.strip_prefix(OPENING.as_bytes())?.strip_suffix(CLOSING.as_bytes())?;
    let (rest, digits) = rest.split_at_checked(rest.len().checked_sub(SIGNATURE_DIGITS)?)?;
    let signature: Option<Vec<u8>> = digits.chunks_exact(2).map(|pair| Some(digit(*pair.first()?)? << 4 | digit(*pair.get(1)?)?)).collect();
    Some((rest.strip_suffix(MIDDLE.as_bytes())?, signature?))
}

const fn digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

/// Declares how a word is written in JSON: by its own text.
macro_rules! as_text {
    ($module:ident, $of:path, $write:expr, $read:expr) => {
        mod $module {
            use serde::Deserialize;
            pub fn serialize<S: serde::Serializer>(value: &$of, serializer: S) -> Result<S::Ok, S::Error> {
                let write: fn(&$of) -> String = $write;
                serializer.serialize_str(&write(value))
            }
            pub fn deserialize<'d, D: serde::Deserializer<'d>>(deserializer: D) -> Result<$of, D::Error> {
                let read: fn(&str) -> Option<$of> = $read;
                read(&String::deserialize(deserializer)?).ok_or_else(|| serde::de::Error::custom("a word that is not of its list"))
            }
        }
    };
}

as_text!(id_text, crate::hit::field::Id, ToString::to_string, |text| crate::hit::field::Id::parse(text.as_bytes()));
as_text!(kind_text, crate::hit::field::RequestKind, ToString::to_string, crate::hit::field::RequestKind::from_name);
as_text!(asker_text, crate::hit::field::Asker, ToString::to_string, crate::hit::field::Asker::from_name);
as_text!(time_text, crate::hit::clock::Moment, |moment| crate::desk::text::rfc3339_micros(*moment), crate::desk::text::moment);

#[cfg(test)]
mod tests {
    use super::{AuditError, AuditLog, Entry, Event, verify, verify_folder};
    use crate::hit::clock::Moment;
    use crate::hit::field::{Asker, Id, RequestKind};
    use std::path::Path;

    const NOW: Moment = Moment(1_795_132_800_000_001);

    fn open(folder: &Path) -> (AuditLog, Vec<Entry>) {
        let mut entries = Vec::new();
        let log = AuditLog::open(folder, NOW, &mut |entry| entries.push(entry)).unwrap();
        (log, entries)
    }

    fn events() -> Vec<Event> {
        let request = Id([3; 16]);
        vec![
            Event::Received {
                request,
                kind: RequestKind::Erasure,
                site: "acme".to_owned(),
                subject: Id([4; 16]),
                linked: vec![Id([5; 16]).to_string()],
                by: Asker::Client,
                due_at: NOW.plus_seconds(30 * 86_400),
                now: false,
                fields: vec![],
            },
            Event::Hold { site: "acme".to_owned(), subject: None, until: NOW, reason: "case \"12/26\"".to_owned() },
            Event::Running { request },
            Event::Done { request, receipt: Some(serde_json::json!({"rows": 3, "files": [{"path": "day=2026-11-20/part-1.parquet"}]})) },
        ]
    }

    fn filled(folder: &Path) -> AuditLog {
        let (mut log, _) = open(folder);
        for event in events() {
            log.append(event, NOW, &mut |_| {}).unwrap();
        }
        log
    }

    fn public_key(folder: &Path) -> Vec<u8> {
        let text = std::fs::read_to_string(folder.join("audit.pub")).unwrap();
        text.trim().as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
    }

    #[test]
    fn entries_come_back_in_their_order_and_the_key_is_its_owners() {
        use std::os::unix::fs::PermissionsExt;
        let data = tempfile::tempdir().unwrap();
        let folder = data.path().join("subjects");
        filled(&folder);
        let (_, entries) = open(&folder);
        assert_eq!(entries.iter().skip(1).map(|entry| entry.event.clone()).collect::<Vec<_>>(), events());
        assert_eq!(entries.iter().map(|entry| (entry.number, entry.at)).collect::<Vec<_>>(), (0..5).map(|number| (number, NOW)).collect::<Vec<_>>());
        assert_eq!(verify_folder(data.path(), &mut |_| ()).unwrap().unwrap().entries, 5);
        for file in ["audit.key", "audit.ndjson"] {
            assert_eq!(std::fs::metadata(folder.join(file)).unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn every_flipped_bit_of_every_byte_is_found() {
        let folder = tempfile::tempdir().unwrap();
        filled(folder.path());
        let (log, key) = (std::fs::read(folder.path().join("audit.ndjson")).unwrap(), public_key(folder.path()));
        assert!(verify(&log, &key, &mut |_| ()).is_ok());
        for at in 0..log.len() {
            for bit in 0..8 {
                let mut flipped = log.clone();
                flipped[at] ^= 1 << bit;
                assert!(verify(&flipped, &key, &mut |_| ()).is_err(), "byte {at}, bit {bit}");
            }
        }
        let whole: Vec<&[u8]> = log.split_inclusive(|byte| *byte == b'\n').collect();
        for at in 0..whole.len() - 1 {
            let without: Vec<u8> = whole.iter().enumerate().filter(|(line, _)| *line != at).flat_map(|(_, line)| line.to_vec()).collect();
            assert!(verify(&without, &key, &mut |_| ()).is_err(), "without entry {at}");
        }
        assert!(matches!(verify(&log[..log.len() - 1], &key, &mut |_| ()), Err(AuditError::Broken { entry: 4, .. })));
    }

    #[test]
    fn cut_short_at_any_byte_it_goes_on_and_loses_no_whole_entry() {
        let folder = tempfile::tempdir().unwrap();
        filled(folder.path());
        let path = folder.path().join("audit.ndjson");
        let (log, key) = (std::fs::read(&path).unwrap(), public_key(folder.path()));
        let ends: Vec<usize> = log.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at).collect();
        for length in 0..log.len() {
            std::fs::write(&path, &log[..length]).unwrap();
            let (mut reopened, _) = open(folder.path());
            reopened.append(Event::Running { request: Id([5; 16]) }, NOW, &mut |_| {}).unwrap();
            let whole = ends.iter().filter(|end| **end <= length).count().max(1);
            let verified = verify(&std::fs::read(&path).unwrap(), &key, &mut |_| ()).unwrap();
            assert_eq!(verified.entries as usize, whole + 1, "cut at {length}");
        }
    }

    #[test]
    fn a_broken_log_takes_no_entry() {
        let folder = tempfile::tempdir().unwrap();
        filled(folder.path());
        let path = folder.path().join("audit.ndjson");
        let log = std::fs::read(&path).unwrap();
        for at in [100, log.len() - 1] {
            let mut flipped = log.clone();
            flipped[at] ^= 1;
            std::fs::write(&path, &flipped).unwrap();
            let opened = AuditLog::open(folder.path(), NOW, &mut |_| {});
            let appended = opened.and_then(|mut log| log.append(Event::Running { request: Id([5; 16]) }, NOW, &mut |_| {}));
            assert!(matches!(appended, Err(AuditError::Broken { .. })), "byte {at}");
            assert_eq!(std::fs::read(&path).unwrap(), flipped);
        }
    }

    #[test]
    fn two_who_append_in_turn_make_one_chain() {
        let folder = tempfile::tempdir().unwrap();
        let (mut one, _) = open(folder.path());
        let (mut other, _) = open(folder.path());
        let mut seen = 0;
        for _ in 0..3 {
            for log in [&mut one, &mut other] {
                log.append(Event::Running { request: Id([5; 16]) }, NOW, &mut |_| seen += 1).unwrap();
            }
        }
        one.read_new(&mut |_| seen += 1).unwrap();
        assert_eq!(seen, 12, "both saw all six");
        let log = std::fs::read(folder.path().join("audit.ndjson")).unwrap();
        assert_eq!(verify(&log, &public_key(folder.path()), &mut |_| ()).unwrap().entries, 7);
    }
}
