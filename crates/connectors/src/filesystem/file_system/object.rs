//! Files in an object store: uploads in parts that appear when they are completed.

use std::io::Read;
use std::sync::Arc;

use arrow::buffer::Buffer;
use flott_core::format::FileInput;
use flott_core::options::Options;
use flott_core::{Error, Result};
use flott_storage::{ObjectReader, StoragePlace, Upload};
use glob::{MatchOptions, Pattern};

use super::{FileRef, FileSystem, PendingFile};
use crate::filesystem::commit::FileCommittable;
use crate::filesystem::listing::FoundFile;
use crate::filesystem::path::is_hidden;

/// Folders end at slashes: `*` matches none.
const BY_FOLDER: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: false,
};

/// Whether a path leads to an object store.
pub(in crate::filesystem) fn is_object_uri(path: &str) -> bool {
    ["s3://", "s3a://", "s3p://"]
        .iter()
        .any(|scheme| path.starts_with(scheme))
}

/// A bucket of an object store.
#[derive(Debug)]
pub(in crate::filesystem) struct ObjectFiles {
    bucket: StoragePlace,
    /// `s3://bucket`.
    root: String,
}

impl ObjectFiles {
    /// The bucket that `uri` leads to.
    ///
    /// # Errors
    /// A user error for wrong options.
    pub fn new(uri: &str, config: &Options) -> Result<Self> {
        let scheme_end = uri.find("://").map_or(0, |at| at + 3);
        let bucket_end = uri[scheme_end..]
            .find('/')
            .map_or(uri.len(), |at| at + scheme_end);
        let root = uri[..bucket_end].to_string();
        Ok(Self {
            bucket: StoragePlace::open(&root, config)?,
            root,
        })
    }

    /// A path below the bucket.
    fn name<'a>(&self, path: &'a str) -> &'a str {
        let below = path.strip_prefix(self.root.as_str()).unwrap_or(path);
        below.trim_matches('/')
    }
}

impl FileSystem for ObjectFiles {
    fn list(&self, path: &str) -> Result<Vec<FoundFile>> {
        let name = self.name(path);
        let place = |object: &str| format!("{}/{object}", self.root);
        let named = match name.is_empty() {
            true => None,
            false => self.bucket.stat(name)?,
        };
        if let Some(object) = named {
            return Ok(vec![FoundFile {
                path: place(name),
                size_bytes: object.size_bytes,
                modified_ms: object.modified_ms,
            }]);
        }
        let wrong = |e: glob::PatternError| {
            let message = format!("option 'path' is '{path}', no good pattern: {e}");
            Error::user("INVALID_OPTION", message)
        };
        let pattern = Pattern::new(name).map_err(wrong)?;
        // The folder above the first part with a wild card is listed.
        let plain = name.find(['*', '?', '[']).unwrap_or(name.len());
        let folder = match plain == name.len() {
            true => name,
            false => name[..plain].rsplit_once('/').map_or("", |(f, _)| f),
        };
        let mut found = Vec::new();
        let objects = self.bucket.list(folder)?;
        // A folder is there as long as something is in it, hidden or not.
        if objects.is_empty() && plain == name.len() && !name.is_empty() {
            let message = format!("path '{path}' does not exist; check the option 'path'");
            return Err(Error::user("FILE_NOT_FOUND", message));
        }
        for object in objects {
            if is_below(&object.name, &pattern) {
                found.push(FoundFile {
                    path: place(&object.name),
                    size_bytes: object.size_bytes,
                    modified_ms: object.modified_ms,
                });
            }
        }
        Ok(found)
    }

    fn open_stream(&self, file: FileRef<'_>, offset: u64) -> Result<Box<dyn Read + Send>> {
        let name = self.name(file.path);
        let reader = ObjectReader::new(&self.bucket, name, file.size_bytes, offset)?;
        Ok(Box::new(reader))
    }

    fn open_file(&self, file: FileRef<'_>) -> Result<Arc<dyn FileInput>> {
        Ok(Arc::new(ObjectFile {
            size_bytes: file.size_bytes,
            bucket: self.bucket.clone(),
            name: self.name(file.path).to_string(),
        }))
    }

