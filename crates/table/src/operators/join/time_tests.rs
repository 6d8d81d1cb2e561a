//! Joins that go by time, and the lookup join.

use flott_core::schema::{Column, Schema};
use flott_core::types::LogicalType;
use flott_engine::testing::{Harness, OpenHarness, Step, crash_everywhere, says_only_changes};

use super::tests::{harness_of, inputs_of, two_columns};
use super::*;

/// A key, a time in ms, and a value.
fn timed(value: &str) -> Schema {
    Schema::new(vec![
        Column::new("k", LogicalType::Int.nullable()),
        Column::new("time", LogicalType::BigInt.nullable()),
        Column::new(value, LogicalType::Int.nullable()),
    ])
}

fn rows(open: &mut OpenHarness) -> Vec<String> {
    let lines = open.drain_rows().into_iter();
    lines.map(|l| l.replace(" | ", " ")).collect()
}

fn interval(kind: JoinKind, is_proctime: bool) -> Harness {
    let config = IntervalJoinConfig {
        inputs: inputs_of(kind, &timed("v"), &timed("w"), None),
        left_time: 1,
        right_time: 1,
        lower_ms: -10,
        upper_ms: 20,
        is_proctime,
    };
    let inputs = config.inputs.clone();
    harness_of(config, &inputs, timed("v"), timed("w"))
}

#[test]
fn rows_meet_inside_the_interval() {
    let mut open = interval(JoinKind::Full, false).open().unwrap();
    open.process(0, "1 | 100 | 1\n2 | 100 | 2\nNULL | 100 | 3")
        .unwrap();
    assert_eq!(rows(&mut open), ["+I NULL 100 3 NULL NULL NULL"]);
    open.process(1, "1 | 79 | 1\n1 | 80 | 2\n1 | 110 | 3\n1 | 111 | 4")
        .unwrap();
    assert_eq!(rows(&mut open), ["+I 1 100 1 1 80 2", "+I 1 100 1 1 110 3"]);
    open.watermark(125).unwrap();
    assert_eq!(
        open.drain(),
        ["+I | NULL | NULL | NULL | 1 | 79 | 1", "watermark 89"]
    );
    open.watermark(150).unwrap();
    assert_eq!(
        rows(&mut open),
        ["+I 2 100 2 NULL NULL NULL", "+I NULL NULL NULL 1 111 4"]
    );
    open.process(0, "5 | 10 | 9").unwrap();
    assert_eq!(rows(&mut open), ["+I 5 10 9 NULL NULL NULL"]);
    open.finish().unwrap();
    assert_eq!(rows(&mut open).len(), 0);
    assert_eq!(open.metric("numKeys"), Some(0));
}

#[test]
fn rows_meet_by_processing_time() {
    let mut open = interval(JoinKind::Inner, true).open().unwrap();
    open.process(0, "1 | 0 | 1").unwrap();
    open.advance_time(10).unwrap();
    open.process(1, "1 | 0 | 2").unwrap();
    open.advance_time(11).unwrap();
    open.process(1, "1 | 0 | 3").unwrap();
    assert_eq!(rows(&mut open), ["+I 1 0 1 1 0 2"]);
    open.advance_time(1_000).unwrap();
    let num_rows = |open: &mut OpenHarness| {
        let snapshots = open.snapshot().unwrap();
        snapshots.iter().filter(|s| !s.is_empty()).count()
    };
    assert_eq!(num_rows(&mut open), 0);
}

#[test]
fn crashes_change_no_interval_join() {
    let script = [
        Step::process(0, "1 | 100 | 1\n2 | 100 | 2\nNULL | 100 | 3"),
        Step::process(1, "1 | 79 | 1\n1 | 80 | 2\n1 | 110 | 3"),
        Step::Watermark(105),
        Step::process(0, "1 | 90 | 4\n1 | 120 | 5"),
        Step::process(1, "2 | 95 | 6\n3 | 130 | 7"),
        Step::Watermark(150),
        Step::process(1, "1 | 125 | 8"),
        Step::Finish,
    ];
    use JoinKind::*;
    for kind in [Inner, Left, Right, Full, Semi, Anti] {
        let table = crash_everywhere(&interval(kind, false), &script, &[1, 3]).unwrap();
        says_only_changes(&interval(kind, false), &script).unwrap();
        assert!(!table.is_empty(), "{kind:?}");
    }
}

/// A key, a window and a value.
fn windowed(value: &str) -> Schema {
    Schema::new(vec![
        Column::new("k", LogicalType::Int.nullable()),
        Column::new("start", LogicalType::BigInt.nullable()),
        Column::new("end", LogicalType::BigInt.nullable()),
        Column::new(value, LogicalType::Int.nullable()),
    ])
}

fn window(kind: JoinKind, residual: Option<usize>) -> Harness {
    let config = WindowJoinConfig {
        inputs: inputs_of(kind, &windowed("v"), &windowed("w"), residual),
        left_window: (1, 2),
        right_window: (1, 2),
        time_zone: None,
    };
    let inputs = config.inputs.clone();
    harness_of(config, &inputs, windowed("v"), windowed("w"))
}

