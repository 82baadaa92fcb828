//! PostgreSQL: sessions between clients and servers.
//!
//! * [`login`](self) and dialing: who may come in, and how the proxy gets in.
//! * `client`: what a client sends, with statement names and settings replaced by what the server connection has.
//! * `server`: what the server answers, matched against a queue of what was asked, so that answers to the proxy's own
//!   messages never reach a client and every client gets the answers to its own.
//! * `probe`: after a text that may have changed the session's state, the server itself is asked what is true now.

mod client;
mod dial;
mod login;
mod probe;
mod server;
mod statements;
mod vars;

use crate::log;
use crate::protocol::{
    Abandon, Activity, ClientNext, DialError, Dialed, LoginContext, LoginStep, Output, PoolKey, Protocol, Refusal,
    ServerNext, Step,
};
use crate::reason::{ClientClose, Pin, PinReason};
use crate::settings::{Mode, Settings};
use crate::tls;
pub use login::Login;
use server::{Expect, Hidden};
use statements::{Statement, Statements};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};
use vars::{Interned, Vars};
use warmline_wire::auth::{postgres_md5, scram};
use warmline_wire::postgres::sql::Hints;
use warmline_wire::postgres::{self as wire, Severity};

/// How much of a statement's text a pin shows.
const DIGEST_BYTES: usize = 120;

/// The protocol with its settings.
pub struct Postgres {
    settings: Arc<Settings>,
    target_tls: Option<Arc<rustls::ClientConfig>>,
    verifiers: HashMap<String, scram::Verifier>,
    md5: HashMap<String, String>,
    /// Keys of users of whom only the verifier is known, learned when they log in.
    learned: RwLock<HashMap<String, scram::ClientKeys>>,
    /// Makes an unknown user's salt the same every time.
    mock_secret: [u8; 32],
    limit_asked: Mutex<Option<Instant>>,
}

/// What a pool's clients are told: the server's reported parameters at the start of a session.
#[derive(Clone, Debug, Default)]
pub struct Template {
    parameters: Vec<(Box<str>, Box<[u8]>)>,
}

impl Template {
    fn set(&mut self, name: &str, value: &[u8]) {
        match self.parameters.iter_mut().find(|(known, _)| known.eq_ignore_ascii_case(name)) {
            Some((_, kept)) => *kept = value.into(),
            None => self.parameters.push((name.into(), value.into())),
        }
    }

    fn get(&self, name: &str) -> Option<&[u8]> {
        self.parameters.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| &**value)
    }
}

/// Reported parameters that a client cannot set.
const FIXED: [&str; 6] = [
    "server_version",
    "server_encoding",
    "integer_datetimes",
    "is_superuser",
    "in_hot_standby",
    "session_authorization",
];

/// What the sessions of a reactor share.
#[derive(Default)]
pub struct Shared {
    statements: Statements,
    vars: Interned,
}

/// An authenticated client.
pub struct Client {
    /// The settings it has, in the server's words; what it was told of reported ones.
    vars: Arc<Vars>,
    /// The settings of its start-up packet: what `RESET` and `DISCARD ALL` go back to.
    base: Arc<Vars>,
    /// As the client sent them, until the server's words for them are known.
    said: Option<Arc<Vars>>,
    statements: Option<Box<HashMap<Box<[u8]>, Arc<Statement>>>>,
    unnamed: Option<Arc<Statement>>,
    pins: Vec<Pin>,
    /// What its statements since the last probe may have done.
    hints: Hints,
    /// Names of settings among these.
    touched: Vec<Box<str>>,
    /// The statement that raised the first of these hints.
    suspect: Box<str>,
    /// Bytes of its current message that are still to come, and whether they go to the server.
    skip: usize,
    skip_forwarded: bool,
    /// It was told an error: everything up to its Sync is dropped.
    discarding: bool,
    /// Extended-protocol messages came since the last Sync.
    asked: bool,
}

/// A server connection.
pub struct Server {
    number: u32,
    secret: Vec<u8>,
    /// Settings on top of its defaults.
    applied: Arc<Vars>,
    defaults: Arc<Template>,
    /// Statement numbers that are prepared on it, with the time of their last use.
    prepared: HashMap<u64, u64>,
    tick: u64,
    /// The number of the statement that is its unnamed one; 0 for none that is known.
    unnamed: u64,
    queue: VecDeque<Expect>,
    status: u8,
    /// An error in the extended protocol: the server drops everything up to the Sync.
    failed: bool,
    /// The server waits for COPY data.
    copy_in: bool,
    /// Extended-protocol messages were sent, and no Sync after them.
    batch_open: bool,
    /// Nothing of the client may follow before the answer to the proxy's own question is there.
    holding: bool,
    /// What the server said to the proxy's own question when it failed.
    hidden_error: Option<String>,
    /// `DISCARD ALL` ran in the batch that is being answered.
    discarded: bool,
    /// The server said that it ends the connection.
    fatal: bool,
    skip: usize,
    skip_shown: bool,
    rows: Vec<probe::Row>,
}

