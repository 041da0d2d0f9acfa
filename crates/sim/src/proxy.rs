//! A UDP proxy on loopback that breaks what passes through it, as told: between real processes, without any privilege.
//!
//! A QUIC node listens and dials on one socket, so a datagram's source says which node sent it, and a connection has a
//! path in both directions whoever dialled. Each node that others dial has a *door*: a port of the proxy that is
//! advertised instead of the node's own. What comes to the door goes on to the node, and what the node answers goes
//! back, each direction under its own rules. Datagrams of sources that were not named pass under the name
//! [`STRANGER`].

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// The name of whoever was not named.
pub const STRANGER: &str = "";

/// Something that is done to the links.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Act {
    /// Nothing passes between the two, in either direction.
    Cut(String, String),
    /// Nothing passes from the first to the second.
    CutOneWay(String, String),
    /// Whatever was done to the links between the two is undone.
    Heal(String, String),
    /// Whatever was done to any link is undone.
    HealAll,
    /// What passes from the first to the second takes this long.
    Delay(String, String, Duration),
    /// Of what is sent from the first to the second this many in a thousand are lost.
    Loss(String, String, u16),
}

/// What has become of the datagrams of one direction between two nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Traffic {
    /// Datagrams that passed, or are on their way.
    pub passed: u64,
    /// Datagrams that were lost.
    pub lost: u64,
}

/// The proxy. It ends, with all its threads, when it is dropped.
///
/// ```
/// use std::net::UdpSocket;
///
/// use reconvene_sim::proxy::{Act, FaultProxy};
///
/// let proxy = FaultProxy::new(7);
/// let (a, b) = (UdpSocket::bind("127.0.0.1:0")?, UdpSocket::bind("127.0.0.1:0")?);
/// let door = proxy.open("b")?;
/// proxy.place("a", a.local_addr()?.port());
/// proxy.place("b", b.local_addr()?.port());
///
/// proxy.apply(&Act::Cut("a".into(), "b".into()));
/// a.send_to(b"lost", door)?;
/// while proxy.traffic("a", "b").lost == 0 {
///     std::thread::yield_now();
/// }
/// proxy.apply(&Act::HealAll);
/// a.send_to(b"found", door)?;
/// let mut buffer = [0; 16];
/// let (length, _) = b.recv_from(&mut buffer)?;
/// assert_eq!(&buffer[..length], b"found");
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct FaultProxy {
    shared: Arc<Shared>,
    late: mpsc::SyncSender<Late>,
}

struct Shared {
    seed: u64,
    stop: AtomicBool,
    state: Mutex<State>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

#[derive(Default)]
struct State {
    /// Where each node that was named sends from and listens.
    places: BTreeMap<String, u16>,
    links: BTreeMap<(String, String), Link>,
}

/// One direction between two nodes.
#[derive(Clone, Copy, Debug, Default)]
struct Link {
    cut: bool,
    loss_permille: u16,
    delay: Duration,
    traffic: Traffic,
}

/// A datagram that waits for its time.
struct Late {
    due: Instant,
    socket: Arc<UdpSocket>,
    to: SocketAddr,
    bytes: Vec<u8>,
}

impl FaultProxy {
    /// A proxy without doors; what is lost by chance is drawn from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let shared =
            Arc::new(Shared { seed, stop: AtomicBool::new(false), state: Mutex::default(), threads: Mutex::default() });
        let (late, waiting) = mpsc::sync_channel(LATE_DATAGRAMS);
        shared.spawn(move |shared| shared.send_late(&waiting));
        Self { shared, late }
    }

    /// Opens the door of a node and says where it is. The node need not be there yet; until it is
    /// [placed](Self::place), what comes is lost.
    ///
    /// # Errors
    /// If no port of the loopback interface can be had.
    pub fn open(&self, node: &str) -> io::Result<SocketAddr> {
        let socket = Arc::new(bind()?);
        let address = socket.local_addr()?;
        let (node, late) = (node.to_owned(), self.late.clone());
        self.shared.spawn(move |shared| shared.serve_door(&node, &socket, &late));
        Ok(address)
    }

    /// Says at which loopback port a node sends and listens now; said again when it has moved.
    pub fn place(&self, node: &str, port: u16) {
        self.shared.state.lock().places.insert(node.to_owned(), port);
    }

    /// Does it at once. What is already on its way with a delay still arrives.
    pub fn apply(&self, act: &Act) {
        self.shared.state.lock().apply(act);
    }

