//! The parts of a split aggregation together give what the whole gives.

use std::collections::BTreeMap;
use std::sync::Arc;

use flott_core::changelog::ChangelogBatch;
use flott_core::graph::Exchange;
use flott_core::operator::{Operator, OperatorFactory, StateSnapshot};
use flott_core::schema::{Column, Schema};
use flott_core::types::LogicalType;
use flott_engine::testing::{Harness, OpenHarness, fold, format_rows, parse_rows};
use proptest::prelude::*;

use super::*;
use crate::aggregates::{Phase, find};
use crate::operators::collect::Collected;
use crate::operators::group_aggregate::GroupAggregateConfig;
use crate::operators::two_phase::TwoPhase;

const K: usize = 0;
const I: usize = 1;
const S: usize = 2;
const EVEN: usize = 3;
const LOW: usize = 4;

fn schema() -> Schema {
    let column = |name: &str, ty: LogicalType| Column::new(name, ty.nullable());
    Schema::new(vec![
        column("k", LogicalType::STRING),
        column("i", LogicalType::BigInt),
        column("s", LogicalType::STRING),
        column("even", LogicalType::Boolean),
        column("low", LogicalType::Boolean),
    ])
}

fn call(name: &str, args: &[usize], distinct: bool, filter: Option<usize>) -> AggregateCallConfig {
    let function = find(name).unwrap();
    let given = args.iter().map(|&a| schema().column(a).data_type.clone());
    AggregateCallConfig {
        function,
        types: (function.bind)(&given.collect::<Vec<_>>()).unwrap(),
        args: args.to_vec(),
        distinct,
        filter,
    }
}

fn calls() -> Vec<AggregateCallConfig> {
    vec![
        call("COUNT", &[], false, None),
        call("COUNT", &[I], true, None),
        call("COUNT", &[I], true, Some(EVEN)),
        call("MAX", &[S], false, None),
        call("COUNT", &[S], true, Some(LOW)),
        call("SUM", &[I], true, None),
        call("COUNT", &[S], true, None),
        call("AVG", &[I], true, Some(LOW)),
        call("COUNT", &[I, S], true, Some(EVEN)),
        call("SUM", &[I], false, Some(LOW)),
    ]
}

fn split(keys: &[usize], is_retracting: bool) -> SplitAggregate {
    SplitAggregate {
        key_columns: keys.to_vec(),
        calls: calls(),
        num_buckets: 16,
        input_is_retracting: is_retracting,
        input: schema(),
    }
}

fn whole(split: &SplitAggregate) -> GroupAggregateConfig {
    let keys = split
        .key_columns
        .iter()
        .map(|&k| split.input.column(k).clone());
    let results = split.calls.iter();
    let results = results.map(|c| Column::new("a", c.types.result.clone()));
    let schema: Schema = keys.chain(results).collect();
    GroupAggregateConfig {
        key_columns: split.key_columns.clone(),
        calls: split.calls.clone(),
        phase: Phase::Complete,
        input_is_retracting: split.input_is_retracting,
        emits_update_before: true,
        emits_at_end: false,
        sends_each_change: false,
        forgets_emptied: false,
        final_inputs: None,
        state_ttl_ms: None,
        input_schema: split.input.to_arrow(),
        schema: schema.to_arrow(),
    }
}

/// The parts, one behind the other; the partial one has several subtasks.
struct Parts {
    split: SplitAggregate,
    takes: SplitRows,
    spread: Box<dyn Operator>,
    local: Box<dyn Operator>,
    partial: OpenHarness,
    last: OpenHarness,
    lines: Vec<String>,
}

impl Parts {
    fn new(split: &SplitAggregate, takes: SplitRows) -> Self {
        let mut local_calls = split.plain_calls();
        if !split.input_is_retracting {
            local_calls.push(call("COUNT", &[], false, None));
        }
        let local = GroupAggregateConfig {
            calls: local_calls,
            ..whole(split)
        };
        let local_schema = local.partial_schema(&split.input).unwrap();
        let spread = SpreadDistinctConfig {
            split: split.clone(),
            schema: split.spread_schema().to_arrow(),
        };
        let by_first = |n: usize| Exchange::Hash((0..n).collect());
        let num_keys = split.key_columns.len();
        let partial_schema = split.partial_schema(takes).unwrap();
        let partial = Harness::new(Arc::new(PartialAggregateConfig {
            split: split.clone(),
            takes,
            schema: partial_schema.to_arrow(),
        }));
        let partial = match takes {
            SplitRows::Whole => partial.input(split.input.clone()),
            SplitRows::Spread => partial.input_by(split.spread_schema(), by_first(num_keys + 1)),
        };
        let last = GroupAggregateConfig {
            calls: split.final_calls(),
            final_inputs: Some(split.final_inputs(takes)),
            ..whole(split).in_phase(Phase::Global, &partial_schema)
        };
        let mut last = Harness::new(Arc::new(last));
        if takes == SplitRows::Spread {
            last = last.input_by(local_schema.clone(), by_first(num_keys));
        }
        Self {
            split: split.clone(),
            takes,
            spread: spread.create().unwrap(),
            local: local
                .in_phase(Phase::Local, &local_schema)
                .create()
                .unwrap(),
            partial: partial.open().unwrap(),
            last: last
                .input_by(partial_schema, by_first(num_keys))
                .open()
                .unwrap(),
            lines: Vec::new(),
        }
    }