impl Client {
    fn new(values: BTreeMap<Box<str>, Box<[u8]>>) -> Self {
        // Interned by `welcome`, on the reactor.
        let vars = Interned::default().get(values);
        Self {
            base: Arc::clone(&vars),
            vars,
            said: None,
            statements: None,
            unnamed: None,
            pins: Vec::new(),
            hints: Hints::NONE,
            touched: Vec::new(),
            suspect: Box::default(),
            skip: 0,
            skip_forwarded: false,
            discarding: false,
            asked: false,
        }
    }

    fn pinned_by(&self, reason: PinReason) -> bool {
        self.pins.iter().any(|pin| pin.reason == reason)
    }

    /// Begin a pin, once a reason.
    fn pin(&mut self, reason: PinReason, statement: &str, settings: &Settings, out: &mut Output) {
        if self.pinned_by(reason) {
            return;
        }
        let pin = Pin { reason, statement: statement.into(), since_ms: log::wall_ms() };
        if settings.pin_notices {
            let text = format!("this session is pinned to its server connection: {}", reason.word());
            let hint = format!("Statement: {statement}. The pin ends with {}.", reason.ends_with());
            wire::notice(&mut out.to_client, "01000", &text, &hint);
        }
        self.pins.push(pin.clone());
        out.pinned.push(pin);
    }
}

impl Server {
    fn new() -> Self {
        Self {
            number: 0,
            secret: Vec::new(),
            applied: Arc::default(),
            defaults: Arc::default(),
            prepared: HashMap::new(),
            tick: 0,
            unnamed: 0,
            queue: VecDeque::new(),
            status: b'I',
            failed: false,
            copy_in: false,
            batch_open: false,
            holding: false,
            hidden_error: None,
            discarded: false,
            fatal: false,
            skip: 0,
            skip_shown: false,
            rows: Vec::new(),
        }
    }

    fn set_key(&mut self, body: &[u8]) {
        if let Some((number, secret)) = body.split_first_chunk::<4>() {
            self.number = u32::from_be_bytes(*number);
            self.secret = secret.to_vec();
        }
    }

    /// Send a statement of the proxy's own.
    fn ask(&mut self, sql: &[u8], hidden: Hidden, out: &mut Vec<u8>) {
        wire::query(out, sql);
        self.unnamed = 0; // a simple query ends the unnamed statement
        self.queue.push_back(Expect::Hidden(hidden));
    }
}

/// SQLSTATE and text of a refusal.
fn refusal_text(refusal: &Refusal) -> (&str, String) {
    match refusal {
        Refusal::BorrowTimeout { message, .. } => (
            "53300",
            format!(
                "BorrowTimeout: {message}. Raise max_connections_percent or remove the pins: warmline explain WL-P102"
            ),
        ),
        Refusal::Target(error) => {
            let code = if error.code.is_empty() { "08006" } else { &error.code };
            (code, error.message.clone())
        }
        Refusal::Draining => ("57P01", "the proxy is stopping: connect again".into()),
        Refusal::Killed => ("57P01", "terminating connection due to administrator command at the proxy".into()),
        Refusal::Cancelled => {
            ("57014", "canceling statement due to user request (it was still waiting for a server connection)".into())
        }
        Refusal::IdleInTransaction => {
            ("25P03", "terminating connection due to idle_in_transaction_timeout_s of the proxy".into())
        }
        Refusal::IdleTimeout => ("57P05", "terminating connection due to idle_client_timeout_s of the proxy".into()),
        Refusal::TooManyClients(text) => ("53300", format!("too many clients: {text} (warmline explain WL-P103)")),
    }
}

impl Postgres {
    fn verifier_of(&self, user: &str) -> Option<scram::Verifier> {
        self.verifiers.get(user).cloned()
    }

    fn mock_verifier(&self, user: &str) -> scram::Verifier {
        let salt = scram::keys(user.as_bytes(), &self.mock_secret, 1).client_key;
        scram::Verifier { salt: salt[..16].to_vec(), iterations: scram::ITERATIONS, stored_key: salt, server_key: salt }
    }

    fn md5_of(&self, user: &str) -> Option<String> {
        self.md5.get(user).cloned()
    }

    fn md5_at_target(&self, user: &str) -> Option<String> {
        let known = self.settings.user(user)?;
        match &known.target_password {
            Some(password) => Some(postgres_md5::stored(user.as_bytes(), password.as_bytes())),
            None => self.md5_of(user),
        }
    }

