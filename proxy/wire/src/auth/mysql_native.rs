//! `mysql_native_password`: SHA1 of the password, masked by SHA1 of a nonce and the verifier.

use sha1::{Digest, Sha1};
use subtle::ConstantTimeEq;

/// The method's name on the wire.
pub const NAME: &[u8] = b"mysql_native_password";

/// SHA1 of the password: makes proofs, so it logs in. [`verify`] recovers it from a client's proof.
pub type Secret = [u8; 20];
/// SHA1 of SHA1 of the password, as `mysql.user` stores it (in hexadecimal): checks proofs, and cannot make one by itself.
pub type Verifier = [u8; 20];

/// The secret of *password*.
pub fn secret(password: &[u8]) -> Secret {
    Sha1::digest(password).into()
}

/// The verifier of *secret*.
pub fn verifier(secret: &Secret) -> Verifier {
    Sha1::digest(secret).into()
}

/// A client's proof for *salt*.
pub fn proof(secret: &Secret, salt: &[u8]) -> [u8; 20] {
    mask(secret, &verifier(secret), salt)
}

/// The secret within *proof*, when it is the one of *verifier*.
pub fn verify(proof: &[u8], salt: &[u8], verifier: &Verifier) -> Option<Secret> {
    let proof: &[u8; 20] = proof.try_into().ok()?;
    let secret = mask(proof, verifier, salt);
    bool::from(self::verifier(&secret).ct_eq(verifier)).then_some(secret)
}

fn mask(value: &[u8; 20], verifier: &Verifier, salt: &[u8]) -> [u8; 20] {
    let mask: [u8; 20] = Sha1::new().chain_update(salt).chain_update(verifier).finalize().into();
    std::array::from_fn(|index| value[index] ^ mask[index])
}

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
        assert_eq!(verify(&proof[..19], SALT, &verifier(&secret)), None);
    }

    #[test]
    fn the_verifier_is_what_mariadb_stores() {
        // SELECT PASSWORD('secret') on MariaDB 10.11
        let stored: String = verifier(&secret(b"secret")).iter().map(|byte| format!("{byte:02X}")).collect();
        assert_eq!(stored, "14E65567ABDB5135D0CFD9A70B3032C179A49EE7");
    }
}
