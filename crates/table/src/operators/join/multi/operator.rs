//! The driver of a chain of joins.
//!
//! A batch of input *i* is worked like this: the joined rows of the inputs before *i* are made
//! again for the keys of the batch; step *i* gives those that the batch takes away and adds,
//! rows that lose or regain their missing match among them; these go on through the steps
//! behind. Removals reach the output before additions.

use arrow::array::{ArrayRef, BooleanArray};
use arrow::datatypes::SchemaRef;
use flott_core::Result;
use flott_core::changelog::{ChangelogBatch, RowKind};
use flott_core::hash::StableHashMap;
use flott_core::operator::{Operator, OperatorContext, Output, StateSnapshot};

use super::condition::Condition;
use super::input::{Changed, Fate, Input, Keys};
use super::tuples::{Candidates, Tuples, columns_of};
use super::{MultiJoinConfig, MultiJoinStep};
use crate::operators::evaluate::batch_of;
use crate::operators::join::JoinKind;
use crate::operators::join::chains::NONE;
use crate::operators::join::combine::MAX_PAIRS;

pub(super) struct MultiJoin {
    keys: Keys,
    inputs: Vec<Input>,
    steps: Vec<Step>,
    /// By input: positions that are read, and where they stand in the output.
    output: Vec<(Vec<usize>, Vec<usize>)>,
    schema: SchemaRef,
    context: Option<OperatorContext>,
}

struct Step {
    is_left: bool,
    condition: Option<Condition>,
}

/// What becomes of joined rows.
type Sink<'a> = dyn FnMut(Tuples) -> Result<()> + 'a;

/// Joined rows that a batch takes away and adds.
struct Delta {
    removed: Tuples,
    added: Tuples,
}

/// The rows of a batch by the group of their key.
struct ByGroup {
    slots: StableHashMap<u32, Vec<u32>>,
    /// In the order of their first rows.
    groups: Vec<u32>,
}

impl ByGroup {
    fn new(changed: &[Changed]) -> Self {
        let mut by_group = Self {
            slots: StableHashMap::default(),
            groups: Vec::new(),
        };
        for row in changed.iter().filter(|row| row.group != NONE) {
            let slots = by_group.slots.entry(row.group).or_default();
            if slots.is_empty() {
                by_group.groups.push(row.group);
            }
            slots.push(row.slot);
        }
        by_group
    }
}

impl MultiJoin {
    pub fn new(config: &MultiJoinConfig) -> Result<Self> {
        let step = |(number, step): (usize, &MultiJoinStep)| {
            let inputs = &config.inputs[..number + 2];
            let residual = step.residual.as_ref();
            Ok(Step {
                is_left: step.kind == JoinKind::Left,
                condition: residual.map(|r| Condition::new(r, inputs)).transpose()?,
            })
        };
        let inputs = config.inputs.iter().enumerate();
        let of_input = |input: usize| {
            let columns = config.output.iter().enumerate();
            let columns = columns.filter(|(_, (from, _))| *from == input);
            columns.map(|(place, (_, column))| (*column, place)).unzip()
        };
        Ok(Self {
            keys: Keys::new(config)?,
            output: (0..config.inputs.len()).map(of_input).collect(),
            inputs: inputs
                .map(|(number, input)| Input::new(number, input))
                .collect::<Result<_>>()?,
            steps: config
                .steps
                .iter()
                .enumerate()
                .map(step)
                .collect::<Result<_>>()?,
            schema: config.schema.clone(),
            context: None,
        })
    }

    fn now_ms(&self) -> i64 {
        self.context.as_ref().map_or(0, |c| c.clock.now_ms())
    }

