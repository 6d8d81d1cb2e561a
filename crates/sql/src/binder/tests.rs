use super::testing::TestCatalog;

fn columns(sql: &str) -> String {
    TestCatalog::example().columns(sql)
}

#[test]
fn values_unify_their_columns() {
    assert_eq!(
        columns("VALUES (1, 'x'), (2, 'yy')"),
        "(EXPR$0 INT NOT NULL, EXPR$1 VARCHAR(2) NOT NULL)"
    );
}

#[test]
fn result_columns_are_named_as_flink_names_them() {
    assert_eq!(
        columns(
            "SELECT a.item, b.item, price + 1, bid.price AS p FROM bids a JOIN asks b ON a.item = b.item, events"
        ),
        "(item STRING, item0 STRING, EXPR$2 DECIMAL(13, 2), p BIGINT)"
    );
    assert_eq!(
        columns("SELECT bid.price, * FROM events"),
        "(price BIGINT, event_type INT, bid ROW<`auction` BIGINT, `price` BIGINT, `dateTime` TIMESTAMP(3)>, dateTime TIMESTAMP(3) *ROWTIME*)"
    );
}

#[test]
fn aggregates_are_typed_by_their_groups() {
    assert_eq!(
        columns(
            "SELECT item, COUNT(*) c, SUM(price) s FROM bids GROUP BY item HAVING COUNT(*) > 1"
        ),
        "(item STRING, c BIGINT NOT NULL, s DECIMAL(38, 2))"
    );
    assert_eq!(
        columns(
            "SELECT supplier, price > 3 AS hi, COUNT(*) AS c FROM bids GROUP BY ROLLUP (supplier, price > 3)"
        ),
        "(supplier STRING, hi BOOLEAN, c BIGINT NOT NULL)"
    );
    assert_eq!(
        columns(
            "SELECT TUMBLE_START(ts, INTERVAL '10' SECOND) AS ws, TUMBLE_ROWTIME(ts, INTERVAL '10' SECOND) AS rt, COUNT(*) AS c FROM bids GROUP BY TUMBLE(ts, INTERVAL '10' SECOND), supplier"
        ),
        "(ws TIMESTAMP(3) NOT NULL, rt TIMESTAMP(3) *ROWTIME*, c BIGINT NOT NULL)"
    );
}

#[test]
fn differences_of_times_are_intervals() {
    assert_eq!(
        columns("SELECT (ts - ts) DAY TO SECOND AS d, (ts - ts) MONTH AS m FROM bids"),
        "(d INTERVAL DAY TO SECOND(3), m INTERVAL YEAR TO MONTH)"
    );
}

#[test]
fn window_times_grouped_by_stay_time_attributes() {
    let grouped = "SELECT window_time AS rt, COUNT(*) AS c FROM TABLE(TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '5' SECOND)) GROUP BY window_start, window_end, window_time";
    assert_eq!(
        columns(grouped),
        "(rt TIMESTAMP(3) NOT NULL *ROWTIME*, c BIGINT NOT NULL)"
    );
}

#[test]
fn columns_may_be_qualified_by_catalog_and_database() {
    assert_eq!(columns("SELECT c.d.bids.item FROM bids"), "(item STRING)");
}

#[test]
fn unnest_gives_fields_keys_and_positions() {
    let from = "FROM (VALUES (1, ARRAY[ROW(1,'x')], MAP['k', 1])) AS t(id, rs, m)";
    assert_eq!(
        columns(&format!(
            "SELECT a, b, k, v, o {from} CROSS JOIN UNNEST(rs) AS u(a, b) CROSS JOIN UNNEST(m) WITH ORDINALITY AS w(k, v, o)"
        )),
        "(a INT NOT NULL, b CHAR(1) NOT NULL, k CHAR(1) NOT NULL, v INT NOT NULL, o INT NOT NULL)"
    );
}

