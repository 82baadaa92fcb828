//! The first packet of a connection.

use super::read::{cstr, Malformed};

/// The longest start-up packet PostgreSQL itself accepts.
pub const MAX_STARTUP_BYTES: usize = 10_000;

/// The first packet, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Startup<'a> {
    /// The client asks for TLS.
    Ssl,
    /// The client asks for GSSAPI encryption.
    Gss,
    /// The client asks to cancel what another connection runs.
    Cancel {
        /// That connection's process number, as it was told.
        number: u32,
        /// Its secret, 4 bytes in protocol 3.0.
        secret: &'a [u8],
    },
    /// The client begins a session.
    Session {
        /// The minor version of protocol 3.
        minor: u16,
        /// Its parameters, `user` and `database` among them.
        parameters: Vec<(&'a [u8], &'a [u8])>,
    },
    /// Another major version.
    Version {
        /// That version.
        major: u16,
    },
}

/// A start-up packet, or the need for more input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StartupStep<'a> {
    /// Not all of it is there.
    More,
    /// The packet, and its length.
    Whole(Startup<'a>, usize),
}

/// Read the start-up packet at the start of *input*.
pub fn read_startup(input: &[u8]) -> Result<StartupStep<'_>, Malformed> {
    let Some(head) = input.first_chunk::<4>() else { return Ok(StartupStep::More) };
    let length = u32::from_be_bytes(*head) as usize;
    // Checked before anything is kept: the length is the client's claim.
    if !(8..=MAX_STARTUP_BYTES).contains(&length) {
        return Err(Malformed);
    }
    if input.len() < length {
        return Ok(StartupStep::More);
    }
    let code = u32::from_be_bytes([input[4], input[5], input[6], input[7]]);
    let body = &input[8..length];
    let startup = match code {
        80_877_103 => Startup::Ssl,
        80_877_104 => Startup::Gss,
        80_877_102 => {
            let (number, secret) = body.split_first_chunk::<4>().ok_or(Malformed)?;
            Startup::Cancel { number: u32::from_be_bytes(*number), secret }
        }
        _ if code >> 16 == 3 => Startup::Session { minor: code as u16, parameters: parameters(body)? },
        _ => Startup::Version { major: (code >> 16) as u16 },
    };
    Ok(StartupStep::Whole(startup, length))
}

fn parameters(mut body: &[u8]) -> Result<Vec<(&[u8], &[u8])>, Malformed> {
    let mut found = Vec::new();
    loop {
        let (name, rest) = cstr(body).ok_or(Malformed)?;
        if name.is_empty() {
            return if rest.is_empty() { Ok(found) } else { Err(Malformed) };
        }
        let (value, rest) = cstr(rest).ok_or(Malformed)?;
        found.push((name, value));
        body = rest;
    }
}