    fn process(&mut self, rows: &str) {
        let batch = parse_rows(&self.split.input, rows).unwrap();
        match self.takes {
            SplitRows::Whole => self.partial.process_batch(0, batch).unwrap(),
            SplitRows::Spread => {
                let mut out = Collected::default();
                self.local.process(0, batch.clone(), &mut out).unwrap();
                for states in out.batches.drain(..) {
                    self.last.process_batch(0, states).unwrap();
                }
                self.spread.process(0, batch, &mut out).unwrap();
                for values in out.batches.drain(..) {
                    self.partial.process_batch(0, values).unwrap();
                }
            }
        }
        if let Some(changes) = self.partial.drain_batch().unwrap() {
            let input = usize::from(self.takes == SplitRows::Spread);
            self.last.process_batch(input, changes).unwrap();
        }
        self.lines.extend(self.last.drain_rows());
    }

    /// Goes on as another kind and parallelism.
    fn restored(mut self, takes: SplitRows, parallelism: usize) -> Self {
        let snapshots: [Vec<StateSnapshot>; 2] = [
            self.partial.snapshot().unwrap(),
            self.last.snapshot().unwrap(),
        ];
        let mut next = Self::new(&self.split, takes);
        next.partial.restore(&snapshots[0], parallelism).unwrap();
        next.last.restore(&snapshots[1], parallelism).unwrap();
        next.lines = self.lines;
        next
    }
}

fn naive(split: &SplitAggregate, batches: &[String]) -> Vec<String> {
    let mut whole = Harness::new(Arc::new(whole(split)))
        .input(split.input.clone())
        .open()
        .unwrap();
    for batch in batches {
        whole.process(0, batch).unwrap();
    }
    whole.drain_rows()
}

fn text(batch: &ChangelogBatch) -> String {
    format_rows(batch).unwrap().join("\n")
}

#[test]
fn with_one_subtask_the_changes_are_those_of_the_whole() {
    let batches = [
        "+I | a | 1 | x | true | NULL\n+I | a | 2 | NULL | false | true\n+I | b | NULL | NULL | true | true",
        "-D | b | NULL | NULL | true | true\n+I | a | 1 | x | true | true",
        "-D | a | 1 | x | true | NULL\n+I | b | 7 | z | NULL | true",
        "-D | a | 1 | x | true | true\n-D | a | 2 | NULL | false | true",
    ]
    .map(str::to_string);
    for keys in [vec![K], vec![]] {
        let split = split(&keys, true);
        let mut parts = Parts::new(&split, SplitRows::Whole);
        batches.iter().for_each(|b| parts.process(b));
        assert_eq!(parts.lines, naive(&split, &batches));
        // What has gone leaves nothing.
        assert_eq!(fold(&parts.lines).len(), 1);
    }
}

#[test]
fn a_value_that_was_sent_is_not_sent_again() {
    let split = split(&[K], false);
    let mut parts = Parts::new(&split, SplitRows::Spread);
    let batch = "+I | a | 1 | x | true | true\n+I | a | 1 | x | true | true";
    let batch = parse_rows(&split.input, batch).unwrap();
    let mut out = Collected::default();
    parts.spread.process(0, batch.clone(), &mut out).unwrap();
    let sent: Vec<usize> = out.batches.iter().map(ChangelogBatch::num_rows).collect();
    assert_eq!(sent, [3], "{}", text(&out.batches[0]));
    out.batches.clear();
    parts.spread.process(0, batch, &mut out).unwrap();
    assert!(out.batches.is_empty());
}

/// Rows of which some are removed again, in batches.
fn changes(rows: &[Row], cuts: usize, removes: bool) -> Vec<String> {
    let adds = rows.iter().map(|r| format!("+I | {}", row_text(r)));
    let removals = rows.iter().filter(|r| removes && r.4);
    let removals = removals.map(|r| format!("-D | {}", row_text(r)));
    let changes: Vec<String> = adds.chain(removals).collect();
    changes.chunks(cuts).map(|c| c.join("\n")).collect()
}

type Row = (u8, i32, u8, u8, bool);

fn row_text((k, i, s, flags, _): &Row) -> String {
    let i = if *i == 0 {
        "NULL".to_string()
    } else {
        i.to_string()
    };
    let s = if *s == 0 {
        "NULL".to_string()
    } else {
        format!("s{s}")
    };
    let flag = |bits: u8| ["NULL", "false", "true", "true"][usize::from(bits & 3)];
    format!("k{k} | {i} | {s} | {} | {}", flag(*flags), flag(flags >> 2))
}

fn run(
    split: &SplitAggregate,
    batches: &[String],
    places: &[(SplitRows, usize)],
) -> BTreeMap<String, i64> {
    let mut parts = Parts::new(split, places[0].0);
    for (batch, (takes, parallelism)) in batches.iter().zip(places.iter().cycle()) {
        if (*takes, places.len()) != (parts.takes, 1) {
            parts = parts.restored(*takes, *parallelism);
        }
        parts.process(batch);
    }
    fold(&parts.lines)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever the parallelism, and with a crash and another parallelism before every batch.
    #[test]
    fn the_parts_give_what_the_whole_gives(
        rows in prop::collection::vec((0..3u8, 0..5i32, 0..4u8, 0..16u8, any::<bool>()), 1..40),
        cuts in 1..6usize,
        removes in any::<bool>(),
        is_keyed in any::<bool>(),
    ) {
        let keys = if is_keyed { vec![K] } else { vec![] };
        let split = split(&keys, removes);
        let batches = changes(&rows, cuts, removes);
        let expected = fold(&naive(&split, &batches));
        let (one, many) = ((SplitRows::Whole, 1), (SplitRows::Spread, 3));
        for places in [vec![one], vec![many], vec![one, many], vec![many, one, one]] {
            prop_assert_eq!(&run(&split, &batches, &places), &expected, "{:?}", places);
        }
    }
}
