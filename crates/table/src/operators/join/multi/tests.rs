//! A chain in one operator against the chain of binary joins, and crashes.

use std::collections::BTreeMap;

use datafusion_expr::Operator as Comparison;
use datafusion_physical_expr::expressions::{BinaryExpr, Column as ColumnExpr};
use flott_core::graph::Exchange;
use flott_core::schema::Schema;
use flott_engine::testing::{Harness, OpenHarness, Step, crash_everywhere, fold, parse_rows};
use proptest::prelude::*;

use super::*;
use crate::operators::join::RegularJoinConfig;
use crate::operators::join::tests::{inputs_of, two_columns};

/// Of each join whether it is a LEFT join and whether `a.v <= b.v` is asked for besides the key.
type Chain = [(bool, bool)];

fn kind(is_left: bool) -> JoinKind {
    match is_left {
        true => JoinKind::Left,
        false => JoinKind::Inner,
    }
}

fn input_schema(number: usize) -> Schema {
    two_columns(&format!("k{number}"), &format!("v{number}"))
}

fn chain_schema(num_inputs: usize) -> Schema {
    (1..num_inputs).fold(input_schema(0), |schema, n| schema.join(&input_schema(n)))
}

fn multi(chain: &Chain, ttl_ms: Option<i64>, is_append: bool) -> MultiJoinConfig {
    let input = |number: usize| MultiJoinInput {
        key_columns: vec![0],
        is_append,
        ttl_ms,
        schema: input_schema(number).to_arrow(),
    };
    let step = |(number, (is_left, has_residual)): (usize, &(bool, bool))| {
        let column = |index| Arc::new(ColumnExpr::new("c", index)) as Arc<dyn PhysicalExpr>;
        let other = 2 * (number + 1) + 1;
        let residual = BinaryExpr::new(column(1), Comparison::LtEq, column(other));
        MultiJoinStep {
            kind: kind(*is_left),
            residual: has_residual.then(|| Arc::new(residual) as _),
        }
    };
    let num_inputs = chain.len() + 1;
    MultiJoinConfig {
        inputs: (0..num_inputs).map(input).collect(),
        steps: chain.iter().enumerate().map(step).collect(),
        output: (0..num_inputs).flat_map(|n| [(n, 0), (n, 1)]).collect(),
        schema: chain_schema(num_inputs).to_arrow(),
    }
}

fn harness(config: MultiJoinConfig) -> Harness {
    let num_inputs = config.inputs.len();
    let empty = Harness::new(Arc::new(config));
    (0..num_inputs).fold(empty, |harness, number| {
        harness.input_by(input_schema(number), Exchange::Hash(vec![0]))
    })
}

/// The binary joins of a chain, one behind the other.
fn binary(chain: &Chain) -> Vec<OpenHarness> {
    let join = |(number, (is_left, has_residual)): (usize, &(bool, bool))| {
        let (left, right) = (chain_schema(number + 1), input_schema(number + 1));
        let residual = has_residual.then_some(1);
        let config = RegularJoinConfig {
            inputs: inputs_of(kind(*is_left), &left, &right, residual),
            left_is_append: false,
            right_is_append: false,
            left_ttl_ms: None,
            right_ttl_ms: None,
        };
        let by_key = Exchange::Hash(vec![0]);
        let harness = Harness::new(Arc::new(config)).input_by(left, by_key.clone());
        harness.input_by(right, by_key).open().unwrap()
    };
    chain.iter().enumerate().map(join).collect()
}

fn run_binary(chain: &Chain, batches: &[(usize, String)]) -> BTreeMap<String, i64> {
    let mut joins = binary(chain);
    let mut lines = Vec::new();
    for (input, rows) in batches {
        let batch = parse_rows(&input_schema(*input), rows).unwrap();
        let first = input.saturating_sub(1);
        let side = usize::from(*input > 0);
        joins[first].process_batch(side, batch).unwrap();
        for next in first..joins.len() {
            if next + 1 == joins.len() {
                lines.extend(joins[next].drain_rows());
            } else if let Some(batch) = joins[next].drain_batch().unwrap() {
                joins[next + 1].process_batch(0, batch).unwrap();
            }
        }
    }
    fold(&lines)
}

fn run_multi(chain: &Chain, batches: &[(usize, String)]) -> BTreeMap<String, i64> {
    let mut open = harness(multi(chain, None, false)).open().unwrap();
    for (input, rows) in batches {
        open.process(*input, rows).unwrap();
    }
    fold(&open.drain_rows())
}

