//! `flott bench nexmark`, end to end.

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
