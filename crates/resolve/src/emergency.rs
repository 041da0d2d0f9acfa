//! Emergency levels, and which regions a scope covers.

use alloc::string::String;
use core::fmt;
use core::str::FromStr;

use crate::OutOfRange;

/// How grave an emergency is: 0 to 200, higher goes first, with gaps for levels between the five named ones.
///
/// A level is not claimed by a job: the job names a declaration and has its level while that stands.
///
/// ```
/// use reconvene_resolve::Level;
///
/// assert!(Level::LIFE_SAFETY > Level::PUBLIC_SAFETY);
/// assert_eq!("life-safety".parse(), Ok(Level::LIFE_SAFETY));
/// assert_eq!("120".parse::<Level>().map(Level::get), Ok(120));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(try_from = "u8", into = "u8"))]
pub struct Level(u8);

impl Level {
    /// No emergency: 0.
    pub const ROUTINE: Self = Self(0);
    /// Raised attention: 50. The most that a member without a grant may claim.
    pub const ELEVATED: Self = Self(50);
    /// The public is at risk: 100.
    pub const PUBLIC_SAFETY: Self = Self(100);
    /// Power, water, hospitals, communication: 150.
    pub const CRITICAL_INFRASTRUCTURE: Self = Self(150);
    /// Lives are at stake: 200, the highest level.
    pub const LIFE_SAFETY: Self = Self(200);

    /// `None` above 200.
    #[must_use]
    pub const fn new(level: u8) -> Option<Self> {
        if level <= Self::LIFE_SAFETY.0 { Some(Self(level)) } else { None }
    }

    /// The number, 0..=200.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }

    /// `200 − level`: the word of a key whose smaller values go first. 0 is life safety, 200 routine.
    #[must_use]
    pub fn tier(self) -> u64 {
        u64::from(Self::LIFE_SAFETY.0.saturating_sub(self.0))
    }

    /// The named tier it counts to: 0 for routine and what lies below elevated, up to 4 for life safety.
    pub(crate) fn band(self) -> usize {
        NAMES.iter().skip(1).take_while(|(_, level)| *level <= self).count()
    }

    /// The name, where it has one.
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        NAMES.iter().find(|(_, level)| *level == self).map(|(name, _)| *name)
    }
}

/// The name, or the number for a level between two named ones.
impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "{}", self.0),
        }
    }
}

/// A name in either case, or a number from 0 to 200.
impl FromStr for Level {
    type Err = ParseLevelError;

    fn from_str(text: &str) -> Result<Self, ParseLevelError> {
        if let Some((_, level)) = NAMES.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)) {
            return Ok(*level);
        }
        let number = text.parse::<u8>().ok().and_then(Self::new);
        number.ok_or_else(|| ParseLevelError { found: text.chars().take(FOUND_SHOWN).collect() })
    }
}

impl TryFrom<u8> for Level {
    type Error = OutOfRange;

    fn try_from(level: u8) -> Result<Self, OutOfRange> {
        Self::new(level).ok_or_else(|| OutOfRange {
            what: "emergency level",
            found: u32::from(level),
            least: 0,
            most: 200,
        })
    }
}

impl From<Level> for u8 {
    fn from(level: Level) -> Self {
        level.0
    }
}

/// A text that names no emergency level.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{found}` is no emergency level: expected routine, elevated, public-safety, critical-infrastructure, life-safety \
     or a number from 0 to 200"
)]
#[non_exhaustive]
pub struct ParseLevelError {
    /// The text, cut after 64 characters.
    pub found: String,
}

/// Whether the scope of a declaration covers `region`, by whole segments separated by `/`.
///
/// The empty scope covers every region. Leading, trailing and doubled slashes say nothing.
///
/// ```
/// use reconvene_resolve::scope_covers;
///
/// assert!(scope_covers("north/harbour", "north/harbour/pier-3"));
/// assert!(!scope_covers("north/harbour", "north/harbourside"));
/// ```
#[must_use]
pub fn scope_covers(scope: &str, region: &str) -> bool {
    let mut region = segments(region);
    segments(scope).all(|segment| region.next() == Some(segment))
}

fn segments(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|segment| !segment.is_empty())
}

const NAMES: [(&str, Level); 5] = [
    ("routine", Level::ROUTINE),
    ("elevated", Level::ELEVATED),
    ("public-safety", Level::PUBLIC_SAFETY),
    ("critical-infrastructure", Level::CRITICAL_INFRASTRUCTURE),
    ("life-safety", Level::LIFE_SAFETY),
];

/// How much of a wrong text an error repeats.
pub(crate) const FOUND_SHOWN: usize = 64;

#[cfg(test)]
mod tests {
    use alloc::string::ToString as _;

    use super::*;

    #[test]
    fn levels_ascend_and_tiers_descend() {
        let levels = NAMES.map(|(_, level)| level);
        assert!(levels.is_sorted_by(|a, b| a < b));
        assert_eq!(levels.map(Level::get), [0, 50, 100, 150, 200]);
        assert_eq!(levels.map(Level::tier), [200, 150, 100, 50, 0]);
    }

    #[test]
    fn every_level_survives_its_text() {
        for number in 0..=200 {
            let level = Level::new(number).unwrap();
            assert_eq!(level.to_string().parse(), Ok(level));
        }
        assert_eq!("Public-Safety".parse(), Ok(Level::PUBLIC_SAFETY));
        let shown = [0, 50, 99, 200].map(|number| Level::new(number).unwrap().to_string());
        assert_eq!(shown, ["routine", "elevated", "99", "life-safety"]);
    }

    #[test]
    fn other_texts_are_refused_with_the_choices() {
        for text in ["", "201", "256", "-1", "urgent", "life safety"] {
            let error = text.parse::<Level>().unwrap_err();
            assert_eq!(error.found, text);
            assert!(error.to_string().contains("critical-infrastructure"), "{error}");
        }
        let long = "x".repeat(1000).parse::<Level>().unwrap_err();
        assert_eq!(long.found.len(), FOUND_SHOWN);
    }

    #[test]
    fn scopes_cover_whole_segments() {
        for (scope, region, expected) in [
            ("north/harbour", "north/harbour", true),
            ("north/harbour", "north/harbour/pier-3", true),
            ("north/harbour", "north/harbourside", false),
            ("north/harbour", "north", false),
            ("north/harbour", "south/north/harbour", false),
            ("", "north", true),
            ("", "", true),
            ("north", "", false),
            ("north/harbour/", "/north/harbour/pier-3", true),
        ] {
            assert_eq!(scope_covers(scope, region), expected, "{scope} over {region}");
        }
    }
}
