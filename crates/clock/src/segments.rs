//! A history as an ascending walk over runs of dots, and set operations on two such walks.

use core::cmp::Ordering;
use core::iter::{Copied, Peekable};
use core::slice;

use crate::{Counter, Dot, DotRange, ReplicaKey};

/// The dots of a history as maximal runs, ascending by (replica, first). Runs of one replica do not touch.
#[derive(Debug)]
pub(crate) struct Segments<'a, R: ReplicaKey> {
    vector: Peekable<Copied<slice::Iter<'a, Dot<R>>>>,
    ranges: Peekable<Copied<slice::Iter<'a, DotRange<R>>>>,
}

impl<'a, R: ReplicaKey> Segments<'a, R> {
    /// The runs of a vector (each from 1 to its counter) and of the ranges above it.
    pub(crate) fn new(vector: &'a [Dot<R>], ranges: &'a [DotRange<R>]) -> Self {
        Self { vector: vector.iter().copied().peekable(), ranges: ranges.iter().copied().peekable() }
    }
}

impl<R: ReplicaKey> Iterator for Segments<'_, R> {
    type Item = DotRange<R>;

    fn next(&mut self) -> Option<DotRange<R>> {
        // The contiguous part of a replica comes before the ranges above it.
        let range = self.ranges.peek().map(DotRange::replica);
        match self.vector.next_if(|entry| range.is_none_or(|range| entry.replica <= range)) {
            Some(entry) => DotRange::new(entry.replica, Counter::MIN, entry.counter),
            None => self.ranges.next(),
        }
    }
}

/// The runs of dots on the left that are missing on the right.
#[derive(Debug)]
pub(crate) struct Difference<'a, R: ReplicaKey> {
    left: Segments<'a, R>,
    right: Peekable<Segments<'a, R>>,
    /// What is left of a run after a hole was cut into it.
    rest: Option<DotRange<R>>,
}

impl<'a, R: ReplicaKey> Difference<'a, R> {
    pub(crate) fn new(left: Segments<'a, R>, right: Segments<'a, R>) -> Self {
        Self { left, right: right.peekable(), rest: None }
    }
}

impl<R: ReplicaKey> Iterator for Difference<'_, R> {
    type Item = DotRange<R>;

    fn next(&mut self) -> Option<DotRange<R>> {
        loop {
            let run = self.rest.take().or_else(|| self.left.next())?;
            while self.right.next_if(|hole| ends_below(hole, &run)).is_some() {}
            let Some(hole) = self.right.peek().filter(|hole| !ends_below(&run, hole)) else {
                return Some(run);
            };
            self.rest = hole.last().checked_next().and_then(|first| DotRange::new(run.replica(), first, run.last()));
            let before =
                hole.first().checked_previous().and_then(|last| DotRange::new(run.replica(), run.first(), last));
            if before.is_some() {
                return before;
            }
        }
    }
}

/// The runs of dots that are on both sides.
#[derive(Debug)]
pub(crate) struct Intersection<'a, R: ReplicaKey> {
    left: Peekable<Segments<'a, R>>,
    right: Peekable<Segments<'a, R>>,
}

impl<'a, R: ReplicaKey> Intersection<'a, R> {
    pub(crate) fn new(left: Segments<'a, R>, right: Segments<'a, R>) -> Self {
        Self { left: left.peekable(), right: right.peekable() }
    }
}

impl<R: ReplicaKey> Iterator for Intersection<'_, R> {
    type Item = DotRange<R>;

    fn next(&mut self) -> Option<DotRange<R>> {
        loop {
            let (left, right) = (*self.left.peek()?, *self.right.peek()?);
            // The run that ends first meets nothing further on the other side.
            match (left.replica(), left.last()).cmp(&(right.replica(), right.last())) {
                Ordering::Less => drop(self.left.next()),
                Ordering::Greater => drop(self.right.next()),
                Ordering::Equal => drop((self.left.next(), self.right.next())),
            }
            if left.replica() == right.replica() {
                let common =
                    DotRange::new(left.replica(), left.first().max(right.first()), left.last().min(right.last()));
                if common.is_some() {
                    return common;
                }
            }
        }
    }
}

/// Whether every dot of `low` sorts below every dot of `high`.
fn ends_below<R: ReplicaKey>(low: &DotRange<R>, high: &DotRange<R>) -> bool {
    (low.replica(), low.last()) < (high.replica(), high.first())
}
