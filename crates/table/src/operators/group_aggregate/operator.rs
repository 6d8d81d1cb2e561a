//! The driver of the aggregation by key.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, Int64Array};
use arrow::compute::{filter, filter_record_batch};
use arrow::datatypes::Int64Type;
use arrow::record_batch::RecordBatch;
use flott_core::Result;
use flott_core::changelog::ChangelogBatch;
use flott_core::operator::{
    Operator, OperatorContext, Output, StateScope, StateSnapshot, StateTable, TRAILING_COLUMNS,
};

use super::GroupAggregateConfig;
use super::changes::{ChangeStyle, Touched, changes};
use super::emptied::RowCounts;
use super::pieces::Pieces;
use crate::aggregates::Phase;
use crate::operators::aggregate_table::{AggregateLayout, AggregateTable, additions, named_batch};
use crate::operators::evaluate::batch_of;
use crate::operators::local_phase::LocalPhase;

/// The name of the one state table.
pub(super) const GROUPS: &str = "groups";
/// Rows in a batch that is sent at the end of input.
const BATCH_SIZE: usize = 1 << 14;

pub(super) struct GroupAggregate {
    config: GroupAggregateConfig,
    layout: Arc<AggregateLayout>,
    table: AggregateTable,
    local: LocalPhase,
    /// There where each change is sent.
    pieces: Option<Pieces>,
    row_counts: RowCounts,
    context: Option<OperatorContext>,
    /// Of each group the last batch that touched it.
    touched_in: Vec<u64>,
    batch_number: u64,
    /// With a TTL: when each group was last updated.
    updated_ms: Vec<i64>,
    next_sweep_ms: Option<i64>,
}

impl GroupAggregate {
    pub fn new(config: GroupAggregateConfig) -> Result<Self> {
        let layout = Arc::new(config.layout());
        let pieces = || {
            let keys = &config.key_columns;
            let types = keys
                .iter()
                .map(|&c| config.input_schema.field(c).data_type());
            Pieces::new(&types.cloned().collect::<Vec<_>>(), keys)
        };
        Ok(Self {
            table: AggregateTable::new(&layout)?,
            local: LocalPhase::new(&layout)?,
            pieces: config.sends_each_change.then(pieces).transpose()?,
            row_counts: RowCounts::default(),
            layout,
            config,
            context: None,
            touched_in: Vec::new(),
            batch_number: 0,
            updated_ms: Vec::new(),
            next_sweep_ms: None,
        })
    }

    fn now_ms(&self) -> i64 {
        self.context.as_ref().map_or(0, |c| c.clock.now_ms())
    }

    /// The groups of the rows assigned last, each once, and which of them are new.
    fn touch(&mut self) -> (Vec<u32>, Vec<bool>) {
        self.touched_in.resize(self.table.groups().capacity(), 0);
        // Odd marks are of new groups.
        let seen = (self.batch_number + 1) * 2;
        self.batch_number += 1;
        for &group in self.table.groups().created() {
            self.touched_in[group as usize] = seen + 1;
        }
        let (mut groups, mut is_new) = (Vec::new(), Vec::new());
        for &group in self.table.row_groups() {
            let mark = &mut self.touched_in[group as usize];
            if *mark == seen {
                continue;
            }
            is_new.push(*mark == seen + 1);
            groups.push(group);
            *mark = seen;
        }
        (groups, is_new)
    }

    /// Empties groups that have outlived the TTL, as if they were new.
    fn expire(&mut self, groups: &[u32], is_new: &mut [bool]) {
        let Some(ttl_ms) = self.config.state_ttl_ms else {
            return;
        };
        let now_ms = self.now_ms();
        self.updated_ms.resize(self.table.groups().capacity(), 0);
        let mut expired = Vec::new();
        for (&group, is_new) in groups.iter().zip(is_new) {
            let updated_ms = &mut self.updated_ms[group as usize];
            if !*is_new && updated_ms.saturating_add(ttl_ms) <= now_ms {
                expired.push(group);
                *is_new = true;
            }
            *updated_ms = now_ms;
        }
        self.table.accumulators_mut().clear(&expired);
        self.next_sweep_ms
            .get_or_insert(now_ms.saturating_add(ttl_ms));
    }

