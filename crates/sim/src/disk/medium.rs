//! The medium.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use reconvene_store::crc32c;

use super::faults::{DiskError, Fault, FaultRates, Keep, Moment};
use crate::world::rng::Rng;

/// The disk of one machine: named cells, a cache of writes that were not synced, and faults. Clones are the same disk.
///
/// Reads see what was written, synced or not. A crash ends the session that had the disk open and leaves of the writes
/// that were not synced what [`Keep`] says. Every read, write and sync is an operation with a number, at which a fault
/// can be [armed](Self::arm).
///
/// ```
/// use reconvene_sim::disk::{Fault, Keep, Moment, SimDisk};
///
/// let disk = SimDisk::new(7);
/// disk.arm(disk.operations() + 3, Fault::Crash { moment: Moment::After, keep: Keep::Nothing });
/// let backup = disk.image();
/// disk.lose();
/// disk.restore(&backup);
/// assert_eq!(disk.image(), backup);
/// ```
#[derive(Clone, Debug)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

/// The cell that stays out of backups.
pub(crate) const WITNESS: &str = "witness";
/// Where the last commit is noted, by turns, so that a torn one leaves the other.
pub(crate) const LAST: [&str; 2] = ["last/0", "last/1"];
/// What no backup holds and no restoring takes away.
const BESIDE: [&str; 3] = [WITNESS, LAST[0], LAST[1]];

/// Whether a cell is kept beside the store, and no part of it.
pub(crate) fn is_beside(cell: &str) -> bool {
    BESIDE.contains(&cell)
}

/// All that a disk holds at one moment. Cloning is cheap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    cells: Arc<BTreeMap<Arc<str>, Arc<[u8]>>>,
}

/// One opening of a disk, until it is closed, another begins, or a write fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Session(u64);

#[derive(Debug)]
struct State {
    rng: Rng,
    machine: u64,
    durable: Image,
    /// What reads see: the durable cells and what was written over them.
    current: Image,
    unsynced: Vec<Write>,
    /// What cells held before they were last written.
    before: BTreeMap<Arc<str>, Arc<[u8]>>,
    operations: u64,
    armed: BTreeMap<u64, Fault>,
    rates: FaultRates,
    room: usize,
    full: bool,
    bytes: usize,
    session: u64,
    /// Whether the session may still use the disk.
    open: bool,
    down: bool,
    polls: u32,
}

#[derive(Clone, Debug)]
struct Write {
    cell: Arc<str>,
    /// What to put there; `None` erases.
    bytes: Option<Arc<[u8]>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Read,
    Write,
    Sync,
}

impl Image {
    /// The cells by name, ascending.
    pub fn cells(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.cells.iter().map(|(name, bytes)| (&**name, &**bytes))
    }

    /// The bytes of all cells.
    #[must_use]
    pub fn byte_len(&self) -> usize {
        self.cells.values().map(|bytes| bytes.len()).sum()
    }

    /// Whether nothing is there.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }

    /// The same image with other bytes in one cell; `None` takes the cell away.
    #[must_use]
    pub fn with(&self, cell: &str, bytes: Option<&[u8]>) -> Self {
        let mut image = self.clone();
        image.put(&Arc::from(cell), bytes.map(Arc::from));
        image
    }

    /// The image in one piece: how many cells there are, name and length of each, a checksum over that, and then the bytes
    /// of all cells, in the order of their names.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let len = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes();
        let mut all = u32::try_from(self.cells.len()).unwrap_or(u32::MAX).to_be_bytes().to_vec();
        for (name, bytes) in self.cells.iter() {
            all.extend_from_slice(&len(name.as_bytes()));
            all.extend_from_slice(name.as_bytes());
            all.extend_from_slice(&len(bytes));
        }
        all.extend_from_slice(&crc32c(&all).to_be_bytes());
        for bytes in self.cells.values() {
            all.extend_from_slice(bytes);
        }
        all
    }

    /// The image that is left of such a piece, whatever happened to it: what was cut off at its end is not there. If it
    /// cannot be told any more where cells begin, all of it is one cell without a meaning, as the blocks of a file system
    /// whose directory is damaged.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let mut image = Self::default();
        let mut rest = bytes;
        let Some(cells) = directory(&mut rest) else {
            if !bytes.is_empty() {
                image.put(&Arc::from("unreadable"), Some(Arc::from(bytes)));
            }
            return image;
        };
        for (name, len) in cells {
            let (cell, behind) = rest.split_at(len.min(rest.len()));
            if cell.len() == len || !cell.is_empty() {
                image.put(&Arc::from(name), Some(Arc::from(cell)));
            }
            rest = behind;
        }
        image
    }

    fn put(&mut self, cell: &Arc<str>, bytes: Option<Arc<[u8]>>) -> Option<Arc<[u8]>> {
        let cells = Arc::make_mut(&mut self.cells);
        match bytes {
            Some(bytes) => cells.insert(Arc::clone(cell), bytes),
            None => cells.remove(cell),
        }
    }
}

