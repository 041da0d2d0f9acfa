//! One broker's store, kept equal to its peers' by sessions.

mod addresses;
mod apply;
mod aside;
mod bundles;
mod claims;
mod damage;
mod deletes;
mod identity;
mod links;
mod notes;
mod outgoing;
mod parts;
mod peers;
mod push;
mod receive;
mod repair;
mod retire;
mod scan;
mod schedule;
mod session;
mod watch;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use reconvene_clock::digest::sip24_64;
use reconvene_clock::{Counter, Dot, Hlc, Knowledge, NodeId, Now, ReplicaId, Timestamp, VectorClock, WallTime};
use reconvene_store::sabotage;
use reconvene_store::{Digest, Frozen, Head, NetworkId, Record};

use self::addresses::Addresses;
use self::apply::{Applying, Job};
use self::bundles::Bundles;
use self::deletes::Deletes;
use self::peers::Peers;
use self::repair::Repairing;
use self::schedule::Schedule;
pub(crate) use self::session::in_sync_check;
use self::session::{Session, SessionKey};
use self::watch::Slowness;
use crate::codec::CodecError;
use crate::fact::Fact;
use crate::members::{Epoch, Members};
use crate::message::{COMPRESSION, Message, SessionId};
use crate::rng::Rng;
use crate::wire::encode_for;
use crate::{Config, Event, Input, Member, Output, PeerState, Stats, Ticket, ViewId};

/// One incarnation of a broker's store among its peers, as a plain value.
///
/// It decides what to send, to whom and when, and what a frame that arrives changes. It touches no clock, socket or
/// file: feed it [`Input`]s, perform its [`Output`]s in order, and wake it at [`next_deadline`](Self::next_deadline).
/// Inputs may come at any point; outputs queue.
///
/// A clone is for looking at what might happen, as model checkers do. Never run two on one store: both would give out the
/// same dots.
///
/// ```
/// use reconvene_clock::{NodeId, Now, ReplicaId, Timestamp, WallTime};
/// use reconvene_store::{Body, Class, Identity, Key, MemoryStore, MetadataStore, Snapshot, ready};
/// use reconvene_sync::{Config, Input, NetworkId, NewWrite, Output, Performed, Replica, StoreDriver, Ticket};
///
/// let network = NetworkId::of_name("example");
/// let identity = Identity {
///     node: NodeId::from_bytes([1; 16]),
///     replica: ReplicaId::new(7).expect("not zero"),
///     incarnation: 1,
/// };
/// let mut store = StoreDriver::new(MemoryStore::for_network(identity, network, Default::default()));
/// let head = ready(store.store().snapshot()).expect("at once")?.head().clone();
/// let now = Now { mono: Timestamp::from_millis(0), wall: WallTime::from_millis(1_700_000_000_000) };
/// let mut replica = Replica::open(Config::new(network, 1), head, Vec::new(), now)?;
///
/// let write = NewWrite::new(Key::new("greeting")?, Class::NORMAL, Body::of("hello"));
/// replica.handle(now, Input::LocalWrite { ticket: Ticket(1), writes: vec![write] });
/// let mut written = false;
/// while let Some(output) = replica.poll_output() {
///     match ready(store.perform(output)).expect("at once")? {
///         Performed::Input(input) => replica.handle(now, input),
///         Performed::Other(Output::Written { ticket, .. }) => written |= ticket == Ticket(1),
///         Performed::Other(_) | Performed::Done => {}
///     }
/// }
/// assert!(written);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Replica {
    config: Config,
    head: Head,
    /// Digest and Knowledge of `head`, worked out when first needed.
    known: Option<Known>,
    now: Timestamp,
    wall: WallTime,
    hlc: Hlc,
    rng: Rng,
    members: Members,
    deletes: Deletes,
    peers: Peers,
    addresses: Addresses,
    sessions: BTreeMap<SessionKey, Session>,
    repairs: BTreeMap<SessionKey, Repairing>,
    /// How often this store has dropped what a peer had seen the end of, or joined a floor that was above what it had seen.
    ends_taken: u64,
    /// Which session a load of rows is for.
    loads: BTreeMap<Ticket, SessionKey>,
    jobs: VecDeque<Job>,
    applying: Option<Applying>,
    bundles: Bundles,
    schedule: Schedule,
    slowness: Slowness,
    /// Which opening of the store this is, as sessions say.
    opening: u32,
    /// The deadline that was announced last.
    wake_at: Option<Timestamp>,
    outputs: VecDeque<Output>,
    stats: Stats,
    issued_names: u64,
    leaving: bool,
    /// Why the present name may not be used any more, and the lost write that shows it.
    freezing: Option<(Frozen, Option<Dot>)>,
    /// False while the facts of the store are read.
    is_open: bool,
}

