//! The side of the running job.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use flott_core::clock::{Clock, SystemClock};
use flott_core::{Error, Result};
use flott_engine::{CheckpointStatus as Status, RunningJob, SavepointTicket};

use super::mailbox::Mailbox;
use super::socket::Socket;
use super::{Address, Answer, CheckpointStatus, JobStatus, MAX_LINE, Refusal, Reply, Request};

/// How often the thread looks for requests and finished savepoints.
const TICK: Duration = Duration::from_millis(50);
/// Who connects says what it wants at once.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(1);
/// Requests that are under way, at most.
const MAX_WAITING: usize = 16;

/// Where requests come in and answers go out.
pub(super) trait Door: Send + 'static {
    /// Who has asked.
    type Asker: Send;

    /// What has been asked since the last call; does not wait.
    fn requests(&mut self) -> Vec<(Self::Asker, Result<Request>)>;

    /// Who has gone needs no answer.
    fn answer(&mut self, asker: Self::Asker, answer: &Answer);

    /// Called often, for doors that have to say that somebody is behind them.
    fn tell(&mut self, _status: &dyn Fn() -> Result<JobStatus>) {}

    /// Everybody has an answer, and the job has ended.
    fn close(&mut self) {}
}

/// Serves one job's requests until it is dropped.
pub struct ControlServer {
    /// Closed, it ends the thread.
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl ControlServer {
    /// Serves `job`, with its id and its graph's name, at its address. `savepoint_dir` is where
    /// savepoints go without a folder of their own.
    ///
    /// # Errors
    /// An external error when the socket cannot be made, or the store's.
    pub fn start(
        address: Address,
        (name, job_name): (&str, &str),
        job: RunningJob,
        savepoint_dir: Option<String>,
    ) -> Result<Self> {
        let service = Service {
            name: name.to_string(),
            job_name: job_name.to_string(),
            job,
            savepoint_dir,
            start_time_ms: SystemClock.now_ms(),
        };
        match address {
            Address::Folder(folder) => {
                let socket = Socket::bind(&folder).map_err(|e| Error::io(folder.display(), &e))?;
                Self::open(service, socket)
            }
            Address::Store(place) => Self::open(service, Mailbox::open(place)?),
        }
    }

    fn open<D: Door>(service: Service, door: D) -> Result<Self> {
        let (stop, stopped) = bounded(0);
        let thread = std::thread::Builder::new()
            .name("flott-control".into())
            .spawn(move || serve(&service, door, &stopped))
            .map_err(|e| Error::external("THREAD", format!("a thread cannot be started: {e}")))?;
        Ok(Self {
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for ControlServer {
    /// Waits until everybody who waits has an answer.
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Service {
    name: String,
    job_name: String,
    job: RunningJob,
    savepoint_dir: Option<String>,
    start_time_ms: i64,
}

fn serve<D: Door>(service: &Service, mut door: D, stopped: &Receiver<()>) {
    // Who waits for a savepoint.
    let mut waiting = Vec::new();
    loop {
        door.tell(&|| service.status());
        if stopped.recv_timeout(TICK) != Err(RecvTimeoutError::Timeout) {
            break;
        }
        for (asker, request) in door.requests() {
            match request.and_then(|request| service.act(&request, waiting.len())) {
                Ok(Action::Done(reply)) => door.answer(asker, &Answer::Ok(reply)),
                Ok(Action::Waits(ticket)) => waiting.push((asker, ticket)),
                Err(error) => door.answer(asker, &Answer::Error(Refusal::new(&error))),
            }
        }
        look(&mut door, &mut waiting);
    }
    // The job has ended: what it has not answered it never will.
    look(&mut door, &mut waiting);
    for (asker, _) in waiting {
        let message = format!("{} ended before that", service.name);
        let error = Error::external("SAVEPOINT_FAILED", message);
        door.answer(asker, &Answer::Error(Refusal::new(&error)));
    }
    door.close();
}

/// Answers those whose savepoint is done.
fn look<D: Door>(door: &mut D, waiting: &mut Vec<(D::Asker, SavepointTicket)>) {
    for (asker, ticket) in std::mem::take(waiting) {
        match ticket.try_wait() {
            None => waiting.push((asker, ticket)),
            Some(result) => door.answer(asker, &answer(result.map(Reply::Path))),
        }
    }
}

impl Door for Socket {
    type Asker = UnixStream;

    fn requests(&mut self) -> Vec<(UnixStream, Result<Request>)> {
        let mut requests = Vec::new();
        while let Ok((stream, _)) = self.listener.accept() {
            let request = read(&stream);
            requests.push((stream, request));
        }
        requests
    }

    fn answer(&mut self, asker: UnixStream, answer: &Answer) {
        write(asker, answer);
    }
}

impl Service {
    /// `num_waiting` wait for savepoints already.
    fn act(&self, request: &Request, num_waiting: usize) -> Result<Action> {
        if num_waiting >= MAX_WAITING && *request != Request::Status {
            let message = format!("{MAX_WAITING} savepoints of {} are under way", self.name);
            return Err(Error::external("BUSY", message));
        }
        let ticket = match request {
            Request::Status => return Ok(Action::Done(Reply::Status(self.status()?))),
            Request::Savepoint { folder } => {
                let folder = folder.as_ref().or(self.savepoint_dir.as_ref());
                let folder = folder.ok_or_else(no_folder)?;
                self.job.trigger_savepoint(folder)?
            }
            Request::Stop {
                folder,
                savepoint,
                drain,
            } => match folder
                .as_ref()
                .or(self.savepoint_dir.as_ref().filter(|_| *savepoint))
            {
                Some(folder) => self.job.stop_with_savepoint(folder, *drain)?,
                None if *savepoint => return Err(no_folder()),
                None => self.job.stop_with_checkpoint(*drain)?,
            },
        };
        Ok(Action::Waits(ticket))
    }

    fn status(&self) -> Result<JobStatus> {
        let handle = self.job.handle()?;
        let progress = handle.progress();
        let history = handle.checkpoints();
        let mut complete = history.last.iter().rev();
        let last = complete.find(|c| c.status == Status::Completed);
        Ok(JobStatus {
            job: self.name.clone(),
            job_name: self.job_name.clone(),
            process: std::process::id(),
            start_time_ms: self.start_time_ms,
            num_restarts: self.job.num_restarts(),
            num_records_in: progress.num_records_in,
            num_records_out: progress.num_records_out,
            checkpoint: last.map(|c| CheckpointStatus {
                id: c.id,
                trigger_time_ms: c.trigger_time_ms,
                duration_ms: c.duration_ms,
                state_bytes: c.state_bytes,
                path: c.path.clone(),
            }),
            num_checkpoints: history.num_completed,
            num_failed_checkpoints: history.num_failed,
        })
    }
}

enum Action {
    Done(Reply),
    /// The answer comes with the ticket's.
    Waits(SavepointTicket),
}

impl Refusal {
    fn new(error: &Error) -> Self {
        Self {
            code: error.code().to_string(),
            message: error.message().to_string(),
        }
    }
}

fn no_folder() -> Error {
    Error::user(
        "MISSING_OPTION",
        "a savepoint needs a folder: give --to, or SET 'execution.checkpointing.savepoint-dir' in the script",
    )
}

fn answer(result: Result<Reply>) -> Answer {
    match result {
        Ok(reply) => Answer::Ok(reply),
        Err(error) => Answer::Error(Refusal::new(&error)),
    }
}

fn read(stream: &UnixStream) -> Result<Request> {
    let wrong = |what: &dyn std::fmt::Display| {
        let message = format!("this is no request: {what}");
        Error::user("INVALID_REQUEST", message)
    };
    let ready = stream
        .set_nonblocking(false)
        .and_then(|()| stream.set_read_timeout(Some(REQUEST_TIMEOUT)))
        .and_then(|()| stream.set_write_timeout(Some(REQUEST_TIMEOUT)));
    ready.map_err(|e| wrong(&e))?;
    let mut line = String::new();
    let mut reader = BufReader::new(stream.take(MAX_LINE));
    reader.read_line(&mut line).map_err(|e| wrong(&e))?;
    serde_json::from_str(&line).map_err(|e| wrong(&e))
}

/// Who has gone needs no answer.
fn write(mut stream: UnixStream, answer: &Answer) {
    if let Ok(mut text) = serde_json::to_string(answer) {
        text.push('\n');
        let _ = stream.write_all(text.as_bytes());
    }
}
