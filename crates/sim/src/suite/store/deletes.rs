//! Deletes, acknowledgements and collection among members that come and go.

use std::collections::BTreeSet;

use reconvene_clock::{Dot, ReplicaId, VectorClock};
use reconvene_store::{
    Applied, Body, Cursor, Fact, FactKind, Key, MemberState, MetadataStore, Plan, Snapshot, Tombstones, Version,
};

use super::peer::{Peer, keys};
use super::pool::Pool;
use super::reading::read_quickly;
use crate::suite::block_on::block_on;
use crate::suite::check::Check;
use crate::suite::random::Random;
use crate::suite::report::{Blame, Broken, Report};

/// The store under test and two peers write, delete, meet, stay away, come back from old backups and collect. At the
/// end all meet, and nothing that was deleted is left, nor any tombstone.
pub(super) fn deletes<S: MetadataStore>(store: &S, seed: u64, report: &mut Report) -> Result<(), Broken> {
    let check = Check::NoResurrection;
    let first = read_quickly(&block_on(store.snapshot()).blame(check)?).blame(check)?;
    let mut run = Run {
        store,
        sites: vec![first, Peer::new(1), Peer::new(2)],
        backups: Vec::new(),
        away: None,
        next: 10,
        pool: Pool::default(),
        random: Random::new(seed),
        report,
    };
    for site in 0..run.sites.len() {
        run.introduce(site)?;
    }
    for site in 0..run.sites.len() {
        run.meet(site, 0)?;
        run.meet(0, site)?;
    }
    for _ in 0..160 {
        run.step()?;
        for site in 0..run.sites.len() {
            run.nothing_came_back(site)?;
        }
    }
    run.end()
}

struct Run<'a, S> {
    /// Holds what the first of the sites holds.
    store: &'a S,
    sites: Vec<Peer>,
    backups: Vec<(usize, Peer)>,
    away: Option<usize>,
    /// The number of the next incarnation.
    next: u8,
    pool: Pool,
    random: Random,
    report: &'a mut Report,
}

