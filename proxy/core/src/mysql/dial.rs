//! Opening a server connection, and interrupting what one runs; blocking, on helper threads.

use super::state::{Baseline, TRACKERS};
use super::{Facts, Mysql, Server, ServerFacts, Template};
use crate::protocol::{DialError, DialErrorKind, Dialed, PoolKey};
use crate::settings::TlsMode;
use crate::transport::Blocking;
use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::Instant;
use warmline_wire::auth::{caching_sha2, mariadb_ed25519, mysql_native};
use warmline_wire::mysql::capability::{self as cap, Capabilities};
use warmline_wire::mysql::{
    names, packet, AuthSwitch, Cursor, Err as ErrorPacket, Greeting, Header, Login, SslRequest, Step, Tracker, HEADER,
};

/// A blocking connection that speaks whole packets.
pub(super) struct Channel {
    stream: Blocking,
    sequence: u8,
}

/// Errors that say "no connection slot left": too many connections, for all or for this user.
const FULL: [u16; 4] = [1040, 1203, 1226, 1129];
/// Errors of a server that is starting or stopping.
const GOING: [u16; 4] = [1053, 1077, 1079, 3169];

fn unreachable(error: &impl std::fmt::Display) -> DialError {
    DialError { kind: DialErrorKind::Unreachable, code: String::new(), message: error.to_string() }
}

fn refused(message: impl Into<String>) -> DialError {
    DialError { kind: DialErrorKind::Refused, code: String::new(), message: message.into() }
}

fn server_said(payload: &[u8]) -> DialError {
    let Ok(error) = ErrorPacket::parse(payload) else { return unreachable(&"the server sent no error code") };
    let kind = match error.code {
        code if FULL.contains(&code) => DialErrorKind::Full,
        code if GOING.contains(&code) => DialErrorKind::Unreachable,
        _ => DialErrorKind::Refused,
    };
    DialError { kind, code: error.code.to_string(), message: String::from_utf8_lossy(error.message).into_owned() }
}

impl Channel {
    fn send(&mut self, payload: &[u8]) -> Result<(), DialError> {
        self.stream
            .write_all(&packet(self.sequence, payload))
            .and_then(|()| self.stream.flush())
            .map_err(|error| unreachable(&error))
    }

    /// One message, of at most one packet; an ERR packet is an error.
    fn receive(&mut self) -> Result<Vec<u8>, DialError> {
        let mut header = [0; HEADER];
        self.stream.read_exact(&mut header).map_err(|error| unreachable(&error))?;
        let header = Header::parse(&header).expect("four bytes");
        if header.length == 0 || header.length > 1 << 20 {
            return Err(unreachable(&"not a MySQL server: a login message of impossible length"));
        }
        let mut payload = vec![0; header.length];
        self.stream.read_exact(&mut payload).map_err(|error| unreachable(&error))?;
        self.sequence = header.sequence.wrapping_add(1);
        if payload[0] == 0xff {
            return Err(server_said(&payload));
        }
        Ok(payload)
    }

    /// Run *sql*; the first row's columns, empty for NULL, or nothing without a row.
    fn query(&mut self, sql: &[u8], capabilities: Capabilities) -> Result<Vec<Vec<u8>>, DialError> {
        self.sequence = 0;
        let mut command = vec![names::QUERY];
        if capabilities & cap::QUERY_ATTRIBUTES != 0 {
            command.extend_from_slice(&[0, 1]);
        }
        command.extend_from_slice(sql);
        self.send(&command)?;
        let deprecate_eof = capabilities & cap::DEPRECATE_EOF != 0;
        let mut tracker = Tracker::new(names::QUERY, deprecate_eof, true).expect("a query has a response");
        let mut bytes = Vec::new();
        let mut consumed = 0;
        loop {
            let step = tracker.step(&bytes[consumed..]).map_err(|error| unreachable(&error))?;
            consumed += match step {
                Step::More => {
                    let mut chunk = [0; 4096];
                    let read = self.stream.read(&mut chunk).map_err(|error| unreachable(&error))?;
                    if read == 0 {
                        return Err(unreachable(&"the server closed the connection"));
                    }
                    bytes.extend_from_slice(&chunk[..read]);
                    continue;
                }
                Step::Err { length } => return Err(server_said(&bytes[consumed + HEADER..consumed + length])),
                Step::Pass(length)
                | Step::Ok { length, .. }
                | Step::Eof { length, .. }
                | Step::Prepared { length, .. }
                | Step::LocalInfile { length } => length,
            };
            if tracker.is_done() {
                return Ok(first_row(&bytes, deprecate_eof));
            }
        }
    }
}

