//! Joins rows with a set of rows that does not change.

use arrow::record_batch::RecordBatch;
use flott_core::Result;
use flott_core::changelog::ChangelogBatch;
use flott_core::operator::Output;

use super::chains::{Chains, NONE};
use super::combine::{Alone, Combiner, Pairs, RowsOf, emit_in_order, is_left_only, may_be_equal};
use super::keys::{KeyGroups, SideName};
use super::{JoinInputs, JoinKind};

/// A join of batches of the left with one batch of the right.
pub(super) struct BatchJoin {
    kind: JoinKind,
    keys: KeyGroups,
    combiner: Combiner,
    /// Rows of the right by key.
    chains: Chains,
    right: RecordBatch,
    /// Rows of the right whose key is NULL.
    without_key: Vec<u32>,
    is_matched: Vec<bool>,
    groups: Vec<u32>,
}

/// Takes output rows, with the row of the left that each comes from.
pub(super) type Send<'a> = dyn FnMut(RecordBatch, &[u32]) -> Result<()> + 'a;

impl BatchJoin {
    pub fn new(inputs: &JoinInputs) -> Result<Self> {
        Ok(Self {
            kind: inputs.kind,
            keys: KeyGroups::new(inputs)?,
            combiner: Combiner::new(inputs)?,
            chains: Chains::default(),
            right: RecordBatch::new_empty(inputs.right_schema.clone()),
            without_key: Vec::new(),
            is_matched: Vec::new(),
            groups: Vec::new(),
        })
    }

    /// Starts over with these rows of the right.
    pub fn build(&mut self, right: RecordBatch) -> Result<()> {
        self.keys.clear();
        self.chains.clear();
        self.without_key.clear();
        self.is_matched.clear();
        self.is_matched.resize(right.num_rows(), false);
        self.keys
            .assign(SideName::Right, &right, &mut self.groups)?;
        for (row, &group) in self.groups.iter().enumerate() {
            match group {
                NONE => self.without_key.push(row as u32),
                group => self.chains.push(group, row as u32),
            }
        }
        self.right = right;
        Ok(())
    }

    /// Sends what a batch of the left gives, in its order and with its kinds.
    pub fn probe_batch(&mut self, left: &ChangelogBatch, out: &mut dyn Output) -> Result<()> {
        if left.is_insert_only() {
            let mut send = |rows, _: &[u32]| out.emit(ChangelogBatch::insert_only(rows));
            return self.probe(left.rows(), &mut send);
        }
        let mut joined = Vec::new();
        self.probe(left.rows(), &mut |rows, positions| {
            joined.push((rows, positions.to_vec()));
            Ok(())
        })?;
        let kinds = (0..left.num_rows()).map(|row| left.kind(row) as u8);
        emit_in_order(joined, &kinds.collect::<Vec<_>>(), out)
    }

    /// Sends what these rows of the left give. The rows of the left of a sent batch ascend.
    pub fn probe(&mut self, left: &RecordBatch, send: &mut Send<'_>) -> Result<()> {
        self.keys.assign(SideName::Left, left, &mut self.groups)?;
        let mut counts = vec![0; left.num_rows()];
        let mut pairs = Pairs::default();
        let mut candidates = Vec::new();
        for row in 0..left.num_rows() {
            let group = self.groups[row];
            if self.kind == JoinKind::NullAwareAnti {
                candidates.clear();
                match group {
                    NONE => candidates.extend(self.chains.all()),
                    group => candidates.extend(self.chains.slots(group)),
                }
                candidates.extend(&self.without_key);
            } else if group == NONE {
                continue;
            } else {
                candidates.clear();
                candidates.extend(self.chains.slots(group));
            }
            for &candidate in &candidates {
                pairs.push(row as u32, row, candidate);
                if pairs.is_full() {
                    self.flush(left, &mut pairs, &mut counts, send)?;
                }
            }
        }
        self.flush(left, &mut pairs, &mut counts, send)?;
        // Rows of the left are not wanted back here: their groups may go.
        let alone = Alone::of(self.kind, SideName::Left);
        let sent = (0..left.num_rows() as u32).filter(|&r| alone.is_sent(counts[r as usize]));
        let sent: Vec<u32> = sent.collect();
        let chains = &self.chains;
        self.keys.release(Vec::new(), |g| chains.first(g) == NONE);
        match sent.is_empty() {
            true => Ok(()),
            false => {
                let rows = RowsOf::Batch(left, &sent);
                send(self.combiner.alone(SideName::Left, &rows)?, &sent)
            }
        }
    }

    fn flush(
        &mut self,
        left: &RecordBatch,
        pairs: &mut Pairs,
        counts: &mut [u32],
        send: &mut Send<'_>,
    ) -> Result<()> {
        if pairs.is_empty() {
            return Ok(());
        }
        let own = RowsOf::Batch(left, &pairs.rows);
        let other = RowsOf::Batch(&self.right, &pairs.slots);
        if let Some(marks) = self.combiner.matches(SideName::Left, &own, &other)? {
            pairs.keep(&marks);
        }
        let keys = &self.keys.columns;
        if self.kind == JoinKind::NullAwareAnti && keys.positions(SideName::Left).len() > 1 {
            let own = RowsOf::Batch(left, &pairs.rows).columns(keys.positions(SideName::Left))?;
            let other = RowsOf::Batch(&self.right, &pairs.slots);
            let other = other.columns(keys.positions(SideName::Right))?;
            pairs.keep(&may_be_equal(&own, &other, pairs.rows.len())?);
        }
        for (&row, &slot) in pairs.rows.iter().zip(&pairs.slots) {
            counts[row as usize] += 1;
            self.is_matched[slot as usize] = true;
        }
        if !is_left_only(self.kind) && !pairs.is_empty() {
            let own = RowsOf::Batch(left, &pairs.rows);
            let other = RowsOf::Batch(&self.right, &pairs.slots);
            send(
                self.combiner.pairs(SideName::Left, &own, &other)?,
                &pairs.rows,
            )?;
        }
        pairs.clear();
        Ok(())
    }

    /// The rows of the right that no row of the left has matched, if the kind sends them.
    pub fn unmatched(&self) -> Result<Option<RecordBatch>> {
        if Alone::of(self.kind, SideName::Right) != Alone::Unmatched {
            return Ok(None);
        }
        let rows = 0..self.is_matched.len() as u32;
        let rows: Vec<u32> = rows.filter(|&r| !self.is_matched[r as usize]).collect();
        let rows = RowsOf::Batch(&self.right, &rows);
        Ok(Some(self.combiner.alone(SideName::Right, &rows)?))
    }
}
