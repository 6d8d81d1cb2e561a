use crate::binder::testing::TestCatalog;

/// Checks that the optimized plan's text has these lines, in this order.
fn assert_plan(sql: &str, lines: &[&str]) {
    let plan = TestCatalog::example().plan(sql);
    let mut rest = plan.lines();
    for line in lines {
        assert!(
            rest.any(|l| l.trim() == *line),
            "{sql}\nwants in order: {line}\n{plan}"
        );
    }
}

#[test]
fn nested_fields_and_equality_filters_reach_the_scan() {
    assert_plan(
        "SELECT auction, price FROM bid WHERE price > 10",
        &[
            "Filter (($0 = 2) AND ($2 > 10))",
            "Scan `c`.`d`.`events` [0:event_type, 1.0:bid.auction, 1.1:bid.price] predicates=[FieldPredicate { field: FieldPath([0]), values: [Integer(2)] }]",
        ],
    );
}

#[test]
fn watermarks_are_not_made_for_plans_that_keep_nothing() {
    let has_watermark = |sql: &str| TestCatalog::example().plan(sql).contains("Watermark");
    for sql in [
        "SELECT window_start, COUNT(*) FROM TABLE(TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '10' SECOND)) GROUP BY window_start, window_end",
        "SELECT * FROM bids ORDER BY ts",
        "SELECT item FROM bids QUALIFY ROW_NUMBER() OVER (PARTITION BY item ORDER BY ts) = 1",
        "SELECT item, SUM(price) OVER (PARTITION BY item ORDER BY ts) FROM bids",
        "SELECT item, CURRENT_WATERMARK(ts) FROM bids",
    ] {
        assert!(has_watermark(sql), "{sql}");
    }
    for sql in [
        "SELECT item, ts FROM bids",
        "SELECT UPPER(item) FROM bids WHERE price > 1 UNION ALL SELECT item FROM asks",
    ] {
        assert!(!has_watermark(sql), "{sql}");
    }
}

#[test]
fn a_window_function_below_its_aggregate_is_fused_with_it() {
    assert_plan(
        "SELECT window_start, window_end, supplier, SUM(price) AS s FROM TABLE(TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '10' SECOND)) GROUP BY window_start, window_end, supplier",
        &[
            "Project $2 AS window_start, $3 AS window_end, $0 AS supplier, $1 AS s",
            "Aggregate keys=[$0] calls=[SUM([1])] window=TUMBLE(10000, 0) ON $2 [Start, End]",
        ],
    );
}

#[test]
fn an_aggregate_of_a_window_aggregate_is_attached() {
    assert_plan(
        "SELECT window_start, window_end, COUNT(*) FROM (SELECT window_start, window_end, item FROM TABLE(TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '10' SECOND)) GROUP BY window_start, window_end, item) GROUP BY window_start, window_end",
        &[
            "Aggregate keys=[$0, $1] calls=[COUNT([])] window=TUMBLE(10000, 0) ON attached ($0, $1) []",
            "Aggregate keys=[$0] calls=[] window=TUMBLE(10000, 0) ON $1 [Start, End]",
        ],
    );
}

#[test]
fn grouping_by_the_start_alone_is_no_window_aggregate() {
    assert_plan(
        "SELECT window_start, COUNT(*) FROM TABLE(TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '10' SECOND)) GROUP BY window_start",
        &["Aggregate keys=[$0] calls=[COUNT([])]"],
    );
}

#[test]
fn a_row_number_with_a_bound_is_a_top_n() {
    let ranked = "(SELECT item, supplier, price, ROW_NUMBER() OVER (PARTITION BY supplier ORDER BY price DESC, item) AS rn FROM bids)";
    assert_plan(
        &format!("SELECT * FROM {ranked} WHERE rn <= 2"),
        &["Rank 1..=2 partition=[$2] order=[$0 DESC, $1] rank"],
    );
    assert_plan(
        &format!("SELECT item FROM {ranked} WHERE rn BETWEEN 2 AND 4 AND price > 1"),
        &[
            "Filter (CAST($0 AS DECIMAL(12, 2)) > 1.00)",
            "Rank 2..=4 partition=[$2] order=[$0 DESC, $1]",
        ],
    );
    assert_plan(
        "SELECT item FROM bids QUALIFY ROW_NUMBER() OVER (PARTITION BY item ORDER BY ts) = 1",
        &["Rank 1..=1 partition=[$1] order=[$0]"],
    );
}

#[test]
fn a_top_n_of_a_window_aggregate_is_a_window_top_n() {
    assert_plan(
        "SELECT * FROM (SELECT window_start, window_end, supplier, SUM(price) AS s, ROW_NUMBER() OVER (PARTITION BY window_start, window_end ORDER BY SUM(price) DESC) AS rn FROM TABLE(TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '20' SECOND)) GROUP BY window_start, window_end, supplier) WHERE rn <= 2",
        &["Rank 1..=2 partition=[$0, $1] order=[$3 DESC] rank window=($0, $1)"],
    );
}

