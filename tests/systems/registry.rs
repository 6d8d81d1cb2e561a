//! Messages whose schemas are in a registry, which the test starts: keys and values there and back,
//! while the registry is away for a moment, and what is said of a schema that it does not know.

use libtest_mimic::Failed;

use crate::clients::Record;
use crate::flott::{expect, rows, rows_with};
use crate::schema_registry::TestRegistry;
use crate::{Case, Kafka};

pub const CASES: &[Case] = &[
    ("schemas_come_from_a_registry", schemas_come_from_a_registry),
    (
        "an_unknown_schema_is_asked_for_once",
        an_unknown_schema_is_asked_for_once,
    ),
];

fn table(kafka: &Kafka, registry: &TestRegistry, columns: &str, options: &str) -> String {
    format!(
        "CREATE TABLE t ({columns}) WITH ('connector' = 'kafka', \
         'properties.bootstrap.servers' = '{}', 'value.format' = 'avro-confluent', \
         'value.avro-confluent.url' = '{}', {options});\n",
        kafka.address, registry.url
    )
}

fn schemas_come_from_a_registry(kafka: &Kafka) -> Result<(), Failed> {
    kafka.clients.create_topic("registered", 1);
    let registry = TestRegistry::start();
    let columns = "id BIGINT, item STRING, price DECIMAL(10, 2)";
    let key = format!(
        "'topic' = 'registered', 'key.format' = 'avro-confluent', 'key.fields' = 'id', \
         'key.avro-confluent.url' = '{}'",
        registry.url
    );
    let subjects = "'value.avro-confluent.subject' = 'registered-value', \
                    'key.avro-confluent.subject' = 'registered-key'";
    let written = table(kafka, &registry, columns, &format!("{key}, {subjects}"));
    registry.known.lock().expect("a registry").num_failures = 2;
    rows(&format!(
        "{written}INSERT INTO t VALUES (1, 'tea', 2.50), (2, 'milk', 1.10);"
    ))?;
    let bounded = "'scan.startup.mode' = 'earliest-offset', 'scan.bounded.mode' = 'latest-offset', \
                   'value.fields-include' = 'EXCEPT_KEY'";
    let read = table(kafka, &registry, columns, &format!("{key}, {bounded}"));
    registry.known.lock().expect("a registry").requests.clear();
    registry.known.lock().expect("a registry").num_failures = 2;
    let found = rows_with(&format!("{read}SELECT * FROM t;"), &["-p", "1"])?;
    expect(
        found,
        ["1|tea|2.50", "2|milk|1.10"].map(String::from).to_vec(),
    )?;
    // The schemas of key and value, and two answers that were failures.
    expect(registry.num_requests(), 4)?;
    Ok(())
}

fn an_unknown_schema_is_asked_for_once(kafka: &Kafka) -> Result<(), Failed> {
    kafka.clients.create_topic("unregistered", 1);
    let registry = TestRegistry::start();
    let message = Record::value(0, "\0\0\0\0\u{7}x");
    kafka.clients.produce("unregistered", &vec![message; 20]);
    let bounded = "'topic' = 'unregistered', 'scan.startup.mode' = 'earliest-offset', \
                   'scan.bounded.mode' = 'latest-offset', 'dead-letter.table' = 'letters'";
    let sql = format!(
        "{}CREATE TABLE letters (reason STRING) WITH ('connector' = 'blackhole');\n\
         CREATE TABLE b (id BIGINT) WITH ('connector' = 'blackhole');\n\
         INSERT INTO b SELECT id FROM t;",
        table(kafka, &registry, "id BIGINT", bounded)
    );
    rows_with(&sql, &["-p", "1"])?;
    expect(registry.num_requests(), 1)?;
    Ok(())
}
