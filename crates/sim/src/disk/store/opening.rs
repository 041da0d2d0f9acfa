//! Creating and opening a store on a simulated disk.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use reconvene_clock::{NodeId, ReplicaId};
use reconvene_store::codec::{decode_last_commit, decode_witness, encode_last_commit, encode_witness};
use reconvene_store::opening::{
    self, AfterCrash, Continuity, Found, Fresh, HostMarker, LastCommit, Lineage, WhyNew, Witness,
};
use reconvene_store::{
    CommitError, Fact, FactKind, Head, Identity, Key, Limits, MemoryStore, MetadataStore, NetworkId, OpenError, Record,
    Revision, SessionNonce, ready,
};

use super::format::{
    FORMAT, HEADS, LOGS, ROWS, Top, VERSION, format_cell, head_cell, key_of, log_name, read_format, read_log, read_row,
    read_top, revision_of,
};
use super::{Defect, SimStore, State, facts_of};
use crate::disk::faults::DiskError;
use crate::disk::medium::{LAST, Session, SimDisk, WITNESS, is_beside};

/// What a store says it is: major and minor version, and the network.
type Format = ((u16, u16), NetworkId);

impl SimStore {
    /// Creates a store of `identity` on an empty disk.
    ///
    /// The format cell is written last, so that a crash leaves a store or nothing.
    ///
    /// # Errors
    ///
    /// [`OpenError::Exists`], [`OpenError::InUse`], or [`OpenError::Io`] if the disk fails.
    pub fn create(
        disk: &SimDisk,
        identity: Identity,
        session: SessionNonce,
        network: NetworkId,
        limits: Limits,
    ) -> Result<Self, OpenError> {
        let open = Opened::begin(disk)?;
        if open.format()?.is_some() || !open.is_unfinished()? {
            return Err(OpenError::Exists { store: PLACE.to_owned() });
        }
        let witness = open.read(WITNESS)?.and_then(|bytes| decode_witness(&bytes).ok());
        let (_, head, lineage, witness) = opening::create(identity, network, session, host_of(disk), witness.as_ref());
        // What an earlier creation left that crashed.
        for name in open.list("")?.iter().filter(|name| !is_beside(name)) {
            open.write(name, None)?;
        }
        for name in HEADS {
            open.write(name, Some(&head_cell(&head, &lineage, &[])))?;
        }
        open.sync()?;
        open.write(FORMAT, Some(&format_cell(VERSION, network)))?;
        open.sync()?;
        let mut bytes = Vec::new();
        encode_witness(&witness, &mut bytes);
        open.write(WITNESS, Some(&bytes))?;
        open.sync()?;
        let state = State::new(lineage, witness, Revision::default());
        Ok(open.store(MemoryStore::holding(head, [], [], limits), limits, state))
    }

    /// Opens the store that is on the disk, by the rules of [`reconvene_store::opening`], and says whether its
    /// incarnation goes on. `fresh` names a new one if not, and the session.
    ///
    /// # Errors
    ///
    /// [`OpenError`]. But for [`OpenError::Io`], the disk holds what it held.
    pub fn open(
        disk: &SimDisk,
        network: NetworkId,
        fresh: Fresh,
        policy: AfterCrash,
        limits: Limits,
    ) -> Result<(Self, Continuity), OpenError> {
        Self::open_with(disk, network, fresh, policy, limits, None)
    }

