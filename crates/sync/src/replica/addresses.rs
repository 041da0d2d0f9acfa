//! Where brokers may be reached, and when to dial the next of them.

use std::collections::BTreeMap;
use std::ops::Deref;

use reconvene_clock::Timestamp;

use super::links::Address;

/// Addresses by their text. The first that is due is looked for again only when one was changed.
#[derive(Clone, Debug, Default)]
pub(super) struct Addresses {
    by_text: BTreeMap<String, Address>,
    next_due: Option<Timestamp>,
    touched: bool,
}

impl Deref for Addresses {
    type Target = BTreeMap<String, Address>;

    fn deref(&self) -> &Self::Target {
        &self.by_text
    }
}

impl Addresses {
    pub(super) fn get_mut(&mut self, address: &str) -> Option<&mut Address> {
        self.touched = true;
        self.by_text.get_mut(address)
    }

    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut Address> {
        self.touched = true;
        self.by_text.values_mut()
    }

    pub(super) fn insert(&mut self, text: String, address: Address) {
        self.touched = true;
        self.by_text.insert(text, address);
    }

    /// When the first of them is due.
    pub(super) fn next_due(&mut self) -> Option<Timestamp> {
        if std::mem::take(&mut self.touched) {
            self.next_due = self.by_text.values().filter_map(|address| address.due).min();
        }
        self.next_due
    }
}