    /// Does each act at its time, counted from now, on a thread of its own. Acts of one time are done in their order.
    pub fn play(&self, mut schedule: Vec<(Duration, Act)>) {
        schedule.sort_by_key(|(at, _)| *at);
        let start = now();
        self.shared.spawn(move |shared| {
            for (at, act) in schedule {
                while let Some(left) = at.checked_sub(start.elapsed()).filter(|left| !left.is_zero()) {
                    if shared.stopped() {
                        return;
                    }
                    thread::sleep(left.min(LOOK_EVERY));
                }
                shared.state.lock().apply(&act);
            }
        });
    }

    /// What has become of the datagrams from one node to another so far.
    #[must_use]
    pub fn traffic(&self, from: &str, to: &str) -> Traffic {
        let state = self.shared.state.lock();
        state.links.get(&(from.to_owned(), to.to_owned())).map(|link| link.traffic).unwrap_or_default()
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        // A thread may begin another one before it looks.
        loop {
            let threads = std::mem::take(&mut *self.shared.threads.lock());
            if threads.is_empty() {
                return;
            }
            for thread in threads {
                // One that panicked has said so.
                let _ = thread.join();
            }
        }
    }
}

impl fmt::Debug for FaultProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultProxy").field("seed", &self.shared.seed).finish_non_exhaustive()
    }
}

impl State {
    fn apply(&mut self, act: &Act) {
        let mut change = |from: &String, to: &String, change: &dyn Fn(&mut Link)| {
            change(self.links.entry((from.clone(), to.clone())).or_default());
        };
        match act {
            Act::Cut(one, other) => {
                change(one, other, &|link| link.cut = true);
                change(other, one, &|link| link.cut = true);
            }
            Act::CutOneWay(from, to) => change(from, to, &|link| link.cut = true),
            Act::Heal(one, other) => {
                change(one, other, &Link::heal);
                change(other, one, &Link::heal);
            }
            Act::HealAll => self.links.values_mut().for_each(Link::heal),
            Act::Delay(from, to, delay) => change(from, to, &|link| link.delay = *delay),
            Act::Loss(from, to, permille) => change(from, to, &|link| link.loss_permille = *permille),
        }
    }

    /// The name of whoever sends from this port.
    fn name(&self, port: u16) -> &str {
        self.places.iter().find(|(_, place)| **place == port).map_or(STRANGER, |(name, _)| name)
    }

    /// How long a datagram takes from one node to another; `None` if it is lost.
    fn judge(&mut self, seed: u64, from: &str, to: &str) -> Option<Duration> {
        let link = self.links.entry((from.to_owned(), to.to_owned())).or_default();
        let number = link.traffic.passed.saturating_add(link.traffic.lost);
        if link.cut || chance_permille(seed, from, to, number) < link.loss_permille {
            link.traffic.lost = link.traffic.lost.saturating_add(1);
            return None;
        }
        link.traffic.passed = link.traffic.passed.saturating_add(1);
        Some(link.delay)
    }
}

impl Link {
    fn heal(&mut self) {
        *self = Self { traffic: self.traffic, ..Self::default() };
    }
}

