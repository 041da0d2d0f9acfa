//! A map of few entries, mostly one.

use smallvec::SmallVec;

/// An ordered map in a list. The first entry needs no memory of its own, where a tree reserves a node of eleven: most
/// jobs have one attempt and one result, and brokers keep many jobs.
///
/// To insert is linear in the entries behind; new ones mostly come last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Few<K, V>(SmallVec<[(K, V); 1]>);

impl<K, V> Default for Few<K, V> {
    fn default() -> Self {
        Self(SmallVec::new())
    }
}

impl<K: Ord, V> Few<K, V> {
    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        let place = self.place(key).ok()?;
        self.0.get(place).map(|(_, value)| value)
    }

    pub(crate) fn contains_key(&self, key: &K) -> bool {
        self.place(key).is_ok()
    }

    /// The value of `key`, which is there from now on.
    pub(crate) fn entry(&mut self, key: K) -> &mut V
    where
        V: Default,
    {
        let place = self.place(&key).unwrap_or_else(|place| {
            self.0.insert(place, (key, V::default()));
            place
        });
        #[expect(clippy::indexing_slicing, reason = "a place of the list, or the one just made")]
        &mut self.0[place].1
    }

    /// Says what was there before.
    pub(crate) fn insert(&mut self, key: K, value: V) -> Option<V> {
        match self.place(&key) {
            Ok(place) => self.0.get_mut(place).map(|(_, held)| core::mem::replace(held, value)),
            Err(place) => {
                self.0.insert(place, (key, value));
                None
            }
        }
    }

    pub(crate) fn remove(&mut self, key: &K) {
        if let Ok(place) = self.place(key) {
            self.0.remove(place);
        }
    }

    fn place(&self, key: &K) -> Result<usize, usize> {
        self.0.binary_search_by(|(held, _)| held.cmp(key))
    }
}

impl<K, V> Few<K, V> {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Ascending by key, as all that follow.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = (&K, &V)> + Clone {
        self.0.iter().map(|(key, value)| (key, value))
    }

    pub(crate) fn keys(&self) -> impl DoubleEndedIterator<Item = &K> + Clone {
        self.0.iter().map(|(key, _)| key)
    }

    pub(crate) fn values(&self) -> impl DoubleEndedIterator<Item = &V> + Clone {
        self.0.iter().map(|(_, value)| value)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::Few;

    proptest! {
        #[test]
        fn law_it_is_the_map_of_the_standard_library(steps: Vec<(u8, u8, u8)>) {
            let (mut few, mut map) = (Few::default(), BTreeMap::new());
            for (kind, key, value) in steps {
                let key = key % 8;
                match kind % 3 {
                    0 => prop_assert_eq!(few.insert(key, value), map.insert(key, value)),
                    1 => {
                        few.remove(&key);
                        map.remove(&key);
                    }
                    _ => {
                        *few.entry(key) = value;
                        *map.entry(key).or_default() = value;
                    }
                }
                prop_assert_eq!(few.get(&key), map.get(&key));
                prop_assert_eq!(few.contains_key(&key), map.contains_key(&key));
                prop_assert!(few.iter().eq(&map) && few.keys().eq(map.keys()) && few.values().eq(map.values()));
                prop_assert_eq!(few.len(), map.len());
            }
        }
    }
}
