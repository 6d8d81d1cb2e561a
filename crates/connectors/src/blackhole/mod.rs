//! `'connector' = 'blackhole'`: takes every row and keeps none.

use std::sync::Arc;

use flott_core::changelog::{ChangelogBatch, ChangelogMode};
use flott_core::connector::{ConnectorFactory, SinkRequest, TableContext};
use flott_core::options::OptionDef;
use flott_core::sink::{Committable, SinkWriter, TableSink, WriterContext};
use flott_core::source::{ScanRequest, TableSource};
use flott_core::{Error, Result};

/// The connector.
pub struct Blackhole;

impl ConnectorFactory for Blackhole {
    fn identifier(&self) -> &'static str {
        "blackhole"
    }

    fn options(&self) -> &'static [OptionDef] {
        &[]
    }

    fn doc(&self) -> &'static str {
        "takes every row and keeps none; sink only"
    }

    fn example(&self) -> &'static str {
        include_str!("example.sql")
    }

    fn create_source(&self, _: TableContext<'_>, _: ScanRequest) -> Result<Arc<dyn TableSource>> {
        let message = "connector 'blackhole' can be written, not read";
        Err(Error::user("NOT_A_SOURCE", message))
    }

    fn create_sink(&self, context: TableContext<'_>, _: SinkRequest) -> Result<Arc<dyn TableSink>> {
        context.options.check("connector 'blackhole'", &[])?;
        Ok(Arc::new(BlackholeSink))
    }
}

struct BlackholeSink;

impl TableSink for BlackholeSink {
    fn changelog_mode(&self, offered: ChangelogMode) -> Result<ChangelogMode> {
        // -U rows would only be thrown away: they need not be made.
        Ok(ChangelogMode {
            update_before: false,
            ..offered
        })
    }

    fn create_writer(&self, _: WriterContext) -> Result<Box<dyn SinkWriter>> {
        Ok(Box::new(BlackholeWriter))
    }
}

struct BlackholeWriter;

impl SinkWriter for BlackholeWriter {
    fn write(&mut self, _: &ChangelogBatch) -> Result<()> {
        Ok(())
    }

    fn prepare_commit(&mut self, _: bool) -> Result<Vec<Committable>> {
        Ok(Vec::new())
    }
}
