//! Opens files: as a stream of what is in them, decompressed by the file's name, or for reading at
//! any place.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};

use arrow::buffer::Buffer;
use flott_core::format::FileInput;
use flott_core::{Error, Result};
use parking_lot::Mutex;

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

    fn reader(self, file: File) -> std::io::Result<Box<dyn Read + Send>> {
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

fn failed(path: &str, error: &std::io::Error) -> Error {
    match error.kind() {
        std::io::ErrorKind::NotFound => Error::user(
            "FILE_NOT_FOUND",
            format!("file '{path}' does not exist any more"),
        ),
        _ => Error::io(path, error),
    }
}

/// Opens a file for reading from `offset` of its decompressed content.
pub(super) fn open_stream(path: &str, offset: u64) -> Result<Box<dyn Read + Send>> {
    let failed = |error: std::io::Error| failed(path, &error);
    let mut file = File::open(path).map_err(failed)?;
    let Some(compression) = Compression::of(path) else {
        file.seek(SeekFrom::Start(offset)).map_err(failed)?;
        return Ok(Box::new(file));
    };
    let mut input = compression.reader(file).map_err(failed)?;
    std::io::copy(&mut input.by_ref().take(offset), &mut std::io::sink()).map_err(failed)?;
    Ok(input)
}

/// A local file.
pub(super) struct LocalFile {
    path: String,
    size_bytes: u64,
    file: Mutex<File>,
}

impl LocalFile {
    pub fn open(path: &str) -> Result<Self> {
        let failed = |error: std::io::Error| failed(path, &error);
        let file = File::open(path).map_err(failed)?;
        Ok(Self {
            path: path.to_string(),
            size_bytes: file.metadata().map_err(failed)?.len(),
            file: Mutex::new(file),
        })
    }
}

impl FileInput for LocalFile {
    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn read_range(&self, offset: u64, length: usize) -> Result<Buffer> {
        let is_inside = offset
            .checked_add(length as u64)
            .is_some_and(|end| end <= self.size_bytes);
        if !is_inside {
            let size = self.size_bytes;
            let message = format!(
                "file '{}' has {size} bytes, {length} are needed from byte {offset} on; is it cut off?",
                self.path
            );
            return Err(Error::user("MALFORMED_FILE", message));
        }
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
            open_stream(&path, 4)
                .unwrap()
                .read_to_end(&mut read)
                .unwrap();
            assert_eq!(read, TEXT[4..], "{extension}");
        }
    }

    #[test]
    fn reading_beyond_the_end_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::fs::write(&path, TEXT).unwrap();
        let file = LocalFile::open(&path.to_string_lossy()).unwrap();
        assert_eq!(file.read_range(4, 3).unwrap().as_slice(), b"two");
        assert!(file.read_range(4, usize::MAX).is_err());
        assert!(file.read_range(14, 1).is_err());
    }
}
