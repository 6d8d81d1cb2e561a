//! Files on a local disk: hidden while they are written, visible by one rename.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;

use arrow::buffer::Buffer;
use flott_core::format::FileInput;
use flott_core::{Error, Result};
use parking_lot::Mutex;

use super::{FileRef, FileSystem, PendingFile};
use crate::filesystem::commit::FileCommittable;
use crate::filesystem::listing::FoundFile;
use crate::filesystem::path::is_hidden;

/// The local disk.
#[derive(Debug)]
pub(in crate::filesystem) struct LocalFiles;

fn failed(path: &str, error: &std::io::Error) -> Error {
    match error.kind() {
        ErrorKind::NotFound => Error::user(
            "FILE_NOT_FOUND",
            format!("file '{path}' does not exist any more"),
        ),
        _ => Error::io(path, error),
    }
}

impl FileSystem for LocalFiles {
    fn list(&self, path: &str) -> Result<Vec<FoundFile>> {
        let mut found = Vec::new();
        let is_glob = path.contains(['*', '?', '[']) && !Path::new(path).exists();
        if !is_glob {
            add(Path::new(path), &mut found)?;
            return Ok(found);
        }
        let wrong = |e: glob::PatternError| {
            let message = format!("option 'path' is '{path}', no good pattern: {e}");
            Error::user("INVALID_OPTION", message)
        };
        for entry in glob::glob(path).map_err(wrong)? {
            let path = entry.map_err(|e| Error::io(e.path().display(), e.error()))?;
            add(&path, &mut found)?;
        }
        Ok(found)
    }

    fn open_stream(&self, file: FileRef<'_>, offset: u64) -> Result<Box<dyn Read + Send>> {
        let path = file.path;
        let mut file = File::open(path).map_err(|e| failed(path, &e))?;
        file.seek(SeekFrom::Start(offset))
            .map_err(|e| failed(path, &e))?;
        Ok(Box::new(file))
    }

    fn open_file(&self, file: FileRef<'_>) -> Result<Arc<dyn FileInput>> {
        let path = file.path;
        let file = File::open(path).map_err(|e| failed(path, &e))?;
        Ok(Arc::new(LocalFile {
            path: path.to_string(),
            size_bytes: file.metadata().map_err(|e| failed(path, &e))?.len(),
            file: Mutex::new(file),
        }))
    }

    fn create(&self, folder: &str, name: &str) -> Result<Box<dyn PendingFile>> {
        fs::create_dir_all(folder).map_err(|e| Error::io(folder, &e))?;
        let hidden = format!("{folder}/.{name}.inprogress");
        let file = File::create(&hidden).map_err(|e| Error::io(&hidden, &e))?;
        Ok(Box::new(HiddenFile {
            file,
            hidden,
            visible: format!("{folder}/{name}"),
        }))
    }

    fn publish(&self, files: &[FileCommittable]) -> Result<()> {
        let mut folders = BTreeSet::new();
        for file in files {
            if let FileCommittable::File { hidden, visible } = file {
                rename(hidden, visible)?;
                folders.extend(Path::new(visible).parent().map(Path::to_path_buf));
            }
        }
        folders.iter().try_for_each(|folder| {
            let synced = File::open(folder).and_then(|f| f.sync_all());
            synced.map_err(|e| Error::io(folder.display(), &e))
        })
    }

    fn discard(&self, file: &FileCommittable) -> Result<()> {
        match file {
            FileCommittable::File { hidden, .. } => {
                fs::remove_file(hidden).map_err(|e| Error::io(hidden, &e))
            }
            FileCommittable::Uncompacted(part) => self.remove(&[part.path()]),
            _ => Ok(()),
        }
    }

    fn clear(&self, folder: &str, keep_prefix: &str) -> Result<()> {
        clear(Path::new(folder), keep_prefix)
    }

    fn exists(&self, path: &str) -> Result<bool> {
        fs::exists(path).map_err(|e| Error::io(path, &e))
    }

