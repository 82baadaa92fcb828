//! Bytes to messages and back, for PostgreSQL and MySQL, and the password proofs of both. No I/O, no clock, no runtime.

pub mod auth;
pub mod mysql;
pub mod postgres;
