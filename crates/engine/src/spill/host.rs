//! The host of an operator whose state may be larger than memory: what comes in.

use std::sync::Arc;

use arrow::array::ArrayRef;

use flott_core::changelog::ChangelogBatch;
use flott_core::hash::hash_columns;
use flott_core::key_group::key_group_of;
use flott_core::metrics::OperatorMetrics;
use flott_core::operator::{
    Operator, OperatorContext, OperatorFactory, Output, StateSnapshot, StateTable,
};
use flott_core::time::{MAX_WATERMARK, MIN_WATERMARK};
use flott_core::{Error, Result};

use super::Spilling;
use super::config::SpillConfig;
use super::files::SpillFolder;
use super::partition::{News, Partition, RowsOnly};
use super::pool::Member;
use super::report::{Reported, side_tables, waiting_input};
use super::split::Owners;
use super::waiting::{Arrival, told_rows, waiting_rows};
use super::work::Costs;

/// After so many rows the size of the state is looked at again.
const ROWS_BETWEEN_CHECKS: usize = 1 << 14;

/// Makes hosts around the instances of another factory.
pub struct SpillingFactory {
    inner: Arc<dyn OperatorFactory>,
    /// The key columns of each input.
    key_columns: Vec<Vec<usize>>,
    spilling: Spilling,
}

impl SpillingFactory {
    /// For an operator whose inputs reach the subtasks by the hash of these columns.
    pub fn new(
        inner: Arc<dyn OperatorFactory>,
        key_columns: Vec<Vec<usize>>,
        spilling: Spilling,
    ) -> Self {
        Self {
            inner,
            key_columns,
            spilling,
        }
    }
}

impl OperatorFactory for SpillingFactory {
    fn create(&self) -> Result<Box<dyn Operator>> {
        Ok(Box::new(SpillingOperator {
            inner: self.inner.clone(),
            has_ended: vec![false; self.key_columns.len()],
            key_columns: self.key_columns.clone(),
            config: self.spilling.config.clone(),
            member: self.spilling.pool.join(),
            context: None,
            partitions: Vec::new(),
            owners: Owners::default(),
            clock: None,
            folder: None,
            uses_watermarks: true,
            is_divisible: true,
            watermark: MIN_WATERMARK,
            sent_watermark: MIN_WATERMARK,
            reported: Reported::default(),
            is_all_unreported: false,
            sequence: 0,
            num_batches: 0,
            rows_until_check: 0,
            hashes: Vec::new(),
            costs: Costs::default(),
        }))
    }
}

/// One subtask's host.
pub struct SpillingOperator {
    pub(super) inner: Arc<dyn OperatorFactory>,
    key_columns: Vec<Vec<usize>>,
    pub(super) config: SpillConfig,
    pub(super) member: Member,
    context: Option<OperatorContext>,
    /// In order of their key groups; one as long as the state is not divided.
    pub(super) partitions: Vec<Partition>,
    pub(super) owners: Owners,
    /// An instance without rows, which says what watermark goes out for one that comes in.
    clock: Option<Box<dyn Operator>>,
    folder: Option<Arc<SpillFolder>>,
    /// Whether watermarks may ever make the operator do something.
    pub(super) uses_watermarks: bool,
    /// Whether all state is keyed.
    pub(super) is_divisible: bool,
    pub(super) watermark: i64,
    sent_watermark: i64,
    pub(super) has_ended: Vec<bool>,
    pub(super) reported: Reported,
    is_all_unreported: bool,
    /// The number of the next snapshot, rising over restores.
    sequence: i64,
    num_batches: u64,
    pub(super) rows_until_check: usize,
    hashes: Vec<u64>,
    pub(super) costs: Costs,
}

impl SpillingOperator {
    pub(super) fn context(&self) -> Result<&OperatorContext> {
        let context = self.context.as_ref();
        context.ok_or_else(|| Error::internal("a host that is not open"))
    }

    pub(super) fn now_ms(&self) -> i64 {
        self.context.as_ref().map_or(0, |c| c.clock.now_ms())
    }

