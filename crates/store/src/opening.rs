//! Opening: whether a store is provably the newest copy of itself, and what follows.
//!
//! A dot must never name two writes. A store that lost its last writes, was restored from a backup or runs twice would
//! give out counters again, so it goes on under its [`ReplicaId`] only if it can show that it is the newest copy. What
//! shows it is a [`Witness`]: a few bytes outside whatever is backed up with the store, rewritten at every opening and
//! whenever a block of counters is reserved. Beside it is the number of the [`LastCommit`], rewritten at every commit and
//! never waited for, which shows a copy from within a block. Everything here is pure: a backend reads what is there, calls
//! [`open`], writes what it says and only then gives out dots.
//!
//! | found | incarnation |
//! |---|---|
//! | token of a clean shutdown, witness agrees | kept |
//! | no token, witness agrees, the engine proves its last commit | kept, unless [`AfterCrash::AlwaysNew`] |
//! | no token, the engine cannot tell whether it lost a commit | new |
//! | no store; no witness; a store older than its witness or its last commit, or a witness older than its store | new |
//! | another host or path; another process in the writer's place | new |
//! | the identity was frozen: peers know more of it, or another copy, or a dot names two contents | new |
//!
//! Left over: a store that is restored together with its witness, or a copy from within the last block of counters that is
//! restored after a power cut took the number of the last commit; and then meets no peer. It is found out at the first
//! contact if a peer's knowledge shows it, as [`Frozen::Amnesia`] or [`Frozen::Collision`].
//!
//! The order of writes matters. [`Opening::batch`] and [`Opening::lineage`] become durable in one transaction, then
//! [`Opening::witness`]; at a commit after which [`Witness::covers`] no longer holds, first the batch, then the new witness,
//! then `Ok`. A crash between the two leaves a witness that is one step behind, which agrees. The number of the last commit
//! is written after the batch is durable and before `Ok`; it need not be durable itself, since one that is behind agrees too.

use core::fmt::{self, Display};

use reconvene_clock::digest::sha256;
use reconvene_clock::{Counter, ReplicaId};

use crate::{Batch, Frozen, Head, Identity, Limits, NetworkId, Plan, Revision, SessionNonce};

/// What tells one place from another: a hash of whatever the backend knows of host, path and file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostMarker([u8; 16]);

impl HostMarker {
    /// The marker of a place that is described by these parts.
    #[must_use]
    pub fn of<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut bytes = Vec::new();
        for part in parts {
            bytes.extend_from_slice(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            bytes.extend_from_slice(part);
        }
        let mut half = [0; 16];
        half.iter_mut().zip(sha256(&bytes)).for_each(|(to, from)| *to = from);
        Self(half)
    }

    /// The marker with these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

/// What a store keeps about its own openings, in one transaction with its head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Lineage {
    pub(crate) identity: Identity,
    pub(crate) opening: u64,
    pub(crate) session: SessionNonce,
    pub(crate) previous: Option<SessionNonce>,
    pub(crate) host: HostMarker,
    pub(crate) closed_at: Option<Revision>,
}

impl Lineage {
    /// The token of a clean shutdown at this head: written last, consumed by the next opening.
    #[must_use]
    pub fn closed(self, head: &Head) -> Self {
        Self { closed_at: Some(head.revision()), ..self }
    }

    /// The same, after a batch that led to `head`: another one if the batch renewed the identity.
    #[must_use]
    pub fn after(self, head: &Head) -> Self {
        if self.identity == head.identity() && self.session == head.session() {
            return self;
        }
        let previous = (self.identity == head.identity()).then_some(self.session);
        let opening = self.opening.saturating_add(1);
        Self { identity: head.identity(), opening, session: head.session(), previous, closed_at: None, ..self }
    }

    /// Whose store it is.
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// Whether the store was closed cleanly after the batch that led to `head`, and not opened since.
    #[must_use]
    pub fn is_closed_at(&self, head: &Head) -> bool {
        self.closed_at == Some(head.revision())
    }
}

/// What stays outside the backup of a store, and tells whether it is the newest copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Witness {
    pub(crate) network: NetworkId,
    pub(crate) identity: Identity,
    pub(crate) opening: u64,
    pub(crate) session: SessionNonce,
    pub(crate) reserved: Option<Counter>,
}

