//! `'connector' = 'print'`: writes each row to standard output or standard error.
//!
//! A line is `+I[1, a]`, preceded by `identifier>` where `print-identifier` is set, and by the
//! subtask (`identifier:2>`, `2>`) where several subtasks write, as in Flink.

use std::io::Write;
use std::sync::Arc;

use flott_core::changelog::{ChangelogBatch, ChangelogMode};
use flott_core::connector::{ConnectorFactory, SinkRequest, TableContext};
use flott_core::options::{OptionDef, OptionType};
use flott_core::schema::Schema;
use flott_core::sink::{Committable, SinkWriter, TableSink, WriterContext};
use flott_core::source::{ScanRequest, TableSource};
use flott_core::text::{TextOptions, format_value};
use flott_core::{Error, Result};

const IDENTIFIER: OptionDef = OptionDef::new(
    "print-identifier",
    OptionType::String,
    "put before each line, so that several tables can be told apart",
)
.example("hello");
const STANDARD_ERROR: OptionDef = OptionDef::new(
    "standard-error",
    OptionType::Boolean,
    "write to standard error",
)
.default("false");
const PARALLELISM: OptionDef = OptionDef::new(
    "sink.parallelism",
    OptionType::Integer,
    "parallelism of the sink",
);
const OPTIONS: &[OptionDef] = &[IDENTIFIER, STANDARD_ERROR, PARALLELISM];

/// The connector.
pub struct Print;

impl ConnectorFactory for Print {
    fn identifier(&self) -> &'static str {
        "print"
    }

    fn options(&self) -> &'static [OptionDef] {
        OPTIONS
    }

    fn doc(&self) -> &'static str {
        "writes each row to standard output; sink only"
    }

    fn example(&self) -> &'static str {
        include_str!("example.sql")
    }

    fn create_source(&self, _: TableContext<'_>, _: ScanRequest) -> Result<Arc<dyn TableSource>> {
        Err(Error::user(
            "NOT_A_SOURCE",
            "connector 'print' can be written, not read",
        ))
    }

    fn create_sink(&self, context: TableContext<'_>, _: SinkRequest) -> Result<Arc<dyn TableSink>> {
        context.options.check("connector 'print'", &[OPTIONS])?;
        Ok(Arc::new(PrintSink {
            schema: context.table.sink_schema(),
            identifier: context.options.text(&IDENTIFIER).map(str::to_string),
            to_stderr: context
                .options
                .boolean(&STANDARD_ERROR)?
                .unwrap_or_default(),
            parallelism: context
                .options
                .integer(&PARALLELISM)?
                .map(|n| n.max(1) as usize),
            text: TextOptions {
                time_zone: chrono_tz::UTC,
                is_printing: true,
            },
        }))
    }
}

struct PrintSink {
    schema: Schema,
    identifier: Option<String>,
    to_stderr: bool,
    parallelism: Option<usize>,
    text: TextOptions,
}

impl TableSink for PrintSink {
    fn changelog_mode(&self, offered: ChangelogMode) -> Result<ChangelogMode> {
        Ok(offered)
    }

    fn keeps_changes(&self) -> bool {
        true
    }

    fn parallelism(&self) -> Option<usize> {
        self.parallelism
    }

    fn create_writer(&self, context: WriterContext) -> Result<Box<dyn SinkWriter>> {
        let subtask = (context.parallelism > 1).then(|| (context.subtask + 1).to_string());
        let prefix = match (&self.identifier, subtask) {
            (Some(identifier), Some(subtask)) => format!("{identifier}:{subtask}> "),
            (Some(identifier), None) => format!("{identifier}> "),
            (None, Some(subtask)) => format!("{subtask}> "),
            (None, None) => String::new(),
        };
        Ok(Box::new(PrintWriter {
            schema: self.schema.clone(),
            prefix,
            to_stderr: self.to_stderr,
            text: self.text,
            lines: String::new(),
        }))
    }
}

struct PrintWriter {
    schema: Schema,
    prefix: String,
    to_stderr: bool,
    text: TextOptions,
    lines: String,
}

impl PrintWriter {
    fn push_row(&mut self, batch: &ChangelogBatch, row: usize) -> Result<()> {
        self.lines.push_str(&self.prefix);
        self.lines.push_str(batch.kind(row).symbol());
        self.lines.push('[');
        for (index, column) in self.schema.columns().iter().enumerate() {
            if index > 0 {
                self.lines.push_str(", ");
            }
            let values = batch.column(index);
            if values.is_null(row) {
                self.lines.push_str("null");
            } else {
                let data_type = &column.data_type.logical;
                format_value(values, row, data_type, &self.text, &mut self.lines)?;
            }
        }
        self.lines.push_str("]\n");
        Ok(())
    }
}

impl SinkWriter for PrintWriter {
    fn write(&mut self, batch: &ChangelogBatch) -> Result<()> {
        self.lines.clear();
        for row in 0..batch.num_rows() {
            self.push_row(batch, row)?;
        }
        let bytes = self.lines.as_bytes();
        let written = match self.to_stderr {
            true => std::io::stderr().lock().write_all(bytes),
            false => std::io::stdout().lock().write_all(bytes),
        };
        written.map_err(|error| Error::io("standard output", &error))
    }

    fn prepare_commit(&mut self, _: bool) -> Result<Vec<Committable>> {
        Ok(Vec::new())
    }
}
