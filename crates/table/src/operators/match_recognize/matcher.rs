//! Runs of an automaton over the rows of one key.
//!
//! Contiguity is strict and variables stand once in a pattern, so a run needs no list of rows: it
//! is the row that it began with and how many rows each variable has.

use std::collections::VecDeque;

use flott_core::{Error, Result};

use super::Skip;
use super::heap::{Heap, Ranked};
use super::pattern::{Automaton, FINAL};

/// How many rows are mapped to each variable, in the pattern's order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Counts {
    few: [u32; FEW],
    /// In use from more than [`FEW`] variables on.
    many: Vec<u32>,
}

const FEW: usize = 6;

impl Counts {
    pub fn new(num_variables: usize) -> Self {
        let many = match num_variables > FEW {
            true => vec![0; num_variables],
            false => Vec::new(),
        };
        let few = [0; FEW];
        Self { few, many }
    }

    pub fn of(counts: &[u32]) -> Self {
        let mut all = Self::new(counts.len());
        for (variable, count) in counts.iter().enumerate() {
            all.all_mut()[variable] = *count;
        }
        all
    }

    pub fn all(&self) -> &[u32] {
        match self.many.is_empty() {
            true => &self.few,
            false => &self.many,
        }
    }

    fn all_mut(&mut self) -> &mut [u32] {
        match self.many.is_empty() {
            true => &mut self.few,
            false => &mut self.many,
        }
    }
}

/// Rows mapped to a pattern: they follow one another from `start` on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mapping {
    /// The number of the first row among the key's.
    pub start: u64,
    pub counts: Counts,
}

impl Mapping {
    /// The first row of a variable (`None`: of all), and how many there are.
    pub fn rows(&self, variable: Option<usize>) -> (u64, u64) {
        let counts = self.counts.all();
        let sum = |counts: &[u32]| counts.iter().map(|c| u64::from(*c)).sum::<u64>();
        match variable {
            None => (self.start, sum(counts)),
            Some(v) => (self.start + sum(&counts[..v]), u64::from(counts[v])),
        }
    }

    /// The number of the last row.
    fn last(&self) -> u64 {
        let (start, len) = self.rows(None);
        start + len.saturating_sub(1)
    }
}

/// A match in the making, or a complete one that waits for an earlier one to be decided.
#[derive(Debug, Clone)]
pub(super) struct Run {
    pub state: u16,
    /// Without rows, the one from which all others begin.
    pub is_start: bool,
    /// The time of the first row.
    pub start_time: i64,
    pub mapping: Mapping,
}

impl Ranked for Run {
    fn rank(&self) -> u64 {
        match self.is_start {
            true => u64::MAX,
            false => self.mapping.start,
        }
    }
}

impl Run {
    pub fn start(automaton: &Automaton, num_variables: usize) -> Self {
        Self {
            state: automaton.start,
            is_start: true,
            start_time: i64::MIN,
            mapping: Mapping {
                start: 0,
                counts: Counts::new(num_variables),
            },
        }
    }

    /// The rows of the run if the row `at` were mapped to `variable`.
    pub fn taking(&self, variable: u8, at: u64) -> Mapping {
        let mut mapping = self.mapping.clone();
        if self.is_start {
            mapping.start = at;
        }
        mapping.counts.all_mut()[variable as usize] += 1;
        mapping
    }
}

/// A row that a run may need.
#[derive(Debug, Clone, Copy)]
pub(super) struct KeptRow {
    pub slot: u32,
    pub time: i64,
}

/// A match that is sent.
#[derive(Debug, Clone)]
pub(super) struct Match {
    pub mapping: Mapping,
    /// The time at which it is known to be one.
    pub time: i64,
}

/// The runs over one key's rows.
#[derive(Debug, Default)]
pub(super) struct KeyRuns {
    /// The number of `rows[0]`.
    pub first_row: u64,
    pub rows: VecDeque<KeptRow>,
    pub partial: Heap<Run>,
    /// Complete, but a run that began earlier may still become a match, behind which they might be
    /// skipped.
    pub completed: Heap<Run>,
    /// Rows of the key that the watermark has not passed.
    pub num_waiting: u32,
    /// Whether the key's number is in use.
    pub is_known: bool,
    /// Where the key stands in what is being worked.
    pub due: Option<u32>,
}

/// Room for the steps of all keys.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    stack: Vec<u16>,
    ways: Vec<(u8, u16)>,
}

/// What all keys have in common.
#[derive(Debug)]
pub(super) struct Matcher {
    pub automaton: Automaton,
    pub num_variables: usize,
    pub skip: Skip,
    pub within_ms: Option<i64>,
    /// For messages.
    pub names: Vec<String>,
}

impl KeyRuns {
    /// The number that the next row gets.
    pub fn next_row(&self) -> u64 {
        self.first_row + self.rows.len() as u64
    }

