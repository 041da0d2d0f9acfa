//! Links and factors over [`VersionFacts`], ready for chains of one's own.

use crate::{Factor, FactorValue, Link, Unit, VersionFacts};

/// 0 for a success, 1 for a failure. The first link of every strategy that judges results.
#[must_use]
pub const fn outcome() -> Link<VersionFacts> {
    Link::word("outcome", Unit::Class, |version, ()| version.outcome.word())
}

/// The accept stamp: which was accepted first.
#[must_use]
pub const fn accepted() -> Link<VersionFacts> {
    Link::word("accepted", Unit::Stamp, |version, ()| version.accepted.as_u64())
}

/// `epoch << 32 | number`: the earlier attempt.
#[must_use]
pub const fn attempt() -> Link<VersionFacts> {
    Link::word("attempt", Unit::Count, |version, ()| version.attempt_word())
}

/// `10,000 − quality`: the better result first.
#[must_use]
pub const fn quality() -> Link<VersionFacts> {
    Link::word("quality", Unit::BasisPoints, |version, ()| u64::from(version.quality.complement().get()))
}

/// `u64::MAX − placement score`: the better placement first.
#[must_use]
pub const fn placement() -> Link<VersionFacts> {
    Link::word("placement", Unit::Score, |version: &VersionFacts, ()| version.placement).reversed()
}

/// `200 − level`, of the level frozen at acceptance: the graver emergency first.
#[must_use]
pub const fn tier() -> Link<VersionFacts> {
    Link::word("tier", Unit::Tier, |version, ()| version.level.tier())
}

/// Resource-milliseconds used: the cheaper first.
#[must_use]
pub const fn cost() -> Link<VersionFacts> {
    Link::word("cost", Unit::Score, |version, ()| version.cost_resource_ms)
}

/// The causal height: causes before their effects. Reversed, the latest first.
#[must_use]
pub const fn height() -> Link<VersionFacts> {
    Link::word("height", Unit::Count, |version, ()| version.height.get())
}

/// Declared quality, which is a share already.
pub const QUALITY: Factor<VersionFacts> =
    Factor::new("quality", |version, ()| FactorValue::new(u64::from(version.quality.get()), version.quality));
