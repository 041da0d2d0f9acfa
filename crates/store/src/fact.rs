//! Facts about the members of the network that a store keeps beside its records.

use core::cmp::Ordering;

use reconvene_clock::{NodeId, ReplicaId, VectorClock};

/// A kind of [`Fact`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(clippy::exhaustive_enums, reason = "every backend keeps every kind")]
pub enum FactKind {
    /// Who a replica belongs to.
    Member,
    /// What a replica said it has.
    Ack,
}

/// Whether a replica has a say in what is collected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(clippy::exhaustive_enums, reason = "stored; another one is another format")]
pub enum MemberState {
    /// Nothing that it has not seen is collected.
    Active,
    /// It no longer counts. There is no way back: the broker comes again under a new replica.
    Retired,
}

/// Something that holds for one replica. Facts of one kind and replica are joined, so that they may arrive in any order
/// and any number of times, and nothing in them is ever lowered.
///
/// ```
/// use reconvene_clock::{Counter, Dot, ReplicaId, VectorClock};
/// use reconvene_store::Fact;
///
/// let (member, origin) = (ReplicaId::new(1).expect("not zero"), ReplicaId::new(2).expect("not zero"));
/// let ack = |counter| Fact::Ack {
///     member,
///     prefix: VectorClock::from_iter([Dot::new(origin, Counter::new(counter).expect("not zero"))]),
/// };
/// let mut held = ack(5);
/// assert!(!held.merge(&ack(3)), "older news");
/// assert!(held.merge(&ack(7)));
/// assert_eq!(held, ack(7));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "every backend keeps every kind")]
pub enum Fact {
    /// Who a replica belongs to.
    Member {
        /// The replica.
        replica: ReplicaId,
        /// Its broker.
        node: NodeId,
        /// Which of the broker's stores it is.
        incarnation: u64,
        /// Whether it counts.
        state: MemberState,
    },
    /// The prefix that a replica said it has made durable.
    Ack {
        /// The replica.
        member: ReplicaId,
        /// For each origin the last counter up to which it has everything.
        prefix: VectorClock,
    },
}

impl Fact {
    /// The kind.
    #[must_use]
    pub const fn kind(&self) -> FactKind {
        match self {
            Self::Member { .. } => FactKind::Member,
            Self::Ack { .. } => FactKind::Ack,
        }
    }

    /// The replica that it is about.
    #[must_use]
    pub const fn id(&self) -> ReplicaId {
        match self {
            Self::Member { replica, .. } => *replica,
            Self::Ack { member, .. } => *member,
        }
    }

    /// Joins another fact of the same kind and replica, and returns whether this one grew. A fact of another kind or
    /// replica changes nothing.
    ///
    /// Two facts that name different brokers for one replica are a mistake or an attack; the lesser name wins, so that
    /// all who have both agree.
    pub fn merge(&mut self, other: &Self) -> bool {
        if self.id() != other.id() {
            return false;
        }
        match (self, other) {
            (Self::Ack { prefix, .. }, Self::Ack { prefix: more, .. }) => prefix.merge(more),
            (
                Self::Member { node, incarnation, state, .. },
                Self::Member { node: other_node, incarnation: other_incarnation, state: other_state, .. },
            ) => {
                let before = (*node, *incarnation, *state);
                *state = (*state).max(*other_state);
                match other_node.cmp(node) {
                    Ordering::Less => (*node, *incarnation) = (*other_node, *other_incarnation),
                    Ordering::Equal => *incarnation = (*incarnation).max(*other_incarnation),
                    Ordering::Greater => {}
                }
                before != (*node, *incarnation, *state)
            }
            (Self::Ack { .. }, Self::Member { .. }) | (Self::Member { .. }, Self::Ack { .. }) => false,
        }
    }
}
