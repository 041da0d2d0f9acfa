//! What replicas should hold, worked out without them.

use std::collections::BTreeMap;
use std::fmt::{self, Display};

use reconvene_clock::{Dot, Knowledge, VectorClock};
use reconvene_store::{Body, Key, Record, Version};
use reconvene_sync::Event;

/// The set of all versions ever made durable by their authors.
#[derive(Clone, Debug, Default)]
pub struct Model {
    versions: BTreeMap<Key, BTreeMap<Dot, Version>>,
}

/// How a replica differs from what it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "for the reports of tests")]
pub enum Violation {
    /// A node's live versions of a key are not those of the model.
    Record {
        /// The node.
        node: usize,
        /// The key.
        key: Key,
        /// The dots that should be live.
        expected: Vec<Dot>,
        /// The dots that are.
        found: Vec<Dot>,
    },
    /// A node has the records of the model but another digest than node 0.
    Digest {
        /// The node.
        node: usize,
    },
    /// A node reported what no fault of this run explains.
    Report {
        /// The node.
        node: usize,
        /// What it reported.
        event: Event,
    },
    /// A node forgot a delete that a member has not heard of.
    Forgotten {
        /// The node.
        node: usize,
        /// The key.
        key: Key,
        /// The tombstone.
        dot: Dot,
        /// The node that does not know it.
        unknown_at: usize,
    },
    /// A node knows a dot that is neither live there nor replaced by something known there, nor a delete that was
    /// forgotten.
    KnowledgeAhead {
        /// The node.
        node: usize,
        /// The key.
        key: Key,
        /// The dot.
        dot: Dot,
    },
}

impl Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |dots: &[Dot]| dots.iter().map(Dot::to_string).collect::<Vec<_>>().join(" ");
        match self {
            Self::Record { node, key, expected, found } => {
                write!(f, "node {node} has of {key} [{}] instead of [{}]", list(found), list(expected))
            }
            Self::Report { node, event } => write!(f, "node {node} reported {event:?}"),
            Self::Forgotten { node, key, dot, unknown_at } => {
                write!(f, "node {node} forgot the delete {dot} of {key}, which node {unknown_at} has not heard of")
            }
            Self::Digest { node } => write!(f, "node {node} has another digest than node 0"),
            Self::KnowledgeAhead { node, key, dot } => {
                write!(f, "node {node} knows {dot} of {key} but holds neither it nor what replaced it")
            }
        }
    }
}

impl Model {
    /// Takes in versions that were made durable.
    pub fn add(&mut self, versions: impl IntoIterator<Item = (Key, Version)>) {
        for (key, version) in versions {
            self.versions.entry(key).or_default().insert(version.dot, version);
        }
    }

    /// The deletes that a node knows of, holds no longer, and nothing replaced: those it forgot.
    pub(super) fn forgotten(&self, knowledge: &Knowledge, records: &[Record]) -> Vec<(Key, Dot)> {
        let held: BTreeMap<&Key, &Record> = records.iter().map(|record| (record.key(), record)).collect();
        let mut forgotten = Vec::new();
        for (key, versions) in &self.versions {
            let gone = versions.values().filter(|version| {
                version.body == Body::Tombstone
                    && knowledge.contains(version.dot)
                    && held.get(key).is_none_or(|record| record.version(version.dot).is_none())
                    && !versions.values().any(|other| other.replaces(version.dot))
            });
            forgotten.extend(gone.map(|version| (key.clone(), version.dot)));
        }
        forgotten
    }

    /// How many versions there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.versions.values().map(BTreeMap::len).sum()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.versions.is_empty()
    }

    /// The versions of a key that no other version of it names as replaced, ascending by dot.
    #[must_use]
    pub fn live(&self, key: &Key) -> Vec<Version> {
        let Some(versions) = self.versions.get(key) else { return Vec::new() };
        let live = versions.values().filter(|version| !versions.values().any(|other| other.replaces(version.dot)));
        live.cloned().collect()
    }

    /// Whether these records are what the model says, to the last byte, but for deletes that were forgotten.
    ///
    /// # Errors
    ///
    /// The first key that is not.
    pub fn check_equal(&self, node: usize, records: &[Record]) -> Result<(), Violation> {
        let held: BTreeMap<&Key, &Record> = records.iter().map(|record| (record.key(), record)).collect();
        let keys = self.versions.keys().chain(held.keys().copied());
        for key in keys {
            let expected = self.live(key);
            let found = held.get(key).map_or(&[] as &[Version], |record| record.siblings());
            let missing = expected.iter().filter(|version| !found.contains(version));
            let forgotten = missing.clone().all(|version| version.body == Body::Tombstone);
            if !forgotten || found.iter().any(|version| !expected.contains(version)) {
                let dots = |versions: &[Version]| versions.iter().map(|version| version.dot).collect();
                return Err(Violation::Record {
                    node,
                    key: key.clone(),
                    expected: dots(&expected),
                    found: dots(found),
                });
            }
        }
        Ok(())
    }

    /// Whether each dot of the model that a node knows is live there, or was replaced by something known there, or is a
    /// delete within the floor of those that were forgotten.
    ///
    /// # Errors
    ///
    /// The first dot that is none of these.
    pub fn check_knowledge(
        &self,
        node: usize,
        knowledge: &Knowledge,
        floor: &VectorClock,
        records: &[Record],
    ) -> Result<(), Violation> {
        let held: BTreeMap<&Key, &Record> = records.iter().map(|record| (record.key(), record)).collect();
        for (key, versions) in &self.versions {
            let siblings = held.get(key).map_or(&[] as &[Version], |record| record.siblings());
            for (dot, version) in versions.iter().filter(|(dot, _)| knowledge.contains(**dot)) {
                let live = siblings.iter().any(|held| held.dot == *dot);
                // A tombstone below the floor was settled and collected somewhere, and with it what it had replaced.
                let is_collected = |version: &Version| version.body == Body::Tombstone && floor.contains(version.dot);
                let replaced = versions
                    .values()
                    .any(|other| other.replaces(*dot) && (knowledge.contains(other.dot) || is_collected(other)));
                let forgotten = is_collected(version);
                if !live && !replaced && !forgotten {
                    return Err(Violation::KnowledgeAhead { node, key: key.clone(), dot: *dot });
                }
            }
        }
        Ok(())
    }
}
