//! What is loaded when, what is evicted for it, and how state is divided.

use flott_core::Result;
use flott_core::operator::{Output, StateScope, StateSnapshot, StateTable};
use flott_core::time::MAX_WATERMARK;

use super::host::SpillingOperator;
use super::partition::{Partition, RowsOnly, Stored};
use super::report::SideTables;
use super::split::{Owners, all_rows, split_table};

/// A partition that takes more than this part of the memory is divided when it is evicted, into
/// parts of half that size.
const LARGE_PART: usize = 8;
/// Waiting rows take at most this part of the memory.
const WAITING_PART: usize = 8;
/// Fewer waiting bytes than this are no reason to read state back.
const LEAST_WAITING_BYTES: usize = 256 << 10;
/// Of what is sent between two looks at the input: no queue is to grow beyond measure.
const MOST_SENT_BYTES: usize = 8 << 20;
/// Loading because rows have waited long takes at most one of so many parts of the time.
const DELAY_FACTOR: i64 = 4;

/// What loading and evicting a partition has taken.
#[derive(Debug, Default)]
pub(super) struct Costs {
    /// The mean, in nanoseconds.
    load_ns: i64,
}

impl Costs {
    fn add(&mut self, ns: i64) {
        self.load_ns += (ns - self.load_ns) / 8;
    }
}

impl SpillingOperator {
    pub(super) fn memory_bytes(&self) -> usize {
        self.partitions.iter().map(Partition::memory_bytes).sum()
    }

    /// Undivided state may take so much: its tables double at times, and dividing it needs as much
    /// again.
    fn whole_limit(&self) -> usize {
        self.member.limit() / 10 * 3
    }

    /// Whether the rows of a snapshot can be one instance's. In memory they take more than in a
    /// batch.
    pub(super) fn fits_whole(&self, snapshot: &StateSnapshot) -> bool {
        let is_keyed = |t: &StateTable| t.scope != StateScope::Split;
        let is_divisible = self.is_divisible && snapshot.tables.iter().all(is_keyed);
        !is_divisible || snapshot.size_bytes() / 2 * 3 <= self.whole_limit()
    }

    /// Divides state, evicts and loads partitions as the memory demands and allows.
    pub(super) fn check_memory(&mut self, out: &mut dyn Output) -> Result<()> {
        self.set_next_check();
        let used = self.memory_bytes();
        self.member.set(used);
        if self.is_whole() {
            let is_large = used > self.whole_limit() && self.is_divisible;
            if !is_large {
                return Ok(());
            }
            self.evict(0)?;
            if !self.is_divisible {
                return Ok(());
            }
        }
        self.flush_waiting()?;
        self.make_room(0, None)?;
        self.work(self.now_ms(), out)?;
        self.report_sizes();
        self.send_watermark(out)
    }

    /// Moves waiting rows into files when they take too much memory; those of the partitions that
    /// have most of them.
    pub(super) fn flush_waiting(&mut self) -> Result<()> {
        let sizes = || self.partitions.iter().map(|p| p.waiting.memory_bytes());
        let all: usize = sizes().sum();
        if all <= self.member.limit() / WAITING_PART {
            return Ok(());
        }
        let num_waiting = sizes().filter(|&bytes| bytes > 0).count().max(1);
        let least = all / num_waiting / 2;
        let folder = self.folder()?;
        for partition in &mut self.partitions {
            if partition.waiting.memory_bytes() > least {
                partition.waiting.flush(&folder)?;
            }
        }
        Ok(())
    }

    /// Evicts partitions until so many bytes are free; the longest unused first, never that of the
    /// key group `except`.
    fn make_room(&mut self, bytes: usize, except: Option<usize>) -> Result<()> {
        loop {
            let used = self.memory_bytes();
            self.member.set(used);
            if used.saturating_add(bytes) <= self.member.limit() {
                return Ok(());
            }
            let loaded = self.partitions.iter().enumerate();
            let loaded = loaded.filter(|(_, p)| {
                p.is_loaded() && !except.is_some_and(|group| p.groups.contains(&group))
            });
            let Some((oldest, _)) =
                loaded.min_by_key(|(_, p)| (!p.waiting.is_empty(), p.last_used))
            else {
                return Ok(());
            };
            self.evict(oldest)?;
        }
    }

