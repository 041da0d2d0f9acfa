//! An ordered map whose clones share everything until they change: a B+ tree of `Arc` nodes with copy on write.

use core::fmt::Debug;
use core::hint::black_box;
use core::iter::Peekable;
use core::slice;
use std::sync::Arc;

use reconvene_clock::{Dot, ReplicaId};

use crate::{FactKind, Key};

/// What a tree is ordered by.
///
/// Keys that lie elsewhere in memory have *heads*: a few of their bytes, kept in the node, which nearly always tell two
/// keys apart without a look at either.
pub(super) trait Sorted: Ord + Clone + Debug {
    /// Ordered as the keys are, for keys that begin with the same `skip` bytes, but for those whose heads are equal.
    type Head: Ord + Copy + Debug;

    /// No head is greater: what stands where no key is.
    const LAST: Self::Head;

    /// Whether heads say anything. Without them, keys do not share beginnings either.
    const HEADS: bool;

    /// The head behind the first `skip` bytes.
    fn head(&self, skip: usize) -> Self::Head;

    /// The number of bytes that both keys begin with. Keys between the two begin with them as well.
    fn shared(&self, other: &Self) -> usize;

    /// Whether those are at least `skip`, which `other` has.
    fn begins_as(&self, other: &Self, skip: usize) -> bool;

    /// Reads some of the key, so that it is near when it is read next.
    fn touch(&self);
}

impl Sorted for Key {
    /// So many bytes that also in an inner node, whose keys are far apart, few keys have one head.
    type Head = u64;

    const LAST: u64 = u64::MAX;
    const HEADS: bool = true;

    fn head(&self, skip: usize) -> u64 {
        let rest = self.as_bytes().get(skip..).unwrap_or_default();
        if let Some(first) = rest.first_chunk() {
            return u64::from_be_bytes(*first);
        }
        // Where a key ends, zeros: less than what goes on, or equal, and then the whole keys decide.
        let mut head = [0; 8];
        head.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
        u64::from_be_bytes(head)
    }

    fn begins_as(&self, other: &Self, skip: usize) -> bool {
        self.as_bytes().get(..skip) == other.as_bytes().get(..skip)
    }

    fn touch(&self) {
        black_box(self.as_bytes().first().copied());
    }

    fn shared(&self, other: &Self) -> usize {
        let ((left, _), (right, _)) = (self.as_bytes().as_chunks::<8>(), other.as_bytes().as_chunks::<8>());
        let words = left.iter().zip(right).take_while(|(left, right)| left == right).count().saturating_mul(8);
        let (left, right) = (self.as_bytes().iter().skip(words), other.as_bytes().iter().skip(words));
        words.saturating_add(left.zip(right).take_while(|(left, right)| left == right).count())
    }
}

/// Small keys lie in the node themselves.
macro_rules! without_heads {
    ($($key:ty),+) => {$(
        impl Sorted for $key {
            type Head = ();

            const LAST: () = ();
            const HEADS: bool = false;

            fn head(&self, _skip: usize) {}

            fn shared(&self, _other: &Self) -> usize {
                0
            }

            fn begins_as(&self, _other: &Self, _skip: usize) -> bool {
                true
            }

            fn touch(&self) {
                black_box(*self);
            }
        }
    )+};
}

without_heads!(Dot, (FactKind, ReplicaId));

/// An ordered map. Cloning is O(1); a change copies the nodes on its path that a clone still shares.
#[derive(Clone, Debug)]
pub(super) struct Tree<K: Sorted, V> {
    root: Arc<Node<K, V>>,
    len: usize,
}

#[derive(Clone, Debug)]
enum Node<K: Sorted, V> {
    /// Entries ascending by key.
    Leaf(List<K, V>),
    /// Children ascending, each behind a key that is at most its first and above everything before it. Never empty.
    Inner(List<K, Arc<Self>>),
}

/// What a node lists, ascending by key.
#[derive(Clone, Debug)]
struct List<K: Sorted, T> {
    /// All keys here, and below, begin with the same bytes: at least so many.
    skip: usize,
    /// The heads of the keys behind them, then the greatest.
    heads: [K::Head; MAX + 1],
    entries: Vec<(K, T)>,
}

/// A node never has more entries or children.
const MAX: usize = 31;
/// Room that a list makes when it has none.
const SPARE: usize = 4;
/// A node with fewer is joined with its neighbour.
const MIN: usize = 8;

