//! A broker of Apache Kafka in a temporary folder: one node, KRaft, free ports.

use std::fs::File;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::Duration;

use tempfile::TempDir;

use crate::certificates::{self, Certificates};
use crate::jars;
use crate::waiting::wait_for;

/// A user that the secure listener knows, by every mechanism.
pub const USER: &str = "shop";
pub const PASSWORD: &str = "open=sesame 1";

/// A broker that is stopped when this is dropped.
pub struct Broker {
    jars: PathBuf,
    folder: TempDir,
    port: u16,
    secure: Option<Secure>,
    process: Option<Child>,
}

/// Listeners with TLS: one that asks for a user, one that asks for a certificate.
struct Secure {
    sasl_port: u16,
    ssl_port: u16,
    certificates: Certificates,
}

pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").port()
}

impl Broker {
    /// Starts a broker, and waits until it answers.
    pub fn start(jars: PathBuf) -> Result<Self, String> {
        let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
        let secure = match certificates::make(folder.path()) {
            Ok(certificates) => Some(Secure {
                sasl_port: free_port(),
                ssl_port: free_port(),
                certificates,
            }),
            Err(reason) => {
                eprintln!("SKIPPED: tests with TLS: {reason}");
                None
            }
        };
        let mut broker = Self {
            jars,
            folder,
            port: free_port(),
            secure,
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
            .args(["SCRAM-SHA-256", "SCRAM-SHA-512"].map(|mechanism| {
                format!("--add-scram={mechanism}=[name={USER},password=\"{PASSWORD}\"]")
            }))
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
        let (more_listeners, secure) = match &self.secure {
            None => (String::new(), String::new()),
            Some(secure) => (secure.listeners(), secure.properties()),
        };
        let logs = self.folder.path().join("logs");
        let text = format!(
            "process.roles=broker,controller\n\
             node.id=1\n\
             controller.quorum.voters=1@127.0.0.1:{controller}\n\
             listeners=PLAINTEXT://127.0.0.1:{port}{more_listeners},CONTROLLER://127.0.0.1:{controller}\n\
             advertised.listeners=PLAINTEXT://127.0.0.1:{port}{more_listeners}\n\
             controller.listener.names=CONTROLLER\n\
             inter.broker.listener.name=PLAINTEXT\n\
             listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL,SSL:SSL\n\
             log.dirs={}\n\
             offsets.topic.replication.factor=1\n\
             offsets.topic.num.partitions=4\n\
             transaction.state.log.replication.factor=1\n\
             transaction.state.log.min.isr=1\n\
             transaction.state.log.num.partitions=4\n\
             group.initial.rebalance.delay.ms=0\n\
             group.coordinator.threads=1\n\
             auto.create.topics.enable=false\n\
             log.flush.interval.messages=1000000\n{secure}",
            logs.display()
        );
        std::fs::write(self.folder.path().join("server.properties"), text)
    }

    /// A Java program of Kafka's.
    pub fn java(&self, arguments: &[&str]) -> Command {
        let mut command = jars::java(&self.jars);
        command.args(arguments);
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

    /// The listener that asks for a user; `None` where there is no OpenSSL.
    pub fn sasl_ssl_address(&self) -> Option<String> {
        let secure = self.secure.as_ref()?;
        Some(format!("127.0.0.1:{}", secure.sasl_port))
    }

    /// The listener that asks for a certificate, and one that it trusts.
    pub fn ssl_address(&self) -> Option<String> {
        let secure = self.secure.as_ref()?;
        Some(format!("127.0.0.1:{}", secure.ssl_port))
    }

    pub fn certificates(&self) -> Option<&Certificates> {
        self.secure.as_ref().map(|s| &s.certificates)
    }

    /// The files of a partition.
    pub fn log_file(&self, partition: &str) -> PathBuf {
        let folder = self.folder.path().join("logs").join(partition);
        folder.join("00000000000000000000.log")
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

impl Secure {
    fn listeners(&self) -> String {
        let (sasl, ssl) = (self.sasl_port, self.ssl_port);
        format!(",SASL_SSL://127.0.0.1:{sasl},SSL://127.0.0.1:{ssl}")
    }

    fn properties(&self) -> String {
        let module = "org.apache.kafka.common.security";
        format!(
            "ssl.keystore.type=PEM\n\
             ssl.keystore.location={}\n\
             ssl.truststore.type=PEM\n\
             ssl.truststore.location={}\n\
             listener.name.ssl.ssl.client.auth=required\n\
             sasl.enabled.mechanisms=SCRAM-SHA-512,SCRAM-SHA-256,PLAIN\n\
             listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config={module}.scram.ScramLoginModule required;\n\
             listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config={module}.scram.ScramLoginModule required;\n\
             listener.name.sasl_ssl.plain.sasl.jaas.config={module}.plain.PlainLoginModule required \
             user_{USER}=\"{PASSWORD}\";\n",
            self.certificates.broker.display(),
            self.certificates.authority.display(),
        )
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.stop();
    }
}
