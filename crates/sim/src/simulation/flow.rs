//! What is under way in each session: never more than the window that both sides agreed on.

use std::collections::BTreeMap;

use reconvene_sync::forge;

use super::Violation;

/// Bytes of chunks that each sender has sent, and that it heard are applied.
#[derive(Debug, Default)]
pub(super) struct Flows {
    sent: BTreeMap<(usize, usize, u64), (u64, u64)>,
}

impl Flows {
    /// A frame leaves a broker. One chunk may always be under way, whatever its size.
    pub(super) fn sent(&mut self, from: usize, to: usize, frame: &[u8], window: u64) -> Result<(), Violation> {
        if !frame.first().is_some_and(|kind| [CHUNK, PART].contains(kind)) {
            return Ok(());
        }
        let (session, judged) = match forge::flow(frame) {
            Some(forge::Flow::Chunk(session)) => (session, true),
            // All pieces of one chunk go at once: they count for what follows them.
            Some(forge::Flow::Part(session)) => (session, false),
            Some(forge::Flow::Credit(..)) | None => return Ok(()),
        };
        let (sent, applied) = self.sent.entry((from, to, session)).or_default();
        let bytes = u64::try_from(frame.len()).unwrap_or(u64::MAX);
        let waiting = *sent - *applied;
        *sent += bytes;
        if judged && waiting > 0 && waiting + bytes > window {
            let what =
                format!("broker {from} sent {bytes} bytes on top of {waiting} to {to}, whose window is {window}");
            return Err(Violation::new("S12", what));
        }
        Ok(())
    }

    /// A frame reaches a broker.
    pub(super) fn arrived(&mut self, from: usize, to: usize, frame: &[u8]) {
        if frame.first() != Some(&CREDIT) {
            return;
        }
        let Some(forge::Flow::Credit(session, bytes)) = forge::flow(frame) else { return };
        if let Some((sent, applied)) = self.sent.get_mut(&(to, from, session)) {
            *applied = bytes.min(*sent).max(*applied);
        }
    }
}

/// The kinds of frames that are looked at.
const CHUNK: u8 = 4;
const CREDIT: u8 = 6;
const PART: u8 = 18;
