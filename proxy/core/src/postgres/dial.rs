//! The proxy logs in at the server: blocking, on a helper thread.

use super::{Postgres, Server, Template};
use crate::protocol::{DialError, DialErrorKind, Dialed, PoolKey};
use crate::settings::TlsMode;
use crate::tls;
use crate::transport::Blocking;
use base64::engine::general_purpose::STANDARD as BASE64;
use base64::Engine as _;
use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::{Duration, Instant};
use warmline_wire::auth::{postgres_md5, scram};
use warmline_wire::postgres::{self as wire, Head};

/// A server's message during login is never longer.
const MAX_MESSAGE_BYTES: usize = 64 * 1024;
/// The target's limit is asked again with the first connection after this.
const LIMIT_AGE: Duration = Duration::from_secs(60);

const LIMIT_QUERY: &[u8] = b"SELECT pg_catalog.current_setting('max_connections')::int \
    - pg_catalog.current_setting('superuser_reserved_connections')::int \
    - coalesce(pg_catalog.current_setting('reserved_connections', true), '0')::int";

fn unreachable(message: impl std::fmt::Display) -> DialError {
    DialError { kind: DialErrorKind::Unreachable, code: String::new(), message: message.to_string() }
}

fn refused(message: impl Into<String>) -> DialError {
    DialError { kind: DialErrorKind::Refused, code: String::new(), message: message.into() }
}

/// One message: its type and body.
fn read_message(connection: &mut Blocking) -> Result<(u8, Vec<u8>), DialError> {
    let mut head = [0; Head::BYTES];
    connection.read_exact(&mut head).map_err(unreachable)?;
    let head = Head::read(&head).ok().flatten().filter(|head| head.total <= MAX_MESSAGE_BYTES);
    let head = head.ok_or_else(|| unreachable("the target does not speak PostgreSQL's protocol"))?;
    let mut body = vec![0; head.total - Head::BYTES];
    connection.read_exact(&mut body).map_err(unreachable)?;
    Ok((head.kind, body))
}

/// What an `ErrorResponse` during login means for trying again.
fn server_error(body: &[u8]) -> DialError {
    let field = |letter| wire::error_field(body, letter).map(|value| String::from_utf8_lossy(value).into_owned());
    let code = field(b'C').unwrap_or_default();
    let kind = match code.as_str() {
        "53300" => DialErrorKind::Full,
        code if code.starts_with("28")
            || code.starts_with("3D")
            || code.starts_with("42")
            || code.starts_with("22") =>
        {
            DialErrorKind::Refused
        }
        _ => DialErrorKind::Unreachable,
    };
    DialError { kind, message: field(b'M').unwrap_or_default(), code }
}

impl Postgres {
    /// A TCP connection to the target, encrypted as the settings ask.
    pub(super) fn connect(&self, deadline: Instant) -> Result<Blocking, DialError> {
        let target = &self.settings.target;
        let addresses = (target.host.as_str(), target.port).to_socket_addrs().map_err(unreachable)?;
        let mut last = unreachable(format!("{} has no address", target.host));
        for address in addresses {
            let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            match TcpStream::connect_timeout(&address, left) {
                Ok(socket) => {
                    let mut connection = Blocking::new(socket, deadline).map_err(unreachable)?;
                    self.encrypt(&mut connection)?;
                    return Ok(connection);
                }
                Err(error) => last = unreachable(format!("{address}: {error}")),
            }
        }
        Err(last)
    }

    fn encrypt(&self, connection: &mut Blocking) -> Result<(), DialError> {
        let Some(config) = &self.target_tls else { return Ok(()) };
        connection.write_all(&wire::SSL_REQUEST).map_err(unreachable)?;
        let mut answer = [0];
        connection.read_exact(&mut answer).map_err(unreachable)?;
        match answer[0] {
            b'S' => {
                let name = tls::server_name(&self.settings.target.host).map_err(refused)?;
                let session = rustls::ClientConnection::new(Arc::clone(config), name)
                    .map_err(|error| refused(error.to_string()))?;
                connection.start_tls(session).map_err(|error| refused(format!("TLS to the target failed: {error}")))
            }
            _ if self.settings.target_tls.mode == TlsMode::Prefer => Ok(()),
            _ => Err(refused("the target does not offer TLS, target_tls.mode asks for it")),
        }
    }

