//! The `reconvene` program.

fn main() {}
