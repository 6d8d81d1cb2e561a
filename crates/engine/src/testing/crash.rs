//! Crash and restore after the first, second, … step of a script: complete, not random.

use std::collections::BTreeMap;

use flott_core::operator::StateContent;
use flott_core::{Error, Result};

use crate::spill::SpillConfig;
use crate::testing::harness::{Harness, OpenHarness, fold};

/// One step of a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Rows as text on the input of this index.
    Process(usize, String),
    /// A watermark on all inputs, in ms.
    Watermark(i64),
    /// A watermark on one input, in ms.
    WatermarkOn(usize, i64),
    /// Processing time moves on to this, in ms.
    Time(i64),
    /// One input ends.
    EndInput(usize),
    /// All inputs end.
    Finish,
}

impl Step {
    /// Rows as text on the input of this index.
    pub fn process(input: usize, rows: &str) -> Self {
        Self::Process(input, rows.to_owned())
    }

    /// Does this step.
    ///
    /// # Errors
    /// What the operator reports.
    pub fn run(&self, harness: &mut OpenHarness) -> Result<()> {
        match self {
            Self::Process(input, rows) => harness.process(*input, rows),
            Self::Watermark(watermark) => harness.watermark(*watermark),
            Self::WatermarkOn(input, watermark) => harness.watermark_on(*input, *watermark),
            Self::Time(now_ms) => harness.advance_time(*now_ms),
            Self::EndInput(input) => harness.end_input(*input),
            Self::Finish => harness.finish(),
        }
    }
}

/// Runs the script without a crash, with a crash after each single step (with and without snapshots
/// after the steps before), and with a crash after every step, restoring with each of these
/// parallelisms, and with each of them and 1 in turn; the table that the output describes must be
/// the same. An operator with keyed state does all of it again with its state in files. Gives that
/// table.
///
/// # Errors
/// What the operator reports, and a difference, with the step after which the crash was.
pub fn crash_everywhere(
    harness: &Harness,
    script: &[Step],
    parallelisms: &[usize],
) -> Result<BTreeMap<String, i64>> {
    let expected = run(harness, script, |_| None)?;
    crashes(harness, script, parallelisms, &expected)?;
    if harness.is_keyed() {
        in_files(harness, script, parallelisms, &expected)?;
    }
    Ok(expected)
}

/// Memory for state and how long rows wait for it: nothing fits and nothing waits; something fits;
/// rows wait for the next timer or the end.
const SPILLING: [(usize, i64); 3] = [(0, 0), (4 << 10, 1), (0, 1)];

/// The same with state in files: crashes after every step, and, where rows wait, everywhere.
fn in_files(
    harness: &Harness,
    script: &[Step],
    parallelisms: &[usize],
    expected: &BTreeMap<String, i64>,
) -> Result<()> {
    for (memory_bytes, max_delay_ms) in SPILLING {
        let spilling = harness.clone().spilling(SpillConfig {
            memory_bytes,
            max_delay_ms,
            max_partitions: 4,
            folder: std::env::temp_dir(),
        });
        let context = format!("{memory_bytes} bytes of memory, rows wait {max_delay_ms} ms");
        let check = || {
            let actual = run(&spilling, script, |_| None)?;
            compare(expected, &actual, "nowhere", 1)?;
            for &parallelism in parallelisms {
                let actual = run(&spilling, script, |_| Some(After::Crash(parallelism)))?;
                compare(expected, &actual, "after every step", parallelism)?;
            }
            Ok(())
        };
        check().map_err(|e: Error| e.context(&context))?;
        if (memory_bytes, max_delay_ms) == (0, 1) {
            let most = &parallelisms[parallelisms.len().saturating_sub(1)..];
            let everywhere = crashes(&spilling, script, most, expected);
            everywhere.map_err(|e| e.context(&context))?;
        }
    }
    Ok(())
}

fn crashes(
    harness: &Harness,
    script: &[Step],
    parallelisms: &[usize],
    expected: &BTreeMap<String, i64>,
) -> Result<()> {
    for &parallelism in parallelisms {
        for crash_after in 0..script.len() {
            let place = format!("after step {crash_after} ({:?})", script[crash_after]);
            let crash = |step| (step == crash_after).then_some(After::Crash(parallelism));
            let actual = run(harness, script, crash)?;
            compare(expected, &actual, &place, parallelism)?;
            let actual = run(harness, script, |step| {
                crash(step).or(Some(After::Snapshot))
            })?;
            let place = format!("{place}, with a snapshot after every step,");
            compare(expected, &actual, &place, parallelism)?;
        }
        let actual = run(harness, script, |_| Some(After::Crash(parallelism)))?;
        compare(expected, &actual, "after every step", parallelism)?;
        // A crash, some snapshots of the restored operator, a crash with the other parallelism …
        let in_turn = |step: usize| match step % 4 {
            0 => Some(After::Crash(parallelism)),
            2 => Some(After::Crash(1)),
            _ => Some(After::Snapshot),
        };
        let actual = run(harness, script, in_turn)?;
        compare(
            expected,
            &actual,
            "after every other step, in turn with 1,",
            parallelism,
        )?;
    }
    Ok(())
}

/// Runs the script with a snapshot after every step and checks that another one right after it says
/// nothing, also after a restore: snapshots say what has changed, not what is there.
///
/// # Errors
/// What the operator reports, and a table that was told again.
pub fn says_only_changes(harness: &Harness, script: &[Step]) -> Result<()> {
    let mut open = harness.clone().open()?;
    for (index, step) in script.iter().enumerate() {
        step.run(&mut open)?;
        if open.is_finished() {
            break;
        }
        if index % 2 == 1 {
            open.crash_and_restore(1)?;
        }
        open.snapshot()?;
        let again = open.snapshot_changes()?;
        let said = again.iter().flat_map(|s| &s.tables).find(|table| {
            let is_delta = matches!(table.content, StateContent::Delta { .. });
            !(is_delta && table.is_empty())
        });
        if let Some(table) = said {
            return Err(Error::internal(format!(
                "after step {index} ({step:?}) table '{}' is told again: {:?}",
                table.name, table.content
            )));
        }
    }
    Ok(())
}

/// What happens after a step.
#[derive(Debug, Clone, Copy)]
enum After {
    /// A snapshot is taken and kept.
    Snapshot,
    /// A snapshot is taken and restored with this parallelism.
    Crash(usize),
}

fn run(
    harness: &Harness,
    script: &[Step],
    after: impl Fn(usize) -> Option<After>,
) -> Result<BTreeMap<String, i64>> {
    let mut open = harness.clone().open()?;
    let mut lines = Vec::new();
    for (index, step) in script.iter().enumerate() {
        step.run(&mut open)?;
        lines.extend(open.drain());
        match after(index) {
            Some(_) if open.is_finished() => {}
            Some(After::Crash(parallelism)) => {
                open.crash_and_restore(parallelism)?;
                lines.extend(open.drain());
            }
            Some(After::Snapshot) => drop(open.snapshot()?),
            None => {}
        }
    }
    if !open.is_finished() {
        // Rows that wait for their state in a file have to come in.
        open.advance_time(open.now_ms() + 1)?;
        lines.extend(open.drain());
    }
    Ok(fold(&lines))
}

fn compare(
    expected: &BTreeMap<String, i64>,
    actual: &BTreeMap<String, i64>,
    place: &str,
    parallelism: usize,
) -> Result<()> {
    if expected == actual {
        return Ok(());
    }
    Err(Error::internal(format!(
        "a crash {place}, restored with parallelism {parallelism}, changes the result\n\
         without: {expected:#?}\nwith: {actual:#?}"
    )))
}
