use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, AsArray, Int64Array, RecordBatch, UInt16Array};
use arrow::datatypes::{DataType, Field, Int64Type, Schema as ArrowSchema};

use flott_core::changelog::ChangelogBatch;
use flott_core::graph::Exchange;
use flott_core::hash::{hash_columns, mix};
use flott_core::key_group::key_group_of;
use flott_core::operator::{
    Operator, OperatorContext, Output, StateContent, StateScope, StateSnapshot, StateTable,
};
use flott_core::schema::{Column, Schema};
use flott_core::types::LogicalType;
use flott_core::{ErrorKind, Result};

use super::SpillConfig;
use crate::testing::{Harness, OpenHarness, Step, crash_everywhere, fold, rows};

/// What a key is said to take.
const KEY_BYTES: usize = 64;

/// Sums `v` by `k` and sends each change; a watermark of 1000 sends all sums again, negative.
#[derive(Default)]
struct Sums(BTreeMap<i64, i64>);

fn schema() -> Schema {
    Schema::new(["k", "v"].map(|n| Column::new(n, LogicalType::BigInt.nullable())))
}

impl Operator for Sums {
    fn open(&mut self, _: &OperatorContext) -> Result<()> {
        Ok(())
    }

    fn process(&mut self, _: usize, batch: ChangelogBatch, out: &mut dyn Output) -> Result<()> {
        let keys = batch.column(0).as_primitive::<Int64Type>();
        let values = batch.column(1).as_primitive::<Int64Type>();
        let mut sums = Vec::new();
        for (key, value) in keys.values().iter().zip(values.values()) {
            let sum = self.0.entry(*key).or_default();
            *sum += value;
            sums.push(*sum);
        }
        out.emit(rows::integers(&[keys.values().to_vec(), sums], &schema())?)
    }

    fn watermark(&mut self, watermark: i64, out: &mut dyn Output) -> Result<()> {
        if watermark >= 1000 {
            let (keys, sums) = std::mem::take(&mut self.0).into_iter().unzip();
            let sums: Vec<i64> = sums;
            let sums = sums.into_iter().map(|s| -s).collect();
            out.emit(rows::integers(&[keys, sums], &schema())?)?;
        }
        out.watermark(watermark)
    }

    fn snapshot(&mut self) -> Result<StateSnapshot> {
        let keys = Int64Array::from_iter_values(self.0.keys().copied());
        let mut hashes = Vec::new();
        hash_columns(&[Arc::new(keys.clone())], keys.len(), &mut hashes)?;
        let groups = hashes.iter().map(|&h| key_group_of(h, 128) as u16);
        let columns: Vec<Arc<dyn Array>> = vec![
            Arc::new(UInt16Array::from_iter_values(groups)),
            Arc::new(keys),
            Arc::new(Int64Array::from_iter_values(self.0.values().copied())),
        ];
        let fields = vec![
            Field::new("g", DataType::UInt16, true),
            Field::new("k", DataType::Int64, true),
            Field::new("v", DataType::Int64, true),
        ];
        let batch = RecordBatch::try_new(Arc::new(ArrowSchema::new(fields)), columns)?;
        Ok(StateSnapshot {
            tables: vec![StateTable::full("sums", StateScope::Keyed, batch)],
        })
    }

    fn restore(&mut self, snapshot: StateSnapshot) -> Result<()> {
        for batch in snapshot.table("sums") {
            let batch = &batch?;
            let keys = batch.column(1).as_primitive::<Int64Type>().values();
            let sums = batch.column(2).as_primitive::<Int64Type>().values();
            self.0
                .extend(keys.iter().copied().zip(sums.iter().copied()));
        }
        Ok(())
    }

    fn state_bytes(&self) -> usize {
        self.0.len() * KEY_BYTES
    }

    fn next_event_time(&self) -> Option<i64> {
        Some(if self.0.is_empty() { i64::MAX } else { 1000 })
    }
}

fn sums() -> Harness {
    let factory = || Ok(Box::<Sums>::default() as Box<dyn Operator>);
    Harness::new(Arc::new(factory))
        .input_by(schema(), Exchange::Hash(vec![0]))
        .output(schema())
}

