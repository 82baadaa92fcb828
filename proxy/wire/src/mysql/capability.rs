//! Capability flags: what client and server agree on at login. Bits 32 and up are MariaDB's extended capabilities.

/// Capability flags of one side; the low 32 bits are MySQL's, the high 32 MariaDB's.
pub type Capabilities = u64;

/// MySQL: always set. MariaDB: clear, and then the extended capabilities count.
pub const LONG_PASSWORD: Capabilities = 1;
/// Affected rows counts the rows found rather than the rows changed.
pub const FOUND_ROWS: Capabilities = 1 << 1;
/// All column flags.
pub const LONG_FLAG: Capabilities = 1 << 2;
/// The login names a default database.
pub const CONNECT_WITH_DB: Capabilities = 1 << 3;
/// `database.table.column` is refused.
pub const NO_SCHEMA: Capabilities = 1 << 4;
/// zlib-compressed frames.
pub const COMPRESS: Capabilities = 1 << 5;
/// Special handling of ODBC behaviour.
pub const ODBC: Capabilities = 1 << 6;
/// LOAD DATA LOCAL.
pub const LOCAL_FILES: Capabilities = 1 << 7;
/// Spaces before `(` are ignored.
pub const IGNORE_SPACE: Capabilities = 1 << 8;
/// The protocol since 4.1; nothing older is spoken here.
pub const PROTOCOL_41: Capabilities = 1 << 9;
/// `interactive_timeout` instead of `wait_timeout`.
pub const INTERACTIVE: Capabilities = 1 << 10;
/// TLS.
pub const SSL: Capabilities = 1 << 11;
/// Status flags in OK and EOF.
pub const TRANSACTIONS: Capabilities = 1 << 13;
/// Salted passwords (the only kind here).
pub const SECURE_CONNECTION: Capabilities = 1 << 15;
/// Several statements in one `COM_QUERY`.
pub const MULTI_STATEMENTS: Capabilities = 1 << 16;
/// Several result sets to one `COM_QUERY`.
pub const MULTI_RESULTS: Capabilities = 1 << 17;
/// Several result sets to one `COM_STMT_EXECUTE`.
pub const PS_MULTI_RESULTS: Capabilities = 1 << 18;
/// Named authentication plugins.
pub const PLUGIN_AUTH: Capabilities = 1 << 19;
/// Connection attributes in the login.
pub const CONNECT_ATTRS: Capabilities = 1 << 20;
/// The login's proof may be longer than 255 bytes.
pub const PLUGIN_AUTH_LENENC: Capabilities = 1 << 21;
/// A login with an expired password is let in to change it.
pub const EXPIRED_PASSWORDS: Capabilities = 1 << 22;
/// OK packets carry session-state changes.
pub const SESSION_TRACK: Capabilities = 1 << 23;
/// OK instead of EOF at the end of rows, and no EOF between columns and rows.
pub const DEPRECATE_EOF: Capabilities = 1 << 24;
/// Result sets may come without column definitions.
pub const OPTIONAL_METADATA: Capabilities = 1 << 25;
/// zstd-compressed frames.
pub const ZSTD: Capabilities = 1 << 26;
/// `COM_QUERY` and `COM_STMT_EXECUTE` may carry query attributes.
pub const QUERY_ATTRIBUTES: Capabilities = 1 << 27;
/// Several authentication factors.
pub const MULTI_FACTOR: Capabilities = 1 << 28;

/// MariaDB: `COM_STMT_BULK_EXECUTE`.
pub const MARIADB_STMT_BULK: Capabilities = 1 << 34;
/// MariaDB: column definitions carry an extended type name.
pub const MARIADB_EXTENDED_METADATA: Capabilities = 1 << 35;
/// MariaDB: bulk execution returns each row's result.
pub const MARIADB_BULK_UNIT_RESULTS: Capabilities = 1 << 37;

/// What the proxy can honour for a client, whatever the server: the intersection starts here.
///
/// Left out: compression, cached metadata, progress reports and optional metadata (they change the framing for a gain that
/// a proxy beside its clients does not have) and multi-factor logins.
pub const SUPPORTED: Capabilities = LONG_PASSWORD
    | FOUND_ROWS
    | LONG_FLAG
    | CONNECT_WITH_DB
    | NO_SCHEMA
    | ODBC
    | LOCAL_FILES
    | IGNORE_SPACE
    | PROTOCOL_41
    | INTERACTIVE
    | SSL
    | TRANSACTIONS
    | SECURE_CONNECTION
    | MULTI_STATEMENTS
    | MULTI_RESULTS
    | PS_MULTI_RESULTS
    | PLUGIN_AUTH
    | CONNECT_ATTRS
    | PLUGIN_AUTH_LENENC
    | SESSION_TRACK
    | DEPRECATE_EOF
    | QUERY_ATTRIBUTES
    | MARIADB_STMT_BULK
    | MARIADB_EXTENDED_METADATA
    | MARIADB_BULK_UNIT_RESULTS;

/// The flags that change what the server sends or does: two clients share server connections only when these are equal.
pub const BEHAVIOUR: Capabilities = FOUND_ROWS
    | LONG_FLAG
    | NO_SCHEMA
    | ODBC
    | LOCAL_FILES
    | IGNORE_SPACE
    | INTERACTIVE
    | MULTI_STATEMENTS
    | MULTI_RESULTS
    | PS_MULTI_RESULTS
    | DEPRECATE_EOF
    | QUERY_ATTRIBUTES
    | MARIADB_STMT_BULK
    | MARIADB_EXTENDED_METADATA
    | MARIADB_BULK_UNIT_RESULTS;
