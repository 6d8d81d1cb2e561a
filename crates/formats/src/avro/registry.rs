//! A client of a schema registry with Confluent's interface.
//!
//! A request takes at most [`Settings::timeout`], goes on to the next address of the list, and is
//! tried again after failures that may pass, each time later. Its thread waits meanwhile: see
//! [`super::schemas`] for who asks on which thread.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use flott_core::options::{OptionDef, OptionType, Options};
use flott_core::{Error, Result};
use serde_json::{Value, json};
use ureq::Agent;
use ureq::http::Response;
use ureq::tls::{Certificate, ClientCert, PemItem, RootCerts, TlsConfig, parse_pem};

/// How long a request may take unless the options say otherwise.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The waits before a request is tried again: six seconds, which outlast the restart of a registry
/// behind a balancer.
const RETRY_DELAYS_MS: [u64; 6] = [100, 200, 400, 800, 1600, 3200];
/// An answer cannot be larger than this.
const MAX_ANSWER_BYTES: u64 = 16 << 20;
const MEDIA_TYPE: &str = "application/vnd.schemaregistry.v1+json";

pub(super) const URL: OptionDef = OptionDef::new(
    "url",
    OptionType::String,
    "the schema registry's address, or several divided by commas",
)
.example("http://localhost:8081")
.required();
pub(super) const SUBJECT: OptionDef = OptionDef::new(
    "subject",
    OptionType::String,
    "the subject under which the schema of written records is registered; needed to write",
)
.example("orders-value");
const BASIC_SOURCE: OptionDef = OptionDef::new(
    "basic-auth.credentials-source",
    OptionType::Enum(&["URL", "USER_INFO"]),
    "where user and password stand: in the address or in 'basic-auth.user-info'",
);
const BASIC_USER: OptionDef = OptionDef::new(
    "basic-auth.user-info",
    OptionType::String,
    "user and password, divided by a colon",
)
.example("user:secret");
const BEARER_SOURCE: OptionDef = OptionDef::new(
    "bearer-auth.credentials-source",
    OptionType::Enum(&["STATIC_TOKEN"]),
    "where the bearer token comes from",
);
const BEARER_TOKEN: OptionDef =
    OptionDef::new("bearer-auth.token", OptionType::String, "the bearer token").example("secret");
const KEYSTORE: OptionDef = OptionDef::new(
    "ssl.keystore.location",
    OptionType::String,
    "a PEM file with the client's certificate and its key",
)
.example("client.pem");
const KEYSTORE_PASSWORD: OptionDef = OptionDef::new(
    "ssl.keystore.password",
    OptionType::String,
    "accepted; the key in a PEM file is not encrypted",
)
.example("secret");
const TRUSTSTORE: OptionDef = OptionDef::new(
    "ssl.truststore.location",
    OptionType::String,
    "a PEM file with the certificates to trust",
)
.example("authority.pem");
const TRUSTSTORE_PASSWORD: OptionDef = OptionDef::new(
    "ssl.truststore.password",
    OptionType::String,
    "accepted; a PEM file has none",
)
.example("secret");
const PROPERTIES: OptionDef = OptionDef::new(
    "properties.*",
    OptionType::String,
    "settings of Confluent's client: 'schema.registry.' ones of authentication, 'http.read.timeout.ms'",
)
.example_of("properties.http.read.timeout.ms", "5000");

/// The options of the client.
pub(super) const REGISTRY_OPTIONS: &[OptionDef] = &[
    URL,
    SUBJECT,
    BASIC_SOURCE,
    BASIC_USER,
    BEARER_SOURCE,
    BEARER_TOKEN,
    KEYSTORE,
    KEYSTORE_PASSWORD,
    TRUSTSTORE,
    TRUSTSTORE_PASSWORD,
    PROPERTIES,
];

/// An address of the registry.
#[derive(Clone)]
struct Address {
    url: String,
    authorization: Option<String>,
}

