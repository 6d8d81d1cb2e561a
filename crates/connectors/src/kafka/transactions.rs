//! Questions to the coordinators of transactions, repeated until they are answered.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use flott_core::clock::Stopwatch;
use flott_core::hash::StableHashMap;
use flott_core::{Error, Result};
use parking_lot::Mutex;
use rdkafka::config::ClientConfig;

use super::protocol::{
    BrokerConnection, INVALID_TXN_STATE, PASSING_ERRORS, TransactionDescription,
    UNKNOWN_TRANSACTIONAL_ID,
};
use super::security::Security;

/// How long brokers may be away, or a coordinator be busy, before the job fails.
const PATIENCE: Duration = Duration::from_secs(120);
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// Identifies one transaction: ids are used again, but never with the same start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Transaction {
    pub id: String,
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub start_ms: i64,
    pub timeout_ms: i64,
}

/// Asks brokers; connections and coordinators are remembered.
pub(super) struct TransactionClient {
    bootstrap: Vec<String>,
    connections: Mutex<StableHashMap<String, BrokerConnection>>,
    coordinators: Mutex<StableHashMap<String, String>>,
    security: Security,
    is_cancelled: Arc<AtomicBool>,
}

/// An answer that may come right if one asks again.
enum Attempt<T> {
    Done(T),
    Again(String),
}

pub(super) fn pause(duration: Duration) {
    // A wait without anyone to wake it.
    let (_sender, receiver) = mpsc::channel::<()>();
    let _ = receiver.recv_timeout(duration);
}

impl TransactionClient {
    /// A client of the brokers that producers of this configuration have.
    ///
    /// # Errors
    /// A user error for wrong certificates.
    pub fn new(config: &ClientConfig, is_cancelled: Arc<AtomicBool>) -> Result<Self> {
        let bootstrap = config.get("bootstrap.servers").unwrap_or_default();
        let servers = bootstrap
            .split(',')
            .map(str::trim)
            .filter(|s| !s.is_empty());
        Ok(Self {
            bootstrap: servers.map(str::to_string).collect(),
            connections: Mutex::default(),
            coordinators: Mutex::default(),
            security: Security::new(config)?,
            is_cancelled,
        })
    }

    fn patiently<T>(&self, what: &str, mut ask: impl FnMut() -> Result<Attempt<T>>) -> Result<T> {
        let (since, mut wait) = (Stopwatch::start(), FIRST_PAUSE);
        loop {
            let why = match ask() {
                Ok(Attempt::Done(answer)) => return Ok(answer),
                Ok(Attempt::Again(why)) => why,
                Err(error) if error.is_retryable() => error.message().to_string(),
                Err(error) => return Err(error.context(what)),
            };
            if since.elapsed() > PATIENCE || self.is_cancelled.load(Ordering::SeqCst) {
                return Err(Error::external("KAFKA", format!("{what}: {why}")).retryable());
            }
            pause(wait);
            wait = (wait * 2).min(LONGEST_PAUSE);
        }
    }

    /// Asks the broker at `address`; a connection that fails is closed.
    fn at<T>(
        &self,
        address: &str,
        ask: impl FnOnce(&mut BrokerConnection) -> Result<T>,
    ) -> Result<T> {
        let open = self.connections.lock().remove(address);
        let mut connection = match open {
            Some(connection) => connection,
            None => BrokerConnection::open(address, &self.security)?,
        };
        let answer = ask(&mut connection)?;
        self.connections
            .lock()
            .insert(address.to_string(), connection);
        Ok(answer)
    }

