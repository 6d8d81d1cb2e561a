//! Transactions as part of the checkpoint.
//!
//! A writer's messages between two checkpoints are one transaction. When the checkpoint's barrier
//! comes the messages are flushed, and the transaction, named by its id, producer id, epoch and
//! start, is a committable; its producer waits here. Once the checkpoint is complete the producer
//! commits it and is used again. Meanwhile the writer goes on in a transaction of another producer,
//! so that a writer has as many producers as it has transactions open: two, mostly.
//!
//! After a crash the committables of the last checkpoint are committed first, by requests of our
//! own, since the producers are gone. Only then are writers made, and each aborts the transactions
//! of its ids that are still open: they belong to no checkpoint.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use flott_core::Result;
use flott_core::clock::{Clock, SystemClock};
use flott_core::sink::{Committable, Committer};
use parking_lot::Mutex;
use rdkafka::config::ClientConfig;

use super::codec::{Decoding, Encoding};
use super::producer::TopicProducer;
use super::transactions::{Transaction, TransactionClient};

/// A producer with the id of its transactions.
#[derive(Clone)]
pub(super) struct PooledProducer {
    pub id: String,
    pub producer: Arc<TopicProducer>,
}

/// The producers of one writer.
#[derive(Default)]
struct Free {
    producers: Vec<PooledProducer>,
    num_made: usize,
}

/// A transaction that waits for its checkpoint.
struct Prepared {
    transaction: Transaction,
    subtask: usize,
    producer: PooledProducer,
}

/// The transactional producers of a sink.
pub(super) struct TransactionPool {
    prefix: String,
    topic: String,
    config: ClientConfig,
    client: TransactionClient,
    is_cancelled: Arc<AtomicBool>,
    /// Whether any writer of this attempt has met a checkpoint's barrier.
    has_checkpoints: AtomicBool,
    free: Mutex<BTreeMap<usize, Free>>,
    /// By transactional id.
    prepared: Mutex<BTreeMap<String, Prepared>>,
}

impl TransactionPool {
    /// # Errors
    /// A user error for wrong certificates.
    pub fn new(
        prefix: String,
        topic: String,
        config: ClientConfig,
        is_cancelled: Arc<AtomicBool>,
    ) -> Result<Self> {
        Ok(Self {
            client: TransactionClient::new(&config, is_cancelled.clone())?,
            prefix,
            topic,
            config,
            is_cancelled,
            has_checkpoints: AtomicBool::new(false),
            free: Mutex::default(),
            prepared: Mutex::default(),
        })
    }

    /// Another attempt begins.
    pub fn begin_attempt(&self) {
        self.has_checkpoints.store(false, Ordering::SeqCst);
    }

    /// A checkpoint's barrier has come to a writer.
    pub fn note_checkpoint(&self) {
        self.has_checkpoints.store(true, Ordering::SeqCst);
    }

    /// The job has failed: what a writer prepared at its end is aborted if no checkpoint can hold
    /// it. Otherwise it is left to the next attempt, which knows.
    pub fn abort_prepared(&self, subtask: usize) {
        if self.has_checkpoints.load(Ordering::SeqCst) {
            return;
        }
        let mut prepared = self.prepared.lock();
        let (own, others) = std::mem::take(&mut *prepared)
            .into_iter()
            .partition(|(_, p)| p.subtask == subtask);
        *prepared = others;
        drop(prepared);
        let own: BTreeMap<String, Prepared> = own;
        for (id, prepared) in own {
            if let Err(error) = prepared.producer.producer.abort_transaction() {
                tracing::warn!(%error, id, "a transaction stays open until it times out");
            }
        }
    }

    /// The number of the writer that a transactional id belongs to; `None` for ids of others.
    fn subtask_of(&self, id: &str) -> Option<usize> {
        let rest = id.strip_prefix(&self.prefix)?.strip_prefix('-')?;
        let (subtask, number) = rest.split_once('-')?;
        number.parse::<usize>().ok()?;
        subtask.parse().ok()
    }

    /// A writer begins: what earlier attempts left open under its ids is aborted. With fewer
    /// writers than before, each looks after the ids of several.
    pub fn begin_writer(&self, subtask: usize, parallelism: usize) -> Result<()> {
        self.free.lock().remove(&subtask);
        self.prepared.lock().retain(|_, p| p.subtask != subtask);
        let is_ours = |id: &str| {
            let of = self.subtask_of(id);
            of.is_some_and(|s| s % parallelism == subtask)
        };
        self.client.abort_open(is_ours)
    }

