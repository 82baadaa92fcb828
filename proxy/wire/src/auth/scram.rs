//! SCRAM-SHA-256 (RFC 5802, RFC 7677) as PostgreSQL uses it, both sides, without channel binding.

use base64::engine::general_purpose::STANDARD as BASE64;
use base64::Engine as _;
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// A SHA-256 output.
pub type Key = [u8; 32];

/// The iteration count of new verifiers; PostgreSQL's own default.
pub const ITERATIONS: u32 = 4096;

/// What a server keeps of a password: enough to check a proof, not enough to make one.
#[derive(Clone, PartialEq, Eq)]
pub struct Verifier {
    /// The salt.
    pub salt: Vec<u8>,
    /// The iteration count.
    pub iterations: u32,
    /// H(ClientKey).
    pub stored_key: Key,
    /// Proves the server to the client.
    pub server_key: Key,
}

/// What a client needs to make proofs for one verifier.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientKeys {
    /// The key a proof is made with.
    pub client_key: Key,
    /// The key the server proves itself with.
    pub server_key: Key,
}

fn hmac(key: &[u8], parts: &[&[u8]]) -> Key {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

fn hash(data: &[u8]) -> Key {
    Sha256::digest(data).into()
}

fn xor(left: &Key, right: &Key) -> Key {
    std::array::from_fn(|index| left[index] ^ right[index])
}

/// PBKDF2-HMAC-SHA-256 of one block.
fn salted(password: &[u8], salt: &[u8], iterations: u32) -> Key {
    let prepared = Hmac::<Sha256>::new_from_slice(password).expect("HMAC takes keys of any length");
    let mut mac = prepared.clone();
    mac.update(salt);
    mac.update(&1_u32.to_be_bytes());
    let mut round: Key = mac.finalize().into_bytes().into();
    let mut result = round;
    for _ in 1..iterations {
        let mut mac = prepared.clone();
        mac.update(&round);
        round = mac.finalize().into_bytes().into();
        result = xor(&result, &round);
    }
    result
}

/// The client's keys for *password*; costs *iterations* times two SHA-256 blocks.
pub fn keys(password: &[u8], salt: &[u8], iterations: u32) -> ClientKeys {
    let salted = salted(password, salt, iterations);
    ClientKeys { client_key: hmac(&salted, &[b"Client Key"]), server_key: hmac(&salted, &[b"Server Key"]) }
}

impl Verifier {
    /// The verifier of *password* with *salt*.
    pub fn new(password: &[u8], salt: &[u8], iterations: u32) -> Self {
        let keys = keys(password, salt, iterations);
        Self { salt: salt.to_vec(), iterations, stored_key: hash(&keys.client_key), server_key: keys.server_key }
    }

    /// Read PostgreSQL's `SCRAM-SHA-256$4096:salt$StoredKey:ServerKey`.
    pub fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix("SCRAM-SHA-256$")?;
        let (parameters, keys) = rest.split_once('$')?;
        let (iterations, salt) = parameters.split_once(':')?;
        let (stored, server) = keys.split_once(':')?;
        Some(Self {
            salt: BASE64.decode(salt).ok()?,
            iterations: iterations.parse().ok().filter(|count| *count > 0)?,
            stored_key: BASE64.decode(stored).ok()?.try_into().ok()?,
            server_key: BASE64.decode(server).ok()?.try_into().ok()?,
        })
    }
}

/// The server's side of one exchange, after the client's first message.
pub struct ServerExchange {
    verifier: Verifier,
    client_first_bare: Vec<u8>,
    server_first: Vec<u8>,
    gs2_header: Vec<u8>,
    nonce: Vec<u8>,
}

/// Why an exchange cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// A message is not of the form that the RFC asks for.
    Malformed,
    /// The client insists on channel binding.
    ChannelBinding,
    /// The proof is wrong.
    WrongProof,
}

fn attribute(message: &[u8], letter: u8) -> Option<&[u8]> {
    message.split(|byte| *byte == b',').find_map(|part| match part {
        [first, b'=', value @ ..] if *first == letter => Some(value),
        _ => None,
    })
}

