//! Writing files so that they are whole or not there, also after a loss of power: the bytes are
//! forced to the disk before the file gets its name, and the name before anybody is told.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Seek, SeekFrom, Write};
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use flott_core::{Error, Result};
use object_store::path::Path;

use crate::direct;
use crate::io::wait_for_blocking;

/// Files are written by so many threads at a time.
const NUM_PARALLEL: usize = 8;

/// The folder of a local store.
#[derive(Debug, Clone)]
pub(crate) struct LocalFolder {
    root: Arc<FilePath>,
}

impl LocalFolder {
    pub fn new(root: &FilePath) -> Self {
        Self { root: root.into() }
    }

    fn file(&self, path: &Path) -> PathBuf {
        let parts = path.parts();
        parts.fold(self.root.to_path_buf(), |file, part| {
            file.join(part.as_ref())
        })
    }

    /// Writes files; stops at the first that fails.
    ///
    /// # Errors
    /// An external error that names the file.
    pub fn put_all(&self, objects: Vec<(Path, Bytes)>) -> Result<()> {
        let files = objects
            .into_iter()
            .map(|(path, bytes)| (self.file(&path), bytes));
        let files: Vec<(PathBuf, Bytes)> = files.collect();
        let mut folders = BTreeSet::new();
        for (file, _) in &files {
            folders.extend(make_folder(&self.root, file)?);
        }
        let num_each = files.len().div_ceil(NUM_PARALLEL).max(1);
        let mut parts = Vec::new();
        let mut files = files.into_iter().peekable();
        while files.peek().is_some() {
            parts.push(files.by_ref().take(num_each).collect::<Vec<_>>());
        }
        wait_for_blocking(parts, |part: Vec<(PathBuf, Bytes)>| {
            part.iter().try_for_each(|(file, bytes)| {
                let temporary = write_temporary(file, bytes)?;
                fs::rename(&temporary, file).map_err(|e| failed(file, &e))
            })
        })?;
        Self::sync(&folders)
    }

    /// Writes one file, and gives the folders that hold a new name then: they have to be forced to
    /// the disk, by [`LocalFolder::sync`], before the file counts as written.
    ///
    /// # Errors
    /// An external error that names the file.
    pub fn put_unsynced(&self, path: &Path, bytes: &[u8]) -> Result<Vec<PathBuf>> {
        let file = self.file(path);
        let folders = make_folder(&self.root, &file)?;
        let temporary = write_temporary(&file, bytes)?;
        fs::rename(&temporary, &file).map_err(|e| failed(&file, &e))?;
        Ok(folders)
    }

    /// Forces the names in these folders to the disk.
    ///
    /// # Errors
    /// An external error that names the folder.
    pub fn sync(folders: &BTreeSet<PathBuf>) -> Result<()> {
        folders.iter().try_for_each(|folder| sync_folder(folder))
    }

    /// Writes a file unless there is one of this name already; gives whether it did.
    ///
    /// # Errors
    /// An external error that names the file.
    pub fn put_new(&self, path: &Path, bytes: Bytes) -> Result<bool> {
        let file = self.file(path);
        let folders = make_folder(&self.root, &file)?;
        let temporary = write_temporary(&file, &bytes)?;
        // A link, unlike a renaming, does not replace what is there.
        let linked = fs::hard_link(&temporary, &file);
        fs::remove_file(&temporary).map_err(|e| failed(&temporary, &e))?;
        match linked {
            Ok(()) => {
                folders.iter().try_for_each(|folder| sync_folder(folder))?;
                Ok(true)
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(failed(&file, &error)),
        }
    }

    /// Removes what was left in a folder by writes that were never done, and the folder if nothing
    /// else is in it. `is_left` is asked with the name that a file was to have and when it was last
    /// written, in ms since 1970.
    ///
    /// # Errors
    /// An external error that names the file.
    pub fn remove_unfinished(
        &self,
        path: &Path,
        is_left: impl Fn(&str, i64) -> bool,
    ) -> Result<()> {
        let folder = self.file(path);
        let entries = match fs::read_dir(&folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            entries => entries.map_err(|e| failed(&folder, &e))?,
        };
        for entry in entries {
            let entry = entry.map_err(|e| failed(&folder, &e))?;
            let name = entry.file_name();
            let Some((wanted, number)) = name.to_str().and_then(|n| n.rsplit_once('#')) else {
                continue;
            };
            let is_temporary = number.bytes().all(|b| b.is_ascii_digit());
            let removed = match modified_ms(&entry.path()) {
                Ok(time_ms) if is_temporary && is_left(wanted, time_ms) => {
                    fs::remove_file(entry.path())
                }
                other => other.map(drop),
            };
            match removed {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(failed(&entry.path(), &error));
                }
                _ => {}
            }
        }
        if folder != *self.root {
            // It stays where it has files; who writes into it makes it anew.
            let _ = fs::remove_dir(&folder);
        }
        Ok(())
    }
}

/// When a file was last written, in ms since 1970.
fn modified_ms(file: &FilePath) -> std::io::Result<i64> {
    let time = fs::metadata(file)?.modified()?;
    let since = time.duration_since(std::time::UNIX_EPOCH);
    Ok(since.map_or(0, |since| since.as_millis() as i64))
}

