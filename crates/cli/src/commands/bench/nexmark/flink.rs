//! Real Flink, to compare with: an embedded cluster in a JVM of its own for each run.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// A Flink that is ready to run scripts.
pub struct Flink {
    home: PathBuf,
    /// Of Flink, from the name of its jar.
    pub version: String,
    /// What `java -version` says first.
    pub java_version: String,
    java: PathBuf,
    /// The compiled driver.
    classes: PathBuf,
    /// `-Xmx` of the JVM.
    heap: String,
}

const HOW_TO_GET_ONE: &str = "no Flink was found: set FLINK_HOME to the folder of an unpacked \
    distribution, or run `python3 -m pip install apache-flink` (850 MB; in a virtual environment \
    that is active)";

/// Faster than Flink's own defaults, as the published figures of the benchmark have them.
pub const SETTINGS: &[(&str, &str)] = &[
    ("execution.runtime-mode", "STREAMING"),
    ("pipeline.object-reuse", "true"),
    ("state.backend.type", "hashmap"),
    ("table.exec.mini-batch.enabled", "true"),
    ("table.exec.mini-batch.allow-latency", "2 s"),
    ("table.exec.mini-batch.size", "50000"),
    ("table.optimizer.distinct-agg.split.enabled", "true"),
    ("table.local-time-zone", "UTC"),
];

/// What Flink needs of Java's own packages.
const OPENED: &[&str] = &[
    "java.lang",
    "java.lang.reflect",
    "java.net",
    "java.io",
    "java.nio",
    "java.text",
    "java.time",
    "java.util",
    "java.util.concurrent",
    "java.util.concurrent.atomic",
    "java.util.concurrent.locks",
    "sun.nio.ch",
];

impl Flink {
    /// Finds Flink and a JDK, and compiles the driver into the folder.
    ///
    /// # Errors
    /// Says how to get what is missing.
    pub fn prepare(folder: &Path, heap: &str) -> Result<Self> {
        let home = find_home().context(HOW_TO_GET_ONE)?;
        let version = version(&home)
            .with_context(|| format!("{}: there is no lib/flink-dist-*.jar", home.display()))?;
        let classes = folder.join("classes");
        std::fs::create_dir_all(&classes)?;
        std::fs::write(classes.join("log4j.properties"), "rootLogger.level = OFF\n")?;
        let flink = Self {
            java_version: java_version(&jdk_tool("java"))?,
            java: jdk_tool("java"),
            home,
            version,
            classes,
            heap: heap.to_string(),
        };
        flink.compile("RunJob.java", include_str!("flink/RunJob.java"))?;
        flink.compile("CountChar.java", include_str!("flink/CountChar.java"))?;
        Ok(flink)
    }

    fn compile(&self, name: &str, source: &str) -> Result<()> {
        let file = self.classes.join(name);
        std::fs::write(&file, source)?;
        let output = Command::new(jdk_tool("javac"))
            .args(["-nowarn", "-cp", &self.jars(), "-d"])
            .arg(&self.classes)
            .arg(&file)
            .output()
            .context("javac is needed: install a JDK that Flink supports, such as 17, and set JAVA_HOME or PATH")?;
        if !output.status.success() {
            let errors = String::from_utf8_lossy(&output.stderr);
            bail!("javac {name}: {}", errors.trim());
        }
        Ok(())
    }

    fn jars(&self) -> String {
        format!("{}/lib/*", self.home.display())
    }

    /// A JVM that runs the script on an embedded cluster; temporary files go into the folder.
    pub fn command(
        &self,
        script: &str,
        parallelism: usize,
        checkpoint_interval_ms: Option<u64>,
        folder: &Path,
    ) -> Result<Command> {
        let file = folder.join("flink.sql");
        std::fs::write(&file, script)?;
        let classes = self.classes.display();
        let folder = folder.display();
        let mut command = Command::new(&self.java);
        command
            .arg(format!("-Xmx{}", self.heap))
            .arg(format!("-Djava.io.tmpdir={folder}"))
            .arg(format!(
                "-Dlog4j.configurationFile={classes}/log4j.properties"
            ));
        for package in OPENED {
            command.arg(format!("--add-opens=java.base/{package}=ALL-UNNAMED"));
        }
        command
            .args(["-cp", &format!("{classes}:{}", self.jars()), "RunJob"])
            .arg(&file)
            .arg(format!("parallelism.default={parallelism}"))
            .arg(format!("io.tmp.dirs={folder}"));
        for (key, value) in SETTINGS {
            command.arg(format!("{key}={value}"));
        }
        if let Some(interval) = checkpoint_interval_ms {
            command
                .arg(format!("execution.checkpointing.interval={interval} ms"))
                .arg(format!(
                    "execution.checkpointing.dir=file://{folder}/checkpoints"
                ));
        }
        Ok(command)
    }
}

/// A tool of the JDK: of `JAVA_HOME`, else of `PATH`.
fn jdk_tool(name: &str) -> PathBuf {
    match std::env::var_os("JAVA_HOME").filter(|home| !home.is_empty()) {
        Some(home) => Path::new(&home).join("bin").join(name),
        None => PathBuf::from(name),
    }
}

fn java_version(java: &Path) -> Result<String> {
    let output = Command::new(java).arg("-version").output().context(
        "java is needed: install a JDK that Flink supports, such as 17, and set JAVA_HOME or PATH",
    )?;
    let text = String::from_utf8_lossy(&output.stderr);
    Ok(text.lines().next().unwrap_or_default().to_string())
}

/// `FLINK_HOME`, else the folder of Python's package.
fn find_home() -> Option<PathBuf> {
    if let Some(home) = std::env::var_os("FLINK_HOME").filter(|home| !home.is_empty()) {
        return Some(PathBuf::from(home));
    }
    let script = "import importlib.util as u; s = u.find_spec('pyflink'); \
                  print(s.submodule_search_locations[0] if s else '')";
    ["python3", "python"].iter().find_map(|python| {
        let output = Command::new(python).args(["-c", script]).output().ok()?;
        let path = String::from_utf8_lossy(&output.stdout).trim().to_string();
        (!path.is_empty()).then(|| PathBuf::from(path))
    })
}

fn version(home: &Path) -> Option<String> {
    let entries = std::fs::read_dir(home.join("lib")).ok()?;
    entries.flatten().find_map(|entry| {
        let name = entry.file_name().to_string_lossy().to_string();
        let version = name.strip_prefix("flink-dist-")?.strip_suffix(".jar")?;
        Some(version.to_string())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_in_the_name_of_a_jar() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(version(folder.path()), None);
        std::fs::create_dir(folder.path().join("lib")).unwrap();
        std::fs::write(folder.path().join("lib/flink-dist-2.3.0.jar"), "").unwrap();
        assert_eq!(version(folder.path()).as_deref(), Some("2.3.0"));
    }
}
