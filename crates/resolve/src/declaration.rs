//! Emergencies as they are declared: by whom, where, how grave, and until when.

use alloc::string::String;
use core::cmp::Reverse;
use core::fmt;

use reconvene_clock::digest::sha256;
use reconvene_clock::{NodeId, WallTime};

use crate::bytes::Writer;
use crate::{Level, scope_covers};

/// The name of a declaration: the replica that issued it and its number there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[expect(clippy::exhaustive_structs, reason = "two words, as other ids")]
pub struct DeclarationId(pub [u64; 2]);

impl DeclarationId {
    /// The declaration (`issuer`, `number`).
    #[must_use]
    pub const fn new(issuer: u64, number: u64) -> Self {
        Self([issuer, number])
    }
}

impl fmt::Display for DeclarationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        crate::CandidateId(self.0).fmt(f)
    }
}

/// That something grave goes on in a region. A job names it and has its level while it stands.
///
/// Expiry and revocation are judged by local time, in contention only. Results are judged by the level that was frozen
/// when they were accepted. A revocation ranks waiting jobs anew, lets running ones finish, and ends preemption in its
/// name.
///
/// ```
/// use reconvene_clock::{NodeId, WallTime};
/// use reconvene_resolve::{Authority, DeclarationId, EmergencyDeclaration, Level};
///
/// let at = WallTime::from_millis;
/// let mayor = NodeId::new([7; 16]);
/// let flood = EmergencyDeclaration::new(DeclarationId::new(1, 1), Level::LIFE_SAFETY, "north/harbour", mayor, at(0));
/// let grant = Authority::new(Level::LIFE_SAFETY, "north");
///
/// assert_eq!(flood.level_in("north/harbour/pier-3", at(1_000), Some(&grant)), Level::LIFE_SAFETY);
/// assert_eq!(flood.level_in("south", at(1_000), Some(&grant)), Level::ROUTINE);
/// assert_eq!(flood.level_in("north/harbour", at(1_000), None), Level::ELEVATED, "a claim without a grant");
/// assert_eq!(flood.level_in("north/harbour", at(3_600_000), Some(&grant)), Level::ROUTINE, "after an hour");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[expect(clippy::exhaustive_structs, reason = "the fields of the replicated fact")]
pub struct EmergencyDeclaration {
    /// Names it.
    pub id: DeclarationId,
    /// How grave it is.
    pub level: Level,
    /// Where: a path of regions, which covers everything below by whole segments. Empty is everywhere.
    pub scope: String,
    /// Who declared it.
    pub authority: NodeId,
    /// When.
    pub issued_at: WallTime,
    /// When it ends by itself. At most [`MAX_LIFETIME_MS`](Self::MAX_LIFETIME_MS) after its issue counts.
    pub expires_at: WallTime,
    /// Rises with each change; the greatest holds.
    pub revision: u64,
    /// Whether it was taken back.
    pub revoked: bool,
}

impl EmergencyDeclaration {
    /// How long a declaration stands if nothing else is said: an hour.
    pub const DEFAULT_LIFETIME_MS: u64 = 3_600_000;
    /// How long one may stand: a day. Then it is declared anew or it was none.
    pub const MAX_LIFETIME_MS: u64 = 86_400_000;
    /// The longest scope, in bytes.
    pub const MAX_SCOPE: usize = 1_024;

    /// A declaration for the next hour, in its first revision.
    #[must_use]
    pub fn new(
        id: DeclarationId,
        level: Level,
        scope: impl Into<String>,
        authority: NodeId,
        issued_at: WallTime,
    ) -> Self {
        let expires_at = issued_at.saturating_add(Self::DEFAULT_LIFETIME_MS);
        let (scope, revision, revoked) = (scope.into(), 1, false);
        Self { id, level, scope, authority, issued_at, expires_at, revision, revoked }
    }

    /// Whether it may be issued.
    ///
    /// # Errors
    /// [`DeclarationError`] if it ends before it begins, stands for more than a day, is of no level, or names an overlong
    /// scope. One from elsewhere that would be refused here counts all the same, within the caps.
    pub fn check(&self) -> Result<(), DeclarationError> {
        let lifetime_ms = self.expires_at.saturating_since(self.issued_at);
        if lifetime_ms == 0 {
            return Err(DeclarationError::EndsAtOnce);
        }
        if lifetime_ms > Self::MAX_LIFETIME_MS {
            return Err(DeclarationError::TooLong { lifetime_ms, limit_ms: Self::MAX_LIFETIME_MS });
        }
        if self.level == Level::ROUTINE {
            return Err(DeclarationError::NoEmergency);
        }
        if self.scope.len() > Self::MAX_SCOPE {
            return Err(DeclarationError::ScopeTooLong { length: self.scope.len() });
        }
        Ok(())
    }

    /// The next revision, which takes it back. Revoking twice is the same as once.
    ///
    /// # Errors
    /// [`DeclarationError::RevisionsExhausted`] after 2^64 of them.
    pub fn revoke(&self) -> Result<Self, DeclarationError> {
        let revision = self.revision.checked_add(1).ok_or(DeclarationError::RevisionsExhausted)?;
        Ok(Self { revision, revoked: true, ..self.clone() })
    }

