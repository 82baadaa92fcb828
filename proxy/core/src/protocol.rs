//! The one interface between the event loop and a protocol.
//!
//! The event loop ([`crate::reactor`]) owns sockets, buffers, pools, deadlines and statistics and knows no protocol. A
//! protocol knows bytes and session state and does no I/O: it is handed input, appends output, and says what must happen
//! next. The calls in the order of a connection's life:
//!
//! ```text
//! door thread      greet → login → login → … → LoginNext::Ready(client, pool key)
//! helper thread    dial (blocking): connect, TLS, authenticate, learn the template
//! reactor thread   welcome(client, template)
//!                  client_input → ClientNext::Borrow ─ the reactor finds or waits for a server connection
//!                  attach (replay session state) → client_input → bytes to the server, all in one write
//!                  server_input → bytes to the client → … → ServerNext::Return: the server connection is free and clean
//!                  detach
//! ```
//!
//! Invariants a protocol keeps:
//! * `Return` is answered only when nothing is outstanding on the server connection, it is outside a transaction, and no
//!   session state of the client is left on it that `attach` of the next client would not notice and undo.
//! * Every function consumes whole messages, or parts of one that it forwards as they come; what it does not consume is
//!   kept by the reactor and handed in again with more. It must consume or ask for something, never grow without bound:
//!   a message that has to be seen whole is bounded by `inspect_limit_bytes`, longer ones are streamed or refused.
//! * Input is hostile on the client side until and after login; nothing in it may panic or allocate by its own claim.

use crate::reason::{ClientClose, Pin, ServerClose};
use crate::settings::Settings;
use crate::transport::Stream;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What server connections are shared between: clients with equal keys may use the same ones.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PoolKey {
    /// The user, as the server knows it.
    pub user: Arc<str>,
    /// The database; empty where the client chose none (MySQL).
    pub database: Arc<str>,
    /// Protocol bits that server connections of one pool must have in common (for example MySQL's `FOUND_ROWS`).
    pub class: u64,
}

/// Output of one step; both buffers are reused, a protocol only appends.
#[derive(Debug, Default)]
pub struct Output {
    /// Bytes for the client.
    pub to_client: Vec<u8>,
    /// Bytes for the server; injected messages and the client's own go out in one write.
    pub to_server: Vec<u8>,
    /// Statements (or batches up to a Sync) that began in this step.
    pub requests: u32,
    /// Statements that were answered to their end in this step.
    pub responses: u32,
    /// Pins that began in this step, for the log and the metric.
    pub pinned: Vec<Pin>,
}

/// What must happen after a step of a login.
pub enum LoginNext<P: Protocol> {
    /// More input is needed.
    Wait,
    /// Flush the output, then start TLS as the server side; input that was not consumed belongs to the TLS handshake.
    StartTls,
    /// Authenticated. Output is flushed by the reactor, after `welcome`.
    Ready(Box<P::Client>, PoolKey),
    /// The connection carries a cancel request for the client with this number and secret, and nothing else.
    Cancel {
        /// The client's number, as `welcome` got it.
        client: u32,
        /// The secret that `welcome` got with it.
        secret: u64,
    },
    /// Flush the output and close.
    Close(ClientClose),
}

/// How much input a login step consumed, and what is next.
pub struct LoginStep<P: Protocol> {
    /// Bytes of the input that are done with.
    pub consumed: usize,
    /// What must happen next.
    pub next: LoginNext<P>,
}

/// Where a login comes from.
#[derive(Clone, Copy, Debug)]
pub struct LoginContext {
    /// The connection is encrypted.
    pub tls: bool,
    /// A certificate is configured, so TLS can be offered.
    pub tls_available: bool,
    /// A number unique among the connections of this process, for the greeting.
    pub serial: u32,
}

/// What must happen after client input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientNext {
    /// All that could be used was consumed; wait for more input.
    Wait,
    /// Nothing more can be consumed without a server connection.
    Borrow,
    /// A server connection is attached, but nothing more can be consumed until it has answered.
    Hold,
    /// Flush and close the client connection.
    Close(ClientClose),
}

