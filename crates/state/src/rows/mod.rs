//! Rows in one piece: how operators that keep whole rows hold them, and how they lie in files.
//!
//! A kept row begins with a head: its slot, which means something only to its operator, and its
//! [`Identity`]. Snapshots give rows as they lie, packed ([`StateBatch`]); columns are made of them
//! where somebody wants columns ([`unpack`]).

use std::sync::Arc;

use arrow::buffer::Buffer;
use bytes::Bytes;
use flott_core::operator::StateBatch;

pub mod identity;
pub mod layout;
mod packed;
pub mod read;
pub mod write;

pub use identity::Identity;
pub use layout::Layout;
pub(crate) use packed::row_layout;
pub use packed::{PackedBuilder, PackedRows, ROWS, unpack, unpacked};

/// The version of how rows lie in files.
pub const FORMAT_VERSION: u32 = 2;

/// A view holds strings up to this many bytes in itself.
const MAX_INLINE_BYTES: usize = 12;

const SLOT_BYTES: usize = 4;
/// Every kept row begins with its slot, then its identity.
pub const HEAD_BYTES: usize = SLOT_BYTES + size_of::<Identity>();

// Values are copied between rows and Arrow's buffers as they are.
const _: () = assert!(
    cfg!(target_endian = "little"),
    "state files hold little-endian numbers; another machine needs rows that are turned"
);

/// The head of a row that begins here.
#[inline]
pub fn write_head(row: &mut [u8], slot: u32, identity: Identity) {
    row[..SLOT_BYTES].copy_from_slice(&slot.to_le_bytes());
    row[SLOT_BYTES..HEAD_BYTES].copy_from_slice(&identity.to_le_bytes());
}

/// The slot of the row that begins here.
#[inline]
pub fn slot_of(row: &[u8]) -> usize {
    layout::read_u32(row, 0)
}

/// The identity of the row that begins here.
#[inline]
pub fn identity_of(row: &[u8]) -> Identity {
    let mut word = [0; size_of::<Identity>()];
    word.copy_from_slice(&row[SLOT_BYTES..HEAD_BYTES]);
    Identity::from_le_bytes(word)
}

/// A page of rows as a buffer of Arrow's, without a copy.
pub fn buffer_of(page: &Arc<[u8]>) -> Buffer {
    Buffer::from(Bytes::from_owner(page.clone()))
}
