//! Results as a table and as JSON.

use comfy_table::{Cell, CellAlignment, Table, presets};
use serde_json::{Value, json};

use super::latency::Latency;
use super::statistics::{geometric_mean, median_by};
use crate::commands::bench::measure::Usage;

/// One query on one engine.
#[derive(Debug, Clone, PartialEq)]
pub struct Side {
    pub runs: Vec<Usage>,
    /// What an empty job takes, which is taken off: seconds of wall and of processor time.
    pub startup: (f64, f64),
}

/// The median run, by processor time, without the start.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Figures {
    pub wall_s: f64,
    pub cpu_s: f64,
    pub peak_bytes: u64,
    pub events_per_s: f64,
    pub events_per_cpu_s: f64,
}

/// A start that is taken off leaves at least this much: the job was too short to be measured.
const LEAST_SECONDS: f64 = 0.01;

impl Side {
    /// `None` when a run failed or did not end in time.
    pub fn figures(&self, events: u64) -> Option<Figures> {
        if self
            .runs
            .iter()
            .any(|r| r.is_timed_out || r.failure.is_some())
        {
            return None;
        }
        let run = median_by(&self.runs, |r| r.cpu_s)?;
        let wall_s = (run.wall_s - self.startup.0).max(LEAST_SECONDS);
        let cpu_s = (run.cpu_s - self.startup.1).max(LEAST_SECONDS);
        Some(Figures {
            wall_s,
            cpu_s,
            peak_bytes: run.peak_bytes,
            events_per_s: events as f64 / wall_s,
            events_per_cpu_s: events as f64 / cpu_s,
        })
    }

    /// Why there are no figures.
    pub fn trouble(&self) -> Option<String> {
        let run = self.runs.last()?;
        match &run.failure {
            Some(failure) => Some(format!("failed: {failure}")),
            None if run.is_timed_out => Some(format!(
                "not done after {:.0} s and {:.0} s of processor time",
                run.wall_s, run.cpu_s
            )),
            None => None,
        }
    }

    fn to_json(&self, events: u64) -> Value {
        let runs = self.runs.iter().map(|r| {
            json!({
                "wall_s": r.wall_s,
                "cpu_s": r.cpu_s,
                "peak_bytes": r.peak_bytes,
                "timed_out": r.is_timed_out,
                "failure": r.failure,
            })
        });
        let median = self.figures(events).map(|f| {
            json!({
                "wall_s": f.wall_s,
                "cpu_s": f.cpu_s,
                "peak_bytes": f.peak_bytes,
                "events_per_s": f.events_per_s,
                "events_per_cpu_s": f.events_per_cpu_s,
            })
        });
        json!({
            "runs": runs.collect::<Vec<_>>(),
            "startup_wall_s": self.startup.0,
            "startup_cpu_s": self.startup.1,
            "median": median,
        })
    }
}

/// One query on both.
#[derive(Debug, Clone, PartialEq)]
pub struct QueryResult {
    pub query: &'static str,
    pub events: u64,
    pub flott: Side,
    pub flink: Option<Side>,
}

impl QueryResult {
    pub fn flott_figures(&self) -> Option<Figures> {
        self.flott.figures(self.events)
    }

    pub fn flink_figures(&self) -> Option<Figures> {
        self.flink.as_ref()?.figures(self.events)
    }

    /// How many times Flink's events per processor second, and how many times less memory.
    pub fn ratios(&self) -> Option<(f64, f64)> {
        let (ours, theirs) = (self.flott_figures()?, self.flink_figures()?);
        Some((
            ours.events_per_cpu_s / theirs.events_per_cpu_s,
            theirs.peak_bytes as f64 / ours.peak_bytes as f64,
        ))
    }
}

/// Everything that was measured.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Report {
    pub results: Vec<QueryResult>,
    pub latencies: Vec<Latency>,
    /// Machine, versions and settings.
    pub about: Value,
}

impl Report {
    /// Means over the queries that both engines have done, or that ours has without another:
    /// our events per processor second, Flink's, and the ratios of speed and of memory.
    fn means(&self) -> [Option<f64>; 4] {
        let is_compared = self.results.iter().any(|r| r.flink.is_some());
        let counted = || {
            self.results
                .iter()
                .filter(|r| r.flott_figures().is_some())
                .filter(|r| !is_compared || r.flink_figures().is_some())
        };
        let speed = |f: Option<Figures>| Some(f?.events_per_cpu_s);
        let ratios = || counted().filter_map(QueryResult::ratios);
        [
            geometric_mean(counted().filter_map(|r| speed(r.flott_figures()))),
            geometric_mean(counted().filter_map(|r| speed(r.flink_figures()))),
            geometric_mean(ratios().map(|r| r.0)),
            geometric_mean(ratios().map(|r| r.1)),
        ]
    }

