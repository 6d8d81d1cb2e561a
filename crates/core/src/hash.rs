//! The hash of a row's key: stable for ever, because key groups in savepoints depend on it.
//!
//! One pass a column: a 64-bit multiply-and-fold mix (as in wyhash) of each value into the row's
//! running hash. Nulls mix a constant. Equal values of one type hash equal; `-0.0` hashes as `0.0`
//! and every NaN alike.

use arrow::array::*;
use arrow::datatypes::*;

use crate::error::{Error, Result};

const SEED: u64 = 0x243f_6a88_85a3_08d3;
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
const NULL: u64 = 0x1319_8a2e_0370_7344;

#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product as u64) ^ ((product >> 64) as u64)
}

/// Mixes one value into a running hash.
#[inline]
pub fn mix(hash: u64, value: u64) -> u64 {
    fold(hash ^ value, STEP ^ value.rotate_left(32))
}

/// Mixes bytes into a running hash.
#[inline]
pub fn mix_bytes(mut hash: u64, bytes: &[u8]) -> u64 {
    let mut chunks = bytes.chunks_exact(8);
    for chunk in &mut chunks {
        hash = mix(
            hash,
            u64::from_le_bytes(chunk.try_into().unwrap_or_default()),
        );
    }
    let mut tail = [0u8; 8];
    let rest = chunks.remainder();
    tail[..rest.len()].copy_from_slice(rest);
    mix(
        hash,
        u64::from_le_bytes(tail) ^ ((bytes.len() as u64) << 56),
    )
}

/// Hashes the rows of these key columns into `hashes`, which is cleared first.
///
/// # Errors
/// A type that cannot be a key.
pub fn hash_columns(columns: &[ArrayRef], num_rows: usize, hashes: &mut Vec<u64>) -> Result<()> {
    hashes.clear();
    hashes.resize(num_rows, SEED);
    columns
        .iter()
        .try_for_each(|column| hash_column(column, hashes))
}

fn hash_values<A>(array: &A, hashes: &mut [u64], value: impl Fn(usize) -> u64)
where
    A: Array,
{
    match array.nulls().filter(|n| n.null_count() > 0) {
        None => {
            for (row, hash) in hashes.iter_mut().enumerate() {
                *hash = mix(*hash, value(row));
            }
        }
        Some(nulls) => {
            for (row, hash) in hashes.iter_mut().enumerate() {
                *hash = mix(
                    *hash,
                    if nulls.is_valid(row) {
                        value(row)
                    } else {
                        NULL
                    },
                );
            }
        }
    }
}

fn hash_bytes<'a, A>(array: &'a A, hashes: &mut [u64], bytes: impl Fn(usize) -> &'a [u8])
where
    A: Array,
{
    for (row, hash) in hashes.iter_mut().enumerate() {
        *hash = if array.is_valid(row) {
            mix_bytes(*hash, bytes(row))
        } else {
            mix(*hash, NULL)
        };
    }
}

/// As [`hash_bytes`]. Equal views are equal texts: of a text that is repeated, as the names of few
/// groups are, the hash is taken once.
fn hash_texts(array: &StringViewArray, hashes: &mut [u64]) {
    let views = array.views();
    let mut last = None;
    for (row, hash) in hashes.iter_mut().enumerate() {
        if array.is_null(row) {
            *hash = mix(*hash, NULL);
            continue;
        }
        let of = (views[row], *hash);
        *hash = match last {
            Some((known, result)) if known == of => result,
            _ => mix_bytes(*hash, array.value(row).as_bytes()),
        };
        last = Some((of, *hash));
    }
}

