//! The program as scripts see it: arguments in; exit status, standard output and standard error out.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "tests index and add freely"
)]

mod demo;
mod operator;
mod processes;
mod promotion;
mod sample;
mod usage;
mod verify;
