//! The cells of a store, each ending with its checksum.
//!
//! | cell | content |
//! |---|---|
//! | `format` | magic, major and minor version, network |
//! | `head/0`, `head/1` | lineage, head, facts |
//! | `row/<key in hex>` | revision, record |
//! | `log/a/<revision>`, `log/b/<revision>` | lineage, head, facts of the batch, rows of the batch |
//! | `witness` | witness; see [`reconvene_store::opening`] |
//! | `last/0`, `last/1` | the last commit, noted by turns |

use core::fmt::Write;

use reconvene_store::codec::{
    decode_fact, decode_fact_id, decode_head, decode_lineage, encode_fact, encode_fact_id, encode_head, encode_lineage,
};
use reconvene_store::opening::Lineage;
use reconvene_store::{
    Batch, CodecError, Fact, Fingerprints, Head, Key, NetworkId, Record, Revision, RowCodec, crc32c,
};

pub(super) const FORMAT: &str = "format";
pub(super) const HEADS: [&str; 2] = ["head/0", "head/1"];
pub(super) const LOGS: [&str; 2] = ["log/a/", "log/b/"];
pub(super) const ROWS: &str = "row/";

const MAGIC: &[u8; 8] = b"simstore";
/// The version of the cells that is written here.
pub(super) const VERSION: (u16, u16) = (1, 0);

pub(super) fn row_name(key: &Key) -> String {
    let mut name = String::with_capacity(key.as_bytes().len().saturating_mul(2).saturating_add(ROWS.len()));
    name.push_str(ROWS);
    for byte in key.as_bytes() {
        let _: core::fmt::Result = write!(name, "{byte:02x}");
    }
    name
}

pub(super) fn key_of(name: &str) -> Option<Key> {
    let hex = name.strip_prefix(ROWS)?;
    let byte = |at: usize| u8::from_str_radix(hex.get(at..at.checked_add(2)?)?, 16).ok();
    let bytes: Option<Vec<u8>> = (0..hex.len()).step_by(2).map(byte).collect();
    Key::new(bytes?).ok()
}

pub(super) fn log_name(copy: &str, revision: Revision) -> String {
    format!("{copy}{:016x}", revision.get())
}

pub(super) fn revision_of(copy: &str, name: &str) -> Option<Revision> {
    u64::from_str_radix(name.strip_prefix(copy)?, 16).ok().map(Revision::new)
}

pub(super) fn format_cell(version: (u16, u16), network: NetworkId) -> Vec<u8> {
    let mut cell = MAGIC.to_vec();
    cell.extend_from_slice(&version.0.to_be_bytes());
    cell.extend_from_slice(&version.1.to_be_bytes());
    cell.extend_from_slice(network.as_bytes());
    seal(cell)
}

pub(super) fn read_format(cell: &[u8]) -> Result<((u16, u16), NetworkId), String> {
    let mut rest = Cell(unseal(cell)?);
    if rest.take(MAGIC.len())? != MAGIC {
        return Err("it begins with other bytes".to_owned());
    }
    let version = (rest.array().map(u16::from_be_bytes)?, rest.array().map(u16::from_be_bytes)?);
    Ok((version, NetworkId::new(rest.array()?)))
}

pub(super) fn row_cell(revision: Revision, record: &Record) -> Vec<u8> {
    let mut cell = revision.get().to_be_bytes().to_vec();
    RowCodec::new().encode_record(record, &mut cell).expect("there is no seal");
    seal(cell)
}

pub(super) fn read_row(key: &Key, cell: &[u8]) -> Result<(Revision, Record), String> {
    let mut rest = Cell(unseal(cell)?);
    let revision = Revision::new(u64::from_be_bytes(rest.array()?));
    let record = RowCodec::new().decode_record(key, rest.0).map_err(|error| error.to_string())?;
    Ok((revision, record))
}

/// What stands at a revision beside the rows. The head is decoded once the rows are there, which it must add up to.
#[derive(Clone, Debug)]
pub(super) struct Top {
    pub(super) revision: Revision,
    pub(super) lineage: Lineage,
    head: Vec<u8>,
    pub(super) facts: Vec<Fact>,
}

impl Top {
    /// The head, if these records are what it speaks of.
    pub(super) fn head<'a>(
        &self,
        network: NetworkId,
        records: impl IntoIterator<Item = &'a Record>,
    ) -> Result<Head, String> {
        let prints = Fingerprints::of_records(network, records);
        decode_head(&self.head, prints.parts()).map_err(|error| error.to_string())
    }
}