    pub(super) fn dial_server(&self, key: &PoolKey, deadline: Instant) -> Result<Dialed<Self>, DialError> {
        let mut connection = self.connect(deadline)?;
        let mut out = Vec::new();
        wire::startup_message(&mut out, &[("user", &key.user), ("database", &key.database)]);
        connection.write_all(&out).map_err(unreachable)?;
        self.authenticate(&mut connection, key)?;

        // What has to be asked or set goes out before the greeting is read: one round trip for all of it.
        let asks = self.limit_is_old(LIMIT_AGE);
        let mut out = Vec::new();
        let mut outstanding = 1;
        if asks {
            wire::query(&mut out, LIMIT_QUERY);
            outstanding += 1;
        }
        if !self.settings.init_query.is_empty() {
            wire::query(&mut out, self.settings.init_query.as_bytes());
            outstanding += 1;
        }
        if !out.is_empty() {
            connection.write_all(&out).map_err(unreachable)?;
        }
        let mut server = Server::new();
        let mut template = Template::default();
        let mut max_connections = None;
        while outstanding > 0 {
            let (kind, body) = read_message(&mut connection)?;
            match kind {
                b'S' => {
                    if let Some((name, rest)) = wire::cstr(&body) {
                        let value = wire::cstr(rest).map_or(&b""[..], |(value, _)| value);
                        template.set(&String::from_utf8_lossy(name), value);
                    }
                }
                b'K' => server.set_key(&body),
                b'D' if asks && max_connections.is_none() => {
                    let row = wire::data_row_text(&body).unwrap_or_default();
                    let text = row.first().copied().flatten().map(String::from_utf8_lossy);
                    max_connections = text.and_then(|text| text.parse().ok());
                }
                b'E' => {
                    let mut error = server_error(&body);
                    error.message = format!("on a new server connection: {}", error.message);
                    return Err(error);
                }
                b'Z' => outstanding -= 1,
                _ => {}
            }
        }
        if max_connections.is_some() {
            self.limit_asked();
        }
        server.defaults = Arc::new(template.clone());
        let stream = connection.into_stream().map_err(unreachable)?;
        Ok(Dialed { stream, server, template, max_connections })
    }

    fn authenticate(&self, connection: &mut Blocking, key: &PoolKey) -> Result<(), DialError> {
        let user = self
            .settings
            .user(&key.user)
            .ok_or_else(|| refused(format!("this proxy has no credentials for the role {:?}", key.user)))?;
        let password = user.target_password.as_ref().or(user.password.as_ref());
        let kept = self.keys_of(&key.user);
        let no_secret = || refused(format!("no password is known for user {:?}, only a verifier", key.user));
        let mut exchange = None;
        loop {
            let (kind, body) = read_message(connection)?;
            match kind {
                b'R' => {}
                b'E' => return Err(server_error(&body)),
                b'N' | b'v' => continue,
                _ => return Err(unreachable("unexpected message during the login at the target")),
            }
            let (code, data) = body.split_first_chunk::<4>().ok_or_else(|| unreachable("short message"))?;
            let mut out = Vec::new();
            match u32::from_be_bytes(*code) {
                0 => return Ok(()),
                3 => {
                    let password = password.ok_or_else(no_secret)?;
                    if connection.tls().is_none() {
                        return Err(refused("the target asks for the password in clear text, without TLS"));
                    }
                    wire::password(&mut out, &[password.as_bytes(), b"\0"].concat());
                }
                5 => {
                    let salt = data.try_into().map_err(|_| unreachable("bad salt"))?;
                    let stored = self.md5_at_target(&key.user).ok_or_else(no_secret)?;
                    wire::password(&mut out, format!("{}\0", postgres_md5::proof(&stored, salt)).as_bytes());
                }
                10 => {
                    if !data.split(|byte| *byte == 0).any(|name| name == b"SCRAM-SHA-256") {
                        return Err(refused("the target offers no SASL mechanism that this proxy knows"));
                    }
                    let mut nonce = [0; 18];
                    getrandom::fill(&mut nonce).map_err(|error| refused(error.to_string()))?;
                    let begun = scram::ClientExchange::new(BASE64.encode(nonce).as_bytes());
                    wire::sasl_initial_response(&mut out, &begun.first());
                    exchange = Some(begun);
                }
                11 => {
                    let exchange = exchange.as_mut().ok_or_else(|| unreachable("SASL out of order"))?;
                    let secret = match (password, &kept) {
                        (Some(password), _) => scram::Secret::Password(password.as_bytes()),
                        (None, Some(keys)) => scram::Secret::Keys(keys),
                        (None, None) => return Err(no_secret()),
                    };
                    let answer = exchange.answer(data, &secret).map_err(|_| unreachable("malformed SCRAM message"))?;
                    wire::password(&mut out, &answer);
                }
                12 => {
                    if !exchange.as_ref().is_some_and(|exchange| exchange.server_is_genuine(data)) {
                        return Err(refused("the target could not prove that it knows the password's verifier"));
                    }
                    continue;
                }
                other => return Err(refused(format!("the target asks for authentication method {other}"))),
            }
            connection.write_all(&out).map_err(unreachable)?;
        }
    }

    /// Cancel: a connection of its own that the server closes when it has sent the signal.
    pub(super) fn send_cancel(&self, number: u32, secret: &[u8], deadline: Instant) {
        let Ok(mut connection) = self.connect(deadline) else { return };
        let mut out = Vec::new();
        out.extend_from_slice(&(12 + secret.len() as u32).to_be_bytes());
        out.extend_from_slice(&wire::CANCEL_REQUEST.to_be_bytes());
        out.extend_from_slice(&number.to_be_bytes());
        out.extend_from_slice(secret);
        if connection.write_all(&out).is_ok() {
            let _ = connection.read(&mut [0; 16]);
        }
    }
}