/// A node behind the key that it stands behind.
type Child<K, V> = (K, Arc<Node<K, V>>);

/// What an inner node lists.
type Children<K, V> = List<K, Arc<Node<K, V>>>;

/// A new right neighbour and the key it stands behind.
type Split<K, V> = Option<(K, Node<K, V>)>;

impl<K: Sorted, V: Clone> Tree<K, V> {
    pub(super) fn new() -> Self {
        Self { root: Arc::new(Node::Leaf(List::of(Vec::new(), 0))), len: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn get(&self, key: &K) -> Option<&V> {
        self.get_entry(key).map(|(_, value)| value)
    }

    /// A key that is here begins as all keys do in every node on its path, so that no node need look. One that is not
    /// here may be led astray, and is not found there either.
    pub(super) fn get_entry(&self, key: &K) -> Option<&(K, V)> {
        let mut node = &*self.root;
        loop {
            match node {
                Node::Inner(children) => node = &children.entries.get(children.child_for(key))?.1,
                Node::Leaf(list) => return list.entries.get(list.find(key).ok()?),
            }
        }
    }

    /// What [`get_entry`](Self::get_entry) finds for each of `keys`, in their order. `touch` reads some of a value that is
    /// going to be read.
    ///
    /// In a tree that is larger than the caches, a lookup is a chain of loads of which each waits for the one before. Here
    /// all keys go down side by side, and what a step is about to look at is touched before, in a loop so short that the
    /// processor waits for many at once (group prefetching: Chen, Ailamaki, Gibbons and Mowry 2004, "Improving Hash Join
    /// Performance through Prefetching").
    pub(super) fn get_many(&self, keys: &[K], touch: impl Fn(&V)) -> Vec<Option<&(K, V)>> {
        let mut nodes = vec![&*self.root; keys.len()];
        // All leaves are of one depth.
        while let Some(Node::Inner(_)) = nodes.first() {
            nodes.iter().for_each(|node| node.touch());
            for (key, node) in keys.iter().zip(&mut nodes) {
                if let Node::Inner(children) = *node
                    && let Some((_, child)) = children.entries.get(children.child_for(key))
                {
                    *node = child;
                }
            }
        }
        nodes.iter().for_each(|node| node.touch());
        let alike = keys.iter().zip(nodes).map(|(key, node)| match node {
            Node::Leaf(list) => list.alike(key).1,
            Node::Inner(_) => &[],
        });
        let alike: Vec<&[(K, V)]> = alike.collect();
        if K::HEADS {
            for (key, value) in alike.iter().filter_map(|entries| entries.first()) {
                key.touch();
                touch(value);
            }
        }
        let find = |key, entries: &'_ [(K, V)]| entries.binary_search_by(|(held, _)| held.cmp(key)).ok();
        keys.iter().zip(alike).map(|(key, entries)| entries.get(find(key, entries)?)).collect()
    }

    /// Puts `value` at `key` and returns what was there.
    pub(super) fn insert(&mut self, key: K, value: V) -> Option<V> {
        let mut previous = None;
        self.edit([(key, Some(value))], |_, value| previous = Some(value));
        previous
    }

    /// Takes out and returns what is at `key`.
    #[cfg(test)]
    fn remove(&mut self, key: &K) -> Option<V> {
        let mut previous = None;
        self.edit([(key.clone(), None)], |_, value| previous = Some(value));
        previous
    }

    /// Puts values at keys, or takes out what is there, and tells what was. The keys must ascend; one may come again.
    ///
    /// Nodes are visited once for all changes below them, unless they become too long or too short on the way.
    pub(super) fn edit(&mut self, changes: impl IntoIterator<Item = (K, Option<V>)>, replaced: impl FnMut(&K, V)) {
        let mut editing = Editing { changes: changes.into_iter().peekable(), len: self.len, replaced };
        while editing.changes.peek().is_some() {
            match editing.node(&mut self.root, &Within { end: None, end_head: None, skip: 0 }) {
                Some((behind, right)) => {
                    let left = Arc::clone(&self.root);
                    if let Some(first) = left.first_key().cloned() {
                        let skip = left.skip().min(right.skip()).min(first.shared(&behind));
                        let children = vec![(first, left), (behind, Arc::new(right))];
                        self.root = Arc::new(Node::Inner(List::of(children, skip)));
                    }
                }
                None => {
                    if let Node::Inner(children) = &*self.root
                        && let [(_, only)] = children.entries.as_slice()
                    {
                        self.root = Arc::clone(only);
                    }
                }
            }
        }
        self.len = editing.len;
    }

    /// The entries from the first whose key does not satisfy `before`, ascending. `before` must hold for a prefix of
    /// the keys and for no key behind it.
    pub(super) fn iter_from(&self, before: impl Fn(&K) -> bool) -> Iter<'_, K, V> {
        let mut above = Vec::new();
        let mut node = &*self.root;
        loop {
            match node {
                Node::Inner(children) => {
                    let place = children.entries.partition_point(|(key, _)| before(key)).saturating_sub(1);
                    let mut rest = children.entries.get(place..).unwrap_or_default().iter();
                    let Some((_, child)) = rest.next() else {
                        return Iter { above, entries: [].iter() };
                    };
                    above.push(rest);
                    node = child;
                }
                Node::Leaf(list) => {
                    let place = list.entries.partition_point(|(key, _)| before(key));
                    return Iter { above, entries: list.entries.get(place..).unwrap_or_default().iter() };
                }
            }
        }
    }
}

impl<K: Sorted, T> List<K, T> {
    /// The list of these entries, at most `MAX` and one, whose keys and all below begin with the same `skip` bytes.
    fn of(entries: Vec<(K, T)>, skip: usize) -> Self {
        let mut list = Self { skip, heads: [K::LAST; MAX + 1], entries };
        list.set_heads();
        list
    }

