//! Other systems that tests run against: gets what they need, once.

#[allow(dead_code)] // the tests use the rest
#[path = "../../tests/systems/jars.rs"]
mod jars;

use anyhow::{Result, bail};

/// Gets a system by name.
///
/// # Errors
/// What is missing: Java, Maven, the network; or a name that is not known.
pub fn get(name: &str) -> Result<()> {
    match name {
        "kafka" => match jars::resolve() {
            Ok(folder) => {
                let version = jars::KAFKA_VERSION;
                println!("Apache Kafka {version} is in {}", folder.display());
                Ok(())
            }
            Err(reason) => bail!("Apache Kafka cannot be had: {reason}"),
        },
        other => bail!("no system '{other}'; there is: kafka"),
    }
}