    /// A producer with a transaction begun.
    pub fn take(&self, subtask: usize) -> Result<PooledProducer> {
        let (free, number) = {
            let mut free = self.free.lock();
            let own = free.entry(subtask).or_default();
            match own.producers.pop() {
                Some(producer) => (Some(producer), 0),
                None => {
                    own.num_made += 1;
                    (None, own.num_made - 1)
                }
            }
        };
        let pooled = match free {
            Some(pooled) => pooled,
            None => {
                let id = format!("{}-{subtask}-{number}", self.prefix);
                let mut config = self.config.clone();
                config.set("transactional.id", &id);
                let producer = TopicProducer::new(&config, &self.topic, self.is_cancelled.clone())?;
                producer.init_transactions()?;
                PooledProducer {
                    id,
                    producer: Arc::new(producer),
                }
            }
        };
        pooled.producer.begin_transaction()?;
        Ok(pooled)
    }

    /// Everything is delivered: the transaction can be committed from now on, by anyone.
    pub fn prepare(&self, subtask: usize, producer: PooledProducer) -> Result<Committable> {
        if let Err(error) = producer.producer.flush() {
            if let Err(error) = producer.producer.abort_transaction() {
                let id = &producer.id;
                tracing::warn!(%error, id, "a transaction stays open until it times out");
            }
            return Err(error);
        }
        let Some(transaction) = self.client.open_transaction(&producer.id)? else {
            return Err(flott_core::Error::external(
                "KAFKA",
                format!(
                    "transaction '{}' was aborted before its checkpoint; \
                     is 'properties.transaction.timeout.ms' shorter than the time between checkpoints?",
                    producer.id
                ),
            ));
        };
        let committable = encode(&transaction);
        let prepared = Prepared {
            transaction,
            subtask,
            producer,
        };
        let id = prepared.producer.id.clone();
        self.prepared.lock().insert(id, prepared);
        Ok(committable)
    }

    fn commit(&self, transaction: &Transaction) -> Result<()> {
        let prepared = {
            let mut all = self.prepared.lock();
            let is_here = all
                .get(&transaction.id)
                .is_some_and(|p| p.transaction == *transaction);
            if is_here {
                all.remove(&transaction.id)
            } else {
                None
            }
        };
        let now_ms = SystemClock.now_ms();
        let Some(prepared) = prepared else {
            return self.client.commit_again(transaction, now_ms);
        };
        match prepared.producer.producer.commit_transaction() {
            Ok(()) => {
                let mut free = self.free.lock();
                let own = free.entry(prepared.subtask).or_default();
                own.producers.push(prepared.producer);
                Ok(())
            }
            // The producer is beyond help, but the transaction may not be.
            Err(error) => {
                tracing::warn!(%error, id = transaction.id, "committed by another way");
                self.client.commit(transaction)
            }
        }
    }
}

fn encode(transaction: &Transaction) -> Committable {
    let mut encoding = Encoding::default();
    encoding
        .text(&transaction.id)
        .number(transaction.producer_id)
        .number(i64::from(transaction.producer_epoch))
        .number(transaction.start_ms)
        .number(transaction.timeout_ms);
    Committable { bytes: encoding.0 }
}

fn decode(committable: &Committable) -> Result<Transaction> {
    let mut decoding = Decoding(&committable.bytes);
    Ok(Transaction {
        id: decoding.text()?,
        producer_id: decoding.number()?,
        producer_epoch: decoding.number()? as i16,
        start_ms: decoding.number()?,
        timeout_ms: decoding.number()?,
    })
}

/// Commits transactions; one that is committed already stays so.
pub(super) struct TransactionCommitter {
    pub pool: Arc<TransactionPool>,
}

impl Committer for TransactionCommitter {
    fn commit(&mut self, committables: Vec<Committable>) -> Result<()> {
        for committable in &committables {
            self.pool.commit(&decode(committable)?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_belong_to_writers_of_their_prefix_only() {
        let config = ClientConfig::new();
        let pool = TransactionPool::new("shop".into(), "t".into(), config, Arc::default()).unwrap();
        assert_eq!(pool.subtask_of("shop-3-0"), Some(3));
        assert_eq!(pool.subtask_of("shop-x-0"), None);
        assert_eq!(pool.subtask_of("shop-eu-3-0"), None);
        assert_eq!(pool.subtask_of("shopping-3-0"), None);
    }

    #[test]
    fn a_transaction_survives_its_encoding() {
        let transaction = Transaction {
            id: "shop-0-1".into(),
            producer_id: 42,
            producer_epoch: 7,
            start_ms: 1_700_000_000_000,
            timeout_ms: 900_000,
        };
        assert_eq!(decode(&encode(&transaction)).unwrap(), transaction);
    }
}
