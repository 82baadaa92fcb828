//! Where the response to a command ends, without looking into rows.

use super::{names, packet_at, Cursor, Header, Malformed, PrepareOk, Status, HEADER, MAX_PAYLOAD};

/// The longest OK, EOF or ERR packet that is waited for; longer ones are [`Malformed`]. Session-state changes of
/// every system variable of MySQL 9 at once take 20 KB.
const MAX_REPLY: usize = 1 << 20;

/// Follows the response to one command through the server's bytes, at any split of them.
///
/// Feed [`Self::step`] the bytes not yet consumed, act on what it says, consume that many, and call again. Rows and column
/// definitions are only counted and skipped. The packets that end a result, and the first of a prepare response,
/// come out whole, because a proxy reads and rewrites them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tracker {
    phase: Phase,
    after_columns: Phase2,
    /// Bytes of a packet that has begun and still belong to it.
    skip: usize,
    /// The packet that has begun is continued by the next one.
    continues: bool,
    deprecate_eof: bool,
    session_track: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The first packet of a result.
    First,
    /// The first packet of a prepare response.
    Prepare,
    /// This many definitions to come, then maybe EOF.
    Definitions(u64),
    /// The EOF after definitions.
    DefinitionsEnd,
    /// Rows, or `COM_FIELD_LIST`'s definitions, until EOF or ERR.
    Rows,
    /// One packet without a mark: `COM_STATISTICS`.
    Text,
    /// Nothing more belongs to this response.
    Done,
}

/// What follows definitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase2 {
    Rows,
    /// A prepare response: this many columns still to be defined.
    Columns(u64),
    Done,
}

/// What the bytes at the front are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Too few bytes to tell; call again with more.
    More,
    /// This many bytes belong to the response and need no look.
    Pass(usize),
    /// This many bytes are one whole OK packet.
    Ok {
        /// Bytes, header included.
        length: usize,
        /// The response ends here.
        end: bool,
    },
    /// This many bytes are one whole EOF packet.
    Eof {
        /// Bytes, header included.
        length: usize,
        /// Its status flags.
        status: Status,
        /// The response ends here.
        end: bool,
    },
    /// This many bytes are one whole ERR packet; the response ends here.
    Err {
        /// Bytes, header included.
        length: usize,
    },
    /// This many bytes are the first packet of a prepare response.
    Prepared {
        /// Bytes, header included.
        length: usize,
        /// The response ends here: no parameter, no column.
        end: bool,
    },
    /// This many bytes ask the client for a file; its packets up to an empty one come next, then the response goes on.
    LocalInfile {
        /// Bytes, header included.
        length: usize,
    },
}

impl Tracker {
    /// Follow the response to `command`; `None` for the commands that have no response. `COM_CHANGE_USER`'s is a dialogue
    /// and not followed here.
    pub fn new(command: u8, deprecate_eof: bool, session_track: bool) -> Option<Self> {
        let phase = match command {
            names::QUIT | names::STMT_CLOSE | names::STMT_SEND_LONG_DATA => return None,
            names::STMT_PREPARE => Phase::Prepare,
            names::STMT_FETCH | names::FIELD_LIST => Phase::Rows,
            names::STATISTICS => Phase::Text,
            _ => Phase::First,
        };
        let after_columns = Phase2::Rows;
        Some(Self { phase, after_columns, skip: 0, continues: false, deprecate_eof, session_track })
    }

    /// Whether nothing of the response is outstanding.
    pub fn is_done(&self) -> bool {
        self.phase == Phase::Done && self.skip == 0 && !self.continues
    }

    /// What the bytes at the front of `bytes` are. After the response's end this is [`Step::More`] for ever.
    pub fn step(&mut self, bytes: &[u8]) -> Result<Step, Malformed> {
        let mut passed = 0;
        loop {
            let rest = &bytes[passed..];
            if self.skip > 0 {
                let now = self.skip.min(rest.len());
                self.skip -= now;
                passed += now;
                if self.skip > 0 || passed == bytes.len() {
                    return Ok(pass(passed));
                }
                continue;
            }
            if self.phase == Phase::Done && !self.continues {
                return Ok(pass(passed));
            }
            let Some(header) = Header::parse(rest) else { return Ok(pass(passed)) };
            if self.continues {
                self.begin(header);
                passed += HEADER;
                continue;
            }
            // A packet's first byte says whether it is a reply; an empty packet cannot be one.
            let mark = rest.get(HEADER).copied();
            if mark.is_none() && header.length > 0 {
                return Ok(pass(passed));
            }
            if self.is_reply(header, mark)? {
                if passed > 0 {
                    return Ok(Step::Pass(passed));
                }
                if header.length > MAX_REPLY {
                    return Err(Malformed::Unexpected("length of a reply"));
                }
                let Some(packet) = packet_at(rest) else { return Ok(Step::More) };
                return self.reply(packet.payload);
            }
            if self.phase == Phase::First {
                // A result set: its first packet counts the columns.
                let Some(packet) = packet_at(rest) else {
                    return if header.length > 9 {
                        Err(Malformed::Unexpected("length of a column count"))
                    } else {
                        Ok(pass(passed))
                    };
                };
                let columns = Cursor::new(packet.payload).lenenc()?;
                self.after_columns = Phase2::Rows;
                self.phase = Phase::Definitions(columns);
                passed += header.total();
                continue;
            }
            self.begin(header);
            passed += HEADER;
            match self.phase {
                Phase::Definitions(n) if !self.continues => self.defined(n),
                Phase::Text => self.phase = Phase::Done,
                _ => {}
            }
        }
    }