/// What must happen after server input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerNext {
    /// The owner keeps the server connection; wait for more input.
    Wait,
    /// The same, and a client in `Hold` may go on.
    Resume,
    /// The owner is done: the server connection is free, outside a transaction and clean.
    Return,
    /// The server connection cannot be used any more; its owner is told with `lost`.
    Close(ServerClose),
}

/// How much input a step consumed, and what is next.
#[derive(Clone, Copy, Debug)]
pub struct Step<N> {
    /// Bytes of the input that are done with.
    pub consumed: usize,
    /// What must happen next.
    pub next: N,
}

/// Whether a server connection whose client is gone can be made clean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Abandon {
    /// The clean-up was appended to `to_server`; `server_input` without a client answers `Return` when it is done.
    Cleaning,
    /// It is free and clean already.
    Clean,
    /// It must be closed; a statement that is running is interrupted first.
    Close,
}

/// What a server connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    /// Nothing outstanding, outside a transaction.
    Idle,
    /// Nothing outstanding, inside a transaction.
    InTransaction,
    /// A statement is running, or its answer is under way.
    Running,
}

/// Why a client gets no server connection, with the numbers for its error message.
#[derive(Clone, Debug)]
pub enum Refusal {
    /// `connection_borrow_timeout_s` passed.
    BorrowTimeout {
        /// How long it waited.
        waited: Duration,
        /// The text for the client, with numbers and next step.
        message: String,
    },
    /// The target refused a connection for a reason that waiting does not change (password, database).
    Target(DialError),
    /// The proxy is shutting down.
    Draining,
    /// An administrator ended the client.
    Killed,
    /// The client cancelled its statement before a server connection was free for it.
    Cancelled,
    /// `idle_in_transaction_timeout_s` passed.
    IdleInTransaction,
    /// `idle_client_timeout_s` passed.
    IdleTimeout,
    /// The limit on clients is reached; the text says which.
    TooManyClients(String),
}

/// Why a server connection could not be opened.
#[derive(Clone, Debug)]
pub struct DialError {
    /// What kind, which decides whether to try again.
    pub kind: DialErrorKind,
    /// The server's own code (SQLSTATE or error number), empty when there is none.
    pub code: String,
    /// What happened, in the server's words where it spoke.
    pub message: String,
}

/// Kinds of dial errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DialErrorKind {
    /// Not reachable, reset, timed out, starting up or shutting down: tried again while clients wait.
    Unreachable,
    /// The server has no connection slot left: tried again while clients wait, and other pools give up idle connections.
    Full,
    /// User, password, database or TLS refused: waiting clients are told at once.
    Refused,
}

/// A server connection fresh from a helper thread.
pub struct Dialed<P: Protocol> {
    /// Its socket.
    pub stream: Stream,
    /// Its session.
    pub server: P::Server,
    /// What clients of its pool are told about the server.
    pub template: P::Template,
    /// The target's `max_connections` for ordinary users (reserved slots taken off), if it was asked.
    pub max_connections: Option<u32>,
}

