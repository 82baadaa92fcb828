//! What ties a client to its server connection, cause by cause, so that each pin ends when its cause ends.

use crate::protocol::Output;
use crate::reason::{Pin, PinReason};
use std::time::{SystemTime, UNIX_EPOCH};

/// The longest statement text shown with a pin.
const SHOWN: usize = 120;

/// A client's pins. A cause is a reason and a name (of a lock, a table, a statement); taken twice, it ends twice.
#[derive(Default)]
pub(crate) struct Pins {
    causes: Vec<Cause>,
    pins: Vec<Pin>,
}

struct Cause {
    reason: PinReason,
    name: Box<[u8]>,
    count: u32,
}

impl Pins {
    /// The pins in force, for operators.
    pub(crate) fn list(&self) -> &[Pin] {
        &self.pins
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.causes.is_empty()
    }

    /// *statement* brought *reason* about.
    pub(crate) fn begin(&mut self, reason: PinReason, name: &[u8], statement: &[u8], out: &mut Output) {
        if let Some(cause) = self.causes.iter_mut().find(|cause| cause.reason == reason && *cause.name == *name) {
            cause.count += 1;
            return;
        }
        let since_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
        let pin = Pin { reason, statement: shown(statement), since_ms };
        self.causes.push(Cause { reason, name: name.into(), count: 1 });
        self.pins.push(pin.clone());
        out.pinned.push(pin);
    }

    /// One cause is taken back.
    pub(crate) fn end(&mut self, reason: PinReason, name: &[u8]) {
        let Some(at) = self.causes.iter().position(|cause| cause.reason == reason && *cause.name == *name) else {
            return;
        };
        self.causes[at].count -= 1;
        if self.causes[at].count == 0 {
            self.causes.remove(at);
            self.pins.remove(at);
        }
    }

    /// Everything with this reason is over.
    pub(crate) fn end_all(&mut self, reason: PinReason) {
        while let Some(at) = self.causes.iter().position(|cause| cause.reason == reason) {
            self.causes.remove(at);
            self.pins.remove(at);
        }
    }

    /// Whether this cause holds.
    pub(crate) fn has_named(&self, reason: PinReason, name: &[u8]) -> bool {
        self.causes.iter().any(|cause| cause.reason == reason && *cause.name == *name)
    }

    /// One cause is over, however often it was taken.
    pub(crate) fn end_all_named(&mut self, reason: PinReason, name: &[u8]) {
        if let Some(at) = self.causes.iter().position(|cause| cause.reason == reason && *cause.name == *name) {
            self.causes.remove(at);
            self.pins.remove(at);
        }
    }

    /// The session was reset.
    pub(crate) fn clear(&mut self) {
        self.causes = Vec::new();
        self.pins = Vec::new();
    }
}

/// *statement* shortened, its literals replaced by `?`.
fn shown(statement: &[u8]) -> Box<str> {
    let mut out = String::new();
    let mut bytes = statement.iter().copied().peekable();
    let mut in_word = false;
    while let Some(byte) = bytes.next() {
        if out.len() >= SHOWN {
            out.push('…');
            break;
        }
        match byte {
            b'\'' | b'"' => {
                while let Some(inner) = bytes.next() {
                    if inner == b'\\' {
                        bytes.next();
                    } else if inner == byte {
                        break;
                    }
                }
                out.push('?');
            }
            b'0'..=b'9' if !in_word => {
                while bytes.next_if(|next| next.is_ascii_alphanumeric() || *next == b'.').is_some() {}
                out.push('?');
            }
            byte if byte.is_ascii_whitespace() => {
                if !out.ends_with(' ') {
                    out.push(' ');
                }
            }
            byte => out.push(if byte.is_ascii_graphic() { byte as char } else { '.' }),
        }
        in_word = byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'@';
    }
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_lasts_until_each_of_its_causes_has_ended() {
        let (mut pins, mut out) = (Pins::default(), Output::default());
        pins.begin(PinReason::AdvisoryLock, b"a", b"select get_lock('a', 1)", &mut out);
        pins.begin(PinReason::AdvisoryLock, b"a", b"select get_lock('a', 1)", &mut out);
        pins.begin(PinReason::AdvisoryLock, b"b", b"select get_lock('b', 1)", &mut out);
        assert_eq!(out.pinned.len(), 2, "the second lock of the same name is the same pin");
        pins.end(PinReason::AdvisoryLock, b"a");
        assert_eq!(pins.list().len(), 2);
        pins.end(PinReason::AdvisoryLock, b"a");
        pins.end(PinReason::AdvisoryLock, b"unknown");
        assert_eq!(pins.list().len(), 1);
        pins.end_all(PinReason::AdvisoryLock);
        assert!(pins.is_empty());
    }

    #[test]
    fn a_shown_statement_has_no_literal_and_one_line() {
        assert_eq!(&*shown(b"SET @secret1 =\n  'it\\'s', x = 12.5e3"), "SET @secret1 = ?, x = ?");
        assert_eq!(shown(&[b'x'; 500]).chars().count(), SHOWN + 1);
    }
}