    fn set_heads(&mut self) {
        let heads = self.entries.iter().map(|(key, _)| key.head(self.skip)).chain(core::iter::repeat(K::LAST));
        for (held, head) in self.heads.iter_mut().zip(heads) {
            *held = head;
        }
    }

    /// How many keys are at most `key`, which begins as all of them do.
    fn up_to(&self, key: &K) -> usize {
        let (less, alike) = self.alike(key);
        less.saturating_add(alike.partition_point(|(held, _)| held <= key))
    }

    /// The index of `key`, or how many keys are less if it is not here, and begins as all of them do.
    fn find(&self, key: &K) -> Result<usize, usize> {
        let (less, alike) = self.alike(key);
        match alike.binary_search_by(|(held, _)| held.cmp(key)) {
            Ok(place) => Ok(less.saturating_add(place)),
            Err(place) => Err(less.saturating_add(place)),
        }
    }

    /// How many keys have lesser heads, and the entries behind those whose keys the heads do not tell from `key`.
    fn alike(&self, key: &K) -> (usize, &[(K, T)]) {
        if !K::HEADS {
            return (0, &self.entries);
        }
        let head = key.head(self.skip);
        // Of all heads, those of no keys included: a number of steps that is always the same.
        let less = self.heads.partition_point(|held| *held < head).min(self.entries.len());
        let count = self.heads.iter().skip(less).take_while(|held| **held == head).count();
        let rest = self.entries.get(less..).unwrap_or_default();
        (less, rest.get(..count).unwrap_or(rest))
    }

    /// Reads some of each line of memory that a search may look at.
    fn touch(&self) {
        if K::HEADS {
            self.heads.iter().step_by(8).for_each(|head| {
                black_box(*head);
            });
        } else {
            self.entries.iter().step_by(2).for_each(|(key, _)| key.touch());
        }
    }

    /// The index of the child that holds `key` if any does.
    fn child_for(&self, key: &K) -> usize {
        self.up_to(key).saturating_sub(1)
    }

    /// Whether `key` begins as all keys here and below do.
    fn fits(&self, key: &K) -> bool {
        self.skip == 0 || self.entries.first().is_none_or(|(first, _)| key.begins_as(first, self.skip))
    }

    /// Makes `skip` hold for `key` as well, which comes here or below.
    fn admit(&mut self, key: &K) {
        if let Some((first, _)) = self.entries.first().filter(|_| self.skip > 0) {
            let shared = first.shared(key);
            if shared < self.skip {
                self.skip = shared;
                self.set_heads();
            }
        }
    }

    /// Makes use of knowing that all keys here and below are less than `end`.
    fn end_before(&mut self, end: &K) {
        if let Some((first, _)) = self.entries.first() {
            let shared = first.shared(end);
            if shared > self.skip {
                self.skip = shared;
                self.set_heads();
            }
        }
    }

