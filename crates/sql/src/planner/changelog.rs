//! Changelog modes: which row kinds a plan's rows can have, known before it is lowered.

use std::sync::Arc;

use flott_core::Result;
use flott_core::changelog::ChangelogMode;

use super::lower::Lowering;
use crate::plan::{Aggregate, Join, JoinKind, JoinMode, Over, Plan, Rank, Sort};

impl Lowering<'_> {
    /// The kinds of rows that the plan gives, with `-U` wherever there are updates.
    pub(super) fn mode_of(&mut self, plan: &Arc<Plan>) -> Result<ChangelogMode> {
        Ok(match plan.as_ref() {
            Plan::Scan(node) => {
                let mode = self.source_of(plan, node)?.changelog_mode();
                if mode.is_append_only() {
                    mode
                } else {
                    ChangelogMode::RETRACT
                }
            }
            Plan::Values(_) => ChangelogMode::APPEND,
            Plan::Aggregate(node) => self.aggregate_mode(node)?,
            Plan::Join(node) => self.join_mode(node)?,
            Plan::Over(node) => over_mode(node),
            Plan::Rank(node) => rank_mode(node),
            Plan::Sort(node) => self.sort_mode(node)?,
            Plan::Match(_) => ChangelogMode::APPEND,
            _ => {
                let mut mode = ChangelogMode::APPEND;
                for input in plan.inputs() {
                    mode = mode.union(self.mode_of(input)?);
                }
                mode
            }
        })
    }

    /// Whether the plan only ever adds rows.
    pub(super) fn is_append(&mut self, plan: &Arc<Plan>) -> Result<bool> {
        Ok(self.mode_of(plan)?.is_append_only())
    }

    /// Whether rows are taken back as a source says it, and nothing in between has looked whether
    /// they were there.
    pub(super) fn is_unchecked(&mut self, plan: &Arc<Plan>) -> Result<bool> {
        match plan.as_ref() {
            Plan::Scan(node) => {
                let mode = self.source_of(plan, node)?.changelog_mode();
                Ok(!mode.is_append_only() && !self.context.is_normalized(mode)?)
            }
            Plan::Project(_) | Plan::Filter(_) | Plan::Watermark(_) | Plan::Union(_) => {
                let mut inputs = plan.inputs().into_iter();
                inputs.try_fold(false, |any, input| Ok(any || self.is_unchecked(input)?))
            }
            _ => Ok(false),
        }
    }

    fn aggregate_mode(&mut self, node: &Aggregate) -> Result<ChangelogMode> {
        if node.window.is_some() || self.context.is_batch {
            return Ok(ChangelogMode::APPEND);
        }
        let has_deletes = !self.is_append(&node.input)?;
        if node.calls.is_empty() && !has_deletes {
            return Ok(ChangelogMode::APPEND);
        }
        Ok(ChangelogMode {
            delete: has_deletes,
            ..ChangelogMode::RETRACT
        })
    }

    fn join_mode(&mut self, node: &Join) -> Result<ChangelogMode> {
        Ok(match node.mode {
            JoinMode::Interval { .. } | JoinMode::Window { .. } => ChangelogMode::APPEND,
            JoinMode::Temporal { .. } | JoinMode::Lookup => self.mode_of(&node.left)?,
            JoinMode::Regular => {
                let is_append = self.is_append(&node.left)? && self.is_append(&node.right)?;
                let never_takes_back = matches!(node.kind, JoinKind::Inner | JoinKind::Semi);
                if is_append && never_takes_back {
                    ChangelogMode::APPEND
                } else {
                    ChangelogMode::RETRACT
                }
            }
        })
    }

    fn sort_mode(&mut self, node: &Sort) -> Result<ChangelogMode> {
        let mode = self.mode_of(&node.input)?;
        let is_unlimited = node.fetch.is_none() && node.offset == 0;
        Ok(
            if (node.keys.is_empty() || is_unlimited || self.context.is_batch)
                && mode.is_append_only()
            {
                ChangelogMode::APPEND
            } else {
                ChangelogMode::RETRACT
            },
        )
    }
}

/// In order of a time attribute every row's result is final.
fn over_mode(node: &Over) -> ChangelogMode {
    let by_time = node
        .order
        .first()
        .is_none_or(|key| node.input.schema().column(key.column).time.is_some() && !key.descending);
    if by_time {
        ChangelogMode::APPEND
    } else {
        ChangelogMode::RETRACT
    }
}

fn rank_mode(node: &Rank) -> ChangelogMode {
    if node.window.is_some() {
        ChangelogMode::APPEND
    } else {
        ChangelogMode::RETRACT
    }
}
