//! Runs every stream test under `tests/slt` in every cell of its matrix.
//!
//! `FLOTT_BLESS=1` (`cargo xtask slt --bless`) rewrites the expected blocks from the base cell.

use std::path::{Path, PathBuf};

use flott_testkit::slt::{matrix, record, runner};
use libtest_mimic::{Arguments, Failed, Trial};

fn main() {
    let arguments = Arguments::from_args();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .expect("root");
    let folder = root.join("tests/slt");
    let is_blessing = std::env::var_os("FLOTT_BLESS").is_some();
    let mut trials = Vec::new();
    for path in files(&folder) {
        let name = path
            .strip_prefix(&folder)
            .unwrap_or(&path)
            .display()
            .to_string();
        match parse(&path) {
            Err(message) => trials.push(Trial::test(name, move || Err(message.into()))),
            Ok((text, file, cells)) => {
                for cell in cells.into_iter().filter(|c| !is_blessing || c.is_base()) {
                    let title = format!("{name} {}", cell.name());
                    let (path, text, file) = (path.clone(), text.clone(), file.clone());
                    let data = root.join("tests/data");
                    trials.push(Trial::test(title, move || {
                        check(&path, &text, &file, &cell, &data, is_blessing)
                    }));
                }
            }
        }
    }
    libtest_mimic::run(&arguments, trials).exit();
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let (mut folders, mut files) = (vec![folder.to_path_buf()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "slt") {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

fn parse(path: &Path) -> Result<(String, record::TestFile, Vec<matrix::Cell>), String> {
    let text = std::fs::read_to_string(path).map_err(|e| e.to_string())?;
    let file = record::parse(&text).map_err(|e| format!("{e:#}"))?;
    let cells = matrix::cells(file.matrix.as_deref().unwrap_or(matrix::DEFAULT));
    let mut cells = cells.map_err(|e| e.to_string())?;
    // Without a started job there is nothing that could crash.
    cells.retain(|cell| !cell.crash || file.starts_jobs());
    Ok((text, file, cells))
}

fn check(
    path: &Path,
    text: &str,
    file: &record::TestFile,
    cell: &matrix::Cell,
    data: &Path,
    is_blessing: bool,
) -> Result<(), Failed> {
    let outcome = runner::run(file, cell, data).map_err(|e| Failed::from(format!("{e:#}")))?;
    if is_blessing && !outcome.replacements.is_empty() {
        std::fs::write(path, record::bless(text, &outcome.replacements))?;
        return Ok(());
    }
    match outcome.failures.is_empty() {
        true => Ok(()),
        false => Err(outcome.failures.join("\n").into()),
    }
}
