//! The proxy without its process: event loop, pools, sessions, settings, statistics, administration.

pub mod protocol;
pub mod reason;
pub mod settings;
pub mod transport;