impl SimDisk {
    /// An empty disk, in order, with room for 1 GiB. Chance on it comes from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let state = State {
            machine: rng.next_u64(),
            rng,
            durable: Image::default(),
            current: Image::default(),
            unsynced: Vec::new(),
            before: BTreeMap::new(),
            operations: 0,
            armed: BTreeMap::new(),
            rates: FaultRates::default(),
            room: 1 << 30,
            full: false,
            bytes: 0,
            session: 0,
            open: false,
            down: false,
            polls: 0,
        };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// How many operations there were. The next one has this number.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.state.lock().operations
    }

    /// Lets `fault` happen at the operation with this number.
    pub fn arm(&self, operation: u64, fault: Fault) {
        self.state.lock().armed.insert(operation, fault);
    }

    /// Takes back every armed fault that has not happened.
    pub fn disarm(&self) {
        self.state.lock().armed.clear();
    }

    /// Lets faults come by themselves from now on.
    pub fn set_rates(&self, rates: FaultRates) {
        self.state.lock().rates = rates;
    }

    /// Gives the disk room for this many bytes.
    pub fn set_room(&self, bytes: usize) {
        self.state.lock().room = bytes;
    }

    /// Ends what [`Fault::Full`] began.
    pub fn make_room(&self) {
        self.state.lock().full = false;
    }

    /// Whether a crash ended the last session, which therefore has to be opened again.
    #[must_use]
    pub fn is_down(&self) -> bool {
        self.state.lock().down
    }

    /// How many writes are not synced.
    #[must_use]
    pub fn unsynced(&self) -> usize {
        self.state.lock().unsynced.len()
    }

    /// The machine goes down now: the session is over, and `keep` says what is left of the writes that were not synced.
    pub fn crash(&self, keep: Keep) {
        self.state.lock().crash(keep);
    }

    /// Everything that the disk holds, as it is read while the machine is on: what an administrator copies who clones a
    /// machine.
    #[must_use]
    pub fn image(&self) -> Image {
        self.state.lock().current.clone()
    }

    /// What a backup program copies: everything but the witness and the note of the last commit, which stay out of backups.
    #[must_use]
    pub fn backup(&self) -> Image {
        BESIDE.iter().fold(self.image(), |image, name| image.with(name, None))
    }

    /// Puts an image in place of all that is there: a backup, or another machine's disk. The witness and the note of the
    /// last commit stay unless the image has its own. Ends the session.
    pub fn restore(&self, image: &Image) {
        self.state.lock().restore(image.clone());
    }

    /// Puts an image in place of all that is there, witness included. Ends the session.
    pub fn replace(&self, image: &Image) {
        self.state.lock().replace(image.clone());
    }

    /// Everything is gone but the witness and what goes with it. Ends the session.
    pub fn lose(&self) {
        self.restore(&Image::default());
    }

    /// The witness is gone. Ends the session.
    pub fn lose_witness(&self) {
        let mut state = self.state.lock();
        let image = state.current.with(WITNESS, None);
        state.replace(image);
    }

    /// Names the machine, for as long as it exists: a copy of a disk is in another one.
    #[must_use]
    pub fn machine(&self) -> u64 {
        self.state.lock().machine
    }

    /// Two machines get each other's disks. Ends both sessions.
    pub fn swap(&self, other: &Self) {
        let (ours, theirs) = (self.image(), other.image());
        self.replace(&theirs);
        other.replace(&ours);
    }

    /// Turns over one bit of a durable cell whose name begins with `prefix`, and says which cell and bit, or `None` if
    /// there is none. What the running process holds in its cache of unsynced writes is not touched.
    #[must_use = "it may have found nothing to damage"]
    pub fn rot(&self, prefix: &str) -> Option<(String, usize)> {
        self.state.lock().rot(prefix)
    }

    /// Begins a session.
    pub(crate) fn begin(&self) -> Result<Session, DiskError> {
        let mut state = self.state.lock();
        if state.open {
            return Err(DiskError::InUse);
        }
        state.session = state.session.wrapping_add(1);
        state.open = true;
        state.down = false;
        Ok(Session(state.session))
    }

    /// Ends a session, as the end of its process does: what was written stays written.
    pub(crate) fn end(&self, session: Session) {
        let mut state = self.state.lock();
        if Session(state.session) == session {
            state.open = false;
        }
    }

    pub(crate) fn read(&self, session: Session, cell: &str) -> Result<Option<Arc<[u8]>>, DiskError> {
        let mut state = self.state.lock();
        let fault = state.begin(session, Kind::Read)?;
        let found = state.current.cells.get(cell).cloned();
        let found = if fault == Some(Fault::Stale) { state.before.get(cell).cloned().or(found) } else { found };
        state.finish(fault)?;
        Ok(found)
    }

    /// The names of the cells that begin with `prefix`, ascending. One read.
    pub(crate) fn list(&self, session: Session, prefix: &str) -> Result<Vec<Arc<str>>, DiskError> {
        let mut state = self.state.lock();
        let fault = state.begin(session, Kind::Read)?;
        let names = state.current.cells.range(Arc::from(prefix)..).map(|(name, _)| name);
        let names = names.take_while(|name| name.starts_with(prefix)).cloned().collect();
        state.finish(fault)?;
        Ok(names)
    }

    /// Puts `bytes` into a cell, or takes the cell away. Not durable before the next [`sync`](Self::sync).
    pub(crate) fn write(&self, session: Session, cell: &str, bytes: Option<&[u8]>) -> Result<(), DiskError> {
        let mut state = self.state.lock();
        let fault = state.begin(session, Kind::Write)?;
        let (name, bytes) = (Arc::from(cell), bytes.map(Arc::from));
        state.write(Write { cell: name, bytes })?;
        state.finish(fault)
    }

    /// Makes all writes durable.
    pub(crate) fn sync(&self, session: Session) -> Result<(), DiskError> {
        let mut state = self.state.lock();
        let fault = state.begin(session, Kind::Sync)?;
        state.settle(Keep::All);
        state.finish(fault)
    }

    /// How many polls the last operations asked to wait for; asked once.
    pub(crate) fn take_polls(&self) -> u32 {
        core::mem::take(&mut self.state.lock().polls)
    }
}

