//! Frames on a stream: four bytes of length, big endian, then that many bytes.

use quinn::{ReadExactError, RecvStream, SendStream};

/// Why a stream of frames ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The connection is gone.
    Lost,
    /// A frame was announced with more bytes than allowed.
    TooLarge,
    /// The stream ended inside a frame, or was reset or stopped.
    Broken,
}

/// Writes one frame of at most `u32::MAX` bytes.
pub(crate) async fn write(stream: &mut SendStream, frame: &[u8]) -> Result<(), Fault> {
    let length = u32::try_from(frame.len()).map_err(|_| Fault::TooLarge)?;
    stream.write_all(&length.to_be_bytes()).await.map_err(|_| Fault::Broken)?;
    stream.write_all(frame).await.map_err(|_| Fault::Broken)
}

/// Reads one frame; `None` if the stream ended before one began.
///
/// A length above `limit` is refused before anything is allocated; below it memory grows with what really arrives.
pub(crate) async fn read(stream: &mut RecvStream, limit: u32) -> Result<Option<Vec<u8>>, Fault> {
    let mut head = [0_u8; 4];
    match stream.read_exact(&mut head).await {
        Ok(()) => {}
        Err(ReadExactError::FinishedEarly(0)) => return Ok(None),
        Err(ReadExactError::FinishedEarly(_)) => return Err(Fault::Broken),
        Err(ReadExactError::ReadError(error)) => return Err(fault_of(&error)),
    }
    let length = u32::from_be_bytes(head);
    if length > limit {
        return Err(Fault::TooLarge);
    }
    let mut missing = usize::try_from(length).map_err(|_| Fault::TooLarge)?;
    let mut frame = Vec::new();
    while missing > 0 {
        let Some(chunk) = stream.read_chunk(missing, true).await.map_err(|error| fault_of(&error))? else {
            return Err(Fault::Broken);
        };
        missing = missing.saturating_sub(chunk.bytes.len());
        frame.extend_from_slice(&chunk.bytes);
    }
    Ok(Some(frame))
}

fn fault_of(error: &quinn::ReadError) -> Fault {
    if matches!(error, quinn::ReadError::ConnectionLost(_)) { Fault::Lost } else { Fault::Broken }
}
