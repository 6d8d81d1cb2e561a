use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array};
use arrow::datatypes::Int32Type;
use datafusion_physical_expr::expressions::Column as ColumnExpr;
use flott_core::graph::Exchange;
use flott_core::schema::{Column, Schema};
use flott_core::types::{DataType, LogicalType};
use flott_engine::testing::{Harness, Step, crash_everywhere, says_only_changes};

use super::*;
use crate::aggregates::Accumulator;

/// A sum of INT, enough to see what comes into a frame and what leaves it.
#[derive(Default)]
struct Sum(Vec<i64>);

impl Accumulator for Sum {
    fn resize(&mut self, num_groups: usize) {
        self.0.resize(num_groups, 0);
    }

    fn update(
        &mut self,
        groups: &[u32],
        arguments: &[ArrayRef],
        filter: Option<&BooleanArray>,
        adds: Option<&BooleanArray>,
    ) -> Result<()> {
        let values = arguments[0].as_primitive::<Int32Type>();
        for (row, &group) in groups.iter().enumerate() {
            if values.is_valid(row) && filter.is_none_or(|f| f.value(row)) {
                let value = i64::from(values.value(row));
                let is_added = adds.is_none_or(|a| a.value(row));
                self.0[group as usize] += if is_added { value } else { -value };
            }
        }
        Ok(())
    }

    fn evaluate(&self, groups: &[u32]) -> Result<ArrayRef> {
        let sums = groups.iter().map(|&g| self.0[g as usize]);
        Ok(Arc::new(Int64Array::from_iter_values(sums)))
    }

    fn state(&self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        Ok(vec![self.evaluate(groups)?])
    }

    fn state_types(&self) -> Vec<DataType> {
        vec![LogicalType::BigInt.nullable()]
    }

    fn merge(&mut self, groups: &[u32], state: &[ArrayRef]) -> Result<()> {
        let sums = state[0].as_primitive::<arrow::datatypes::Int64Type>();
        for (row, &group) in groups.iter().enumerate() {
            self.0[group as usize] += sums.value(row);
        }
        Ok(())
    }

    fn clear(&mut self, groups: &[u32]) {
        groups.iter().for_each(|&g| self.0[g as usize] = 0);
    }

    fn size_bytes(&self) -> usize {
        self.0.len() * 8
    }
}

static SUM: AggregateFunction = AggregateFunction {
    name: "SUM",
    aliases: &[],
    doc: "",
    bind: |_| Err(flott_core::Error::internal("not bound in tests")),
    create: |_, _| Ok(Box::<Sum>::default()),
    is_mergeable: true,
    ignores_distinct: false,
    is_order_sensitive: false,
    is_additive: true,
};

fn input() -> Schema {
    Schema::new(vec![
        Column::new("ts", LogicalType::Timestamp(3).nullable()),
        Column::new("supplier", LogicalType::STRING.nullable()),
        Column::new("price", LogicalType::Int.nullable()),
    ])
}

fn price() -> Arc<dyn PhysicalExpr> {
    Arc::new(ColumnExpr::new("price", 2))
}

fn sum(is_distinct: bool) -> OverCall {
    let function = OverFunction::Aggregate {
        function: &SUM,
        types: AggregateTypes {
            arguments: vec![LogicalType::Int.nullable()],
            result: LogicalType::BigInt.nullable(),
        },
        is_distinct,
    };
    OverCall {
        function,
        arguments: vec![price()],
    }
}

fn config(order: OverOrder, frame: OverFrame, calls: Vec<OverCall>) -> OverConfig {
    let result = |call: &OverCall| match call.function {
        OverFunction::Lag { .. } => Column::new("lag", LogicalType::Int.nullable()),
        _ => Column::new("result", LogicalType::BigInt.nullable()),
    };
    let results: Schema = calls.iter().map(result).collect();
    OverConfig {
        partition_columns: vec![1],
        order,
        frame,
        calls,
        input: InputMode::Append,
        emits_update_before: true,
        input_schema: input().to_arrow(),
        schema: input().join(&results).to_arrow(),
    }
}

fn harness(config: OverConfig) -> Harness {
    Harness::new(Arc::new(config)).input_by(input(), Exchange::Hash(vec![1]))
}

/// The bids of the oracle's cases for OVER: rows and the watermark after them, in seconds.
const BIDS: [(&str, i64); 7] = [
    ("00:00:01 | s1 | 4\n00:00:03 | s1 | 2\n00:00:09 | s2 | 5", 8),
    ("00:00:07 | s2 | 3\n00:00:11 | s3 | 1", 10),
    ("00:00:16 | s1 | 6", 15),
    ("00:00:05 | s1 | 9\n00:00:21 | s2 | 7", 20),
    ("00:00:23 | s2 | 7", 22),
    ("00:00:19.500 | s3 | 8\n00:00:45 | s1 | 2", 44),
    (
        "00:00:46 | s1 | NULL\n00:00:46.100 | s4 | 2\n00:01:02 | s3 | 3\n00:01:02 | s3 | 4",
        61,
    ),
];

fn bids() -> Vec<Step> {
    let steps = BIDS
        .iter()
        .flat_map(|(rows, watermark)| [Step::process(0, rows), Step::Watermark(watermark * 1_000)]);
    steps.chain([Step::Finish]).collect()
}

