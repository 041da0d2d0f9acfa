//! Typed views over a store.

use core::pin::pin;
use core::task::{Context, Poll, Waker};

use reconvene_clock::Hlc;
use reconvene_store::{
    Body, Class, Key, KeyContext, Limits, MemoryStore, MetadataStore, Namespace, PageLimit, Plan, Replaces, Snapshot,
    View, ViewError, Watched, WriteOptions, ready,
};

use crate::world::identity;

fn store() -> MemoryStore {
    MemoryStore::new(identity(1), Limits::default())
}

fn at(stamp: u64) -> WriteOptions {
    WriteOptions::at(Hlc::from_u64(stamp))
}

fn raw(store: &MemoryStore, key: &str, body: Body, replaces: Replaces) {
    let key = Key::new(key).unwrap();
    let snapshot = ready(store.snapshot()).unwrap().unwrap();
    let found = ready(snapshot.record(&key)).unwrap().unwrap();
    let mut plan = Plan::new(snapshot.head().clone(), [key.clone()], found, &Limits::default());
    let (class, hlc) = (Class::NORMAL, Hlc::default());
    plan.write(reconvene_store::LocalWrite { key, class, body, hlc, replaces }).unwrap();
    ready(store.commit(&plan.finish())).unwrap().unwrap();
}

#[test]
fn siblings_are_all_there_and_a_write_over_a_reading_leaves_later_ones() {
    let store = store();
    let view: View<'_, _, String, String> = View::new(&store, Namespace::app("notes").unwrap());
    let key = "a".to_owned();
    ready(view.put(&key, &"one".to_owned(), at(1))).unwrap().unwrap();
    let read = ready(view.get(&key)).unwrap().unwrap();
    assert_eq!((read.only(), read.siblings().len()), (Some(&"one".to_owned()), 1));
    let beside = at(2).over(&ready(view.get(&"unwritten".to_owned())).unwrap().unwrap());
    ready(view.put(&key, &"two".to_owned(), beside)).unwrap().unwrap();
    let both = ready(view.get(&key)).unwrap().unwrap();
    let values: Vec<&str> = both.siblings().iter().map(|sibling| sibling.value.as_deref().unwrap()).collect();
    assert_eq!((values, both.only()), (vec!["one", "two"], None), "no winner is picked");
    ready(view.put(&key, &"three".to_owned(), at(3).over(&read))).unwrap().unwrap();
    let left = ready(view.get(&key)).unwrap().unwrap();
    let values: Vec<&str> = left.siblings().iter().map(|sibling| sibling.value.as_deref().unwrap()).collect();
    assert_eq!(values, ["two", "three"]);
}

#[test]
fn tombstones_are_never_shown() {
    let store = store();
    let view: View<'_, _, u64, String> = View::new(&store, Namespace::app("notes").unwrap());
    assert_eq!(ready(view.delete(&1, at(1))).unwrap().unwrap(), None, "nothing to delete");
    for key in [1, 2, 256] {
        ready(view.put(&key, &key.to_string(), at(2))).unwrap().unwrap();
    }
    assert!(ready(view.delete(&2, at(3))).unwrap().unwrap().is_some());
    assert_eq!(ready(view.delete(&2, at(4))).unwrap().unwrap(), None);
    assert!(ready(view.get(&2)).unwrap().unwrap().is_absent());
    let rows = ready(view.scan(None, PageLimit::default())).unwrap().unwrap();
    let keys: Vec<u64> = rows.rows.iter().map(|row| *row.key.as_ref().unwrap()).collect();
    assert_eq!((keys, rows.next), (vec![1, 256], None));
    // A value beside a tombstone is a value.
    raw(&store, "app/notes\0\0\0\0\0\0\0\0\x02", Body::of("2"), Replaces::Context(KeyContext::new()));
    assert_eq!(ready(view.get(&2)).unwrap().unwrap().only(), Some(&"2".to_owned()));
}

#[test]
fn what_does_not_decode_is_an_item_and_not_the_end() {
    let store = store();
    let view: View<'_, _, u64, String> = View::new(&store, Namespace::app("notes").unwrap());
    ready(view.put(&1, &"one".to_owned(), at(1))).unwrap().unwrap();
    raw(&store, "app/notes\0odd", Body::of([0xff, 0xfe]), Replaces::AllLive);
    raw(&store, "app/notes2\0elsewhere", Body::of("other"), Replaces::AllLive);
    ready(view.put(&u64::MAX, &"last".to_owned(), at(2))).unwrap().unwrap();
    let (mut found, mut bad, mut after) = (Vec::new(), 0, None);
    loop {
        let page = ready(view.scan(after.as_ref(), PageLimit { items: 1, bytes: 1 })).unwrap().unwrap();
        for row in page.rows {
            match row.key {
                Ok(key) => found.push((key, row.reading.only().unwrap().clone())),
                Err(_) => bad += usize::from(row.reading.siblings()[0].value.is_err()),
            }
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!((found, bad), (vec![(1, "one".to_owned()), (u64::MAX, "last".to_owned())], 1));
}

#[test]
fn namespaces_do_not_contain_each_other() {
    for name in ["", "a\0b", &"n".repeat(129)] {
        assert!(Namespace::new(name).is_err());
    }
    let (one, two) = (Namespace::app("a").unwrap(), Namespace::app("a/b").unwrap());
    assert!(!two.as_bytes().starts_with(one.as_bytes()));
    let store = store();
    let view: View<'_, _, String, String> = View::new(&store, one);
    let error = ready(view.get(&"k".repeat(512))).unwrap().unwrap_err();
    assert!(matches!(error, ViewError::Key(_)), "{error}");
}

#[test]
fn watch_sees_its_namespace_alone_and_waits_for_it() {
    let store = store();
    let view: View<'_, _, String, String> = View::new(&store, Namespace::app("notes").unwrap());
    ready(view.put(&"before".to_owned(), &"x".to_owned(), at(1))).unwrap().unwrap();
    let mut watch = ready(view.watch()).unwrap().unwrap();
    raw(&store, "elsewhere", Body::of("y"), Replaces::AllLive);
    {
        let mut next = pin!(watch.next());
        let mut context = Context::from_waker(Waker::noop());
        assert!(next.as_mut().poll(&mut context).is_pending(), "nothing here changed");
        for key in ["b", "a", "b"] {
            ready(view.put(&key.to_owned(), &"z".to_owned(), at(2))).unwrap().unwrap();
        }
        let Poll::Ready(Ok(Watched::Keys(keys))) = next.as_mut().poll(&mut context) else { panic!("keys changed") };
        let keys: Vec<String> = keys.into_iter().map(|(_, key)| key.unwrap()).collect();
        assert_eq!(keys, ["a", "b"], "each once, in the order of their last changes");
    }
    ready(view.delete(&"a".to_owned(), at(3))).unwrap().unwrap();
    let Some(Ok(Watched::Keys(keys))) = ready(watch.next()) else { panic!("a key changed") };
    assert_eq!(keys.len(), 1);
}
