//! `kafka` and `upsert-kafka`: tables that are topics.
//!
//! Reading: each partition is a split, read in order; its position is part of every checkpoint, so
//! that after a failure reading goes on with the next message. `properties.group.id` names the
//! consumer group that positions are committed for too, for others to see. New topics and
//! partitions are found while the job runs. Watermarks are made partition by partition. Messages that
//! cannot be read fail the job, or go to the table that `dead-letter.table` names.
//!
//! Writing: `sink.delivery-guarantee` says what holds after a failure. With `exactly-once` the
//! messages between two checkpoints are one transaction of each writer, committed when the
//! checkpoint is complete; readers with `isolation.level = read_committed` see each row once.
//!
//! `upsert-kafka` reads a topic as the latest row of each key, and writes updates by key and
//! deletions as messages without a value.

mod batch;
mod codec;
mod decode;
mod discovery;
mod metadata;
mod native;
mod offsets;
mod options;
mod pool;
mod producer;
mod properties;
mod protocol;
mod reader;
mod rotation;
mod sasl;
mod security;
mod sink;
mod source;
mod split;
mod table;
mod tls;
mod transactions;
mod writer;

use std::sync::Arc;

use flott_core::Result;
use flott_core::connector::{ConnectorFactory, MetadataColumn, SinkRequest, TableContext};
use flott_core::options::OptionDef;
use flott_core::sink::TableSink;
use flott_core::source::{ScanRequest, TableSource};

use sink::KafkaSink;
use source::KafkaSource;
use table::MessageLayout;

/// The connectors `kafka` and `upsert-kafka`.
pub struct KafkaConnector {
    identifier: &'static str,
    options: &'static [OptionDef],
    doc: &'static str,
}

impl KafkaConnector {
    /// Messages as rows.
    pub const PLAIN: Self = Self {
        identifier: "kafka",
        options: options::KAFKA,
        doc: "topics of Apache Kafka",
    };
    /// Messages as the latest row of each key.
    pub const UPSERT: Self = Self {
        identifier: "upsert-kafka",
        options: options::UPSERT_KAFKA,
        doc: "topics of Apache Kafka as the latest row of each key",
    };
}

impl ConnectorFactory for KafkaConnector {
    fn identifier(&self) -> &'static str {
        self.identifier
    }

    fn options(&self) -> &'static [OptionDef] {
        self.options
    }

    fn doc(&self) -> &'static str {
        self.doc
    }

    fn example(&self) -> &'static str {
        include_str!("example.sql")
    }

    fn metadata_columns(&self) -> Vec<MetadataColumn> {
        metadata::columns()
    }

    fn create_source(
        &self,
        context: TableContext<'_>,
        request: ScanRequest,
    ) -> Result<Arc<dyn TableSource>> {
        let layout = MessageLayout::new(&context, self.identifier, self.options)?;
        let source = KafkaSource::new(&context, layout, &request, self.identifier)?;
        Ok(Arc::new(source))
    }

    fn create_sink(
        &self,
        context: TableContext<'_>,
        _request: SinkRequest,
    ) -> Result<Arc<dyn TableSink>> {
        let layout = MessageLayout::new(&context, self.identifier, self.options)?;
        Ok(Arc::new(KafkaSink::new(&context, layout, self.identifier)?))
    }
}
