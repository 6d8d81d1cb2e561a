//! Patterns to automata.
//!
//! An automaton's state waits for a row of one variable. It can take the row, or be passed by
//! without one; from a greedy state that is possible only where the row cannot be taken. As in
//! Flink's CEP library (after "Efficient Pattern Matching over Event Streams", SIGMOD 2008), a run
//! that may do several things does all of them, as several runs.

use flott_core::{Error, Result};

/// One element of a pattern: a variable, and how many rows behind each other are mapped to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PatternElement {
    /// The variable's name; each stands once in a pattern.
    pub name: String,
    pub min: u32,
    /// `None` is any number.
    pub max: Option<u32>,
    /// Whether as many rows as possible are wanted, or as few.
    pub is_greedy: bool,
}

impl PatternElement {
    /// Exactly one row.
    pub fn one(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            min: 1,
            max: Some(1),
            is_greedy: true,
        }
    }

    /// Whether a longer run is preferred to a shorter one: not where all have the same length, nor,
    /// as in Flink, where the one row is optional.
    fn prefers_more(&self) -> bool {
        self.is_greedy && self.max != Some(self.min) && (self.min, self.max) != (0, Some(1))
    }
}

/// The most variables of a pattern: which rows may be which variable is held in so many bits.
pub const MAX_VARIABLES: usize = 64;
/// The most states of an automaton.
const MAX_STATES: usize = 10_000;
/// The state in which a match is complete.
pub(super) const FINAL: u16 = 0;

/// A compiled pattern.
#[derive(Debug, Clone)]
pub(super) struct Automaton {
    pub states: Vec<State>,
    /// The state before the first row.
    pub start: u16,
}

#[derive(Debug, Clone, Default)]
pub(super) struct State {
    pub edges: Vec<Edge>,
    /// Whether a match is complete too once this state is reached, because what follows is
    /// optional.
    pub is_accepting: bool,
    /// The variables whose rows can be taken from here, as bits.
    pub wanted: u64,
    prefers_more: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Edge {
    /// The row is mapped to this variable.
    Take { variable: u8, to: u16 },
    /// On without a row; `unless` the row can be mapped to this variable.
    Pass { unless: Option<u8>, to: u16 },
}

impl Automaton {
    /// # Errors
    /// A user error for patterns that Flink refuses: with an empty match, or greedy at the end.
    pub fn new(pattern: &[PatternElement]) -> Result<Self> {
        check(pattern)?;
        let mut automaton = Self {
            states: vec![State::default()],
            start: FINAL,
        };
        for (variable, element) in pattern.iter().enumerate().rev() {
            automaton.start = automaton.prepend(variable as u8, element, automaton.start)?;
        }
        let start = automaton.start;
        if automaton.passes(start).contains(&FINAL) {
            let message = "patterns that can produce empty matches are not supported; there must be at least one variable that is not optional";
            return Err(invalid(message));
        }
        for state in 0..automaton.states.len() as u16 {
            let reached = automaton.passes(state);
            let takes = reached
                .iter()
                .flat_map(|&s| &automaton.states[s as usize].edges);
            let wanted = takes.fold(0, |bits, edge| match edge {
                Edge::Take { variable, .. } => bits | 1 << variable,
                Edge::Pass { .. } => bits,
            });
            let is_accepting = state != FINAL && automaton.accepts(state);
            let state = &mut automaton.states[state as usize];
            (state.wanted, state.is_accepting) = (wanted, is_accepting);
        }
        Ok(automaton)
    }

    /// Adds an element's states before the state `next`; gives the first of them.
    fn prepend(&mut self, variable: u8, element: &PatternElement, next: u16) -> Result<u16> {
        let prefers_more = element.prefers_more();
        let pass = Edge::Pass {
            unless: prefers_more.then_some(variable),
            to: next,
        };
        let take = |to| Edge::Take { variable, to };
        let mut last = next;
        let least = element.min.max(1);
        match element.max {
            None => {
                let own = self.states.len() as u16;
                last = self.add(vec![pass, take(own)], prefers_more)?;
            }
            Some(max) => {
                for _ in least..max {
                    last = self.add(vec![take(last), pass], prefers_more)?;
                }
            }
        }
        for _ in 1..least {
            last = self.add(vec![take(last)], prefers_more)?;
        }
        let is_optional = element.min == 0;
        let edges = [take(last)].into_iter().chain(is_optional.then_some(pass));
        self.add(edges.collect(), prefers_more)
    }

    fn add(&mut self, edges: Vec<Edge>, prefers_more: bool) -> Result<u16> {
        if self.states.len() >= MAX_STATES {
            let message = format!(
                "a pattern may want at most {MAX_STATES} rows by number; use + and a condition with COUNT"
            );
            return Err(invalid(message));
        }
        self.states.push(State {
            edges,
            prefers_more,
            ..State::default()
        });
        Ok((self.states.len() - 1) as u16)
    }

    /// The states that can be reached without a row, this one among them.
    fn passes(&self, state: u16) -> Vec<u16> {
        let mut reached = vec![state];
        let mut next = 0;
        while let Some(&state) = reached.get(next) {
            next += 1;
            for edge in &self.states[state as usize].edges {
                if let Edge::Pass { to, .. } = edge
                    && !reached.contains(to)
                {
                    reached.push(*to);
                }
            }
        }
        reached
    }