#[test]
fn joins_are_recognised_by_their_conditions() {
    assert_plan(
        "SELECT b.item, a.qty FROM bids b, asks a WHERE b.item = a.item AND a.ts BETWEEN b.ts - INTERVAL '5' SECOND AND b.ts + INTERVAL '5' SECOND AND a.qty > 1",
        &[
            "Join Inner Interval { left_time: 0, right_time: 0, lower_ms: -5000, upper_ms: 5000, is_proctime: false } ON ($1 = $3)",
            "Filter ($2 > 1)",
        ],
    );
    assert_plan(
        "SELECT L.item FROM (SELECT * FROM TABLE(TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '10' SECOND))) L JOIN (SELECT * FROM TABLE(TUMBLE(TABLE asks, DESCRIPTOR(ts), INTERVAL '10' SECOND))) R ON L.item = R.item AND L.window_start = R.window_start AND L.window_end = R.window_end",
        &[
            "Join Inner Window { left: (1, 2), right: (1, 2) } ON (($0 = $3) AND ($1 = $4) AND ($2 = $5))",
        ],
    );
    assert_plan(
        "SELECT o.id, r.rate FROM orders o JOIN rates FOR SYSTEM_TIME AS OF o.ot AS r ON o.cur = r.cur",
        &["Join Inner Temporal { left_time: 2, right_time: 2 } ON ($1 = $3)"],
    );
    assert_plan(
        "SELECT o.id, r.rate FROM orders o JOIN rates FOR SYSTEM_TIME AS OF o.pt AS r ON o.cur = r.cur",
        &["Join Inner Lookup ON ($1 = $2)"],
    );
}

#[test]
fn subqueries_become_joins() {
    assert_plan(
        "SELECT item FROM bids b WHERE EXISTS (SELECT 1 FROM asks a WHERE a.item = b.item AND a.qty > b.price)",
        &["Join Semi ON (($2 = $1) AND ($3 > CAST($0 AS DECIMAL(12, 2))))"],
    );
    assert_plan(
        "SELECT item FROM bids WHERE item NOT IN (SELECT item FROM asks)",
        &["Join NullAwareAnti ON ($0 = $1)"],
    );
    assert_plan(
        "SELECT item FROM bids b WHERE price > (SELECT MAX(qty) FROM asks a WHERE a.item = b.item)",
        &["Aggregate keys=[$1] calls=[MAX([0])]"],
    );
    assert_plan(
        "SELECT supplier, x.item FROM (SELECT DISTINCT supplier FROM bids) s, LATERAL (SELECT item FROM bids b WHERE b.supplier = s.supplier ORDER BY price DESC LIMIT 2) x",
        &["Rank 1..=2 partition=[$2] order=[$1 DESC]"],
    );
    assert_plan(
        "SELECT item FROM bids b WHERE price > 5 OR EXISTS (SELECT 1 FROM asks a WHERE a.item = b.item)",
        &["Filter ((CAST($0 AS DECIMAL(12, 2)) > 5.00) OR $3 IS NOT NULL)"],
    );
}

#[test]
fn set_operations_become_joins_and_counts() {
    assert_plan(
        "SELECT item FROM bids EXCEPT SELECT item FROM asks",
        &["Join Anti ON (($0 = $1) OR ($0 IS NULL AND $1 IS NULL))"],
    );
    assert_plan(
        "SELECT item FROM bids INTERSECT ALL SELECT item FROM asks",
        &[
            "Unnest $1",
            "Aggregate keys=[$0] calls=[SUM([1]), SUM([2])]",
        ],
    );
}

#[test]
fn equal_parts_of_a_plan_are_one_node() {
    use crate::plan::Plan;
    let catalog = TestCatalog::example();
    let sql = "WITH t AS (SELECT item, COUNT(*) AS c FROM bids GROUP BY item) SELECT x.item, y.item FROM t x JOIN t y ON x.c = y.c";
    let plan = catalog
        .bind(sql)
        .and_then(|p| super::optimize(&p, false, &super::UnknownSources));
    let mut node = plan.expect("a plan");
    while let Plan::Project(project) = node.as_ref() {
        node = project.input.clone();
    }
    let Plan::Join(join) = node.as_ref() else {
        panic!("no join: {node:?}");
    };
    assert!(std::sync::Arc::ptr_eq(&join.left, &join.right));
}

#[test]
fn a_time_attribute_is_lost_in_a_regular_join() {
    let sql = "SELECT window_start, COUNT(*) FROM TABLE(TUMBLE(TABLE joined, DESCRIPTOR(ts), INTERVAL '10' SECOND)) GROUP BY window_start, window_end";
    let catalog = TestCatalog::example().view(
        "joined",
        "SELECT b.ts, a.qty FROM bids b JOIN asks a ON a.item = b.item",
    );
    let answer = catalog.plan(sql);
    assert!(answer.contains("'ts' is no longer one"), "{answer}");
}
