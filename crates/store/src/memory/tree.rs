//! An ordered map whose clones share everything until they change: a B+ tree of `Arc` nodes with copy on write.

use core::slice;
use std::sync::Arc;

/// An ordered map. Cloning is O(1); a change copies the nodes on its path that a clone still shares.
#[derive(Clone, Debug)]
pub(super) struct Tree<K, V> {
    root: Arc<Node<K, V>>,
    len: usize,
}

#[derive(Clone, Debug)]
enum Node<K, V> {
    /// Entries ascending by key.
    Leaf(Vec<(K, V)>),
    /// Children ascending, each behind a key that is at most its first and above everything before it. Never empty.
    Inner(Vec<Child<K, V>>),
}

type Child<K, V> = (K, Arc<Node<K, V>>);

/// A node never has more entries or children.
const MAX: usize = 32;
/// Room that a list makes when it has none.
const SPARE: usize = 4;
/// A node with fewer is joined with its neighbour.
const MIN: usize = 8;

/// A new right neighbour and the key it stands behind.
type Split<K, V> = Option<Child<K, V>>;

impl<K: Ord + Clone, V: Clone> Tree<K, V> {
    pub(super) fn new() -> Self {
        Self { root: Arc::new(Node::Leaf(Vec::new())), len: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn get(&self, key: &K) -> Option<&V> {
        self.get_entry(key).map(|(_, value)| value)
    }

    pub(super) fn get_entry(&self, key: &K) -> Option<&(K, V)> {
        let mut node = &*self.root;
        loop {
            match node {
                Node::Inner(children) => node = &children.get(child_for(children, key))?.1,
                Node::Leaf(entries) => {
                    let place = entries.binary_search_by(|(held, _)| held.cmp(key)).ok()?;
                    return entries.get(place);
                }
            }
        }
    }

    /// Puts `value` at `key` and returns what was there.
    pub(super) fn insert(&mut self, key: K, value: V) -> Option<V> {
        let (previous, split) = insert(&mut self.root, key, value);
        if let Some(right) = split {
            let left = Arc::clone(&self.root);
            // The first child's key is only compared from the next insert on, which lowers it where needed.
            let children = first_key(&left).map(|key| (key, left)).into_iter().chain([right]).collect();
            self.root = Arc::new(Node::Inner(children));
        }
        if previous.is_none() {
            self.len = self.len.saturating_add(1);
        }
        previous
    }

    /// Takes out and returns what is at `key`.
    pub(super) fn remove(&mut self, key: &K) -> Option<V> {
        // Without this look, a miss would copy the shared nodes on its path.
        self.get(key)?;
        let removed = remove(&mut self.root, key);
        if removed.is_some() {
            self.len = self.len.saturating_sub(1);
        }
        if let Node::Inner(children) = &*self.root
            && let [(_, only)] = children.as_slice()
        {
            self.root = Arc::clone(only);
        }
        removed
    }

    /// The entries from the first whose key does not satisfy `before`, ascending. `before` must hold for a prefix of
    /// the keys and for no key behind it.
    pub(super) fn iter_from(&self, before: impl Fn(&K) -> bool) -> Iter<'_, K, V> {
        let mut above = Vec::new();
        let mut node = &*self.root;
        loop {
            match node {
                Node::Inner(children) => {
                    let place = children.partition_point(|(key, _)| before(key)).saturating_sub(1);
                    let mut rest = children.get(place..).unwrap_or_default().iter();
                    let Some((_, child)) = rest.next() else {
                        return Iter { above, entries: [].iter() };
                    };
                    above.push(rest);
                    node = child;
                }
                Node::Leaf(entries) => {
                    let place = entries.partition_point(|(key, _)| before(key));
                    return Iter { above, entries: entries.get(place..).unwrap_or_default().iter() };
                }
            }
        }
    }
}

/// The index of the child that holds `key` if any does.
fn child_for<K: Ord, T>(children: &[(K, T)], key: &K) -> usize {
    children.partition_point(|(first, _)| first <= key).saturating_sub(1)
}

fn first_key<K: Clone, V>(node: &Node<K, V>) -> Option<K> {
    match node {
        Node::Leaf(entries) => entries.first().map(|(key, _)| key.clone()),
        Node::Inner(children) => children.first().map(|(key, _)| key.clone()),
    }
}

fn insert<K: Ord + Clone, V: Clone>(node: &mut Arc<Node<K, V>>, key: K, value: V) -> (Option<V>, Split<K, V>) {
    match Arc::make_mut(node) {
        Node::Leaf(entries) => {
            let place = entries.partition_point(|(held, _)| *held < key);
            if let Some((held, old)) = entries.get_mut(place)
                && *held == key
            {
                return (Some(core::mem::replace(old, value)), None);
            }
            put(entries, place, (key, value));
            let right = split(entries);
            (None, right.map(|(key, right)| (key, Arc::new(Node::Leaf(right)))))
        }
        Node::Inner(children) => {
            let place = child_for(children, &key);
            let Some((first, child)) = children.get_mut(place) else {
                return (None, None);
            };
            if key < *first {
                first.clone_from(&key);
            }
            let (previous, grown) = insert(child, key, value);
            if let Some(right) = grown {
                put(children, place.saturating_add(1), right);
            }
            let right = split(children);
            (previous, right.map(|(key, right)| (key, Arc::new(Node::Inner(right)))))
        }
    }
}

/// Inserts into a list that keeps little room to spare: lists that double take up to twice what is in them.
fn put<T>(list: &mut Vec<T>, place: usize, entry: T) {
    if list.len() == list.capacity() {
        list.reserve_exact(SPARE);
    }
    list.insert(place, entry);
}

/// Halves a list that became too long; returns the right half and its first key.
fn split<K: Clone, T>(list: &mut Vec<(K, T)>) -> Option<(K, Vec<(K, T)>)> {
    if list.len() <= MAX {
        return None;
    }
    let right = list.split_off(list.len() / 2);
    list.shrink_to(list.len().saturating_add(SPARE));
    let key = right.first()?.0.clone();
    Some((key, right))
}

fn remove<K: Ord + Clone, V: Clone>(node: &mut Arc<Node<K, V>>, key: &K) -> Option<V> {
    match Arc::make_mut(node) {
        Node::Leaf(entries) => {
            let place = entries.binary_search_by(|(held, _)| held.cmp(key)).ok()?;
            Some(entries.remove(place).1)
        }
        Node::Inner(children) => {
            let place = child_for(children, key);
            let (_, child) = children.get_mut(place)?;
            let removed = remove(child, key);
            if child.len() < MIN {
                // The last child is joined with its left neighbour, any other with its right one.
                let left = if place.saturating_add(1) < children.len() { place } else { place.saturating_sub(1) };
                join(children, left);
            }
            removed
        }
    }
}

/// Makes one child of those at `left` and behind it, or two of equal length if one would be too long.
fn join<K: Clone, V: Clone>(children: &mut Vec<Child<K, V>>, left: usize) {
    let right = left.saturating_add(1);
    if right >= children.len() {
        return;
    }
    let (_, right) = children.remove(right);
    let Some((_, child)) = children.get_mut(left) else {
        return;
    };
    let new = match (Arc::make_mut(child), Arc::unwrap_or_clone(right)) {
        (Node::Leaf(entries), Node::Leaf(more)) => {
            entries.extend(more);
            split(entries).map(|(key, right)| (key, Arc::new(Node::Leaf(right))))
        }
        (Node::Inner(nodes), Node::Inner(more)) => {
            nodes.extend(more);
            split(nodes).map(|(key, right)| (key, Arc::new(Node::Inner(right))))
        }
        (Node::Leaf(_), Node::Inner(_)) | (Node::Inner(_), Node::Leaf(_)) => {
            unreachable!("children of one node have one depth")
        }
    };
    if let Some(new) = new {
        put(children, left.saturating_add(1), new);
    }
}

impl<K, V> Node<K, V> {
    fn len(&self) -> usize {
        match self {
            Self::Leaf(entries) => entries.len(),
            Self::Inner(children) => children.len(),
        }
    }
}

/// Entries of a [`Tree`], ascending.
#[derive(Debug)]
pub(super) struct Iter<'a, K, V> {
    /// The children still to come, from the root down.
    above: Vec<slice::Iter<'a, Child<K, V>>>,
    entries: slice::Iter<'a, (K, V)>,
}

