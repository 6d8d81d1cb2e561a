//! Writing big files past the page cache.
//!
//! A file of a checkpoint is hardly ever read. Copying it into the page cache, from where the kernel
//! writes it out again, costs several times the processor time of a direct write, takes memory from
//! files that are read, and makes the flush at the end slow.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;

/// Smaller files are written as usual.
pub(crate) const MIN_DIRECT_BYTES: usize = 1 << 20;
/// Direct writes begin, in memory and in the file, and end at multiples of this.
const BLOCK_BYTES: usize = 1 << 12;
/// Bytes of one write from memory that does not begin at such a multiple, by way of a copy.
const PIECE_BYTES: usize = 1 << 20;

/// Writes `bytes` to the beginning of a new file as far as that can be done past the page cache; gives
/// how many bytes it was. A file system that has no such writes is no error.
///
/// # Errors
/// The file system's: a disk that is full.
pub(crate) fn write(file: &Path, bytes: &[u8]) -> std::io::Result<usize> {
    let whole = bytes.len() - bytes.len() % BLOCK_BYTES;
    let Some(mut open) = open(file).filter(|_| whole >= MIN_DIRECT_BYTES) else {
        return Ok(0);
    };
    let (mut room, mut num_written) = (Vec::new(), 0);
    let is_aligned = offset_to_block(bytes) == 0;
    while num_written < whole {
        let piece = &bytes[num_written..whole];
        let written = match is_aligned {
            true => open.write(piece),
            false => {
                let piece = &piece[..piece.len().min(PIECE_BYTES)];
                open.write(aligned(piece, &mut room))
            }
        };
        match written {
            Ok(num) if num > 0 && num % BLOCK_BYTES == 0 => num_written += num,
            // The rest goes the usual way.
            Ok(num) => return Ok(num_written + num),
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            // Not here, or not in this way.
            Err(e) if is_refusal(&e) => break,
            Err(e) => return Err(e),
        }
    }
    Ok(num_written)
}

/// How far the next multiple of [`BLOCK_BYTES`] is in memory.
fn offset_to_block(bytes: &[u8]) -> usize {
    bytes.as_ptr().align_offset(BLOCK_BYTES)
}

/// A copy that begins at a multiple of [`BLOCK_BYTES`].
fn aligned<'a>(piece: &[u8], room: &'a mut Vec<u8>) -> &'a [u8] {
    if room.is_empty() {
        room.resize(PIECE_BYTES + BLOCK_BYTES, 0);
    }
    let start = offset_to_block(room);
    let copy = &mut room[start..start + piece.len()];
    copy.copy_from_slice(piece);
    copy
}

fn is_refusal(error: &std::io::Error) -> bool {
    use std::io::ErrorKind;
    matches!(
        error.kind(),
        ErrorKind::InvalidInput | ErrorKind::Unsupported
    )
}

#[cfg(target_os = "linux")]
fn open(file: &Path) -> Option<File> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = OpenOptions::new();
    let options = options.write(true).custom_flags(libc::O_DIRECT);
    options.open(file).ok()
}

#[cfg(not(target_os = "linux"))]
fn open(_: &Path) -> Option<File> {
    None
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_is_written_is_a_beginning_of_the_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let bytes: Vec<u8> = (0..3_000_000u32).flat_map(u32::to_le_bytes).collect();
        for (number, start) in [0, 1, 4_096, 11_999_000].into_iter().enumerate() {
            let file = folder.path().join(number.to_string());
            fs::write(&file, "").unwrap();
            let num_written = write(&file, &bytes[start..]).unwrap();
            assert!(fs::read(&file).unwrap() == bytes[start..start + num_written]);
        }
    }
}
