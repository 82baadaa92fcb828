//! Packets: a three-byte length, a sequence number, a payload of up to 16 MB − 1. A longer message continues in the next
//! packet; one whose length is an exact multiple ends with an empty packet.

/// Bytes of a packet's header.
pub const HEADER: usize = 4;
/// The longest payload of one packet; a packet of exactly this length is continued by the next one.
pub const MAX_PAYLOAD: usize = 0xff_ffff;

/// A packet's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Payload bytes that follow.
    pub length: usize,
    /// Counts the packets of one command and its response; wraps.
    pub sequence: u8,
}

impl Header {
    /// The header at the start of `bytes`, once it is whole.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let [low, middle, high, sequence, ..] = *bytes else { return None };
        let length = usize::from(low) | usize::from(middle) << 8 | usize::from(high) << 16;
        Some(Self { length, sequence })
    }

    /// Whether the message goes on in the next packet.
    pub fn continues(self) -> bool {
        self.length == MAX_PAYLOAD
    }

    /// Header and payload.
    pub fn total(self) -> usize {
        HEADER + self.length
    }
}

/// One whole packet within a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet<'a> {
    /// Its header.
    pub header: Header,
    /// Its payload, all of it.
    pub payload: &'a [u8],
}

/// The packet at the start of `bytes`, once it is whole.
pub fn packet_at(bytes: &[u8]) -> Option<Packet<'_>> {
    let header = Header::parse(bytes)?;
    let payload = bytes.get(HEADER..header.total())?;
    Some(Packet { header, payload })
}

/// Append `payload` as one message, in as many packets as it takes. Returns the sequence number after the last.
pub fn put_packet(out: &mut Vec<u8>, sequence: u8, payload: &[u8]) -> u8 {
    let mut sequence = sequence;
    let mut rest = payload;
    loop {
        let (part, after) = rest.split_at(rest.len().min(MAX_PAYLOAD));
        out.extend_from_slice(&(part.len() as u32).to_le_bytes()[..3]);
        out.push(sequence);
        out.extend_from_slice(part);
        sequence = sequence.wrapping_add(1);
        rest = after;
        if part.len() < MAX_PAYLOAD {
            return sequence;
        }
    }
}

/// `payload` as one message of its own.
pub fn packet(sequence: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER + payload.len());
    put_packet(&mut out, sequence, payload);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_of_exactly_sixteen_megabytes_ends_with_an_empty_packet() {
        let out = packet(7, &vec![b'x'; MAX_PAYLOAD]);
        assert_eq!(out.len(), HEADER + MAX_PAYLOAD + HEADER);
        assert_eq!(out[HEADER + MAX_PAYLOAD..], [0, 0, 0, 8]);
        let longer = packet(255, &vec![b'x'; MAX_PAYLOAD + 2]);
        assert_eq!(longer[HEADER + MAX_PAYLOAD..], [2, 0, 0, 0, b'x', b'x'], "the sequence number wraps");
    }

    #[test]
    fn a_packet_is_seen_only_when_its_last_byte_is_there() {
        let out = packet(3, b"\x03select 1");
        for cut in 0..out.len() {
            assert_eq!(packet_at(&out[..cut]), None, "cut at {cut}");
        }
        assert_eq!(packet_at(&out).unwrap().payload, b"\x03select 1");
        assert_eq!(packet_at(&out).unwrap().header.sequence, 3);
    }
}
