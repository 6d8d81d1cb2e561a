//! State larger than memory: a host that keeps parts of any keyed operator's state in files.
//!
//! A [`SpillingOperator`](host::SpillingOperator) runs one instance of the operator as long as its
//! state fits. When it grows beyond what the job's [`MemoryPool`] allows, the state is divided by
//! key group into partitions with an instance each. Partitions that do not fit are written to files
//! and their instances dropped; rows for them *wait*, in memory and then in files, until there are
//! enough of them to be worth reading the state back, or they have waited long enough. Every
//! partition sees its rows and watermarks in the order in which they came; the host sends a
//! watermark on when no partition lags behind it.
//!
//! | module | what it holds |
//! |---|---|
//! | `config` | what a job's configuration says |
//! | `pool` | one budget for the state of all subtasks of a job |
//! | `files` | folders and files, gone with their owners or their process |
//! | `split` | rows and tables by key group |
//! | `waiting` | rows that wait for the state of their partition |
//! | `partition` | an instance in memory, or its snapshot in files |
//! | `host`, `work` | the operator around the partitions: what comes in, and what is loaded when |
//! | `overflow` | files for operators whose state is not kept by key |
//! | `report` | snapshots of the whole: what has changed |

mod config;
mod files;
mod host;
mod overflow;
mod partition;
mod pool;
mod report;
mod split;
mod waiting;
mod work;

use std::sync::Arc;

use flott_core::Result;
use flott_core::graph::Node;
use flott_core::metrics::OperatorMetrics;
use flott_core::operator::{OperatorFactory, Overflow};
use flott_core::options::Options;

pub use config::{OPTIONS, SpillConfig};
pub use files::clean_stale_folders;
pub use host::SpillingFactory;
pub use pool::MemoryPool;

/// What the keyed operators of one job share.
#[derive(Debug, Clone)]
pub struct Spilling {
    pub config: SpillConfig,
    pub pool: Arc<MemoryPool>,
}

impl Spilling {
    /// Reads a job's configuration and cleans up after processes that are gone.
    ///
    /// # Errors
    /// A user error that names the option and what it takes.
    pub fn of_job(options: &Options) -> Result<Self> {
        Ok(Self::new(SpillConfig::from_options(options)?))
    }

    /// A pool of its own for this configuration.
    pub fn new(config: SpillConfig) -> Self {
        clean_stale_folders(&config.folder);
        Self {
            pool: MemoryPool::new(config.memory_bytes),
            config,
        }
    }

    /// The factory of a node of the job graph, with a host around it where its state is keyed.
    pub fn host(
        &self,
        node: &Node,
        factory: &Arc<dyn OperatorFactory>,
    ) -> Arc<dyn OperatorFactory> {
        let keys: Vec<Vec<usize>> = node.inputs.iter().map(|e| e.keys.clone()).collect();
        if keys.is_empty() || keys.iter().any(Vec::is_empty) {
            return factory.clone();
        }
        Arc::new(SpillingFactory::new(factory.clone(), keys, self.clone()))
    }

    /// Files for a subtask that says itself what goes there.
    pub fn overflow(&self, metrics: &Arc<OperatorMetrics>) -> Arc<dyn Overflow> {
        let (config, pool) = (self.config.clone(), self.pool.clone());
        Arc::new(overflow::FileOverflow::new(config, pool, metrics.clone()))
    }
}

#[cfg(test)]
mod tests;
