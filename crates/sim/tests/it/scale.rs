//! What many brokers cost stays within bounds. More of them: `reconvene-sim scale`.

use reconvene_sim::simulation::Scale;

/// After a cut in two halves all are equal within six rounds, and an urgent write overtakes all rounds.
#[test]
fn scale_thirty_brokers_heal_and_are_told_in_time() {
    for seed in 0..3 {
        let report = Scale::new(30, seed).run();
        assert!(report.equal, "seed {seed}");
        let phase = |name: &str| report.phase(name).unwrap();
        let heal = phase("heal");
        assert_eq!(heal.reached, 30);
        assert!(heal.p99_rounds <= 6 && heal.p99_ms <= 12_000, "seed {seed}: {heal:?}");
        // 435 links; each broker gets 15 versions it lacks, and hears of few twice.
        assert!(heal.frames < 30 * 30 && heal.bytes < 30 * 6_000 && heal.duplicates < 30 * 15, "seed {seed}: {heal:?}");
        let urgent = phase("urgent");
        assert_eq!(urgent.reached, 30);
        assert!(urgent.p99_ms <= 2_000 && urgent.p50_ms <= 100, "seed {seed}: {urgent:?}");
        // Nothing is to be done in this minute: some rounds, and a probe for each link and direction every 20 s.
        let quiet = phase("quiet");
        assert!(quiet.bytes < 30 * 9_000 && quiet.duplicates < 30, "seed {seed}: {quiet:?}");
    }
}