const WINDOW_LEFT: &str = "1 | 0 | 10 | 1\n1 | 10 | 20 | 2\n2 | 0 | 10 | 3\nNULL | 0 | 10 | 4";
const WINDOW_RIGHT: &str = "1 | 0 | 10 | 1\n1 | 0 | 10 | 0\n3 | 10 | 20 | 3";

fn run_window(kind: JoinKind, residual: Option<usize>) -> Vec<String> {
    let mut open = window(kind, residual).open().unwrap();
    open.process(0, WINDOW_LEFT).unwrap();
    open.process(1, WINDOW_RIGHT).unwrap();
    open.watermark(8).unwrap();
    assert_eq!(open.drain_rows().len(), 0);
    open.watermark(9).unwrap();
    open.process(0, "1 | 0 | 10 | 9").unwrap();
    open.finish().unwrap();
    assert_eq!(open.metric("numLateRecordsDropped"), Some(1));
    rows(&mut open)
}

#[test]
fn rows_of_a_window_are_joined_when_it_closes() {
    assert_eq!(
        run_window(JoinKind::Inner, None),
        ["+I 1 0 10 1 1 0 10 1", "+I 1 0 10 1 1 0 10 0"]
    );
    assert_eq!(
        run_window(JoinKind::Full, Some(3)),
        [
            "+I 1 0 10 1 1 0 10 1",
            "+I 2 0 10 3 NULL NULL NULL NULL",
            "+I NULL 0 10 4 NULL NULL NULL NULL",
            "+I NULL NULL NULL NULL 1 0 10 0",
            "+I 1 10 20 2 NULL NULL NULL NULL",
            "+I NULL NULL NULL NULL 3 10 20 3",
        ]
    );
    assert_eq!(run_window(JoinKind::Semi, None), ["+I 1 0 10 1"]);
    assert_eq!(
        run_window(JoinKind::NullAwareAnti, None),
        ["+I 2 0 10 3", "+I 1 10 20 2"]
    );
}

#[test]
fn large_batches_of_a_window_are_joined_as_small_ones_are() {
    let left = |n: usize| format!("{} | 0 | 10 | {n}", n % 700);
    let right = |n: usize| format!("{n} | 0 | 10 | {n}");
    let join = |kind: JoinKind, rows_at_once: usize, crashes: bool| {
        let mut open = window(kind, None).open().unwrap();
        for (input, lines) in [
            (0, (0..1_500).map(left).collect::<Vec<_>>()),
            (1, (500..1_800).map(right).collect()),
        ] {
            for lines in lines.chunks(rows_at_once) {
                open.process(input, &lines.join("\n")).unwrap();
            }
            open.process(input, "600 | 0 | 10 | -1\n9 | 10 | 20 | -2")
                .unwrap();
        }
        if crashes {
            open.crash_and_restore(2).unwrap();
        }
        open.finish().unwrap();
        let mut rows = rows(&mut open);
        rows.sort();
        rows
    };
    for kind in [JoinKind::Inner, JoinKind::Full, JoinKind::Anti] {
        let expected = join(kind, 100, false);
        assert!(expected.len() > 300, "{kind:?}");
        assert_eq!(join(kind, 1_500, false), expected, "{kind:?}");
        assert_eq!(join(kind, 1_500, true), expected, "{kind:?}");
    }
}

#[test]
fn crashes_change_no_window_join() {
    let script = [
        Step::process(0, WINDOW_LEFT),
        Step::process(1, WINDOW_RIGHT),
        Step::Watermark(9),
        Step::process(1, "1 | 10 | 20 | 7"),
        Step::Finish,
    ];
    for kind in [JoinKind::Inner, JoinKind::Full, JoinKind::Anti] {
        crash_everywhere(&window(kind, None), &script, &[1, 2]).unwrap();
        says_only_changes(&window(kind, None), &script).unwrap();
    }
}

fn temporal(kind: JoinKind) -> Harness {
    let config = TemporalJoinConfig {
        inputs: inputs_of(kind, &timed("v"), &timed("w"), None),
        left_time: 1,
        right_time: 1,
    };
    let inputs = config.inputs.clone();
    harness_of(config, &inputs, timed("v"), timed("w"))
}

#[test]
fn each_row_finds_the_version_of_its_time() {
    let mut open = temporal(JoinKind::Left).open().unwrap();
    open.process(
        0,
        "1 | 5 | 1\n1 | 10 | 2\n2 | 25 | 3\n1 | 25 | 4\nNULL | 1 | 5",
    )
    .unwrap();
    open.process(1, "1 | 10 | 100\n2 | 10 | 200").unwrap();
    open.process(1, "-U | 1 | 10 | 100\n+U | 1 | 20 | 101")
        .unwrap();
    // The deletion repeats the version's time: it counts from the latest time on the right.
    open.process(1, "-D | 2 | 10 | 200").unwrap();
    open.process(0, "2 | 15 | 6").unwrap();
    open.watermark(15).unwrap();
    assert_eq!(
        rows(&mut open),
        [
            "+I NULL 1 5 NULL NULL NULL",
            "+I 1 5 1 NULL NULL NULL",
            "+I 1 10 2 1 10 100",
            "+I 2 15 6 2 10 200"
        ]
        .map(String::from)
    );
    open.watermark(30).unwrap();
    assert_eq!(
        rows(&mut open),
        ["+I 2 25 3 NULL NULL NULL", "+I 1 25 4 1 20 101"]
    );
    assert_eq!(open.metric("numKeys"), Some(1));
}

