//! Settings: one TOML file, RDS Proxy's names in `snake_case` with their units, RDS Proxy's ranges and defaults.
//!
//! The file's reference, with every range, is docs/reference/proxy-settings.md.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Everything the proxy can be told. `Debug` and the admin socket's JSON show no secret.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The one target: `postgresql://user:password@host:port/database` or `mysql://…` (`mariadb://…`).
    pub target: TargetUrl,
    /// Where clients connect: `host:port`.
    pub listen: String,
    /// Path of the admin socket (JSON lines); empty: none.
    pub admin_socket: String,
    /// `host:port` for `/metrics`, `/healthz` and `/readyz`; empty: none.
    pub http_listen: String,
    /// Which clients share server connections, and for how long one holds one.
    pub mode: Mode,

    /// `MaxConnectionsPercent`: the share of the target's `max_connections` that may be used, 1..=100.
    pub max_connections_percent: u32,
    /// `MaxIdleConnectionsPercent`: the share that may stay open unused, 0..=`max_connections_percent`; half of that one when absent.
    pub max_idle_connections_percent: Option<u32>,
    /// A fixed number of server connections instead of a percentage; 0: use the percentage.
    pub max_server_connections: u32,
    /// `ConnectionBorrowTimeout`, 0..=300 seconds.
    pub connection_borrow_timeout_s: f64,
    /// `IdleClientTimeout`, 1..=28800 seconds.
    pub idle_client_timeout_s: f64,
    /// `InitQuery`: run on every new server connection.
    pub init_query: String,
    /// `SessionPinningFilters`: only `EXCLUDE_VARIABLE_SETS` is known.
    pub session_pinning_filters: Vec<PinningFilter>,
    /// `RequireTLS`: refuse clients without TLS.
    pub require_tls: bool,

    /// A server connection older than this is closed when it is next free (with up to 10 % jitter), seconds.
    pub server_lifetime_s: f64,
    /// A server connection unused for this long counts as idle (RDS Proxy: 5 minutes), seconds.
    pub server_idle_timeout_s: f64,
    /// Time for opening one server connection, seconds.
    pub server_connect_timeout_s: f64,
    /// How many server connections are opened at the same time.
    pub max_concurrent_connects: u32,
    /// Server connections per user, at most; 0: no limit of its own.
    pub max_connections_per_user: u32,
    /// Server connections per database, at most; 0: no limit of its own.
    pub max_connections_per_database: u32,

    /// Client connections, at most.
    pub max_client_connections: u32,
    /// Client connections per user, at most; 0: no limit of its own.
    pub max_client_connections_per_user: u32,
    /// Time for a client's login including TLS, seconds.
    pub login_timeout_s: f64,
    /// Logins in progress at the same time, at most; later ones queue in the listen backlog.
    pub max_concurrent_logins: u32,
    /// A statement that runs longer is cancelled; 0: never. Seconds.
    pub query_timeout_s: f64,
    /// A client that sits in a transaction longer is disconnected and its transaction rolled back; 0: never. Seconds.
    pub idle_in_transaction_timeout_s: f64,
    /// Unacknowledged data to a client for this long means it is gone (frozen functions never say so), seconds.
    pub client_unacknowledged_timeout_s: f64,
    /// Answers kept in memory for a client that does not read them; then its server connection is read no further. Bytes.
    pub client_buffer_bytes: usize,
    /// Statements longer than this are not inspected; they pin. Bytes.
    pub inspect_limit_bytes: usize,
    /// Prepared statements kept on one server connection, at most; least recently used ones are closed.
    pub max_prepared_statements: usize,
    /// Send each client a notice when it is pinned, with the reason and what ends it.
    pub pin_notices: bool,
    /// How long to let transactions finish on SIGTERM, seconds.
    pub drain_timeout_s: f64,

    /// How clients prove who they are.
    pub auth: ClientAuth,
    /// The users that may log in; the target URL's user is one of them unless it is listed here itself.
    pub users: Vec<User>,
    /// TLS towards clients.
    pub tls: ListenTls,
    /// TLS towards the target.
    pub target_tls: TargetTls,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            target: TargetUrl::default(),
            listen: "127.0.0.1:6033".into(),
            admin_socket: String::new(),
            http_listen: String::new(),
            mode: Mode::Transaction,
            max_connections_percent: 100,
            max_idle_connections_percent: None,
            max_server_connections: 0,
            connection_borrow_timeout_s: 120.0,
            idle_client_timeout_s: 1800.0,
            init_query: String::new(),
            session_pinning_filters: Vec::new(),
            require_tls: false,
            server_lifetime_s: 86_400.0,
            server_idle_timeout_s: 300.0,
            server_connect_timeout_s: 10.0,
            max_concurrent_connects: 8,
            max_connections_per_user: 0,
            max_connections_per_database: 0,
            max_client_connections: 10_000,
            max_client_connections_per_user: 0,
            login_timeout_s: 10.0,
            max_concurrent_logins: 256,
            query_timeout_s: 0.0,
            idle_in_transaction_timeout_s: 0.0,
            client_unacknowledged_timeout_s: 30.0,
            client_buffer_bytes: 262_144,
            inspect_limit_bytes: 262_144,
            max_prepared_statements: 200,
            pin_notices: false,
            drain_timeout_s: 30.0,
            auth: ClientAuth::default(),
            users: Vec::new(),
            tls: ListenTls::default(),
            target_tls: TargetTls::default(),
        }
    }
}