impl State {
    /// Counts an operation, and returns the fault that is to happen in or after it.
    fn begin(&mut self, session: Session, kind: Kind) -> Result<Option<Fault>, DiskError> {
        if !self.open || Session(self.session) != session {
            return Err(DiskError::Over);
        }
        let operation = self.operations;
        self.operations = operation.saturating_add(1);
        let drawn = self.draw(kind);
        match self.armed.remove(&operation).or(drawn) {
            Some(Fault::Fail) => {
                if kind == Kind::Read {
                    return Err(DiskError::Read { operation });
                }
                // What was not synced may be there or not, and the error comes only once: the pages count as clean.
                let seed = self.rng.next_u64();
                self.settle(Keep::Subset(seed));
                self.open = false;
                Err(DiskError::Write { operation })
            }
            Some(Fault::Full) => {
                self.full = true;
                Ok(None)
            }
            Some(Fault::Crash { moment: Moment::Before, keep }) => {
                self.crash(keep);
                Err(DiskError::Over)
            }
            Some(Fault::Slow { polls }) => {
                self.polls = self.polls.saturating_add(polls);
                Ok(None)
            }
            fault @ (Some(Fault::Crash { moment: Moment::After, .. } | Fault::Stale) | None) => Ok(fault),
        }
    }

    fn finish(&mut self, fault: Option<Fault>) -> Result<(), DiskError> {
        if let Some(Fault::Crash { keep, .. }) = fault {
            self.crash(keep);
            return Err(DiskError::Over);
        }
        Ok(())
    }

    fn draw(&mut self, kind: Kind) -> Option<Fault> {
        let rates = self.rates;
        if rates == FaultRates::default() {
            return None;
        }
        let mut comes = |per_million: u32| per_million > 0 && self.rng.below(1_000_000) < u64::from(per_million);
        let fails = match kind {
            Kind::Read => rates.fail_read,
            Kind::Write => rates.fail_write,
            Kind::Sync => rates.fail_sync,
        };
        let (rots, fails, crashes) = (comes(rates.rot), comes(fails), comes(rates.crash));
        let (stale, slow) = (kind == Kind::Read && comes(rates.stale), comes(rates.slow));
        if rots {
            self.rot("");
        }
        if fails {
            Some(Fault::Fail)
        } else if crashes {
            let moment = if self.rng.below(2) == 0 { Moment::Before } else { Moment::After };
            Some(Fault::Crash { moment, keep: Keep::Torn(self.rng.next_u64()) })
        } else if stale {
            Some(Fault::Stale)
        } else {
            let polls = u32::try_from(self.rng.below(4)).unwrap_or_default().saturating_add(1);
            slow.then_some(Fault::Slow { polls })
        }
    }

