//! State rows as bytes.
//!
//! ```text
//! magic "FLOTTSTA" · version u32 = 1 · Arrow IPC stream (LZ4) · length u64 · checksum u64
//! ```
//!
//! That is how columns lie in files; packed rows have version 2 ([`super::packed_file`]).
//!
//! Numbers are little endian. The length is that of everything before it, the checksum XXH3 of
//! everything before itself: a file that was cut short or changed is recognized.

use std::io::Cursor;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use arrow_ipc::CompressionType;
use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::{IpcWriteOptions, StreamWriter};
use bytes::Bytes;
use flott_core::operator::PackedReader;
use flott_core::{Error, Result};
use xxhash_rust::xxh3::xxh3_64;

use super::packed_file;
use crate::rows;

pub(super) const MAGIC: &[u8; 8] = b"FLOTTSTA";
const VERSION: u32 = 1;
pub(super) const HEAD: usize = 12;
const TAIL: usize = 16;

/// The bytes of a state file with these rows.
///
/// # Errors
/// A defect: batches of another schema.
pub fn encode(schema: &SchemaRef, batches: &[RecordBatch]) -> Result<Bytes> {
    let mut bytes = Vec::with_capacity(1024);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    let options =
        IpcWriteOptions::default().try_with_compression(Some(CompressionType::LZ4_FRAME))?;
    let mut writer = StreamWriter::try_new_with_options(&mut bytes, schema, options)?;
    for batch in batches {
        writer.write(batch)?;
    }
    writer.finish()?;
    drop(writer);
    Ok(end(bytes))
}

/// A whole file of what lies before its end.
pub(super) fn end(mut bytes: Vec<u8>) -> Bytes {
    let length = bytes.len() as u64;
    bytes.extend_from_slice(&length.to_le_bytes());
    let checksum = xxh3_64(&bytes);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    bytes.into()
}

/// The rows of a state file, which messages call `name`; those that are packed come as they are. The
/// whole file has been verified then, but for what the checksum cannot know.
///
/// # Errors
/// An external error that says what is wrong with the file.
pub fn decode_packed(name: &str, bytes: &Bytes) -> Result<PackedReader<'static>> {
    let (version, data) = verified(name, bytes)?;
    if version == rows::FORMAT_VERSION {
        return packed_file::decode(name, bytes.slice(..bytes.len() - TAIL));
    }
    let unreadable = |e| corrupt(name, &format!("its rows cannot be read ({e})"));
    let reader = StreamReader::try_new(Cursor::new(data), None).map_err(unreadable)?;
    let batches = reader.collect::<Result<Vec<_>, _>>().map_err(unreadable)?;
    let batches = batches.into_iter().map(|batch| Ok(batch.into()));
    Ok(Box::new(batches))
}

/// The version of a state file, and the part between head and tail.
fn verified<'a>(name: &str, bytes: &'a [u8]) -> Result<(u32, &'a [u8])> {
    if bytes.len() < HEAD + TAIL {
        return Err(corrupt(
            name,
            &format!("it was cut short at {} bytes", bytes.len()),
        ));
    }
    if &bytes[..MAGIC.len()] != MAGIC {
        return Err(corrupt(name, "it is not a state file"));
    }
    let (rest, checksum) = bytes.split_at(bytes.len() - 8);
    let (data, length) = rest.split_at(rest.len() - 8);
    if number(length) != data.len() as u64 {
        return Err(corrupt(
            name,
            &format!("it was cut short at {} bytes", bytes.len()),
        ));
    }
    if number(checksum) != xxh3_64(rest) {
        return Err(corrupt(name, "its checksum is wrong"));
    }
    let version = u32::from_le_bytes([data[8], data[9], data[10], data[11]]);
    if ![VERSION, rows::FORMAT_VERSION].contains(&version) {
        return Err(Error::user(
            "STATE_VERSION",
            format!(
                "{name} has version {version} of the format, this binary reads {VERSION} and {}; use the binary that wrote it",
                rows::FORMAT_VERSION
            ),
        ));
    }
    Ok((version, &data[HEAD..]))
}

pub(super) fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |n, &b| n << 8 | u64::from(b))
}

/// A file of a checkpoint that cannot be used.
pub(crate) fn corrupt(name: &str, what: &str) -> Error {
    Error::external(
        "STATE_CORRUPT",
        format!("{name} is damaged: {what}; restore from an older checkpoint or a savepoint"),
    )
}

/// A file of a checkpoint that is gone.
pub(crate) fn missing(name: &str) -> Error {
    Error::external(
        "STATE_MISSING",
        format!("{name} is not there; restore from an older checkpoint or a savepoint"),
    )
}

/// Whether an error says that a checkpoint cannot be read, so that an older one may be tried.
pub fn is_unreadable(error: &Error) -> bool {
    matches!(error.code(), "STATE_CORRUPT" | "STATE_MISSING")
}

/// The checksum that manifests hold of a text.
pub(crate) fn checksum(bytes: &[u8]) -> u64 {
    xxh3_64(bytes)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, StringViewArray};

    use super::*;
    use crate::rows::unpacked;

    fn file() -> (RecordBatch, Bytes) {
        let columns: Vec<(&str, ArrayRef)> = vec![
            (
                "k",
                Arc::new(Int64Array::from(vec![Some(1), None, Some(3)])),
            ),
            (
                "v",
                Arc::new(StringViewArray::from(vec![
                    "a",
                    "a longer text than twelve",
                    "",
                ])),
            ),
        ];
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let bytes = encode(&batch.schema(), &[batch.clone(), batch.slice(1, 1)]).unwrap();
        (batch, bytes)
    }

    fn decode(name: &str, bytes: &Bytes) -> Result<Vec<RecordBatch>> {
        unpacked(decode_packed(name, bytes)?).collect()
    }

    #[test]
    fn rows_come_back() {
        let (batch, bytes) = file();
        let rows = decode("f", &bytes).unwrap();
        assert_eq!(rows, [batch.clone(), batch.slice(1, 1)]);
    }

    #[test]
    fn every_cut_and_every_flipped_bit_is_noticed() {
        let (_, bytes) = file();
        for length in 0..bytes.len() {
            let error = decode("f", &bytes.slice(..length)).unwrap_err();
            assert_eq!(error.code(), "STATE_CORRUPT", "cut at {length}");
        }
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.to_vec();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let error = decode("f", &damaged.into()).unwrap_err();
            assert_eq!(error.code(), "STATE_CORRUPT", "bit {bit}");
        }
    }
}