fn spilling(memory_bytes: usize, max_delay_ms: i64, folder: &Path) -> Harness {
    sums().spilling(SpillConfig {
        memory_bytes,
        max_delay_ms,
        max_partitions: 64,
        folder: folder.to_path_buf(),
    })
}

fn random_rows(seed: u64, num_rows: u64, num_keys: u64) -> ChangelogBatch {
    let random = (0..num_rows).map(|n| mix(seed, n));
    let (keys, values) = random
        .map(|r| ((r % num_keys) as i64, (r >> 40) as i64 % 100))
        .unzip();
    rows::integers(&[keys, values], &schema()).unwrap()
}

fn num_files(folder: &Path) -> usize {
    let folders = std::fs::read_dir(folder).unwrap().flatten();
    let files = folders.flat_map(|f| std::fs::read_dir(f.path()).unwrap().flatten());
    files
        .filter(|f| f.file_name().to_string_lossy().ends_with(".arrow"))
        .count()
}

fn table(open: &mut OpenHarness) -> BTreeMap<String, i64> {
    fold(&open.drain_rows())
}

#[test]
fn state_of_many_times_the_memory_gives_the_same_and_keeps_within_it() -> Result<()> {
    const BUDGET: usize = 512 << 10;
    let folder = tempfile::tempdir().unwrap();
    let mut spilled = spilling(BUDGET, 10_000, folder.path()).open()?;
    let mut whole = sums().open()?;
    let mut most = 0;
    for seed in 0..80 {
        let rows = random_rows(seed, 1000, 40_000);
        whole.process_batch(0, rows.clone())?;
        spilled.process_batch(0, rows)?;
        most = most.max(spilled.state_bytes());
    }
    assert!(whole.state_bytes() > 3 * BUDGET, "{}", whole.state_bytes());
    assert!(most < BUDGET * 11 / 10, "{most}");
    assert!(spilled.metric("stateSizeOnDiskBytes").unwrap_or(0) > 0);
    assert!(spilled.metric("numBytesSpilled").unwrap_or(0) > 0);
    assert!(num_files(folder.path()) > 8);
    spilled.advance_time(10_000_000)?;
    assert_eq!(spilled.metric("numRecordsWaitingForState"), Some(0));
    assert!(spilled.state_bytes() < BUDGET * 11 / 10);
    whole.finish()?;
    spilled.finish()?;
    assert_eq!(table(&mut whole), table(&mut spilled));
    drop(spilled);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    Ok(())
}

#[test]
fn rows_wait_and_hold_the_watermark_back_until_their_state_is_there() -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    let mut open = spilling(0, 1000, folder.path()).open()?;
    open.process(0, "1 | 10\n2 | 20")?;
    open.watermark(50)?;
    assert_eq!(open.drain().len(), 3);
    open.process(0, "1 | 1")?;
    open.watermark(60)?;
    open.process(0, "1 | 2")?;
    open.watermark(70)?;
    assert_eq!(open.drain(), Vec::<String>::new());
    assert_eq!(open.metric("numRecordsWaitingForState"), Some(2));
    open.advance_time(999)?;
    assert_eq!(open.drain(), Vec::<String>::new());
    open.advance_time(1000)?;
    assert_eq!(open.drain(), ["+I | 1 | 11", "+I | 1 | 13", "watermark 70"]);
    // A watermark that does something brings the state back by itself.
    open.watermark(1000)?;
    assert_eq!(open.drain(), ["watermark 999"]);
    open.advance_time(3000)?;
    let mut said = open.drain();
    said[..2].sort();
    assert_eq!(said, ["+I | 1 | -13", "+I | 2 | -20", "watermark 1000"]);
    Ok(())
}