    /// When it ends by itself, under every cap. An authority's cap counts only where its grant covers the scope.
    #[must_use]
    pub fn ends_at(&self, grant: Option<&Authority>) -> WallTime {
        let cap = self.covered_by(grant).map_or(Self::DEFAULT_LIFETIME_MS, |grant| grant.max_lifetime_ms);
        self.expires_at.min(self.issued_at.saturating_add(cap.min(Self::MAX_LIFETIME_MS)))
    }

    /// Whether it stands at `now`.
    #[must_use]
    pub fn in_force(&self, now: WallTime, grant: Option<&Authority>) -> bool {
        !self.revoked && now < self.ends_at(grant)
    }

    /// The level that a job in `region` has by it at `now`: routine outside its scope or time, and no more than its issuer
    /// may claim.
    #[must_use]
    pub fn level_in(&self, region: &str, now: WallTime, grant: Option<&Authority>) -> Level {
        if !self.in_force(now, grant) || !scope_covers(&self.scope, region) {
            return Level::ROUTINE;
        }
        self.level.min(self.covered_by(grant).map_or(Level::ELEVATED, |grant| grant.max_level.max(Level::ELEVATED)))
    }

    /// The one that holds of two revisions of the same declaration: the later; of equal ones the revoked; then the one of
    /// the smaller content digest. Commutative, associative, idempotent.
    #[must_use]
    pub fn merge(self, other: Self) -> Self {
        if self.order() >= other.order() { self } else { other }
    }

    fn covered_by<'a>(&self, grant: Option<&'a Authority>) -> Option<&'a Authority> {
        grant.filter(|grant| scope_covers(&grant.scope, &self.scope))
    }

    fn order(&self) -> (u64, bool, Reverse<[u8; 32]>) {
        (self.revision, self.revoked, Reverse(self.content_digest()))
    }

    /// SHA-256 of everything in it.
    #[must_use]
    pub fn content_digest(&self) -> [u8; 32] {
        let Self { id, level, scope, authority, issued_at, expires_at, revision, revoked } = self;
        let mut out = Writer::with_mark(*b"RCVE", 1);
        out.words(id.0);
        out.u8(level.get());
        out.text(scope);
        out.raw(authority.as_bytes());
        out.u64(issued_at.as_millis());
        out.u64(expires_at.as_millis());
        out.u64(*revision);
        out.u8((*revoked).into());
        sha256(&out.finish())
    }
}

/// What a member may declare, as its certificate grants it. Who has no grant, or declares beyond the scope of the one it
/// has, is capped at [`Level::ELEVATED`] for an hour.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[expect(clippy::exhaustive_structs, reason = "the fields of a grant")]
pub struct Authority {
    /// The highest level.
    pub max_level: Level,
    /// Where, as [`EmergencyDeclaration::scope`].
    pub scope: String,
    /// For how many milliseconds at most; more than a day is a day.
    pub max_lifetime_ms: u64,
}

impl Authority {
    /// Up to this level, in this scope, for up to a day.
    #[must_use]
    pub fn new(max_level: Level, scope: impl Into<String>) -> Self {
        Self { max_level, scope: scope.into(), max_lifetime_ms: EmergencyDeclaration::MAX_LIFETIME_MS }
    }
}

