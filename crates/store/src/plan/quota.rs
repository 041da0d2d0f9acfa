//! Quotas: what local writes may bring a part of the store to.

use std::sync::Arc;

use super::Plan;
use crate::record::row_bytes;
use crate::{Allowance, Key, PlanError, Prefix, Quota, Usage, Version};

/// Parts of one store that may have a quota.
pub const MAX_QUOTAS: usize = 64;

impl Plan {
    /// Plans that local writes under `prefix` are held to `quota` from here on, where `usage` is what the store holds
    /// there at this plan's head ([`count_usage`](crate::count_usage) counts it). Replicated versions are never refused
    /// for a quota, since replicas would differ. Returns `false`, and plans nothing, if there are [`MAX_QUOTAS`] others.
    ///
    /// Call it before anything under `prefix` is planned.
    pub fn set_quota(&mut self, prefix: Prefix, quota: Quota, usage: Usage) -> bool {
        if !self.head.quotas.contains_key(&prefix) && self.head.quotas.len() >= MAX_QUOTAS {
            return false;
        }
        Arc::make_mut(&mut self.head.quotas).insert(prefix, Allowance { quota, usage });
        true
    }

    /// Plans that local writes under `prefix` have no quota of their own any more. Returns whether they had.
    pub fn remove_quota(&mut self, prefix: &Prefix) -> bool {
        self.head.quotas.contains_key(prefix) && Arc::make_mut(&mut self.head.quotas).remove(prefix).is_some()
    }

    /// Fails if `after`, as the live versions of `key`, would bring a part of the store above its quota, and further
    /// above than it is: what frees room is always allowed.
    pub(super) fn within_quotas(&self, key: &Key, after: &[Version]) -> Result<(), PlanError> {
        for (prefix, Allowance { quota, usage }) in self.head.quotas.iter().filter(|(prefix, _)| prefix.matches(key)) {
            let row = self.row(key)?;
            let mut left = *usage;
            if !row.live().is_empty() {
                left.shrink(1, row_bytes(key, row.versions()));
            }
            left.grow(1, row_bytes(key, after));
            for (what, count, before, limit) in
                [("rows", left.rows, usage.rows, quota.rows), ("bytes", left.bytes, usage.bytes, quota.bytes)]
            {
                if count > limit && count > before {
                    return Err(PlanError::QuotaFull { key: key.clone(), prefix: prefix.clone(), what, count, limit });
                }
            }
        }
        Ok(())
    }

    /// Counts a row that had `before` bytes and has `after`; 0 for none.
    pub(super) fn count_usage(&mut self, key: &Key, before: usize, after: usize) {
        if !self.head.quotas.keys().any(|prefix| prefix.matches(key)) {
            return;
        }
        let parts = Arc::make_mut(&mut self.head.quotas).iter_mut();
        for (_, Allowance { usage, .. }) in parts.filter(|(prefix, _)| prefix.matches(key)) {
            usage.shrink(u64::from(before > 0), before);
            usage.grow(u64::from(after > 0), after);
        }
    }
}