#[test]
fn a_snapshot_says_what_has_changed_and_which_rows_have_come() -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    let mut open = spilling(0, 1000, folder.path()).open()?;
    open.process_batch(0, random_rows(1, 500, 400))?;
    open.snapshot()?;
    let said = |snapshots: &[StateSnapshot], name: &str| -> usize {
        let tables = snapshots.iter().flat_map(|s| &s.tables);
        let tables = tables.filter(|t| t.name == name);
        let counts = tables.map(|t| match &t.content {
            StateContent::Full(rows) => rows.num_rows(),
            StateContent::Delta { upserts, .. } => upserts.num_rows(),
        });
        counts.sum()
    };
    open.process_batch(0, random_rows(2, 100, 400))?;
    let changes = open.snapshot_changes()?;
    assert_eq!(
        (said(&changes, "sums"), said(&changes, "$waiting.0")),
        (0, 100)
    );
    open.process_batch(0, random_rows(3, 10, 400))?;
    let changes = open.snapshot_changes()?;
    assert_eq!(
        (said(&changes, "sums"), said(&changes, "$waiting.0")),
        (0, 10)
    );
    Ok(())
}

#[test]
fn waiting_rows_and_watermarks_survive_crashes_and_other_parallelisms() -> Result<()> {
    let mut script = Vec::new();
    for seed in 0..6 {
        let random = (0..20).map(|n| mix(seed, n));
        let lines = random.map(|r| format!("{} | {}", r % 30, r >> 60));
        script.push(Step::process(0, &lines.collect::<Vec<_>>().join("\n")));
        match seed {
            2 => script.push(Step::Watermark(500)),
            4 => script.push(Step::Watermark(1000)),
            _ => {}
        }
    }
    script.push(Step::Finish);
    crash_everywhere(&sums(), &script, &[1, 2])?;
    Ok(())
}

#[test]
fn rescaled_state_larger_than_memory_is_the_same() -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    let mut spilled = spilling(64 << 10, 10_000, folder.path()).open()?;
    let mut whole = sums().open()?;
    for (seed, parallelism) in [1, 2, 1, 3, 1].into_iter().enumerate() {
        let rows = random_rows(seed as u64, 4000, 10_000);
        whole.process_batch(0, rows.clone())?;
        spilled.process_batch(0, rows)?;
        if seed == 3 {
            whole.watermark(1000)?;
            spilled.watermark(1000)?;
        }
        spilled.crash_and_restore(parallelism)?;
    }
    whole.finish()?;
    spilled.finish()?;
    assert_eq!(table(&mut whole), table(&mut spilled));
    Ok(())
}

#[test]
fn a_folder_that_refuses_and_a_file_that_is_gone_are_named() -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    let refusing = folder.path().join("file");
    std::fs::write(&refusing, "no folder").unwrap();
    let mut open = spilling(0, 1000, &refusing).open()?;
    let error = open.process(0, "1 | 10").unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::External, "SPILL"));
    assert!(error.message().contains("io.tmp.dirs"), "{error}");

    let mut open = spilling(0, 1000, folder.path()).open()?;
    open.process(0, "1 | 10")?;
    let before = open.snapshot()?;
    open.process(0, "1 | 1")?;
    for file in std::fs::read_dir(folder.path()).unwrap().flatten() {
        for file in std::fs::read_dir(file.path())
            .into_iter()
            .flatten()
            .flatten()
        {
            if file.file_name().to_string_lossy().ends_with(".arrow") {
                // Cut in the middle, as a damaged disk might.
                let bytes = std::fs::read(file.path()).unwrap();
                std::fs::write(file.path(), &bytes[..bytes.len() / 2]).unwrap();
            }
        }
    }
    let error = open.advance_time(1000).unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::External, "SPILL"));
    drop(before);
    Ok(())
}

#[test]
fn folders_of_processes_that_are_gone_are_removed_and_others_are_not() -> Result<()> {
    let parent = tempfile::tempdir().unwrap();
    let stale = parent.path().join("flott-spill-1-0");
    std::fs::create_dir(&stale).unwrap();
    std::fs::write(stale.join("lock"), "").unwrap();
    std::fs::write(stale.join("0.arrow"), "").unwrap();
    let other = parent.path().join("other");
    std::fs::create_dir(&other).unwrap();
    let mut open = spilling(0, 1000, parent.path()).open()?;
    assert!(!stale.exists() && other.exists());
    open.process(0, "1 | 10")?;
    super::clean_stale_folders(parent.path());
    open.process(0, "1 | 1")?;
    open.advance_time(2000)?;
    assert_eq!(open.drain(), ["+I | 1 | 10", "+I | 1 | 11"]);
    Ok(())
}