/// What a replica knows at one moment, and the short form of it.
#[derive(Clone, Debug)]
struct Known {
    digest: Digest,
    knowledge: Arc<Knowledge>,
}

/// Why a replica was not opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The store belongs to another network.
    #[error("the store belongs to network {store}, the configuration names {configured}")]
    WrongNetwork {
        /// The network of the store.
        store: NetworkId,
        /// The network of the configuration.
        configured: NetworkId,
    },
    /// A setting makes no sense.
    #[error("setting {field} must be {must_be}")]
    Setting {
        /// The field of [`Config`].
        field: &'static str,
        /// What it must be.
        must_be: &'static str,
    },
    /// The fact about this very member does not encode.
    #[error("the member fact does not encode")]
    Member(#[source] CodecError),
}

impl Replica {
    /// What the keys of all facts about the network begin with.
    pub const FACTS: &'static str = Fact::PREFIX;

    /// A replica of the store at `head`, of which `facts` are the records under [`FACTS`](Self::FACTS). Others are
    /// ignored.
    ///
    /// It writes its own member fact if the store has no such one yet, and retires what its node was before. If the store
    /// is frozen, its replica was retired or is another node's, it goes on under a new replica id first, which the driver
    /// finds in [`head`](Self::head).
    ///
    /// # Errors
    ///
    /// [`OpenError`] if store and configuration do not fit, or a setting makes no sense.
    pub fn open(config: Config, head: Head, facts: Vec<Record>, now: Now) -> Result<Self, OpenError> {
        if head.network() != config.network {
            return Err(OpenError::WrongNetwork { store: head.network(), configured: config.network });
        }
        config.check()?;
        let hlc = head.stamped().filter(|_| !sabotage::on(19)).unwrap_or_default();
        let mut rng = Rng::new(seed_of(&config, &head, now));
        let opening = SessionId(rng.next()).opening();
        let schedule = Schedule::new(now.mono, &config, &mut rng);
        let mut replica = Self {
            config,
            head,
            known: None,
            now: now.mono,
            wall: now.wall,
            hlc,
            rng,
            members: Members::default(),
            deletes: Deletes::default(),
            peers: Peers::default(),
            addresses: Addresses::default(),
            sessions: BTreeMap::new(),
            repairs: BTreeMap::new(),
            ends_taken: 0,
            loads: BTreeMap::new(),
            jobs: VecDeque::new(),
            applying: None,
            bundles: Bundles::default(),
            schedule,
            slowness: Slowness::default(),
            opening,
            wake_at: None,
            outputs: VecDeque::new(),
            stats: Stats::default(),
            issued_names: 0,
            leaving: false,
            freezing: None,
            is_open: false,
        };
        for fact in facts.iter().filter_map(Fact::from_record) {
            replica.learn_fact(fact);
        }
        replica.renew_if_needed();
        replica.read_tombstones(None);
        replica.introduce()?;
        replica.is_open = true;
        replica.wake_at = replica.earliest_deadline();
        Ok(replica)
    }

