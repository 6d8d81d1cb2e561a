//! Texts and bytes of a stripe: one behind the other, or as words of a dictionary.

use arrow::array::ArrayRef;
use arrow::buffer::{Buffer, NullBuffer};
use flott_core::types::LogicalType;
use flott_core::{Error, Result};

use super::compression::Stream;
use super::damaged;
use crate::column::ColumnBuilder;

/// Texts that stand one behind the other.
pub(super) struct Texts {
    bytes: Buffer,
    /// Where each one ends.
    ends: Vec<usize>,
    /// Else bytes.
    is_text: bool,
    is_utf8: bool,
}

impl Texts {
    /// The next texts of a stream, which have these lengths.
    ///
    /// # Errors
    /// A user error for a negative length, or more bytes than there are.
    pub fn read(lengths: &[i64], stream: &mut Stream, is_text: bool) -> Result<Self> {
        let mut total = 0usize;
        let mut ends = Vec::with_capacity(lengths.len());
        for &length in lengths {
            let length = usize::try_from(length).ok();
            total = length
                .and_then(|l| total.checked_add(l))
                .ok_or_else(|| damaged("a text of negative length"))?;
            ends.push(total);
        }
        let bytes = stream.shared(total)?;
        Ok(Self {
            is_utf8: is_text && are_utf8(&bytes, &ends),
            bytes,
            ends,
            is_text,
        })
    }

    /// All of them as a column; where `nulls` says so there is none.
    pub fn column(&self, nulls: Option<&NullBuffer>) -> Result<ArrayRef> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        self.views(starts.zip(self.ends.iter().copied()), nulls)
    }

    /// Those at these places as a column; where `nulls` says so there is none.
    ///
    /// # Errors
    /// A user error for a place that is not there.
    pub fn picked(&self, places: &[i64], nulls: Option<&NullBuffer>) -> Result<ArrayRef> {
        let size = self.ends.len();
        let outside = places.iter().find(|i| !(0..size as i64).contains(i));
        if let Some(place) = outside {
            return Err(damaged(format!(
                "no word {place} in a dictionary of {size}"
            )));
        }
        let place = |&place: &i64| {
            let place = place as usize;
            let start = place.checked_sub(1).map_or(0, |before| self.ends[before]);
            (start, self.ends[place])
        };
        self.views(places.iter().map(place), nulls)
    }

    /// Pieces of the bytes as a column; what is no UTF-8 in a text becomes U+FFFD.
    fn views(
        &self,
        mut places: impl Iterator<Item = (usize, usize)>,
        nulls: Option<&NullBuffer>,
    ) -> Result<ArrayRef> {
        let num_rows = nulls.map_or_else(|| places.size_hint().0, NullBuffer::len);
        let logical = match self.is_text {
            true => LogicalType::STRING,
            false => LogicalType::BYTES,
        };
        let mut builder = ColumnBuilder::new(&logical, num_rows);
        let (ColumnBuilder::Text(column) | ColumnBuilder::Bytes(column)) = &mut builder else {
            return Err(Error::internal("a text column of another kind"));
        };
        let mut push = |place: Option<(usize, usize)>| match place {
            None => column.push_null(),
            Some((start, end)) if self.is_utf8 || !self.is_text => {
                column.push_shared(&self.bytes, start, end - start);
            }
            Some((start, end)) => {
                let text = String::from_utf8_lossy(&self.bytes.as_slice()[start..end]);
                column.push_copied(text.as_bytes());
            }
        };
        match nulls {
            None => places.for_each(|place| push(Some(place))),
            Some(nulls) => nulls.iter().for_each(|is_valid| {
                push(if is_valid { places.next() } else { None });
            }),
        }
        builder.finish()
    }
}

/// Whether all the texts are UTF-8.
fn are_utf8(bytes: &Buffer, ends: &[usize]) -> bool {
    simdutf8::basic::from_utf8(bytes.as_slice())
        .is_ok_and(|text| text.is_ascii() || ends.iter().all(|end| text.is_char_boundary(*end)))
}
