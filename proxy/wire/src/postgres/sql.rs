//! A small tokenizer for what PostgreSQL's protocol does not say: could this text change the session's state?
//!
//! It never decides that state *was* changed, and never looks for the end of a transaction: it raises [`Hints`], and the
//! proxy then asks the server what is true. A hint too many costs one question; one too few would be a leak, so words
//! are found wherever they stand outside strings and comments.

/// What a text may have done to its session; a set of bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hints(u16);

impl Hints {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// A setting whose name is known was set or reset for the session.
    pub const SETTING: Self = Self(1);
    /// Settings whose names are not in the text may have been set.
    pub const ALL_SETTINGS: Self = Self(1 << 1);
    /// A session-level advisory lock may have been taken or released.
    pub const ADVISORY: Self = Self(1 << 2);
    /// Something temporary may have been made.
    pub const TEMPORARY: Self = Self(1 << 3);
    /// `LISTEN` or `UNLISTEN`.
    pub const LISTEN: Self = Self(1 << 4);
    /// A cursor `WITH HOLD` may have been opened or closed.
    pub const CURSOR: Self = Self(1 << 5);
    /// SQL `PREPARE` or `DEALLOCATE`.
    pub const PREPARE: Self = Self(1 << 6);
    /// `SET SESSION AUTHORIZATION` or its reset.
    pub const AUTHORIZATION: Self = Self(1 << 7);
    /// Code that is not in the text ran (`DO`, `CALL`, `EXECUTE`): anything may have happened.
    pub const OPAQUE: Self = Self(1 << 8);
    /// `LOAD`.
    pub const LOAD: Self = Self(1 << 9);
    /// `setseed` or `SET SEED`.
    pub const SEED: Self = Self(1 << 10);
    /// `currval` or `lastval`.
    pub const SEQUENCE: Self = Self(1 << 11);
    /// `DROP` or `DISCARD`: what made a pin may be gone. Means nothing for a client without pins.
    pub const DROP: Self = Self(1 << 12);

