//! librdkafka's own clients, to look at topics from outside.

use std::collections::BTreeMap;
use std::time::Duration;

use flott_core::clock::Stopwatch;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};

/// A message to be produced, or one that was consumed.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Record {
    pub partition: i32,
    pub offset: i64,
    pub key: Option<String>,
    pub value: Option<String>,
    pub timestamp_ms: i64,
    pub headers: BTreeMap<String, String>,
}

impl Record {
    pub fn value(partition: i32, value: impl Into<String>) -> Self {
        Self {
            partition,
            value: Some(value.into()),
            ..Self::default()
        }
    }
}

const PATIENCE: Duration = Duration::from_secs(60);

/// Clients of one cluster.
pub struct Clients {
    address: String,
    runtime: tokio::runtime::Runtime,
}

impl Clients {
    pub fn new(address: &str) -> Self {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        Self {
            address: address.to_string(),
            runtime: runtime
                .worker_threads(1)
                .enable_all()
                .build()
                .expect("a runtime"),
        }
    }

    fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.address);
        config
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.config().create().expect("an admin client")
    }

    pub fn create_topic(&self, name: &str, partitions: i32) {
        self.create_topic_with(name, partitions, &[]);
    }

    pub fn create_topic_with(&self, name: &str, partitions: i32, config: &[(&str, &str)]) {
        let mut topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
        for (key, value) in config {
            topic = topic.set(key, value);
        }
        let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
        let admin = self.admin();
        let created = self
            .runtime
            .block_on(admin.create_topics([&topic], &options));
        created.expect("an answer")[0].as_ref().expect("a topic");
    }

    pub fn add_partitions(&self, name: &str, count: usize) {
        let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
        let admin = self.admin();
        let more = NewPartitions::new(name, count);
        let created = self
            .runtime
            .block_on(admin.create_partitions([&more], &options));
        created.expect("an answer")[0]
            .as_ref()
            .expect("more partitions");
    }

    /// Produces to the partitions that the records name.
    pub fn produce(&self, topic: &str, records: &[Record]) {
        let producer: BaseProducer = self.config().create().expect("a producer");
        for record in records {
            let mut headers = OwnedHeaders::new();
            for (key, value) in &record.headers {
                headers = headers.insert(Header {
                    key,
                    value: Some(value),
                });
            }
            loop {
                let mut message = BaseRecord::<str, str>::to(topic).partition(record.partition);
                message.key = record.key.as_deref();
                message.payload = record.value.as_deref();
                if record.timestamp_ms > 0 {
                    message = message.timestamp(record.timestamp_ms);
                }
                if !record.headers.is_empty() {
                    message = message.headers(headers.clone());
                }
                match producer.send(message) {
                    Ok(()) => break,
                    Err(_) => producer.poll(Duration::from_millis(50)),
                }
            }
        }
        producer.flush(PATIENCE).expect("everything is delivered");
    }

    /// The committed messages that are in a topic now, by partition and offset.
    pub fn consume(&self, topic: &str) -> Vec<Record> {
        let mut config = self.config();
        config
            .set("group.id", "flott-tests-look")
            .set("isolation.level", "read_committed")
            .set("enable.partition.eof", "true")
            .set("auto.offset.reset", "earliest");
        let consumer: BaseConsumer = config.create().expect("a consumer");
        let metadata = consumer
            .fetch_metadata(Some(topic), PATIENCE)
            .expect("metadata");
        let count = metadata.topics()[0].partitions().len();
        let mut list = TopicPartitionList::new();
        for partition in 0..count {
            list.add_partition_offset(topic, partition as i32, Offset::Beginning)
                .expect("a partition");
        }
        consumer.assign(&list).expect("an assignment");
        let (since, mut ended, mut records) = (Stopwatch::start(), 0, Vec::new());
        while ended < count && since.elapsed() < PATIENCE {
            match consumer.poll(Duration::from_millis(200)) {
                Some(Ok(message)) => records.push(record_of(&message)),
                Some(Err(rdkafka::error::KafkaError::PartitionEOF(_))) => ended += 1,
                Some(Err(_)) | None => {}
            }
        }
        assert_eq!(
            ended, count,
            "the partitions of {topic} are read to their end"
        );
        records.sort_by_key(|r| (r.partition, r.offset));
        records
    }

    /// The offset that a group has committed for a partition.
    pub fn committed(&self, group: &str, topic: &str, partition: i32) -> Option<i64> {
        let mut config = self.config();
        config.set("group.id", group);
        let consumer: BaseConsumer = config.create().expect("a consumer");
        let mut list = TopicPartitionList::new();
        list.add_partition(topic, partition);
        let answer = consumer.committed_offsets(list, PATIENCE).ok()?;
        match answer.elements().first()?.offset() {
            Offset::Offset(offset) => Some(offset),
            _ => None,
        }
    }

    /// Commits an offset for a group.
    pub fn commit(&self, group: &str, topic: &str, partition: i32, offset: i64) {
        let mut config = self.config();
        config.set("group.id", group);
        let consumer: BaseConsumer = config.create().expect("a consumer");
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, partition, Offset::Offset(offset))
            .expect("a partition");
        consumer
            .commit(&list, rdkafka::consumer::CommitMode::Sync)
            .expect("a commit");
    }
}

fn record_of(message: &impl Message) -> Record {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut headers = BTreeMap::new();
    for header in message.headers().into_iter().flat_map(|h| h.iter()) {
        headers.insert(
            header.key.to_string(),
            text(header.value.unwrap_or_default()),
        );
    }
    Record {
        partition: message.partition(),
        offset: message.offset(),
        key: message.key().map(text),
        value: message.payload().map(text),
        timestamp_ms: message.timestamp().to_millis().unwrap_or(0),
        headers,
    }
}