    /// Inserts into a list that keeps little room to spare: lists that double take up to twice what is in them.
    fn put(&mut self, place: usize, entry: (K, T)) {
        if self.entries.len() == self.entries.capacity() {
            self.entries.reserve_exact(SPARE);
        }
        let head = entry.0.head(self.skip);
        if let Some(heads) = self.heads.get_mut(place..=self.entries.len()) {
            heads.rotate_right(1);
            heads.iter_mut().take(1).for_each(|first| *first = head);
        }
        self.entries.insert(place, entry);
    }

    fn take(&mut self, place: usize) -> (K, T) {
        if let Some(heads) = self.heads.get_mut(place..self.entries.len()) {
            heads.rotate_left(1);
            heads.iter_mut().rev().take(1).for_each(|last| *last = K::LAST);
        }
        self.entries.remove(place)
    }

    /// Lowers the key at `place`.
    fn lower(&mut self, place: usize, key: &K) {
        let head = key.head(self.skip);
        if let Some((held, _)) = self.entries.get_mut(place) {
            held.clone_from(key);
        }
        self.heads.iter_mut().skip(place).take(1).for_each(|held| *held = head);
    }

    /// Halves a list that became too long; returns the right half and its first key.
    fn split(&mut self) -> Option<(K, Self)> {
        self.split_at(self.entries.len() / 2)
    }

    /// Splits a list that became too long by an entry at `place`. One that grows at its end leaves fuller nodes behind.
    fn split_grown(&mut self, place: usize) -> Option<(K, Self)> {
        let at_end = place.saturating_add(1) == self.entries.len();
        if at_end { self.split_at(self.entries.len().saturating_sub(MIN)) } else { self.split() }
    }

    fn split_at(&mut self, place: usize) -> Option<(K, Self)> {
        if self.entries.len() <= MAX {
            return None;
        }
        let right = Self::of(self.entries.split_off(place), self.skip);
        self.heads.iter_mut().skip(self.entries.len()).for_each(|head| *head = K::LAST);
        self.entries.shrink_to(self.entries.len().saturating_add(SPARE));
        let key = right.entries.first()?.0.clone();
        self.end_before(&key);
        Some((key, right))
    }

    /// Takes in what is in the list behind it, and splits if that is too much.
    fn join(&mut self, more: Self) -> Option<(K, Self)> {
        let shared = self.entries.first().zip(more.entries.first()).map(|((left, _), (right, _))| left.shared(right));
        self.skip = self.skip.min(more.skip).min(shared.unwrap_or_default());
        self.entries.extend(more.entries);
        let split = self.split();
        self.set_heads();
        split
    }
}

impl<K: Sorted, V> Node<K, V> {
    fn len(&self) -> usize {
        match self {
            Self::Leaf(list) => list.entries.len(),
            Self::Inner(list) => list.entries.len(),
        }
    }

    fn touch(&self) {
        match self {
            Self::Leaf(list) => list.touch(),
            Self::Inner(list) => list.touch(),
        }
    }

    fn skip(&self) -> usize {
        match self {
            Self::Leaf(list) => list.skip,
            Self::Inner(list) => list.skip,
        }
    }

    fn first_key(&self) -> Option<&K> {
        match self {
            Self::Leaf(list) => list.entries.first().map(|(key, _)| key),
            Self::Inner(list) => list.entries.first().map(|(key, _)| key),
        }
    }

    fn end_before(&mut self, end: &K) {
        match self {
            Self::Leaf(list) => list.end_before(end),
            Self::Inner(list) => list.end_before(end),
        }
    }
}

/// Which keys belong below a node, as the nodes above it say.
struct Within<'a, K: Sorted> {
    /// Those before this one.
    end: Option<&'a K>,
    /// Its head, behind so many bytes that it begins with as the keys before it do.
    end_head: Option<(K::Head, usize)>,
    /// And of those the ones that begin with the same bytes as the ones there, so many.
    skip: usize,
}

impl<K: Sorted> Within<'_, K> {
    /// Whether `next` is seen to come after all that belongs here without a look at the end itself, which is nearly always
    /// far away. `key` belongs here.
    fn is_left_by(&self, key: &K, next: &K) -> bool {
        self.end_head.is_some_and(|(end, skip)| K::HEADS && next.begins_as(key, skip) && next.head(skip) > end)
    }

    /// Whether `key`, which is not before the first key of `list`, belongs there.
    fn has<T>(&self, key: &K, list: &List<K, T>) -> bool {
        let begins = || match list.entries.first() {
            Some((first, _)) => key.begins_as(first, self.skip),
            None => false,
        };
        self.end.is_none_or(|end| key < end) && (self.skip == 0 || begins())
    }
}

