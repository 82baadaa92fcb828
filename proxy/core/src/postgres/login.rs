//! Clients log in: start-up packet, TLS request, SCRAM-SHA-256 or md5.

use super::{Client, Postgres};
use crate::protocol::{LoginContext, LoginNext, LoginStep, PoolKey, Refusal};
use crate::reason::ClientClose;
use crate::settings::ClientAuth;
use base64::engine::general_purpose::STANDARD as BASE64;
use base64::Engine as _;
use std::collections::BTreeMap;
use std::sync::Arc;
use warmline_wire::auth::{postgres_md5, scram};
use warmline_wire::postgres::{self as wire, Head, Severity, Startup, StartupStep};

/// A client that is not authenticated.
pub struct Login {
    stage: Stage,
    user: String,
    database: String,
    vars: BTreeMap<Box<str>, Box<[u8]>>,
}

enum Stage {
    /// Nothing came yet, or TLS was negotiated.
    Start,
    SaslInitial,
    SaslFinal(Box<scram::ServerExchange>, bool),
    Md5([u8; 4]),
    /// Decided: a second start-up packet or anything else is ignored (CVE-2026-107350's class of errors).
    Done,
}

/// A login message is short; only a SASL answer or a password.
const MAX_MESSAGE_BYTES: usize = 8192;

/// Parameters of the start-up packet that are no settings.
const NOT_SETTINGS: [&str; 4] = ["user", "database", "replication", "options"];

impl Login {
    pub(super) fn new() -> Self {
        Self { stage: Stage::Start, user: String::new(), database: String::new(), vars: BTreeMap::new() }
    }
}

fn end(
    login: &mut Login,
    out: &mut Vec<u8>,
    consumed: usize,
    code: &str,
    text: &str,
    reason: ClientClose,
) -> LoginStep<Postgres> {
    login.stage = Stage::Done;
    wire::error(out, Severity::Fatal, code, text, "");
    LoginStep { consumed, next: LoginNext::Close(reason) }
}

fn wait(consumed: usize) -> LoginStep<Postgres> {
    LoginStep { consumed, next: LoginNext::Wait }
}

impl Postgres {
    pub(super) fn login_step(
        &self,
        login: &mut Login,
        context: LoginContext,
        input: &[u8],
        out: &mut Vec<u8>,
    ) -> LoginStep<Self> {
        if matches!(login.stage, Stage::Start) {
            return self.start(login, context, input, out);
        }
        if matches!(login.stage, Stage::Done) {
            return LoginStep { consumed: input.len(), next: LoginNext::Close(ClientClose::ProtocolViolation) };
        }
        let head = match Head::read(input) {
            Ok(None) => return wait(0),
            Ok(Some(head)) if head.kind == b'p' && head.total <= MAX_MESSAGE_BYTES => head,
            _ => {
                let text = "expected a password message";
                return end(login, out, input.len(), "08P01", text, ClientClose::ProtocolViolation);
            }
        };
        let Some(body) = input.get(Head::BYTES..head.total) else { return wait(0) };
        match std::mem::replace(&mut login.stage, Stage::Done) {
            Stage::SaslInitial => self.sasl_initial(login, body, head.total, out),
            Stage::SaslFinal(exchange, known) => self.sasl_final(login, &exchange, known, body, head.total, out),
            Stage::Md5(salt) => {
                let claimed = wire::cstr(body).map_or(&b""[..], |(claimed, _)| claimed);
                let stored = self.md5_of(&login.user);
                if stored.is_some_and(|stored| postgres_md5::verify(claimed, &stored, salt)) {
                    Self::admitted(login, head.total)
                } else {
                    wrong_password(login, head.total, out)
                }
            }
            Stage::Start | Stage::Done => wait(head.total),
        }
    }

