//! Job graphs of scripts over a made-up connector.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use flott_core::changelog::ChangelogMode;
use flott_core::clock::ManualClock;
use flott_core::connector::{ConnectorFactory, Registry, SinkRequest, TableContext};
use flott_core::graph::{JobGraph, NodeKind};
use flott_core::options::OptionDef;
use flott_core::schema::Schema;
use flott_core::sink::{SinkWriter, TableSink, WriterContext};
use flott_core::source::{
    ReaderContext, ScanRequest, SourceReader, SplitEnumerator, TableSource, fields_schema,
};
use flott_core::{Error, Result};

use crate::parser::parse_script;
use crate::session::{Session, StatementResult};

/// Reads and writes nothing; applies every predicate if `applies` is set; gives an upsert changelog
/// if `upserts` is set.
struct MadeUp;

struct Source {
    schema: Schema,
    applied: Vec<usize>,
    mode: ChangelogMode,
}

struct Sink;

impl ConnectorFactory for MadeUp {
    fn identifier(&self) -> &'static str {
        "made-up"
    }

    fn options(&self) -> &'static [OptionDef] {
        &[]
    }

    fn doc(&self) -> &'static str {
        "for tests"
    }

    fn create_source(
        &self,
        context: TableContext<'_>,
        request: ScanRequest,
    ) -> Result<Arc<dyn TableSource>> {
        let is_set = |option: &str| context.options.get(option).is_some();
        Ok(Arc::new(Source {
            schema: fields_schema(&context.table.source_schema(), &request.fields)?,
            applied: match is_set("applies") {
                true => (0..request.predicates.len()).collect(),
                false => Vec::new(),
            },
            mode: match is_set("upserts") {
                true => ChangelogMode::UPSERT,
                false => ChangelogMode::APPEND,
            },
        }))
    }

    fn create_sink(&self, _: TableContext<'_>, _: SinkRequest) -> Result<Arc<dyn TableSink>> {
        Ok(Arc::new(Sink))
    }
}

impl TableSource for Source {
    fn schema(&self) -> Schema {
        self.schema.clone()
    }

    fn changelog_mode(&self) -> ChangelogMode {
        self.mode
    }

    fn is_bounded(&self) -> bool {
        false
    }

    fn applied_predicates(&self) -> Vec<usize> {
        self.applied.clone()
    }

    fn create_enumerator(&self, _: usize, _: Option<&[u8]>) -> Result<Box<dyn SplitEnumerator>> {
        Err(Error::internal("made up"))
    }

    fn create_reader(&self, _: ReaderContext) -> Result<Box<dyn SourceReader>> {
        Err(Error::internal("made up"))
    }
}

impl TableSink for Sink {
    fn changelog_mode(&self, offered: ChangelogMode) -> Result<ChangelogMode> {
        Ok(offered)
    }

    fn create_writer(&self, _: WriterContext) -> Result<Box<dyn SinkWriter>> {
        Err(Error::internal("made up"))
    }
}

