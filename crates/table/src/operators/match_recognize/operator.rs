//! Rows in, matches out.

use std::collections::BTreeMap;

use arrow::array::{Array, BooleanArray, Int64Array};
use arrow::record_batch::RecordBatch;
use flott_core::Result;
use flott_core::changelog::ChangelogBatch;
use flott_core::operator::{Operator, OperatorContext, Output, StateSnapshot};

use super::matcher::{KeptRow, KeyRuns, Mapping, Match, Matcher, Scratch};
use super::pattern::Automaton;
use super::view::{Viewed, Viewer};
use super::{MatchConfig, MatchTime};
use crate::operators::evaluate::{batch_of, evaluate_predicate, milliseconds};
use crate::operators::rows::{Partitions, RowStore};
use crate::operators::sort_key::SortKeyEncoder;

/// As many matches become one batch.
const BATCH_ROWS: usize = 4_096;

pub(super) struct MatchRecognize {
    pub config: MatchConfig,
    pub matcher: Matcher,
    pub partitions: Partitions,
    pub store: RowStore,
    /// By number of the key.
    pub keys: Vec<KeyRuns>,
    /// Rows that the watermark has not passed, by time and in order of arrival.
    pub waiting: BTreeMap<i64, Vec<Waiting>>,
    /// The keys that may have a run which is too old at this time.
    pub expiring: BTreeMap<i64, Vec<u32>>,
    pub context: Option<OperatorContext>,
    /// By variable, where its condition looks at the run.
    run_conditions: Vec<Option<Viewer>>,
    /// The variables that have one of those, as bits.
    run_variables: u64,
    measures: Viewer,
    encoder: SortKeyEncoder,
    watermark: i64,
    num_waiting: usize,
    num_runs: usize,
    scratch: Scratch,
}

/// A row to be worked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waiting {
    pub key: u32,
    pub slot: u32,
    /// The variables that it may be, as far as that depends on the row alone.
    pub takes: u64,
}

/// What is to be worked of one key.
#[derive(Default)]
struct Due {
    key: u32,
    rows: Vec<(i64, Waiting)>,
    matches: Vec<Match>,
}

/// A run that could take a row, if the row were mapped to the variable at hand.
struct Question {
    due: usize,
    run: usize,
    mapping: Mapping,
}

impl MatchRecognize {
    pub fn new(config: &MatchConfig) -> Result<Self> {
        let viewer = |view: &Option<_>| view.as_ref().map(Viewer::new).transpose();
        let conditions = config.conditions.iter();
        let run_conditions = conditions.map(|c| viewer(&c.of_run));
        let run_conditions: Vec<Option<Viewer>> = run_conditions.collect::<Result<_>>()?;
        let has_view = run_conditions.iter().enumerate();
        let run_variables = has_view.fold(0, |bits, (v, c)| bits | u64::from(c.is_some()) << v);
        Ok(Self {
            matcher: Matcher {
                automaton: Automaton::new(&config.pattern)?,
                num_variables: config.pattern.len(),
                skip: config.skip,
                within_ms: config.within_ms.filter(|ms| *ms > 0),
                names: config.pattern.iter().map(|e| e.name.clone()).collect(),
            },
            partitions: Partitions::new(&config.input_schema, &config.partition_columns)?,
            store: RowStore::new(config.input_schema.clone()),
            keys: Vec::new(),
            waiting: BTreeMap::new(),
            expiring: BTreeMap::new(),
            context: None,
            run_conditions,
            run_variables,
            measures: Viewer::new(&config.measures)?,
            encoder: SortKeyEncoder::new(&config.input_schema, &config.order)?,
            watermark: i64::MIN,
            num_waiting: 0,
            num_runs: 0,
            scratch: Scratch::default(),
            config: config.clone(),
        })
    }

    fn is_proctime(&self) -> bool {
        self.config.time == MatchTime::Proctime
    }

    /// Which variables each row may be, as bits, as far as that depends on the row alone.
    pub fn takes_of(&self, rows: &RecordBatch) -> Result<Vec<u64>> {
        let mut takes = vec![0; rows.num_rows()];
        for (variable, condition) in self.config.conditions.iter().enumerate() {
            let bit = 1u64 << variable;
            let Some(condition) = &condition.of_row else {
                takes.iter_mut().for_each(|t| *t |= bit);
                continue;
            };
            let values = evaluate_predicate(condition.as_ref(), rows)?;
            for (row, takes) in takes.iter_mut().enumerate() {
                *takes |= u64::from(is_true(&values, row)) << variable;
            }
        }
        Ok(takes)
    }