    pub(super) fn folder(&mut self) -> Result<Arc<SpillFolder>> {
        if let Some(folder) = &self.folder {
            return Ok(folder.clone());
        }
        let metrics = &self.context()?.metrics;
        let folder = SpillFolder::create(&self.config.folder, metrics)?;
        Ok(self.folder.insert(folder).clone())
    }

    /// Whether one instance in memory has everything.
    pub(super) fn is_whole(&self) -> bool {
        match &self.partitions[..] {
            [all] => all.is_loaded() && all.waiting.is_empty(),
            _ => false,
        }
    }

    pub(super) fn news(&self) -> News {
        News {
            watermark: self.uses_watermarks.then_some(self.watermark),
            ends: self.has_ended.clone(),
            batch_number: self.num_batches,
        }
    }

    /// Hands the rows of each partition to its instance, or lets them wait.
    fn distribute(
        &mut self,
        input: usize,
        batch: &ChangelogBatch,
        out: &mut dyn Output,
    ) -> Result<()> {
        let max_parallelism = self.context()?.max_parallelism;
        let columns = self.key_columns[input].iter();
        let keys: Vec<ArrayRef> = columns.map(|&c| batch.column(c).clone()).collect();
        hash_columns(&keys, batch.num_rows(), &mut self.hashes)?;
        let hashes = self.hashes.iter();
        let groups = hashes.map(|&h| key_group_of(h, max_parallelism) as u16);
        let groups: Vec<u16> = groups.collect();
        let (order, parts) = self.owners.sort(&groups)?;
        let batch = batch.take(&order)?;
        let arrival = Arrival {
            input,
            watermark: self.watermark,
            sequence: self.sequence,
        };
        let now_ms = self.now_ms();
        let out = &mut RowsOnly::new(out);
        for (at, rows) in parts {
            let partition = &mut self.partitions[at];
            let part = batch.slice(rows.start, rows.len());
            if partition.is_loaded() && partition.waiting.is_empty() {
                partition.touch(self.num_batches);
                partition.instance()?.process(input, part, out)?;
                continue;
            }
            let order = &order.values()[rows];
            let groups = order.iter().map(|&row| groups[row as usize]);
            let rows = waiting_rows(&part, groups.collect())?;
            partition.since_ms.get_or_insert(now_ms);
            partition
                .waiting
                .push(arrival, rows, !self.uses_watermarks)?;
            self.reported.know_waiting(input);
        }
        Ok(())
    }

    /// Tells partitions in memory the watermark; those in files hear of it when they are loaded.
    fn advance(&mut self, watermark: i64, out: &mut dyn Output) -> Result<()> {
        if !self.uses_watermarks {
            return Ok(());
        }
        let now_ms = self.now_ms();
        let out = &mut RowsOnly::new(out);
        for partition in &mut self.partitions {
            if partition.is_loaded() && partition.waiting.is_empty() {
                partition.tell_watermark(watermark, out)?;
            } else if partition
                .next_event_time()
                .is_some_and(|due| due <= watermark)
            {
                partition.since_ms.get_or_insert(now_ms);
            }
        }
        Ok(())
    }

    /// Sends the watermark that no partition lags behind.
    pub(super) fn send_watermark(&mut self, out: &mut dyn Output) -> Result<()> {
        let (watermark, uses) = (self.watermark, self.uses_watermarks);
        let clear = self
            .partitions
            .iter()
            .map(|p| p.clear_watermark(watermark, uses));
        let clear = clear.min().unwrap_or(watermark);
        if clear <= self.sent_watermark {
            return Ok(());
        }
        self.sent_watermark = clear;
        if self.clock.is_none() {
            let mut clock = self.inner.create()?;
            clock.open(&OperatorContext {
                metrics: Arc::new(OperatorMetrics::default()),
                ..self.context()?.clone()
            })?;
            self.clock = Some(clock);
        }
        match &mut self.clock {
            Some(clock) => clock.watermark(clear, out),
            None => Ok(()),
        }
    }

    /// The whole instance works on its own, with nothing between it and the output.
    fn whole(&mut self) -> Option<(&mut Partition, u64)> {
        let number = self.num_batches;
        self.is_whole().then(|| (&mut self.partitions[0], number))
    }