impl<S: MetadataStore> Run<'_, S> {
    fn step(&mut self) -> Result<(), Broken> {
        let site = self.random.below(self.sites.len());
        let other = self.random.below(self.sites.len());
        match self.random.below(20) {
            16..=19 => self.round(),
            0..=4 => self.write(site),
            5..=8 if self.away != Some(site) && self.away != Some(other) => {
                self.meet(site, other)?;
                self.meet(other, site)
            }
            9 | 10 => self.acknowledge(site),
            11 | 12 => self.collect(site),
            13 => self.late_copy(site),
            14 => {
                // Somebody stays away, or comes back.
                self.away = if self.away.is_some() { None } else { Some(site).filter(|site| *site > 0) };
                Ok(())
            }
            15 if site > 0 => self.backup_or_restore(site),
            _ => Ok(()),
        }
    }

    /// All that are not away meet and acknowledge, and one of them collects: what happens all the time where nobody is
    /// away, and leads nowhere while somebody is.
    fn round(&mut self) -> Result<(), Broken> {
        let here: Vec<usize> = (0..self.sites.len()).filter(|site| self.away != Some(*site)).collect();
        for _ in 0..2 {
            for to in &here {
                for from in &here {
                    self.meet(*to, *from)?;
                }
                self.acknowledge(*to)?;
            }
        }
        match self.random.pick(&here) {
            Some(site) => self.collect(*site),
            None => Ok(()),
        }
    }

    fn plan(&self, site: usize) -> Result<Plan, Broken> {
        self.sites.get(site).map(Peer::plan).ok_or("there is such a site").blame(Check::NoResurrection)
    }

    fn commit(&mut self, site: usize, plan: Plan) -> Result<(), Broken> {
        let check = Check::NoResurrection;
        let batch = plan.finish();
        let peer = self.sites.get_mut(site).ok_or("there is such a site").blame(check)?;
        peer.commit(&batch);
        if site == 0 {
            block_on(self.store.commit(&batch)).blame(check)?;
            let snapshot = block_on(self.store.snapshot()).blame(check)?;
            let found = read_quickly(&snapshot).blame(check)?;
            let same = found.same(peer);
            self.report.look(Check::ReadsSeeCommits, same.is_ok(), || same.err().unwrap_or_default())?;
            for kind in [FactKind::Member, FactKind::Ack] {
                let facts = block_on(snapshot.facts(kind)).blame(check)?;
                let expected = peer.facts.values().filter(|fact| fact.kind() == kind);
                self.report.look(Check::ReadsSeeCommits, facts.iter().eq(expected), || {
                    format!("the facts are {facts:?} and should be {:?}", peer.facts)
                })?;
            }
            let listed = tombstones(&snapshot)?;
            let live = tombstones_of(peer);
            self.report.look(Check::Index, listed == live, || {
                format!("the tombstones are {live:?}, and listed are {listed:?}")
            })?;
        }
        Ok(())
    }

    fn introduce(&mut self, site: usize) -> Result<(), Broken> {
        let mut plan = self.plan(site)?;
        let identity = plan.head().identity();
        plan.learn(Fact::Member {
            replica: identity.replica,
            node: identity.node,
            incarnation: identity.incarnation,
            state: MemberState::Active,
        });
        self.commit(site, plan)
    }

    fn write(&mut self, site: usize) -> Result<(), Broken> {
        let mut plan = self.plan(site)?;
        let key = self.random.pick(&keys()).cloned().ok_or("there are keys").blame(Check::Replaces)?;
        let siblings = plan.siblings(&key).blame(Check::Replaces)?.to_vec();
        let body = if self.random.one_in(2) { Body::Tombstone } else { Body::of(self.random.below(9).to_le_bytes()) };
        let dot = super::peer::put(&mut plan, &key, body).blame(Check::Replaces)?;
        let after = plan.siblings(&key).blame(Check::Replaces)?;
        if let Some(written) = after.iter().find(|version| version.dot == dot) {
            self.pool.write(&key, written, &siblings, None, self.report)?;
        }
        self.commit(site, plan)
    }

    /// One site learns all that another knows, as a session does it.
    fn meet(&mut self, to: usize, from: usize) -> Result<(), Broken> {
        let check = Check::NoResurrection;
        let (Some(from), true) = (self.sites.get(from).cloned(), to != from) else { return Ok(()) };
        let mut plan = self.plan(to)?;
        let behind = !plan.knowledge().vector().dominates(from.head.gc_floor());
        let mut missing = from.missing_from(plan.knowledge());
        self.random.shuffle(&mut missing);
        for (key, version) in missing {
            let _: Applied = plan.apply(key, version).blame(check)?;
        }
        if behind {
            self.report.saw("repairs behind a floor");
            // What the sender knows and does not hold is dead, and what replaced it may be known here already.
            for key in keys() {
                let held: Vec<Version> = plan.siblings(&key).blame(check)?.to_vec();
                let theirs = from.rows.get(&key).map_or(&[][..], |row| row.siblings());
                let dead = |one: &&Version| {
                    from.head.knowledge().contains(one.dot) && !theirs.iter().any(|their| their.dot == one.dot)
                };
                for version in held.iter().filter(dead) {
                    for their in theirs.iter().filter(|their| their.replaces(version.dot)) {
                        let _: Applied = plan.restore(key.clone(), their.clone()).blame(check)?;
                    }
                    plan.drop_dead(&key, version.dot).blame(check)?;
                }
            }
        }
        for fact in from.facts.values() {
            plan.learn(fact.clone());
        }
        plan.claim(from.head.knowledge(), from.head.gc_floor()).blame(check)?;
        self.commit(to, plan)
    }

    fn acknowledge(&mut self, site: usize) -> Result<(), Broken> {
        let mut plan = self.plan(site)?;
        let prefix = plan.knowledge().vector().clone();
        plan.acknowledge(plan.head().identity().replica, &prefix);
        self.commit(site, plan)
    }

    fn collect(&mut self, site: usize) -> Result<(), Broken> {
        let Some(peer) = self.sites.get(site) else { return Ok(()) };
        let Some(stable) = peer.stable() else { return Ok(()) };
        let (before, facts) = (tombstones_of(peer), peer.facts.clone());
        let mut plan = self.plan(site)?;
        let count = plan.collect(&stable);
        self.commit(site, plan)?;
        let after = self.sites.get(site).map(tombstones_of).unwrap_or_default();
        let gone: Vec<&(Dot, Key)> = before.iter().filter(|one| !after.contains(one)).collect();
        self.report.tally("tombstones collected", u64::try_from(count).unwrap_or(u64::MAX));
        // Every member that is known of here knows what is forgotten here: knows it, and not only said so.
        let member = |peer: &&Peer| facts.contains_key(&(FactKind::Member, peer.head.identity().replica));
        let unaware = gone
            .iter()
            .find(|(dot, _)| self.sites.iter().filter(member).any(|peer| !peer.head.knowledge().contains(*dot)));
        self.report.look(Check::NoResurrection, unaware.is_none() && gone.len() == count, || {
            format!("{count} tombstones were collected, {gone:?} are gone, and {unaware:?} is news to a member")
        })
    }

    /// A copy that somebody kept, or a relay delayed.
    fn late_copy(&mut self, site: usize) -> Result<(), Broken> {
        let Some((key, version)) = self.pool.nth(self.random.below(self.pool.len())) else { return Ok(()) };
        let mut plan = self.plan(site)?;
        let own = version.dot.replica == plan.head().identity().replica;
        if !own || plan.knowledge().contains(version.dot) {
            let _: Applied = plan.apply(key, version).blame(Check::NoResurrection)?;
            self.report.saw("late copies");
        }
        self.commit(site, plan)
    }

    /// A peer is put back to an earlier state of itself, and goes on as a new incarnation.
    fn backup_or_restore(&mut self, site: usize) -> Result<(), Broken> {
        let Some(peer) = self.sites.get(site) else { return Ok(()) };
        let Some(place) = self.backups.iter().position(|(of, _)| *of == site).filter(|_| self.random.one_in(2)) else {
            self.backups.push((site, peer.clone()));
            return Ok(());
        };
        let (_, backup) = self.backups.remove(place);
        let old = backup.head.identity();
        let lost = peer.head.identity();
        let mut plan = backup.plan();
        let fresh = ReplicaId::new(u64::from(self.next)).ok_or("not zero").blame(Check::NoResurrection)?;
        self.next = self.next.saturating_add(1);
        plan.renew(fresh, lost.incarnation.saturating_add(1), reconvene_store::SessionNonce::new(u64::from(self.next)));
        // The incarnations before no longer count: the one of the backup and the one that was lost.
        for identity in [old, lost] {
            plan.learn(Fact::Member {
                replica: identity.replica,
                node: identity.node,
                incarnation: identity.incarnation,
                state: MemberState::Retired,
            });
        }
        self.report.saw("peers restored");
        if let Some(peer) = self.sites.get_mut(site) {
            *peer = backup;
        }
        self.commit(site, plan)?;
        self.introduce(site)?;
        // It has a say only once the others know of it, and the others forget nothing before it has joined.
        for other in 0..self.sites.len() {
            if self.away != Some(other) || other == site {
                self.meet(other, site)?;
                self.meet(site, other)?;
            }
        }
        Ok(())
    }

    /// Whether nothing is live that was replaced by something known here, and nothing is gone without cause.
    fn nothing_came_back(&mut self, site: usize) -> Result<(), Broken> {
        let Some(peer) = self.sites.get(site) else { return Ok(()) };
        let expected = self.pool.live(peer.head.knowledge());
        let values = |peer: &Peer| -> BTreeSet<(Key, Dot)> {
            let rows =
                peer.rows.values().flat_map(|row| row.values().map(|(version, _)| (row.key().clone(), version.dot)));
            rows.collect()
        };
        let should = Peer { rows: expected, ..peer.clone() };
        let (is, should) = (values(peer), values(&should));
        self.report.look(Check::NoResurrection, is == should, || {
            format!("at site {site} the values {is:?} are live, and by what is known it should be {should:?}")
        })
    }

    /// Everybody meets everybody, acknowledges, meets again and collects.
    fn end(mut self) -> Result<(), Broken> {
        self.away = None;
        for _ in 0..4 {
            for to in 0..self.sites.len() {
                for from in 0..self.sites.len() {
                    self.meet(to, from)?;
                }
            }
            for site in 0..self.sites.len() {
                self.acknowledge(site)?;
            }
        }
        for site in 0..self.sites.len() {
            self.collect(site)?;
            self.nothing_came_back(site)?;
        }
        for site in 0..self.sites.len() {
            let left = self.sites.get(site).map(tombstones_of).unwrap_or_default();
            self.report.look(Check::TombstonesEnd, left.is_empty(), || {
                format!("all members acknowledged everything, and at site {site} these are left: {left:?}")
            })?;
        }
        let listed = tombstones(&block_on(self.store.snapshot()).blame(Check::TombstonesEnd)?)?;
        self.report.look(Check::TombstonesEnd, listed.is_empty(), || format!("listed are {listed:?}"))?;
        let sound = block_on(self.store.check()).blame(Check::Index)?;
        self.report.look(Check::Index, sound.is_sound() && sound.tombstones == 0, || format!("{sound:?}"))?;
        let mut digests = self.sites.iter().map(|peer| peer.head.fingerprints().root());
        let first = digests.next();
        self.report.look(Check::AnyOrder, digests.all(|digest| Some(digest) == first), || {
            "all met, and they hold different values".to_owned()
        })
    }
}

