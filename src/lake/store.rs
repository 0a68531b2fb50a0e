//! Owns the store that the lake lies on: local files that survive a power loss.
//!
//! Knows `object_store`, whose local store (0.13) never syncs. Promises: what `put` returned for is
//! on disk, file and directory entry both; every file is its owner's alone to read. Object stores
//! elsewhere come later and are refused with a clear word.

use async_trait::async_trait;
use futures::stream::BoxStream;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, RenameOptions, Result,
};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use url::Url;

/// Why the lake's place cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("lake.url {0:?} is neither a folder (`file:./folder`) nor `s3://bucket/prefix`")]
    NoPlace(String),
    #[error("lake.url {0:?}: object stores are not supported yet; use a folder, `file:./folder`")]
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

/// A table's folder, opened.
pub struct TableFolder {
    /// The table's own files, by paths below the folder.
    pub files: Arc<dyn ObjectStore>,
    /// The whole file system, by paths from its root: what the Delta library wants beside a URL.
    pub root: Arc<dyn ObjectStore>,
    pub url: Url,
}

/// Opens (and makes, where missing) the folder of one table.
pub fn open_table_folder(folder: &std::path::Path) -> std::result::Result<TableFolder, StoreError> {
    let failed = |reason| StoreError::Folder { path: folder.display().to_string(), reason };
    std::fs::create_dir_all(folder).map_err(failed)?;
    rustix::fs::chmod(folder, rustix::fs::Mode::RWXU).map_err(|error| failed(error.into()))?;
    let folder = folder.canonicalize().map_err(failed)?;
    let url = Url::from_directory_path(&folder).map_err(|()| StoreError::NoPlace(folder.display().to_string()))?;
    let files = Arc::new(Durable(LocalFileSystem::new_with_prefix(&folder)?));
    Ok(TableFolder { files, root: Arc::new(Durable(LocalFileSystem::new())), url })
}

/// A local store whose writes are durable when they return.
#[derive(Debug)]
struct Durable(LocalFileSystem);

impl fmt::Display for Durable {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "durable {}", self.0)
    }
}

impl Durable {
    /// Syncs a file and the two directories above it, the ones that a commit may have made.
    fn sync(&self, location: &Path) -> Result<()> {
        let file = self.0.path_to_filesystem(location)?;
        let failed = |source: std::io::Error| object_store::Error::Generic { store: "durable", source: Box::new(source) };
        std::fs::File::open(&file).and_then(|file| file.sync_all()).map_err(failed)?;
        for folder in file.ancestors().skip(1).take(2) {
            std::fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
        }
        Ok(())
    }
}

#[async_trait]
impl ObjectStore for Durable {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let result = self.0.put_opts(location, payload, options).await?;
        self.sync(location)?;
        Ok(result)
    }

    async fn put_multipart_opts(&self, location: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        // Nothing here writes in parts; a checkpoint may. It holds nothing that the log does not.
        self.0.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.0.get_opts(location, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.0.delete_stream(locations)
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
    use super::folder_of;

    #[test]
    fn lake_urls() {
        assert_eq!(folder_of("file:./data/lake").unwrap().to_str(), Some("./data/lake"));
        assert_eq!(folder_of("file:///srv/lake").unwrap().to_str(), Some("/srv/lake"));
        assert_eq!(folder_of("/srv/lake").unwrap().to_str(), Some("/srv/lake"));
        assert!(folder_of("s3://bucket/x").unwrap_err().to_string().contains("not supported yet"));
        assert!(folder_of("http://x").unwrap_err().to_string().contains("neither"));
    }
}
