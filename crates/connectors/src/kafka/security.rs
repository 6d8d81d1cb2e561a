//! Security: what the Java client's properties of TLS and SASL are called by librdkafka, and the
//! same for the connections that librdkafka has no call for.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;

use flott_core::{Error, Result};
use rdkafka::config::ClientConfig;

use super::sasl::{Credentials, Mechanism};
use super::tls::{Tls, TlsStream};

fn wrong(code: &'static str, message: impl Into<String>) -> Error {
    Error::user(code, message)
}

/// How a store of certificates and keys is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StoreType {
    Pem,
    Pkcs12,
    Jks,
}

/// What `ssl.*.type` says; without it, what the file's name says.
fn store_type(properties: &BTreeMap<String, String>, store: &str) -> Result<StoreType> {
    let property = format!("ssl.{store}.type");
    let location = properties.get(&format!("ssl.{store}.location"));
    let extension = location.and_then(|l| l.rsplit_once('.')).map(|(_, e)| e);
    let said = properties.get(&property).map(String::as_str).or(extension);
    match said.unwrap_or_default().to_ascii_lowercase().as_str() {
        "jks" => Ok(StoreType::Jks),
        "pkcs12" | "p12" | "pfx" => Ok(StoreType::Pkcs12),
        other if properties.contains_key(&property) && other != "pem" => {
            let message = format!("option 'properties.{property}' is '{other}'; it takes PEM");
            Err(wrong("INVALID_OPTION", message))
        }
        _ => Ok(StoreType::Pem),
    }
}

/// Puts librdkafka's properties in the place of the Java client's.
///
/// # Errors
/// A user error for stores that only Java reads, or a JAAS line without user and password.
pub(super) fn translate(properties: &mut BTreeMap<String, String>) -> Result<()> {
    truststore(properties)?;
    keystore(properties)?;
    for name in ["ssl.ca.pem", "ssl.certificate.pem", "ssl.key.pem"] {
        if let Some(text) = properties.get_mut(name) {
            *text = pem_lines(text);
        }
    }
    if let Some(line) = properties.remove("sasl.jaas.config") {
        let (user, password) = jaas_credentials(&line)?;
        properties.insert("sasl.username".into(), user);
        properties.insert("sasl.password".into(), password);
    }
    if let Some(name) = properties.remove("sasl.mechanism") {
        properties.insert("sasl.mechanisms".into(), name);
    }
    if let Some(algorithm) = properties.get_mut("ssl.endpoint.identification.algorithm")
        && algorithm.is_empty()
    {
        *algorithm = "none".into();
    }
    let protocol = protocol(properties.get("security.protocol").map(String::as_str));
    let is_named = ["ssl.ca.location", "ssl.ca.pem"].map(|n| properties.contains_key(n));
    if protocol.contains("ssl") && is_named == [false, false] {
        // The system's certificates, wherever this system has them.
        properties.insert("ssl.ca.location".into(), "probe".into());
    }
    check(properties, &protocol)
}

fn protocol(value: Option<&str>) -> String {
    value.unwrap_or("plaintext").to_ascii_lowercase()
}

/// # Errors
/// A user error for a way of proving who one is that is not built in, or half of one.
fn check(properties: &BTreeMap<String, String>, protocol: &str) -> Result<()> {
    if !protocol.starts_with("sasl_") {
        return Ok(());
    }
    let known = Mechanism::ALL.map(Mechanism::name).join(", ");
    let name = properties.get("sasl.mechanisms");
    let name = name.map_or("GSSAPI", String::as_str);
    if Mechanism::named(name).is_none() {
        let message = format!(
            "option 'properties.sasl.mechanism' is '{name}' (Kerberos unless it is set), which is \
             not built in; it takes {known}"
        );
        return Err(wrong("UNSUPPORTED_OPTION", message));
    }
    for name in ["sasl.username", "sasl.password"] {
        if !properties.contains_key(name) {
            let message = format!(
                "'properties.security.protocol' = '{protocol}' needs 'properties.sasl.jaas.config' \
                 with username=\"…\" and password=\"…\", or 'properties.{name}'"
            );
            return Err(wrong("MISSING_OPTION", message));
        }
    }
    Ok(())
}

fn rename(properties: &mut BTreeMap<String, String>, java: &str, ours: &[&str]) {
    if let Some(value) = properties.remove(java) {
        for name in ours {
            properties.insert(name.to_string(), value.clone());
        }
    }
}