    fn update(&mut self, input: usize, batch: &ChangelogBatch, out: &mut dyn Output) -> Result<()> {
        let mut adds = additions(batch);
        let mut rows = match self.config.final_inputs {
            Some(_) => batch.rows().clone(),
            None => self.layout.pick(batch.rows())?,
        };
        self.table.assign(&rows)?;
        let (groups, mut is_new) = self.touch();
        self.expire(&groups, &mut is_new);
        let accumulators = self.table.accumulators();
        let was_shown = groups.iter().zip(&is_new);
        let was_shown = was_shown.map(|(&g, is_new)| !is_new && accumulators.has_rows(g));
        let was_shown: Vec<bool> = was_shown.collect();
        let old = groups.iter().zip(&was_shown).filter(|(_, shown)| **shown);
        let old: Vec<u32> = old.map(|(&g, _)| g).collect();
        let before = match self.config.emits_at_end {
            true => Vec::new(),
            false => self.table.accumulators().results(&old)?,
        };
        if self.config.forgets_emptied {
            self.forget_emptied(&groups, &mut rows, &mut adds)?;
        }
        match &self.config.final_inputs {
            Some(inputs) => self.table.take_in_some(&rows, &inputs.inputs[input])?,
            None => self.table.take_in(&rows, adds.as_ref())?,
        }
        if !self.config.emits_at_end {
            self.send_changes(&groups, &was_shown, &before, out)?;
        }
        let accumulators = self.table.accumulators();
        let gone = groups.iter().copied();
        let gone: Vec<u32> = gone.filter(|&g| accumulators.is_gone(g)).collect();
        self.table.remove(&gone, self.max_parallelism())
    }

    /// Leaves out the rows that do not count because their group begins anew after them.
    fn forget_emptied(
        &mut self,
        groups: &[u32],
        rows: &mut RecordBatch,
        adds: &mut Option<BooleanArray>,
    ) -> Result<()> {
        let Some(added) = adds else {
            return Ok(());
        };
        let (row_groups, accumulators) = (self.table.row_groups(), self.table.accumulators());
        let count = |group| accumulators.num_rows(group);
        let remaining = self.row_counts.follow(row_groups, added, groups, count);
        if let Some(remaining) = remaining {
            self.table.forget(&remaining.emptied, &remaining.rows);
            *rows = filter_record_batch(rows, &remaining.rows)?;
            *adds = Some(filter(added, &remaining.rows)?.as_boolean().clone());
        }
        Ok(())
    }

    fn max_parallelism(&self) -> usize {
        self.context.as_ref().map_or(1, |c| c.max_parallelism)
    }

    fn send_changes(
        &self,
        groups: &[u32],
        was_shown: &[bool],
        before: &[ArrayRef],
        out: &mut dyn Output,
    ) -> Result<()> {
        let mut num_old = 0;
        let touched = groups.iter().zip(was_shown).map(|(&group, &was_shown)| {
            let before = was_shown.then_some(num_old);
            num_old += u32::from(was_shown);
            Touched {
                before,
                is_there: self.table.accumulators().has_rows(group),
            }
        });
        let touched: Vec<_> = touched.collect();
        let keys = self.table.groups().keys(groups)?;
        let after = self.table.accumulators().results(groups)?;
        let style = ChangeStyle {
            emits_update_before: self.config.emits_update_before,
            // Downstream state of this key must not expire before ours.
            emits_unchanged: self.config.state_ttl_ms.is_some(),
        };
        let schema = &self.config.schema;
        let batch = changes(&touched, &keys, before, &after, style, schema)?;
        if batch.is_empty() {
            return Ok(());
        }
        out.emit(batch)
    }

    /// Sends the partial states of the batch's keys.
    fn update_locally(&mut self, batch: &ChangelogBatch, out: &mut dyn Output) -> Result<()> {
        let rows = self.layout.pick(batch.rows())?;
        let adds = additions(batch);
        if self.local.passes(rows.num_rows()) {
            let columns = self.local.states(&rows, adds.as_ref())?;
            let states = batch_of(self.config.schema.clone(), columns, rows.num_rows())?;
            return out.emit(ChangelogBatch::insert_only(states));
        }
        self.table.assign(&rows)?;
        self.table.take_in(&rows, adds.as_ref())?;
        let groups = self.table.groups().groups();
        self.local.measure(rows.num_rows(), groups.len());
        let columns = self.table.key_states(&groups)?;
        let states = batch_of(self.config.schema.clone(), columns, groups.len())?;
        self.table.clear();
        out.emit(ChangelogBatch::insert_only(states))
    }

    fn send_all(&mut self, out: &mut dyn Output) -> Result<()> {
        if self.config.key_columns.is_empty() && self.table.groups().is_empty() {
            self.table.assign_single()?;
        }
        let is_single = self.config.key_columns.is_empty();
        let groups = match is_single {
            true => self.table.groups().groups(),
            false => self.table.shown_groups(),
        };
        for groups in groups.chunks(BATCH_SIZE) {
            let columns = self.table.key_results(groups)?;
            let results = batch_of(self.config.schema.clone(), columns, groups.len())?;
            out.emit(ChangelogBatch::insert_only(results))?;
        }
        Ok(())
    }

