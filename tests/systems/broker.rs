//! A broker of Apache Kafka in a temporary folder: one node, KRaft, free ports.

use std::fs::File;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::jars;
use crate::waiting::wait_for;

/// A broker that is stopped when this is dropped.
pub struct Broker {
    jars: PathBuf,
    folder: TempDir,
    port: u16,
    process: Option<Child>,
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").port()
}

impl Broker {
    /// Starts a broker, and waits until it answers.
    pub fn start(jars: PathBuf) -> Result<Self, String> {
        let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
        let mut broker = Self {
            jars,
            folder,
            port: free_port(),
            process: None,
        };
        broker.configure().map_err(|e| e.to_string())?;
        let output = broker
            .java(&[
                "kafka.tools.StorageTool",
                "format",
                "-t",
                "MkU3OEVBNTcwNTJENDM2Qk",
                "-c",
            ])
            .arg(broker.folder.path().join("server.properties"))
            .output()
            .map_err(|e| format!("java: {e}"))?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            return Err(format!("the broker's storage cannot be made: {text}"));
        }
        broker.run()?;
        Ok(broker)
    }

    fn configure(&self) -> std::io::Result<()> {
        let (port, controller) = (self.port, free_port());
        let logs = self.folder.path().join("logs");
        let text = format!(
            "process.roles=broker,controller\n\
             node.id=1\n\
             controller.quorum.voters=1@127.0.0.1:{controller}\n\
             listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n\
             advertised.listeners=PLAINTEXT://127.0.0.1:{port}\n\
             controller.listener.names=CONTROLLER\n\
             inter.broker.listener.name=PLAINTEXT\n\
             listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT\n\
             log.dirs={}\n\
             offsets.topic.replication.factor=1\n\
             offsets.topic.num.partitions=4\n\
             transaction.state.log.replication.factor=1\n\
             transaction.state.log.min.isr=1\n\
             transaction.state.log.num.partitions=4\n\
             group.initial.rebalance.delay.ms=0\n\
             group.coordinator.threads=1\n\
             auto.create.topics.enable=false\n\
             log.flush.interval.messages=1000000\n",
            logs.display()
        );
        std::fs::write(self.folder.path().join("server.properties"), text)
    }

    /// A Java program of Kafka's.
    pub fn java(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("java");
        command
            .args([
                "-Xmx384m",
                "-XX:+UseSerialGC",
                "-XX:TieredStopAtLevel=1",
                "-cp",
            ])
            .arg(jars::class_path(&self.jars))
            .args(arguments)
            .stdin(Stdio::null());
        command
    }

    fn run(&mut self) -> Result<(), String> {
        let log = |name: &str| File::create(self.folder.path().join(name));
        let out = log("broker.out").map_err(|e| e.to_string())?;
        let errors = log("broker.err").map_err(|e| e.to_string())?;
        let process = self
            .java(&["kafka.Kafka"])
            .arg(self.folder.path().join("server.properties"))
            .stdout(out)
            .stderr(errors)
            .spawn()
            .map_err(|e| format!("java: {e}"))?;
        self.process = Some(process);
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], self.port));
        let is_up = wait_for(Duration::from_secs(180), || {
            TcpStream::connect_timeout(&address, Duration::from_millis(200)).is_ok()
        });
        match is_up {
            true => Ok(()),
            false => Err("the broker does not answer within 180 seconds".into()),
        }
    }

    /// For `bootstrap.servers`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Ends the broker at once, as a power cut would, and starts it again on its files.
    pub fn restart(&mut self) -> Result<(), String> {
        self.stop();
        self.run()
    }

    fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.stop();
    }
}