impl Shared {
    fn spawn(self: &Arc<Self>, work: impl FnOnce(&Arc<Self>) + Send + 'static) {
        let shared = Arc::clone(self);
        let thread = thread::spawn(move || work(&shared));
        self.threads.lock().push(thread);
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Takes what comes for a node, each source over a port of its own, so that the node can tell them apart.
    fn serve_door(self: &Arc<Self>, node: &str, door: &Arc<UdpSocket>, late: &mpsc::SyncSender<Late>) {
        let mut ways: BTreeMap<SocketAddr, Arc<UdpSocket>> = BTreeMap::new();
        let mut buffer = vec![0; DATAGRAM_BYTES];
        while !self.stopped() {
            let Ok((length, source)) = door.recv_from(&mut buffer) else { continue };
            let way = match ways.get(&source) {
                Some(way) => Arc::clone(way),
                None if ways.len() >= WAYS => continue,
                None => {
                    // Out of ports, the datagram is lost like any other.
                    let Ok(way) = bind().map(Arc::new) else { continue };
                    ways.insert(source, Arc::clone(&way));
                    let (node, way_back, door, late) =
                        (node.to_owned(), Arc::clone(&way), Arc::clone(door), late.clone());
                    self.spawn(move |shared| shared.serve_way_back(&node, &way_back, &door, source, &late));
                    way
                }
            };
            let (delay, place) = {
                let mut state = self.state.lock();
                let Some(place) = state.places.get(node).copied() else { continue };
                let from = state.name(source.port()).to_owned();
                (state.judge(self.seed, &from, node), place)
            };
            let to = SocketAddr::from((Ipv4Addr::LOCALHOST, place));
            pass_on(late, &way, to, buffer.get(..length), delay);
        }
    }

    /// Takes what a node answers to one source.
    fn serve_way_back(
        &self,
        node: &str,
        way: &UdpSocket,
        door: &Arc<UdpSocket>,
        source: SocketAddr,
        late: &mpsc::SyncSender<Late>,
    ) {
        let mut buffer = vec![0; DATAGRAM_BYTES];
        while !self.stopped() {
            let Ok((length, from)) = way.recv_from(&mut buffer) else { continue };
            let delay = {
                let mut state = self.state.lock();
                // Nobody but the node has a say here.
                if state.places.get(node) != Some(&from.port()) {
                    continue;
                }
                let to = state.name(source.port()).to_owned();
                state.judge(self.seed, node, &to)
            };
            pass_on(late, door, source, buffer.get(..length), delay);
        }
    }

    /// Sends what was delayed when its time has come.
    fn send_late(&self, waiting: &mpsc::Receiver<Late>) {
        let mut queue: BTreeMap<(Instant, u64), Late> = BTreeMap::new();
        let mut number = 0_u64;
        while !self.stopped() {
            let next = queue.first_key_value().map(|((due, _), _)| due.saturating_duration_since(now()));
            if let Ok(late) = waiting.recv_timeout(next.unwrap_or(LOOK_EVERY).min(LOOK_EVERY)) {
                number = number.saturating_add(1);
                queue.insert((late.due, number), late);
            }
            while let Some(first) = queue.first_entry()
                && first.key().0 <= now()
            {
                let Late { socket, to, bytes, .. } = first.remove();
                // Lost, as datagrams are.
                let _ = socket.send_to(&bytes, to);
            }
        }
    }
}

fn pass_on(
    late: &mpsc::SyncSender<Late>,
    socket: &Arc<UdpSocket>,
    to: SocketAddr,
    bytes: Option<&[u8]>,
    delay: Option<Duration>,
) {
    let (Some(bytes), Some(delay)) = (bytes, delay) else { return };
    if delay.is_zero() {
        // Lost if the other side's buffer is full, as datagrams are.
        let _ = socket.send_to(bytes, to);
    } else if let Some(due) = now().checked_add(delay) {
        // Lost if too many wait already.
        let _ = late.try_send(Late { due, socket: Arc::clone(socket), to, bytes: bytes.to_vec() });
    }
}

/// A port of the loopback interface; reading waits no longer than it may take to notice the end.
fn bind() -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.set_read_timeout(Some(LOOK_EVERY))?;
    Ok(socket)
}

