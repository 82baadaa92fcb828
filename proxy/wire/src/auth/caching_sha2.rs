//! `caching_sha2_password`, MySQL's default: a fast proof against a verifier that the server keeps in memory, and the
//! password itself (over TLS, or encrypted for the server's RSA key) when it keeps none.

use rsa::pkcs8::DecodePublicKey;
use rsa::{Oaep, RsaPublicKey};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// The method's name on the wire.
pub const NAME: &[u8] = b"caching_sha2_password";
/// After [`MORE`]: the fast proof is accepted; OK follows.
pub const FAST_OK: u8 = 3;
/// After [`MORE`]: the server has no verifier in memory and wants the password.
pub const FULL: u8 = 4;
/// A client's request for the server's public key.
pub const WANT_KEY: u8 = 2;
/// The first byte of a packet with more of the method's data.
pub const MORE: u8 = 1;

/// SHA256 of the password: makes proofs. [`verify`] recovers it from a client's proof.
pub type Secret = [u8; 32];
/// SHA256 of SHA256 of the password: checks proofs. Not what `mysql.user` stores.
pub type Verifier = [u8; 32];

/// The secret of *password*.
pub fn secret(password: &[u8]) -> Secret {
    Sha256::digest(password).into()
}

/// The verifier of *secret*.
pub fn verifier(secret: &Secret) -> Verifier {
    Sha256::digest(secret).into()
}

/// A client's fast proof for *salt*. The verifier is hashed before the salt (MySQL 9.7 accepts it so).
pub fn proof(secret: &Secret, salt: &[u8]) -> [u8; 32] {
    mask(secret, &verifier(secret), salt)
}

/// The secret within *proof*, when it is the one of *verifier*.
pub fn verify(proof: &[u8], salt: &[u8], verifier: &Verifier) -> Option<Secret> {
    let proof: &[u8; 32] = proof.try_into().ok()?;
    let secret = mask(proof, verifier, salt);
    bool::from(self::verifier(&secret).ct_eq(verifier)).then_some(secret)
}

fn mask(value: &[u8; 32], verifier: &Verifier, salt: &[u8]) -> [u8; 32] {
    let mask: [u8; 32] = Sha256::new().chain_update(verifier).chain_update(salt).finalize().into();
    std::array::from_fn(|index| value[index] ^ mask[index])
}

/// Why a password could not be encrypted for the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadKey;

/// *password* for a full login without TLS: NUL-terminated, masked with *salt*, encrypted for the server's key (PEM).
pub fn encrypt(password: &[u8], salt: &[u8], key_pem: &[u8]) -> Result<Vec<u8>, BadKey> {
    let pem = std::str::from_utf8(key_pem).map_err(|_| BadKey)?;
    let key = RsaPublicKey::from_public_key_pem(pem.trim_matches(['\0', '\n', ' '])).map_err(|_| BadKey)?;
    let masked: Vec<u8> =
        password.iter().chain(&[0]).zip(salt.iter().cycle()).map(|(byte, salt)| byte ^ salt).collect();
    key.encrypt(&mut SystemRandom, Oaep::new::<sha1::Sha1>(), &masked).map_err(|_| BadKey)
}

/// The operating system's random numbers, as the `rsa` crate wants them.
struct SystemRandom;

impl rsa::rand_core::RngCore for SystemRandom {
    fn next_u32(&mut self) -> u32 {
        let mut bytes = [0; 4];
        self.fill_bytes(&mut bytes);
        u32::from_le_bytes(bytes)
    }

    fn next_u64(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.fill_bytes(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    fn fill_bytes(&mut self, out: &mut [u8]) {
        getrandom::fill(out).expect("the operating system has random numbers");
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), rsa::rand_core::Error> {
        self.fill_bytes(out);
        Ok(())
    }
}

impl rsa::rand_core::CryptoRng for SystemRandom {}

#[cfg(test)]
mod tests {
    use super::*;

    const SALT: &[u8] = b"abcdefghijklmnopqrst";

    #[test]
    fn a_proof_is_accepted_only_for_its_salt_and_its_password() {
        let secret = secret(b"secret");
        let proof = proof(&secret, SALT);
        assert_eq!(verify(&proof, SALT, &verifier(&secret)), Some(secret));
        assert_eq!(verify(&proof, b"tsrqponmlkjihgfedcba", &verifier(&secret)), None);
        assert_eq!(verify(&proof, SALT, &verifier(&self::secret(b"Secret"))), None);
        assert_eq!(verify(b"", SALT, &verifier(&secret)), None);
    }

    #[test]
    fn what_is_no_key_is_refused() {
        assert_eq!(
            encrypt(b"secret", SALT, b"-----BEGIN PUBLIC KEY-----\nMA==\n-----END PUBLIC KEY-----"),
            Err(BadKey)
        );
        assert_eq!(encrypt(b"secret", SALT, b"\xff"), Err(BadKey));
    }
}
