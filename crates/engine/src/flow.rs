//! Flow control: sources wait while too many bytes are under way.
//!
//! Timely's queues are unbounded. Every batch between two hosts holds a ticket of its size from the
//! job's budget; the ticket goes back when the last receiver is done with the batch. A source that
//! finds the budget spent registers itself and is woken when half of it is free again. A source
//! that merely has nothing to read never holds back another.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;

type Wake = Box<dyn Fn() + Send>;

/// The job's budget of bytes in flight.
pub struct FlowControl {
    in_flight: AtomicUsize,
    peak: AtomicUsize,
    budget: usize,
    has_waiters: AtomicBool,
    waiters: Mutex<Vec<Wake>>,
}

impl FlowControl {
    pub fn new(budget: usize) -> Arc<Self> {
        Arc::new(Self {
            in_flight: AtomicUsize::new(0),
            peak: AtomicUsize::new(0),
            budget: budget.max(1),
            has_waiters: AtomicBool::new(false),
            waiters: Mutex::new(Vec::new()),
        })
    }

    pub fn is_open(&self) -> bool {
        self.in_flight.load(Ordering::SeqCst) < self.budget
    }

    /// The most bytes that were under way at once.
    pub fn peak_bytes(&self) -> usize {
        self.peak.load(Ordering::Relaxed)
    }

    /// Takes a batch's bytes from the budget, whether or not they fit: only sources wait.
    pub fn ticket(self: &Arc<Self>, bytes: usize) -> Arc<Ticket> {
        let now = self.in_flight.fetch_add(bytes, Ordering::SeqCst) + bytes;
        self.peak.fetch_max(now, Ordering::Relaxed);
        Arc::new(Ticket {
            flow: self.clone(),
            bytes,
        })
    }

    /// Calls `wake` once when there is room again, at once if there is already. Gives whether
    /// there is.
    pub fn wait(&self, wake: Wake) -> bool {
        let mut waiters = self.waiters.lock();
        self.has_waiters.store(true, Ordering::SeqCst);
        if self.is_open() {
            return true;
        }
        waiters.push(wake);
        false
    }

    fn give_back(&self, bytes: usize) {
        let now = self.in_flight.fetch_sub(bytes, Ordering::SeqCst) - bytes;
        if now <= self.budget / 2 && self.has_waiters.load(Ordering::SeqCst) {
            let woken = {
                let mut waiters = self.waiters.lock();
                self.has_waiters.store(false, Ordering::SeqCst);
                std::mem::take(&mut *waiters)
            };
            woken.iter().for_each(|wake| wake());
        }
    }
}

/// A batch's share of the budget.
pub struct Ticket {
    flow: Arc<FlowControl>,
    bytes: usize,
}

impl std::fmt::Debug for Ticket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Ticket({})", self.bytes)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.flow.give_back(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_waits_until_half_of_the_budget_is_free() {
        let flow = FlowControl::new(100);
        let (first, second) = (flow.ticket(60), flow.ticket(60));
        assert!(!flow.is_open());
        let is_woken = Arc::new(AtomicBool::new(false));
        let seen = is_woken.clone();
        assert!(!flow.wait(Box::new(move || seen.store(true, Ordering::SeqCst))));
        drop(first);
        assert!(!is_woken.load(Ordering::SeqCst));
        drop(second);
        assert!(is_woken.load(Ordering::SeqCst));
        assert_eq!(flow.peak_bytes(), 120);
    }

    #[test]
    fn a_ticket_of_a_parted_batch_lasts_until_its_last_part() {
        let flow = FlowControl::new(10);
        let ticket = flow.ticket(10);
        let part = ticket.clone();
        drop(ticket);
        assert!(!flow.is_open());
        drop(part);
        assert!(flow.is_open());
    }
}
