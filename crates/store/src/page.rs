//! Reading ranges a page at a time.

use core::fmt::Debug;

use reconvene_clock::{Counter, Dot, DotRange};

use crate::{Key, Prefix};

/// Every live tombstone, by dot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(clippy::exhaustive_structs, reason = "there is nothing to say about it")]
pub struct Tombstones;

/// What a range read walks over: a [`Prefix`] of keys, a [`DotRange`] of dots, or all [`Tombstones`].
pub trait Range: Clone + Debug + Eq + Send + Sync + sealed::Sealed {
    /// Where in the range the last item of a page was.
    type Position: Clone + Debug + Eq + Send + Sync;
}

impl Range for Prefix {
    type Position = Key;
}

impl Range for DotRange {
    type Position = Counter;
}

impl Range for Tombstones {
    type Position = Dot;
}

mod sealed {
    #[expect(unnameable_types, reason = "which is what keeps `Range` to the two that backends read")]
    pub trait Sealed {}
    impl Sealed for super::Prefix {}
    impl Sealed for super::DotRange {}
    impl Sealed for super::Tombstones {}
}

/// How much one answer holds at most, but for its first item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "these two bound any answer")]
pub struct PageLimit {
    /// Items.
    pub items: usize,
    /// Bytes of the items.
    pub bytes: usize,
}

impl Default for PageLimit {
    /// 1,024 items or 1 MiB.
    fn default() -> Self {
        Self { items: 1_024, bytes: 1 << 20 }
    }
}

/// A place in a range, and how much to read from there at most.
///
/// ```
/// use reconvene_store::{Cursor, Prefix};
///
/// let start = Cursor::new(Prefix::new("job/")?).with_rows(100);
/// assert_eq!((start.max_rows(), start.after()), (100, None));
/// # Ok::<(), reconvene_store::KeyError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor<R: Range> {
    range: R,
    after: Option<R::Position>,
    max_rows: usize,
    max_bytes: usize,
}

impl<R: Range> Cursor<R> {
    /// The start of `range`, in pages of 1,024 items or 1 MiB.
    #[must_use]
    pub fn new(range: R) -> Self {
        Self { range, after: None, max_rows: 1_024, max_bytes: 1 << 20 }
    }

    /// Reads at most this many items at once; at least 1.
    #[must_use]
    pub fn with_rows(mut self, max_rows: usize) -> Self {
        self.max_rows = max_rows.max(1);
        self
    }

    /// Ends a page before it exceeds this many bytes. Its first item comes in any case.
    #[must_use]
    pub fn with_bytes(mut self, max_bytes: usize) -> Self {
        self.max_bytes = max_bytes;
        self
    }

    /// The same range from behind `position`.
    #[must_use]
    pub fn resume_after(mut self, position: R::Position) -> Self {
        self.after = Some(position);
        self
    }

    /// The range.
    #[must_use]
    pub fn range(&self) -> &R {
        &self.range
    }

    /// The position of the last item before the place, or `None` at the start.
    #[must_use]
    pub fn after(&self) -> Option<&R::Position> {
        self.after.as_ref()
    }

    /// How many items to read at most.
    #[must_use]
    pub fn max_rows(&self) -> usize {
        self.max_rows
    }

    /// How many bytes to read at most, but for the first item.
    #[must_use]
    pub fn max_bytes(&self) -> usize {
        self.max_bytes
    }
}

/// Part of a range, ascending.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "built by every backend")]
pub struct Page<T, R: Range> {
    /// The items.
    pub items: Vec<T>,
    /// Where to go on, or `None` at the end of the range.
    pub next: Option<Cursor<R>>,
}

impl<T, R: Range> Page<T, R> {
    /// The page at `cursor` out of `items`, which begin behind it and ascend; `measure` gives the position of an item
    /// and its bytes. Reads one item more than it returns at most.
    #[must_use]
    pub fn fill(
        cursor: &Cursor<R>,
        items: impl IntoIterator<Item = T>,
        measure: impl Fn(&T) -> (R::Position, usize),
    ) -> Self {
        let mut page = Self { items: Vec::new(), next: None };
        let mut last = None;
        let mut bytes = 0_usize;
        for item in items {
            let (position, len) = measure(&item);
            bytes = bytes.saturating_add(len);
            if page.items.len() >= cursor.max_rows || (last.is_some() && bytes > cursor.max_bytes) {
                page.next = last.map(|last| cursor.clone().resume_after(last));
                break;
            }
            page.items.push(item);
            last = Some(position);
        }
        page
    }
}