/// Makes the folder of a file, and gives every folder that holds a new name then.
fn make_folder(root: &FilePath, file: &FilePath) -> Result<Vec<PathBuf>> {
    let Some(folder) = file.parent() else {
        return Ok(Vec::new());
    };
    let mut changed = vec![folder.to_path_buf()];
    let mut missing = folder;
    while !missing.exists() && missing.starts_with(root) {
        let Some(parent) = missing.parent() else {
            break;
        };
        changed.push(parent.to_path_buf());
        missing = parent;
    }
    fs::create_dir_all(folder).map_err(|e| failed(folder, &e))?;
    Ok(changed)
}

/// The bytes in a file beside, forced to the disk. Listings of the store leave such names out.
fn write_temporary(file: &FilePath, bytes: &[u8]) -> Result<PathBuf> {
    static NUM_FILES: AtomicU64 = AtomicU64::new(0);
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    loop {
        let number = NUM_FILES.fetch_add(1, Ordering::Relaxed);
        let temporary = file.with_file_name(format!("{name}#{number}"));
        let opened = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&temporary);
        let mut open = match opened {
            Ok(open) => open,
            // Left by a process that was killed.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => continue,
            // The folder has gone with its last file in the meantime.
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let folder = file.parent().unwrap_or(file);
                fs::create_dir_all(folder).map_err(|e| failed(folder, &e))?;
                continue;
            }
            Err(error) => return Err(failed(&temporary, &error)),
        };
        let written = write_whole(&temporary, &mut open, bytes);
        if let Err(error) = written {
            // What is there is not whole.
            let _ = fs::remove_file(&temporary);
            return Err(failed(file, &error));
        }
        return Ok(temporary);
    }
}

fn write_whole(file: &FilePath, open: &mut File, bytes: &[u8]) -> std::io::Result<()> {
    if bytes.len() >= direct::MIN_DIRECT_BYTES {
        let num_written = direct::write(file, bytes)?;
        open.seek(SeekFrom::Start(num_written as u64))?;
        open.write_all(&bytes[num_written..])?;
    } else {
        open.write_all(bytes)?;
    }
    open.sync_data()
}

fn sync_folder(folder: &FilePath) -> Result<()> {
    match File::open(folder).and_then(|f| f.sync_all()) {
        Ok(()) => Ok(()),
        // Emptied and removed by somebody else: what was in it is not wanted.
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed(folder, &error)),
    }
}

fn failed(file: &FilePath, error: &std::io::Error) -> Error {
    Error::external("STORAGE", format!("{}: {error}", file.display())).retryable()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &FilePath) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let names = entries.map(|e| e.unwrap().file_name().to_string_lossy().into_owned());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }

    #[test]
    fn files_appear_whole_and_leave_nothing_beside() -> Result<()> {
        let folder = tempfile::tempdir().unwrap();
        let local = LocalFolder::new(folder.path());
        let objects = (0..20).map(|i| (Path::from(format!("a/b/{i}")), Bytes::from(vec![i; 9])));
        local.put_all(objects.collect())?;
        assert_eq!(names(&folder.path().join("a/b")).len(), 20);
        assert_eq!(fs::read(folder.path().join("a/b/7")).unwrap(), [7; 9]);
        local.put_all(vec![(Path::from("a/b/7"), Bytes::from_static(b"x"))])?;
        assert_eq!(fs::read(folder.path().join("a/b/7")).unwrap(), b"x");
        assert!(local.put_new(&Path::from("c/d"), Bytes::from_static(b"1"))?);
        assert!(!local.put_new(&Path::from("c/d"), Bytes::from_static(b"2"))?);
        assert_eq!(fs::read(folder.path().join("c/d")).unwrap(), b"1");
        assert_eq!(names(&folder.path().join("c")), ["d"]);
        Ok(())
    }

    #[test]
    fn what_a_killed_process_left_is_removed() -> Result<()> {
        let folder = tempfile::tempdir().unwrap();
        for name in ["1-2#7", "1-2", "2-2#8", "1-3#x"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        let local = LocalFolder::new(folder.path());
        local.remove_unfinished(&Path::from(""), |name, _| name.starts_with("1-"))?;
        assert_eq!(names(folder.path()), ["1-2", "1-3#x", "2-2#8"]);
        local.remove_unfinished(&Path::from(""), |_, time_ms| time_ms < 1_000_000)?;
        assert_eq!(names(folder.path()), ["1-2", "1-3#x", "2-2#8"]);
        // A folder goes with the last of it.
        fs::create_dir(folder.path().join("a")).unwrap();
        fs::write(folder.path().join("a/b#0"), "").unwrap();
        local.remove_unfinished(&Path::from("a"), |_, time_ms| time_ms > 1_000_000)?;
        assert_eq!(names(folder.path()), ["1-2", "1-3#x", "2-2#8"]);
        local.remove_unfinished(&Path::from("nowhere"), |_, _| true)
    }

    #[test]
    fn a_file_in_the_place_of_a_folder_is_named() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a"), "no folder").unwrap();
        let local = LocalFolder::new(folder.path());
        let error = local.put_all(vec![(Path::from("a/b"), Bytes::new())]);
        let error = error.unwrap_err();
        assert_eq!(error.code(), "STORAGE");
        assert!(error.message().contains("/a"), "{error}");
    }
}
