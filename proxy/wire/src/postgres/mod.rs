//! The PostgreSQL frontend/backend protocol, version 3.
//!
//! Messages are looked at where they lie: a [`Head`] says what comes and how long it is; bodies are read only where a
//! proxy must understand them, and forwarded as they are otherwise.

mod build;
mod read;
pub mod sql;
mod startup;

pub use build::{
    authentication_md5, authentication_ok, authentication_sasl, authentication_sasl_continue,
    authentication_sasl_final, backend_key_data, bind_head, close_statement, command_complete, describe_statement,
    error, negotiate_protocol_version, notice, parameter_status, parse, password, query, ready_for_query,
    sasl_initial_response, startup_message, sync, Severity, CANCEL_REQUEST, SSL_REQUEST, TERMINATE,
};
pub use read::{cstr, data_row_text, error_field, Head, Malformed, MAX_MESSAGE_BYTES};
pub use startup::{read_startup, Startup, StartupStep, MAX_STARTUP_BYTES};
