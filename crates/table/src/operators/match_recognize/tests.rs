use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::{DataType, Field, Schema as ArrowSchema};
use datafusion_expr::Operator as Op;
use datafusion_physical_expr::expressions::{BinaryExpr, Column as PhysicalColumn, lit};
use flott_core::graph::Exchange;
use flott_core::schema::{Column, Schema};
use flott_core::types::LogicalType;
use flott_engine::testing::{Harness, Step, crash_everywhere};

use super::*;
use crate::aggregates::{self, AggregateCallConfig};

/// k, ts, v.
fn input() -> Schema {
    Schema::new(vec![
        Column::new("k", LogicalType::STRING.nullable()),
        Column::new("ts", LogicalType::Timestamp(3).nullable()),
        Column::new("v", LogicalType::BigInt.nullable()),
    ])
}

fn column(name: &str, index: usize) -> Arc<dyn PhysicalExpr> {
    Arc::new(PhysicalColumn::new(name, index))
}

fn compare(
    left: Arc<dyn PhysicalExpr>,
    op: Op,
    right: Arc<dyn PhysicalExpr>,
) -> Arc<dyn PhysicalExpr> {
    Arc::new(BinaryExpr::new(left, op, right))
}

fn of_row(op: Op, value: i64) -> MatchCondition {
    MatchCondition {
        of_row: Some(compare(column("v", 2), op, lit(value))),
        of_run: None,
    }
}

fn place(variable: Option<usize>, is_from_first: bool, offset: u64) -> RowPlace {
    RowPlace {
        variable,
        is_from_first,
        offset,
    }
}

fn value(row: RowPlace) -> ViewColumn {
    ViewColumn::Row { row, column: 2 }
}

fn sum(variable: Option<usize>) -> ViewColumn {
    let function = aggregates::find("SUM").unwrap();
    let types = (function.bind)(&[LogicalType::BigInt.nullable()]).unwrap();
    ViewColumn::Aggregate {
        variable,
        call: AggregateCallConfig {
            function,
            types,
            args: vec![2],
            distinct: false,
            filter: None,
        },
    }
}

/// A view of BIGINT columns.
fn view(columns: Vec<ViewColumn>, exprs: Vec<Arc<dyn PhysicalExpr>>) -> View {
    let fields = (0..columns.len()).map(|i| Field::new(format!("c{i}"), DataType::Int64, true));
    View {
        schema: Arc::new(ArrowSchema::new(fields.collect::<Vec<_>>())),
        columns,
        exprs,
    }
}

fn element(name: &str, min: u32, max: Option<u32>, is_greedy: bool) -> PatternElement {
    PatternElement {
        name: name.into(),
        min,
        max,
        is_greedy,
    }
}

/// The first and the last value of each match, and the sum.
fn measures() -> View {
    let columns = vec![
        value(place(None, true, 0)),
        value(place(None, false, 0)),
        sum(None),
    ];
    let exprs = (0..3).map(|i| column(&format!("c{i}"), i)).collect();
    view(columns, exprs)
}

fn config(
    pattern: Vec<PatternElement>,
    conditions: Vec<MatchCondition>,
    skip: Skip,
) -> MatchConfig {
    let output = ["first", "last", "sum"].map(|n| Column::new(n, LogicalType::BigInt.nullable()));
    MatchConfig {
        partition_columns: vec![0],
        time: MatchTime::Rowtime(1),
        order: Vec::new(),
        pattern,
        conditions,
        skip,
        within_ms: None,
        measures: measures(),
        input_schema: input().to_arrow(),
        schema: Schema::new(output.to_vec()).to_arrow(),
    }
}

fn harness(config: MatchConfig) -> Harness {
    let output = ["first", "last", "sum"].map(|n| Column::new(n, LogicalType::BigInt.nullable()));
    let exchange = Exchange::Hash(config.partition_columns.clone());
    let harness = Harness::new(Arc::new(config)).input_by(input(), exchange);
    harness.output(Schema::new(output.to_vec()))
}

fn matches(lines: Vec<String>) -> Vec<String> {
    let rows = lines.iter().filter_map(|l| l.strip_prefix("+I | "));
    rows.map(str::to_string).collect()
}

