//! Opening again: in good order, damaged, from backups, in two places.

use std::collections::BTreeMap;

use reconvene_clock::{Dot, ReplicaId};
use reconvene_store::{
    Applied, Body, Changes, Frozen, Head, Identity, MetadataStore, NetworkId, OpenError, PageLimit, Plan, PlanError,
    SessionNonce, Version,
};

use super::peer::{Peer, identity, keys, network, put};
use super::reading::{read_all, read_quickly};
use super::schedule::plan_from;
use super::threads::head_of;
use crate::disk::{Fault, Keep, Moment};
use crate::suite::block_on::{block_on, poll_once};
use crate::suite::check::Check;
use crate::suite::factory::{Setup, StoreFactory, Transfer};
use crate::suite::random::Random;
use crate::suite::report::{Blame, Broken, Failure, Report};

/// Everything about opening.
pub(super) fn reopening<F: StoreFactory>(
    factory: &F,
    seed: u64,
    writes: usize,
    report: &mut Report,
) -> Result<(), Failure> {
    let abilities = factory.abilities();
    let mut life = Life::new(factory, seed, writes);
    let at = |step: u64| move |broken: Broken| broken.at(seed, step);
    life.in_good_order(report).map_err(at(0))?;
    life.creations_that_crash(report).map_err(at(1))?;
    if abilities.images {
        life.refusals(report).map_err(at(2))?;
        life.truncated(report).map_err(at(3))?;
        life.flipped(report).map_err(at(4))?;
    } else {
        report.skip(Check::RefusesDamage, "the factory shows no bytes");
        report.skip(Check::FlippedBits, "the factory shows no bytes");
    }
    if abilities.moves {
        life.table(report).map_err(at(5))?;
        life.restored_with_everything(report).map_err(at(6))?;
        life.collision(report).map_err(at(7))?;
    } else {
        report.skip(Check::OpeningTable, "the factory moves no stores");
    }
    Ok(())
}

struct Life<'a, F: StoreFactory> {
    factory: &'a F,
    seed: u64,
    writes: usize,
    random: Random,
    /// Openings so far: each has a nonce and a fresh number of its own.
    openings: u64,
    /// What every dot that was ever acknowledged names.
    named: BTreeMap<Dot, Version>,
}

impl<'a, F: StoreFactory> Life<'a, F> {
    fn new(factory: &'a F, seed: u64, writes: usize) -> Self {
        Self { factory, seed, writes, random: Random::new(seed), openings: 0, named: BTreeMap::new() }
    }

    fn setup(&mut self) -> Setup {
        self.openings = self.openings.saturating_add(1);
        let fresh = ReplicaId::new(self.openings.saturating_add(1_000)).unwrap_or_else(|| identity(0).replica);
        Setup::new(identity(0), network()).opened_as(SessionNonce::new(self.openings), fresh)
    }

    fn create(&mut self, place: &F::Place) -> Result<F::Store, Broken> {
        let setup = self.setup();
        self.factory.create(place, &setup).blame(Check::Reopens)
    }

    fn open(&mut self, place: &F::Place, check: Check) -> Result<F::Store, Broken> {
        let setup = self.setup();
        self.factory.open(place, &setup).blame(check)
    }

    /// Writes here and there, and takes down what each dot names.
    fn live(&mut self, store: &F::Store, batches: usize, report: &mut Report) -> Result<Peer, Broken> {
        let check = Check::DotsUnique;
        for _ in 0..batches {
            let mut plan = plan_from(store)?;
            for _ in 0..=self.random.below(2) {
                let key = self.random.pick(&keys()).cloned().ok_or("there are keys").blame(check)?;
                put(&mut plan, &key, Body::of(self.random.below(1_000).to_le_bytes())).blame(check)?;
            }
            let batch = plan.finish();
            block_on(store.commit(&batch)).blame(check)?;
            for (_, version) in batch.versions() {
                let before = self.named.insert(version.dot, version.clone());
                report.look(check, before.is_none_or(|before| before == *version), || {
                    format!("{} names two versions", version.dot)
                })?;
            }
        }
        Self::read(store, check)
    }