#[test]
fn crashes_change_no_temporal_join() {
    let script = [
        Step::process(0, "1 | 5 | 1\n1 | 10 | 2\n2 | 25 | 3\n-D | 1 | 25 | 4"),
        Step::process(1, "1 | 10 | 100\n2 | 10 | 200"),
        Step::Watermark(12),
        Step::process(1, "+U | 1 | 20 | 101\n-D | 2 | 22 | 200"),
        Step::process(0, "1 | 40 | 7"),
        Step::Watermark(30),
        Step::Finish,
    ];
    for kind in [JoinKind::Inner, JoinKind::Left] {
        crash_everywhere(&temporal(kind), &script, &[1, 3]).unwrap();
        says_only_changes(&temporal(kind), &script).unwrap();
    }
}

fn lookup(kind: JoinKind) -> Harness {
    let (left, right) = (two_columns("k", "v"), two_columns("j", "w"));
    let config = LookupJoinConfig {
        inputs: inputs_of(kind, &left, &right, Some(1)),
    };
    let inputs = config.inputs.clone();
    harness_of(config, &inputs, left, right)
}

#[test]
fn rows_wait_until_the_table_has_been_read() {
    let mut open = lookup(JoinKind::Left).open().unwrap();
    open.process(0, "1 | 10\n-D | 2 | 20").unwrap();
    open.process(1, "1 | 30\n1 | 5").unwrap();
    open.watermark_on(0, 7).unwrap();
    assert!(open.drain().is_empty());
    open.end_input(1).unwrap();
    assert_eq!(
        open.drain(),
        [
            "+I | 1 | 10 | 1 | 30",
            "-D | 2 | 20 | NULL | NULL",
            "watermark 7"
        ]
    );
    open.process(0, "1 | 5").unwrap();
    assert_eq!(rows(&mut open), ["+I 1 5 1 30", "+I 1 5 1 5"]);
}

#[test]
fn crashes_change_no_lookup_join() {
    let script = [
        Step::process(0, "1 | 10\n2 | 20\n-D | 1 | 10"),
        Step::process(1, "1 | 30\n1 | 5"),
        Step::process(1, "2 | 50"),
        Step::EndInput(1),
        Step::process(0, "1 | 4\n3 | 1"),
        Step::Finish,
    ];
    for kind in [JoinKind::Inner, JoinKind::Left] {
        crash_everywhere(&lookup(kind), &script, &[1, 2]).unwrap();
    }
}

/// Rounds of new keys, each `1000` ms later; the bytes of state after each.
fn bytes_over_time(
    open: &mut OpenHarness,
    mut pass: impl FnMut(&mut OpenHarness, i64),
) -> Vec<usize> {
    let mut bytes = Vec::new();
    for round in 0..40i64 {
        let time = round * 1_000;
        let line = |n: i64| format!("{} | {} | {n}", round * 1_000 + n, time + n % 100);
        let lines: Vec<String> = (0..500).map(line).collect();
        let text = lines.join("\n");
        open.process(0, &text).unwrap();
        open.process(1, &text).unwrap();
        pass(open, time);
        open.drain();
        bytes.push(open.state_bytes());
    }
    bytes
}

/// After the first rounds the state is no bigger than then, however many keys have come.
fn assert_level(bytes: &[usize]) {
    let (early, late) = (&bytes[5..15], &bytes[30..]);
    let most = early.iter().max().unwrap();
    assert!(*most > 10_000, "{bytes:?}");
    assert!(late.iter().all(|b| b <= most), "{bytes:?}");
}

#[test]
fn the_watermark_bounds_an_interval_joins_state() {
    let mut open = interval(JoinKind::Inner, false).open().unwrap();
    let bytes = bytes_over_time(&mut open, |open, time| open.watermark(time).unwrap());
    assert_level(&bytes);
}

#[test]
fn the_ttl_bounds_a_regular_joins_state() {
    let config = RegularJoinConfig {
        inputs: inputs_of(JoinKind::Inner, &timed("v"), &timed("w"), None),
        left_is_append: true,
        right_is_append: true,
        left_ttl_ms: Some(2_000),
        right_ttl_ms: Some(2_000),
    };
    let inputs = config.inputs.clone();
    let harness = harness_of(config, &inputs, timed("v"), timed("w"));
    let mut open = harness.open().unwrap();
    let bytes = bytes_over_time(&mut open, |open, time| open.advance_time(time).unwrap());
    assert_level(&bytes);
}
