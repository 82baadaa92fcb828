//! The closed lists of reasons: one word each, the same in the log, the metric, the admin socket and the error.

use serde::Serialize;

/// Why a client connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClientClose {
    /// The client said goodbye.
    Terminated,
    /// The client's socket closed or failed without a goodbye.
    Vanished,
    /// It broke the protocol, or sent something that this proxy refuses for good.
    ProtocolViolation,
    /// Its password, certificate or user was refused.
    AuthFailed,
    /// TLS is required and it did not ask for it, or its TLS handshake failed.
    TlsRefused,
    /// It did not log in within `login_timeout_s`.
    LoginTimeout,
    /// Nothing was heard from it for `idle_client_timeout_s`.
    IdleTimeout,
    /// It sat inside a transaction for `idle_in_transaction_timeout_s`.
    IdleInTransaction,
    /// It waited `connection_borrow_timeout_s` for a server connection and its protocol cannot go on after that.
    BorrowTimeout,
    /// The server connection it held was lost.
    ServerLost,
    /// No server connection can be opened for it (refused by the target).
    TargetRefused,
    /// It does not read its answers and the buffer kept for it is full.
    TooSlow,
    /// A limit on clients was reached.
    TooManyClients,
    /// An administrator ended it.
    Killed,
    /// The proxy is stopping.
    Drained,
    /// It asked for a cancellation; such connections carry nothing else.
    CancelRequest,
}

/// Why a server connection was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ServerClose {
    /// Its socket closed or failed, or the server said it is going away.
    Lost,
    /// It is older than `server_lifetime_s`.
    Lifetime,
    /// Unused for `server_idle_timeout_s` beyond the share that may stay idle.
    Idle,
    /// Its session state could not be cleaned for the next client.
    Dirty,
    /// Its client vanished in the middle of a statement.
    Abandoned,
    /// Another pool has waiters and the target allows no more connections.
    Evicted,
    /// An administrator asked for new connections.
    Reconnect,
    /// The server broke the protocol.
    ProtocolViolation,
    /// The proxy is stopping.
    Drained,
    /// The target's role or address changed (failover).
    Failover,
}

/// What ties a client to its server connection beyond the end of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PinReason {
    /// A session-level advisory lock (PostgreSQL) or `GET_LOCK` (MySQL) is held.
    AdvisoryLock,
    /// A temporary table, view or sequence exists.
    TemporaryTable,
    /// The session listens for notifications.
    Listen,
    /// A cursor lives beyond its transaction (`WITH HOLD`, `HANDLER ... OPEN`, an open binary-protocol cursor).
    Cursor,
    /// A statement was prepared with SQL `PREPARE`.
    SqlPrepare,
    /// `currval` or `lastval` was used: the session's sequence values matter to it.
    SequenceValue,
    /// `SET SESSION AUTHORIZATION` or `SET ROLE` changed who the session is.
    SessionAuthorization,
    /// A setting was changed whose value the proxy cannot carry to another server connection.
    SessionVariable,
    /// A user variable (`@name`) was set.
    UserVariable,
    /// `LOCK TABLES` or `FLUSH TABLES WITH READ LOCK` is in force.
    TableLock,
    /// A library was loaded into the server session with `LOAD`.
    LoadedLibrary,
    /// The session's random seed was set.
    RandomSeed,
    /// A statement's text is longer than `inspect_limit_bytes`: what it did to the session is not known.
    LongStatement,
    /// The result of an earlier statement is still asked for (`FOUND_ROWS()`, `ROW_COUNT()`, `LAST_INSERT_ID()`, warnings).
    ResultState,
    /// Data for a prepared statement's parameters was sent ahead of its execution.
    LongData,
    /// Session mode: the client keeps its server connection until it leaves.
    SessionMode,
}

impl PinReason {
    /// The word used in logs, metrics and JSON.
    pub fn word(self) -> &'static str {
        match self {
            Self::AdvisoryLock => "advisory-lock",
            Self::TemporaryTable => "temporary-table",
            Self::Listen => "listen",
            Self::Cursor => "cursor",
            Self::SqlPrepare => "sql-prepare",
            Self::SequenceValue => "sequence-value",
            Self::SessionAuthorization => "session-authorization",
            Self::SessionVariable => "session-variable",
            Self::UserVariable => "user-variable",
            Self::TableLock => "table-lock",
            Self::LoadedLibrary => "loaded-library",
            Self::RandomSeed => "random-seed",
            Self::LongStatement => "long-statement",
            Self::ResultState => "result-state",
            Self::LongData => "long-data",
            Self::SessionMode => "session-mode",
        }
    }

    /// What ends a pin with this reason.
    pub fn ends_with(self) -> &'static str {
        match self {
            Self::AdvisoryLock => "releasing the lock",
            Self::TemporaryTable => "dropping the temporary table",
            Self::Listen => "UNLISTEN *",
            Self::Cursor => "closing the cursor",
            Self::SqlPrepare => "DEALLOCATE of the statement, or using the driver's own prepared statements",
            Self::SessionAuthorization => "RESET SESSION AUTHORIZATION or RESET ROLE",
            Self::SessionVariable => "setting the variable back, or resetting the session",
            Self::UserVariable => "resetting the session (COM_RESET_CONNECTION)",
            Self::TableLock => "UNLOCK TABLES",
            Self::ResultState => "the next statement that does not ask for it",
            Self::LongData => "executing or resetting the statement",
            Self::SequenceValue | Self::LoadedLibrary | Self::RandomSeed | Self::LongStatement => {
                "resetting the session (DISCARD ALL, COM_RESET_CONNECTION) or disconnecting"
            }
            Self::SessionMode => "disconnecting",
        }
    }
}

/// One cause of a pin: the rule, the statement it was seen in, and when.
#[derive(Clone, Debug)]
pub struct Pin {
    /// The rule that applies.
    pub reason: PinReason,
    /// The statement that caused it, shortened and with its literals replaced by `?`.
    pub statement: Box<str>,
    /// When it began, milliseconds since the epoch.
    pub since_ms: u64,
}
