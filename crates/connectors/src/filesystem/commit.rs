//! Makes written files visible.

use std::collections::BTreeSet;
use std::sync::Arc;

use flott_core::sink::{Committable, Committer};
use flott_core::{Error, Result};
use flott_storage::FinishedUpload;

use super::codec::{Decoding, Encoding};
use super::compaction::{Compactor, Uncompacted};
use super::file_system::FileSystem;

/// What a writer hands to the committer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum FileCommittable {
    /// A whole, hidden file and the name that it is to have.
    File { hidden: String, visible: String },
    /// A folder whose visible files are to be replaced (`INSERT OVERWRITE`).
    Replace { folder: String, keep_prefix: String },
    /// A complete partition to be marked by this file.
    Mark { file: String },
    /// A whole object that its store does not show yet.
    Upload(FinishedUpload),
    /// A whole file, hidden until it is part of a larger one.
    Uncompacted(Uncompacted),
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
            Self::Upload(upload) => {
                let parts = upload.part_ids.len() as u64;
                encoding.number(3).text(&upload.name);
                encoding.text(&upload.upload_id).number(parts);
                for part in &upload.part_ids {
                    encoding.text(part);
                }
                &mut encoding
            }
            Self::Uncompacted(part) => encoding
                .number(4)
                .text(&part.folder)
                .text(&part.name)
                .number(part.size_bytes),
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
            3 => {
                let (name, upload_id) = (decoding.text()?, decoding.text()?);
                let parts = decoding.number()?;
                Self::Upload(FinishedUpload {
                    name,
                    upload_id,
                    part_ids: (0..parts).map(|_| decoding.text()).collect::<Result<_>>()?,
                })
            }
            4 => Self::Uncompacted(Uncompacted {
                folder: decoding.text()?,
                name: decoding.text()?,
                size_bytes: decoding.number()?,
            }),
            other => {
                let message = format!("a committable of unknown kind {other}");
                return Err(Error::internal(message));
            }
        })
    }
}

/// Makes files visible. Doing it twice does no harm.
pub(super) struct FileCommitter {
    pub files: Arc<dyn FileSystem>,
    pub compactor: Compactor,
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
                self.files.clear(folder, keep_prefix)?;
            }
        }
        self.files.publish(&decoded)?;
        let parts = decoded.iter().filter_map(|committable| match committable {
            FileCommittable::Uncompacted(part) => Some(part.clone()),
            _ => None,
        });
        let parts: Vec<Uncompacted> = parts.collect();
        self.compactor.compact(parts)?;
        // A partition is marked when all of its files are visible.
        for committable in &decoded {
            if let FileCommittable::Mark { file } = committable {
                self.files.mark(file)?;
            }
        }
        Ok(())
    }
}