    fn read(store: &F::Store, check: Check) -> Result<Peer, Broken> {
        read_quickly(&block_on(store.snapshot()).blame(check)?).blame(check)
    }

    /// Closed and opened, several times; created where there is something; opened while it is open.
    fn in_good_order(&mut self, report: &mut Report) -> Result<(), Broken> {
        let check = Check::Reopens;
        let place = self.factory.place(self.seed);
        let setup = self.setup();
        let nothing = self.factory.open(&place, &setup).map(drop);
        let missing = matches!(nothing, Err(OpenError::Missing { .. }));
        report.look(check, missing, || format!("where there is nothing, opening says {nothing:?}"))?;
        let mut store = self.create(&place)?;
        for round in 0..4 {
            let batches = self.random.below(self.writes.clamp(4, 40));
            let before = self.live(&store, batches, report)?;
            let setup = self.setup();
            let second = self.factory.open(&place, &setup).map(drop);
            let in_use = matches!(second, Err(OpenError::InUse { .. }));
            report.look(check, in_use, || format!("a second opening of an open store says {second:?}"))?;
            if round % 2 == 0 {
                block_on(store.close()).blame(check)?;
            } else {
                self.factory.kill(&place, Some(store), Keep::All);
            }
            let setup = self.setup();
            let again = self.factory.create(&place, &setup).map(drop);
            let exists = matches!(again, Err(OpenError::Exists { .. }));
            report.look(check, exists, || format!("creating where there is a store says {again:?}"))?;
            store = self.open(&place, check)?;
            let snapshot = block_on(store.snapshot()).blame(check)?;
            let found = read_all(&snapshot, &mut self.random, report)?;
            let same = found.rows == before.rows
                && found.head.fingerprints() == before.head.fingerprints()
                && found.head.knowledge().covers(before.head.knowledge())
                && found.head.gc_floor() == before.head.gc_floor();
            report.look(check, same, || format!("{found:?} was opened, and {before:?} was left"))?;
            let sound = block_on(store.check()).blame(check)?;
            report.look(check, sound.is_sound(), || format!("{sound:?}"))?;
            self.feed_begins_anew(&store, &before.head, &found.head, report)?;
            report.saw("reopenings in good order");
        }
        block_on(store.close()).blame(check)
    }

    /// What changed before a store was opened is not known any more, and the feed says so; but for a store in which
    /// nothing had ever changed.
    fn feed_begins_anew(
        &self,
        store: &F::Store,
        before: &Head,
        head: &Head,
        report: &mut Report,
    ) -> Result<(), Broken> {
        let check = Check::FeedRescans;
        let old = reconvene_store::Revision::default();
        if before.revision() > old {
            let changes = block_on(store.changes(old, PageLimit::default())).blame(check)?;
            let rescan = matches!(&changes, Changes::Rescan { at } if *at == head.revision());
            report.look(check, rescan, || {
                format!("just opened at {}, and asked from the start: {changes:?}", head.revision())
            })?;
        }
        let mut nothing = core::pin::pin!(store.changes(head.revision(), PageLimit::default()));
        let early = poll_once(nothing.as_mut());
        report.look(check, early.is_none(), || format!("nothing happened since {}: {early:?}", head.revision()))
    }

