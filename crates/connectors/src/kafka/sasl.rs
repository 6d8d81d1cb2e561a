//! SASL: how a client proves to a broker who it is. PLAIN is RFC 4616, SCRAM RFC 5802.

use std::num::NonZeroU32;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use flott_core::{Error, Result};
use ring::rand::SecureRandom;
use ring::{digest, hmac, pbkdf2, rand};

/// A broker cannot make a client work longer than this many rounds of hashing take.
const MAX_ITERATIONS: u32 = 1_000_000;

/// The mechanisms that are built in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mechanism {
    Plain,
    ScramSha256,
    ScramSha512,
}

impl Mechanism {
    pub const ALL: [Self; 3] = [Self::Plain, Self::ScramSha256, Self::ScramSha512];

    /// The name that brokers know it by.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }

    pub fn named(name: &str) -> Option<Self> {
        let all = Self::ALL.into_iter();
        all.into_iter()
            .find(|m| m.name().eq_ignore_ascii_case(name))
    }
}

/// A user and the proof of being that user.
pub(super) struct Credentials {
    pub mechanism: Mechanism,
    pub user: String,
    pub password: String,
}

fn refused(why: impl std::fmt::Display) -> Error {
    Error::external("KAFKA_AUTHENTICATION", format!("the broker's answer {why}"))
}

impl Credentials {
    /// Carries the exchange out; `send` gives the broker's answer to a message.
    ///
    /// # Errors
    /// What `send` says, or an answer that no broker gives which knows the password.
    pub fn authenticate(&self, send: impl FnMut(&[u8]) -> Result<Vec<u8>>) -> Result<()> {
        match self.mechanism {
            Mechanism::Plain => self.plain(send),
            Mechanism::ScramSha256 => self.scram(&SHA_256, &nonce()?, send),
            Mechanism::ScramSha512 => self.scram(&SHA_512, &nonce()?, send),
        }
    }

    fn plain(&self, mut send: impl FnMut(&[u8]) -> Result<Vec<u8>>) -> Result<()> {
        let message = format!("\0{}\0{}", self.user, self.password);
        send(message.as_bytes()).map(drop)
    }

    fn scram(
        &self,
        hash: &Hash,
        nonce: &str,
        mut send: impl FnMut(&[u8]) -> Result<Vec<u8>>,
    ) -> Result<()> {
        let user = self.user.replace('=', "=3D").replace(',', "=2C");
        let first = format!("n={user},r={nonce}");
        let challenge = send(format!("n,,{first}").as_bytes())?;
        let challenge = text(challenge)?;
        let full_nonce = field(&challenge, "r")?;
        if !full_nonce.starts_with(nonce) {
            return Err(refused("is to somebody else's question"));
        }
        let salt = decoded(field(&challenge, "s")?)?;
        let iterations = field(&challenge, "i")?.parse().ok();
        let iterations = iterations
            .filter(|i: &u32| *i <= MAX_ITERATIONS)
            .and_then(NonZeroU32::new)
            .ok_or_else(|| refused("has no good number of iterations"))?;
        let without_proof = format!("c=biws,r={full_nonce}");
        let signed = format!("{first},{challenge},{without_proof}");
        let salted = hash.salted(&self.password, &salt, iterations);
        let client_key = hash.hmac(&salted, b"Client Key");
        let stored_key = digest::digest(hash.digest, &client_key);
        let signature = hash.hmac(stored_key.as_ref(), signed.as_bytes());
        let proof: Vec<u8> = client_key
            .iter()
            .zip(&signature)
            .map(|(k, s)| k ^ s)
            .collect();
        let last = format!("{without_proof},p={}", BASE64.encode(proof));
        let verdict = text(send(last.as_bytes())?)?;
        let server_key = hash.hmac(&salted, b"Server Key");
        let key = hmac::Key::new(hash.hmac, &server_key);
        hmac::verify(&key, signed.as_bytes(), &decoded(field(&verdict, "v")?)?)
            .map_err(|_| refused("is not from one who knows the password"))
    }
}

