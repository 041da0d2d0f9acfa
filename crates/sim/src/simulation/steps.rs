//! What the steps of a plan do to a run, and how they are undone.

use reconvene_sync::Input;

use super::Violation;
use super::client::Carried;
use super::marks::Mark;
use super::node::CrashAt;
use super::plan::{Act, Side};
use super::queue::Event;
use super::run::Run;

impl Run<'_> {
    pub(super) fn begin(&mut self, step: usize) -> Result<(), Violation> {
        let plan = self.plan;
        let act = &plan.steps[step].act;
        self.trace.step(self.now, act);
        if let Some(for_ms) = act.lasts() {
            // Everything ends with the faulty part, whatever a file says.
            let until = (self.now + for_ms).min(plan.options.faulty_ms);
            self.push(until, Event::End { step });
        }
        match *act {
            Act::Write { node, ref writes } => {
                if self.exists(node) {
                    self.write(node, writes)?;
                }
            }
            Act::Part { noticed, .. } => {
                self.marks.meet(Mark::Partitioned);
                self.block(step);
                if noticed {
                    self.notice();
                }
            }
            Act::PartOneWay { .. } => {
                self.marks.meet(Mark::OneWayCut);
                self.block(step);
            }
            Act::Bridge { .. } | Act::Ring { .. } | Act::Clog { .. } => self.block(step),
            Act::Flap { .. } => {
                self.block(step);
                self.flap_later(step, false);
            }
            Act::Lose { per_mille, .. } => self.net.losing.begin(step, per_mille),
            Act::Duplicate { per_mille, .. } => self.net.duplicating.begin(step, per_mille),
            Act::Delay { upto_ms, .. } => self.net.delaying.begin(step, upto_ms),
            Act::Truncate { per_mille, .. } => self.net.truncating.begin(step, per_mille),
            Act::Flip { per_mille, .. } => self.net.flipping.begin(step, per_mille),
            Act::Slow { bits, .. } => self.net.slowing.begin(step, bits.max(1)),
            Act::HalfOpen { a, b, .. } => {
                if self.are_two(a, b) {
                    self.net.set_silent(a, b, true);
                    if self.net.drop_end(a, b) {
                        self.marks.meet(Mark::HalfOpen);
                        let peer = self.nodes[b].id;
                        self.later(a, 1, Input::LinkDown { peer });
                    }
                }
            }
            Act::Crash { node, noticed, restart, down_ms } => {
                if self.runs(node) {
                    self.marks.meet(Mark::Crashed);
                    let down_ms = down_ms.min(plan.options.faulty_ms.saturating_sub(self.now));
                    self.crash(node, noticed, restart, down_ms)?;
                }
            }
            Act::CrashAtCommit { node, commit, after, restart, down_ms } => {
                if self.runs(node) {
                    let commit = self.nodes[node].commits + commit;
                    self.nodes[node].crash = Some(CrashAt { commit, after, restart, down_ms });
                }
            }
            Act::Pause { node, .. } => {
                if self.exists(node) {
                    self.marks.meet(Mark::Paused);
                    self.nodes[node].paused += 1;
                }
            }
            Act::Jump { node, by_ms } => {
                if self.exists(node) {
                    self.marks.meet(Mark::ClockJumped);
                    self.nodes[node].clock.jump(by_ms);
                }
            }
            Act::Freeze { node, .. } => {
                if self.exists(node) {
                    self.marks.meet(Mark::ClockFrozen);
                    self.nodes[node].clock.freeze(self.now);
                    self.schedule(node);
                }
            }
            Act::Drift { node, ppm, .. } => {
                if self.exists(node) {
                    self.marks.meet(Mark::ClockDrifted);
                    self.nodes[node].clock.drift(self.now, ppm.clamp(-500_000, 500_000));
                    self.schedule(node);
                }
            }
            Act::StoreFull { node, .. } => {
                if self.exists(node) {
                    self.nodes[node].full += 1;
                }
            }
            Act::StoreFails { node, commit, made } => {
                if self.runs(node) {
                    self.nodes[node].fails = Some((self.nodes[node].commits + commit, made));
                }
            }
            Act::Rot { node, count, pick } => {
                if self.exists(node) {
                    self.nodes[node].rot(count, pick);
                    self.oracle.rotted(node, self.nodes[node].rotten());
                }
            }
            Act::StoreSlow { node, ms, .. } => {
                if self.exists(node) {
                    self.nodes[node].slowing.begin(step, ms);
                }
            }
            Act::Spoof { by, victim, .. } => {
                if self.are_two(by, victim) {
                    self.hostile = true;
                    self.spoofing.insert(step, (by, victim));
                }
            }
            Act::Tamper { node, per_mille, .. } => {
                self.hostile = true;
                self.tampering.insert(step, (node, per_mille));
            }
            Act::Carry { from, to, addressed, again, lost, takes_ms, budget_bytes } => {
                if self.are_two(from, to) && self.runs(from) {
                    self.carry(from, Carried { to, lost, takes_ms }, addressed, again, budget_bytes)?;
                }
            }
            Act::Retire { node, by } => {
                if self.are_two(node, by) && self.runs(by) {
                    self.retire(node, by)?;
                }
            }
        }
        Ok(())
    }

    pub(super) fn end(&mut self, step: usize) -> Result<(), Violation> {
        let plan = self.plan;
        let act = &plan.steps[step].act;
        self.trace.over(self.now, act);
        match *act {
            Act::Part { .. } | Act::PartOneWay { .. } | Act::Bridge { .. } | Act::Ring { .. } | Act::Clog { .. } => {
                self.unblock(step)
            }
            Act::Flap { .. } => {
                if self.flapped.remove(&step) {
                    self.unblock(step);
                }
            }
            Act::Lose { .. } => self.net.losing.end(step),
            Act::Duplicate { .. } => self.net.duplicating.end(step),
            Act::Delay { .. } => self.net.delaying.end(step),
            Act::Truncate { .. } => self.net.truncating.end(step),
            Act::Flip { .. } => self.net.flipping.end(step),
            Act::Slow { .. } => self.net.slowing.end(step),
            Act::Spoof { .. } => drop(self.spoofing.remove(&step)),
            Act::Tamper { .. } => drop(self.tampering.remove(&step)),
            Act::HalfOpen { a, b, .. } => {
                if self.are_two(a, b) {
                    self.net.set_silent(a, b, false);
                }
            }
            Act::Pause { node, .. } => {
                if self.exists(node) {
                    self.nodes[node].paused -= 1;
                    if self.nodes[node].paused == 0 {
                        self.resume(node)?;
                    }
                }
            }
            Act::Freeze { node, .. } => {
                if self.exists(node) {
                    self.nodes[node].clock.thaw(self.now);
                    self.schedule(node);
                }
            }
            Act::Drift { node, .. } => {
                if self.exists(node) {
                    self.nodes[node].clock.drift(self.now, 0);
                    self.schedule(node);
                }
            }
            Act::StoreFull { node, .. } => {
                if self.exists(node) {
                    self.nodes[node].full -= 1;
                }
            }
            Act::StoreSlow { node, .. } => {
                if self.exists(node) {
                    self.nodes[node].slowing.end(step);
                }
            }
            Act::Write { .. }
            | Act::Crash { .. }
            | Act::CrashAtCommit { .. }
            | Act::Jump { .. }
            | Act::Retire { .. }
            | Act::Carry { .. }
            | Act::Rot { .. }
            | Act::StoreFails { .. } => {}
        }
        Ok(())
    }

    /// What came while it stood still comes all at once.
    fn resume(&mut self, node: usize) -> Result<(), Violation> {
        let backlog = std::mem::take(&mut self.nodes[node].backlog);
        let life = self.nodes[node].life;
        for input in backlog {
            if self.nodes[node].life == life {
                self.feed(node, input)?;
            }
        }
        if self.nodes[node].life == life { self.feed(node, Input::Tick) } else { Ok(()) }
    }

    pub(super) fn flap(&mut self, step: usize, blocked: bool) {
        let until = self.plan.steps[step].at_ms + self.plan.steps[step].act.lasts().unwrap_or(0);
        if self.now >= until.min(self.plan.options.faulty_ms) || blocked == self.flapped.contains(&step) {
            return;
        }
        if blocked {
            self.block(step);
        } else {
            self.flapped.remove(&step);
            self.unblock(step);
        }
        self.flap_later(step, !blocked);
    }

    fn flap_later(&mut self, step: usize, blocked: bool) {
        if !blocked {
            self.flapped.insert(step);
        }
        if let Act::Flap { period_ms, .. } = self.plan.steps[step].act {
            self.push(self.now + period_ms.max(1), Event::Flap { step, blocked });
        }
    }

    fn block(&mut self, step: usize) {
        for (from, to) in self.ways(step) {
            self.net.block(from, to);
        }
    }

    fn unblock(&mut self, step: usize) {
        for (from, to) in self.ways(step) {
            self.net.unblock(from, to);
        }
    }

    /// Which ways a step blocks.
    fn ways(&self, step: usize) -> Vec<(usize, usize)> {
        let act = &self.plan.steps[step].act;
        let count = self.nodes.len();
        let pairs = (0..count).flat_map(|from| (0..count).map(move |to| (from, to)));
        pairs.filter(|(from, to)| from != to && act.blocks(count, *from, *to)).collect()
    }

    /// Both ends of connections that are cut learn of it.
    fn notice(&mut self) {
        for a in 0..self.nodes.len() {
            for b in 0..self.nodes.len() {
                if self.net.is_blocked(a, b) && self.net.drop_end(a, b) {
                    let peer = self.nodes[b].id;
                    self.later(a, 1, Input::LinkDown { peer });
                }
            }
        }
    }

    /// Files may name brokers that a smaller run does not have.
    fn exists(&self, node: usize) -> bool {
        node < self.nodes.len()
    }

    fn are_two(&self, a: usize, b: usize) -> bool {
        a != b && self.exists(a) && self.exists(b)
    }

    fn runs(&self, node: usize) -> bool {
        self.exists(node) && self.nodes[node].replica.is_some()
    }
}

