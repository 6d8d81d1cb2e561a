//! All kinds against a naive join, and crashes.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion_expr::Operator as Comparison;
use datafusion_physical_expr::expressions::{BinaryExpr, Column as ColumnExpr};
use flott_core::graph::Exchange;
use flott_core::operator::OperatorFactory;
use flott_core::schema::{Column, Schema};
use flott_core::types::LogicalType;
use flott_engine::testing::{Harness, Step, crash_everywhere, says_only_changes};
use proptest::prelude::*;

use super::*;

const KINDS: [JoinKind; 7] = [
    JoinKind::Inner,
    JoinKind::Left,
    JoinKind::Right,
    JoinKind::Full,
    JoinKind::Semi,
    JoinKind::Anti,
    JoinKind::NullAwareAnti,
];

/// A key and a value.
type Row = (Option<i32>, i32);

pub(super) fn two_columns(key: &str, value: &str) -> Schema {
    Schema::new(vec![
        Column::new(key, LogicalType::Int.nullable()),
        Column::new(value, LogicalType::Int.nullable()),
    ])
}

/// A join of these sides by their column 0, with `left[residual] <= right[residual]`.
pub(super) fn inputs_of(
    kind: JoinKind,
    left: &Schema,
    right: &Schema,
    residual: Option<usize>,
) -> JoinInputs {
    let column = |name: &str, index| Arc::new(ColumnExpr::new(name, index)) as _;
    let residual = residual.map(|c| {
        let (l, r) = (column("l", c), column("r", left.len() + c));
        Arc::new(BinaryExpr::new(l, Comparison::LtEq, r)) as Arc<dyn PhysicalExpr>
    });
    let is_left_only = matches!(
        kind,
        JoinKind::Semi | JoinKind::Anti | JoinKind::NullAwareAnti
    );
    JoinInputs {
        kind,
        left_keys: vec![0],
        right_keys: vec![0],
        null_safe: vec![false],
        residual,
        left_schema: left.to_arrow(),
        right_schema: right.to_arrow(),
        schema: match is_left_only {
            true => left.to_arrow(),
            false => left.join(right).to_arrow(),
        },
    }
}

fn config(kind: JoinKind, has_residual: bool, are_append: bool) -> RegularJoinConfig {
    let (left, right) = (two_columns("k", "v"), two_columns("j", "w"));
    RegularJoinConfig {
        inputs: inputs_of(kind, &left, &right, has_residual.then_some(1)),
        left_is_append: are_append,
        right_is_append: are_append,
        left_ttl_ms: None,
        right_ttl_ms: None,
    }
}

/// Two inputs exchanged by their column 0.
pub(super) fn harness_of(
    config: impl OperatorFactory + 'static,
    inputs: &JoinInputs,
    left: Schema,
    right: Schema,
) -> Harness {
    let exchange = match inputs.kind {
        JoinKind::NullAwareAnti => Exchange::Single,
        _ => Exchange::Hash(inputs.left_keys.clone()),
    };
    Harness::new(Arc::new(config))
        .input_by(left, exchange.clone())
        .input_by(right, exchange)
}

fn harness(config: RegularJoinConfig) -> Harness {
    let inputs = config.inputs.clone();
    harness_of(
        config,
        &inputs,
        two_columns("k", "v"),
        two_columns("j", "w"),
    )
}

fn run(config: RegularJoinConfig, batches: &[(usize, &str)]) -> Vec<String> {
    let mut open = harness(config).open().unwrap();
    for (input, rows) in batches {
        open.process(*input, rows).unwrap();
    }
    open.drain().iter().map(|l| l.replace(" | ", " ")).collect()
}

#[test]
fn a_row_without_a_match_is_taken_back_when_one_comes() {
    let batches = [
        (0, "1 | 10\n2 | 20\nNULL | 30"),
        (1, "2 | 7\n2 | 8\n3 | 9"),
        (1, "-D | 2 | 7"),
        (1, "-D | 2 | 8"),
        (0, "-U | 1 | 10\n+U | 3 | 10"),
    ];
    assert_eq!(
        run(config(JoinKind::Left, false, false), &batches),
        [
            "+I 1 10 NULL NULL",
            "+I 2 20 NULL NULL",
            "+I NULL 30 NULL NULL",
            "-D 2 20 NULL NULL",
            "+I 2 20 2 7",
            "+I 2 20 2 8",
            "-D 2 20 2 7",
            "-D 2 20 2 8",
            "+I 2 20 NULL NULL",
            "-D 1 10 NULL NULL",
            "+I 3 10 3 9",
        ]
    );
}