    /// Whether every query ran to its end on our side.
    pub fn is_complete(&self) -> bool {
        self.results.iter().all(|r| r.flott_figures().is_some())
    }

    pub fn to_json(&self) -> Value {
        let results = self.results.iter().map(|r| {
            json!({
                "query": r.query,
                "events": r.events,
                "flott": r.flott.to_json(r.events),
                "flink": r.flink.as_ref().map(|f| f.to_json(r.events)),
                "speed_ratio": r.ratios().map(|r| r.0),
                "memory_ratio": r.ratios().map(|r| r.1),
            })
        });
        let latencies = self.latencies.iter().map(|l| {
            json!({
                "query": l.query,
                "events_per_s": l.rate,
                "events": l.events,
                "rows": l.rows,
                "p50_us": l.p50_us,
                "p99_us": l.p99_us,
                "max_us": l.max_us,
            })
        });
        let [flott, flink, speed, memory] = self.means();
        json!({
            "about": self.about,
            "queries": results.collect::<Vec<_>>(),
            "latencies": latencies.collect::<Vec<_>>(),
            "geometric_mean": {
                "flott_events_per_cpu_s": flott,
                "flink_events_per_cpu_s": flink,
                "speed_ratio": speed,
                "memory_ratio": memory,
            },
        })
    }

    /// Throughput; a row for each query and engine.
    pub fn table(&self) -> Table {
        let is_compared = self.results.iter().any(|r| r.flink.is_some());
        let mut table = new_table(&HEADER[..if is_compared { 10 } else { 8 }]);
        for result in &self.results {
            let ratios = result.ratios().map_or([String::new(), String::new()], |r| {
                [format!("{:.1} ×", r.0), format!("{:.1} ×", r.1)]
            });
            let ours = side_cells(&result.flott, result.events);
            let first = [result.query.to_string(), "flott".into()];
            add_row(&mut table, first.into_iter().chain(ours).chain(ratios));
            if let Some(flink) = &result.flink {
                let theirs = side_cells(flink, result.events);
                add_row(
                    &mut table,
                    [String::new(), "flink".into()].into_iter().chain(theirs),
                );
            }
        }
        let [flott, flink, speed, memory] = self.means();
        let mean_row = |engine: &str, mean: f64, ratios: [String; 2]| {
            let mut row = vec![String::new(); 8];
            (row[0], row[1], row[6]) = ("mean".into(), engine.into(), grouped(mean));
            row.into_iter().chain(ratios)
        };
        let times = |ratio: Option<f64>| ratio.map_or(String::new(), |r| format!("{r:.1} ×"));
        if let Some(mean) = flott {
            add_row(
                &mut table,
                mean_row("flott", mean, [times(speed), times(memory)]),
            );
        }
        if let Some(mean) = flink {
            add_row(&mut table, mean_row("flink", mean, Default::default()));
        }
        table
    }

    /// Latencies; a row for each query that has one.
    pub fn latency_table(&self) -> Table {
        let header = ["query", "events/s", "rows", "p50 ms", "p99 ms", "max ms"];
        let mut table = new_table(&header);
        for l in &self.latencies {
            let ms = |us: i64| format!("{:.2}", us as f64 / 1000.0);
            let row = [
                l.query.to_string(),
                grouped(l.rate as f64),
                grouped(l.rows as f64),
                ms(l.p50_us),
                ms(l.p99_us),
                ms(l.max_us),
            ];
            add_row(&mut table, row);
        }
        table
    }

    /// What went wrong, a line each.
    pub fn troubles(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for result in &self.results {
            let sides = [
                ("flott", Some(&result.flott)),
                ("flink", result.flink.as_ref()),
            ];
            for (engine, side) in sides {
                if let Some(trouble) = side.and_then(Side::trouble) {
                    lines.push(format!("{} on {engine}: {trouble}", result.query));
                }
            }
        }
        lines
    }
}

const HEADER: [&str; 10] = [
    "query",
    "engine",
    "events",
    "wall s",
    "events/s",
    "cpu s",
    "events per cpu second",
    "peak MB",
    "speed",
    "memory",
];

fn new_table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_FULL_CONDENSED);
    table.set_header(header);
    table
}

