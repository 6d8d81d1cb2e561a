//! Rows in motion: row kinds, changelog batches and changelog modes.

use std::fmt;

use arrow::array::{ArrayRef, BooleanArray, UInt32Array};
use arrow::buffer::ScalarBuffer;
use arrow::compute::{filter_record_batch, take_record_batch};
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;

/// What a row does to the table that a changelog describes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum RowKind {
    Insert = 0,
    UpdateBefore = 1,
    UpdateAfter = 2,
    Delete = 3,
}

impl RowKind {
    pub const ALL: [RowKind; 4] = [
        Self::Insert,
        Self::UpdateBefore,
        Self::UpdateAfter,
        Self::Delete,
    ];

    /// The kind of this byte; `None` for a byte over 3.
    pub fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.get(byte as usize).copied()
    }

    /// `+I` and `+U` add a row, `-U` and `-D` remove one.
    pub fn is_addition(self) -> bool {
        matches!(self, Self::Insert | Self::UpdateAfter)
    }

    /// `+I`, `-U`, `+U`, `-D`.
    pub fn symbol(self) -> &'static str {
        match self {
            Self::Insert => "+I",
            Self::UpdateBefore => "-U",
            Self::UpdateAfter => "+U",
            Self::Delete => "-D",
        }
    }

    /// The name that Flink's SQL Gateway writes.
    pub fn name(self) -> &'static str {
        match self {
            Self::Insert => "INSERT",
            Self::UpdateBefore => "UPDATE_BEFORE",
            Self::UpdateAfter => "UPDATE_AFTER",
            Self::Delete => "DELETE",
        }
    }

    pub fn from_symbol(symbol: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|k| k.symbol() == symbol)
    }
}

impl fmt::Display for RowKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.symbol())
    }
}

/// One byte a row, each a [`RowKind`].
pub type RowKinds = ScalarBuffer<u8>;

/// Whether the row of this kind byte adds (`+I`, `+U`) rather than removes.
#[inline]
pub fn adds(kind: u8) -> bool {
    kind & 1 == 0
}

/// A batch of rows with an optional column of row kinds; without it every row is `+I`, and
/// insert-only batches pay nothing for the possibility of change.
#[derive(Debug, Clone, PartialEq)]
pub struct ChangelogBatch {
    rows: RecordBatch,
    kinds: Option<RowKinds>,
}

impl ChangelogBatch {
    pub fn insert_only(rows: RecordBatch) -> Self {
        Self { rows, kinds: None }
    }

    /// A batch with a kind for each row.
    ///
    /// # Panics
    /// If the number of kinds is not the number of rows.
    pub fn new(rows: RecordBatch, kinds: Option<RowKinds>) -> Self {
        if let Some(kinds) = &kinds {
            assert_eq!(kinds.len(), rows.num_rows(), "one row kind for each row");
        }
        Self { rows, kinds }
    }

    pub fn rows(&self) -> &RecordBatch {
        &self.rows
    }

    pub fn kinds(&self) -> Option<&RowKinds> {
        self.kinds.as_ref()
    }

    pub fn into_parts(self) -> (RecordBatch, Option<RowKinds>) {
        (self.rows, self.kinds)
    }

    pub fn kind(&self, row: usize) -> RowKind {
        let byte = self.kinds.as_ref().map_or(0, |k| k[row]);
        RowKind::from_byte(byte).unwrap_or(RowKind::Insert)
    }

    pub fn num_rows(&self) -> usize {
        self.rows.num_rows()
    }

    pub fn is_empty(&self) -> bool {
        self.num_rows() == 0
    }

    pub fn schema(&self) -> SchemaRef {
        self.rows.schema()
    }

    pub fn column(&self, index: usize) -> &ArrayRef {
        self.rows.column(index)
    }

    pub fn is_insert_only(&self) -> bool {
        self.kinds
            .as_ref()
            .is_none_or(|k| k.iter().all(|&b| b == RowKind::Insert as u8))
    }

