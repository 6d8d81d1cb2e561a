//! Opens files as a stream of what is in them, decompressed by the file's name.

use std::io::{BufReader, Read};

use flott_core::{Error, Result};

use super::file_system::{FileRef, FileSystem};

/// How a file is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Compression {
    Gzip,
    Deflate,
    Bzip2,
    Xz,
    Zstd,
}

impl Compression {
    /// By the extensions that Flink knows.
    fn of(path: &str) -> Option<Self> {
        let (_, extension) = path.rsplit_once('.')?;
        Some(match extension {
            "gz" | "gzip" => Self::Gzip,
            "deflate" => Self::Deflate,
            "bz2" => Self::Bzip2,
            "xz" => Self::Xz,
            "zst" => Self::Zstd,
            _ => return None,
        })
    }

    fn reader(self, file: Box<dyn Read + Send>) -> std::io::Result<Box<dyn Read + Send>> {
        Ok(match self {
            Self::Gzip => Box::new(flate2::read::MultiGzDecoder::new(file)),
            Self::Deflate => Box::new(flate2::read::ZlibDecoder::new(file)),
            Self::Bzip2 => Box::new(bzip2::read::MultiBzDecoder::new(BufReader::new(file))),
            Self::Xz => Box::new(liblzma::read::XzDecoder::new_multi_decoder(file)),
            Self::Zstd => Box::new(zstd::stream::read::Decoder::new(file)?),
        })
    }
}

/// Whether the file's name says that it is compressed, so that it cannot be cut.
pub(super) fn is_compressed(path: &str) -> bool {
    Compression::of(path).is_some()
}

/// Opens a file for reading from `offset` of its decompressed content.
pub(super) fn open_stream(
    files: &dyn FileSystem,
    file: FileRef<'_>,
    offset: u64,
) -> Result<Box<dyn Read + Send>> {
    let path = file.path;
    let Some(compression) = Compression::of(path) else {
        return files.open_stream(file, offset);
    };
    let failed = |error: std::io::Error| Error::io(path, &error);
    let file = files.open_stream(file, 0)?;
    let mut input = compression.reader(file).map_err(failed)?;
    std::io::copy(&mut input.by_ref().take(offset), &mut std::io::sink()).map_err(failed)?;
    Ok(input)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const TEXT: &[u8] = b"one\ntwo\nthree\n";

    fn compressed(extension: &str) -> Vec<u8> {
        use flate2::Compression as Level;
        match extension {
            "gz" | "gzip" => {
                let mut writer = flate2::write::GzEncoder::new(Vec::new(), Level::default());
                writer.write_all(TEXT).unwrap();
                writer.finish().unwrap()
            }
            "deflate" => {
                let mut writer = flate2::write::ZlibEncoder::new(Vec::new(), Level::default());
                writer.write_all(TEXT).unwrap();
                writer.finish().unwrap()
            }
            "bz2" => {
                let level = bzip2::Compression::default();
                let mut writer = bzip2::write::BzEncoder::new(Vec::new(), level);
                writer.write_all(TEXT).unwrap();
                writer.finish().unwrap()
            }
            "xz" => {
                let mut writer = liblzma::write::XzEncoder::new(Vec::new(), 6);
                writer.write_all(TEXT).unwrap();
                writer.finish().unwrap()
            }
            "zst" => zstd::stream::encode_all(TEXT, 3).unwrap(),
            _ => TEXT.to_vec(),
        }
    }

    #[test]
    fn files_are_decompressed_by_their_names() {
        let folder = tempfile::tempdir().unwrap();
        for extension in ["txt", "gz", "gzip", "deflate", "bz2", "xz", "zst"] {
            let path = folder.path().join(format!("a.{extension}"));
            std::fs::write(&path, compressed(extension)).unwrap();
            let path = path.to_string_lossy();
            assert_eq!(is_compressed(&path), extension != "txt");
            let mut read = Vec::new();
            open_stream(
                &super::super::file_system::LocalFiles,
                FileRef {
                    path: &path,
                    size_bytes: 0,
                },
                4,
            )
            .unwrap()
            .read_to_end(&mut read)
            .unwrap();
            assert_eq!(read, TEXT[4..], "{extension}");
        }
    }
}
