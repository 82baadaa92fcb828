//! What a statement's text does to its session, where the server's own trackers are silent.
//!
//! A tokenizer, not a parser: it finds words outside strings and comments. It errs towards seeing an effect that is not
//! there (a pin too many), never towards missing one that is written in the text. What a stored routine does is not in the
//! text; the servers report variables set inside one, and nothing else.

/// One effect, or one thing that a statement reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Effect {
    /// A user variable is assigned.
    UserVariable,
    /// `GET_LOCK(name, …)`; no name where it is not a literal.
    GetLock(Option<Vec<u8>>),
    /// `RELEASE_LOCK(name)`.
    ReleaseLock(Option<Vec<u8>>),
    /// `RELEASE_ALL_LOCKS()`.
    ReleaseAllLocks,
    /// `CREATE TEMPORARY TABLE name`.
    CreateTemporary(Vec<u8>),
    /// `DROP [TEMPORARY] TABLE name, …`: one effect a name.
    DropTable(Vec<u8>),
    /// `LOCK TABLES`, `FLUSH TABLES … READ LOCK`, `LOCK INSTANCE`, `BACKUP …`.
    LockTables,
    /// `UNLOCK TABLES`.
    UnlockTables,
    /// `HANDLER name OPEN`.
    HandlerOpen(Vec<u8>),
    /// `HANDLER name CLOSE`.
    HandlerClose(Vec<u8>),
    /// `PREPARE name`.
    SqlPrepare(Vec<u8>),
    /// `DEALLOCATE PREPARE name`.
    SqlDeallocate(Vec<u8>),
    /// `SET TRANSACTION …`: for the next transaction only.
    NextTransaction,
    /// `SET ROLE`, `SET RESOURCE GROUP`.
    Role,
    /// A system variable whose reported value is not what has to be set again.
    Unreplayable,
    /// `SET NAMES … COLLATE c`, of which servers report only the character set; the collation.
    NamesCollation(Vec<u8>),
    /// One of the `session_track_*` variables is assigned.
    SessionTrack,
    /// `SQL_CALC_FOUND_ROWS`.
    CalcFoundRows,
    /// `FOUND_ROWS()` or `ROW_COUNT()` is read.
    ReadsRowCount,
    /// `SHOW WARNINGS`, `SHOW ERRORS`, `GET DIAGNOSTICS`, `@@warning_count`, `@@error_count`.
    ReadsWarnings,
    /// `LAST_INSERT_ID()` or `@@identity` is read.
    LastInsertId,
    /// `LAST_INSERT_ID(value)` sets what is read later.
    SetsInsertId,
    /// A routine is called or a text is executed: what it does is not visible here.
    Opaque,
    /// MariaDB's `SET STATEMENT … FOR`: reported variables are not the session's.
    SetStatement,
    /// `KILL [HARD|SOFT] [CONNECTION|QUERY [ID]] number`: the number and where it stands.
    Kill {
        /// Only the running statement.
        query: bool,
        /// The connection's number.
        number: u32,
        /// Where the number stands in the text.
        at: std::ops::Range<usize>,
    },
    /// The whole statement is `SELECT CONNECTION_ID()`.
    ConnectionId,
}

/// Effects of a text.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Scan {
    /// In the order they were seen.
    pub(crate) effects: Vec<Effect>,
    /// More than one statement.
    pub(crate) several: bool,
    /// The text only assigns variables or chooses a database: a reported change is explained by what else is reported.
    pub(crate) only_sets: bool,
}

