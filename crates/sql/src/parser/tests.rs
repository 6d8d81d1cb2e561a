use super::*;

fn one(text: &str) -> Statement {
    parse_script(text)
        .unwrap_or_else(|e| panic!("{text}: {e} at {:?}", e.location()))
        .remove(0)
        .statement
}

#[test]
fn create_table_insert_select() {
    one(
        "CREATE TABLE t (a INT, b AS a * 2, WATERMARK FOR ts AS ts - INTERVAL '1' SECOND) WITH ('connector'='print')",
    );
    one("INSERT INTO t SELECT a FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '1' MINUTE))");
}
