//! The pages about connectors and formats are those that the lists give, and their examples run.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use flott_core::options::OptionDef;

/// Pages whose examples need a broker, a registry or a file of descriptors: `pages` of the tests
/// against other systems runs the like.
const NEED_A_SYSTEM: &[&str] = &[
    "kafka",
    "upsert-kafka",
    "avro-confluent",
    "debezium-avro-confluent",
    "protobuf",
];

/// Puts the files of another writer where a page's script reads them.
fn prepare(page: &Path, folder: &Path, copies: &[String]) {
    if !page.ends_with("orc.md") {
        return;
    }
    let file = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../formats/tests/data/orc/arrow_zstd.orc"
    );
    for copy in copies {
        let folder = folder.join(format!("orders{copy}"));
        std::fs::create_dir_all(&folder).expect("a folder");
        std::fs::copy(file, folder.join("part.orc")).expect("a file");
    }
}

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
        let script = example(&page);
        let scratch = tempfile::tempdir().expect("a folder");
        prepare(&page, scratch.path(), &[String::new()]);
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

/// The script on a page.
fn example(page: &Path) -> String {
    let text = std::fs::read_to_string(docs().join(page)).expect("a page");
    let script = text
        .split("```sql\n")
        .nth(1)
        .and_then(|rest| rest.split("```").next());
    let script = script.unwrap_or_else(|| panic!("{} has no example", page.display()));
    script.to_string()
}

/// The options of the lists with what they stand behind, by the page that shows them.
fn options() -> Vec<(PathBuf, String, Vec<OptionDef>)> {
    let connectors = flott_connectors::all().into_iter().map(|connector| {
        let page = format!("connectors/{}.md", connector.identifier());
        (page.into(), String::new(), connector.options().to_vec())
    });
    let formats = flott_formats::all().into_iter().map(|format| {
        let name = format.identifier();
        let page = format!("formats/{name}.md");
        (page.into(), format!("{name}."), format.options().to_vec())
    });
    let all = connectors.chain(formats);
    let is_alone = |(page, _, _): &(PathBuf, String, Vec<OptionDef>)| {
        let name = page.file_stem().unwrap_or_default().to_string_lossy();
        !NEED_A_SYSTEM.contains(&name.as_ref())
    };
    all.filter(is_alone).collect()
}

/// What `DESCRIBE` and `SHOW` say comes from the lists that the pages are made of.
#[test]
fn statements_say_what_the_lists_say() {
    let connectors = flott_connectors::all();
    let formats = flott_formats::all();
    let mut script = "SHOW CONNECTORS; SHOW FORMATS;".to_string();
    let mut expected: Vec<BTreeSet<String>> = vec![
        connectors
            .iter()
            .map(|c| c.identifier().to_string())
            .collect(),
        formats.iter().map(|f| f.identifier().to_string()).collect(),
    ];
    let keys = |options: &'static [OptionDef]| options.iter().map(|o| o.key.to_string());
    for connector in &connectors {
        let metadata = connector.metadata_columns().into_iter();
        let metadata = metadata.map(|column| column.key.to_string());
        script += &format!("DESCRIBE CONNECTOR `{}`;", connector.identifier());
        expected.push(keys(connector.options()).chain(metadata).collect());
    }
    for format in &formats {
        let metadata = format.metadata_columns().into_iter();
        let metadata = metadata.map(|column| column.key.to_string());
        script += &format!("DESCRIBE FORMAT `{}`;", format.identifier());
        expected.push(keys(format.options()).chain(metadata).collect());
    }
    let scratch = tempfile::tempdir().expect("a folder");
    std::fs::write(scratch.path().join("all.sql"), script).expect("a script");
    let output = flott(
        &["run", "--format", "plain-json", "all.sql"],
        scratch.path(),
    );
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let mut said = vec![BTreeSet::new(); expected.len()];
    let mut statement = 0;
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
        if let Some(number) = line["statement"].as_u64() {
            statement = number as usize - 1;
        }
        // A name, or a kind and a name.
        let place = usize::from(statement > 1);
        if let Some(name) = line["fields"][place].as_str() {
            said[statement].insert(name.to_string());
        }
    }
    assert_eq!(said, expected);
}

