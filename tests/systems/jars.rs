//! Apache Kafka itself, for tests: its jars from Maven Central, resolved once into the user's cache
//! folder. Used by `cargo xtask systems kafka` and by the tests.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The release that tests run against.
pub const KAFKA_VERSION: &str = "4.1.1";
/// Of Scala, in which the broker's core is built.
const SCALA_VERSION: &str = "2.13";

/// Where the jars are, or are to be.
pub fn folder() -> PathBuf {
    let variable = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let cache = variable("FLOTT_SYSTEMS")
        .or_else(|| Some(variable("XDG_CACHE_HOME")?.join("flott/systems")))
        .or_else(|| Some(variable("HOME")?.join(".cache/flott/systems")))
        .unwrap_or_else(|| std::env::temp_dir().join("flott/systems"));
    cache.join(format!("kafka-{KAFKA_VERSION}"))
}

/// Whether the jars are there, all of them.
pub fn is_complete() -> bool {
    folder().join("complete").is_file()
}

/// Gets the jars unless they are there. Maven checks each one against its checksum.
///
/// # Errors
/// Why they cannot be had: no Java, no Maven, no network.
pub fn resolve() -> Result<PathBuf, String> {
    let folder = folder();
    runs("java", "-version")?;
    if is_complete() {
        return Ok(folder);
    }
    runs("mvn", "--version")?;
    let failed = |e: std::io::Error| format!("{}: {e}", folder.display());
    std::fs::create_dir_all(&folder).map_err(failed)?;
    std::fs::write(folder.join("pom.xml"), pom()).map_err(failed)?;
    eprintln!(
        "resolving Apache Kafka {KAFKA_VERSION} into {}",
        folder.display()
    );
    let output = Command::new("mvn")
        .args(["--batch-mode", "--quiet", "--strict-checksums"])
        .args(["dependency:copy-dependencies", "-DincludeScope=runtime"])
        .arg(format!(
            "-DoutputDirectory={}",
            folder.join("jars").display()
        ))
        .current_dir(&folder)
        .stdin(Stdio::null())
        .output()
        .map_err(|e| format!("mvn: {e}"))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stdout);
        let error = text
            .lines()
            .find(|l| l.contains("ERROR"))
            .unwrap_or("it failed");
        return Err(format!("mvn: {error}"));
    }
    std::fs::write(folder.join("complete"), KAFKA_VERSION).map_err(failed)?;
    Ok(folder)
}

/// The class path of all jars.
pub fn class_path(folder: &Path) -> String {
    format!("{}/*", folder.join("jars").display())
}

fn runs(program: &str, argument: &str) -> Result<(), String> {
    let output = Command::new(program).arg(argument).output();
    match output {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(format!("{program} does not run ({})", output.status)),
        Err(error) => Err(format!("{program} is not installed ({error})")),
    }
}

/// A project whose dependencies are the broker and the console tools, without Kafka Connect.
fn pom() -> String {
    let exclusion = |group: &str, artifact: &str| {
        format!(
            "<exclusion><groupId>{group}</groupId><artifactId>{artifact}</artifactId></exclusion>"
        )
    };
    let dependency = |artifact: &str, exclusions: &str| {
        format!(
            "<dependency><groupId>org.apache.kafka</groupId><artifactId>{artifact}</artifactId>\
             <version>{KAFKA_VERSION}</version><exclusions>{exclusions}</exclusions></dependency>"
        )
    };
    let without_connect = [
        exclusion("org.apache.kafka", "connect-runtime"),
        exclusion("org.apache.kafka", "connect-api"),
        exclusion("org.apache.kafka", "connect-json"),
    ];
    format!(
        "<project xmlns=\"http://maven.apache.org/POM/4.0.0\"><modelVersion>4.0.0</modelVersion>\
         <groupId>flott</groupId><artifactId>kafka-for-tests</artifactId><version>1</version>\
         <dependencies>{}{}</dependencies></project>\n",
        dependency(&format!("kafka_{SCALA_VERSION}"), ""),
        dependency("kafka-tools", &without_connect.concat()),
    )
}
