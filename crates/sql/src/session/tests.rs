use std::sync::Arc;

use arrow::array::{Array, BooleanArray, StringViewArray};
use flott_core::clock::ManualClock;
use flott_core::connector::Registry;

use super::*;
use crate::parser::parse_script;

fn session() -> Session {
    let mut session = Session::new(Registry::default(), ManualClock::at_ms(0));
    session.set_option("table.local-time-zone", "UTC");
    session
}

fn run(session: &mut Session, script: &str) -> Result<StatementResult> {
    let mut last = StatementResult::ok("");
    for statement in parse_script(script)? {
        last = Ok(session.execute(&statement, 1)?);
    }
    last
}

fn ok(session: &mut Session, script: &str) {
    if let Err(e) = run(session, script) {
        panic!("{script}: {e}");
    }
}

fn refused(session: &mut Session, script: &str) -> String {
    match run(session, script) {
        Ok(result) => panic!("{script}: {result:?}"),
        Err(e) => e.message().to_string(),
    }
}

/// A result's rows, cells joined by ` | `.
fn rows(session: &mut Session, script: &str) -> Vec<String> {
    let result = run(session, script).unwrap_or_else(|e| panic!("{script}: {e}"));
    let StatementResult::Table { rows, .. } = result else {
        panic!("{script}: {result:?}");
    };
    let cell = |column: usize, row: usize| {
        let array = rows.column(column);
        if array.is_null(row) {
            return "NULL".to_string();
        }
        match array.as_any().downcast_ref::<StringViewArray>() {
            Some(texts) => texts.value(row).to_string(),
            None => {
                let truths = array.as_any().downcast_ref::<BooleanArray>();
                truths.map_or(String::new(), |t| t.value(row).to_string())
            }
        }
    };
    let line = |row| {
        let cells: Vec<_> = (0..rows.num_columns()).map(|c| cell(c, row)).collect();
        cells.join(" | ")
    };
    (0..rows.num_rows()).map(line).collect()
}

fn names(session: &mut Session, script: &str) -> Vec<String> {
    match run(session, script) {
        Ok(StatementResult::Table { schema, .. }) => {
            schema.columns().iter().map(|c| c.name.clone()).collect()
        }
        other => panic!("{other:?}"),
    }
}

const BIDS: &str = "CREATE TABLE bids (ts TIMESTAMP(3), price DECIMAL(10,2), item STRING, dbl AS price * 2, \
    `file.name` STRING NOT NULL METADATA, fsize BIGINT METADATA FROM 'file.size' VIRTUAL, \
    WATERMARK FOR ts AS ts - INTERVAL '1' SECOND) WITH ('connector' = 'none');";

#[test]
fn describe_shows_columns_as_flink_does() {
    let mut s = session();
    ok(&mut s, BIDS);
    assert_eq!(
        rows(&mut s, "DESCRIBE bids"),
        vec![
            "ts | TIMESTAMP(3) *ROWTIME* | true | NULL | NULL | `ts` - INTERVAL '1' SECOND",
            "price | DECIMAL(10, 2) | true | NULL | NULL | NULL",
            "item | STRING | true | NULL | NULL | NULL",
            "dbl | DECIMAL(21, 2) | true | NULL | AS `price` * 2 | NULL",
            "file.name | STRING | false | NULL | METADATA | NULL",
            "fsize | BIGINT | true | NULL | METADATA FROM 'file.size' VIRTUAL | NULL",
        ]
    );
    let expected = ["name", "type", "null", "key", "extras", "watermark"];
    assert_eq!(names(&mut s, "DESC EXTENDED bids"), expected);
    ok(
        &mut s,
        "CREATE TABLE k (id INT COMMENT 'the key', v STRING, PRIMARY KEY (id) NOT ENFORCED)",
    );
    assert_eq!(
        rows(&mut s, "DESCRIBE k"),
        vec![
            "id | INT | false | PRI(id) | NULL | NULL | the key",
            "v | STRING | true | NULL | NULL | NULL | NULL",
        ]
    );
    assert_eq!(rows(&mut s, "SHOW COLUMNS FROM k LIKE 'i%'").len(), 1);
}

