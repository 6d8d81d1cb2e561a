//! PATTERN and AFTER MATCH.

use flott_core::{Error, Result};
use flott_table::operators::match_recognize::{PatternElement, Skip};
use sqlparser::ast::{
    AfterMatchSkip, Ident, MatchRecognizePattern, MatchRecognizeSymbol, RepetitionQuantifier,
    Spanned,
};

use crate::binder::scope::located;

/// Where matching goes on; at the next row unless it is said, as in Flink.
pub(super) fn skip(skip: Option<&AfterMatchSkip>, pattern: &[PatternElement]) -> Result<Skip> {
    let position = |name: &Ident| {
        let found = pattern.iter().position(|e| e.name == name.value);
        found.ok_or_else(|| {
            let message = format!(
                "unknown pattern variable '{}' in AFTER MATCH SKIP",
                name.value
            );
            located(Error::user("INVALID_PATTERN", message), name.span)
        })
    };
    Ok(match skip {
        Some(AfterMatchSkip::PastLastRow) => Skip::PastLastRow,
        None | Some(AfterMatchSkip::ToNextRow) => Skip::ToNextRow,
        Some(AfterMatchSkip::ToFirst(name)) => Skip::ToFirst(position(name)?),
        Some(AfterMatchSkip::ToLast(name)) => Skip::ToLast(position(name)?),
    })
}

/// The pattern's variables with their quantifiers. Anchors mean nothing on a stream, and Flink
/// reads over them.
pub(super) fn pattern_elements(pattern: &MatchRecognizePattern) -> Result<Vec<PatternElement>> {
    let mut elements = Vec::new();
    add_elements(pattern, &mut elements)?;
    Ok(elements)
}

fn add_elements(pattern: &MatchRecognizePattern, elements: &mut Vec<PatternElement>) -> Result<()> {
    use MatchRecognizePattern as P;
    let refused = |what: &str| {
        let message = format!("expression not supported: '{pattern}'; {what}");
        Err(located(
            Error::user("UNSUPPORTED_PATTERN", message),
            pattern.span(),
        ))
    };
    match pattern {
        P::Symbol(MatchRecognizeSymbol::Named(name)) => {
            elements.push(PatternElement::one(name.value.clone()));
            Ok(())
        }
        P::Symbol(_) => Ok(()),
        P::Concat(parts) => parts.iter().try_for_each(|p| add_elements(p, elements)),
        P::Group(inner) => add_elements(inner, elements),
        P::Repetition(inner, quantifier) => {
            let (inner, quantifier, is_greedy) = match inner.as_ref() {
                P::Repetition(symbol, own) if *quantifier == RepetitionQuantifier::AtMostOne => {
                    (symbol.as_ref(), own, false)
                }
                _ => (inner.as_ref(), quantifier, true),
            };
            let P::Symbol(MatchRecognizeSymbol::Named(name)) = inner else {
                return refused("quantifiers of groups are not supported");
            };
            let (min, max) = bounds(quantifier);
            elements.push(PatternElement {
                name: name.value.clone(),
                min,
                max,
                is_greedy,
            });
            Ok(())
        }
        P::Alternation(_) => refused("branching patterns are not supported"),
        P::Permute(_) => refused("PERMUTE is not supported; write the order that you look for"),
        P::Exclude(_) => refused("exclusion is for ALL ROWS PER MATCH, which is not supported"),
    }
}

fn bounds(quantifier: &RepetitionQuantifier) -> (u32, Option<u32>) {
    use RepetitionQuantifier as Q;
    match *quantifier {
        Q::ZeroOrMore => (0, None),
        Q::OneOrMore => (1, None),
        Q::AtMostOne => (0, Some(1)),
        Q::Exactly(n) => (n, Some(n)),
        Q::AtLeast(n) => (n, None),
        Q::AtMost(n) => (0, Some(n)),
        Q::Range(n, m) => (n, Some(m)),
    }
}
