//! How a job is asked whose state folder is in an object store: objects in the place of a socket.
//!
//! ```text
//! <dir>/<job>/control/running       which process runs the job, and where it stands; written anew
//!                                   every five seconds, gone when the job has ended
//! <dir>/<job>/control/request       one request at a time, put there if there is none
//! <dir>/<job>/control/answer-<id>   its answer
//! ```
//!
//! Who may write to the job's folder may ask it. Requests name the run that they are for, so that a
//! process that has been replaced takes none of its successor's.

use std::sync::mpsc::channel;
use std::time::Duration;

use flott_core::clock::{Clock, Stopwatch, SystemClock};
use flott_core::{Error, Result};
use flott_state::storage::StoragePlace;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::server::Door;
use super::{Answer, JobStatus, Reply, Request};

const CONTROL: &str = "control";
const RUNNING: &str = "control/running";
const REQUEST: &str = "control/request";

/// How often the job looks for a request: a read of one object.
const POLL: Duration = Duration::from_secs(1);
/// How often the job says that it runs.
const NOTE: Duration = Duration::from_secs(5);
/// A job that has said nothing for so long, in ms, runs no more.
const SILENCE_MS: i64 = 30_000;
/// How often who asks looks for the answer.
const LOOK: Duration = Duration::from_millis(250);

/// What a running job says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Running {
    /// Tells the processes apart that run the job.
    run: String,
    /// When it was written, in ms since 1970.
    time_ms: i64,
    status: JobStatus,
}

/// A request on its way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Letter {
    id: String,
    /// The run that is asked.
    run: String,
    request: Request,
}

/// The job's side.
pub(super) struct Mailbox {
    /// The job's folder.
    place: StoragePlace,
    run: String,
    polled: Stopwatch,
    noted: Option<Stopwatch>,
}

impl Mailbox {
    /// Opens the job's mailbox; what an earlier process has left in it is gone.
    ///
    /// # Errors
    /// The store's.
    pub fn open(place: StoragePlace) -> Result<Self> {
        let left = place.list(CONTROL)?.into_iter().map(|o| o.name);
        place.delete_all(left.collect())?;
        Ok(Self {
            place,
            run: unique(),
            polled: Stopwatch::start(),
            noted: None,
        })
    }

    /// The request that waits, if it is for this run.
    fn take(&self) -> Result<Option<Letter>> {
        let Some(letter) = read::<Letter>(&self.place, REQUEST)? else {
            return Ok(None);
        };
        if letter.run != self.run {
            return Ok(None);
        }
        self.place.delete_all(vec![REQUEST.into()])?;
        Ok(Some(letter))
    }
}

impl Door for Mailbox {
    type Asker = String;

    fn requests(&mut self) -> Vec<(String, Result<Request>)> {
        if self.polled.elapsed() < POLL {
            return Vec::new();
        }
        self.polled = Stopwatch::start();
        match self.take() {
            Ok(letter) => letter.into_iter().map(|l| (l.id, Ok(l.request))).collect(),
            Err(error) => {
                tracing::warn!(%error, "requests to the job cannot be read");
                Vec::new()
            }
        }
    }

    fn answer(&mut self, asker: String, answer: &Answer) {
        let written = write(&self.place, &format!("{CONTROL}/answer-{asker}"), answer);
        if let Err(error) = written {
            tracing::warn!(%error, "an answer cannot be written");
        }
    }

    fn tell(&mut self, status: &dyn Fn() -> Result<JobStatus>) {
        if self.noted.is_some_and(|noted| noted.elapsed() < NOTE) {
            return;
        }
        self.noted = Some(Stopwatch::start());
        let written = status().and_then(|status| {
            let running = Running {
                run: self.run.clone(),
                time_ms: SystemClock.now_ms(),
                status,
            };
            write(&self.place, RUNNING, &running)
        });
        if let Err(error) = written {
            tracing::warn!(%error, "that the job runs cannot be noted");
        }
    }

    fn close(&mut self) {
        let closed = read::<Running>(&self.place, RUNNING).and_then(|running| match running {
            Some(running) if running.run == self.run => self.place.delete_all(vec![RUNNING.into()]),
            // Another process runs the job.
            _ => Ok(()),
        });
        if let Err(error) = closed {
            tracing::warn!(%error, "that the job has ended cannot be noted");
        }
    }
}

/// Asks the job whose folder this is; `None` when no process runs it.
///
/// # Errors
/// The job's refusal as an [`Answer`] is none; the store's, `BUSY` when another request is not taken
/// in time, `NO_ANSWER` when the job ends without an answer.
pub(super) fn ask(place: &StoragePlace, name: &str, request: &Request) -> Result<Option<Answer>> {
    let note = read::<Running>(place, RUNNING)?;
    if *request == Request::Status {
        let fresh = note.filter(is_fresh);
        return Ok(fresh.map(|running| Answer::Ok(Reply::Status(running.status))));
    }
    let Some(running) = note else {
        return Ok(None);
    };
    // Clocks of two machines may differ: what looks old may be about to be written anew.
    let is_alive = is_fresh(&running) || changes(place, &running)?;
    if !is_alive {
        return Ok(None);
    }
    let letter = Letter {
        id: unique(),
        run: running.run.clone(),
        request: request.clone(),
    };
    post(place, name, &letter)?;
    let answer = await_answer(place, name, &letter, running);
    if answer.is_err() && read::<Letter>(place, REQUEST)?.is_some_and(|l| l.id == letter.id) {
        place.delete_all(vec![REQUEST.into()])?;
    }
    answer.map(Some)
}