#[test]
fn an_update_of_the_other_side_does_not_show_a_gap() {
    let batches = [
        (0, "1 | 10"),
        (1, "1 | 7"),
        (1, "-U | 1 | 7\n+U | 1 | 8"),
        (1, "-U | 1 | 8\n+U | 1 | 8"),
    ];
    assert_eq!(
        run(config(JoinKind::Left, false, false), &batches)[3..],
        ["-D 1 10 1 7", "+I 1 10 1 8"]
    );
    assert_eq!(
        run(config(JoinKind::Semi, false, false), &batches),
        ["+I 1 10"]
    );
}

#[test]
fn not_in_lets_nothing_pass_beside_null() {
    let batches = [
        (0, "1 | 10\nNULL | 11"),
        (1, "2 | 7"),
        (1, "NULL | 8"),
        (1, "-D | NULL | 8\n-D | 2 | 7\n1 | 9"),
        (1, "-D | 1 | 9"),
    ];
    assert_eq!(
        run(config(JoinKind::NullAwareAnti, false, false), &batches),
        [
            "+I 1 10",
            "+I NULL 11",
            "-D NULL 11",
            "-D 1 10",
            "+I 1 10",
            "+I NULL 11"
        ]
    );
}

#[test]
fn no_row_outlives_its_ttl() {
    let mut config = config(JoinKind::Inner, false, true);
    config.left_ttl_ms = Some(100);
    let mut open = harness(config).open().unwrap();
    open.process(0, "1 | 10").unwrap();
    open.advance_time(60).unwrap();
    open.process(0, "1 | 11").unwrap();
    open.crash_and_restore(1).unwrap();
    open.advance_time(120).unwrap();
    open.process(1, "1 | 7").unwrap();
    assert_eq!(open.drain(), ["+I | 1 | 11 | 1 | 7"]);
    open.advance_time(1_000).unwrap();
    open.process(1, "1 | 8").unwrap();
    open.process(0, "1 | 12").unwrap();
    assert_eq!(open.drain(), ["+I | 1 | 12 | 1 | 7", "+I | 1 | 12 | 1 | 8"]);
    assert_eq!(open.metric("numKeys"), Some(1));
}

#[test]
fn many_matches_go_out_in_pieces() {
    let rows: Vec<String> = (0..300).map(|i| format!("1 | {i}")).collect();
    let rows = rows.join("\n");
    let mut open = harness(config(JoinKind::Full, true, false)).open().unwrap();
    open.process(0, &rows).unwrap();
    open.process(1, &rows).unwrap();
    let table = flott_engine::testing::fold(&open.drain());
    assert_eq!(table.len(), 300 * 301 / 2);
    let removed = rows.lines().map(|l| format!("-D | {l}"));
    let removed: Vec<String> = removed.collect();
    open.process(0, &removed.join("\n")).unwrap();
    open.process(1, &removed.join("\n")).unwrap();
    assert_eq!(
        open.drain().iter().filter(|l| l.starts_with("+I")).count(),
        300
    );
    assert_eq!(open.metric("numKeys"), Some(0));
}

#[test]
fn crashes_change_nothing() {
    let append = [
        Step::process(0, "1 | 1\n2 | 2\nNULL | 3"),
        Step::process(1, "1 | 1\n3 | 3\nNULL | 1"),
        Step::process(0, "3 | 1\n1 | 2"),
        Step::process(1, "2 | 2\n1 | 4"),
    ];
    let retract = [
        Step::process(1, "-D | 1 | 1\n-U | 2 | 2\n+U | 4 | 4"),
        Step::process(0, "-D | 2 | 2\n+I | 4 | 4"),
        Step::process(0, "-D | NULL | 3\n-D | 1 | 1"),
        Step::process(1, "-D | NULL | 1"),
    ];
    for kind in KINDS {
        let parallelisms: &[usize] = match kind {
            JoinKind::NullAwareAnti => &[1],
            _ => &[1, 3],
        };
        for has_residual in [false, true] {
            let appending = harness(config(kind, has_residual, true));
            crash_everywhere(&appending, &append, parallelisms).unwrap();
            says_only_changes(&appending, &append).unwrap();
            let steps = [append.as_slice(), &retract].concat();
            let retracting = harness(config(kind, has_residual, false));
            crash_everywhere(&retracting, &steps, parallelisms).unwrap();
            says_only_changes(&retracting, &steps).unwrap();
        }
    }
}

