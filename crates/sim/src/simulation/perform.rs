//! What brokers ask their driver to do, done or made to fail.

use reconvene_store::{PlanError, StoreError, ready};
use reconvene_sync::{Event as Told, Input, Output, PeerState, Performed, RejectReason, StoreDriverError, forge};

use super::Violation;
use super::marks::Mark;
use super::oracle::Commit;
use super::plan::Restart;
use super::queue::{Event, Queued};
use super::run::{REOPEN_MS, Run};

impl Run<'_> {
    /// Performs outputs in order, until there is none or the store takes its time.
    pub(super) fn perform(&mut self, node: usize) -> Result<(), Violation> {
        loop {
            let slot = &mut self.nodes[node];
            if slot.busy_until > self.now || slot.paused > 0 {
                return Ok(());
            }
            let Some(output) = slot.replica.as_mut().and_then(|replica| replica.poll_output()) else { break };
            match output {
                Output::Persist(_) => {
                    if !self.commit(node, output)? {
                        break;
                    }
                }
                output => match ready(slot.store.perform(output)) {
                    Some(Ok(Performed::Done)) => {}
                    Some(Ok(Performed::Input(input))) => self.later(node, 0, input),
                    Some(Ok(Performed::Other(output))) => self.perform_outside(node, output)?,
                    // A view of its own holds what cannot be read, and the store does not any more: a driver opens it again.
                    Some(Err(StoreDriverError::Read(StoreError::Corrupt { .. }))) => {
                        self.crash(node, true, Restart::Full, REOPEN_MS)?;
                        return Ok(());
                    }
                    failed => {
                        return Err(Violation::new("S13", format!("the store of broker {node} failed: {failed:?}")));
                    }
                },
            }
        }
        self.schedule(node);
        Ok(())
    }

    /// Makes a batch durable, unless a fault has it otherwise. False if the process has ended or waits.
    fn commit(&mut self, node: usize, output: Output) -> Result<bool, Violation> {
        let Output::Persist(batch) = &output else { return Ok(true) };
        let slot = &mut self.nodes[node];
        let number = slot.commits;
        slot.commits += 1;
        let crash = slot.crash.take_if(|crash| crash.commit <= number);
        if let Some(crash) = crash.filter(|crash| !crash.after) {
            self.marks.meet(Mark::CrashedBeforeCommit);
            self.crash(node, true, crash.restart, crash.down_ms)?;
            return Ok(false);
        }
        let slot = &mut self.nodes[node];
        let fails = slot.fails.take_if(|(commit, _)| *commit <= number);
        if slot.full > 0 || fails.is_some_and(|(_, made)| !made) {
            self.marks.meet(if slot.full > 0 { Mark::StoreFull } else { Mark::StoreFailed });
            self.crash(node, true, Restart::Full, REOPEN_MS)?;
            return Ok(false);
        }
        let (commit, head) = (Commit::of(batch), batch.head().clone());
        slot.urgent += commit.urgent();
        let done = ready(slot.store.perform(output));
        if !matches!(done, Some(Ok(Performed::Done))) {
            return Err(Violation::new("S13", format!("broker {node} could not commit: {done:?}")));
        }
        slot.committed(&head);
        self.trace.commit(self.now, node, &commit);
        let did = self.oracle.committed(node, commit)?;
        for (met, mark) in [
            (did.replaced, Mark::Replaced),
            (did.part, Mark::PartReplaced),
            (did.siblings, Mark::Siblings),
            (did.deleted, Mark::Deleted),
            (did.deleted_beside, Mark::DeletedBesideSet),
            (did.collapsed, Mark::Collapsed),
            (did.unknown_class, Mark::UnknownClass),
            (did.cloud, Mark::CloudRange),
            (did.collected, Mark::Collected),
            (did.dropped_dead, Mark::FloorRepair),
        ] {
            self.marks.meet_if(met, mark);
        }
        if let Some(crash) = crash {
            self.marks.meet(Mark::CrashedAfterCommit);
            self.crash(node, true, crash.restart, crash.down_ms)?;
            return Ok(false);
        }
        if fails.is_some() {
            self.marks.meet(Mark::StoreFailed);
            self.crash(node, true, Restart::Full, REOPEN_MS)?;
            return Ok(false);
        }
        let slot = &mut self.nodes[node];
        let takes = self.plan.options.store_ms + slot.slowing.sum();
        if takes > 0 {
            slot.busy_until = self.now + takes;
            let life = slot.life;
            self.marks.meet_if(takes > 20, Mark::StoreSlow);
            self.push(self.now + takes, Event::Stored { node, life });
            return Ok(false);
        }
        Ok(true)
    }

    fn perform_outside(&mut self, node: usize, output: Output) -> Result<(), Violation> {
        match output {
            Output::Send { to, frame } => {
                self.trace.sent(self.now, node, &frame);
                if let Some(peer) = self.index_of(to) {
                    self.flows.sent(node, peer, &frame, self.plan.options.window_bytes)?;
                    self.spoof(node, peer, &frame);
                    let frame = self.tampered(node, frame);
                    self.send(node, peer, frame);
                }
                Ok(())
            }
            // Nobody says anything here.
            Output::Note { .. } => Ok(()),
            Output::Connect { address } => {
                self.trace.note(self.now, node, &|| format!("dials {address}"));
                let target = self.nodes.iter().position(|other| other.address == address);
                match target.filter(|peer| *peer != node) {
                    Some(to) => {
                        let took = self.net.round_trip() + self.chance.below(5);
                        let life = self.nodes[node].life;
                        self.push(self.now + took, Event::Connect { from: node, to, life });
                    }
                    None => self.later(node, 1, Input::ConnectFailed { address }),
                }
                Ok(())
            }
            Output::Disconnect { from, why } => {
                self.trace.note(self.now, node, &|| format!("disconnects {from}: {why}"));
                if let Some(peer) = self.index_of(from) {
                    let connection = self.net.connection(node, peer);
                    self.net.drop_end(node, peer);
                    self.hang_up(node, peer, connection);
                }
                Ok(())
            }
            Output::Written { ticket: _, dots } => {
                self.trace.note(self.now, node, &|| format!("acknowledges {dots:?}"));
                self.oracle.acknowledged(node, &dots)
            }
            Output::WriteRefused { ticket: _, error } => {
                self.trace.note(self.now, node, &|| format!("refuses a write: {error}"));
                Ok(())
            }
            Output::BundleReady { ticket, fragments, whole } => {
                self.marks.meet_if(!whole, Mark::BundleCutShort);
                self.set_out(ticket, fragments);
                Ok(())
            }
            Output::BundleTaken { progress, .. } => {
                self.trace.note(self.now, node, &|| format!("takes in a fragment: {progress:?}"));
                self.marks.meet_if(progress.claimed, Mark::BundleClaimed);
                Ok(())
            }
            Output::BundleRefused { error, .. } => {
                self.trace.note(self.now, node, &|| format!("refuses a bundle: {error}"));
                Ok(())
            }
            Output::Notify(told) => {
                self.trace.note(self.now, node, &|| format!("{told:?}"));
                self.told(node, &told)
            }
            Output::Persist(_) | Output::OpenView(_) | Output::CloseView(_) | Output::Load { .. } => {
                Err(Violation::new("S13", format!("the store driver handed back {output:?}")))
            }
        }
    }

    /// The other end learns that a connection is over, if that gets through.
    pub(super) fn hang_up(&mut self, node: usize, peer: usize, connection: Option<u64>) {
        if connection.is_some() && self.net.connection(peer, node) == connection && !self.net.is_blocked(node, peer) {
            self.net.drop_end(peer, node);
            let id = self.nodes[node].id;
            let takes = 1 + self.plan.options.delay_ms / 2;
            self.later(peer, takes, Input::LinkDown { peer: id });
        }
    }

    /// Whoever speaks for `node` sends the same to the same broker over its own link, and claims in the session. Only a hello
    /// is not repeated: where the name in it is not known yet, it would open a session that is the liar's own, and what members
    /// claim there is believed.
    fn spoof(&mut self, node: usize, to: usize, frame: &[u8]) {
        if frame.first() == Some(&HELLO) {
            return;
        }
        let liars: Vec<usize> =
            self.spoofing.values().filter(|(_, victim)| *victim == node).map(|(by, _)| *by).collect();
        for by in liars.into_iter().filter(|by| *by != to) {
            self.marks.meet(Mark::Spoofed);
            if let Some(claim) = forge::claim_for_chunk(frame) {
                self.send(by, to, claim);
            }
            self.send(by, to, frame.to_vec());
        }
    }

    /// A frame as it leaves a broker that may be hostile.
    fn tampered(&mut self, node: usize, frame: Vec<u8>) -> Vec<u8> {
        let rate = self.tampering.values().filter(|(hostile, _)| *hostile == node).map(|(_, rate)| *rate).max();
        let Some(rate) = rate else { return frame };
        let forged = forge::edit_chunk(&frame, |_, version| {
            if self.chance.per_mille(rate) {
                version.context.add(version.dot);
            }
        });
        forged.unwrap_or(frame)
    }

    fn send(&mut self, from: usize, to: usize, bytes: Vec<u8>) {
        match bytes.first() {
            Some(6) => self.marks.meet(Mark::CreditSpent),
            Some(8) => self.marks.meet(Mark::Busy),
            Some(10) => self.marks.meet(Mark::Pushed),
            Some(12) => self.marks.meet(Mark::ProbeAnswered),
            _ => {}
        }
        let (queue, queued) = (&mut self.queue, &mut self.queued);
        self.net.send(self.now, from, to, bytes, &mut self.marks, |at, frame| {
            *queued += 1;
            queue.push(Queued { at, number: *queued, event: Event::Frame(frame) });
        });
    }

    fn told(&mut self, node: usize, told: &Told) -> Result<(), Violation> {
        match told {
            Told::SessionDone { .. } => self.marks.meet(Mark::SessionDone),
            Told::PeerState { state: PeerState::Suspect, .. } => self.marks.meet(Mark::Suspect),
            Told::PeerState { state: PeerState::Unreachable, .. } => self.marks.meet(Mark::Unreachable),
            Told::PeerState { state: PeerState::Alive, .. } => self.marks.meet(Mark::Returned),
            Told::AheadOfBound { .. } => self.marks.meet(Mark::FarAhead),
            Told::Divergence { .. } => {
                self.marks.meet(Mark::Divergence);
                if !self.oracle.is_lossy() {
                    let what = format!("broker {node} knows the same as a peer and differs: {told:?}");
                    return Err(Violation::new("S3", what));
                }
            }
            Told::DotCollision { .. } => {
                return Err(Violation::new("S8", format!("broker {node} met one dot with two contents: {told:?}")));
            }
            Told::Amnesia { .. } => {
                self.marks.meet(Mark::Amnesia);
                if !self.oracle.is_lossy() {
                    let what = format!("broker {node} lost what a peer knows it wrote: {told:?}");
                    return Err(Violation::new("S6", what));
                }
            }
            Told::Rejected {
                why: RejectReason::Retired | RejectReason::Incarnation | RejectReason::Identity, ..
            } if self.renamed || self.hostile => {
                self.marks.meet(Mark::Rejected);
            }
            Told::Frozen { .. } => {
                self.marks.meet(Mark::Frozen);
                // The driver opens the store again, under the name that the replica then takes.
                self.crash(node, true, Restart::Full, REOPEN_MS)?;
            }
            Told::RowsLost { .. } => self.marks.meet(Mark::RowsLost),
            Told::Renewed { .. } => self.renamed = true,
            Told::Retired { .. } => self.marks.meet(Mark::Retired),
            Told::CollectionBlocked { .. } => self.marks.meet(Mark::CollectionBlocked),
            Told::Refused { error: PlanError::SelfReplacing { .. }, .. } if self.hostile => {
                self.marks.meet(Mark::ForgeryRefused);
            }
            Told::Refused { error: PlanError::Clock(_) | PlanError::UnusedDot { .. }, .. }
                if self.oracle.is_lossy() => {}
            Told::Refused { .. } | Told::LimitReached { .. } | Told::Rejected { .. } => {
                return Err(Violation::new("S12", format!("honest brokers refuse each other: {node}, {told:?}")));
            }
            _ => {}
        }
        Ok(())
    }

    fn index_of(&self, id: reconvene_clock::NodeId) -> Option<usize> {
        let number = usize::from(id.as_bytes()[0]);
        number.checked_sub(1).filter(|index| *index < self.nodes.len())
    }
}

/// The kind of frames that begin a session.
const HELLO: u8 = 1;
