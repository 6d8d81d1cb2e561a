//! A small catalog for tests of the binder and the optimizer.

use std::collections::BTreeMap;
use std::sync::Arc;

use flott_core::catalog::{
    CatalogTable, CatalogView, ColumnKind, ObjectPath, PrimaryKey, TableColumn, WatermarkSpec,
};
use flott_core::options::Options;
use flott_core::{Error, Result};

use super::{BindContext, CatalogReader, Resolved, bind_query};
use crate::functions::ExprContext;
use crate::optimizer::{UnknownSources, optimize};
use crate::parser::{Statement, parse_data_type, parse_script};
use crate::plan::{Plan, explain_plan};

/// Tables and views by name.
#[derive(Default)]
pub(crate) struct TestCatalog {
    objects: BTreeMap<String, Resolved>,
}

fn path(name: &str) -> ObjectPath {
    ObjectPath {
        catalog: "c".into(),
        database: "d".into(),
        name: name.into(),
    }
}

impl CatalogReader for TestCatalog {
    fn resolve_table(&self, parts: &[String]) -> Result<Resolved> {
        let name = parts.last().cloned().unwrap_or_default();
        let found = self.objects.get(&name).cloned();
        found.ok_or_else(|| Error::user("UNKNOWN_TABLE", format!("table '{name}' not found")))
    }
}

impl TestCatalog {
    /// Adds a table; each column is `name TYPE` or `name AS expression`; `watermark` and `key` may
    /// be empty.
    pub fn table(mut self, name: &str, columns: &[&str], watermark: &str, key: &str) -> Self {
        let columns = columns.iter().map(|text| column(text)).collect();
        let table = CatalogTable {
            columns,
            watermark: watermark
                .split_once(" AS ")
                .map(|(column, e)| WatermarkSpec {
                    column: column.into(),
                    expression: e.into(),
                }),
            primary_key: (!key.is_empty()).then(|| PrimaryKey {
                name: None,
                columns: vec![key.into()],
            }),
            partition_keys: vec![],
            options: Options::default(),
            comment: None,
            is_temporary: false,
        };
        let resolved = Resolved::Table {
            path: path(name),
            table: Arc::new(table),
        };
        self.objects.insert(name.into(), resolved);
        self
    }

    pub fn view(mut self, name: &str, query: &str) -> Self {
        let view = CatalogView {
            column_names: None,
            query: query.into(),
            comment: None,
            is_temporary: false,
        };
        let resolved = Resolved::View {
            path: path(name),
            view: Arc::new(view),
        };
        self.objects.insert(name.into(), resolved);
        self
    }

    /// The tables of the oracle's cases, and a table of nested rows.
    pub fn example() -> Self {
        let ts = "ts AS ts - INTERVAL '1' SECOND";
        Self::default()
            .table(
                "bids",
                &[
                    "ts TIMESTAMP(3)",
                    "price DECIMAL(10,2)",
                    "item STRING",
                    "supplier STRING",
                ],
                ts,
                "",
            )
            .table(
                "asks",
                &["ts TIMESTAMP(3)", "item STRING", "qty INT"],
                ts,
                "",
            )
            .table(
                "rates",
                &["cur STRING", "rate DECIMAL(10,4)", "ut TIMESTAMP(3)"],
                "ut AS ut",
                "cur",
            )
            .table(
                "orders",
                &[
                    "id INT",
                    "cur STRING",
                    "ot TIMESTAMP(3)",
                    "pt AS PROCTIME()",
                ],
                "ot AS ot",
                "",
            )
            .table(
                "events",
                &[
                    "event_type INT",
                    "bid ROW<auction BIGINT, price BIGINT, dateTime TIMESTAMP(3)>",
                    "dateTime AS CASE WHEN event_type = 2 THEN bid.dateTime END",
                ],
                "dateTime AS dateTime - INTERVAL '4' SECOND",
                "",
            )
            .view(
                "bid",
                "SELECT bid.auction, bid.price, dateTime FROM events WHERE event_type = 2",
            )
    }

    pub fn bind(&self, sql: &str) -> Result<Arc<Plan>> {
        let Some(Statement::Query(source)) = parse_script(sql)?.pop().map(|p| p.statement) else {
            return Err(Error::internal("not a query"));
        };
        let expr = expr_context();
        let context = BindContext {
            catalog: self,
            expr: &expr,
        };
        Ok(bind_query(&source.query, &context)?.plan)
    }

    /// The columns of a query's result with their types.
    pub fn columns(&self, sql: &str) -> String {
        match self.bind(sql) {
            Ok(plan) => plan.schema().to_string(),
            Err(error) => format!("error: {error}"),
        }
    }

    /// The optimized plan as text, or the error.
    pub fn plan(&self, sql: &str) -> String {
        match self
            .bind(sql)
            .and_then(|plan| optimize(&plan, false, &UnknownSources))
        {
            Ok(plan) => explain_plan(&plan),
            Err(error) => format!("error: {error}"),
        }
    }
}

fn column(text: &str) -> TableColumn {
    let (name, rest) = text.split_once(' ').unwrap_or((text, "INT"));
    let (kind, data_type) = match rest.strip_prefix("AS ") {
        Some(expression) => (
            ColumnKind::Computed {
                expression: expression.into(),
            },
            "INT",
        ),
        None => (ColumnKind::Physical, rest),
    };
    TableColumn {
        name: name.into(),
        data_type: parse_data_type(data_type).expect("a type"),
        kind,
        comment: None,
    }
}

pub(crate) fn expr_context() -> ExprContext {
    ExprContext {
        time_zone: chrono_tz::UTC,
        clock: Arc::new(flott_core::clock::SystemClock),
        query_start_ms: None,
        current_catalog: "c".into(),
        current_database: "d".into(),
        is_batch: false,
    }
}
