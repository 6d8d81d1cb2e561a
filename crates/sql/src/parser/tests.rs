use super::ast::*;
use super::*;

fn one(text: &str) -> Statement {
    parse_script(text)
        .unwrap_or_else(|e| panic!("{text}: {e} at {:?}", e.location()))
        .remove(0)
        .statement
}

fn error(text: &str) -> String {
    match parse_script(text) {
        Ok(parsed) => panic!("{text}: {parsed:?}"),
        Err(e) => {
            let at = e.location().expect("a place");
            format!("{}:{} {}", at.line, at.column, e.message())
        }
    }
}

/// The canonical text of an expression, which must parse again to the same text.
fn canonical_of(text: &str) -> String {
    let shown = |text: &str| match one(&format!("CREATE TABLE t (x AS {text})")) {
        Statement::CreateTable(t) => match &t.elements.columns[0].kind {
            ColumnDefKind::Computed(e) => e.text.clone(),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    };
    let first = shown(text);
    assert_eq!(shown(&first), first);
    first
}

#[test]
fn expressions_of_flink_parse() {
    let mut wrong = Vec::<String>::new();
    for text in [
        "CAST(x AS ROW<a INT NOT NULL, b ARRAY<STRING>>)",
        "TRY_CAST(x AS TIMESTAMP(3) WITH LOCAL TIME ZONE)",
        "CAST(NULL AS MAP<STRING, INT>)",
        "MAP['k', 1]['k']",
        "MAP['k', 1, 'l', 2]",
        "ARRAY[1, 2, 3][4]",
        "ROW(1, 'a').f0",
        "(1, 2)",
        "r.a.b[1].c",
        "`t`.`a b`.c",
        "INTERVAL '1 02:03:04.5' DAY TO SECOND",
        "INTERVAL '1-2' YEAR TO MONTH",
        "INTERVAL '10' DAY(3)",
        "INTERVAL '1.5' SECOND(2, 3)",
        "INTERVAL '90' MINUTE",
        "ts - INTERVAL '5' SECOND",
        "(a - b) DAY TO SECOND",
        "(a - b) MONTH > INTERVAL '2' MONTH",
        "DATE '2024-01-31'",
        "TIME '12:00:00'",
        "TIMESTAMP '2024-01-31 12:00:00.123'",
        "TIMESTAMP_LTZ '2024-01-31 12:00:00'",
        "TIMESTAMPADD(DAY, 1, ts)",
        "TIMESTAMPDIFF(SECOND, a, b)",
        "EXTRACT(YEAR FROM ts)",
        "EXTRACT(DOW FROM ts)",
        "EXTRACT(ISOYEAR FROM ts)",
        "FLOOR(ts TO DAY)",
        "CEIL(ts TO MONTH)",
        "CEILING(x)",
        "FLOOR(x)",
        "POSITION('a' IN b)",
        "TRIM(BOTH 'x' FROM s)",
        "TRIM(LEADING FROM s)",
        "TRIM('x' FROM s)",
        "TRIM(s)",
        "OVERLAY(s PLACING 'x' FROM 1 FOR 2)",
        "SUBSTRING(s FROM 2 FOR 3)",
        "SUBSTRING(s, 2)",
        "SUBSTR(s, 2, 3)",
        "a IS DISTINCT FROM b",
        "a IS NOT DISTINCT FROM b",
        "a IS NOT TRUE",
        "a IS UNKNOWN",
        "a IS NOT UNKNOWN",
        "a IS JSON",
        "a IS NOT JSON ARRAY",
        "a IS JSON VALUE",
        "a IS JSON SCALAR",
        "a SIMILAR TO 'x%'",
        "a NOT SIMILAR TO 'x%' ESCAPE '!'",
        "a BETWEEN SYMMETRIC 2 AND 1 AND b",
        "a NOT BETWEEN SYMMETRIC 2 AND 1",
        "a BETWEEN ASYMMETRIC 1 AND 2 OR b",
        "(a, b) OVERLAPS (c, d)",
        "a LIKE 'x!_' ESCAPE '!'",
        "a NOT LIKE 'x'",
        "JSON_VALUE(x, '$.a')",
        "JSON_VALUE(x, '$.a' RETURNING INT NULL ON EMPTY DEFAULT -1 ON ERROR)",
        "JSON_VALUE(x, 'lax $.a' RETURNING STRING)",
        "JSON_VALUE(x, '$.a' DEFAULT 'q' ON EMPTY ERROR ON ERROR)",
        "JSON_QUERY(x, '$.a' WITH CONDITIONAL ARRAY WRAPPER EMPTY OBJECT ON ERROR)",
        "JSON_QUERY(x, '$.a' RETURNING ARRAY<STRING> WITHOUT ARRAY WRAPPER)",
        "JSON_QUERY(x, '$.a' WITH WRAPPER)",
        "JSON_EXISTS(x, '$.a' TRUE ON ERROR)",
        "JSON_EXISTS(x, '$.a')",
        "JSON_OBJECT()",
        "JSON_OBJECT(KEY 'a' VALUE 1, 'b' VALUE x NULL ON NULL)",
        "JSON_OBJECT('a' VALUE JSON_ARRAY(1, 2 ABSENT ON NULL) ABSENT ON NULL)",
        "JSON_OBJECT(KEY 'a' VALUE NULL NULL ON NULL)",
        "JSON_ARRAY()",
        "JSON_ARRAY(1, 'x', JSON_OBJECT('k' VALUE 2) NULL ON NULL)",
        "JSON_STRING(x)",
        "CASE WHEN a > 1 THEN 'x' ELSE 'y' END",
        "a IN (1, 2)",
        "(a, b) IN ((1, 2))",
        "a NOT IN (SELECT b FROM t)",
        "EXISTS (SELECT 1 FROM t)",
        "x'0AFF'",
        "U&'\\00e4'",
        "'it''s'",
        "-1",
        "1e3",
        "1.5E-2",
        ".5",
        "a || b",
        "a <> b",
        "a != b",
        "a % 2",
        "NOT a AND b",
        "CURRENT_TIMESTAMP",
        "LOCALTIMESTAMP",
        "CURRENT_DATE",
        "PROCTIME()",
        "IF(a, 1, 2)",
        "LEFT(s, 2)",
        "RIGHT(s, 2)",
        "REPLACE(s, 'a', 'b')",
        "TRUNCATE(1.5, 0)",
        "CONVERT_TZ(s, 'UTC', 'Europe/Berlin')",
        "YEAR(d)",
        "QUARTER(d)",
        "MOD(a, 2)",
        "cat.db.func(1)",
        "ELEMENT(ARRAY[1])",
        "CARDINALITY(a)",
        "ASCII(s)",
        "`select`",
        "ARRAY[ROW(1, 'a')]",
        "MULTISET[1, 2]",
        "COALESCE(a, b)",
        "GREATEST(1, 2)",
        "TO_TIMESTAMP_LTZ(x, 3)",
        "x AT TIME ZONE 'UTC'",
    ] {
        let query = format!("SELECT {text} AS c, 1 FROM t WHERE {text} IS NOT NULL");
        match parse_expression(text).and_then(|_| parse_script(&query)) {
            Ok(_) => drop(canonical_of(text)),
            Err(e) => wrong.push(format!("{text}: {e}")),
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn queries_of_flink_parse() {
    let mut wrong = Vec::<String>::new();
    for text in [
        "SELECT * FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '10' SECOND))",
        "SELECT * FROM TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '10' SECOND, INTERVAL '1' SECOND) AS w",
        "SELECT * FROM TABLE(TUMBLE(DATA => TABLE t, TIMECOL => DESCRIPTOR(ts), SIZE => INTERVAL '10' MINUTES))",
        "SELECT * FROM TABLE(HOP(TABLE c.d.t, DESCRIPTOR(`ts`), INTERVAL '5' SECOND, INTERVAL '10' SECOND))",
        "SELECT * FROM TABLE(SESSION(TABLE t PARTITION BY k, DESCRIPTOR(ts), INTERVAL '5' SECOND))",
        "SELECT * FROM TABLE(SESSION(TABLE t PARTITION BY (k, l) ORDER BY ts DESC, DESCRIPTOR(ts), INTERVAL '5' SECOND))",
        "SELECT * FROM f(input => TABLE t /*+ OPTIONS('a'='b') */ PARTITION BY k, uid => 'x')",
        "SELECT * FROM ML_PREDICT(TABLE t, MODEL m, DESCRIPTOR(c))",
        "SELECT a, w FROM t, LATERAL TABLE(SPLIT(a)) AS s(w)",
        "SELECT a, w FROM t LEFT JOIN LATERAL TABLE(SPLIT(a)) AS s(w) ON TRUE",
        "SELECT * FROM t CROSS JOIN UNNEST(x) WITH ORDINALITY AS u(a, b)",
        "SELECT * FROM t CROSS JOIN UNNEST(t.x) AS u",
        "SELECT a, COUNT(*) FROM t GROUP BY GROUPING SETS ((a, b), (a), ())",
        "SELECT a FROM t GROUP BY ROLLUP (a, b)",
        "SELECT a FROM t GROUP BY CUBE (a, b), c",
        "SELECT COUNT(*) FILTER (WHERE a > 1), COUNT(DISTINCT b) FILTER (WHERE c) FROM t",
        "SELECT SUM(a) OVER (PARTITION BY b ORDER BY ts RANGE BETWEEN INTERVAL '1' HOUR PRECEDING AND CURRENT ROW) FROM t",
        "SELECT SUM(a) OVER w, COUNT(*) OVER w FROM t WINDOW w AS (PARTITION BY b ORDER BY ts ROWS BETWEEN 2 PRECEDING AND CURRENT ROW)",
        "SELECT LISTAGG(a, ',') FROM t",
        "SELECT LAG(a, 1, 0) IGNORE NULLS OVER (ORDER BY ts) FROM t",
        "SELECT a, ROW_NUMBER() OVER (PARTITION BY b ORDER BY c DESC NULLS LAST) AS rn FROM t QUALIFY rn <= 3",
        "SELECT o.*, r.rate FROM orders AS o LEFT JOIN rates FOR SYSTEM_TIME AS OF o.ts AS r ON o.c = r.c",
        "SELECT o.*, r.rate FROM o JOIN r /*+ OPTIONS('k'='v') */ FOR SYSTEM_TIME AS OF o.proctime ON o.c = r.c",
        "SELECT /*+ STATE_TTL('t'='1d'), BROADCAST(a, b) */ DISTINCT a FROM t /*+ OPTIONS('k'='v', 'l'='w') */ AS x",
        "VALUES (1, 'a'), (2, 'b')",
        "VALUES 1, 2 + 3, ARRAY[4, 5] UNION ALL VALUES ROW(1)",
        "SELECT * FROM (VALUES 1, (2)) AS t(a)",
        "SELECT * FROM (VALUES (1), (2)) AS t(a)",
        "WITH a AS (SELECT 1 AS x), b(y) AS (SELECT x FROM a) SELECT * FROM b UNION ALL SELECT * FROM a",
        "(SELECT 1) INTERSECT ALL (SELECT 2) EXCEPT SELECT 3",
        "SELECT * FROM t ORDER BY a DESC, b LIMIT 10 OFFSET 5",
        "SELECT * FROM t ORDER BY a OFFSET 5 ROWS FETCH NEXT 3 ROWS ONLY",
        "SELECT * FROM t FETCH FIRST ROW ONLY",
        "SELECT * FROM a JOIN b USING (x) NATURAL JOIN c",
        "SELECT * FROM a FULL OUTER JOIN b ON a.x = b.x RIGHT JOIN c ON TRUE",
        "SELECT * FROM a JOIN b",
        "SELECT `a b`, t.`c` FROM `my cat`.`db`.`t` AS t",
        "SELECT a format, b AS \u{e4}, c top FROM t sample",
        "SELECT t.r.* FROM t",
        "SELECT * FROM ticker MATCH_RECOGNIZE (PARTITION BY s ORDER BY ts MEASURES FIRST(A.p) AS f, LAST(A.p, 1) AS l \
         ONE ROW PER MATCH AFTER MATCH SKIP TO LAST A PATTERN (A+? B{2,3} C{1,} D{,4}? E*? F??) WITHIN INTERVAL '1' HOUR \
         DEFINE A AS A.p > 1, B AS B.p < PREV(B.p)) AS m",
        "SELECT * FROM t MATCH_RECOGNIZE (ORDER BY ts MEASURES A.x AS x AFTER MATCH SKIP PAST LAST ROW PATTERN ((A B)* C) DEFINE A AS TRUE)",
        "SELECT JSON_OBJECTAGG(KEY k VALUE v ABSENT ON NULL), JSON_ARRAYAGG(v NULL ON NULL) FILTER (WHERE v > 1) FROM t",
        "SELECT TUMBLE_START(ts, INTERVAL '1' MINUTE) FROM t GROUP BY TUMBLE(ts, INTERVAL '1' MINUTE)",
        "TABLE t",
        "SELECT DISTINCT a FROM t",
        "SELECT ALL a FROM t",
        "SELECT a, b FROM t WHERE (a, b) = (1, 2)",
    ] {
        if let Err(e) = parse_script(text).and_then(|_| parse_script(&format!("EXPLAIN {text}"))) {
            wrong.push(format!("{text}: {e} {:?}", e.location()));
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn statements_of_flink_parse() {
    let mut wrong = Vec::<String>::new();
    for text in [
        "CREATE TABLE IF NOT EXISTS c.d.t (a INT PRIMARY KEY NOT ENFORCED, b STRING NOT NULL COMMENT 'x') COMMENT 'c' DISTRIBUTED BY HASH(a) INTO 4 BUCKETS PARTITIONED BY (b) WITH ()",
        "CREATE TEMPORARY TABLE t (m TIMESTAMP_LTZ(3) METADATA FROM 'timestamp' VIRTUAL, p AS PROCTIME() COMMENT 'p', CONSTRAINT pk PRIMARY KEY (a, b) NOT ENFORCED) DISTRIBUTED INTO 3 BUCKETS",
        "CREATE TABLE t (a, b) WITH ('k'='v') AS SELECT 1 AS b, 2 AS a",
        "CREATE OR REPLACE TABLE t AS SELECT 1",
        "CREATE TABLE t (x INT) LIKE c.s (INCLUDING ALL EXCLUDING OPTIONS OVERWRITING WATERMARKS)",
        "CREATE TEMPORARY VIEW IF NOT EXISTS v (a, b) COMMENT 'x' AS SELECT 1, 2",
        "CREATE OR REPLACE VIEW v AS VALUES (1)",
        "CREATE CATALOG IF NOT EXISTS c COMMENT 'x' WITH ('type'='generic_in_memory')",
        "CREATE DATABASE c.d WITH ('k'='v')",
        "CREATE TEMPORARY SYSTEM FUNCTION IF NOT EXISTS f AS 'a.b.C' LANGUAGE JAVA USING JAR '/x.jar', JAR '/y.jar'",
        "DROP TEMPORARY TABLE IF EXISTS t",
        "DROP DATABASE IF EXISTS d RESTRICT",
        "ALTER TABLE t ADD (a INT COMMENT 'x' FIRST, WATERMARK FOR ts AS ts, PRIMARY KEY (a) NOT ENFORCED)",
        "ALTER TABLE t MODIFY WATERMARK FOR ts AS ts - INTERVAL '2' SECOND",
        "ALTER TABLE t DROP CONSTRAINT pk",
        "USE MODULES a, b",
        "INSERT INTO t /*+ OPTIONS('a'='b') */ PARTITION (p = 'x', d = DATE '2024-01-01', n = -1, q) (a, b) SELECT 1, 2",
        "INSERT OVERWRITE t (SELECT 1)",
        "INSERT INTO t VALUES (1, 'a'), (2, NULL)",
        "INSERT INTO t (a) VALUES (1) ON CONFLICT DO NOTHING",
        "INSERT INTO t SELECT * FROM s ON CONFLICT DO DEDUPLICATE",
        "EXECUTE STATEMENT SET BEGIN INSERT INTO a SELECT 1; INSERT INTO b SELECT 2; END",
        "BEGIN STATEMENT SET; INSERT INTO a SELECT 1; END",
        "EXECUTE INSERT INTO a SELECT 1",
        "EXECUTE SELECT 1",
        "EXPLAIN PLAN FOR SELECT 1",
        "EXPLAIN CHANGELOG_MODE, ESTIMATED_COST INSERT INTO a SELECT 1",
        "EXPLAIN STATEMENT SET BEGIN INSERT INTO a SELECT 1; END",
        "EXPLAIN CREATE TABLE t AS SELECT 1",
        "SHOW TABLES IN c.d NOT LIKE 'a%'",
        "SHOW FUNCTIONS FROM d ILIKE 'A_'",
        "SHOW COLUMNS IN t",
        "SHOW PARTITIONS t PARTITION (a = 'b')",
        "DESCRIBE CATALOG EXTENDED c",
        "DESC FUNCTION f",
        "DESCRIBE catalog",
        "SET 'a' = 'b'",
        "SET",
        "RESET 'a'",
        "SHOW CREATE CATALOG c",
    ] {
        if let Err(e) = parse_script(text) {
            wrong.push(format!("{text}: {e} {:?}", e.location()));
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn errors_name_the_token_its_place_and_a_suggestion() {
    for (text, place, part) in [
        (
            "SELECT 1;\nSELEC 1",
            "2:1 ",
            "'SELEC' does not begin a statement; did you mean 'SELECT'?",
        ),
        (
            "SELECT * FORM t",
            "1:10 ",
            "unexpected 'FORM'; expected the end",
        ),
        ("SELECT * FORM t", "1:10 ", "did you mean 'FROM'?"),
        ("SELECT 1 +", "1:", "the statement ends too early; expected"),
        (
            "CREATE TABLE t (a STRNG)",
            "1:19 ",
            "expected a data type; did you mean 'STRING'?",
        ),
        (
            "SELECT a::INT FROM t",
            "1:9 ",
            "'::' is no operator of Flink SQL; use CAST(x AS type)",
        ),
        ("SELECT \"a\"", "1:8 ", "names in `backticks`"),
        ("SET a = b", "1:5 ", "expected SET 'key' = 'value'"),
        ("CREATE TABLE t (a)", "1:", "column 'a' has no type"),
        ("SELECT 'abc", "1:8 ", "nterminated string"),
    ] {
        let error = error(text);
        assert!(error.starts_with(place), "{text}: {error}");
        assert!(error.contains(part), "{text}: {error}");
    }
    let deep = format!("SELECT {}1{}", "(".repeat(3000), ")".repeat(3000));
    assert!(
        error(&deep).contains("nested too deeply"),
        "{}",
        error(&deep)
    );
}

#[test]
fn wrong_statements_count_and_do_not_hide_others() {
    let parsed = parse_script_tolerant("SELECT 1; SELEC 2;; -- none\n; SELECT 3");
    let indexes: Vec<_> = parsed
        .iter()
        .map(|p| match p {
            Ok(p) => (p.index, true),
            Err(f) => (f.index, false),
        })
        .collect();
    assert_eq!(indexes, vec![(1, true), (2, false), (3, true)]);
    assert!(is_complete("SELECT 1;") && !is_complete("SELECT 1") && !is_complete("SELECT ';"));
}

#[test]
fn declarations_keep_their_expressions_as_flink_shows_them() {
    assert_eq!(canonical_of("price*2"), "`price` * 2");
    assert_eq!(canonical_of("lower( item )"), "LOWER(`item`)");
    assert_eq!(
        canonical_of("ts - interval '1' second"),
        "`ts` - INTERVAL '1' SECOND"
    );
    assert_eq!(canonical_of("r.a.b || 'it''s'"), "`r`.`a`.`b` || 'it''s'");
    assert_eq!(
        canonical_of("timestampdiff(day, a, b)"),
        "TIMESTAMPDIFF(DAY, `a`, `b`)"
    );
    assert_eq!(canonical_of("proctime()"), "PROCTIME()");
    assert_eq!(
        canonical_of("case when a in (1,2) then `b c` end"),
        "CASE WHEN `a` IN (1, 2) THEN `b c` END"
    );
    assert_eq!(canonical_of("m['k'][1]"), "`m`['k'][1]");
}

#[test]
fn hints_are_kept() {
    let Statement::Query(q) = one(
        "SELECT /*+ STATE_TTL('a'='1d', 'b'='2d'), BROADCAST(x, y) */ * FROM t /*+ OPTIONS('k'='v') */ AS z",
    ) else {
        panic!("no query");
    };
    let sqlparser::ast::SetExpr::Select(select) = q.query.body.as_ref() else {
        panic!("no select");
    };
    let pair = |k: &str, v: &str| (k.to_string(), v.to_string());
    let hints = select_hints(select).unwrap();
    assert_eq!(hints[0].name, "STATE_TTL");
    assert_eq!(hints[0].pairs, vec![pair("a", "1d"), pair("b", "2d")]);
    assert_eq!(hints[1].pairs, vec![pair("x", ""), pair("y", "")]);
    let table = table_hints(&select.from[0].relation).unwrap();
    assert_eq!(table[0].pairs, vec![pair("k", "v")]);
}

#[test]
fn special_forms_have_their_documented_trees() {
    for (text, expected) in [
        (
            "JSON_VALUE(x, '$.a' RETURNING INT DEFAULT 1 ON ERROR)",
            "JSON_VALUE(x, '$.a', RETURNING => 'INT', ON_EMPTY => 'NULL', EMPTY_DEFAULT => NULL, ON_ERROR => 'DEFAULT', ERROR_DEFAULT => 1)",
        ),
        (
            "JSON_QUERY(x, '$.a' WITH ARRAY WRAPPER ERROR ON ERROR)",
            "JSON_QUERY(x, '$.a', RETURNING => NULL, WRAPPER => 'UNCONDITIONAL', ON_EMPTY => 'NULL', ON_ERROR => 'ERROR')",
        ),
        (
            "JSON_OBJECT(KEY 'a' VALUE b)",
            "JSON_OBJECT('a', b, ON_NULL => 'NULL')",
        ),
        ("JSON_ARRAY(a)", "JSON_ARRAY(a, ON_NULL => 'ABSENT')"),
        ("MAP['k', 1]", "MAP('k', 1)"),
        (
            "f(TABLE t PARTITION BY k)",
            "f(TABLE(t) OVER (PARTITION BY k))",
        ),
        ("CAST(a AS ROW<x INT>)", "CAST(a AS ROW<`x` INT>)"),
    ] {
        assert_eq!(parse_expression(text).unwrap().to_string(), expected);
    }
}

#[test]
fn table_names_in_a_text_are_renamed_but_not_those_of_ctes() {
    let text = "WITH c AS (SELECT * FROM t) SELECT * FROM c, d.t AS t, TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '1' DAY))";
    let renamed = rename_tables(text, |parts| Some(format!("x.{}", parts.join("_")))).unwrap();
    assert_eq!(
        renamed,
        "WITH c AS (SELECT * FROM x.t) SELECT * FROM c, x.d_t AS t, TABLE(TUMBLE(TABLE x.t, DESCRIPTOR(ts), INTERVAL '1' DAY))"
    );
}