    /// Sends what the changed rows of an input change of the result.
    fn join(&self, input: usize, changed: &[Changed], out: &mut dyn Output) -> Result<()> {
        let num_steps = self.steps.len();
        if input == 0 {
            for (fate, is_addition) in [(Fate::Goes, false), (Fate::Comes, true)] {
                let rows = changed.iter().filter(|row| row.fate == fate);
                let rows = Tuples::of_first(rows.map(|row| (row.group, row.slot)));
                self.extend(0, num_steps, rows, &mut |t| self.emit(t, is_addition, out))?;
            }
            return Ok(());
        }
        let by_group = ByGroup::new(changed);
        let mut added = Tuples::empty(input + 1);
        for groups in by_group.groups.chunks(MAX_PAIRS) {
            let first = &self.inputs[0];
            let slots = |&group: &u32| {
                let next = |slot: &u32| Some(first.next(*slot)).filter(|&s| s != NONE);
                let start = Some(first.first(group)).filter(|&s| s != NONE);
                std::iter::successors(start, next).map(move |slot| (group, slot))
            };
            let rows = Tuples::of_first(groups.iter().flat_map(slots));
            self.extend(0, input - 1, rows, &mut |prefix| {
                let mut delta = Delta {
                    removed: Tuples::empty(input + 1),
                    added: std::mem::take(&mut added),
                };
                self.change(input, &prefix, &by_group, &mut delta)?;
                added = delta.added;
                let removed = delta.removed;
                self.extend(input, num_steps, removed, &mut |t| self.emit(t, false, out))
            })?;
        }
        self.extend(input, num_steps, added, &mut |t| self.emit(t, true, out))
    }

    /// What a batch of an input changes of the rows `prefix`, joined with it.
    fn change(
        &self,
        input: usize,
        prefix: &Tuples,
        changed: &ByGroup,
        delta: &mut Delta,
    ) -> Result<()> {
        let step = &self.steps[input - 1];
        let looks_at_all = step.is_left && step.condition.is_some();
        let mut first = 0;
        while first < prefix.len() {
            let mut candidates = Candidates::default();
            let start = first;
            while first < prefix.len() && candidates.rows.len() < MAX_PAIRS {
                let group = prefix.groups[first];
                match looks_at_all {
                    true => self.each_slot(input, group, |slot| candidates.push(first, slot)),
                    false => {
                        let slots = changed.slots.get(&group).into_iter().flatten();
                        slots.for_each(|&slot| candidates.push(first, slot));
                    }
                }
                first += 1;
            }
            let matches = self.matches(step, prefix, &candidates)?;
            let counts = match (step.is_left, &matches) {
                (false, _) => None,
                (true, Some(matches)) => {
                    Some(self.counts(input, start..first, &candidates, matches))
                }
                (true, None) => Some(self.counts_by_group(input, &prefix.groups[start..first])),
            };
            self.tell(input, prefix, (&candidates, matches.as_ref()), delta);
            if let Some(counts) = counts {
                tell_missing(prefix, start, &counts, delta);
            }
        }
        Ok(())
    }

    fn each_slot(&self, input: usize, group: u32, mut f: impl FnMut(u32)) {
        let input = &self.inputs[input];
        let mut slot = input.first(group);
        while slot != NONE {
            f(slot);
            slot = input.next(slot);
        }
    }

    /// Which candidates fulfil the step's condition; `None` is all.
    fn matches(
        &self,
        step: &Step,
        tuples: &Tuples,
        candidates: &Candidates,
    ) -> Result<Option<BooleanArray>> {
        let condition = step.condition.as_ref();
        let matches = condition.map(|c| c.matches(&self.inputs, tuples, candidates));
        matches.transpose()
    }

    /// Of each tuple the number of its matches before and after the batch.
    fn counts(
        &self,
        input: usize,
        tuples: std::ops::Range<usize>,
        candidates: &Candidates,
        matches: &BooleanArray,
    ) -> Vec<(u32, u32)> {
        let mut counts = vec![(0, 0); tuples.len()];
        for (at, (&row, &slot)) in candidates.rows.iter().zip(&candidates.slots).enumerate() {
            if matches.value(at) {
                count(
                    &mut counts[row as usize - tuples.start],
                    self.inputs[input].fate(slot),
                );
            }
        }
        counts
    }

