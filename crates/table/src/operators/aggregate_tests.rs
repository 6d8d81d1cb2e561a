//! Tests of the aggregating operators through the harness.

use std::collections::BTreeMap;
use std::sync::Arc;

use flott_core::graph::Exchange;
use flott_core::operator::OperatorFactory;
use flott_core::schema::{Column, Schema};
use flott_core::types::LogicalType;
use flott_engine::testing::{Harness, Step, crash_everywhere, fold};
use proptest::prelude::*;

use super::group_aggregate::GroupAggregateConfig;
use super::session_window_aggregate::SessionWindowAggregateConfig;
use super::window_aggregate::{WindowAggregateConfig, WindowProperty, WindowShape, WindowTime};
use super::window_tvf;
use crate::aggregates::{AggregateCallConfig, Phase, find};

const K: usize = 0;
const I: usize = 1;
const S: usize = 2;
const TS: usize = 3;
const D: usize = 4;

fn schema() -> Schema {
    let column = |name: &str, ty: LogicalType| Column::new(name, ty.nullable());
    Schema::new(vec![
        column("k", LogicalType::STRING),
        column("i", LogicalType::BigInt),
        column("s", LogicalType::STRING),
        column("ts", LogicalType::Timestamp(3)),
        column("d", LogicalType::Double),
    ])
}

fn call(name: &str, args: &[usize]) -> AggregateCallConfig {
    let function = find(name).unwrap();
    let given: Vec<_> = args
        .iter()
        .map(|&a| schema().column(a).data_type.clone())
        .collect();
    AggregateCallConfig {
        function,
        types: (function.bind)(&given).unwrap(),
        args: args.to_vec(),
        distinct: false,
        filter: None,
    }
}

fn distinct(name: &str, args: &[usize]) -> AggregateCallConfig {
    AggregateCallConfig {
        distinct: true,
        ..call(name, args)
    }
}

fn result_schema(keys: &[usize], calls: &[AggregateCallConfig], windows: usize) -> Schema {
    let schema = schema();
    let keys = keys.iter().map(|&k| schema.column(k).clone());
    let results = calls.iter();
    let results = results.map(|c| Column::new("a", c.types.result.clone()));
    let window = Column::new("w", LogicalType::Timestamp(3).not_null());
    let windows = std::iter::repeat_n(window, windows);
    keys.chain(results).chain(windows).collect()
}

fn group(
    keys: &[usize],
    calls: Vec<AggregateCallConfig>,
    retracting: bool,
) -> GroupAggregateConfig {
    GroupAggregateConfig {
        key_columns: keys.to_vec(),
        schema: result_schema(keys, &calls, 0).to_arrow(),
        calls,
        phase: Phase::Complete,
        input_is_retracting: retracting,
        emits_update_before: true,
        emits_at_end: false,
        sends_each_change: false,
        forgets_emptied: false,
        final_inputs: None,
        state_ttl_ms: None,
        input_schema: schema().to_arrow(),
    }
}

fn window(shape: WindowShape, calls: Vec<AggregateCallConfig>) -> WindowAggregateConfig {
    WindowAggregateConfig {
        window: shape,
        time: WindowTime::Rowtime(TS),
        time_zone: None,
        key_columns: vec![K],
        schema: result_schema(&[K], &calls, 2).to_arrow(),
        calls,
        phase: Phase::Complete,
        input_is_retracting: false,
        properties: vec![WindowProperty::Start, WindowProperty::End],
        input_schema: schema().to_arrow(),
    }
}

fn harness(factory: impl OperatorFactory + 'static) -> Harness {
    Harness::new(Arc::new(factory)).input_by(schema(), Exchange::Hash(vec![K]))
}