fn hash_column(column: &ArrayRef, hashes: &mut [u64]) -> Result<()> {
    macro_rules! primitive {
        ($type:ty, $value:ident => $word:expr) => {{
            let array = column.as_primitive::<$type>();
            let values = array.values();
            hash_values(array, hashes, |row| {
                let $value = values[row];
                $word
            })
        }};
    }
    match column.data_type() {
        DataType::Null => hash_values(column, hashes, |_| NULL),
        DataType::Boolean => {
            let array = column.as_boolean();
            hash_values(array, hashes, |row| u64::from(array.value(row)));
        }
        DataType::Int8 => primitive!(Int8Type, v => v as u64),
        DataType::Int16 => primitive!(Int16Type, v => v as u64),
        DataType::Int32 => primitive!(Int32Type, v => v as u64),
        DataType::Int64 => primitive!(Int64Type, v => v as u64),
        DataType::Float32 => primitive!(Float32Type, v => float_bits(f64::from(v))),
        DataType::Float64 => primitive!(Float64Type, v => float_bits(v)),
        DataType::Date32 => primitive!(Date32Type, v => v as u64),
        DataType::Time32(TimeUnit::Millisecond) => primitive!(Time32MillisecondType, v => v as u64),
        DataType::Interval(IntervalUnit::YearMonth) => {
            primitive!(IntervalYearMonthType, v => v as u64)
        }
        DataType::Duration(TimeUnit::Millisecond) => {
            primitive!(DurationMillisecondType, v => v as u64)
        }
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            primitive!(TimestampMillisecondType, v => v as u64)
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            primitive!(TimestampMicrosecondType, v => v as u64)
        }
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            primitive!(TimestampNanosecondType, v => v as u64)
        }
        DataType::Decimal128(..) => {
            primitive!(Decimal128Type, v => mix(v as u64, (v >> 64) as u64))
        }
        DataType::Utf8View => {
            hash_texts(column.as_string_view(), hashes);
        }
        DataType::BinaryView => {
            let array = column.as_binary_view();
            hash_bytes(array, hashes, |row| array.value(row));
        }
        DataType::Struct(_) => {
            let array = column.as_struct();
            for child in array.columns() {
                hash_column(child, hashes)?;
            }
            hash_values(array, hashes, |_| STEP);
        }
        DataType::List(_) => {
            let array = column.as_list::<i32>();
            hash_lists(array, array.value_offsets(), array.values(), hashes)?;
        }
        DataType::Map(..) => {
            let array = column.as_map();
            let entries: ArrayRef = std::sync::Arc::new(array.entries().clone());
            hash_lists(array, array.value_offsets(), &entries, hashes)?;
        }
        other => {
            return Err(Error::user(
                "TYPE",
                format!("a key cannot be of type {other}"),
            ));
        }
    }
    Ok(())
}

fn hash_lists(
    array: &dyn Array,
    offsets: &[i32],
    items: &ArrayRef,
    hashes: &mut [u64],
) -> Result<()> {
    let mut item_hashes = vec![SEED; items.len()];
    hash_column(items, &mut item_hashes)?;
    for (row, hash) in hashes.iter_mut().enumerate() {
        if array.is_null(row) {
            *hash = mix(*hash, NULL);
            continue;
        }
        let range = offsets[row] as usize..offsets[row + 1] as usize;
        *hash = mix(*hash, range.len() as u64);
        for item in &item_hashes[range] {
            *hash = mix(*hash, *item);
        }
    }
    Ok(())
}

#[inline]
fn float_bits(value: f64) -> u64 {
    if value == 0.0 {
        0
    } else if value.is_nan() {
        f64::NAN.to_bits()
    } else {
        value.to_bits()
    }
}

/// A hasher for hash tables keyed by an already mixed 64-bit hash.
#[derive(Debug, Default, Clone, Copy)]
pub struct StableHasher(u64);

impl std::hash::Hasher for StableHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = mix_bytes(self.0 ^ SEED, bytes);
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = mix(self.0 ^ SEED, value);
    }
}

/// Builds [`StableHasher`]s: maps of any key whose iteration order is the same in every run.
pub type StableBuildHasher = std::hash::BuildHasherDefault<StableHasher>;
/// A hash map with the stable hasher.
pub type StableHashMap<K, V> = hashbrown::HashMap<K, V, StableBuildHasher>;
/// A hash set with the stable hasher.
pub type StableHashSet<K> = hashbrown::HashSet<K, StableBuildHasher>;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn hashes_of(columns: &[ArrayRef]) -> Vec<u64> {
        let mut hashes = Vec::new();
        hash_columns(columns, columns[0].len(), &mut hashes).unwrap();
        hashes
    }

    #[test]
    fn hashes_never_change_between_versions() {
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None, Some(-7)]));
        let texts: ArrayRef = Arc::new(StringViewArray::from(vec!["a", "", "longer than twelve"]));
        let first = hashes_of(&[numbers.clone(), texts.clone()]);
        assert_eq!(first, hashes_of(&[numbers, texts]));
        assert_eq!(first[0], 17964620770676955268);
    }

    #[test]
    fn repeated_texts_hash_as_single_ones() {
        let texts = [
            Some("day"),
            Some("day"),
            None,
            Some("day"),
            Some("a text that is long"),
        ];
        let all: ArrayRef = Arc::new(StringViewArray::from(texts.to_vec()));
        // Rows with equal texts and unequal keys before them.
        let before: ArrayRef = Arc::new(Int32Array::from(vec![1, 2, 2, 2, 2]));
        let whole = hashes_of(&[before.clone(), all.clone()]);
        for (row, hash) in whole.into_iter().enumerate() {
            let alone = hashes_of(&[before.slice(row, 1), all.slice(row, 1)]);
            assert_eq!(alone, [hash]);
        }
    }

    #[test]
    fn zero_and_minus_zero_are_one_key() {
        let floats: ArrayRef = Arc::new(Float64Array::from(vec![0.0, -0.0]));
        let hashes = hashes_of(&[floats]);
        assert_eq!(hashes[0], hashes[1]);
    }
}
