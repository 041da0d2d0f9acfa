//! Facts that cannot be folded, by the hash of their bytes.

use std::collections::BTreeMap;

use reconvene_clock::digest;

/// A stored fact that this broker cannot fold: damaged, or of a later version. It stays in the store, and others that can
/// read it get it from here.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SetAside {
    /// SHA-256 of its bytes.
    pub digest: [u8; 32],
    /// Its key, as text.
    pub key: String,
    /// Why it cannot be folded.
    pub reason: String,
}

/// What was set aside. Bounded: what comes after the limit is reported each time it comes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Aside(BTreeMap<([u8; 32], String), SetAside>);

impl Aside {
    /// Remembers a fact. Says whether it is new.
    pub(super) fn keep(&mut self, key: &str, bytes: &[u8], reason: &str) -> bool {
        let digest = digest::sha256(bytes);
        let name = (digest, key.to_owned());
        if self.0.contains_key(&name) {
            return false;
        }
        if self.0.len() < SET_ASIDE {
            let entry = SetAside { digest, key: key.to_owned(), reason: reason.to_owned() };
            self.0.insert(name, entry);
        }
        true
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &SetAside> {
        self.0.values()
    }
}

/// Facts that are remembered at most.
const SET_ASIDE: usize = 1_024;
