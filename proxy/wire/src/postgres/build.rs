//! Writing messages: each function appends one whole message (or its head) to a buffer.

/// The request for TLS.
pub const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];
/// The code of a cancel request.
pub const CANCEL_REQUEST: u32 = 80_877_102;
/// Goodbye.
pub const TERMINATE: [u8; 5] = [b'X', 0, 0, 0, 4];

/// Append a message of *kind* whose body is what *fill* appends.
fn message(out: &mut Vec<u8>, kind: u8, fill: impl FnOnce(&mut Vec<u8>)) {
    out.push(kind);
    body(out, fill);
}

fn body(out: &mut Vec<u8>, fill: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    fill(out);
    let length = (out.len() - start) as u32;
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
}

fn text(out: &mut Vec<u8>, value: &[u8]) {
    out.extend_from_slice(value);
    out.push(0);
}

/// `StartupMessage` for protocol 3.0.
pub fn startup_message(out: &mut Vec<u8>, parameters: &[(&str, &str)]) {
    body(out, |out| {
        out.extend_from_slice(&0x0003_0000_u32.to_be_bytes());
        for (name, value) in parameters {
            text(out, name.as_bytes());
            text(out, value.as_bytes());
        }
        out.push(0);
    });
}

/// `NegotiateProtocolVersion`: 3.0 is the newest minor version, and *options* are not known.
pub fn negotiate_protocol_version(out: &mut Vec<u8>, options: &[&[u8]]) {
    message(out, b'v', |out| {
        out.extend_from_slice(&0x0003_0000_u32.to_be_bytes());
        out.extend_from_slice(&(options.len() as u32).to_be_bytes());
        for option in options {
            text(out, option);
        }
    });
}

/// `AuthenticationOk`.
pub fn authentication_ok(out: &mut Vec<u8>) {
    message(out, b'R', |out| out.extend_from_slice(&[0, 0, 0, 0]));
}

/// `AuthenticationMD5Password`.
pub fn authentication_md5(out: &mut Vec<u8>, salt: [u8; 4]) {
    message(out, b'R', |out| {
        out.extend_from_slice(&[0, 0, 0, 5]);
        out.extend_from_slice(&salt);
    });
}

/// `AuthenticationSASL` offering SCRAM-SHA-256.
pub fn authentication_sasl(out: &mut Vec<u8>) {
    message(out, b'R', |out| {
        out.extend_from_slice(&[0, 0, 0, 10]);
        text(out, b"SCRAM-SHA-256");
        out.push(0);
    });
}

/// `AuthenticationSASLContinue`.
pub fn authentication_sasl_continue(out: &mut Vec<u8>, data: &[u8]) {
    message(out, b'R', |out| {
        out.extend_from_slice(&[0, 0, 0, 11]);
        out.extend_from_slice(data);
    });
}

/// `AuthenticationSASLFinal`.
pub fn authentication_sasl_final(out: &mut Vec<u8>, data: &[u8]) {
    message(out, b'R', |out| {
        out.extend_from_slice(&[0, 0, 0, 12]);
        out.extend_from_slice(data);
    });
}

/// `SASLInitialResponse` for SCRAM-SHA-256.
pub fn sasl_initial_response(out: &mut Vec<u8>, data: &[u8]) {
    message(out, b'p', |out| {
        text(out, b"SCRAM-SHA-256");
        out.extend_from_slice(&(data.len() as u32).to_be_bytes());
        out.extend_from_slice(data);
    });
}

/// `PasswordMessage` or `SASLResponse`, whose bodies are *data* as it is.
pub fn password(out: &mut Vec<u8>, data: &[u8]) {
    message(out, b'p', |out| out.extend_from_slice(data));
}

/// `ParameterStatus`.
pub fn parameter_status(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    message(out, b'S', |out| {
        text(out, name);
        text(out, value);
    });
}

/// `BackendKeyData` of protocol 3.0.
pub fn backend_key_data(out: &mut Vec<u8>, number: u32, secret: u32) {
    message(out, b'K', |out| {
        out.extend_from_slice(&number.to_be_bytes());
        out.extend_from_slice(&secret.to_be_bytes());
    });
}

/// `ReadyForQuery`.
pub fn ready_for_query(out: &mut Vec<u8>, status: u8) {
    out.extend_from_slice(&[b'Z', 0, 0, 0, 5, status]);
}

/// `CommandComplete`.
pub fn command_complete(out: &mut Vec<u8>, tag: &[u8]) {
    message(out, b'C', |out| text(out, tag));
}

/// How bad an error is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The statement failed, the session goes on.
    Error,
    /// The session ends.
    Fatal,
}

/// `ErrorResponse`; an empty *hint* is left out.
pub fn error(out: &mut Vec<u8>, severity: Severity, code: &str, message_text: &str, hint: &str) {
    let word: &[u8] = match severity {
        Severity::Error => b"ERROR",
        Severity::Fatal => b"FATAL",
    };
    fields(out, b'E', word, code, message_text, hint);
}

/// `NoticeResponse`; an empty *hint* is left out.
pub fn notice(out: &mut Vec<u8>, code: &str, message_text: &str, hint: &str) {
    fields(out, b'N', b"NOTICE", code, message_text, hint);
}

fn fields(out: &mut Vec<u8>, kind: u8, word: &[u8], code: &str, message_text: &str, hint: &str) {
    message(out, kind, |out| {
        for (letter, value) in [
            (b'S', word),
            (b'V', word),
            (b'C', code.as_bytes()),
            (b'M', message_text.as_bytes()),
            (b'H', hint.as_bytes()),
        ] {
            if !value.is_empty() {
                out.push(letter);
                // A zero byte would end the field early and shift the rest.
                out.extend(value.iter().copied().filter(|byte| *byte != 0));
                out.push(0);
            }
        }
        out.push(0);
    });
}

/// `Query`.
pub fn query(out: &mut Vec<u8>, sql: &[u8]) {
    message(out, b'Q', |out| text(out, sql));
}

/// `Parse` of *name*; *definition* is the rest of its body (text, zero, number of types, types).
pub fn parse(out: &mut Vec<u8>, name: &[u8], definition: &[u8]) {
    message(out, b'P', |out| {
        text(out, name);
        out.extend_from_slice(definition);
    });
}

/// The head of a `Bind` up to the names; *rest_bytes* more follow that the caller forwards.
pub fn bind_head(out: &mut Vec<u8>, portal: &[u8], statement: &[u8], rest_bytes: usize) {
    out.push(b'B');
    let length = 4 + portal.len() + 1 + statement.len() + 1 + rest_bytes;
    out.extend_from_slice(&(length as u32).to_be_bytes());
    text(out, portal);
    text(out, statement);
}

/// `Describe` of a statement.
pub fn describe_statement(out: &mut Vec<u8>, name: &[u8]) {
    message(out, b'D', |out| {
        out.push(b'S');
        text(out, name);
    });
}

/// `Close` of a statement.
pub fn close_statement(out: &mut Vec<u8>, name: &[u8]) {
    message(out, b'C', |out| {
        out.push(b'S');
        text(out, name);
    });
}

/// `Sync`.
pub fn sync(out: &mut Vec<u8>) {
    out.extend_from_slice(&[b'S', 0, 0, 0, 4]);
}