    fn begin(&mut self, header: Header) {
        self.skip = header.length;
        self.continues = header.continues();
    }

    /// One definition has begun, of `n` outstanding.
    fn defined(&mut self, n: u64) {
        self.phase = match (n.saturating_sub(1), self.deprecate_eof) {
            (0, false) => Phase::DefinitionsEnd,
            (0, true) => self.next_after_columns(),
            (left, _) => Phase::Definitions(left),
        };
    }

    fn next_after_columns(&mut self) -> Phase {
        match std::mem::replace(&mut self.after_columns, Phase2::Done) {
            Phase2::Rows => Phase::Rows,
            Phase2::Columns(n) => Phase::Definitions(n),
            Phase2::Done => Phase::Done,
        }
    }

    /// Whether the packet that begins with `mark` ends something, rather than being a row or a definition.
    fn is_reply(&self, header: Header, mark: Option<u8>) -> Result<bool, Malformed> {
        let Some(mark) = mark else {
            return if self.phase == Phase::First { Err(Malformed::Truncated) } else { Ok(false) };
        };
        Ok(match (self.phase, mark) {
            (Phase::Text, _) => mark == 0xff,
            (_, 0xff) => true,
            (Phase::First, 0x00 | 0xfb | 0xfe) | (Phase::Prepare, 0x00) => true,
            (Phase::Prepare, _) => return Err(Malformed::Unexpected("first byte of a prepare response")),
            (Phase::DefinitionsEnd, 0xfe) => true,
            (Phase::DefinitionsEnd, _) => return Err(Malformed::Unexpected("packet after definitions")),
            (Phase::Rows, 0xfe) if self.deprecate_eof => header.length < MAX_PAYLOAD,
            (Phase::Rows, 0xfe) => header.length < 9,
            _ => false,
        })
    }

    /// `payload` is a whole packet that ends something.
    fn reply(&mut self, payload: &[u8]) -> Result<Step, Malformed> {
        let length = HEADER + payload.len();
        match (payload[0], self.phase) {
            (0xff, _) => {
                self.phase = Phase::Done;
                Ok(Step::Err { length })
            }
            (0xfb, Phase::First) => Ok(Step::LocalInfile { length }),
            (_, Phase::Prepare) => {
                let prepared = PrepareOk::parse(payload)?;
                let (parameters, columns) = (u64::from(prepared.parameters), u64::from(prepared.columns));
                (self.phase, self.after_columns) = match (parameters, columns) {
                    (0, 0) => (Phase::Done, Phase2::Done),
                    (0, n) | (n, 0) => (Phase::Definitions(n), Phase2::Done),
                    (first, second) => (Phase::Definitions(first), Phase2::Columns(second)),
                };
                Ok(Step::Prepared { length, end: self.phase == Phase::Done })
            }
            (_, Phase::DefinitionsEnd) => {
                let status = eof_status(payload)?;
                self.phase = self.next_after_columns();
                if self.phase == Phase::Rows && status.has(Status::CURSOR_EXISTS) {
                    self.phase = Phase::Done; // the rows come by COM_STMT_FETCH
                }
                Ok(Step::Eof { length, status, end: self.phase == Phase::Done })
            }
            (0xfe, _) if payload.len() == 5 => {
                let status = eof_status(payload)?;
                let end = self.end_of_result(status);
                Ok(Step::Eof { length, status, end })
            }
            _ => {
                let ok = super::Ok::parse(payload, self.session_track)?;
                let end = self.end_of_result(ok.status);
                Ok(Step::Ok { length, end })
            }
        }
    }

    fn end_of_result(&mut self, status: Status) -> bool {
        let end = !status.has(Status::MORE_RESULTS);
        self.phase = if end { Phase::Done } else { Phase::First };
        end
    }
}

fn pass(passed: usize) -> Step {
    if passed == 0 {
        Step::More
    } else {
        Step::Pass(passed)
    }
}

fn eof_status(payload: &[u8]) -> Result<Status, Malformed> {
    let mut cursor = Cursor::new(payload);
    cursor.take(3)?;
    Ok(Status(cursor.u16()?))
}
