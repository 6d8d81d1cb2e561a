//! One budget of memory for the state of all subtasks of a job.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A budget that its members share: each may take what the others leave, and at least its even
/// share. A member that has more than its share gives it back when others need theirs.
#[derive(Debug)]
pub struct MemoryPool {
    budget: usize,
    used: AtomicUsize,
    num_members: AtomicUsize,
}

impl MemoryPool {
    /// A pool of so many bytes.
    pub fn new(budget: usize) -> Arc<Self> {
        Arc::new(Self {
            budget,
            used: AtomicUsize::new(0),
            num_members: AtomicUsize::new(0),
        })
    }

    /// What the members have taken.
    pub fn used_bytes(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    pub(super) fn join(self: &Arc<Self>) -> Member {
        self.num_members.fetch_add(1, Ordering::Relaxed);
        Member {
            pool: self.clone(),
            used: 0,
        }
    }
}

/// One subtask's part in a pool.
#[derive(Debug)]
pub(super) struct Member {
    pool: Arc<MemoryPool>,
    used: usize,
}

impl Member {
    /// This member has so many bytes now.
    pub fn set(&mut self, bytes: usize) {
        // Adding first: the sum never falls below what is used.
        self.pool.used.fetch_add(bytes, Ordering::Relaxed);
        self.pool.used.fetch_sub(self.used, Ordering::Relaxed);
        self.used = bytes;
    }

    /// How many bytes this member may have.
    pub fn limit(&self) -> usize {
        let members = self.pool.num_members.load(Ordering::Relaxed).max(1);
        let others = self.pool.used_bytes().saturating_sub(self.used);
        let left = self.pool.budget.saturating_sub(others);
        left.max(self.pool.budget / members)
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.set(0);
        self.pool.num_members.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_have_what_others_leave_and_at_least_their_share() {
        let pool = MemoryPool::new(1000);
        let (mut a, b) = (pool.join(), pool.join());
        assert_eq!((a.limit(), b.limit()), (1000, 1000));
        a.set(900);
        assert_eq!((a.limit(), b.limit()), (1000, 500));
        let mut b = b;
        b.set(400);
        assert_eq!((a.limit(), b.limit()), (600, 500));
        a.set(0);
        assert_eq!(pool.used_bytes(), 400);
        drop(b);
        assert_eq!((a.limit(), pool.used_bytes()), (1000, 0));
    }
}