/// What a client is made of; nothing is opened yet.
#[derive(Clone)]
pub(super) struct Settings {
    addresses: Vec<Address>,
    timeout: Duration,
    keystore: Option<String>,
    truststore: Option<String>,
}

impl Settings {
    /// # Errors
    /// A user error for an address or a combination of options that makes no sense.
    pub fn new(options: &Options) -> Result<Self> {
        let property = |key: &str| options.get(&format!("properties.{key}")).map(String::from);
        let given = |def: &OptionDef, other: &str| {
            let own = options.get(def.key).map(String::from);
            own.or_else(|| property(other))
                .or_else(|| property(&format!("schema.registry.{other}")))
        };
        let user = given(&BASIC_USER, "basic.auth.user.info");
        let token = given(&BEARER_TOKEN, "bearer.auth.token");
        let authorization = match (user, token) {
            (_, Some(token)) => Some(format!("Bearer {token}")),
            (Some(user), None) => Some(format!("Basic {}", BASE64.encode(user))),
            (None, None) => None,
        };
        let urls = options.text(&URL).unwrap_or_default();
        let addresses = urls
            .split(',')
            .map(|url| address(url.trim(), authorization.clone()))
            .collect::<Result<Vec<_>>>()?;
        let timeout = property("http.read.timeout.ms").and_then(|ms| ms.parse().ok());
        Ok(Self {
            addresses,
            timeout: timeout.map_or(TIMEOUT, Duration::from_millis),
            keystore: given(&KEYSTORE, "ssl.keystore.location"),
            truststore: given(&TRUSTSTORE, "ssl.truststore.location"),
        })
    }
}

/// An address, with the user and password that may stand in it as a header.
fn address(url: &str, authorization: Option<String>) -> Result<Address> {
    let wrong = || {
        let message =
            format!("option 'url' is '{url}'; it takes an address such as 'http://localhost:8081'");
        Error::user("INVALID_OPTION", message)
    };
    let (scheme, rest) = url.split_once("://").ok_or_else(wrong)?;
    if !matches!(scheme, "http" | "https") || rest.is_empty() {
        return Err(wrong());
    }
    let host_end = rest.find('/').unwrap_or(rest.len());
    let (user, rest) = match rest[..host_end].rfind('@') {
        Some(at) => (Some(&rest[..at]), &rest[at + 1..]),
        None => (None, rest),
    };
    let from_url = user.map(|user| format!("Basic {}", BASE64.encode(user)));
    Ok(Address {
        url: format!("{scheme}://{}", rest.trim_end_matches('/')),
        authorization: authorization.or(from_url),
    })
}

/// A schema registry.
pub(super) struct Registry {
    agent: Agent,
    addresses: Vec<Address>,
}

/// Why one try failed.
struct Failure {
    error: Error,
    may_pass: bool,
}

impl Registry {
    /// # Errors
    /// A user error when a certificate cannot be read.
    pub fn new(settings: &Settings) -> Result<Self> {
        let config = Agent::config_builder()
            .timeout_global(Some(settings.timeout))
            .http_status_as_error(false)
            .tls_config(tls(settings)?)
            .build();
        Ok(Self {
            agent: config.into(),
            addresses: settings.addresses.clone(),
        })
    }

    /// The schema of this id, as JSON text.
    ///
    /// # Errors
    /// A user error when there is none, an external one when the registry does not answer, or
    /// nobody wants to know any more.
    pub fn schema(&self, id: u32, is_wanted: &dyn Fn() -> bool) -> Result<String> {
        let path = format!("schemas/ids/{id}");
        let answer = self.ask(&path, None, is_wanted, |status| match status {
            404 => {
                "; the schema was deleted, or the message was written with another registry than                  that of option 'url'"
            }
            _ => what_to_do(status),
        })?;
        if let Some(kind) = answer.get("schemaType").and_then(Value::as_str)
            && kind != "AVRO"
        {
            let message = format!("schema {id} of the registry is of type {kind}, not AVRO");
            return Err(Error::user("MALFORMED_SCHEMA", message));
        }
        let schema = answer.get("schema").and_then(Value::as_str);
        schema.map(String::from).ok_or_else(|| unexpected(&answer))
    }