/// Changes that are being made, ascending by key.
struct Editing<I: Iterator, F> {
    changes: Peekable<I>,
    /// How many keys the tree has.
    len: usize,
    replaced: F,
}

impl<K: Sorted, V: Clone, I: Iterator<Item = (K, Option<V>)>, F: FnMut(&K, V)> Editing<I, F> {
    /// Makes the next change, which belongs here, and those behind it that do; fewer if the node comes apart, which it
    /// returns the right half of, or becomes too short.
    fn node(&mut self, node: &mut Arc<Node<K, V>>, within: &Within<'_, K>) -> Split<K, V> {
        match Arc::make_mut(node) {
            Node::Leaf(list) => self.leaf(list, within).map(|(key, right)| (key, Node::Leaf(right))),
            Node::Inner(list) => self.inner(list, within).map(|(key, right)| (key, Node::Inner(right))),
        }
    }

    fn leaf(&mut self, list: &mut List<K, V>, within: &Within<'_, K>) -> Option<(K, List<K, V>)> {
        let mut next = self.changes.next();
        while let Some((key, value)) = next {
            let is_last = self.changes.peek().is_none_or(|(next, _)| within.is_left_by(&key, next));
            match (list.find(&key), value) {
                (Ok(place), Some(value)) => {
                    if let Some((_, old)) = list.entries.get_mut(place) {
                        (self.replaced)(&key, core::mem::replace(old, value));
                    }
                }
                (Ok(place), None) => {
                    (self.replaced)(&key, list.take(place).1);
                    self.len = self.len.saturating_sub(1);
                }
                (Err(_), None) => {}
                (Err(mut place), Some(value)) => {
                    if !list.fits(&key) {
                        list.admit(&key);
                        place = list.up_to(&key);
                    }
                    list.put(place, (key, value));
                    self.len = self.len.saturating_add(1);
                    if list.entries.len() > MAX {
                        return list.split_grown(place);
                    }
                }
            }
            next = if is_last { None } else { self.changes.next_if(|(key, _)| within.has(key, list)) };
        }
        None
    }

    fn inner(&mut self, children: &mut Children<K, V>, within: &Within<'_, K>) -> Option<(K, Children<K, V>)> {
        while let Some((key, value)) = self.changes.peek()
            && within.has(key, children)
        {
            if !children.fits(key) {
                if value.is_none() {
                    // It is not here, and heads do not tell where it would be.
                    self.changes.next();
                    continue;
                }
                children.admit(key);
            }
            let up_to = children.up_to(key);
            if up_to == 0 {
                children.lower(0, key);
            }
            let place = up_to.max(1);
            let skip = within.skip.max(children.skip);
            let end_head = children.heads.get(place).map(|head| (*head, children.skip));
            let (before, behind) = children.entries.split_at_mut_checked(place)?;
            let (_, child) = before.last_mut()?;
            let below = match behind.first() {
                Some((end, _)) => Within { end: Some(end), end_head, skip },
                None => Within { end: within.end, end_head: within.end_head, skip },
            };
            let split = self.node(child, &below);
            let is_short = child.len() < MIN;
            if let Some(right) = split {
                children.put_child(place, right);
                if children.entries.len() > MAX {
                    return children.split_grown(place);
                }
            } else if is_short {
                // The last child is joined with its left neighbour, any other with its right one.
                let is_last = place == children.entries.len();
                join(children, place.saturating_sub(if is_last { 2 } else { 1 }));
                if children.entries.len() < MIN {
                    return None;
                }
            }
        }
        None
    }
}

impl<K: Sorted, V> Children<K, V> {
    fn put_child(&mut self, place: usize, (key, mut child): (K, Node<K, V>)) {
        if let Some((end, _)) = self.entries.get(place) {
            child.end_before(end);
        }
        self.put(place, (key, Arc::new(child)));
    }
}