/// The functions of one hash.
struct Hash {
    digest: &'static digest::Algorithm,
    hmac: hmac::Algorithm,
    pbkdf2: pbkdf2::Algorithm,
}

static SHA_256: Hash = Hash {
    digest: &digest::SHA256,
    hmac: hmac::HMAC_SHA256,
    pbkdf2: pbkdf2::PBKDF2_HMAC_SHA256,
};
static SHA_512: Hash = Hash {
    digest: &digest::SHA512,
    hmac: hmac::HMAC_SHA512,
    pbkdf2: pbkdf2::PBKDF2_HMAC_SHA512,
};

impl Hash {
    fn hmac(&self, key: &[u8], message: &[u8]) -> Vec<u8> {
        let key = hmac::Key::new(self.hmac, key);
        hmac::sign(&key, message).as_ref().to_vec()
    }

    fn salted(&self, password: &str, salt: &[u8], iterations: NonZeroU32) -> Vec<u8> {
        let mut salted = vec![0; self.digest.output_len()];
        pbkdf2::derive(
            self.pbkdf2,
            iterations,
            salt,
            password.as_bytes(),
            &mut salted,
        );
        salted
    }
}

fn nonce() -> Result<String> {
    let mut bytes = [0; 24];
    let failed = |_| Error::external("RANDOM", "the system gives no random numbers");
    rand::SystemRandom::new().fill(&mut bytes).map_err(failed)?;
    Ok(BASE64.encode(bytes))
}

fn text(bytes: Vec<u8>) -> Result<String> {
    String::from_utf8(bytes).map_err(|_| refused("is no text"))
}

fn decoded(text: &str) -> Result<Vec<u8>> {
    BASE64.decode(text).map_err(|_| refused("is not base64"))
}

/// The value of `name=value` in a list with commas.
fn field<'a>(message: &'a str, name: &str) -> Result<&'a str> {
    let mut fields = message.split(',').filter_map(|f| f.split_once('='));
    let found = fields.find(|(n, _)| *n == name).map(|(_, value)| value);
    found.ok_or_else(|| refused(format_args!("has no '{name}': {message}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials(mechanism: Mechanism) -> Credentials {
        Credentials {
            mechanism,
            user: "user".into(),
            password: "pencil".into(),
        }
    }

    /// The exchange of RFC 7677.
    fn exchange(verdict: &str) -> (Vec<String>, Result<()>) {
        let answers = [
            "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
            verdict,
        ];
        let (mut sent, mut answers) = (Vec::new(), answers.into_iter());
        let done = credentials(Mechanism::ScramSha256).scram(
            &SHA_256,
            "rOprNGfwEbeRWgbNEkqO",
            |message| {
                sent.push(String::from_utf8_lossy(message).into_owned());
                Ok(answers.next().unwrap_or_default().as_bytes().to_vec())
            },
        );
        (sent, done)
    }

    #[test]
    fn scram_is_as_the_standard_shows_it() {
        let (sent, done) = exchange("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
        done.unwrap();
        assert_eq!(
            sent,
            [
                "n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
                "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                 p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
            ]
        );
    }

    #[test]
    fn a_broker_that_does_not_know_the_password_is_refused() {
        let (_, done) = exchange("v=AAAATRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
        assert_eq!(done.unwrap_err().code(), "KAFKA_AUTHENTICATION");
        let wrong = |challenge: &'static str| {
            let of = credentials(Mechanism::ScramSha512);
            of.scram(&SHA_512, "abc", |_| Ok(challenge.as_bytes().to_vec()))
        };
        assert!(wrong("r=other,s=AAAA,i=4096").is_err());
        assert!(wrong("r=abcdef,s=AAAA,i=4294967295").is_err());
        assert!(wrong("r=abcdef").is_err());
    }

    #[test]
    fn plain_sends_user_and_password() {
        let mut sent = Vec::new();
        let send = |message: &[u8]| {
            sent = message.to_vec();
            Ok(Vec::new())
        };
        credentials(Mechanism::Plain).authenticate(send).unwrap();
        assert_eq!(sent, b"\0user\0pencil");
    }
}
