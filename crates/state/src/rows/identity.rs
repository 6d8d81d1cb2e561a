//! What a stored row is known by in snapshots: its key group, and a number that no other row of the
//! key group has had.
//!
//! Both are one word, so that a row that is gone can be told of in eight bytes. Numbers rise in
//! order of arrival. A subtask that is restored goes on above all numbers that it gets back; what
//! other subtasks give meanwhile are numbers in other key groups.

/// The key group in the upper 16 bits, the number below.
pub type Identity = u64;

const ID_BITS: u32 = 48;
const ID_MASK: u64 = (1 << ID_BITS) - 1;

/// The identity of a row of this key group.
#[inline]
pub fn of(key_group: u16, id: u64) -> Identity {
    u64::from(key_group) << ID_BITS | (id & ID_MASK)
}

/// The row's key group.
#[inline]
pub fn key_group(identity: Identity) -> u16 {
    (identity >> ID_BITS) as u16
}

/// The row's number in its key group.
#[inline]
pub fn id(identity: Identity) -> u64 {
    identity & ID_MASK
}