#[test]
fn tables_are_checked_when_they_are_created() {
    let mut s = session();
    for (statement, part) in [
        ("CREATE TABLE t (a INT, a STRING)", "'a' already exists"),
        (
            "CREATE TABLE t (a STRING, WATERMARK FOR a AS a)",
            "but 'a' is STRING",
        ),
        (
            "CREATE TABLE t (a TIMESTAMP(6), WATERMARK FOR a AS a)",
            "from 0 to 3",
        ),
        (
            "CREATE TABLE t (tss TIMESTAMP(3), WATERMARK FOR ts AS tss)",
            "did you mean 'tss'",
        ),
        (
            "CREATE TABLE t (a INT, PRIMARY KEY (b) NOT ENFORCED)",
            "'b' is not a column",
        ),
        ("CREATE TABLE t (a INT, PRIMARY KEY (a))", "NOT ENFORCED"),
        ("CREATE TABLE t (a INT, UNIQUE (a) NOT ENFORCED)", "UNIQUE"),
        (
            "CREATE TABLE t (a INT, b AS a + 1, PRIMARY KEY (b) NOT ENFORCED)",
            "not a physical column",
        ),
        (
            "CREATE TABLE t (a INT) PARTITIONED BY (z)",
            "'z' is not a column",
        ),
        (
            "CREATE TABLE t (a INT, b AS nope + 1)",
            "computed column 'b'",
        ),
        ("CREATE TABLE no.t (a INT)", "'no' does not exist"),
    ] {
        let message = refused(&mut s, statement);
        assert!(message.contains(part), "{statement}: {message}");
    }
    // A connector is looked for when the table is used.
    ok(
        &mut s,
        "CREATE TABLE x1 (a INT) WITH ('connector' = 'nope'); CREATE TABLE x2 (a INT)",
    );
    assert!(refused(&mut s, "CREATE TABLE x1 (a INT)").contains("already exists"));
    ok(
        &mut s,
        "CREATE TABLE IF NOT EXISTS x1 (b INT); CREATE TEMPORARY TABLE x1 (c INT)",
    );
    assert!(rows(&mut s, "DESCRIBE x1")[0].starts_with("c |"));
    assert!(refused(&mut s, "DROP TABLE x1").contains("temporary"));
    ok(
        &mut s,
        "DROP TEMPORARY TABLE x1; DROP TABLE x1; DROP TABLE IF EXISTS x1",
    );
    assert!(refused(&mut s, "DROP TABLE x1").contains("does not exist; did you mean 'x2'?"));
}

#[test]
fn like_takes_over_what_it_is_told_to() {
    let mut s = session();
    ok(&mut s, BIDS);
    ok(
        &mut s,
        "CREATE TABLE b2 (extra INT) WITH ('connector' = 'other', 'x' = '1') LIKE bids",
    );
    let text = rows(&mut s, "SHOW CREATE TABLE b2").join("\n");
    assert!(
        text.contains("'connector' = 'other'") && text.contains("WATERMARK FOR `ts`"),
        "{text}"
    );
    assert!(text.contains("`extra` INT"), "{text}");
    ok(
        &mut s,
        "CREATE TABLE b3 WITH ('k' = 'v') LIKE bids (EXCLUDING ALL INCLUDING WATERMARKS)",
    );
    assert_eq!(rows(&mut s, "DESCRIBE b3").len(), 3);
    let message = refused(&mut s, "CREATE TABLE b4 (item STRING) LIKE bids");
    assert!(
        message.contains("'item' already exists in the base table"),
        "{message}"
    );
    let message = refused(
        &mut s,
        "CREATE TABLE b4 WITH ('connector' = 'x') LIKE bids (INCLUDING OPTIONS)",
    );
    assert!(message.contains("OVERWRITING OPTIONS"), "{message}");
}

#[test]
fn show_create_table_has_flinks_layout() {
    let mut s = session();
    ok(
        &mut s,
        "CREATE TABLE t (id BIGINT, name STRING COMMENT 'it''s', up AS UPPER(name), ts TIMESTAMP(3), \
         WATERMARK FOR ts AS ts, PRIMARY KEY (id) NOT ENFORCED) COMMENT 'c' PARTITIONED BY (name) \
         WITH ('b' = '2', 'a' = '1')",
    );
    let expected = "CREATE TABLE `default_catalog`.`default_database`.`t` (\n  \
        `id` BIGINT NOT NULL,\n  `name` VARCHAR(2147483647) COMMENT 'it''s',\n  \
        `up` AS UPPER(`name`),\n  `ts` TIMESTAMP(3),\n  WATERMARK FOR `ts` AS `ts`,\n  \
        CONSTRAINT `PK_id` PRIMARY KEY (`id`) NOT ENFORCED\n)\nCOMMENT 'c'\nPARTITIONED BY (`name`)\n\
        WITH (\n  'a' = '1',\n  'b' = '2'\n)\n";
    assert_eq!(rows(&mut s, "SHOW CREATE TABLE t"), vec![expected]);
    // What is shown makes the same table again.
    ok(&mut s, "DROP TABLE t");
    ok(&mut s, expected);
    assert_eq!(rows(&mut s, "SHOW CREATE TABLE t"), vec![expected]);
}