fn truststore(properties: &mut BTreeMap<String, String>) -> Result<()> {
    let found = store_type(properties, "truststore")?;
    if found != StoreType::Pem
        && let Some(location) = properties.get("ssl.truststore.location")
    {
        let message = format!(
            "option 'properties.ssl.truststore.location' is '{location}'; it takes a file of \
             certificates in PEM: 'keytool -exportcert -rfc -keystore {location} -alias … -file ca.pem' \
             writes one, with 'properties.ssl.truststore.type' = 'PEM'"
        );
        return Err(wrong("INVALID_OPTION", message));
    }
    rename(properties, "ssl.truststore.location", &["ssl.ca.location"]);
    rename(properties, "ssl.truststore.certificates", &["ssl.ca.pem"]);
    properties.remove("ssl.truststore.password");
    properties.remove("ssl.truststore.type");
    Ok(())
}

fn keystore(properties: &mut BTreeMap<String, String>) -> Result<()> {
    let found = store_type(properties, "keystore")?;
    if let Some(location) = properties.get("ssl.keystore.location") {
        match found {
            StoreType::Jks => {
                let message = format!(
                    "option 'properties.ssl.keystore.location' is '{location}'; it takes PKCS#12 \
                     or PEM: 'keytool -importkeystore -srckeystore {location} -destkeystore client.p12 \
                     -deststoretype PKCS12' writes one, with 'properties.ssl.keystore.type' = 'PKCS12'"
                );
                return Err(wrong("INVALID_OPTION", message));
            }
            StoreType::Pkcs12 => {}
            StoreType::Pem => {
                let ours = ["ssl.certificate.location", "ssl.key.location"];
                rename(properties, "ssl.keystore.location", &ours);
                properties.remove("ssl.keystore.password");
            }
        }
    }
    let chain = "ssl.keystore.certificate.chain";
    rename(properties, chain, &["ssl.certificate.pem"]);
    rename(properties, "ssl.keystore.key", &["ssl.key.pem"]);
    properties.remove("ssl.keystore.type");
    Ok(())
}

/// PEM as librdkafka takes it. The Java client takes it in one line too, with spaces or the two
/// signs `\n` where lines end.
fn pem_lines(text: &str) -> String {
    let text = text.replace("\\n", "\n");
    let mut lines = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some((_, after)) = rest.split_once("-----BEGIN ") {
        let Some((label, after)) = after.split_once("-----") else {
            break;
        };
        let Some((body, after)) = after.split_once("-----END ") else {
            break;
        };
        let after = after.split_once("-----").map_or("", |(_, after)| after);
        lines += &format!("-----BEGIN {label}-----\n");
        // Headers of old encrypted keys have spaces of their own.
        let is_headed = body.contains(':');
        for line in body.split(|c: char| c == '\n' || (c.is_whitespace() && !is_headed)) {
            if is_headed || !line.is_empty() {
                lines += line.trim();
                lines.push('\n');
            }
        }
        lines += &format!("-----END {label}-----\n");
        rest = after;
    }
    lines
}

/// User and password of a JAAS line: `… required username="u" password="p";`.
fn jaas_credentials(line: &str) -> Result<(String, String)> {
    let of = |name: &str| jaas_option(line, name);
    of("username").zip(of("password")).ok_or_else(|| {
        wrong(
            "INVALID_OPTION",
            "option 'properties.sasl.jaas.config' has no username=\"…\" and password=\"…\"; \
             set 'properties.sasl.username' and 'properties.sasl.password' instead",
        )
    })
}

/// The value of `name=value` or `name="value"`, in which a backslash takes the next sign as it is.
fn jaas_option(line: &str, name: &str) -> Option<String> {
    let at = line.match_indices(name).find_map(|(at, _)| {
        let is_whole = line[..at].ends_with(|c: char| c.is_whitespace());
        let after = line[at + name.len()..].trim_start().strip_prefix('=')?;
        is_whole.then(|| after.trim_start())
    })?;
    let Some(quote) = at.chars().next().filter(|c| *c == '"' || *c == '\'') else {
        let end = |c: char| c.is_whitespace() || c == ';';
        let value = at.split(end).next().unwrap_or_default();
        return (!value.is_empty()).then(|| value.to_string());
    };
    let (mut value, mut chars) = (String::new(), at[1..].chars());
    loop {
        match chars.next()? {
            c if c == quote => return Some(value),
            '\\' => value.push(chars.next()?),
            c => value.push(c),
        }
    }
}

/// How requests of our own reach brokers.
#[derive(Default)]
pub(super) struct Security {
    tls: Option<Tls>,
    pub credentials: Option<Credentials>,
}

impl Security {
    /// What a client's configuration says.
    ///
    /// # Errors
    /// A user error that names the property with a wrong file, certificate or key.
    pub fn new(config: &ClientConfig) -> Result<Self> {
        let protocol = protocol(config.get("security.protocol"));
        let text = |name: &str| config.get(name).unwrap_or_default().to_string();
        let credentials = protocol.starts_with("sasl_").then(|| {
            Some(Credentials {
                mechanism: Mechanism::named(&text("sasl.mechanisms"))?,
                user: text("sasl.username"),
                password: text("sasl.password"),
            })
        });
        Ok(Self {
            tls: protocol
                .contains("ssl")
                .then(|| Tls::new(config))
                .transpose()?,
            credentials: credentials.flatten(),
        })
    }

