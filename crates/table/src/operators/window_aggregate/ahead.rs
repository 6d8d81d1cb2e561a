//! The panes of the next HOP window, merged before the window closes.
//!
//! A window's result is due the moment the watermark closes it, and most of the work, merging the
//! panes that it shares with the windows before, can be done while nothing is due. Panes are merged
//! in the order of time, as they are when a window closes, and a pane only once rows of a later one
//! have come: should it change all the same, what was merged is given up.

use flott_core::Result;
use flott_core::operator::Output;

use super::operator::WindowAggregate;
use super::slicing::{Slice, Slicing};
use crate::aggregates::Phase;
use crate::operators::aggregate_table::AggregateTable;

/// After a window has been sent, or a pane is complete, its results may have their way for so long.
const PAUSE_MS: i64 = 20;
/// Between two panes.
const STEP_MS: i64 = 1;

/// Panes of one window in one table.
pub(super) struct Merged {
    pub window: Slice,
    /// The panes merged, in the order of time.
    pub panes: Vec<Slice>,
    pub table: AggregateTable,
}

/// What has been merged ahead, and when to go on.
#[derive(Default)]
pub(super) struct Ahead {
    merged: Option<Merged>,
    due_ms: Option<i64>,
    /// A merged pane has changed: nothing more before the window is sent.
    is_off: bool,
}

impl Ahead {
    /// When the next pane is to be merged, in ms of processing time.
    pub fn due_ms(&self) -> Option<i64> {
        self.due_ms
    }

    /// There may be something to do after a pause.
    pub fn wake(&mut self, now_ms: i64) {
        if !self.is_off {
            self.due_ms = Some(now_ms + PAUSE_MS);
        }
    }

    /// Goes on with the next pane soon, or rests until it is woken.
    pub fn step(&mut self, now_ms: i64, has_more: bool) {
        self.due_ms = has_more.then_some(now_ms + STEP_MS);
    }

    /// A window has been sent.
    pub fn begin(&mut self, now_ms: i64) {
        self.is_off = false;
        self.wake(now_ms);
    }

    /// A pane is about to change; gives the table that holds it, which is of no use any more.
    pub fn change(&mut self, pane: Slice) -> Option<AggregateTable> {
        let holds = self
            .merged
            .as_ref()
            .is_some_and(|m| m.panes.contains(&pane));
        if !holds {
            return None;
        }
        self.is_off = true;
        self.due_ms = None;
        self.take().map(|merged| merged.table)
    }

    pub fn take(&mut self) -> Option<Merged> {
        self.merged.take()
    }

    pub fn put(&mut self, merged: Merged) {
        self.merged = Some(merged);
    }

    pub fn size_bytes(&self) -> usize {
        self.merged.as_ref().map_or(0, |m| m.table.size_bytes())
    }
}

impl WindowAggregate {
    /// Whether windows of event time are made of several slices that stay.
    pub(super) fn has_panes(&self) -> bool {
        let is_hop = matches!(self.slicing, Slicing::Hop { .. });
        is_hop && self.config.phase != Phase::Local && !self.config.time.is_proctime()
    }

    /// Sends a HOP window.
    pub(super) fn send_panes(&mut self, window: Slice, out: &mut dyn Output) -> Result<()> {
        let slices = self.slices_in(window);
        if let [only] = slices.as_slice() {
            return match self.slices.get(only) {
                Some(table) => self.send(table, window, out),
                None => Ok(()),
            };
        }
        let mut whole = self.merged_ahead(window, &slices)?;
        for slice in &slices[whole.panes.len()..] {
            if let Some(table) = self.slices.get(slice) {
                whole.table.merge_table(table)?;
            }
        }
        self.send(&whole.table, window, out)?;
        self.recycle(whole.table);
        Ok(())
    }

    /// The first of these panes of a window, as many as have been merged ahead.
    fn merged_ahead(&mut self, window: Slice, panes: &[Slice]) -> Result<Merged> {
        match self.ahead.take() {
            Some(merged) if merged.window == window && panes.starts_with(&merged.panes) => {
                return Ok(merged);
            }
            Some(other) => self.recycle(other.table),
            None => {}
        }
        Ok(Merged {
            window,
            panes: Vec::new(),
            table: self.empty_table()?,
        })
    }

    /// Merges the next complete pane of the window that closes next.
    pub(super) fn merge_ahead(&mut self) -> Result<()> {
        let mut has_more = false;
        if let Some((window, _)) = self.next_window(Slice::NEVER) {
            let panes = self.slices_in(window);
            let mut merged = self.merged_ahead(window, &panes)?;
            let is_complete = |pane: &&Slice| pane.end <= self.newest;
            let next = panes.get(merged.panes.len()).filter(is_complete);
            if let Some((&pane, table)) = next.and_then(|p| Some((p, self.slices.get(p)?))) {
                merged.table.merge_table(table)?;
                merged.panes.push(pane);
                has_more = true;
            }
            self.ahead.put(merged);
        }
        self.ahead.step(self.now_ms(), has_more);
        Ok(())
    }
}
