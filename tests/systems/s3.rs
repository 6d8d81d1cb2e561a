//! A server of the S3 protocol over a temporary folder.

use std::fs::File;
use std::net::TcpStream;
use std::process::Child;
use std::time::Duration;

use tempfile::TempDir;

use crate::broker::free_port;
use crate::jars;
use crate::waiting::wait_for;

const ACCESS_KEY: &str = "flott";
const SECRET_KEY: &str = "open sesame";
const BUCKET: &str = "tests";

/// A server that is stopped when this is dropped.
pub struct S3 {
    port: u16,
    process: Child,
    _folder: TempDir,
}

impl S3 {
    /// Starts a server with one bucket, and waits until it answers.
    pub fn start() -> Result<Self, String> {
        let jars = jars::S3.resolve()?;
        let failed = |e: std::io::Error| e.to_string();
        let folder = tempfile::tempdir().map_err(failed)?;
        let path = |name: &str| folder.path().join(name);
        // A folder is a bucket.
        std::fs::create_dir_all(path("data").join(BUCKET)).map_err(failed)?;
        let port = free_port();
        let text = format!(
            "s3proxy.endpoint=http://127.0.0.1:{port}\n\
             s3proxy.authorization=aws-v4\n\
             s3proxy.identity={ACCESS_KEY}\n\
             s3proxy.credential={SECRET_KEY}\n\
             s3proxy.ignore-unknown-headers=true\n\
             jclouds.provider=filesystem-nio2\n\
             jclouds.filesystem.basedir={}\n\
             jclouds.identity=unused\n\
             jclouds.credential=unused\n",
            path("data").display()
        );
        std::fs::write(path("s3proxy.conf"), text).map_err(failed)?;
        // Without it everything is logged.
        let quiet = "<configuration><root level=\"OFF\"/></configuration>";
        std::fs::write(path("logback.xml"), quiet).map_err(failed)?;
        let process = jars::java(&jars)
            .arg(format!(
                "-Dlogback.configurationFile={}",
                path("logback.xml").display()
            ))
            .args(["org.gaul.s3proxy.Main", "--properties"])
            .arg(path("s3proxy.conf"))
            .stdout(File::create(path("out")).map_err(failed)?)
            .stderr(File::create(path("err")).map_err(failed)?)
            .spawn()
            .map_err(|e| format!("java: {e}"))?;
        let server = Self {
            port,
            process,
            _folder: folder,
        };
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], port));
        let is_up = wait_for(Duration::from_secs(60), || {
            TcpStream::connect_timeout(&address, Duration::from_millis(200)).is_ok()
        });
        match is_up {
            true => Ok(server),
            false => Err("the server does not answer within a minute".into()),
        }
    }

    /// The statements with which a script begins that uses it.
    pub fn settings(&self) -> String {
        format!(
            "SET 's3.endpoint' = 'http://127.0.0.1:{}';\n\
             SET 's3.access-key' = '{ACCESS_KEY}';\n\
             SET 's3.secret-key' = '{SECRET_KEY}';\n",
            self.port
        )
    }

    /// The same for commands without a script.
    pub fn defines(&self) -> [String; 6] {
        let define = |key: &str, value: &str| format!("{key}={value}");
        let flag = || "-D".to_string();
        let endpoint = format!("http://127.0.0.1:{}", self.port);
        [
            flag(),
            define("s3.endpoint", &endpoint),
            flag(),
            define("s3.access-key", ACCESS_KEY),
            flag(),
            define("s3.secret-key", SECRET_KEY),
        ]
    }

    /// A folder of the bucket.
    pub fn uri(&self, folder: &str) -> String {
        format!("s3://{BUCKET}/{folder}")
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
