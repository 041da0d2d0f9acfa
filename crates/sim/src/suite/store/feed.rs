//! The change feed.

use std::sync::Arc;

use reconvene_store::{Batch, Body, ChangeFeed, Changes, Key, Limits, MetadataStore, PageLimit, Plan, Revision};

use super::peer::{Peer, keys, put};
use super::reading::read_quickly;
use super::threads::head_of;
use crate::suite::block_on::{Calls, block_on, poll_counted};
use crate::suite::check::Check;
use crate::suite::random::Random;
use crate::suite::report::{Blame, Broken, Report};

/// A reader that asks now and then, with pages of any size, against the list of all changes.
pub(super) fn follows<S: MetadataStore>(store: &S, seed: u64, report: &mut Report) -> Result<(), Broken> {
    let check = Check::FeedComplete;
    let mut random = Random::new(seed);
    let mut model = read_quickly(&block_on(store.snapshot()).blame(check)?).blame(check)?;
    let begin = model.head.revision();
    let mut log: Vec<(Revision, Vec<Key>)> = Vec::new();
    let mut readers = [begin; 2];
    for _ in 0..40 {
        let batch = some_batch(&model, &mut random)?;
        model.commit(&batch);
        block_on(store.commit(&batch)).blame(check)?;
        log.push((model.head.revision(), batch.rows().iter().map(|row| row.key().clone()).collect()));
        let now = model.head.revision();
        for at in &mut readers {
            let asks = random.one_in(3);
            while asks && *at < now {
                let limit = PageLimit { items: random.below(4), bytes: random.below(40) };
                let changes = block_on(store.changes(*at, limit)).blame(check)?;
                let Changes::Keys { keys, upto } = changes else {
                    return Err(check.broken(format!("{changes:?}, and only {now} batches were ever committed")));
                };
                report.look(check, upto > *at && upto <= now, || format!("asked after {at} at {now}: up to {upto}"))?;
                let expected = expected(&log, *at, upto);
                report.look(check, keys == expected, || {
                    format!("after {at} and up to {upto} changed {expected:?}, and the feed says {keys:?}")
                })?;
                let small = keys.len() <= limit.items.max(1) || one_revision(&log, &keys, *at, upto, limit.items);
                report.look(check, small, || format!("{} keys for {limit:?}", keys.len()))?;
                report.saw("pages of feeds");
                *at = upto;
            }
        }
    }
    Ok(())
}

/// The keys whose last change of all is after one revision and up to another, in that order.
fn expected(log: &[(Revision, Vec<Key>)], after: Revision, upto: Revision) -> Vec<Key> {
    let mut last: Vec<(Revision, &Key)> = Vec::new();
    for (revision, keys) in log {
        for key in keys {
            last.retain(|(_, held)| *held != key);
            last.push((*revision, key));
        }
    }
    last.into_iter().filter(|(at, _)| *at > after && *at <= upto).map(|(_, key)| key.clone()).collect()
}

/// Whether a page is long only because its last revision has many keys.
fn one_revision(log: &[(Revision, Vec<Key>)], keys: &[Key], after: Revision, upto: Revision, items: usize) -> bool {
    let before: Vec<(Revision, Vec<Key>)> = log.iter().filter(|(at, _)| *at < upto).cloned().collect();
    let without = keys.iter().filter(|key| expected(&before, after, upto).contains(key)).count();
    let last = log.iter().find(|(at, _)| *at == upto).map_or(0, |(_, keys)| keys.len());
    without < items.max(1) || last == 0 || keys.len() <= last.saturating_add(items)
}