/// A number below 1,000 for each datagram of a direction, the same for the same seed.
fn chance_permille(seed: u64, from: &str, to: &str, number: u64) -> u16 {
    let mut hash = seed ^ 0xcbf2_9ce4_8422_2325;
    // The byte between the two occurs in no name.
    for byte in from.bytes().chain([0xff]).chain(to.bytes()).chain(number.to_be_bytes()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    // FNV-1a alone leaves its high bits almost alone; this is the end of splitmix64.
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    u16::try_from((hash ^ (hash >> 31)) % 1_000).unwrap_or(0)
}

#[expect(clippy::disallowed_methods, reason = "a proxy between real processes lives in real time")]
fn now() -> Instant {
    Instant::now()
}

/// How long a thread may take to notice the end.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// The longest datagram there is.
const DATAGRAM_BYTES: usize = 65_536;
/// Sources of one door; what comes from others is lost.
const WAYS: usize = 256;
/// Datagrams that wait for their time; others are lost.
const LATE_DATAGRAMS: usize = 4_096;

#[cfg(test)]
mod tests {
    use super::*;

    fn socket() -> UdpSocket {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        socket
    }

    fn port(socket: &UdpSocket) -> u16 {
        socket.local_addr().unwrap().port()
    }

    fn next(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
        let mut buffer = [0; 64];
        let (length, from) = socket.recv_from(&mut buffer).unwrap();
        (buffer[..length].to_vec(), from)
    }

    fn wait_for_loss(proxy: &FaultProxy, from: &str, to: &str, count: u64) {
        for _ in 0..4_000 {
            if proxy.traffic(from, to).lost >= count {
                return;
            }
            thread::sleep(Duration::from_millis(5));
        }
        panic!("only {:?} from {from:?} to {to:?}", proxy.traffic(from, to));
    }

    #[test]
    fn each_direction_of_a_pair_is_cut_and_healed_by_itself() {
        let proxy = FaultProxy::new(1);
        let (a, b, c) = (socket(), socket(), socket());
        let door = proxy.open("b").unwrap();
        for (name, socket) in [("a", &a), ("b", &b), ("c", &c)] {
            proxy.place(name, port(socket));
        }
        let names = |from: &str, to: &str| (from.to_owned(), to.to_owned());

        a.send_to(b"one", door).unwrap();
        let (bytes, way) = next(&b);
        assert_eq!(bytes, b"one");
        b.send_to(b"answer", way).unwrap();
        assert_eq!(next(&a), (b"answer".to_vec(), door), "the answer comes from where the question went");

        let (from, to) = names("b", "a");
        proxy.apply(&Act::CutOneWay(from, to));
        a.send_to(b"two", door).unwrap();
        assert_eq!(next(&b).0, b"two");
        b.send_to(b"lost", way).unwrap();
        wait_for_loss(&proxy, "b", "a", 1);

        let (from, to) = names("a", "b");
        proxy.apply(&Act::Cut(from.clone(), to.clone()));
        a.send_to(b"lost", door).unwrap();
        wait_for_loss(&proxy, "a", "b", 1);
        c.send_to(b"another", door).unwrap();
        let (bytes, way_of_c) = next(&b);
        assert_eq!(bytes, b"another", "others are not cut off");
        assert_ne!(way, way_of_c, "each source has a way of its own");

        proxy.apply(&Act::Heal(to, from));
        a.send_to(b"three", door).unwrap();
        assert_eq!(next(&b), (b"three".to_vec(), way));
        assert_eq!(proxy.traffic("a", "b"), Traffic { passed: 3, lost: 1 });
        assert_eq!(proxy.traffic("b", "a"), Traffic { passed: 1, lost: 1 });
    }

    #[test]
    fn a_node_that_moved_is_found_again_and_strangers_have_no_name() {
        let proxy = FaultProxy::new(2);
        let (a, before, after) = (socket(), socket(), socket());
        let door = proxy.open("b").unwrap();
        proxy.place("b", port(&before));
        a.send_to(b"one", door).unwrap();
        assert_eq!(next(&before).0, b"one");
        proxy.place("b", port(&after));
        a.send_to(b"two", door).unwrap();
        let (bytes, way) = next(&after);
        assert_eq!(bytes, b"two");
        before.send_to(b"too late", way).unwrap();
        after.send_to(b"answer", way).unwrap();
        assert_eq!(next(&a).0, b"answer");
        assert_eq!(proxy.traffic(STRANGER, "b").passed, 2);
    }

    #[test]
    fn a_schedule_delays_and_loses_as_its_seed_says() {
        let proxy = FaultProxy::new(3);
        let (a, b) = (socket(), socket());
        let door = proxy.open("b").unwrap();
        proxy.place("a", port(&a));
        proxy.place("b", port(&b));
        let names = || ("a".to_owned(), "b".to_owned());
        proxy.play(vec![
            (Duration::from_millis(20), Act::Delay(names().0, names().1, Duration::from_millis(120))),
            (Duration::from_millis(10), Act::Cut(names().0, names().1)),
            (Duration::ZERO, Act::Loss(names().0, names().1, 0)),
            (Duration::from_millis(30), Act::HealAll),
            (Duration::from_millis(40), Act::Delay(names().0, names().1, Duration::from_millis(120))),
        ]);
        // The cut comes, and goes; then the delay stays.
        for _ in 0..4_000 {
            let state = proxy.shared.state.lock();
            if state.links.get(&names()).is_some_and(|link| !link.cut && !link.delay.is_zero()) {
                break;
            }
            drop(state);
            thread::sleep(Duration::from_millis(5));
        }
        let start = now();
        a.send_to(b"slow", door).unwrap();
        assert_eq!(next(&b).0, b"slow");
        assert!(start.elapsed() >= Duration::from_millis(120), "never sooner");

        let lost =
            |seed| (0..1_000).filter(|number| chance_permille(seed, "a", "b", *number) < 250).collect::<Vec<_>>();
        assert_eq!(lost(3), lost(3));
        assert_ne!(lost(3), lost(4));
        assert!((180..320).contains(&lost(3).len()), "{} of 1000", lost(3).len());
        proxy.apply(&Act::HealAll);
        proxy.apply(&Act::Loss(names().0, names().1, 1_000));
        a.send_to(b"lost", door).unwrap();
        wait_for_loss(&proxy, "a", "b", 1);
    }
}
