//! The lookup join with a table that answers by key: requests are under way while rows wait.
//!
//! Rows of the left are cut into slices. A slice asks once for the keys that the cache does not
//! know, waits for the answer, and is then joined as a whole. Slices leave in order, or, where that
//! is allowed, as they are answered, but never across a watermark. What waits is part of a
//! snapshot and is asked for again after a restore; the bytes that wait count as under way, so that
//! sources are held back.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::array::{ArrayRef, UInt32Array};
use arrow::compute::{concat_batches, take, take_record_batch};
use arrow::record_batch::RecordBatch;
use arrow::row::{RowConverter, Rows, SortField};
use flott_core::changelog::{ChangelogBatch, RowKind};
use flott_core::hash::{StableHashMap, StableHashSet};
use flott_core::lookup::{Lookup, LookupAnswer, LookupContext, LookupPoll};
use flott_core::operator::{Held, Operator, OperatorContext, Output, StateSnapshot};
use flott_core::{Error, Result};

use super::AsyncLookupJoinConfig;
use super::batch_join::BatchJoin;
use super::keys::{KeyColumns, SideName};
use super::lookup_cache::LookupCache;
use crate::operators::evaluate::batch_of;
use crate::operators::rows::{keyed_table, split_keyed};

/// How long the end of the input waits for an answer before it polls again.
const POLL_AT_END: std::time::Duration = std::time::Duration::from_millis(1);

/// Rows that wait for their answer.
struct Slice {
    number: u64,
    batch: ChangelogBatch,
    /// Rows of the table, from the cache and from answers.
    found: Vec<RecordBatch>,
    state: SliceState,
    /// Gives the bytes back to the job's budget.
    _held: Held,
}

#[derive(PartialEq, Eq)]
enum SliceState {
    /// Not asked for yet.
    New,
    /// A request is open, or waits to be made again.
    Open,
    Answered,
}

enum Waiting {
    Slice(Slice),
    Watermark(i64),
}

/// A request that is under way or, with `due_ms`, is to be made.
struct Open {
    slice: u64,
    keys: Vec<ArrayRef>,
    rows: Rows,
    attempt: u32,
    /// When it fails.
    deadline_ms: i64,
    due_ms: Option<i64>,
}

pub(super) struct AsyncLookupJoin {
    config: AsyncLookupJoinConfig,
    keys: KeyColumns,
    join: BatchJoin,
    converter: RowConverter,
    cache: Option<LookupCache>,
    lookup: Option<Box<dyn Lookup>>,
    waiting: VecDeque<Waiting>,
    open: BTreeMap<u64, Open>,
    next_slice: u64,
    next_request: u64,
    num_keys_open: usize,
    /// Set when the lookup has something, and at the start.
    is_woken: Arc<AtomicBool>,
    poll_at_ms: Option<i64>,
    context: Option<OperatorContext>,
}

impl AsyncLookupJoin {
    pub fn new(config: &AsyncLookupJoinConfig) -> Result<Self> {
        let inputs = &config.inputs;
        let keys = inputs.left_keys.iter();
        let fields = keys.map(|&c| inputs.left_schema.field(c).data_type().clone());
        Ok(Self {
            keys: KeyColumns::new(inputs)?,
            join: BatchJoin::new(inputs)?,
            converter: RowConverter::new(fields.map(SortField::new).collect())?,
            cache: config.cache.clone().map(LookupCache::new),
            config: config.clone(),
            lookup: None,
            waiting: VecDeque::new(),
            open: BTreeMap::new(),
            next_slice: 0,
            next_request: 0,
            num_keys_open: 0,
            is_woken: Arc::new(AtomicBool::new(false)),
            poll_at_ms: None,
            context: None,
        })
    }

    fn now_ms(&self) -> i64 {
        self.context.as_ref().map_or(0, |c| c.clock.now_ms())
    }

    fn add_rows(&mut self, batch: &ChangelogBatch) {
        let size = self.config.capacity.max(1);
        for offset in (0..batch.num_rows()).step_by(size) {
            let length = size.min(batch.num_rows() - offset);
            self.add_slice(batch.slice(offset, length));
        }
    }

