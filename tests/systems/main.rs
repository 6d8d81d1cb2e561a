//! Tests against other systems: real processes on both sides.
//!
//! Apache Kafka and a server of the S3 protocol are resolved once into the user's cache folder
//! (`cargo xtask systems kafka`, `… s3`) and started in temporary folders. Where one cannot be had (no Java, no Maven, no network) its tests
//! are skipped aloud: the reason is printed, and they count as ignored.

mod broker;
mod certificates;
mod clients;
mod exactly_once;
mod flott;
mod jars;
mod letters;
mod objects;
mod pages;
mod reading;
mod registry;
mod regrown;
mod resume;
mod s3;
#[path = "../../crates/formats/tests/support/registry.rs"]
#[allow(dead_code)]
mod schema_registry;
mod secure;
mod shop;
mod speed;
mod upsert;
mod waiting;
mod watermarks;
mod writing;

use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use libtest_mimic::{Arguments, Failed, Trial};

use broker::Broker;
use clients::Clients;
use s3::S3;

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
    let speed = speed::cases();
    let lists: [&[Case]; 13] = [
        reading::CASES,
        registry::CASES,
        regrown::CASES,
        writing::CASES,
        upsert::CASES,
        exactly_once::CASES,
        resume::CASES,
        secure::CASES,
        letters::CASES,
        watermarks::CASES,
        shop::CASES,
        pages::CASES,
        &speed,
    ];
    let cases = lists.concat();
    let (mut trials, kafka) = self::trials(&arguments, "kafka", &cases, start);
    let (more, s3) = self::trials(&arguments, "s3", objects::CASES, S3::start);
    trials.extend(more);
    let conclusion = libtest_mimic::run(&arguments, trials);
    // The trials are gone: these were the last holds on the systems, which stops them.
    drop((kafka, s3));
    conclusion.exit_code()
}

/// The trials of one system, which is started unless none of them is wanted.
fn trials<S: Send + Sync + 'static>(
    arguments: &Arguments,
    name: &str,
    cases: &[(&'static str, fn(&S) -> Result<(), Failed>)],
    start: impl FnOnce() -> Result<S, String>,
) -> (Vec<Trial>, Option<Arc<S>>) {
    let is_wanted = |case: &str| match (&arguments.filter, arguments.exact) {
        (None, _) => true,
        (Some(filter), true) => case == filter,
        (Some(filter), false) => case.contains(filter.as_str()),
    };
    let named = |case: &str| format!("{name}/{case}");
    let is_needed = !arguments.list && cases.iter().any(|(case, _)| is_wanted(&named(case)));
    let system = match is_needed {
        true => start().map(Arc::new),
        false => Err("it is not needed".to_string()),
    };
    if let (true, Err(reason)) = (is_needed, &system) {
        let count = cases.len();
        eprintln!("SKIPPED: {count} tests against {name}: {reason}");
    }
    let trial = |&(case, body): &(&'static str, fn(&S) -> Result<(), Failed>)| match &system {
        Ok(system) => {
            let system = system.clone();
            Trial::test(named(case), move || body(&system))
        }
        Err(_) => Trial::test(named(case), || Ok(())).with_ignored_flag(true),
    };
    (cases.iter().map(trial).collect(), system.ok())
}

fn start() -> Result<Kafka, String> {
    let jars = jars::KAFKA.resolve()?;
    let broker = Broker::start(jars)?;
    let address = broker.address();
    Ok(Kafka {
        clients: Clients::new(&address),
        broker: Mutex::new(broker),
        address,
    })
}
