//! Connectors: what stands behind a table's `'connector' = '…'`. The list is [`all`].

pub mod filesystem;

use std::sync::Arc;

use flott_core::connector::ConnectorFactory;

/// Every connector.
pub fn all() -> Vec<Arc<dyn ConnectorFactory>> {
    vec![Arc::new(filesystem::FilesystemConnector)]
}