/// Supplier, price and results of each row.
fn run(config: OverConfig, steps: &[Step]) -> Vec<String> {
    let mut open = harness(config).open().unwrap();
    for step in steps {
        step.run(&mut open).unwrap();
    }
    let lines = open.drain().into_iter();
    let lines = lines.filter(|l| !l.starts_with("watermark"));
    lines
        .map(|l| {
            let fields: Vec<_> = l.split(" | ").collect();
            let kind = if fields[0] == "+I" { "" } else { fields[0] };
            format!("{kind} {}", fields[2..].join(" "))
                .trim()
                .to_string()
        })
        .collect()
}

#[test]
fn rows_frames_keep_late_rows_after_the_last_computed() {
    let frame = OverFrame::Rows { preceding: Some(1) };
    let lines = run(
        config(OverOrder::Rowtime(0), frame, vec![sum(false)]),
        &bids(),
    );
    assert_eq!(
        lines,
        [
            "s1 4 4",
            "s1 2 6",
            "s2 3 3",
            "s2 5 8",
            "s3 1 1",
            "s1 9 11",
            "s1 6 15",
            "s2 7 12",
            "s3 8 9",
            "s2 7 14",
            "s1 2 8",
            "s1 NULL 2",
            "s4 2 2",
            "s3 3 11",
            "s3 4 7",
        ]
    );
}

#[test]
fn range_frames_count_peers_together() {
    let frame = OverFrame::Range {
        preceding: Some(10_000),
    };
    let lines = run(
        config(OverOrder::Rowtime(0), frame, vec![sum(false)]),
        &bids(),
    );
    assert_eq!(
        lines,
        [
            "s1 4 4",
            "s1 2 6",
            "s2 3 3",
            "s2 5 8",
            "s3 1 1",
            "s1 9 15",
            "s1 6 6",
            "s2 7 7",
            "s3 8 9",
            "s2 7 14",
            "s1 2 2",
            "s1 NULL 2",
            "s4 2 2",
            "s3 3 7",
            "s3 4 7",
        ]
    );
}

#[test]
fn unbounded_frames_drop_late_rows_and_number_and_look_back() {
    let call = |function| OverCall {
        function,
        arguments: vec![price()],
    };
    let calls = vec![
        sum(false),
        call(OverFunction::RowNumber),
        call(OverFunction::Lag { offset: 1 }),
    ];
    let frame = OverFrame::Rows { preceding: None };
    let lines = run(config(OverOrder::Rowtime(0), frame, calls), &bids());
    assert_eq!(
        lines,
        [
            "s1 4 4 1 NULL",
            "s1 2 6 2 4",
            "s2 5 5 1 NULL",
            "s3 1 1 1 NULL",
            "s1 6 12 3 2",
            "s2 7 12 2 5",
            "s2 7 19 3 7",
            "s1 2 14 4 6",
            "s1 NULL 14 5 2",
            "s4 2 2 1 NULL",
            "s3 3 4 2 1",
            "s3 4 8 3 3",
        ]
    );
}

#[test]
fn distinct_values_count_once_in_a_frame() {
    let frame = OverFrame::Rows { preceding: Some(2) };
    let config = config(OverOrder::Proctime, frame, vec![sum(true)]);
    let steps = [
        Step::process(0, "NULL | a | 1\nNULL | a | 1\nNULL | a | 2"),
        Step::process(0, "NULL | a | 2\nNULL | a | 2\nNULL | a | 5"),
    ];
    assert_eq!(
        run(config, &steps),
        ["a 1 1", "a 1 1", "a 2 3", "a 2 3", "a 2 2", "a 5 7"]
    );
}

#[test]
fn any_other_order_is_an_updating_result() {
    let order = OverOrder::Keys(vec![SortKey::new(2, false)]);
    let mut config = config(
        order,
        OverFrame::Range { preceding: None },
        vec![sum(false)],
    );
    config.input = InputMode::Retract;
    let steps = [
        Step::process(0, "NULL | a | 3\nNULL | a | 1"),
        Step::process(0, "NULL | a | 2"),
        Step::process(0, "-D | NULL | a | 1"),
    ];
    assert_eq!(
        run(config, &steps),
        [
            "a 1 1", "a 3 4", "-U a 3 4", "a 2 3", "+U a 3 6", "-D a 1 1", "-U a 2 3", "-U a 3 6",
            "+U a 2 2", "+U a 3 5"
        ]
    );
}

#[test]
fn crashes_change_nothing() {
    let frames = [
        OverFrame::Rows { preceding: Some(1) },
        OverFrame::Range {
            preceding: Some(10_000),
        },
        OverFrame::Range { preceding: None },
    ];
    for frame in frames {
        for is_distinct in [false, true] {
            let order = OverOrder::Rowtime(0);
            let lag = OverCall {
                function: OverFunction::Lag { offset: 1 },
                arguments: vec![price()],
            };
            let config = config(order, frame, vec![sum(is_distinct), lag]);
            let harness = harness(config);
            crash_everywhere(&harness, &bids(), &[1, 3]).unwrap();
            says_only_changes(&harness, &bids()).unwrap();
        }
    }
    let order = OverOrder::Keys(vec![SortKey::new(2, true)]);
    let keyed = config(
        order,
        OverFrame::Rows { preceding: Some(2) },
        vec![sum(false)],
    );
    let harness = harness(keyed);
    crash_everywhere(&harness, &bids(), &[1, 3]).unwrap();
    says_only_changes(&harness, &bids()).unwrap();
}