    /// As [`open`](Self::open), with a defect that has to do with opening.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn open_with(
        disk: &SimDisk,
        network: NetworkId,
        fresh: Fresh,
        policy: AfterCrash,
        limits: Limits,
        defect: Option<Defect>,
    ) -> Result<(Self, Continuity), OpenError> {
        let open = Opened::begin(disk)?;
        let Some((version, found)) = open.format()? else {
            let unfinished = open.is_unfinished()?;
            let missing = OpenError::Missing { store: PLACE.to_owned() };
            return Err(if unfinished { missing } else { corrupt(FORMAT, "it cannot be read, and there are others") });
        };
        if version.0 > VERSION.0 {
            return Err(OpenError::NewerFormat { store: PLACE.to_owned(), found: version, supported: VERSION });
        }
        if found != network {
            return Err(OpenError::Foreign { store: PLACE.to_owned(), found, wanted: network });
        }
        let held = match open.held(network) {
            Err(OpenError::Corrupt { .. }) if defect == Some(Defect::ErasesDamage) => {
                drop(open);
                disk.lose();
                let identity = Identity { node: NodeId::new([0; 16]), replica: fresh.replica, incarnation: 1 };
                let store = Self::create(disk, identity, fresh.session, network, limits)?;
                return Ok((store, Continuity::New(WhyNew::Lost)));
            }
            held => held?,
        };
        let believes = defect == Some(Defect::IgnoresWitness);
        let witness = open.read(WITNESS)?.and_then(|bytes| decode_witness(&bytes).ok());
        let witness =
            witness.filter(|_| !believes).or_else(|| believes.then(|| Witness::of(&held.head, &held.lineage)));
        let believes = believes || defect == Some(Defect::IgnoresLastCommit);
        let last = if believes { Vec::new() } else { open.last_commits()? };
        let found = Found {
            head: &held.head,
            lineage: &held.lineage,
            witness: witness.as_ref(),
            last: &last,
            host: host_of(disk),
            proves_last_commit: true,
            taken: false,
        };
        let opened = opening::open(&found, policy, fresh, 0);
        open.erase_log_behind(held.head.revision())?;
        let mut state = State::new(opened.lineage, opened.witness, held.checkpointed);
        (state.homes, state.dirty) = (held.homes, held.dirty);
        let records = held.rows.into_values().map(|(_, record)| record);
        let memory = MemoryStore::holding(held.head, records, held.facts.into_values(), limits);
        let store = open.store(memory, limits, state);
        {
            let mut state = store.shared.state.lock();
            // The batch that consumes the token, in one cell with the lineage; then the witness.
            let lineage = state.lineage;
            let number = store.shared.enqueue_with(&mut state, &opened.batch, lineage);
            let done = number.and_then(|_| store.shared.flush(&mut state));
            let done = done.and_then(|()| store.shared.write_witness(&mut state, opened.witness));
            done.map_err(|error| io("writing to", error))?;
        }
        Ok((store, opened.continuity))
    }
}

impl SimStore {
    /// Makes the store on a disk look as if a later version had written it.
    pub(crate) fn make_newer(disk: &SimDisk) {
        let format =
            disk.image().cells().find(|(name, _)| *name == FORMAT).and_then(|(_, cell)| read_format(cell).ok());
        if let Some((_, network)) = format {
            let newer = format_cell((VERSION.0.saturating_add(1), 0), network);
            disk.replace(&disk.image().with(FORMAT, Some(&newer)));
        }
    }
}

impl super::Shared {
    /// Writes another witness, and waits until it is durable.
    pub(super) fn write_witness(&self, state: &mut State, witness: Witness) -> Result<(), CommitError> {
        let mut bytes = Vec::new();
        encode_witness(&witness, &mut bytes);
        let written = self.disk.write(self.session, WITNESS, Some(&bytes)).and_then(|()| self.disk.sync(self.session));
        written.map_err(|error| self.over(state, error))?;
        state.witness = witness;
        Ok(())
    }

    /// Notes the last commit, and does not wait until that is durable. Without room for it the note is behind.
    pub(super) fn note_last_commit(&self, state: &mut State, head: &Head) -> Result<(), CommitError> {
        let mut bytes = Vec::new();
        encode_last_commit(LastCommit::of(head), &mut bytes);
        let [even, odd] = LAST;
        let name = if head.revision().get().is_multiple_of(2) { even } else { odd };
        match self.disk.write(self.session, name, Some(&bytes)) {
            Ok(()) | Err(DiskError::Full { .. }) => Ok(()),
            Err(error) => Err(self.over(state, error)),
        }
    }

