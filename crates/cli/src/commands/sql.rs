//! `flott sql`: an interactive session, or statements from the command line.

use std::io::{IsTerminal, stdout};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use flott_sql::parser::{is_complete, parse_script_tolerant};
use reedline::{
    ColumnarMenu, Completer, CompletionResult, DefaultHinter, DefaultPrompt, DefaultPromptSegment,
    Emacs, FileBackedHistory, KeyCode, KeyModifiers, MenuBuilder, Reedline, ReedlineEvent,
    ReedlineMenu, Signal, Span, Suggestion, ValidationResult, Validator, default_emacs_keybindings,
};

use crate::diagnostics;
use crate::environment::JobArgs;
use crate::job::Executor;
use crate::jobs::StateFolder;
use crate::output::{OutputFormat, writer};

#[derive(Debug, Args)]
pub struct SqlArgs {
    #[command(flatten)]
    job: JobArgs,
    /// Run these statements and end.
    #[arg(short, long, value_name = "SQL")]
    execute: Vec<String>,
    /// Run this script first; with -e or without a terminal, end after it.
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// How results are printed.
    #[arg(long, value_enum, default_value = "table")]
    format: OutputFormat,
    /// The state folder whose jobs SHOW JOBS, STOP JOB and STATE OF mean.
    #[arg(long, value_name = "DIR")]
    state_dir: Option<String>,
}

const HELP: &str = "\
Statements end with ';'. With '\\G' instead, each row is printed with one column a line.
  SHOW TABLES; DESCRIBE t; EXPLAIN SELECT …;   look around
  SHOW JOBS; SELECT * FROM STATE OF 'shop';     jobs of --state-dir, and what they keep
  SET 'execution.runtime-mode' = 'batch';       final results only
  HELP; CLEAR; QUIT;                            this text; an empty screen; the end
Ctrl-C stops a running job, Ctrl-D ends the session.";

/// Runs the command.
pub fn run(args: &SqlArgs) -> ExitCode {
    let jobs = StateFolder::new(args.state_dir.clone());
    let session = match args.job.session_with(&jobs) {
        Ok(session) => session,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::from(diagnostics::EXIT_WRONG_STATEMENT);
        }
    };
    let mut executor = Executor::new(session, jobs, writer(args.format, Box::new(stdout())));
    if let Some(file) = &args.file {
        let name = file.display().to_string();
        let exit = match std::fs::read_to_string(file) {
            Ok(source) => run_text(&mut executor, &name, &source),
            Err(error) => {
                eprintln!("error: {name}: {error}");
                ExitCode::from(diagnostics::EXIT_FAILED)
            }
        };
        if exit != ExitCode::SUCCESS {
            return exit;
        }
    }
    for text in &args.execute {
        let exit = run_text(&mut executor, "-e", text);
        if exit != ExitCode::SUCCESS {
            return exit;
        }
    }
    if !args.execute.is_empty() || (args.file.is_some() && !std::io::stdin().is_terminal()) {
        return ExitCode::SUCCESS;
    }
    if !std::io::stdin().is_terminal() {
        return match std::io::read_to_string(std::io::stdin()) {
            Ok(source) => run_text(&mut executor, "stdin", &source),
            Err(_) => ExitCode::from(diagnostics::EXIT_FAILED),
        };
    }
    interact(&mut executor)
}

/// Runs a script up to its first failure.
fn run_text(executor: &mut Executor, name: &str, source: &str) -> ExitCode {
    for statement in parse_script_tolerant(source) {
        let (index, result) = executor.execute_parsed(statement);
        if let Err(failure) = result {
            if !executor.report(index, &failure.error).unwrap_or(false) {
                eprintln!("{}", diagnostics::render(&failure.error, name, source));
            }
            return diagnostics::exit_code(&failure.error, failure.while_running);
        }
    }
    ExitCode::SUCCESS
}

/// A line is complete when its statement is.
struct StatementValidator;

impl Validator for StatementValidator {
    fn validate(&self, line: &str) -> ValidationResult {
        let text = line.trim();
        let is_word = matches!(
            text.to_ascii_uppercase().as_str(),
            "HELP" | "QUIT" | "EXIT" | "CLEAR"
        );
        if text.is_empty() || is_word || is_complete(text) || text.ends_with("\\G") {
            ValidationResult::Complete
        } else {
            ValidationResult::Incomplete
        }
    }
}

/// Words that begin statements and clauses.
const KEYWORDS: &[&str] = &[
    "ALTER",
    "AND",
    "AS",
    "BETWEEN",
    "BY",
    "CASE",
    "CAST",
    "CATALOG",
    "CREATE",
    "CROSS",
    "CUMULATE",
    "DATABASE",
    "DATABASES",
    "DESCRIBE",
    "DESCRIPTOR",
    "DISTINCT",
    "DROP",
    "ELSE",
    "END",
    "EXECUTE",
    "EXISTS",
    "EXPLAIN",
    "FROM",
    "FUNCTIONS",
    "GROUP",
    "HAVING",
    "HOP",
    "INNER",
    "INSERT",
    "INTERVAL",
    "INTO",
    "JOB",
    "JOBS",
    "JOIN",
    "LEFT",
    "LIMIT",
    "NOT",
    "NULL",
    "OPERATOR",
    "ORDER",
    "OVER",
    "PARTITION",
    "RESET",
    "RIGHT",
    "SELECT",
    "SESSION",
    "SET",
    "SHOW",
    "STATE",
    "STATEMENT",
    "STOP",
    "TABLE",
    "TABLES",
    "THEN",
    "TUMBLE",
    "UNION",
    "UNNEST",
    "USE",
    "VALUES",
    "VIEW",
    "VIEWS",
    "WATERMARK",
    "WHEN",
    "WHERE",
    "WITH",
];