#[test]
fn views_keep_their_meaning_in_other_databases() {
    let mut s = session();
    ok(&mut s, BIDS);
    ok(
        &mut s,
        "CREATE VIEW v (a, b) AS WITH c AS (SELECT item, price FROM bids) SELECT * FROM c",
    );
    ok(&mut s, "CREATE DATABASE d; USE d");
    let described = rows(&mut s, "DESCRIBE default_database.v");
    assert!(described[0].starts_with("a | STRING"), "{described:?}");
    assert!(
        described[1].starts_with("b | DECIMAL(10, 2)"),
        "{described:?}"
    );
    ok(&mut s, "USE default_database");
    assert_eq!(rows(&mut s, "SHOW VIEWS"), vec!["v"]);
    let text = rows(&mut s, "SHOW CREATE VIEW v").join("\n");
    assert!(
        text.contains("FROM `default_catalog`.`default_database`.`bids`"),
        "{text}"
    );
    assert!(refused(&mut s, "CREATE VIEW w AS SELECT nope FROM bids").contains("nope"));
    assert!(refused(&mut s, "CREATE VIEW w (a) AS SELECT 1, 2").contains("names 1 columns"));
    assert!(refused(&mut s, "DROP TABLE v").contains("there is a view of this name"));
    ok(
        &mut s,
        "ALTER VIEW v RENAME TO w; ALTER VIEW w AS SELECT 1 AS x; DROP VIEW w",
    );
}

#[test]
fn catalogs_and_databases_come_and_go() {
    let mut s = session();
    assert_eq!(
        rows(&mut s, "SHOW CURRENT CATALOG"),
        vec!["default_catalog"]
    );
    assert_eq!(
        rows(&mut s, "SHOW CURRENT DATABASE"),
        vec!["default_database"]
    );
    assert!(refused(&mut s, "USE CATALOG nope").contains("'nope' does not exist"));
    assert!(refused(&mut s, "CREATE CATALOG c").contains("'type'"));
    ok(
        &mut s,
        "CREATE CATALOG c WITH ('type' = 'generic_in_memory'); USE CATALOG c",
    );
    assert_eq!(rows(&mut s, "SHOW CATALOGS"), vec!["c", "default_catalog"]);
    ok(
        &mut s,
        "CREATE DATABASE d COMMENT 'x' WITH ('k' = 'v'); CREATE TABLE d.t (a INT)",
    );
    assert_eq!(rows(&mut s, "SHOW TABLES FROM c.d"), vec!["t"]);
    assert_eq!(
        rows(&mut s, "SHOW DATABASES LIKE 'd_'"),
        Vec::<String>::new()
    );
    assert_eq!(
        rows(&mut s, "DESCRIBE DATABASE EXTENDED d"),
        vec!["Name | d", "Comment | x", "Properties | ((k,v))"]
    );
    assert!(refused(&mut s, "DROP DATABASE d").contains("not empty"));
    ok(
        &mut s,
        "ALTER DATABASE d SET ('k' = 'w'); DROP DATABASE d CASCADE",
    );
    assert!(refused(&mut s, "DROP CATALOG c").contains("in use"));
    ok(
        &mut s,
        "USE default_catalog.default_database; DROP CATALOG c",
    );
}

#[test]
fn alter_table_changes_what_it_names() {
    let mut s = session();
    ok(
        &mut s,
        "CREATE TABLE t (a INT, b STRING, ts TIMESTAMP(3)) WITH ('x' = '1', 'y' = '2')",
    );
    ok(
        &mut s,
        "ALTER TABLE t SET ('x' = '3', 'z' = '4'); ALTER TABLE t RESET ('y'); ALTER TABLE t RENAME b TO c;
         ALTER TABLE t ADD (d BIGINT FIRST, e AS a + 1 AFTER a); ALTER TABLE t ADD WATERMARK FOR ts AS ts;
         ALTER TABLE t ADD PRIMARY KEY (d) NOT ENFORCED; ALTER TABLE t MODIFY c VARCHAR(3);
         ALTER TABLE t RENAME TO u",
    );
    let described = rows(&mut s, "DESCRIBE u");
    let starts: Vec<_> = described
        .iter()
        .map(|r| r.split(" | ").take(2).collect::<Vec<_>>().join(" "))
        .collect();
    assert_eq!(
        starts,
        vec![
            "d BIGINT",
            "a INT",
            "e INT",
            "c VARCHAR(3)",
            "ts TIMESTAMP(3) *ROWTIME*"
        ]
    );
    assert!(refused(&mut s, "ALTER TABLE u DROP a").contains("computed column 'e'"));
    assert!(refused(&mut s, "ALTER TABLE u DROP nope").contains("no column 'nope'"));
    ok(
        &mut s,
        "ALTER TABLE u DROP (e, c); ALTER TABLE u DROP WATERMARK; ALTER TABLE u DROP PRIMARY KEY;
         ALTER TABLE IF EXISTS nope SET ('a' = 'b')",
    );
    assert_eq!(rows(&mut s, "DESCRIBE u").len(), 3);
    assert!(refused(&mut s, "ALTER TABLE nope SET ('a' = 'b')").contains("not found"));
}