    /// The memory that the arrays hold, in bytes; buffers shared between batches count in each.
    pub fn size_bytes(&self) -> usize {
        self.rows.get_array_memory_size() + self.kinds.as_ref().map_or(0, |k| k.len())
    }

    /// The same row kinds over other columns of as many rows.
    pub fn with_rows(&self, rows: RecordBatch) -> Self {
        Self::new(rows, self.kinds.clone())
    }

    pub fn slice(&self, offset: usize, length: usize) -> Self {
        Self {
            rows: self.rows.slice(offset, length),
            kinds: self.kinds.as_ref().map(|k| k.slice(offset, length)),
        }
    }

    /// The rows where `keep` is true.
    pub fn filter(&self, keep: &BooleanArray) -> Result<Self, ArrowError> {
        let rows = filter_record_batch(&self.rows, keep)?;
        let kinds = self.kinds.as_ref().map(|kinds| {
            let kept = kinds
                .iter()
                .enumerate()
                .filter(|(i, _)| keep.is_valid_true(*i));
            kept.map(|(_, &kind)| kind).collect::<Vec<_>>().into()
        });
        Ok(Self { rows, kinds })
    }

    /// The rows at these positions, in this order.
    pub fn take(&self, indices: &UInt32Array) -> Result<Self, ArrowError> {
        let rows = take_record_batch(&self.rows, indices)?;
        let kinds = self.kinds.as_ref().map(|k| {
            indices
                .values()
                .iter()
                .map(|&i| k[i as usize])
                .collect::<Vec<_>>()
                .into()
        });
        Ok(Self { rows, kinds })
    }

    pub fn project(&self, indices: &[usize]) -> Result<Self, ArrowError> {
        Ok(Self {
            rows: self.rows.project(indices)?,
            kinds: self.kinds.clone(),
        })
    }
}

trait ValidTrue {
    fn is_valid_true(&self, index: usize) -> bool;
}

impl ValidTrue for BooleanArray {
    fn is_valid_true(&self, index: usize) -> bool {
        use arrow::array::Array;
        self.is_valid(index) && self.value(index)
    }
}

/// Which row kinds a changelog may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ChangelogMode {
    pub update_before: bool,
    pub update_after: bool,
    pub delete: bool,
}

impl ChangelogMode {
    /// `+I` only.
    pub const APPEND: ChangelogMode = ChangelogMode {
        update_before: false,
        update_after: false,
        delete: false,
    };
    /// `+I`, `+U` and `-D` by key, without `-U`.
    pub const UPSERT: ChangelogMode = ChangelogMode {
        update_before: false,
        update_after: true,
        delete: true,
    };
    /// Every kind.
    pub const RETRACT: ChangelogMode = ChangelogMode {
        update_before: true,
        update_after: true,
        delete: true,
    };

    pub fn is_append_only(self) -> bool {
        self == Self::APPEND
    }

    /// Every kind that either mode holds.
    pub fn union(self, other: Self) -> Self {
        Self {
            update_before: self.update_before | other.update_before,
            update_after: self.update_after | other.update_after,
            delete: self.delete | other.delete,
        }
    }

    pub fn contains(self, kind: RowKind) -> bool {
        match kind {
            RowKind::Insert => true,
            RowKind::UpdateBefore => self.update_before,
            RowKind::UpdateAfter => self.update_after,
            RowKind::Delete => self.delete,
        }
    }
}

impl fmt::Display for ChangelogMode {
    /// As Flink's EXPLAIN writes it: `I`, `I,UB,UA,D`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("I")?;
        let kinds = [
            (self.update_before, ",UB"),
            (self.update_after, ",UA"),
            (self.delete, ",D"),
        ];
        for (present, name) in kinds {
            if present {
                f.write_str(name)?;
            }
        }
        Ok(())
    }
}
