//! The Nexmark queries over 10,000 events, with real Flink's final results.
//!
//! Flink cannot run q6: its result was computed apart from any SQL engine, from the events: of each
//! auction the first of its highest bids that came while it was open; of these, by seller and in
//! order of time, the average price of each and up to ten before it, rounded down. q12 depends on
//! processing time and has an invariant instead: every bid is counted once.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;

use flate2::read::GzDecoder;
use libtest_mimic::{Failed, Trial};
use serde_json::Value;

/// A trial for each query, at parallelism 1 and 4.
pub fn trials(folder: &Path) -> Vec<Trial> {
    let mut trials = Vec::new();
    for query in super::cases(&folder.join("queries")) {
        for parallelism in [1, 4] {
            let (folder, query) = (folder.to_path_buf(), query.clone());
            let title = format!("nexmark/{query} p={parallelism}");
            trials.push(Trial::test(title, move || {
                check(&folder, &query, parallelism)
            }));
        }
    }
    for parallelism in [1, 4] {
        let (folder, title) = (folder.to_path_buf(), format!("nexmark/q12 p={parallelism}"));
        trials.push(Trial::test(title, move || count_bids(&folder, parallelism)));
    }
    trials
}

/// q12: bids of each bidder in windows of processing time.
const Q12: &str = "
CREATE VIEW timed_bid AS SELECT *, PROCTIME() AS p_time FROM bid;
SELECT bidder, COUNT(*) AS bid_count, window_start, window_end
FROM TABLE(TUMBLE(TABLE timed_bid, DESCRIPTOR(p_time), INTERVAL '10' SECOND))
GROUP BY bidder, window_start, window_end;
SELECT bidder, COUNT(*) FROM bid GROUP BY bidder;
";

/// Whether the counts in all windows add up to the number of bids, bidder by bidder.
fn count_bids(folder: &Path, parallelism: usize) -> Result<(), Failed> {
    let printed = run(folder, Q12, parallelism)?;
    let mut counts: [BTreeMap<String, i64>; 2] = Default::default();
    let mut num_answers = 0;
    for value in printed {
        if value.get("columns").is_some() {
            num_answers += 1;
        } else if let Some(kind) = value.get("kind").and_then(Value::as_str) {
            let adds = matches!(kind, "INSERT" | "UPDATE_AFTER");
            let field = |i: usize| value["fields"][i].as_str().unwrap_or_default();
            let count: i64 = field(1).parse()?;
            let bidder = counts[(num_answers - 1) % 2].entry(field(0).to_string());
            *bidder.or_default() += if adds { count } else { -count };
        }
    }
    let [windowed, all] = counts;
    match windowed == all && !all.is_empty() {
        true => Ok(()),
        false => Err(format!("{} bidders for {}", windowed.len(), all.len()).into()),
    }
}

fn check(folder: &Path, query: &str, parallelism: usize) -> Result<(), Failed> {
    let text = std::fs::read_to_string(folder.join(format!("queries/{query}.sql")))?;
    let printed = run(folder, &text, parallelism)?;
    let mut actual: BTreeMap<String, i64> = BTreeMap::new();
    for value in printed {
        if let Some(kind) = value.get("kind").and_then(Value::as_str) {
            let adds = matches!(kind, "INSERT" | "UPDATE_AFTER");
            *actual.entry(value["fields"].to_string()).or_default() += if adds { 1 } else { -1 };
        }
    }
    actual.retain(|_, count| *count != 0);
    let expected = expected(&folder.join(format!("results/{query}.jsonl.gz")))?;
    let missing = super::less(&expected, &actual);
    let extra = super::less(&actual, &expected);
    if missing.is_empty() && extra.is_empty() {
        return Ok(());
    }
    let (lacks, has) = (missing.first(), extra.first());
    let (num_missing, num_extra) = (missing.len(), extra.len());
    Err(format!(
        "lacks {num_missing} rows such as {lacks:?}, has {num_extra} too many such as {has:?}"
    )
    .into())
}

/// What statements over the Nexmark tables print.
fn run(folder: &Path, statements: &str, parallelism: usize) -> Result<Vec<Value>, Failed> {
    let scratch = tempfile::tempdir()?;
    let (events, side) = (
        scratch.path().join("events.jsonl"),
        scratch.path().join("side.csv"),
    );
    let zipped = std::fs::File::open(folder.join("events.jsonl.gz"))?;
    std::io::copy(
        &mut GzDecoder::new(zipped),
        &mut std::fs::File::create(&events)?,
    )?;
    let mut side_file = std::fs::File::create(&side)?;
    for i in 0..10_000 {
        writeln!(side_file, "{i},{i}")?;
    }
    let tables = std::fs::read_to_string(folder.join("tables.sql"))?
        .replace("${EVENTS}", &events.display().to_string())
        .replace("${SIDE}", &side.display().to_string());
    let file = scratch.path().join("job.sql");
    std::fs::write(&file, format!("{tables}{statements}"))?;
    let output = super::flott_run(&file, parallelism)?;
    let lines = String::from_utf8_lossy(&output.stdout);
    let values = lines.lines().map(|line| {
        let value: Value = serde_json::from_str(line)?;
        match value.get("error") {
            Some(error) => Err(error.to_string().into()),
            None => Ok(value),
        }
    });
    values.collect()
}

/// The rows of a result file, each a JSON array of texts, with their counts.
fn expected(path: &Path) -> Result<BTreeMap<String, i64>, Failed> {
    let mut rows = BTreeMap::new();
    for line in BufReader::new(GzDecoder::new(std::fs::File::open(path)?)).lines() {
        let row: Value = serde_json::from_str(&line?)?;
        *rows.entry(row.to_string()).or_default() += 1;
    }
    Ok(rows)
}