    fn remove(&self, paths: &[String]) -> Result<()> {
        paths
            .iter()
            .try_for_each(|path| match fs::remove_file(path) {
                Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::io(path, &error)),
                _ => Ok(()),
            })
    }

    fn mark(&self, path: &str) -> Result<()> {
        File::create(path)
            .map(drop)
            .map_err(|e| Error::io(path, &e))
    }
}

fn add(path: &Path, found: &mut Vec<FoundFile>) -> Result<()> {
    let failed = |error: std::io::Error| match error.kind() {
        ErrorKind::NotFound => {
            let message = format!(
                "path '{}' does not exist; check the option 'path'",
                path.display()
            );
            Error::user("FILE_NOT_FOUND", message)
        }
        _ => Error::io(path.display(), &error),
    };
    let metadata = fs::metadata(path).map_err(failed)?;
    if metadata.is_dir() {
        for entry in fs::read_dir(path).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if is_hidden(&entry.file_name().to_string_lossy()) {
                continue;
            }
            match add(&entry.path(), found) {
                // Gone since the folder was listed, as when a sink renames it.
                Err(error) if error.code() == "FILE_NOT_FOUND" => {}
                other => other?,
            }
        }
        return Ok(());
    }
    let modified = metadata.modified().ok();
    let since_epoch = modified.and_then(|m| m.duration_since(std::time::UNIX_EPOCH).ok());
    found.push(FoundFile {
        path: path.to_string_lossy().into_owned(),
        size_bytes: metadata.len(),
        modified_ms: since_epoch.map_or(0, |d| d.as_millis() as i64),
    });
    Ok(())
}

fn rename(hidden: &str, visible: &str) -> Result<()> {
    match fs::rename(hidden, visible) {
        Ok(()) => Ok(()),
        Err(_) if Path::new(visible).exists() => Ok(()),
        Err(error) => Err(Error::io(hidden, &error)),
    }
}

fn clear(folder: &Path, keep_prefix: &str) -> Result<()> {
    let failed = |error| Error::io(folder.display(), &error);
    if !folder.is_dir() {
        return Ok(());
    }
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.path().is_dir() {
            clear(&entry.path(), keep_prefix)?;
        } else if !is_hidden(&name) && !name.starts_with(keep_prefix) {
            fs::remove_file(entry.path()).map_err(failed)?;
        }
    }
    Ok(())
}

/// A file being written under a name that begins with a dot.
struct HiddenFile {
    file: File,
    hidden: String,
    visible: String,
}

impl PendingFile for HiddenFile {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let written = self.file.write_all(bytes);
        written.map_err(|e| Error::io(&self.hidden, &e))
    }

    fn finish(self: Box<Self>) -> Result<FileCommittable> {
        let synced = self.file.sync_all();
        synced.map_err(|e| Error::io(&self.hidden, &e))?;
        Ok(FileCommittable::File {
            hidden: self.hidden,
            visible: self.visible,
        })
    }

    fn abort(self: Box<Self>) -> Result<()> {
        fs::remove_file(&self.hidden).map_err(|e| Error::io(&self.hidden, &e))
    }
}

/// A local file, open for reading at any place.
struct LocalFile {
    path: String,
    size_bytes: u64,
    file: Mutex<File>,
}

impl FileInput for LocalFile {
    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn read_range(&self, offset: u64, length: usize) -> Result<Buffer> {
        super::object::check_range(&self.path, self.size_bytes, offset, length)?;
        let mut bytes = vec![0; length];
        let mut file = self.file.lock();
        file.seek(SeekFrom::Start(offset))
            .and_then(|_| file.read_exact(&mut bytes))
            .map_err(|error| Error::io(&self.path, &error))?;
        Ok(Buffer::from_vec(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_beyond_the_end_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::fs::write(&path, b"one\ntwo\nthree\n").unwrap();
        let found = FileRef {
            path: &path.to_string_lossy(),
            size_bytes: 14,
        };
        let file = LocalFiles.open_file(found).unwrap();
        assert_eq!(file.read_range(4, 3).unwrap().as_slice(), b"two");
        assert!(file.read_range(4, usize::MAX).is_err());
        assert!(file.read_range(14, 1).is_err());
    }
}
