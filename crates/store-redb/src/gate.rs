//! What stands between the engine and the medium.

mod held;

use std::fmt;
use std::io;
use std::ops::Bound;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use reconvene_store::crc32c;
use redb::{BackendError, StorageBackend};

use self::held::Held;
use crate::medium::Medium;

/// The engine's header is in its first page: whoever writes it last decides which commit is the newest.
const HEADER_END: u64 = 4096;

/// Where in that page a note of ours is. The engine's header ends at 320, and it leaves the rest of the page alone.
const NOTE_OFFSET: u64 = 2_048;
const NOTE_LEN: usize = 12;
const NOTE_MAGIC: [u8; 8] = *b"RCVNOTED";

/// Passes on what the engine reads and writes, with three additions.
///
/// * While it is *held*, nothing reaches the medium: what the engine writes is kept here, in order, and read from here.
///   A store that is refused is therefore left as it was found, although the engine writes as soon as it opens. A check
///   holds its gate to the end.
/// * The header is kept back until the engine syncs, and written after everything else. So a write that fails for want
///   of room has changed nothing, and a killed process leaves a header whose pages the operating system has.
/// * Failures are remembered by their kind, since the engine does not tell them apart.
#[derive(Clone)]
pub(crate) struct Gate(Arc<Inner>);

struct Inner {
    /// `None` once the engine has closed: a snapshot may outlive its store, and must not keep the file locked.
    medium: RwLock<Option<Arc<dyn Medium>>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    held: Option<Held>,
    /// The writes to the header since the last sync, in order.
    header: Vec<(u64, Vec<u8>)>,
    trouble: Option<Trouble>,
}

/// What went wrong. Whatever is worse counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Trouble {
    /// There was no room, before the header was touched: nothing has changed.
    Full,
    /// Anything else.
    Unknown,
}

impl Gate {
    /// A gate to `medium` through which nothing passes yet.
    pub(crate) fn held(medium: Arc<dyn Medium>) -> io::Result<Self> {
        let held = Some(Held::over(&*medium)?);
        let state = Mutex::new(State { held, ..State::default() });
        Ok(Self(Arc::new(Inner { medium: RwLock::new(Some(medium)), state })))
    }

    /// Passes on what was held, as the engine gave it, and from here on whatever comes. If that fails the gate stays
    /// shut, and the next attempt begins anew.
    pub(crate) fn release(&self) -> io::Result<()> {
        let medium = self.0.medium()?;
        let mut state = self.0.state.lock();
        let state = &mut *state;
        if let Some(held) = &state.held {
            let repeated = held.repeat(&*medium);
            state.note(repeated, true)?;
        }
        state.held = None;
        Ok(())
    }

    /// Notes on the medium that the commit of this number is durable, which it is. Nobody waits for the note: where it is
    /// found, whatever does not show that commit is damaged, and where it is lost nothing is known.
    pub(crate) fn confirm(&self, number: u64) {
        if self.0.state.lock().held.is_none()
            && let Ok(medium) = self.0.medium()
        {
            // A medium that fails here fails the next commit, too.
            let _ = medium.write_at(NOTE_OFFSET, &note(number));
        }
    }

    /// Forgets failures: a transaction begins. Those before it did not keep the engine from going on.
    pub(crate) fn begin(&self) {
        self.0.state.lock().trouble = None;
    }

    /// What went wrong since [`begin`](Self::begin).
    pub(crate) fn trouble(&self) -> Option<Trouble> {
        self.0.state.lock().trouble
    }
}

