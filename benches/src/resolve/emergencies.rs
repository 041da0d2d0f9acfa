//! What emergencies gain without preemption, and what they cost the others.

use anyhow::Result;
use reconvene_resolve::{HeadRoom, Level, Policy, Resources, StrategyKind};
use serde::Serialize;

use super::replay::{EMERGENCY, Row, emergencies, mean_s, row, waits};
use super::workload::Case;

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Emergencies {
    pub(crate) trace: String,
    pub(crate) seed: u64,
    /// Cores that stay free for life safety.
    pub(crate) head_room_cores: u64,
    pub(crate) jobs: usize,
    pub(crate) wait_mean_s: f64,
    pub(crate) wait_max_s: f64,
    /// Mean wait of the other jobs.
    pub(crate) others_mean_s: f64,
    /// The same jobs in the same replay without emergencies.
    pub(crate) others_mean_without_s: f64,
    /// By what share the one is above the other.
    pub(crate) others_rise: f64,
    /// By what share the mean wait of the others is above that in a replay without emergencies and without head room.
    pub(crate) others_rise_over_none: f64,
}

/// `EMERGENCY_FIRST` with three emergencies in a hundred jobs, and with none; each with a head room of so many cores, and
/// without.
///
/// # Errors
/// If a job never starts.
pub(crate) fn run(trace: &str, case: &Case, seed: u64, cores: u64) -> Result<(Vec<Row>, Vec<Emergencies>)> {
    let kind = StrategyKind::EmergencyFirst;
    let emergency = emergencies(case.jobs.len(), seed);
    let with = case.facts(|job| if emergency[job] { Level::LIFE_SAFETY } else { Level::ROUTINE });
    let without = case.facts(|_| Level::ROUTINE);
    let select = |waits: &[u64], which: bool| -> Vec<u64> {
        waits.iter().zip(&emergency).filter(|(_, emergency)| **emergency == which).map(|(wait, _)| *wait).collect()
    };
    let (mut rows, mut found): (Vec<Row>, Vec<Emergencies>) = (Vec::new(), Vec::new());
    let mut none_mean_s = None;
    for cores in if cores == 0 { vec![0] } else { vec![0, cores] } {
        let head_room = HeadRoom::new(Resources::new(cores.saturating_mul(1_000), 0, 0));
        let policy = Policy::builder(kind).head_room(head_room).build()?;
        let with = waits(case, &policy, &with)?;
        let (others, urgent) = (select(&with, false), select(&with, true));
        let others_without = select(&waits(case, &policy, &without)?, false);
        let (others_mean_s, others_mean_without_s) = (mean_s(&others), mean_s(&others_without));
        let none_mean_s = *none_mean_s.get_or_insert(others_mean_without_s);
        let class = |what: &str| if cores == 0 { what.to_owned() } else { format!("{what}, head room {cores}") };
        let urgent = row(trace, kind.name(), &class(EMERGENCY), urgent);
        found.push(Emergencies {
            trace: trace.to_owned(),
            seed,
            head_room_cores: cores,
            jobs: urgent.jobs,
            wait_mean_s: urgent.wait_mean_s,
            wait_max_s: urgent.wait_max_s,
            others_mean_s,
            others_mean_without_s,
            others_rise: rise(others_mean_s, others_mean_without_s),
            others_rise_over_none: rise(others_mean_s, none_mean_s),
        });
        if cores > 0 {
            // Without head room it is among the rows by class already.
            rows.push(urgent);
        }
        rows.push(row(trace, kind.name(), &class("others"), others));
        rows.push(row(trace, kind.name(), &class("others, without emergencies"), others_without));
    }
    Ok((rows, found))
}

fn rise(to: f64, from: f64) -> f64 {
    if from > 0.0 { to / from - 1.0 } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resolve::workload::read;

    #[test]
    fn a_head_room_shortens_the_wait_of_emergencies_at_the_cost_of_the_others() {
        let workload = read(&[]).unwrap().remove(0);
        let (rows, found) = run("sample", &workload.whole(), 3, 2).unwrap();
        let [none, some] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!((none.head_room_cores, some.head_room_cores, rows.len()), (0, 2, 5));
        assert!(none.jobs > 0 && none.jobs == some.jobs);
        assert!(some.wait_mean_s <= none.wait_mean_s, "{found:?}");
        assert!(some.others_mean_without_s > none.others_mean_without_s, "{found:?}");
        assert!(some.others_rise_over_none > some.others_rise, "{found:?}");
        assert!((none.others_rise_over_none - none.others_rise).abs() < f64::EPSILON);
        assert_eq!(run("sample", &workload.whole(), 3, 0).unwrap().1.len(), 1);
    }
}