    /// Keeps rows of these times until they are worked.
    fn hold(&mut self, rows: &RecordBatch, times: &Int64Array) -> Result<()> {
        let takes = self.takes_of(rows)?;
        let keys = self.partitions.assign(rows)?;
        self.make_room();
        let mut num_late = 0;
        let watermark = match self.config.time {
            MatchTime::Rowtime(_) => Some(self.watermark),
            MatchTime::Whole(_) | MatchTime::Proctime => None,
        };
        for (row, &key) in keys.iter().enumerate() {
            self.keys[key as usize].is_known = true;
            if times.is_null(row) || watermark.is_some_and(|w| times.value(row) <= w) {
                num_late += 1;
                continue;
            }
            let slot = self.store.allocate(row);
            let takes = takes[row];
            self.wait(times.value(row), Waiting { key, slot, takes });
        }
        if num_late > 0 {
            keys.iter().for_each(|&key| self.forget_if_idle(key));
            if let Some(context) = &self.context {
                context.metrics.num_late_records_dropped.add(num_late);
            }
        }
        self.store.commit(rows)
    }

    pub fn make_room(&mut self) {
        let bound = self.partitions.bound().max(self.keys.len());
        self.keys.resize_with(bound, KeyRuns::default);
    }

    pub fn wait(&mut self, time: i64, row: Waiting) {
        self.keys[row.key as usize].num_waiting += 1;
        self.num_waiting += 1;
        self.waiting.entry(time).or_default().push(row);
    }

    pub fn expire_at(&mut self, time: i64, key: u32) {
        let keys = self.expiring.entry(time).or_default();
        if keys.last() != Some(&key) {
            keys.push(key);
        }
    }

    /// What is due at this time, the key with the earliest row or run first.
    fn take_due(&mut self, until_ms: i64) -> Result<Vec<Due>> {
        let mut due: Vec<Due> = Vec::new();
        loop {
            let next_row = self.waiting.first_key_value().map(|(time, _)| *time);
            let next_end = self.expiring.first_key_value().map(|(time, _)| *time);
            let Some(time) = next_row.into_iter().chain(next_end).min() else {
                break;
            };
            if time > until_ms {
                break;
            }
            for key in self.expiring.remove(&time).unwrap_or_default() {
                self.due_of(key, &mut due);
            }
            let rows = self.waiting.remove(&time).unwrap_or_default();
            self.num_waiting -= rows.len();
            for row in self.in_order(rows)? {
                self.keys[row.key as usize].num_waiting -= 1;
                self.due_of(row.key, &mut due).rows.push((time, row));
            }
        }
        due.iter()
            .for_each(|d| self.keys[d.key as usize].due = None);
        Ok(due)
    }

