//! How other processes talk to a running job: a socket in the job's folder, lines of JSON.
//!
//! A named job whose state folder is on this machine listens at `<dir>/<job>/control.sock`, for its
//! owner only (mode 0600). Each connection carries one request and one answer, a line each:
//!
//! ```text
//! {"op":"status"}                                     {"ok":{"status":{…}}}
//! {"op":"savepoint","folder":"/sp"}                   {"ok":{"path":"/sp/savepoint-shop-1-7"}}
//! {"op":"stop","folder":null,"drain":false}           {"error":{"code":"…","message":"…"}}
//! ```
//!
//! One thread serves all of them beside the job; savepoints are looked after while it goes on
//! listening. A job whose state folder is in an object store is asked through objects in it
//! ([`mailbox`]).

mod client;
mod mailbox;
mod server;
mod socket;

use std::path::PathBuf;

use flott_core::Result;
use flott_core::options::Options;
use flott_state::storage::StoragePlace;
use serde::{Deserialize, Serialize};

use crate::snapshots::local_path;

pub use client::send;
pub use server::ControlServer;

/// The most bytes of a request or an answer.
const MAX_LINE: u64 = 64 << 10;

/// Where a named job is asked.
#[derive(Debug, Clone)]
pub enum Address {
    /// The job's folder on this machine, with its socket.
    Folder(PathBuf),
    /// The job's folder in an object store, with its mailbox.
    Store(StoragePlace),
}

impl Address {
    /// The address of a job of the state folder `dir`; `options` say how a store is reached.
    ///
    /// # Errors
    /// A user error for a folder of an unknown kind or wrong options.
    pub fn of(dir: &str, job: &str, options: &Options) -> Result<Self> {
        Ok(match local_path(dir) {
            Some(path) => Self::Folder(PathBuf::from(path).join(job)),
            None => Self::Store(StoragePlace::open(dir, options)?.child(job)),
        })
    }
}

/// What a running job is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "lowercase")]
pub enum Request {
    Status,
    /// A savepoint in a new folder below this one, or below the configured one.
    Savepoint {
        folder: Option<String>,
    },
    /// Stop with a last checkpoint and, where there is a folder, with a savepoint.
    Stop {
        folder: Option<String>,
        /// With a savepoint, also where no folder is given: in the configured one.
        #[serde(default)]
        savepoint: bool,
        #[serde(default)]
        drain: bool,
    },
}

/// What a running job answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    Ok(Reply),
    Error(Refusal),
}

/// The answer to a request that went well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reply {
    Status(JobStatus),
    /// Where the savepoint or the last checkpoint is.
    Path(String),
}

/// Why a request cannot be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    pub code: String,
    pub message: String,
}

/// Where a running job stands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobStatus {
    pub job: String,
    /// What the job is called in its graph.
    #[serde(default)]
    pub job_name: String,
    pub process: u32,
    /// When this process started it, in ms since 1970.
    pub start_time_ms: i64,
    pub num_restarts: u64,
    /// Rows read by all sources and written to all sinks since the last start.
    pub num_records_in: u64,
    pub num_records_out: u64,
    /// The last complete checkpoint of this attempt.
    pub checkpoint: Option<CheckpointStatus>,
    pub num_checkpoints: u64,
    pub num_failed_checkpoints: u64,
}

/// A complete checkpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointStatus {
    pub id: u64,
    /// When it began, in ms since 1970.
    pub trigger_time_ms: i64,
    pub duration_ms: i64,
    pub state_bytes: u64,
    pub path: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_and_answers_are_lines_of_json() {
        let stop = Request::Stop {
            folder: None,
            savepoint: false,
            drain: true,
        };
        let text = serde_json::to_string(&stop).unwrap();
        assert_eq!(
            text,
            r#"{"op":"stop","folder":null,"savepoint":false,"drain":true}"#
        );
        assert_eq!(serde_json::from_str::<Request>(&text).unwrap(), stop);
        let short = r#"{"op":"stop","folder":null}"#;
        let read: Request = serde_json::from_str(short).unwrap();
        assert!(matches!(read, Request::Stop { drain: false, .. }));
        let answer = Answer::Ok(Reply::Path("/sp".into()));
        let text = serde_json::to_string(&answer).unwrap();
        assert_eq!(text, r#"{"ok":{"path":"/sp"}}"#);
    }
}