#[test]
fn a_key_is_inserted_updated_and_deleted() {
    let calls = vec![call("COUNT", &[]), call("SUM", &[I])];
    let mut open = harness(group(&[K], calls, true)).open().unwrap();
    open.process(
        0,
        "a | 1 | x | NULL | 1\na | 2 | x | NULL | 2\nb | NULL | x | NULL | NULL",
    )
    .unwrap();
    assert_eq!(open.drain(), ["+I | a | 2 | 3", "+I | b | 1 | NULL"]);
    open.process(
        0,
        "-D | a | 1 | x | NULL | 1\n+I | a | 1 | x | NULL | 1\n-D | b | NULL | x | NULL | NULL",
    )
    .unwrap();
    assert_eq!(open.drain(), ["-D | b | 1 | NULL"]);
    open.process(0, "-D | a | 1 | x | NULL | 1").unwrap();
    assert_eq!(open.drain(), ["-U | a | 2 | 3", "+U | a | 1 | 2"]);
}

#[test]
fn functions_give_what_flink_gives() {
    let names = [
        "AVG",
        "MIN",
        "MAX",
        "VAR_SAMP",
        "STDDEV",
        "COLLECT",
        "ARRAY_AGG",
        "FIRST_VALUE",
        "LAST_VALUE",
        "JSON_ARRAYAGG",
    ];
    let argument = |name: &&str| match name.contains("DEV") || name.contains("VAR") {
        true => D,
        false => I,
    };
    let calls = names.iter().map(|n| call(n, &[argument(n)]));
    let mut calls: Vec<_> = calls.collect();
    calls.push(call("LISTAGG", &[S]));
    calls.push(distinct("LISTAGG", &[S]));
    calls.push(distinct("COUNT", &[I]));
    for retracting in [false, true] {
        let mut open = harness(group(&[K], calls.clone(), retracting))
            .open()
            .unwrap();
        open.process(
            0,
            "1 | 1 | C | NULL | 1\n1 | 2 | A | NULL | 2\n1 | 4 | C | NULL | 4\n2 | NULL | NULL | NULL | NULL",
        )
        .unwrap();
        assert_eq!(
            open.drain(),
            [
                "+I | 1 | 2 | 1 | 4 | 2.333333333333333 | 1.5275252316519465 | {1: 1, 2: 1, 4: 1} | [1, 2, 4] | 1 | 4 | [1,2,4] | C,A,C | C,A | 3",
                "+I | 2 | NULL | NULL | NULL | NULL | NULL | {} | [NULL] | NULL | NULL | [] | NULL | NULL | 0",
            ]
        );
    }
}

#[test]
fn without_keys_the_end_of_a_batch_job_gives_one_row() {
    let calls = vec![call("COUNT", &[]), call("MAX", &[S])];
    let config = GroupAggregateConfig {
        emits_at_end: true,
        ..group(&[], calls, false)
    };
    let harness = Harness::new(Arc::new(config)).input(schema());
    let mut open = harness.open().unwrap();
    open.finish().unwrap();
    assert_eq!(open.drain_rows(), ["+I | 0 | NULL"]);
}

#[test]
fn a_second_row_for_a_single_value_is_an_error() {
    let mut open = harness(group(&[K], vec![call("SINGLE_VALUE", &[I])], false))
        .open()
        .unwrap();
    let error = open
        .process(0, "a | 1 | x | NULL | 1\na | 2 | x | NULL | 2")
        .unwrap_err();
    assert_eq!(error.code(), "SINGLE_VALUE");
}

#[test]
fn a_key_is_forgotten_after_its_ttl() {
    let config = GroupAggregateConfig {
        state_ttl_ms: Some(1_000),
        ..group(&[K], vec![call("COUNT", &[])], false)
    };
    let mut open = harness(config).open().unwrap();
    open.process(0, "a | 1 | x | NULL | 1").unwrap();
    open.advance_time(2_500).unwrap();
    open.process(0, "a | 1 | x | NULL | 1").unwrap();
    assert_eq!(open.drain_rows(), ["+I | a | 1", "+I | a | 1"]);
}