/// The first row of a whole response.
pub(super) fn first_row(bytes: &[u8], deprecate_eof: bool) -> Vec<Vec<u8>> {
    let mut packets = Vec::new();
    let mut rest = bytes;
    while let Some(one) = warmline_wire::mysql::packet_at(rest) {
        packets.push(one.payload);
        rest = &rest[one.header.total()..];
    }
    let columns = packets.first().map_or(0, |first| usize::from(first[0]));
    let at = 1 + columns + usize::from(!deprecate_eof);
    let Some(row) = packets.get(at).filter(|_| columns > 0 && at + 1 < packets.len()) else { return Vec::new() };
    let mut cursor = Cursor::new(row);
    (0..columns)
        .map(|_| {
            if cursor.rest().first() == Some(&0xfb) {
                let _ = cursor.u8();
                return Vec::new();
            }
            cursor.lenenc_bytes().unwrap_or_default().to_vec()
        })
        .collect()
}

fn connect(mysql: &Mysql, deadline: Instant) -> Result<Blocking, DialError> {
    let target = &mysql.settings.target;
    let addresses = (target.host.as_str(), target.port).to_socket_addrs().map_err(|error| unreachable(&error))?;
    let mut last = unreachable(&"the host name has no address");
    for address in addresses {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(unreachable(&"timed out"));
        }
        match TcpStream::connect_timeout(&address, left).and_then(|socket| Blocking::new(socket, deadline)) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = unreachable(&error),
        }
    }
    Err(last)
}

/// Read the server's greeting and hang up: what clients are told before any server connection exists.
pub(super) fn probe(mysql: &Mysql, deadline: Instant) -> Result<ServerFacts, DialError> {
    let mut channel = Channel { stream: connect(mysql, deadline)?, sequence: 0 };
    let greeting = Greeting::parse(&channel.receive()?).map_err(|error| unreachable(&error))?;
    Ok(ServerFacts { version: greeting.version, capabilities: greeting.capabilities, collation: greeting.collation })
}

/// What a logged-in connection is made of.
pub(super) struct Opened {
    pub(super) channel: Channel,
    pub(super) greeting: Greeting,
    pub(super) capabilities: Capabilities,
}

