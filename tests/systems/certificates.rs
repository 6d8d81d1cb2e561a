//! Certificates for the broker's secure listeners, made by the `openssl` program.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Files in PEM, unless they say otherwise.
pub struct Certificates {
    pub authority: PathBuf,
    /// Key and certificate together.
    pub broker: PathBuf,
    pub client: PathBuf,
    /// The client's as PKCS#12, with the password `secret`.
    pub client_pkcs12: PathBuf,
}

/// # Errors
/// Why they cannot be made: no `openssl`.
pub fn make(folder: &Path) -> Result<Certificates, String> {
    let ca = ["-nodes", "-keyout", "ca.key", "-out", "ca.pem"];
    openssl(
        folder,
        &[
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-days",
            "2",
            "-subj",
            "/CN=flott-ca",
        ],
        &ca,
    )?;
    let names = "subjectAltName=IP:127.0.0.1\n";
    std::fs::write(folder.join("names.ext"), names).map_err(|e| e.to_string())?;
    for name in ["broker", "client"] {
        signed(folder, name)?;
    }
    let export = [
        "pkcs12",
        "-export",
        "-in",
        "client.pem",
        "-out",
        "client.p12",
    ];
    openssl(folder, &export, &["-passout", "pass:secret"])?;
    Ok(Certificates {
        authority: folder.join("ca.pem"),
        broker: folder.join("broker.pem"),
        client: folder.join("client.pem"),
        client_pkcs12: folder.join("client.p12"),
    })
}

fn signed(folder: &Path, name: &str) -> Result<(), String> {
    let file = |extension: &str| format!("{name}.{extension}");
    let (key, request, certificate) = (file("key"), file("csr"), file("crt"));
    let subject = format!("/CN=flott-{name}");
    openssl(
        folder,
        &["req", "-newkey", "rsa:2048", "-nodes", "-subj", &subject],
        &["-keyout", &key, "-out", &request],
    )?;
    openssl(
        folder,
        &[
            "x509",
            "-req",
            "-in",
            &request,
            "-CA",
            "ca.pem",
            "-CAkey",
            "ca.key",
            "-CAcreateserial",
        ],
        &["-days", "2", "-extfile", "names.ext", "-out", &certificate],
    )?;
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).map_err(|e| e.to_string());
    let both = read(&key)? + &read(&certificate)?;
    std::fs::write(folder.join(file("pem")), both).map_err(|e| e.to_string())
}

fn openssl(folder: &Path, arguments: &[&str], more: &[&str]) -> Result<(), String> {
    let output = Command::new("openssl")
        .args(arguments)
        .args(more)
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .map_err(|e| format!("openssl is not installed ({e})"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}