    /// Registers a schema under a subject, unless it is there; its id.
    ///
    /// # Errors
    /// A user error when the subject refuses it, an external one when the registry does not answer,
    /// or nobody wants to know any more.
    pub fn register(
        &self,
        subject: &str,
        schema: &str,
        is_wanted: &dyn Fn() -> bool,
    ) -> Result<u32> {
        let body = json!({ "schema": schema }).to_string();
        let path = format!("subjects/{}/versions", encoded(subject));
        let answer = self.ask(&path, Some(&body), is_wanted, |status| match status {
            409 | 422 => {
                "; the schemas of the subject do not allow the table's: change the columns or the                  subject's compatibility, or choose another one with option 'subject'"
            }
            _ => what_to_do(status),
        })?;
        let id = answer.get("id").and_then(Value::as_u64);
        id.and_then(|id| u32::try_from(id).ok())
            .ok_or_else(|| unexpected(&answer))
    }

    /// `advice` says what to do about a status.
    fn ask(
        &self,
        path: &str,
        body: Option<&str>,
        is_wanted: &dyn Fn() -> bool,
        advice: fn(u16) -> &'static str,
    ) -> Result<Value> {
        let mut delays = RETRY_DELAYS_MS.into_iter();
        loop {
            let mut last = None;
            for address in &self.addresses {
                match self.ask_once(address, path, body, advice) {
                    Ok(answer) => return Ok(answer),
                    Err(failure) if !failure.may_pass => return Err(failure.error),
                    Err(failure) => last = Some(failure.error),
                }
            }
            match (delays.next().filter(|_| is_wanted()), last) {
                (Some(delay), Some(_)) => wait(delay),
                (_, Some(error)) => return Err(error),
                (_, None) => return Err(Error::internal("a schema registry without address")),
            }
        }
    }

    fn ask_once(
        &self,
        address: &Address,
        path: &str,
        body: Option<&str>,
        advice: fn(u16) -> &'static str,
    ) -> Result<Value, Failure> {
        let url = format!("{}/{path}", address.url);
        let authorization = address.authorization.as_deref();
        let answer = match body {
            None => {
                let request = self.agent.get(&url).header("Accept", MEDIA_TYPE);
                match authorization {
                    Some(value) => request.header("Authorization", value).call(),
                    None => request.call(),
                }
            }
            Some(body) => {
                let request = self.agent.post(&url).header("Accept", MEDIA_TYPE);
                let request = request.header("Content-Type", MEDIA_TYPE);
                match authorization {
                    Some(value) => request.header("Authorization", value).send(body),
                    None => request.send(body),
                }
            }
        };
        let failed = |error: ureq::Error| Failure {
            error: unreachable_registry(&url, &error),
            may_pass: true,
        };
        read_answer(&url, answer.map_err(failed)?, advice)
    }
}

fn unreachable_registry(url: &str, error: &ureq::Error) -> Error {
    let message = format!(
        "the schema registry does not answer at {url}: {error}; is it running, and is its address \
         that of option 'url'?"
    );
    Error::external("SCHEMA_REGISTRY", message).retryable()
}

fn what_to_do(status: u16) -> &'static str {
    match status {
        401 | 403 => "; look at the options 'basic-auth.user-info' and 'bearer-auth.token'",
        404 => "; does option 'url' lead to a schema registry?",
        _ => "",
    }
}

