//! Session state that follows a client: system variables and the default database, and the text that moves one
//! connection from one state to another.

use std::collections::BTreeMap;

/// What differs from a fresh server connection of the pool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Overlay {
    /// System variables by name, with their value as the server reported it.
    pub(crate) variables: BTreeMap<Box<[u8]>, Box<[u8]>>,
    /// `COM_SET_OPTION`: several statements allowed, where it differs from the login's.
    pub(crate) multi_statements: Option<bool>,
}

/// What a fresh server connection of the pool is like.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Baseline {
    /// Assignments that give the login's character set and collation back, `a=x,b=y`: a reset takes the server's defaults.
    pub(crate) charset: Vec<u8>,
}

/// Assignments that turn the trackers on. `*` also reports `statement_id` with every MySQL answer; a list of names would
/// miss variables of later versions.
pub(crate) const TRACKERS: &[u8] =
    b"session_track_system_variables='*',session_track_state_change=ON,session_track_schema=ON";

const CHARSET: [&[u8]; 4] =
    [b"character_set_client", b"character_set_connection", b"character_set_results", b"collation_connection"];

impl Overlay {
    /// The server reported that *name* is *value*. False when the value cannot be replayed.
    pub(crate) fn set(&mut self, name: &[u8], value: &[u8]) -> bool {
        if name == b"character_set_connection" {
            self.variables.remove(&b"collation_connection"[..]);
        }
        if self.variables.get(name).is_none_or(|known| **known != *value) {
            self.variables.insert(name.into(), value.into());
        }
        // A backslash means one thing or another by sql_mode, and bytes beyond ASCII by the character set.
        value.iter().all(|byte| byte.is_ascii() && *byte != b'\\' && *byte != 0)
    }

    /// The assignments that make a connection in the state *from* one in this state; empty when nothing differs.
    pub(crate) fn assignments(&self, from: &Self, baseline: &Baseline) -> Vec<u8> {
        let mut out = Vec::new();
        if self.variables == from.variables {
            return out;
        }
        let charset_differs = CHARSET.iter().any(|name| self.variables.get(*name) != from.variables.get(*name));
        if charset_differs {
            out.extend_from_slice(&baseline.charset);
        }
        for name in from.variables.keys() {
            if !self.variables.contains_key(name) && !CHARSET.contains(&&**name) {
                assign(&mut out, name, b"DEFAULT");
            }
        }
        // In the order of names character_set_connection comes before collation_connection, which it would change.
        for (name, value) in &self.variables {
            let changed = from.variables.get(name) != Some(value);
            if changed || (charset_differs && CHARSET.contains(&&**name)) {
                assign(&mut out, name, &literal(name, value));
            }
        }
        out
    }
}

fn assign(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    if !out.is_empty() {
        out.push(b',');
    }
    out.extend_from_slice(name);
    out.push(b'=');
    out.extend_from_slice(value);
}

fn literal(name: &[u8], value: &[u8]) -> Vec<u8> {
    let number = value.strip_prefix(b"-").unwrap_or(value);
    if name == b"character_set_results" && value.is_empty() {
        return b"NULL".to_vec();
    }
    if !number.is_empty() && number.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.') {
        return value.to_vec();
    }
    quote(value)
}

/// *value* as a string literal, right in every `sql_mode` for values that [`Overlay::set`] accepts.
pub(crate) fn quote(value: &[u8]) -> Vec<u8> {
    let mut out = vec![b'\''];
    for byte in value {
        if *byte == b'\'' {
            out.push(b'\'');
        }
        out.push(*byte);
    }
    out.push(b'\'');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn overlay(variables: &[(&str, &str)]) -> Overlay {
        let mut overlay = Overlay::default();
        for (name, value) in variables {
            assert!(overlay.set(name.as_bytes(), value.as_bytes()));
        }
        overlay
    }

    fn text(to: &Overlay, from: &Overlay) -> String {
        let baseline = Baseline { charset: b"character_set_client=utf8mb4,collation_connection=utf8mb4_bin".to_vec() };
        String::from_utf8(to.assignments(from, &baseline)).unwrap()
    }

    #[test]
    fn equal_states_need_no_statement() {
        assert_eq!(text(&overlay(&[("sql_mode", "ANSI")]), &overlay(&[("sql_mode", "ANSI")])), "");
    }

    #[test]
    fn what_the_other_client_had_goes_back_and_what_this_one_has_is_set() {
        let to = overlay(&[("time_zone", "+01:00"), ("sql_select_limit", "10"), ("sql_mode", "")]);
        let from = overlay(&[("lc_time_names", "de_DE"), ("sql_select_limit", "10")]);
        assert_eq!(text(&to, &from), "lc_time_names=DEFAULT,sql_mode='',time_zone='+01:00'");
        assert_eq!(text(&from, &overlay(&[])), "lc_time_names='de_DE',sql_select_limit=10");
    }

    #[test]
    fn a_character_set_goes_back_to_the_logins_and_not_to_the_servers_default() {
        let names = overlay(&[("character_set_client", "latin1"), ("character_set_results", "")]);
        let baseline = "character_set_client=utf8mb4,collation_connection=utf8mb4_bin";
        assert_eq!(text(&overlay(&[]), &names), baseline);
        assert_eq!(
            text(&names, &overlay(&[])),
            format!("{baseline},character_set_client='latin1',character_set_results=NULL")
        );
    }

    #[test]
    fn a_new_character_set_forgets_the_collation_of_the_old_one() {
        let mut state = overlay(&[("character_set_connection", "utf8mb4"), ("collation_connection", "utf8mb4_bin")]);
        assert!(state.set(b"character_set_connection", b"latin1"));
        assert_eq!(state, overlay(&[("character_set_connection", "latin1")]));
    }

    #[test]
    fn a_value_whose_literal_depends_on_other_state_is_not_replayable() {
        assert!(!Overlay::default().set(b"x", b"a\\b"));
        assert!(!Overlay::default().set(b"x", "ä".as_bytes()));
    }
}