#[test]
fn configuration_is_set_reset_and_listed() {
    let mut s = session();
    ok(
        &mut s,
        "SET 'execution.runtime-mode' = 'batch'; SET 'table.local-time-zone' = 'Asia/Tokyo'",
    );
    assert!(s.is_batch());
    assert_eq!(s.time_zone().name(), "Asia/Tokyo");
    assert_eq!(
        rows(&mut s, "SET"),
        vec![
            "execution.runtime-mode | batch",
            "table.local-time-zone | Asia/Tokyo"
        ]
    );
    let Ok(StatementResult::Ok { message }) = run(&mut s, "SET 'table.exec.state.tll' = '1 h'")
    else {
        panic!("no message");
    };
    assert!(
        message.contains("did you mean 'table.exec.state.ttl'?"),
        "{message}"
    );
    assert!(refused(&mut s, "SET 'execution.runtime-mode' = 'fast'").contains("STREAMING"));
    ok(&mut s, "RESET 'execution.runtime-mode'");
    assert!(!s.is_batch());
    ok(&mut s, "SET 'parallelism.default' = '4'");
    assert_eq!(s.parallelism().unwrap(), Some(4));
    assert_eq!(s.max_parallelism().unwrap(), 128);
    ok(&mut s, "SET 'pipeline.max-parallelism' = '16'");
    assert_eq!(s.max_parallelism().unwrap(), 16);
    ok(&mut s, "SET 'pipeline.max-parallelism' = '40000'");
    assert_eq!(s.max_parallelism().unwrap_err().code(), "INVALID_OPTION");
    ok(&mut s, "RESET");
    assert!(s.config().is_empty());
}

#[test]
fn functions_fail_when_they_are_used() {
    let mut s = session();
    ok(&mut s, "CREATE FUNCTION f AS 'no.such.Class'");
    assert!(refused(&mut s, "SELECT f(1)").contains("no.such.Class"));
    assert_eq!(rows(&mut s, "SHOW USER FUNCTIONS"), vec!["f"]);
    assert!(rows(&mut s, "SHOW FUNCTIONS LIKE 'upp%'").contains(&"upper".to_string()));
    ok(&mut s, "DROP FUNCTION f; DROP FUNCTION IF EXISTS f");
    assert!(refused(&mut s, "DROP FUNCTION f").contains("does not exist"));
}

#[test]
fn what_is_not_supported_says_so() {
    let mut s = session();
    ok(&mut s, BIDS);
    for statement in [
        "UPDATE bids SET item = 'x'",
        "DELETE FROM bids WHERE item = 'x'",
        "TRUNCATE TABLE bids",
        "ANALYZE TABLE bids COMPUTE STATISTICS",
        "CALL p(1)",
        "COMPILE PLAN 'f' FOR INSERT INTO t SELECT 1",
        "CREATE MODEL m WITH ('a' = 'b')",
        "ALTER TABLE bids ADD PARTITION (a = 'b')",
    ] {
        let message = refused(&mut s, statement);
        assert!(message.contains("not supported"), "{statement}: {message}");
    }
    ok(
        &mut s,
        "ADD JAR 'x.jar'; REMOVE JAR 'x.jar'; USE MODULES core",
    );
    assert_eq!(rows(&mut s, "SHOW JARS"), Vec::<String>::new());
    assert_eq!(rows(&mut s, "SHOW FULL MODULES"), vec!["core | true"]);
}

#[test]
fn errors_stand_where_the_script_is_wrong() {
    let mut s = session();
    let script = "CREATE TABLE t (a INT);\nSELECT a,\n  nope FROM t";
    let error = run(&mut s, script).unwrap_err();
    let place = error.location().map(|l| (l.line, l.column));
    assert_eq!(place, Some((3, 3)), "{error}");
}

#[test]
fn show_partitions_wants_a_partitioned_table() {
    let mut s = session();
    ok(
        &mut s,
        "CREATE TABLE p (a INT, b INT) PARTITIONED BY (b); CREATE TABLE q (a INT)",
    );
    assert_eq!(names(&mut s, "SHOW PARTITIONS p"), vec!["partition name"]);
    assert!(refused(&mut s, "SHOW PARTITIONS q").contains("not a partitioned table"));
}

#[test]
fn a_session_can_be_shared_between_threads() {
    fn is_send<T: Send>() {}
    is_send::<Session>();
    let _ = Arc::new(session());
}
