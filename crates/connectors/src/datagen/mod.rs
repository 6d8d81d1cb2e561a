//! `'connector' = 'datagen'`: rows of random or counted values.
//!
//! Each column is `random` (in the type's range or `fields.x.min` to `fields.x.max`) or a
//! `sequence` from `fields.x.start` to `fields.x.end`; with a sequence or `number-of-rows` the table
//! is bounded. The value of row `n` is a function of the column and `n`: equal options give equal
//! rows.

mod options;
mod source;
mod values;

use std::sync::Arc;

use flott_core::connector::{ConnectorFactory, SinkRequest, TableContext};
use flott_core::options::OptionDef;
use flott_core::sink::TableSink;
use flott_core::source::{ScanRequest, TableSource};
use flott_core::{Error, Result};

use options::OPTIONS;
use source::DatagenSource;

/// The connector.
pub struct Datagen;

impl ConnectorFactory for Datagen {
    fn identifier(&self) -> &'static str {
        "datagen"
    }

    fn options(&self) -> &'static [OptionDef] {
        OPTIONS
    }

    fn doc(&self) -> &'static str {
        "makes rows of random or counted values; source only"
    }

    fn example(&self) -> &'static str {
        include_str!("example.sql")
    }

    fn create_source(
        &self,
        context: TableContext<'_>,
        request: ScanRequest,
    ) -> Result<Arc<dyn TableSource>> {
        context.options.check("connector 'datagen'", &[OPTIONS])?;
        let table = context.table.source_schema();
        options::check_fields(context.options, &table)?;
        Ok(Arc::new(DatagenSource::plan(
            &table,
            context.options,
            &request,
        )?))
    }

    fn create_sink(&self, _: TableContext<'_>, _: SinkRequest) -> Result<Arc<dyn TableSink>> {
        let message = "connector 'datagen' is a generator: it can be read, not written";
        Err(Error::user("NOT_A_SINK", message))
    }
}
