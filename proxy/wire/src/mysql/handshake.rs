//! Login: the server's greeting, the client's answer, a change of method or of user.

use super::capability::{self as cap, Capabilities};
use super::{put_lenenc, put_lenenc_bytes, put_null_terminated, Cursor, Malformed};

/// The first packet, from the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Greeting {
    /// As drivers sniff it, `5.5.5-` prefix included.
    pub version: Vec<u8>,
    /// The server's number for this connection: what KILL takes.
    pub connection_id: u32,
    /// The nonce that proofs are made for.
    pub salt: [u8; 20],
    /// What the server can do.
    pub capabilities: Capabilities,
    /// Its default collation's number.
    pub collation: u8,
    /// Status flags.
    pub status: u16,
    /// The method that [`Self::salt`] is meant for.
    pub plugin: Vec<u8>,
}

impl Greeting {
    /// Read the payload. An ERR packet instead (too many connections) is [`Malformed::Unexpected`]: look for it first.
    pub fn parse(payload: &[u8]) -> Result<Self, Malformed> {
        let mut cursor = Cursor::new(payload);
        if cursor.u8()? != 10 {
            return Err(Malformed::Unexpected("protocol version"));
        }
        let version = cursor.null_terminated()?.to_vec();
        let connection_id = cursor.u32()?;
        let mut salt = [0; 20];
        salt[..8].copy_from_slice(cursor.take(8)?);
        cursor.take(1)?;
        let low = cursor.u16()?;
        let collation = cursor.u8()?;
        let status = cursor.u16()?;
        let mut capabilities = Capabilities::from(low) | Capabilities::from(cursor.u16()?) << 16;
        let salt_length = cursor.u8()?;
        cursor.take(6)?;
        let extended = cursor.u32()?;
        if capabilities & cap::LONG_PASSWORD == 0 {
            capabilities |= Capabilities::from(extended) << 32;
        }
        salt[8..].copy_from_slice(cursor.take(12)?);
        cursor.take(usize::from(salt_length).saturating_sub(8).max(13) - 12)?;
        let plugin = if capabilities & cap::PLUGIN_AUTH == 0 { &[] } else { cursor.null_terminated_or_rest() }.to_vec();
        Ok(Self { version, connection_id, salt, capabilities, collation, status, plugin })
    }

    /// Append the payload.
    pub fn put(&self, out: &mut Vec<u8>) {
        let capabilities = self.capabilities.to_le_bytes();
        out.push(10);
        put_null_terminated(out, &self.version);
        out.extend_from_slice(&self.connection_id.to_le_bytes());
        out.extend_from_slice(&self.salt[..8]);
        out.push(0);
        out.extend_from_slice(&capabilities[..2]);
        out.push(self.collation);
        out.extend_from_slice(&self.status.to_le_bytes());
        out.extend_from_slice(&capabilities[2..4]);
        out.push(21);
        out.extend_from_slice(&[0; 6]);
        let extended = if self.capabilities & cap::LONG_PASSWORD == 0 { &capabilities[4..] } else { &[0; 4] };
        out.extend_from_slice(extended);
        out.extend_from_slice(&self.salt[8..]);
        out.push(0);
        put_null_terminated(out, &self.plugin);
    }
}

/// The short form of the client's answer that asks for TLS; the whole answer follows inside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SslRequest {
    /// What the client will use.
    pub capabilities: Capabilities,
    /// Its collation's number.
    pub collation: u8,
}

impl SslRequest {
    const LENGTH: usize = 32;

    /// Read the payload; `None` when it is a whole [`Login`] instead.
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let mut cursor = Cursor::new(payload);
        let (capabilities, collation) = fixed_part(&mut cursor).ok()?;
        (payload.len() == Self::LENGTH && capabilities & cap::SSL != 0).then_some(Self { capabilities, collation })
    }

    /// Append the payload.
    pub fn put(&self, out: &mut Vec<u8>) {
        put_fixed_part(out, self.capabilities | cap::SSL, self.collation);
    }
}

fn fixed_part(cursor: &mut Cursor<'_>) -> Result<(Capabilities, u8), Malformed> {
    let mut capabilities = Capabilities::from(cursor.u32()?);
    cursor.u32()?;
    let collation = cursor.u8()?;
    cursor.take(19)?;
    let extended = cursor.u32()?;
    if capabilities & cap::LONG_PASSWORD == 0 {
        capabilities |= Capabilities::from(extended) << 32;
    }
    Ok((capabilities, collation))
}