    fn create(&self, folder: &str, name: &str) -> Result<Box<dyn PendingFile>> {
        let name = format!("{}/{name}", self.name(folder));
        Ok(Box::new(PendingObject(self.bucket.upload(&name)?)))
    }

    fn publish(&self, files: &[FileCommittable]) -> Result<()> {
        files.iter().try_for_each(|file| match file {
            FileCommittable::Upload(upload) => self.bucket.complete_upload(upload),
            _ => Ok(()),
        })
    }

    fn discard(&self, file: &FileCommittable) -> Result<()> {
        match file {
            FileCommittable::Upload(upload) => self.bucket.abort_upload(upload),
            FileCommittable::Uncompacted(part) => self.remove(&[part.path()]),
            _ => Ok(()),
        }
    }

    fn clear(&self, folder: &str, keep_prefix: &str) -> Result<()> {
        let is_old = |name: &str| {
            let file = name.rsplit('/').next().unwrap_or(name);
            !is_hidden(file) && !file.starts_with(keep_prefix)
        };
        let objects = self.bucket.list(self.name(folder))?;
        let names = objects.into_iter().map(|o| o.name).filter(|n| is_old(n));
        self.bucket.delete_all(names.collect())
    }

    fn exists(&self, path: &str) -> Result<bool> {
        Ok(self.bucket.stat(self.name(path))?.is_some())
    }

    fn remove(&self, paths: &[String]) -> Result<()> {
        let names = paths.iter().map(|path| self.name(path).to_string());
        self.bucket.delete_all(names.collect())
    }

    fn mark(&self, path: &str) -> Result<()> {
        self.bucket.put(self.name(path), Vec::new().into())
    }
}

/// Whether an object, or a folder above it, matches; what is hidden below the match does not count.
fn is_below(name: &str, pattern: &Pattern) -> bool {
    let ends = name.match_indices('/').map(|(at, _)| at);
    ends.chain([name.len()]).any(|end| {
        let matches = pattern.as_str().is_empty() || pattern.matches_with(&name[..end], BY_FOLDER);
        matches && !name[end..].split('/').any(is_hidden)
    })
}

/// # Errors
/// A user error when a file ends before the range does.
pub(super) fn check_range(path: &str, size: u64, offset: u64, length: usize) -> Result<()> {
    let end = offset.checked_add(length as u64);
    if end.is_some_and(|end| end <= size) {
        return Ok(());
    }
    let message = format!(
        "file '{path}' has {size} bytes, {length} are needed from byte {offset} on; is it cut off?"
    );
    Err(Error::user("MALFORMED_FILE", message))
}

/// An object, to be read at any place.
struct ObjectFile {
    bucket: StoragePlace,
    name: String,
    size_bytes: u64,
}

impl FileInput for ObjectFile {
    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn read_range(&self, offset: u64, length: usize) -> Result<Buffer> {
        check_range(&self.name, self.size_bytes, offset, length)?;
        let range = offset..offset + length as u64;
        Ok(Buffer::from(self.bucket.get_range(&self.name, range)?))
    }
}

/// An object being uploaded.
struct PendingObject(Upload);

impl PendingFile for PendingObject {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.0.write(bytes)
    }

    fn finish(self: Box<Self>) -> Result<FileCommittable> {
        Ok(FileCommittable::Upload(self.0.finish()?))
    }

    fn abort(self: Box<Self>) -> Result<()> {
        self.0.abort()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_objects_and_folders() {
        let is = |name: &str, pattern: &str| is_below(name, &Pattern::new(pattern).unwrap());
        assert!(is("in/a.csv", "in"));
        assert!(is("in/a.csv", "in/*.csv"));
        assert!(is("in/x/a.csv", "in/*"));
        assert!(!is("in/x/a.csv", "in/*.csv"));
        assert!(!is("inner/a.csv", "in"));
        assert!(!is("in/_SUCCESS", "in"));
        assert!(!is("in/.hidden/a.csv", "in"));
        assert!(is("_in/a.csv", "_in"));
    }
}
