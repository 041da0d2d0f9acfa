//! What people do: they write, carry bundles, and retire brokers.

use reconvene_store::{Body, Class, Key, KeyContext, Replaces};
use reconvene_sync::{Input, NewWrite, Ticket};

use super::Violation;
use super::marks::Mark;
use super::node::DATA;
use super::plan::PlannedWrite;
use super::queue::Event;
use super::run::Run;

/// Where a bundle is carried, what is lost of it, and how long that takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Carried {
    pub(super) to: usize,
    pub(super) lost: u32,
    pub(super) takes_ms: u64,
}

impl Run<'_> {
    /// Somebody asks for a bundle to be carried.
    pub(super) fn carry(
        &mut self,
        from: usize,
        carried: Carried,
        addressed: bool,
        again: bool,
        budget_bytes: u64,
    ) -> Result<(), Violation> {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        let to = addressed.then(|| self.nodes[carried.to].id);
        self.carried.insert(ticket, carried);
        self.feed(from, Input::MakeBundle { ticket, to, budget_bytes, ttl_s: 3_600, again })
    }

    /// The fragments of a bundle are on their way.
    pub(super) fn set_out(&mut self, ticket: Ticket, fragments: Vec<Vec<u8>>) {
        let Some(Carried { to, lost, takes_ms }) = self.carried.remove(&ticket) else { return };
        self.marks.meet(Mark::BundleCarried);
        for (number, bytes) in fragments.into_iter().enumerate() {
            if lost & (1 << (number % 32)) != 0 {
                self.marks.meet(Mark::FragmentLost);
                continue;
            }
            let late = self.chance.below(2_000);
            if number % 3 == 1 {
                self.push(self.now + takes_ms + 3 * late, Event::Fragment { to, bytes: bytes.clone() });
            }
            self.push(self.now + takes_ms + late, Event::Fragment { to, bytes });
        }
    }

    /// An operator's word.
    pub(super) fn retire(&mut self, node: usize, by: usize) -> Result<(), Violation> {
        let Some(replica) = self.oracle.replica_of(node) else { return Ok(()) };
        self.tickets += 1;
        self.renamed = true;
        self.feed(by, Input::Retire { ticket: Ticket(self.tickets), replica })
    }

    /// A client's batch.
    pub(super) fn write(&mut self, node: usize, writes: &[PlannedWrite]) -> Result<(), Violation> {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        let writes: Vec<NewWrite> = writes.iter().map(|write| self.new_write(node, write)).collect();
        self.feed(node, Input::LocalWrite { ticket, writes })
    }

    fn new_write(&self, node: usize, planned: &PlannedWrite) -> NewWrite {
        let key = key_of(planned.key);
        let body = match planned.bytes {
            None => Body::Tombstone,
            Some(bytes) => {
                // Each value is like no other.
                let text = format!("{:x}.", self.tickets);
                let len = usize::try_from(bytes).unwrap_or(0).max(text.len());
                Body::of(text.bytes().cycle().take(len).collect::<Vec<u8>>())
            }
        };
        if planned.blind {
            let replaces = Replaces::Context(KeyContext::new());
            return NewWrite { key, class: Class::new(planned.class), body, replaces };
        }
        let seen = planned.partly.then(|| self.nodes[node].record(&key)).flatten();
        let seen = seen.and_then(|record| record.siblings().first().map(reconvene_store::Version::seen));
        NewWrite {
            key,
            class: Class::new(planned.class),
            body,
            replaces: seen.map_or(Replaces::AllLive, Replaces::Context),
        }
    }
}

pub(super) fn key_of(number: u32) -> Key {
    Key::new(format!("{DATA}{number}")).expect("short")
}
