//! Commands: the first packet of each exchange after login.

use super::{Cursor, Malformed};
use std::ops::Range;

/// The protocol's command numbers.
pub mod names {
    #![allow(missing_docs)] // the protocol's own names
    pub const QUIT: u8 = 0x01;
    pub const INIT_DB: u8 = 0x02;
    pub const QUERY: u8 = 0x03;
    pub const FIELD_LIST: u8 = 0x04;
    pub const STATISTICS: u8 = 0x09;
    pub const PROCESS_INFO: u8 = 0x0a;
    pub const PROCESS_KILL: u8 = 0x0c;
    pub const DEBUG: u8 = 0x0d;
    pub const PING: u8 = 0x0e;
    pub const CHANGE_USER: u8 = 0x11;
    pub const STMT_PREPARE: u8 = 0x16;
    pub const STMT_EXECUTE: u8 = 0x17;
    pub const STMT_SEND_LONG_DATA: u8 = 0x18;
    pub const STMT_CLOSE: u8 = 0x19;
    pub const STMT_RESET: u8 = 0x1a;
    pub const SET_OPTION: u8 = 0x1b;
    pub const STMT_FETCH: u8 = 0x1c;
    pub const RESET_CONNECTION: u8 = 0x1f;
    pub const STMT_BULK_EXECUTE: u8 = 0xfa;
}

/// The statement number by which a MariaDB client means the one it prepared last.
pub const LAST_PREPARED: u32 = u32::MAX;