    fn learn_keys(&self, user: &str, keys: scram::ClientKeys) {
        let only_verifier = self.settings.user(user).is_some_and(|known| known.password.is_none());
        if only_verifier {
            self.learned.write().unwrap_or_else(PoisonError::into_inner).insert(user.into(), keys);
        }
    }

    fn keys_of(&self, user: &str) -> Option<scram::ClientKeys> {
        self.learned.read().unwrap_or_else(PoisonError::into_inner).get(user).cloned()
    }

    fn limit_is_old(&self, age: Duration) -> bool {
        let asked = self.limit_asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.is_none_or(|asked| asked.elapsed() >= age)
    }

    fn limit_asked(&self) {
        *self.limit_asked.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }
}

impl Protocol for Postgres {
    const NAME: &'static str = "postgres";
    const PORT: u16 = 5432;
    type Login = Login;
    type Client = Client;
    type Server = Server;
    type Template = Template;
    type Shared = Shared;
    type Interrupt = (u32, Vec<u8>);

    fn new(settings: Arc<Settings>) -> Result<Self, String> {
        use crate::settings::ClientAuth;
        if matches!(settings.auth, ClientAuth::Native | ClientAuth::CachingSha2 | ClientAuth::Ed25519) {
            return Err("auth: PostgreSQL knows scram, md5 and trust".into());
        }
        let mut verifiers = HashMap::new();
        let mut md5 = HashMap::new();
        for user in &settings.users {
            if let Some(password) = &user.password {
                let mut salt = [0; 16];
                getrandom::fill(&mut salt).map_err(|error| error.to_string())?;
                let verifier = scram::Verifier::new(password.as_bytes(), &salt, scram::ITERATIONS);
                verifiers.insert(user.name.clone(), verifier);
                md5.insert(user.name.clone(), postgres_md5::stored(user.name.as_bytes(), password.as_bytes()));
            } else if let Some(text) = &user.verifier {
                if let Some(verifier) = scram::Verifier::parse(text) {
                    verifiers.insert(user.name.clone(), verifier);
                } else if let Some(stored) = text.strip_prefix("md5").filter(|stored| stored.len() == 32) {
                    md5.insert(user.name.clone(), stored.into());
                } else {
                    return Err(format!("user {:?}: verifier is neither SCRAM-SHA-256$… nor md5…", user.name));
                }
            }
        }
        let mut mock_secret = [0; 32];
        getrandom::fill(&mut mock_secret).map_err(|error| error.to_string())?;
        Ok(Self {
            target_tls: tls::target(&settings.target_tls)?,
            settings,
            verifiers,
            md5,
            learned: RwLock::default(),
            mock_secret,
            limit_asked: Mutex::default(),
        })
    }

    fn first_pool(&self) -> Option<PoolKey> {
        let target = &self.settings.target;
        let database = if target.database.is_empty() { &target.user } else { &target.database };
        let known = !target.user.is_empty();
        known.then(|| PoolKey { user: target.user.as_str().into(), database: database.as_str().into(), class: 0 })
    }

    fn secret_matches(secret: u64, claimed: u64) -> bool {
        u64::from(secret as u32) == claimed
    }

    fn greet(&self, _: LoginContext, _: &mut Vec<u8>) -> Login {
        Login::new()
    }

    fn login(&self, login: &mut Login, context: LoginContext, input: &[u8], out: &mut Vec<u8>) -> LoginStep<Self> {
        self.login_step(login, context, input, out)
    }

    fn refuse_login(&self, login: &mut Login, refusal: &Refusal, out: &mut Vec<u8>) {
        Self::refuse_login_text(login, refusal, out);
    }

    fn dial(&self, key: &PoolKey, deadline: Instant) -> Result<Dialed<Self>, DialError> {
        self.dial_server(key, deadline)
    }

    fn interrupt_of(&self, server: &Server) -> (u32, Vec<u8>) {
        (server.number, server.secret.clone())
    }

    fn interrupt(&self, (number, secret): &(u32, Vec<u8>), deadline: Instant) {
        self.send_cancel(*number, secret, deadline);
    }

    fn welcome(
        &self,
        shared: &mut Shared,
        client: &mut Client,
        number: u32,
        secret: u64,
        template: &Arc<Template>,
        out: &mut Vec<u8>,
    ) {
        let said = shared.vars.get(client.vars.values.clone());
        client.vars = shared.vars.canonical(&said);
        client.base = Arc::clone(&client.vars);
        client.said = (!client.vars.accepted()).then_some(said);
        wire::authentication_ok(out);
        for (name, value) in &template.parameters {
            let own = client.vars.get(&name.to_ascii_lowercase()).filter(|_| !FIXED.contains(&&**name));
            wire::parameter_status(out, name.as_bytes(), own.unwrap_or(value));
        }
        wire::backend_key_data(out, number, secret as u32);
        wire::ready_for_query(out, b'I');
    }