/// Cells beyond the header's are left out.
fn add_row(table: &mut Table, cells: impl IntoIterator<Item = String>) {
    let width = table.header().map_or(0, |h| h.cell_iter().count());
    let aligned = cells.into_iter().take(width).enumerate().map(|(i, text)| {
        let is_number = text.starts_with(|c: char| c.is_ascii_digit() || c == '>');
        let alignment = if is_number && i > 0 {
            CellAlignment::Right
        } else {
            CellAlignment::Left
        };
        Cell::new(text).set_alignment(alignment)
    });
    table.add_row(aligned.collect::<Vec<_>>());
}

/// Events to peak; of a run that did not end, how far it went.
fn side_cells(side: &Side, events: u64) -> [String; 6] {
    let megabytes = |bytes: u64| format!("{:.0}", bytes as f64 / 1e6);
    if let Some(f) = side.figures(events) {
        return [
            grouped(events as f64),
            format!("{:.2}", f.wall_s),
            grouped(f.events_per_s),
            format!("{:.2}", f.cpu_s),
            grouped(f.events_per_cpu_s),
            megabytes(f.peak_bytes),
        ];
    }
    match side.runs.iter().find(|r| r.is_timed_out) {
        Some(run) => [
            grouped(events as f64),
            format!("> {:.0}", run.wall_s),
            "timed out".into(),
            format!("> {:.0}", run.cpu_s),
            String::new(),
            format!("> {}", megabytes(run.peak_bytes)),
        ],
        None => ["failed", "", "", "", "", ""].map(String::from),
    }
}

/// `1,234,567`.
fn grouped(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
pub mod tests {
    use super::*;

    fn usage(cpu_s: f64) -> Usage {
        Usage {
            wall_s: cpu_s,
            cpu_s,
            peak_bytes: 100_000_000,
            is_timed_out: false,
            failure: None,
        }
    }

    fn side(cpu_s: f64, startup: f64) -> Side {
        Side {
            runs: vec![usage(cpu_s * 3.0), usage(cpu_s), usage(cpu_s / 3.0)],
            startup: (startup, startup),
        }
    }

    /// Two queries; the second one did not end on Flink.
    pub fn report() -> Report {
        let mut late = side(0.0, 0.0);
        late.runs = vec![Usage {
            is_timed_out: true,
            ..usage(600.0)
        }];
        Report {
            results: vec![
                QueryResult {
                    query: "q0",
                    events: 1_000_000,
                    flott: side(1.0, 0.0),
                    flink: Some(side(12.0, 2.0)),
                },
                QueryResult {
                    query: "q7",
                    events: 1_000_000,
                    flott: side(4.0, 0.0),
                    flink: Some(late),
                },
            ],
            ..Report::default()
        }
    }

    #[test]
    fn the_start_is_taken_off_the_median_run() {
        let figures = report().results[0].flink_figures().unwrap();
        assert_eq!((figures.cpu_s, figures.events_per_cpu_s), (10.0, 100_000.0));
    }

    #[test]
    fn means_are_of_what_both_have_done() {
        let [flott, flink, speed, memory] = report().means();
        let close = |a: Option<f64>, b: f64| (a.unwrap() / b - 1.0).abs() < 1e-9;
        assert!(close(flott, 1e6) && close(flink, 1e5) && close(speed, 10.0));
        assert!(close(memory, 1.0));
    }

    #[test]
    fn the_table_shows_ratios_and_time_outs() {
        let text = report().table().to_string();
        assert!(text.contains("10.0 ×"), "{text}");
        assert!(text.contains("1,000,000"), "{text}");
        assert!(
            text.contains("> 600") && text.contains("timed out"),
            "{text}"
        );
        let troubles = report().troubles();
        assert_eq!(troubles.len(), 1);
        assert!(
            troubles[0].starts_with("q7 on flink: not done"),
            "{troubles:?}"
        );
    }

    #[test]
    fn without_flink_there_are_no_columns_for_it() {
        let mut report = report();
        report.results.iter_mut().for_each(|r| r.flink = None);
        let text = report.table().to_string();
        assert!(!text.contains("speed"), "{text}");
        assert!(
            text.contains("500,000"),
            "the mean of 1,000,000 and 250,000: {text}"
        );
    }

    #[test]
    fn json_has_every_run() {
        let json = report().to_json();
        assert_eq!(
            json["queries"][0]["flott"]["runs"]
                .as_array()
                .unwrap()
                .len(),
            3
        );
        assert_eq!(json["queries"][1]["flink"]["median"], Value::Null);
        assert_eq!(json["queries"][0]["speed_ratio"], 10.0);
    }

    #[test]
    fn numbers_are_grouped() {
        assert_eq!(grouped(999.0), "999");
        assert_eq!(grouped(1_234_567.4), "1,234,567");
    }
}