    /// A crash while a store is created leaves it or nothing.
    fn creations_that_crash(&mut self, report: &mut Report) -> Result<(), Broken> {
        let check = Check::AtomicAtCrash;
        if !self.factory.abilities().faults {
            return Ok(());
        }
        for operation in 0..64 {
            let place = self.factory.place(self.seed.wrapping_add(operation));
            let at = self.factory.operations(&place).saturating_add(operation);
            let keep = if self.random.one_in(2) { Keep::Torn(self.random.seed()) } else { Keep::Nothing };
            let moment = if self.random.one_in(2) { Moment::Before } else { Moment::After };
            self.factory.arm(&place, at, Fault::Crash { moment, keep });
            let setup = self.setup();
            let store = self.factory.create(&place, &setup).ok();
            let finished = store.is_some() && self.factory.operations(&place) <= at;
            self.factory.relieve(&place);
            self.factory.kill(&place, store, keep);
            let setup = self.setup();
            let store = match self.factory.open(&place, &setup) {
                Ok(store) => store,
                Err(OpenError::Missing { .. }) => self.create(&place)?,
                Err(error) => return Err(check.broken(format!("creation crashed, and opening says: {error}"))),
            };
            let found = self.live(&store, 1, report)?;
            report.look(check, !found.rows.is_empty(), || "a created store takes nothing".to_owned())?;
            report.saw("creations that crashed");
            if finished {
                break;
            }
        }
        Ok(())
    }

    /// A closed store with something in it, what it holds, and its bytes.
    fn closed(&mut self, killed: bool, report: &mut Report) -> Result<(F::Place, Peer, Vec<u8>), Broken> {
        let place = self.factory.place(self.seed);
        let store = self.create(&place)?;
        let holds = self.live(&store, 7, report)?;
        if killed {
            self.factory.kill(&place, Some(store), Keep::All);
        } else {
            block_on(store.close()).blame(Check::Reopens)?;
        }
        let image = self.factory.image(&place);
        Ok((place, holds, image))
    }

    /// Of another network, and of a later version: refused by name, and left alone.
    fn refusals(&mut self, report: &mut Report) -> Result<(), Broken> {
        let check = Check::RefusesDamage;
        let (place, _, image) = self.closed(false, report)?;
        let mut setup = self.setup();
        setup.network = NetworkId::of_name("another");
        let foreign = self.factory.open(&place, &setup).map(drop);
        let right = matches!(foreign, Err(OpenError::Foreign { .. }));
        report.look(check, right, || format!("a store of another network: {foreign:?}"))?;
        self.untouched(&place, &image, "a store of another network", report)?;
        self.factory.make_newer(&place);
        let image = self.factory.image(&place);
        let setup = self.setup();
        let newer = self.factory.open(&place, &setup).map(drop);
        let right = matches!(newer, Err(OpenError::NewerFormat { .. }));
        report.look(check, right, || format!("a store of a later version: {newer:?}"))?;
        self.untouched(&place, &image, "a store of a later version", report)
    }

    fn untouched(&self, place: &F::Place, image: &[u8], what: &str, report: &mut Report) -> Result<(), Broken> {
        let same = self.factory.image(place) == image;
        report.look(Check::RefusesDamage, same, || format!("{what} was refused, and changed"))
    }

    /// Cut off at any length, it is refused or holds what it held.
    fn truncated(&mut self, report: &mut Report) -> Result<(), Broken> {
        let (place, holds, image) = self.closed(false, report)?;
        for len in self.places(image.len(), report) {
            self.factory.put_image(&place, image.get(..len).unwrap_or_default());
            self.opens_whole_or_not(&place, &holds, Check::RefusesDamage, &format!("cut to {len} bytes"), report)?;
            self.factory.put_image(&place, &image);
        }
        Ok(())
    }

    /// With one bit turned over, it is refused, found by a check, or holds what it held.
    fn flipped(&mut self, report: &mut Report) -> Result<(), Broken> {
        for killed in [false, true] {
            let (place, holds, image) = self.closed(killed, report)?;
            for byte in self.places(image.len(), report) {
                let bit = self.random.below(8);
                let mut flipped = image.clone();
                if let Some(byte) = flipped.get_mut(byte) {
                    *byte ^= 1 << bit;
                }
                self.factory.put_image(&place, &flipped);
                let what = format!("bit {bit} of byte {byte} of {} turned over, killed: {killed}", image.len());
                self.opens_whole_or_not(&place, &holds, Check::FlippedBits, &what, report)?;
                self.factory.put_image(&place, &image);
            }
        }
        Ok(())
    }