/// Connect and log in. *class* holds the capabilities that the clients agreed to, and their collation.
pub(super) fn open(
    mysql: &Mysql,
    user: &str,
    database: &str,
    class: u64,
    deadline: Instant,
) -> Result<Opened, DialError> {
    let mut channel = Channel { stream: connect(mysql, deadline)?, sequence: 0 };
    let greeting = Greeting::parse(&channel.receive()?).map_err(|error| unreachable(&error))?;
    let known = mysql.settings.user(user);
    let password =
        known.and_then(|user| user.target_password.clone().or_else(|| user.password.clone())).unwrap_or_default();
    let collation = (class >> 56) as u8;
    let mut capabilities = class & cap::BEHAVIOUR & greeting.capabilities;
    capabilities |= (cap::LONG_PASSWORD
        | cap::PROTOCOL_41
        | cap::SECURE_CONNECTION
        | cap::TRANSACTIONS
        | cap::PLUGIN_AUTH
        | cap::SESSION_TRACK)
        & (greeting.capabilities | cap::PROTOCOL_41);
    if !database.is_empty() {
        capabilities |= cap::CONNECT_WITH_DB;
    }
    let wanted = mysql.settings.target_tls.mode;
    let offered = greeting.capabilities & cap::SSL != 0;
    if offered && wanted != TlsMode::Disable {
        if let Some(config) = &mysql.target_tls {
            capabilities |= cap::SSL;
            let mut request = Vec::new();
            SslRequest { capabilities, collation }.put(&mut request);
            channel.send(&request)?;
            channel.sequence = channel.sequence.wrapping_add(1);
            let session = mysql.target_session(config).map_err(refused)?;
            channel.stream.start_tls(session).map_err(|error| unreachable(&error))?;
        }
    } else if !matches!(wanted, TlsMode::Disable | TlsMode::Prefer) {
        return Err(refused("the target does not offer TLS, which target_tls.mode asks for"));
    }
    let tls = capabilities & cap::SSL != 0;
    let plugin = greeting.plugin.clone();
    let first = first_proof(&plugin, password.as_bytes(), &greeting.salt, tls);
    let mut answer = Vec::new();
    let (proof, name) = first.as_deref().map_or((&[][..], mysql_native::NAME), |proof| (proof, &plugin[..]));
    Login {
        capabilities,
        collation,
        user: user.as_bytes(),
        proof,
        database: database.as_bytes(),
        plugin: Some(name),
        attributes: &[],
    }
    .put(&mut answer);
    channel.send(&answer)?;
    prove(&mut channel, &plugin, password.as_bytes(), &greeting.salt, tls)?;
    Ok(Opened { channel, greeting, capabilities })
}

/// The first proof for *plugin*; `None` for a method that is not known, `mysql_clear_password` only within TLS.
fn first_proof(plugin: &[u8], password: &[u8], salt: &[u8], tls: bool) -> Option<Vec<u8>> {
    let salt20 = &salt[..salt.len().min(20)];
    match plugin {
        _ if password.is_empty() => Some(Vec::new()),
        mysql_native::NAME => Some(mysql_native::proof(&mysql_native::secret(password), salt20).to_vec()),
        caching_sha2::NAME => Some(caching_sha2::proof(&caching_sha2::secret(password), salt20).to_vec()),
        mariadb_ed25519::NAME => Some(mariadb_ed25519::sign(password, salt).to_vec()),
        super::login::CLEAR if tls => Some([password, &[0]].concat()),
        _ => None,
    }
}

/// Answer the server until it says OK.
fn prove(channel: &mut Channel, plugin: &[u8], password: &[u8], salt: &[u8], tls: bool) -> Result<(), DialError> {
    let mut plugin = plugin.to_vec();
    let mut salt = salt.to_vec();
    // Each round changes the method or ends; a server that goes on for ever is cut here and by the deadline.
    for _ in 0..8 {
        let payload = channel.receive()?;
        match *payload {
            [0x00, ..] => return Ok(()),
            [0xfe, ..] => {
                let switch = AuthSwitch::parse(&payload).map_err(|error| refused(error.to_string()))?;
                plugin = switch.plugin.to_vec();
                salt = switch.data.to_vec();
                let proof = first_proof(&plugin, password, &salt, tls).ok_or_else(|| {
                    refused(format!(
                        "the target asks for {}, which the proxy cannot answer{}",
                        String::from_utf8_lossy(&plugin),
                        if tls { "" } else { " without TLS" }
                    ))
                })?;
                channel.send(&proof)?;
            }
            [caching_sha2::MORE, caching_sha2::FAST_OK] => {}
            [caching_sha2::MORE, caching_sha2::FULL] if tls => channel.send(&[password, &[0]].concat())?,
            [caching_sha2::MORE, caching_sha2::FULL] => channel.send(&[caching_sha2::WANT_KEY])?,
            [caching_sha2::MORE, ref key @ ..] if plugin == caching_sha2::NAME => {
                let secret = caching_sha2::encrypt(password, &salt[..salt.len().min(20)], key)
                    .map_err(|_| refused("the target's RSA key is not one"))?;
                channel.send(&secret)?;
            }
            _ => return Err(refused("the target asks for a method of login that the proxy does not know")),
        }
    }
    Err(refused("the target does not come to an end with the login"))
}

