//! The network: encoded frames on links that delay, lose, repeat, damage and reorder them, and are cut in every shape.

use reconvene_sync::{Lane, frame_lane};

use super::chance::Chance;
use super::marks::{Mark, Marks};

/// A frame on its way.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) from: usize,
    pub(super) to: usize,
    /// The connection it belongs to: it does not reach a later one.
    pub(super) connection: u64,
    pub(super) bytes: Vec<u8>,
}

/// Which faults of a kind are active: each with its strength.
#[derive(Clone, Debug, Default)]
pub(super) struct Active(Vec<(usize, u64)>);

impl Active {
    pub(super) fn begin(&mut self, name: usize, strength: u64) {
        self.0.push((name, strength));
    }

    pub(super) fn end(&mut self, name: usize) {
        self.0.retain(|(active, _)| *active != name);
    }

    fn most(&self) -> u64 {
        self.0.iter().map(|(_, strength)| *strength).max().unwrap_or(0)
    }

    pub(super) fn least(&self) -> Option<u64> {
        self.0.iter().map(|(_, strength)| *strength).min()
    }

    pub(super) fn sum(&self) -> u64 {
        self.0.iter().map(|(_, strength)| *strength).sum()
    }
}

#[derive(Debug)]
pub(super) struct SimNet {
    count: usize,
    seed: u64,
    delay_ms: u64,
    bits: u64,
    ways: Vec<Way>,
    connections: u64,
    pub(super) losing: Active,
    pub(super) duplicating: Active,
    pub(super) delaying: Active,
    pub(super) truncating: Active,
    pub(super) flipping: Active,
    pub(super) slowing: Active,
}

/// One direction between two brokers.
#[derive(Clone, Debug, Default)]
struct Way {
    /// How many faults block it.
    blocked: u32,
    /// The connection as its sender sees it.
    connection: Option<u64>,
    /// Its receiver does not answer frames of connections it does not know.
    silent: u32,
    frames: u64,
    /// When the last frame sent arrives, to see which overtake it.
    latest: u64,
    /// When each lane is free again.
    free: [u64; 2],
}

impl SimNet {
    pub(super) fn new(seed: u64, count: usize, delay_ms: u64, bits: u64) -> Self {
        Self {
            count,
            seed,
            delay_ms,
            bits,
            ways: vec![Way::default(); count * count],
            connections: 0,
            losing: Active::default(),
            duplicating: Active::default(),
            delaying: Active::default(),
            truncating: Active::default(),
            flipping: Active::default(),
            slowing: Active::default(),
        }
    }

    fn way(&mut self, from: usize, to: usize) -> &mut Way {
        &mut self.ways[from * self.count + to]
    }

    pub(super) fn block(&mut self, from: usize, to: usize) {
        self.way(from, to).blocked += 1;
    }

    pub(super) fn unblock(&mut self, from: usize, to: usize) {
        self.way(from, to).blocked -= 1;
    }

    pub(super) fn is_blocked(&self, from: usize, to: usize) -> bool {
        self.ways[from * self.count + to].blocked > 0
    }

    /// What `node` has as its connection to `peer`.
    pub(super) fn connection(&self, node: usize, peer: usize) -> Option<u64> {
        self.ways[node * self.count + peer].connection
    }

    /// A new connection in place of any old one.
    pub(super) fn connect(&mut self, a: usize, b: usize) {
        self.connections += 1;
        let connection = Some(self.connections);
        self.way(a, b).connection = connection;
        self.way(b, a).connection = connection;
    }

    /// `node` forgets its end. True if it had one.
    pub(super) fn drop_end(&mut self, node: usize, peer: usize) -> bool {
        self.way(node, peer).connection.take().is_some()
    }

    pub(super) fn set_silent(&mut self, node: usize, peer: usize, silent: bool) {
        let way = self.way(node, peer);
        way.silent = if silent { way.silent + 1 } else { way.silent.saturating_sub(1) };
    }

    /// Whether `node` answers frames of `peer` that belong to no connection it knows.
    pub(super) fn resets(&self, node: usize, peer: usize) -> bool {
        self.ways[node * self.count + peer].silent == 0
    }

    /// How long a frame of this connection takes at least, both ways together.
    pub(super) fn round_trip(&self) -> u64 {
        2 * self.delay_ms
    }

    /// The slowest that links are now, in bits a second.
    pub(super) fn bits(&self) -> Option<u64> {
        let always = (self.bits > 0).then_some(self.bits);
        always.into_iter().chain(self.slowing.least()).min()
    }

