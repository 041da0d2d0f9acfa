//! Rows of the table of records.

use std::sync::Arc;

use super::reader::{Reader, checked, put_checksum, put_count};
use super::seal::{KeyId, Seal, SealError};
use super::versions::{LEAST, put_versions, versions};
use super::{CodecError, CodecProblem};
use crate::{Key, Record, Version};

const RECORD: &str = "record";
/// The first byte of a row: its form.
const PLAIN: u8 = 1;
const SEALED: u8 = 2;
/// Names the table in what a seal covers, so that a value of another table cannot be put here.
const TABLE: &[u8] = b"records\0";
const MARK_TABLE: &[u8] = b"seal\0";
const MARK: &[u8] = b"reconvene seal 1";

/// Writes and reads rows of the table of records, sealed or not.
///
/// Cloning shares the seal.
#[derive(Clone, Debug, Default)]
pub struct RowCodec {
    seal: Option<Arc<dyn Seal>>,
}

impl RowCodec {
    /// Rows in the clear.
    #[must_use]
    pub const fn new() -> Self {
        Self { seal: None }
    }

    /// Rows whose content is sealed. Keys and dots stay clear, since order needs them.
    #[must_use]
    pub fn sealed(seal: Arc<dyn Seal>) -> Self {
        Self { seal: Some(seal) }
    }

    /// Appends the row of `record`. Equal records have equal rows, unless the seal is not deterministic.
    ///
    /// # Errors
    ///
    /// [`SealError`] if the seal refuses; nothing is appended.
    pub fn encode_record(&self, record: &Record, out: &mut Vec<u8>) -> Result<(), SealError> {
        let start = out.len();
        match &self.seal {
            None => {
                out.push(PLAIN);
                put_record(out, record);
            }
            Some(seal) => {
                let mut plain = Vec::new();
                put_record(&mut plain, record);
                put_sealed(out, &**seal, &aad(TABLE, record.key().as_bytes()), &plain)?;
            }
        }
        put_checksum(out, start);
        Ok(())
    }

    /// The record of `key` whose row is exactly these bytes.
    ///
    /// # Errors
    ///
    /// [`CodecError`] for anything that [`encode_record`](Self::encode_record) would not write.
    pub fn decode_record(&self, key: &Key, bytes: &[u8]) -> Result<Record, CodecError> {
        let mut reader = Reader::new(RECORD, checked(RECORD, bytes)?);
        match reader.byte()? {
            PLAIN => record(key, reader),
            SEALED => {
                let plain = self.open(&mut reader, &aad(TABLE, key.as_bytes()))?;
                record(key, Reader::new(RECORD, &plain))
            }
            form => Err(reader.error(CodecProblem::Form(form))),
        }
    }

    /// A row that tells later whether the same seal is given again; see [`check_mark`](Self::check_mark). It is written
    /// when a store is created.
    ///
    /// # Errors
    ///
    /// [`SealError`] if the seal refuses.
    pub fn mark(&self) -> Result<Vec<u8>, SealError> {
        let mut out = Vec::new();
        match &self.seal {
            None => out.push(PLAIN),
            Some(seal) => put_sealed(&mut out, &**seal, &aad(MARK_TABLE, &[]), MARK)?,
        }
        put_checksum(&mut out, 0);
        Ok(out)
    }

    /// Checks on opening that rows which were written beside this mark can be read with this codec.
    ///
    /// # Errors
    ///
    /// [`CodecError`] if the mark is damaged, or if values are sealed with something else, or are not sealed where a
    /// seal was given.
    pub fn check_mark(&self, mark: &[u8]) -> Result<(), CodecError> {
        let what = "mark of the seal";
        let mut reader = Reader::new(what, checked(what, mark)?);
        let found = match reader.byte()? {
            PLAIN => {
                reader.end()?;
                match self.seal {
                    None => return Ok(()),
                    Some(_) => return Err(reader.meaning("values are not sealed, and a seal was given")),
                }
            }
            SEALED => self.open(&mut reader, &aad(MARK_TABLE, &[]))?,
            form => return Err(reader.error(CodecProblem::Form(form))),
        };
        if found == MARK { Ok(()) } else { Err(reader.meaning("another seal was used")) }
    }

    fn open(&self, reader: &mut Reader<'_>, aad: &[u8]) -> Result<Vec<u8>, CodecError> {
        let key = KeyId::new(u32::from_be_bytes(reader.array()?));
        let sealed = reader.take(reader.remaining())?;
        let seal = self.seal.as_ref().ok_or_else(|| reader.error(CodecProblem::Sealed))?;
        let mut plain = Vec::new();
        match seal.open(key, aad, sealed, &mut plain) {
            Ok(()) => Ok(plain),
            Err(error) => Err(reader.error(CodecProblem::Unsealed(error.to_string()))),
        }
    }
}

fn put_record(out: &mut Vec<u8>, record: &Record) {
    put_count(out, record.siblings().len());
    put_count(out, record.evidence().len());
    put_versions(out, record.siblings().iter().chain(record.evidence()));
}

fn record(key: &Key, mut reader: Reader<'_>) -> Result<Record, CodecError> {
    let (live, evidence) = (reader.count(LEAST)?, reader.count(LEAST)?);
    let mut found = versions(&mut reader, live.saturating_add(evidence))?;
    reader.end()?;
    if let ([only], 0) = (found.as_slice(), evidence)
        && !only.replaces(only.dot)
        && let Some(only) = found.pop()
    {
        return Ok(Record::of_versions(key.clone(), Arc::new([only])));
    }
    let order = || reader.error(CodecProblem::Order);
    let extra: Vec<Version> = found.drain(live.min(found.len())..).collect();
    if !found.is_sorted_by(|left, right| left.dot < right.dot) {
        return Err(order());
    }
    let record = Record::new(key.clone(), found).map_err(|error| reader.meaning(error))?;
    if extra.is_empty() {
        return Ok(record);
    }
    let record = record.with_evidence(extra.iter().cloned()).map_err(|error| reader.meaning(error))?;
    if record.evidence() == extra { Ok(record) } else { Err(order()) }
}

fn aad(table: &[u8], key: &[u8]) -> Vec<u8> {
    [table, key].concat()
}

fn put_sealed(out: &mut Vec<u8>, seal: &dyn Seal, aad: &[u8], plain: &[u8]) -> Result<(), SealError> {
    let mut sealed = Vec::new();
    let key = seal.seal(aad, plain, &mut sealed)?;
    out.push(SEALED);
    out.extend_from_slice(&key.get().to_be_bytes());
    out.extend_from_slice(&sealed);
    Ok(())
}
