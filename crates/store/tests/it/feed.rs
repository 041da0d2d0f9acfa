//! The change feed against a list of everything that ever changed.

use core::future::Future as _;
use core::pin::pin;
use core::sync::atomic::{AtomicUsize, Ordering};
use core::task::{Context, Poll, Waker};
use std::sync::Arc;
use std::task::Wake;

use proptest::prelude::*;
use reconvene_store::{Batch, Body, ChangeFeed, Changes, Key, PageLimit, Replaces, Revision, StoreError};

use crate::world::{Replica, key, write};

fn batch(replica: &mut Replica, keys: &[u8]) -> Batch {
    let mut plan = replica.plan();
    for number in keys {
        plan.write(write(*number, Body::of("x"), Replaces::AllLive)).unwrap();
    }
    let batch = plan.finish();
    replica.commit(&batch);
    batch
}

struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn law_every_last_change_is_seen(
        batches in prop::collection::vec(prop::collection::vec(0_u8..4, 0..4), 1..25),
        reads in prop::collection::vec(any::<bool>(), 25),
        items in 1_usize..4,
        max_keys in 1_usize..6,
    ) {
        let (mut replica, feed) = (Replica::new(1), ChangeFeed::new(Revision::default(), max_keys));
        // For each key the revision of its last change; what a reader has seen so far.
        let mut changed: Vec<(Key, Revision)> = Vec::new();
        let (mut at, mut seen) = (Revision::default(), Vec::new());
        for (keys, reads) in batches.iter().zip(reads) {
            let batch = batch(&mut replica, keys);
            for row in batch.rows() {
                changed.retain(|(key, _)| key != row.key());
                changed.push((row.key().clone(), batch.head().revision()));
            }
            feed.committed(&batch);
            if !reads {
                continue;
            }
            loop {
                match feed.since(at, PageLimit { items, bytes: usize::MAX }) {
                    None => break,
                    Some(Changes::Rescan { at: newest }) => {
                        at = newest;
                        seen = changed.clone();
                    }
                    Some(Changes::Keys { keys, upto }) => {
                        prop_assert!(upto > at);
                        let expected: Vec<Key> = changed.iter().filter(|(_, revision)| *revision > at && *revision <= upto)
                            .map(|(key, _)| key.clone()).collect();
                        prop_assert_eq!(&keys, &expected, "each once, in the order of their last changes");
                        for key in keys {
                            seen.retain(|(other, _)| *other != key);
                            let revision = changed.iter().find(|(other, _)| *other == key).unwrap().1;
                            seen.push((key, revision));
                        }
                        at = upto;
                    }
                }
            }
            prop_assert_eq!(&seen, &changed);
        }
    }
}

#[test]
fn waiting_readers_are_woken_and_forgotten() {
    let (mut replica, feed) = (Replica::new(1), ChangeFeed::new(Revision::default(), 10));
    let count = Arc::new(Count(AtomicUsize::new(0)));
    let waker = Waker::from(Arc::clone(&count));
    let mut context = Context::from_waker(&waker);
    {
        let mut dropped = Box::pin(feed.changes(Revision::default(), PageLimit::default()));
        assert!(dropped.as_mut().poll(&mut context).is_pending());
    }
    let mut waiting = pin!(feed.changes(Revision::default(), PageLimit::default()));
    assert!(waiting.as_mut().poll(&mut context).is_pending());
    assert!(waiting.as_mut().poll(&mut context).is_pending());
    feed.committed(&batch(&mut replica, &[1]));
    assert_eq!(count.0.load(Ordering::SeqCst), 1, "the one that still waits, once");
    let Poll::Ready(Ok(Changes::Keys { keys, upto })) = waiting.as_mut().poll(&mut context) else { panic!("a change") };
    assert_eq!((keys, upto.get()), (vec![key(1)], 1));

    let mut waiting = pin!(feed.changes(upto, PageLimit::default()));
    assert!(waiting.as_mut().poll(&mut context).is_pending());
    feed.close();
    assert_eq!(count.0.load(Ordering::SeqCst), 2);
    assert!(matches!(waiting.as_mut().poll(&mut context), Poll::Ready(Err(StoreError::Closed))));
}