const BIDS: [(&str, i64); 9] = [
    ("a | 1 | x | 1970-01-01 00:00:01.000 | 0", 0),
    ("a | 2 | y | 1970-01-01 00:00:03.000 | 0", 2),
    ("b | 5 | x | 1970-01-01 00:00:09.000 | 0", 8),
    ("a | 3 | x | 1970-01-01 00:00:07.000 | 0", 8),
    ("b | 1 | z | 1970-01-01 00:00:11.000 | 0", 10),
    ("a | 6 | x | 1970-01-01 00:00:16.000 | 0", 15),
    ("a | 9 | x | 1970-01-01 00:00:05.000 | 0", 15),
    ("b | 7 | x | 1970-01-01 00:00:45.000 | 0", 44),
    ("a | 7 | x | 1970-01-01 00:01:02.000 | 0", 61),
];

fn bids() -> Vec<Step> {
    let mut script = Vec::new();
    for (row, watermark) in BIDS {
        script.push(Step::process(0, row));
        script.push(Step::Watermark(watermark * 1_000));
    }
    script.push(Step::Finish);
    script
}

fn all_calls() -> Vec<AggregateCallConfig> {
    vec![
        call("COUNT", &[]),
        call("SUM", &[I]),
        call("MAX", &[S]),
        distinct("COUNT", &[S]),
        call("LISTAGG", &[S]),
        call("AVG", &[I]),
    ]
}

#[test]
fn a_crash_anywhere_changes_nothing() {
    let tumble = WindowShape::Tumble {
        size_ms: 10_000,
        offset_ms: 0,
    };
    let hop = WindowShape::Hop {
        size_ms: 15_000,
        slide_ms: 5_000,
        offset_ms: 0,
    };
    let cumulate = WindowShape::Cumulate {
        max_size_ms: 20_000,
        step_ms: 5_000,
        offset_ms: 0,
    };
    for shape in [tumble, hop, cumulate] {
        // CUMULATE merges slices into the one with the most keys, which is another one when the
        // keys are divided: what depends on the order of rows differs.
        let is_cumulate = matches!(shape, WindowShape::Cumulate { .. });
        let mut calls = all_calls();
        calls.retain(|c| !is_cumulate || !c.function.is_order_sensitive);
        let harness = harness(window(shape, calls));
        crash_everywhere(&harness, &bids(), &[1, 3]).unwrap();
    }
    crash_everywhere(&harness(session(5_000)), &bids(), &[1, 3]).unwrap();
    let groups = group(&[K], all_calls(), true);
    crash_everywhere(&harness(groups), &bids(), &[1, 3]).unwrap();
}

fn session(gap_ms: i64) -> SessionWindowAggregateConfig {
    let calls = all_calls();
    SessionWindowAggregateConfig {
        gap_ms,
        time: window_tvf::WindowTime::Rowtime(TS),
        time_zone: None,
        key_columns: vec![K],
        schema: result_schema(&[K], &calls, 2).to_arrow(),
        calls,
        input_is_retracting: false,
        properties: vec![WindowProperty::Start, WindowProperty::End],
        input_schema: schema().to_arrow(),
    }
}

/// Count and sum of each window that is still open when a row comes.
fn naive(shape: WindowShape) -> BTreeMap<String, i64> {
    let mut windows: BTreeMap<(String, i64, i64), (i64, i64)> = BTreeMap::new();
    let mut watermark = i64::MIN;
    for (row, next) in BIDS {
        let parts: Vec<&str> = row.split(" | ").collect();
        let minutes: i64 = parts[3][14..16].parse().unwrap();
        let seconds: i64 = parts[3][17..19].parse().unwrap();
        shape.windows_of((minutes * 60 + seconds) * 1_000, |start, end| {
            if end - 1 > watermark {
                let cell = windows.entry((parts[0].into(), start, end)).or_default();
                cell.0 += 1;
                cell.1 += parts[1].parse::<i64>().unwrap();
            }
        });
        watermark = next * 1_000;
    }
    let lines = windows.into_iter();
    lines
        .map(|((k, start, end), (n, s))| (format!("{k} {n} {s} {start} {end}"), 1))
        .collect()
}

