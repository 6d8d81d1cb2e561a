//! Rows of a row group: those that are still to be read, and where their pages stand.

use std::collections::VecDeque;
use std::ops::Range;

use parquet::arrow::arrow_reader::RowSelection;
use parquet::file::page_index::offset_index::PageLocation;

/// Pieces of a file that are nearer to each other than this are read at once.
const GAP_BYTES: u64 = 64 << 10;

/// Ranges of rows of a group, counted from its first, in order and apart from each other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct RowRanges(VecDeque<Range<u64>>);

impl RowRanges {
    pub fn whole(num_rows: u64) -> Self {
        Self((num_rows > 0).then_some(0..num_rows).into_iter().collect())
    }

    /// `None` for ranges out of order or beyond the group, as a damaged file may name them.
    pub fn new(ranges: impl Iterator<Item = Range<u64>>, num_rows: u64) -> Option<Self> {
        let mut found: VecDeque<Range<u64>> = VecDeque::new();
        for range in ranges {
            let before = found.back().map_or(0, |last| last.end);
            if range.start < before || range.end < range.start || range.end > num_rows {
                return None;
            }
            match found.back_mut() {
                Some(last) if last.end == range.start => last.end = range.end,
                _ if range.is_empty() => {}
                _ => found.push_back(range),
            }
        }
        Some(Self(found))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn is_whole(&self, num_rows: u64) -> bool {
        self.0.len() == 1 && self.0.front() == Some(&(0..num_rows))
    }

    /// The first row that is still to be read.
    pub fn next_row(&self) -> Option<u64> {
        self.0.front().map(|range| range.start)
    }

    /// Takes away the first `num_rows` rows.
    pub fn advance(&mut self, mut num_rows: u64) {
        while let Some(range) = self.0.front_mut() {
            let length = range.end - range.start;
            if num_rows < length {
                range.start += num_rows;
                return;
            }
            num_rows -= length;
            self.0.pop_front();
        }
    }

    /// Takes away the rows before `row`.
    pub fn advance_to(&mut self, row: u64) {
        while let Some(range) = self.0.front_mut() {
            if range.end > row {
                range.start = range.start.max(row);
                return;
            }
            self.0.pop_front();
        }
    }

    /// The rows that both have.
    pub fn intersection(&self, other: &Self) -> Self {
        let (mut left, mut right) = (self.clone(), other.clone());
        let mut both = VecDeque::new();
        while let (Some(a), Some(b)) = (left.0.front().cloned(), right.0.front().cloned()) {
            let range = a.start.max(b.start)..a.end.min(b.end);
            if !range.is_empty() {
                both.push_back(range);
            }
            match a.end <= b.end {
                true => left.0.pop_front(),
                false => right.0.pop_front(),
            };
        }
        Self(both)
    }

    /// The same as the library wants it.
    pub fn selection(&self, num_rows: u64) -> RowSelection {
        let ranges = self.0.iter();
        let ranges = ranges.map(|range| range.start as usize..range.end as usize);
        RowSelection::from_consecutive_ranges(ranges, num_rows as usize)
    }

    /// The bytes of a column's chunk that hold these rows: all of it where its pages are not known
    /// or most of them are wanted.
    pub fn pieces(
        &self,
        chunk: Range<u64>,
        pages: &[PageLocation],
        num_rows: u64,
    ) -> Vec<Range<u64>> {
        let first = pages
            .first()
            .and_then(|page| u64::try_from(page.offset).ok());
        let Some(first) = first.filter(|_| !self.is_whole(num_rows)) else {
            return vec![chunk];
        };
        // What stands before the first page is the dictionary.
        let dictionary = chunk.start..first.clamp(chunk.start, chunk.end);
        let mut pieces = vec![dictionary];
        for piece in self.selection(num_rows).scan_ranges(pages) {
            let piece = piece.start.max(chunk.start)..piece.end.min(chunk.end);
            match pieces.last_mut() {
                Some(last) if piece.start <= last.end.saturating_add(GAP_BYTES) => {
                    last.end = last.end.max(piece.end);
                }
                _ => pieces.push(piece),
            }
        }
        pieces.retain(|piece| !piece.is_empty());
        pieces
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ranges(list: &[Range<u64>]) -> RowRanges {
        RowRanges::new(list.iter().cloned(), 1_000).unwrap()
    }

    fn rows(ranges: &RowRanges) -> Vec<u64> {
        ranges.0.iter().cloned().flatten().collect()
    }

    #[test]
    fn ranges_out_of_order_are_not_taken() {
        assert_eq!(RowRanges::new([5..7, 3..4].into_iter(), 10), None);
        assert_eq!(RowRanges::new(std::iter::once(5..11), 10), None);
        assert_eq!(ranges(&[0..2, 2..4]), RowRanges::whole(4));
    }

    fn any() -> impl Strategy<Value = RowRanges> {
        prop::collection::vec(0u64..1_000, 0..12).prop_map(|mut ends| {
            ends.sort_unstable();
            let pairs = ends.chunks_exact(2).map(|pair| pair[0]..pair[1]);
            RowRanges::new(pairs, 1_000).unwrap()
        })
    }

    proptest! {
        #[test]
        fn both_have_what_each_has(a in any(), b in any()) {
            let expected = rows(&a).into_iter().filter(|row| rows(&b).contains(row));
            prop_assert_eq!(rows(&a.intersection(&b)), expected.collect::<Vec<_>>());
        }

        #[test]
        fn rows_are_taken_from_the_front(a in any(), count in 0u64..1_200) {
            let (mut taken, mut passed) = (a.clone(), a.clone());
            taken.advance(count);
            let rest = rows(&a).into_iter().skip(count as usize);
            prop_assert_eq!(rows(&taken), rest.collect::<Vec<_>>());
            passed.advance_to(count);
            let rest = rows(&a).into_iter().filter(|row| *row >= count);
            prop_assert_eq!(rows(&passed), rest.collect::<Vec<_>>());
        }
    }

    #[test]
    fn only_wanted_pages_are_read() {
        let page = |number: i64| PageLocation {
            offset: 1_000 + number * 200_000,
            compressed_page_size: 200_000,
            first_row_index: number * 100,
        };
        let pages: Vec<PageLocation> = (0..10).map(page).collect();
        let chunk = 900..2_001_000;
        let wanted = ranges(&[150..160, 250..260, 999..1_000]);
        assert_eq!(
            wanted.pieces(chunk.clone(), &pages, 1_000),
            [900..1_000, 201_000..601_000, 1_801_000..2_001_000]
        );
        let unknown = wanted.pieces(chunk.clone(), &[], 1_000);
        assert_eq!(unknown, std::slice::from_ref(&chunk));
        let all = RowRanges::whole(1_000);
        assert_eq!(all.pieces(chunk.clone(), &pages, 1_000), [chunk]);
    }
}
