//! `'connector' = 'nexmark'`: the generator of the Nexmark benchmark.
//!
//! An online auction's events: persons who sign up, auctions they open, bids they make. The table's
//! columns are those of nexmark-flink: `event_type INT` (0 person, 1 auction, 2 bid) and the rows
//! `person`, `auction` and `bid`, of which two are NULL in each event. Equal options give equal
//! events, and only the fields that a query needs are generated.

mod columns;
mod generator;
mod options;
mod source;
mod strings;

use std::sync::Arc;

use flott_core::connector::{ConnectorFactory, SinkRequest, TableContext};
use flott_core::options::OptionDef;
use flott_core::schema::Schema;
use flott_core::sink::TableSink;
use flott_core::source::{ScanRequest, TableSource, fields_schema};
use flott_core::types::LogicalType;
use flott_core::{Error, Result};

use generator::Generator;
use options::{NexmarkConfig, OPTIONS};
use source::NexmarkSource;

/// The connector.
pub struct Nexmark;

impl ConnectorFactory for Nexmark {
    fn identifier(&self) -> &'static str {
        "nexmark"
    }

    fn options(&self) -> &'static [OptionDef] {
        OPTIONS
    }

    fn doc(&self) -> &'static str {
        "generates the events of the Nexmark benchmark; source only"
    }

    fn example(&self) -> &'static str {
        include_str!("example.sql")
    }

    fn create_source(
        &self,
        context: TableContext<'_>,
        request: ScanRequest,
    ) -> Result<Arc<dyn TableSource>> {
        context.options.check("connector 'nexmark'", &[OPTIONS])?;
        let table = context.table.source_schema();
        check_columns(&table)?;
        let generator = Generator::new(NexmarkConfig::parse(context.options)?);
        let schema = fields_schema(&table, &request.fields)?;
        Ok(Arc::new(NexmarkSource::new(
            generator,
            request.fields,
            schema,
            &request.predicates,
        )))
    }

    fn create_sink(&self, _: TableContext<'_>, _: SinkRequest) -> Result<Arc<dyn TableSink>> {
        let message = "connector 'nexmark' is a generator: it can be read, not written";
        Err(Error::user("NOT_A_SINK", message))
    }
}

/// The table must have the generator's columns; a row may end early.
fn check_columns(table: &Schema) -> Result<()> {
    let wrong = |name: &str, wanted: &str| {
        let message = format!(
            "a nexmark table has the columns event_type, person, auction and bid; {name} {wanted}"
        );
        Err(Error::user("NEXMARK_COLUMNS", message))
    };
    if table.len() != columns::FIELDS.len() {
        return wrong("this one", &format!("has {} columns", table.len()));
    }
    for (column, (name, fields)) in table.columns().iter().zip(columns::FIELDS) {
        let found: Vec<&str> = match &column.data_type.logical {
            LogicalType::Row(fields) => fields.iter().map(|f| f.name.as_str()).collect(),
            _ => Vec::new(),
        };
        if column.name != name
            || !fields.starts_with(&found)
            || found.is_empty() != fields.is_empty()
        {
            return wrong(
                &format!("'{}'", column.name),
                &format!("should be '{name}' with {fields:?}"),
            );
        }
    }
    Ok(())
}