fn read_answer(
    url: &str,
    mut answer: Response<ureq::Body>,
    advice: fn(u16) -> &'static str,
) -> Result<Value, Failure> {
    let status = answer.status().as_u16();
    let body = answer.body_mut().with_config().limit(MAX_ANSWER_BYTES);
    let text = body.read_to_string().map_err(|error| Failure {
        error: unreachable_registry(url, &error),
        may_pass: true,
    })?;
    let value: Value = serde_json::from_str(&text).unwrap_or_default();
    if (200..300).contains(&status) {
        return Ok(value);
    }
    let what = value
        .get("message")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let advice = advice(status);
    let message = format!("the schema registry refuses {url}: status {status} {what}{advice}");
    let may_pass = status == 429 || status >= 500;
    Err(Failure {
        error: match may_pass {
            true => Error::external("SCHEMA_REGISTRY", message).retryable(),
            false => Error::user("SCHEMA_REGISTRY", message),
        },
        may_pass,
    })
}

fn unexpected(answer: &Value) -> Error {
    Error::external(
        "SCHEMA_REGISTRY",
        format!("the schema registry answers {answer}"),
    )
}

/// Nobody sends on this channel: its time-out is the wait.
fn wait(delay_ms: u64) {
    let (_sender, receiver) = std::sync::mpsc::channel::<()>();
    let _ = receiver.recv_timeout(Duration::from_millis(delay_ms));
}

/// A subject as a part of an address.
fn encoded(subject: &str) -> String {
    let mut out = String::with_capacity(subject.len());
    for byte in subject.bytes() {
        match byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            true => out.push(char::from(byte)),
            false => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

fn tls(settings: &Settings) -> Result<TlsConfig> {
    let mut builder = TlsConfig::builder();
    if let Some(path) = &settings.truststore {
        let (certificates, _) = pem(path)?;
        builder = builder.root_certs(RootCerts::new_with_certs(&certificates));
    }
    if let Some(path) = &settings.keystore {
        let (certificates, key) = pem(path)?;
        let key = key.ok_or_else(|| {
            Error::user(
                "INVALID_OPTION",
                format!("file '{path}' has no private key"),
            )
        })?;
        builder = builder.client_cert(Some(ClientCert::new_with_certs(&certificates, key)));
    }
    Ok(builder.build())
}

type Pem = (
    Vec<Certificate<'static>>,
    Option<ureq::tls::PrivateKey<'static>>,
);

fn pem(path: &str) -> Result<Pem> {
    let bytes = std::fs::read(path).map_err(|e| Error::io(path, &e))?;
    let (mut certificates, mut key) = (Vec::new(), None);
    for item in parse_pem(&bytes) {
        match item {
            Ok(PemItem::Certificate(certificate)) => certificates.push(certificate),
            Ok(PemItem::PrivateKey(found)) => key = Some(found),
            _ => {}
        }
    }
    if certificates.is_empty() {
        let message = format!(
            "file '{path}' holds no certificate in PEM; convert a Java key store with 'keytool -exportcert -rfc' or to PKCS12 and 'openssl pkcs12 -nodes'"
        );
        return Err(Error::user("INVALID_OPTION", message));
    }
    Ok((certificates, key))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(pairs: &[(&str, &str)]) -> Result<Settings> {
        let pairs = pairs.iter().map(|(k, v)| (k.to_string(), v.to_string()));
        Settings::new(&pairs.collect())
    }

    #[test]
    fn credentials_come_from_options_properties_or_the_address() {
        let of = |pairs: &[(&str, &str)]| {
            let address = settings(pairs).unwrap().addresses[0].clone();
            (address.url, address.authorization)
        };
        let basic = Some("Basic YTpi".to_string());
        assert_eq!(
            of(&[("url", "http://a:b@h:1/")]),
            ("http://h:1".into(), basic.clone())
        );
        assert_eq!(
            of(&[
                ("url", "http://h"),
                ("properties.basic.auth.user.info", "a:b")
            ]),
            ("http://h".into(), basic)
        );
        assert_eq!(
            of(&[("url", "https://h/x"), ("bearer-auth.token", "t")]),
            ("https://h/x".into(), Some("Bearer t".into()))
        );
        assert!(settings(&[("url", "localhost:8081")]).is_err());
        assert_eq!(encoded("a/b-value"), "a%2Fb-value");
    }
}