impl Witness {
    /// The witness of a store at this point.
    #[must_use]
    pub fn of(head: &Head, lineage: &Lineage) -> Self {
        let Lineage { identity, opening, session, .. } = *lineage;
        Self { network: head.network(), identity, opening, session, reserved: head.marks().reserved() }
    }

    /// Whether it still speaks for a store at `head`. If not, a new one is made durable before the commit that led there
    /// returns.
    #[must_use]
    pub fn covers(&self, head: &Head) -> bool {
        self.identity == head.identity() && self.session == head.session() && self.reserved >= head.marks().reserved()
    }

    /// Whose store it is of.
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.identity
    }
}

/// The last commit that a store made durable, noted beside its [`Witness`] without waiting: a store that lacks it was
/// restored. Where the note is lost or behind, nothing is wrong, and only the witness speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LastCommit {
    pub(crate) session: SessionNonce,
    pub(crate) revision: Revision,
}

impl LastCommit {
    /// The commit that led to `head`.
    #[must_use]
    pub fn of(head: &Head) -> Self {
        Self { session: head.session(), revision: head.revision() }
    }

    /// Whether a store at `head` had this commit, and does not have it any more.
    fn is_missing_in(&self, head: &Head) -> bool {
        self.session == head.session() && self.revision > head.revision()
    }
}

/// What was found where a store was expected.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_structs, reason = "a backend that leaves something out decides wrongly")]
pub struct Found<'a> {
    /// The head.
    pub head: &'a Head,
    /// What the store keeps about its openings.
    pub lineage: &'a Lineage,
    /// The witness, if there is one that can be read.
    pub witness: Option<&'a Witness>,
    /// The notes of last commits that can be read: a backend may keep two by turns, so that a torn one leaves the other.
    pub last: &'a [LastCommit],
    /// Where the store is now.
    pub host: HostMarker,
    /// Whether the engine proves after a crash that it lost no commit which it had confirmed.
    pub proves_last_commit: bool,
    /// Whether somebody else took the writer's place in a shared store.
    pub taken: bool,
}

/// What an operator wants after a crash.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(clippy::exhaustive_enums, reason = "there are these two")]
pub enum AfterCrash {
    /// Go on if the store is provably the newest copy.
    #[default]
    KeepIfProven,
    /// Begin a new incarnation after every crash: for media that are not trusted to keep what they confirmed.
    AlwaysNew,
}

/// Whether an incarnation goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(clippy::exhaustive_enums, reason = "it goes on or it does not")]
pub enum Continuity {
    /// The store is the newest copy of itself.
    Kept,
    /// It may not be, or is not.
    New(WhyNew),
}

/// Why a store begins a new incarnation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum WhyNew {
    /// There was none before.
    First,
    /// There is a witness of a store, and no store.
    Lost,
    /// The store is older than its witness, or than its last commit: it was restored from a backup.
    Restored,
    /// There is no witness, or not one of this store, or an older one.
    NoWitness,
    /// The store is on another host or path than when it was opened last: a copy, or moved.
    Moved,
    /// Somebody else took its place in a shared store.
    Taken,
    /// It was not closed, and its engine cannot tell whether it lost a commit.
    Unproven,
    /// It was not closed, and the policy asks for a new incarnation then.
    Policy,
    /// Its identity was frozen.
    Frozen(Frozen),
}

impl Display for WhyNew {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::First => "there was no store before",
            Self::Lost => "the store before it is gone",
            Self::Restored => "the store is older than its witness: it was restored from a backup",
            Self::NoWitness => "no witness shows that the store is the newest copy",
            Self::Moved => "the store is not where it was opened last: it is a copy, or was moved",
            Self::Taken => "another process took its place",
            Self::Unproven => "the store was not closed, and its engine may have lost commits",
            Self::Policy => "the store was not closed, and a new incarnation was asked for then",
            Self::Frozen(why) => return Display::fmt(why, f),
        };
        f.write_str(text)
    }
}

/// What was drawn at random for an opening. Both are used at most once, anywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "given by the caller, complete")]
pub struct Fresh {
    /// Names a new incarnation, if there has to be one.
    pub replica: ReplicaId,
    /// Names the session.
    pub session: SessionNonce,
}

/// What an opening comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "an opening that is not written is no opening"]
#[non_exhaustive]
pub struct Opening {
    /// Whether the incarnation goes on.
    pub continuity: Continuity,
    /// To be committed first, with `lineage` in the same transaction: consumes the token.
    pub batch: Batch,
    /// What the store keeps about its openings from here on.
    pub lineage: Lineage,
    /// To be made durable after that, before the first dot.
    pub witness: Witness,
}

