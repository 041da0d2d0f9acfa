//! Settings: what a flag, the environment, a file and a default say, in that order, and which of them it was.

mod document;
mod knobs;
mod layers;
mod plain;

pub(crate) use self::{
    document::{Document, Table, Value},
    knobs::{Knob, agent_knobs, lifecycle_knobs, sync_knobs},
    layers::Layers,
    plain::{HostPort, NodeName, Plain},
};