/// Waits that begin before a commit end with it: all of them, with the waker that was given last, and whichever of them
/// are dropped meanwhile.
pub(super) fn wakes<S: MetadataStore>(store: &S, seed: u64, report: &mut Report) -> Result<(), Broken> {
    let check = Check::FeedWakes;
    let mut random = Random::new(seed);
    for _ in 0..8 {
        let model = read_quickly(&block_on(store.snapshot()).blame(check)?).blame(check)?;
        let now = model.head.revision();
        let mut waits: Vec<_> = (0..4).map(|_| Some(Box::pin(store.changes(now, PageLimit::default())))).collect();
        let mut wakers: Vec<Arc<Calls>> = Vec::new();
        for wait in waits.iter_mut().flatten() {
            // A task may move to another thread: the waker of the last poll counts.
            let mut last = Calls::new();
            for _ in 0..=random.below(2) {
                last = Calls::new();
                if let Some(answer) = poll_counted(wait.as_mut(), &last) {
                    return Err(check.broken(format!("nothing is newer than {now}, and the feed says {answer:?}")));
                }
            }
            wakers.push(last);
        }
        let dropped = random.below(waits.len().saturating_add(1));
        if let Some(wait) = waits.get_mut(dropped) {
            *wait = None;
        }
        let batch = some_batch(&model, &mut random)?;
        block_on(store.commit(&batch)).blame(check)?;
        for (wait, calls) in waits.iter_mut().zip(&wakers) {
            let Some(wait) = wait else { continue };
            report.look(check, calls.came(), || format!("a commit after {now} wakes nobody who waits since before"))?;
            let answer = poll_counted(wait.as_mut(), &Calls::new());
            let there = matches!(answer, Some(Ok(_)));
            report.look(check, there, || format!("a commit after {now} ends no wait that began before: {answer:?}"))?;
            report.saw("waits ended by a commit");
        }
    }
    Ok(())
}

/// Beyond what a feed remembers it says so, and a reader that scans and goes on from there is right again.
pub(super) fn overflows<S: MetadataStore>(store: &S, report: &mut Report) -> Result<(), Broken> {
    let check = Check::FeedRescans;
    let limits = store.capabilities().limits;
    let before = head_of(store, check)?;
    let begin = before.revision();
    let mut head = before;
    let per_batch = limits.batch_rows.min(4_096);
    let mut number = 0_usize;
    let mut asked = begin;
    let mut count = 0_usize;
    while number <= ChangeFeed::DEFAULT_KEYS {
        let keys: Vec<Key> =
            (0..per_batch).filter_map(|nth| Key::new(format!("k{:06}", number.saturating_add(nth))).ok()).collect();
        number = number.saturating_add(per_batch);
        let mut plan = Plan::new(head, keys.iter().cloned(), [], &limits);
        for key in &keys {
            put(&mut plan, key, Body::of([1])).blame(check)?;
        }
        let batch = plan.finish();
        head = batch.head().clone();
        if let Err(error) = block_on(store.commit(&batch)) {
            report.skip(check, &format!("the store does not take {number} rows: {error}"));
            return Ok(());
        }
        count = count.saturating_add(1);
        if count == 2 {
            asked = head.revision();
        }
    }
    let now = head.revision();
    for after in [begin, asked] {
        // What was forgotten is said to be; what was not is there in full.
        let mut at = after;
        let mut listed = 0_usize;
        while at < now {
            match block_on(store.changes(at, PageLimit::default())).blame(check)? {
                Changes::Rescan { at: newest } => {
                    report.look(check, newest == now, || format!("a rescan at {newest}, and the store is at {now}"))?;
                    report.saw("rescans");
                    at = newest;
                    listed = number;
                }
                Changes::Keys { keys, upto } => {
                    listed = listed.saturating_add(keys.len());
                    at = upto;
                }
            }
        }
        let all =
            usize::try_from(now.get().saturating_sub(after.get())).unwrap_or(usize::MAX).saturating_mul(per_batch);
        report.look(check, listed >= all, || format!("{listed} of {all} keys after {after}, and no rescan"))?;
    }
    let mut plan = Plan::new(head, keys(), [], &Limits::default());
    let key = keys().into_iter().next().ok_or("there are keys").blame(check)?;
    put(&mut plan, &key, Body::of("one more")).blame(check)?;
    block_on(store.commit(&plan.finish())).blame(check)?;
    let after = block_on(store.changes(now, PageLimit::default())).blame(check)?;
    let right = matches!(&after, Changes::Keys { keys, .. } if *keys == [key.clone()]);
    report.look(check, right, || format!("after the rescan {key} changed, and the feed says {after:?}"))
}

fn some_batch(model: &Peer, random: &mut Random) -> Result<Batch, Broken> {
    let mut plan = model.plan();
    for _ in 0..random.below(4) {
        let key = random.pick(&keys()).cloned().ok_or("there are keys").blame(Check::FeedComplete)?;
        put(&mut plan, &key, Body::of(random.below(1_000).to_le_bytes())).blame(Check::FeedComplete)?;
    }
    Ok(plan.finish())
}
