//! Patterns to automata.
//!
//! An automaton's state waits for a row of one variable. It can take the row, or be passed by
//! without one; behind a greedy variable only by rows that this could not take. As in
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
    edges: Vec<Edge>,
    /// The variables whose conditions decide what becomes of a row here, as bits.
    pub wanted: u64,
}

/// A way out of a state, open to rows that can be none of the variables `unless`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Edge {
    /// The variable that the row is mapped to; `None` is on without a row.
    takes: Option<u8>,
    unless: u64,
    to: u16,
}

impl Edge {
    fn is_open(&self, takes: u64) -> bool {
        takes & self.unless == 0 && self.takes.is_none_or(|v| takes >> v & 1 == 1)
    }

    /// The variables that it asks for.
    fn wanted(&self) -> u64 {
        self.unless | self.takes.map_or(0, |v| 1 << v)
    }
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
        if automaton.passes(automaton.start).contains(&FINAL) {
            let message = "patterns that can produce empty matches are not supported; there must be at least one variable that is not optional";
            return Err(invalid(message));
        }
        let wanted = (0..automaton.states.len() as u16).map(|state| automaton.wanted_at(state));
        let wanted: Vec<u64> = wanted.collect();
        for (state, wanted) in automaton.states.iter_mut().zip(wanted) {
            state.wanted = wanted;
        }
        Ok(automaton)
    }

    /// Adds an element's states before the state `next`; gives the first of them.
    ///
    /// As in Flink, a greedy element closes all ways on to rows that it could take itself, even
    /// once it has its most.
    fn prepend(&mut self, variable: u8, element: &PatternElement, next: u16) -> Result<u16> {
        if element.prefers_more() {
            for edge in &mut self.states[next as usize].edges {
                edge.unless |= 1 << variable;
            }
        }
        let way = |takes, to| Edge {
            takes,
            unless: 0,
            to,
        };
        let take = |to| way(Some(variable), to);
        let pass = way(None, next);
        let mut last = next;
        let least = element.min.max(1);
        match element.max {
            None => {
                let own = self.states.len() as u16;
                last = self.add(vec![pass, take(own)])?;
            }
            Some(max) => {
                for _ in least..max {
                    last = self.add(vec![take(last), pass])?;
                }
            }
        }
        for _ in 1..least {
            last = self.add(vec![take(last)])?;
        }
        let is_optional = element.min == 0;
        let edges = [take(last)].into_iter().chain(is_optional.then_some(pass));
        self.add(edges.collect())
    }

    fn add(&mut self, edges: Vec<Edge>) -> Result<u16> {
        if self.states.len() >= MAX_STATES {
            let message = format!(
                "a pattern may want at most {MAX_STATES} rows by number; use + and a condition with COUNT"
            );
            return Err(invalid(message));
        }
        self.states.push(State { edges, wanted: 0 });
        Ok((self.states.len() - 1) as u16)
    }

    /// The states that can be reached without a row, this one among them.
    fn passes(&self, state: u16) -> Vec<u16> {
        let mut reached = vec![state];
        let mut next = 0;
        while let Some(&state) = reached.get(next) {
            next += 1;
            for edge in &self.states[state as usize].edges {
                if edge.takes.is_none() && !reached.contains(&edge.to) {
                    reached.push(edge.to);
                }
            }
        }
        reached
    }

    /// What a row is asked in this state: which way it opens, and whether the state behind that may
    /// be the end.
    fn wanted_at(&self, state: u16) -> u64 {
        let edges = |state: u16| {
            self.passes(state)
                .into_iter()
                .flat_map(|s| &self.states[s as usize].edges)
        };
        edges(state).fold(0, |bits, edge| {
            let ends = edges(edge.to).filter(|e| e.takes.is_none());
            let behind = ends.fold(0, |bits, e| bits | e.unless);
            bits | edge.wanted() | if edge.takes.is_some() { behind } else { 0 }
        })
    }

    /// Whether a match is complete once this state is reached by a row that may be the variables
    /// `takes`, because all that follows is optional.
    pub fn accepts(&self, state: u16, takes: u64) -> bool {
        self.states[state as usize].edges.iter().any(|edge| {
            edge.takes.is_none()
                && edge.is_open(takes)
                && (edge.to == FINAL || self.accepts(edge.to, takes))
        })
    }

    /// The ways to take a row from this state, of a row that may be the variables `takes`: each the
    /// variable and the state after it.
    pub fn ways(&self, state: u16, takes: u64, stack: &mut Vec<u16>, ways: &mut Vec<(u8, u16)>) {
        ways.clear();
        stack.clear();
        stack.push(state);
        while let Some(state) = stack.pop() {
            let edges = self.states[state as usize].edges.iter();
            for edge in edges.filter(|edge| edge.is_open(takes)) {
                match edge.takes {
                    Some(variable) => ways.push((variable, edge.to)),
                    None => stack.push(edge.to),
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
        assert!(automaton.accepts(ways[0].1, 0b01));
        assert!(!automaton.accepts(automaton.start, 0b01));
    }

    #[test]
    fn behind_a_greedy_variable_no_row_goes_on_that_it_could_take() {
        let pattern = [element("A", 1, Some(2), true), PatternElement::one("B")];
        let automaton = Automaton::new(&pattern).unwrap();
        let (mut stack, mut ways) = (Vec::new(), Vec::new());
        let mut state = automaton.start;
        for _ in 0..2 {
            automaton.ways(state, 0b11, &mut stack, &mut ways);
            let [(0, next)] = ways[..] else {
                panic!("{ways:?}")
            };
            state = next;
        }
        // A has its two rows, and yet B is only where A could not be.
        automaton.ways(state, 0b11, &mut stack, &mut ways);
        assert_eq!(ways, []);
        automaton.ways(state, 0b10, &mut stack, &mut ways);
        assert_eq!(ways, [(1, FINAL)]);
    }
}
