//! Makes written files visible.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::Path;

use flott_core::sink::{Committable, Committer};
use flott_core::{Error, Result};

use super::codec::{Decoding, Encoding};
use super::path::is_hidden;

/// What a writer hands to the committer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum FileCommittable {
    /// A whole, hidden file and the name that it is to have.
    File { hidden: String, visible: String },
    /// A folder whose visible files are to be replaced (`INSERT OVERWRITE`).
    Replace { folder: String, keep_prefix: String },
    /// A complete partition to be marked by this file.
    Mark { file: String },
}

impl FileCommittable {
    pub fn encode(&self) -> Committable {
        let mut encoding = Encoding::default();
        match self {
            Self::File { hidden, visible } => encoding.number(0).text(hidden).text(visible),
            Self::Replace {
                folder,
                keep_prefix,
            } => encoding.number(1).text(folder).text(keep_prefix),
            Self::Mark { file } => encoding.number(2).text(file),
        };
        Committable { bytes: encoding.0 }
    }

    fn decode(committable: &Committable) -> Result<Self> {
        let mut decoding = Decoding(&committable.bytes);
        Ok(match decoding.number()? {
            0 => Self::File {
                hidden: decoding.text()?,
                visible: decoding.text()?,
            },
            1 => Self::Replace {
                folder: decoding.text()?,
                keep_prefix: decoding.text()?,
            },
            2 => Self::Mark {
                file: decoding.text()?,
            },
            other => {
                let message = format!("a committable of unknown kind {other}");
                return Err(Error::internal(message));
            }
        })
    }
}

/// Renames hidden files. Doing it twice does no harm.
#[derive(Debug, Default)]
pub(super) struct FileCommitter;

fn publish(hidden: &str, visible: &str) -> Result<()> {
    match fs::rename(hidden, visible) {
        Ok(()) => Ok(()),
        Err(_) if Path::new(visible).exists() => Ok(()),
        Err(error) => Err(Error::io(hidden, &error)),
    }
}

/// Removes what stood in `folder` before this statement, below it too; hidden files stay.
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

fn sync_folder(folder: &Path) -> Result<()> {
    let synced = File::open(folder).and_then(|f| f.sync_all());
    synced.map_err(|e| Error::io(folder.display(), &e))
}

impl Committer for FileCommitter {
    fn commit(&mut self, committables: Vec<Committable>) -> Result<()> {
        let decoded = committables.iter().map(FileCommittable::decode);
        let decoded = decoded.collect::<Result<Vec<_>>>()?;
        let mut cleared = BTreeSet::new();
        for committable in &decoded {
            if let FileCommittable::Replace {
                folder,
                keep_prefix,
            } = committable
                && cleared.insert(folder.clone())
            {
                clear(Path::new(folder), keep_prefix)?;
            }
        }
        let mut folders = BTreeSet::new();
        for committable in &decoded {
            if let FileCommittable::File { hidden, visible } = committable {
                publish(hidden, visible)?;
                folders.extend(Path::new(visible).parent().map(Path::to_path_buf));
            }
        }
        for folder in &folders {
            sync_folder(folder)?;
        }
        // A partition is marked when all of its files are visible.
        for committable in &decoded {
            if let FileCommittable::Mark { file } = committable {
                File::create(file).map_err(|e| Error::io(file, &e))?;
            }
        }
        Ok(())
    }
}