pub(super) fn head_cell(head: &Head, lineage: &Lineage, facts: &[Fact]) -> Vec<u8> {
    seal(top_bytes(head, lineage, facts))
}

fn top_bytes(head: &Head, lineage: &Lineage, facts: &[Fact]) -> Vec<u8> {
    let mut cell = head.revision().get().to_be_bytes().to_vec();
    let mut part = Vec::new();
    encode_lineage(lineage, &mut part);
    put(&mut cell, &part);
    part.clear();
    encode_head(head, &mut part);
    put(&mut cell, &part);
    put_len(&mut cell, facts.len());
    for fact in facts {
        put(&mut cell, &encode_fact_id(fact.kind(), fact.id()));
        part.clear();
        encode_fact(fact, &mut part);
        put(&mut cell, &part);
    }
    cell
}

pub(super) fn read_top(cell: &[u8]) -> Result<Top, String> {
    Cell(unseal(cell)?).top()
}

/// The revision that a head cell speaks of, if its checksum is right.
pub(super) fn revision_at(cell: &[u8]) -> Option<Revision> {
    Cell(unseal(cell).ok()?).array().ok().map(|bytes| Revision::new(u64::from_be_bytes(bytes)))
}

pub(super) fn log_cell(batch: &Batch, rows: usize, lineage: &Lineage) -> Vec<u8> {
    let mut cell = top_bytes(batch.head(), lineage, batch.facts());
    put_len(&mut cell, rows);
    for row in batch.rows().iter().take(rows) {
        put(&mut cell, row.key().as_bytes());
        let mut part = Vec::new();
        if let Some(record) = row.after() {
            RowCodec::new().encode_record(record, &mut part).expect("there is no seal");
        }
        put(&mut cell, &part);
    }
    seal(cell)
}

/// A batch in the log: what stands after it, and the rows it changed.
pub(super) type Logged = (Top, Vec<(Key, Option<Record>)>);

pub(super) fn read_log(cell: &[u8]) -> Result<Logged, String> {
    let mut rest = Cell(unseal(cell)?);
    let top = rest.top()?;
    let mut rows = Vec::new();
    for _ in 0..rest.len()? {
        let key = Key::new(rest.part()?).map_err(|error| error.to_string())?;
        let record = match rest.part()? {
            [] => None,
            bytes => Some(RowCodec::new().decode_record(&key, bytes).map_err(|error| error.to_string())?),
        };
        rows.push((key, record));
    }
    Ok((top, rows))
}

fn put_len(cell: &mut Vec<u8>, len: usize) {
    cell.extend_from_slice(&u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes());
}

fn put(cell: &mut Vec<u8>, part: &[u8]) {
    put_len(cell, part.len());
    cell.extend_from_slice(part);
}

fn seal(mut cell: Vec<u8>) -> Vec<u8> {
    let sum = crc32c(&cell);
    cell.extend_from_slice(&sum.to_be_bytes());
    cell
}

fn unseal(cell: &[u8]) -> Result<&[u8], String> {
    let split = cell.split_last_chunk().filter(|(content, sum)| crc32c(content).to_be_bytes() == **sum);
    split.map(|(content, _)| content).ok_or_else(|| "the checksum does not match".to_owned())
}

/// What is left of a cell.
struct Cell<'a>(&'a [u8]);

impl<'a> Cell<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], String> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or("the cell ends early")?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        self.take(N)?.try_into().map_err(|_| "the cell ends early".to_owned())
    }

    fn len(&mut self) -> Result<usize, String> {
        let len = u32::from_be_bytes(self.array()?);
        usize::try_from(len).map_err(|error| error.to_string())
    }

    fn part(&mut self) -> Result<&'a [u8], String> {
        let len = self.len()?;
        self.take(len)
    }

    fn top(&mut self) -> Result<Top, String> {
        let text = |error: CodecError| error.to_string();
        let revision = Revision::new(u64::from_be_bytes(self.array()?));
        let lineage = decode_lineage(self.part()?).map_err(text)?;
        let head = self.part()?.to_vec();
        let mut facts = Vec::new();
        for _ in 0..self.len()? {
            let (kind, replica) = decode_fact_id(self.part()?).map_err(text)?;
            facts.push(decode_fact(kind, replica, self.part()?).map_err(text)?);
        }
        Ok(Top { revision, lineage, head, facts })
    }
}