/// Whether there was no room.
pub(crate) fn no_room(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// The number in the note, if there is one.
pub(crate) fn confirmed(medium: &dyn Medium) -> io::Result<Option<u64>> {
    let mut found = [0; NOTE_LEN];
    medium.read_at(NOTE_OFFSET, &mut found)?;
    let number = found.split_first_chunk::<8>().map(|(number, _)| u64::from_be_bytes(*number));
    Ok(number.filter(|number| note(*number) == found))
}

fn note(number: u64) -> [u8; NOTE_LEN] {
    let mut bytes = number.to_be_bytes().to_vec();
    bytes.extend(crc32c(&[NOTE_MAGIC.as_slice(), &bytes].concat()).to_be_bytes());
    let mut note = [0; NOTE_LEN];
    note.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
    note
}

impl Inner {
    fn medium(&self) -> io::Result<Arc<dyn Medium>> {
        self.medium.read().clone().ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl State {
    /// Remembers a failure: for want of room and `harmless`, or otherwise.
    fn note<T>(&mut self, result: io::Result<T>, harmless: bool) -> io::Result<T> {
        if let Err(error) = &result {
            self.trouble =
                self.trouble.max(Some(if no_room(error) && harmless { Trouble::Full } else { Trouble::Unknown }));
        }
        result
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Gate").field(&*self.0.medium.read()).finish()
    }
}

impl StorageBackend for Gate {
    fn len(&self) -> io::Result<u64> {
        let medium = self.0.medium()?;
        let mut state = self.0.state.lock();
        match &state.held {
            Some(held) => Ok(held.len()),
            None => state.note(medium.len(), false),
        }
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let medium = self.0.medium()?;
        let mut state = self.0.state.lock();
        if let Some(held) = &state.held {
            return held.read(&*medium, offset, out);
        }
        if offset >= HEADER_END {
            // Not under the lock, so that readers do not wait for each other or for a write.
            drop(state);
            let read = medium.read_at(offset, out);
            return if read.is_ok() { read } else { self.0.state.lock().note(read, false) };
        }
        state.note(medium.read_at(offset, out), false)?;
        for (start, bytes) in &state.header {
            patch(offset, out, *start, bytes);
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let medium = self.0.medium()?;
        let mut state = self.0.state.lock();
        if let Some(held) = &mut state.held {
            held.set_len(len);
            return Ok(());
        }
        state.note(medium.set_len(len), true)
    }

    fn sync_data(&self) -> io::Result<()> {
        let medium = self.0.medium()?;
        let mut state = self.0.state.lock();
        if let Some(held) = &mut state.held {
            held.sync();
            return Ok(());
        }
        let header = core::mem::take(&mut state.header);
        // A header that was not written is where it was, unless an earlier part of it was written already.
        for (part, (offset, bytes)) in header.iter().enumerate() {
            state.note(medium.write_at(*offset, bytes), part == 0)?;
        }
        drop(state);
        let synced = medium.sync();
        if synced.is_ok() { synced } else { self.0.state.lock().note(synced, false) }
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let medium = self.0.medium()?;
        let mut state = self.0.state.lock();
        if let Some(held) = &mut state.held {
            return held.write(&*medium, offset, data);
        }
        if offset < HEADER_END {
            state.header.push((offset, data.to_vec()));
            return Ok(());
        }
        drop(state);
        let written = medium.write_at(offset, data);
        if written.is_ok() { written } else { self.0.state.lock().note(written, true) }
    }

    fn close(&self) -> io::Result<()> {
        *self.0.medium.write() = None;
        Ok(())
    }

    // Whoever made the gate has locked the medium, for as long as it is open: the engine has nothing to add.

    fn try_lock_range(&self, _start: Bound<u64>, _end: Bound<u64>) -> Result<bool, BackendError> {
        Ok(true)
    }

    fn try_lock_shared_range(&self, _start: Bound<u64>, _end: Bound<u64>) -> Result<bool, BackendError> {
        Ok(true)
    }

    fn lock_range(&self, _start: Bound<u64>, _end: Bound<u64>) -> Result<(), BackendError> {
        Ok(())
    }

    fn lock_shared_range(&self, _start: Bound<u64>, _end: Bound<u64>) -> Result<(), BackendError> {
        Ok(())
    }

    fn unlock_range(&self, _start: Bound<u64>, _end: Bound<u64>) -> Result<(), BackendError> {
        Ok(())
    }

    fn query_lock_range(&self, _start: Bound<u64>, _end: Bound<u64>) -> Result<bool, BackendError> {
        Ok(false)
    }
}

/// Puts the part of `bytes`, which begin at `start`, that lies in `out`, which begins at `offset`, there.
fn patch(offset: u64, out: &mut [u8], start: u64, bytes: &[u8]) {
    for (place, byte) in (offset..).zip(out.iter_mut()) {
        let index = place.checked_sub(start).and_then(|index| usize::try_from(index).ok());
        if let Some(new) = index.and_then(|index| bytes.get(index)) {
            *byte = *new;
        }
    }
}