    /// Asks any broker.
    fn anywhere<T>(&self, ask: impl Fn(&mut BrokerConnection) -> Result<T>) -> Result<T> {
        let mut failure = Error::user("MISSING_OPTION", "'properties.bootstrap.servers' is empty");
        for address in &self.bootstrap {
            match self.at(address, &ask) {
                Ok(answer) => return Ok(answer),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    fn coordinator(&self, id: &str) -> Result<Attempt<String>> {
        if let Some(address) = self.coordinators.lock().get(id) {
            return Ok(Attempt::Done(address.clone()));
        }
        match self.anywhere(|c| c.find_coordinator(id))? {
            Ok(address) => {
                self.coordinators
                    .lock()
                    .insert(id.to_string(), address.clone());
                Ok(Attempt::Done(address))
            }
            Err(code) if PASSING_ERRORS.contains(&code) => {
                Ok(Attempt::Again(format!("no coordinator yet (error {code})")))
            }
            Err(code) => {
                let message = format!("the coordinator of '{id}' is not found: error {code}");
                Err(Error::external("KAFKA", message))
            }
        }
    }

    /// Asks the coordinator of `id`, again as long as it answers with a passing error.
    fn of_coordinator<T>(
        &self,
        id: &str,
        what: &str,
        code_of: impl Fn(&T) -> i16,
        ask: impl Fn(&mut BrokerConnection) -> Result<T>,
    ) -> Result<T> {
        self.patiently(what, || {
            let address = match self.coordinator(id)? {
                Attempt::Done(address) => address,
                Attempt::Again(why) => return Ok(Attempt::Again(why)),
            };
            let answer = self.at(&address, &ask);
            let is_passing = match &answer {
                Ok(answer) => PASSING_ERRORS.contains(&code_of(answer)),
                Err(_) => true,
            };
            if is_passing {
                self.coordinators.lock().remove(id);
            }
            let answer = answer?;
            Ok(match code_of(&answer) {
                code if is_passing => Attempt::Again(format!("error {code}")),
                _ => Attempt::Done(answer),
            })
        })
    }

    fn describe(&self, id: &str) -> Result<TransactionDescription> {
        let what = format!("transaction '{id}'");
        self.of_coordinator(
            id,
            &what,
            |d: &TransactionDescription| d.error,
            |c| c.describe(id),
        )
    }

    /// The open transaction of `id`; `None` when it has none, because nothing was written.
    pub fn open_transaction(&self, id: &str) -> Result<Option<Transaction>> {
        let found = self.describe(id)?;
        if found.error != 0 {
            return Err(Error::external(
                "KAFKA",
                format!(
                    "transaction '{id}' cannot be described: error {}",
                    found.error
                ),
            ));
        }
        Ok((found.state == "Ongoing").then(|| Transaction {
            id: id.to_string(),
            producer_id: found.producer_id,
            producer_epoch: found.producer_epoch,
            start_ms: found.start_ms,
            timeout_ms: i64::from(found.timeout_ms),
        }))
    }

    fn is_open(found: &TransactionDescription, transaction: &Transaction) -> bool {
        found.error == 0
            && Self::is_same_producer(found, transaction)
            && found.state == "Ongoing"
            && found.start_ms == transaction.start_ms
    }

    fn is_same_producer(found: &TransactionDescription, transaction: &Transaction) -> bool {
        found.producer_id == transaction.producer_id
            && found.producer_epoch == transaction.producer_epoch
    }

    /// Commits a transaction of this attempt whose producer could not.
    ///
    /// # Errors
    /// The transaction is not open any more and was not committed.
    pub fn commit(&self, transaction: &Transaction) -> Result<()> {
        let found = self.describe(&transaction.id)?;
        if Self::is_open(&found, transaction) {
            return self.end(transaction);
        }
        if Self::is_same_producer(&found, transaction) && found.state.ends_with("Commit") {
            return Ok(());
        }
        let message = format!(
            "transaction '{}' is lost: the broker says {} (error {})",
            transaction.id, found.state, found.error
        );
        Err(Error::external("KAFKA", message))
    }

    /// Commits a transaction of the checkpoint that a job starts from. It may have been committed
    /// before, by any earlier attempt: then it is left alone.
    pub fn commit_again(&self, transaction: &Transaction, now_ms: i64) -> Result<()> {
        let found = self.describe(&transaction.id)?;
        if Self::is_open(&found, transaction) {
            return self.end(transaction);
        }
        let is_same_producer = Self::is_same_producer(&found, transaction);
        let is_aborted = found.state.ends_with("Abort");
        if is_same_producer && is_aborted && found.start_ms == transaction.start_ms {
            let id = &transaction.id;
            let message = format!(
                "transaction '{id}' of the checkpoint was aborted: its rows are missing; \
                 start from an earlier checkpoint or savepoint"
            );
            return Err(Error::external("KAFKA", message));
        }
        let was_aborted = !is_same_producer && is_aborted;
        let is_gone = found.error == UNKNOWN_TRANSACTIONAL_ID;
        let age_ms = now_ms.saturating_sub(transaction.start_ms);
        if age_ms > transaction.timeout_ms && (was_aborted || is_gone) {
            tracing::error!(
                transaction = transaction.id,
                "a transaction of the last checkpoint is older than 'properties.transaction.timeout.ms': \
                 unless it was committed before, the broker has aborted it and its rows are missing"
            );
        }
        Ok(())
    }

    fn end(&self, transaction: &Transaction) -> Result<()> {
        let Transaction {
            id,
            producer_id,
            producer_epoch,
            ..
        } = transaction;
        let what = format!("commit of transaction '{id}'");
        let ask = |c: &mut BrokerConnection| c.commit(id, *producer_id, *producer_epoch);
        match self.of_coordinator(id, &what, |code| *code, ask)? {
            0 => Ok(()),
            // A first attempt whose answer was lost has committed it.
            INVALID_TXN_STATE if self.describe(id)?.state.ends_with("Commit") => Ok(()),
            code => Err(Error::external("KAFKA", format!("{what}: error {code}"))),
        }
    }

    /// Aborts the open transactions whose id `is_ours`, and fences their producers.
    pub fn abort_open(&self, is_ours: impl Fn(&str) -> bool) -> Result<()> {
        let brokers = self.patiently("brokers", || {
            self.anywhere(BrokerConnection::brokers).map(Attempt::Done)
        })?;
        let mut open = Vec::new();
        for broker in brokers {
            let ids = self.patiently("open transactions", || {
                Ok(match self.at(&broker, BrokerConnection::list_open)? {
                    Ok(ids) => Attempt::Done(ids),
                    Err(code) => Attempt::Again(format!("error {code}")),
                })
            })?;
            open.extend(ids.into_iter().filter(|id| is_ours(id)));
        }
        for id in open {
            tracing::info!(id, "a transaction of an earlier attempt is aborted");
            let what = format!("abort of transaction '{id}'");
            let ask = |c: &mut BrokerConnection| c.init_producer_id(&id, 60_000);
            let code = self.of_coordinator(&id, &what, |code| *code, ask)?;
            if code != 0 {
                return Err(Error::external("KAFKA", format!("{what}: error {code}")));
            }
        }
        Ok(())
    }
}
