//! Owns the making of folders, and of secrets in them, that are still there after a power loss.
//!
//! A new folder's name lies in the folder above it, which has to be synced, or all that is synced inside
//! is lost with the name.

use crate::hit::field::hex;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;

/// Makes `path`, and what is missing above it, durably; readable by its owner alone.
pub fn make_private(path: &Path) -> io::Result<()> {
    make(path)?;
    rustix::fs::chmod(path, rustix::fs::Mode::RWXU)?;
    Ok(())
}

/// Makes `path`, and what is missing above it, durably.
pub fn make(path: &Path) -> io::Result<()> {
    match std::fs::create_dir(path) {
        Ok(()) => sync_above(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let Some(above) = path.parent() else { return Err(error) };
            make(above)?;
            // Another may have been quicker.
            match std::fs::create_dir(path) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
                Ok(()) | Err(_) => sync_above(path),
            }
        }
        Err(_) if path.is_dir() => {
            // A program killed before it synced may have made it. Who may not read the folder above
            // did not make it.
            let _ = sync_above(path);
            Ok(())
        }
        Err(error) => Err(error),
    }
}

/// Makes the names in the folder above `path` durable.
pub fn sync_above(path: &Path) -> io::Result<()> {
    let above = path.parent().filter(|above| !above.as_os_str().is_empty());
    File::open(above.unwrap_or_else(|| Path::new(".")))?.sync_all()
}

/// A file that its owner alone reads, empty and open for writing.
pub fn private_file(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

/// Writes over a file and removes it, so that no copy of it stays in its blocks.
pub fn forget(path: &Path) -> io::Result<()> {
    let length = usize::try_from(std::fs::metadata(path)?.len()).unwrap_or(0);
    let mut file = OpenOptions::new().write(true).open(path)?;
    file.write_all(&vec![0; length])?;
    file.sync_all()?;
    std::fs::remove_file(path)?;
    sync_above(path)
}

/// The 32 random bytes of a file that only its owner reads; made, durably, where it is missing.
pub fn kept_bytes(path: &Path) -> io::Result<[u8; 32]> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut bytes = [0; 32];
    match File::open(path) {
        Ok(mut file) => {
            file.read_exact(&mut bytes)?;
            return Ok(bytes);
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    let fresh = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
    file.write_all(&bytes)?;
    file.sync_all()?;
    std::fs::rename(&fresh, path)?;
    if let Some(folder) = path.parent() {
        File::open(folder)?.sync_all()?;
    }
    Ok(bytes)
}

/// This node's name in the lake: random, made once in its data folder.
pub fn node(data_dir: &Path) -> io::Result<String> {
    let [a, b, c, d, e, f, ..] = kept_bytes(&data_dir.join("node"))?;
    Ok(hex(&[a, b, c, d, e, f]))
}

#[cfg(test)]
mod tests {
    use super::make_private;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn what_is_missing_above_is_made_and_what_is_there_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b/c");
        for _ in 0..2 {
            make_private(&path).unwrap();
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
            std::fs::write(path.join("kept"), "").unwrap();
        }
        assert!(path.join("kept").exists());
        assert!(make_private(&path.join("kept")).is_err());
    }
}
