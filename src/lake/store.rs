//! Owns the store that the lake lies on: local files that survive a power loss.
//!
//! Knows `object_store`, whose local store (0.13) never syncs, and whose put gives a file its name
//! before its bytes are on disk. Promises: a file has its name only once its bytes are on disk (a commit
//! cut short by a power loss would make the table unreadable); what `put` returned for is there for good,
//! with every folder above it; every file is its owner's alone to read. Object stores
//! elsewhere come later and are refused with a clear word.

use crate::journal::folder;
use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    Attributes, CopyOptions, GetOptions, GetRange, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, RenameOptions, Result, UploadPart,
};
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use url::Url;

/// Why the lake's place cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("write a folder, `file:./folder`: {0:?} is neither that nor `s3://bucket/prefix`")]
    NoPlace(String),
    #[error("object stores such as {0:?} are not supported yet: write a folder, `file:./folder`")]
    NotYet(String),
    #[error("the lake's folder {path} cannot be used: {reason}")]
    Folder { path: String, reason: std::io::Error },
    #[error("the lake's store: {0}")]
    Store(#[from] object_store::Error),
}

/// The folder a `lake.url` names; relative ones are seen from the working directory.
pub fn folder_of(url: &str) -> std::result::Result<PathBuf, StoreError> {
    if let Some(path) = url.strip_prefix("file://") {
        return Ok(PathBuf::from(path));
    }
    if let Some(path) = url.strip_prefix("file:") {
        return Ok(PathBuf::from(path));
    }
    if url.starts_with("s3://") {
        return Err(StoreError::NotYet(url.to_owned()));
    }
    if url.is_empty() || url.contains("://") {
        return Err(StoreError::NoPlace(url.to_owned()));
    }
    Ok(PathBuf::from(url))
}

/// What is laid over a store: tests put failures there.
pub type Layer<'l> = &'l (dyn Fn(Arc<dyn ObjectStore>) -> Arc<dyn ObjectStore> + Sync);

/// A table's folder, opened.
pub struct TableFolder {
    /// The table's own files, by paths below the folder.
    pub files: Arc<dyn ObjectStore>,
    /// The whole file system, by paths from its root: what the Delta library wants beside a URL.
    pub root: Arc<dyn ObjectStore>,
    pub url: Url,
}

/// Makes the folder of one table, and the lake's above it, durably.
pub fn make_table_folder(folder: &std::path::Path) -> std::result::Result<(), StoreError> {
    let make = || folder.parent().map_or(Ok(()), folder::make).and_then(|()| folder::make_private(folder));
    make().map_err(|reason| StoreError::Folder { path: folder.display().to_string(), reason })
}

/// Opens the folder of one table.
pub fn open_table_folder(folder: &std::path::Path) -> std::result::Result<TableFolder, StoreError> {
    let failed = |reason| StoreError::Folder { path: folder.display().to_string(), reason };
    let folder = folder.canonicalize().map_err(failed)?;
    let url = Url::from_directory_path(&folder).map_err(|()| StoreError::NoPlace(folder.display().to_string()))?;
    let files = Arc::new(Durable(LocalFileSystem::new_with_prefix(&folder)?));
    Ok(TableFolder { files, root: Arc::new(Durable(LocalFileSystem::new())), url })
}

/// As much as is read at once, where it is asked for: bloom filters of a row group's visitors are 64 or 128 KiB, each
/// with a head of some bytes.
const SMALL_BYTES: usize = 129 << 10;

/// A local store whose writes are durable when they return.
#[derive(Debug)]
struct Durable(LocalFileSystem);

impl fmt::Display for Durable {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "durable {}", self.0)
    }
}

/// Removes what a put that was cut short left of files below `folder/day=…/` whose names begin with
/// `mark`. No listing shows it.
pub fn sweep_unfinished(folder: &std::path::Path, mark: &str) -> io::Result<usize> {
    let mut swept = 0;
    for day in std::fs::read_dir(folder)? {
        let day = day?;
        if !day.file_name().to_string_lossy().starts_with("day=") {
            continue;
        }
        for file in std::fs::read_dir(day.path())? {
            let file = file?;
            let name = file.file_name();
            if name.to_str().is_some_and(|name| name.starts_with(mark) && name.contains(UNFINISHED)) {
                std::fs::remove_file(file.path())?;
                swept += 1;
            }
        }
    }
    Ok(swept)
}

/// `NAME#1` is `NAME` being written: `object_store` lists no name that ends so.
const UNFINISHED: char = '#';

