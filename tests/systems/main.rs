//! Tests against other systems: real processes on both sides.
//!
//! Apache Kafka is resolved once into the user's cache folder (`cargo xtask systems kafka`) and
//! started in a temporary folder. Where it cannot be had (no Java, no Maven, no network) its tests
//! are skipped aloud: the reason is printed, and they count as ignored.

mod broker;
mod certificates;
mod clients;
mod exactly_once;
mod flott;
mod jars;
mod letters;
mod reading;
mod resume;
mod secure;
mod shop;
mod upsert;
mod waiting;
mod writing;

use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use libtest_mimic::{Arguments, Failed, Trial};

use broker::Broker;
use clients::Clients;

/// A broker and clients of it, shared by all tests; topics have names of their own.
pub struct Kafka {
    pub broker: Mutex<Broker>,
    pub clients: Clients,
    pub address: String,
}

/// A test's name and body.
type Case = (&'static str, fn(&Kafka) -> Result<(), Failed>);

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // One broker and two cores: side by side the tests would only wait for each other.
    arguments.test_threads.get_or_insert(1);
    let lists = [
        reading::CASES,
        writing::CASES,
        upsert::CASES,
        exactly_once::CASES,
        resume::CASES,
        secure::CASES,
        letters::CASES,
        shop::CASES,
    ];
    let cases: Vec<Case> = lists.concat();
    let kafka = match arguments.list {
        true => Err("tests are listed only".to_string()),
        false => start(),
    };
    let (trials, kafka) = match kafka {
        Ok(kafka) => {
            let kafka = Arc::new(kafka);
            let trial = |(name, body): Case| {
                let kafka = kafka.clone();
                Trial::test(format!("kafka/{name}"), move || body(&kafka))
            };
            (cases.into_iter().map(trial).collect(), Some(kafka.clone()))
        }
        Err(reason) => {
            if !arguments.list {
                eprintln!(
                    "SKIPPED: {} tests against Apache Kafka: {reason}",
                    cases.len()
                );
            }
            let trial = |(name, _): Case| {
                Trial::test(format!("kafka/{name}"), || Ok(())).with_ignored_flag(true)
            };
            (cases.into_iter().map(trial).collect(), None)
        }
    };
    let conclusion = libtest_mimic::run(&arguments, trials);
    // The trials are gone: this was the last hold on the broker, which stops it.
    drop(kafka);
    conclusion.exit_code()
}

fn start() -> Result<Kafka, String> {
    let jars = jars::resolve()?;
    let broker = Broker::start(jars)?;
    let address = broker.address();
    Ok(Kafka {
        clients: Clients::new(&address),
        broker: Mutex::new(broker),
        address,
    })
}
