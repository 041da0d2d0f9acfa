//! The development authority on disk.

use std::fs;
use std::sync::{Arc, Barrier};
use std::thread;

use reconvene_transport_quic::{Authority, AuthorityError, Created};

#[test]
fn what_was_created_is_loaded() {
    let dir = tempfile::tempdir().unwrap();
    let keys = dir.path().join("deep/keys");
    assert!(matches!(Authority::load(&keys), Err(AuthorityError::Missing { .. })));
    let (_, created) = Authority::load_or_create(&keys).unwrap();
    assert_eq!(created, Created::New);
    let before = fs::read(keys.join("authority/certificate.pem")).unwrap();
    let (_, created) = Authority::load_or_create(&keys).unwrap();
    assert_eq!(created, Created::Existing);
    assert_eq!(fs::read(keys.join("authority/certificate.pem")).unwrap(), before);
    Authority::load(&keys).unwrap();
}

#[test]
fn of_many_that_start_together_one_creates_and_all_agree() {
    for _ in 0..5 {
        let dir = tempfile::tempdir().unwrap();
        let keys = Arc::new(dir.path().join("keys"));
        let barrier = Arc::new(Barrier::new(8));
        let threads: Vec<_> = (0..8)
            .map(|number| {
                let (keys, barrier) = (Arc::clone(&keys), Arc::clone(&barrier));
                thread::spawn(move || {
                    barrier.wait();
                    let (authority, created) = Authority::load_or_create(&keys).unwrap();
                    // What one of them signs, the one on disk must accept.
                    let (identity, _) = authority.load_or_issue(&keys, &format!("node-{number}")).unwrap();
                    let (shared, shared_created) = authority.load_or_issue(&keys, "shared").unwrap();
                    (created, identity.node_id(), shared_created, shared.node_id())
                })
            })
            .collect();
        let results: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        assert_eq!(results.iter().filter(|result| result.0 == Created::New).count(), 1);
        assert_eq!(results.iter().filter(|result| result.2 == Created::New).count(), 1);
        assert!(results.iter().all(|result| result.3 == results[0].3), "the shared identity is the same for all");

        let authority = Authority::load(&keys).unwrap();
        for (number, result) in results.iter().enumerate() {
            let (found, created) = authority.load_or_issue(&keys, &format!("node-{number}")).unwrap();
            assert_eq!((found.node_id(), created), (result.1, Created::Existing));
        }
        let left: Vec<_> = fs::read_dir(&*keys)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.starts_with('.'))
            .collect();
        assert_eq!(left, Vec::<String>::new(), "no half-made directory stays behind");
    }
}

#[test]
fn what_is_damaged_is_reported_and_kept() {
    let dir = tempfile::tempdir().unwrap();
    Authority::load_or_create(dir.path()).unwrap();
    let key = dir.path().join("authority/key.pem");
    let certificate = dir.path().join("authority/certificate.pem");
    let good_key = fs::read(&key).unwrap();

    for damage in [&b""[..], b"not a key", &good_key[..good_key.len() / 2]] {
        fs::write(&key, damage).unwrap();
        let error = Authority::load_or_create(dir.path()).unwrap_err();
        assert!(matches!(error, AuthorityError::Damaged { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains("key.pem") && text.contains("move its directory away"), "{text}");
        assert_eq!(fs::read(&key).unwrap(), damage, "nothing was overwritten");
    }

    // A key of another authority beside this certificate.
    let other = tempfile::tempdir().unwrap();
    Authority::load_or_create(other.path()).unwrap();
    fs::copy(other.path().join("authority/key.pem"), &key).unwrap();
    assert!(matches!(Authority::load_or_create(dir.path()), Err(AuthorityError::Mismatch { .. })));

    fs::write(&key, &good_key).unwrap();
    Authority::load(dir.path()).unwrap();
    fs::remove_file(&certificate).unwrap();
    let error = Authority::load_or_create(dir.path()).unwrap_err();
    assert!(matches!(error, AuthorityError::Read { .. }), "{error}");
    assert!(!certificate.exists(), "half an authority is not completed with another's half");
}

#[test]
fn a_node_that_restarts_keeps_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let (authority, _) = Authority::load_or_create(dir.path()).unwrap();
    let (first, created) = authority.load_or_issue(dir.path(), "broker-1").unwrap();
    assert_eq!(created, Created::New);
    let (again, created) = Authority::load(dir.path()).unwrap().load_or_issue(dir.path(), "broker-1").unwrap();
    assert_eq!((again.node_id(), created), (first.node_id(), Created::Existing));

    let stranger = Authority::generate().unwrap();
    assert!(matches!(stranger.load_or_issue(dir.path(), "broker-1"), Err(AuthorityError::Mismatch { .. })));
}

#[test]
fn names_that_are_no_file_names_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::generate().unwrap();
    for name in ["", "authority", "..", "a/b", "A", "a b", &"a".repeat(65)] {
        assert!(matches!(authority.load_or_issue(dir.path(), name), Err(AuthorityError::Name { .. })), "{name}");
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[cfg(unix)]
#[test]
fn only_the_owner_reads_keys() {
    use std::os::unix::fs::PermissionsExt as _;

    let dir = tempfile::tempdir().unwrap();
    let keys = dir.path().join("keys");
    let (authority, _) = Authority::load_or_create(&keys).unwrap();
    authority.load_or_issue(&keys, "node").unwrap();
    let mode = |path: &str| fs::metadata(keys.join(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("authority/key.pem"), mode("node/key.pem")), (0o600, 0o600));
    assert_eq!((mode(""), mode("authority"), mode("node")), (0o700, 0o700, 0o700));
}

#[test]
fn keys_do_not_show_in_debug_output() {
    let authority = Authority::generate().unwrap();
    let identity = authority.issue().unwrap();
    assert_eq!(format!("{authority:?}"), "Authority { .. }");
    assert_eq!(format!("{identity:?}"), format!("Identity {{ node: {:?}, .. }}", identity.node_id()));
}