    /// True when any of *other*'s bits is set.
    pub fn any(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// True when nothing is set.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Both sets.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Those bits of this set that are not in *other*.
    #[must_use]
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

/// What was found in a text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scan {
    /// What it may have done.
    pub hints: Hints,
    /// Names of settings that it set or reset, in lower case.
    pub settings: Vec<Box<str>>,
    /// The text is one `DEALLOCATE name`.
    pub deallocate: Option<Box<str>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token<'a> {
    Word(&'a [u8]),
    Quoted(&'a [u8]),
    Text(&'a [u8]),
    Dollar(&'a [u8]),
    Symbol(u8),
}

struct Tokens<'a> {
    text: &'a [u8],
    at: usize,
}

fn starts_word(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80
}

fn in_word(byte: u8) -> bool {
    starts_word(byte) || byte.is_ascii_digit() || byte == b'$'
}

impl<'a> Tokens<'a> {
    fn peek(&self, ahead: usize) -> u8 {
        self.text.get(self.at + ahead).copied().unwrap_or(0)
    }

    /// Move behind the *quote* that ends a quoted piece, doubled ones stay inside; the piece's content.
    fn quoted(&mut self, quote: u8, backslash: bool) -> &'a [u8] {
        let start = self.at + 1;
        self.at = start;
        while self.at < self.text.len() {
            match self.text[self.at] {
                b'\\' if backslash => self.at += 1,
                byte if byte == quote => {
                    if self.peek(1) != quote {
                        break;
                    }
                    self.at += 1;
                }
                _ => {}
            }
            self.at += 1;
        }
        let end = self.at.min(self.text.len());
        self.at = end + 1;
        &self.text[start.min(end)..end]
    }

    /// The tag's length when a dollar quote begins here.
    fn dollar_tag(&self) -> Option<usize> {
        let mut length = 1;
        loop {
            match self.peek(length) {
                b'$' => return Some(length + 1),
                byte if length == 1 && starts_word(byte) => {}
                byte if length > 1 && in_word(byte) => {}
                _ => return None,
            }
            length += 1;
        }
    }

    fn skip_comment(&mut self) {
        let mut depth = 0;
        while self.at < self.text.len() {
            match (self.peek(0), self.peek(1)) {
                (b'/', b'*') => {
                    depth += 1;
                    self.at += 2;
                }
                (b'*', b'/') => {
                    depth -= 1;
                    self.at += 2;
                    if depth == 0 {
                        return;
                    }
                }
                _ => self.at += 1,
            }
        }
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        loop {
            let byte = *self.text.get(self.at)?;
            match byte {
                b' ' | b'\t' | b'\n' | b'\r' | b'\x0c' | 0 => self.at += 1,
                b'-' if self.peek(1) == b'-' => {
                    let line = self.text[self.at..].iter().position(|byte| *byte == b'\n');
                    self.at = line.map_or(self.text.len(), |length| self.at + length);
                }
                b'/' if self.peek(1) == b'*' => self.skip_comment(),
                b'\'' => return Some(Token::Text(self.quoted(b'\'', false))),
                b'e' | b'E' if self.peek(1) == b'\'' => {
                    self.at += 1;
                    return Some(Token::Text(self.quoted(b'\'', true)));
                }
                b'"' => return Some(Token::Quoted(self.quoted(b'"', false))),
                b'$' => {
                    let Some(tag) = self.dollar_tag() else {
                        self.at += 1;
                        return Some(Token::Symbol(b'$'));
                    };
                    let marker = &self.text[self.at..self.at + tag];
                    let start = self.at + tag;
                    let length = self.text[start..].windows(tag).position(|window| window == marker);
                    let end = length.map_or(self.text.len(), |length| start + length);
                    self.at = (end + tag).min(self.text.len());
                    return Some(Token::Dollar(&self.text[start..end]));
                }
                byte if starts_word(byte) => {
                    let start = self.at;
                    while self.at < self.text.len() && in_word(self.text[self.at]) {
                        self.at += 1;
                    }
                    return Some(Token::Word(&self.text[start..self.at]));
                }
                byte if byte.is_ascii_digit() => {
                    while self.at < self.text.len() && (in_word(self.text[self.at]) || self.text[self.at] == b'.') {
                        self.at += 1;
                    }
                    return Some(Token::Symbol(b'0'));
                }
                byte => {
                    self.at += 1;
                    return Some(Token::Symbol(byte));
                }
            }
        }
    }
}

/// Look at a text; cost grows with its length only, about a nanosecond a byte.
pub fn scan(text: &[u8]) -> Scan {
    let mut found = Scan::default();
    scan_into(text, &mut found, false);
    found
}

fn scan_into(text: &[u8], found: &mut Scan, inside_block: bool) {
    let mut tokens = Tokens { text, at: 0 };
    let mut begins = true;
    let mut statements = 0;
    let mut opaque_statement = false;
    while let Some(token) = tokens.next() {
        match token {
            Token::Symbol(b';') => {
                begins = true;
                continue;
            }
            Token::Symbol(b'(') if begins => continue,
            Token::Word(word) => {
                if begins {
                    statements += 1;
                    begins = inside_block && word.eq_ignore_ascii_case(b"begin");
                    opaque_statement = word.eq_ignore_ascii_case(b"do");
                    statement(word, &mut tokens, found, statements == 1);
                }
                anywhere(word, &mut tokens, found);
            }
            // The body of a DO block runs now; that of a function later, when nobody sees it.
            Token::Dollar(body) if opaque_statement => scan_into(body, found, true),
            Token::Text(body) if opaque_statement => scan_into(body, found, true),
            Token::Quoted(name) => anywhere(name, &mut tokens, found),
            _ => {}
        }
        if !matches!(token, Token::Word(word) if inside_block && word.eq_ignore_ascii_case(b"begin")) {
            begins = false;
        }
    }
    if statements != 1 {
        found.deallocate = None;
    }
}

fn lower(name: &[u8]) -> Box<str> {
    String::from_utf8_lossy(name).to_ascii_lowercase().into_boxed_str()
}

fn is(token: Option<Token<'_>>, word: &[u8]) -> bool {
    matches!(token, Some(Token::Word(found)) if found.eq_ignore_ascii_case(word))
}

fn hint(found: &mut Scan, hints: Hints) {
    found.hints = found.hints.with(hints);
}

/// A statement's first word.
fn statement(word: &[u8], tokens: &mut Tokens<'_>, found: &mut Scan, first: bool) {
    let mut lowered = [0_u8; 12];
    let Some(lowered) = lowered.get_mut(..word.len()) else { return };
    lowered.copy_from_slice(word);
    lowered.make_ascii_lowercase();
    match &*lowered {
        b"set" => setting(tokens, found, false),
        b"reset" => setting(tokens, found, true),
        b"discard" => {
            hint(found, Hints::DROP);
        }
        b"listen" | b"unlisten" => hint(found, Hints::LISTEN),
        b"load" => hint(found, Hints::LOAD),
        b"prepare" => {
            if !is(tokens.next(), b"transaction") {
                hint(found, Hints::PREPARE);
            }
        }
        b"deallocate" => {
            hint(found, Hints::PREPARE);
            let mut name = tokens.next();
            if is(name, b"prepare") {
                name = tokens.next();
            }
            match name {
                Some(Token::Word(name)) if first && !name.eq_ignore_ascii_case(b"all") => {
                    found.deallocate = Some(lower(name));
                }
                Some(Token::Quoted(name)) if first => {
                    let name = String::from_utf8_lossy(name).replace("\"\"", "\"");
                    found.deallocate = Some(name.into_boxed_str());
                }
                _ => {}
            }
        }
        b"close" => hint(found, Hints::CURSOR),
        b"do" | b"call" | b"execute" => hint(found, Hints::OPAQUE),
        b"drop" => hint(found, Hints::DROP),
        _ => {}
    }
}

/// What follows `SET` or `RESET`.
fn setting(tokens: &mut Tokens<'_>, found: &mut Scan, reset: bool) {
    let mut token = tokens.next();
    if is(token, b"local") || is(token, b"transaction") || is(token, b"constraints") {
        return;
    }
    if is(token, b"session") {
        token = tokens.next();
        if is(token, b"authorization") {
            hint(found, Hints::AUTHORIZATION);
            return;
        }
        if is(token, b"characteristics") {
            hint(found, Hints::ALL_SETTINGS);
            return;
        }
    }
    let name: Box<str> = match token {
        Some(Token::Word(word)) => {
            let special: &[(&[u8], &str)] = &[
                (b"names", "client_encoding"),
                (b"schema", "search_path"),
                (b"time", "timezone"),
                (b"xml", "xmloption"),
            ];
            if reset && word.eq_ignore_ascii_case(b"all") {
                hint(found, Hints::ALL_SETTINGS);
                return;
            }
            if word.eq_ignore_ascii_case(b"seed") {
                hint(found, Hints::SEED);
                return;
            }
            match special.iter().find(|(keyword, _)| word.eq_ignore_ascii_case(keyword)) {
                Some((_, name)) => (*name).into(),
                None => dotted(lower(word), tokens),
            }
        }
        Some(Token::Quoted(word)) => dotted(lower(word), tokens),
        _ => return,
    };
    hint(found, Hints::SETTING);
    found.settings.push(name);
}

/// Names of extensions' settings have two parts.
fn dotted(mut name: Box<str>, tokens: &mut Tokens<'_>) -> Box<str> {
    loop {
        let back = tokens.at;
        if tokens.next() != Some(Token::Symbol(b'.')) {
            tokens.at = back;
            return name;
        }
        match tokens.next() {
            Some(Token::Word(part) | Token::Quoted(part)) => name = format!("{name}.{}", lower(part)).into_boxed_str(),
            _ => return name,
        }
    }
}

/// Words that matter wherever they stand.
fn anywhere(word: &[u8], tokens: &mut Tokens<'_>, found: &mut Scan) {
    // Nearly all words end here: the first letter and the length decide without a comparison.
    let first = word.first().map_or(0, u8::to_ascii_lowercase);
    if !matches!(first, b't' | b'p' | b's' | b'c' | b'l' | b'h') || word.len() < 4 {
        return;
    }
    if word.eq_ignore_ascii_case(b"temp")
        || word.eq_ignore_ascii_case(b"temporary")
        || word.eq_ignore_ascii_case(b"pg_temp")
    {
        hint(found, Hints::TEMPORARY);
    } else if word.eq_ignore_ascii_case(b"set_config") {
        let back = tokens.at;
        match (tokens.next(), tokens.next()) {
            (Some(Token::Symbol(b'(')), Some(Token::Text(name))) => {
                hint(found, Hints::SETTING);
                found.settings.push(lower(name));
            }
            _ => hint(found, Hints::ALL_SETTINGS),
        }
        tokens.at = back;
    } else if word.eq_ignore_ascii_case(b"setseed") {
        hint(found, Hints::SEED);
    } else if word.eq_ignore_ascii_case(b"currval") || word.eq_ignore_ascii_case(b"lastval") {
        hint(found, Hints::SEQUENCE);
    } else if word.eq_ignore_ascii_case(b"hold") {
        hint(found, Hints::CURSOR);
    } else if first == b'p' && word.len() > 12 {
        let lowered = word.to_ascii_lowercase();
        let advisory = lowered.starts_with(b"pg_advisory_") || lowered.starts_with(b"pg_try_advisory_");
        if advisory && !lowered.windows(4).any(|window| window == b"xact") {
            hint(found, Hints::ADVISORY);
        }
    }
}

/// A statement shortened for people: literals replaced by `?`, white space folded, at most *limit* bytes.
pub fn digest(text: &[u8], limit: usize) -> String {
    let mut tokens = Tokens { text, at: 0 };
    let mut short = String::new();
    while short.len() < limit {
        let before = tokens.at;
        let Some(token) = tokens.next() else { break };
        let gap = before > 0 && text[before..].first().is_some_and(u8::is_ascii_whitespace);
        if gap && !short.is_empty() {
            short.push(' ');
        }
        match token {
            Token::Word(word) => short.push_str(&String::from_utf8_lossy(word)),
            Token::Quoted(word) => {
                short.push('"');
                short.push_str(&String::from_utf8_lossy(word));
                short.push('"');
            }
            Token::Text(_) | Token::Dollar(_) | Token::Symbol(b'0') => short.push('?'),
            Token::Symbol(byte) => short.push(byte as char),
        }
    }
    if short.len() > limit {
        let cut = (0..=limit).rev().find(|at| short.is_char_boundary(*at)).unwrap_or(0);
        short.truncate(cut);
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::{digest, scan, Hints, Scan};

    fn hints(text: &str) -> Hints {
        scan(text.as_bytes()).hints
    }

    fn settings(text: &str) -> Vec<String> {
        scan(text.as_bytes()).settings.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn ordinary_statements_raise_no_hint() {
        for text in [
            "select 1",
            "SELECT * FROM settings WHERE name = 'set_config(''a'')' -- pg_advisory_lock",
            "insert into t values (1, $$temp$$) /* listen /* nested */ temp */ returning id",
            "update t set temperature = 1, holder = 2 where load = 3",
            "begin; set local work_mem = '1MB'; set transaction read only; set constraints all deferred; commit",
            "select pg_advisory_xact_lock(1), pg_try_advisory_xact_lock_shared(2)",
            "prepare transaction 'x'",
            "create function f() returns int language sql set search_path = x as $$ select set_config('a.b', '1', false) $$",
            "select E'\\'; set x = 1; --'",
        ] {
            assert_eq!(scan(text.as_bytes()), Scan::default(), "{text}");
        }
    }

    #[test]
    fn settings_are_named() {
        assert_eq!(settings("set work_mem = '1MB'"), ["work_mem"]);
        assert_eq!(settings("SET SESSION App.Tenant TO 'x'"), ["app.tenant"]);
        assert_eq!(
            settings("set time zone 'UTC'; reset DateStyle ; set names 'x'"),
            ["timezone", "datestyle", "client_encoding"]
        );
        assert_eq!(settings("select set_config('my.x', $1, false), 1"), ["my.x"]);
        assert_eq!(settings("set role bob"), ["role"]);
        assert_eq!(settings("do $$ begin perform set_config('a.b', '1', false); set x.y = 1; end $$"), ["a.b", "x.y"]);
        assert!(hints("select set_config($1, $2, false)").any(Hints::ALL_SETTINGS));
        assert!(hints("reset all").any(Hints::ALL_SETTINGS));
        assert!(hints("set session characteristics as transaction read only").any(Hints::ALL_SETTINGS));
    }

    #[test]
    fn every_kind_of_state_raises_its_hint() {
        for (text, expected) in [
            ("select pg_try_advisory_lock(1)", Hints::ADVISORY),
            ("SELECT PG_CATALOG.PG_ADVISORY_UNLOCK_ALL()", Hints::ADVISORY),
            ("create TEMP table x (i int)", Hints::TEMPORARY),
            ("select 1 into temporary x", Hints::TEMPORARY),
            ("create table pg_temp.x (i int)", Hints::TEMPORARY),
            ("/* x */ listen ch", Hints::LISTEN),
            ("select 1;unlisten *", Hints::LISTEN),
            ("declare c cursor with hold for select 1", Hints::CURSOR),
            ("close c", Hints::CURSOR),
            ("prepare p as select 1", Hints::PREPARE),
            ("deallocate all", Hints::PREPARE),
            ("set session authorization bob", Hints::AUTHORIZATION),
            ("do 'begin end'", Hints::OPAQUE),
            ("call p()", Hints::OPAQUE),
            ("load 'auto_explain'", Hints::LOAD),
            ("select setseed(0.5)", Hints::SEED),
            ("select lastval()", Hints::SEQUENCE),
            ("discard all", Hints::DROP),
        ] {
            assert_eq!(hints(text), expected, "{text}");
        }
    }

    #[test]
    fn a_single_deallocate_names_its_statement() {
        let name = |text: &str| scan(text.as_bytes()).deallocate;
        assert_eq!(name("DEALLOCATE Foo").as_deref(), Some("foo"));
        assert_eq!(name("deallocate prepare \"Foo\"\"x\";").as_deref(), Some("Foo\"x"));
        assert_eq!(name("deallocate all"), None);
        assert_eq!(name("deallocate a; select 1"), None);
    }

    #[test]
    fn unterminated_pieces_end_with_the_text() {
        for text in
            ["'", "\"", "$$", "$a$ x $b$", "/*", "--", "e'\\", "set", "set a.", "select set_config(", "$", "do $$set"]
        {
            let _ = scan(text.as_bytes());
            let _ = digest(text.as_bytes(), 10);
        }
    }

    #[test]
    fn a_digest_shows_no_literal_and_is_short() {
        assert_eq!(
            digest(b"select  *\n from t where a = 'secret' and b=42", 100),
            "select * from t where a = ? and b=?"
        );
        assert_eq!(digest("set x = \"\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}\"".as_bytes(), 12), "set x = \"\u{e4}…");
    }
}
