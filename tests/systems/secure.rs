//! TLS and SASL: the clients of librdkafka, and the connections that commit a transaction after a
//! crash. And compression, which is another library too.

use std::time::Duration;

use libtest_mimic::Failed;

use crate::broker::{PASSWORD, USER};
use crate::clients::Record;
use crate::exactly_once::{numbers, tables_with, values};
use crate::flott::{Script, expect, rows};
use crate::resume::crash_before_the_commit;
use crate::waiting::{pause, wait_for};
use crate::{Case, Kafka};

pub const CASES: &[Case] = &[
    (
        "secure/scram_over_tls_survives_kills",
        scram_over_tls_survives_kills,
    ),
    (
        "secure/scram_over_tls_resumes_commits",
        scram_over_tls_resumes_commits,
    ),
    ("secure/every_mechanism", every_mechanism),
    ("secure/certificates_of_clients", certificates_of_clients),
    (
        "secure/a_wrong_password_is_named",
        a_wrong_password_is_named,
    ),
    (
        "secure/a_wrong_certificate_is_named",
        a_wrong_certificate_is_named,
    ),
    ("secure/zstd", zstd),
];

fn module(mechanism: &str) -> &'static str {
    match mechanism {
        "PLAIN" => "plain.PlainLoginModule",
        _ => "scram.ScramLoginModule",
    }
}

/// The options of a table on the listener that asks for a user; `None` where there is none.
fn sasl(kafka: &Kafka, mechanism: &str, password: &str) -> Result<Option<String>, Failed> {
    let broker = kafka.broker.lock().map_err(|e| e.to_string())?;
    let (Some(address), Some(files)) = (broker.sasl_ssl_address(), broker.certificates()) else {
        return Ok(None);
    };
    let (module, authority) = (module(mechanism), files.authority.display());
    Ok(Some(format!(
        "'connector' = 'kafka', 'properties.bootstrap.servers' = '{address}', \
         'properties.security.protocol' = 'SASL_SSL', \
         'properties.sasl.mechanism' = '{mechanism}', \
         'properties.sasl.jaas.config' = 'org.apache.kafka.common.security.{module} required \
         username=\"{USER}\" password=\"{password}\";', \
         'properties.ssl.truststore.type' = 'PEM', \
         'properties.ssl.truststore.location' = '{authority}'"
    )))
}

const BOUNDED: &str = ", 'scan.bounded.mode' = 'latest-offset'";

fn scram_over_tls_survives_kills(kafka: &Kafka) -> Result<(), Failed> {
    let Some(connect) = sasl(kafka, "SCRAM-SHA-512", PASSWORD)? else {
        return Ok(());
    };
    kafka.clients.create_topic("tls-in", 2);
    kafka.clients.create_topic("tls-out", 2);
    let tables = tables_with(&connect, "tls-in", "tls-out", "", "");
    let script = Script::new(&format!(
        "{tables}SET 'execution.checkpointing.interval' = '200 ms';\nINSERT INTO b SELECT n FROM a;"
    ));
    let state = tempfile::tempdir()?;
    let folder = state.path().display().to_string();
    let arguments = ["-p", "2", "--name", "tls", "--state-dir", &folder];
    let all = numbers(4_000);
    for (round, chunk) in all.chunks(1_000).enumerate() {
        let mut running = script.start(&arguments);
        kafka.clients.produce("tls-in", chunk);
        pause(Duration::from_millis(900 + 370 * round as u64));
        expect(running.is_running(), true).map_err(|_| script.errors())?;
        running.kill();
    }
    let mut running = script.start(&arguments);
    let is_complete = wait_for(Duration::from_secs(60), || {
        !running.is_running() || values(kafka, "tls-out").len() >= all.len()
    });
    expect(is_complete && running.is_running(), true).map_err(|_| script.errors())?;
    expect(running.interrupt(), true)?;
    expect(values(kafka, "tls-out"), (0..4_000).collect())?;
    Ok(())
}

/// What a process that died had prepared is committed by another one, over the same listener.
fn scram_over_tls_resumes_commits(kafka: &Kafka) -> Result<(), Failed> {
    match sasl(kafka, "SCRAM-SHA-512", PASSWORD)? {
        Some(connect) => crash_before_the_commit(kafka, &connect, "crash-tls"),
        None => Ok(()),
    }
}

/// Copies a topic into another one, exactly once.
fn copied(kafka: &Kafka, connect: &str, name: &str) -> Result<(), Failed> {
    let (from, to) = (format!("{name}-in"), format!("{name}-out"));
    kafka.clients.create_topic(&from, 2);
    kafka.clients.create_topic(&to, 2);
    kafka.clients.produce(&from, &numbers(100));
    let tables = tables_with(connect, &from, &to, BOUNDED, "");
    rows(&format!("{tables}INSERT INTO b SELECT n FROM a;"))?;
    expect(values(kafka, &to), (0..100).collect())?;
    Ok(())
}

fn every_mechanism(kafka: &Kafka) -> Result<(), Failed> {
    for mechanism in ["PLAIN", "SCRAM-SHA-256"] {
        let Some(connect) = sasl(kafka, mechanism, PASSWORD)? else {
            return Ok(());
        };
        copied(kafka, &connect, &mechanism.to_lowercase())?;
    }
    Ok(())
}

