//! Stores as a later version would write them.

use reconvene_store::crc32c;
use redb::{Database, TableDefinition};

const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");

/// The same store, with a major version that this code does not know.
pub(crate) fn make_newer(image: &[u8]) -> Vec<u8> {
    change_format(image, |row| {
        let mut body = row[..row.len() - 4].to_vec();
        body[8..10].copy_from_slice(&9_u16.to_be_bytes());
        let sum = crc32c(&body);
        body.extend(sum.to_be_bytes());
        body
    })
}

fn change_format(image: &[u8], change: impl FnOnce(&[u8]) -> Vec<u8>) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("changed");
    std::fs::write(&path, image).unwrap();
    let database = Database::open(&path).unwrap();
    let transaction = database.begin_write().unwrap();
    {
        let mut meta = transaction.open_table(META).unwrap();
        let row = redb::ReadableTable::get(&meta, "format").unwrap().unwrap().value().to_vec();
        meta.insert("format", change(&row).as_slice()).unwrap();
    }
    transaction.commit().unwrap();
    drop(database);
    std::fs::read(&path).unwrap()
}