    pub fn begin(&mut self, matcher: &Matcher) {
        if self.partial.items().is_empty() {
            let start = Run::start(&matcher.automaton, matcher.num_variables);
            self.partial.push(start);
        }
    }

    /// Whether there is nothing to remember.
    pub fn is_idle(&self) -> bool {
        self.num_waiting == 0
            && self.completed.items().is_empty()
            && self.partial.items().iter().all(|run| run.is_start)
    }

    /// Works the last of `rows`; `takes` says for each partial run, in order, which variables it
    /// may be. Tells whether a run has begun.
    pub fn step(
        &mut self,
        matcher: &Matcher,
        takes: impl Fn(usize) -> u64,
        scratch: &mut Scratch,
        matches: &mut Vec<Match>,
    ) -> Result<bool> {
        let at = self.next_row().saturating_sub(1);
        let time = self.rows.back().map_or(i64::MIN, |row| row.time);
        let automaton = &matcher.automaton;
        let mut has_begun = false;
        let mut found = Heap::default();
        for (index, run) in self.partial.take().into_iter().enumerate() {
            let Scratch { stack, ways } = scratch;
            let takes = takes(index);
            automaton.ways(run.state, takes, stack, ways);
            for &(variable, to) in ways.iter() {
                has_begun |= run.is_start;
                let next = |state| Run {
                    state,
                    is_start: false,
                    start_time: if run.is_start { time } else { run.start_time },
                    mapping: run.taking(variable, at),
                };
                if to == FINAL || automaton.accepts(to, takes) {
                    found.push(next(FINAL));
                }
                if to != FINAL {
                    self.partial.push(next(to));
                }
            }
            if run.is_start {
                self.partial.push(run);
            }
        }
        found
            .take()
            .into_iter()
            .for_each(|m| self.completed.push(m));
        self.settle(matcher, time, matches)?;
        Ok(has_begun)
    }

    /// Drops the runs that have begun too long before this time.
    pub fn advance(
        &mut self,
        matcher: &Matcher,
        time: i64,
        matches: &mut Vec<Match>,
    ) -> Result<()> {
        let Some(within_ms) = matcher.within_ms else {
            return Ok(());
        };
        let is_expired =
            |run: &Run| !run.is_start && time.saturating_sub(run.start_time) >= within_ms;
        if !self.partial.items().iter().any(is_expired) {
            return Ok(());
        }
        for run in self.partial.take() {
            if !is_expired(&run) {
                self.partial.push(run);
            }
        }
        self.settle(matcher, time, matches)
    }

    /// Gives the complete runs before which no other can become a match, and skips behind each.
    fn settle(&mut self, matcher: &Matcher, time: i64, matches: &mut Vec<Match>) -> Result<()> {
        while let Some(earliest) = self.completed.peek()
            && (self.partial.peek()).is_none_or(|run| earliest.rank() <= run.rank())
        {
            let Some(run) = self.completed.pop() else {
                break;
            };
            let first_kept = matcher.resume_at(&run.mapping)?;
            let is_kept = |other: &Run| other.is_start || other.mapping.start >= first_kept;
            self.partial.retain(is_kept);
            self.completed.retain(is_kept);
            let last = run.mapping.last().saturating_sub(self.first_row) as usize;
            let last = self.rows.get(last).map_or(time, |row| row.time);
            matches.push(Match {
                mapping: run.mapping,
                time: if time == i64::MAX { last } else { time },
            });
        }
        Ok(())
    }

    /// Forgets the rows that no run needs; `release` is told their slots.
    pub fn prune(&mut self, mut release: impl FnMut(u32)) {
        let runs = self.partial.items().iter().chain(self.completed.items());
        let starts = runs
            .filter(|run| !run.is_start)
            .map(|run| run.mapping.start);
        let needed = starts.min().unwrap_or(self.next_row());
        while self.first_row < needed
            && let Some(row) = self.rows.pop_front()
        {
            release(row.slot);
            self.first_row += 1;
        }
    }
}

impl Matcher {
    /// The first row at which another match may begin after this one.
    fn resume_at(&self, found: &Mapping) -> Result<u64> {
        let (variable, is_first) = match self.skip {
            Skip::PastLastRow => return Ok(found.last() + 1),
            Skip::ToNextRow => return Ok(found.start + 1),
            Skip::ToFirst(variable) => (variable, true),
            Skip::ToLast(variable) => (variable, false),
        };
        let (first, len) = found.rows(Some(variable));
        let name = self.names.get(variable).map_or("", String::as_str);
        if len == 0 {
            let message = format!(
                "could not skip to {name}: no row of the found match is mapped to it; skip to a variable that is not optional"
            );
            return Err(Error::user("MATCH_SKIP", message));
        }
        let target = if is_first { first } else { first + len - 1 };
        if target == found.start {
            let message = format!(
                "could not skip to {name}: it is the first row of the match, which would be found for ever; skip to a later variable"
            );
            return Err(Error::user("MATCH_SKIP", message));
        }
        Ok(target)
    }
}
