//! `flott bench`, end to end.

use std::process::{Command, Output};

use serde_json::Value;

fn bench(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_flott"))
        .args(["bench", "nexmark"])
        .args(args)
        .output()
        .unwrap()
}

#[test]
fn two_queries_from_the_generator_and_from_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let written = bench(&["--write-events", &path("events.json"), "--events", "10000"]);
    assert!(written.status.success(), "{written:?}");

    for source in [
        "nexmark".to_string(),
        format!("file:{}", path("events.json")),
    ] {
        let (json, svg) = (path("result.json"), path("result.svg"));
        let mut args = vec!["--queries", "q5,q0", "--events", "10000", "--runs", "2"];
        args.extend(["--source", &source, "--json", &json, "--svg", &svg]);
        let output = bench(&args);
        assert!(output.status.success(), "{output:?}");
        let table = String::from_utf8(output.stdout).unwrap();
        assert!(table.contains("10,000") && table.contains("q5"), "{table}");

        let report: Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
        let queries = report["queries"].as_array().unwrap();
        let names: Vec<&Value> = queries.iter().map(|q| &q["query"]).collect();
        assert_eq!(names, ["q0", "q5"]);
        for query in queries {
            assert_eq!(query["events"], 10_000);
            assert_eq!(query["flott"]["runs"].as_array().unwrap().len(), 2);
            assert!(query["flott"]["median"]["peak_bytes"].as_u64().unwrap() > 0);
        }
        let picture = std::fs::read_to_string(&svg).unwrap();
        assert_eq!(picture.matches("<title>").count(), 2);
    }
}

#[test]
fn a_query_that_does_not_exist_is_told() {
    let output = bench(&["--queries", "q99"]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("no query 'q99'"), "{text}");
}

#[test]
fn recovery_and_the_size_of_state_are_told() {
    let flott = |args: &[&str]| -> Vec<Value> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_flott"));
        let output = command.arg("bench").args(args).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        let lines = text.lines().map(serde_json::from_str);
        lines.collect::<Result<_, _>>().unwrap()
    };
    let starts = flott(&["recovery", "--kills", "1", "--pause-ms", "1500", "--json"]);
    assert_eq!(starts[1]["start"], "after a kill");
    assert!(starts[1]["ms"][0].as_f64().unwrap() > 0.0);
    let state = flott(&["state", "--rows", "200000", "join", "--json"]);
    assert_eq!(state.len(), 1);
    assert_eq!(state[0]["raw_bytes"], 200_000 * (2 * 8 + 2 * 20));
    assert!(state[0]["memory_bytes"].as_u64() > state[0]["raw_bytes"].as_u64());
}
