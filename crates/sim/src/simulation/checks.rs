//! What must have come true once the network has been calm for a while.

use reconvene_store::Snapshot as _;

use super::Violation;
use super::client::key_of;
use super::marks::Mark;
use super::plan::PlannedWrite;
use super::queue::{Check, Event};
use super::run::Run;

impl Run<'_> {
    pub(super) fn check(&mut self, check: Check) -> Result<(), Violation> {
        match check {
            Check::Healed => self.check_equal("L1", "since faults stopped"),
            Check::Bulk => self
                .write(0, &[PlannedWrite { key: 0, class: 3, bytes: Some(BULK_BYTES), partly: false, blind: false }]),
            Check::Urgent => {
                self.write(
                    0,
                    &[PlannedWrite { key: URGENT_KEY, class: 1, bytes: Some(20), partly: false, blind: false }],
                )?;
                // A packet on the wire, the frame itself and a few small ones before it, each at its pace.
                let sends = |bytes: u64| self.net.bits().map_or(0, |bits| bytes * 8_000 / bits);
                let stores = 6 * self.plan.options.store_ms;
                let bound = self.plan.options.delay_ms + sends(1_200 + 600) + stores + 50;
                self.push(self.now + bound, Event::Check(Check::Arrived));
                Ok(())
            }
            Check::Arrived => self.check_urgent(),
            Check::Write => {
                for node in 0..self.nodes.len() {
                    let key = u32::try_from(node).unwrap_or(0) % self.plan.options.keys;
                    self.write(node, &[PlannedWrite { key, class: 2, bytes: Some(20), partly: false, blind: false }])?;
                }
                Ok(())
            }
            Check::Equal => {
                self.written = self.oracle.len();
                self.check_equal("L1", "since the last writes")
            }
            Check::End => {
                if self.plan.options.calm_ms < self.healed_after() {
                    return Ok(());
                }
                self.check_equal("L1", "at the end")?;
                (0..self.nodes.len()).try_for_each(|node| self.check_counters(node))?;
                self.oracle.check_end()?;
                self.check_quiet()
            }
        }
    }

    /// All brokers hold the same, and each has spoken with a peer since faults stopped.
    fn check_equal(&self, promise: &'static str, since: &str) -> Result<(), Violation> {
        let digests: Vec<_> = self.nodes.iter().map(|node| node.snapshot().head().digest()).collect();
        for (node, slot) in self.nodes.iter().enumerate() {
            let Some(replica) = &slot.replica else {
                return Err(Violation::new("L4", format!("broker {node} is down")));
            };
            if replica.stats().sessions <= slot.sessions_before {
                return Err(Violation::new("L4", format!("broker {node} had no session {since}")));
            }
            if digests[node] == digests[0] {
                continue;
            }
            let what = format!("brokers 0 and {node} differ {since}: {} and {}", digests[0], digests[node]);
            let promise = if digests[node].knowledge == digests[0].knowledge { "S3" } else { promise };
            return Err(Violation::new(promise, what));
        }
        Ok(())
    }

    /// An urgent write is at every broker that its writer is linked with: as many as it pushes to at once.
    fn check_urgent(&mut self) -> Result<(), Violation> {
        let linked = self.nodes[0].replica.as_ref().map_or(0, |replica| replica.linked_peers().count());
        let others = self.nodes.len() - 1;
        if linked < others || others > self.nodes[0].config.push_fan_out {
            return Ok(());
        }
        self.marks.meet(Mark::UrgentOnTime);
        let late = (1..=others).find(|node| !self.oracle.has(*node, &key_of(URGENT_KEY)));
        late.map_or(Ok(()), |node| {
            Err(Violation::new("L2", format!("an urgent write of broker 0 is not at broker {node} in time")))
        })
    }

    /// When all is done, nothing is written any more, and nothing is left of deletes.
    fn check_quiet(&self) -> Result<(), Violation> {
        if self.written > 0 && self.oracle.len() > self.written {
            let more = self.oracle.len() - self.written;
            return Err(Violation::new("L1", format!("{more} more versions were written though nobody wrote any")));
        }
        for node in 0..self.nodes.len() {
            let left = self.oracle.needless_tombstones(node);
            if !left.is_empty() {
                return Err(Violation::new("L6", format!("broker {node} still holds tombstones at the end: {left}")));
            }
        }
        Ok(())
    }

    fn check_counters(&mut self, node: usize) -> Result<(), Violation> {
        let slot = &self.nodes[node];
        let Some(replica) = &slot.replica else { return Ok(()) };
        let stats = replica.stats();
        self.marks.meet_if(stats.failed_sessions > 0, Mark::SessionFailed);
        self.marks.meet_if(stats.in_sync_sessions > 0, Mark::InSync);
        self.marks.meet_if(stats.frames_refused > 0, Mark::FrameRefused);
        let pushes = u64::try_from(slot.config.push_fan_out).unwrap_or(0) * slot.urgent;
        if stats.pushes_sent > pushes {
            let what = format!("broker {node} pushed {} versions for {} urgent ones", stats.pushes_sent, slot.urgent);
            return Err(Violation::new("S12", what));
        }
        Ok(())
    }
}

/// No plan writes to this one.
const URGENT_KEY: u32 = 1_000_000;
/// Takes seconds on a slow link.
const BULK_BYTES: u32 = 40_000;
