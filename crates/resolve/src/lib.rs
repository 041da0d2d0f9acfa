//! Deterministic conflict resolution: five strategies as integer rank keys, the same answer on every replica, with reasons.
