//! What a store refuses, and that refusing changes nothing.

use reconvene_clock::Hlc;
use reconvene_store::{
    Applied, Batch, Body, Class, CommitError, Durability, Key, KeyContext, Limits, LocalWrite, MAX_KEY_BYTES,
    MetadataStore, Plan, PlanError, Prefix, Quota, Replaces, Usage,
};

use super::peer::{Peer, keys, put};
use super::reading::read_quickly;
use crate::suite::block_on::block_on;
use crate::suite::check::Check;
use crate::suite::report::{Blame, Broken, Report};

/// The limits of the stores that [`refusals`] is given: three rows in all, two in a batch.
pub(super) fn tight() -> Limits {
    let mut limits = Limits::default();
    (limits.row_bytes, limits.batch_rows, limits.batch_bytes, limits.store_rows) = (600, 2, 600, 3);
    limits
}

/// The limits of the stores that [`local_limits`] is given: those on local writes, and that on rows.
pub(super) fn narrow() -> Limits {
    let mut limits = Limits::default();
    (limits.value_bytes, limits.siblings, limits.row_bytes) = (40, 2, 600);
    limits
}

/// Batches that a store within [`tight`] limits must refuse, one for each reason, and what is exactly at a limit.
pub(super) fn refusals<S: MetadataStore>(store: &S, report: &mut Report) -> Result<(), Broken> {
    let check = Check::RefusalsChangeNothing;
    let keys = keys();
    let mut model = read_quickly(&block_on(store.snapshot()).blame(check)?).blame(check)?;

    let mut foreign = Peer::new(3).plan();
    for key in keys.iter().take(1) {
        put(&mut foreign, key, Body::of("foreign")).blame(check)?;
    }
    refused(store, &model, &foreign.finish(), "Foreign", |error| matches!(error, CommitError::Foreign { .. }), report)?;

    let rows = |count: usize| -> Result<Batch, Broken> {
        let mut plan = model.plan();
        for key in keys.iter().take(count) {
            put(&mut plan, key, Body::of("value")).blame(check)?;
        }
        Ok(plan.finish())
    };
    let (two, three) = (rows(2)?, rows(3)?);
    refused(store, &model, &three, "Refused", |error| matches!(error, CommitError::Refused { .. }), report)?;
    accepted(store, &mut model, &two, report)?;
    refused(store, &model, &two, "Conflict", |error| matches!(error, CommitError::Conflict { .. }), report)?;

    // A row of exactly so many bytes that the batch is at its limit, and one more.
    for (extra, fits) in [(0_usize, true), (1, false)] {
        let mut plan = model.plan();
        let probe = keys.first().ok_or("there are keys").blame(check)?;
        put(&mut plan.clone(), probe, Body::of([])).blame(check)?;
        let mut empty = plan.clone();
        put(&mut empty, probe, Body::of([])).blame(check)?;
        let limit = store.capabilities().limits.batch_bytes;
        let len = limit.saturating_sub(empty.finish().byte_len()).saturating_add(extra);
        put(&mut plan, probe, Body::of(vec![7; len])).blame(check)?;
        let batch = plan.finish();
        if fits {
            report.look(Check::LimitsAtTheEdge, batch.byte_len() == limit, || {
                format!("a batch of {} bytes is not at the limit of {limit}", batch.byte_len())
            })?;
            accepted(store, &mut model, &batch, report)?;
        } else {
            refused(store, &model, &batch, "Refused", |error| matches!(error, CommitError::Refused { .. }), report)?;
        }
    }

    for key in keys.iter().chain(keys.first()) {
        let mut plan = model.plan();
        put(&mut plan, key, Body::of("value")).blame(check)?;
        let batch = plan.finish();
        let beyond = !model.rows.contains_key(key) && model.rows.len() >= store.capabilities().limits.store_rows;
        // Stores in memory are bounded as a whole, and others may be.
        let full = matches!(block_on(store.commit(&batch)), Err(CommitError::Full { .. }));
        if beyond && (full || store.capabilities().durability == Durability::None) {
            refused(store, &model, &batch, "Full", |error| matches!(error, CommitError::Full { .. }), report)?;
            report.saw("full");
        } else {
            report.look(Check::LimitsAtTheEdge, !full, || format!("full with {} rows", model.rows.len()))?;
            model.commit(&batch);
            is_at(store, &model, Check::LimitsAtTheEdge, report)?;
        }
    }
    Ok(())
}

fn accepted<S: MetadataStore>(store: &S, model: &mut Peer, batch: &Batch, report: &mut Report) -> Result<(), Broken> {
    let check = Check::LimitsAtTheEdge;
    let answer = block_on(store.commit(batch));
    report.look(check, answer.is_ok(), || format!("{} rows of {} bytes: {answer:?}", batch.len(), batch.byte_len()))?;
    model.commit(batch);
    is_at(store, model, check, report)
}

fn is_at<S: MetadataStore>(store: &S, model: &Peer, check: Check, report: &mut Report) -> Result<(), Broken> {
    let found = read_quickly(&block_on(store.snapshot()).blame(check)?).blame(check)?;
    let same = found.same(model);
    report.look(check, same.is_ok(), || same.err().unwrap_or_default())
}

