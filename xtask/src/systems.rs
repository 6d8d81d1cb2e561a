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
    let Some(system) = jars::ALL.iter().find(|s| s.name == name) else {
        let known: Vec<_> = jars::ALL.iter().map(|s| s.name).collect();
        bail!("no system '{name}'; there are: {}", known.join(", "));
    };
    let (title, version) = (system.title, system.version);
    match system.resolve() {
        Ok(folder) => {
            println!("{title} {version} is in {}", folder.display());
            Ok(())
        }
        Err(reason) => bail!("{title} cannot be had: {reason}"),
    }
}
