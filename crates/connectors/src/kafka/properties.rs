//! `properties.*`: the names of the Java client and of librdkafka to librdkafka's configuration.

use std::collections::BTreeMap;

use flott_core::options::Options;
use flott_core::{Error, Result};
use rdkafka::config::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaConfRes;

use super::security;

/// Java's names that librdkafka has under another one.
const RENAMED: &[(&str, &str)] = &[
    ("receive.buffer.bytes", "socket.receive.buffer.bytes"),
    ("send.buffer.bytes", "socket.send.buffer.bytes"),
    ("fetch.max.wait.ms", "fetch.wait.max.ms"),
    ("max.request.size", "message.max.bytes"),
];

/// Properties of the Java client, or of Flink, that mean nothing here.
const WITHOUT_MEANING: &[&str] = &[
    "key.deserializer",
    "value.deserializer",
    "key.serializer",
    "value.serializer",
    "max.poll.records",
    "interceptor.classes",
    "metric.reporters",
    "metrics.num.samples",
    "metrics.recording.level",
    "metrics.sample.window.ms",
    "auto.include.jmx.reporter",
    "exclude.internal.topics",
    "default.api.timeout.ms",
    "max.block.ms",
    "partitioner.class",
    "security.providers",
    "register.consumer.metrics",
    "client.id.prefix",
    "commit.offsets.on.checkpoint",
    "partition.discovery.interval.ms",
    "ssl.protocol",
    "ssl.enabled.protocols",
    "ssl.provider",
    "sasl.client.callback.handler.class",
    "sasl.login.callback.handler.class",
    "sasl.login.class",
];

/// Which client a configuration is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Consumer,
    Producer,
}

/// The configuration of a client: our defaults, then what the table's options say.
///
/// # Errors
/// A user error that names the property whose value librdkafka refuses.
pub(super) fn client_config(
    options: &Options,
    role: Role,
    defaults: &[(&str, &str)],
) -> Result<ClientConfig> {
    let given = options.with_prefix_removed("properties.");
    let given = given
        .iter()
        .map(|(k, v)| (k.to_string(), v.trim().to_string()));
    let mut given: BTreeMap<String, String> = given.collect();
    security::translate(&mut given)?;
    let mut wanted: BTreeMap<String, String> = defaults
        .iter()
        .map(|(k, v)| (k.to_string(), v.to_string()))
        .collect();
    for (key, value) in &given {
        translate(key, value, role, &mut wanted)?;
    }
    let mut config = ClientConfig::new();
    for (key, value) in wanted {
        if is_taken(&key, &value)? {
            config.set(key, value);
        }
    }
    Ok(config)
}

fn translate(
    key: &str,
    value: &str,
    role: Role,
    wanted: &mut BTreeMap<String, String>,
) -> Result<()> {
    let mut set = |key: &str, value: &str| {
        wanted.insert(key.to_string(), value.to_string());
    };
    match (key, role) {
        ("buffer.memory", Role::Producer) => {
            let bytes: u64 = value
                .parse()
                .map_err(|_| invalid(key, value, "a number of bytes"))?;
            set(
                "queue.buffering.max.kbytes",
                &(bytes / 1024).max(1).to_string(),
            );
        }
        ("auto.offset.reset", _) if value.eq_ignore_ascii_case("none") => set(key, "error"),
        _ if WITHOUT_MEANING.contains(&key) => {}
        _ => {
            let renamed = RENAMED.iter().find(|(java, _)| *java == key);
            set(renamed.map_or(key, |(_, ours)| ours), value);
        }
    }
    Ok(())
}

fn invalid(key: &str, value: &str, wanted: &str) -> Error {
    let message = format!("option 'properties.{key}' is '{value}'; it takes {wanted}");
    Error::user("INVALID_OPTION", message)
}

/// Whether librdkafka knows the property; the Java client too takes no offence at unknown ones.
fn is_taken(key: &str, value: &str) -> Result<bool> {
    let mut alone = ClientConfig::new();
    alone.set(key, value);
    match alone.create_native_config() {
        Ok(_) => Ok(true),
        Err(KafkaError::ClientConfig(RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN, ..)) => {
            tracing::warn!(
                property = key,
                "an unknown property of Kafka's client is left out"
            );
            Ok(false)
        }
        Err(KafkaError::ClientConfig(_, why, ..)) => Err(Error::user(
            "INVALID_OPTION",
            format!("option 'properties.{key}' is '{value}': {why}"),
        )),
        Err(other) => Err(Error::internal(other.to_string())),
    }
}

/// An error of Kafka's client.
pub(super) fn kafka_error(what: impl std::fmt::Display, error: &KafkaError) -> Error {
    Error::external("KAFKA", format!("{what}: {error}")).retryable()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(pairs: &[(&str, &str)]) -> Result<ClientConfig> {
        let options = pairs.iter().map(|(k, v)| (k.to_string(), v.to_string()));
        client_config(
            &options.collect(),
            Role::Consumer,
            &[("enable.auto.commit", "false")],
        )
    }

    #[test]
    fn names_of_the_java_client_are_translated() {
        let config = config(&[
            ("properties.bootstrap.servers", "a:1"),
            ("properties.fetch.max.wait.ms", "7"),
            ("properties.max.poll.records", "500"),
            (
                "properties.sasl.jaas.config",
                "org.apache.kafka.common.security.scram.ScramLoginModule required \
                 username=\"shop\" password=\"let me=in\";",
            ),
        ])
        .unwrap();
        assert_eq!(config.get("bootstrap.servers"), Some("a:1"));
        assert_eq!(config.get("fetch.wait.max.ms"), Some("7"));
        assert_eq!(config.get("sasl.password"), Some("let me=in"));
        assert_eq!(config.get("max.poll.records"), None);
        assert_eq!(config.get("enable.auto.commit"), Some("false"));
    }

    #[test]
    fn a_refused_value_names_its_property() {
        let error = config(&[("properties.security.protocol", "telnet")]).unwrap_err();
        assert!(error.message().contains("properties.security.protocol"));
    }
}