fn refused<S: MetadataStore>(
    store: &S,
    model: &Peer,
    batch: &Batch,
    expected: &str,
    is_expected: impl Fn(&CommitError) -> bool,
    report: &mut Report,
) -> Result<(), Broken> {
    let check = Check::RefusalsChangeNothing;
    report.saw("refusals");
    let answer = block_on(store.commit(batch));
    let right = answer.as_ref().is_err_and(is_expected);
    report.look(check, right, || format!("a batch to be refused as {expected}: {answer:?}"))?;
    is_at(store, model, check, report)
}

/// Limits on local writes, at the edge and one beyond; none of them keeps out what others wrote.
pub(super) fn local_limits<S: MetadataStore>(store: &S, report: &mut Report) -> Result<(), Broken> {
    let (check, replicas) = (Check::LimitsAtTheEdge, Check::QuotasLetReplicasIn);
    let limits = store.capabilities().limits;
    let mut model = read_quickly(&block_on(store.snapshot()).blame(check)?).blame(check)?;
    let longest = Key::new(vec![b'k'; MAX_KEY_BYTES]).blame(check)?;
    report.look(check, Key::new(vec![b'k'; MAX_KEY_BYTES.saturating_add(1)]).is_err(), || "a key of 513".to_owned())?;
    let all = keys();
    let key = all.first().ok_or("there are keys").blame(check)?;

    // A peer that knows no such limits writes what this store must take.
    let mut peer = Peer::new(1);
    let mut theirs = peer.plan();
    let big = Body::of(vec![1; limits.value_bytes.saturating_add(9)]);
    put(&mut theirs, key, big).blame(check)?;
    for _ in 0..limits.siblings.saturating_add(1) {
        let (body, replaces) = (Body::of([2]), Replaces::Context(KeyContext::new()));
        let write = LocalWrite { key: key.clone(), class: Class::NORMAL, body, hlc: Hlc::default(), replaces };
        theirs.write(write).blame(check)?;
    }
    peer.commit(&theirs.finish());

    let mut plan = model.plan_within(&limits);
    let edge = put(&mut plan, key, Body::of(vec![3; limits.value_bytes]));
    report.look(check, edge.is_ok(), || format!("a value of exactly the limit: {edge:?}"))?;
    let beyond = put(&mut plan, key, Body::of(vec![3; limits.value_bytes.saturating_add(1)]));
    let refused = matches!(beyond, Err(PlanError::ValueTooLarge { .. }));
    report.look(check, refused, || format!("a value of one byte more: {beyond:?}"))?;
    accepted(store, &mut model, &plan.finish(), report)?;

    // A quota that is used up, and what a peer wrote all the same.
    let mut plan = model.plan_within(&limits);
    let usage = model.rows.values().fold(Usage::default(), |mut usage, record| {
        usage.add(record);
        usage
    });
    let set = plan.set_quota(Prefix::all(), Quota { rows: usage.rows, bytes: u64::MAX }, usage);
    report.look(replicas, set, || "a first quota is refused".to_owned())?;
    accepted(store, &mut model, &plan.finish(), report)?;
    let mut plan = Plan::new(model.head.clone(), [longest.clone()], [], &limits);
    let local = put(&mut plan, &longest, Body::of([4]));
    let refused = matches!(local, Err(PlanError::QuotaFull { .. }));
    report.look(replicas, refused, || format!("a row beyond the quota: {local:?}"))?;
    for (key, version) in peer.missing_from(model.head.knowledge()) {
        let mut plan = model.plan_within(&limits);
        let applied = plan.apply(key, version);
        let taken = matches!(applied, Ok(Applied::New | Applied::Concurrent | Applied::Obsolete));
        report.look(replicas, taken, || format!("a replicated version beyond local limits: {applied:?}"))?;
        accepted(store, &mut model, &plan.finish(), report)?;
    }
    let mut other = Peer::new(2);
    let mut theirs = Plan::new(other.head.clone(), [longest.clone()], [], &Limits::default());
    put(&mut theirs, &longest, Body::of([5])).blame(check)?;
    other.commit(&theirs.finish());
    for (key, version) in other.missing_from(model.head.knowledge()) {
        let mut plan = Plan::new(model.head.clone(), [key.clone()], [], &limits);
        let applied = plan.apply(key, version);
        report
            .look(replicas, applied == Ok(Applied::New), || format!("a replicated row beyond a quota: {applied:?}"))?;
        accepted(store, &mut model, &plan.finish(), report)?;
    }

    // A row larger than any may be is put aside, and no claim counts it as known.
    let mut third = Peer::new(3);
    let mut theirs = third.plan();
    let far = all.last().ok_or("there are keys").blame(check)?;
    let dot = put(&mut theirs, far, Body::of(vec![6; limits.row_bytes])).blame(check)?;
    third.commit(&theirs.finish());
    let mut plan = model.plan_within(&limits);
    for (key, version) in third.missing_from(model.head.knowledge()) {
        let applied = plan.apply(key, version);
        report
            .look(replicas, applied == Ok(Applied::PutAside), || format!("a row beyond the row limit: {applied:?}"))?;
    }
    plan.claim(third.head.knowledge(), third.head.gc_floor()).blame(replicas)?;
    accepted(store, &mut model, &plan.finish(), report)?;
    report.look(Check::KnowledgeNotAhead, !model.head.knowledge().contains(dot), || {
        format!("{dot} was put aside and is known by a claim")
    })
}
