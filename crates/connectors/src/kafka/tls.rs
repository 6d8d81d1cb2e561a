//! TLS of the connections that librdkafka has no call for: the same settings, by another library.

use std::fmt;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use flott_core::{Error, Result};
use rdkafka::config::ClientConfig;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConnection, DigitallySignedStruct, RootCertStore, SignatureScheme,
};

fn wrong(property: &str, why: impl fmt::Display) -> Error {
    Error::user(
        "INVALID_OPTION",
        format!("option 'properties.{property}': {why}"),
    )
}

/// The settings of TLS connections.
#[derive(Clone)]
pub(super) struct Tls(Arc<rustls::ClientConfig>);

/// The text of `inline`, or of the file that `location` names, with the property's name.
fn pem<'a>(
    config: &ClientConfig,
    inline: &'a str,
    location: &'a str,
) -> Result<Option<(&'a str, Vec<u8>)>> {
    if let Some(text) = config.get(inline) {
        return Ok(Some((inline, text.as_bytes().to_vec())));
    }
    match config.get(location) {
        None | Some("probe") => Ok(None),
        Some(path) => {
            let text = std::fs::read(path).map_err(|e| wrong(location, format!("{path}: {e}")))?;
            Ok(Some((location, text)))
        }
    }
}

fn certificates(property: &str, text: &[u8]) -> Result<Vec<CertificateDer<'static>>> {
    let all = CertificateDer::pem_slice_iter(text);
    let all: Vec<_> = all
        .collect::<Result<_, _>>()
        .map_err(|e| wrong(property, format!("no certificates in PEM: {e}")))?;
    match all.is_empty() {
        false => Ok(all),
        true => Err(wrong(property, "there is no certificate")),
    }
}

/// The certificates that a broker's is checked against: the table's, or the system's.
fn roots(config: &ClientConfig) -> Result<Vec<CertificateDer<'static>>> {
    match pem(config, "ssl.ca.pem", "ssl.ca.location")? {
        Some((property, text)) => certificates(property, &text),
        None => {
            let found = rustls_native_certs::load_native_certs();
            match found.certs.is_empty() {
                false => Ok(found.certs),
                true => Err(wrong(
                    "ssl.truststore.location",
                    "the system has no trusted certificates; name a file of them",
                )),
            }
        }
    }
}

/// A certificate and its key with which a client shows who it is.
fn identity(
    config: &ClientConfig,
) -> Result<Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>> {
    if config.get("ssl.keystore.location").is_some() {
        return Err(wrong(
            "ssl.keystore.location",
            "a sink with 'sink.delivery-guarantee' = 'exactly-once' takes its key as PEM, not as \
             PKCS#12; write it with 'openssl pkcs12 -in … -out client.pem -nodes' and set \
             'properties.ssl.keystore.type' = 'PEM'",
        ));
    }
    let chain = pem(config, "ssl.certificate.pem", "ssl.certificate.location")?;
    let key = pem(config, "ssl.key.pem", "ssl.key.location")?;
    let (Some((chain_property, chain)), Some((key_property, key))) = (chain, key) else {
        return Ok(None);
    };
    if contains(&key, b"ENCRYPTED") {
        return Err(wrong(
            key_property,
            "a sink with 'sink.delivery-guarantee' = 'exactly-once' takes a key without a \
             password; write it with 'openssl pkey -in … -out …'",
        ));
    }
    let key = PrivateKeyDer::from_pem_slice(&key)
        .map_err(|e| wrong(key_property, format!("no private key in PEM: {e}")))?;
    Ok(Some((certificates(chain_property, &chain)?, key)))
}

fn contains(text: &[u8], word: &[u8]) -> bool {
    memchr::memmem::find(text, word).is_some()
}

fn is_off(config: &ClientConfig, property: &str) -> bool {
    let value = config.get(property).unwrap_or_default();
    ["none", "false", "f", "0"].contains(&value.to_ascii_lowercase().as_str())
}