/// How long a client holds a server connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// For a transaction.
    Transaction,
    /// Until it leaves.
    Session,
}

/// `SessionPinningFilters`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum PinningFilter {
    /// Variables that cannot follow a client do not pin it.
    ExcludeVariableSets,
}

/// How clients prove who they are. What the protocol does not know is refused by `check`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClientAuth {
    /// The protocol's best: SCRAM-SHA-256 (PostgreSQL), `caching_sha2_password` or `mysql_native_password` as the client can.
    #[default]
    Default,
    /// SCRAM-SHA-256 only.
    Scram,
    /// PostgreSQL's md5.
    Md5,
    /// `mysql_native_password` only.
    Native,
    /// `caching_sha2_password` only.
    CachingSha2,
    /// MariaDB's ed25519.
    Ed25519,
    /// Nobody is asked for a password: only for networks in which everyone may be everyone.
    Trust,
}

/// A user that may log in, and how the proxy logs in for it.
#[derive(Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct User {
    /// The name, on both sides.
    pub name: String,
    /// The password, for both sides.
    #[serde(skip_serializing)]
    pub password: Option<String>,
    /// A verifier for the client's side instead of the password: `SCRAM-SHA-256$…` or `md5…`, as the server stores it.
    #[serde(skip_serializing)]
    pub verifier: Option<String>,
    /// What the proxy logs in with at the target where that differs from *password* (IAM tokens, rotated secrets).
    #[serde(skip_serializing)]
    pub target_password: Option<String>,
    /// Server connections for this user, at most; 0: no limit of its own.
    pub max_connections: u32,
}

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("User").field("name", &self.name).finish_non_exhaustive()
    }
}

/// TLS towards clients: offered when a certificate is given.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct ListenTls {
    /// Certificate chain, a PEM file.
    pub certificate: String,
    /// Private key, a PEM file.
    pub key: String,
    /// Authorities for client certificates, a PEM file; empty: none are asked for.
    pub client_ca: String,
}

/// TLS towards the target.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct TargetTls {
    /// How much is asked of the target.
    pub mode: TlsMode,
    /// Authorities, a PEM file.
    pub ca: String,
    /// Client certificate chain and key, PEM files.
    pub certificate: String,
    /// Private key of the client certificate.
    pub key: String,
}

/// libpq's words for how much is asked of a TLS server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum TlsMode {
    /// Never.
    Disable,
    /// If the target offers it, unverified.
    #[default]
    Prefer,
    /// Always, unverified.
    Require,
    /// Always, with a certificate of a known authority.
    VerifyCa,
    /// Always, with a certificate of a known authority for this host name.
    VerifyFull,
}

/// Where the target is and who the proxy is there by default.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct TargetUrl {
    /// `postgres` or `mysql`.
    pub protocol: String,
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Default user.
    pub user: String,
    /// Its password.
    pub password: String,
    /// Default database.
    pub database: String,
}

impl TargetUrl {
    /// Read `scheme://user:password@host:port/database`, percent-encoded where needed.
    pub fn parse(url: &str) -> Result<Self, String> {
        let (scheme, rest) =
            url.split_once("://").ok_or("a target is a URL: postgresql://user:password@host:port/database")?;
        let (protocol, default_port) = match scheme {
            "postgres" | "postgresql" => ("postgres", 5432),
            "mysql" | "mariadb" => ("mysql", 3306),
            other => return Err(format!("unknown scheme {other:?}: postgresql, mysql or mariadb")),
        };
        let rest = rest.split('?').next().unwrap_or_default();
        let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
        let (credentials, address) = authority.rsplit_once('@').unwrap_or(("", authority));
        let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
        let (host, port) = match address.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => {
                (host, port.parse().map_err(|_| format!("not a port: {port:?}"))?)
            }
            _ => (address, default_port),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        Ok(Self {
            protocol: protocol.into(),
            host: if host.is_empty() { "127.0.0.1".into() } else { host.into() },
            port,
            user: decode(user)?,
            password: decode(password)?,
            database: decode(database)?,
        })
    }
}

fn decode(text: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let code = rest.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        bytes.push(
            code.and_then(|hex| u8::from_str_radix(hex, 16).ok())
                .ok_or("a % in the URL is not followed by two hex digits")?,
        );
        rest = &rest[2..];
    }
    String::from_utf8(bytes).map_err(|_| "the URL's percent-encoding is not UTF-8".into())
}

