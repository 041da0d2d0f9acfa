//! Verifying a file from its first byte, without changing any.

use std::sync::Arc;

use reconvene_store::codec::decode_dot;
use reconvene_store::{CheckReport, Checker, Key, RowCodec, StoreError};
use redb::ReadableTable as _;

use crate::engine::{Engine, Unreadable, Unusable, reading};
use crate::medium::Medium;
use crate::rows::{fact_of, head_of, record_of};
use crate::snapshot::corrupt;

/// Checks what is on the medium now, past every cache. Nobody else writes meanwhile.
///
/// The medium is opened again behind a gate that stays shut, which verifies the checksum of every page; then every row
/// is read and compared with the index, the list of tombstones, and the fingerprints.
pub(crate) fn check(medium: &Arc<dyn Medium>, codec: &RowCodec) -> Result<CheckReport, StoreError> {
    let opened = Engine::open(Arc::clone(medium)).map_err(|error| match error {
        Unusable::Damaged(what) => corrupt(what),
        Unusable::Newer(format) => corrupt(format!("it has become a file of format {format}")),
        Unusable::Io(source) => StoreError::Io { doing: "reading", source },
    })?;
    if !opened.newest {
        return Err(corrupt("its newest commit does not verify".to_owned()));
    }
    let unreadable = |error: Unreadable| error.into_store_error("reading");
    let tables = opened.engine.tables().map_err(unreadable)?;
    let head = head_of(&tables)?;
    opened.verify(&head).map_err(corrupt)?;
    let mut checker = Checker::new(&head);
    reading(|| {
        for row in tables.records.iter()? {
            let (key, row) = row?;
            match Key::new(key.value()) {
                Ok(key) => match record_of(codec, &key, row.value()) {
                    Ok(record) => checker.row(&record),
                    Err(error) => checker.damaged_row(key, &error),
                },
                Err(error) => checker.damaged(format!("a row has a key that is none: {error}")),
            }
        }
        for row in tables.live.iter()? {
            let (dot, key) = row?;
            match decode_dot(dot.value()).ok().zip(Key::new(key.value()).ok()) {
                Some((dot, key)) => checker.live(dot, &key),
                None => checker.damaged("an entry of the live index is no dot with a key"),
            }
        }
        for row in tables.tombs.iter()? {
            let (dot, _) = row?;
            let key = tables.live.get(dot.value())?.and_then(|key| Key::new(key.value()).ok());
            match decode_dot(dot.value()).ok().zip(key) {
                Some((dot, key)) => checker.tombstone(dot, &key),
                None => checker.damaged("a tombstone is not in the live index"),
            }
        }
        for row in tables.facts.iter()? {
            let (name, fact) = row?;
            if let Err(what) = fact_of(name.value(), fact.value()) {
                checker.damaged(what);
            }
        }
        Ok(())
    })
    .map_err(unreadable)?;
    Ok(checker.finish())
}
