//! The queries of the benchmark, and the scripts that run them.

use anyhow::{Result, bail};

/// One query of the benchmark.
#[derive(Debug, Clone, Copy)]
pub struct Query {
    pub name: &'static str,
    /// Events of a run from the generator unless the user says otherwise: some seconds of work.
    pub events: u64,
    /// Statements, of which the last is the INSERT that is measured.
    pub text: &'static str,
    /// The query with the event time that completes each row as its last column, where latency can
    /// be measured.
    pub latency: Option<&'static str>,
}

macro_rules! query {
    ($name:literal, $millions:literal) => {
        Query {
            name: $name,
            events: $millions * 1_000_000,
            text: include_str!(concat!("queries/", $name, ".sql")),
            latency: None,
        }
    };
    ($name:literal, $millions:literal, latency) => {
        Query {
            latency: Some(include_str!(concat!("latency/", $name, ".sql"))),
            ..query!($name, $millions)
        }
    };
}

/// Every query, in order.
pub const QUERIES: &[Query] = &[
    query!("q0", 30, latency),
    query!("q1", 36),
    query!("q2", 30),
    query!("q3", 40, latency),
    query!("q4", 5),
    query!("q5", 10, latency),
    query!("q6", 4),
    query!("q7", 4),
    query!("q8", 40, latency),
    query!("q9", 4),
    query!("q10", 10),
    query!("q11", 12),
    query!("q12", 24),
    query!("q13", 20),
    query!("q14", 36),
    query!("q15", 10),
    query!("q16", 3),
    query!("q17", 16),
    query!("q18", 8),
    query!("q19", 8),
    query!("q20", 6),
    query!("q21", 24),
    query!("q22", 30),
    query!("q23", 6),
];

/// `all`, or names such as `q0,q5`; in the order of [`QUERIES`].
///
/// # Errors
/// A name that is no query's.
pub fn select(names: &str) -> Result<Vec<Query>> {
    let wanted: Vec<&str> = names.split(',').map(str::trim).collect();
    for name in &wanted {
        if *name != "all" && !QUERIES.iter().any(|q| q.name == *name) {
            bail!("--queries {names}: no query '{name}'; there are q0 to q23, and all");
        }
    }
    let is_wanted = |q: &&Query| wanted.iter().any(|w| *w == "all" || *w == q.name);
    Ok(QUERIES.iter().filter(is_wanted).copied().collect())
}

/// The tables; `${SOURCE}` are the options of the table of events, `${SIDE}` is the side input.
const TABLES: &str = include_str!("tables.sql");
/// Event time passes at this many events a second.
pub const EVENT_RATE: u64 = 100_000;
/// Keys of the side input: q13 looks up `MOD(auction, 10000)`.
const SIDE_KEYS: u64 = 10_000;

/// Where the events come from, as options of their table.
pub fn file_options(path: &str) -> String {
    format!("'connector' = 'filesystem', 'path' = '{path}', 'format' = 'json'")
}

/// So many events of the generator, of [`EVENT_RATE`].
pub fn generator_options(events: u64) -> String {
    format!(
        "'connector' = 'nexmark', 'first-event.rate' = '{EVENT_RATE}', \
         'next-event.rate' = '{EVENT_RATE}', 'events.num' = '{events}'"
    )
}

/// The tables and the query. `source` are the options of the table of events, `folder` is where
/// the side input is (see [`write_side_input`]) and where q10 writes.
pub fn script(text: &str, source: &str, folder: &str) -> String {
    format!("{}{text}", tables(source, folder)).replace("${OUT}", &format!("{folder}/out"))
}

/// The tables alone.
pub fn tables(source: &str, folder: &str) -> String {
    TABLES
        .replace("${SOURCE}", source)
        .replace("${SIDE}", &format!("{folder}/side_input.csv"))
}

/// Writes the side input of q13 into the folder.
pub fn write_side_input(folder: &std::path::Path) -> std::io::Result<()> {
    let rows: String = (0..SIDE_KEYS).map(|key| format!("{key},{key}\n")).collect();
    std::fs::write(folder.join("side_input.csv"), rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_select_queries() {
        let names = |text| -> Vec<&str> { select(text).unwrap().iter().map(|q| q.name).collect() };
        assert_eq!(names("q5, q0"), ["q0", "q5"]);
        assert_eq!(names("all").len(), 24);
        let error = select("q0,q24").unwrap_err().to_string();
        assert!(error.contains("no query 'q24'"), "{error}");
    }

    #[test]
    fn every_query_is_numbered_and_parses() {
        for (number, query) in QUERIES.iter().enumerate() {
            assert_eq!(query.name, format!("q{number}"));
            let script = script(query.text, &generator_options(1), "/scratch");
            let parsed = flott_sql::parser::parse_script(&script);
            assert!(parsed.is_ok(), "{}: {:?}", query.name, parsed.err());
            assert!(!script.contains("${"), "{}", query.name);
        }
    }

    /// The driver of real Flink splits at a semicolon that ends a line.
    #[test]
    fn statements_end_with_a_semicolon_at_the_end_of_a_line() {
        for query in QUERIES {
            let script = script(query.text, &generator_options(1), "/scratch");
            let split = script.split(";\n").filter(|s| !s.trim().is_empty()).count();
            let parsed = flott_sql::parser::parse_script(&script).unwrap();
            assert_eq!(split, parsed.len(), "{}", query.name);
        }
    }
}