const TABLES: &str = "
    CREATE TABLE e (kind INT, a ROW<id BIGINT, x INT>, b ROW<id BIGINT, y INT>, ts TIMESTAMP(3),
        at AS CASE WHEN kind = 1 THEN a.x ELSE b.y END,
        WATERMARK FOR ts AS ts) WITH ('connector' = 'made-up', 'applies' = 'true');
    CREATE TABLE t (k STRING, i INT, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
        WITH ('connector' = 'made-up');
    CREATE TABLE u (k STRING, id INT, v INT, PRIMARY KEY (id) NOT ENFORCED)
        WITH ('connector' = 'made-up', 'upserts' = 'true');
    CREATE TABLE s1 (k STRING, n BIGINT) WITH ('connector' = 'made-up');
    CREATE TABLE s2 (k STRING, n BIGINT) WITH ('connector' = 'made-up');
    CREATE VIEW va AS SELECT a.id, a.x, at, ts FROM e WHERE kind = 1;
    CREATE VIEW vb AS SELECT b.id, b.y, at, ts FROM e WHERE kind = 2;";

fn graph_at(sql: &str, parallelism: usize) -> JobGraph {
    let registry = Registry {
        connectors: vec![Arc::new(MadeUp)],
        ..Registry::default()
    };
    let mut session = Session::new(registry, ManualClock::at_ms(0));
    let mut last = None;
    for statement in parse_script(&format!("{TABLES}{sql}")).expect("a script") {
        last = Some(
            session
                .execute(&statement, parallelism)
                .unwrap_or_else(|e| panic!("{e}")),
        );
    }
    match last {
        Some(StatementResult::Query(planned)) => planned.graph,
        Some(StatementResult::Insert(graph)) => graph,
        other => panic!("{other:?}"),
    }
}

fn graph(sql: &str) -> JobGraph {
    graph_at(sql, 1)
}

fn names(graph: &JobGraph) -> Vec<&str> {
    graph.nodes.iter().map(|n| n.name.as_str()).collect()
}

fn num_sources(graph: &JobGraph) -> usize {
    let is_source = |kind: &NodeKind| matches!(kind, NodeKind::Source(_));
    graph.nodes.iter().filter(|n| is_source(&n.kind)).count()
}

/// The uids of the operators that keep something, by what they are.
fn stateful(graph: &JobGraph) -> BTreeMap<String, String> {
    let kept = graph.nodes.iter().filter(|n| !n.state.is_empty());
    kept.map(|n| {
        let kind = n.name.split('(').next().unwrap_or_default();
        (kind.trim_start_matches("Global").to_string(), n.uid.clone())
    })
    .collect()
}

fn uid(sql: &str) -> String {
    let all = stateful(&graph(sql));
    let mut uids = all.into_values();
    let uid = uids.next().expect("an operator with state");
    assert_eq!(uids.next(), None, "{sql}");
    uid
}

#[test]
fn ids_do_not_depend_on_the_parallelism() {
    let window = "SELECT window_end, k, SUM(n) FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '10' SECOND)) GROUP BY window_start, window_end, k";
    let join = "SELECT x.k, COUNT(*) FROM t x JOIN (SELECT i, MAX(n) AS m FROM t GROUP BY i) y ON x.i = y.i GROUP BY x.k";
    let distinct =
        "SELECT i > 5, COUNT(*), COUNT(DISTINCT n), SUM(DISTINCT i) FROM t GROUP BY i > 5";
    for sql in [window, join, distinct] {
        let (one, four) = (graph_at(sql, 1), graph_at(sql, 4));
        assert!(four.nodes.len() > one.nodes.len(), "{:?}", names(&four));
        for node in &one.nodes {
            let twin = four.nodes.iter().find(|n| n.uid == node.uid);
            let twin = twin.unwrap_or_else(|| panic!("{} is another at 4", node.name));
            assert_eq!(twin.state, node.state, "{}", node.name);
        }
        let uids = |graph| stateful(graph).into_values().collect::<BTreeSet<_>>();
        assert_eq!(uids(&one), uids(&four));
    }
}

#[test]
fn distinct_values_are_spread_where_that_can_be() {
    let parts = |sql: &str, parallelism| {
        let graph = graph_at(sql, parallelism);
        let kinds = names(&graph).into_iter();
        let kinds = kinds.map(|name| name.split('(').next().unwrap_or_default().to_string());
        kinds
            .filter(|k| k.contains("Aggregate") || k.contains("Distinct"))
            .collect::<Vec<_>>()
    };
    let sql = "SELECT COUNT(*), COUNT(DISTINCT n) FROM t WHERE i > 3 GROUP BY DATE_FORMAT(ts, 'yyyy-MM-dd')";
    assert_eq!(
        parts(sql, 1),
        ["PartialGroupAggregate", "FinalGroupAggregate"]
    );
    assert_eq!(
        parts(sql, 4),
        [
            "SpreadDistinct",
            "PartialGroupAggregate",
            "LocalGroupAggregate",
            "FinalGroupAggregate",
        ]
    );
    let off = "SET 'table.optimizer.distinct-agg.split.enabled' = 'false';";
    let ttl = "SET 'table.exec.state.ttl' = '1 h';";
    let by_name = "SELECT k, COUNT(DISTINCT n) FROM t GROUP BY k";
    let on = "SET 'table.optimizer.distinct-agg.split.enabled' = 'true';";
    assert_eq!(parts(&format!("{on}{by_name}"), 1), parts(sql, 1));
    // Only what is spread can go to files.
    for limit in [
        "SET 'flott.memory' = '1g';",
        "SET 'state.backend.type' = 'rocksdb';",
    ] {
        assert_eq!(parts(&format!("{limit}{sql}"), 1), parts(sql, 4));
    }
    for whole in [
        by_name.to_string(),
        format!("{off}{sql}"),
        format!("{ttl}{sql}"),
        // The order of values, and that of approximate numbers, counts.
        "SELECT LISTAGG(DISTINCT k) FROM t".to_string(),
        "SELECT COUNT(DISTINCT n), SUM(CAST(n AS DOUBLE)) FROM t".to_string(),
    ] {
        assert_eq!(parts(&whole, 4), ["GroupAggregate"], "{whole}");
    }
}

#[test]
fn joins_on_one_key_become_one_operator_where_that_is_wanted() {
    let on = "SET 'table.optimizer.multi-join.enabled' = 'true';";
    let joins = |sql: &str| {
        let graph = graph(&format!("{on}{sql}"));
        names(&graph)
            .into_iter()
            .filter(|n| n.contains("Join"))
            .count()
    };
    let chain = "SELECT x.n, y.n, z.i FROM t x JOIN t y ON x.k = y.k LEFT JOIN t z ON y.k = z.k AND x.n < z.n";
    assert_eq!(joins(chain), 1);
    assert_eq!(
        names(&graph(chain))
            .into_iter()
            .filter(|n| n.contains("Join"))
            .count(),
        2
    );
    for binary in [
        // Other keys.
        "SELECT x.n FROM t x JOIN t y ON x.k = y.k JOIN t z ON y.i = z.i",
        // The key may be missing.
        "SELECT x.n FROM t x LEFT JOIN t y ON x.k = y.k LEFT JOIN t z ON y.k = z.k",
        "SELECT x.n FROM t x JOIN t y ON x.k = y.k FULL JOIN t z ON y.k = z.k",
    ] {
        assert_eq!(joins(binary), 2, "{binary}");
    }
    let four = "SELECT x.n FROM t x JOIN t y ON x.k = y.k AND x.i = y.i JOIN t z ON x.i = z.i JOIN t w ON w.i = z.i";
    assert_eq!(joins(four), 1);
}

#[test]
fn an_operator_keeps_its_id_when_others_change() {
    let counts = uid("SELECT k, COUNT(*) FROM t GROUP BY k");
    for same in [
        "SELECT COUNT(*) AS c, k AS kk FROM t GROUP BY k",
        "SELECT k, COUNT(*), SUM(n) FROM t GROUP BY k",
        "SELECT k, COUNT(*) FROM t GROUP BY k HAVING COUNT(*) > 1",
        "SELECT * FROM (SELECT k, COUNT(*) FROM t GROUP BY k) WHERE k > 'a'",
        "SELECT UPPER(k), COUNT(*) + 1 FROM t GROUP BY k",
        "SELECT k, COUNT(*) FROM (SELECT ts, n, k FROM t) GROUP BY k",
        "EXECUTE STATEMENT SET BEGIN INSERT INTO s1 SELECT k, COUNT(*) FROM t GROUP BY k; INSERT INTO s2 SELECT k, n FROM t; END",
    ] {
        assert_eq!(uid(same), counts, "{same}");
    }
    for other in [
        "SELECT i, COUNT(*) FROM t GROUP BY i",
        "SELECT k, COUNT(*) FROM t WHERE n > 1 GROUP BY k",
        "SELECT k, COUNT(*) FROM t /*+ OPTIONS('x' = '1') */ GROUP BY k",
        "SELECT UPPER(k), COUNT(*) FROM t GROUP BY UPPER(k)",
        "SELECT k, COUNT(*) FROM t GROUP BY k, i",
    ] {
        assert_ne!(uid(other), counts, "{other}");
    }
    let joined = uid("SELECT x.n, y.n FROM t x JOIN t y ON x.k = y.k");
    assert_eq!(
        uid("SELECT x.i, x.k FROM t x JOIN t y ON x.k = y.k WHERE x.k <> ''"),
        joined
    );
    assert_ne!(
        uid("SELECT x.n FROM t x LEFT JOIN t y ON x.k = y.k"),
        joined
    );
    assert_ne!(
        uid("SELECT x.n FROM t x JOIN t y ON x.k = y.k AND x.n > y.n"),
        joined
    );
}

#[test]
fn what_is_kept_stands_beside_the_id() {
    let kept = |sql: &str| {
        let graph = graph(sql);
        let state = graph.nodes.into_iter().map(|n| n.state);
        state.into_iter().find(|s| !s.is_empty()).expect("state")
    };
    let one = kept("SELECT k, SUM(n) FROM t GROUP BY k");
    let two = kept("SELECT k, SUM(n), MAX(i) FROM t GROUP BY k");
    assert_eq!(one[..], two[..2]);
    let other = kept("SELECT k, SUM(i) FROM t GROUP BY k");
    assert_eq!(one[0], other[0]);
    assert_ne!(one[1].meaning, other[1].meaning);
}

#[test]
fn twins_in_a_job_have_ids_of_their_own() {
    let graph = graph(
        "EXECUTE STATEMENT SET BEGIN INSERT INTO s1 SELECT k, SUM(n) FROM t GROUP BY k; INSERT INTO s2 SELECT k, COUNT(*) FROM t GROUP BY k; END",
    );
    let mut uids: Vec<_> = graph.nodes.iter().map(|n| &n.uid).collect();
    uids.sort();
    uids.dedup();
    assert_eq!(uids.len(), graph.nodes.len());
}

#[test]
fn a_filter_that_the_source_applies_is_gone_with_its_column() {
    let plain = graph("SELECT x, id, at + 1 FROM va");
    assert_eq!(names(&plain).len(), 2, "{:?}", names(&plain));
    assert_eq!(plain.nodes[0].schema.len(), 2, "{}", plain.nodes[0].schema);
    // Nothing is left between the source and what takes its rows.
    let only = graph("SELECT x, id FROM va");
    assert_eq!(names(&only).len(), 1, "{:?}", names(&only));
    let timed = graph(
        "SELECT window_end, SUM(at) FROM TABLE(TUMBLE(TABLE va, DESCRIPTOR(ts), INTERVAL '1' SECOND)) GROUP BY window_start, window_end",
    );
    assert_eq!(timed.nodes[0].schema.len(), 2, "{}", timed.nodes[0].schema);
    assert!(
        !names(&timed).iter().any(|n| n.contains("where")),
        "{:?}",
        names(&timed)
    );
}

#[test]
fn a_job_reads_a_table_once() {
    let both = graph("SELECT va.x, vb.y FROM va JOIN vb ON va.id = vb.id");
    assert_eq!(num_sources(&both), 1, "{:?}", names(&both));
    let is_filter = |n: &&str| n.starts_with("Calc") && n.contains("where");
    let filters = names(&both).into_iter().filter(is_filter).count();
    assert_eq!(filters, 2, "{:?}", names(&both));
    let set = graph(
        "EXECUTE STATEMENT SET BEGIN INSERT INTO s1 SELECT k, n FROM t WHERE i = 3; INSERT INTO s2 SELECT k, SUM(i) FROM t GROUP BY k; INSERT INTO s2 SELECT k, n FROM t /*+ OPTIONS('x' = '1') */; END",
    );
    assert_eq!(num_sources(&set), 2, "{:?}", names(&set));
}

#[test]
fn an_upsert_sources_key_is_read_even_if_nobody_asks() {
    let graph = graph("SELECT k, SUM(v) FROM u WHERE v = 3 GROUP BY k");
    assert!(
        graph.nodes[0].schema.index_of("id").is_some(),
        "{}",
        graph.nodes[0].schema
    );
    assert!(
        names(&graph)[1].starts_with("ChangelogNormalize"),
        "{:?}",
        names(&graph)
    );
    assert!(names(&graph)[2].contains("where"), "{:?}", names(&graph));
}