fn is_fresh(running: &Running) -> bool {
    SystemClock.now_ms() - running.time_ms < SILENCE_MS
}

/// Whether the job says anew that it runs, within the time of two notes.
fn changes(place: &StoragePlace, running: &Running) -> Result<bool> {
    let watch = Stopwatch::start();
    while watch.elapsed() < 2 * NOTE {
        pause(LOOK);
        match read::<Running>(place, RUNNING)? {
            Some(now) if now == *running => {}
            now => return Ok(now.is_some_and(|now| now.run == running.run)),
        }
    }
    Ok(false)
}

fn post(place: &StoragePlace, name: &str, letter: &Letter) -> Result<()> {
    let watch = Stopwatch::start();
    while !place.put_new(REQUEST, encoded(letter)?.into())? {
        if watch.elapsed() > 5 * POLL {
            let message = format!("another request to {name} waits; ask again later");
            return Err(Error::external("BUSY", message));
        }
        pause(LOOK);
    }
    Ok(())
}

fn await_answer(
    place: &StoragePlace,
    name: &str,
    letter: &Letter,
    mut last: Running,
) -> Result<Answer> {
    let path = format!("{CONTROL}/answer-{}", letter.id);
    let mut since = Stopwatch::start();
    loop {
        // The note is removed after the last answer is written: looked at in this order, no answer
        // is missed.
        let note = read::<Running>(place, RUNNING)?;
        if let Some(answer) = read::<Answer>(place, &path)? {
            place.delete_all(vec![path])?;
            return Ok(answer);
        }
        let is_over = match note {
            Some(now) if now.run == letter.run && now != last => {
                last = now;
                since = Stopwatch::start();
                false
            }
            Some(now) => now.run != letter.run || since.elapsed().as_millis() as i64 > SILENCE_MS,
            None => true,
        };
        if is_over {
            let message = format!("{name} ended without an answer");
            return Err(Error::external("NO_ANSWER", message));
        }
        pause(LOOK);
    }
}

/// An id that no other process gives.
fn unique() -> String {
    format!("{:x}-{:x}", SystemClock.now_nanos(), std::process::id())
}

fn pause(time: Duration) {
    let (_never, wait) = channel::<()>();
    let _ = wait.recv_timeout(time);
}

/// An object's content; one that cannot be read, because another version wrote it, counts as none.
fn read<T: DeserializeOwned>(place: &StoragePlace, name: &str) -> Result<Option<T>> {
    let bytes = place.get(name)?;
    Ok(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
}

fn encoded<T: Serialize>(value: &T) -> Result<Vec<u8>> {
    serde_json::to_vec(value)
        .map_err(|e| Error::internal(format!("a message to a job cannot be written: {e}")))
}

fn write<T: Serialize>(place: &StoragePlace, name: &str, value: &T) -> Result<()> {
    place.put(name, encoded(value)?.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(place: &StoragePlace, run: &str, time_ms: i64) -> Result<()> {
        let running = Running {
            run: run.into(),
            time_ms,
            status: JobStatus::default(),
        };
        write(place, RUNNING, &running)
    }

    #[test]
    fn a_request_finds_its_run_and_the_answer_who_has_asked() -> Result<()> {
        let place = StoragePlace::in_memory().child("shop");
        place.put("control/answer-old", vec![b'x'].into())?;
        let mut mailbox = Mailbox::open(place.clone())?;
        assert_eq!(place.list(CONTROL)?, []);
        assert!(ask(&place, "shop", &Request::Status)?.is_none());
        mailbox.tell(&|| Ok(JobStatus::default()));
        let status = ask(&place, "shop", &Request::Status)?;
        assert!(matches!(status, Some(Answer::Ok(Reply::Status(_)))));
        let asking = std::thread::spawn({
            let place = place.clone();
            move || ask(&place, "shop", &Request::Savepoint { folder: None })
        });
        let (asker, request) = loop {
            pause(LOOK);
            if let Some(found) = mailbox.requests().pop() {
                break found;
            }
        };
        assert_eq!(request?, Request::Savepoint { folder: None });
        mailbox.answer(asker, &Answer::Ok(Reply::Path("/sp".into())));
        mailbox.close();
        let answer = asking.join().unwrap()?;
        assert_eq!(answer, Some(Answer::Ok(Reply::Path("/sp".into()))));
        assert_eq!(place.list(CONTROL)?, []);
        Ok(())
    }

    #[test]
    fn who_is_silent_or_ends_gives_no_answer() -> Result<()> {
        let place = StoragePlace::in_memory().child("shop");
        let stop = Request::Savepoint { folder: None };
        assert_eq!(ask(&place, "shop", &stop)?, None);
        note(&place, "first", 0)?;
        assert_eq!(ask(&place, "shop", &Request::Status)?, None);
        note(&place, "first", SystemClock.now_ms())?;
        let asking = std::thread::spawn({
            let place = place.clone();
            move || ask(&place, "shop", &Request::Savepoint { folder: None })
        });
        while place.get(REQUEST)?.is_none() {
            pause(LOOK);
        }
        // Another process takes the job over; what was asked of the first is not its business.
        note(&place, "second", SystemClock.now_ms())?;
        assert_eq!(asking.join().unwrap().unwrap_err().code(), "NO_ANSWER");
        assert_eq!(place.get(REQUEST)?, None);
        Ok(())
    }
}