    fn restore_waiting(&mut self, input: usize, table: &StateTable) -> Result<()> {
        for batch in table.rows()?.read() {
            for (arrival, rows) in told_rows(input, &batch?)? {
                self.sequence = self.sequence.max(arrival.sequence + 1);
                let (order, parts) = self.owners.sort(super::split::key_groups(&rows)?)?;
                let rows = arrow::compute::take_record_batch(&rows, &order)?;
                for (at, range) in parts {
                    let part = rows.slice(range.start, range.len());
                    let waiting = &mut self.partitions[at].waiting;
                    waiting.push(arrival, part, false)?;
                }
            }
            self.flush_waiting()?;
        }
        self.reported.know_waiting(input);
        Ok(())
    }
}

impl Operator for SpillingOperator {
    fn open(&mut self, context: &OperatorContext) -> Result<()> {
        self.context = Some(context.clone());
        let groups = context.key_groups();
        let mut all = Partition::new(groups.clone(), self.has_ended.len());
        all.metrics = context.metrics.clone();
        let mut operator = self.inner.create()?;
        operator.open(context)?;
        self.uses_watermarks = operator.next_event_time().is_some();
        all.operator = Some(operator);
        self.owners = Owners::new(std::iter::once(groups));
        self.partitions = vec![all];
        self.set_next_check();
        Ok(())
    }

    fn process(&mut self, input: usize, batch: ChangelogBatch, out: &mut dyn Output) -> Result<()> {
        self.num_batches += 1;
        let num_rows = batch.num_rows();
        if let Some((all, number)) = self.whole() {
            all.touch(number);
            all.instance()?.process(input, batch, out)?;
        } else {
            self.distribute(input, &batch, out)?;
        }
        self.rows_until_check = self.rows_until_check.saturating_sub(num_rows);
        if self.rows_until_check > 0 && self.config.max_delay_ms > 0 {
            return Ok(());
        }
        self.check_memory(out)
    }

    fn watermark(&mut self, watermark: i64, out: &mut dyn Output) -> Result<()> {
        self.watermark = watermark;
        if let Some((all, _)) = self.whole() {
            let due = all.next_event_time();
            if due.is_some_and(|due| due <= watermark) {
                all.stored = None;
                all.is_unreported = true;
            }
            all.watermark = watermark;
            all.instance()?.watermark(watermark, out)?;
            self.sent_watermark = watermark;
            return Ok(());
        }
        self.advance(watermark, out)?;
        if self.config.max_delay_ms == 0 && watermark < MAX_WATERMARK {
            self.work(self.now_ms(), out)?;
        }
        self.send_watermark(out)
    }

    fn next_timer_ms(&self) -> Option<i64> {
        if self.is_whole() {
            return self.partitions[0].next_timer_ms();
        }
        let delay_ms = self.delay_ms();
        let timers = self.partitions.iter().filter(|p| !p.is_finished);
        let timers = timers.flat_map(|p| [p.next_timer_ms(), Self::due_ms(p, delay_ms)]);
        timers.flatten().min()
    }

    fn on_timer(&mut self, now_ms: i64, out: &mut dyn Output) -> Result<()> {
        let is_due = |timer: Option<i64>| timer.is_some_and(|t| t <= now_ms);
        if let Some((all, number)) = self.whole() {
            if is_due(all.next_timer_ms()) {
                all.touch(number);
                all.instance()?.on_timer(now_ms, out)?;
            }
            return Ok(());
        }
        self.fire_timers(now_ms, out)?;
        self.check_memory(out)
    }

    fn input_ended(&mut self, input: usize, out: &mut dyn Output) -> Result<()> {
        self.has_ended[input] = true;
        if let Some((all, number)) = self.whole() {
            all.touch(number);
            all.told_ends[input] = true;
            return all.instance()?.input_ended(input, out);
        }
        // The others are told when they are loaded.
        let number = self.num_batches;
        for partition in &mut self.partitions {
            if partition.is_loaded() && partition.waiting.is_empty() && !partition.told_ends[input]
            {
                partition.touch(number);
                partition.told_ends[input] = true;
                let out = &mut RowsOnly::new(out);
                partition.instance()?.input_ended(input, out)?;
            }
        }
        Ok(())
    }

