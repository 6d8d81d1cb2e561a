//! The order in which Java's hash map gives its entries: Flink prints some maps and multisets so.

use arrow::array::{Array, AsArray};
use arrow::datatypes::*;

/// The table of a `java.util.HashMap`: it doubles when more than three quarters are filled.
#[derive(Debug, Clone, Copy)]
pub struct JavaTable {
    num_buckets: usize,
}

impl JavaTable {
    /// Of a map that was made without a capacity and has so many entries.
    pub fn of(num_entries: usize) -> Self {
        Self::with_room_for(16, num_entries)
    }

    /// Of a map that was made with this capacity.
    pub fn with_room_for(capacity: usize, num_entries: usize) -> Self {
        let mut num_buckets = capacity.max(1).next_power_of_two();
        while num_entries > num_buckets * 3 / 4 {
            num_buckets *= 2;
        }
        Self { num_buckets }
    }

    /// Entries come by bucket, and within one as they were inserted.
    pub fn bucket(self, hash: i32) -> usize {
        (hash as u32 ^ (hash as u32 >> 16)) as usize & (self.num_buckets - 1)
    }
}

/// Puts the positions of distinct keys, given in the order of their insertion, into the order in
/// which a `java.util.HashMap` of Flink's internal values gives them. Keys of other types than
/// character strings, integers, booleans, DOUBLE and DATE are left as they are. `text_hash` is the
/// hash of strings: [`binary_string_hash`] or [`string_hash`].
pub fn sort_as_java_map(keys: &dyn Array, positions: &mut [usize], text_hash: fn(&str) -> i32) {
    let table = JavaTable::of(positions.len());
    if let Some(hash) = hash_of(keys, text_hash) {
        // Stable: entries of a bucket stay in the order of insertion.
        positions.sort_by_key(|&p| match keys.is_null(p) {
            true => 0,
            false => table.bucket(hash(p)),
        });
    }
}

type Hash<'a> = Box<dyn Fn(usize) -> i32 + 'a>;

fn hash_of(keys: &dyn Array, text_hash: fn(&str) -> i32) -> Option<Hash<'_>> {
    fn long(value: i64) -> i32 {
        (value ^ ((value as u64 >> 32) as i64)) as i32
    }
    macro_rules! integers {
        ($type:ty) => {{
            let values = keys.as_primitive::<$type>();
            Box::new(move |p| i32::from(values.value(p)))
        }};
    }
    Some(match keys.data_type() {
        DataType::Utf8View => {
            let values = keys.as_string_view();
            Box::new(move |p| text_hash(values.value(p)))
        }
        DataType::Int8 => integers!(Int8Type),
        DataType::Int16 => integers!(Int16Type),
        DataType::Int32 => integers!(Int32Type),
        DataType::Date32 => integers!(Date32Type),
        DataType::Int64 => {
            let values = keys.as_primitive::<Int64Type>();
            Box::new(move |p| long(values.value(p)))
        }
        DataType::Float64 => {
            let values = keys.as_primitive::<Float64Type>();
            Box::new(move |p| long(values.value(p).to_bits() as i64))
        }
        DataType::Boolean => {
            let values = keys.as_boolean();
            Box::new(move |p| if values.value(p) { 1231 } else { 1237 })
        }
        _ => return None,
    })
}

/// The hash of `java.lang.String`.
pub fn string_hash(text: &str) -> i32 {
    text.encode_utf16().fold(0, |hash: i32, unit| {
        hash.wrapping_mul(31).wrapping_add(i32::from(unit))
    })
}

/// The hash of Flink's binary strings: MurmurHash3 (x86, 32 bits, seed 42), but bytes behind the last whole word are mixed one by one,
/// as signed integers.
pub fn binary_string_hash(text: &str) -> i32 {
    let bytes = text.as_bytes();
    fn mix(hash: u32, value: u32) -> u32 {
        let value = value
            .wrapping_mul(0xcc9e_2d51)
            .rotate_left(15)
            .wrapping_mul(0x1b87_3593);
        (hash ^ value)
            .rotate_left(13)
            .wrapping_mul(5)
            .wrapping_add(0xe654_6b64)
    }
    let words = bytes.chunks_exact(4);
    let rest = words.remainder();
    let mut hash = words.fold(42, |hash, word| {
        let word = word.try_into().unwrap_or_default();
        mix(hash, u32::from_le_bytes(word))
    });
    hash = rest
        .iter()
        .fold(hash, |h, &b| mix(h, b as i8 as i32 as u32));
    hash ^= bytes.len() as u32;
    hash = (hash ^ (hash >> 16)).wrapping_mul(0x85eb_ca6b);
    hash = (hash ^ (hash >> 13)).wrapping_mul(0xc2b2_ae35);
    (hash ^ (hash >> 16)) as i32
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Int32Array, StringViewArray};

    fn sorted<'a>(values: &[&'a str]) -> Vec<&'a str> {
        let keys = StringViewArray::from_iter_values(values);
        let mut positions: Vec<usize> = (0..values.len()).collect();
        sort_as_java_map(&keys, &mut positions, binary_string_hash);
        positions.into_iter().map(|p| values[p]).collect()
    }

    /// As a run of Flink printed them.
    #[test]
    fn strings_come_in_flinks_order() {
        assert_eq!(
            sorted(&["C", "A", "F", "L", "B"]),
            ["F", "L", "A", "C", "B"]
        );
        assert_eq!(
            sorted(&["pear", "apple", "fig", "banana", "cherry"]),
            ["pear", "apple", "fig", "cherry", "banana"]
        );
    }

    #[test]
    fn strings_hash_as_in_java() {
        assert_eq!(string_hash("hello"), 99_162_322);
        assert_eq!(string_hash(""), 0);
    }

    #[test]
    fn entries_of_a_bucket_stay_in_order_of_insertion() {
        let keys = Int32Array::from(vec![100, 33, 17, 1]);
        let mut positions = vec![0, 1, 2, 3];
        sort_as_java_map(&keys, &mut positions, binary_string_hash);
        assert_eq!(positions, [1, 2, 3, 0]);
    }
}
