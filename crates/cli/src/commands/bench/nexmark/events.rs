//! The events of a run: from the generator, or from a file of JSON lines.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, Result, bail};
use flate2::read::MultiGzDecoder;

use super::queries;
use crate::commands::bench::measure::{self, ScratchFolder, Watcher};

/// `--source`.
#[derive(Debug, Clone, PartialEq)]
pub enum Source {
    Generator,
    /// JSON lines, plain or gzip.
    File(PathBuf),
}

impl FromStr for Source {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text.strip_prefix("file:") {
            Some(path) if !path.is_empty() => Ok(Self::File(PathBuf::from(path))),
            _ if text == "nexmark" => Ok(Self::Generator),
            _ => Err("write nexmark, or file:PATH".into()),
        }
    }
}

/// A plain file of events.
#[derive(Debug, Clone, PartialEq)]
pub struct EventFile {
    pub path: PathBuf,
    pub events: u64,
    pub bytes: u64,
}

/// Generates so many events into a new file, one JSON object a line.
///
/// # Errors
/// When the file exists already or cannot be written.
pub fn generate(path: &Path, events: u64, watcher: &Watcher) -> Result<EventFile> {
    if path.exists() {
        bail!(
            "{}: the file exists; remove it or name another",
            path.display()
        );
    }
    let folder = ScratchFolder::new()?;
    let parts = folder.path().join("parts");
    let script = format!(
        "{}CREATE TABLE parts (event_type INT, person {person}, auction {auction}, bid {bid}) WITH (\
         'connector' = 'filesystem', 'path' = '{}', 'format' = 'json', \
         'sink.rolling-policy.file-size' = '1tb', 'sink.rolling-policy.rollover-interval' = '30 d');\n\
         INSERT INTO parts SELECT event_type, person, auction, bid FROM events;\n",
        queries::tables(
            &queries::generator_options(events),
            &folder.path().display().to_string()
        ),
        parts.display(),
        person = PERSON,
        auction = AUCTION,
        bid = BID,
    );
    watcher.show(format!("writing {events} events to {}", path.display()));
    // One subtask keeps the events in order.
    let command = measure::flott_run(&script, 1, folder.path())?;
    let usage = measure::run_measured(command, folder.path(), None, watcher)?;
    if let Some(failure) = usage.failure {
        bail!("the events could not be generated: {failure}");
    }
    let mut names: Vec<PathBuf> = std::fs::read_dir(&parts)?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    names.sort();
    let mut out = create(path)?;
    for name in names {
        std::io::copy(&mut File::open(&name)?, &mut out)?;
    }
    finish(out, path, events)
}

const PERSON: &str = "ROW<id BIGINT, name STRING, emailAddress STRING, creditCard STRING, \
    city STRING, state STRING, `dateTime` TIMESTAMP(3), extra STRING>";
const AUCTION: &str = "ROW<id BIGINT, itemName STRING, description STRING, initialBid BIGINT, \
    reserve BIGINT, `dateTime` TIMESTAMP(3), expires TIMESTAMP(3), seller BIGINT, \
    category BIGINT, extra STRING>";
const BID: &str = "ROW<auction BIGINT, bidder BIGINT, price BIGINT, channel STRING, url STRING, \
    `dateTime` TIMESTAMP(3), extra STRING>";

/// A plain file of the events: the file itself where that will do, else a copy in the folder,
/// unpacked, with the first `limit` events.
///
/// # Errors
/// When the file cannot be read, or holds no line.
pub fn open(path: &Path, limit: Option<u64>, folder: &Path) -> Result<EventFile> {
    let file = || File::open(path).with_context(|| path.display().to_string());
    let mut magic = [0; 2];
    let is_gzip = file()?.read(&mut magic)? == 2 && magic == [0x1f, 0x8b];
    let count = if is_gzip || limit.is_some() {
        None
    } else {
        Some(count_lines(&mut BufReader::with_capacity(BUFFER, file()?))?)
    };
    let events = match count {
        Some(events) => EventFile {
            path: std::path::absolute(path)?,
            events,
            bytes: file()?.metadata()?.len(),
        },
        None => {
            let input: Box<dyn Read> = if is_gzip {
                Box::new(MultiGzDecoder::new(file()?))
            } else {
                Box::new(file()?)
            };
            let copy = folder.join("events.json");
            let mut out = create(&copy)?;
            let limit = limit.unwrap_or(u64::MAX);
            let events = copy_lines(
                &mut BufReader::with_capacity(BUFFER, input),
                &mut out,
                limit,
            )
            .with_context(|| path.display().to_string())?;
            finish(out, &copy, events)?
        }
    };
    if events.events == 0 {
        bail!("{}: there are no events in the file", path.display());
    }
    Ok(events)
}

const BUFFER: usize = 1 << 18;

fn create(path: &Path) -> Result<BufWriter<File>> {
    let file = File::create(path).with_context(|| path.display().to_string())?;
    Ok(BufWriter::with_capacity(BUFFER, file))
}

fn finish(mut out: BufWriter<File>, path: &Path, events: u64) -> Result<EventFile> {
    out.flush()?;
    Ok(EventFile {
        path: std::path::absolute(path)?,
        events,
        bytes: out.get_ref().metadata()?.len(),
    })
}

/// Lines that hold something; the last one may lack its line end.
fn count_lines(input: &mut impl BufRead) -> std::io::Result<u64> {
    copy_lines(input, &mut std::io::sink(), u64::MAX)
}

/// Copies at most `limit` lines that hold something, and says how many there were.
fn copy_lines(input: &mut impl BufRead, out: &mut impl Write, limit: u64) -> std::io::Result<u64> {
    let (mut line, mut lines) = (Vec::new(), 0);
    while lines < limit {
        line.clear();
        if input.read_until(b'\n', &mut line)? == 0 {
            break;
        }
        if !line.trim_ascii().is_empty() {
            out.write_all(&line)?;
            lines += 1;
        }
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_parsed() {
        assert_eq!("nexmark".parse(), Ok(Source::Generator));
        assert_eq!(
            "file:a/b.json".parse(),
            Ok(Source::File(PathBuf::from("a/b.json")))
        );
        assert!("file:".parse::<Source>().is_err());
        assert!("kafka".parse::<Source>().is_err());
    }

    #[test]
    fn files_are_counted_cut_and_unpacked() {
        let folder = tempfile::tempdir().unwrap();
        let (plain, packed) = (folder.path().join("a.jsonl"), folder.path().join("a.gz"));
        std::fs::write(&plain, "{}\n{\"a\":1}\n\n{}").unwrap();
        let mut gzip = flate2::write::GzEncoder::new(
            File::create(&packed).unwrap(),
            flate2::Compression::fast(),
        );
        gzip.write_all(b"{}\n{}\n").unwrap();
        gzip.finish().unwrap();

        let whole = open(&plain, None, folder.path()).unwrap();
        assert_eq!((whole.path.as_path(), whole.events), (plain.as_path(), 3));
        let first = open(&plain, Some(2), folder.path()).unwrap();
        assert_eq!((first.events, first.bytes), (2, 11));
        let unpacked = open(&packed, None, folder.path()).unwrap();
        assert_eq!((unpacked.events, unpacked.bytes), (2, 6));
    }

    #[test]
    fn a_file_without_events_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("empty.jsonl");
        std::fs::write(&path, "\n").unwrap();
        let error = open(&path, None, folder.path()).unwrap_err().to_string();
        assert!(error.contains("there are no events"), "{error}");
    }
}
