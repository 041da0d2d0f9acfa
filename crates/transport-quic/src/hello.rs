//! The application hello: the first words on a connection, after both certificates were checked.
//!
//! ```text
//! dialler                                   listener
//!   magic 4  lowest 2  highest 2  protocol 1  network 16  length 1  address --->
//!   <---- the same fields
//!   accept 1, end of stream ---->              only now is the dialler up at the listener
//! ```
//! Integers are big endian. One bidirectional stream, opened by the dialler, carries it.

use quinn::{RecvStream, SendStream};
use reconvene_sync::NetworkId;

use crate::config::is_address;
use crate::error::Refusal;
use crate::protocol::Protocol;

/// What one side says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hello {
    pub(crate) lowest: u16,
    pub(crate) highest: u16,
    pub(crate) protocol: Protocol,
    pub(crate) network: NetworkId,
    /// Where this side listens, at most 255 printable ASCII characters.
    pub(crate) address: Option<String>,
}

impl Hello {
    pub(crate) const fn new(protocol: Protocol, network: NetworkId, address: Option<String>) -> Self {
        Self { lowest: VERSION, highest: VERSION, protocol, network, address }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let address = self.address.as_deref().unwrap_or_default().as_bytes();
        let length = u8::try_from(address.len()).unwrap_or_default();
        let mut bytes = Vec::with_capacity(FIXED_BYTES.saturating_add(address.len()));
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&self.lowest.to_be_bytes());
        bytes.extend_from_slice(&self.highest.to_be_bytes());
        bytes.push(self.protocol.number());
        bytes.extend_from_slice(self.network.as_bytes());
        bytes.push(length);
        bytes.extend_from_slice(address.get(..usize::from(length)).unwrap_or_default());
        bytes
    }

    /// The hello in `fixed`, still without its address, and the number of address bytes to come.
    fn decode(fixed: &[u8; FIXED_BYTES]) -> Result<(Self, usize), Refusal> {
        let [m0, m1, m2, m3, l0, l1, h0, h1, protocol, n @ .., length] = *fixed;
        if [m0, m1, m2, m3] != MAGIC {
            return Err(Refusal::Hello);
        }
        let (lowest, highest) = (u16::from_be_bytes([l0, l1]), u16::from_be_bytes([h0, h1]));
        if lowest > highest {
            return Err(Refusal::Hello);
        }
        let protocol = Protocol::from_number(protocol).ok_or(Refusal::Protocol)?;
        let hello = Self { lowest, highest, protocol, network: NetworkId::new(n), address: None };
        Ok((hello, usize::from(length)))
    }

    /// Whether two sides can talk, given what each said.
    pub(crate) fn check(&self, theirs: &Self) -> Result<(), Refusal> {
        if self.network != theirs.network {
            return Err(Refusal::Network);
        }
        if self.protocol != theirs.protocol {
            return Err(Refusal::Protocol);
        }
        if self.lowest > theirs.highest || theirs.lowest > self.highest {
            return Err(Refusal::Version);
        }
        Ok(())
    }
}

/// Writes a hello.
pub(crate) async fn write(stream: &mut SendStream, hello: &Hello) -> Result<(), quinn::WriteError> {
    stream.write_all(&hello.encode()).await
}

/// Reads a hello: at most 281 bytes, whatever the peer announces.
pub(crate) async fn read(stream: &mut RecvStream) -> Result<Hello, ReadHelloError> {
    let mut fixed = [0_u8; FIXED_BYTES];
    stream.read_exact(&mut fixed).await?;
    let (mut hello, length) = Hello::decode(&fixed)?;
    if length > 0 {
        let mut address = vec![0_u8; length];
        stream.read_exact(&mut address).await?;
        if !is_address(&address) {
            return Err(Refusal::Hello.into());
        }
        hello.address = String::from_utf8(address).ok();
    }
    Ok(hello)
}

/// Says that the listener's hello was read and accepted, and ends the stream.
pub(crate) async fn write_accept(stream: &mut SendStream) -> Result<(), quinn::WriteError> {
    stream.write_all(&[ACCEPT]).await?;
    // Fails only if the stream is closed already, and then there is nothing to end.
    let _ = stream.finish();
    Ok(())
}

/// Waits for the dialler's acceptance.
pub(crate) async fn read_accept(stream: &mut RecvStream) -> Result<(), ReadHelloError> {
    let mut byte = [0_u8; 1];
    stream.read_exact(&mut byte).await?;
    if byte == [ACCEPT] { Ok(()) } else { Err(Refusal::Hello.into()) }
}

/// Why no hello was read.
#[derive(Debug)]
pub(crate) enum ReadHelloError {
    /// It was read and is not acceptable.
    Refused(Refusal),
    /// The stream ended or the connection was lost.
    Stream(quinn::ReadExactError),
}

impl From<Refusal> for ReadHelloError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<quinn::ReadExactError> for ReadHelloError {
    fn from(error: quinn::ReadExactError) -> Self {
        Self::Stream(error)
    }
}

const MAGIC: [u8; 4] = *b"RCNV";

/// The one version there is.
const VERSION: u16 = 1;

const FIXED_BYTES: usize = 26;

const ACCEPT: u8 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    fn network(number: u8) -> NetworkId {
        NetworkId::new([number; 16])
    }

    #[test]
    fn golden_hello_bytes() {
        let hello = Hello::new(Protocol::Executor, NetworkId::new(*b"sixteen bytes id"), Some("[::1]:7400".to_owned()));
        let expected = b"RCNV\x00\x01\x00\x01\x02sixteen bytes id\x0a[::1]:7400";
        assert_eq!(hello.encode(), expected);
    }

    #[test]
    fn hello_decodes_what_it_encodes() {
        for protocol in Protocol::ALL {
            let hello = Hello::new(protocol, network(99), None);
            let bytes: [u8; FIXED_BYTES] = hello.encode().try_into().unwrap();
            assert_eq!(Hello::decode(&bytes), Ok((hello, 0)));
        }
    }

    #[test]
    fn hello_of_something_else_is_refused() {
        let good: [u8; FIXED_BYTES] = Hello::new(Protocol::Sync, network(1), None).encode().try_into().unwrap();
        let with = |at: usize, byte: u8| {
            let mut bytes = good;
            bytes[at] = byte;
            Hello::decode(&bytes).map(|_| ())
        };
        assert_eq!(with(0, b'X'), Err(Refusal::Hello));
        assert_eq!(with(5, 9), Err(Refusal::Hello), "lowest version above the highest");
        assert_eq!(with(8, 0), Err(Refusal::Protocol));
    }

    #[test]
    fn sides_must_agree() {
        let ours = Hello::new(Protocol::Sync, network(1), None);
        assert_eq!(ours.check(&Hello::new(Protocol::Sync, network(2), None)), Err(Refusal::Network));
        assert_eq!(ours.check(&Hello::new(Protocol::Client, network(1), None)), Err(Refusal::Protocol));
        let later = Hello { lowest: 2, highest: 3, ..ours.clone() };
        assert_eq!(ours.check(&later), Err(Refusal::Version));
        assert_eq!(later.check(&ours), Err(Refusal::Version));
        let wider = Hello { lowest: 0, highest: 3, ..ours.clone() };
        assert_eq!((ours.check(&wider), wider.check(&ours)), (Ok(()), Ok(())));
    }
}