    /// A connection to `host` as these settings want it; who we are is not said yet.
    ///
    /// # Errors
    /// An external error when the two do not trust each other.
    pub fn secure(&self, host: &str, socket: TcpStream) -> Result<Wire> {
        match &self.tls {
            None => Ok(Wire::Plain(socket)),
            Some(tls) => tls.secure(host, socket).map(Wire::Tls),
        }
    }
}

/// A connection to a broker.
pub(super) enum Wire {
    Plain(TcpStream),
    Tls(TlsStream),
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match self {
            Self::Plain(socket) => socket.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn translated(pairs: &[(&str, &str)]) -> Result<BTreeMap<String, String>> {
        let pairs = pairs.iter().map(|(k, v)| (k.to_string(), v.to_string()));
        let mut properties = pairs.collect();
        translate(&mut properties)?;
        Ok(properties)
    }

    #[test]
    fn stores_in_pem_are_named_as_librdkafka_names_them() {
        let found = translated(&[
            ("security.protocol", "SSL"),
            ("ssl.truststore.type", "PEM"),
            ("ssl.truststore.location", "/ca.crt"),
            ("ssl.keystore.type", "PEM"),
            ("ssl.keystore.location", "/client.pem"),
            ("ssl.endpoint.identification.algorithm", ""),
        ]);
        let found: Vec<(String, String)> = found.unwrap().into_iter().collect();
        let text = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
            let pairs = pairs.iter();
            pairs.map(|(k, v)| (k.to_string(), v.to_string())).collect()
        };
        assert_eq!(
            found,
            text(&[
                ("security.protocol", "SSL"),
                ("ssl.ca.location", "/ca.crt"),
                ("ssl.certificate.location", "/client.pem"),
                ("ssl.endpoint.identification.algorithm", "none"),
                ("ssl.key.location", "/client.pem"),
            ])
        );
    }

    #[test]
    fn stores_that_only_java_reads_are_refused_with_what_to_do() {
        let refused = |pairs: &[(&str, &str)]| translated(pairs).unwrap_err().message().to_string();
        assert!(refused(&[("ssl.truststore.location", "a.jks")]).contains("keytool -exportcert"));
        let by_type = refused(&[
            ("ssl.truststore.location", "store"),
            ("ssl.truststore.type", "PKCS12"),
        ]);
        assert!(by_type.contains("PEM"));
        assert!(refused(&[("ssl.keystore.location", "a.jks")]).contains("-deststoretype PKCS12"));
        let found = translated(&[
            ("ssl.keystore.location", "a.p12"),
            ("ssl.keystore.password", "x"),
        ]);
        assert_eq!(found.unwrap()["ssl.keystore.location"], "a.p12");
    }

    #[test]
    fn mechanisms_that_are_not_built_in_are_refused() {
        let refused = |pairs: &[(&str, &str)]| translated(pairs).unwrap_err();
        let error = refused(&[("security.protocol", "SASL_SSL")]);
        assert!(error.message().contains("GSSAPI"), "{error}");
        let error = refused(&[
            ("security.protocol", "SASL_SSL"),
            ("sasl.mechanism", "SCRAM-SHA-512"),
        ]);
        assert!(error.message().contains("sasl.jaas.config"), "{error}");
    }

    #[test]
    fn jaas_lines_are_read_as_java_reads_them() {
        let line = "org.apache.kafka.common.security.scram.ScramLoginModule required\n  \
                    username=\"shop\"\n  password=\"let \\\"me\\\" username=in\";";
        let (user, password) = jaas_credentials(line).unwrap();
        assert_eq!(
            (user.as_str(), password.as_str()),
            ("shop", "let \"me\" username=in")
        );
        let (user, password) = jaas_credentials("x required password=p username='u u';").unwrap();
        assert_eq!((user.as_str(), password.as_str()), ("u u", "p"));
        assert!(jaas_credentials("x required username=\"u\";").is_err());
    }

    #[test]
    fn pem_in_one_line_gets_its_lines_back() {
        let whole = "-----BEGIN CERTIFICATE-----\nAAAA\nBB==\n-----END CERTIFICATE-----\n";
        assert_eq!(pem_lines(whole), whole);
        assert_eq!(pem_lines(&whole.replace('\n', " ")), whole);
        assert_eq!(pem_lines(&whole.replace('\n', "\\n")), whole);
        assert_eq!(pem_lines(&whole.repeat(2)), whole.repeat(2));
    }
}