    /// Writes down that the store was closed in good order.
    pub(super) fn leave_token(&self, state: &mut State) -> Result<(), CommitError> {
        let snapshot = ready(self.memory.snapshot()).and_then(Result::ok).expect("memory is always there");
        let head = self.head();
        if state.checkpointed != head.revision() {
            // There was no room: what is in the log is there, and the next opening takes it for a crash.
            return Ok(());
        }
        let cell = head_cell(&head, &state.lineage.closed(&head), &facts_of(&snapshot));
        for name in HEADS {
            let written = self.disk.write(self.session, name, Some(&cell)).and_then(|()| self.disk.sync(self.session));
            match written {
                Ok(()) => {}
                Err(DiskError::Full { .. }) => return Ok(()),
                Err(error) => return Err(self.over(state, error)),
            }
        }
        Ok(())
    }
}

/// Where errors say that a store is.
const PLACE: &str = "a simulated disk";

fn host_of(disk: &SimDisk) -> HostMarker {
    HostMarker::of([disk.machine().to_be_bytes().as_slice()])
}

fn corrupt(cell: &str, what: &str) -> OpenError {
    OpenError::Corrupt { store: PLACE.to_owned(), what: format!("cell {cell}: {what}") }
}

fn io(doing: &'static str, error: impl core::error::Error + Send + Sync + 'static) -> OpenError {
    OpenError::Io { store: PLACE.to_owned(), doing, source: Box::new(error) }
}

/// A session that ends unless it becomes that of a store.
struct Opened<'a> {
    disk: &'a SimDisk,
    session: Session,
    kept: bool,
}

impl Drop for Opened<'_> {
    fn drop(&mut self) {
        if !self.kept {
            self.disk.end(self.session);
        }
    }
}

/// What a disk holds.
struct Held {
    head: Head,
    lineage: Lineage,
    facts: BTreeMap<(FactKind, ReplicaId), Fact>,
    rows: BTreeMap<Key, (Revision, Record)>,
    homes: BTreeMap<Key, Arc<[u8]>>,
    dirty: BTreeSet<Key>,
    checkpointed: Revision,
}

impl<'a> Opened<'a> {
    fn begin(disk: &'a SimDisk) -> Result<Self, OpenError> {
        match disk.begin() {
            Ok(session) => Ok(Self { disk, session, kept: false }),
            Err(DiskError::InUse) => Err(OpenError::InUse { store: PLACE.to_owned() }),
            Err(error) => Err(io("opening", error)),
        }
    }

    fn read(&self, cell: &str) -> Result<Option<Arc<[u8]>>, OpenError> {
        self.disk.read(self.session, cell).map_err(|error| io("reading", error))
    }

    fn list(&self, prefix: &str) -> Result<Vec<Arc<str>>, OpenError> {
        self.disk.list(self.session, prefix).map_err(|error| io("reading", error))
    }

    fn write(&self, cell: &str, bytes: Option<&[u8]>) -> Result<(), OpenError> {
        self.disk.write(self.session, cell, bytes).map_err(|error| io("writing to", error))
    }

    fn sync(&self) -> Result<(), OpenError> {
        self.disk.sync(self.session).map_err(|error| io("syncing", error))
    }

    fn store(mut self, memory: MemoryStore, limits: Limits, state: State) -> SimStore {
        self.kept = true;
        SimStore::new(self.disk.clone(), self.session, memory, limits, state)
    }

    /// The notes of last commits that are whole.
    fn last_commits(&self) -> Result<Vec<LastCommit>, OpenError> {
        let cells = LAST.iter().map(|name| self.read(name)).collect::<Result<Vec<_>, _>>()?;
        Ok(cells.into_iter().flatten().filter_map(|cell| decode_last_commit(&cell).ok()).collect())
    }

    /// What the format cell says, if it is there and whole.
    fn format(&self) -> Result<Option<Format>, OpenError> {
        Ok(self.read(FORMAT)?.and_then(|cell| read_format(&cell).ok()))
    }

