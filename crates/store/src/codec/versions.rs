//! Versions of one key as columns.

use std::sync::Arc;

use reconvene_clock::{Dot, Height, ReplicaId, VectorClock};
use smallvec::SmallVec;

use super::reader::{Reader, put_count, put_counter, put_number};
use super::{CodecError, CodecProblem};
use crate::{Body, Class, KeyContext, Version};

/// The replicas that some versions name, ascending: what the columns refer to.
struct Replicas(SmallVec<[ReplicaId; 2]>);

impl Replicas {
    fn of<'a>(versions: impl Iterator<Item = &'a Version>) -> Self {
        let mut ids: SmallVec<[ReplicaId; 2]> = SmallVec::new();
        for version in versions {
            ids.push(version.dot.replica);
            ids.extend(version.context.dots().iter().map(|dot| dot.replica));
            ids.extend(version.context.upto().iter().map(|end| end.replica));
        }
        ids.sort_unstable();
        ids.dedup();
        Self(ids)
    }

    fn put(&self, out: &mut Vec<u8>, dot: Dot) {
        let place = self.0.binary_search(&dot.replica).unwrap_or_default();
        put_count(out, place);
        put_counter(out, dot.counter);
    }
}

/// Appends versions, in the order given.
pub(super) fn put_versions<'a>(out: &mut Vec<u8>, versions: impl Iterator<Item = &'a Version> + Clone) {
    let replicas = Replicas::of(versions.clone());
    put_count(out, replicas.0.len());
    replicas.0.iter().for_each(|id| out.extend_from_slice(&id.get().to_be_bytes()));
    versions.clone().for_each(|version| replicas.put(out, version.dot));
    versions.clone().for_each(|version| put_number(out, version.height.get().saturating_sub(1)));
    versions.clone().for_each(|version| out.extend_from_slice(&version.hlc.as_u64().to_be_bytes()));
    versions.clone().for_each(|version| out.push(version.class.get()));
    for version in versions.clone() {
        let (dots, upto) = (version.context.dots(), version.context.upto());
        put_count(out, dots.len());
        put_count(out, upto.len());
        dots.iter().copied().chain(upto.iter()).for_each(|dot| replicas.put(out, dot));
    }
    for version in versions.clone() {
        put_count(out, version.body.value().map_or(0, |value| value.len().saturating_add(1)));
    }
    versions.filter_map(|version| version.body.value()).for_each(|value| out.extend_from_slice(value));
}

/// The least bytes of one version: a place, counter, height, stamp, class, two counts and a length.
pub(super) const LEAST: usize = 15;

/// The replicas of a table, and which of them something referred to.
struct Table {
    ids: SmallVec<[(ReplicaId, bool); 2]>,
}

impl Table {
    fn read(reader: &mut Reader<'_>) -> Result<Self, CodecError> {
        let count = reader.count(8)?;
        let mut ids: SmallVec<[(ReplicaId, bool); 2]> = SmallVec::with_capacity(count);
        for _ in 0..count {
            let id = reader.replica()?;
            if ids.last().is_some_and(|(last, _)| *last >= id) {
                return Err(reader.error(CodecProblem::Order));
            }
            ids.push((id, false));
        }
        Ok(Self { ids })
    }

    fn dot(&mut self, reader: &mut Reader<'_>) -> Result<Dot, CodecError> {
        let at = *reader;
        let place = usize::try_from(reader.number()?).unwrap_or(usize::MAX);
        let (replica, used) = self.ids.get_mut(place).ok_or_else(|| at.error(CodecProblem::Number))?;
        *used = true;
        Ok(Dot::new(*replica, reader.counter()?))
    }

    fn context(&mut self, reader: &mut Reader<'_>) -> Result<KeyContext, CodecError> {
        let (dots, ends) = (reader.count(2)?, reader.count(2)?);
        if dots == 0 && ends == 0 {
            return Ok(KeyContext::new());
        }
        let at = *reader;
        let exact = (0..dots).map(|_| self.dot(reader)).collect::<Result<Vec<Dot>, _>>()?;
        let upto = (0..ends).map(|_| self.dot(reader)).collect::<Result<Vec<Dot>, _>>()?;
        let ascending = exact.is_sorted_by(|left, right| left < right)
            && upto.is_sorted_by(|left, right| left.replica < right.replica);
        let context = KeyContext::from_parts(exact, upto.into_iter().collect::<VectorClock>());
        if !ascending || context.dots().len() != dots {
            return Err(at.error(CodecProblem::Order));
        }
        Ok(context)
    }
}

/// Reads `count` versions, of which most keys have one.
pub(super) fn versions(reader: &mut Reader<'_>, count: usize) -> Result<SmallVec<[Version; 1]>, CodecError> {
    let mut table = Table::read(reader)?;
    if count > reader.remaining().checked_div(LEAST).unwrap_or_default() {
        return Err(reader.error(CodecProblem::Truncated));
    }
    let mut found: SmallVec<[Version; 1]> = SmallVec::with_capacity(count);
    for _ in 0..count {
        let (dot, context) = (table.dot(reader)?, KeyContext::new());
        let (height, hlc, class, body) = (Height::MIN, Default::default(), Class::NORMAL, Body::Tombstone);
        found.push(Version { dot, context, height, hlc, class, body });
    }
    for version in &mut found {
        let at = *reader;
        let height = reader.number()?.checked_add(1).and_then(Height::new);
        version.height = height.ok_or_else(|| at.error(CodecProblem::Number))?;
    }
    for version in &mut found {
        version.hlc = reader.hlc()?;
    }
    for version in &mut found {
        version.class = Class::new(reader.byte()?);
    }
    for version in &mut found {
        version.context = table.context(reader)?;
    }
    if table.ids.iter().any(|(_, used)| !used) {
        return Err(reader.error(CodecProblem::Unused));
    }
    let mut lengths: SmallVec<[u64; 1]> = SmallVec::with_capacity(count);
    for _ in 0..count {
        lengths.push(reader.number()?);
    }
    for (version, length) in found.iter_mut().zip(lengths) {
        if let Some(length) = length.checked_sub(1) {
            let bytes = reader.take(usize::try_from(length).unwrap_or(usize::MAX))?;
            version.body = Body::Value(Arc::from(bytes));
        }
    }
    Ok(found)
}