/// Completes keywords, functions and the session's tables.
struct WordCompleter {
    words: Vec<String>,
}

impl WordCompleter {
    fn new(executor: &Executor) -> Self {
        let keywords = KEYWORDS.iter().map(|w| w.to_string());
        let functions = flott_sql::functions::all().map(|f| f.name.to_string());
        let is_word = |w: &String| w.chars().all(|c| c.is_alphanumeric() || c == '_');
        let tables = executor.session.table_names();
        let mut words: Vec<String> = keywords
            .chain(functions)
            .filter(is_word)
            .chain(tables)
            .collect();
        words.sort();
        words.dedup();
        Self { words }
    }
}

impl Completer for WordCompleter {
    fn complete(&mut self, line: &str, position: usize) -> CompletionResult {
        CompletionResult::fresh(self.suggestions(line, position))
    }
}

impl WordCompleter {
    fn suggestions(&self, line: &str, position: usize) -> Vec<Suggestion> {
        let before = &line[..position];
        let is_part = |c: char| c.is_alphanumeric() || c == '_';
        let start = before.rfind(|c| !is_part(c)).map_or(0, |i| i + 1);
        let typed = before[start..].to_lowercase();
        if typed.is_empty() {
            return Vec::new();
        }
        let suggestion = |word: &String| Suggestion {
            value: word.clone(),
            span: Span::new(start, position),
            append_whitespace: true,
            ..Suggestion::default()
        };
        let fitting = self
            .words
            .iter()
            .filter(|w| w.to_lowercase().starts_with(&typed));
        fitting.map(suggestion).collect()
    }
}

/// A line editor with history, hints, completion by Tab and statements over several lines.
fn editor(executor: &Executor) -> Reedline {
    let mut keys = default_emacs_keybindings();
    let complete = ReedlineEvent::UntilFound(vec![
        ReedlineEvent::Menu("completion".into()),
        ReedlineEvent::MenuNext,
    ]);
    keys.add_binding(KeyModifiers::NONE, KeyCode::Tab, complete);
    let menu = Box::new(ColumnarMenu::default().with_name("completion"));
    let editor = Reedline::create()
        .with_validator(Box::new(StatementValidator))
        .with_hinter(Box::new(DefaultHinter::default()))
        .with_completer(Box::new(WordCompleter::new(executor)))
        .with_menu(ReedlineMenu::EngineCompleter(menu))
        .with_edit_mode(Box::new(Emacs::new(keys)));
    match history() {
        Some(history) => editor.with_history(history),
        None => editor,
    }
}

fn interact(executor: &mut Executor) -> ExitCode {
    println!("flott {}: type HELP; for help", env!("CARGO_PKG_VERSION"));
    let mut editor = editor(executor);
    let prompt = DefaultPrompt::new(
        DefaultPromptSegment::Basic("flott".into()),
        DefaultPromptSegment::Empty,
    );
    loop {
        match editor.read_line(&prompt) {
            Ok(Signal::Success(text)) => {
                if is_end(executor, &mut editor, &text) {
                    return ExitCode::SUCCESS;
                }
            }
            Ok(Signal::CtrlC) => {}
            Ok(_) => return ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("error: {error}");
                return ExitCode::from(diagnostics::EXIT_FAILED);
            }
        }
    }
}

/// Runs what was typed; `true` when it ends the session.
fn is_end(executor: &mut Executor, editor: &mut Reedline, text: &str) -> bool {
    let word = text
        .trim()
        .trim_end_matches(';')
        .trim()
        .to_ascii_uppercase();
    match word.as_str() {
        "" => {}
        "QUIT" | "EXIT" => return true,
        "HELP" => println!("{HELP}"),
        "CLEAR" => {
            let _ = editor.clear_screen();
        }
        _ => {
            let is_wide = text.trim_end().ends_with("\\G");
            executor.show_wide(is_wide);
            let statement = text.trim_end().trim_end_matches("\\G");
            run_text(executor, "input", statement);
            executor.reset_interrupt();
            // A statement may have made tables.
            let completer = Box::new(WordCompleter::new(executor));
            let old = std::mem::replace(editor, Reedline::create());
            *editor = old.with_completer(completer);
        }
    }
    false
}

/// The history in the user's state folder; none where there is no home.
fn history() -> Option<Box<FileBackedHistory>> {
    let home = std::env::var_os("HOME")?;
    let path = PathBuf::from(home).join(".flott_history");
    FileBackedHistory::with_file(1000, path).ok().map(Box::new)
}
