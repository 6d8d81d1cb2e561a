//! The cases that real Apache Flink 2.3 has answered: `flott run` gives the same final results.
//!
//! A case is `NAME.sql` with its expected `NAME.final` in `tests/oracle/semantics`. What is not
//! covered yet stands in `tests/oracle/pending.txt` with its reason; those cases are printed as
//! ignored, and a pending case that passes fails the run, so that the list stays true.

mod nexmark;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::Value;

/// A statement's answer: an error, or columns and rows with their counts.
#[derive(Debug, Default, PartialEq)]
struct Answer {
    error: Option<String>,
    columns: Vec<String>,
    rows: BTreeMap<String, i64>,
}

fn main() {
    let folder = root().join("tests/oracle");
    let pending = read_pending(&folder.join("pending.txt"));
    let mut trials = Vec::new();
    for parallelism in [1, 4] {
        for name in cases(&folder.join("semantics")) {
            let reason = pending.get(&name).cloned();
            let title = format!("semantics/{name} p={parallelism}");
            let folder = folder.join("semantics");
            let trial = Trial::test(title, move || check(&folder, &name, parallelism, reason));
            trials.push(trial);
        }
    }
    trials.extend(nexmark::trials(&folder.join("nexmark")));
    println!(
        "not covered yet, by tests/oracle/pending.txt: {} cases",
        pending.len()
    );
    for (name, reason) in &pending {
        println!("  {name}: {reason}");
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn cases(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("the oracle's cases are in the repository");
    let paths = entries.filter_map(|e| Some(e.ok()?.path()));
    let scripts = paths.filter(|p| p.extension().is_some_and(|e| e == "sql"));
    let mut names: Vec<String> = scripts
        .filter_map(|p| Some(p.file_stem()?.to_str()?.to_string()))
        .collect();
    names.sort();
    names
}

/// `name: reason` lines.
fn read_pending(path: &Path) -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines = text
        .lines()
        .filter(|l| !l.trim().is_empty() && !l.starts_with('#'));
    let pair = |l: &str| {
        let (name, reason) = l.split_once(':').unwrap_or((l, "no reason given"));
        (name.trim().to_string(), reason.trim().to_string())
    };
    lines.map(pair).collect()
}

fn check(
    folder: &Path,
    name: &str,
    parallelism: usize,
    pending: Option<String>,
) -> Result<(), Failed> {
    match (compare(folder, name, parallelism), pending) {
        (Ok(()), None) | (Err(_), Some(_)) => Ok(()),
        (Ok(()), Some(_)) if parallelism > 1 => Ok(()),
        (Ok(()), Some(_)) => Err("passes: take it out of tests/oracle/pending.txt".into()),
        (Err(message), None) => Err(message.into()),
    }
}

fn compare(folder: &Path, name: &str, parallelism: usize) -> Result<(), String> {
    let scratch = tempfile::tempdir().map_err(|e| e.to_string())?;
    let out = scratch.path().join("out");
    std::fs::create_dir(&out).map_err(|e| e.to_string())?;
    let read = |extension| std::fs::read_to_string(folder.join(format!("{name}.{extension}")));
    let script = read("sql").map_err(|e| e.to_string())?;
    let data = folder
        .join("data")
        .canonicalize()
        .map_err(|e| e.to_string())?;
    let script = script
        .replace("${DATA}", &data.display().to_string())
        .replace("${OUT}", &out.display().to_string());
    let file = scratch.path().join("case.sql");
    std::fs::write(&file, script).map_err(|e| e.to_string())?;
    let output = flott_run(&file, parallelism)?;
    let expected = answers(&read("final").map_err(|e| e.to_string())?)?;
    let actual = answers(&String::from_utf8_lossy(&output.stdout))?;
    let mut wrong = Vec::new();
    for (statement, expected) in &expected {
        match actual.get(statement) {
            None if expected.error.is_some() => wrong.push(format!("{statement}: accepted")),
            None => wrong.push(format!("{statement}: no answer")),
            Some(actual) => {
                wrong.extend(difference(expected, actual).map(|d| format!("{statement}: {d}")))
            }
        }
    }
    if wrong.is_empty() {
        return Ok(());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    Err(format!("{}\nstderr: {}", wrong.join("\n"), stderr.trim()))
}

fn flott_run(file: &Path, parallelism: usize) -> Result<std::process::Output, String> {
    Command::new(env!("CARGO_BIN_EXE_flott"))
        .args([
            "run",
            "--keep-going",
            "--format",
            "plain-json",
            "--parallelism",
        ])
        .arg(parallelism.to_string())
        .arg(file)
        .stdin(Stdio::null())
        .output()
        .map_err(|e| e.to_string())
}

fn difference(expected: &Answer, actual: &Answer) -> Option<String> {
    match (&expected.error, &actual.error) {
        (Some(_), Some(_)) => return None,
        (Some(error), None) => return Some(format!("accepted, Flink refuses it: {error}")),
        (None, Some(error)) => return Some(error.clone()),
        (None, None) => {}
    }
    if expected.columns != actual.columns {
        return Some(format!(
            "columns {:?} for {:?}",
            actual.columns, expected.columns
        ));
    }
    let missing: Vec<_> = less(&expected.rows, &actual.rows);
    let extra: Vec<_> = less(&actual.rows, &expected.rows);
    (!missing.is_empty() || !extra.is_empty()).then(|| {
        format!(
            "lacks {:?}, has too much {:?}",
            &missing[..missing.len().min(3)],
            &extra[..extra.len().min(3)]
        )
    })
}

/// The rows that `a` has more often than `b`.
fn less<'a>(a: &'a BTreeMap<String, i64>, b: &BTreeMap<String, i64>) -> Vec<&'a String> {
    a.iter()
        .filter(|(row, n)| **n > b.get(*row).copied().unwrap_or(0))
        .map(|(row, _)| row)
        .collect()
}