/// A, then B as long as values rise, then C.
fn rising(is_greedy: bool, skip: Skip) -> MatchConfig {
    let rises = view(
        vec![value(place(None, false, 0)), value(place(None, false, 1))],
        vec![compare(column("c0", 0), Op::Gt, column("c1", 1))],
    );
    let pattern = vec![
        PatternElement::one("A"),
        element("B", 1, None, is_greedy),
        PatternElement::one("C"),
    ];
    let rises = MatchCondition {
        of_row: None,
        of_run: Some(rises),
    };
    let conditions = vec![MatchCondition::default(), rises, MatchCondition::default()];
    config(pattern, conditions, skip)
}

#[test]
fn rows_are_matched_in_order_of_time_when_the_watermark_passes() {
    let mut open = harness(rising(true, Skip::PastLastRow)).open().unwrap();
    open.process(
        0,
        "a | 00:00:03 | 3\na | 00:00:01 | 1\na | 00:00:02 | 2\nb | 00:00:01 | 7",
    )
    .unwrap();
    open.watermark(2_000).unwrap();
    assert_eq!(matches(open.drain()), [""; 0]);
    open.process(0, "a | 00:00:04 | 1\na | 00:00:02 | 9\na | 00:00:05 | 5")
        .unwrap();
    open.watermark(4_000).unwrap();
    assert_eq!(matches(open.drain()), ["1 | 1 | 7"]);
    open.finish().unwrap();
    assert_eq!(matches(open.drain()), [""; 0]);
}

#[test]
fn each_way_to_skip_goes_on_at_its_row() {
    let rows = "a | 00:00:01 | 1\na | 00:00:02 | 2\na | 00:00:03 | 3\na | 00:00:04 | 4\n\
                a | 00:00:05 | 0\na | 00:00:06 | 6\na | 00:00:07 | 7\na | 00:00:08 | 5";
    let found = |skip: Skip| {
        let mut open = harness(rising(true, skip)).open().unwrap();
        open.process(0, rows).unwrap();
        open.finish().unwrap();
        matches(open.drain())
    };
    assert_eq!(found(Skip::PastLastRow), ["1 | 0 | 10", "6 | 5 | 18"]);
    assert_eq!(
        found(Skip::ToNextRow),
        [
            "1 | 0 | 10",
            "2 | 0 | 9",
            "3 | 0 | 7",
            "0 | 5 | 18",
            "6 | 5 | 18"
        ]
    );
    assert_eq!(found(Skip::ToLast(1)), ["1 | 0 | 10", "0 | 5 | 18"]);
    assert_eq!(found(Skip::ToFirst(1)), found(Skip::ToNextRow));
    let mut open = harness(rising(true, Skip::ToFirst(0))).open().unwrap();
    open.process(0, rows).unwrap();
    let error = open.finish().unwrap_err();
    assert_eq!(error.code(), "MATCH_SKIP");
}

#[test]
fn a_reluctant_loop_takes_as_little_as_it_can() {
    let mut open = harness(rising(false, Skip::PastLastRow)).open().unwrap();
    open.process(
        0,
        "a | 00:00:01 | 1\na | 00:00:02 | 2\na | 00:00:03 | 3\na | 00:00:04 | 4",
    )
    .unwrap();
    open.finish().unwrap();
    assert_eq!(matches(open.drain()), ["1 | 3 | 6"]);
}

/// A above 4, any number of B, C above 6, within three seconds.
fn within(time: MatchTime) -> MatchConfig {
    let pattern = vec![
        PatternElement::one("A"),
        element("B", 0, None, false),
        PatternElement::one("C"),
    ];
    let conditions = vec![
        of_row(Op::Gt, 4),
        MatchCondition::default(),
        of_row(Op::Gt, 6),
    ];
    MatchConfig {
        within_ms: Some(3_000),
        time,
        ..config(pattern, conditions, Skip::ToNextRow)
    }
}

#[test]
fn a_match_is_shorter_than_the_interval_and_state_goes_with_it() {
    let mut open = harness(within(MatchTime::Rowtime(1))).open().unwrap();
    open.process(0, "a | 00:00:01 | 5\na | 00:00:02 | 5\na | 00:00:04 | 7")
        .unwrap();
    open.watermark(4_000).unwrap();
    assert_eq!(matches(open.drain()), ["5 | 7 | 12"]);
    open.watermark(60_000).unwrap();
    let tables = open.snapshot().unwrap();
    assert!(tables.iter().all(|s| s.is_empty()));
}