/// What is done to the inputs.
#[derive(Debug, Clone)]
enum Act {
    Add(usize, Row),
    /// Of a side, the row at this position modulo their number.
    Remove(usize, usize),
    EndBatch,
    Crash,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let row = || (proptest::option::weighted(0.85, 0..4), 0..3);
    let act = prop_oneof![
        5 => (0..2_usize, row()).prop_map(|(side, row)| Act::Add(side, row)),
        3 => (0..2_usize, 0..100_usize).prop_map(|(side, n)| Act::Remove(side, n)),
        2 => Just(Act::EndBatch),
        1 => Just(Act::Crash),
    ];
    proptest::collection::vec(act, 0..60)
}

fn shown(row: &Row) -> String {
    let key = row.0.map_or("NULL".to_owned(), |k| k.to_string());
    format!("{key} | {}", row.1)
}

/// The join by its definition.
fn naive(kind: JoinKind, has_residual: bool, left: &[Row], right: &[Row]) -> BTreeMap<String, i64> {
    let is_match = |l: &Row, r: &Row| {
        let keys = match (kind, l.0.zip(r.0)) {
            (_, Some((l, r))) => l == r,
            (kind, None) => kind == JoinKind::NullAwareAnti,
        };
        keys && (!has_residual || l.1 <= r.1)
    };
    let mut rows = Vec::new();
    for l in left {
        let mut matches = right.iter().filter(|r| is_match(l, r)).peekable();
        let has_match = matches.peek().is_some();
        match kind {
            JoinKind::Semi if has_match => rows.push(shown(l)),
            JoinKind::Anti | JoinKind::NullAwareAnti if !has_match => rows.push(shown(l)),
            JoinKind::Left | JoinKind::Full if !has_match => {
                rows.push(format!("{} | NULL | NULL", shown(l)));
            }
            JoinKind::Semi | JoinKind::Anti | JoinKind::NullAwareAnti => {}
            _ => rows.extend(matches.map(|r| format!("{} | {}", shown(l), shown(r)))),
        }
    }
    if matches!(kind, JoinKind::Right | JoinKind::Full) {
        let alone = right
            .iter()
            .filter(|r| !left.iter().any(|l| is_match(l, r)));
        rows.extend(alone.map(|r| format!("NULL | NULL | {}", shown(r))));
    }
    let mut table = BTreeMap::new();
    rows.into_iter()
        .for_each(|row| *table.entry(row).or_insert(0) += 1);
    table
}

/// Folds the lines; a row taken back must have been there.
fn fold_strictly(table: &mut BTreeMap<String, i64>, lines: &[String]) {
    for line in lines {
        let (kind, row) = line.split_once(" | ").unwrap();
        let count = table.entry(row.to_owned()).or_insert(0);
        *count += if kind == "+I" || kind == "+U" { 1 } else { -1 };
        assert!(*count >= 0, "{row} was taken back before it was there");
    }
    table.retain(|_, count| *count != 0);
}

fn check(kind: JoinKind, has_residual: bool, are_append: bool, acts: &[Act]) {
    let config = config(kind, has_residual, are_append);
    let mut open = harness(config).open().unwrap();
    let mut tables: [Vec<Row>; 2] = Default::default();
    let mut batch: (usize, Vec<String>) = (0, Vec::new());
    let mut output = BTreeMap::new();
    for act in acts.iter().chain([&Act::EndBatch]) {
        let change = match act {
            Act::Add(side, row) => {
                tables[*side].push(*row);
                Some((*side, format!("+I | {}", shown(row))))
            }
            Act::Remove(side, n) if !are_append && !tables[*side].is_empty() => {
                let at = n % tables[*side].len();
                let row = tables[*side].swap_remove(at);
                Some((*side, format!("-D | {}", shown(&row))))
            }
            _ => None,
        };
        let ends = change.as_ref().is_none_or(|(side, _)| *side != batch.0);
        if ends && !batch.1.is_empty() {
            open.process(batch.0, &batch.1.join("\n")).unwrap();
            batch.1.clear();
        }
        if let Some((side, line)) = change {
            batch.0 = side;
            batch.1.push(line);
        }
        if matches!(act, Act::Crash) {
            open.crash_and_restore(1).unwrap();
        }
        fold_strictly(&mut output, &open.drain());
    }
    let expected = naive(kind, has_residual, &tables[0], &tables[1]);
    assert_eq!(output, expected, "{kind:?}, residual: {has_residual}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn equals_the_naive_join(acts in acts()) {
        for kind in KINDS {
            for has_residual in [false, true] {
                check(kind, has_residual, false, &acts);
                check(kind, has_residual, true, &acts);
            }
        }
    }
}