impl Peer {
    /// What all members that count have acknowledged, as far as this one heard; `None` if one never did.
    fn stable(&self) -> Option<VectorClock> {
        let members = self.facts.values().filter_map(|fact| match fact {
            Fact::Member { replica, state: MemberState::Active, .. } => Some(*replica),
            Fact::Member { state: MemberState::Retired, .. } | Fact::Ack { .. } => None,
        });
        let mut stable: Option<VectorClock> = None;
        for member in members {
            let Some(Fact::Ack { prefix, .. }) = self.facts.get(&(FactKind::Ack, member)) else { return None };
            match &mut stable {
                Some(stable) => {
                    stable.meet(prefix);
                }
                None => stable = Some(prefix.clone()),
            }
        }
        stable
    }
}

fn tombstones_of(peer: &Peer) -> Vec<(Dot, Key)> {
    let all = peer.rows.values().flat_map(|row| row.siblings().iter().map(|version| (row.key(), version)));
    let tombstones = all.filter(|(_, version)| version.body == Body::Tombstone);
    let mut tombstones: Vec<(Dot, Key)> = tombstones.map(|(key, version)| (version.dot, key.clone())).collect();
    tombstones.sort();
    tombstones
}

fn tombstones(snapshot: &impl Snapshot) -> Result<Vec<(Dot, Key)>, Broken> {
    let mut cursor = Cursor::new(Tombstones).with_rows(2);
    let mut all = Vec::new();
    loop {
        let page = block_on(snapshot.tombstones(&cursor)).blame(Check::Index)?;
        all.extend(page.items);
        match page.next {
            Some(next) => cursor = next,
            None => return Ok(all),
        }
    }
}
