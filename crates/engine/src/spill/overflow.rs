//! Files for operators whose state is not kept by key: they say themselves what goes there.

use std::sync::Arc;

use flott_core::Result;
use flott_core::metrics::OperatorMetrics;
use flott_core::operator::{Overflow, RowsReader, StateRows};
use parking_lot::Mutex;

use super::files::{SpillFolder, write_rows};
use super::pool::Member;
use super::{MemoryPool, SpillConfig};

/// Of what the pool has left for an operator, what it may keep, in percent: to work on it takes a
/// few times as much.
const KEPT_PERCENT: usize = 20;

/// One subtask's files.
pub(super) struct FileOverflow {
    config: SpillConfig,
    pool: Arc<MemoryPool>,
    metrics: Arc<OperatorMetrics>,
    /// Those who never ask for memory are no members.
    member: Mutex<Option<Member>>,
    folder: Mutex<Option<Arc<SpillFolder>>>,
}

impl FileOverflow {
    pub fn new(config: SpillConfig, pool: Arc<MemoryPool>, metrics: Arc<OperatorMetrics>) -> Self {
        Self {
            config,
            pool,
            metrics,
            member: Mutex::new(None),
            folder: Mutex::new(None),
        }
    }
}

impl Overflow for FileOverflow {
    fn may_keep(&self, bytes: usize) -> bool {
        let mut member = self.member.lock();
        let member = member.get_or_insert_with(|| self.pool.join());
        member.set(bytes);
        self.metrics.state_size_bytes.set(bytes as i64);
        bytes <= member.limit() / 100 * KEPT_PERCENT
    }

    fn write(&self, rows: RowsReader<'_>) -> Result<StateRows> {
        let folder = {
            let mut folder = self.folder.lock();
            match &*folder {
                Some(folder) => folder.clone(),
                None => {
                    let new = SpillFolder::create(&self.config.folder, &self.metrics)?;
                    folder.insert(new).clone()
                }
            }
        };
        self.metrics.num_state_evictions.add(1);
        write_rows(&folder, rows)
    }
}