/// One protocol; see the module's description for the order of calls.
pub trait Protocol: Sized + Send + Sync + 'static {
    /// `postgres` or `mysql`.
    const NAME: &'static str;
    /// The default port of a target.
    const PORT: u16;
    /// A client that is not authenticated yet.
    type Login: Send;
    /// An authenticated client's session; kept small, there may be ten thousand.
    type Client: Send;
    /// A server connection's session.
    type Server: Send;
    /// What clients of a pool are told about the server, learned from its first server connection.
    type Template: Send + Sync;
    /// What all sessions on one reactor share (caches of statements, interned settings); never locked.
    type Shared: Default + Send;
    /// What a helper thread needs to interrupt a running statement.
    type Interrupt: Send;

    /// The protocol for a target; reads certificates, derives verifiers. Called again for every reload.
    fn new(settings: Arc<Settings>) -> Result<Self, String>;

    /// The pool of the target URL's own user and database; one server connection for it is opened at start, which tells
    /// the target's limit and version.
    fn first_pool(&self) -> Option<PoolKey>;

    /// Whether the secret of a cancel request is the one that `welcome` got; a protocol may carry only a part of it.
    fn secret_matches(secret: u64, claimed: u64) -> bool;

    /// A client connected: append the greeting, if the protocol has one.
    fn greet(&self, context: LoginContext, out: &mut Vec<u8>) -> Self::Login;

    /// Input of a client that is not authenticated; on the door's thread, so hashing does not delay queries.
    fn login(&self, login: &mut Self::Login, context: LoginContext, input: &[u8], out: &mut Vec<u8>)
        -> LoginStep<Self>;

    /// An error for a client that is not logged in yet (limits, shutdown, timeouts).
    fn refuse_login(&self, login: &mut Self::Login, refusal: &Refusal, out: &mut Vec<u8>);

    /// Open one server connection; blocking, on a helper thread, finished by *deadline*.
    fn dial(&self, key: &PoolKey, deadline: Instant) -> Result<Dialed<Self>, DialError>;

    /// What `interrupt` needs for the statement now running on *server*.
    fn interrupt_of(&self, server: &Self::Server) -> Self::Interrupt;

    /// Interrupt a running statement; blocking, on a helper thread. Must return only when the server has taken it.
    fn interrupt(&self, interrupt: &Self::Interrupt, deadline: Instant);

    /// The client is authenticated and the pool's template known: append the end of the login's answer.
    ///
    /// *number* and *secret* identify the client in a later cancel request.
    fn welcome(
        &self,
        shared: &mut Self::Shared,
        client: &mut Self::Client,
        number: u32,
        secret: u64,
        template: &Arc<Self::Template>,
        out: &mut Vec<u8>,
    );

    /// Client input. *server* is the attached server connection, if there is one.
    fn client_input(
        &self,
        shared: &mut Self::Shared,
        client: &mut Self::Client,
        server: Option<&mut Self::Server>,
        input: &[u8],
        out: &mut Output,
    ) -> Step<ClientNext>;

    /// *server* was borrowed for *client*: append what makes its session state the client's.
    fn attach(&self, shared: &mut Self::Shared, client: &mut Self::Client, server: &mut Self::Server, out: &mut Output);

    /// Server input; *client* is the owner, or None while the connection is idle or being cleaned.
    fn server_input(
        &self,
        shared: &mut Self::Shared,
        client: Option<&mut Self::Client>,
        server: &mut Self::Server,
        input: &[u8],
        out: &mut Output,
    ) -> Step<ServerNext>;

    /// The client of *server* is gone, in whatever state.
    fn abandon(
        &self,
        shared: &mut Self::Shared,
        client: &Self::Client,
        server: &mut Self::Server,
        out: &mut Output,
    ) -> Abandon;

    /// Tell a client why it gets no server connection, or why it is closed.
    ///
    /// *pending* is its input that waits. Returns how much of it the error answers, and whether the client can go on
    /// (`Wait`) or must be closed.
    fn refuse(
        &self,
        client: &mut Self::Client,
        refusal: &Refusal,
        pending: &[u8],
        out: &mut Vec<u8>,
    ) -> Step<ClientNext>;

    /// The attached server connection was lost: append the error. The client is closed after it, because what the server
    /// did with its last statement or transaction is unknown.
    fn lost(&self, client: &mut Self::Client, server: &Self::Server, out: &mut Vec<u8>);

    /// What *server* is doing.
    fn activity(&self, server: &Self::Server) -> Activity;

    /// True when *server* already has the session state of *client*, so that `attach` has nothing to send.
    fn same_state(&self, client: &Self::Client, server: &Self::Server) -> bool;

    /// The client's pins; empty when it is multiplexed.
    fn pins<'a>(&self, client: &'a Self::Client) -> &'a [Pin];

    /// The settings it was made with.
    fn settings(&self) -> &Arc<Settings>;

    /// A pool's template as JSON for the admin socket (server version and the like).
    fn describe(&self, template: &Self::Template) -> serde_json::Value;

    /// The server's process or thread number, for the admin socket.
    fn server_number(&self, server: &Self::Server) -> u64;
}