    /// The same where all rows of a key match.
    fn counts_by_group(&self, input: usize, groups: &[u32]) -> Vec<(u32, u32)> {
        let mut known: StableHashMap<u32, (u32, u32)> = StableHashMap::default();
        let counts = groups.iter().map(|&group| {
            *known.entry(group).or_insert_with(|| {
                let mut counts = (0, 0);
                let input_rows = &self.inputs[input];
                self.each_slot(input, group, |slot| {
                    count(&mut counts, input_rows.fate(slot))
                });
                counts
            })
        });
        counts.collect()
    }

    /// Puts the matching candidates that come and go into the delta.
    fn tell(
        &self,
        input: usize,
        prefix: &Tuples,
        (candidates, matches): (&Candidates, Option<&BooleanArray>),
        delta: &mut Delta,
    ) {
        for (at, (&row, &slot)) in candidates.rows.iter().zip(&candidates.slots).enumerate() {
            if matches.is_some_and(|m| !m.value(at)) {
                continue;
            }
            match self.inputs[input].fate(slot) {
                Fate::Stays => {}
                Fate::Goes => delta.removed.push(prefix, row as usize, slot),
                Fate::Comes => delta.added.push(prefix, row as usize, slot),
            }
        }
    }

    /// Joins tuples with the inputs of the steps from `step` to before `end`, and gives the
    /// outcome to `sink` in pieces.
    fn extend(&self, step: usize, end: usize, tuples: Tuples, sink: &mut Sink<'_>) -> Result<()> {
        if tuples.is_empty() {
            return Ok(());
        }
        if step == end {
            return sink(tuples);
        }
        let mut first = 0;
        while first < tuples.len() {
            let mut candidates = Candidates::default();
            let start = first;
            while first < tuples.len() && candidates.rows.len() < MAX_PAIRS {
                let group = tuples.groups[first];
                self.each_slot(step + 1, group, |slot| candidates.push(first, slot));
                first += 1;
            }
            let matches = self.matches(&self.steps[step], &tuples, &candidates)?;
            let joined = match self.steps[step].is_left {
                true => outer_joined(&tuples, start..first, &candidates, matches.as_ref()),
                false => inner_joined(&tuples, &candidates, matches.as_ref()),
            };
            self.extend(step + 1, end, joined, sink)?;
        }
        Ok(())
    }

    fn emit(&self, tuples: Tuples, is_addition: bool, out: &mut dyn Output) -> Result<()> {
        let num_rows = tuples.len();
        let mut columns: Vec<Option<ArrayRef>> = vec![None; self.schema.fields().len()];
        for ((positions, places), (input, slots)) in self
            .output
            .iter()
            .zip(self.inputs.iter().zip(&tuples.slots))
        {
            let read = columns_of(input.store(), slots, positions)?;
            for (place, column) in places.iter().zip(read) {
                columns[*place] = Some(column);
            }
        }
        let columns = columns.into_iter().flatten().collect();
        let rows = batch_of(self.schema.clone(), columns, num_rows)?;
        let removal = RowKind::Delete as u8;
        let kinds = (!is_addition).then(|| vec![removal; num_rows].into());
        out.emit(ChangelogBatch::new(rows, kinds))
    }

    fn expire(&mut self, now_ms: i64) -> Vec<u32> {
        let mut groups = Vec::new();
        let inputs = self.inputs.iter_mut();
        inputs.for_each(|input| input.expire(now_ms, &mut groups));
        groups
    }

    fn forget(&mut self, groups: Vec<u32>) -> Result<()> {
        self.keys.release(groups, &self.inputs);
        self.inputs.iter_mut().try_for_each(Input::sweep)
    }
}

fn count((before, after): &mut (u32, u32), fate: Fate) {
    *before += u32::from(fate != Fate::Comes);
    *after += u32::from(fate != Fate::Goes);
}

