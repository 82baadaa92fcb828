//! MySQL and MariaDB: the protocol's half of the proxy.
//!
//! [`login`] lets clients in, [`dial`] opens server connections, [`client`] reads commands and sends them on, [`server`] follows
//! the answers. [`state`] is what follows a client from one server connection to another, [`scan`] finds in a statement's text
//! what servers do not report, [`pins`] keeps what cannot follow.

mod client;
mod dial;
mod login;
mod pins;
mod scan;
mod server;
mod state;
mod statements;

pub use client::Client;
pub use login::Login;
pub use server::Server;

use crate::protocol::{
    Abandon, Activity, ClientNext, DialError, Dialed, LoginContext, LoginStep, Output, PoolKey, Protocol, Refusal,
    ServerNext, Step,
};
use crate::reason::Pin;
use crate::settings::Settings;
use crate::tls;
use rustls::{ClientConfig, ClientConnection};
use std::collections::HashMap;
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Instant;
use warmline_wire::mysql::capability::{self as cap, Capabilities};
use warmline_wire::mysql::{put_packet, Status};

/// What the target says before a login.
#[derive(Debug, Clone)]
pub(crate) struct ServerFacts {
    version: Vec<u8>,
    capabilities: Capabilities,
    collation: u8,
}

type Facts = Arc<ServerFacts>;

impl ServerFacts {
    /// For clients that come while the target has never been reached; they are refused later in the login.
    fn unknown() -> Self {
        Self { version: b"8.0.0-warmline".to_vec(), capabilities: cap::SUPPORTED & 0xffff_ffff, collation: 45 }
    }

    fn is_mariadb(&self) -> bool {
        self.capabilities & cap::LONG_PASSWORD == 0
    }
}

/// The protocol for one target.
pub struct Mysql {
    settings: Arc<Settings>,
    accounts: HashMap<String, login::Account>,
    facts: Mutex<Option<Facts>>,
    target_tls: Option<Arc<ClientConfig>>,
}

/// What clients of a pool are told about the server, and what their session state starts from.
pub struct Template {
    version: String,
    max_connections: u32,
    /// `session_track_system_variables` as the server has it by default: what clients expect to be told.
    tracked: Vec<u8>,
    /// System variables that `COM_RESET_CONNECTION` leaves different from the login's.
    after_reset: Vec<(Box<[u8]>, Box<[u8]>)>,
}

/// What sessions on one reactor share.
#[derive(Default)]
pub struct Shared {
    statements: statements::Interned,
    /// Clients by the number that they know their connection by, for KILL.
    clients: HashMap<u32, Weak<AtomicU32>>,
}

/// A statement to interrupt.
pub struct Interrupt {
    user: Arc<str>,
    number: u32,
}

impl Mysql {
    fn known_facts(&self) -> Option<Facts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn learn(&self, facts: ServerFacts) -> Facts {
        let facts = Arc::new(facts);
        *self.facts.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&facts));
        facts
    }

    fn target_session(&self, config: &Arc<ClientConfig>) -> Result<ClientConnection, String> {
        let name = tls::server_name(&self.settings.target.host)?;
        ClientConnection::new(Arc::clone(config), name).map_err(|error| error.to_string())
    }
}

impl Protocol for Mysql {
    const NAME: &'static str = "mysql";
    const PORT: u16 = 3306;
    type Login = Login;
    type Client = Client;
    type Server = Server;
    type Template = Template;
    type Shared = Shared;
    type Interrupt = Interrupt;

    fn new(settings: Arc<Settings>) -> Result<Self, String> {
        let target_tls = tls::target(&settings.target_tls)?;
        let accounts = settings
            .users
            .iter()
            .filter_map(|user| Some((user.name.clone(), login::Account::new(user.password.as_deref()?))))
            .collect();
        Ok(Self { settings, accounts, facts: Mutex::new(None), target_tls })
    }

