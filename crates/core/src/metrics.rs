//! Counters that operators write and reports read; no lock, no allocation while running.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that is set.
#[derive(Debug)]
pub struct Gauge(AtomicI64);

impl Gauge {
    pub const fn new(value: i64) -> Self {
        Self(AtomicI64::new(value))
    }

    #[inline]
    pub fn set(&self, value: i64) {
        self.0.store(value, Ordering::Relaxed);
    }

    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

macro_rules! metric_list {
    ($($field:ident: $type:ident = $init:expr, $name:literal, $doc:literal;)*) => {
        /// The metrics of one operator's subtask. The list is [`OperatorMetrics::LIST`].
        #[derive(Debug)]
        pub struct OperatorMetrics { $(#[doc = $doc] pub $field: $type,)* }

        impl Default for OperatorMetrics {
            fn default() -> Self {
                Self { $($field: $init,)* }
            }
        }

        impl OperatorMetrics {
            /// Every metric: Flink's name and what it says.
            pub const LIST: &'static [(&'static str, &'static str)] = &[$(($name, $doc),)*];

            /// The value of the metric of Flink's name `name`.
            pub fn get(&self, name: &str) -> Option<i64> {
                match name {
                    $($name => Some(self.$field.get() as i64),)*
                    _ => None,
                }
            }
        }
    };
}

metric_list! {
    num_records_in: Counter = Counter::default(), "numRecordsIn", "rows received";
    num_records_out: Counter = Counter::default(), "numRecordsOut", "rows sent";
    num_bytes_in: Counter = Counter::default(), "numBytesIn", "bytes read by a source";
    num_bytes_out: Counter = Counter::default(), "numBytesOut", "bytes written by a sink";
    num_records_in_errors: Counter = Counter::default(), "numRecordsInErrors", "malformed records that were skipped";
    num_dead_letters: Counter = Counter::default(), "numDeadLetters", "malformed records that were sent to the dead-letter table";
    num_late_records_dropped: Counter = Counter::default(), "numLateRecordsDropped", "rows dropped because their windows had closed";
    current_input_watermark: Gauge = Gauge::new(i64::MIN), "currentInputWatermark", "the last watermark received, in ms";
    current_output_watermark: Gauge = Gauge::new(i64::MIN), "currentOutputWatermark", "the last watermark sent, in ms";
    num_keys: Gauge = Gauge::new(0), "numKeys", "keys held in state";
    state_size_bytes: Gauge = Gauge::new(0), "stateSizeBytes", "bytes of state held in memory";
    state_size_on_disk_bytes: Gauge = Gauge::new(0), "stateSizeOnDiskBytes", "bytes in files of state that did not fit into memory, and of rows that wait for it";
    num_records_waiting: Gauge = Gauge::new(0), "numRecordsWaitingForState", "rows that wait until the state of their keys is read from files";
    num_state_evictions: Counter = Counter::default(), "numStateEvictions", "how often a part of the state was written to files to make room";
    num_state_loads: Counter = Counter::default(), "numStateLoads", "how often a part of the state was read back";
    num_bytes_spilled: Counter = Counter::default(), "numBytesSpilled", "bytes of state and of waiting rows written to files";
    num_bytes_unspilled: Counter = Counter::default(), "numBytesUnspilled", "bytes read back from these files";
    busy_time_ns: Counter = Counter::default(), "busyTimeNs", "time spent working, in nanoseconds";
    back_pressured_time_ns: Counter = Counter::default(), "backPressuredTimeNs", "time a source waited for slower operators, in nanoseconds";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_listed_metric_can_be_read() {
        let metrics = OperatorMetrics::default();
        for (name, doc) in OperatorMetrics::LIST {
            assert!(metrics.get(name).is_some(), "{name}");
            assert!(!doc.is_empty());
        }
    }
}
