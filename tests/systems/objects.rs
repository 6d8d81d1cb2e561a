//! Tables and state in an object store.

use std::time::Duration;

use libtest_mimic::Failed;

use crate::flott::{Script, expect, rows};
use crate::s3::S3;
use crate::waiting::{pause, wait_for};

/// A test's name and body.
pub type Case = (&'static str, fn(&S3) -> Result<(), Failed>);

pub const CASES: &[Case] = &[
    ("a_table_is_written_and_read", a_table_is_written_and_read),
    ("nothing_is_found_aloud", nothing_is_found_aloud),
    ("overwritten_files_are_gone", overwritten_files_are_gone),
    ("large_files_come_in_parts", large_files_come_in_parts),
    ("small_files_are_compacted", small_files_are_compacted),
    (
        "partitions_are_marked_and_pruned",
        partitions_are_marked_and_pruned,
    ),
    ("kills_change_nothing", kills_change_nothing),
    ("a_savepoint_is_restored", a_savepoint_is_restored),
    ("the_later_process_goes_on", the_later_process_goes_on),
    (
        "jobs_are_asked_through_the_store",
        jobs_are_asked_through_the_store,
    ),
];

fn table(s3: &S3, name: &str, columns: &str, folder: &str, more: &str) -> String {
    let uri = s3.uri(folder);
    format!(
        "CREATE TABLE {name} ({columns}) WITH ('connector' = 'filesystem', 'path' = '{uri}', \
         'format' = 'json'{more});\n"
    )
}

fn a_table_is_written_and_read(s3: &S3) -> Result<(), Failed> {
    let start = s3.settings() + &table(s3, "t", "n INT, v STRING", "plain", "");
    rows(&format!("{start}INSERT INTO t VALUES (1, 'a'), (2, 'ü');"))?;
    rows(&format!(
        "{start}INSERT INTO t VALUES (3, CAST(NULL AS STRING));"
    ))?;
    let all = rows(&format!("{start}SELECT n, v FROM t;"))?;
    expect(all, ["1|a", "2|ü", "3|NULL"].map(str::to_string).to_vec())?;
    // What is known of a file is known when the path names it, too.
    let metadata = "path STRING METADATA FROM 'file.path', size BIGINT METADATA FROM 'file.size', \
                    at TIMESTAMP_LTZ(3) METADATA FROM 'file.modification-time'";
    let files = s3.settings() + &table(s3, "f", &format!("n INT, {metadata}"), "plain", "");
    let found = rows(&format!("{files}SELECT path FROM f WHERE n = 3;"))?;
    let path = found.first().ok_or("no file")?;
    let named = path.strip_prefix(&s3.uri("")).ok_or("another bucket")?;
    let one = s3.settings() + &table(s3, "f", &format!("n INT, {metadata}"), named, "");
    let facts = format!("{one}SELECT n, size > 5, at > TIMESTAMP '2020-01-01 00:00:00' FROM f;");
    expect(rows(&facts)?, vec!["3|TRUE|TRUE".to_string()])?;
    Ok(())
}

fn nothing_is_found_aloud(s3: &S3) -> Result<(), Failed> {
    let sql = s3.settings() + &table(s3, "t", "n INT", "nowhere", "") + "SELECT n FROM t;";
    match rows(&sql) {
        Err(error) if error.contains("nowhere") && error.contains("does not exist") => Ok(()),
        other => Err(format!("{other:?}").into()),
    }
}

fn overwritten_files_are_gone(s3: &S3) -> Result<(), Failed> {
    let start = s3.settings()
        + "SET 'execution.runtime-mode' = 'batch';\n"
        + &table(s3, "t", "n INT", "overwritten", "");
    rows(&format!("{start}INSERT INTO t VALUES (1), (2);"))?;
    rows(&format!("{start}INSERT OVERWRITE t VALUES (7);"))?;
    let all = rows(&format!("{start}SELECT n FROM t;"))?;
    expect(all, vec!["7".to_string()])?;
    Ok(())
}

/// More than one part in an upload, more than one piece in a read.
fn large_files_come_in_parts(s3: &S3) -> Result<(), Failed> {
    let start = s3.settings() + &table(s3, "t", "n BIGINT, v STRING", "large", "");
    let numbers = "CREATE TABLE g (n BIGINT) WITH ('connector' = 'datagen', \
                   'fields.n.kind' = 'sequence', 'fields.n.start' = '1', 'fields.n.end' = '20000');\n";
    let insert = "INSERT INTO t SELECT n, REPEAT('x', 1000) FROM g;";
    crate::flott::rows_with(&format!("{start}{numbers}{insert}"), &["-p", "1"])?;
    let sql = format!(
        "SET 'execution.runtime-mode' = 'batch';\n{start}\
         SELECT COUNT(*), SUM(n), SUM(CHAR_LENGTH(v)) FROM t;"
    );
    expect(rows(&sql)?, vec!["20000|200010000|20000000".to_string()])?;
    Ok(())
}

fn small_files_are_compacted(s3: &S3) -> Result<(), Failed> {
    let columns = "n INT, name STRING METADATA FROM 'file.name' VIRTUAL";
    let options = ", 'sink.rolling-policy.file-size' = '1 b', 'auto-compaction' = 'true', \
                   'compaction.file-size' = '1 mb'";
    let start = s3.settings() + &table(s3, "t", columns, "compacted", options);
    let insert = "INSERT INTO t SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3;";
    rows(&format!("{start}{insert}"))?;
    let all = rows(&format!(
        "{start}SELECT n, name LIKE 'compacted-part-%' FROM t;"
    ))?;
    expect(
        all,
        ["1|TRUE", "2|TRUE", "3|TRUE"].map(str::to_string).to_vec(),
    )?;
    Ok(())
}

fn partitions_are_marked_and_pruned(s3: &S3) -> Result<(), Failed> {
    let columns = "n INT, dt STRING, h INT";
    let options = ", 'sink.partition-commit.policy.kind' = 'success-file', \
                   'sink.partition-commit.trigger' = 'partition-time', \
                   'partition.time-extractor.timestamp-pattern' = '$dt $h:00:00', \
                   'partition.default-name' = 'none', 'auto-compaction' = 'true'";
    let partitioned = |name: &str, columns: &str, options: &str| {
        table(s3, name, columns, "parted", options)
            .replace(") WITH", ") PARTITIONED BY (dt, h) WITH")
    };
    let start = s3.settings() + &partitioned("t", columns, options);
    let values = "(1, '2024-06-01', 7), (2, '2024-06-01', 8), (3, '2024-06-02', 7)";
    rows(&format!("{start}INSERT INTO t VALUES {values};"))?;
    expect(
        rows(&format!(
            "{start}SELECT n FROM t WHERE dt = '2024-06-01' AND h = 8;"
        ))?,
        vec!["2".to_string()],
    )?;
    // The marks are hidden files, which a table that names one reads.
    for folder in [
        "dt=2024-06-01/h=7",
        "dt=2024-06-01/h=8",
        "dt=2024-06-02/h=7",
    ] {
        let mark = format!("parted/{folder}/_SUCCESS");
        let marks = s3.settings() + &table(s3, "marks", "n INT", &mark, "");
        expect(rows(&format!("{marks}SELECT n FROM marks;"))?, vec![])?;
    }
    let pattern = ", 'source.path.regex-pattern' = '.*/h=7/.*'";
    let chosen = s3.settings() + &partitioned("t", columns, pattern);
    expect(
        rows(&format!("{chosen}SELECT n FROM t;"))?,
        ["1", "3"].map(str::to_string).to_vec(),
    )?;
    Ok(())
}

/// Numbers from 1 on, forever, from one folder of the bucket into another one, with their state in
/// a third.
fn copying(s3: &S3, name: &str) -> String {
    let (from, to) = (format!("{name}/in"), format!("{name}/out"));
    s3.settings()
        + "SET 'execution.checkpointing.interval' = '300 ms';\n"
        + &table(
            s3,
            "a",
            "n BIGINT",
            &from,
            ", 'source.monitor-interval' = '200 ms'",
        )
        + &table(s3, "b", "n BIGINT, c BIGINT", &to, "")
        + "INSERT INTO b SELECT n, n * 2 FROM a;"
}

fn feed(s3: &S3, name: &str, numbers: std::ops::Range<i64>) -> Result<(), String> {
    let rows_of: Vec<String> = numbers.map(|n| format!("({n})")).collect();
    let folder = format!("{name}/in");
    let start = s3.settings() + &table(s3, "a", "n BIGINT", &folder, "");
    rows(&format!(
        "{start}INSERT INTO a VALUES {};",
        rows_of.join(", ")
    ))
    .map(drop)
}

/// What is visible of a copy: how many rows, how many different ones, and whether they are right.
fn copied(s3: &S3, name: &str) -> Result<String, String> {
    let folder = format!("{name}/out");
    let sql = format!(
        "SET 'execution.runtime-mode' = 'batch';\n{}{}\
         SELECT COUNT(*), COUNT(DISTINCT n), SUM(c) FROM b;",
        s3.settings(),
        table(s3, "b", "n BIGINT, c BIGINT", &folder, "")
    );
    match rows(&sql) {
        Err(error) if error.contains("does not exist") => Ok("0|0|NULL".into()),
        other => other.map(|rows| rows.concat()),
    }
}

fn complete(count: i64) -> String {
    format!("{count}|{count}|{}", count * (count + 1))
}

fn kills_change_nothing(s3: &S3) -> Result<(), Failed> {
    let script = Script::new(&copying(s3, "kills"));
    let state = s3.uri("kills/state");
    let arguments = ["-p", "2", "--name", "kills", "--state-dir", &state];
    for round in 0..4 {
        let mut running = script.start(&arguments);
        feed(s3, "kills", round * 50 + 1..round * 50 + 51)?;
        pause(Duration::from_millis(300 + 370 * round as u64));
        expect(running.is_running(), true).map_err(|_| script.errors())?;
        running.kill();
    }
    let mut running = script.start(&arguments);
    let is_there = wait_for(Duration::from_secs(60), || {
        !running.is_running() || copied(s3, "kills") == Ok(complete(200))
    });
    expect(is_there && running.is_running(), true).map_err(|_| script.errors())?;
    expect(running.interrupt(), true)?;
    expect(script.errors().contains("resuming"), true).map_err(|_| script.errors())?;
    expect(copied(s3, "kills")?, complete(200))?;
    Ok(())
}

/// A command about jobs and state, with what it takes to reach the bucket.
fn asked(s3: &S3, script: &Script, arguments: &[&str]) -> Result<String, String> {
    let defines = s3.defines();
    let defines = defines.iter().map(String::as_str);
    let arguments: Vec<&str> = arguments.iter().copied().chain(defines).collect();
    script.command_line(&arguments)
}

fn a_savepoint_is_restored(s3: &S3) -> Result<(), Failed> {
    let script = Script::new(&copying(s3, "saved"));
    let (state, savepoints) = (s3.uri("saved/state"), s3.uri("saved/points"));
    feed(s3, "saved", 1..51)?;
    let mut running = script.start(&["-p", "2", "--name", "saved", "--state-dir", &state]);
    let is_there = wait_for(Duration::from_secs(60), || {
        copied(s3, "saved") == Ok(complete(50))
    });
    expect(is_there, true).map_err(|_| script.errors())?;
    let stop = ["stop", "--name", "saved", "--state-dir", &state];
    let stop = [&stop[..], &["--savepoint", &savepoints]].concat();
    let stopped = asked(s3, &script, &stop)?;
    expect(
        wait_for(Duration::from_secs(30), || !running.is_running()),
        true,
    )?;
    let point = stopped
        .split_whitespace()
        .find(|word| word.starts_with(&savepoints))
        .ok_or_else(|| format!("no savepoint in: {stopped}"))?;
    feed(s3, "saved", 51..101)?;
    // Another name, other subtasks: only the savepoint says what was read.
    let state = s3.uri("saved/other");
    let arguments = ["-p", "1", "--name", "again", "--state-dir", &state];
    let from = ["--from-savepoint", point.trim_end_matches(['.', ','])];
    let mut running = script.start(&[&arguments[..], &from[..]].concat());
    let is_there = wait_for(Duration::from_secs(60), || {
        !running.is_running() || copied(s3, "saved") == Ok(complete(100))
    });
    expect(is_there && running.is_running(), true).map_err(|_| script.errors())?;
    expect(running.interrupt(), true)?;
    expect(copied(s3, "saved")?, complete(100))?;
    Ok(())
}

/// A second process of the same name takes the job over; the first one finds that out at its next
/// checkpoint and ends, and nothing is written twice.
fn the_later_process_goes_on(s3: &S3) -> Result<(), Failed> {
    let script = Script::new(&copying(s3, "fenced"));
    let state = s3.uri("fenced/state");
    let arguments = ["-p", "1", "--name", "fenced", "--state-dir", &state];
    feed(s3, "fenced", 1..51)?;
    let mut first = script.start(&arguments);
    let is_there = wait_for(Duration::from_secs(60), || {
        copied(s3, "fenced") == Ok(complete(50))
    });
    expect(is_there, true).map_err(|_| script.errors())?;
    let other = Script::new(&copying(s3, "fenced"));
    let mut second = other.start(&arguments);
    feed(s3, "fenced", 51..101)?;
    let is_over = wait_for(Duration::from_secs(60), || !first.is_running());
    expect(is_over, true).map_err(|_| format!("{}\n{}", script.errors(), other.errors()))?;
    let is_there = wait_for(Duration::from_secs(60), || {
        !second.is_running() || copied(s3, "fenced") == Ok(complete(100))
    });
    expect(is_there && second.is_running(), true).map_err(|_| other.errors())?;
    expect(second.interrupt(), true)?;
    expect(copied(s3, "fenced")?, complete(100))?;
    Ok(())
}

/// Every command about a running job, with a state folder in the bucket.
fn jobs_are_asked_through_the_store(s3: &S3) -> Result<(), Failed> {
    let script = Script::new(&copying(s3, "asked"));
    let (state, points) = (s3.uri("asked/state"), s3.uri("asked/points"));
    feed(s3, "asked", 1..51)?;
    let all = ["savepoint", "--all", "--state-dir", &state, "--to", &points];
    match asked(s3, &script, &all) {
        Err(told) if told.contains("NOT_RUNNING") => {}
        other => return Err(format!("{other:?}").into()),
    }
    let mut running = script.start(&["-p", "1", "--name", "shop", "--state-dir", &state]);
    let is_there = wait_for(Duration::from_secs(60), || {
        copied(s3, "asked") == Ok(complete(50))
    });
    expect(is_there, true).map_err(|_| script.errors())?;
    let jobs = ["jobs", "--state-dir", &state];
    let told = asked(s3, &script, &jobs)?;
    expect(told.contains("shop") && told.contains("running"), true).map_err(|_| told)?;
    let told = asked(s3, &script, &all)?;
    let point = told.trim().strip_prefix("shop: ").ok_or(told.clone())?;
    expect(point.starts_with(&points), true).map_err(|_| told.clone())?;
    let told = asked(s3, &script, &["state", "inspect", point])?;
    expect(told.contains("savepoint"), true).map_err(|_| told)?;
    let check = script.path();
    let told = asked(
        s3,
        &script,
        &["restore", "-p", "1", "--check", &check, "--from", point],
    )?;
    expect(told.contains("0 dropped, 0 refused"), true).map_err(|_| told)?;
    let sql = "SHOW JOBS; STOP JOB 'shop' WITH SAVEPOINT;";
    let set = format!("SET 'execution.checkpointing.savepoint-dir' = '{points}';");
    let told = script.command_line(&[
        "sql",
        "--state-dir",
        &state,
        "-e",
        &format!("{}{set}{sql}", s3.settings()),
    ])?;
    expect(
        told.contains("RUNNING") && told.contains("savepoint-shop"),
        true,
    )
    .map_err(|_| told)?;
    let has_ended = wait_for(Duration::from_secs(30), || !running.is_running());
    expect(has_ended, true).map_err(|_| script.errors())?;
    let told = asked(s3, &script, &jobs)?;
    expect(told.contains("stopped"), true).map_err(|_| told)?;
    match asked(
        s3,
        &script,
        &["stop", "--name", "shop", "--state-dir", &state],
    ) {
        Err(told) if told.contains("no process runs the job 'shop'") => Ok(()),
        other => Err(format!("{other:?}").into()),
    }
}
