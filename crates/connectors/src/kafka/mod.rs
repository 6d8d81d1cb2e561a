//! `kafka` and `upsert-kafka`: tables that are topics.
//!
//! Reading: each partition is a split, read in order; its position is part of every checkpoint, so
//! that after a failure reading goes on with the next message. `properties.group.id` names the
//! consumer group that positions are committed for too, for others to see. New topics and
//! partitions are found while the job runs.
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
mod sink;
mod source;
mod split;
mod table;
mod transactions;
mod writer;

use std::sync::Arc;

use flott_core::Result;
use flott_core::connector::{ConnectorFactory, MetadataColumn, SinkRequest, TableContext};
use flott_core::options::OptionDef;
use flott_core::sink::TableSink;
use flott_core::source::{ScanRequest, TableSource};

use source::KafkaSource;
use table::MessageLayout;

/// The connector `kafka`.
pub struct KafkaConnector;

/// The connector `upsert-kafka`.
pub struct UpsertKafkaConnector;

fn create_source(
    connector: &dyn ConnectorFactory,
    context: &TableContext<'_>,
    request: &ScanRequest,
) -> Result<Arc<dyn TableSource>> {
    let name = connector.identifier();
    let layout = MessageLayout::new(context, name, connector.options())?;
    Ok(Arc::new(KafkaSource::new(context, layout, request, name)?))
}

fn create_sink(
    connector: &dyn ConnectorFactory,
    context: &TableContext<'_>,
) -> Result<Arc<dyn TableSink>> {
    let name = connector.identifier();
    let layout = MessageLayout::new(context, name, connector.options())?;
    Ok(Arc::new(sink::KafkaSink::new(context, layout, name)?))
}

impl ConnectorFactory for KafkaConnector {
    fn identifier(&self) -> &'static str {
        "kafka"
    }

    fn options(&self) -> &'static [OptionDef] {
        options::KAFKA
    }

    fn doc(&self) -> &'static str {
        "topics of Apache Kafka"
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
        create_source(self, &context, &request)
    }

    fn create_sink(
        &self,
        context: TableContext<'_>,
        _request: SinkRequest,
    ) -> Result<Arc<dyn TableSink>> {
        create_sink(self, &context)
    }
}

impl ConnectorFactory for UpsertKafkaConnector {
    fn identifier(&self) -> &'static str {
        "upsert-kafka"
    }

    fn options(&self) -> &'static [OptionDef] {
        options::UPSERT_KAFKA
    }

    fn doc(&self) -> &'static str {
        "topics of Apache Kafka as the latest row of each key"
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
        create_source(self, &context, &request)
    }

    fn create_sink(
        &self,
        context: TableContext<'_>,
        _request: SinkRequest,
    ) -> Result<Arc<dyn TableSink>> {
        create_sink(self, &context)
    }
}
