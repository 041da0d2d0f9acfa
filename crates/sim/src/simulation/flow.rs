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
        let (session, first, judged) = match forge::flow(frame) {
            Some(forge::Flow::Chunk(session, first)) => (session, first, true),
            // All pieces of one chunk go at once: they count for what follows them.
            Some(forge::Flow::Part(session, first)) => (session, first, false),
            Some(forge::Flow::Credit(..)) | None => return Ok(()),
        };
        let (sent, applied) = self.sent.entry((from, to, session)).or_default();
        // A late copy of its hello may have begun the session anew.
        if first {
            (*sent, *applied) = (0, 0);
        }
        let bytes = u64::try_from(frame.len()).unwrap_or(u64::MAX);
        let waiting = sent.saturating_sub(*applied);
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
        if let Some((_, applied)) = self.sent.get_mut(&(to, from, session)) {
            // What was forged on its way may have had more bytes than were sent.
            *applied = bytes.max(*applied);
        }
    }
}

/// The kinds of frames that are looked at.
const CHUNK: u8 = 4;
const CREDIT: u8 = 6;
const PART: u8 = 18;