    /// Whether the end is reached without a row and without a state that would rather take more.
    fn accepts(&self, state: u16) -> bool {
        let state = &self.states[state as usize];
        !state.prefers_more
            && state.edges.iter().any(|edge| match edge {
                Edge::Pass { to, .. } => *to == FINAL || self.accepts(*to),
                Edge::Take { .. } => false,
            })
    }

    /// The ways to take a row from this state, of a row that may be the variables `takes`: each the
    /// variable and the state after it.
    pub fn ways(&self, state: u16, takes: u64, stack: &mut Vec<u16>, ways: &mut Vec<(u8, u16)>) {
        ways.clear();
        stack.clear();
        stack.push(state);
        let is_taken = |variable: u8| takes >> variable & 1 == 1;
        while let Some(state) = stack.pop() {
            for edge in &self.states[state as usize].edges {
                match *edge {
                    Edge::Take { variable, to } if is_taken(variable) => ways.push((variable, to)),
                    Edge::Pass { unless, to } if !unless.is_some_and(is_taken) => stack.push(to),
                    _ => {}
                }
            }
        }
    }
}

fn check(pattern: &[PatternElement]) -> Result<()> {
    if pattern.len() > MAX_VARIABLES {
        let message = format!("a pattern has at most {MAX_VARIABLES} variables");
        return Err(invalid(message));
    }
    for (position, element) in pattern.iter().enumerate() {
        let name = &element.name;
        if pattern[..position].iter().any(|e| e.name == *name) {
            let message = format!("pattern variables must be unique, but '{name}' stands twice");
            return Err(invalid(message));
        }
        if element.max.is_some_and(|max| max < element.min.max(1)) {
            let message = format!(
                "the quantifier of '{name}' allows no number of rows; write {{n}}, {{n,}} or {{n,m}} with 0 < m and n <= m"
            );
            return Err(invalid(message));
        }
        let is_optional = element.min == 0 && matches!(element.max, None | Some(1));
        let is_after_greedy = position > 0 && pattern[position - 1].prefers_more();
        if is_optional && is_after_greedy {
            let message = format!(
                "optional '{name}' cannot be preceded by greedy '{}'",
                pattern[position - 1].name
            );
            return Err(invalid(message));
        }
        if !element.is_greedy && (element.min, element.max) == (0, Some(1)) {
            let message =
                format!("reluctant optional variables are not supported; write '{name}?'");
            return Err(invalid(message));
        }
    }
    match pattern.last() {
        Some(last) if last.prefers_more() => Err(invalid(format!(
            "greedy quantifiers are not allowed as the last element of a pattern; end it with a simple variable, or make '{}' reluctant by a '?' behind the quantifier",
            last.name
        ))),
        _ => Ok(()),
    }
}

fn invalid(message: impl Into<String>) -> Error {
    Error::user("INVALID_PATTERN", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn element(name: &str, min: u32, max: Option<u32>, is_greedy: bool) -> PatternElement {
        PatternElement {
            name: name.into(),
            min,
            max,
            is_greedy,
        }
    }

    fn refusal(pattern: &[PatternElement]) -> String {
        Automaton::new(pattern).unwrap_err().message().to_string()
    }

    #[test]
    fn what_flink_refuses_is_refused() {
        let (a, b) = (PatternElement::one("A"), PatternElement::one("B"));
        assert!(refusal(&[a.clone(), b.clone(), a.clone()]).contains("unique"));
        assert!(refusal(&[a.clone(), element("B", 1, None, true)]).contains("greedy"));
        let optional = [element("A", 0, Some(1), true), element("B", 0, None, false)];
        assert!(refusal(&optional).contains("empty"));
        let after_greedy = [element("A", 1, None, true), element("B", 0, Some(1), true)];
        assert!(refusal(&after_greedy).contains("preceded"));
        assert!(refusal(&[element("A", 0, Some(0), true), b.clone()]).contains("no number"));
        assert!(refusal(&[element("A", 3, Some(2), true), b.clone()]).contains("no number"));
        assert!(refusal(&[element("A", 0, Some(1), false), b]).contains("reluctant"));
    }

    #[test]
    fn a_greedy_loop_is_left_only_where_it_cannot_go_on() {
        let pattern = [
            PatternElement::one("A"),
            element("B", 1, None, true),
            PatternElement::one("C"),
        ];
        let automaton = Automaton::new(&pattern).unwrap();
        let (mut stack, mut ways) = (Vec::new(), Vec::new());
        automaton.ways(automaton.start, 0b111, &mut stack, &mut ways);
        let [(0, before_loop)] = ways[..] else {
            panic!("{ways:?}")
        };
        automaton.ways(before_loop, 0b111, &mut stack, &mut ways);
        let [(1, in_loop)] = ways[..] else {
            panic!("{ways:?}")
        };
        automaton.ways(in_loop, 0b110, &mut stack, &mut ways);
        assert_eq!(ways, [(1, in_loop)]);
        automaton.ways(in_loop, 0b100, &mut stack, &mut ways);
        assert_eq!(ways, [(2, FINAL)]);
    }

    #[test]
    fn an_optional_end_is_complete_before_it() {
        let pattern = [PatternElement::one("A"), element("B", 0, Some(1), true)];
        let automaton = Automaton::new(&pattern).unwrap();
        let (mut stack, mut ways) = (Vec::new(), Vec::new());
        automaton.ways(automaton.start, 0b01, &mut stack, &mut ways);
        assert!(automaton.states[ways[0].1 as usize].is_accepting);
        assert!(!automaton.states[automaton.start as usize].is_accepting);
    }
}
