//! Rows of several inputs side by side, as their slots.

use arrow::array::{ArrayRef, UInt32Array};
use arrow::compute::take;
use flott_core::Result;

use crate::operators::join::chains::NONE;
use crate::operators::rows::RowStore;

/// Joined rows of the first inputs of a chain.
#[derive(Default)]
pub(super) struct Tuples {
    /// The key's group; [`NONE`] when it is NULL.
    pub groups: Vec<u32>,
    /// By input; [`NONE`] where an outer join has found nothing.
    pub slots: Vec<Vec<u32>>,
}

impl Tuples {
    /// No rows, of so many inputs.
    pub fn empty(num_inputs: usize) -> Self {
        Self {
            groups: Vec::new(),
            slots: vec![Vec::new(); num_inputs],
        }
    }

    /// Rows of the first input.
    pub fn of_first(rows: impl Iterator<Item = (u32, u32)>) -> Self {
        let (groups, slots) = rows.unzip();
        Self {
            groups,
            slots: vec![slots],
        }
    }

    pub fn len(&self) -> usize {
        self.groups.len()
    }

    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// Puts row `row` of `from`, joined with a slot of the next input, at the end.
    pub fn push(&mut self, from: &Self, row: usize, slot: u32) {
        self.groups.push(from.groups[row]);
        let (own, last) = self.slots.split_at_mut(from.slots.len());
        for (own, from) in own.iter_mut().zip(&from.slots) {
            own.push(from[row]);
        }
        last[0].push(slot);
    }
}

/// Rows of tuples, each beside a row of the next input.
#[derive(Default)]
pub(super) struct Candidates {
    /// Positions of the tuples, ascending.
    pub rows: Vec<u32>,
    pub slots: Vec<u32>,
}

impl Candidates {
    pub fn push(&mut self, row: usize, slot: u32) {
        self.rows.push(row as u32);
        self.slots.push(slot);
    }
}

/// These columns of the rows of these slots; NULL where there is none.
pub(super) fn columns_of(
    store: &RowStore,
    slots: &[u32],
    columns: &[usize],
) -> Result<Vec<ArrayRef>> {
    if !slots.contains(&NONE) {
        return store.columns(slots, columns);
    }
    let present: Vec<u32> = slots.iter().copied().filter(|&s| s != NONE).collect();
    let mut num_present = 0;
    let places = slots.iter().map(|&slot| {
        (slot != NONE).then(|| {
            num_present += 1;
            num_present - 1
        })
    });
    let places: UInt32Array = places.collect();
    let stored = store.columns(&present, columns)?;
    let taken = stored.iter().map(|c| Ok(take(c, &places, None)?));
    taken.collect()
}
