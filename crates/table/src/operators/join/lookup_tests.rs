//! The lookup join by requests: order, watermarks, limits, cache, retries, crashes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::{ArrayRef, AsArray, Int32Array};
use arrow::datatypes::Int32Type;
use arrow::record_batch::RecordBatch;
use flott_core::graph::Exchange;
use flott_core::lookup::{Lookup, LookupAnswer, LookupContext, LookupPoll, LookupSource};
use flott_core::schema::Schema;
use flott_engine::testing::{Harness, Step, crash_everywhere};

use super::tests::{inputs_of, two_columns};
use super::*;

/// Key `k` takes `k` ms. Even keys have the row `(k, 10 k)`; keys that 4 divides a second one with
/// one more; odd keys have a row only from [`Table::odd_from_ms`] on.
struct Table {
    num_requests: Arc<AtomicUsize>,
    num_keys: Arc<AtomicUsize>,
    odd_from_ms: i64,
}

struct Requests {
    table: Table,
    context: LookupContext,
    open: Vec<(i64, u64, Vec<i32>)>,
}

impl LookupSource for Table {
    fn schema(&self) -> Schema {
        two_columns("j", "w")
    }

    fn create_lookup(&self, context: LookupContext) -> Result<Box<dyn Lookup>> {
        let table = Table {
            num_requests: self.num_requests.clone(),
            num_keys: self.num_keys.clone(),
            odd_from_ms: self.odd_from_ms,
        };
        let open = Vec::new();
        Ok(Box::new(Requests {
            table,
            context,
            open,
        }))
    }
}

impl Lookup for Requests {
    fn request(&mut self, request: u64, keys: Vec<ArrayRef>) -> Result<()> {
        let keys = keys[0].as_primitive::<Int32Type>().values().to_vec();
        self.table.num_requests.fetch_add(1, Ordering::SeqCst);
        self.table.num_keys.fetch_add(keys.len(), Ordering::SeqCst);
        let longest = keys.iter().copied().max().unwrap_or_default();
        let there_ms = self.context.clock.now_ms() + i64::from(longest);
        self.open.push((there_ms, request, keys));
        Ok(())
    }

    fn poll(&mut self) -> Result<LookupPoll> {
        let now_ms = self.context.clock.now_ms();
        let Some(first) = (0..self.open.len()).min_by_key(|&i| self.open[i].0) else {
            return Ok(LookupPoll::Pending);
        };
        if self.open[first].0 > now_ms {
            return Ok(LookupPoll::PendingUntil(self.open[first].0));
        }
        let (_, request, keys) = self.open.remove(first);
        let mut rows = Vec::new();
        for key in keys {
            if key % 2 == 0 || now_ms >= self.table.odd_from_ms {
                rows.push((key, key * 10));
            }
            if key % 4 == 0 {
                rows.push((key, key * 10 + 1));
            }
        }
        let (keys, values): (Vec<i32>, Vec<i32>) = rows.into_iter().unzip();
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int32Array::from(keys)),
            Arc::new(Int32Array::from(values)),
        ];
        let rows = RecordBatch::try_new(two_columns("j", "w").to_arrow(), columns)?;
        let rows = Ok(rows);
        Ok(LookupPoll::Answer(LookupAnswer { request, rows }))
    }
}

fn config(kind: JoinKind) -> AsyncLookupJoinConfig {
    let (left, right) = (two_columns("k", "v"), two_columns("j", "w"));
    AsyncLookupJoinConfig {
        inputs: inputs_of(kind, &left, &right, None),
        source: Arc::new(Table {
            num_requests: Arc::default(),
            num_keys: Arc::default(),
            odd_from_ms: i64::MAX,
        }),
        capacity: 100,
        keeps_order: true,
        timeout_ms: 60_000,
        cache: None,
        retry: None,
    }
}

fn harness(config: AsyncLookupJoinConfig) -> Harness {
    let by_key = Exchange::Hash(vec![0]);
    let harness = Harness::new(Arc::new(config)).input_by(two_columns("k", "v"), by_key);
    harness.without_keyed_state()
}

/// What each step gives, on one line.
fn run(config: AsyncLookupJoinConfig, steps: &[Step]) -> Vec<String> {
    let mut open = harness(config).open().unwrap();
    let step = |step: &Step| {
        step.run(&mut open).unwrap();
        let lines = open.drain();
        let lines = lines.iter().map(|l| l.replace(" | ", " "));
        lines.collect::<Vec<_>>().join("; ")
    };
    steps.iter().map(step).collect()
}

fn rows(text: &str) -> Step {
    Step::process(0, text)
}