    /// Puts a frame on its way: when it arrives, and what of it does. Nothing, once or twice.
    pub(super) fn send(
        &mut self,
        now: u64,
        from: usize,
        to: usize,
        bytes: Vec<u8>,
        marks: &mut Marks,
        mut arrives: impl FnMut(u64, Frame),
    ) {
        let (seed, delay_ms, bits) = (self.seed, self.delay_ms, self.bits());
        let (lose, twice) = (self.losing.most(), self.duplicating.most());
        let (delay, cut, flip) = (self.delaying.most(), self.truncating.most(), self.flipping.most());
        let count = self.count;
        let way = &mut self.ways[from * count + to];
        let Some(connection) = way.connection else { return };
        way.frames += 1;
        let name = u64::try_from(from * count + to).unwrap_or(0) << 40 | way.frames;
        let mut chance = Chance::new(seed, name.wrapping_add(1 << 63));
        let sent = match bits {
            Some(bits) => {
                let took = u64::try_from(bytes.len()).unwrap_or(u64::MAX) * 8_000 / bits;
                way.transmit(now, took, frame_lane(&bytes), 8_000 * PACKET_BYTES / bits)
            }
            None => now,
        };
        marks.meet_if(sent > now + took_alone(&bytes, bits), Mark::Queued);
        if way.blocked > 0 {
            return;
        }
        if chance.per_mille(lose) {
            marks.meet(Mark::Lost);
            return;
        }
        let copies = if chance.per_mille(twice) { 2 } else { 1 };
        marks.meet_if(copies == 2, Mark::FrameDuplicated);
        for _ in 0..copies {
            let mut bytes = bytes.clone();
            if chance.per_mille(cut) {
                let len = chance.index(bytes.len());
                bytes.truncate(len);
                marks.meet(Mark::Truncated);
            }
            if !bytes.is_empty() && chance.per_mille(flip) {
                let place = chance.index(bytes.len());
                bytes[place] ^= 1 << chance.below(8);
                marks.meet(Mark::Flipped);
            }
            let more = if delay > 0 { chance.below(delay) } else { 0 };
            let at = sent + chance.between(1, delay_ms) + more;
            marks.meet_if(more >= 60_000, Mark::Delayed);
            marks.meet_if(at < way.latest, Mark::Reordered);
            way.latest = way.latest.max(at);
            arrives(at, Frame { from, to, connection, bytes });
        }
    }
}

impl Way {
    /// When the last bit of a frame has left, on a link on which it takes `took` alone. Urgent frames wait for the packet
    /// that is on the wire and for each other; bulk waits for all.
    fn transmit(&mut self, now: u64, took: u64, lane: Lane, packet: u64) -> u64 {
        let [urgent, bulk] = self.free;
        match lane {
            Lane::Urgent => {
                let packet_ends = if bulk > now { now + packet.min(bulk - now) } else { now };
                let begin = urgent.max(packet_ends);
                // What it takes is taken from the bulk behind it.
                self.free = [begin + took, if bulk > now { bulk + took } else { bulk }];
                begin + took
            }
            Lane::Bulk => {
                let begin = now.max(urgent).max(bulk);
                self.free[1] = begin + took;
                begin + took
            }
        }
    }
}

fn took_alone(bytes: &[u8], bits: Option<u64>) -> u64 {
    bits.map_or(0, |bits| u64::try_from(bytes.len()).unwrap_or(u64::MAX) * 8_000 / bits)
}

/// What a link hands over at a time.
const PACKET_BYTES: u64 = 1_200;

#[cfg(test)]
mod tests {
    use super::*;

    fn net(bits: u64) -> SimNet {
        let mut net = SimNet::new(1, 2, 5, bits);
        net.connect(0, 1);
        net
    }

    fn arrivals(net: &mut SimNet, now: u64, bytes: Vec<u8>) -> Vec<(u64, usize)> {
        let mut arrived = Vec::new();
        net.send(now, 0, 1, bytes, &mut Marks::default(), |at, frame| arrived.push((at, frame.bytes.len())));
        arrived
    }

    #[test]
    fn frames_take_their_time_and_blocked_ones_for_ever() {
        let mut net = net(0);
        let [(at, 3)] = arrivals(&mut net, 100, vec![1, 2, 3])[..] else { panic!("one frame of three bytes") };
        assert!((101..=105).contains(&at));
        net.block(0, 1);
        assert!(arrivals(&mut net, 100, vec![1]).is_empty());
        net.unblock(0, 1);
        net.drop_end(0, 1);
        assert!(arrivals(&mut net, 100, vec![1]).is_empty());
    }

    #[test]
    fn urgent_frames_wait_for_a_packet_of_bulk_and_no_more() {
        let mut net = net(64_000);
        let bulk = arrivals(&mut net, 0, [4].into_iter().chain([0; 15_999]).collect());
        assert!((2_000..=2_005).contains(&bulk[0].0), "{bulk:?}");
        let urgent = arrivals(&mut net, 0, vec![10; 80]);
        assert!((160..=165).contains(&urgent[0].0), "{urgent:?}");
        let more = arrivals(&mut net, 0, vec![4; 8]);
        assert!((2_011..=2_016).contains(&more[0].0), "{more:?}");
    }

    #[test]
    fn rates_are_rates() {
        let mut net = net(0);
        net.losing.begin(7, 500);
        net.duplicating.begin(8, 1_000);
        let arrived: usize = (0..1_000).map(|_| arrivals(&mut net, 0, vec![1; 9]).len()).sum();
        assert!((800..1_200).contains(&arrived), "{arrived}");
        net.losing.end(7);
        net.truncating.begin(9, 1_000);
        assert!(arrivals(&mut net, 0, vec![1; 9]).iter().all(|(_, len)| *len < 9));
    }
}
