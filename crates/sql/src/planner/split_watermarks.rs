//! Watermarks that a source makes for each of its splits, in place of an operator behind it.

use std::sync::Arc;

use flott_core::options::{OptionDef, OptionType, Options};
use flott_core::watermark::{
    ALIGNMENT_GROUP, ALIGNMENT_MAX_DRIFT, ALIGNMENT_UPDATE_INTERVAL, EMIT_STRATEGY, IDLE_TIMEOUT,
    SourceWatermarks, WatermarkAlignment,
};
use flott_core::{Error, Result};
use flott_table::operators::watermark_assigner::{DEFAULT_EMIT_INTERVAL_MS, row_watermarks};

use super::lower::Lowering;
use super::scan::AUTO_WATERMARK_INTERVAL;
use crate::expr::Expr;
use crate::plan::{Plan, Scan, Watermark};

pub(crate) const SOURCE_IDLE_TIMEOUT: OptionDef = OptionDef::new(
    "table.exec.source.idle-timeout",
    OptionType::Duration,
    "a source without rows for so long holds watermarks back no more, and if it is set neither does a partition of one; 0 is never",
)
.default("5 s");

/// A watermark over a scan's own columns.
struct Hosted<'a> {
    plan: &'a Arc<Plan>,
    scan: &'a Scan,
    time: Expr,
    expr: Expr,
}

/// The watermark of a node right above a scan, or above a projection of one.
fn over_scan(node: &Watermark) -> Option<Hosted<'_>> {
    let (plan, exprs) = match node.input.as_ref() {
        Plan::Project(project) => (&project.input, Some(&project.exprs)),
        _ => (&node.input, None),
    };
    let Plan::Scan(scan) = plan.as_ref() else {
        return None;
    };
    let time = node.input.column_expr(node.column);
    let (time, expr) = match exprs {
        None => (time, node.expr.clone()),
        Some(exprs) => (
            exprs.get(node.column)?.clone(),
            node.expr.clone().substitute_columns(exprs),
        ),
    };
    (time.is_deterministic() && expr.is_deterministic()).then_some(Hosted {
        plan,
        scan,
        time,
        expr,
    })
}

impl Lowering<'_> {
    /// Lets the source of the scan below a watermark make it, where it can; gives whether it does.
    pub(super) fn host_watermark(&mut self, node: &Watermark) -> Result<bool> {
        let Some(hosted) = over_scan(node) else {
            return Ok(false);
        };
        if self.is_lowered(hosted.plan) {
            return Ok(false);
        }
        let source = self.source_of(hosted.plan, hosted.scan)?;
        if self.context.is_normalized(source.changelog_mode())? {
            return Ok(false);
        }
        let compiler = self.compiler(&hosted.scan.schema);
        let (time, expr) = (
            compiler.compile(&hosted.time)?,
            compiler.compile(&hosted.expr)?,
        );
        let watermarks = SourceWatermarks {
            of_rows: row_watermarks(time, expr),
            emit_interval_ms: self.emit_interval_ms(hosted.scan)?,
            idle_timeout_ms: self.split_idle_timeout_ms(hosted.scan)?,
            alignment: self.alignment(hosted.scan)?,
        };
        let Some(hosting) = source.with_watermarks(watermarks) else {
            return Ok(false);
        };
        let address = Arc::as_ptr(hosted.plan) as usize;
        self.sources.insert(address, hosting);
        Ok(true)
    }

    fn emit_interval_ms(&self, scan: &Scan) -> Result<i64> {
        let strategy = scan.options.text(&EMIT_STRATEGY).unwrap_or_default();
        if strategy.eq_ignore_ascii_case("on-event") {
            return Ok(0);
        }
        let interval = self.context.config.duration(&AUTO_WATERMARK_INTERVAL)?;
        Ok(interval.map_or(DEFAULT_EMIT_INTERVAL_MS, |i| i.as_millis() as i64))
    }

    /// How long a source may be silent before it holds watermarks back no more, in ms; `None` for
    /// ever. Flink waits for ever unless told otherwise, and a window that never ends is what its
    /// users complain about most.
    pub(super) fn idle_timeout_ms(&self, scan: &Scan) -> Result<Option<i64>> {
        let of_table = scan.options.duration(&IDLE_TIMEOUT)?;
        let of_all = self.context.config.duration(&SOURCE_IDLE_TIMEOUT)?;
        let timeout_ms = of_table.or(of_all).map(|t| t.as_millis() as i64);
        Ok(timeout_ms.filter(|t| *t > 0))
    }

    /// The same of one split, whose rows others of the source overtake: never unless that is asked
    /// for, since what comes after a pause would be late.
    fn split_idle_timeout_ms(&self, scan: &Scan) -> Result<Option<i64>> {
        let is_set = |options: &Options, option: &OptionDef| options.get(option.key).is_some();
        match is_set(&scan.options, &IDLE_TIMEOUT)
            || is_set(self.context.config, &SOURCE_IDLE_TIMEOUT)
        {
            true => self.idle_timeout_ms(scan),
            false => Ok(None),
        }
    }

    fn alignment(&mut self, scan: &Scan) -> Result<Option<WatermarkAlignment>> {
        let options = &scan.options;
        let max_drift = options.duration(&ALIGNMENT_MAX_DRIFT)?;
        let (name, max_drift) = match (options.get(ALIGNMENT_GROUP.key), max_drift) {
            (None, None) => return Ok(None),
            (Some(name), Some(max_drift)) => (name, max_drift),
            _ => {
                let message = format!(
                    "table {}: '{}' and '{}' are set together",
                    scan.path, ALIGNMENT_GROUP.key, ALIGNMENT_MAX_DRIFT.key
                );
                return Err(Error::user("MISSING_OPTION", message));
            }
        };
        let interval = options.duration(&ALIGNMENT_UPDATE_INTERVAL)?;
        let interval_ms = interval.map_or(1_000, |i| i.as_millis() as i64);
        let group = self.alignment_groups.entry(name.to_string()).or_default();
        Ok(Some(WatermarkAlignment {
            group: group.clone(),
            max_drift_ms: max_drift.as_millis() as i64,
            update_interval_ms: interval_ms.max(1),
        }))
    }
}
