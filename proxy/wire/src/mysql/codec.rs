//! Integers and strings as the protocol writes them.

use super::Malformed;

/// Reads fields from the front of one message.
#[derive(Debug, Clone, Copy)]
pub struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    /// Read from the start of `message`.
    pub fn new(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    /// What has not been read.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Whether everything has been read.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next `n` bytes.
    pub fn take(&mut self, n: usize) -> Result<&'a [u8], Malformed> {
        let (head, rest) = self.rest.split_at_checked(n).ok_or(Malformed::Truncated)?;
        self.rest = rest;
        Ok(head)
    }

    /// One byte.
    pub fn u8(&mut self) -> Result<u8, Malformed> {
        Ok(self.take(1)?[0])
    }

    /// Two bytes, low first.
    pub fn u16(&mut self) -> Result<u16, Malformed> {
        Ok(self.uint(2)? as u16)
    }

    /// Four bytes, low first.
    pub fn u32(&mut self) -> Result<u32, Malformed> {
        Ok(self.uint(4)? as u32)
    }

    fn uint(&mut self, n: usize) -> Result<u64, Malformed> {
        Ok(self.take(n)?.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
    }

    /// A length-encoded integer. 0xFB (NULL) and 0xFF (an error's mark) are no integers.
    pub fn lenenc(&mut self) -> Result<u64, Malformed> {
        match self.u8()? {
            small @ 0..=0xfa => Ok(u64::from(small)),
            0xfc => self.uint(2),
            0xfd => self.uint(3),
            0xfe => self.uint(8),
            _ => Err(Malformed::Unexpected("length")),
        }
    }

    /// A length-encoded string.
    pub fn lenenc_bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let length = usize::try_from(self.lenenc()?).map_err(|_| Malformed::Truncated)?;
        self.take(length)
    }

    /// A string up to a NUL, which is read too.
    pub fn null_terminated(&mut self) -> Result<&'a [u8], Malformed> {
        let end = self.rest.iter().position(|byte| *byte == 0).ok_or(Malformed::Truncated)?;
        let text = self.take(end)?;
        self.rest = &self.rest[1..];
        Ok(text)
    }

    /// A string up to a NUL or to the end of the message: some clients leave out a last NUL.
    pub fn null_terminated_or_rest(&mut self) -> &'a [u8] {
        self.null_terminated().unwrap_or_else(|_| std::mem::take(&mut self.rest))
    }
}

/// Append `value` as a length-encoded integer.
pub fn put_lenenc(out: &mut Vec<u8>, value: u64) {
    let bytes = value.to_le_bytes();
    match value {
        0..=0xfa => out.push(bytes[0]),
        0xfb..=0xffff => {
            out.push(0xfc);
            out.extend_from_slice(&bytes[..2]);
        }
        0x1_0000..=0xff_ffff => {
            out.push(0xfd);
            out.extend_from_slice(&bytes[..3]);
        }
        _ => {
            out.push(0xfe);
            out.extend_from_slice(&bytes);
        }
    }
}

/// Append `bytes` as a length-encoded string.
pub fn put_lenenc_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_lenenc(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Append `text` and a NUL.
pub fn put_null_terminated(out: &mut Vec<u8>, text: &[u8]) {
    out.extend_from_slice(text);
    out.push(0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_length_encoded_integer_reads_back_and_uses_every_byte(value: u64) {
            let mut out = Vec::new();
            put_lenenc(&mut out, value);
            let mut cursor = Cursor::new(&out);
            prop_assert_eq!(cursor.lenenc(), Ok(value));
            prop_assert!(cursor.is_empty());
        }

        #[test]
        fn a_cut_string_is_truncated_and_never_a_shorter_string(text: Vec<u8>, cut in 1_usize..4) {
            let mut out = Vec::new();
            put_lenenc_bytes(&mut out, &text);
            let short = &out[..out.len().saturating_sub(cut)];
            prop_assert_eq!(Cursor::new(short).lenenc_bytes(), Err(Malformed::Truncated));
        }
    }

    #[test]
    fn the_borders_of_the_length_encoding_are_the_protocols() {
        for (value, length) in [(0xfa, 1), (0xfb, 3), (0xffff, 3), (0x1_0000, 4), (0xff_ffff, 4), (0x100_0000, 9)] {
            let mut out = Vec::new();
            put_lenenc(&mut out, value);
            assert_eq!(out.len(), length, "{value:#x}");
        }
        assert_eq!(Cursor::new(&[0xfb]).lenenc(), Err(Malformed::Unexpected("length")));
        assert_eq!(Cursor::new(&[0xff]).lenenc(), Err(Malformed::Unexpected("length")));
    }
}
