//! Frames and links between members of one network.

use std::time::Duration;

use reconvene_executor::BrokerLink;
use reconvene_sync::{Incoming, Lane, NetworkId, Transport, frame_lane};
use reconvene_transport_quic::{
    Advertise, Authority, BindError, Endpoint, EndpointConfig, LinkError, LinkEvent, Links, Protocol, Refusal,
};

use crate::kit::{Node, pair, soon};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_of_all_sizes_arrive_as_sent() {
    let (one, two) = pair().await;
    for (from, to) in [(&one, &two), (&two, &one)] {
        for length in [0, 1, 1_000, 70_000, 1024 * 1024] {
            let frame: Vec<u8> = (0..=250).cycle().take(length).collect();
            from.links.send(to.id(), &frame).unwrap();
            assert_eq!(to.frame().await, (from.id(), frame));
        }
    }
    assert_eq!((one.links.dropped_frames(), two.links.dropped_frames()), (0, 0));
    assert_eq!((one.links.peers(), two.links.peers()), (vec![two.id()], vec![one.id()]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_of_one_lane_keep_their_order() {
    let (one, two) = pair().await;
    for number in 0..500_u32 {
        one.links.send(two.id(), &number.to_be_bytes()).unwrap();
    }
    for number in 0..500_u32 {
        assert_eq!(two.frame().await.1, number.to_be_bytes());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn urgent_frames_overtake_bulk() {
    let authority = Authority::generate().unwrap();
    let mut config = EndpointConfig::default();
    config.send_queue = 16 * 1024 * 1024;
    let (one, two) = (Node::with(&authority, config), Node::new(&authority));
    one.link_to(&two).await;
    let (bulk, urgent) = (vec![DELTA; 256 * 1024], vec![PROBE; 10]);
    assert_eq!((frame_lane(&bulk), frame_lane(&urgent)), (Lane::Bulk, Lane::Urgent));

    for _ in 0..40 {
        one.links.send(two.id(), &bulk).unwrap();
    }
    one.links.send(two.id(), &urgent).unwrap();
    assert_eq!(one.links.dropped_frames(), 0);
    let mut frames = Vec::new();
    for _ in 0..41 {
        frames.push(two.frame().await.1);
    }
    let position = frames.iter().position(|frame| *frame == urgent).unwrap();
    assert!(position < 40, "what was sent last must not arrive last");
    frames.remove(position);
    assert!(frames.iter().all(|frame| *frame == bulk));
}

/// Anything that moves metadata between brokers through the trait, as a driver does.
async fn through_the_trait(one: &impl Transport, two: &impl Transport, address: &str) {
    let peer = one.connect(address).await.unwrap();
    assert_eq!(one.recv().await.unwrap(), Incoming::LinkUp { peer, address: Some(address.to_owned()) });
    let Incoming::LinkUp { peer: caller, .. } = two.recv().await.unwrap() else { panic!("expected a link") };
    one.send(peer, b"frame").await.unwrap();
    assert_eq!(two.recv().await.unwrap(), Incoming::Frame { from: caller, frame: b"frame".to_vec() });
    two.disconnect(caller);
    assert_eq!(one.recv().await.unwrap(), Incoming::LinkDown { peer });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn links_are_a_transport() {
    let authority = Authority::generate().unwrap();
    let (one, two) = (Node::new(&authority), Node::new(&authority));
    soon(through_the_trait(&one.links, &two.links, &two.address())).await;
}

/// The executor's side of a link, through its trait.
async fn through_the_executors_trait(executor: &impl BrokerLink, broker: &Links, address: &str) {
    let node = executor.connect(address).await.unwrap();
    assert_eq!(
        executor.recv().await.unwrap(),
        reconvene_executor::LinkEvent::LinkUp { peer: node, address: Some(address.to_owned()) }
    );
    let LinkEvent::LinkUp { peer, .. } = broker.recv().await.unwrap() else { panic!("expected a link") };
    executor.send(node, b"beat").await.unwrap();
    assert_eq!(broker.recv().await.unwrap(), LinkEvent::Frame { from: peer, frame: b"beat".to_vec() });
    broker.send(peer, b"answer").unwrap();
    let answer = reconvene_executor::LinkEvent::Frame { from: node, frame: b"answer".to_vec() };
    assert_eq!(executor.recv().await.unwrap(), answer);
    executor.disconnect(node);
    assert_eq!(executor.recv().await.unwrap(), reconvene_executor::LinkEvent::LinkDown { peer: node });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn links_are_an_executors_broker_link() {
    let authority = Authority::generate().unwrap();
    let (one, two) = (Node::new(&authority), Node::new(&authority));
    let executor = one.endpoint.links(Protocol::Executor).unwrap();
    let broker = two.endpoint.links(Protocol::Executor).unwrap();
    soon(through_the_executors_trait(&executor, &broker, &two.address())).await;
}

/// Kinds of sync frames, the first byte of each.
const DELTA: u8 = 4;
const PROBE: u8 = 11;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_protocol_has_links_of_its_own() {
    let authority = Authority::generate().unwrap();
    let (one, two) = (Node::new(&authority), Node::new(&authority));
    let executor = one.endpoint.links(Protocol::Executor).unwrap();
    let broker = two.endpoint.links(Protocol::Executor).unwrap();
    one.link_to(&two).await;

    soon(executor.connect(&two.address())).await.unwrap();
    assert!(matches!(soon(broker.recv()).await, Ok(LinkEvent::LinkUp { .. })));
    executor.send(two.id(), b"beat").unwrap();
    let expected = LinkEvent::Frame { from: one.id(), frame: b"beat".to_vec() };
    assert_eq!(soon(broker.recv()).await.unwrap(), expected);

    // The end of one protocol's link leaves the other's alone.
    executor.disconnect(two.id());
    assert_eq!(soon(broker.recv()).await.unwrap(), LinkEvent::LinkDown { peer: one.id() });
    one.links.send(two.id(), b"still here").unwrap();
    assert_eq!(two.frame().await.1, b"still here");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn links_are_handed_out_once() {
    let authority = Authority::generate().unwrap();
    let node = Node::new(&authority);
    assert!(node.endpoint.links(Protocol::Sync).is_none());
    assert!(node.endpoint.links(Protocol::Client).is_some());
    assert!(node.endpoint.links(Protocol::Client).is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peers_that_cannot_talk_say_why() {
    let authority = Authority::generate().unwrap();
    let (one, two) = (Node::new(&authority), Node::new(&authority));

    let client = one.endpoint.links(Protocol::Client).unwrap();
    let error = soon(client.connect(&two.address())).await.unwrap_err();
    assert!(matches!(error, LinkError::Refused { refusal: Refusal::Protocol, .. }), "{error:?}");

    let foreign = Node::with(&authority, EndpointConfig::default().with_network(NetworkId::of_name("foreign")));
    let error = soon(one.links.connect(&foreign.address())).await.unwrap_err();
    assert!(matches!(error, LinkError::Refused { refusal: Refusal::Network, .. }), "{error:?}");

    // Nobody saw anything of it: the first event anywhere is the link that works.
    one.link_to(&two).await;
    assert_eq!(foreign.links.peers(), vec![]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_endpoint_refuses_and_has_room_again() {
    let authority = Authority::generate().unwrap();
    let mut config = EndpointConfig::default();
    config.max_links = 1;
    let small = Node::with(&authority, config);
    let (one, two) = (Node::new(&authority), Node::new(&authority));
    one.link_to(&small).await;

    let error = soon(two.links.connect(&small.address())).await.unwrap_err();
    assert!(matches!(error, LinkError::Refused { refusal: Refusal::Full, .. }), "{error:?}");
    let error = soon(small.links.connect(&two.address())).await.unwrap_err();
    assert!(matches!(error, LinkError::TooManyLinks { limit: 1 }), "{error:?}");

    one.links.disconnect(small.id());
    assert_eq!(small.event().await, LinkEvent::LinkDown { peer: one.id() });
    two.link_to(&small).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_does_not_link_to_itself() {
    let authority = Authority::generate().unwrap();
    let identity = authority.issue().unwrap();
    let bind = || Endpoint::bind("127.0.0.1:0".parse().unwrap(), &identity, EndpointConfig::default()).unwrap();
    let (endpoint, twin) = (bind(), bind());
    let (links, twin_links) = (endpoint.links(Protocol::Sync).unwrap(), twin.links(Protocol::Sync).unwrap());

    let own = endpoint.local_addr().to_string();
    assert!(matches!(soon(links.connect(&own)).await, Err(LinkError::OwnAddress { .. })));
    // As through address translation: another address, but this very node answers.
    let other = twin.local_addr().to_string();
    assert!(matches!(soon(links.connect(&other)).await, Err(LinkError::OwnAddress { .. })));
    assert_eq!((links.peers(), twin_links.peers()), (vec![], vec![]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn addresses_that_lead_nowhere_are_errors() {
    let authority = Authority::generate().unwrap();
    let mut config = EndpointConfig::default();
    config.handshake_timeout = Duration::from_millis(200);
    let node = Node::with(&authority, config);
    assert!(matches!(soon(node.links.connect("no port")).await, Err(LinkError::Address { .. })));
    // Bound, so that nothing else answers there, and never read.
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let error = soon(node.links.connect(&silent.local_addr().unwrap().to_string())).await.unwrap_err();
    assert!(matches!(error, LinkError::TimedOut { .. }), "{error:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_advertised_is_what_peers_hear() {
    let authority = Authority::generate().unwrap();
    let hub = Node::new(&authority);
    let silent = EndpointConfig::default().with_advertise(Advertise::Nothing);
    let named = EndpointConfig::default().with_advertise(Advertise::Address("broker.example:7400".to_owned()));
    for (config, expected) in [(silent, None), (named, Some("broker.example:7400".to_owned()))] {
        let node = Node::with(&authority, config);
        soon(node.links.connect(&hub.address())).await.unwrap();
        assert_eq!(hub.event().await, LinkEvent::LinkUp { peer: node.id(), address: expected });
        node.endpoint.close().await;
        assert_eq!(hub.event().await, LinkEvent::LinkDown { peer: node.id() });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sending_says_what_cannot_be_sent() {
    let (one, two) = pair().await;
    let stranger = Authority::generate().unwrap().issue().unwrap().node_id();
    assert!(matches!(one.links.send(stranger, b"x"), Err(LinkError::NotLinked { peer }) if peer == stranger));
    let limit = EndpointConfig::default().max_frame;
    let long = vec![0; limit as usize + 1];
    assert!(matches!(one.links.send(two.id(), &long), Err(LinkError::FrameTooLarge { .. })));
    one.links.send(two.id(), &long[1..]).unwrap();
    assert_eq!(two.frame().await.1.len(), limit as usize);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_sent_before_close_arrives() {
    let (one, two) = pair().await;
    for number in 0..50_u8 {
        one.links.send(two.id(), &[&[PROBE, number][..], &[0; 5_000]].concat()).unwrap();
    }
    soon(one.endpoint.close()).await;
    for number in 0..50_u8 {
        assert_eq!(two.frame().await.1[..2], [PROBE, number]);
    }
    assert_eq!(two.event().await, LinkEvent::LinkDown { peer: one.id() });

    assert_eq!(one.event().await, LinkEvent::LinkDown { peer: two.id() });
    assert!(matches!(soon(one.links.recv()).await, Err(LinkError::Closed)));
    assert!(matches!(one.links.send(two.id(), b"x"), Err(LinkError::Closed)));
    assert!(matches!(soon(one.links.connect(&two.address())).await, Err(LinkError::Closed)));
    assert!(soon(two.links.connect(&one.address())).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn disconnect_ends_the_link_on_both_sides_after_a_farewell() {
    let (one, two) = pair().await;
    one.links.send(two.id(), b"farewell").unwrap();
    one.links.disconnect(two.id());
    assert_eq!(two.frame().await.1, b"farewell");
    assert_eq!(two.event().await, LinkEvent::LinkDown { peer: one.id() });
    assert_eq!(one.event().await, LinkEvent::LinkDown { peer: two.id() });
    two.link_to(&one).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handles_that_are_dropped_end_the_link() {
    let (one, two) = pair().await;
    drop(one.endpoint);
    one.links.send(two.id(), b"links keep the endpoint").unwrap();
    assert_eq!(two.frame().await.1, b"links keep the endpoint");
    let peer = one.links.node_id();
    drop(one.links);
    assert_eq!(two.event().await, LinkEvent::LinkDown { peer });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_that_dial_each_other_at_once_are_up_once() {
    for _ in 0..10 {
        let authority = Authority::generate().unwrap();
        let (one, two) = (Node::new(&authority), Node::new(&authority));
        let (one_address, two_address) = (one.address(), two.address());
        let (a, b) =
            soon(async { tokio::join!(one.links.connect(&two_address), two.links.connect(&one_address)) }).await;
        assert_eq!((a.unwrap(), b.unwrap()), (two.id(), one.id()));
        for (from, to) in [(&one, &two), (&two, &one)] {
            from.links.send(to.id(), b"over either").unwrap();
            let mut dialled = 0;
            loop {
                match to.event().await {
                    LinkEvent::LinkUp { peer, address } if peer == from.id() => {
                        // Both connections are known by the same address, as each side tells where it listens.
                        assert_eq!(address, Some(from.address()));
                        dialled += 1;
                    }
                    LinkEvent::Frame { frame, .. } => break assert_eq!(frame, b"over either"),
                    other @ (LinkEvent::LinkUp { .. } | LinkEvent::LinkDown { .. }) => panic!("{other:?}"),
                }
            }
            assert!((1..=2).contains(&dialled), "up with the first, and told where the peer was found");
        }
        soon(one.endpoint.close()).await;
        assert_eq!(one.event().await, LinkEvent::LinkDown { peer: two.id() });
        assert_eq!(two.event().await, LinkEvent::LinkDown { peer: one.id() });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dialling_a_peer_that_is_up_tells_where_it_was_found() {
    let (one, two) = pair().await;
    soon(two.links.connect(&one.address())).await.unwrap();
    assert_eq!(two.event().await, LinkEvent::LinkUp { peer: one.id(), address: Some(one.address()) });
    // The side that was dialled knew already that the peer is up.
    two.links.send(one.id(), b"next").unwrap();
    assert_eq!(one.frame().await.1, b"next");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_links_to_one_peer_are_bounded() {
    let (one, two) = pair().await;
    for _ in 0..8 {
        soon(one.links.connect(&two.address())).await.unwrap();
        one.links.send(two.id(), b"newest").unwrap();
        assert_eq!(two.frame().await, (one.id(), b"newest".to_vec()), "older links end without a word");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_does_not_receive_holds_up_nobody() {
    let authority = Authority::generate().unwrap();
    let mut config = EndpointConfig::default();
    config.receive_queue = 64 * 1024;
    let slow = Node::with(&authority, config);
    let mut config = EndpointConfig::default();
    config.send_queue = 1024 * 1024;
    let sender = Node::with(&authority, config);
    let quick = Node::new(&authority);
    sender.link_to(&slow).await;
    sender.link_to(&quick).await;

    // Far more than all queues and windows on the way; each call returns at once.
    let frame = vec![7; 256 * 1024];
    for _ in 0..100 {
        sender.links.send(slow.id(), &frame).unwrap();
    }
    assert!(sender.links.dropped_frames() > 0, "what did not fit was dropped");
    for number in 0..20_u8 {
        sender.links.send(quick.id(), &[number]).unwrap();
        assert_eq!(quick.frame().await.1, [number]);
    }
    // What was accepted is still there once it receives.
    assert_eq!(slow.frame().await, (sender.id(), frame));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn recv_that_is_cancelled_loses_nothing() {
    let (one, two) = pair().await;
    for number in 0..200_u8 {
        one.links.send(two.id(), &[PROBE, number]).unwrap();
    }
    let mut next = 0;
    while next < 200 {
        if let Ok(event) = tokio::time::timeout(Duration::ZERO, two.links.recv()).await {
            assert_eq!(event.unwrap(), LinkEvent::Frame { from: one.id(), frame: vec![PROBE, next] });
            next += 1;
        } else {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn settings_and_addresses_that_cannot_work_are_errors() {
    let identity = Authority::generate().unwrap().issue().unwrap();
    let any = "127.0.0.1:0".parse().unwrap();
    let second = Duration::from_secs(1);
    let config = EndpointConfig::default().with_idle(second, second);
    assert!(matches!(Endpoint::bind(any, &identity, config), Err(BindError::Config { .. })));
    let taken = std::net::UdpSocket::bind(any).unwrap();
    let address = taken.local_addr().unwrap();
    assert!(matches!(Endpoint::bind(address, &identity, EndpointConfig::default()), Err(BindError::Socket { .. })));
}

#[test]
fn an_endpoint_outside_a_runtime_is_an_error() {
    let identity = Authority::generate().unwrap().issue().unwrap();
    let bound = Endpoint::bind("127.0.0.1:0".parse().unwrap(), &identity, EndpointConfig::default());
    assert!(matches!(bound, Err(BindError::NoRuntime)));
}