    /// Takes in what happened. Never waits, and never fails on what a peer sent.
    pub fn handle(&mut self, now: Now, input: Input) {
        // A monotonic clock that goes back anyway must not undo a timer.
        self.now = self.now.max(now.mono);
        self.wall = now.wall;
        self.note_lateness();
        match input {
            Input::Tick => {}
            Input::Leave => self.leave(),
            Input::Note { to, bytes } => self.send_note(to, bytes),
            Input::LinkUp { peer, address } => self.link_up(peer, address),
            Input::LinkDown { peer } => self.link_down(peer),
            Input::Candidate { address } => self.learn_address(address, None),
            Input::ConnectFailed { address } => self.connect_failed(&address),
            Input::Received { from, frame } => self.receive(from, &frame),
            Input::Damaged { ticket, revision, report } => self.damaged(ticket, revision, &report),
            Input::Retire { ticket, replica } => self.enqueue(Job::Retire { ticket: Some(ticket), replica }),
            Input::LocalWrite { ticket, writes } => self.enqueue(Job::Local { ticket: Some(ticket), writes }),
            Input::Loaded { ticket, records, more } => self.loaded(ticket, records, more),
            Input::MakeBundle { ticket, to, budget_bytes, ttl_s, again } => {
                self.make_bundle(ticket, to, budget_bytes, ttl_s, again);
            }
            Input::BundleFragment { ticket, bytes } => self.take_fragment(ticket, &bytes),
        }
        self.freeze_if_noted();
        self.wake_at = self.earliest_deadline();
        if self.run_timers() {
            self.wake_at = self.earliest_deadline();
        }
    }

