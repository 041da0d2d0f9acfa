//! Benchmarks of the Reconvene crates; see `benches/`.