    /// Whether there is nothing but what a creation leaves that crashed, whose last cell may be torn.
    fn is_unfinished(&self) -> Result<bool, OpenError> {
        for name in HEADS {
            let top = self.read(name)?.and_then(|cell| read_top(&cell).ok());
            if top.is_some_and(|top| top.revision > Revision::default()) {
                return Ok(false);
            }
        }
        let part = |name: &str| HEADS.contains(&name) || name == FORMAT || is_beside(name);
        Ok(self.list("")?.iter().all(|name| part(name)))
    }

    /// Reads everything: the newest head, the rows, and behind it the log as far as it goes.
    fn held(&self, network: NetworkId) -> Result<Held, OpenError> {
        let mut tops: Vec<Top> = Vec::new();
        let mut why = "it is not there".to_owned();
        for name in HEADS {
            match self.read(name)?.map(|cell| read_top(&cell)) {
                Some(Ok(top)) => tops.push(top),
                Some(Err(what)) => why = what,
                None => {}
            }
        }
        // A crash tears one of the two at most.
        let base = tops.into_iter().max_by_key(|top| top.revision).ok_or_else(|| corrupt("head", &why))?;
        let mut rows = BTreeMap::new();
        let mut homes = BTreeMap::new();
        let mut broken: BTreeMap<Key, String> = BTreeMap::new();
        for name in self.list(ROWS)? {
            let key = key_of(&name).ok_or_else(|| corrupt(&name, "it names no key"))?;
            let Some(cell) = self.read(&name)? else { continue };
            match read_row(&key, &cell) {
                Ok(row) => drop(rows.insert(key.clone(), row)),
                Err(what) => drop(broken.insert(key.clone(), what)),
            }
            homes.insert(key, cell);
        }
        let (checkpointed, mut top) = (base.revision, base);
        let mut facts = BTreeMap::new();
        join(&mut facts, &top.facts);
        let mut dirty = BTreeSet::new();
        while let Some((after, changed)) = self.logged(Revision::new(top.revision.get().saturating_add(1)))? {
            for (key, record) in changed {
                // A checkpoint that was not finished may have torn it.
                broken.remove(&key);
                match record {
                    Some(record) => drop(rows.insert(key.clone(), (after.revision, record))),
                    None => drop(rows.remove(&key)),
                }
                dirty.insert(key);
            }
            join(&mut facts, &after.facts);
            top = after;
        }
        if let Some((key, what)) = broken.into_iter().next() {
            return Err(corrupt(&format!("row of {key}"), &what));
        }
        if let Some((key, (revision, _))) = rows.iter().find(|(_, (revision, _))| *revision > top.revision) {
            let what = format!("it is of revision {revision}, and the newest head of {}", top.revision);
            return Err(corrupt(&format!("row of {key}"), &what));
        }
        let records = rows.values().map(|(_, record)| record);
        let head = top.head(network, records).map_err(|what| corrupt("head", &what))?;
        Ok(Held { head, lineage: top.lineage, facts, rows, homes, dirty, checkpointed })
    }

    /// The batch of this revision, if one of its two copies in the log is whole.
    fn logged(&self, revision: Revision) -> Result<Option<super::format::Logged>, OpenError> {
        let mut logged = None;
        for copy in LOGS {
            if let Some(cell) = self.read(&log_name(copy, revision))?.filter(|_| logged.is_none()) {
                logged = read_log(&cell).ok().filter(|(after, _)| after.revision == revision);
            }
        }
        Ok(logged)
    }

    /// Batches behind a gap were never acknowledged. They go before anything is written that would fill the gap.
    fn erase_log_behind(&self, revision: Revision) -> Result<(), OpenError> {
        let mut erased = false;
        for copy in LOGS {
            for name in self.list(copy)? {
                if revision_of(copy, &name).is_none_or(|at| at > revision) {
                    self.write(&name, None)?;
                    erased = true;
                }
            }
        }
        if erased { self.sync() } else { Ok(()) }
    }
}

fn join(facts: &mut BTreeMap<(FactKind, ReplicaId), Fact>, more: &[Fact]) {
    for fact in more {
        match facts.get_mut(&(fact.kind(), fact.id())) {
            Some(held) => drop(held.merge(fact)),
            None => drop(facts.insert((fact.kind(), fact.id()), fact.clone())),
        }
    }
}
