//! What ordinary arrival never does: putting back what is known, dropping what others know to be dead, giving up what
//! cannot be read, and living with a dot that names two contents.

use std::collections::BTreeMap;
use std::sync::Arc;

use reconvene_clock::{Dot, Knowledge};

use super::rows::Row;
use super::{Applied, Plan};
use crate::record::{Cell, Live};
use crate::{ContentHash, Fingerprints, Frozen, Key, PlanError, Version, sabotage};

/// Pieces of evidence that a row keeps for one dot: those with the least hashes.
pub const MAX_EVIDENCE: usize = 4;

impl Plan {
    /// Plans that a version is put back, although its dot may be known: repair between replicas that know the same and
    /// hold different values. It goes where [`apply`](Self::apply) would put it if its dot were unknown, so that nothing
    /// is dropped without a live version that names it.
    ///
    /// # Errors
    ///
    /// Those of [`apply`](Self::apply).
    pub fn restore(&mut self, key: Key, version: Version) -> Result<Applied, PlanError> {
        self.arrive(key, version, true)
    }

    /// Plans that the live version `dot` of `key` goes, without anything in its place: repair behind a floor, where a
    /// peer knows the dot and does not hold it. It stays known. Returns whether it was live.
    ///
    /// # Errors
    ///
    /// [`RowNotLoaded`](PlanError::RowNotLoaded) or [`BatchFull`](PlanError::BatchFull).
    pub fn drop_dead(&mut self, key: &Key, dot: Dot) -> Result<bool, PlanError> {
        let row = self.row(key)?;
        let kept: Live = row.live().iter().filter(|version| version.dot != dot).cloned().collect();
        if kept.len() == row.live().len() {
            return Ok(false);
        }
        self.replace_row(key, kept)?;
        Ok(true)
    }

    /// Plans that rows which cannot be read are given up: `lost` are their keys with the dots that the index says are
    /// live there, `rest` the fingerprints of all other rows; a [`CheckReport`](crate::CheckReport) has both. The dots
    /// become unknown, and ordinary sessions bring them back. What their contexts named stays known, so that no older
    /// copy returns in between.
    ///
    /// It comes first in a plan. Quotas count what is lost until they are set anew.
    ///
    /// # Errors
    ///
    /// [`NotFirst`](PlanError::NotFirst) if rows were planned before; [`BatchFull`](PlanError::BatchFull) if there are
    /// more rows than fit one batch: nothing is planned, since `rest` speaks of all of them.
    pub fn lose<'a>(
        &mut self,
        lost: impl IntoIterator<Item = (&'a Key, &'a [Dot])>,
        rest: Fingerprints,
    ) -> Result<(), PlanError> {
        if self.changed_rows > 0 {
            return Err(PlanError::NotFirst);
        }
        let lost: Vec<(&Key, &[Dot])> = lost.into_iter().collect();
        let (count, limit) = (lost.len(), self.limits.batch_rows);
        if count > limit {
            return Err(PlanError::BatchFull { what: "rows", count, limit });
        }
        let mut out = Knowledge::new();
        for (key, dots) in lost {
            out.extend(dots.iter().copied());
            let row = self.rows.entry(key);
            if row.after.is_none() {
                self.changed_rows = self.changed_rows.saturating_add(1);
            }
            *row = Row { before: None, lost: dots.to_vec(), after: Some(Cell::default()) };
        }
        if !sabotage::on(31) {
            self.unlearn(&out);
        }
        self.head.fingerprints = Arc::new(rest);
        self.reprinted = true;
        Ok(())
    }

    /// A live version has the dot of `version` and another content.
    pub(super) fn collide(&mut self, key: &Key, version: &Version) -> Result<Applied, PlanError> {
        let dot = version.dot;
        let row = self.row(key)?;
        let twins = row.versions().filter(|held| held.dot == dot).chain([version]);
        let twins: BTreeMap<ContentHash, &Version> = twins.map(|twin| (twin.content_hash(key), twin)).collect();
        let mut twins = twins.into_values().cloned();
        let Some(shown) = twins.next() else { return Ok(Applied::Known) };
        let mut live = row.left_by(version);
        for held in live.iter_mut().filter(|held| held.dot == dot) {
            held.clone_from(&shown);
        }
        let others = row.evidence().iter().filter(|other| other.dot != dot);
        let others = others.filter(|other| live.iter().any(|live| live.dot == other.dot));
        let mut evidence: Vec<Version> = others.cloned().chain(twins.take(MAX_EVIDENCE)).collect();
        evidence.sort_by_cached_key(|version| (version.dot, version.content_hash(key)));
        self.replace_cell(key, Cell { live, evidence })?;
        if dot.replica == self.head.identity.replica {
            self.freeze(Frozen::Collision);
        }
        Ok(Applied::Collided)
    }
}
