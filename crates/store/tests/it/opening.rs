//! Which incarnation a store goes on as: every row of the table, and that no dot is ever given out twice.

use std::collections::BTreeSet;

use proptest::prelude::*;
use reconvene_clock::{Dot, ReplicaId};
use reconvene_store::codec::{
    LAST_COMMIT_BYTES, decode_last_commit, decode_lineage, decode_witness, encode_last_commit, encode_lineage,
    encode_witness,
};
use reconvene_store::opening::{
    AfterCrash, Continuity, Found, Fresh, HostMarker, LastCommit, Lineage, WhyNew, Witness, continuity, create, open,
};
use reconvene_store::{BLOCK, Body, Fact, Frozen, Head, Limits, MemberState, NetworkId, Plan, Replaces, SessionNonce};

use crate::world::{identity, key, write};

/// What is on the medium, and the witness beside it.
#[derive(Clone, Debug)]
struct Disk {
    head: Head,
    lineage: Lineage,
    witness: Option<Witness>,
    last: Option<LastCommit>,
    host: HostMarker,
}

/// Draws what has to be drawn, never the same twice.
struct Draw(u64);

impl Draw {
    fn fresh(&mut self) -> Fresh {
        self.0 += 1;
        Fresh { replica: ReplicaId::new(1_000 + self.0).unwrap(), session: SessionNonce::new(self.0) }
    }
}

impl Disk {
    fn new() -> Self {
        let host = HostMarker::of([&b"host"[..], b"/data"]);
        let (why, head, lineage, witness) =
            create(identity(1), NetworkId::default(), SessionNonce::new(1 << 40), host, None);
        assert_eq!(why, Continuity::New(WhyNew::First));
        Self { head, lineage, witness: Some(witness), last: None, host }
    }

    fn found(&self) -> Found<'_> {
        let Self { head, lineage, witness, last, host } = self;
        let (witness, last, host) = (witness.as_ref(), last.as_slice(), *host);
        Found { head, lineage, witness, last, host, proves_last_commit: true, taken: false }
    }

    fn continuity(&self) -> Continuity {
        continuity(&self.found(), AfterCrash::KeepIfProven)
    }

    /// Opens it; a crash may come before the witness is written.
    fn open(&mut self, draw: &mut Draw, witnessed: bool) -> Continuity {
        let opening = open(&self.found(), AfterCrash::KeepIfProven, draw.fresh(), 0);
        self.head = opening.batch.head().clone();
        self.lineage = opening.lineage;
        if witnessed {
            self.witness = Some(opening.witness);
        }
        opening.continuity
    }

    /// Writes, and returns the dots that were acknowledged.
    fn write(&mut self, times: u64, witnessed: bool) -> Vec<Dot> {
        let mut dots = Vec::new();
        for _ in 0..times {
            let mut plan = Plan::new(self.head.clone(), [key(0)], [], &Limits::default());
            let dot = plan.write(write(0, Body::of("x"), Replaces::AllLive)).unwrap();
            self.head = plan.finish().head().clone();
            self.lineage = self.lineage.after(&self.head);
            if !self.witness.as_ref().is_some_and(|witness| witness.covers(&self.head)) {
                if !witnessed {
                    // The crash: durable, and never acknowledged.
                    return dots;
                }
                self.witness = Some(Witness::of(&self.head, &self.lineage));
            }
            dots.push(dot);
        }
        dots
    }

    fn close(&mut self) {
        self.lineage = self.lineage.closed(&self.head);
    }
}

#[test]
fn clean_shutdown_with_its_witness_is_kept() {
    let (mut disk, mut draw) = (Disk::new(), Draw(0));
    disk.write(3, true);
    disk.close();
    let mut found = disk.found();
    found.proves_last_commit = false;
    assert_eq!(continuity(&found, AfterCrash::AlwaysNew), Continuity::Kept, "the token says all there is to know");
    let identity = disk.head.identity();
    assert_eq!(disk.open(&mut draw, true), Continuity::Kept);
    assert_eq!((disk.head.identity(), disk.head.issued().unwrap().get()), (identity, BLOCK));
    assert!(!disk.lineage.is_closed_at(&disk.head), "the token is consumed");
    assert_eq!(disk.write(1, true)[0].counter.get(), BLOCK + 1, "above everything that was reserved");
    assert_eq!(disk.head.knowledge().ranges().len(), 0, "the unused numbers are known");
}

#[test]
fn proven_crash_is_kept_unless_the_policy_says_otherwise() {
    let mut disk = Disk::new();
    disk.write(3, true);
    assert_eq!(disk.continuity(), Continuity::Kept);
    assert_eq!(continuity(&disk.found(), AfterCrash::AlwaysNew), Continuity::New(WhyNew::Policy));
    let mut found = disk.found();
    found.proves_last_commit = false;
    assert_eq!(continuity(&found, AfterCrash::KeepIfProven), Continuity::New(WhyNew::Unproven));
}

