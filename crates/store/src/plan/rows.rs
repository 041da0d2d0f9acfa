//! The rows that a plan works on, by key.

use crate::record::{Cell, Live, Record};
use crate::{Key, Version};

use reconvene_clock::Dot;

/// One row before and after.
#[derive(Clone, Debug, Default)]
pub(super) struct Row {
    pub(super) before: Option<Record>,
    /// Dots that the index says are live in a row that cannot be read.
    pub(super) lost: Vec<Dot>,
    /// The versions as planned so far; `None` if the row is as before.
    pub(super) after: Option<Cell>,
}

impl Row {
    pub(super) fn live(&self) -> &[Version] {
        match &self.after {
            Some(after) => &after.live,
            None => self.before.as_ref().map_or(&[], Record::siblings),
        }
    }

    pub(super) fn evidence(&self) -> &[Version] {
        match &self.after {
            Some(after) => &after.evidence,
            None => self.before.as_ref().map_or(&[], Record::evidence),
        }
    }

    pub(super) fn versions(&self) -> impl Iterator<Item = &Version> + Clone {
        self.live().iter().chain(self.evidence())
    }

    /// Whether something here, evidence included, replaces the version that `dot` names.
    pub(super) fn replaces(&self, dot: Dot) -> bool {
        self.versions().any(|version| version.replaces(dot))
    }

    /// The live versions without those that `version` replaces.
    pub(super) fn left_by(&self, version: &Version) -> Live {
        self.live().iter().filter(|live| !version.replaces(live.dot)).cloned().collect()
    }
}

/// Rows ascending by key. A list, since all of them are there from the start, and most are asked for in their order: then
/// the next one is found without a search.
#[derive(Clone, Debug)]
pub(super) struct Rows {
    list: Vec<(Key, Row)>,
    /// The place of the row that was changed last.
    last: usize,
}

impl Rows {
    /// Empty rows of the keys that were looked up, and the records that were found.
    pub(super) fn new(looked_up: impl IntoIterator<Item = Key>, found: impl IntoIterator<Item = Record>) -> Self {
        let mut list: Vec<(Key, Row)> = looked_up.into_iter().map(|key| (key, Row::default())).collect();
        list.sort_by(|(left, _), (right, _)| left.cmp(right));
        list.dedup_by(|(left, _), (right, _)| left == right);
        let mut rows = Self { list, last: 0 };
        for record in found {
            let row = rows.entry(record.key());
            row.before = Some(record);
        }
        rows
    }

    pub(super) fn get(&self, key: &Key) -> Option<&Row> {
        let place = self.place(key).ok()?;
        self.list.get(place).map(|(_, row)| row)
    }

    pub(super) fn get_mut(&mut self, key: &Key) -> Option<&mut Row> {
        self.last = self.place(key).ok()?;
        self.list.get_mut(self.last).map(|(_, row)| row)
    }

    /// The row of `key`, which is there from now on.
    pub(super) fn entry(&mut self, key: &Key) -> &mut Row {
        let place = self.place(key).unwrap_or_else(|place| {
            self.list.insert(place, (key.clone(), Row::default()));
            place
        });
        self.last = place;
        #[expect(clippy::indexing_slicing, reason = "a place of the list, or the one just made")]
        &mut self.list[place].1
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Key, &Row)> {
        self.list.iter().map(|(key, row)| (key, row))
    }

    pub(super) fn into_iter(self) -> impl Iterator<Item = (Key, Row)> {
        self.list.into_iter()
    }

    /// Where the row of `key` is, or would be.
    fn place(&self, key: &Key) -> Result<usize, usize> {
        let is_at = |place: &usize| self.list.get(*place).is_some_and(|(held, _)| held == key);
        let near = [self.last.saturating_add(1), self.last];
        match near.into_iter().find(is_at) {
            Some(place) => Ok(place),
            None => self.list.binary_search_by(|(held, _)| held.cmp(key)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Rows;
    use crate::Key;

    #[test]
    fn rows_are_found_in_any_order() {
        let key = |number: u32| Key::new(format!("{number:03}")).unwrap();
        let mut rows = Rows::new([5, 1, 3, 5, 9].map(key), []);
        assert!(rows.iter().map(|(key, _)| key.clone()).eq([1, 3, 5, 9].map(key)));
        for number in [1, 3, 9, 5, 5, 1] {
            assert!(rows.get_mut(&key(number)).is_some());
            assert!(rows.get(&key(number)).is_some() && rows.get(&key(number + 1)).is_none());
        }
        assert!(rows.get_mut(&key(4)).is_none());
        rows.entry(&key(4)).lost.push(reconvene_clock::Dot::new(
            reconvene_clock::ReplicaId::new(1).unwrap(),
            reconvene_clock::Counter::MIN,
        ));
        assert_eq!(rows.get(&key(4)).unwrap().lost.len(), 1);
        assert!(rows.into_iter().map(|(key, _)| key).eq([1, 3, 4, 5, 9].map(key)));
    }
}