#[test]
fn rows_without_a_match_are_taken_back_through_the_chain() {
    let chain = [(true, false), (true, true)];
    let mut open = harness(multi(&chain, None, false)).open().unwrap();
    let mut run = |input, rows: &str| {
        open.process(input, rows).unwrap();
        let lines = open.drain_rows();
        let mut lines: Vec<_> = lines.iter().map(|l| l.replace(" | ", " ")).collect();
        // Rows of different keys come in any order.
        lines.sort_by_key(|l| l.contains(" 1 "));
        lines
    };
    let nothing = "NULL NULL NULL NULL";
    let alone = |kind: &str, row: &str| format!("{kind} {row} {nothing}");
    assert_eq!(
        run(0, "1 | 5\nNULL | 6"),
        [alone("+I", "NULL 6"), alone("+I", "1 5")]
    );
    assert!(run(2, "1 | 4").is_empty());
    assert_eq!(
        run(2, "1 | 7"),
        [alone("-D", "1 5"), "+I 1 5 NULL NULL 1 7".into()]
    );
    assert_eq!(run(1, "1 | 0"), ["-D 1 5 NULL NULL 1 7", "+I 1 5 1 0 1 7"]);
    assert_eq!(
        run(1, "-U | 1 | 0\n+U | 1 | 3"),
        ["-D 1 5 1 0 1 7", "+I 1 5 1 3 1 7"]
    );
    assert_eq!(
        run(0, "-D | NULL | 6\n-D | 1 | 5"),
        [alone("-D", "NULL 6"), "-D 1 5 1 3 1 7".to_string()]
    );
}

#[test]
fn rows_are_forgotten_after_their_ttl() {
    let chain = [(false, false), (true, false)];
    let mut open = harness(multi(&chain, Some(1_000), true)).open().unwrap();
    open.process(0, "1 | 5").unwrap();
    open.advance_time(600).unwrap();
    open.process(2, "1 | 7").unwrap();
    open.advance_time(1_200).unwrap();
    open.process(1, "1 | 6").unwrap();
    assert!(open.drain_rows().is_empty());
    open.process(0, "1 | 8").unwrap();
    assert_eq!(open.drain_rows(), ["+I | 1 | 8 | 1 | 6 | 1 | 7"]);
    let mut sizes = Vec::new();
    for round in 1..20 {
        open.advance_time(10_000 * round).unwrap();
        (0..3).for_each(|input| open.process(input, "1 | 5\n2 | 6").unwrap());
        sizes.push(open.state_bytes());
    }
    assert_eq!(sizes.iter().max(), sizes[..4].iter().max());
}

#[test]
fn a_crash_anywhere_changes_nothing() {
    let rows = [
        (0, "+I | 1 | 1\n+I | 2 | 2\n+I | NULL | 3"),
        (1, "+I | 1 | 4\n+I | 3 | 5"),
        (2, "+I | 1 | 0\n+I | 2 | 9"),
        (1, "-D | 1 | 4\n+I | 2 | 6"),
        (0, "-D | NULL | 3\n+I | 3 | 7\n+I | 1 | 1"),
        (2, "-D | 2 | 9\n+I | 1 | 8"),
        (0, "-D | 1 | 1"),
    ];
    let script: Vec<Step> = rows.iter().map(|(i, r)| Step::process(*i, r)).collect();
    for chain in [
        [(false, false), (true, true)],
        [(true, true), (true, false)],
    ] {
        crash_everywhere(&harness(multi(&chain, None, false)), &script, &[1, 3]).unwrap();
    }
}

/// Rows of inputs, some of which are removed later, in batches of one input each.
fn batches(rows: &[(usize, u8, i32, bool)], cut: usize) -> Vec<(usize, String)> {
    let text = |(_, k, v, _): &(usize, u8, i32, bool)| {
        let key = if *k == 0 {
            "NULL".to_string()
        } else {
            k.to_string()
        };
        format!("{key} | {v}")
    };
    let adds = rows.iter().map(|r| (r.0, format!("+I | {}", text(r))));
    let removals = rows.iter().filter(|r| r.3);
    let removals = removals.map(|r| (r.0, format!("-D | {}", text(r))));
    // Some removals come between later additions.
    let (adds, removals): (Vec<_>, Vec<_>) = (adds.collect(), removals.collect());
    let half = adds.len().div_ceil(2);
    let early = rows[..half].iter().filter(|r| r.3).count();
    let changes = [
        &adds[..half],
        &removals[..early],
        &adds[half..],
        &removals[early..],
    ]
    .concat();
    let mut batches: Vec<(usize, String, usize)> = Vec::new();
    for (input, line) in changes {
        match batches.last_mut() {
            Some((last, text, lines)) if *last == input && *lines < cut => {
                text.push('\n');
                text.push_str(&line);
                *lines += 1;
            }
            _ => batches.push((input, line, 1)),
        }
    }
    batches
        .into_iter()
        .map(|(input, text, _)| (input, text))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn the_chain_in_one_gives_what_the_binary_chain_gives(
        chain in prop::collection::vec((any::<bool>(), any::<bool>()), 2..4),
        rows in prop::collection::vec((0..4usize, 0..4u8, 0..4i32, any::<bool>()), 1..40),
        cut in 1..6usize,
    ) {
        let rows = rows.into_iter().map(|r| (r.0 % (chain.len() + 1), r.1, r.2, r.3));
        let rows: Vec<_> = rows.collect();
        let batches = batches(&rows, cut);
        prop_assert_eq!(run_multi(&chain, &batches), run_binary(&chain, &batches));
    }
}