    fn add_slice(&mut self, batch: ChangelogBatch) {
        let host = self.context.as_ref().map(|c| &c.host);
        let held = host.map(|h| h.hold(batch.size_bytes())).unwrap_or_default();
        self.waiting.push_back(Waiting::Slice(Slice {
            number: self.next_slice,
            batch,
            found: Vec::new(),
            state: SliceState::New,
            _held: held,
        }));
        self.next_slice += 1;
    }

    /// Takes answers, makes requests and sends what is complete, until nothing moves.
    fn pump(&mut self, out: &mut dyn Output) -> Result<()> {
        self.is_woken.store(false, Ordering::SeqCst);
        loop {
            let has_answers = self.take_answers()?;
            let has_asked = self.retry_due()? | self.ask()?;
            self.release(out)?;
            if !has_answers && !has_asked {
                return self.check_deadlines();
            }
        }
    }

    fn take_answers(&mut self) -> Result<bool> {
        let mut has_answers = false;
        self.poll_at_ms = None;
        while self.open.values().any(|o| o.due_ms.is_none()) {
            let Some(lookup) = &mut self.lookup else {
                break;
            };
            match lookup.poll()? {
                LookupPoll::Answer(answer) => self.take_answer(answer)?,
                LookupPoll::Pending => break,
                LookupPoll::PendingUntil(time_ms) => {
                    self.poll_at_ms = Some(time_ms);
                    break;
                }
            }
            has_answers = true;
        }
        Ok(has_answers)
    }

    fn take_answer(&mut self, answer: LookupAnswer) -> Result<()> {
        let Some(open) = self.open.remove(&answer.request) else {
            let message = format!("an answer to request {}, which is not open", answer.request);
            return Err(Error::internal(message));
        };
        self.num_keys_open -= open.rows.num_rows();
        let rows = answer.rows?;
        let missing = self.sort_in(&open, &rows)?;
        let now_ms = self.now_ms();
        let retry = self.config.retry.clone();
        let retry = retry.filter(|r| !missing.is_empty() && open.attempt < r.max_attempts);
        let is_answered = retry.is_none();
        if let Some(retry) = retry {
            let due_ms = now_ms.saturating_add(retry.delay_ms);
            self.repeat(&open, &missing, due_ms)?;
        } else if let Some(cache) = &mut self.cache {
            for &key in &missing {
                cache.put(open.rows.row(key as usize).data(), None, now_ms);
            }
        }
        if let Some(slice) = self.slice_mut(open.slice) {
            slice.found.push(rows);
            if is_answered {
                slice.state = SliceState::Answered;
            }
        }
        Ok(())
    }

    fn slice_mut(&mut self, number: u64) -> Option<&mut Slice> {
        let slices = self.waiting.iter_mut();
        let mut slices = slices.filter_map(|w| match w {
            Waiting::Slice(slice) => Some(slice),
            Waiting::Watermark(_) => None,
        });
        slices.find(|s| s.number == number)
    }

    /// Puts an answer's rows into the cache; gives the keys of the request that have none.
    fn sort_in(&mut self, open: &Open, rows: &RecordBatch) -> Result<Vec<u32>> {
        let keys = self.keys.of(SideName::Right, rows);
        let encoded = self.converter.convert_columns(&keys)?;
        let mut by_key: StableHashMap<&[u8], Vec<u32>> = StableHashMap::default();
        for row in 0..rows.num_rows() {
            let key = encoded.row(row).data();
            by_key.entry(key).or_default().push(row as u32);
        }
        let now_ms = self.now_ms();
        let mut missing = Vec::new();
        for key in 0..open.rows.num_rows() {
            let bytes = open.rows.row(key);
            match (by_key.remove(bytes.data()), &mut self.cache) {
                (None, _) => missing.push(key as u32),
                (Some(found), Some(cache)) => {
                    let found = take_record_batch(rows, &UInt32Array::from(found))?;
                    cache.put(bytes.data(), Some(found), now_ms);
                }
                (Some(_), None) => {}
            }
        }
        Ok(missing)
    }

    /// Asks later for those keys of a request that have no rows yet.
    fn repeat(&mut self, open: &Open, missing: &[u32], due_ms: i64) -> Result<()> {
        let missing = UInt32Array::from(missing.to_vec());
        let keys = open.keys.iter();
        let keys = keys
            .map(|k| Ok(take(k, &missing, None)?))
            .collect::<Result<Vec<_>>>()?;
        let again = Open {
            slice: open.slice,
            rows: self.converter.convert_columns(&keys)?,
            keys,
            attempt: open.attempt + 1,
            deadline_ms: i64::MAX,
            due_ms: Some(due_ms),
        };
        self.num_keys_open += again.rows.num_rows();
        self.open.insert(self.next_request, again);
        self.next_request += 1;
        Ok(())
    }