    fn client_input(
        &self,
        shared: &mut Shared,
        client: &mut Client,
        server: Option<&mut Server>,
        input: &[u8],
        out: &mut Output,
    ) -> Step<ClientNext> {
        match server {
            Some(server) => self.attached_input(shared, client, server, input, out),
            None => self.free_input(client, input, out),
        }
    }

    fn attach(&self, shared: &mut Shared, client: &mut Client, server: &mut Server, out: &mut Output) {
        let _ = shared;
        self.bring_up(client, server, out);
    }

    fn server_input(
        &self,
        shared: &mut Shared,
        client: Option<&mut Client>,
        server: &mut Server,
        input: &[u8],
        out: &mut Output,
    ) -> Step<ServerNext> {
        self.answers(shared, client, server, input, out)
    }

    fn abandon(&self, shared: &mut Shared, client: &Client, server: &mut Server, out: &mut Output) -> Abandon {
        let _ = shared;
        let lasting = client.pinned_by(PinReason::LoadedLibrary) || client.pinned_by(PinReason::RandomSeed);
        let in_flight = server.queue.iter().any(|entry| !matches!(entry, Expect::Hidden(Hidden::Probe)));
        if in_flight || server.batch_open || server.copy_in || server.skip > 0 || client.skip > 0 || lasting {
            return Abandon::Close;
        }
        let dirty = !client.pins.is_empty() || !client.hints.is_empty() || self.settings.mode == Mode::Session;
        server.holding = false;
        if server.status != b'I' {
            server.ask(b"ROLLBACK", Hidden::Clean, &mut out.to_server);
        }
        if dirty {
            server.ask(b"DISCARD ALL", Hidden::Clean, &mut out.to_server);
            server.applied = Arc::default();
            server.prepared.clear();
        }
        if server.queue.is_empty() {
            Abandon::Clean
        } else {
            Abandon::Cleaning
        }
    }

    fn refuse(&self, client: &mut Client, refusal: &Refusal, pending: &[u8], out: &mut Vec<u8>) -> Step<ClientNext> {
        let (code, text) = refusal_text(refusal);
        let hint = match refusal {
            Refusal::BorrowTimeout { .. } => "",
            Refusal::Target(_) => "The target refused the proxy's own connection for this user and database.",
            _ => "",
        };
        let goes_on = matches!(refusal, Refusal::BorrowTimeout { .. } | Refusal::Cancelled);
        let head = wire::Head::read(pending).ok().flatten();
        let (Some(head), true) = (head, goes_on) else {
            wire::error(out, Severity::Fatal, code, &text, hint);
            return Step { consumed: 0, next: ClientNext::Close(ClientClose::BorrowTimeout) };
        };
        wire::error(out, Severity::Error, code, &text, hint);
        if matches!(head.kind, b'Q' | b'F') {
            wire::ready_for_query(out, b'I');
            let consumed = head.total.min(pending.len());
            client.skip = head.total - consumed;
            client.skip_forwarded = false;
            return Step { consumed, next: ClientNext::Wait };
        }
        client.discarding = true;
        Step { consumed: 0, next: ClientNext::Wait }
    }

    fn lost(&self, _: &mut Client, server: &Server, out: &mut Vec<u8>) {
        if server.fatal {
            return; // the server's own words are on their way already
        }
        let (code, text) = match &server.hidden_error {
            Some(text) => ("08006", format!("session settings could not be replayed: {text}")),
            None => ("08006", "the server connection was lost: the outcome of what was running is unknown".into()),
        };
        wire::error(out, Severity::Fatal, code, &text, "Connect again; warmline explain WL-P104.");
    }

    fn activity(&self, server: &Server) -> Activity {
        if !server.queue.is_empty() || server.copy_in || server.batch_open {
            Activity::Running
        } else if server.status == b'I' {
            Activity::Idle
        } else {
            Activity::InTransaction
        }
    }

    fn same_state(&self, client: &Client, server: &Server) -> bool {
        Arc::ptr_eq(&client.vars, &server.applied)
            || (client.vars.values.is_empty() && server.applied.values.is_empty())
    }

    fn pins<'a>(&self, client: &'a Client) -> &'a [Pin] {
        &client.pins
    }

    fn settings(&self) -> &Arc<Settings> {
        &self.settings
    }

    fn describe(&self, template: &Template) -> serde_json::Value {
        let parameters = template
            .parameters
            .iter()
            .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value).into_owned().into()));
        serde_json::Value::Object(parameters.collect())
    }

    fn server_number(&self, server: &Server) -> u64 {
        u64::from(server.number)
    }
}