    /// Writes a partition to files and drops its instance; a large one becomes several.
    fn evict(&mut self, at: usize) -> Result<()> {
        let begin = self.context()?.clock.now_nanos();
        let num_parts = self.num_parts(
            self.partitions[at].state_bytes(),
            self.partitions[at].groups.len(),
        );
        let folder = self.folder()?;
        let partition = &mut self.partitions[at];
        if num_parts == 1 || partition.stored.is_some() {
            partition.store(&folder)?;
            partition.unload();
        } else {
            self.divide(at, num_parts)?;
        }
        let context = self.context()?;
        context.metrics.num_state_evictions.add(1);
        let took = context.clock.now_nanos() - begin;
        self.costs.add(took);
        Ok(())
    }

    /// How many partitions are to be made of one of this size.
    fn num_parts(&self, state_bytes: usize, num_groups: usize) -> usize {
        let limit = self.member.limit();
        if state_bytes <= limit / LARGE_PART || !self.is_divisible {
            return 1;
        }
        let wanted = state_bytes.div_ceil((limit / LARGE_PART / 2).max(1));
        let left = self
            .config
            .max_partitions
            .saturating_sub(self.partitions.len())
            + 1;
        wanted.clamp(1, num_groups.clamp(1, left))
    }

    /// Puts several partitions in files in the place of one in memory.
    fn divide(&mut self, at: usize, num_parts: usize) -> Result<()> {
        let partition = &mut self.partitions[at];
        let whole = partition.whole()?;
        if whole
            .snapshot
            .tables
            .iter()
            .any(|t| t.scope == StateScope::Split)
        {
            self.is_divisible = false;
            partition.reports_all = true;
            return Ok(());
        }
        // Frees the instance before its parts are made.
        partition.operator = None;
        let groups = partition.groups.clone();
        let parts = self.store_parts(groups, num_parts, whole)?;
        let mut old = std::mem::replace(&mut self.partitions[at], Partition::new(0..0, 0));
        self.late_rows_of(&mut old);
        let num_keys = old.metrics.num_keys.get() / parts.len().max(1) as i64;
        let mut parts = parts;
        for part in &mut parts {
            part.is_unreported = old.is_unreported;
            part.watermark = old.watermark;
            part.last_used = old.last_used;
            part.since_ms = old.since_ms;
            part.metrics.num_keys.set(num_keys);
        }
        if !old.waiting.is_empty() {
            let owners = Owners::new(parts.iter().map(|p| p.groups.clone()));
            let mut waiting: Vec<_> = parts.iter_mut().map(|p| &mut p.waiting).collect();
            old.waiting.split(&owners, &mut waiting)?;
        }
        self.partitions.splice(at..=at, parts);
        self.set_owners();
        Ok(())
    }

    fn set_owners(&mut self) {
        let groups = self.partitions.iter().map(|p| p.groups.clone());
        self.owners = Owners::new(groups);
    }

    /// Partitions of these key groups with their parts of a snapshot in files.
    fn store_parts(
        &mut self,
        groups: std::ops::Range<usize>,
        num_parts: usize,
        whole: Stored,
    ) -> Result<Vec<Partition>> {
        let start = |i: usize| groups.start + i * groups.len() / num_parts;
        let mut parts: Vec<Partition> = (0..num_parts)
            .map(|i| Partition::new(start(i)..start(i + 1), self.has_ended.len()))
            .collect();
        let owners = Owners::new(parts.iter().map(|p| p.groups.clone()));
        let mut tables: Vec<Vec<StateTable>> = vec![Vec::new(); num_parts];
        for table in whole.snapshot.tables {
            match table.scope {
                StateScope::Keyed => self.split_into(&owners, &table, &mut tables)?,
                _ => tables.iter_mut().for_each(|t| t.push(table.clone())),
            }
        }
        let sizes = tables
            .iter()
            .map(|t| t.iter().map(StateTable::size_bytes).sum());
        let sizes: Vec<usize> = sizes.collect();
        let all = sizes.iter().sum::<usize>().max(1);
        for ((part, tables), size) in parts.iter_mut().zip(tables).zip(sizes) {
            let share = size as f64 / all as f64;
            part.stored = Some(Stored {
                snapshot: StateSnapshot { tables },
                next_event_time: whole.next_event_time,
                next_timer_ms: whole.next_timer_ms,
                state_bytes: (whole.state_bytes as f64 * share) as usize,
            });
        }
        Ok(parts)
    }

