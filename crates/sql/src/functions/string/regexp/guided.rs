//! A fast way through patterns that a literal leads to, such as `(&|^)key=([^&]*)`.
//!
//! A pattern of this form is found by searching its literal, looking at one character before it,
//! and walking on over characters of a class: no automaton is run. What such a pattern matches is
//! what the regular expression matches; any other pattern is left to `regex`.

use memchr::memmem::Finder;
use regex_syntax::hir::{Class, Hir, HirKind, Look};

/// `[before]literal[class]…`, where each part may be a group.
#[derive(Debug)]
pub struct Guided {
    before: Option<Before>,
    literal: Finder<'static>,
    steps: Vec<Step>,
    /// By number of the group.
    groups: Vec<Group>,
}

/// What stands before the literal: one character of a set, or the start of the text.
#[derive(Debug)]
struct Before {
    bytes: ByteSet,
    or_start: bool,
}

/// What follows the literal.
#[derive(Debug)]
enum Step {
    /// As many bytes as there are of the set, at least so many.
    Run(ByteSet, usize),
    Literal(Vec<u8>),
}

/// What a group is.
#[derive(Debug, Clone, Copy)]
enum Group {
    Whole,
    Before,
    Literal,
    Step(usize),
}

/// A set of bytes: of all bytes over 127, or of none of them, so that it never cuts a character.
struct ByteSet([bool; 256]);

impl std::fmt::Debug for ByteSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set()
            .entries((0..=u8::MAX).filter(|&b| self.has(b)))
            .finish()
    }
}

impl ByteSet {
    #[inline]
    fn has(&self, byte: u8) -> bool {
        self.0[byte as usize]
    }

    fn of_class(class: &Class) -> Option<Self> {
        let mut set = [false; 256];
        match class {
            Class::Bytes(class) => {
                for range in class.ranges() {
                    set[range.start() as usize..=range.end() as usize].fill(true);
                }
                let wide = &set[128..];
                wide.iter().all(|&b| b == wide[0]).then_some(Self(set))
            }
            Class::Unicode(class) => {
                for range in class.ranges() {
                    let (start, end) = (range.start() as usize, range.end() as usize);
                    match (start, end) {
                        (..128, ..128) => set[start..=end].fill(true),
                        // From ASCII or its end to the last character of all.
                        (..=128, 0x10_ffff) => set[start..].fill(true),
                        _ => return None,
                    }
                }
                Some(Self(set))
            }
        }
    }

    fn of_byte(byte: u8) -> Self {
        let mut set = [false; 256];
        set[byte as usize] = true;
        Self(set)
    }
}

impl Guided {
    /// The pattern, in the syntax of `regex`, if it is of this form.
    pub fn of(pattern: &str) -> Option<Self> {
        let hir = regex_syntax::parse(pattern).ok()?;
        let parts = match hir.kind() {
            HirKind::Concat(parts) => parts.as_slice(),
            _ => std::slice::from_ref(&hir),
        };
        let mut guided = Self {
            before: None,
            literal: Finder::new(&[]).into_owned(),
            steps: Vec::new(),
            groups: vec![Group::Whole],
        };
        let (mut parts, mut first) = (parts.iter(), None);
        if !is_literal(parts.as_slice().first()?) {
            first = parts.next();
        }
        let (is_group, literal) = ungrouped(parts.next()?);
        let HirKind::Literal(literal) = literal.kind() else {
            return None;
        };
        if let Some(before) = first {
            guided.set_before(before, literal.0[0])?;
        }
        guided.literal = Finder::new(&literal.0).into_owned();
        if is_group {
            guided.groups.push(Group::Literal);
        }
        parts.try_for_each(|part| guided.push_step(part))?;
        guided.is_deterministic().then_some(guided)
    }

    fn set_before(&mut self, part: &Hir, next: u8) -> Option<()> {
        let (is_group, part) = ungrouped(part);
        let (mut set, mut or_start) = (ByteSet([false; 256]), false);
        let alternatives = match part.kind() {
            HirKind::Alternation(parts) => parts.as_slice(),
            _ => std::slice::from_ref(part),
        };
        for alternative in alternatives {
            match alternative.kind() {
                HirKind::Look(Look::Start) => or_start = true,
                HirKind::Literal(literal) if literal.0.len() == 1 => {
                    set.0[literal.0[0] as usize] = true
                }
                HirKind::Class(class) => {
                    let class = ByteSet::of_class(class)?;
                    (0..256).for_each(|b| set.0[b] |= class.0[b]);
                }
                _ => return None,
            }
        }
        // A character of several bytes would not be seen as one; and with the literal's own first
        // byte in the set, two places could begin a match at the same point.
        if set.has(128) || set.has(next) {
            return None;
        }
        if is_group {
            self.groups.push(Group::Before);
        }
        self.before = Some(Before {
            bytes: set,
            or_start,
        });
        Some(())
    }

