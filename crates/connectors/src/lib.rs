//! Connectors: what stands behind a table's `'connector' = '…'`. The list is [`all`].

pub mod blackhole;
pub mod datagen;
pub mod filesystem;
pub mod kafka;
pub mod nexmark;
pub mod print;
pub mod script;

use std::sync::Arc;

use flott_core::connector::ConnectorFactory;

/// Every connector, but for [`script`], whose rows come from a test.
pub fn all() -> Vec<Arc<dyn ConnectorFactory>> {
    vec![
        Arc::new(blackhole::Blackhole),
        Arc::new(datagen::Datagen),
        Arc::new(filesystem::FilesystemConnector),
        Arc::new(kafka::KafkaConnector::PLAIN),
        Arc::new(nexmark::Nexmark),
        Arc::new(print::Print),
        Arc::new(kafka::KafkaConnector::UPSERT),
    ]
}