    /// Takes back a snapshot as several partitions: each has key groups of one of `sides`, with
    /// the tables that are not keyed.
    pub(super) fn restore_divided(
        &mut self,
        snapshot: StateSnapshot,
        sides: Vec<SideTables>,
    ) -> Result<()> {
        let size = snapshot.size_bytes().saturating_mul(2);
        let all = self.context()?.key_groups().len().max(1);
        self.partitions.clear();
        let mut partitions = Vec::new();
        for side in sides {
            let share = size / all * side.groups.len();
            let num_parts = self.num_parts(share, side.groups.len());
            let whole = Stored {
                snapshot: StateSnapshot {
                    tables: side.tables,
                },
                // Not known before it is loaded once.
                next_event_time: self.uses_watermarks.then_some(i64::MIN),
                next_timer_ms: None,
                state_bytes: 0,
            };
            partitions.extend(self.store_parts(side.groups, num_parts, whole)?);
        }
        let owners = Owners::new(partitions.iter().map(|p| p.groups.clone()));
        let mut tables: Vec<Vec<StateTable>> = vec![Vec::new(); partitions.len()];
        for table in &snapshot.tables {
            self.split_into(&owners, table, &mut tables)?;
        }
        for (partition, tables) in partitions.iter_mut().zip(tables) {
            if let Some(stored) = &mut partition.stored {
                // In memory they take more than in a batch.
                stored.state_bytes = tables.iter().map(|t| t.size_bytes() * 2).sum();
                stored.snapshot.tables.extend(tables);
            }
        }
        self.partitions = partitions;
        self.set_owners();
        Ok(())
    }

    /// Gives each partition its rows of a keyed table, in files.
    fn split_into(
        &mut self,
        owners: &Owners,
        table: &StateTable,
        tables: &mut [Vec<StateTable>],
    ) -> Result<()> {
        self.reported.know(&table.name);
        let files = split_table(&self.folder()?, owners, all_rows(table))?;
        for (tables, rows) in tables.iter_mut().zip(files) {
            tables.push(StateTable::full(&table.name, table.scope, rows));
        }
        Ok(())
    }

    /// Loads a partition, unless it is loaded, and brings it up to date; gives whether it is.
    fn bring_up_to_date(
        &mut self,
        at: usize,
        most_bytes: usize,
        out: &mut dyn Output,
    ) -> Result<bool> {
        let mut at = at;
        if !self.partitions[at].is_loaded() {
            let begin = self.context()?.clock.now_nanos();
            let group = self.partitions[at].groups.start;
            let needed = self.partitions[at].stored_bytes();
            self.make_room(needed, Some(group))?;
            // Others may have been divided.
            at = self.owners.of(group)?;
            let (inner, context) = (self.inner.clone(), self.context()?.clone());
            self.partitions[at].load(inner.as_ref(), &context)?;
            let took = context.clock.now_nanos() - begin;
            self.costs.add(took);
        }
        let news = self.news();
        self.partitions[at].catch_up(&news, most_bytes, out)
    }

    /// How long rows and watermarks wait at the most.
    pub(super) fn delay_ms(&self) -> i64 {
        if self.config.max_delay_ms == 0 {
            return 0;
        }
        let num_stored = self.partitions.iter().filter(|p| !p.is_loaded()).count();
        let round_ms = self.costs.load_ns / 1_000_000 * num_stored as i64;
        let least = round_ms.saturating_mul(DELAY_FACTOR);
        self.config.max_delay_ms.max(least)
    }

    /// When a partition wants to be looked at because something waits for it this long; `None` when
    /// nothing does.
    pub(super) fn due_ms(partition: &Partition, delay_ms: i64) -> Option<i64> {
        if partition.is_loaded() {
            let is_behind = !partition.waiting.is_empty();
            return is_behind.then_some(partition.since_ms.unwrap_or_default());
        }
        Some(partition.since_ms?.saturating_add(delay_ms))
    }