/// Makes one child of those at `left` and behind it, or two of equal length if one would be too long.
fn join<K: Sorted, V: Clone>(children: &mut Children<K, V>, left: usize) {
    let right = left.saturating_add(1);
    if right >= children.entries.len() {
        return;
    }
    let (_, right) = children.take(right);
    let Some((_, child)) = children.entries.get_mut(left) else {
        return;
    };
    let new = match (Arc::make_mut(child), Arc::unwrap_or_clone(right)) {
        (Node::Leaf(list), Node::Leaf(more)) => list.join(more).map(|(key, right)| (key, Node::Leaf(right))),
        (Node::Inner(list), Node::Inner(more)) => list.join(more).map(|(key, right)| (key, Node::Inner(right))),
        (Node::Leaf(_), Node::Inner(_)) | (Node::Inner(_), Node::Leaf(_)) => {
            unreachable!("children of one node have one depth")
        }
    };
    if let Some(new) = new {
        children.put_child(left.saturating_add(1), new);
    }
}

/// Entries of a [`Tree`], ascending.
#[derive(Debug)]
pub(super) struct Iter<'a, K: Sorted, V> {
    /// The children still to come, from the root down.
    above: Vec<slice::Iter<'a, Child<K, V>>>,
    entries: slice::Iter<'a, (K, V)>,
}

