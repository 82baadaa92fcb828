//! Reading messages in place.

/// A message that breaks the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// The longest message PostgreSQL itself accepts.
pub const MAX_MESSAGE_BYTES: usize = 0x3fff_ffff;

/// A message's type and length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The type byte.
    pub kind: u8,
    /// The whole message's length, type byte and length field included.
    pub total: usize,
}

impl Head {
    /// Length of type byte and length field.
    pub const BYTES: usize = 5;

    /// The head of the message that begins at *input*'s start; None when not all of it is there.
    pub fn read(input: &[u8]) -> Result<Option<Self>, Malformed> {
        let Some(head) = input.first_chunk::<5>() else { return Ok(None) };
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        if !(4..=MAX_MESSAGE_BYTES).contains(&length) {
            return Err(Malformed);
        }
        Ok(Some(Self { kind: head[0], total: length + 1 }))
    }
}

/// The zero-terminated string at the start of *body*, and what follows it.
pub fn cstr(body: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = body.iter().position(|byte| *byte == 0)?;
    Some((&body[..end], &body[end + 1..]))
}

/// The field *letter* of an `ErrorResponse` or `NoticeResponse` body.
pub fn error_field(mut body: &[u8], letter: u8) -> Option<&[u8]> {
    while let [kind, rest @ ..] = body {
        if *kind == 0 {
            return None;
        }
        let (value, tail) = cstr(rest)?;
        if *kind == letter {
            return Some(value);
        }
        body = tail;
    }
    None
}

/// The columns of a `DataRow` body in text format; None stands for NULL.
pub fn data_row_text(body: &[u8]) -> Result<Vec<Option<&[u8]>>, Malformed> {
    let (count, mut rest) = body.split_first_chunk::<2>().ok_or(Malformed)?;
    let mut columns = Vec::new();
    for _ in 0..u16::from_be_bytes(*count) {
        let (length, tail) = rest.split_first_chunk::<4>().ok_or(Malformed)?;
        let length = i32::from_be_bytes(*length);
        rest = tail;
        if length < 0 {
            columns.push(None);
            continue;
        }
        if rest.len() < length as usize {
            return Err(Malformed);
        }
        let (value, tail) = rest.split_at(length as usize);
        columns.push(Some(value));
        rest = tail;
    }
    Ok(columns)
}
