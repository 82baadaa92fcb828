//! The MySQL and MariaDB client/server protocol: bytes to messages and back. No I/O, no clock.
//!
//! What a proxy must understand is parsed without copying; rows are never looked into. [`Tracker`] says where the
//! response to a command ends, at any split of the bytes.

pub mod capability;
mod codec;
mod command;
mod handshake;
mod packet;
mod reply;
mod session_track;
mod tracker;

pub use codec::{put_lenenc, put_lenenc_bytes, put_null_terminated, Cursor};
pub use command::{names, Command, Execution, LAST_PREPARED};
pub use handshake::{AuthSwitch, ChangeUser, Greeting, Login, SslRequest};
pub use packet::{packet, packet_at, put_packet, Header, Packet, HEADER, MAX_PAYLOAD};
pub use reply::{eof, err, is_eof, Err, Ok, PrepareOk, Status};
pub use session_track::{Change, Changes};
pub use tracker::{Step, Tracker};

/// Bytes that no server or client of this protocol sends. Costs its sender the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malformed {
    /// A message ends before a field that it must have.
    Truncated,
    /// A length or a first byte has no meaning where it stands.
    Unexpected(&'static str),
}

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Truncated => f.write_str("message ends before its last field"),
            Self::Unexpected(what) => write!(f, "unexpected {what}"),
        }
    }
}

impl std::error::Error for Malformed {}
