//! The short packets that end a response: OK, ERR, EOF; and the first packet of a prepare response.

use super::{put_lenenc, put_lenenc_bytes, Changes, Cursor, Malformed};

/// The server's status flags, as OK and EOF packets carry them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Status(pub u16);

impl Status {
    /// A transaction is open.
    pub const IN_TRANSACTION: u16 = 0x1;
    /// Each statement commits by itself.
    pub const AUTOCOMMIT: u16 = 0x2;
    /// Another result follows this one.
    pub const MORE_RESULTS: u16 = 0x8;
    /// A cursor is open; its rows are fetched by `COM_STMT_FETCH`.
    pub const CURSOR_EXISTS: u16 = 0x40;
    /// The cursor has no more rows.
    pub const LAST_ROW_SENT: u16 = 0x80;
    /// The default database has been dropped.
    pub const DATABASE_DROPPED: u16 = 0x100;
    /// Session state changed; the OK packet lists the changes.
    pub const STATE_CHANGED: u16 = 0x4000;

    /// Whether any of `flags` is set.
    pub fn has(self, flags: u16) -> bool {
        self.0 & flags != 0
    }

    /// Whether the session is between transactions, with no cursor left open by this response.
    pub fn is_idle(self) -> bool {
        !self.has(Self::IN_TRANSACTION | Self::MORE_RESULTS) && !self.has_open_cursor()
    }

    /// Whether this response leaves a cursor to fetch from.
    pub fn has_open_cursor(self) -> bool {
        self.has(Self::CURSOR_EXISTS) && !self.has(Self::LAST_ROW_SENT)
    }
}

/// An OK packet, by either of its first bytes (0x00, or 0xFE where it ends rows).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ok<'a> {
    /// The first byte: 0x00 or 0xFE.
    pub mark: u8,
    /// Rows changed (or found, by `FOUND_ROWS`).
    pub affected_rows: u64,
    /// The first value generated for an `AUTO_INCREMENT` column, or one that the statement gave.
    pub insert_id: u64,
    /// Status flags.
    pub status: Status,
    /// Warnings raised.
    pub warnings: u16,
    /// Text for people.
    pub info: &'a [u8],
    /// What changed in the session; empty without [`Status::STATE_CHANGED`].
    pub changes: Changes<'a>,
}

impl<'a> Ok<'a> {
    /// Read an OK packet's payload from a server that agreed to `SESSION_TRACK` or not.
    pub fn parse(payload: &'a [u8], session_track: bool) -> Result<Self, Malformed> {
        let mut cursor = Cursor::new(payload);
        let mark = cursor.u8()?;
        let affected_rows = cursor.lenenc()?;
        let insert_id = cursor.lenenc()?;
        let status = Status(cursor.u16()?);
        let warnings = cursor.u16()?;
        let mut changes = Changes::default();
        let info = if !session_track {
            cursor.rest()
        } else if cursor.is_empty() {
            &[]
        } else {
            let info = cursor.lenenc_bytes()?;
            if status.has(Status::STATE_CHANGED) && !cursor.is_empty() {
                changes = Changes::new(cursor.lenenc_bytes()?);
            }
            info
        };
        Result::Ok(Self { mark, affected_rows, insert_id, status, warnings, info, changes })
    }

    /// Append this packet's payload for a client that agreed to `SESSION_TRACK` or not, with `changes` (already encoded)
    /// instead of the server's.
    pub fn put(&self, out: &mut Vec<u8>, session_track: bool, changes: &[u8]) {
        out.push(self.mark);
        put_lenenc(out, self.affected_rows);
        put_lenenc(out, self.insert_id);
        let mut status = self.status.0 & !Status::STATE_CHANGED;
        if session_track && !changes.is_empty() {
            status |= Status::STATE_CHANGED;
        }
        out.extend_from_slice(&status.to_le_bytes());
        out.extend_from_slice(&self.warnings.to_le_bytes());
        if !session_track {
            out.extend_from_slice(self.info);
        } else if !self.info.is_empty() || !changes.is_empty() {
            put_lenenc_bytes(out, self.info);
            if !changes.is_empty() {
                put_lenenc_bytes(out, changes);
            }
        }
    }

    /// A plain OK with these status flags.
    pub fn plain(status: Status) -> Self {
        Self { mark: 0, affected_rows: 0, insert_id: 0, status, warnings: 0, info: &[], changes: Changes::default() }
    }
}

/// An ERR packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Err<'a> {
    /// The server's error number.
    pub code: u16,
    /// Five characters, absent before login.
    pub sql_state: Option<&'a [u8]>,
    /// Text for people.
    pub message: &'a [u8],
}

