//! The side of who asks.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::Path;

use flott_core::{Error, Result};

use super::socket::connect;
use super::{Address, Answer, MAX_LINE, Reply, Request, mailbox};

/// Asks the job of this name and waits for the answer.
///
/// # Errors
/// A user error `NOT_RUNNING` when no process serves it, the job's own refusal, an external error
/// when it ends without an answer.
pub fn send(address: &Address, name: &str, request: &Request) -> Result<Reply> {
    let answer = match address {
        Address::Folder(folder) => ask(folder, name, request)?,
        Address::Store(place) => match mailbox::ask(place, name, request)? {
            Some(answer) => answer,
            None => {
                let root = place.to_string();
                let root = root
                    .rsplit_once('/')
                    .map_or(root.as_str(), |(root, _)| root);
                return Err(not_running(root, name, !place.folders("")?.is_empty()));
            }
        },
    };
    match answer {
        Answer::Ok(reply) => Ok(reply),
        Answer::Error(refusal) => Err(Error::external(
            "REFUSED",
            format!("{name}: {} [{}]", refusal.message, refusal.code),
        )),
    }
}

/// Asks through the socket in the job's folder.
fn ask(folder: &Path, name: &str, request: &Request) -> Result<Answer> {
    let mut stream = connect(folder).map_err(|e| match e.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            let root = folder.parent().unwrap_or(folder).display().to_string();
            not_running(&root, name, folder.is_dir())
        }
        _ => Error::io(folder.join("control.sock").display(), &e),
    })?;
    let lost = |what: &dyn std::fmt::Display| {
        let message = format!("{name} ended without an answer: {what}");
        Error::external("NO_ANSWER", message)
    };
    let text = serde_json::to_string(request);
    let text = text.map_err(|e| Error::internal(format!("a request cannot be written: {e}")))?;
    let sent = stream.write_all(format!("{text}\n").as_bytes());
    sent.map_err(|e| lost(&e))?;
    let mut line = String::new();
    let mut reader = BufReader::new(stream.take(MAX_LINE));
    reader.read_line(&mut line).map_err(|e| lost(&e))?;
    serde_json::from_str(&line).map_err(|e| lost(&e))
}

fn not_running(root: &str, name: &str, is_known: bool) -> Error {
    let message = match is_known {
        true => format!(
            "no process runs the job '{name}' of {root}; its checkpoints are there: the same 'flott run' goes on from them"
        ),
        false => format!(
            "there is no job '{name}' in {root}; 'flott jobs --state-dir {root}' lists the jobs that are there"
        ),
    };
    Error::user("NOT_RUNNING", message)
}