impl<'a, K: Sorted, V> Iterator for Iter<'a, K, V> {
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
                Node::Leaf(list) => self.entries = list.entries.iter(),
                Node::Inner(children) => self.above.push(children.entries.iter()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    impl Sorted for u16 {
        type Head = ();

        const LAST: () = ();
        const HEADS: bool = false;

        fn head(&self, _skip: usize) {}

        fn shared(&self, _other: &Self) -> usize {
            0
        }

        fn begins_as(&self, _other: &Self, _skip: usize) -> bool {
            true
        }

        fn touch(&self) {
            black_box(*self);
        }
    }

    /// Checks order, separators, heads, depth and fill of a node, and returns its depth and all keys below.
    fn check<K: Sorted>(node: &Node<K, u32>, at_least: Option<&K>, below: Option<&K>, root: bool) -> (usize, Vec<K>) {
        assert!(node.len() <= MAX && (root || node.len() >= MIN), "fill {}", node.len());
        let (depth, keys) = match node {
            Node::Leaf(list) => {
                assert!(list.entries.is_sorted_by(|left, right| left.0 < right.0));
                heads_are_right(list);
                (0, list.entries.iter().map(|(key, _)| key.clone()).collect())
            }
            Node::Inner(children) => {
                assert!(!root || children.entries.len() > 1);
                assert!(children.entries.is_sorted_by(|left, right| left.0 < right.0));
                heads_are_right(children);
                let ends = children.entries.iter().skip(1).map(|(key, _)| Some(key)).chain([below]);
                let (mut depths, mut keys) = (Vec::new(), Vec::new());
                for ((key, child), end) in children.entries.iter().zip(ends) {
                    let (depth, more) = check(child, Some(key), end, false);
                    depths.push(depth);
                    keys.extend(more);
                }
                assert!(depths.iter().all(|depth| *depth == depths[0]));
                (depths[0] + 1, keys)
            }
        };
        assert!(keys.iter().all(|key| at_least.is_none_or(|least| least <= key) && below.is_none_or(|end| key < end)));
        if let Some(first) = node.first_key().filter(|_| node.skip() > 0) {
            assert!(keys.iter().all(|key| first.shared(key) >= node.skip()), "{node:?} skips too much");
        }
        (depth, keys)
    }

    fn heads_are_right<K: Sorted, T>(list: &List<K, T>) {
        let (mut heads, keys) = (list.heads.iter(), &list.entries);
        assert!(keys.iter().all(|(key, _)| heads.next() == Some(&key.head(list.skip))));
        assert!(heads.all(|head| *head == K::LAST));
    }

    /// Performs steps on a tree, its clones and plain maps; grows in the first half and shrinks in the other.
    fn compare<K: Sorted>(steps: Vec<(K, u8)>, share: usize, starts: &[K]) {
        let mut tree = Tree::new();
        let mut model = BTreeMap::new();
        let mut clones = Vec::new();
        let half = steps.len() / 2;
        let asked: Vec<K> = steps.iter().map(|(key, _)| key).chain(starts).cloned().collect();
        for (number, (key, action)) in steps.into_iter().enumerate() {
            let grow = if number < half { action < 8 } else { action < 2 };
            if grow {
                let value = u32::try_from(number).unwrap();
                assert_eq!(tree.insert(key.clone(), value), model.insert(key, value));
            } else {
                assert_eq!(tree.remove(&key), model.remove(&key));
            }
            if number % share == 0 && clones.len() < 8 {
                clones.push((tree.clone(), model.clone()));
            }
        }
        clones.push((tree, model));
        for (tree, model) in clones {
            check(&tree.root, None, None, true);
            assert_eq!(tree.len(), model.len());
            assert!(model.iter().all(|(key, value)| tree.get(key) == Some(value)));
            // Side by side: in no order, some twice, some not here.
            let found = tree.get_many(&asked, |_| ());
            assert!(found.into_iter().eq(asked.iter().map(|key| tree.get_entry(key))));
            assert!(asked.iter().all(|key| tree.get(key) == model.get(key)));
            for start in starts {
                let walked: Vec<(K, u32)> = tree.iter_from(|key| key < start).cloned().collect();
                let expected: Vec<(K, u32)> = model.range(start..).map(|(key, value)| (key.clone(), *value)).collect();
                assert_eq!(walked, expected);
                assert_eq!(tree.get(start), model.get(start));
            }
        }
    }

    /// Makes the steps in batches of all sizes, each ascending by key, on a tree of which clones are kept.
    fn compare_batches<K: Sorted>(steps: Vec<(K, u8)>, size: usize) {
        let mut tree = Tree::new();
        let mut model = BTreeMap::new();
        let mut clones = Vec::new();
        let half = steps.len() / 2;
        let steps: Vec<_> = (0..).zip(steps).collect();
        for (number, batch) in steps.chunks(size).enumerate() {
            let mut changes: Vec<(K, Option<u32>)> = Vec::new();
            for (value, (key, action)) in batch {
                let grow = if number * size < half { *action < 8 } else { *action < 2 };
                changes.push((key.clone(), grow.then_some(*value)));
            }
            changes.sort_by(|(left, _), (right, _)| left.cmp(right));
            let (mut told, mut expected) = (Vec::new(), Vec::new());
            for (key, value) in changes.clone() {
                let before = match value {
                    Some(value) => model.insert(key.clone(), value),
                    None => model.remove(&key),
                };
                expected.extend(before.map(|before| (key, before)));
            }
            tree.edit(changes, |key, before| told.push((key.clone(), before)));
            assert_eq!(told, expected);
            check(&tree.root, None, None, true);
            if number % 3 == 0 && clones.len() < 8 {
                clones.push((tree.clone(), model.clone()));
            }
        }
        clones.push((tree, model));
        for (tree, model) in clones {
            assert_eq!(tree.len(), model.len());
            assert!(tree.iter_from(|_| false).cloned().eq(model));
        }
    }

    /// Keys that share long beginnings, end early, and hold bytes that look like no byte.
    fn key() -> impl Strategy<Value = Key> {
        let end = prop::collection::vec(prop::sample::select(vec![0, 1, b'a', b'b', 255]), 0..7);
        (prop::sample::select(vec!["", "a", "job/", "job/00000000/", "job/00000001/spec"]), any::<bool>(), end)
            .prop_map(|(begin, one, end)| {
                let one: &[u8] = if one || begin.is_empty() { b"x" } else { b"" };
                Key::new([begin.as_bytes(), one, &end].concat()).unwrap()
            })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        #[test]
        fn law_tree_equals_a_plain_map(
            steps in prop::collection::vec((0_u16..1_500, 0_u8..10), 1..3_000),
            share in 1_usize..400,
        ) {
            compare(steps, share, &[0, 1, 700, 1_499, 1_500]);
        }

        #[test]
        fn law_tree_of_keys_equals_a_plain_map(
            steps in prop::collection::vec((key(), 0_u8..10), 1..3_000),
            starts in prop::collection::vec(key(), 5),
            share in 1_usize..400,
        ) {
            compare(steps, share, &starts);
        }

        #[test]
        fn law_a_batch_is_its_changes_one_by_one(
            steps in prop::collection::vec((0_u16..1_500, 0_u8..10), 1..3_000),
            size in 1_usize..700,
        ) {
            compare_batches(steps, size);
        }

        #[test]
        fn law_a_batch_of_keys_is_its_changes_one_by_one(
            steps in prop::collection::vec((key(), 0_u8..10), 1..3_000),
            size in 1_usize..700,
        ) {
            compare_batches(steps, size);
        }
    }
}
