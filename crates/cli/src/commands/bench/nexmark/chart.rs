//! The chart: events per processor second of each query, bars on a logarithmic scale.

use std::fmt::Write;

use super::report::{Figures, QueryResult};

/// Pixels.
const BAR: f64 = 16.0;
const GAP: f64 = 14.0;
const LEFT: f64 = 64.0;
const TOP: f64 = 56.0;
const HEIGHT: f64 = 320.0;
const BOTTOM: f64 = 36.0;
const FLOTT: &str = "#0f766e";
const FLINK: &str = "#e6526f";

/// An SVG picture; queries without a figure have a gap.
pub fn svg(results: &[QueryResult]) -> String {
    let is_compared = results.iter().any(|r| r.flink.is_some());
    let group = if is_compared { 2.0 * BAR } else { BAR } + GAP;
    let width = (LEFT + group * results.len() as f64 + GAP).max(420.0);
    let height = TOP + HEIGHT + BOTTOM;
    let scale = Scale::of(results);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"{LEFT}\" y=\"20\" font-size=\"15\">Nexmark: events per second of processor time</text>\n"
    );
    legend(&mut out, is_compared);
    axis(&mut out, &scale, width);
    for (i, result) in results.iter().enumerate() {
        let x = LEFT + GAP + group * i as f64;
        bar(&mut out, &scale, x, FLOTT, result.flott_figures());
        if is_compared {
            bar(&mut out, &scale, x + BAR, FLINK, result.flink_figures());
        }
        let middle = x + (group - GAP) / 2.0;
        let y = TOP + HEIGHT + 18.0;
        let name = result.query;
        let _ = writeln!(
            out,
            "<text x=\"{middle}\" y=\"{y}\" text-anchor=\"middle\">{name}</text>"
        );
    }
    out.push_str("</svg>\n");
    out
}

/// Whole powers of ten around all figures.
struct Scale {
    low: i32,
    high: i32,
}

impl Scale {
    fn of(results: &[QueryResult]) -> Self {
        let figures = results
            .iter()
            .flat_map(|r| [r.flott_figures(), r.flink_figures()])
            .flatten()
            .map(|f| f.events_per_cpu_s.max(1.0).log10());
        let (low, high) = figures.fold((f64::MAX, f64::MIN), |(low, high), f| {
            (low.min(f), high.max(f))
        });
        if low > high {
            return Self { low: 0, high: 1 };
        }
        // The lowest bar has a length of its own.
        let low = (low - 0.05).floor() as i32;
        Self {
            low,
            high: (high.ceil() as i32).max(low + 1),
        }
    }

    fn y(&self, power: f64) -> f64 {
        let part = (power - f64::from(self.low)) / f64::from(self.high - self.low);
        TOP + HEIGHT * (1.0 - part)
    }
}

fn legend(out: &mut String, is_compared: bool) {
    let mut entry = |x: f64, color: &str, name: &str| {
        let _ = writeln!(
            out,
            "<rect x=\"{x}\" y=\"30\" width=\"12\" height=\"12\" fill=\"{color}\"/>\
             <text x=\"{}\" y=\"41\">{name}</text>",
            x + 18.0
        );
    };
    entry(LEFT, FLOTT, "Flott");
    if is_compared {
        entry(LEFT + 80.0, FLINK, "Flink");
    }
}

fn axis(out: &mut String, scale: &Scale, width: f64) {
    for power in scale.low..=scale.high {
        let y = scale.y(f64::from(power));
        let _ = writeln!(
            out,
            "<line x1=\"{LEFT}\" x2=\"{}\" y1=\"{y}\" y2=\"{y}\" stroke=\"#d4d4d4\"/>\
             <text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>",
            width - GAP,
            LEFT - 8.0,
            y + 4.0,
            short(power)
        );
    }
}

fn bar(out: &mut String, scale: &Scale, x: f64, color: &str, figures: Option<Figures>) {
    let Some(figures) = figures else {
        return;
    };
    let y = scale.y(figures.events_per_cpu_s.max(1.0).log10());
    let _ = writeln!(
        out,
        "<rect x=\"{x}\" y=\"{y:.1}\" width=\"{BAR}\" height=\"{:.1}\" fill=\"{color}\">\
         <title>{:.0}</title></rect>",
        TOP + HEIGHT - y,
        figures.events_per_cpu_s
    );
}

/// `100 k` for 5.
fn short(power: i32) -> String {
    let unit = ["", " k", " M", " G"][(power / 3).clamp(0, 3) as usize];
    let zeros = "0".repeat((power - power / 3 * 3).max(0) as usize);
    format!("1{zeros}{unit}")
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::report;
    use super::*;

    #[test]
    fn there_is_a_bar_for_each_figure() {
        let svg = svg(&report().results);
        assert_eq!(svg.matches("<title>").count(), 3, "{svg}");
        assert!(svg.contains(">q0<") && svg.contains(">q7<") && svg.contains(">Flink<"));
        assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n"));
    }

    #[test]
    fn ten_times_is_one_step_of_the_scale() {
        let scale = Scale::of(&report().results);
        assert_eq!((scale.low, scale.high), (4, 6));
        assert_eq!(scale.y(6.0), TOP);
        assert_eq!(scale.y(5.0) - scale.y(6.0), HEIGHT / 2.0);
    }

    #[test]
    fn powers_have_names() {
        assert_eq!(
            [0, 4, 5, 6, 9].map(short),
            ["1", "10 k", "100 k", "1 M", "1 G"]
        );
    }

    #[test]
    fn nothing_measured_is_an_empty_chart() {
        assert!(!svg(&[]).contains("<title>"));
    }
}