    fn retry_due(&mut self) -> Result<bool> {
        let mut has_asked = false;
        let now_ms = self.now_ms();
        let is_due = |open: &Open| open.due_ms.is_some_and(|due| due <= now_ms);
        let due = self.open.iter_mut().filter(|(_, open)| is_due(open));
        for (&request, open) in due {
            open.due_ms = None;
            open.deadline_ms = now_ms.saturating_add(self.config.timeout_ms);
            has_asked = true;
            if let Some(lookup) = &mut self.lookup {
                lookup.request(request, open.keys.clone())?;
            }
        }
        Ok(has_asked)
    }

    /// Asks for the slices that have not been asked for, as many keys at once as are allowed.
    fn ask(&mut self) -> Result<bool> {
        let mut has_asked = false;
        for position in 0..self.waiting.len() {
            if self.num_keys_open >= self.config.capacity {
                break;
            }
            if matches!(&self.waiting[position], Waiting::Slice(s) if s.state == SliceState::New) {
                self.ask_for(position)?;
                has_asked = true;
            }
        }
        Ok(has_asked)
    }

    fn ask_for(&mut self, position: usize) -> Result<()> {
        let now_ms = self.now_ms();
        let Waiting::Slice(slice) = &mut self.waiting[position] else {
            return Ok(());
        };
        let keys = self.keys.of(SideName::Left, slice.batch.rows());
        let nulls = self.keys.unmatchable(&keys);
        let encoded = self.converter.convert_columns(&keys)?;
        let mut seen: StableHashSet<&[u8]> = StableHashSet::default();
        let mut wanted = Vec::new();
        for row in 0..slice.batch.num_rows() {
            let key = encoded.row(row).data();
            if nulls.as_ref().is_some_and(|n| n.is_null(row)) || !seen.insert(key) {
                continue;
            }
            match self.cache.as_mut().and_then(|c| c.get(key, now_ms)) {
                Some(rows) => slice.found.extend(rows),
                None => wanted.push(row as u32),
            }
        }
        if wanted.is_empty() {
            slice.state = SliceState::Answered;
            return Ok(());
        }
        slice.state = SliceState::Open;
        let wanted = UInt32Array::from(wanted);
        let keys = keys.iter();
        let keys = keys
            .map(|k| Ok(take(k, &wanted, None)?))
            .collect::<Result<Vec<_>>>()?;
        let open = Open {
            slice: slice.number,
            rows: self.converter.convert_columns(&keys)?,
            keys: keys.clone(),
            attempt: 1,
            deadline_ms: now_ms.saturating_add(self.config.timeout_ms),
            due_ms: None,
        };
        self.num_keys_open += wanted.len();
        let request = self.next_request;
        self.next_request += 1;
        self.open.insert(request, open);
        match &mut self.lookup {
            Some(lookup) => lookup.request(request, keys),
            None => Err(Error::internal("a lookup join that was not opened")),
        }
    }

    /// Sends what is complete: from the front, or up to the first watermark.
    fn release(&mut self, out: &mut dyn Output) -> Result<()> {
        let mut position = 0;
        while let Some(waiting) = self.waiting.get(position) {
            match waiting {
                Waiting::Slice(slice) if slice.state == SliceState::Answered => {
                    if let Some(Waiting::Slice(slice)) = self.waiting.remove(position) {
                        self.send(&slice, out)?;
                    }
                }
                Waiting::Slice(_) if self.config.keeps_order => break,
                Waiting::Slice(_) => position += 1,
                Waiting::Watermark(_) if position > 0 => break,
                Waiting::Watermark(watermark) => {
                    out.watermark(*watermark)?;
                    self.waiting.pop_front();
                }
            }
        }
        Ok(())
    }