    fn write(&mut self, write: Write) -> Result<(), DiskError> {
        let held = self.current.cells.get(&write.cell).map_or(0, |bytes| bytes.len());
        let new = write.bytes.as_ref().map_or(0, |bytes| bytes.len());
        let bytes = self.bytes.saturating_sub(held).saturating_add(new);
        // Erasing, and writing less over more, must work on a full disk: how else should there be room again?
        if new > held && (self.full || bytes > self.room) {
            return Err(DiskError::Full { bytes, limit: if self.full { self.bytes } else { self.room } });
        }
        self.bytes = bytes;
        if let Some(before) = self.current.put(&write.cell, write.bytes.clone()) {
            self.before.insert(Arc::clone(&write.cell), before);
        }
        self.unsynced.push(write);
        Ok(())
    }

    /// Decides what becomes of every write that was not synced.
    fn settle(&mut self, keep: Keep) {
        let mut rng = match keep {
            Keep::Subset(seed) | Keep::Torn(seed) => Rng::new(seed),
            Keep::All | Keep::Nothing | Keep::Prefix(_) => Rng::new(0),
        };
        let mut lost = false;
        for (nth, mut write) in core::mem::take(&mut self.unsynced).into_iter().enumerate() {
            let kept = match keep {
                Keep::All => true,
                Keep::Nothing => false,
                Keep::Prefix(count) => nth < count,
                Keep::Subset(_) | Keep::Torn(_) => rng.below(2) == 0,
            };
            if !kept {
                lost = true;
                continue;
            }
            if let (Keep::Torn(_), Some(bytes)) = (keep, &write.bytes)
                && rng.below(2) == 0
            {
                let len =
                    usize::try_from(rng.below(u64::try_from(bytes.len()).unwrap_or(u64::MAX))).unwrap_or_default();
                write.bytes = bytes.get(..len).map(Arc::from);
                lost = true;
            }
            self.durable.put(&write.cell, write.bytes);
        }
        if lost {
            self.current = self.durable.clone();
            self.bytes = self.current.byte_len();
        }
    }

    fn crash(&mut self, keep: Keep) {
        self.settle(keep);
        self.open = false;
        self.down = true;
        self.polls = 0;
    }

    fn restore(&mut self, image: Image) {
        let stays = |name: &&&str| !image.cells.contains_key(**name);
        let beside =
            BESIDE.iter().filter(stays).filter_map(|name| Some((*name, self.current.cells.get(*name)?.clone())));
        let beside: Vec<_> = beside.collect();
        let image = beside.iter().fold(image, |image, (name, cell)| image.with(name, Some(cell)));
        self.replace(image);
    }

    fn replace(&mut self, image: Image) {
        self.unsynced.clear();
        self.before.clear();
        self.bytes = image.byte_len();
        self.durable = image.clone();
        self.current = image;
        self.open = false;
    }

    fn rot(&mut self, prefix: &str) -> Option<(String, usize)> {
        let cells = self.durable.cells.iter().filter(|(name, bytes)| name.starts_with(prefix) && !bytes.is_empty());
        let names: Vec<Arc<str>> = cells.map(|(name, _)| Arc::clone(name)).collect();
        let nth = usize::try_from(self.rng.below(u64::try_from(names.len()).unwrap_or_default())).unwrap_or_default();
        let name = names.get(nth)?;
        let old = self.durable.cells.get(name)?;
        let bits = old.len().saturating_mul(8);
        let bit = usize::try_from(self.rng.below(u64::try_from(bits).unwrap_or_default())).unwrap_or_default();
        let mut bytes = old.to_vec();
        *bytes.get_mut(bit / 8)? ^= 1 << (bit % 8);
        let bytes: Arc<[u8]> = bytes.into();
        self.durable.put(name, Some(Arc::clone(&bytes)));
        if !self.unsynced.iter().any(|write| write.cell == *name) {
            self.current.put(name, Some(bytes));
        }
        Some((name.to_string(), bit))
    }
}

/// Names and lengths of the cells in an image in one piece, of which `rest` keeps the bytes behind them; `None` if they
/// cannot be trusted.
fn directory<'a>(rest: &mut &'a [u8]) -> Option<Vec<(&'a str, usize)>> {
    let whole = *rest;
    let count = number(rest)?;
    let mut cells = Vec::new();
    for _ in 0..count {
        let len = number(rest)?;
        let (name, behind) = rest.split_at_checked(len)?;
        *rest = behind;
        cells.push((core::str::from_utf8(name).ok()?, number(rest)?));
    }
    let framing = whole.get(..whole.len().checked_sub(rest.len())?)?;
    let sum = crc32c(framing);
    (number(rest)? == usize::try_from(sum).ok()?).then_some(cells)
}

fn number(rest: &mut &[u8]) -> Option<usize> {
    let (number, behind) = rest.split_first_chunk()?;
    *rest = behind;
    usize::try_from(u32::from_be_bytes(*number)).ok()
}