impl Tls {
    /// # Errors
    /// A user error that names the property with a wrong certificate, key or file.
    pub fn new(config: &ClientConfig) -> Result<Self> {
        let provider = Arc::new(ring::default_provider());
        let verifier = Verifier::new(config, &provider)?;
        let builder = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| Error::internal(format!("TLS: {e}")))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let config = match identity(config)? {
            None => builder.with_no_client_auth(),
            Some((chain, key)) => builder
                .with_client_auth_cert(chain, key)
                .map_err(|e| wrong("ssl.keystore.key", e))?,
        };
        Ok(Self(Arc::new(config)))
    }

    /// Makes a connection to `host` secure; all is agreed upon afterwards.
    ///
    /// # Errors
    /// An external error, retryable unless the two do not trust each other.
    pub fn secure(&self, host: &str, mut socket: TcpStream) -> Result<TlsStream> {
        let failed = |why: &dyn fmt::Display| {
            Error::external("KAFKA_TLS", format!("broker {host}: TLS fails: {why}"))
        };
        let name = host.trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(name.to_string()).map_err(|e| failed(&e))?;
        let mut connection = ClientConnection::new(self.0.clone(), name).map_err(|e| failed(&e))?;
        while connection.is_handshaking() {
            connection
                .complete_io(&mut socket)
                .map_err(|e| match e.kind() {
                    std::io::ErrorKind::InvalidData => failed(&e),
                    _ => failed(&e).retryable(),
                })?;
        }
        Ok(TlsStream(Box::new(rustls::StreamOwned::new(
            connection, socket,
        ))))
    }
}

/// A secure connection.
pub(super) struct TlsStream(Box<rustls::StreamOwned<ClientConnection, TcpStream>>);

impl Read for TlsStream {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for TlsStream {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

/// Checks a broker's certificate as strictly as the properties say.
#[derive(Debug)]
struct Verifier {
    /// `None` trusts anyone.
    chain: Option<Arc<WebPkiServerVerifier>>,
    checks_names: bool,
    roots: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
}

impl Verifier {
    fn new(config: &ClientConfig, provider: &Arc<CryptoProvider>) -> Result<Self> {
        let provider = provider.clone();
        if is_off(config, "enable.ssl.certificate.verification") {
            return Ok(Self {
                chain: None,
                checks_names: false,
                roots: Vec::new(),
                provider,
            });
        }
        let roots = roots(config)?;
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(roots.iter().cloned());
        let chain = WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider.clone())
            .build()
            .map_err(|e| wrong("ssl.truststore.location", e))?;
        Ok(Self {
            chain: Some(chain),
            checks_names: !is_off(config, "ssl.endpoint.identification.algorithm"),
            roots,
            provider,
        })
    }

    /// A broker's own certificate may be the trusted one: it stands for itself, whatever it may
    /// sign. The chain's check, which knows authorities only, says no to that.
    fn is_trusted_itself(&self, certificate: &CertificateDer<'_>, name: &ServerName<'_>) -> bool {
        let is_root = self.roots.iter().any(|root| root == certificate);
        let is_named = || {
            let parsed = ParsedCertificate::try_from(certificate);
            parsed.is_ok_and(|c| rustls::client::verify_server_name(&c, name).is_ok())
        };
        is_root && (!self.checks_names || is_named())
    }
}

fn is_about_names(error: &CertificateError) -> bool {
    use CertificateError::{NotValidForName, NotValidForNameContext};
    matches!(error, NotValidForName | NotValidForNameContext { .. })
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Some(chain) = &self.chain else {
            return Ok(ServerCertVerified::assertion());
        };
        let trusted = Ok(ServerCertVerified::assertion());
        match chain.verify_server_cert(certificate, intermediates, name, ocsp, now) {
            Err(rustls::Error::InvalidCertificate(why))
                if !self.checks_names && is_about_names(&why) =>
            {
                trusted
            }
            // Out of date is out of date.
            Err(rustls::Error::InvalidCertificate(CertificateError::Other(_)))
                if self.is_trusted_itself(certificate, name) =>
            {
                trusted
            }
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let algorithms = &self.provider.signature_verification_algorithms;
        algorithms.supported_schemes()
    }
}