/// A client that is known by its certificate, in PEM and, without transactions, in PKCS#12.
fn certificates_of_clients(kafka: &Kafka) -> Result<(), Failed> {
    let (connect, pem, pkcs12) = {
        let broker = kafka.broker.lock().map_err(|e| e.to_string())?;
        let (Some(address), Some(files)) = (broker.ssl_address(), broker.certificates()) else {
            return Ok(());
        };
        // In one line, as Java's client takes it too.
        let authority = std::fs::read_to_string(&files.authority)?.replace('\n', " ");
        let connect = format!(
            "'connector' = 'kafka', 'properties.bootstrap.servers' = '{address}', \
             'properties.security.protocol' = 'SSL', 'properties.ssl.truststore.type' = 'PEM', \
             'properties.ssl.truststore.certificates' = '{authority}'"
        );
        let (pem, pkcs12) = (files.client.display(), files.client_pkcs12.display());
        (connect, pem.to_string(), pkcs12.to_string())
    };
    let key = |of: &str, location: &str| {
        format!(
            "{connect}, 'properties.ssl.keystore.type' = '{of}', \
             'properties.ssl.keystore.location' = '{location}'"
        )
    };
    copied(kafka, &key("PEM", &pem), "pem")?;
    let secret = ", 'properties.ssl.keystore.password' = 'secret'";
    let connect = key("PKCS12", &pkcs12) + secret;
    let read = rows(&format!(
        "CREATE TABLE t (n INT) WITH ({connect}, 'topic' = 'pem-out', 'format' = 'json', \
         'scan.startup.mode' = 'earliest-offset'{BOUNDED});\nSELECT n FROM t;"
    ))?;
    expect(read.len(), 100)?;
    let tables = tables_with(&connect, "pem-in", "pem-out", BOUNDED, "");
    fails_with(
        &format!("{tables}INSERT INTO b SELECT n FROM a;"),
        "openssl pkcs12",
    )
}

fn fails_with(sql: &str, text: &str) -> Result<(), Failed> {
    match rows(sql) {
        Err(error) if error.contains(text) => Ok(()),
        other => Err(format!("no '{text}' in {other:?}").into()),
    }
}

fn a_wrong_password_is_named(kafka: &Kafka) -> Result<(), Failed> {
    kafka.clients.create_topic("locked", 1);
    let Some(connect) = sasl(kafka, "SCRAM-SHA-512", "guess")? else {
        return Ok(());
    };
    let tables = tables_with(&connect, "locked", "locked", BOUNDED, "");
    fails_with(&format!("{tables}SELECT n FROM a;"), "uthentication")?;
    fails_with(
        &format!("{tables}INSERT INTO b VALUES (1);"),
        "uthentication",
    )
}

fn a_wrong_certificate_is_named(kafka: &Kafka) -> Result<(), Failed> {
    let Some(connect) = sasl(kafka, "PLAIN", PASSWORD)? else {
        return Ok(());
    };
    // The certificate is for the address only.
    let connect = connect.replace("'127.0.0.1:", "'localhost:");
    let tables = |more: &str| {
        tables_with(
            &format!("{connect}{more}"),
            "plain-in",
            "plain-out",
            BOUNDED,
            "",
        )
    };
    let insert = "INSERT INTO b VALUES (100);";
    fails_with(&format!("{}{insert}", tables("")), "localhost")?;
    let unnamed = ", 'properties.ssl.endpoint.identification.algorithm' = ''";
    rows(&format!("{}{insert}", tables(unnamed)))?;
    expect(values(kafka, "plain-out"), (0..=100).collect())?;
    Ok(())
}

/// Written by us and read by librdkafka's clients, and the other way round.
fn zstd(kafka: &Kafka) -> Result<(), Failed> {
    let config = [("compression.type", "zstd")];
    kafka.clients.create_topic_with("zstd-in", 1, &config);
    kafka.clients.create_topic("zstd-out", 1);
    let text = "abc".repeat(200);
    let records: Vec<Record> = (0..100).map(|_| Record::value(0, text.as_str())).collect();
    kafka.clients.produce("zstd-in", &records);
    let table = |name: &str, topic: &str, more: &str| {
        format!(
            "CREATE TABLE {name} (v STRING) WITH ('connector' = 'kafka', 'topic' = '{topic}', \
             'properties.bootstrap.servers' = '{}', 'format' = 'raw'{more});\n",
            kafka.address
        )
    };
    let source = ", 'scan.startup.mode' = 'earliest-offset', 'scan.bounded.mode' = 'latest-offset'";
    let sql = table("a", "zstd-in", source)
        + &table("b", "zstd-out", ", 'properties.compression.type' = 'zstd'");
    rows(&format!("{sql}INSERT INTO b SELECT v FROM a;"))?;
    let written = kafka.clients.consume("zstd-out");
    expect(written.len(), records.len())?;
    expect(
        written.iter().all(|r| r.value.as_ref() == Some(&text)),
        true,
    )?;
    let broker = kafka.broker.lock().map_err(|e| e.to_string())?;
    for partition in ["zstd-in-0", "zstd-out-0"] {
        let output = broker
            .java(&["kafka.tools.DumpLogSegments", "--files"])
            .arg(broker.log_file(partition))
            .output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        expect(text.contains("compresscodec: zstd"), true).map_err(|_| text)?;
    }
    Ok(())
}