    /// Every place in a small image, and some in a large one.
    fn places(&mut self, len: usize, report: &mut Report) -> Vec<usize> {
        const MANY: usize = 4_096;
        if len <= MANY && self.seed == 0 && self.writes >= 100 {
            report.saw("images looked at in every place");
            return (0..len).collect();
        }
        let mut places: Vec<usize> =
            (0..32).chain((0..32).map(|back| len.saturating_sub(back).saturating_sub(1))).collect();
        places.extend((0..64).map(|_| self.random.below(len)));
        places.retain(|place| *place < len);
        places
    }

    fn opens_whole_or_not(
        &mut self,
        place: &F::Place,
        holds: &Peer,
        check: Check,
        what: &str,
        report: &mut Report,
    ) -> Result<(), Broken> {
        let image = self.factory.image(place);
        let setup = self.setup();
        match self.factory.open(place, &setup) {
            Err(OpenError::InUse { .. } | OpenError::Exists { .. }) => Err(check.broken(format!("{what}: in use"))),
            Err(_) => {
                report.saw("damage refused at opening");
                self.untouched(place, &image, what, report)
            }
            Ok(store) => {
                let sound = block_on(store.check()).is_ok_and(|found| found.is_sound());
                let found = block_on(store.snapshot()).and_then(|snapshot| read_quickly(&snapshot));
                let whole = found.as_ref().is_ok_and(|found| {
                    found.rows == holds.rows && found.head.knowledge().covers(holds.head.knowledge())
                });
                report.saw(if whole { "damage that did no harm" } else { "damage found by a check" });
                // What is served is right; what is not right is not served, and a check finds it.
                let served = found.as_ref().is_ok_and(|_| !whole);
                report.look(check, !served && (whole || !sound), || format!("{what}, and served is {found:?}"))?;
                self.factory.kill(place, Some(store), Keep::All);
                Ok(())
            }
        }
    }

    fn identity(store: &F::Store) -> Result<Identity, Broken> {
        Ok(head_of(store, Check::OpeningTable)?.identity())
    }