fn put_fixed_part(out: &mut Vec<u8>, capabilities: Capabilities, collation: u8) {
    let bytes = capabilities.to_le_bytes();
    out.extend_from_slice(&bytes[..4]);
    out.extend_from_slice(&(1_u32 << 30).to_le_bytes());
    out.push(collation);
    out.extend_from_slice(&[0; 19]);
    out.extend_from_slice(if capabilities & cap::LONG_PASSWORD == 0 { &bytes[4..] } else { &[0; 4] });
}

/// The client's answer to the greeting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Login<'a> {
    /// What the client will use.
    pub capabilities: Capabilities,
    /// Its collation's number.
    pub collation: u8,
    /// Who logs in.
    pub user: &'a [u8],
    /// The proof, for [`Self::plugin`] or the greeting's method.
    pub proof: &'a [u8],
    /// The default database; empty for none.
    pub database: &'a [u8],
    /// The method that the proof is for.
    pub plugin: Option<&'a [u8]>,
    /// Connection attributes, still encoded.
    pub attributes: &'a [u8],
}

impl<'a> Login<'a> {
    /// Read the payload.
    pub fn parse(payload: &'a [u8]) -> Result<Self, Malformed> {
        let mut cursor = Cursor::new(payload);
        let (capabilities, collation) = fixed_part(&mut cursor)?;
        if capabilities & cap::PROTOCOL_41 == 0 {
            return Err(Malformed::Unexpected("protocol older than 4.1"));
        }
        let user = cursor.null_terminated()?;
        let proof = if capabilities & cap::PLUGIN_AUTH_LENENC != 0 {
            cursor.lenenc_bytes()?
        } else if capabilities & cap::SECURE_CONNECTION != 0 {
            let length = cursor.u8()?;
            cursor.take(usize::from(length))?
        } else {
            cursor.null_terminated()?
        };
        let database = if capabilities & cap::CONNECT_WITH_DB == 0 { &[] } else { cursor.null_terminated_or_rest() };
        let plugin =
            (capabilities & cap::PLUGIN_AUTH != 0 && !cursor.is_empty()).then(|| cursor.null_terminated_or_rest());
        let attributes =
            if capabilities & cap::CONNECT_ATTRS == 0 || cursor.is_empty() { &[] } else { cursor.lenenc_bytes()? };
        Ok(Self { capabilities, collation, user, proof, database, plugin, attributes })
    }

    /// Append the payload.
    pub fn put(&self, out: &mut Vec<u8>) {
        put_fixed_part(out, self.capabilities, self.collation);
        put_null_terminated(out, self.user);
        if self.capabilities & cap::PLUGIN_AUTH_LENENC != 0 {
            put_lenenc_bytes(out, self.proof);
        } else {
            out.push(self.proof.len() as u8);
            out.extend_from_slice(self.proof);
        }
        if self.capabilities & cap::CONNECT_WITH_DB != 0 {
            put_null_terminated(out, self.database);
        }
        if self.capabilities & cap::PLUGIN_AUTH != 0 {
            put_null_terminated(out, self.plugin.unwrap_or_default());
        }
        if self.capabilities & cap::CONNECT_ATTRS != 0 {
            put_lenenc(out, self.attributes.len() as u64);
            out.extend_from_slice(self.attributes);
        }
    }

    /// The value of the connection attribute `name`.
    pub fn attribute(&self, name: &[u8]) -> Option<&'a [u8]> {
        let mut cursor = Cursor::new(self.attributes);
        while let (Ok(key), Ok(value)) = (cursor.lenenc_bytes(), cursor.lenenc_bytes()) {
            if key == name {
                return Some(value);
            }
        }
        None
    }
}

/// The server asks for another method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuthSwitch<'a> {
    /// The method.
    pub plugin: &'a [u8],
    /// Its nonce.
    pub data: &'a [u8],
}

impl<'a> AuthSwitch<'a> {
    /// Read the payload, of which the first byte is 0xFE.
    pub fn parse(payload: &'a [u8]) -> Result<Self, Malformed> {
        let mut cursor = Cursor::new(payload);
        if cursor.u8()? != 0xfe || cursor.is_empty() {
            return Err(Malformed::Unexpected("request for the method of MySQL 4.0"));
        }
        let plugin = cursor.null_terminated()?;
        let data = cursor.rest();
        Ok(Self { plugin, data: data.strip_suffix(&[0]).unwrap_or(data) })
    }

    /// Append the payload.
    pub fn put(&self, out: &mut Vec<u8>) {
        out.push(0xfe);
        put_null_terminated(out, self.plugin);
        put_null_terminated(out, self.data);
    }
}

