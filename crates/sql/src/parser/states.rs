//! `STATE OF <job> [OPERATOR <operator>] [TABLE <table>]` in the place of a table: its tokens become
//! a made-up name of three parts, which [`StateOf::parse`] reads again.

use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Token, TokenWithSpan};

use super::words::{is_word, word_token};

/// The catalog of the made-up names.
const STATES: &str = "STATE OF";
/// Between an operator and one of its tables.
const SEPARATOR: char = '\u{1f}';

/// Which state is meant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct StateOf {
    /// A job's name, or the folder of a checkpoint or savepoint.
    pub job: String,
    /// An operator's uid or name.
    pub operator: Option<String>,
    /// One of its tables.
    pub table: Option<String>,
}

impl StateOf {
    /// Of a name's parts, if they were made up here.
    pub fn parse(parts: &[String]) -> Option<Self> {
        let [states, job, rest] = parts else {
            return None;
        };
        let (operator, table) = rest.split_once(SEPARATOR)?;
        let named = |text: &str| (!text.is_empty()).then(|| text.to_string());
        (states == STATES).then(|| Self {
            job: job.clone(),
            operator: named(operator),
            table: named(table),
        })
    }
}

/// Whether a token is part of a made-up name.
pub(crate) fn is_marker(token: &TokenWithSpan) -> bool {
    matches!(&token.token, Token::Word(w) if w.quote_style.is_some() && w.value == STATES)
}

/// Puts names in the place of states.
pub(crate) fn name_states(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let is_one = |t: &TokenWithSpan| is_word(&t.token, "STATE");
    if !tokens.iter().any(is_one) {
        return tokens;
    }
    let mut out = Vec::with_capacity(tokens.len());
    let mut at = 0;
    while at < tokens.len() {
        match state_at(&tokens, at) {
            Some((state, end)) => {
                let like = &tokens[at];
                let word = |text: &str| word_token(text, Keyword::NoKeyword, like);
                let dot = || TokenWithSpan::new(Token::Period, like.span);
                let rest = format!(
                    "{}{SEPARATOR}{}",
                    state.operator.unwrap_or_default(),
                    state.table.unwrap_or_default()
                );
                out.extend([word(STATES), dot(), word(&state.job), dot(), word(&rest)]);
                at = end;
            }
            None => {
                out.push(tokens[at].clone());
                at += 1;
            }
        }
    }
    out
}

/// The state that is named from this token on, and the token behind it.
fn state_at(tokens: &[TokenWithSpan], start: usize) -> Option<(StateOf, usize)> {
    let solid = |from: usize| {
        let rest = tokens.get(from..)?.iter();
        let gap = rest.take_while(|t| matches!(t.token, Token::Whitespace(_)));
        Some(from + gap.count())
    };
    let eat = |from: usize, word: &str| {
        let at = solid(from)?;
        is_word(&tokens.get(at)?.token, word).then_some(at + 1)
    };
    let name = |from: usize| {
        let at = solid(from)?;
        match &tokens.get(at)?.token {
            Token::SingleQuotedString(text) => Some((text.clone(), at + 1)),
            Token::Word(word) => Some((word.value.clone(), at + 1)),
            _ => None,
        }
    };
    let (job, mut end) = name(eat(eat(start, "STATE")?, "OF")?)?;
    let mut part = |word: &str| {
        let (text, behind) = name(eat(end, word)?)?;
        end = behind;
        Some(text)
    };
    let operator = part("OPERATOR");
    let table = part("TABLE");
    Some((
        StateOf {
            job,
            operator,
            table,
        },
        end,
    ))
}

#[cfg(test)]
mod tests {
    use super::super::ast::Statement;
    use super::super::parse_script;

    fn tables(sql: &str) -> (String, bool) {
        match &parse_script(sql).unwrap()[0].statement {
            Statement::Query(source) => (source.query.to_string(), source.reads_state),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn states_are_names_of_tables() {
        let (query, reads_state) =
            tables("SELECT * FROM STATE OF shop OPERATOR 'Join' TABLE 'left' AS l WHERE a = 1");
        assert_eq!(
            query,
            "SELECT * FROM `STATE OF`.`shop`.`Join\u{1f}left` AS l WHERE a = 1"
        );
        assert!(reads_state);
        let (query, _) = tables("SELECT x FROM (SELECT 1 AS x) s, STATE OF 'a b'");
        assert!(query.ends_with("`STATE OF`.`a b`.`\u{1f}`"), "{query}");
        assert!(!tables("SELECT state FROM t").1);
    }
}
