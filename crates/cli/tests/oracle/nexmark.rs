//! The Nexmark queries over 10,000 events, with real Flink's final results.

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
    trials
}

fn check(folder: &Path, query: &str, parallelism: usize) -> Result<(), Failed> {
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
    let text = std::fs::read_to_string(folder.join(format!("queries/{query}.sql")))?;
    let file = scratch.path().join("job.sql");
    std::fs::write(&file, format!("{tables}{text}"))?;
    let output = super::flott_run(&file, parallelism)?;
    let printed = String::from_utf8_lossy(&output.stdout);
    let mut actual: BTreeMap<String, i64> = BTreeMap::new();
    for line in printed.lines() {
        let value: Value = serde_json::from_str(line)?;
        if let Some(error) = value.get("error") {
            return Err(error.to_string().into());
        }
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

/// The rows of a result file, each a JSON array of texts, with their counts.
fn expected(path: &Path) -> Result<BTreeMap<String, i64>, Failed> {
    let mut rows = BTreeMap::new();
    for line in BufReader::new(GzDecoder::new(std::fs::File::open(path)?)).lines() {
        let row: Value = serde_json::from_str(&line?)?;
        *rows.entry(row.to_string()).or_default() += 1;
    }
    Ok(rows)
}