    fn first_pool(&self) -> Option<PoolKey> {
        let target = &self.settings.target;
        // Clients' pools differ by what they agree to; this one only tells the target's limit and version.
        let class = Capabilities::from(45_u8) << 56 | cap::DEPRECATE_EOF;
        let known = self.settings.user(&target.user).is_some();
        known.then(|| PoolKey { user: target.user.as_str().into(), database: target.database.as_str().into(), class })
    }

    fn secret_matches(_: u64, _: u64) -> bool {
        false // this protocol cancels with KILL QUERY, within a session
    }

    fn greet(&self, context: LoginContext, out: &mut Vec<u8>) -> Login {
        login::greet(self, context, out)
    }

    fn login(&self, login: &mut Login, context: LoginContext, input: &[u8], out: &mut Vec<u8>) -> LoginStep<Self> {
        login::login(self, login, context, input, out)
    }

    fn refuse_login(&self, login: &mut Login, refusal: &Refusal, out: &mut Vec<u8>) {
        let (code, state, message) = client::error_of(refusal);
        login::refuse(login, code, state, &message, out);
    }

    fn dial(&self, key: &PoolKey, deadline: Instant) -> Result<Dialed<Self>, DialError> {
        dial::dial(self, key, deadline)
    }

    fn interrupt_of(&self, server: &Server) -> Interrupt {
        Interrupt { user: Arc::clone(&server.user), number: server.number }
    }

    fn interrupt(&self, interrupt: &Interrupt, deadline: Instant) {
        dial::kill_query(self, &interrupt.user, interrupt.number, deadline);
    }

    fn welcome(
        &self,
        _: &mut Self::Shared,
        client: &mut Client,
        _: u32,
        _: u64,
        template: &Arc<Template>,
        out: &mut Vec<u8>,
    ) {
        client.welcome(template);
        let ok = warmline_wire::mysql::Ok::plain(Status(Status::AUTOCOMMIT));
        let mut payload = Vec::new();
        ok.put(&mut payload, client.session_track(), &[]);
        put_packet(out, client.login_sequence, &payload);
    }

    fn client_input(
        &self,
        shared: &mut Shared,
        client: &mut Client,
        server: Option<&mut Server>,
        input: &[u8],
        out: &mut Output,
    ) -> Step<ClientNext> {
        client::input(self, shared, client, server, input, out)
    }

    fn attach(&self, shared: &mut Shared, client: &mut Client, server: &mut Server, out: &mut Output) {
        server::attach(shared, client, server, out);
    }

    fn server_input(
        &self,
        _: &mut Shared,
        client: Option<&mut Client>,
        server: &mut Server,
        input: &[u8],
        out: &mut Output,
    ) -> Step<ServerNext> {
        server::input(&self.settings, client, server, input, out)
    }

    fn abandon(&self, _: &mut Shared, client: &Client, server: &mut Server, out: &mut Output) -> Abandon {
        server::abandon(client, server, out)
    }

    fn refuse(&self, client: &mut Client, refusal: &Refusal, pending: &[u8], out: &mut Vec<u8>) -> Step<ClientNext> {
        client::refuse(client, refusal, pending, out)
    }

    fn lost(&self, client: &mut Client, _: &Server, out: &mut Vec<u8>) {
        client::lost(client, out);
    }

    fn activity(&self, server: &Server) -> Activity {
        server.activity()
    }

    fn same_state(&self, client: &Client, server: &Server) -> bool {
        server.is_like(client)
    }

    fn pins<'a>(&self, client: &'a Client) -> &'a [Pin] {
        client.pins.list()
    }

    fn settings(&self) -> &Arc<Settings> {
        &self.settings
    }

    fn describe(&self, template: &Template) -> serde_json::Value {
        serde_json::json!({"version": template.version, "max_connections": template.max_connections})
    }

    fn server_number(&self, server: &Server) -> u64 {
        u64::from(server.number)
    }
}
