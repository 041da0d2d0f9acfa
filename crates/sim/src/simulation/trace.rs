//! A hash of all that happened, and the same in words for whoever replays a run.

use reconvene_sync::Input;

use super::oracle::Commit;
use super::plan::Act;

/// Hashes what brokers take in and send, in order. With a listener it also tells.
pub(super) struct Trace<'a> {
    hash: u64,
    listen: Option<&'a mut dyn FnMut(&str)>,
}

impl<'a> Trace<'a> {
    pub(super) fn new(listen: Option<&'a mut dyn FnMut(&str)>) -> Self {
        Self { hash: 0xcbf2_9ce4_8422_2325, listen }
    }

    pub(super) fn hash(&self) -> u64 {
        self.hash
    }

    pub(super) fn input(&mut self, at: u64, node: usize, input: &Input) {
        self.fold(at ^ u64::try_from(node).unwrap_or(0) << 56);
        if self.listen.is_some() && !matches!(input, Input::Tick) {
            let said = match input {
                Input::Received { from, frame } => {
                    format!("hears from {}: {}", from.as_bytes()[0].wrapping_sub(1), describe(frame))
                }
                other => shorten(format!("{other:?}")),
            };
            self.say(at, node, &said);
        }
    }

    pub(super) fn sent(&mut self, at: u64, node: usize, frame: &[u8]) {
        self.fold(at ^ u64::try_from(node).unwrap_or(0) << 48);
        for word in frame.chunks(8) {
            let mut bytes = [0; 8];
            bytes[..word.len()].copy_from_slice(word);
            self.fold(u64::from_le_bytes(bytes));
        }
    }

    pub(super) fn commit(&mut self, at: u64, node: usize, commit: &Commit) {
        if self.listen.is_some() {
            self.say(at, node, &format!("commits {commit}"));
        }
    }

    pub(super) fn step(&mut self, at: u64, act: &Act) {
        if let Some(listen) = &mut self.listen {
            listen(&format!("{at:>8} -- {act:?}"));
        }
    }

    pub(super) fn over(&mut self, at: u64, act: &Act) {
        if let Some(listen) = &mut self.listen {
            listen(&format!("{at:>8} -- over: {act:?}"));
        }
    }

    pub(super) fn note(&mut self, at: u64, node: usize, what: &dyn Fn() -> String) {
        if self.listen.is_some() {
            let what = shorten(what());
            self.say(at, node, &what);
        }
    }

    fn say(&mut self, at: u64, node: usize, what: &str) {
        if let Some(listen) = &mut self.listen {
            listen(&format!("{at:>8} {node}: {what}"));
        }
    }

    fn fold(&mut self, word: u64) {
        self.hash = (self.hash ^ word).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23);
    }
}

fn describe(frame: &[u8]) -> String {
    shorten(reconvene_sync::forge::describe(frame))
}

fn shorten(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(400) {
        text.truncate(end);
        text.push('…');
    }
    text
}
