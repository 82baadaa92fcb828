//! Password proofs and verifiers, both directions, for both protocols.

pub mod caching_sha2;
pub mod mariadb_ed25519;
pub mod mysql_native;
pub mod postgres_md5;
pub mod scram;
