//! Layout as a ratchet: what is too long today is written down in `xtask/tidy.toml`, may shrink,
//! and may not grow.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// Lines of a file before its tests.
const MAX_FILE_LINES: usize = 600;
/// Lines of a function.
const MAX_FUNCTION_LINES: usize = 80;
/// Names that say nothing, and marks of unfinished work.
const BANNED: &[&str] = &["todo!(", "unimplemented!(", "dbg!(", "FIXME", "XXX"];

/// Checks every Rust file of the workspace.
///
/// # Errors
/// Names each file and function that is longer than allowed and than its written exception.
pub fn check(root: &Path, update: bool) -> Result<()> {
    let mut found = BTreeMap::new();
    let mut wrong = Vec::new();
    for path in rust_files(root)? {
        let text = fs::read_to_string(&path)?;
        let name = path.strip_prefix(root)?.to_string_lossy().to_string();
        for word in BANNED {
            if text.contains(word) && !name.starts_with("xtask") {
                wrong.push(format!("{name}: '{word}' is not left in code"));
            }
        }
        measure(&name, &text, &mut found);
    }
    let exceptions = root.join("xtask/tidy.toml");
    if update {
        let lines = found
            .iter()
            .map(|(what, lines)| format!("\"{what}\" = {lines}\n"));
        let head = "# What was too long when it was written down: may shrink, may not grow.\n";
        fs::write(&exceptions, format!("{head}{}", lines.collect::<String>()))?;
        println!("tidy: {} exceptions written", found.len());
        return Ok(());
    }
    let text = fs::read_to_string(&exceptions).unwrap_or_default();
    let allowed: BTreeMap<String, usize> = toml::from_str(&text).context("xtask/tidy.toml")?;
    for (what, lines) in &found {
        if *lines > allowed.get(what).copied().unwrap_or(0) {
            wrong.push(format!("{what}: {lines} lines; split it"));
        }
    }
    if !wrong.is_empty() {
        bail!("not tidy:\n{}", wrong.join("\n"));
    }
    println!(
        "tidy: lengths and words are in order ({} known exceptions)",
        found.len()
    );
    Ok(())
}

fn rust_files(root: &Path) -> Result<Vec<PathBuf>> {
    let mut folders = vec![root.join("crates"), root.join("xtask")];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() && path.file_name().is_some_and(|n| n != "target") {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

/// Adds what is too long in one file.
fn measure(name: &str, text: &str, found: &mut BTreeMap<String, usize>) {
    if name.contains("/tests/") || name.contains("/benches/") || name.ends_with("tests.rs") {
        return;
    }
    let lines: Vec<&str> = text
        .lines()
        .take_while(|l| l.trim() != "#[cfg(test)]")
        .collect();
    if lines.len() > MAX_FILE_LINES {
        found.insert(name.to_string(), lines.len());
    }
    for (function, length) in functions(&lines) {
        if length > MAX_FUNCTION_LINES {
            found.insert(format!("{name} fn {function}"), length);
        }
    }
}

/// Functions with their lengths: from `fn` to the closing brace at the same indentation, which is
/// where rustfmt puts it.
fn functions<'a>(lines: &[&'a str]) -> Vec<(&'a str, usize)> {
    let mut functions = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let code = line.trim_start();
        let Some((before, after)) = code.split_once("fn ") else {
            continue;
        };
        let is_function = before.split_whitespace().all(|word| {
            matches!(word, "pub" | "const" | "unsafe" | "async" | "extern")
                || word.starts_with("pub(")
        });
        if !is_function {
            continue;
        }
        let name = after.split(['(', '<']).next().unwrap_or_default();
        let indent = line.len() - code.len();
        let end = lines[start..].iter().position(|l| {
            l.len() - l.trim_start().len() == indent
                && (l.trim() == "}" || l.trim_end().ends_with(';'))
        });
        functions.push((name, end.unwrap_or(0) + 1));
    }
    functions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_measured_from_signature_to_brace() {
        let lines = [
            "fn a() {",
            "    1",
            "}",
            "impl X {",
            "    pub fn b(",
            "    ) {",
            "    }",
            "}",
        ];
        assert_eq!(functions(&lines), [("a", 3), ("b", 3)]);
    }
}