#[test]
fn missing_store_is_a_new_incarnation_above_its_witness() {
    let disk = Disk::new();
    let witness = disk.witness.unwrap();
    let (why, head, _, next) =
        create(identity(2), NetworkId::default(), SessionNonce::new(5), disk.host, Some(&witness));
    assert_eq!(why, Continuity::New(WhyNew::Lost));
    assert_eq!(head.identity().incarnation, witness.identity().incarnation + 1);
    assert_ne!(next, witness);
}

#[test]
fn a_copy_from_within_a_block_is_shown_by_the_last_commit() {
    let (mut disk, mut draw) = (Disk::new(), Draw(0));
    disk.write(3, true);
    let backup = disk.clone();
    disk.write(1, true);
    let last = Some(LastCommit::of(&disk.head));
    assert_eq!(Disk { last, ..backup.clone() }.continuity(), Continuity::New(WhyNew::Restored));
    assert_eq!(backup.continuity(), Continuity::Kept, "without the note nothing tells");
    assert_eq!(Disk { last, ..disk.clone() }.continuity(), Continuity::Kept);
    // A note that is behind, or of another session, says nothing.
    let behind = Some(LastCommit::of(&backup.head));
    assert_eq!(Disk { last: behind, ..disk.clone() }.continuity(), Continuity::Kept);
    disk.last = last;
    assert_eq!(disk.open(&mut draw, true), Continuity::Kept);
    assert_eq!(disk.continuity(), Continuity::Kept, "the note of the session before");
}

#[test]
fn notes_of_last_commits_are_as_long_as_each_other_and_are_read_again() {
    let mut disk = Disk::new();
    for _ in 0..3 {
        disk.write(1, true);
        let last = LastCommit::of(&disk.head);
        let mut bytes = Vec::new();
        encode_last_commit(last, &mut bytes);
        assert_eq!(bytes.len(), LAST_COMMIT_BYTES);
        assert_eq!(decode_last_commit(&bytes), Ok(last));
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert!(decode_last_commit(&damaged).is_err(), "byte {at}");
        }
        assert!(decode_last_commit(&bytes[1..]).is_err());
    }
}

#[test]
fn restored_backup_is_a_new_incarnation() {
    let (mut disk, mut draw) = (Disk::new(), Draw(0));
    disk.write(3, true);
    let backup = disk.clone();
    // Within one session the block of counters tells, and after it the session does.
    let mut later = disk.clone();
    later.write(BLOCK, true);
    let restored = Disk { witness: later.witness, ..backup.clone() };
    assert_eq!(restored.continuity(), Continuity::New(WhyNew::Restored));
    disk.close();
    disk.open(&mut draw, true);
    let mut restored = Disk { witness: disk.witness, ..backup };
    assert_eq!(restored.continuity(), Continuity::New(WhyNew::Restored));
    let old = restored.head.identity();
    assert_eq!(restored.open(&mut draw, true), Continuity::New(WhyNew::Restored));
    let new = restored.head.identity();
    assert!(new.replica != old.replica && new.node == old.node && new.incarnation == old.incarnation + 1);
    assert_eq!(restored.head.knowledge().vector().len(), 1, "what it knows stays");
    assert_eq!(restored.continuity(), Continuity::Kept, "and it is the newest copy of itself from here on");
}

#[test]
fn missing_or_older_witness_is_a_new_incarnation() {
    let (mut disk, mut draw) = (Disk::new(), Draw(0));
    let first = disk.witness;
    assert_eq!(Disk { witness: None, ..disk.clone() }.continuity(), Continuity::New(WhyNew::NoWitness));
    for _ in 0..3 {
        disk.open(&mut draw, true);
    }
    assert_eq!(Disk { witness: first, ..disk.clone() }.continuity(), Continuity::New(WhyNew::NoWitness));
    let (_, _, _, other) = create(
        reconvene_store::Identity { node: reconvene_clock::NodeId::new([9; 16]), ..identity(1) },
        NetworkId::default(),
        SessionNonce::new(1),
        disk.host,
        None,
    );
    assert_eq!(
        Disk { witness: Some(other), ..disk }.continuity(),
        Continuity::New(WhyNew::NoWitness),
        "of another node"
    );
}