    fn start(&self, login: &mut Login, context: LoginContext, input: &[u8], out: &mut Vec<u8>) -> LoginStep<Self> {
        // PostgreSQL 17's clients may begin with TLS at once: its first byte is no length of a start-up packet.
        if input.first() == Some(&0x16) && context.tls_available && !context.tls {
            return LoginStep { consumed: 0, next: LoginNext::StartTls };
        }
        let (startup, consumed) = match wire::read_startup(input) {
            Ok(StartupStep::More) => return wait(0),
            Ok(StartupStep::Whole(startup, length)) => (startup, length),
            Err(_) => {
                return LoginStep { consumed: input.len(), next: LoginNext::Close(ClientClose::ProtocolViolation) }
            }
        };
        match startup {
            Startup::Ssl if context.tls_available && !context.tls => {
                // Bytes behind the request are not TLS's: somebody in between put them there (CVE-2021-23214's class).
                if input.len() > consumed {
                    return LoginStep { consumed: input.len(), next: LoginNext::Close(ClientClose::ProtocolViolation) };
                }
                out.push(b'S');
                LoginStep { consumed, next: LoginNext::StartTls }
            }
            Startup::Ssl | Startup::Gss => {
                out.push(b'N');
                wait(consumed)
            }
            Startup::Cancel { number, secret } => {
                let secret = secret.try_into().map_or(0, |bytes: [u8; 4]| u64::from(u32::from_be_bytes(bytes)));
                LoginStep { consumed, next: LoginNext::Cancel { client: number, secret } }
            }
            Startup::Version { major } => {
                let text = format!("unsupported frontend protocol {major}: this proxy speaks 3.0");
                end(login, out, consumed, "0A000", &text, ClientClose::ProtocolViolation)
            }
            Startup::Session { minor, parameters } => {
                let kept = parameters.iter().map(|(name, value)| (*name, *value)).collect::<Vec<_>>();
                self.session(login, context, minor, &kept, consumed, out)
            }
        }
    }

    fn session(
        &self,
        login: &mut Login,
        context: LoginContext,
        minor: u16,
        parameters: &[(&[u8], &[u8])],
        consumed: usize,
        out: &mut Vec<u8>,
    ) -> LoginStep<Self> {
        if self.settings.require_tls && !context.tls {
            let text = "this proxy requires TLS connections";
            return end(login, out, consumed, "28000", text, ClientClose::TlsRefused);
        }
        let unknown: Vec<&[u8]> =
            parameters.iter().map(|(name, _)| *name).filter(|name| name.starts_with(b"_pq_.")).collect();
        if minor > 0 || !unknown.is_empty() {
            wire::negotiate_protocol_version(out, &unknown);
        }
        let text_of = |wanted: &str| {
            parameters
                .iter()
                .find(|(name, _)| *name == wanted.as_bytes())
                .map(|(_, value)| String::from_utf8_lossy(value).into_owned())
        };
        login.user = text_of("user").unwrap_or_default();
        if login.user.is_empty() {
            let text = "no PostgreSQL user name specified in startup packet";
            return end(login, out, consumed, "28000", text, ClientClose::ProtocolViolation);
        }
        login.database = text_of("database").filter(|name| !name.is_empty()).unwrap_or_else(|| login.user.clone());
        if text_of("replication").is_some_and(|value| !matches!(value.as_str(), "false" | "off" | "no" | "0")) {
            let text = "replication connections cannot be multiplexed: connect to the server directly";
            return end(login, out, consumed, "0A000", text, ClientClose::ProtocolViolation);
        }
        for (name, value) in parameters {
            let name = String::from_utf8_lossy(name).to_ascii_lowercase();
            if !NOT_SETTINGS.contains(&name.as_str()) && !name.starts_with("_pq_.") {
                login.vars.insert(name.into(), (*value).into());
            }
        }
        if let Some(options) = text_of("options") {
            match read_options(&options) {
                Ok(settings) => login.vars.extend(settings),
                Err(text) => return end(login, out, consumed, "22023", &text, ClientClose::ProtocolViolation),
            }
        }
        match self.settings.auth {
            ClientAuth::Trust => {
                if self.settings.user(&login.user).is_none() {
                    let text = format!("this proxy has no credentials for the role {:?}", login.user);
                    return end(login, out, consumed, "28000", &text, ClientClose::AuthFailed);
                }
                Self::admitted(login, consumed)
            }
            ClientAuth::Md5 => {
                let mut salt = [0; 4];
                if getrandom::fill(&mut salt).is_err() {
                    return end(login, out, consumed, "XX000", "no randomness for a salt", ClientClose::AuthFailed);
                }
                wire::authentication_md5(out, salt);
                login.stage = Stage::Md5(salt);
                wait(consumed)
            }
            _ => {
                wire::authentication_sasl(out);
                login.stage = Stage::SaslInitial;
                wait(consumed)
            }
        }
    }