/// `COM_CHANGE_USER`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChangeUser<'a> {
    /// Who logs in.
    pub user: &'a [u8],
    /// The proof, for the salt of the connection's greeting.
    pub proof: &'a [u8],
    /// The default database; empty for none.
    pub database: &'a [u8],
    /// The collation's number, when given.
    pub collation: Option<u16>,
    /// The method that the proof is for.
    pub plugin: Option<&'a [u8]>,
}

impl<'a> ChangeUser<'a> {
    /// Read the payload, command byte included.
    pub fn parse(payload: &'a [u8], capabilities: Capabilities) -> Result<Self, Malformed> {
        let mut cursor = Cursor::new(payload);
        cursor.u8()?;
        let user = cursor.null_terminated()?;
        let length = cursor.u8()?;
        let proof = cursor.take(usize::from(length))?;
        let database = cursor.null_terminated()?;
        let collation = if cursor.is_empty() { None } else { Some(cursor.u16()?) };
        let plugin =
            (capabilities & cap::PLUGIN_AUTH != 0 && !cursor.is_empty()).then(|| cursor.null_terminated_or_rest());
        Ok(Self { user, proof, database, collation, plugin })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SALT: [u8; 20] = *b"abcdefghijklmnopqrst";

    fn greeting(capabilities: Capabilities) -> Greeting {
        Greeting {
            version: b"8.0.0".to_vec(),
            connection_id: 42,
            salt: SALT,
            capabilities,
            collation: 45,
            status: 2,
            plugin: b"mysql_native_password".to_vec(),
        }
    }

    #[test]
    fn a_greeting_reads_back_with_mariadbs_extended_capabilities_only_without_mysqls_bit() {
        let base = cap::SUPPORTED & !cap::SSL;
        for (sent, seen) in [(base & !cap::LONG_PASSWORD, base & !cap::LONG_PASSWORD), (base, base & 0xffff_ffff)] {
            let mut out = Vec::new();
            greeting(sent).put(&mut out);
            assert_eq!(Greeting::parse(&out), Ok(greeting(seen)));
        }
    }

    #[test]
    fn the_greeting_of_mariadb_10_11_is_understood() {
        let payload = b"\x0a5.5.5-10.11.19-MariaDB-0+deb12u1\0\x07\0\0\0abcdefgh\0\xfe\xf7\x2d\x02\0\xff\x81\x15\0\0\0\0\0\0\x1d\0\0\0ijklmnopqrst\0mysql_native_password\0";
        let greeting = Greeting::parse(payload).unwrap();
        assert_eq!(greeting.capabilities, 0x1d_81ff_f7fe);
        assert_eq!(greeting.salt, SALT);
        assert_eq!(greeting.plugin, b"mysql_native_password");
    }

    #[test]
    fn a_login_reads_back_and_its_attributes_are_found() {
        let login = Login {
            capabilities: (cap::SUPPORTED & !cap::SSL) & 0xffff_ffff,
            collation: 255,
            user: b"app",
            proof: &[7; 32],
            database: b"app",
            plugin: Some(b"caching_sha2_password"),
            attributes: b"\x0c_client_name\x07pymysql\x01k\x01v",
        };
        let mut out = Vec::new();
        login.put(&mut out);
        let parsed = Login::parse(&out).unwrap();
        assert_eq!(parsed, login);
        assert_eq!(parsed.attribute(b"k"), Some(&b"v"[..]));
        assert_eq!(parsed.attribute(b"missing"), None);
        assert_eq!(SslRequest::parse(&out), None);
    }

    #[test]
    fn a_change_of_user_is_read_with_and_without_its_optional_fields() {
        let payload = b"\x11app\0\x02ppdb\0\x2d\0mysql_native_password\0";
        let parsed = ChangeUser::parse(payload, cap::SUPPORTED).unwrap();
        assert_eq!((parsed.user, parsed.proof, parsed.database), (&b"app"[..], &b"pp"[..], &b"db"[..]));
        assert_eq!((parsed.collation, parsed.plugin), (Some(45), Some(&b"mysql_native_password"[..])));
        let short = ChangeUser::parse(b"\x11app\0\x00\0", cap::SUPPORTED).unwrap();
        assert_eq!((short.collation, short.plugin), (None, None));
    }

    proptest! {
        #[test]
        fn no_bytes_make_a_login_panic(payload: Vec<u8>, capabilities: u64) {
            let _ = Greeting::parse(&payload);
            let _ = Login::parse(&payload);
            let _ = SslRequest::parse(&payload);
            let _ = AuthSwitch::parse(&payload);
            let _ = ChangeUser::parse(&payload, capabilities);
            let mut login = capabilities.to_le_bytes()[..4].to_vec();
            login.extend_from_slice(&payload);
            let _ = Login::parse(&login);
        }
    }
}
