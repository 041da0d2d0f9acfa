//! What the writer writes: groups of keys that always hold the same number.

use reconvene_store::{Key, Snapshot, StoreError};

/// How many groups there are.
pub(super) const GROUPS: u16 = 512;

/// One to four keys that are always written together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Group(pub(super) u16);

impl Group {
    /// The keys.
    pub(super) fn keys(self) -> impl Iterator<Item = Key> {
        let count = self.0 & 3;
        (0..=count).filter_map(move |member| Key::new(format!("app/kills/{member}/{:05}", self.0)).ok())
    }
}

/// How the writer says that a group is durable.
pub(super) fn say(group: Group, number: u64) -> String {
    format!("{}={number}", group.0)
}

/// What the writer said.
pub(super) fn parse(said: &str) -> Option<(Group, u64)> {
    let (group, number) = said.split_once('=')?;
    Some((Group(group.parse().ok()?), number.parse().ok()?))
}

/// The value of every key of a group that was written as `number`: long enough to fill more than one page now and then.
pub(super) fn value(number: u64) -> Vec<u8> {
    let mut value = number.to_be_bytes().to_vec();
    value.resize(if number & 63 == 0 { 9_000 } else { 200 }, b'.');
    value
}

/// The number under each key of a group; `None` where there is none.
pub(super) async fn read(snapshot: &impl Snapshot, group: Group) -> Result<Vec<Option<u64>>, StoreError> {
    let mut numbers = Vec::new();
    for key in group.keys() {
        let record = snapshot.record(&key).await?;
        let value = record.as_ref().and_then(|record| record.values().next()).map(|(_, value)| value);
        numbers.push(value.and_then(|value| value.first_chunk()).map(|number| u64::from_be_bytes(*number)));
    }
    Ok(numbers)
}
