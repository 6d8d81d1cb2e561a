//! The pages about connectors and formats are those that the lists give, and their examples run.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Pages whose examples need a broker, a registry, a file of descriptors or files of another writer;
/// the tests of those run the like.
const NEED_A_SYSTEM: &[&str] = &[
    "kafka",
    "upsert-kafka",
    "avro-confluent",
    "debezium-avro-confluent",
    "protobuf",
    "orc",
];

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs")
}

fn flott(arguments: &[&str], folder: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_flott"))
        .args(arguments)
        .current_dir(folder)
        .output()
        .expect("the binary starts")
}

fn pages(folder: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for kind in ["connectors", "formats"] {
        let entries = std::fs::read_dir(folder.join(kind)).expect("the folder of pages");
        let names = entries.map(|e| e.expect("a page").file_name());
        found.extend(names.map(|name| Path::new(kind).join(name)));
    }
    found
}

#[test]
fn pages_are_those_that_the_lists_give() {
    let scratch = tempfile::tempdir().expect("a folder");
    let output = flott(&["docs", "."], scratch.path());
    assert!(output.status.success());
    let made = pages(scratch.path());
    assert_eq!(made, pages(&docs()), "run `cargo xtask docs`");
    for page in made {
        let text = |root: &Path| std::fs::read_to_string(root.join(&page)).expect("a page");
        assert!(
            text(scratch.path()) == text(&docs()),
            "{} is not what the lists give; run `cargo xtask docs`",
            page.display()
        );
    }
}

#[test]
fn examples_run() {
    for page in pages(&docs()) {
        let name = page
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if NEED_A_SYSTEM.contains(&name.as_str()) {
            continue;
        }
        let text = std::fs::read_to_string(docs().join(&page)).expect("a page");
        let script = text
            .split("```sql\n")
            .nth(1)
            .and_then(|rest| rest.split("```").next());
        let script = script.unwrap_or_else(|| panic!("{} has no example", page.display()));
        let scratch = tempfile::tempdir().expect("a folder");
        std::fs::write(scratch.path().join("example.sql"), script).expect("a script");
        let output = flott(&["run", "example.sql"], scratch.path());
        assert!(
            output.status.success(),
            "{}: {}",
            page.display(),
            String::from_utf8_lossy(&output.stderr)
        );
    }
}
