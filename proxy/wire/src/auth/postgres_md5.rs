//! PostgreSQL's md5 method: `md5(md5(password user) salt)`. Kept for old clients; SCRAM is the default.

use md5::{Digest, Md5};
use std::fmt::Write as _;
use subtle::ConstantTimeEq;

fn hex(parts: &[&[u8]]) -> String {
    let mut digest = Md5::new();
    for part in parts {
        digest.update(part);
    }
    digest.finalize().iter().fold(String::with_capacity(32), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// What the server stores, without its `md5` prefix; as good as the password, so protect it like one.
pub fn stored(user: &[u8], password: &[u8]) -> String {
    hex(&[password, user])
}

/// The proof for *salt*, as the client sends it.
pub fn proof(stored: &str, salt: [u8; 4]) -> String {
    format!("md5{}", hex(&[stored.as_bytes(), &salt]))
}

/// True when *claimed* is the proof for *salt*.
pub fn verify(claimed: &[u8], stored: &str, salt: [u8; 4]) -> bool {
    bool::from(claimed.ct_eq(proof(stored, salt).as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::{proof, stored, verify};

    #[test]
    fn a_proof_is_accepted_for_its_own_salt_only() {
        // select 'md5' || md5('secret' || 'app') on a server
        assert_eq!(stored(b"app", b"secret"), "6a422f785c9e20873908ce25d1736ae2");
        let kept = stored(b"app", b"secret");
        let made = proof(&kept, [1, 2, 3, 4]);
        assert!(verify(made.as_bytes(), &kept, [1, 2, 3, 4]));
        assert!(!verify(made.as_bytes(), &kept, [1, 2, 3, 5]));
        assert!(!verify(b"", &kept, [1, 2, 3, 4]));
    }
}
