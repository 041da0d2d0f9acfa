//! The clocks of one machine: a monotonic one from its last start, and a wall clock, both wrong.

use reconvene_clock::{Now, Timestamp, WallTime};

/// Both clocks of a machine. True time goes in, in virtual milliseconds since the start of the run.
#[derive(Clone, Debug)]
pub(super) struct SimClock {
    /// True time when the rate last changed, and how long the machine had run by then by its own measure.
    since: u64,
    ran: u64,
    /// Parts in a million that it runs fast.
    ppm: i64,
    frozen: u32,
    /// What its own measure was when the process was started.
    started: u64,
    ahead_ms: i64,
}

impl SimClock {
    pub(super) const fn new(ahead_ms: i64) -> Self {
        Self { since: 0, ran: 0, ppm: 0, frozen: 0, started: 0, ahead_ms }
    }

    pub(super) fn now(&self, at: u64) -> Now {
        let ran = self.ran_at(at);
        let wall = WALL_START_MS.saturating_add(ran).saturating_add_signed(self.ahead_ms);
        Now { mono: Timestamp::from_millis(ran.saturating_sub(self.started)), wall: WallTime::from_millis(wall) }
    }

    /// True time when the monotonic clock shows `due`; `None` while it stands still.
    pub(super) fn when(&self, due: Timestamp) -> Option<u64> {
        if self.frozen > 0 {
            return None;
        }
        let left = (self.started + due.as_millis()).saturating_sub(self.ran);
        let rate = u64::try_from(MILLION + self.ppm).unwrap_or(1);
        let million = MILLION.unsigned_abs();
        Some(self.since + (left * million).div_ceil(rate))
    }

    /// A new process: its monotonic clock begins at zero.
    pub(super) fn restart(&mut self, at: u64) {
        self.started = self.ran_at(at);
    }

    pub(super) fn jump(&mut self, by_ms: i64) {
        self.ahead_ms = self.ahead_ms.saturating_add(by_ms);
    }

    pub(super) fn freeze(&mut self, at: u64) {
        self.settle(at);
        self.frozen += 1;
    }

    pub(super) fn thaw(&mut self, at: u64) {
        self.settle(at);
        self.frozen -= 1;
    }

    pub(super) fn drift(&mut self, at: u64, ppm: i64) {
        self.settle(at);
        self.ppm = ppm;
    }

    fn settle(&mut self, at: u64) {
        self.ran = self.ran_at(at);
        self.since = at;
    }

    fn ran_at(&self, at: u64) -> u64 {
        if self.frozen > 0 {
            return self.ran;
        }
        let passed = i64::try_from(at - self.since).unwrap_or(0);
        self.ran.saturating_add_signed(passed + (passed * self.ppm).div_euclid(MILLION))
    }
}

const MILLION: i64 = 1_000_000;
/// 2025-01-01: any fixed date.
pub(super) const WALL_START_MS: u64 = 1_735_689_600_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_come_when_the_clock_shows_them() {
        for ppm in [-10_000, -3, 0, 7, 10_000] {
            let mut clock = SimClock::new(-5);
            clock.drift(1_000, ppm);
            clock.restart(50_000);
            for due in [0, 1, 999, 60_000, 3_600_000] {
                let due = Timestamp::from_millis(due);
                let at = clock.when(due).unwrap();
                assert!(clock.now(at).mono >= due, "{ppm} {due:?}");
                assert!(at <= 50_000 || clock.now(at - 1).mono < due, "{ppm} {due:?}");
            }
        }
    }

    #[test]
    fn a_frozen_clock_goes_on_from_where_it_stood() {
        let mut clock = SimClock::new(0);
        clock.freeze(100);
        assert_eq!(clock.now(5_000).mono, Timestamp::from_millis(100));
        assert_eq!(clock.when(Timestamp::from_millis(200)), None);
        clock.thaw(5_000);
        assert_eq!(clock.now(5_050).mono, Timestamp::from_millis(150));
    }
}
