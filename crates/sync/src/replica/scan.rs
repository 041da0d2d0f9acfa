//! Reading all live versions of a frozen view, and what they come to.

use std::collections::{BTreeMap, BTreeSet};

use reconvene_clock::digest::{sip24_64, sip24_128};
use reconvene_clock::{Dot, DotRange, Knowledge};
use reconvene_store::{Fingerprint, Fingerprints, Key, NetworkId, Record, Version};

use super::outgoing::Page;
use crate::message::{BUCKETS, Scope, SessionId};
use crate::{Ticket, ViewId, Want};

/// Records of one page.
const MAX_RECORDS: usize = 1_024;
/// Bytes of one page.
const MAX_BYTES: usize = 1 << 20;

/// A walk over a view, a page at a time.
#[derive(Clone, Debug)]
pub(super) struct Scan {
    pub(super) view: ViewId,
    unread: Vec<DotRange>,
    pub(super) loading: Option<Ticket>,
}

impl Scan {
    /// A walk over all that is live in `view`, which knows `knowledge`.
    pub(super) fn new(view: ViewId, knowledge: &Knowledge) -> Self {
        Self { view, unread: knowledge.runs().collect(), loading: None }
    }

    /// What to read next; `None` at the end.
    pub(super) fn want(&self) -> Option<Want> {
        let ranges = self.unread.clone();
        (!ranges.is_empty()).then_some(Want::Dots { ranges, max_records: MAX_RECORDS, max_bytes: MAX_BYTES })
    }

    /// The live versions of a page, by dot. `None` if the store cannot read on.
    pub(super) fn take(&mut self, records: &[Record], more: bool) -> Option<Vec<(Key, Version)>> {
        self.loading = None;
        let page = Page::new(&self.unread, records, more);
        self.unread = page.unread;
        (!page.stuck).then_some(page.found)
    }
}

/// How the two sides of one repair print what they hold. The key is drawn for each repair anew, so that nobody can look
/// for values beforehand whose prints are equal.
#[derive(Clone, Copy, Debug)]
pub(super) struct Printer([u8; 16]);

impl Printer {
    pub(super) fn new(network: NetworkId, session: SessionId) -> Self {
        Self(sip24_128(network.as_bytes(), &session.0.to_be_bytes()).to_be_bytes())
    }

    /// The part of the key space that a key belongs to.
    pub(super) fn bucket(&self, key: &Key) -> u8 {
        let [bucket, ..] = sip24_64(&self.0, key.as_bytes()).to_be_bytes();
        bucket
    }

    /// The print of one version: of its key, dot and body.
    pub(super) fn print(&self, key: &Key, version: &Version) -> u64 {
        let body = version.body.value();
        let mut bytes =
            Vec::with_capacity(key.as_bytes().len().saturating_add(version.body.byte_len()).saturating_add(19));
        bytes.extend_from_slice(&version.dot.replica.get().to_be_bytes());
        bytes.extend_from_slice(&version.dot.counter.get().to_be_bytes());
        // Keys have at most 512 bytes.
        bytes.extend_from_slice(&u16::try_from(key.as_bytes().len()).unwrap_or(u16::MAX).to_be_bytes());
        bytes.extend_from_slice(key.as_bytes());
        bytes.push(u8::from(body.is_some()));
        bytes.extend_from_slice(body.unwrap_or_default());
        sip24_64(&self.0, &bytes)
    }
}

/// What travels of a print in a list.
pub(super) fn shortened(print: u64) -> u32 {
    u32::try_from(print >> 32).unwrap_or(0)
}

/// What a walk over a view comes to.
#[derive(Clone, Debug)]
pub(super) struct Prints {
    /// The sum of the prints of all values in each bucket. Tombstones do not count: replicas may collect one at different
    /// moments.
    pub(super) buckets: Vec<u64>,
    /// Live versions in each bucket, tombstones included.
    pub(super) counts: Vec<usize>,
    /// The store's own fingerprint of all values read.
    pub(super) root: Fingerprint,
}

impl Prints {
    pub(super) fn new() -> Self {
        Self { buckets: vec![0; BUCKETS], counts: vec![0; BUCKETS], root: Fingerprint::EMPTY }
    }

    /// Counts a page. Of what lies outside `limit` only the fingerprint is taken.
    pub(super) fn add(
        &mut self,
        network: NetworkId,
        printer: &Printer,
        limit: Option<&Knowledge>,
        page: Vec<(Key, Version)>,
    ) {
        let mut records: BTreeMap<Key, Vec<Version>> = BTreeMap::new();
        for (key, version) in page {
            if limit.is_none_or(|limit| limit.contains(version.dot)) {
                let bucket = usize::from(printer.bucket(&key));
                if let Some(count) = self.counts.get_mut(bucket) {
                    *count = count.saturating_add(1);
                }
                if let Some(sum) = self.buckets.get_mut(bucket).filter(|_| version.body.value().is_some()) {
                    *sum = sum.wrapping_add(printer.print(&key, &version));
                }
            }
            records.entry(key).or_default().push(version);
        }
        let records = records.into_iter().filter_map(|(key, versions)| Record::new(key, versions).ok());
        let records: Vec<Record> = records.collect();
        let read = Fingerprints::of_records(network, &records).root();
        self.root = Fingerprint::from_u128(self.root.as_u128().wrapping_add(read.as_u128()));
    }

    /// The buckets that differ from what was told of `theirs`.
    pub(super) fn unequal(&self, scope: Scope, theirs: &[u64]) -> Vec<u8> {
        let own = self.buckets.iter().map(|print| scope.told_of(*print));
        let differ = own.zip(theirs).enumerate().filter(|(_, (own, theirs))| own != *theirs);
        differ.filter_map(|(bucket, _)| u8::try_from(bucket).ok()).collect()
    }
}

/// The live versions of some buckets, by dot, without their bodies.
#[derive(Clone, Debug, Default)]
pub(super) struct Listed {
    pub(super) buckets: BTreeSet<u8>,
    /// Each with its key and its whole print.
    pub(super) dots: BTreeMap<Dot, (Key, u64)>,
}

impl Listed {
    pub(super) fn of(buckets: impl IntoIterator<Item = u8>) -> Self {
        Self { buckets: buckets.into_iter().collect(), dots: BTreeMap::new() }
    }

    /// Takes what belongs to the buckets out of a page.
    pub(super) fn add(&mut self, printer: &Printer, page: Vec<(Key, Version)>) {
        for (key, version) in page {
            if self.buckets.contains(&printer.bucket(&key)) {
                let print = printer.print(&key, &version);
                self.dots.insert(version.dot, (key, print));
            }
        }
    }

    /// All prints.
    pub(super) fn prints(&self) -> impl Iterator<Item = u64> {
        self.dots.values().map(|(_, print)| *print)
    }

    /// The dots with these prints, in the order of the prints, as far as there are such.
    pub(super) fn named_by(&self, prints: &[u64]) -> Vec<Dot> {
        let by_print: BTreeMap<u64, Dot> = self.dots.iter().map(|(dot, (_, print))| (*print, *dot)).collect();
        prints.iter().filter_map(|print| by_print.get(print).copied()).collect()
    }
}
