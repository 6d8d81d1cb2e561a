//! Where a table's files stand: a local disk, or an object store.

mod local;
mod object;

use std::fmt::Debug;
use std::io::Read;
use std::sync::Arc;

use flott_core::Result;
use flott_core::format::FileInput;
use flott_core::options::Options;

use super::commit::FileCommittable;
use super::listing::FoundFile;

pub(super) use local::LocalFiles;
pub(super) use object::{ObjectFiles, is_object_uri};

/// Reading and writing files. Paths are whole: local ones, or URIs of an object store.
pub(super) trait FileSystem: Debug + Send + Sync {
    /// The files of a file, a folder or a pattern, in no order. What is hidden is left out, unless
    /// the path names it.
    ///
    /// # Errors
    /// A user error when nothing stands at the path; an external one when it cannot be read.
    fn list(&self, path: &str) -> Result<Vec<FoundFile>>;

    /// The bytes from `offset` on of a file that had this size when it was found.
    ///
    /// # Errors
    /// A user error when the file is gone; where that shows later only, the stream's.
    fn open_stream(&self, file: FileRef<'_>, offset: u64) -> Result<Box<dyn Read + Send>>;

    /// A file to be read at any place.
    ///
    /// # Errors
    /// As for [`FileSystem::open_stream`].
    fn open_file(&self, file: FileRef<'_>) -> Result<Arc<dyn FileInput>>;

    /// Begins a file of this name that nobody sees yet.
    fn create(&self, folder: &str, name: &str) -> Result<Box<dyn PendingFile>>;

    /// Makes written files visible, each by one step. Doing it twice does no harm.
    fn publish(&self, files: &[FileCommittable]) -> Result<()>;

    /// Removes a written file that will not be made visible.
    fn discard(&self, file: &FileCommittable) -> Result<()>;

    /// Removes what stood in `folder` before this statement, below it too; hidden files stay.
    fn clear(&self, folder: &str, keep_prefix: &str) -> Result<()>;

    /// Whether a visible file of this path is there.
    fn exists(&self, path: &str) -> Result<bool>;

    /// Removes visible files; those that are not there are no error.
    fn remove(&self, paths: &[String]) -> Result<()>;

    /// Makes an empty file.
    fn mark(&self, path: &str) -> Result<()>;
}

/// A file that was found.
#[derive(Debug, Clone, Copy)]
pub(super) struct FileRef<'a> {
    pub path: &'a str,
    pub size_bytes: u64,
}

/// A file being written.
pub(super) trait PendingFile: Send {
    fn write(&mut self, bytes: &[u8]) -> Result<()>;

    /// Ends the file: all of it is safe afterwards. Gives what makes it visible.
    fn finish(self: Box<Self>) -> Result<FileCommittable>;

    fn abort(self: Box<Self>) -> Result<()>;
}

/// The file system of a table's `path`, and the path as that file system takes it. `config` says
/// how S3 is reached.
///
/// # Errors
/// A user error for an unknown scheme or wrong options.
pub(super) fn file_system(path: &str, config: &Options) -> Result<(Arc<dyn FileSystem>, String)> {
    if object::is_object_uri(path) {
        return Ok((Arc::new(ObjectFiles::new(path, config)?), path.to_string()));
    }
    let path = super::path::local_path(path)?;
    Ok((Arc::new(LocalFiles), path))
}