impl fmt::Display for TargetUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}@{}:{}/{}", self.protocol, self.user, self.host, self.port, self.database)
    }
}

impl fmt::Debug for TargetUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl<'de> Deserialize<'de> for TargetUrl {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

impl Serialize for TargetUrl {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Settings {
    /// Read and check a settings file's text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut settings: Self = toml::from_str(text).map_err(|error| error.to_string())?;
        settings.complete();
        settings.check()?;
        Ok(settings)
    }

    /// Make the target URL's user one of the users.
    pub fn complete(&mut self) {
        let target = &self.target;
        if !target.user.is_empty() && !self.users.iter().any(|user| user.name == target.user) {
            self.users.push(User {
                name: target.user.clone(),
                password: Some(target.password.clone()),
                ..User::default()
            });
        }
    }

    /// Check every range.
    pub fn check(&self) -> Result<(), String> {
        let within = |name: &str, value: f64, low: f64, high: f64| {
            if (low..=high).contains(&value) {
                Ok(())
            } else {
                Err(format!("{name} = {value}: must be {low} to {high}"))
            }
        };
        if self.target.host.is_empty() {
            return Err("target is missing: target = \"postgresql://user:password@host:port/database\"".into());
        }
        within("max_connections_percent", f64::from(self.max_connections_percent), 1.0, 100.0)?;
        if let Some(idle) = self.max_idle_connections_percent {
            within("max_idle_connections_percent", f64::from(idle), 0.0, f64::from(self.max_connections_percent))?;
        }
        within("connection_borrow_timeout_s", self.connection_borrow_timeout_s, 0.0, 300.0)?;
        within("idle_client_timeout_s", self.idle_client_timeout_s, 1.0, 28_800.0)?;
        within("server_lifetime_s", self.server_lifetime_s, 1.0, 604_800.0)?;
        within("server_idle_timeout_s", self.server_idle_timeout_s, 0.0, 604_800.0)?;
        within("server_connect_timeout_s", self.server_connect_timeout_s, 0.1, 300.0)?;
        within("max_concurrent_connects", f64::from(self.max_concurrent_connects), 1.0, 256.0)?;
        within("max_client_connections", f64::from(self.max_client_connections), 1.0, 1_000_000.0)?;
        within("login_timeout_s", self.login_timeout_s, 0.1, 300.0)?;
        within("max_concurrent_logins", f64::from(self.max_concurrent_logins), 1.0, 65_536.0)?;
        within("query_timeout_s", self.query_timeout_s, 0.0, 604_800.0)?;
        within("idle_in_transaction_timeout_s", self.idle_in_transaction_timeout_s, 0.0, 604_800.0)?;
        within("client_unacknowledged_timeout_s", self.client_unacknowledged_timeout_s, 0.0, 3600.0)?;
        within("client_buffer_bytes", self.client_buffer_bytes as f64, 16_384.0, 1_073_741_824.0)?;
        within("inspect_limit_bytes", self.inspect_limit_bytes as f64, 1024.0, 16_777_216.0)?;
        within("max_prepared_statements", self.max_prepared_statements as f64, 1.0, 100_000.0)?;
        within("drain_timeout_s", self.drain_timeout_s, 0.0, 86_400.0)?;
        if self.tls.certificate.is_empty() != self.tls.key.is_empty() {
            return Err("tls.certificate and tls.key come together".into());
        }
        if self.require_tls && self.tls.certificate.is_empty() {
            return Err("require_tls needs tls.certificate and tls.key".into());
        }
        let verifies = matches!(self.target_tls.mode, TlsMode::VerifyCa | TlsMode::VerifyFull);
        if verifies && self.target_tls.ca.is_empty() {
            return Err("target_tls.mode = verify-ca and verify-full need target_tls.ca, a PEM file".into());
        }
        Ok(())
    }

    /// How many server connections may be open, given the target's live limit.
    pub fn server_limit(&self, max_connections: u32) -> usize {
        let share = u64::from(max_connections) * u64::from(self.max_connections_percent) / 100;
        let fixed = u64::from(self.max_server_connections);
        let limit = if fixed == 0 { share } else { fixed.min(u64::from(max_connections)) };
        limit.max(1) as usize
    }

    /// How many server connections may stay open unused, given the target's live limit.
    pub fn idle_limit(&self, max_connections: u32) -> usize {
        let percent = self.max_idle_connections_percent.unwrap_or(self.max_connections_percent / 2);
        let limit = self.server_limit(max_connections) as u64;
        (limit * u64::from(percent) / u64::from(self.max_connections_percent)) as usize
    }

    /// The user named *name*.
    pub fn user(&self, name: &str) -> Option<&User> {
        self.users.iter().find(|user| user.name == name)
    }

    /// `connection_borrow_timeout_s` as a duration.
    pub fn borrow_timeout(&self) -> Duration {
        Duration::from_secs_f64(self.connection_borrow_timeout_s)
    }
}

/// Shared, replaced as a whole on reload.
pub type SharedSettings = Arc<Settings>;
