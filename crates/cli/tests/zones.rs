//! Timestamps of Parquet files in the zone of the machine, as Flink has it: the zone is a matter of
//! the process.

use std::path::Path;
use std::process::Command;

const COLUMNS: &str =
    "id INT, t3 TIMESTAMP(3), l3 TIMESTAMP_LTZ(3), r ROW<t TIMESTAMP(3)>, x ARRAY<TIMESTAMP(3)>";

/// What Flink 2.3 has written and read in Los Angeles, with a session in UTC.
const SHOWN: [&str; 2] = [
    "1|2024-07-01 12:34:56.789|2024-07-01 12:34:56.789|(2024-01-01 00:00:00.123)|[2024-01-01 00:00:00.123]",
    "2|2024-03-10 03:30:00.500|2024-03-10 03:30:00.000|(2024-11-03 01:30:00.123)|[1965-01-01 00:00:00.000]",
];
/// The same to who takes the file's clock for UTC.
const STORED: [&str; 2] = [
    "1|2024-07-01 19:34:56.789|2024-07-01 19:34:56.789|(2024-01-01 08:00:00.123)|[2024-01-01 08:00:00.123]",
    "2|2024-03-10 10:30:00.500|2024-03-10 10:30:00.000|(2024-11-03 09:30:00.123)|[1965-01-01 08:00:00.000]",
];

/// The rows of a script that ran in a zone, fields divided by bars.
fn rows(zone: &str, folder: &Path, script: &str) -> Vec<String> {
    std::fs::write(folder.join("script.sql"), script).expect("a script");
    let output = Command::new(env!("CARGO_BIN_EXE_flott"))
        .args(["run", "script.sql", "--format", "plain-json"])
        .env("TZ", zone)
        .current_dir(folder)
        .output()
        .expect("the binary starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let text = String::from_utf8(output.stdout).expect("text");
    let rows = text.lines().filter_map(|line| {
        let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
        let fields = line.get("fields")?.as_array()?.clone();
        let fields = fields
            .iter()
            .map(|f| f.as_str().unwrap_or("NULL").to_string());
        Some(fields.collect::<Vec<_>>().join("|"))
    });
    let mut rows: Vec<String> = rows.collect();
    rows.sort();
    rows
}

fn read(path: &str, options: &str) -> String {
    format!(
        "CREATE TABLE t ({COLUMNS}) WITH ('connector' = 'filesystem', 'path' = '{path}', \
         'format' = 'parquet'{options}); SELECT * FROM t;"
    )
}

const UTC: &str = ", 'parquet.utc-timezone' = 'true'";
const LOS_ANGELES: &str = "America/Los_Angeles";

#[test]
fn files_of_flink_show_its_clock() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../formats/tests/data/parquet");
    let file = data.join("flink_int64.parquet").display().to_string();
    let shown = |zone: &str, options: &str| rows(zone, folder.path(), &read(&file, options));
    assert_eq!(shown(LOS_ANGELES, ""), SHOWN);
    assert_eq!(shown(LOS_ANGELES, UTC), STORED);
    assert_eq!(shown("UTC", ""), STORED);
}

#[test]
fn files_are_written_as_flink_writes_them() {
    let folder = tempfile::tempdir().expect("a folder");
    for options in ["", ", 'parquet.write.int64.timestamp' = 'true'"] {
        let path = folder.path().join(format!("t{}", options.len()));
        let path = path.display().to_string();
        let values = "(1, TIMESTAMP '2024-07-01 12:34:56.789', CAST(TIMESTAMP '2024-07-01 12:34:56.789' AS TIMESTAMP_LTZ(3)), \
             ROW(TIMESTAMP '2024-01-01 00:00:00.123'), ARRAY[TIMESTAMP '2024-01-01 00:00:00.123']), \
             (2, TIMESTAMP '2024-03-10 02:30:00.5', CAST(TIMESTAMP '2024-03-10 02:30:00' AS TIMESTAMP_LTZ(3)), \
             ROW(TIMESTAMP '2024-11-03 01:30:00.123'), ARRAY[TIMESTAMP '1965-01-01 00:00:00'])";
        let table = read(&path, options);
        let table = table.replace("SELECT * FROM t;", "");
        rows(
            LOS_ANGELES,
            folder.path(),
            &format!("{table} INSERT INTO t VALUES {values};"),
        );
        assert_eq!(rows(LOS_ANGELES, folder.path(), &read(&path, "")), SHOWN);
        assert_eq!(rows("UTC", folder.path(), &read(&path, "")), STORED);
        assert_eq!(rows(LOS_ANGELES, folder.path(), &read(&path, UTC)), STORED);
    }
}
