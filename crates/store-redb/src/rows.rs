//! Rows: what a batch comes to in the tables, and back.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use reconvene_store::codec::{
    decode_fact, decode_fact_id, decode_head, decode_print_id, encode_dot, encode_fact, encode_fact_id, encode_head,
    encode_print_id,
};
use reconvene_store::{
    Batch, Fact, FactKind, Fingerprint, Head, IndexChange, Key, PrintId, Record, RowCodec, SealError, StoreError,
};
use redb::ReadableTable as _;

use crate::engine::{Changes, Engine, Source, Tables, Unreadable, reading};
use crate::snapshot::{View, corrupt};

/// The row of `meta` that everything which is in no row of its own is in.
pub(crate) const HEAD: &str = "head";

/// What `batch` changes.
pub(crate) fn changes_of(batch: &Batch, codec: &RowCodec) -> Result<Changes, SealError> {
    let mut changes = Changes::default();
    for row in batch.rows() {
        let after = row.after().map(|record| {
            let mut bytes = Vec::with_capacity(record.byte_len().saturating_add(64));
            codec.encode_record(record, &mut bytes).map(|()| bytes)
        });
        changes.records.push((row.key().clone(), after.transpose()?));
    }
    for change in batch.index() {
        let (dot, key, tombstone) = match change {
            IndexChange::Insert { dot, key, tombstone } => (encode_dot(dot), Some(key), tombstone),
            IndexChange::Remove { dot, tombstone } => (encode_dot(dot), None, tombstone),
        };
        changes.live.push((dot, key.cloned()));
        if tombstone {
            changes.tombs.push((dot, key.is_some()));
        }
    }
    for (id, print) in batch.prints() {
        let print = (*print != Fingerprint::EMPTY).then(|| print.as_u128().to_be_bytes());
        changes.prints.push((encode_print_id(*id), print));
    }
    changes.facts = batch.facts().to_vec();
    changes.meta.push((HEAD, head_row(batch.head())));
    Ok(changes)
}

pub(crate) fn head_row(head: &Head) -> Vec<u8> {
    let mut row = Vec::new();
    encode_head(head, &mut row);
    row
}

fn print_of(name: &[u8], print: &[u8]) -> Option<(PrintId, Fingerprint)> {
    let print = Fingerprint::from_u128(u128::from_be_bytes(print.try_into().ok()?));
    Some((decode_print_id(name).ok()?, print))
}

/// The fact of a row, or what is wrong with it.
pub(crate) fn fact_of(name: &[u8], row: &[u8]) -> Result<Fact, String> {
    let read = decode_fact_id(name).and_then(|(kind, replica)| decode_fact(kind, replica, row));
    read.map_err(|error| error.to_string())
}

/// The kind of a fact's row.
pub(crate) fn fact_kind_of(name: &[u8]) -> Option<FactKind> {
    decode_fact_id(name).ok().map(|(kind, _)| kind)
}

/// Name and row of `fact` after it was joined with what the row held.
pub(crate) fn join_fact(
    fact: &Fact,
    held: impl FnOnce(&[u8]) -> Result<Option<Vec<u8>>, Source>,
) -> Result<(Vec<u8>, Vec<u8>), Source> {
    let name = encode_fact_id(fact.kind(), fact.id());
    let mut row = Vec::new();
    match held(&name)? {
        None => encode_fact(fact, &mut row),
        Some(held) => {
            let mut joined = fact_of(&name, &held)?;
            joined.merge(fact);
            encode_fact(&joined, &mut row);
        }
    }
    Ok((name, row))
}

/// The record of a row.
pub(crate) fn record_of(codec: &RowCodec, key: &Key, row: &[u8]) -> Result<Record, StoreError> {
    codec.decode_record(key, row).map_err(|error| corrupt(format!("the row of {key} does not read: {error}")))
}

/// The head that the tables have.
pub(crate) fn head_of(tables: &Tables) -> Result<Head, StoreError> {
    let read = |error: Unreadable| error.into_store_error("reading the head of");
    let row = reading(|| Ok(tables.meta.get(HEAD)?.map(|row| row.value().to_vec()))).map_err(read)?;
    let row = row.ok_or_else(|| corrupt("it has no head".to_owned()))?;
    let mut prints = Vec::new();
    let sound = reading(|| {
        for row in tables.prints.iter()? {
            let (name, print) = row?;
            let Some(print) = print_of(name.value(), print.value()) else {
                return Ok(false);
            };
            prints.push(print);
        }
        Ok(true)
    });
    if !sound.map_err(read)? {
        return Err(corrupt("a fingerprint does not read".to_owned()));
    }
    decode_head(&row, prints).map_err(|error| corrupt(format!("its head does not read: {error}")))
}

/// What the engine holds now.
pub(crate) fn view_of(engine: &Engine, codec: &RowCodec, open: &Arc<AtomicBool>) -> Result<View, StoreError> {
    let tables = engine.tables().map_err(|error| error.into_store_error("reading"))?;
    let head = head_of(&tables)?;
    Ok(View { tables, head, codec: codec.clone(), open: Arc::clone(open) })
}
