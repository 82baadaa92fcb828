//! Session-state changes: what a server that was asked to track says in its OK packets.

use super::{put_lenenc_bytes, Cursor, Malformed};

/// The changes in one OK packet, not yet read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Changes<'a> {
    bytes: &'a [u8],
}

/// One change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change<'a> {
    /// A system variable has this value now, or was assigned and has it still.
    Variable {
        /// Its name.
        name: &'a [u8],
        /// Its value as text.
        value: &'a [u8],
    },
    /// This is the default database now.
    Schema(&'a [u8]),
    /// Something else of the session changed: user variables, temporary tables, prepared statements, …
    Session,
    /// Transaction characteristics, transaction state or GTIDs.
    Other(u8),
}

impl<'a> Changes<'a> {
    /// Changes as the OK packet encodes them.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// The encoded bytes.
    pub fn bytes(self) -> &'a [u8] {
        self.bytes
    }

    /// Each change in order; ends after the first that is malformed.
    pub fn iter(self) -> impl Iterator<Item = Result<Change<'a>, Malformed>> {
        let mut cursor = Cursor::new(self.bytes);
        let mut pending: Option<Cursor<'a>> = None;
        std::iter::from_fn(move || {
            // MariaDB puts several variables into one entry; MySQL one entry each.
            if let Some(mut entry) = pending.take() {
                if !entry.is_empty() {
                    let variable = variable(&mut entry);
                    pending = variable.is_ok().then_some(entry);
                    return Some(variable);
                }
            }
            if cursor.is_empty() {
                return None;
            }
            let change = next(&mut cursor, &mut pending);
            if change.is_err() {
                cursor = Cursor::new(&[]);
            }
            Some(change)
        })
    }
}

fn next<'a>(cursor: &mut Cursor<'a>, pending: &mut Option<Cursor<'a>>) -> Result<Change<'a>, Malformed> {
    let kind = cursor.u8()?;
    let mut entry = Cursor::new(cursor.lenenc_bytes()?);
    match kind {
        0 => {
            let change = variable(&mut entry)?;
            *pending = Some(entry);
            Ok(change)
        }
        1 => Ok(Change::Schema(entry.lenenc_bytes()?)),
        2 => Ok(Change::Session),
        other => Ok(Change::Other(other)),
    }
}

fn variable<'a>(entry: &mut Cursor<'a>) -> Result<Change<'a>, Malformed> {
    Ok(Change::Variable { name: entry.lenenc_bytes()?, value: entry.lenenc_bytes()? })
}

impl Change<'_> {
    /// Append this change as an OK packet carries it. [`Change::Other`] keeps nothing and appends nothing.
    pub fn put(&self, out: &mut Vec<u8>) {
        let mut entry = Vec::new();
        let kind = match self {
            Self::Variable { name, value } => {
                put_lenenc_bytes(&mut entry, name);
                put_lenenc_bytes(&mut entry, value);
                0
            }
            Self::Schema(name) => {
                put_lenenc_bytes(&mut entry, name);
                1
            }
            Self::Session => {
                entry.extend_from_slice(b"1");
                2
            }
            Self::Other(_) => return,
        };
        out.push(kind);
        put_lenenc_bytes(out, &entry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_variables_in_one_entry_are_several_changes() {
        let bytes = b"\x00\x08\x01a\x01b\x01c\x01d\x01\x03\x02db\x05\x09\x08________";
        let changes: Vec<_> = Changes::new(bytes).iter().collect::<Result<_, _>>().unwrap();
        assert_eq!(
            changes,
            [
                Change::Variable { name: b"a", value: b"b" },
                Change::Variable { name: b"c", value: b"d" },
                Change::Schema(b"db"),
                Change::Other(5),
            ]
        );
    }

    #[test]
    fn what_is_put_reads_back() {
        for change in
            [Change::Variable { name: b"time_zone", value: b"+01:00" }, Change::Schema(b"app"), Change::Session]
        {
            let mut out = Vec::new();
            change.put(&mut out);
            assert_eq!(Changes::new(&out).iter().collect::<Vec<_>>(), [Ok(change)]);
        }
    }

    #[test]
    fn a_malformed_entry_ends_the_list() {
        let changes: Vec<_> = Changes::new(b"\x01\x04\x09app\x02\x01\x31").iter().collect();
        assert_eq!(changes, [Err(Malformed::Truncated)]);
    }
}