    /// The next thing to do, or `None` until the next input. Asking says that the one before was performed.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to feed [`Input::Tick`], if nothing else comes before.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.wake_at
    }

    /// What is known here, as planned: the store has it once all outputs so far were performed.
    #[must_use]
    pub fn knowledge(&self) -> &Knowledge {
        self.head.knowledge()
    }

    /// The head of the store, as planned: the store has it once all outputs so far were performed.
    #[must_use]
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// Counters since the replica was opened.
    #[must_use]
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// The members known here, ascending by replica. Earlier incarnations stay.
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.members.iter()
    }

    /// Whether a replica was retired, as far as is known here.
    #[must_use]
    pub fn is_retired(&self, replica: ReplicaId) -> bool {
        self.members.is_retired(replica)
    }

    /// Of a retired replica, the greatest counter that any author of its retirement held. Replicas with equal facts
    /// agree on it. `None` if it is not retired, or nobody held anything of it.
    #[must_use]
    pub fn cut_of(&self, replica: ReplicaId) -> Option<Counter> {
        self.members.cut_of(replica)
    }

    /// Which membership this replica goes by. O(members).
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.members.epoch()
    }

    /// Whether every member that counts has declared `dot` durable, itself or what replaced it: also those that cannot
    /// be reached, and those alone that are known here. O(members).
    #[must_use]
    pub fn is_stable(&self, dot: Dot) -> bool {
        self.head.knowledge().vector().contains(dot) && self.members.lacking(self.replica(), dot).next().is_none()
    }

    /// Whether moreover all that those members had when they declared it is known here, so that no member can still
    /// bring something that it wrote without having seen `dot`. O(members * entries).
    #[must_use]
    pub fn is_causally_stable(&self, dot: Dot) -> bool {
        self.is_stable(dot) && self.members.acks_are_within(self.replica(), self.head.knowledge().vector())
    }

    /// All that is [causally stable](Self::is_causally_stable), as one clock. `None` while a member has declared something
    /// durable that is not known here: then nothing is. O(members * entries).
    #[must_use]
    pub fn causally_stable(&self) -> Option<VectorClock> {
        let prefix = self.head.knowledge().vector();
        let covered = self.members.acks_are_within(self.replica(), prefix) || sabotage::on(46);
        covered.then(|| self.members.stable(self.replica(), prefix))
    }

    /// A member that holds back the oldest waiting delete, if any does: one that cannot be reached rather than one that
    /// can. O(waiting deletes + members).
    #[must_use]
    pub fn blocked_by(&self) -> Option<ReplicaId> {
        self.blocked().map(|(_, by)| by)
    }

    /// Deleted keys whose tombstones are still kept: until every member has them. One that stands for more than it names
    /// one by one, above numbers of a retired replica that nobody has, stays for as long as nobody brings those.
    #[must_use]
    pub fn waiting_deletes(&self) -> usize {
        self.deletes.count()
    }

    /// When this replica and that of `node` were last found equal, unless this one has changed since.
    ///
    /// There is no such question about the whole network, since nobody could answer it.
    #[must_use]
    pub fn converged_with(&self, node: NodeId) -> Option<Timestamp> {
        let (at, knowledge) = self.peers.get(&node)?.converged.as_ref()?;
        (**knowledge == *self.head.knowledge()).then_some(*at)
    }

    /// What is known of a peer's reachability; [`PeerState::Unreachable`] for one that was never linked.
    #[must_use]
    pub fn peer_state(&self, node: NodeId) -> PeerState {
        self.peers.get(&node).map_or(PeerState::Unreachable, |peer| peer.state)
    }

    /// Peers with a link, ascending.
    pub fn linked_peers(&self) -> impl Iterator<Item = NodeId> {
        self.peers.iter().filter(|(_, peer)| peer.linked).map(|(node, _)| *node)
    }

    fn node(&self) -> NodeId {
        self.head.identity().node
    }

    fn replica(&self) -> ReplicaId {
        self.head.identity().replica
    }

    fn issued(&self) -> Option<Counter> {
        self.head.issued()
    }

    fn known(&mut self) -> Known {
        let head = &self.head;
        let work_out = || Known { digest: head.digest(), knowledge: Arc::new(head.knowledge().clone()) };
        self.known.get_or_insert_with(work_out).clone()
    }

    fn set_head(&mut self, head: Head) {
        self.head = head;
        self.known = None;
    }

    /// A number nobody else in this replica has, for tickets and views.
    fn fresh_name(&mut self) -> u64 {
        self.issued_names = self.issued_names.saturating_add(1);
        self.issued_names
    }

    fn fresh_ticket(&mut self) -> Ticket {
        Ticket(self.fresh_name())
    }

    fn fresh_view(&mut self) -> ViewId {
        ViewId(self.fresh_name())
    }

    fn notify(&mut self, event: Event) {
        #[cfg(feature = "tracing")]
        tracing::debug!(node = %self.node(), ?event, "event");
        self.outputs.push_back(Output::Notify(event));
    }

    /// Sends a message, and says how long its frame is before any compression, which is what counts against windows;
    /// `None` if it does not fit a frame, and nothing was sent.
    fn send(&mut self, to: NodeId, message: &Message) -> Option<u64> {
        let peer = self.peers.get(&to).filter(|peer| peer.capabilities & COMPRESSION != 0);
        let compressor = self.config.compression.as_ref().filter(|_| peer.is_some());
        let Ok((frame, bytes)) = encode_for(message, self.config.max_frame_bytes, compressor) else {
            self.notify(Event::LimitReached { limit: "max_frame_bytes" });
            return None;
        };
        self.stats.frames_sent = self.stats.frames_sent.saturating_add(1);
        let sent = u64::try_from(frame.len()).unwrap_or(u64::MAX);
        self.stats.bytes_sent = self.stats.bytes_sent.saturating_add(sent);
        if let Some(peer) = self.peers.get_mut(&to) {
            peer.last_sent = self.now;
        }
        self.outputs.push_back(Output::Send { to, frame });
        Some(bytes)
    }

    /// Eight bytes that replicas of one network have in common.
    fn network_hash(&self) -> u64 {
        sip24_64(self.config.network.as_bytes(), b"reconvene sync network")
    }
}

/// What chance starts from. A replica that is opened again with the same configuration must not name its sessions as
/// it did before, since peers take those for repetitions.
fn seed_of(config: &Config, head: &Head, now: Now) -> u64 {
    let parts =
        [config.seed, head.identity().replica.get(), head.revision().get(), now.mono.as_millis(), now.wall.as_millis()];
    let bytes: Vec<u8> = parts.iter().flat_map(|part| part.to_be_bytes()).collect();
    sip24_64(config.network.as_bytes(), &bytes)
}

#[cfg(test)]
mod tests;