    fn sasl_initial(&self, login: &mut Login, body: &[u8], consumed: usize, out: &mut Vec<u8>) -> LoginStep<Self> {
        let first = wire::cstr(body).and_then(|(mechanism, rest)| {
            let (_, data) = rest.split_first_chunk::<4>()?;
            (mechanism == b"SCRAM-SHA-256").then_some(data)
        });
        let Some(first) = first else {
            let text = "expected SASL mechanism SCRAM-SHA-256";
            return end(login, out, consumed, "08P01", text, ClientClose::ProtocolViolation);
        };
        // An unknown user is asked like a known one: who is known is not to be found out from outside.
        let (verifier, known) = match self.verifier_of(&login.user) {
            Some(verifier) => (verifier, true),
            None => (self.mock_verifier(&login.user), false),
        };
        let mut nonce = [0; 18];
        if getrandom::fill(&mut nonce).is_err() {
            return end(login, out, consumed, "XX000", "no randomness for a nonce", ClientClose::AuthFailed);
        }
        match scram::ServerExchange::new(first, verifier, BASE64.encode(nonce).as_bytes()) {
            Ok(exchange) => {
                wire::authentication_sasl_continue(out, exchange.server_first());
                login.stage = Stage::SaslFinal(Box::new(exchange), known);
                wait(consumed)
            }
            Err(scram::Failure::ChannelBinding) => {
                let text = "channel binding is not offered by this proxy";
                end(login, out, consumed, "28000", text, ClientClose::AuthFailed)
            }
            Err(_) => end(login, out, consumed, "08P01", "malformed SCRAM message", ClientClose::ProtocolViolation),
        }
    }

    fn sasl_final(
        &self,
        login: &mut Login,
        exchange: &scram::ServerExchange,
        known: bool,
        body: &[u8],
        consumed: usize,
        out: &mut Vec<u8>,
    ) -> LoginStep<Self> {
        match exchange.finish(body) {
            Ok((last, keys)) if known => {
                self.learn_keys(&login.user, keys);
                wire::authentication_sasl_final(out, &last);
                Self::admitted(login, consumed)
            }
            Ok(_) | Err(scram::Failure::WrongProof) => wrong_password(login, consumed, out),
            Err(_) => end(login, out, consumed, "08P01", "malformed SCRAM message", ClientClose::ProtocolViolation),
        }
    }

    fn admitted(login: &mut Login, consumed: usize) -> LoginStep<Self> {
        login.stage = Stage::Done;
        let key =
            PoolKey { user: Arc::from(login.user.as_str()), database: Arc::from(login.database.as_str()), class: 0 };
        let client = Client::new(std::mem::take(&mut login.vars));
        LoginStep { consumed, next: LoginNext::Ready(Box::new(client), key) }
    }

    pub(super) fn refuse_login_text(login: &mut Login, refusal: &Refusal, out: &mut Vec<u8>) {
        login.stage = Stage::Done;
        let (code, text) = super::refusal_text(refusal);
        wire::error(out, Severity::Fatal, code, &text, "");
    }
}

fn wrong_password(login: &mut Login, consumed: usize, out: &mut Vec<u8>) -> LoginStep<Postgres> {
    let text = format!("password authentication failed for user {:?}", login.user);
    end(login, out, consumed, "28P01", &text, ClientClose::AuthFailed)
}

/// `-c name=value` and `--name=value`, with backslash-escaped spaces, as PostgreSQL reads its `options` parameter.
fn read_options(options: &str) -> Result<Vec<(Box<str>, Box<[u8]>)>, String> {
    let mut words: Vec<String> = Vec::new();
    let mut word: Option<String> = None;
    let mut letters = options.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => word.get_or_insert_with(String::new).extend(letters.next()),
            letter if letter.is_whitespace() => words.extend(word.take()),
            letter => word.get_or_insert_with(String::new).push(letter),
        }
    }
    words.extend(word);
    let mut found = Vec::new();
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        let setting = match word.strip_prefix("-c") {
            Some("") => words.next().unwrap_or_default(),
            Some(rest) => rest.to_string(),
            None => match word.strip_prefix("--") {
                Some(rest) => rest.to_string(),
                None => return Err(format!("option {word:?} is not -c name=value")),
            },
        };
        let (name, value) = setting.split_once('=').unwrap_or((&setting, ""));
        if name.is_empty() {
            return Err("an option has no name".into());
        }
        let name = name.replace('-', "_").to_ascii_lowercase();
        found.push((name.into_boxed_str(), value.as_bytes().into()));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::read_options;

    fn read(text: &str) -> Result<Vec<(String, String)>, String> {
        let found = read_options(text)?;
        Ok(found.into_iter().map(|(name, value)| (name.into(), String::from_utf8_lossy(&value).into_owned())).collect())
    }

    #[test]
    fn options_are_read_as_the_server_reads_them() {
        let pair = |name: &str, value: &str| (name.to_string(), value.to_string());
        assert_eq!(
            read("-c statement_timeout=5s --Work-Mem=1MB -csearch_path=a\\ b").unwrap(),
            [pair("statement_timeout", "5s"), pair("work_mem", "1MB"), pair("search_path", "a b")]
        );
    }

    #[test]
    fn an_option_without_a_name_is_refused_and_ends() {
        for text in ["-c=", "-c =1", "--=", "-c", "-x", "--"] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