impl ServerExchange {
    /// Take the client's first message; *server_nonce* is fresh randomness, printable.
    pub fn new(client_first: &[u8], verifier: Verifier, server_nonce: &[u8]) -> Result<Self, Failure> {
        let mut commas = client_first.iter().enumerate().filter(|(_, byte)| **byte == b',').map(|(place, _)| place);
        let (Some(_), Some(second)) = (commas.next(), commas.next()) else { return Err(Failure::Malformed) };
        let (gs2_header, bare) = client_first.split_at(second + 1);
        match gs2_header {
            [b'n' | b'y', b',', ..] => {}
            [b'p', b'=', ..] => return Err(Failure::ChannelBinding),
            _ => return Err(Failure::Malformed),
        }
        let client_nonce = attribute(bare, b'r').filter(|nonce| !nonce.is_empty()).ok_or(Failure::Malformed)?;
        if !client_nonce.iter().all(u8::is_ascii_graphic) {
            return Err(Failure::Malformed);
        }
        let nonce = [client_nonce, server_nonce].concat();
        let mut server_first = b"r=".to_vec();
        server_first.extend_from_slice(&nonce);
        server_first
            .extend_from_slice(format!(",s={},i={}", BASE64.encode(&verifier.salt), verifier.iterations).as_bytes());
        Ok(Self { verifier, client_first_bare: bare.to_vec(), server_first, gs2_header: gs2_header.to_vec(), nonce })
    }

    /// The server's first message.
    pub fn server_first(&self) -> &[u8] {
        &self.server_first
    }

    /// Take the client's final message: the server's final message, and the keys that the client proved to have.
    pub fn finish(&self, client_final: &[u8]) -> Result<(Vec<u8>, ClientKeys), Failure> {
        let proof_at = client_final.windows(3).rposition(|three| three == b",p=").ok_or(Failure::Malformed)?;
        let without_proof = &client_final[..proof_at];
        let proof: Key = BASE64
            .decode(&client_final[proof_at + 3..])
            .ok()
            .and_then(|proof| proof.try_into().ok())
            .ok_or(Failure::Malformed)?;
        let binding = attribute(without_proof, b'c').ok_or(Failure::Malformed)?;
        if BASE64.decode(binding).ok().as_deref() != Some(&self.gs2_header) {
            return Err(Failure::Malformed);
        }
        if attribute(without_proof, b'r') != Some(&self.nonce) {
            return Err(Failure::Malformed);
        }
        let auth: [&[u8]; 5] = [&self.client_first_bare, b",", &self.server_first, b",", without_proof];
        let client_key = xor(&proof, &hmac(&self.verifier.stored_key, &auth));
        if !bool::from(hash(&client_key).ct_eq(&self.verifier.stored_key)) {
            return Err(Failure::WrongProof);
        }
        let signature = hmac(&self.verifier.server_key, &auth);
        let keys = ClientKeys { client_key, server_key: self.verifier.server_key };
        Ok((format!("v={}", BASE64.encode(signature)).into_bytes(), keys))
    }
}

