#[path = "../../examples/make_sample.rs"]
#[allow(dead_code, unreachable_pub, reason = "the example is a program of its own; only its generator is used here")]
mod make_sample;

#[test]
fn the_sample_is_what_its_generator_makes() {
    let sample = include_str!("../../workloads/sample.swf");
    assert!(sample == make_sample::generate(), "run the example make_sample and commit what it writes");
    assert!(sample.lines().filter(|line| !line.starts_with(';')).count() >= 300);
}