#[test]
fn processing_time_needs_no_watermark() {
    let mut open = harness(within(MatchTime::Proctime)).open().unwrap();
    open.process(0, "a | NULL | 5\na | NULL | 1").unwrap();
    open.advance_time(2_000).unwrap();
    open.process(0, "a | NULL | 7").unwrap();
    assert_eq!(matches(open.drain()), ["5 | 7 | 13"]);
    open.advance_time(9_000).unwrap();
    open.process(0, "a | NULL | 7").unwrap();
    assert_eq!(matches(open.drain()), [""; 0]);
    open.advance_time(20_000).unwrap();
    assert!(open.snapshot().unwrap().iter().all(|s| s.is_empty()));
}

#[test]
fn rows_of_one_time_come_in_the_order_asked_for() {
    let mut by_value = rising(true, Skip::PastLastRow);
    by_value.order = vec![SortKey::new(2, false)];
    let mut open = harness(by_value).open().unwrap();
    open.process(
        0,
        "a | 00:00:01 | 3\na | 00:00:01 | 1\na | 00:00:01 | 2\na | 00:00:02 | 0",
    )
    .unwrap();
    open.finish().unwrap();
    assert_eq!(matches(open.drain()), ["1 | 0 | 6"]);
}

#[test]
fn crashes_change_nothing() {
    let script = [
        Step::process(0, "a | 00:00:01 | 5\nb | 00:00:02 | 8\nc | 00:00:01 | 1"),
        Step::Watermark(1_000),
        Step::process(0, "a | 00:00:02 | 6\nb | 00:00:03 | 9\na | 00:00:03 | 7"),
        Step::Watermark(3_000),
        Step::process(0, "a | 00:00:05 | 2\nb | 00:00:04 | 1\nc | 00:00:06 | 7"),
        Step::Watermark(6_000),
        Step::process(0, "c | 00:00:07 | 9\na | 00:00:08 | 1"),
        Step::Finish,
    ];
    for skip in [Skip::PastLastRow, Skip::ToNextRow, Skip::ToLast(1)] {
        for is_greedy in [true, false] {
            crash_everywhere(&harness(rising(is_greedy, skip)), &script, &[1, 2]).unwrap();
        }
    }
    let timed = harness(within(MatchTime::Rowtime(1)));
    crash_everywhere(&timed, &script, &[1, 2]).unwrap();
}

#[test]
fn rows_that_no_run_needs_are_forgotten() {
    let mut config = within(MatchTime::Rowtime(1));
    config.within_ms = None;
    config.skip = Skip::PastLastRow;
    let mut open = harness(config).open().unwrap();
    for second in 0..50 {
        let rows = format!("a | 00:00:{second:02} | 7\nb | 00:00:{second:02} | 1");
        open.process(0, &rows).unwrap();
        open.watermark(second * 1_000).unwrap();
    }
    assert_eq!(matches(open.drain()).len(), 25);
    let rows = open.snapshot().unwrap();
    assert!(rows.iter().all(|s| s.is_empty()));
    assert!(open.state_bytes() > 0);
}

#[test]
fn an_aggregate_over_no_rows_is_null_and_its_accumulator_is_clean_again() {
    let pattern = vec![
        PatternElement::one("A"),
        element("B", 0, Some(1), true),
        PatternElement::one("C"),
    ];
    let conditions = vec![of_row(Op::Lt, 5), of_row(Op::Gt, 8), of_row(Op::Lt, 8)];
    let mut config = config(pattern, conditions, Skip::PastLastRow);
    config.measures.columns[2] = sum(Some(1));
    let mut viewer = view::Viewer::new(&config.measures).unwrap();
    let none = viewer.evaluate(&[], &[], &rows_store(&config)).unwrap();
    assert!(
        none[2]
            .as_primitive::<arrow::datatypes::Int64Type>()
            .is_empty()
    );
    let mut open = harness(config).open().unwrap();
    open.process(
        0,
        "a | 00:00:01 | 1\na | 00:00:02 | 9\na | 00:00:03 | 7\na | 00:00:04 | 2\na | 00:00:05 | 3",
    )
    .unwrap();
    open.finish().unwrap();
    assert_eq!(matches(open.drain()), ["1 | 7 | 9", "2 | 3 | NULL"]);
}

fn rows_store(config: &MatchConfig) -> crate::operators::rows::RowStore {
    crate::operators::rows::RowStore::new(config.input_schema.clone())
}
