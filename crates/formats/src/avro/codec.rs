//! How the blocks of a container file are compressed.

use std::io::{Read, Write};

use arrow::buffer::Buffer;
use flott_core::{Error, Result};

/// A block cannot be larger than this, so that a few bytes cannot ask for all the memory there is.
pub(super) const MAX_BLOCK_BYTES: usize = 1 << 30;
/// Avro's own default.
const DEFLATE_LEVEL: u32 = 6;

/// The names that Flink takes.
pub(super) const CODECS: &[&str] = &["null", "deflate", "snappy", "zstandard", "bzip2", "xz"];

/// A codec by its name in the header of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Codec {
    Null,
    Deflate,
    Snappy,
    Zstandard,
    Bzip2,
    Xz,
}

fn faulty(what: impl std::fmt::Display) -> Error {
    let message = format!("a block of the Avro file cannot be decompressed: {what}");
    Error::user("MALFORMED_FILE", message)
}

impl Codec {
    /// # Errors
    /// A user error for a name that is not among those known.
    pub fn from_name(name: &str) -> Result<Self> {
        Ok(match name {
            "null" => Self::Null,
            "deflate" => Self::Deflate,
            "snappy" => Self::Snappy,
            "zstandard" => Self::Zstandard,
            "bzip2" => Self::Bzip2,
            "xz" => Self::Xz,
            _ => {
                let known = CODECS.join(", ");
                let message = format!("unknown Avro codec '{name}' (there are: {known})");
                return Err(Error::user("UNKNOWN_CODEC", message));
            }
        })
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Deflate => "deflate",
            Self::Snappy => "snappy",
            Self::Zstandard => "zstandard",
            Self::Bzip2 => "bzip2",
            Self::Xz => "xz",
        }
    }

    /// # Errors
    /// A user error when the block is not of this codec or larger than [`MAX_BLOCK_BYTES`].
    pub fn decompress(self, block: Buffer) -> Result<Buffer> {
        let mut out = Vec::new();
        let bytes = block.as_slice();
        match self {
            Self::Null => return Ok(block),
            Self::Snappy => return snappy(bytes).map(Buffer::from_vec),
            Self::Deflate => read_all(flate2::read::DeflateDecoder::new(bytes), &mut out)?,
            Self::Bzip2 => read_all(bzip2::read::BzDecoder::new(bytes), &mut out)?,
            Self::Xz => read_all(liblzma::read::XzDecoder::new(bytes), &mut out)?,
            Self::Zstandard => {
                let decoder = zstd::stream::read::Decoder::new(bytes).map_err(faulty)?;
                read_all(decoder, &mut out)?;
            }
        }
        Ok(Buffer::from_vec(out))
    }

    /// Appends the compressed block.
    pub fn compress(self, block: &[u8], out: &mut Vec<u8>) -> Result<()> {
        let failed = |e: std::io::Error| Error::internal(format!("compressing a block: {e}"));
        match self {
            Self::Null => out.extend_from_slice(block),
            Self::Snappy => {
                let compressed = snap::raw::Encoder::new().compress_vec(block);
                let failed = |e| Error::internal(format!("compressing a block: {e}"));
                out.extend_from_slice(&compressed.map_err(failed)?);
                out.extend_from_slice(&crc32fast::hash(block).to_be_bytes());
            }
            Self::Deflate => {
                let level = flate2::Compression::new(DEFLATE_LEVEL);
                let mut writer = flate2::write::DeflateEncoder::new(out, level);
                writer.write_all(block).map_err(failed)?;
                writer.finish().map_err(failed)?;
            }
            Self::Bzip2 => {
                let mut writer = bzip2::write::BzEncoder::new(out, bzip2::Compression::best());
                writer.write_all(block).map_err(failed)?;
                writer.finish().map_err(failed)?;
            }
            Self::Xz => {
                let mut writer = liblzma::write::XzEncoder::new(out, DEFLATE_LEVEL);
                writer.write_all(block).map_err(failed)?;
                writer.finish().map_err(failed)?;
            }
            Self::Zstandard => {
                let compressed = zstd::stream::encode_all(block, 0).map_err(failed)?;
                out.extend_from_slice(&compressed);
            }
        }
        Ok(())
    }
}

fn read_all(input: impl Read, out: &mut Vec<u8>) -> Result<()> {
    let limit = MAX_BLOCK_BYTES as u64;
    let size = input.take(limit + 1).read_to_end(out).map_err(faulty)?;
    match size as u64 > limit {
        true => Err(faulty("it is larger than 1 GiB")),
        false => Ok(()),
    }
}

/// Snappy with a checksum behind it.
fn snappy(block: &[u8]) -> Result<Vec<u8>> {
    let (bytes, checksum) = block
        .split_last_chunk::<4>()
        .ok_or_else(|| faulty("it is cut off"))?;
    let size = snap::raw::decompress_len(bytes).map_err(faulty)?;
    // Snappy's copies of 64 bytes take 3 bytes: a block that claims more lies.
    if size > MAX_BLOCK_BYTES || size / 32 > bytes.len() {
        return Err(faulty("it says that it is larger than it can be"));
    }
    let out = snap::raw::Decoder::new()
        .decompress_vec(bytes)
        .map_err(faulty)?;
    match crc32fast::hash(&out).to_be_bytes() == *checksum {
        true => Ok(out),
        false => Err(faulty("its checksum is wrong")),
    }
}