    /// The table of what is found at opening, row by row.
    fn table(&mut self, report: &mut Report) -> Result<(), Broken> {
        let check = Check::OpeningTable;
        let (place, backup, clone) = (
            self.factory.place(self.seed),
            self.factory.place(self.seed.wrapping_add(1)),
            self.factory.place(self.seed.wrapping_add(2)),
        );
        let mut store = self.create(&place)?;
        self.live(&store, 3, report)?;
        let first = Self::identity(&store)?;

        // Closed in good order: the same.
        block_on(store.close()).blame(check)?;
        store = self.open(&place, check)?;
        let second = Self::identity(&store)?;
        report.look(check, first == second, || format!("closed as {first:?} and opened as {second:?}"))?;
        self.live(&store, 2, report)?;

        // Killed: the same above everything reserved, or another.
        self.factory.kill(&place, Some(store), Keep::All);
        store = self.open(&place, check)?;
        let third = Self::identity(&store)?;
        report.look(check, third == second || Self::renewed(&second, &third), || {
            format!("killed as {second:?} and opened as {third:?}")
        })?;
        self.live(&store, 2, report)?;

        // A backup is taken, life goes on, and the backup is put back: another.
        block_on(store.close()).blame(check)?;
        self.factory.transfer(&place, Transfer::BackUpTo(&backup));
        store = self.open(&place, check)?;
        self.live(&store, 3, report)?;
        let before = Self::identity(&store)?;
        block_on(store.close()).blame(check)?;
        self.factory.transfer(&place, Transfer::RestoreFrom(&backup));
        store = self.open(&place, check)?;
        let restored = Self::identity(&store)?;
        report.look(check, Self::renewed(&before, &restored), || {
            format!("left as {before:?}, put back to a backup and opened as {restored:?}")
        })?;
        self.live(&store, 3, report)?;

        // The same while the store is open, with a few commits in between that reserve no new numbers: another.
        self.factory.transfer(&place, Transfer::BackUpTo(&backup));
        self.live(&store, 1, report)?;
        self.factory.kill(&place, Some(store), Keep::All);
        self.factory.transfer(&place, Transfer::RestoreFrom(&backup));
        store = self.open(&place, check)?;
        let before = restored;
        let restored = Self::identity(&store)?;
        report.look(check, Self::renewed(&before, &restored), || {
            format!("killed as {before:?}, put back to a copy made a commit before and opened as {restored:?}")
        })?;
        self.live(&store, 3, report)?;

        // The witness is gone: another.
        block_on(store.close()).blame(check)?;
        self.factory.transfer(&place, Transfer::LoseWitness);
        store = self.open(&place, check)?;
        let unwitnessed = Self::identity(&store)?;
        report.look(check, Self::renewed(&restored, &unwitnessed), || {
            format!("closed as {restored:?} and opened without its witness as {unwitnessed:?}")
        })?;
        self.live(&store, 2, report)?;

        // Cloned: the copy is another, and the original goes on.
        block_on(store.close()).blame(check)?;
        self.factory.transfer(&place, Transfer::CloneTo(&clone));
        let copy = self.open(&clone, check)?;
        store = self.open(&place, check)?;
        let (original, cloned) = (Self::identity(&store)?, Self::identity(&copy)?);
        report.look(check, original == unwitnessed && Self::renewed(&original, &cloned), || {
            format!("closed as {unwitnessed:?}, cloned, and opened as {original:?} and {cloned:?}")
        })?;
        self.live(&store, 3, report)?;
        self.live(&copy, 3, report)?;

        // Gone: nothing is opened, and what is created instead is another.
        block_on(store.close()).blame(check)?;
        self.factory.transfer(&place, Transfer::Lose);
        let setup = self.setup();
        let missing = self.factory.open(&place, &setup).map(drop);
        let right = matches!(missing, Err(OpenError::Missing { .. }));
        report.look(check, right, || format!("a lost store: {missing:?}"))?;
        let store = self.create(&place)?;
        let created = Self::identity(&store)?;
        report.look(check, created.replica != original.replica, || format!("{original:?} was created again"))?;
        self.live(&store, 3, report)?;
        report.saw("tables of openings");
        block_on(store.close()).blame(check)?;
        block_on(copy.close()).blame(check)
    }

    /// The same broker, and another and later incarnation of its store.
    fn renewed(before: &Identity, after: &Identity) -> bool {
        before.node == after.node && before.replica != after.replica && before.incarnation < after.incarnation
    }