impl Scan {
    pub(crate) fn has(&self, effect: &Effect) -> bool {
        self.effects.contains(effect)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token<'a> {
    Word(&'a [u8]),
    /// A quoted identifier or a string, without its quotes.
    Quoted(&'a [u8]),
    Number(&'a [u8]),
    UserVariable,
    SystemVariable,
    Assign,
    Other(u8),
}

struct Tokens<'a> {
    text: &'a [u8],
    at: usize,
    /// A backslash in a string is an ordinary character (`NO_BACKSLASH_ESCAPES`).
    plain_backslash: bool,
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$' || byte >= 0x80
}

impl<'a> Tokens<'a> {
    fn peek(&self, ahead: usize) -> u8 {
        self.text.get(self.at + ahead).copied().unwrap_or(0)
    }

    fn word(&mut self) -> &'a [u8] {
        let from = self.at;
        while self.at < self.text.len() && is_word(self.text[self.at]) {
            self.at += 1;
        }
        &self.text[from..self.at]
    }

    fn quoted(&mut self, quote: u8) -> &'a [u8] {
        self.at += 1;
        let from = self.at;
        while self.at < self.text.len() {
            let byte = self.text[self.at];
            if byte == b'\\' && quote != b'`' && !self.plain_backslash {
                self.at += 2;
            } else if byte != quote {
                self.at += 1;
            } else if self.peek(1) == quote {
                self.at += 2;
            } else {
                break;
            }
        }
        let to = self.at.min(self.text.len());
        self.at = (to + 1).min(self.text.len());
        &self.text[from..to]
    }

    fn skip_line(&mut self) {
        while self.at < self.text.len() && self.text[self.at] != b'\n' {
            self.at += 1;
        }
    }

    /// Skip a comment; the content of `/*! … */` and `/*M! … */` is executed by a server, so it is not skipped.
    fn skip_comment(&mut self) {
        if self.peek(2) == b'!' || (self.peek(2) == b'M' && self.peek(3) == b'!') {
            self.at += if self.peek(2) == b'!' { 3 } else { 4 };
            while self.peek(0).is_ascii_digit() {
                self.at += 1;
            }
            return;
        }
        self.at += 2;
        while self.at < self.text.len() && !(self.peek(0) == b'*' && self.peek(1) == b'/') {
            self.at += 1;
        }
        self.at = (self.at + 2).min(self.text.len());
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = (usize, Token<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let byte = *self.text.get(self.at)?;
            let start = self.at;
            let token = match byte {
                b' ' | b'\t' | b'\r' | b'\n' | 0x0b | 0x0c | 0 => {
                    self.at += 1;
                    continue;
                }
                b'#' => {
                    self.skip_line();
                    continue;
                }
                b'-' if self.peek(1) == b'-' && (self.at + 2 >= self.text.len() || self.peek(2) <= b' ') => {
                    self.skip_line();
                    continue;
                }
                b'/' if self.peek(1) == b'*' => {
                    self.skip_comment();
                    continue;
                }
                b'*' if self.peek(1) == b'/' => {
                    self.at += 2; // the end of an executed comment
                    continue;
                }
                b'\'' | b'"' | b'`' => Token::Quoted(self.quoted(byte)),
                b'@' if self.peek(1) == b'@' => {
                    self.at += 2;
                    Token::SystemVariable
                }
                b'@' => {
                    self.at += 1;
                    match self.peek(0) {
                        quote @ (b'\'' | b'"' | b'`') => _ = self.quoted(quote),
                        _ => {
                            while is_word(self.peek(0)) || self.peek(0) == b'.' {
                                self.at += 1;
                            }
                        }
                    }
                    Token::UserVariable
                }
                b':' if self.peek(1) == b'=' => {
                    self.at += 2;
                    Token::Assign
                }
                byte if is_word(byte) => {
                    let word = self.word();
                    if word.iter().all(u8::is_ascii_digit) {
                        Token::Number(word)
                    } else {
                        Token::Word(word)
                    }
                }
                other => {
                    self.at += 1;
                    Token::Other(other)
                }
            };
            return Some((start, token));
        }
    }
}

/// System variables whose reported value cannot simply be set again, or that act once.
const UNREPLAYABLE: &[&str] = &[
    "timestamp",
    "insert_id",
    "last_insert_id",
    "identity",
    "rand_seed1",
    "rand_seed2",
    "gtid_next",
    "profiling",
    "pseudo_thread_id",
    "pseudo_replica_mode",
    "pseudo_slave_mode",
    "gtid_seq_no",
    "gtid_domain_id",
    "server_id",
    "skip_replication",
    "transaction_allow_batching",
    "debug",
    "debug_sync",
    "wsrep_on",
];

/// Find the effects of *text*.
pub(crate) fn scan(text: &[u8], plain_backslash: bool) -> Scan {
    let mut scan = Scan { only_sets: true, ..Scan::default() };
    let mut tokens = Tokens { text, at: 0, plain_backslash }.peekable();
    let mut words: Vec<(usize, Token<'_>)> = Vec::new();
    let mut statements = 0;
    loop {
        words.clear();
        while let Some(token) = tokens.next_if(|(_, token)| *token != Token::Other(b';')) {
            words.push(token);
        }
        if !words.is_empty() {
            statements += 1;
            statement(&words, &mut scan);
        }
        if tokens.next().is_none() {
            break;
        }
    }
    scan.several = statements > 1;
    scan
}

fn is(token: Option<&(usize, Token<'_>)>, word: &str) -> bool {
    matches!(token, Some((_, Token::Word(found))) if found.eq_ignore_ascii_case(word.as_bytes()))
}

fn is_any(token: Option<&(usize, Token<'_>)>, words: &[&str]) -> bool {
    words.iter().any(|word| is(token, word))
}

fn opens(token: Option<&(usize, Token<'_>)>) -> bool {
    matches!(token, Some((_, Token::Other(b'('))))
}

/// A name as written, lower-cased; the last part of `database.name`.
fn name(tokens: &[(usize, Token<'_>)]) -> Vec<u8> {
    let mut last: &[u8] = b"";
    for (_, token) in tokens {
        match token {
            Token::Word(text) | Token::Quoted(text) | Token::Number(text) => last = text,
            Token::Other(b'.') => {}
            _ => break,
        }
        if !matches!(token, Token::Other(b'.')) && last.is_empty() {
            break;
        }
    }
    last.to_ascii_lowercase()
}

/// The literal that is the first argument of a function whose parenthesis is at the front.
fn literal(tokens: &[(usize, Token<'_>)]) -> Option<Vec<u8>> {
    match tokens {
        [(_, Token::Other(b'(')), (_, Token::Quoted(text)), (_, Token::Other(b',' | b')')), ..] => {
            Some(text.to_ascii_lowercase())
        }
        _ => None,
    }
}

fn statement(words: &[(usize, Token<'_>)], scan: &mut Scan) {
    let first = words.first();
    let sets = is(first, "set") && !is(words.get(1), "statement");
    if !sets && !is(first, "use") {
        scan.only_sets = false;
    }
    if let Some((_, Token::Word(word))) = first {
        leading(&word.to_ascii_lowercase(), words, scan);
    }
    for (index, (_, token)) in words.iter().enumerate() {
        let next = &words[index + 1..];
        match token {
            Token::Assign => scan.effects.push(Effect::UserVariable),
            Token::UserVariable if sets && assigns(words, index) => scan.effects.push(Effect::UserVariable),
            Token::UserVariable if index > 0 && follows_into(&words[..index]) => {
                scan.effects.push(Effect::UserVariable)
            }
            Token::Word(word) => anywhere(
                word,
                index > 0 && matches!(words[index - 1].1, Token::SystemVariable | Token::Other(b'.')),
                next,
                sets,
                scan,
            ),
            _ => {}
        }
    }
}

/// In a SET statement: the variable at *index* stands where an assignment begins.
fn assigns(words: &[(usize, Token<'_>)], index: usize) -> bool {
    matches!(words.get(index + 1), Some((_, Token::Other(b'='))))
}

/// `… INTO @a, @b`
fn follows_into(before: &[(usize, Token<'_>)]) -> bool {
    before
        .iter()
        .rev()
        .find(|(_, token)| !matches!(token, Token::UserVariable | Token::Other(b',' | b'(')))
        .is_some_and(|token| is(Some(token), "into"))
}

/// Effects that the statement's first word announces.
fn leading(first: &[u8], words: &[(usize, Token<'_>)], scan: &mut Scan) {
    let effects = &mut scan.effects;
    match first {
        b"create" => {
            let at = if is(words.get(1), "or") { 3 } else { 1 };
            if is(words.get(at), "temporary") {
                let mut from = at + 2;
                if is(words.get(from), "if") {
                    from += 3;
                }
                effects.push(Effect::CreateTemporary(name(words.get(from..).unwrap_or_default())));
            }
        }
        b"drop" if is(words.get(1), "prepare") => effects.push(Effect::SqlDeallocate(name(&words[2..]))),
        b"drop" if is_any(words.get(1), &["table", "tables", "temporary"]) => {
            let mut from = if is(words.get(1), "temporary") { 3 } else { 2 };
            if is(words.get(from), "if") {
                from += 2;
            }
            for one in words.get(from..).unwrap_or_default().split(|(_, token)| *token == Token::Other(b',')) {
                effects.push(Effect::DropTable(name(one)));
            }
        }
        b"lock" | b"backup" => effects.push(Effect::LockTables),
        b"flush" if words.iter().any(|word| is_any(Some(word), &["lock", "export"])) => {
            effects.push(Effect::LockTables)
        }
        b"unlock" => effects.push(Effect::UnlockTables),
        b"handler" => {
            let target = name(words.get(1..2).unwrap_or_default());
            if words.iter().skip(2).any(|word| is(Some(word), "open")) {
                effects.push(Effect::HandlerOpen(target));
            } else if words.last().is_some_and(|word| is(Some(word), "close")) {
                effects.push(Effect::HandlerClose(target));
            }
        }
        b"prepare" => effects.push(Effect::SqlPrepare(name(words.get(1..2).unwrap_or_default()))),
        b"deallocate" => effects.push(Effect::SqlDeallocate(name(words.get(2..3).unwrap_or_default()))),
        b"call" | b"execute" | b"begin" if first == b"call" || first == b"execute" || is(words.get(1), "not") => {
            effects.push(Effect::Opaque);
        }
        b"set" => leading_set(words, scan),
        b"show" if words.iter().any(|word| is_any(Some(word), &["warnings", "errors"])) => {
            effects.push(Effect::ReadsWarnings);
        }
        b"get" => effects.push(Effect::ReadsWarnings),
        b"kill" => kill(words, scan),
        b"select" => {
            if let [_, (_, Token::Word(word)), (_, Token::Other(b'(')), (_, Token::Other(b')'))] = words {
                if word.eq_ignore_ascii_case(b"connection_id") {
                    effects.push(Effect::ConnectionId);
                }
            }
        }
        _ => {}
    }
}

fn leading_set(words: &[(usize, Token<'_>)], scan: &mut Scan) {
    let effects = &mut scan.effects;
    if is(words.get(1), "statement") {
        effects.push(Effect::SetStatement);
    } else if is(words.get(1), "transaction") {
        effects.push(Effect::NextTransaction);
    } else if is_any(words.get(1), &["role", "resource"]) {
        effects.push(Effect::Role);
    } else if is(words.get(1), "names") {
        if let Some(at) = words.iter().position(|word| is(Some(word), "collate")) {
            effects.push(Effect::NamesCollation(name(&words[at + 1..])));
        }
    } else if is(words.get(1), "charset") || (is(words.get(1), "character") && is(words.get(2), "set")) {
        effects.push(Effect::Unreplayable); // it takes the collation from the default database, unreported
    }
    for (index, _) in words.iter().enumerate() {
        // @@transaction_isolation without SESSION is for the next transaction only
        if words[index].1 == Token::SystemVariable
            && is_any(
                words.get(index + 1),
                &["transaction_isolation", "tx_isolation", "transaction_read_only", "tx_read_only"],
            )
        {
            effects.push(Effect::NextTransaction);
        }
    }
}

fn kill(words: &[(usize, Token<'_>)], scan: &mut Scan) {
    let query = words.iter().any(|word| is(Some(word), "query"));
    if let Some((at, Token::Number(digits))) = words.last() {
        if let Some(number) = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok()) {
            scan.effects.push(Effect::Kill { query, number, at: *at..*at + digits.len() });
        }
    }
}

/// Words that matter wherever they stand. *qualified*: after `@@` or a dot.
fn anywhere(word: &[u8], qualified: bool, next: &[(usize, Token<'_>)], sets: bool, scan: &mut Scan) {
    let effects = &mut scan.effects;
    // The shortest word looked for has eight letters but one; most words of most statements end here.
    if word.len() < 5 || word.len() > 32 {
        return;
    }
    let lower = word.to_ascii_lowercase();
    let call = opens(next.first());
    match lower.as_slice() {
        b"get_lock" if call => effects.push(Effect::GetLock(literal(next))),
        b"release_lock" if call => effects.push(Effect::ReleaseLock(literal(next))),
        b"release_all_locks" if call => effects.push(Effect::ReleaseAllLocks),
        b"sql_calc_found_rows" => effects.push(Effect::CalcFoundRows),
        b"found_rows" | b"row_count" if call => effects.push(Effect::ReadsRowCount),
        b"last_insert_id" if call && !matches!(next.get(1), Some((_, Token::Other(b')')))) => {
            effects.push(Effect::SetsInsertId);
        }
        b"session_variables" => effects.push(Effect::LastInsertId),
        b"last_insert_id" if call || qualified => effects.push(Effect::LastInsertId),
        b"identity" if qualified => effects.push(Effect::LastInsertId),
        b"warning_count" | b"error_count" if qualified => effects.push(Effect::ReadsWarnings),
        b"immediate" => effects.push(Effect::Opaque),
        _ => {}
    }
    if sets && matches!(next.first(), Some((_, Token::Other(b'=') | Token::Assign))) {
        if lower.starts_with(b"session_track_") {
            effects.push(Effect::SessionTrack);
        } else if UNREPLAYABLE.iter().any(|name| name.as_bytes() == lower) {
            effects.push(Effect::Unreplayable);
        }
    }
}

/// Whether the reported value of the variable *name* is not what has to be set again.
pub(crate) fn is_unreplayable(name: &[u8]) -> bool {
    UNREPLAYABLE.iter().any(|known| known.as_bytes() == name)
}
