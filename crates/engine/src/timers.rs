//! Processing-time timers of one worker's hosts.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use timely::scheduling::Activator;

const NEVER: i64 = i64::MAX;

/// When one host wants to run next.
#[derive(Clone)]
pub struct Timer(Rc<Cell<i64>>);

impl Timer {
    pub fn set(&self, time_ms: Option<i64>) {
        self.0.set(time_ms.unwrap_or(NEVER));
    }

    pub fn clear(&self) {
        self.0.set(NEVER);
    }
}

/// The timers of all hosts of a worker.
#[derive(Default)]
pub struct Timers {
    hosts: Vec<(Timer, Activator)>,
}

impl Timers {
    pub fn add(&mut self, activator: Activator) -> Timer {
        let timer = Timer(Rc::new(Cell::new(NEVER)));
        self.hosts.push((timer.clone(), activator));
        timer
    }

    /// The nearest time, in ms.
    pub fn next_ms(&self) -> Option<i64> {
        let times = self.hosts.iter().map(|(timer, _)| timer.0.get());
        times.min().filter(|&time| time != NEVER)
    }

    /// Activates the hosts whose time has come; gives how long the worker may sleep.
    pub fn activate_due(&self, now_ms: impl Fn() -> i64) -> Option<Duration> {
        let next = self.next_ms()?;
        let now_ms = now_ms();
        if next > now_ms {
            return Some(Duration::from_millis((next - now_ms) as u64));
        }
        for (timer, activator) in &self.hosts {
            if timer.0.get() <= now_ms {
                timer.clear();
                activator.activate();
            }
        }
        Some(Duration::ZERO)
    }
}