/// The results of [`BIDS`], with this much processing time after each of them.
fn run(config: WindowAggregateConfig, pause_ms: i64) -> BTreeMap<String, i64> {
    use arrow::array::AsArray;
    use arrow::datatypes::{Int64Type, TimestampMillisecondType};
    let mut open = harness(config).open().unwrap();
    for (index, step) in bids().into_iter().enumerate() {
        step.run(&mut open).unwrap();
        open.advance_time(index as i64 * pause_ms).unwrap();
    }
    let mut lines = BTreeMap::new();
    let Some(batch) = open.drain_batch().unwrap() else {
        return lines;
    };
    for row in 0..batch.num_rows() {
        let time = |c: usize| {
            batch
                .column(c)
                .as_primitive::<TimestampMillisecondType>()
                .value(row)
        };
        let line = format!(
            "{} {} {} {} {}",
            batch.column(0).as_string_view().value(row),
            batch.column(1).as_primitive::<Int64Type>().value(row),
            batch.column(2).as_primitive::<Int64Type>().value(row),
            time(3),
            time(4),
        );
        *lines.entry(line).or_insert(0) += 1;
    }
    lines
}

#[test]
fn panes_give_what_every_window_by_itself_gives() {
    let calls = || vec![call("COUNT", &[]), call("SUM", &[I])];
    for (size_ms, slide_ms) in [
        (15_000, 5_000),
        (10_000, 4_000),
        (4_000, 10_000),
        (9_000, 9_000),
    ] {
        let shape = WindowShape::Hop {
            size_ms,
            slide_ms,
            offset_ms: 0,
        };
        // The more time there is, the more is merged before a window closes.
        for pause_ms in [0, 1, 15, 100] {
            let results = run(window(shape, calls()), pause_ms);
            assert_eq!(results, naive(shape), "{shape:?} {pause_ms}");
        }
    }
}

#[test]
fn a_local_phase_sends_a_slice_when_the_next_one_begins() {
    let shape = WindowShape::Tumble {
        size_ms: 10_000,
        offset_ms: 0,
    };
    let calls = vec![call("COUNT", &[])];
    let states = WindowAggregateConfig::local_schema(&schema(), &[K], &calls, false).unwrap();
    let config = WindowAggregateConfig {
        phase: Phase::Local,
        properties: Vec::new(),
        schema: states.to_arrow(),
        ..window(shape, calls)
    };
    let mut open = harness(config).open().unwrap();
    let row = |second: i64| format!("a | 1 | x | 1970-01-01 00:00:{second:02}.000 | 0");
    open.process(0, &[row(1), row(2)].join("\n")).unwrap();
    assert!(open.drain_rows().is_empty());
    open.process(0, &[row(3), row(11), row(12)].join("\n"))
        .unwrap();
    assert_eq!(open.drain_rows(), ["+I | a | 3 | 0 | 10000"]);
    // Late for the slice, but not for the watermark; the newest slice stays.
    open.process(0, &row(4)).unwrap();
    assert!(open.drain_rows().is_empty());
    open.watermark(9_999).unwrap();
    assert_eq!(open.drain_rows(), ["+I | a | 1 | 0 | 10000"]);
    open.finish().unwrap();
    assert_eq!(open.drain_rows(), ["+I | a | 2 | 10000 | 20000"]);
}

#[test]
fn cumulate_repeats_values_but_not_before_the_first_row() {
    let shape = WindowShape::Cumulate {
        max_size_ms: 20_000,
        step_ms: 5_000,
        offset_ms: 0,
    };
    let mut open = harness(window(shape, vec![call("COUNT", &[])]))
        .open()
        .unwrap();
    open.process(0, "a | 1 | x | 1970-01-01 00:00:06.000 | 0")
        .unwrap();
    open.finish().unwrap();
    assert_eq!(open.drain_rows().len(), 3);
}