/// Why an emergency was not declared. Nothing was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeclarationError {
    /// It would end when it begins, or before.
    #[error("the declaration ends when it begins")]
    EndsAtOnce,
    /// It would stand for too long.
    #[error("a lifetime of {lifetime_ms} ms is over the limit of {limit_ms} ms; declare it anew when it ends")]
    TooLong {
        /// How long it would stand.
        lifetime_ms: u64,
        /// How long it may.
        limit_ms: u64,
    },
    /// It is of level routine.
    #[error("routine is no emergency; name a level above 0")]
    NoEmergency,
    /// Its scope is too long.
    #[error("a scope of {length} bytes is over the limit of {}", EmergencyDeclaration::MAX_SCOPE)]
    ScopeTooLong {
        /// How long it is.
        length: usize,
    },
    /// There is no next revision.
    #[error("there is no revision after the last one")]
    RevisionsExhausted,
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = EmergencyDeclaration::DEFAULT_LIFETIME_MS;
    const DAY: u64 = EmergencyDeclaration::MAX_LIFETIME_MS;

    fn at(ms: u64) -> WallTime {
        WallTime::from_millis(ms)
    }

    fn flood() -> EmergencyDeclaration {
        EmergencyDeclaration::new(
            DeclarationId::new(1, 1),
            Level::LIFE_SAFETY,
            "north",
            NodeId::new([7; 16]),
            at(1_000),
        )
    }

    #[test]
    fn what_may_be_issued() {
        let until = |ms| EmergencyDeclaration { expires_at: at(ms), ..flood() };
        assert_eq!(flood().check(), Ok(()));
        assert_eq!(until(1_000).check(), Err(DeclarationError::EndsAtOnce));
        assert_eq!(until(0).check(), Err(DeclarationError::EndsAtOnce));
        assert_eq!(until(1_000 + DAY).check(), Ok(()));
        let too_long = DeclarationError::TooLong { lifetime_ms: DAY + 1, limit_ms: DAY };
        assert_eq!(until(1_001 + DAY).check(), Err(too_long));
        let routine = EmergencyDeclaration { level: Level::ROUTINE, ..flood() };
        assert_eq!(routine.check(), Err(DeclarationError::NoEmergency));
        let scope = |length| EmergencyDeclaration { scope: "x".repeat(length), ..flood() }.check();
        assert_eq!(scope(1_024), Ok(()));
        assert_eq!(scope(1_025), Err(DeclarationError::ScopeTooLong { length: 1_025 }));
    }

    #[test]
    fn a_grant_caps_level_scope_and_lifetime() {
        let grant = Authority {
            max_level: Level::PUBLIC_SAFETY,
            max_lifetime_ms: 2 * HOUR,
            ..Authority::new(Level::ROUTINE, "north")
        };
        let long = EmergencyDeclaration { expires_at: at(1_000 + 3 * HOUR), ..flood() };
        fn level(declared: &EmergencyDeclaration, ms: u64, grant: Option<&Authority>) -> Level {
            declared.level_in("north/harbour", at(ms), grant)
        }
        assert_eq!(level(&long, 2_000, Some(&grant)), Level::PUBLIC_SAFETY);
        assert_eq!(level(&long, 999 + 2 * HOUR, Some(&grant)), Level::PUBLIC_SAFETY);
        assert_eq!(level(&long, 1_000 + 2 * HOUR, Some(&grant)), Level::ROUTINE);
        // A grant for elsewhere is none.
        let south = Authority::new(Level::LIFE_SAFETY, "south");
        for grant in [None, Some(&south)] {
            assert_eq!(level(&long, 999 + HOUR, grant), Level::ELEVATED);
            assert_eq!(level(&long, 1_000 + HOUR, grant), Level::ROUTINE);
        }
        // A grant for less than everybody has takes nothing away, nor does one for a part of the scope give anything.
        assert_eq!(level(&long, 2_000, Some(&Authority::new(Level::ROUTINE, "north"))), Level::ELEVATED);
        assert_eq!(level(&long, 2_000, Some(&Authority::new(Level::LIFE_SAFETY, "north/harbour"))), Level::ELEVATED);
        // No grant lasts longer than a day, and none longer than was asked for.
        let forever = Authority { max_lifetime_ms: u64::MAX, ..Authority::new(Level::LIFE_SAFETY, "") };
        let endless = EmergencyDeclaration { expires_at: at(u64::MAX), ..flood() };
        assert_eq!(endless.ends_at(Some(&forever)), at(1_000 + DAY));
        assert_eq!(flood().ends_at(Some(&forever)), at(1_000 + HOUR));
    }

    #[test]
    fn of_two_revisions_one_holds_whatever_the_order() {
        let first = flood();
        let raised = EmergencyDeclaration { revision: 2, expires_at: at(9), ..flood() };
        let revoked = first.revoke().unwrap();
        assert_eq!((revoked.revision, revoked.revoked), (2, true));
        assert!(!revoked.in_force(at(2_000), None));
        let other = EmergencyDeclaration { scope: "south".into(), ..flood() };
        let smaller = if first.content_digest() < other.content_digest() { &first } else { &other };
        for (a, b, holds) in [
            (&first, &raised, &raised),
            (&first, &revoked, &revoked),
            (&raised, &revoked, &revoked),
            (&first, &other, smaller),
            (&first, &first, &first),
        ] {
            assert_eq!(&a.clone().merge(b.clone()), holds);
            assert_eq!(&b.clone().merge(a.clone()), holds);
        }
        let last = EmergencyDeclaration { revision: u64::MAX, ..flood() };
        assert_eq!(last.revoke(), Err(DeclarationError::RevisionsExhausted));
    }

    #[test]
    fn every_field_is_in_the_content_digest() {
        let others = [
            EmergencyDeclaration { id: DeclarationId::new(1, 2), ..flood() },
            EmergencyDeclaration { level: Level::ELEVATED, ..flood() },
            EmergencyDeclaration { scope: "nort".into(), ..flood() },
            EmergencyDeclaration { authority: NodeId::new([8; 16]), ..flood() },
            EmergencyDeclaration { issued_at: at(0), ..flood() },
            EmergencyDeclaration { expires_at: at(0), ..flood() },
            EmergencyDeclaration { revision: 2, ..flood() },
            EmergencyDeclaration { revoked: true, ..flood() },
            flood(),
        ];
        let digests: alloc::collections::BTreeSet<_> =
            others.iter().map(EmergencyDeclaration::content_digest).collect();
        assert_eq!(digests.len(), others.len());
    }
}
