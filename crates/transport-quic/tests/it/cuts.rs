//! Links that are cut below QUIC, and heal.

use std::time::Duration;

use reconvene_transport_quic::{Authority, EndpointConfig, LinkError, LinkEvent};

use crate::kit::{Node, soon};

fn impatient() -> EndpointConfig {
    let mut config = EndpointConfig::default().with_idle(Duration::from_secs(3), Duration::from_millis(400));
    config.handshake_timeout = Duration::from_secs(2);
    config
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_link_goes_down_on_both_sides_and_heals() {
    let authority = Authority::generate().unwrap();
    let (one, two) = (Node::with(&authority, impatient()), Node::with(&authority, impatient()));
    let third = Node::new(&authority);
    one.link_to(&two).await;

    // One side's filter is enough: it loses what leaves and what arrives.
    one.endpoint.filter().block(two.endpoint.local_addr());
    two.links.send(one.id(), b"lost on arrival").unwrap();
    one.links.send(two.id(), b"lost on leaving").unwrap();
    assert_eq!(one.event().await, LinkEvent::LinkDown { peer: two.id() });
    assert_eq!(two.event().await, LinkEvent::LinkDown { peer: one.id() });

    for (from, to) in [(&one, &two), (&two, &one)] {
        let error = soon(from.links.connect(&to.address())).await.unwrap_err();
        assert!(matches!(error, LinkError::TimedOut { .. }), "{error:?}");
    }
    // Others are not cut off.
    soon(third.links.connect(&one.address())).await.unwrap();
    assert!(matches!(one.event().await, LinkEvent::LinkUp { peer, .. } if peer == third.id()));

    one.endpoint.filter().unblock(two.endpoint.local_addr());
    // The machine may be slow and these endpoints are impatient: a time-out here says nothing.
    let healed = soon(async {
        loop {
            match two.links.connect(&one.address()).await {
                Err(LinkError::TimedOut { .. }) => {}
                other => break other,
            }
        }
    });
    assert_eq!(healed.await.unwrap(), one.id());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quiet_link_stays_up() {
    let authority = Authority::generate().unwrap();
    let (one, two) = (Node::with(&authority, impatient()), Node::with(&authority, impatient()));
    one.link_to(&two).await;
    // Longer than the idle time-out: only the signs of life keep it up.
    tokio::time::sleep(Duration::from_millis(4_500)).await;
    one.links.send(two.id(), b"still up").unwrap();
    assert_eq!(two.frame().await.1, b"still up");
}