    fn push_step(&mut self, part: &Hir) -> Option<()> {
        let (is_group, part) = ungrouped(part);
        let step = match part.kind() {
            HirKind::Literal(literal) => Step::Literal(literal.0.to_vec()),
            HirKind::Repetition(repetition) if repetition.greedy && repetition.max.is_none() => {
                let set = match repetition.sub.kind() {
                    HirKind::Class(class) => ByteSet::of_class(class)?,
                    HirKind::Literal(literal) if literal.0.len() == 1 => {
                        ByteSet::of_byte(literal.0[0])
                    }
                    _ => return None,
                };
                let min = repetition.min as usize;
                // Of characters of several bytes a number of bytes says little.
                if min > 1 && set.has(128) {
                    return None;
                }
                Step::Run(set, min)
            }
            _ => return None,
        };
        if is_group {
            self.groups.push(Group::Step(self.steps.len()));
        }
        self.steps.push(step);
        Some(())
    }

    /// Whether a run never has to give bytes back to what follows it.
    fn is_deterministic(&self) -> bool {
        self.steps.windows(2).all(|steps| match steps {
            [Step::Run(set, _), Step::Literal(literal)] => !set.has(literal[0]),
            [Step::Run(set, _), Step::Run(next, min)] => {
                *min > 0 && !(0..=u8::MAX).any(|b| set.has(b) && next.has(b))
            }
            _ => true,
        })
    }

    /// The number of groups, with the whole match as group 0.
    pub fn num_groups(&self) -> usize {
        self.groups.len()
    }

    /// What the group, which exists, is in the first match.
    pub fn find<'t>(&self, text: &'t str, group: usize) -> Option<&'t str> {
        let bytes = text.as_bytes();
        let length = self.literal.needle().len();
        let mut from = 0;
        while let Some(found) = self.literal.find(&bytes[from..]) {
            let at = from + found;
            from = at + 1;
            let Some(start) = self.start(bytes, at) else {
                continue;
            };
            let mut wanted = match self.groups[group] {
                Group::Before => start..at,
                _ => at..at + length,
            };
            let Some(end) = self.walk(bytes, at + length, group, &mut wanted) else {
                continue;
            };
            if group == 0 {
                wanted = start..end;
            }
            return text.get(wanted);
        }
        None
    }

    /// Where a match begins whose literal is at `at`.
    fn start(&self, bytes: &[u8], at: usize) -> Option<usize> {
        match &self.before {
            None => Some(at),
            Some(before) if at == 0 => before.or_start.then_some(0),
            Some(before) => before.bytes.has(bytes[at - 1]).then_some(at - 1),
        }
    }

    /// Goes over what follows the literal; gives the end.
    fn walk(
        &self,
        bytes: &[u8],
        mut at: usize,
        group: usize,
        wanted: &mut std::ops::Range<usize>,
    ) -> Option<usize> {
        for (number, step) in self.steps.iter().enumerate() {
            let start = at;
            match step {
                Step::Run(set, min) => {
                    let rest = &bytes[at..];
                    at += rest.iter().position(|&b| !set.has(b)).unwrap_or(rest.len());
                    if at - start < *min {
                        return None;
                    }
                }
                Step::Literal(literal) => {
                    if !bytes[at..].starts_with(literal) {
                        return None;
                    }
                    at += literal.len();
                }
            }
            if matches!(self.groups[group], Group::Step(n) if n == number) {
                *wanted = start..at;
            }
        }
        Some(at)
    }
}

fn is_literal(part: &Hir) -> bool {
    matches!(ungrouped(part).1.kind(), HirKind::Literal(_))
}

/// What is in a group, if it is one.
fn ungrouped(part: &Hir) -> (bool, &Hir) {
    match part.kind() {
        HirKind::Capture(capture) => (true, &capture.sub),
        _ => (false, part),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PATTERNS: [&str; 11] = [
        "(&|^)channel_id=([^&]*)",
        "a=([0-9]+)",
        "(ab)([^b]*)b",
        "[&?]ab=([a-z]+)([0-9]+)(&)",
        "(?:^|&)b(a*)",
        "^ab",
        "aa",
        "&(ab)",
        "(a)(b+)&",
        "ab([^a]+)",
        "(a)ab",
    ];

    #[test]
    fn patterns_that_a_literal_leads_to_are_known() {
        for pattern in PATTERNS {
            assert!(Guided::of(pattern).is_some(), "{pattern}");
        }
        let others = [
            "",
            "a*",
            "[ab]",
            "a|b",
            "ab(c|d)",
            "ab(c*)c",
            "ab[^c]*?",
            "ab$",
            "(?i)ab",
            "ab[^\\n\\u{85}]*",
            "[^b]b",
            "ab(c(d))",
            "aab*(b*)",
            "ab{1,3}",
            "xy\\b",
            "x(é+)",
        ];
        for pattern in others {
            assert!(Guided::of(pattern).is_none(), "{pattern}");
        }
    }

    proptest! {
        #[test]
        fn they_match_what_regex_matches(text in "[ab&=?é0-9]{0,12}|(ab|&|channel_id=|b=|a=|1|é){0,9}") {
            for pattern in PATTERNS {
                let (Some(guided), Ok(regex)) = (Guided::of(pattern), regex::Regex::new(pattern)) else {
                    continue;
                };
                let captures = regex.captures(&text);
                prop_assert_eq!(guided.num_groups(), regex.captures_len());
                for group in 0..guided.num_groups() {
                    let expected = captures.as_ref().and_then(|c| c.get(group)).map(|m| m.as_str());
                    prop_assert_eq!(guided.find(&text, group), expected, "{} in {}", pattern, text);
                }
            }
        }
    }
}
