//! Hybrid logical clocks, at fixed wall time so that reading it costs nothing.

use std::hint::black_box;
use std::time::Duration;

use anyhow::{Result, anyhow, ensure};
use reconvene_clock::{Hlc, HlcClock, MaxAhead, TimeSource, WallTime};
use uhlc::{HLCBuilder, ID, NTP64, Timestamp};

use crate::measure::Race;
use crate::row::Row;

const NOW_MS: u64 = 1_700_000_000_000;

struct Fixed;

impl TimeSource for Fixed {
    #[inline(always)]
    fn now(&self) -> WallTime {
        WallTime::from_millis(black_box(NOW_MS))
    }
}

fn fixed() -> NTP64 {
    NTP64(black_box(1_700_000_000 << 32))
}

pub(super) fn rows() -> Result<Vec<Row>> {
    let id = ID::try_from([1_u8; 16]).map_err(|error| anyhow!("{error:?}"))?;
    let theirs = HLCBuilder::new().with_id(id).with_clock(fixed).with_max_delta(Duration::from_secs(60)).build();
    let mut ours = HlcClock::new(Fixed, MaxAhead::default());

    // Both are above what they issued before and above what they observe.
    ensure!(ours.tick()? < ours.tick()? && theirs.new_timestamp() < theirs.new_timestamp());
    let ahead = Hlc::from_parts(WallTime::from_millis(NOW_MS + 10), 3).ok_or_else(|| anyhow!("fits"))?;
    let their_ahead = Timestamp::new(fixed() + NTP64::from(Duration::from_millis(10)), id);
    ensure!(ours.observe(ahead)? > ahead);
    theirs.update_with_timestamp(&their_ahead).map_err(|error| anyhow!("{error}"))?;
    ensure!(theirs.new_timestamp() > their_ahead);

    let mut race = Race::new();
    race.repeated("ours", || _ = black_box(black_box(&mut ours).tick()));
    race.repeated("uhlc", || _ = black_box(black_box(&theirs).new_timestamp()));
    race.repeated("floor", || _ = black_box(Fixed.now()));
    let tick = race.run();
    let source = tick.get("floor").copied().unwrap_or_default();
    let mut race = Race::new();
    race.repeated("ours", || _ = black_box(black_box(&mut ours).observe(black_box(ahead))));
    race.repeated("uhlc", || _ = black_box(black_box(&theirs).update_with_timestamp(black_box(&their_ahead))));
    race.repeated("floor", || _ = black_box(Fixed.now()));
    let observe = race.run();
    Ok(vec![
        Row::new("hlc tick", 1).with_times(tick).nanos(source + 5.0).times("uhlc", 0.6),
        Row::new("hlc observe", 1).with_times(observe).nanos(source + 5.0).times("uhlc", 0.5),
    ])
}
