//! The proxy without its process: event loop, pools, sessions, settings, statistics, administration.
//!
//! [`protocol`] describes how the parts meet; [`engine`] puts them together.

pub mod admin;
pub mod borrow;
pub mod dialer;
pub mod door;
pub mod engine;
pub mod log;
pub mod metrics;
pub mod mysql;
pub mod postgres;
pub mod protocol;
pub mod reactor;
pub mod reason;
pub mod settings;
pub mod stats;
pub mod tls;
pub mod transport;