    /// Put back with everything that could tell, a store finds out from its peers: before it takes from them what it
    /// lost, and before a dot of its own comes to name two contents there.
    fn restored_with_everything(&mut self, report: &mut Report) -> Result<(), Broken> {
        let check = Check::DotsUnique;
        let (place, whole) = (self.factory.place(self.seed), self.factory.place(self.seed.wrapping_add(1)));
        let mut store = self.create(&place)?;
        self.live(&store, 3, report)?;
        block_on(store.close()).blame(check)?;
        self.factory.transfer(&place, Transfer::CloneTo(&whole));
        store = self.open(&place, check)?;
        let lost = self.live(&store, 3, report)?;
        self.factory.kill(&place, Some(store), Keep::All);
        let mut peer = Peer::new(1);
        let mut plan = peer.plan();
        for (key, version) in lost.missing_from(peer.head.knowledge()) {
            let _: Applied = plan.apply(key, version).blame(check)?;
        }
        plan.claim(lost.head.knowledge(), lost.head.gc_floor()).blame(check)?;
        peer.commit(&plan.finish());
        self.factory.transfer(&place, Transfer::RestoreAllFrom(&whole));
        let store = self.open(&place, check)?;
        let own = head_of(&store, check)?.identity();
        if own.replica != lost.head.identity().replica {
            // The factory's machine tells more than the design asks for.
            return block_on(store.close()).blame(check);
        }
        let mut refused = false;
        for (key, version) in peer.missing_from(head_of(&store, check)?.knowledge()) {
            let mut plan = plan_from(&store)?;
            match plan.apply(key.clone(), version.clone()) {
                Ok(_) => {}
                Err(PlanError::Clock(_) | PlanError::UnusedDot { .. }) => refused = true,
                Err(error) => return Err(check.broken(error)),
            }
        }
        let mut plan = plan_from(&store)?;
        let claim = plan.claim(peer.head.knowledge(), peer.head.gc_floor());
        let refused = refused || claim.is_err();
        report.look(check, refused, || "own writes that were lost came back as if they were another's".to_owned())?;
        // Under another name it takes them, and goes on.
        let mut plan = plan_from(&store)?;
        let fresh = self.setup();
        plan.freeze(Frozen::Amnesia);
        plan.renew(fresh.identity.replica, own.incarnation.saturating_add(1), fresh.session);
        if let Some(held) = peer.head.knowledge().last_of(own.replica) {
            plan.reclaim_unused(Dot::new(own.replica, held));
        }
        block_on(store.commit(&plan.finish())).blame(check)?;
        let mut plan = plan_from(&store)?;
        for (key, version) in peer.missing_from(head_of(&store, check)?.knowledge()) {
            let _: Applied = plan.apply(key, version).blame(check)?;
        }
        plan.claim(peer.head.knowledge(), peer.head.gc_floor()).blame(check)?;
        block_on(store.commit(&plan.finish())).blame(check)?;
        let found = Self::read(&store, check)?;
        report.look(check, found.rows == lost.rows, || format!("{:?} came back of {:?}", found.rows, lost.rows))?;
        self.live(&store, 3, report)?;
        report.saw("stores put back with everything");
        block_on(store.close()).blame(check)
    }

    /// A dot that names two contents is evidence: both are kept, and the store whose dot it is writes no more.
    fn collision(&mut self, report: &mut Report) -> Result<(), Broken> {
        let check = Check::OpeningTable;
        let place = self.factory.place(self.seed);
        let store = self.create(&place)?;
        let holds = self.live(&store, 2, report)?;
        let all = keys();
        let key = all.first().ok_or("there are keys").blame(check)?;
        let mut plan = plan_from(&store)?;
        let dot = put(&mut plan, key, Body::of("one")).blame(check)?;
        block_on(store.commit(&plan.finish())).blame(check)?;
        let mut twin = Peer { rows: holds.rows, ..Peer::empty(holds.head) };
        let mut plan: Plan = twin.plan();
        put(&mut plan, key, Body::of("two")).blame(check)?;
        twin.commit(&plan.finish());
        let other = twin.rows.get(key).and_then(|row| row.version(dot)).cloned();
        let other = other.ok_or("a twin gives out the same dot").blame(check)?;
        let mut plan = plan_from(&store)?;
        let applied = plan.apply(key.clone(), other.clone());
        report
            .look(check, applied == Ok(Applied::Collided), || format!("one dot with another content: {applied:?}"))?;
        block_on(store.commit(&plan.finish())).blame(check)?;
        block_on(store.close()).blame(check)?;
        let store = self.open(&place, check)?;
        let found = Self::read(&store, check)?;
        let record = found.rows.get(key).ok_or("the key is there").blame(check)?;
        let both = record.siblings().len().saturating_add(record.evidence().len());
        report.look(check, both == 2, || format!("both contents should be kept, and there is {record:?}"))?;
        let mut plan = plan_from(&store)?;
        let frozen = put(&mut plan, key, Body::of("three"));
        let refused = matches!(frozen, Err(PlanError::Frozen { .. })) || found.head.identity().replica != dot.replica;
        report.look(check, refused, || format!("an incarnation with a collision writes on: {frozen:?}"))?;
        block_on(store.close()).blame(check)
    }
}
