//! MariaDB's `client_ed25519`: the nonce signed by a key made from the password. The server stores the public key, so what
//! a client sends cannot be used to log in elsewhere: towards the server the password itself is needed.

use ed25519_dalek::hazmat::{raw_sign, ExpandedSecretKey};
use ed25519_dalek::{Signature, VerifyingKey};
use sha2::{Digest, Sha512};

/// The method's name on the wire.
pub const NAME: &[u8] = b"client_ed25519";
/// Bytes of its nonce.
pub const NONCE: usize = 32;

fn key(password: &[u8]) -> ExpandedSecretKey {
    // The password takes the place of Ed25519's 32-byte seed, whatever its length.
    ExpandedSecretKey::from_bytes(&Sha512::digest(password).into())
}

/// The public key of *password*: the verifier.
pub fn public_key(password: &[u8]) -> [u8; 32] {
    VerifyingKey::from(&key(password)).to_bytes()
}

/// A client's proof for *nonce*.
pub fn sign(password: &[u8], nonce: &[u8]) -> [u8; 64] {
    let key = key(password);
    raw_sign::<Sha512>(&key, nonce, &VerifyingKey::from(&key)).to_bytes()
}

/// Whether *proof* is a signature of *nonce* by *`public_key`*.
pub fn verify(proof: &[u8], nonce: &[u8], public_key: &[u8; 32]) -> bool {
    let (Ok(proof), Ok(key)) = (<&[u8; 64]>::try_from(proof), VerifyingKey::from_bytes(public_key)) else {
        return false;
    };
    key.verify_strict(nonce, &Signature::from_bytes(proof)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_accepted_only_for_its_nonce_and_its_password() {
        let proof = sign(b"secret", &[7; NONCE]);
        assert!(verify(&proof, &[7; NONCE], &public_key(b"secret")));
        assert!(!verify(&proof, &[8; NONCE], &public_key(b"secret")));
        assert!(!verify(&proof, &[7; NONCE], &public_key(b"Secret")));
        assert!(!verify(&proof[1..], &[7; NONCE], &public_key(b"secret")));
    }

    #[test]
    fn the_public_key_is_what_mariadb_stores() {
        // SELECT authentication_string of a user identified via ed25519 using password('secret'), MariaDB 10.11
        use base64::engine::general_purpose::STANDARD_NO_PAD;
        use base64::Engine;
        assert_eq!(STANDARD_NO_PAD.encode(public_key(b"secret")), "ZIgUREUg5PVgQ6LskhXmO+eZLS0nC8be6HPjYWR4YJY");
    }
}