#[test]
fn late_rows_are_dropped_and_counted() {
    let shape = WindowShape::Tumble {
        size_ms: 10_000,
        offset_ms: 0,
    };
    let mut open = harness(window(shape, vec![call("COUNT", &[])]))
        .open()
        .unwrap();
    open.watermark(9_999).unwrap();
    open.process(0, "a | 1 | x | 1970-01-01 00:00:09.000 | 0")
        .unwrap();
    assert_eq!(open.metric("numLateRecordsDropped"), Some(1));
    open.finish().unwrap();
    assert!(open.drain_rows().is_empty());
}

#[test]
fn sessions_are_merged_as_flink_merges_them() {
    let mut open = harness(SessionWindowAggregateConfig {
        calls: vec![call("COUNT", &[])],
        schema: result_schema(&[K], &[call("COUNT", &[])], 2).to_arrow(),
        ..session(5_000)
    })
    .open()
    .unwrap();
    for (row, watermark) in BIDS {
        let row = row.replacen('b', "a", 1);
        open.process(0, &row).unwrap();
        open.watermark(watermark * 1_000).unwrap();
    }
    open.finish().unwrap();
    let counts: Vec<String> = open.drain_rows();
    let counts: Vec<&str> = counts.iter().map(|l| &l[5..10]).collect();
    assert_eq!(counts, ["a | 2", "a | 5", "a | 1", "a | 1"]);
}

/// Runs a local and a global phase one after the other.
fn two_phases(
    calls: Vec<AggregateCallConfig>,
    batches: &[String],
    retracting: bool,
) -> BTreeMap<String, i64> {
    let states = GroupAggregateConfig::local_schema(&schema(), &[K], &calls, retracting).unwrap();
    let complete = group(&[K], calls, retracting);
    let local = GroupAggregateConfig {
        phase: Phase::Local,
        schema: states.to_arrow(),
        ..complete.clone()
    };
    let global = GroupAggregateConfig {
        phase: Phase::Global,
        key_columns: vec![0],
        input_schema: states.to_arrow(),
        ..complete
    };
    let mut local = harness(local).open().unwrap();
    let mut operator = global.create().unwrap();
    let mut out = super::collect::Collected::default();
    let mut lines = Vec::new();
    for batch in batches {
        local.process(0, batch).unwrap();
        if let Some(states) = local.drain_batch().unwrap() {
            operator.process(0, states, &mut out).unwrap();
        }
        for batch in out.batches.drain(..) {
            lines.extend(flott_engine::testing::format_rows(&batch).unwrap());
        }
    }
    fold(&lines)
}

#[test]
fn a_local_phase_that_does_not_reduce_passes_rows_on() {
    let calls = vec![
        call("COUNT", &[]),
        call("SUM", &[I]),
        distinct("COUNT", &[I]),
    ];
    let states = GroupAggregateConfig::local_schema(&schema(), &[K], &calls, true).unwrap();
    let config = GroupAggregateConfig {
        phase: Phase::Local,
        schema: states.to_arrow(),
        ..group(&[K], calls.clone(), true)
    };
    let row = |k: usize| format!("+I | k{k} | {k} | x | NULL | 0");
    let unique = (0..2_000).map(row).collect::<Vec<_>>().join("\n");
    let twice = [row(7), row(7), row(8).replace("+I", "-D")].join("\n");
    let mut open = harness(config).open().unwrap();
    open.process(0, &unique).unwrap();
    open.drain();
    open.process(0, &twice).unwrap();
    assert_eq!(open.drain_rows().len(), 3);
    let batches = [unique, twice];
    let expected = one_phase(calls.clone(), &batches, true);
    assert_eq!(two_phases(calls, &batches, true), expected);
}