/// A new file beside `file`, to be written and then given its name.
fn begin_beside(file: &std::path::Path) -> io::Result<(File, PathBuf)> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut number = 1;
    loop {
        let mut path = file.as_os_str().to_owned();
        path.push(format!("{UNFINISHED}{number}"));
        let path = PathBuf::from(path);
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
            Ok(beside) => return Ok((beside, path)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let Some(above) = file.parent() else { return Err(error) };
                folder::make(above)?;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Writes `file`, durably, and only then under its name; where `is_new`, no other may have it.
fn put_durably(file: &std::path::Path, payload: &PutPayload, is_new: bool) -> io::Result<()> {
    let (mut beside, path) = begin_beside(file)?;
    let written = payload.iter().try_for_each(|part| beside.write_all(part)).and_then(|()| beside.sync_all());
    let named = written.and_then(|()| if is_new { std::fs::hard_link(&path, file) } else { std::fs::rename(&path, file) });
    if is_new || named.is_err() {
        // Where it is left behind no listing shows it, and `sweep_unfinished` finds it.
        let _ = std::fs::remove_file(&path);
    }
    named.and_then(|()| folder::sync_above(file))
}

fn failed(source: io::Error) -> object_store::Error {
    object_store::Error::Generic { store: "durable", source: Box::new(source) }
}

/// Whether nothing else is asked than a range.
fn is_of_range_alone(options: &GetOptions) -> bool {
    let GetOptions { if_match, if_none_match, if_modified_since, if_unmodified_since, range: _, version, head, extensions: _ } = options;
    let times = [if_modified_since, if_unmodified_since];
    !head && [if_match, if_none_match, version].into_iter().all(Option::is_none) && times.into_iter().all(Option::is_none)
}

/// A range's bytes, which are there.
fn read_here(file: &File, range: &Range<u64>) -> Result<GetResultPayload> {
    let mut bytes = vec![0; usize::try_from(range.end - range.start).unwrap_or_default()];
    file.read_exact_at(&mut bytes, range.start).map_err(failed)?;
    Ok(GetResultPayload::Stream(futures::stream::once(std::future::ready(Ok(bytes.into()))).boxed()))
}

impl Durable {
    /// A range of a file. `None` where it is not all there: what that means the local store says.
    fn part(&self, location: &Path, range: &Range<u64>) -> Result<Option<GetResult>> {
        let Ok(file) = File::open(self.0.path_to_filesystem(location)?) else { return Ok(None) };
        let about = file.metadata().map_err(failed)?;
        if !about.is_file() || range.start >= range.end || range.end > about.len() {
            return Ok(None);
        }
        let last_modified = about.modified().map_err(failed)?.into();
        let meta = ObjectMeta { location: location.clone(), last_modified, size: about.len(), e_tag: None, version: None };
        Ok(Some(GetResult { payload: read_here(&file, range)?, meta, range: range.clone(), attributes: Attributes::new() }))
    }

    /// Syncs a file and the two directories above it, the ones that a commit may have made.
    fn sync(&self, location: &Path) -> Result<()> {
        let file = self.0.path_to_filesystem(location)?;
        File::open(&file).and_then(|file| file.sync_all()).map_err(failed)?;
        for path in file.ancestors().take(2) {
            folder::sync_above(path).map_err(failed)?;
        }
        Ok(())
    }
}

/// A file written in parts, durable when it is complete.
#[derive(Debug)]
struct DurableUpload {
    upload: Box<dyn MultipartUpload>,
    store: Durable,
    location: Path,
}

#[async_trait]
impl MultipartUpload for DurableUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        self.upload.put_part(data)
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let result = self.upload.complete().await?;
        self.store.sync(&self.location)?;
        Ok(result)
    }

    async fn abort(&mut self) -> Result<()> {
        self.upload.abort().await
    }
}

#[async_trait]
impl ObjectStore for Durable {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let is_new = match options.mode {
            PutMode::Create => true,
            PutMode::Overwrite => false,
            PutMode::Update(_) => return self.0.put_opts(location, payload, options).await,
        };
        match put_durably(&self.0.path_to_filesystem(location)?, &payload, is_new) {
            Ok(()) => Ok(PutResult { e_tag: None, version: None }),
            Err(error) if is_new && error.kind() == io::ErrorKind::AlreadyExists => {
                Err(object_store::Error::AlreadyExists { path: location.to_string(), source: Box::new(error) })
            }
            Err(error) => Err(failed(error)),
        }
    }

    async fn put_multipart_opts(&self, location: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        // A checkpoint of more than 10 MiB; readers trust it, so it is as durable as the rest.
        let upload = self.0.put_multipart_opts(location, options).await?;
        Ok(Box::new(DurableUpload { upload, store: Self(self.0.clone()), location: location.clone() }))
    }

    /// What is small is read here and now: to have another thread open it, and one read it, and be woken by each, takes
    /// longer. A commit of the log, a footer and a bloom filter are small.
    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        if let Some(GetRange::Bounded(range)) = &options.range
            && is_of_range_alone(&options)
            && range.end.saturating_sub(range.start) <= SMALL_BYTES as u64
            && let Some(part) = self.part(location, range)?
        {
            return Ok(part);
        }
        let head = options.head;
        let mut found = self.0.get_opts(location, options).await?;
        let length = usize::try_from(found.range.end - found.range.start).unwrap_or(usize::MAX);
        if let GetResultPayload::File(file, _) = &found.payload
            && !head
            && length <= SMALL_BYTES
        {
            found.payload = read_here(file, &found.range)?;
        }
        Ok(found)
    }

    /// By the local store's own: opened once for all ranges, where the common way opens anew for each.
    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.0.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let store = Self(self.0.clone());
        let deleted = self.0.delete_stream(locations).map(move |location| {
            let location = location?;
            // What was deleted must not be there again after a power loss.
            folder::sync_above(&store.0.path_to_filesystem(&location)?).map_err(failed)?;
            Ok(location)
        });
        deleted.boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.0.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.0.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.0.copy_opts(from, to, options).await?;
        self.sync(to)
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.0.rename_opts(from, to, options).await?;
        self.sync(to)
    }
}

