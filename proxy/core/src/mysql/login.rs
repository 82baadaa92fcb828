//! A client's login: greeting, TLS, proof.

use super::{Client, Mysql, ServerFacts};
use crate::protocol::{LoginContext, LoginNext, LoginStep, PoolKey};
use crate::reason::ClientClose;
use crate::settings::ClientAuth;
use std::sync::Arc;
use subtle::ConstantTimeEq;
use warmline_wire::auth::{caching_sha2, mariadb_ed25519, mysql_native};
use warmline_wire::mysql::capability::{self as cap, Capabilities};
use warmline_wire::mysql::{
    err, packet_at, put_packet, AuthSwitch, Greeting, Header, Login as Answer, Malformed, SslRequest,
};

/// The longest message of a login: names, proof and connection attributes (64 KB at most).
const MAX_MESSAGE: usize = 96 * 1024;

/// A client that is not authenticated yet.
pub struct Login {
    salt: [u8; 32],
    offered: Capabilities,
    plugin: &'static [u8],
    /// Set once the client has answered and been asked for another method.
    pending: Option<Pending>,
    /// The sequence number of the next message to the client.
    pub(super) sequence: u8,
    tls: bool,
}

struct Pending {
    user: String,
    database: String,
    capabilities: Capabilities,
    collation: u8,
    plugin: &'static [u8],
}

/// The secrets that a user's proofs are checked against.
#[derive(Clone)]
pub(crate) struct Account {
    native: mysql_native::Verifier,
    sha2: caching_sha2::Verifier,
    ed25519: [u8; 32],
    /// The password is empty: so is the proof.
    empty: bool,
}

impl Account {
    pub(crate) fn new(password: &str) -> Self {
        let password = password.as_bytes();
        Self {
            native: mysql_native::verifier(&mysql_native::secret(password)),
            sha2: caching_sha2::verifier(&caching_sha2::secret(password)),
            ed25519: mariadb_ed25519::public_key(password),
            empty: password.is_empty(),
        }
    }

    /// Whether *proof* is this account's by *plugin*; `mysql_clear_password` only within TLS.
    pub(crate) fn accepts(&self, plugin: &[u8], proof: &[u8], salt: &[u8; 32], password: &str, tls: bool) -> bool {
        if self.empty {
            return proof.is_empty() || proof == [0];
        }
        match plugin {
            mysql_native::NAME => mysql_native::verify(proof, &salt[..20], &self.native).is_some(),
            caching_sha2::NAME => caching_sha2::verify(proof, &salt[..20], &self.sha2).is_some(),
            mariadb_ed25519::NAME => mariadb_ed25519::verify(proof, salt, &self.ed25519),
            CLEAR if tls => proof.strip_suffix(&[0]).is_some_and(|given| given.ct_eq(password.as_bytes()).into()),
            _ => false,
        }
    }
}

/// The method that sends the password itself.
pub(crate) const CLEAR: &[u8] = b"mysql_clear_password";

/// A nonce without NUL and `$`, which some clients read as its end.
pub(crate) fn salt() -> [u8; 32] {
    let mut salt = [0; 32];
    getrandom::fill(&mut salt).expect("the operating system has random numbers");
    salt.map(|byte| match byte & 0x7f {
        0 | b'$' => b'a',
        other => other,
    })
}

/// The number by which clients know their connection: far from the server's own, so that KILL cannot mean both.
pub(crate) fn client_number(serial: u32) -> u32 {
    serial | 0x4000_0000
}

pub(super) fn greet(mysql: &Mysql, context: LoginContext, out: &mut Vec<u8>) -> Login {
    let facts = mysql.facts();
    let mut offered = cap::SUPPORTED & facts.capabilities & !cap::SSL;
    offered |=
        cap::PROTOCOL_41 | cap::SECURE_CONNECTION | cap::PLUGIN_AUTH | cap::PLUGIN_AUTH_LENENC | cap::CONNECT_WITH_DB;
    offered |= cap::CONNECT_ATTRS | cap::TRANSACTIONS | cap::SESSION_TRACK;
    if context.tls_available {
        offered |= cap::SSL;
    }
    let plugin = mysql.plugin(&facts);
    let salt = salt();
    let greeting = Greeting {
        version: facts.version.clone(),
        connection_id: client_number(context.serial),
        salt: salt[..20].try_into().expect("20 of 32 bytes"),
        capabilities: offered,
        collation: facts.collation,
        status: 2,
        // ed25519's nonce is longer than the greeting's: it takes a change of method
        plugin: if plugin == mariadb_ed25519::NAME { mysql_native::NAME } else { plugin }.to_vec(),
    };
    let mut payload = Vec::new();
    greeting.put(&mut payload);
    put_packet(out, 0, &payload);
    Login { salt, offered, plugin, pending: None, sequence: 1, tls: context.tls }
}

impl Mysql {
    /// The method that clients are asked for.
    pub(super) fn plugin(&self, facts: &ServerFacts) -> &'static [u8] {
        match self.settings.auth {
            ClientAuth::Native | ClientAuth::Trust => mysql_native::NAME,
            ClientAuth::CachingSha2 => caching_sha2::NAME,
            ClientAuth::Ed25519 => mariadb_ed25519::NAME,
            _ if facts.is_mariadb() => mysql_native::NAME,
            _ => caching_sha2::NAME,
        }
    }

    /// Whether a proof by *plugin* counts.
    fn allows(&self, plugin: &[u8]) -> bool {
        match self.settings.auth {
            ClientAuth::Native => plugin == mysql_native::NAME,
            ClientAuth::CachingSha2 => plugin == caching_sha2::NAME,
            ClientAuth::Ed25519 => plugin == mariadb_ed25519::NAME,
            _ => [mysql_native::NAME, caching_sha2::NAME, mariadb_ed25519::NAME, CLEAR].contains(&plugin),
        }
    }

    /// Whether *proof* logs *user* in.
    pub(super) fn accepts(&self, user: &str, plugin: &[u8], proof: &[u8], salt: &[u8; 32], tls: bool) -> bool {
        let Some(known) = self.settings.user(user) else { return false };
        if self.settings.auth == ClientAuth::Trust {
            return true;
        }
        let password = known.password.as_deref().unwrap_or_default();
        self.allows(plugin)
            && known.password.is_some()
            && self.accounts.get(user).is_some_and(|account| account.accepts(plugin, proof, salt, password, tls))
    }
}

