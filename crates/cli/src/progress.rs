//! The line that shows what a job does, on a terminal only.

use std::cell::Cell;
use std::io::IsTerminal;
use std::time::Duration;

use flott_core::clock::{Clock, Stopwatch, SystemClock};
use flott_core::text::datetime::write_timestamp;
use flott_engine::JobHandle;
use indicatif::{ProgressBar, ProgressStyle};

/// Rows per second in and out, watermark and its lag, time elapsed.
pub struct Progress {
    bar: Option<ProgressBar>,
    watch: Stopwatch,
    /// Seconds, rows in and rows out at the last look.
    last: Cell<(f64, u64, u64)>,
}

/// A job that ends sooner shows no line.
const QUIET: Duration = Duration::from_millis(500);

impl Progress {
    /// A line on standard error when that is a terminal.
    pub fn start() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new_spinner();
            if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
                bar.set_style(style);
            }
            bar
        });
        Self {
            bar,
            watch: Stopwatch::start(),
            last: Cell::new((0.0, 0, 0)),
        }
    }

    /// Brings the line up to date.
    pub fn show(&self, handle: &JobHandle) {
        let Some(bar) = self.bar.as_ref().filter(|_| self.watch.elapsed() > QUIET) else {
            return;
        };
        let progress = handle.progress();
        let now = self.watch.elapsed().as_secs_f64();
        let (then, rows_in, rows_out) = self.last.get();
        if now - then < 0.2 {
            return;
        }
        self.last
            .set((now, progress.num_records_in, progress.num_records_out));
        let rate = |new: u64, old: u64| short((new.saturating_sub(old)) as f64 / (now - then));
        bar.set_message(format!(
            "in {} ({}/s)  out {} ({}/s)  watermark {}  {:.0} s",
            short(progress.num_records_in as f64),
            rate(progress.num_records_in, rows_in),
            short(progress.num_records_out as f64),
            rate(progress.num_records_out, rows_out),
            watermark(progress.watermark),
            now
        ));
        bar.tick();
    }

    /// Prints something without tearing the line.
    pub fn suspend<T>(&self, print: impl FnOnce() -> T) -> T {
        match &self.bar {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }

    pub fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// `12.3 k`, `4.5 M`.
fn short(number: f64) -> String {
    match number {
        n if n >= 1e9 => format!("{:.1} G", n / 1e9),
        n if n >= 1e6 => format!("{:.1} M", n / 1e6),
        n if n >= 1e4 => format!("{:.1} k", n / 1e3),
        n => format!("{n:.0}"),
    }
}

fn watermark(ms: i64) -> String {
    match ms {
        i64::MIN => "none".into(),
        i64::MAX => "at the end".into(),
        ms => {
            let mut text = String::new();
            write_timestamp(ms, 3, &mut text);
            let lag = (SystemClock.now_ms() - ms) as f64 / 1000.0;
            format!("{text} (lag {} s)", short(lag))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_shortened() {
        assert_eq!(short(999.0), "999");
        assert_eq!(short(12_300.0), "12.3 k");
        assert_eq!(short(4_500_000.0), "4.5 M");
    }
}
