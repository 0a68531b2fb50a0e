//! Owns the keys of people: read from a file of the operator's, outside of all that the collector keeps.
//!
//! Knows the file: 32 bytes, or 64 hexadecimal digits and perhaps an end of line. Promises: a file that
//! others may read, that lies below the data or the lake, or that holds no random key, is refused with what
//! would be right; a key is wiped where it ends; it is never written, copied or printed.

use crate::hit::site::{Site, SiteKey};
use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use zeroize::{Zeroize, Zeroizing};

/// The key of a site's people.
pub struct PeopleKey(pub(super) [u8; 32]);

/// Why a key cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("people_key of the site `{site}`: {path} {problem}")]
pub struct KeyError {
    site: SiteKey,
    path: String,
    problem: Problem,
}

#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error("cannot be read: {0}; name a file that holds the key")]
    Unreadable(io::Error),
    #[error("is no file; name a file that holds the key")]
    NoFile,
    #[error("may be read by others than its owner: chmod 600")]
    Open,
    #[error("lies below {0}, so that a copy of the data would bring the key along; keep it elsewhere")]
    Below(String),
    #[error("holds no key: write 32 random bytes, or 64 hexadecimal digits (`openssl rand -hex 32`)")]
    NoKey,
}

/// The keys of all sites that have one.
pub fn keys(sites: &[Site], data_dir: &Path, lake: &Path) -> Result<BTreeMap<SiteKey, PeopleKey>, KeyError> {
    let mut keys = BTreeMap::new();
    for site in sites {
        if let Some(path) = &site.people_key {
            let key = read(path, &[data_dir, lake]).map_err(|problem| KeyError { site: site.key, path: path.display().to_string(), problem })?;
            keys.insert(site.key, key);
        }
    }
    Ok(keys)
}

fn read(path: &Path, kept: &[&Path]) -> Result<PeopleKey, Problem> {
    let mut file = File::open(path).map_err(Problem::Unreadable)?;
    let about = file.metadata().map_err(Problem::Unreadable)?;
    if !about.is_file() {
        return Err(Problem::NoFile);
    }
    if about.mode() & 0o077 != 0 {
        return Err(Problem::Open);
    }
    let place = path.canonicalize().map_err(Problem::Unreadable)?;
    for folder in kept {
        if place.starts_with(placed(folder)) {
            return Err(Problem::Below(folder.display().to_string()));
        }
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(LENGTH_MAX + 1));
    file.by_ref().take(LENGTH_MAX as u64 + 1).read_to_end(&mut bytes).map_err(Problem::Unreadable)?;
    parse(&bytes).ok_or(Problem::NoKey)
}

/// Where a folder is, or will be when it is made.
fn placed(folder: &Path) -> PathBuf {
    let mut missing = Vec::new();
    let mut there = folder;
    loop {
        let found = if there.as_os_str().is_empty() { Path::new(".").canonicalize() } else { there.canonicalize() };
        if let Ok(found) = found {
            return missing.iter().rev().fold(found, |path, name| path.join(name));
        }
        let (Some(above), Some(name)) = (there.parent(), there.file_name()) else { return folder.to_owned() };
        missing.push(name);
        there = above;
    }
}

const LENGTH_MAX: usize = 64 + 2;

fn parse(bytes: &[u8]) -> Option<PeopleKey> {
    let mut key = PeopleKey([0; 32]);
    if bytes.len() == 32 {
        key.0.copy_from_slice(bytes);
    } else {
        let digits = std::str::from_utf8(bytes.trim_ascii_end()).ok().filter(|digits| digits.len() == 64)?;
        for (at, byte) in key.0.iter_mut().enumerate() {
            *byte = digits.get(at * 2..at * 2 + 2).filter(|pair| pair.bytes().all(|digit| digit.is_ascii_hexdigit())).and_then(|pair| u8::from_str_radix(pair, 16).ok())?;
        }
    }
    // Of 32 random bytes fewer than 12 are different once in more than 10^20: that is a word, or zeros.
    let mut seen = [false; 256];
    key.0.iter().for_each(|byte| seen[usize::from(*byte)] = true);
    (seen.iter().filter(|seen| **seen).count() >= 12).then_some(key)
}

impl Drop for PeopleKey {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for PeopleKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("[key]")
    }
}

#[cfg(test)]
mod tests {
    use super::{keys, parse};
    use crate::hit::site::Site;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    impl super::PeopleKey {
        pub fn sample(first: u8) -> Self {
            Self(std::array::from_fn(|at| first.wrapping_add(at as u8)))
        }
    }

    fn told(path: &Path, folder: &Path) -> String {
        let site = Site { people_key: Some(path.to_owned()), ..Site::sample() };
        match keys(&[site], &folder.join("data"), &folder.join("lake")) {
            Ok(keys) => keys.len().to_string(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_file_that_gives_the_key_away_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let hex: String = (10..42).map(|byte| format!("{byte:02x}")).collect();
        let write = |path: &Path, bytes: &[u8], mode: u32| {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        let key = folder.path().join("keys/acme");
        assert!(told(&key, folder.path()).contains("cannot be read"));
        assert!(told(folder.path(), folder.path()).contains("is no file"));
        for (mode, expected) in [(0o600, "1"), (0o400, "1"), (0o640, "chmod 600"), (0o604, "chmod 600")] {
            write(&key, hex.as_bytes(), mode);
            assert!(told(&key, folder.path()).contains(expected), "{mode:o}");
            std::fs::remove_file(&key).unwrap();
        }
        for below in ["data/acme", "data/deep/acme", "lake/acme"] {
            let path = folder.path().join(below);
            write(&path, hex.as_bytes(), 0o600);
            assert!(told(&path, folder.path()).contains("keep it elsewhere"), "{below}");
            let link = folder.path().join("link");
            std::os::unix::fs::symlink(&path, &link).unwrap();
            assert!(told(&link, folder.path()).contains("keep it elsewhere"), "{below} by a link");
            std::fs::remove_file(&link).unwrap();
        }
        for (bytes, expected) in [(&b""[..], "holds no key"), (b"secret", "holds no key"), (&[0; 32], "holds no key"), (&hex.as_bytes()[1..], "holds no key"), (format!("{hex}\n").as_bytes(), "1"), (format!("{hex}{hex}").as_bytes(), "holds no key")] {
            write(&key, bytes, 0o600);
            let told = told(&key, folder.path());
            assert!(told.contains(expected) && !told.contains(&hex), "{told}");
        }
    }

    #[test]
    fn both_forms_are_one_key() {
        let bytes: Vec<u8> = (10..42).collect();
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(parse(&bytes).unwrap().0, parse(hex.as_bytes()).unwrap().0);
        assert!(parse(&hex.replace("0a", "+a").into_bytes()).is_none());
    }
}