/// Old names of other options, which cannot stand beside these.
fn is_legacy(option: &OptionDef) -> bool {
    option.doc.starts_with("the old name of")
}

#[test]
fn every_option_shows_a_value() {
    for (page, prefix, options) in options() {
        for option in options {
            let shown = option.shown();
            assert!(
                shown.is_some(),
                "{}: {prefix}{}",
                page.display(),
                option.key
            );
            assert!(
                shown.is_some_and(|(key, _)| option.covers(key)),
                "{}",
                option.key
            );
        }
    }
}

/// A statement of a page's script with a table and files of its own, and with an option where it
/// makes a table.
fn statement_with(
    statement: &str,
    table: &str,
    copy: usize,
    option: Option<(&str, &str)>,
) -> String {
    let mut copied = statement.to_string();
    for before in ["CREATE TABLE ", "INTO ", "FROM ", "'path' = '"] {
        let (old, new) = (
            format!("{before}{table}"),
            format!("{before}{table}_{copy}"),
        );
        copied = copied.replace(&old, &new);
    }
    if let Some((key, value)) = option {
        let value = value.replace('\'', "''");
        copied = copied.replacen("WITH (", &format!("WITH ('{key}' = '{value}', "), 1);
    }
    format!("{copied};\n")
}

/// The statements of a script with the value that the page shows for an option, without the
/// reading of a table that does not end.
fn statements_with(script: &str, copy: usize, key: &str, value: &str) -> Vec<String> {
    let table = script.split("CREATE TABLE ").nth(1).expect("a table");
    let table = table.split([' ', '(']).next().expect("its name");
    let is_endless = key == "source.monitor-interval";
    let option = (!script.contains(&format!("'{key}'"))).then_some((key, value));
    let statements = script.split(';').map(str::trim).filter(|statement| {
        let text = statement.lines().find(|line| !line.starts_with("--"));
        let text = text.unwrap_or_default();
        let is_left_out = is_endless && text.starts_with("SELECT");
        !(text.is_empty() || is_left_out)
    });
    let statements = statements.map(|text| statement_with(text, table, copy, option));
    statements.collect()
}

/// Every option's example runs with its page's script; those that are documented as refused are
/// refused, and no other.
#[test]
fn examples_of_options_run() {
    for (page, prefix, options) in options() {
        let script = example(&page);
        let letters = "CREATE TABLE letters (raw BYTES) WITH ('connector' = 'filesystem', \
                       'path' = 'letters', 'format' = 'json');\n";
        let (mut all, mut owners) = (letters.to_string(), vec![None]);
        for (copy, option) in options.iter().enumerate().filter(|(_, o)| !is_legacy(o)) {
            let (key, value) = option.shown().expect("an example");
            let key = format!("{prefix}{key}");
            for statement in statements_with(&script, copy, &key, value) {
                all.push_str(&statement);
                owners.push(Some(option));
            }
        }
        let scratch = tempfile::tempdir().expect("a folder");
        let copies: Vec<String> = (0..options.len()).map(|copy| format!("_{copy}")).collect();
        prepare(&page, scratch.path(), &copies);
        std::fs::write(scratch.path().join("all.sql"), all).expect("a script");
        let arguments = ["run", "--keep-going", "--format", "plain-json", "all.sql"];
        let output = flott(&arguments, scratch.path());
        let mut refused = BTreeSet::new();
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            // A table that prints writes its rows between the answers.
            let Ok(line) = serde_json::from_str::<serde_json::Value>(line) else {
                continue;
            };
            if line.get("error").is_some() {
                let place = line["statement"].as_u64().expect("a number") as usize;
                let option = owners[place - 1].expect("an option");
                assert!(
                    option.doc.contains("refused"),
                    "{}: '{prefix}{}': {line}",
                    page.display(),
                    option.key
                );
                refused.insert(option.key);
            }
        }
        let expected = options.iter().filter(|o| o.doc.starts_with("refused"));
        let expected: BTreeSet<&str> = expected.map(|o| o.key).collect();
        assert!(
            expected.is_subset(&refused),
            "{}: {expected:?}",
            page.display()
        );
    }
}
