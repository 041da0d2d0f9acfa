//! A map by the names of jobs.

use std::collections::BTreeMap;

use reconvene_clock::ReplicaId;
use reconvene_executor::JobId;

/// An ordered map by name, for very many jobs of few incarnations, each of which counts its own.
///
/// Numbers that follow each other share a page: a look-up compares few single numbers, where a tree of whole names compares
/// many pairs and leaves its nodes half empty. Every place of a page is as large as a value, so large ones belong into boxes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ByJob<T> {
    /// Without pages that are empty.
    incarnations: BTreeMap<ReplicaId, BTreeMap<u64, Box<Page<T>>>>,
    len: usize,
}

/// The jobs of one incarnation whose numbers differ in their last bits alone.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Page<T> {
    places: [Option<T>; PLACES],
    held: usize,
}

const PLACE_BITS: u32 = 5;
const PLACES: usize = 1 << PLACE_BITS;

/// The number of the page of a job, and its place there.
const fn place(job: JobId) -> (u64, usize) {
    let [last_bits, ..] = job.sequence.to_le_bytes();
    (job.sequence >> PLACE_BITS, last_bits as usize % PLACES)
}

impl<T> Page<T> {
    /// In order, each with the number of its job.
    fn values(&self, number: u64) -> impl Iterator<Item = (u64, &T)> {
        let first = number << PLACE_BITS;
        let numbered = self.places.iter().zip(first..=u64::MAX);
        numbered.filter_map(|(value, sequence)| Some((sequence, value.as_ref()?)))
    }
}

impl<T> Default for Page<T> {
    fn default() -> Self {
        Self { places: [const { None }; PLACES], held: 0 }
    }
}

impl<T> Default for ByJob<T> {
    fn default() -> Self {
        Self { incarnations: BTreeMap::new(), len: 0 }
    }
}

impl<T> ByJob<T> {
    /// The value of a job, which is there from now on.
    pub(crate) fn or_insert_with(&mut self, job: JobId, make: impl FnOnce() -> T) -> &mut T {
        let (number, place) = place(job);
        let page = self.incarnations.entry(job.admitted_by).or_default().entry(number).or_default();
        let Page { places, held } = page.as_mut();
        #[expect(clippy::indexing_slicing, reason = "there are as many places as remainders")]
        let value = &mut places[place];
        if value.is_none() {
            *held = held.saturating_add(1);
            self.len = self.len.saturating_add(1);
        }
        value.get_or_insert_with(make)
    }

    pub(crate) fn or_default(&mut self, job: JobId) -> &mut T
    where
        T: Default,
    {
        self.or_insert_with(job, T::default)
    }

    pub(crate) fn remove(&mut self, job: JobId) -> Option<T> {
        let (number, place) = place(job);
        let pages = self.incarnations.get_mut(&job.admitted_by)?;
        let page = pages.get_mut(&number)?;
        let value = page.places.get_mut(place)?.take()?;
        page.held = page.held.saturating_sub(1);
        self.len = self.len.saturating_sub(1);
        if page.held == 0 {
            pages.remove(&number);
            if pages.is_empty() {
                self.incarnations.remove(&job.admitted_by);
            }
        }
        Some(value)
    }

    pub(crate) fn get(&self, job: JobId) -> Option<&T> {
        let (number, place) = place(job);
        self.incarnations.get(&job.admitted_by)?.get(&number)?.places.get(place)?.as_ref()
    }

    pub(crate) fn get_mut(&mut self, job: JobId) -> Option<&mut T> {
        let (number, place) = place(job);
        self.incarnations.get_mut(&job.admitted_by)?.get_mut(&number)?.places.get_mut(place)?.as_mut()
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// By name, beginning after `after`.
    pub(crate) fn after(&self, after: Option<JobId>) -> impl Iterator<Item = (JobId, &T)> {
        let first = after.unwrap_or(JobId::new(FIRST_REPLICA, 0));
        self.starting_at(first).filter(move |(job, _)| Some(*job) != after)
    }

    /// Those that are not before `first`, by name.
    pub(crate) fn starting_at(&self, first: JobId) -> impl Iterator<Item = (JobId, &T)> {
        let incarnations = self.incarnations.range(first.admitted_by..);
        let all = incarnations.flat_map(move |(admitted_by, pages)| {
            let (first_page, _) = if *admitted_by == first.admitted_by { place(first) } else { (0, 0) };
            let values = pages.range(first_page..).flat_map(|(number, page)| page.values(*number));
            values.map(|(sequence, value)| (JobId::new(*admitted_by, sequence), value))
        });
        all.skip_while(move |(job, _)| *job < first)
    }
}

const FIRST_REPLICA: ReplicaId = ReplicaId::new(1).expect("1 is not zero");

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::ops::Bound;

    use proptest::prelude::*;
    use reconvene_clock::ReplicaId;
    use reconvene_executor::JobId;

    use super::{ByJob, PLACES};

    /// Few incarnations, and numbers of few pages, the first and the last among them.
    fn job() -> impl Strategy<Value = JobId> {
        let places = u64::try_from(PLACES).expect("few");
        let sequence = prop_oneof![0..3 * places, u64::MAX - 2 * places..=u64::MAX];
        (prop_oneof![1..4_u64, Just(u64::MAX)], sequence)
            .prop_map(|(replica, sequence)| JobId::new(ReplicaId::new(replica).expect("not zero"), sequence))
    }

    proptest! {
        #[test]
        fn law_it_is_the_map_of_the_standard_library(
            steps in prop::collection::vec((0..3_u8, job(), any::<u8>()), 0..200),
            from in job(),
        ) {
            let (mut paged, mut map) = (ByJob::default(), BTreeMap::new());
            for (kind, job, value) in steps {
                match kind {
                    0 => prop_assert_eq!(paged.remove(job), map.remove(&job)),
                    1 => prop_assert_eq!(paged.or_insert_with(job, || value), map.entry(job).or_insert(value)),
                    _ => {
                        *paged.or_default(job) = value;
                        *map.entry(job).or_default() = value;
                    }
                }
                prop_assert_eq!(paged.get(job), map.get(&job));
                prop_assert_eq!(paged.get_mut(job), map.get_mut(&job));
                prop_assert_eq!(paged.len(), map.len());
            }
            prop_assert!(paged.after(None).eq(map.iter().map(|(job, value)| (*job, value))));
            let behind = (Bound::Excluded(from), Bound::Unbounded);
            prop_assert!(paged.after(Some(from)).eq(map.range(behind).map(|(job, value)| (*job, value))));
            prop_assert!(paged.starting_at(from).eq(map.range(from..).map(|(job, value)| (*job, value))));
            let mut again = ByJob::default();
            for (job, value) in &map {
                *again.or_default(*job) = *value;
            }
            prop_assert_eq!(&paged, &again, "what was removed has left nothing");
            for job in map.keys() {
                paged.remove(*job);
            }
            prop_assert_eq!(paged, ByJob::default());
        }
    }
}