pub(super) fn dial(mysql: &Mysql, key: &PoolKey, deadline: Instant) -> Result<Dialed<Mysql>, DialError> {
    let Opened { mut channel, greeting, capabilities } = open(mysql, &key.user, &key.database, key.class, deadline)?;
    let row = channel.query(
        b"SELECT @@character_set_client,@@character_set_results,@@collation_connection,@@max_connections,\
          @@session_track_system_variables,@@global.character_set_client,@@global.character_set_results,\
          @@global.collation_connection",
        capabilities,
    )?;
    let [client, results, collation, limit, tracked, global_client, global_results, global_collation] = &row[..] else {
        return Err(refused("the target does not answer like a MySQL server"));
    };
    let mut charset = Vec::new();
    for (name, value) in
        [("character_set_client", client), ("character_set_results", results), ("collation_connection", collation)]
    {
        if !charset.is_empty() {
            charset.push(b',');
        }
        charset.extend_from_slice(name.as_bytes());
        charset.push(b'=');
        charset.extend_from_slice(if value.is_empty() { b"NULL" } else { value });
    }
    // MySQL's reset takes the server's character set in place of the login's; MariaDB's keeps the login's.
    let after_reset = [
        (&b"character_set_client"[..], global_client, client),
        (b"character_set_results", global_results, results),
        (b"collation_connection", global_collation, collation),
    ]
    .into_iter()
    .filter(|(_, global, login)| global != login)
    .map(|(name, global, _)| (name.into(), global.as_slice().into()))
    .collect();
    channel.query(&[b"SET ", TRACKERS].concat(), capabilities)?;
    if !mysql.settings.init_query.is_empty() {
        channel.query(mysql.settings.init_query.as_bytes(), capabilities)?;
    }
    let facts = ServerFacts {
        version: greeting.version.clone(),
        capabilities: greeting.capabilities,
        collation: greeting.collation,
    };
    let facts = mysql.learn(facts);
    let template = Template {
        version: String::from_utf8_lossy(&greeting.version).into_owned(),
        max_connections: std::str::from_utf8(limit).ok().and_then(|text| text.parse().ok()).unwrap_or(151),
        tracked: tracked.clone(),
        after_reset: if facts.is_mariadb() { Vec::new() } else { after_reset },
    };
    let server =
        Server::new(greeting.connection_id, capabilities, Arc::new(Baseline { charset }), key, &mysql.settings);
    let stream = channel.stream.into_stream().map_err(|error| unreachable(&error))?;
    let max_connections = Some(template.max_connections);
    Ok(Dialed { stream, server, template, max_connections })
}

/// Kill what connection *number* of *user* runs. Returns when the server has answered.
pub(super) fn kill_query(mysql: &Mysql, user: &str, number: u32, deadline: Instant) {
    if let Ok(mut opened) = open(mysql, user, "", 0, deadline) {
        // An unknown number means that the connection is gone already: nothing left to interrupt.
        let _ = opened.channel.query(format!("KILL QUERY {number}").as_bytes(), opened.capabilities);
    }
}

impl Mysql {
    /// What the server says before anyone logs in; asked of it once.
    pub(super) fn facts(&self) -> Facts {
        if let Some(facts) = self.known_facts() {
            return facts;
        }
        let deadline =
            Instant::now() + std::time::Duration::from_secs_f64(self.settings.server_connect_timeout_s.min(2.0));
        match probe(self, deadline) {
            Ok(facts) => self.learn(facts),
            Err(_) => Arc::new(ServerFacts::unknown()),
        }
    }
}