fn one_phase(
    calls: Vec<AggregateCallConfig>,
    batches: &[String],
    retracting: bool,
) -> BTreeMap<String, i64> {
    let mut open = harness(group(&[K], calls, retracting)).open().unwrap();
    for batch in batches {
        open.process(0, batch).unwrap();
    }
    fold(&open.drain())
}

/// Multisets have no order: the entries of the one at the end of each line are sorted.
fn in_order(lines: BTreeMap<String, i64>) -> BTreeMap<String, i64> {
    let sorted = |line: String| {
        let (start, entries) = line.rsplit_once('{').unwrap();
        let mut entries: Vec<&str> = entries.trim_end_matches('}').split(", ").collect();
        entries.sort_unstable();
        format!("{start}{{{}}}", entries.join(", "))
    };
    lines.into_iter().map(|(l, n)| (sorted(l), n)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Rows are added, and some removed again; what is left is aggregated afresh.
    #[test]
    fn a_changelog_gives_what_its_table_gives(
        rows in prop::collection::vec((0..3u8, 0..5i32, 0..4u8, any::<bool>()), 1..40),
        cuts in 1..6usize,
    ) {
        let calls = vec![
            call("COUNT", &[]), call("SUM", &[I]), call("MIN", &[I]), call("MAX", &[S]),
            distinct("COUNT", &[S]), distinct("SUM", &[I]), call("AVG", &[I]), call("COLLECT", &[S]),
        ];
        let text = |(k, i, s, _): &(u8, i32, u8, bool)| {
            let i = if *i == 0 { "NULL".to_string() } else { i.to_string() };
            format!("k{k} | {i} | s{s} | 1970-01-01 00:00:00.000 | 0")
        };
        let adds = rows.iter().map(|r| format!("+I | {}", text(r)));
        let removals = rows.iter().filter(|r| r.3).map(|r| format!("-D | {}", text(r)));
        let changes: Vec<String> = adds.chain(removals).collect();
        let batches: Vec<String> = changes.chunks(cuts).map(|c| c.join("\n")).collect();
        let left: Vec<String> = rows.iter().filter(|r| !r.3).map(text).collect();
        let expected = in_order(one_phase(calls.clone(), &[left.join("\n")], false));
        prop_assert_eq!(&in_order(one_phase(calls.clone(), &batches, true)), &expected);
        prop_assert_eq!(&in_order(two_phases(calls, &batches, true)), &expected);
    }

    /// Changes, some of which contradict each other, are seen as if each had come by itself.
    #[test]
    fn a_batch_is_what_its_rows_are_one_by_one(
        changes in prop::collection::vec((0..3u8, 1..4u8, any::<bool>()), 1..40),
    ) {
        let calls = vec![
            call("COUNT", &[]), call("SUM", &[I]), call("SUM", &[D]), call("MIN", &[I]), distinct("COUNT", &[S]),
        ];
        let line = |(k, i, is_added): &(u8, u8, bool)| {
            let kind = if *is_added { "+I" } else { "-D" };
            format!("{kind} | k{k} | {i} | s{i} | NULL | {}", 10f64.powi(i32::from(*i) * 9) + 0.1)
        };
        let rows: Vec<String> = changes.iter().map(line).collect();
        let send = |config: GroupAggregateConfig, batches: &[String]| {
            let mut open = harness(config).open().unwrap();
            batches.iter().for_each(|batch| open.process(0, batch).unwrap());
            open.drain()
        };
        let whole = [rows.join("\n")];
        let plain = group(&[K], calls, true);
        let one_by_one = send(plain.clone(), &rows);
        let consolidated = GroupAggregateConfig { forgets_emptied: true, ..plain.clone() };
        prop_assert_eq!(fold(&send(consolidated, &whole)), fold(&one_by_one));
        let each = GroupAggregateConfig { sends_each_change: true, ..plain };
        prop_assert_eq!(send(each, &whole), one_by_one);
    }
}
