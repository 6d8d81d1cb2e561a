//! Other systems, for tests: their jars from Maven Central, resolved once into the user's cache
//! folder. Used by `cargo xtask systems` and by the tests.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A system that runs on Java.
pub struct System {
    /// What `cargo xtask systems` calls it.
    pub name: &'static str,
    /// What people call it.
    pub title: &'static str,
    pub version: &'static str,
    dependencies: fn(&str) -> String,
}

/// The broker and the console tools, without Kafka Connect.
pub const KAFKA: System = System {
    name: "kafka",
    title: "Apache Kafka",
    version: "4.1.1",
    dependencies: kafka,
};

/// A server of the S3 protocol over a folder or memory.
pub const S3: System = System {
    name: "s3",
    title: "S3Proxy",
    version: "2.9.0",
    dependencies: |version| dependency("org.gaul", "s3proxy", version, ""),
};

/// Every system.
#[allow(dead_code)] // the tests name theirs
pub const ALL: &[System] = &[KAFKA, S3];

/// Of Scala, in which the broker's core is built.
const SCALA_VERSION: &str = "2.13";

impl System {
    /// Where the jars are, or are to be.
    pub fn folder(&self) -> PathBuf {
        let variable = |name: &str| std::env::var_os(name).map(PathBuf::from);
        let cache = variable("FLOTT_SYSTEMS")
            .or_else(|| Some(variable("XDG_CACHE_HOME")?.join("flott/systems")))
            .or_else(|| Some(variable("HOME")?.join(".cache/flott/systems")))
            .unwrap_or_else(|| std::env::temp_dir().join("flott/systems"));
        cache.join(format!("{}-{}", self.name, self.version))
    }

    /// Gets the jars unless all of them are there. Maven checks each one against its checksum.
    ///
    /// # Errors
    /// Why they cannot be had: no Java, no Maven, no network.
    pub fn resolve(&self) -> Result<PathBuf, String> {
        let folder = self.folder();
        runs("java", "-version")?;
        if folder.join("complete").is_file() {
            return Ok(folder);
        }
        runs("mvn", "--version")?;
        let failed = |e: std::io::Error| format!("{}: {e}", folder.display());
        std::fs::create_dir_all(&folder).map_err(failed)?;
        std::fs::write(folder.join("pom.xml"), self.pom()).map_err(failed)?;
        let (title, version) = (self.title, self.version);
        eprintln!("resolving {title} {version} into {}", folder.display());
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
        std::fs::write(folder.join("complete"), self.version).map_err(failed)?;
        Ok(folder)
    }

    /// A project that depends on the system.
    fn pom(&self) -> String {
        let (name, dependencies) = (self.name, (self.dependencies)(self.version));
        format!(
            "<project xmlns=\"http://maven.apache.org/POM/4.0.0\"><modelVersion>4.0.0</modelVersion>\
             <groupId>flott</groupId><artifactId>{name}-for-tests</artifactId><version>1</version>\
             <dependencies>{dependencies}</dependencies></project>\n",
        )
    }
}

/// A Java program out of the jars in `folder`, that starts quickly.
#[allow(dead_code)] // xtask starts none
pub fn java(folder: &Path) -> Command {
    let mut command = Command::new("java");
    command
        .args(["-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"])
        .arg("-cp")
        .arg(format!("{}/*", folder.join("jars").display()))
        .stdin(Stdio::null());
    command
}

fn runs(program: &str, argument: &str) -> Result<(), String> {
    let output = Command::new(program).arg(argument).output();
    match output {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(format!("{program} does not run ({})", output.status)),
        Err(error) => Err(format!("{program} is not installed ({error})")),
    }
}

fn dependency(group: &str, artifact: &str, version: &str, exclusions: &str) -> String {
    format!(
        "<dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId>\
         <version>{version}</version><exclusions>{exclusions}</exclusions></dependency>"
    )
}

fn kafka(version: &str) -> String {
    let group = "org.apache.kafka";
    let exclusion = |artifact: &str| {
        format!(
            "<exclusion><groupId>{group}</groupId><artifactId>{artifact}</artifactId></exclusion>"
        )
    };
    let without_connect = ["connect-runtime", "connect-api", "connect-json"].map(exclusion);
    let broker = format!("kafka_{SCALA_VERSION}");
    dependency(group, &broker, version, "")
        + &dependency(group, "kafka-tools", version, &without_connect.concat())
}