/// A command, by what a proxy does with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command<'a> {
    /// The client leaves.
    Quit,
    /// Change the default database.
    InitDb(&'a [u8]),
    /// Statements as text.
    Query(&'a [u8]),
    /// Columns of a table.
    FieldList,
    /// One line of server statistics.
    Statistics,
    /// SHOW PROCESSLIST.
    ProcessInfo,
    /// KILL this connection.
    ProcessKill(u32),
    /// The server writes to its log.
    Debug,
    /// Is the connection alive?
    Ping,
    /// Log in again; the rest is [`super::ChangeUser`]'s.
    ChangeUser,
    /// Forget all session state.
    ResetConnection,
    /// 0: several statements in a query allowed; 1: not.
    SetOption(u16),
    /// Prepare this statement.
    Prepare(&'a [u8]),
    /// Execute the statement of this number.
    Execute(u32),
    /// Execute the statement of this number for many rows (MariaDB).
    BulkExecute(u32),
    /// A piece of a long parameter; has no response.
    SendLongData(u32),
    /// Forget the statement; has no response.
    Close(u32),
    /// Forget long parameters and close the cursor.
    Reset(u32),
    /// Rows from the statement's cursor.
    Fetch(u32),
    /// A command of replication or administration, or none at all.
    Other(u8),
}

impl<'a> Command<'a> {
    /// Read the start of a command's payload. A query's text may be cut where the payload is: pass what there is of it.
    pub fn parse(payload: &'a [u8], query_attributes: bool) -> Result<Self, Malformed> {
        let mut cursor = Cursor::new(payload);
        Ok(match cursor.u8()? {
            names::QUIT => Self::Quit,
            names::INIT_DB => Self::InitDb(cursor.rest()),
            names::QUERY => {
                if query_attributes {
                    skip_attributes(&mut cursor)?;
                }
                Self::Query(cursor.rest())
            }
            names::FIELD_LIST => Self::FieldList,
            names::STATISTICS => Self::Statistics,
            names::PROCESS_INFO => Self::ProcessInfo,
            names::PROCESS_KILL => Self::ProcessKill(cursor.u32()?),
            names::DEBUG => Self::Debug,
            names::PING => Self::Ping,
            names::CHANGE_USER => Self::ChangeUser,
            names::RESET_CONNECTION => Self::ResetConnection,
            names::SET_OPTION => Self::SetOption(cursor.u16()?),
            names::STMT_PREPARE => Self::Prepare(cursor.rest()),
            names::STMT_EXECUTE => Self::Execute(cursor.u32()?),
            names::STMT_BULK_EXECUTE => Self::BulkExecute(cursor.u32()?),
            names::STMT_SEND_LONG_DATA => Self::SendLongData(cursor.u32()?),
            names::STMT_CLOSE => Self::Close(cursor.u32()?),
            names::STMT_RESET => Self::Reset(cursor.u32()?),
            names::STMT_FETCH => Self::Fetch(cursor.u32()?),
            other => Self::Other(other),
        })
    }

    /// Where the statement's number stands in the payload of the commands that have one.
    pub const ID: Range<usize> = 1..5;
}

fn skip_attributes(cursor: &mut Cursor<'_>) -> Result<(), Malformed> {
    let count = cursor.lenenc()?;
    if cursor.lenenc()? != 1 {
        return Err(Malformed::Unexpected("number of attribute sets"));
    }
    if count == 0 {
        return Ok(());
    }
    let count = usize::try_from(count).map_err(|_| Malformed::Truncated)?;
    let nulls = cursor.take(count.div_ceil(8))?;
    if cursor.u8()? != 1 {
        return Err(Malformed::Unexpected("attributes without types"));
    }
    // The count is the client's word: what is kept stays within what it sent.
    let mut types = Vec::with_capacity(count.min(cursor.rest().len() / 3));
    for _ in 0..count {
        types.push(cursor.u16()? as u8);
        cursor.lenenc_bytes()?;
    }
    for (index, kind) in types.iter().enumerate() {
        if nulls[index / 8] & (1 << (index % 8)) == 0 {
            skip_value(cursor, *kind)?;
        }
    }
    Ok(())
}

/// Skip one binary value by its column type.
fn skip_value(cursor: &mut Cursor<'_>, kind: u8) -> Result<(), Malformed> {
    match kind {
        6 => {}
        1 => _ = cursor.take(1)?,
        2 | 13 => _ = cursor.take(2)?,
        3 | 4 | 9 => _ = cursor.take(4)?,
        5 | 8 => _ = cursor.take(8)?,
        7 | 10 | 11 | 12 | 14 | 17 | 18 | 19 => {
            let length = cursor.u8()?;
            cursor.take(usize::from(length))?;
        }
        0 | 15 | 16 | 242..=255 => _ = cursor.lenenc_bytes()?,
        _ => return Err(Malformed::Unexpected("parameter type")),
    }
    Ok(())
}

/// Where the parameter types of a `COM_STMT_EXECUTE` stand in its payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Execution {
    /// Offset of the new-params-bound byte.
    pub bound_at: usize,
    /// The types (and names, with query attributes), when that byte is 1; else empty, just after it.
    pub types: Range<usize>,
}

impl Execution {
    /// Find the types in `payload` for a statement with `parameters` parameters. `None` when it carries no parameter.
    pub fn parse(payload: &[u8], parameters: u16, query_attributes: bool) -> Result<Option<Self>, Malformed> {
        const COUNT_AVAILABLE: u8 = 0x08;
        let mut cursor = Cursor::new(payload);
        cursor.take(Command::ID.end)?;
        let flags = cursor.u8()?;
        cursor.take(4)?;
        let mut count = usize::from(parameters);
        if query_attributes && (count > 0 || flags & COUNT_AVAILABLE != 0) {
            count = usize::try_from(cursor.lenenc()?).map_err(|_| Malformed::Truncated)?;
        }
        if count == 0 {
            return Ok(None);
        }
        cursor.take(count.div_ceil(8))?;
        let bound_at = payload.len() - cursor.rest().len();
        let bound = cursor.u8()? == 1;
        let from = bound_at + 1;
        if bound {
            for _ in 0..count {
                cursor.take(2)?;
                if query_attributes {
                    cursor.lenenc_bytes()?;
                }
            }
        }
        Ok(Some(Self { bound_at, types: from..if bound { payload.len() - cursor.rest().len() } else { from } }))
    }

    /// Whether the client sent the types with this execution.
    pub fn has_types(&self) -> bool {
        !self.types.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_text_of_a_query_comes_after_its_attributes() {
        // mysql_bind_param with one string "v" named "n", MySQL's encoding
        let payload = b"\x03\x01\x01\x00\x01\xfe\x00\x01n\x01vselect 1";
        assert_eq!(Command::parse(payload, true), Ok(Command::Query(b"select 1")));
        assert_eq!(Command::parse(b"\x03\x00\x01select 1", true), Ok(Command::Query(b"select 1")));
        assert_eq!(Command::parse(b"\x03select 1", false), Ok(Command::Query(b"select 1")));
        assert!(Command::parse(b"\x03\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01", true).is_err());
    }

    #[test]
    fn an_executions_types_are_found_with_and_without_names() {
        // statement 7, no cursor, one iteration, two parameters, not NULL, bound: long, string
        let bound = b"\x17\x07\0\0\0\0\x01\0\0\0\0\x01\x03\0\xfd\0\x05\0\0\0\x01a";
        let found = Execution::parse(bound, 2, false).unwrap().unwrap();
        assert_eq!((found.bound_at, &bound[found.types.clone()]), (11, &b"\x03\0\xfd\0"[..]));
        let again = b"\x17\x07\0\0\0\0\x01\0\0\0\0\0\x05\0\0\0\x01a";
        assert_eq!(Execution::parse(again, 2, false).unwrap().unwrap(), Execution { bound_at: 11, types: 12..12 });
        let named = b"\x17\x07\0\0\0\x08\x01\0\0\0\x01\0\x01\x03\0\x01n\x05\0\0\0";
        let found = Execution::parse(named, 0, true).unwrap().unwrap();
        assert_eq!(&named[found.types], b"\x03\0\x01n");
        assert_eq!(Execution::parse(b"\x17\x07\0\0\0\0\x01\0\0\0", 0, true), Ok(None));
    }

    proptest! {
        #[test]
        fn no_bytes_make_a_command_panic(payload: Vec<u8>, attributes: bool, parameters: u16) {
            let _ = Command::parse(&payload, attributes);
            let _ = Execution::parse(&payload, parameters, attributes);
        }
    }
}