#[test]
fn rows_wait_for_their_answers_in_order() {
    let given = run(
        config(JoinKind::Left),
        &[
            rows("8 | 1"),
            rows("2 | 2\n3 | 3\nNULL | 4"),
            Step::Time(5),
            Step::Time(8),
        ],
    );
    assert_eq!(given[..3], ["", "", ""]);
    assert_eq!(
        given[3],
        "+I 8 1 8 80; +I 8 1 8 81; +I 2 2 2 20; +I 3 3 NULL NULL; +I NULL 4 NULL NULL"
    );
}

#[test]
fn rows_overtake_each_other_where_they_may_but_not_watermarks() {
    let mut config = config(JoinKind::Inner);
    config.keeps_order = false;
    let given = run(
        config,
        &[
            rows("8 | 1"),
            rows("2 | 2"),
            Step::Watermark(7),
            rows("6 | 3"),
            Step::Time(7),
            Step::Time(8),
        ],
    );
    assert_eq!(given[4], "+I 2 2 2 20");
    let last = &given[5];
    assert!(last.starts_with("+I 8 1 8 80; +I 8 1 8 81; "), "{last}");
    assert!(last.ends_with("+I 6 3 6 60"), "{last}");
    assert!(last.contains('7'), "the watermark stands between: {last}");
}

#[test]
fn only_so_many_keys_are_asked_for_at_once() {
    let mut config = config(JoinKind::Inner);
    config.capacity = 2;
    let given = run(
        config,
        &[
            rows("2 | 1\n6 | 2\n10 | 3\n2 | 4"),
            Step::Time(6),
            Step::Time(16),
        ],
    );
    assert_eq!(given[1], "+I 2 1 2 20; +I 6 2 6 60");
    assert_eq!(given[2], "+I 10 3 10 100; +I 2 4 2 20");
}

#[test]
fn what_is_cached_is_not_asked_for_again() {
    let num_keys = Arc::new(AtomicUsize::new(0));
    let mut config = config(JoinKind::Left);
    config.source = Arc::new(Table {
        num_requests: Arc::default(),
        num_keys: num_keys.clone(),
        odd_from_ms: i64::MAX,
    });
    config.cache = Some(LookupCacheConfig {
        max_rows: 10,
        expire_after_write_ms: Some(1_000),
        expire_after_access_ms: None,
        caches_missing_keys: true,
    });
    let steps = [
        rows("4 | 1\n3 | 2\n4 | 3"),
        Step::Time(4),
        rows("3 | 4\n4 | 5"),
        Step::Time(1_100),
        rows("4 | 6"),
        Step::Time(1_104),
    ];
    let given = run(config, &steps);
    assert_eq!(given[2], "+I 4 5 4 40; +I 4 5 4 41; +I 3 4 NULL NULL");
    assert_eq!(given[4], "");
    assert_eq!(given[5], "+I 4 6 4 40; +I 4 6 4 41");
    assert_eq!(num_keys.load(Ordering::SeqCst), 3);
}

#[test]
fn keys_without_rows_are_asked_for_again() {
    let table = |odd_from_ms| Table {
        num_requests: Arc::default(),
        num_keys: Arc::default(),
        odd_from_ms,
    };
    let retrying = |odd_from_ms| {
        let mut config = config(JoinKind::Left);
        config.source = Arc::new(table(odd_from_ms));
        config.retry = Some(LookupRetry {
            delay_ms: 100,
            max_attempts: 3,
        });
        let steps = [rows("3 | 1\n2 | 2"), Step::Time(150), Step::Time(300)];
        run(config, &steps)
    };
    assert_eq!(retrying(90)[1], "+I 3 1 3 30; +I 2 2 2 20");
    assert_eq!(retrying(5_000)[1], "");
    assert_eq!(retrying(5_000)[2], "+I 2 2 2 20; +I 3 1 NULL NULL");
}

#[test]
fn a_lookup_that_never_answers_fails() {
    let mut config = config(JoinKind::Left);
    config.timeout_ms = 5;
    let mut open = harness(config).open().unwrap();
    open.process(0, "8 | 1").unwrap();
    let error = open.advance_time(5).unwrap_err();
    assert_eq!(error.code(), "LOOKUP_TIMEOUT");
}

#[test]
fn rows_that_wait_survive_a_crash() {
    let mut unordered = config(JoinKind::Inner);
    unordered.keeps_order = false;
    let script = [
        rows("8 | 1\n3 | 2"),
        rows("2 | 3\n4 | 4"),
        Step::Watermark(10),
        Step::Time(3),
        rows("-U | 2 | 3\n+U | 6 | 3"),
        Step::Time(9),
        rows("12 | 5"),
        Step::Watermark(20),
        Step::Time(100),
        Step::Finish,
    ];
    for config in [config(JoinKind::Left), unordered] {
        let table = crash_everywhere(&harness(config), &script, &[1, 3]).unwrap();
        assert!(table.len() >= 7, "{table:?}");
    }
}