impl Act {
    /// How long it lasts, if it has an end.
    fn lasts(&self) -> Option<u64> {
        self.clone().for_ms_mut().copied()
    }

    /// Whether it keeps frames from getting from one broker to another, out of `count`.
    fn blocks(&self, count: usize, from: usize, to: usize) -> bool {
        let is = |side: Side, node: usize| side & (1 << node) != 0;
        match *self {
            Self::Part { side, .. } => is(side, from) != is(side, to),
            Self::PartOneWay { from: sources, to: sinks, .. } => is(sources, from) && is(sinks, to),
            Self::Bridge { bridge, side, .. } => from != bridge && to != bridge && is(side, from) != is(side, to),
            Self::Ring { .. } => {
                let apart = from.abs_diff(to);
                apart != 1 && apart != count - 1
            }
            Self::Flap { a, b, .. } | Self::Clog { a, b, .. } => (from, to) == (a, b) || (from, to) == (b, a),
            Self::Write { .. }
            | Self::Lose { .. }
            | Self::Duplicate { .. }
            | Self::Delay { .. }
            | Self::Truncate { .. }
            | Self::Flip { .. }
            | Self::HalfOpen { .. }
            | Self::Slow { .. }
            | Self::Crash { .. }
            | Self::CrashAtCommit { .. }
            | Self::Pause { .. }
            | Self::Jump { .. }
            | Self::Freeze { .. }
            | Self::Drift { .. }
            | Self::StoreFull { .. }
            | Self::StoreFails { .. }
            | Self::StoreSlow { .. }
            | Self::Retire { .. }
            | Self::Spoof { .. }
            | Self::Tamper { .. }
            | Self::Rot { .. }
            | Self::Carry { .. } => false,
        }
    }
}