/// Folds a `.final` file or what `flott run` printed, by statement.
fn answers(text: &str) -> Result<BTreeMap<i64, Answer>, String> {
    let mut answers: BTreeMap<i64, Answer> = BTreeMap::new();
    let mut current = 0;
    for line in text.lines().filter(|l| !l.trim().is_empty()) {
        let value: Value = serde_json::from_str(line).map_err(|_| format!("not JSON: {line}"))?;
        if let Some(number) = value
            .get("stmt")
            .or(value.get("statement"))
            .and_then(Value::as_i64)
        {
            current = number;
            let answer = answers.entry(current).or_default();
            if let Some(error) = value.get("error") {
                answer.error = Some(error["message"].as_str().unwrap_or("error").to_string());
            }
            if let Some(columns) = value.get("columns").and_then(Value::as_array) {
                answer.columns = columns.iter().map(column_name).collect();
            }
        } else if let Some(row) = value.get("row") {
            *answers
                .entry(current)
                .or_default()
                .rows
                .entry(row.to_string())
                .or_default() += 1;
        } else if let Some(kind) = value.get("kind").and_then(Value::as_str) {
            let rows = &mut answers.entry(current).or_default().rows;
            let count = rows.entry(value["fields"].to_string()).or_default();
            *count += if matches!(kind, "INSERT" | "UPDATE_AFTER") {
                1
            } else {
                -1
            };
            // A retraction of what is not there is ignored, as in the expected files.
            *count = (*count).max(0);
        }
    }
    answers
        .values_mut()
        .for_each(|a| a.rows.retain(|_, n| *n > 0));
    Ok(answers)
}

/// `["name", "type"]` or `{"name": …}`.
fn column_name(column: &Value) -> String {
    let name = column.get(0).or(column.get("name"));
    name.and_then(Value::as_str).unwrap_or_default().to_string()
}