    fn finish(&mut self, out: &mut dyn Output) -> Result<()> {
        if let Some((all, _)) = self.whole() {
            return all.instance()?.finish(out);
        }
        self.watermark = MAX_WATERMARK;
        self.finish_partitions(out)?;
        self.report_sizes();
        self.send_watermark(out)
    }

    fn prepare_snapshot(&mut self, out: &mut dyn Output) -> Result<()> {
        let is_whole = self.is_whole();
        for partition in self.partitions.iter_mut().filter(|p| p.is_loaded()) {
            match is_whole {
                true => partition.instance()?.prepare_snapshot(out)?,
                false => partition
                    .instance()?
                    .prepare_snapshot(&mut RowsOnly::new(out))?,
            }
        }
        Ok(())
    }

    fn snapshot(&mut self) -> Result<StateSnapshot> {
        self.sequence += 1;
        let is_all = std::mem::take(&mut self.is_all_unreported);
        let never_divided = self.clock.is_none() && self.folder.is_none();
        if let Some((all, _)) = self.whole()
            && never_divided
            && !all.reports_all
        {
            all.is_unreported = false;
            return all.instance()?.snapshot();
        }
        let folder = self.folder.clone();
        let partitions = &mut self.partitions;
        let snapshot = self.reported.report(partitions, is_all, folder.as_ref())?;
        self.report_sizes();
        Ok(snapshot)
    }

    fn restore(&mut self, mut snapshot: StateSnapshot) -> Result<()> {
        let mut waiting = Vec::new();
        for table in std::mem::take(&mut snapshot.tables) {
            match waiting_input(&table.name)? {
                Some(input) => waiting.push((input, table)),
                None => snapshot.tables.push(table),
            }
        }
        let mut sides = side_tables(&mut snapshot, self.context()?.key_groups())?;
        if sides.len() == 1 && self.fits_whole(&snapshot) {
            for table in &snapshot.tables {
                self.reported.know(&table.name);
            }
            let side = sides.pop().map(|side| side.tables);
            snapshot.tables.extend(side.unwrap_or_default());
            self.partitions[0].instance()?.restore(snapshot)?;
        } else {
            self.restore_divided(snapshot, sides)?;
        }
        let is_waiting = waiting.iter().any(|(_, table)| !table.is_empty());
        for (input, table) in waiting {
            self.restore_waiting(input, &table)?;
        }
        let now_ms = self.now_ms();
        for partition in self.partitions.iter_mut().filter(|_| is_waiting) {
            partition.waiting.sort();
            partition.waiting.is_changed = false;
            if !partition.waiting.is_empty() {
                partition.since_ms = Some(now_ms);
            }
        }
        Ok(())
    }

    fn restart_snapshots(&mut self) {
        self.is_all_unreported = true;
        for partition in &mut self.partitions {
            partition.is_unreported = true;
            partition.reports_all = true;
        }
        if let Some((all, _)) = self.whole()
            && let Ok(instance) = all.instance()
        {
            instance.restart_snapshots();
        }
    }

    fn state_bytes(&self) -> usize {
        self.memory_bytes()
    }

    fn next_event_time(&self) -> Option<i64> {
        match self.is_whole() {
            true => self.partitions[0].next_event_time(),
            false => Some(i64::MIN),
        }
    }
}

impl SpillingOperator {
    /// Looking at the size of much state takes time: it is done when it may have grown by a sixteenth.
    pub(super) fn set_next_check(&mut self) {
        let loaded = self.partitions.iter().filter(|p| p.is_loaded());
        let num_keys = loaded.map(|p| p.metrics.num_keys.get());
        let num_keys = usize::try_from(num_keys.sum::<i64>()).unwrap_or(0);
        let few = ROWS_BETWEEN_CHECKS.min(self.config.memory_bytes / 512);
        self.rows_until_check = few.max(num_keys / 16).max(1);
    }
}
