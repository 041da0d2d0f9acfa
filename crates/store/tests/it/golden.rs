//! Numbers that replicas of different releases compare with each other.

use reconvene_store::{Body, Replaces};

use crate::world::{Replica, key};

/// Worked out with an independent SipHash and SHA-256 from the description of the fingerprint.
#[test]
fn golden_v1_digest() {
    let mut replica = Replica::new(1);
    replica.put(0, "one");
    replica.put(0, "two");
    replica.put(1, "three");
    replica.write(2, Body::Tombstone, Replaces::AllLive);
    let prints = replica.head.fingerprints();
    assert_eq!((prints.bucket_of(&key(0)), prints.bucket_of(&key(1))), (96, 3));
    assert_eq!(replica.head.digest().to_string(), "421d10772012e4317692272617f67fdf/c614b63f7eb1acd8");
}