/// Puts the tuples from `start` on that have lost their last match, or got their first, into the
/// delta.
fn tell_missing(prefix: &Tuples, start: usize, counts: &[(u32, u32)], delta: &mut Delta) {
    for (at, counts) in counts.iter().enumerate() {
        match counts {
            (0, 1..) => delta.removed.push(prefix, start + at, NONE),
            (1.., 0) => delta.added.push(prefix, start + at, NONE),
            _ => {}
        }
    }
}

fn inner_joined(
    tuples: &Tuples,
    candidates: &Candidates,
    matches: Option<&BooleanArray>,
) -> Tuples {
    let mut joined = Tuples::empty(tuples.slots.len() + 1);
    for (at, (&row, &slot)) in candidates.rows.iter().zip(&candidates.slots).enumerate() {
        if matches.is_none_or(|m| m.value(at)) {
            joined.push(tuples, row as usize, slot);
        }
    }
    joined
}

/// As [`inner_joined`], with each of `rows` that has no match beside nothing.
fn outer_joined(
    tuples: &Tuples,
    rows: std::ops::Range<usize>,
    candidates: &Candidates,
    matches: Option<&BooleanArray>,
) -> Tuples {
    let mut joined = Tuples::empty(tuples.slots.len() + 1);
    let mut at = 0;
    for row in rows {
        let mut has_match = false;
        while candidates.rows.get(at) == Some(&(row as u32)) {
            if matches.is_none_or(|m| m.value(at)) {
                joined.push(tuples, row, candidates.slots[at]);
                has_match = true;
            }
            at += 1;
        }
        if !has_match {
            joined.push(tuples, row, NONE);
        }
    }
    joined
}

impl Operator for MultiJoin {
    fn open(&mut self, context: &OperatorContext) -> Result<()> {
        self.context = Some(context.clone());
        for input in &mut self.inputs {
            input.set_max_parallelism(context.max_parallelism);
        }
        Ok(())
    }

    fn process(&mut self, input: usize, batch: ChangelogBatch, out: &mut dyn Output) -> Result<()> {
        let now_ms = self.now_ms();
        let mut groups = self.expire(now_ms);
        let changes = self.inputs[input].changes(&batch)?;
        let changed = self.inputs[input].take_in(&mut self.keys, batch.rows(), &changes, now_ms)?;
        self.join(input, &changed, out)?;
        groups.extend(self.inputs[input].settle(&changed));
        self.forget(groups)?;
        if let Some(context) = &self.context {
            context.metrics.num_keys.set(self.keys.len() as i64);
        }
        Ok(())
    }

    fn next_timer_ms(&self) -> Option<i64> {
        self.inputs.iter().filter_map(Input::next_expiry_ms).min()
    }

    fn on_timer(&mut self, now_ms: i64, _out: &mut dyn Output) -> Result<()> {
        let groups = self.expire(now_ms);
        self.forget(groups)
    }

    fn snapshot(&mut self) -> Result<StateSnapshot> {
        if let Some(context) = &self.context {
            let size = self.state_bytes();
            context.metrics.state_size_bytes.set(size as i64);
        }
        let inputs = self.inputs.iter_mut();
        Ok(StateSnapshot {
            tables: inputs.map(Input::snapshot).collect(),
        })
    }

    fn restore(&mut self, snapshot: StateSnapshot) -> Result<()> {
        let now_ms = self.now_ms();
        for input in &mut self.inputs {
            input.restore(&mut self.keys, &snapshot, now_ms)?;
        }
        Ok(())
    }

    fn restart_snapshots(&mut self) {
        let inputs = self.inputs.iter_mut();
        inputs.for_each(Input::restart_snapshots);
    }

    fn next_event_time(&self) -> Option<i64> {
        None
    }

    fn state_bytes(&self) -> usize {
        let inputs: usize = self.inputs.iter().map(Input::size_bytes).sum();
        inputs + self.keys.size_bytes()
    }
}