#[cfg(test)]
mod tests {
    use super::{LocalFileSystem, SMALL_BYTES, folder_of, make_table_folder, open_table_folder, sweep_unfinished};
    use object_store::{Error, GetOptions, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload, path::Path};

    #[tokio::test]
    async fn a_put_makes_folders_writes_over_or_refuses_and_leaves_nothing_beside() {
        let lake = tempfile::tempdir().unwrap();
        let folder = lake.path().join("lake/interactions");
        make_table_folder(&folder).unwrap();
        let store = open_table_folder(&folder).unwrap().files;
        let path = Path::from("day=2026-11-20/part-a-1.parquet");
        let create = || PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        store.put_opts(&path, "one".into(), create()).await.unwrap();
        assert!(matches!(store.put_opts(&path, "two".into(), create()).await, Err(Error::AlreadyExists { .. })));
        assert_eq!(store.get(&path).await.unwrap().bytes().await.unwrap(), "one");
        store.put(&path, PutPayload::from_static(b"three")).await.unwrap();
        assert_eq!(store.get(&path).await.unwrap().bytes().await.unwrap(), "three");
        let large: Vec<u8> = (0..=SMALL_BYTES).map(|at| at as u8).collect();
        store.put(&path, PutPayload::from(large.clone())).await.unwrap();
        for range in [3..9, 0..large.len(), 1..large.len(), large.len() - 7..large.len()] {
            let wanted = range.start as u64..range.end as u64;
            assert_eq!(store.get_range(&path, wanted.clone()).await.unwrap(), large[range.clone()], "{range:?}");
            assert_eq!(store.get_ranges(&path, &[wanted, 0..1]).await.unwrap(), [&large[range], &large[..1]]);
        }
        // Past the end, of nothing, of a file that is not there: as the local store has it.
        let local = LocalFileSystem::new_with_prefix(folder.canonicalize().unwrap()).unwrap();
        let length = large.len() as u64;
        for range in [length - 3..length + 9, length..length + 1, 9..9, length + 5..length + 6] {
            let theirs = local.get_range(&path, range.clone()).await.map_err(|error| error.to_string());
            assert_eq!(store.get_range(&path, range.clone()).await.map_err(|error| error.to_string()), theirs, "{range:?}");
        }
        assert!(matches!(store.get_range(&Path::from("day=2026-11-20/none"), 0..1).await, Err(Error::NotFound { .. })));
        let (part, whole) = (GetOptions { range: Some((3..9).into()), ..GetOptions::default() }, store.head(&path).await.unwrap());
        let part = store.get_opts(&path, part).await.unwrap();
        assert_eq!((part.range, part.meta.size, part.meta.last_modified), (3..9, length, whole.last_modified));
        assert_eq!(store.head(&path).await.unwrap().size, large.len() as u64);
        assert_eq!(std::fs::read_dir(folder.join("day=2026-11-20")).unwrap().count(), 1);
    }

    #[test]
    fn what_a_put_left_is_swept_where_it_is_ones_own() {
        let lake = tempfile::tempdir().unwrap();
        let day = lake.path().join("day=2026-11-20");
        std::fs::create_dir(&day).unwrap();
        for name in ["part-a-1.parquet", "part-a-2.parquet#1", "part-b-2.parquet#1"] {
            std::fs::write(day.join(name), "").unwrap();
        }
        assert_eq!(sweep_unfinished(lake.path(), "part-a-").unwrap(), 1);
        assert_eq!(std::fs::read_dir(&day).unwrap().count(), 2);
    }

    #[test]
    fn lake_urls() {
        assert_eq!(folder_of("file:./data/lake").unwrap().to_str(), Some("./data/lake"));
        assert_eq!(folder_of("file:///srv/lake").unwrap().to_str(), Some("/srv/lake"));
        assert_eq!(folder_of("/srv/lake").unwrap().to_str(), Some("/srv/lake"));
        assert!(folder_of("s3://bucket/x").unwrap_err().to_string().contains("not supported yet"));
        assert!(folder_of("http://x").unwrap_err().to_string().contains("neither"));
    }
}