#[test]
fn statements_that_flink_refuses_are_refused() {
    let refused = [
        (
            "SELECT nope FROM bids",
            "column 'nope' not found in any table",
        ),
        ("SELECT * FROM nope", "table 'nope' not found"),
        (
            "SELECT item, COUNT(*) FROM bids",
            "expression 'item' is not being grouped",
        ),
        ("SELECT NOFUNC(item) FROM bids", "NOFUNC"),
        ("SELECT UPPER(1, 2) FROM bids", "UPPER"),
        ("SELECT item + 1 FROM bids", "+"),
        (
            "SELECT price FROM bids WHERE item",
            "WHERE clause must be a condition",
        ),
        ("SELECT SUM(item) FROM bids", "SUM"),
        (
            "SELECT item FROM bids UNION SELECT 1, 2 FROM bids",
            "column count mismatch in UNION",
        ),
        (
            "SELECT a.item FROM bids a JOIN bids b",
            "requires a condition",
        ),
        (
            "SELECT item FROM bids a JOIN bids b ON a.item = b.item",
            "column 'item' is ambiguous",
        ),
        ("SELECT CAST(item AS ROW<a INT>) FROM bids", "ROW"),
        (
            "SELECT * FROM bids WHERE COUNT(*) > 1",
            "illegal in WHERE clause",
        ),
        (
            "SELECT item FROM bids GROUP BY 1",
            "expression 'item' is not being grouped",
        ),
        ("SELECT item FROM bids ORDER BY 1", "sort on 'item'"),
        (
            "SELECT 1 FROM bids HAVING 1",
            "HAVING clause must be a condition",
        ),
        (
            "SELECT item, SUM(price) OVER (PARTITION BY supplier ORDER BY ts DESC) FROM bids",
            "ascending",
        ),
        (
            "SELECT item, SUM(price) OVER (ORDER BY ts ROWS BETWEEN CURRENT ROW AND 1 FOLLOWING) FROM bids",
            "FOLLOWING",
        ),
        (
            "SELECT SUM(price) FILTER (WHERE item <> 'A') OVER (ORDER BY ts) FROM bids",
            "FILTER",
        ),
        ("SELECT SUM(COUNT(*)) FROM bids", "inside another aggregate"),
        (
            "SELECT window_start, COUNT(*) FROM TABLE(HOP(TABLE bids, DESCRIPTOR(ts), INTERVAL '4' SECOND, INTERVAL '10' SECOND)) GROUP BY window_start, window_end",
            "integral multiple of slide",
        ),
        (
            "SELECT window_start, COUNT(*) FROM TABLE(TUMBLE(TABLE bids, DESCRIPTOR(item), INTERVAL '10' SECOND)) GROUP BY window_start, window_end",
            "'item' is STRING",
        ),
        (
            "SELECT window_start FROM TABLE(CUMULATE(TABLE bids, DESCRIPTOR(ts), INTERVAL '3' SECOND, INTERVAL '10' SECOND))",
            "integral multiple of step",
        ),
        (
            "SELECT supplier, window_start, SUM(price) FROM TABLE(TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '10' SECOND)) GROUP BY supplier",
            "expression 'window_start' is not being grouped",
        ),
        (
            "SELECT * FROM bids FOR SYSTEM_TIME AS OF TIMESTAMP '2024-01-01 00:00:00'",
            "as of a constant time",
        ),
    ];
    let catalog = TestCatalog::example();
    for (sql, message) in refused {
        let answer = catalog.plan(sql);
        assert!(
            answer.starts_with("error: ") && answer.contains(message),
            "{sql}\n{answer}"
        );
    }
}

#[test]
fn errors_tell_where_they_stand() {
    let error = TestCatalog::example()
        .bind("SELECT item,\n  pric FROM bids")
        .expect_err("no such column");
    let place = error.location().map(|l| (l.line, l.column));
    assert_eq!(place, Some((2, 3)));
    assert!(error.message().contains("did you mean 'price'?"), "{error}");
}

#[test]
fn words_among_arguments_are_understood() {
    assert_eq!(
        columns(
            "SELECT TIMESTAMPDIFF(DAY, ts, ts) AS a, FLOOR(ts TO HOUR) AS b, EXTRACT(YEAR FROM ts) AS c FROM bids"
        ),
        "(a INT, b TIMESTAMP(3), c BIGINT)"
    );
    assert_eq!(
        columns(
            "SELECT JSON_OBJECTAGG(KEY item VALUE price ABSENT ON NULL) AS o, JSON_ARRAYAGG(item) AS a FROM bids"
        ),
        "(o VARCHAR(2000) NOT NULL, a VARCHAR(2000) NOT NULL)"
    );
}