/// How a client comes to its keys.
pub enum Secret<'a> {
    /// From the password, with the server's salt and iterations.
    Password(&'a [u8]),
    /// Kept from an earlier exchange with the same verifier.
    Keys(&'a ClientKeys),
}

/// The client's side of one exchange.
pub struct ClientExchange {
    first_bare: Vec<u8>,
    nonce: Vec<u8>,
    expected: Option<Vec<u8>>,
}

/// More iterations than any server asks for; a hostile one could keep a helper thread busy for minutes.
const MOST_ITERATIONS: u32 = 1_000_000;

impl ClientExchange {
    /// Begin with fresh printable randomness.
    pub fn new(nonce: &[u8]) -> Self {
        let first_bare = [b"n=,r=", nonce].concat();
        Self { first_bare, nonce: nonce.to_vec(), expected: None }
    }

    /// The client's first message.
    pub fn first(&self) -> Vec<u8> {
        [b"n,,", self.first_bare.as_slice()].concat()
    }

    /// Answer the server's first message.
    pub fn answer(&mut self, server_first: &[u8], secret: &Secret<'_>) -> Result<Vec<u8>, Failure> {
        let nonce = attribute(server_first, b'r').ok_or(Failure::Malformed)?;
        if !nonce.starts_with(&self.nonce) || nonce.len() == self.nonce.len() {
            return Err(Failure::Malformed);
        }
        let salt = attribute(server_first, b's').and_then(|salt| BASE64.decode(salt).ok()).ok_or(Failure::Malformed)?;
        let iterations: u32 = attribute(server_first, b'i')
            .and_then(|count| std::str::from_utf8(count).ok())
            .and_then(|count| count.parse().ok())
            .filter(|count| (1..=MOST_ITERATIONS).contains(count))
            .ok_or(Failure::Malformed)?;
        let derived;
        let keys = match secret {
            Secret::Password(password) => {
                derived = keys(password, &salt, iterations);
                &derived
            }
            Secret::Keys(keys) => keys,
        };
        let mut last = b"c=biws,r=".to_vec();
        last.extend_from_slice(nonce);
        let auth: [&[u8]; 5] = [&self.first_bare, b",", server_first, b",", &last];
        let proof = xor(&keys.client_key, &hmac(&hash(&keys.client_key), &auth));
        let signature = hmac(&keys.server_key, &auth);
        self.expected = Some(format!("v={}", BASE64.encode(signature)).into_bytes());
        last.extend_from_slice(b",p=");
        last.extend_from_slice(BASE64.encode(proof).as_bytes());
        Ok(last)
    }

    /// True when the server's final message proves that it knows the verifier.
    pub fn server_is_genuine(&self, server_final: &[u8]) -> bool {
        let message = server_final.split(|byte| *byte == b',').next().unwrap_or_default();
        self.expected.as_deref().is_some_and(|expected| bool::from(message.ct_eq(expected)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_rfc_7677_is_reproduced() {
        // Section 3 of the RFC, but with an empty user name as PostgreSQL's clients send it, so only the keys compare.
        let salt = BASE64.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let found = keys(b"pencil", &salt, 4096);
        let auth = b"n=user,r=rOprNGfwEbeRWgbNEkqO,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
            s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        let proof = xor(&found.client_key, &hmac(&hash(&found.client_key), &[auth]));
        assert_eq!(BASE64.encode(proof), "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=");
        let signature = hmac(&found.server_key, &[auth]);
        assert_eq!(BASE64.encode(signature), "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
    }

    fn exchange(right: &[u8], given: &Secret<'_>) -> Result<(Vec<u8>, ClientKeys, bool), Failure> {
        let verifier = Verifier::new(right, b"0123456789abcdef", 64);
        let mut client = ClientExchange::new(b"clientnonce");
        let server = ServerExchange::new(&client.first(), verifier, b"servernonce")?;
        let answer = client.answer(server.server_first(), given)?;
        let (last, keys) = server.finish(&answer)?;
        let genuine = client.server_is_genuine(&last);
        Ok((last, keys, genuine))
    }

    #[test]
    fn both_sides_agree_on_the_right_password_and_only_on_it() {
        let (_, keys, genuine) = exchange(b"secret", &Secret::Password(b"secret")).ok().unwrap();
        assert!(genuine);
        assert_eq!(exchange(b"secret", &Secret::Password(b"Secret")).err(), Some(Failure::WrongProof));
        // The keys a client proved to have log in at any server with the same verifier.
        assert!(exchange(b"secret", &Secret::Keys(&keys)).ok().unwrap().2);
    }

    #[test]
    fn hostile_messages_are_refused() {
        let verifier = Verifier::new(b"x", b"salt", 1);
        for first in [&b""[..], b"n", b"n,,", b"n,,n=,r=", b"x,,n=,r=a", b"n,,n=,r=a\x00b"] {
            assert!(ServerExchange::new(first, verifier.clone(), b"s").is_err(), "{first:?}");
        }
        assert_eq!(
            ServerExchange::new(b"p=tls-server-end-point,,n=,r=a", verifier.clone(), b"s").err(),
            Some(Failure::ChannelBinding)
        );
        let server = ServerExchange::new(b"n,,n=,r=a", verifier, b"s").ok().unwrap();
        for last in [&b""[..], b"c=biws,r=as", b"c=biws,r=as,p=", b"c=biws,r=other,p=AAAA", b"p=,p=,p=,p="] {
            assert!(server.finish(last).is_err(), "{last:?}");
        }
        let mut client = ClientExchange::new(b"mine");
        for first in
            [&b"r=mine,s=AAAA,i=1"[..], b"r=yours,s=AAAA,i=1", b"r=mineX,s=AAAA,i=0", b"r=mineX,s=AAAA,i=4000000000"]
        {
            assert!(client.answer(first, &Secret::Password(b"x")).is_err(), "{first:?}");
        }
    }

    #[test]
    fn postgres_own_verifier_text_is_read() {
        let text = "SCRAM-SHA-256$4096:c2FsdHNhbHRzYWx0c2E=$\
            AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
        let verifier = Verifier::parse(text).unwrap();
        assert_eq!((verifier.iterations, verifier.salt.as_slice()), (4096, &b"saltsaltsaltsa"[..]));
        assert!(Verifier::parse("SCRAM-SHA-256$0:c2FsdA==$AA==:AA==").is_none());
        assert!(Verifier::parse("md5abc").is_none());
    }
}