    fn due_of<'d>(&mut self, key: u32, due: &'d mut Vec<Due>) -> &'d mut Due {
        let position = self.keys[key as usize].due.get_or_insert_with(|| {
            due.push(Due {
                key,
                ..Due::default()
            });
            due.len() as u32 - 1
        });
        &mut due[*position as usize]
    }

    /// Rows of one time in the order that is asked for.
    fn in_order(&self, rows: Vec<Waiting>) -> Result<Vec<Waiting>> {
        if self.config.order.is_empty() || rows.len() < 2 {
            return Ok(rows);
        }
        let slots: Vec<u32> = rows.iter().map(|row| row.slot).collect();
        let Some(ranks) = self.encoder.encode(&self.store.rows(&slots)?)? else {
            return Ok(rows);
        };
        let mut positions: Vec<usize> = (0..rows.len()).collect();
        positions.sort_by(|&a, &b| ranks.row(a).cmp(&ranks.row(b)));
        Ok(positions.into_iter().map(|p| rows[p]).collect())
    }

    /// Works all rows up to this time, and what it makes too old.
    fn work(&mut self, until_ms: i64, out: &mut dyn Output) -> Result<()> {
        let mut due = self.take_due(until_ms)?;
        if due.is_empty() {
            return Ok(());
        }
        for due in &due {
            let key = &mut self.keys[due.key as usize];
            self.num_runs -= key.partial.items().len() + key.completed.items().len();
            key.begin(&self.matcher);
        }
        if self.run_variables == 0 {
            due.iter_mut().try_for_each(|due| self.work_key(due))?;
        } else {
            self.work_in_waves(&mut due)?;
        }
        for due in &mut due {
            let key = &mut self.keys[due.key as usize];
            key.advance(&self.matcher, until_ms, &mut due.matches)?;
        }
        self.send(&due, out)?;
        for due in &due {
            let key = &mut self.keys[due.key as usize];
            key.prune(|slot| self.store.release(slot));
            self.num_runs += key.partial.items().len() + key.completed.items().len();
            self.forget_if_idle(due.key);
        }
        self.store.sweep()
    }

    pub fn forget_if_idle(&mut self, key: u32) {
        let runs = &mut self.keys[key as usize];
        if runs.is_idle() {
            self.num_runs -= runs.partial.items().len();
            let runs = std::mem::take(runs);
            // A key that is known no more comes here when a run of it would have become too old.
            if runs.is_known {
                self.partitions.remove(key);
            }
        }
    }

    /// Counts the runs again, after state has been taken back.
    pub fn count_runs(&mut self) {
        let runs = |key: &KeyRuns| key.partial.items().len() + key.completed.items().len();
        self.num_runs = self.keys.iter().map(runs).sum();
    }

    /// Brings a row to its key's runs.
    fn admit(&mut self, due: &mut Due, time: i64, slot: u32) -> Result<()> {
        let key = &mut self.keys[due.key as usize];
        key.advance(&self.matcher, time, &mut due.matches)?;
        key.rows.push_back(KeptRow { slot, time });
        Ok(())
    }

    fn step(&mut self, due: &mut Due, time: i64, takes: impl Fn(usize) -> u64) -> Result<()> {
        let key = &mut self.keys[due.key as usize];
        let (matcher, scratch) = (&self.matcher, &mut self.scratch);
        let has_begun = key.step(matcher, takes, scratch, &mut due.matches)?;
        if let (true, Some(within_ms)) = (has_begun, self.matcher.within_ms) {
            self.expire_at(time.saturating_add(within_ms), due.key);
        }
        Ok(())
    }

    /// All rows of a key, where each row's variables are known by itself.
    fn work_key(&mut self, due: &mut Due) -> Result<()> {
        for (time, row) in std::mem::take(&mut due.rows) {
            self.admit(due, time, row.slot)?;
            self.step(due, time, |_| row.takes)?;
        }
        Ok(())
    }

    /// The first row of each key, then the second, and so on: conditions that look at runs are
    /// evaluated for all keys at once.
    fn work_in_waves(&mut self, due: &mut [Due]) -> Result<()> {
        let mut active: Vec<usize> = (0..due.len()).collect();
        for wave in 0.. {
            active.retain(|&d| wave < due[d].rows.len());
            if active.is_empty() {
                break;
            }
            for &d in &active {
                let (time, row) = due[d].rows[wave];
                self.admit(&mut due[d], time, row.slot)?;
            }
            let (starts, takes) = self.ask(due, &active, wave)?;
            for (&d, start) in active.iter().zip(starts) {
                let (time, _) = due[d].rows[wave];
                self.step(&mut due[d], time, |run| takes[start + run])?;
            }
        }
        Ok(())
    }

    /// For each run of the active keys, the variables that its key's row may be; with where the
    /// runs of each key begin.
    fn ask(
        &mut self,
        due: &[Due],
        active: &[usize],
        wave: usize,
    ) -> Result<(Vec<usize>, Vec<u64>)> {
        let (mut starts, mut takes) = (Vec::with_capacity(active.len()), Vec::new());
        let mut questions: Vec<Vec<Question>> = Vec::new();
        questions.resize_with(self.run_conditions.len(), Vec::new);
        for (position, &d) in active.iter().enumerate() {
            let (_, row) = due[d].rows[wave];
            let key = &self.keys[due[d].key as usize];
            let at = key.next_row() - 1;
            starts.push(takes.len());
            for run in key.partial.items() {
                let wanted = self.matcher.automaton.states[run.state as usize].wanted;
                let mut open = wanted & row.takes & self.run_variables;
                while open != 0 {
                    let variable = open.trailing_zeros();
                    open &= open - 1;
                    questions[variable as usize].push(Question {
                        due: position,
                        run: takes.len(),
                        mapping: run.taking(variable as u8, at),
                    });
                }
                takes.push(row.takes & !self.run_variables);
            }
        }
        for (variable, questions) in questions.iter().enumerate() {
            self.answer(variable, questions, (due, active, wave), &mut takes)?;
        }
        Ok((starts, takes))
    }

    fn answer(
        &mut self,
        variable: usize,
        questions: &[Question],
        (due, active, wave): (&[Due], &[usize], usize),
        takes: &mut [u64],
    ) -> Result<()> {
        let Some(condition) = &mut self.run_conditions[variable] else {
            return Ok(());
        };
        for questions in questions.chunks(BATCH_ROWS) {
            let viewed = questions.iter().map(|q| Viewed {
                key: due[active[q.due]].key,
                mapping: &q.mapping,
                time: due[active[q.due]].rows[wave].0,
            });
            let viewed: Vec<Viewed<'_>> = viewed.collect();
            let answers = condition.evaluate(&viewed, &self.keys, &self.store)?;
            let answers = answers.first().and_then(|a| a.as_any().downcast_ref());
            let answers: &BooleanArray = answers
                .ok_or_else(|| flott_core::Error::internal("a DEFINE condition is not BOOLEAN"))?;
            for (row, question) in questions.iter().enumerate() {
                takes[question.run] |= u64::from(is_true(answers, row)) << variable;
            }
        }
        Ok(())
    }

    fn send(&mut self, due: &[Due], out: &mut dyn Output) -> Result<()> {
        let viewed = due.iter().flat_map(|due| {
            due.matches.iter().map(|m| Viewed {
                key: due.key,
                mapping: &m.mapping,
                time: m.time,
            })
        });
        let viewed: Vec<Viewed<'_>> = viewed.collect();
        for viewed in viewed.chunks(BATCH_ROWS) {
            let columns = self.measures.evaluate(viewed, &self.keys, &self.store)?;
            let rows = batch_of(self.config.schema.clone(), columns, viewed.len())?;
            out.emit(ChangelogBatch::insert_only(rows))?;
        }
        Ok(())
    }
}

