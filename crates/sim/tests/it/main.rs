//! Integration tests of the test kit: what it checks holds, and what it should find it finds.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod replicas;