pub(super) fn login(
    mysql: &Mysql,
    login: &mut Login,
    context: LoginContext,
    input: &[u8],
    out: &mut Vec<u8>,
) -> LoginStep<Mysql> {
    let Some(header) = Header::parse(input) else { return LoginStep { consumed: 0, next: LoginNext::Wait } };
    if header.length > MAX_MESSAGE || header.sequence != login.sequence {
        return LoginStep { consumed: 0, next: LoginNext::Close(ClientClose::ProtocolViolation) };
    }
    let Some(message) = packet_at(input) else { return LoginStep { consumed: 0, next: LoginNext::Wait } };
    login.sequence = header.sequence.wrapping_add(1);
    login.tls = context.tls;
    let next = step(mysql, login, context, message.payload, out).unwrap_or_else(|_: Malformed| {
        refuse(login, 1043, "08S01", "Bad handshake", out);
        LoginNext::Close(ClientClose::ProtocolViolation)
    });
    LoginStep { consumed: header.total(), next }
}

fn step(
    mysql: &Mysql,
    login: &mut Login,
    context: LoginContext,
    payload: &[u8],
    out: &mut Vec<u8>,
) -> Result<LoginNext<Mysql>, Malformed> {
    if let Some(pending) = login.pending.take() {
        return Ok(finish(mysql, login, pending, payload, context, out));
    }
    if !context.tls && context.tls_available && SslRequest::parse(payload).is_some() {
        return Ok(LoginNext::StartTls);
    }
    let answer = Answer::parse(payload)?;
    if mysql.settings.require_tls && !context.tls {
        refuse(login, 3159, "HY000", "This proxy requires TLS connections", out);
        return Ok(LoginNext::Close(ClientClose::TlsRefused));
    }
    let text =
        |bytes: &[u8]| String::from_utf8(bytes.to_vec()).map_err(|_| Malformed::Unexpected("name that is not UTF-8"));
    let given = answer.plugin.unwrap_or(login.plugin);
    let known = [mysql_native::NAME, caching_sha2::NAME, CLEAR].into_iter().find(|name| *name == given);
    let pending = Pending {
        user: text(answer.user)?,
        database: text(answer.database)?,
        capabilities: answer.capabilities & login.offered,
        collation: answer.collation,
        plugin: known.unwrap_or(login.plugin),
    };
    // A proof for the greeting's nonce is checked as it is; anything else takes a change of method.
    let empty = answer.proof.is_empty();
    if known.is_some()
        && mysql.allows(given)
        && (!empty || login.plugin == given)
        && mysql.accepts(&pending.user, given, answer.proof, &login.salt, context.tls)
    {
        return Ok(finish(mysql, login, pending, answer.proof, context, out));
    }
    let wrong_method = given != login.plugin || login.plugin == mariadb_ed25519::NAME;
    if wrong_method && pending.capabilities & cap::PLUGIN_AUTH != 0 {
        let length = if login.plugin == mariadb_ed25519::NAME { mariadb_ed25519::NONCE } else { 20 };
        let mut payload = Vec::new();
        AuthSwitch { plugin: login.plugin, data: &login.salt[..length] }.put(&mut payload);
        if login.plugin == mariadb_ed25519::NAME {
            payload.pop(); // this method's nonce has no NUL after it
        }
        login.sequence = put_packet(out, login.sequence, &payload);
        login.pending = Some(Pending { plugin: login.plugin, ..pending });
        return Ok(LoginNext::Wait);
    }
    Ok(finish(mysql, login, pending, answer.proof, context, out))
}

fn finish(
    mysql: &Mysql,
    login: &mut Login,
    pending: Pending,
    proof: &[u8],
    context: LoginContext,
    out: &mut Vec<u8>,
) -> LoginNext<Mysql> {
    if !mysql.accepts(&pending.user, pending.plugin, proof, &login.salt, context.tls) {
        let using = if proof.is_empty() { "NO" } else { "YES" };
        let message = format!("Access denied for user '{}'@'proxy' (using password: {using})", pending.user);
        refuse(login, 1045, "28000", &message, out);
        return LoginNext::Close(ClientClose::AuthFailed);
    }
    if pending.plugin == caching_sha2::NAME && !proof.is_empty() && proof != [0] {
        login.sequence = put_packet(out, login.sequence, &[caching_sha2::MORE, caching_sha2::FAST_OK]);
    }
    let class = (pending.capabilities & cap::BEHAVIOUR) | Capabilities::from(pending.collation) << 56;
    let key = PoolKey { user: Arc::from(pending.user.as_str()), database: Arc::from(pending.database.as_str()), class };
    let client = Client::new(pending.capabilities, &key, login.salt, login.sequence, context);
    LoginNext::Ready(Box::new(client), key)
}

/// Append an error to a client that is not logged in.
pub(super) fn refuse(login: &mut Login, code: u16, sql_state: &str, message: &str, out: &mut Vec<u8>) {
    login.sequence = put_packet(out, login.sequence, &err(code, sql_state, message));
}