#[test]
fn witness_that_a_crash_left_one_step_behind_agrees() {
    let (mut disk, mut draw) = (Disk::new(), Draw(0));
    disk.write(3, true);
    assert_eq!(disk.open(&mut draw, false), Continuity::Kept);
    assert_eq!(disk.continuity(), Continuity::Kept, "the crash came before the witness of the opening was written");
    disk.open(&mut draw, true);
    disk.write(1, false);
    assert_eq!(disk.continuity(), Continuity::Kept, "or before that of a new block");
    disk.open(&mut draw, true);
    disk.close();
    let behind = disk.witness;
    disk.open(&mut draw, true);
    disk.close();
    disk.witness = behind;
    assert_eq!(disk.continuity(), Continuity::New(WhyNew::NoWitness), "a store that was closed had written its own");
}

#[test]
fn another_place_is_a_new_incarnation() {
    let mut disk = Disk::new();
    disk.close();
    disk.host = HostMarker::of([&b"host"[..], b"/copy"]);
    assert_eq!(disk.continuity(), Continuity::New(WhyNew::Moved));
    let disk = Disk::new();
    let mut found = disk.found();
    found.taken = true;
    assert_eq!(continuity(&found, AfterCrash::KeepIfProven), Continuity::New(WhyNew::Taken));
}

#[test]
fn frozen_identity_is_renewed_and_the_old_one_retired() {
    for why in [Frozen::Amnesia, Frozen::Cloned, Frozen::Collision] {
        let mut disk = Disk::new();
        let old = disk.head.identity().replica;
        let mut plan = Plan::new(disk.head.clone(), [], [], &Limits::default());
        plan.freeze(why);
        disk.head = plan.finish().head().clone();
        disk.close();
        assert_eq!(disk.continuity(), Continuity::New(WhyNew::Frozen(why)));
        let opening = open(&disk.found(), AfterCrash::KeepIfProven, Draw(0).fresh(), 41);
        assert_eq!(opening.batch.head().identity().incarnation, 42, "above what others have seen");
        assert_eq!(opening.batch.head().marks().frozen(), None);
        let retired =
            |fact: &Fact| matches!(fact, Fact::Member { replica, state: MemberState::Retired, .. } if *replica == old);
        assert!(opening.batch.facts().iter().any(retired));
    }
}

#[test]
fn lineage_and_witness_survive_as_bytes() {
    let (mut disk, mut draw) = (Disk::new(), Draw(0));
    for _ in 0..3 {
        let (mut lineage, mut witness) = (Vec::new(), Vec::new());
        encode_lineage(&disk.lineage, &mut lineage);
        encode_witness(&disk.witness.unwrap(), &mut witness);
        assert_eq!(decode_lineage(&lineage).unwrap(), disk.lineage);
        assert_eq!(decode_witness(&witness).unwrap(), disk.witness.unwrap());
        for bytes in [lineage, witness] {
            for bit in 0..bytes.len() * 8 {
                let mut bytes = bytes.clone();
                bytes[bit / 8] ^= 1 << (bit % 8);
                assert!(decode_lineage(&bytes).is_err() && decode_witness(&bytes).is_err());
            }
        }
        disk.open(&mut draw, true);
        disk.write(2, true);
        disk.close();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// Whatever is closed, killed, backed up, restored and copied: as long as the witness is not restored with the
    /// store, no dot is acknowledged twice.
    #[test]
    fn law_no_dot_is_given_out_twice(steps in prop::collection::vec((0_u8..9, any::<bool>(), prop_oneof![9 => 1_u64..4, 1 => 1_000_u64..1_100]), 1..40)) {
        let (mut disk, mut draw) = (Disk::new(), Draw(0));
        let mut given = BTreeSet::new();
        let mut backups: Vec<Disk> = Vec::new();
        for (what, witnessed, times) in steps {
            match what {
                0..=2 => {
                    for dot in disk.write(times, true) {
                        prop_assert!(given.insert(dot), "{} was given out twice", dot);
                    }
                }
                // Killed within a commit: what was not acknowledged may be on the medium.
                3 => {
                    for dot in disk.write(times, false) {
                        prop_assert!(given.insert(dot), "{} was given out twice", dot);
                    }
                    disk.open(&mut draw, witnessed);
                    disk.witness = disk.witness.filter(|witness| witness.covers(&disk.head)).or_else(|| Some(Witness::of(&disk.head, &disk.lineage)));
                }
                4 => {
                    disk.close();
                    disk.open(&mut draw, true);
                }
                5 => {
                    disk.open(&mut draw, false);
                    disk.open(&mut draw, true);
                }
                6 | 7 => backups.push(disk.clone()),
                _ => {
                    if let Some(backup) = backups.pop() {
                        disk = Disk { witness: disk.witness, ..backup };
                        disk.open(&mut draw, true);
                    }
                }
            }
        }
    }
}