fn is_true(values: &BooleanArray, row: usize) -> bool {
    values.is_valid(row) && values.value(row)
}

impl Operator for MatchRecognize {
    fn open(&mut self, context: &OperatorContext) -> Result<()> {
        self.context = Some(context.clone());
        Ok(())
    }

    fn process(&mut self, _: usize, batch: ChangelogBatch, out: &mut dyn Output) -> Result<()> {
        let rows = batch.rows();
        match self.config.time {
            MatchTime::Rowtime(column) | MatchTime::Whole(column) => {
                self.hold(rows, &milliseconds(rows.column(column))?)
            }
            MatchTime::Proctime => {
                let now = self.context.as_ref().map_or(0, |c| c.clock.now_ms());
                self.hold(rows, &Int64Array::from(vec![now; rows.num_rows()]))?;
                self.work(now, out)
            }
        }
    }

    fn watermark(&mut self, watermark: i64, out: &mut dyn Output) -> Result<()> {
        // Matches come with the last watermark: rows that come after one would be late further on.
        if matches!(self.config.time, MatchTime::Whole(_)) && watermark < i64::MAX {
            return Ok(());
        }
        if !self.is_proctime() {
            self.watermark = watermark;
            self.work(watermark, out)?;
        }
        out.watermark(watermark)
    }

    fn next_timer_ms(&self) -> Option<i64> {
        let next = self.expiring.first_key_value().map(|(&time, _)| time);
        next.filter(|_| self.is_proctime())
    }

    fn on_timer(&mut self, now_ms: i64, out: &mut dyn Output) -> Result<()> {
        self.work(now_ms, out)
    }

    fn snapshot(&mut self) -> Result<StateSnapshot> {
        self.snapshot_tables()
    }

    fn restore(&mut self, snapshot: StateSnapshot) -> Result<()> {
        self.restore_tables(&snapshot)
    }

    fn state_bytes(&self) -> usize {
        self.store.size_bytes()
            + self.partitions.size_bytes()
            + self.keys.capacity() * size_of::<KeyRuns>()
            + self.num_waiting * size_of::<Waiting>()
            + self.num_runs * size_of::<super::matcher::Run>()
    }

    fn next_event_time(&self) -> Option<i64> {
        match self.config.time {
            MatchTime::Rowtime(_) => {}
            MatchTime::Whole(_) => return Some(i64::MAX),
            MatchTime::Proctime => return None,
        }
        let next_row = self.waiting.first_key_value().map(|(time, _)| *time);
        let next_end = self.expiring.first_key_value().map(|(time, _)| *time);
        Some(
            next_row
                .into_iter()
                .chain(next_end)
                .min()
                .unwrap_or(i64::MAX),
        )
    }
}