/// Decides about a store that is there.
#[must_use]
pub fn continuity(found: &Found<'_>, policy: AfterCrash) -> Continuity {
    let Found { head, lineage, witness, last, host, proves_last_commit, taken } = *found;
    let new = if let Some(why) = head.marks().frozen() {
        Some(WhyNew::Frozen(why))
    } else if taken {
        Some(WhyNew::Taken)
    } else if host != lineage.host {
        Some(WhyNew::Moved)
    } else if let Some(why) = disagreement(head, lineage, witness, last) {
        Some(why)
    } else if lineage.is_closed_at(head) {
        None
    } else if policy == AfterCrash::AlwaysNew {
        Some(WhyNew::Policy)
    } else if !proves_last_commit {
        Some(WhyNew::Unproven)
    } else {
        None
    };
    new.map_or(Continuity::Kept, Continuity::New)
}

/// Opens a store that is there. `known_incarnation` is the greatest incarnation of the node that anybody is known to
/// have seen.
pub fn open(found: &Found<'_>, policy: AfterCrash, fresh: Fresh, known_incarnation: u64) -> Opening {
    let continuity = continuity(found, policy);
    let mut plan = Plan::new(found.head.clone(), [], [], &Limits::default());
    match continuity {
        Continuity::Kept => plan.resume(fresh.session),
        Continuity::New(_) => plan.renew(fresh.replica, known_incarnation.saturating_add(1), fresh.session),
    }
    let batch = plan.finish();
    let lineage = Lineage { host: found.host, closed_at: None, ..found.lineage.after(batch.head()) };
    // Behind both, so that neither an older store nor an older witness is taken for the one that follows.
    let opening = found.witness.map_or(0, |witness| witness.opening.saturating_add(1)).max(lineage.opening);
    let lineage = Lineage { opening, ..lineage };
    let witness = Witness::of(batch.head(), &lineage);
    Opening { continuity, batch, lineage, witness }
}

/// Creates a store where there is none: its head, before any batch, and what goes with it. `witness` is that of a store
/// which was there once.
#[must_use = "a creation that is not written is none"]
pub fn create(
    identity: Identity,
    network: NetworkId,
    session: SessionNonce,
    host: HostMarker,
    witness: Option<&Witness>,
) -> (Continuity, Head, Lineage, Witness) {
    let why = if witness.is_some() { WhyNew::Lost } else { WhyNew::First };
    let known = witness.filter(|witness| witness.identity.node == identity.node);
    let incarnation = known
        .map_or(identity.incarnation, |known| identity.incarnation.max(known.identity.incarnation.saturating_add(1)));
    let identity = Identity { incarnation, ..identity };
    let head = Head::new(identity, network).with_session(session);
    let opening = witness.map_or(1, |witness| witness.opening.saturating_add(1));
    let lineage = Lineage { identity, opening, session, previous: None, host, closed_at: None };
    let witness = Witness::of(&head, &lineage);
    (Continuity::New(why), head, lineage, witness)
}

/// Why a witness does not show that a store is the newest copy.
fn disagreement(head: &Head, lineage: &Lineage, witness: Option<&Witness>, last: &[LastCommit]) -> Option<WhyNew> {
    let Some(witness) = witness.filter(|witness| witness.network == head.network()) else {
        return Some(WhyNew::NoWitness);
    };
    let same_store = witness.identity.node == lineage.identity.node;
    let same_opening = witness.session == lineage.session && witness.opening == lineage.opening;
    // The opening was committed, and the witness of it was not written before the crash.
    let one_behind = Some(witness.session) == lineage.previous
        && witness.opening.checked_add(1) == Some(lineage.opening)
        && lineage.closed_at.is_none();
    if !same_store {
        Some(WhyNew::NoWitness)
    } else if witness.identity == lineage.identity && (same_opening || one_behind) {
        let lacks_commits = last.iter().any(|last| last.is_missing_in(head));
        (lacks_commits || witness.reserved > head.marks().reserved()).then_some(WhyNew::Restored)
    } else if witness.opening >= lineage.opening {
        Some(WhyNew::Restored)
    } else {
        Some(WhyNew::NoWitness)
    }
}
