//! The rows of a partition in order.

use std::cmp::Ordering;
use std::collections::BTreeMap;

/// A sort key's bytes; keys of a few numbers take no allocation.
#[derive(Clone)]
enum Key {
    Short(u8, [u8; SHORT_BYTES]),
    Long(Box<[u8]>),
}

const SHORT_BYTES: usize = 22;

impl Key {
    fn new(bytes: &[u8]) -> Self {
        let mut short = [0; SHORT_BYTES];
        match short.get_mut(..bytes.len()) {
            Some(start) => {
                start.copy_from_slice(bytes);
                Self::Short(bytes.len() as u8, short)
            }
            None => Self::Long(bytes.into()),
        }
    }

    #[inline]
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Short(length, bytes) => &bytes[..*length as usize],
            Self::Long(bytes) => bytes,
        }
    }
}

/// A row's place in its partition: its sort key, then its arrival.
pub(super) struct Place {
    key: Key,
    arrival: i64,
}

impl Place {
    fn order(&self, key: &[u8], arrival: i64) -> Ordering {
        let by_key = self.key.bytes().cmp(key);
        by_key.then(self.arrival.cmp(&arrival))
    }
}

impl Ord for Place {
    fn cmp(&self, other: &Self) -> Ordering {
        self.order(other.key.bytes(), other.arrival)
    }
}

impl PartialOrd for Place {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Place {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Place {}

/// What belongs to a row at its place.
#[derive(Clone, Copy)]
pub(super) struct Entry {
    pub slot: u32,
    /// Of the whole row, to find it again when it is taken back; 0 where rows only come.
    pub row_hash: u64,
}

/// A row as it stands in its partition.
pub(super) struct PlacedRow<'a> {
    pub key: &'a [u8],
    pub slot: u32,
}

/// The rows of a partition by place.
pub(super) enum Places {
    /// Few rows that only come: a sorted list. The row's hash is not needed.
    Few(Vec<(Place, u32)>),
    Many(BTreeMap<Place, Entry>),
}

impl Places {
    /// `has_few`: there will only ever be some tens of rows, of which none is taken back.
    pub fn new(has_few: bool) -> Self {
        match has_few {
            true => Self::Few(Vec::new()),
            false => Self::Many(BTreeMap::new()),
        }
    }

    pub fn len(&self) -> usize {
        match self {
            Self::Few(rows) => rows.len(),
            Self::Many(rows) => rows.len(),
        }
    }

    /// The key of the last row.
    pub fn last_key(&self) -> Option<&[u8]> {
        match self {
            Self::Few(rows) => rows.last().map(|(place, _)| place.key.bytes()),
            Self::Many(rows) => rows.last_key_value().map(|(place, _)| place.key.bytes()),
        }
    }

    pub fn insert(&mut self, key: &[u8], arrival: i64, entry: Entry) {
        let place = Place {
            key: Key::new(key),
            arrival,
        };
        match self {
            Self::Few(rows) => {
                if rows.len() == rows.capacity() {
                    // Many partitions never have more than a row or two.
                    rows.reserve_exact((rows.len() / 2).max(1));
                }
                let at = rows.partition_point(|(p, _)| p.order(key, arrival).is_lt());
                rows.insert(at, (place, entry.slot));
            }
            Self::Many(rows) => {
                rows.insert(place, entry);
            }
        }
    }

    /// Takes the last row out; gives its slot.
    pub fn pop_last(&mut self) -> Option<u32> {
        match self {
            Self::Few(rows) => rows.pop().map(|(_, slot)| slot),
            Self::Many(rows) => rows.pop_last().map(|(_, entry)| entry.slot),
        }
    }

    /// Takes the first row with this key and hash out; gives its slot.
    pub fn remove(&mut self, key: &[u8], row_hash: u64) -> Option<u32> {
        let Self::Many(rows) = self else {
            return None;
        };
        let place = |arrival| Place {
            key: Key::new(key),
            arrival,
        };
        let mut equal = rows.range(place(i64::MIN)..=place(i64::MAX));
        let (found, _) = equal.find(|(_, entry)| entry.row_hash == row_hash)?;
        let found = place(found.arrival);
        rows.remove(&found).map(|entry| entry.slot)
    }

    /// The rows in order.
    pub fn iter(&self) -> impl Iterator<Item = PlacedRow<'_>> {
        let (few, many) = match self {
            Self::Few(rows) => (rows.as_slice(), None),
            Self::Many(rows) => (&[][..], Some(rows)),
        };
        let few = few.iter().map(|(place, slot)| (place, *slot));
        let many = many.into_iter().flatten().map(|(p, e)| (p, e.slot));
        few.chain(many).map(|(place, slot)| PlacedRow {
            key: place.key.bytes(),
            slot,
        })
    }

    /// Bytes held besides the list itself.
    pub fn size_bytes(&self) -> usize {
        match self {
            Self::Few(rows) => rows.capacity() * size_of::<(Place, u32)>(),
            Self::Many(rows) => rows.len() * (size_of::<(Place, Entry)>() + 16),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_keep_the_same_order() {
        let (mut few, mut many) = (Places::new(true), Places::new(false));
        let long = "a key that is longer than what is held in place";
        for (arrival, key) in ["b", "a", long, "", "b", "c"].into_iter().enumerate() {
            let (key, arrival) = (key.as_bytes(), arrival as i64);
            let entry = Entry {
                slot: arrival as u32,
                row_hash: 7,
            };
            few.insert(key, arrival, entry);
            many.insert(key, arrival, entry);
        }
        let slots = |places: &Places| places.iter().map(|r| r.slot).collect::<Vec<_>>();
        assert_eq!(slots(&few), [3, 1, 2, 0, 4, 5]);
        assert_eq!(slots(&few), slots(&many));
        assert_eq!(few.last_key(), Some(&b"c"[..]));
        assert_eq!((few.pop_last(), many.pop_last()), (Some(5), Some(5)));
        assert_eq!(many.remove(b"b", 8), None);
        assert_eq!(many.remove(b"b", 7), Some(0));
        assert_eq!(many.remove(long.as_bytes(), 7), Some(2));
        assert_eq!(slots(&many), [3, 1, 4]);
    }
}