    fn restore_batch(&mut self, batch: &RecordBatch) -> Result<()> {
        let mut columns = batch.columns()[1..].to_vec();
        // There with a TTL only, and the TTL may have changed since.
        let schema = batch.schema();
        let last = schema.fields().last().map(|f| f.name().as_str());
        let is_aged = last == Some(TRAILING_COLUMNS[1]);
        let updated = is_aged.then(|| columns.pop()).flatten();
        self.table.merge_columns(&columns, batch.num_rows())?;
        let Some(ttl_ms) = self.config.state_ttl_ms else {
            return Ok(());
        };
        let now_ms = self.now_ms();
        self.updated_ms.resize(self.table.groups().capacity(), 0);
        let updated = updated
            .as_ref()
            .map(|u| u.as_primitive::<Int64Type>().values());
        for (row, &group) in self.table.row_groups().iter().enumerate() {
            self.updated_ms[group as usize] = updated.map_or(now_ms, |u| u[row]);
        }
        self.next_sweep_ms = Some(now_ms.saturating_add(ttl_ms));
        Ok(())
    }

    fn state_names(&self) -> Vec<String> {
        let mut names = vec!["key_group".to_string()];
        names.extend(self.layout.key_names());
        names.extend(self.table.accumulators().state_names());
        let updated = self
            .config
            .state_ttl_ms
            .map(|_| TRAILING_COLUMNS[1].to_string());
        names.extend(updated);
        names
    }

    fn report(&self) {
        if let Some(context) = &self.context {
            let metrics = &context.metrics;
            metrics.num_keys.set(self.table.groups().len() as i64);
            metrics.state_size_bytes.set(self.table.size_bytes() as i64);
        }
    }
}

impl Operator for GroupAggregate {
    fn open(&mut self, context: &OperatorContext) -> Result<()> {
        self.context = Some(context.clone());
        Ok(())
    }

    fn process(&mut self, input: usize, batch: ChangelogBatch, out: &mut dyn Output) -> Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        if self.config.phase == Phase::Local {
            return self.update_locally(&batch, out);
        }
        let Some(pieces) = &mut self.pieces else {
            return self.update(input, &batch, out);
        };
        let mut pieces = pieces.cut(&batch)?.into_iter();
        pieces.try_for_each(|piece| self.update(input, &piece, out))
    }

    fn next_timer_ms(&self) -> Option<i64> {
        self.next_sweep_ms
    }

    /// Forgets the groups that have outlived the TTL.
    fn on_timer(&mut self, now_ms: i64, _out: &mut dyn Output) -> Result<()> {
        let ttl_ms = self.config.state_ttl_ms.unwrap_or(i64::MAX);
        let mut expired = self.table.groups().groups();
        expired.retain(|&g| self.updated_ms[g as usize].saturating_add(ttl_ms) <= now_ms);
        self.table.remove(&expired, self.max_parallelism())?;
        let is_empty = self.table.groups().is_empty();
        self.next_sweep_ms = (!is_empty).then(|| now_ms.saturating_add(ttl_ms));
        Ok(())
    }

    fn finish(&mut self, out: &mut dyn Output) -> Result<()> {
        let is_local = self.config.phase == Phase::Local;
        if self.config.emits_at_end && !is_local {
            self.send_all(out)?;
        }
        Ok(())
    }

    fn snapshot(&mut self) -> Result<StateSnapshot> {
        if self.config.phase == Phase::Local {
            return Ok(StateSnapshot::default());
        }
        self.report();
        let groups = self.table.groups_to_tell();
        let mut columns = vec![self.table.key_groups(&groups, self.max_parallelism())];
        columns.extend(self.table.key_states(&groups)?);
        if self.config.state_ttl_ms.is_some() {
            let updated = groups.iter().map(|&g| self.updated_ms[g as usize]);
            columns.push(Arc::new(Int64Array::from_iter_values(updated)));
        }
        let rows = named_batch(self.state_names(), columns, groups.len())?;
        let table = match self.table.knows_changes() {
            true => {
                let key_columns = 1 + self.layout.num_keys();
                StateTable::delta(GROUPS, key_columns, rows, self.table.told())
            }
            false => {
                self.table.told();
                StateTable::full(GROUPS, StateScope::Keyed, rows)
            }
        };
        Ok(StateSnapshot {
            tables: vec![table],
        })
    }

    fn restore(&mut self, snapshot: StateSnapshot) -> Result<()> {
        for batch in snapshot.table(GROUPS) {
            self.restore_batch(&batch?)?;
        }
        self.table.told();
        Ok(())
    }

    fn restart_snapshots(&mut self) {
        self.table.forget_changes();
    }

    fn state_bytes(&self) -> usize {
        let marks = self.touched_in.capacity() + self.updated_ms.capacity();
        self.table.size_bytes() + marks * 8 + self.row_counts.size_bytes()
    }

    fn next_event_time(&self) -> Option<i64> {
        None
    }
}
