//! A disk in memory that fails where it is told to, and keeps of unsynced writes what it is told to.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use reconvene_sim::disk::{Fault, Keep, Moment};
use reconvene_store_redb::{Layer, Medium};

/// The bytes of one store. The file below is only its name and its lock.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    durable: Vec<u8>,
    pending: Vec<Op>,
    /// Durable and pending.
    now: Vec<u8>,
    operations: u64,
    armed: BTreeMap<u64, Fault>,
    full: bool,
    down: bool,
    /// Which bytes were read, if anyone wants to know.
    read: Option<Vec<bool>>,
}

#[derive(Clone, Debug)]
enum Op {
    Write(usize, Vec<u8>),
    SetLen(usize),
}

impl Op {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Write(offset, data) => {
                if bytes.len() < offset + data.len() {
                    bytes.resize(offset + data.len(), 0);
                }
                bytes[*offset..offset + data.len()].copy_from_slice(data);
            }
            Self::SetLen(len) => bytes.resize(*len, 0),
        }
    }
}

/// SplitMix64.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }
}

impl State {
    fn crash(&mut self, keep: Keep) {
        if self.down {
            return;
        }
        self.down = true;
        let pending = std::mem::take(&mut self.pending);
        let mut chance = Chance(match keep {
            Keep::Subset(seed) | Keep::Torn(seed) => seed,
            Keep::All | Keep::Nothing | Keep::Prefix(_) => 0,
        });
        for (place, op) in pending.into_iter().enumerate() {
            let kept = match keep {
                Keep::All => true,
                Keep::Nothing => false,
                Keep::Prefix(count) => place < count,
                Keep::Subset(_) | Keep::Torn(_) => chance.next() & 1 == 0,
            };
            match op {
                Op::Write(offset, mut data) if kept => {
                    if matches!(keep, Keep::Torn(_)) && chance.next() & 1 == 0 {
                        data.truncate(chance.next() as usize % (data.len() + 1));
                    }
                    Op::Write(offset, data).apply(&mut self.durable);
                }
                op @ Op::SetLen(_) if kept => op.apply(&mut self.durable),
                Op::Write(..) | Op::SetLen(_) => {}
            }
        }
        self.now = self.durable.clone();
    }

    /// One write or sync, with the fault that is armed for it.
    fn operation(&mut self, room: bool, act: impl FnOnce(&mut Self)) -> io::Result<()> {
        if self.down {
            return Err(io::Error::other("the machine is down"));
        }
        let fault = self.armed.remove(&self.operations);
        self.operations += 1;
        match fault {
            Some(Fault::Fail) => return Err(io::Error::other("the disk failed")),
            Some(Fault::Full) => self.full = true,
            Some(Fault::Crash { moment, keep }) => {
                if moment == Moment::After {
                    act(self);
                }
                self.crash(keep);
                return Err(io::Error::other("the machine went down"));
            }
            Some(Fault::Stale | Fault::Slow { .. }) | None => {}
        }
        if self.full && room {
            return Err(io::ErrorKind::StorageFull.into());
        }
        act(self);
        Ok(())
    }

    fn push(&mut self, op: Op) {
        op.apply(&mut self.now);
        self.pending.push(op);
    }
}

impl Disk {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    pub(crate) fn operations(&self) -> u64 {
        self.state().operations
    }

    pub(crate) fn arm(&self, operation: u64, fault: Fault) {
        self.state().armed.insert(operation, fault);
    }

    pub(crate) fn relieve(&self) {
        let mut state = self.state();
        state.full = false;
        state.armed.clear();
    }

    /// Whoever has the disk open hears nothing more from it.
    pub(crate) fn crash(&self, keep: Keep) {
        self.state().crash(keep);
    }

    pub(crate) fn boot(&self) {
        self.state().down = false;
    }

    pub(crate) fn image(&self) -> Vec<u8> {
        self.state().now.clone()
    }

    /// Notes from now on which bytes are read.
    pub(crate) fn watch(&self) {
        let mut state = self.state();
        state.read = Some(vec![false; state.now.len()]);
    }

    /// Which bytes were read since [`watch`](Self::watch).
    pub(crate) fn was_read(&self) -> Vec<bool> {
        self.state().read.take().unwrap_or_default()
    }

    /// Turns bits of one byte over, as wear does: it is no operation.
    pub(crate) fn flip(&self, byte: usize, bits: u8) {
        let mut state = self.state();
        state.durable[byte] ^= bits;
        state.now[byte] ^= bits;
    }

    pub(crate) fn put_image(&self, image: &[u8]) {
        let mut state = self.state();
        state.pending.clear();
        state.durable = image.to_vec();
        state.now = image.to_vec();
    }
}

impl Layer for Disk {
    fn over(&self, below: Arc<dyn Medium>) -> Arc<dyn Medium> {
        // A new file is a new disk.
        if below.is_empty().unwrap() {
            below.write_at(0, b"the bytes are in memory").unwrap();
            self.put_image(&[]);
        }
        Arc::new(OnDisk { disk: self.clone(), _file: below })
    }
}

#[derive(Debug)]
struct OnDisk {
    disk: Disk,
    /// Holds the lock.
    _file: Arc<dyn Medium>,
}

impl Medium for OnDisk {
    fn len(&self) -> io::Result<u64> {
        let state = self.disk.state();
        if state.down { Err(io::Error::other("the machine is down")) } else { Ok(state.now.len() as u64) }
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut state = self.disk.state();
        if state.down {
            return Err(io::Error::other("the machine is down"));
        }
        let start = offset as usize;
        if let Some(read) = &mut state.read {
            let end = (start + out.len()).min(read.len());
            read[start.min(end)..end].fill(true);
        }
        let found = state.now.get(start..).and_then(|rest| rest.get(..out.len()));
        out.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.disk.state().operation(true, |state| state.push(Op::Write(offset as usize, bytes.to_vec())))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.disk.state().operation(true, |state| state.push(Op::SetLen(len as usize)))
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.state().operation(false, |state| {
            let pending = std::mem::take(&mut state.pending);
            pending.iter().for_each(|op| op.apply(&mut state.durable));
        })
    }
}