    fn send(&mut self, slice: &Slice, out: &mut dyn Output) -> Result<()> {
        let schema = &self.config.inputs.right_schema;
        let found = slice.found.iter();
        let found = found
            .map(|rows| batch_of(schema.clone(), rows.columns().to_vec(), rows.num_rows()))
            .collect::<Result<Vec<_>>>()?;
        self.join.build(concat_batches(schema, &found)?)?;
        self.join.probe_batch(&slice.batch, out)
    }

    fn check_deadlines(&self) -> Result<()> {
        let now_ms = self.now_ms();
        if self.open.values().all(|o| o.deadline_ms > now_ms) {
            return Ok(());
        }
        Err(Error::external(
            "LOOKUP_TIMEOUT",
            format!(
                "a lookup has had no answer for {} ms; see 'table.exec.async-lookup.timeout'",
                self.config.timeout_ms
            ),
        ))
    }
}

impl Operator for AsyncLookupJoin {
    fn open(&mut self, context: &OperatorContext) -> Result<()> {
        let (is_woken, host) = (self.is_woken.clone(), context.host.clone());
        self.lookup = Some(self.config.source.create_lookup(LookupContext {
            subtask: context.subtask,
            parallelism: context.parallelism,
            clock: context.clock.clone(),
            metrics: context.metrics.clone(),
            waker: Arc::new(move || {
                is_woken.store(true, Ordering::SeqCst);
                host.wake();
            }),
        })?);
        self.context = Some(context.clone());
        Ok(())
    }

    fn process(&mut self, _: usize, batch: ChangelogBatch, out: &mut dyn Output) -> Result<()> {
        self.add_rows(&batch);
        self.pump(out)
    }

    fn watermark(&mut self, watermark: i64, out: &mut dyn Output) -> Result<()> {
        match self.waiting.back_mut() {
            None => return out.watermark(watermark),
            Some(Waiting::Watermark(last)) => *last = watermark,
            Some(Waiting::Slice(_)) => self.waiting.push_back(Waiting::Watermark(watermark)),
        }
        Ok(())
    }

    fn next_timer_ms(&self) -> Option<i64> {
        if self.is_woken.load(Ordering::SeqCst) {
            return Some(0);
        }
        let open = self.open.values();
        let times = open.map(|o| o.due_ms.unwrap_or(o.deadline_ms));
        times.chain(self.poll_at_ms).min()
    }

    fn on_timer(&mut self, _now_ms: i64, out: &mut dyn Output) -> Result<()> {
        self.pump(out)
    }

    /// Waits for the answers that are still to come: no more rows do.
    fn finish(&mut self, out: &mut dyn Output) -> Result<()> {
        self.pump(out)?;
        while !self.waiting.is_empty() {
            std::thread::park_timeout(POLL_AT_END);
            self.pump(out)?;
        }
        Ok(())
    }

    fn snapshot(&mut self) -> Result<StateSnapshot> {
        let slices = self.waiting.iter().filter_map(|w| match w {
            Waiting::Slice(slice) => Some(&slice.batch),
            Waiting::Watermark(_) => None,
        });
        let schema = &self.config.inputs.left_schema;
        let rows = concat_batches(schema, slices.clone().map(ChangelogBatch::rows))?;
        let kinds = slices.flat_map(|b| (0..b.num_rows()).map(|row| b.kind(row) as i64));
        let max_parallelism = self.context.as_ref().map_or(1, |c| c.max_parallelism);
        let groups = self
            .keys
            .key_groups(SideName::Left, &rows, max_parallelism)?;
        let kinds = vec![("kind", kinds.collect())];
        Ok(StateSnapshot {
            tables: vec![keyed_table(SideName::Left.table(), groups, kinds, rows)?],
        })
    }

    fn restore(&mut self, snapshot: StateSnapshot) -> Result<()> {
        for batch in snapshot.table(SideName::Left.table()) {
            let batch = &batch?;
            let schema = &self.config.inputs.left_schema;
            let ([kinds], rows) = split_keyed::<1>(batch, schema)?;
            let kinds: Vec<u8> = kinds.values().iter().map(|&k| k as u8).collect();
            let is_insert_only = kinds.iter().all(|&k| k == RowKind::Insert as u8);
            let kinds = (!is_insert_only).then(|| kinds.into());
            self.add_rows(&ChangelogBatch::new(rows, kinds));
        }
        self.is_woken
            .store(!self.waiting.is_empty(), Ordering::SeqCst);
        Ok(())
    }
}
