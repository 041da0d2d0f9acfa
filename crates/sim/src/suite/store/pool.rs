//! Every version ever written, with what its writer had seen: a model that asks no planner.

use std::collections::{BTreeMap, BTreeSet};

use reconvene_clock::{Dot, Knowledge};
use reconvene_store::{Key, KeyContext, Record, Version};

use crate::suite::check::Check;
use crate::suite::report::{Broken, Report};

/// What someone has read of a key: the context to hand back with a write, and the same as plain sets.
#[derive(Clone, Debug, Default)]
pub(super) struct Token {
    pub(super) context: KeyContext,
    /// The versions that were read, and all that they may replace.
    seen: BTreeSet<Dot>,
}

/// One version, and what it must and may replace.
#[derive(Clone, Debug)]
struct Written {
    version: Version,
    /// What was live and replaced by it, and what those had to replace.
    must: BTreeSet<Dot>,
    /// What its writer had seen of the key.
    may: BTreeSet<Dot>,
}

/// Every version ever written.
#[derive(Clone, Debug, Default)]
pub(super) struct Pool {
    written: BTreeMap<Key, BTreeMap<Dot, Written>>,
    order: Vec<(Key, Dot)>,
}

impl Pool {
    /// What someone has seen who reads these versions of one key.
    pub(super) fn token<'a>(&self, versions: impl IntoIterator<Item = &'a Version>) -> Token {
        let mut token = Token::default();
        for version in versions {
            token.context.merge(&version.seen());
            token.seen.insert(version.dot);
            let known = self.written.values().find_map(|written| written.get(&version.dot));
            token.seen.extend(known.iter().flat_map(|written| &written.may));
        }
        token
    }

    /// Takes in a write to a key of these siblings, of which its writer had seen `token`, or all of them, and checks
    /// that it replaces what it must and nothing that it must not.
    pub(super) fn write(
        &mut self,
        key: &Key,
        version: &Version,
        siblings: &[Version],
        token: Option<&Token>,
        report: &mut Report,
    ) -> Result<(), Broken> {
        let here = self.written.entry(key.clone()).or_default();
        let (mut must, mut may) = (BTreeSet::new(), BTreeSet::new());
        let seen = |sibling: &&Version| token.is_none_or(|token| token.seen.contains(&sibling.dot));
        for sibling in siblings.iter().filter(seen) {
            must.insert(sibling.dot);
            may.insert(sibling.dot);
            if let Some(written) = here.get(&sibling.dot) {
                must.extend(&written.must);
                may.extend(&written.may);
            }
        }
        may.extend(token.iter().flat_map(|token| &token.seen));
        let replaced: BTreeSet<Dot> = here.keys().copied().filter(|dot| version.replaces(*dot)).collect();
        report.look(Check::Replaces, must.is_subset(&replaced) && replaced.is_subset(&may), || {
            format!("{} of {key} replaces {replaced:?}, must replace {must:?} and may replace {may:?}", version.dot)
        })?;
        let again = here.insert(version.dot, Written { version: version.clone(), must, may });
        report.look(Check::DotsUnique, again.is_none(), || format!("{} was given out twice", version.dot))?;
        self.order.push((key.clone(), version.dot));
        Ok(())
    }

    /// How many versions there are.
    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    /// The version that was written as the nth.
    pub(super) fn nth(&self, nth: usize) -> Option<(Key, Version)> {
        let (key, dot) = self.order.get(nth)?;
        Some((key.clone(), self.written.get(key)?.get(dot)?.version.clone()))
    }

    /// Every version, in the order of writing.
    pub(super) fn all(&self) -> impl Iterator<Item = (Key, Version)> {
        (0..self.len()).filter_map(|nth| self.nth(nth))
    }

    /// Whether `dot` was ever written.
    pub(super) fn contains(&self, dot: Dot) -> bool {
        self.written.values().any(|written| written.contains_key(&dot))
    }

    /// The dots of the pool that `knowledge` covers, ascending.
    pub(super) fn known(&self, knowledge: &Knowledge) -> BTreeSet<Dot> {
        self.order.iter().map(|(_, dot)| *dot).filter(|dot| knowledge.contains(*dot)).collect()
    }

    /// The records that are live where exactly `knowledge` is known: the versions in it that no version in it replaces.
    pub(super) fn live(&self, knowledge: &Knowledge) -> BTreeMap<Key, Record> {
        let mut records = BTreeMap::new();
        for (key, written) in &self.written {
            let known: Vec<&Version> =
                written.values().map(|written| &written.version).filter(|one| knowledge.contains(one.dot)).collect();
            let live = known.iter().filter(|one| !known.iter().any(|by| by.replaces(one.dot)));
            if let Ok(record) = Record::new(key.clone(), live.map(|one| (*one).clone())) {
                records.insert(key.clone(), record);
            }
        }
        records
    }
}