impl<'a, K, V> Iterator for Iter<'a, K, V> {
    type Item = &'a (K, V);

    fn next(&mut self) -> Option<&'a (K, V)> {
        loop {
            if let Some(entry) = self.entries.next() {
                return Some(entry);
            }
            let Some((_, child)) = self.above.last_mut()?.next() else {
                self.above.pop();
                continue;
            };
            match &**child {
                Node::Leaf(entries) => self.entries = entries.iter(),
                Node::Inner(children) => self.above.push(children.iter()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// Checks order, separators, depth and fill of a node, and returns its depth.
    fn check(node: &Node<u16, u32>, at_least: Option<u16>, below: Option<u16>, root: bool) -> usize {
        let within = |key: u16| at_least.is_none_or(|least| least <= key) && below.is_none_or(|below| key < below);
        assert!(node.len() <= MAX && (root || node.len() >= MIN), "fill {}", node.len());
        match node {
            Node::Leaf(entries) => {
                assert!(entries.is_sorted_by(|left, right| left.0 < right.0));
                assert!(entries.iter().all(|(key, _)| within(*key)));
                0
            }
            Node::Inner(children) => {
                assert!(!root || children.len() > 1);
                assert!(children.is_sorted_by(|left, right| left.0 < right.0));
                let ends = children.iter().skip(1).map(|(key, _)| Some(*key)).chain([below]);
                let depths: Vec<usize> =
                    children.iter().zip(ends).map(|((key, child), end)| check(child, Some(*key), end, false)).collect();
                assert!(depths.iter().all(|depth| *depth == depths[0]));
                depths[0] + 1
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        #[test]
        fn law_tree_equals_a_plain_map(steps in prop::collection::vec((0_u16..1_500, 0_u8..10), 1..3_000), share in 1_usize..400) {
            let mut tree = Tree::new();
            let mut model = BTreeMap::new();
            let mut clones = Vec::new();
            for (number, (key, action)) in steps.into_iter().enumerate() {
                // Grows in the first half of the schedule and shrinks in the other.
                let grow = if number < 1_500 { action < 8 } else { action < 2 };
                if grow {
                    let value = u32::try_from(number).unwrap();
                    prop_assert_eq!(tree.insert(key, value), model.insert(key, value));
                } else {
                    prop_assert_eq!(tree.remove(&key), model.remove(&key));
                }
                if number % share == 0 && clones.len() < 8 {
                    clones.push((tree.clone(), model.clone()));
                }
            }
            clones.push((tree, model));
            for (tree, model) in clones {
                check(&tree.root, None, None, true);
                prop_assert_eq!(tree.len(), model.len());
                for start in [0, 1, 700, 1_499, 1_500] {
                    let walked: Vec<(u16, u32)> = tree.iter_from(|key| *key < start).copied().collect();
                    let expected: Vec<(u16, u32)> = model.range(start..).map(|(key, value)| (*key, *value)).collect();
                    prop_assert_eq!(walked, expected);
                    prop_assert_eq!(tree.get(&start), model.get(&start));
                }
            }
        }
    }
}