impl<'a> Err<'a> {
    /// Read an ERR packet's payload.
    pub fn parse(payload: &'a [u8]) -> Result<Self, Malformed> {
        let mut cursor = Cursor::new(payload);
        if cursor.u8()? != 0xff {
            return Err(Malformed::Unexpected("first byte of an error"));
        }
        let code = cursor.u16()?;
        let sql_state = if cursor.rest().first() == Some(&b'#') { Some(&cursor.take(6)?[1..]) } else { None };
        Result::Ok(Self { code, sql_state, message: cursor.rest() })
    }
}

/// An ERR packet's payload.
pub fn err(code: u16, sql_state: &str, message: &str) -> Vec<u8> {
    let mut out = vec![0xff];
    out.extend_from_slice(&code.to_le_bytes());
    out.push(b'#');
    out.extend_from_slice(sql_state.as_bytes());
    out.extend_from_slice(message.as_bytes());
    out
}

/// An EOF packet's payload.
pub fn eof(warnings: u16, status: Status) -> Vec<u8> {
    let mut out = vec![0xfe];
    out.extend_from_slice(&warnings.to_le_bytes());
    out.extend_from_slice(&status.0.to_le_bytes());
    out
}

/// Whether `payload` is an EOF packet: by its length, since an OK packet may begin with the same byte.
pub fn is_eof(payload: &[u8]) -> bool {
    payload.len() == 5 && payload[0] == 0xfe
}

/// The first packet of the response to `COM_STMT_PREPARE`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PrepareOk {
    /// The server's number for the statement.
    pub statement_id: u32,
    /// Columns of its result.
    pub columns: u16,
    /// Parameters.
    pub parameters: u16,
}

impl PrepareOk {
    /// Where the statement's number stands in the payload.
    pub const ID_AT: usize = 1;

    /// Read the payload.
    pub fn parse(payload: &[u8]) -> Result<Self, Malformed> {
        let mut cursor = Cursor::new(payload);
        if cursor.u8()? != 0 {
            return Err(Malformed::Unexpected("first byte of a prepare response"));
        }
        Result::Ok(Self { statement_id: cursor.u32()?, columns: cursor.u16()?, parameters: cursor.u16()? })
    }
}

#[cfg(test)]
mod tests {
    use super::super::Change;
    use super::*;

    // MySQL 9.7.4, `set sql_mode='ANSI_QUOTES'` with every tracker on.
    const STATE_CHANGED_OK: &[u8] =
        b"\x00\x00\x00\x02\x40\x00\x00\x00\x2c\x00\x15\x08sql_mode\x0bANSI_QUOTES\x00\x10\x0cstatement_id\x0221\x02\x01\x31";

    #[test]
    fn an_ok_packet_lists_the_state_that_changed() {
        let ok = Ok::parse(STATE_CHANGED_OK, true).unwrap();
        assert_eq!(ok.status.0, 0x4002);
        let changes: Vec<_> = ok.changes.iter().collect::<Result<_, _>>().unwrap();
        assert_eq!(
            changes,
            [
                Change::Variable { name: b"sql_mode", value: b"ANSI_QUOTES" },
                Change::Variable { name: b"statement_id", value: b"21" },
                Change::Session,
            ]
        );
    }

    #[test]
    fn a_client_without_session_track_gets_neither_the_changes_nor_their_flag() {
        let ok = Ok { info: b"Rows matched: 1", ..Ok::parse(STATE_CHANGED_OK, true).unwrap() };
        let mut plain = Vec::new();
        ok.put(&mut plain, false, b"ignored");
        assert_eq!(plain, b"\x00\x00\x00\x02\x00\x00\x00Rows matched: 1");
        let mut tracked = Vec::new();
        ok.put(&mut tracked, true, b"\x01\x04\x03app");
        assert_eq!(tracked, b"\x00\x00\x00\x02\x40\x00\x00\x0fRows matched: 1\x06\x01\x04\x03app");
        let mut none = Vec::new();
        Ok { info: b"", ..ok }.put(&mut none, true, b"");
        assert_eq!(none, b"\x00\x00\x00\x02\x00\x00\x00");
    }

    #[test]
    fn a_session_is_idle_only_without_transaction_more_results_and_open_cursor() {
        assert!(Status(Status::AUTOCOMMIT).is_idle());
        assert!(!Status(Status::IN_TRANSACTION).is_idle());
        assert!(!Status(Status::MORE_RESULTS).is_idle());
        assert!(!Status(Status::CURSOR_EXISTS).is_idle());
        assert!(Status(Status::CURSOR_EXISTS | Status::LAST_ROW_SENT).is_idle());
    }

    #[test]
    fn an_error_reads_with_and_without_its_sql_state() {
        let payload = err(1045, "28000", "Access denied");
        let parsed = Err::parse(&payload).unwrap();
        assert_eq!((parsed.code, parsed.sql_state, parsed.message), (1045, Some(&b"28000"[..]), &b"Access denied"[..]));
        let early = Err::parse(b"\xff\x10\x04Too many connections").unwrap();
        assert_eq!((early.code, early.sql_state, early.message), (1040, None, &b"Too many connections"[..]));
    }
}