    /// The partition that is to be worked on now, if any.
    fn next_work(&self, now_ms: i64) -> Option<usize> {
        let limit = self.member.limit();
        let used = self.memory_bytes();
        let delay_ms = self.delay_ms();
        let mut due = None;
        for (at, partition) in self.partitions.iter().enumerate() {
            if partition.is_finished
                || (partition.since_ms.is_none() && partition.waiting.is_empty())
            {
                continue;
            }
            if partition.is_loaded() {
                if !partition.waiting.is_empty() {
                    return Some(at);
                }
                continue;
            }
            let waiting = partition.waiting.memory_bytes() + partition.waiting.file_bytes();
            let stored = partition.stored_bytes();
            let is_much = waiting >= LEAST_WAITING_BYTES && waiting >= stored / 2;
            let fits = used.saturating_add(2 * stored) <= limit;
            let is_late = Self::due_ms(partition, delay_ms).is_some_and(|t| t <= now_ms);
            if is_much || fits || is_late {
                due = due.max(Some((waiting * 1000 / (stored + 1), at)));
            }
        }
        due.map(|(_, at)| at)
    }

    /// Works on what is due until nothing is, or enough has been sent.
    pub(super) fn work(&mut self, now_ms: i64, out: &mut dyn Output) -> Result<()> {
        let mut out = RowsOnly::new(out);
        while out.num_bytes < MOST_SENT_BYTES
            && let Some(at) = self.next_work(now_ms)
        {
            let left = MOST_SENT_BYTES - out.num_bytes;
            self.bring_up_to_date(at, left, &mut out)?;
            self.make_room(0, None)?;
        }
        Ok(())
    }

    /// Calls the instances whose time has come.
    pub(super) fn fire_timers(&mut self, now_ms: i64, out: &mut dyn Output) -> Result<()> {
        let mut out = RowsOnly::new(out);
        let is_due =
            |p: &Partition| !p.is_finished && p.next_timer_ms().is_some_and(|t| t <= now_ms);
        let due = self.partitions.iter().filter(|p| is_due(p));
        let due: Vec<usize> = due.map(|p| p.groups.start).collect();
        for group in due {
            let left = MOST_SENT_BYTES.saturating_sub(out.num_bytes);
            let at = self.owners.of(group)?;
            if left == 0 || !self.bring_up_to_date(at, left, &mut out)? {
                return Ok(());
            }
            let number = self.news().batch_number;
            let at = self.owners.of(group)?;
            let partition = &mut self.partitions[at];
            if is_due(partition) {
                partition.touch(number);
                partition.instance()?.on_timer(now_ms, &mut out)?;
            }
            self.make_room(0, None)?;
        }
        Ok(())
    }

    /// Brings every partition to its end; those in memory first, which makes room for the others.
    pub(super) fn finish_partitions(&mut self, out: &mut dyn Output) -> Result<()> {
        let mut out = RowsOnly::new(out);
        loop {
            let left = self
                .partitions
                .iter()
                .enumerate()
                .filter(|(_, p)| !p.is_finished);
            let Some((at, _)) = left.max_by_key(|(_, p)| p.is_loaded()) else {
                return Ok(());
            };
            let group = self.partitions[at].groups.start;
            self.bring_up_to_date(at, usize::MAX, &mut out)?;
            let at = self.owners.of(group)?;
            let partition = &mut self.partitions[at];
            partition.tell_watermark(MAX_WATERMARK, &mut out)?;
            partition.instance()?.finish(&mut out)?;
            partition.operator = None;
            partition.stored = None;
            partition.is_finished = true;
            partition.is_unreported = true;
        }
    }

    /// Counts a partition's late rows as the operator's.
    fn late_rows_of(&self, partition: &mut Partition) {
        if let Ok(context) = self.context()
            && !std::sync::Arc::ptr_eq(&context.metrics, &partition.metrics)
        {
            let new = partition.new_late_rows();
            context.metrics.num_late_records_dropped.add(new);
        }
    }

    /// Sets the operator's metrics.
    pub(super) fn report_sizes(&mut self) {
        let mut partitions = std::mem::take(&mut self.partitions);
        partitions.iter_mut().for_each(|p| self.late_rows_of(p));
        self.partitions = partitions;
        let used = self.memory_bytes();
        self.member.set(used);
        let Ok(context) = self.context() else { return };
        let metrics = &context.metrics;
        let sum = |value: fn(&Partition) -> usize| -> i64 {
            self.partitions.iter().map(value).sum::<usize>() as i64
        };
        metrics.state_size_bytes.set(used as i64);
        metrics
            .state_size_on_disk_bytes
            .set(sum(Partition::file_bytes));
        metrics
            .num_records_waiting
            .set(sum(|p| p.waiting.num_rows()));
        if self.partitions.len() > 1 {
            let num_keys = self.partitions.iter().map(|p| p.metrics.num_keys.get());
            metrics.num_keys.set(num_keys.sum());
        }
    }
}
