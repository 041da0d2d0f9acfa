//! Records with the number of their version, for peers that know sets and no versions.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};

use super::workload::{Change, Contents, Start, Workload, key, value};

/// What one side holds: for each key the number of the version and its value.
pub(super) type Versions = BTreeMap<String, (u64, String)>;

/// What `A` and `B` hold before they meet.
pub(super) fn parted(workload: &Workload) -> Result<[Versions; 2]> {
    ensure!(workload.start != Start::Empty, "there is no set to compare with");
    let before: Versions = workload.before().into_iter().map(|(key, value)| (key, (1, value))).collect();
    let mut sides = [before.clone(), before];
    for ((side, changes), versions) in (0..).zip(&workload.changes).zip(&mut sides) {
        for change in changes {
            let Change::Set(index) = *change else { anyhow::bail!("a set has no tombstones") };
            versions.insert(key(side, index), (2, value(side, index, 2)));
        }
    }
    Ok(sides)
}

/// The record that an id names, for all records of one side.
pub(super) fn by_id<I: Ord>(versions: &Versions, id: impl Fn(&str, &(u64, String)) -> I) -> BTreeMap<I, String> {
    versions.iter().map(|(key, version)| (id(key, version), key.clone())).collect()
}

/// 32 bytes that name a version of a record.
pub(super) fn id(key: &str, version: &(u64, String)) -> [u8; 32] {
    let mut bytes = [0; 32];
    for (part, limb) in bytes.chunks_exact_mut(8).zip(rsos::lift(key, version).0) {
        part.copy_from_slice(&limb.to_le_bytes());
    }
    bytes
}

/// Takes in a version, unless a newer one is held.
pub(super) fn take(versions: &mut Versions, key: &str, version: &(u64, String)) {
    match versions.get(key) {
        Some(held) if held.0 >= version.0 => {}
        _ => _ = versions.insert(key.to_owned(), version.clone()),
    }
}

/// What a side holds, without the numbers.
pub(super) fn contents(versions: Versions) -> Contents {
    versions.into_iter().map(|(key, (_, value))| (key, value)).collect()
}
