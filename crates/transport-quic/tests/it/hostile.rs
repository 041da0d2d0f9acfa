//! Strangers, look-alikes and members that break the rules. They speak raw QUIC, without the crate's own checks.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{Connection, ConnectionError, ReadExactError, VarInt};
use rcgen::{
    CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
    PKCS_ED25519, SanType,
};
use reconvene_transport_quic::{Authority, EndpointConfig, LinkError, LinkEvent};
use ring::digest;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use tempfile::TempDir;

use crate::kit::{Node, soon};

/// An authority whose key the test knows, and can sign anything with.
struct Forge {
    authority: Authority,
    key: KeyPair,
    _dir: TempDir,
}

/// A certificate and key to present.
struct Papers {
    certificate: CertificateDer<'static>,
    key: Vec<u8>,
}

impl Forge {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (authority, _) = Authority::load_or_create(dir.path()).unwrap();
        let pem = std::fs::read_to_string(dir.path().join("authority/key.pem")).unwrap();
        Self { authority, key: KeyPair::from_pem(&pem).unwrap(), _dir: dir }
    }

    /// Papers that are in order, but for what `change` does to them, given the name that would be right.
    fn papers(&self, change: impl FnOnce(&mut CertificateParams, String)) -> Papers {
        self.papers_for(&KeyPair::generate_for(&PKCS_ED25519).unwrap(), change)
    }

    fn papers_for(&self, key: &KeyPair, change: impl FnOnce(&mut CertificateParams, String)) -> Papers {
        let hash = digest::digest(&digest::SHA256, key.public_key_raw());
        let digits: String = hash.as_ref()[..16].iter().map(|byte| format!("{byte:02x}")).collect();
        let name = format!("reconvene:node:{digits}");
        let mut params = CertificateParams::default();
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.is_ca = IsCa::ExplicitNoCa;
        params.subject_alt_names = vec![uri(&name)];
        change(&mut params, name);
        let mut issuer = CertificateParams::default();
        issuer.distinguished_name = rcgen::DistinguishedName::new();
        issuer.distinguished_name.push(DnType::CommonName, "Reconvene development authority");
        let certificate = params.signed_by(key, &Issuer::from_params(&issuer, &self.key)).unwrap();
        Papers { certificate: certificate.into(), key: key.serialize_der() }
    }

    fn good_papers(&self) -> Papers {
        self.papers(|_, _| {})
    }
}

fn uri(name: &str) -> SanType {
    SanType::URI(name.try_into().unwrap())
}

impl Papers {
    fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.clone()))
    }
}

/// Accepts every certificate: for the hostile side only.
#[derive(Debug)]
struct DangerousAcceptAll;

impl ServerCertVerifier for DangerousAcceptAll {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519, SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}

impl ClientCertVerifier for DangerousAcceptAll {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519, SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}

/// A raw QUIC client with these papers, or none, and this application protocol.
fn raw_client(papers: Option<&Papers>, alpn: &[u8]) -> quinn::Endpoint {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(DangerousAcceptAll));
    let mut config = match papers {
        Some(papers) => builder.with_client_auth_cert(vec![papers.certificate.clone()], papers.private_key()).unwrap(),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![alpn.to_vec()];
    let mut endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    endpoint.set_default_client_config(quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(config).unwrap())));
    endpoint
}

/// A raw QUIC server with these papers that accepts every client.
fn raw_server(papers: &Papers, alpn: &[u8]) -> quinn::Endpoint {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_client_cert_verifier(Arc::new(DangerousAcceptAll))
        .with_single_cert(vec![papers.certificate.clone()], papers.private_key())
        .unwrap();
    config.alpn_protocols = vec![alpn.to_vec()];
    let config = quinn::ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(config).unwrap()));
    quinn::Endpoint::server(config, "127.0.0.1:0".parse().unwrap()).unwrap()
}

async fn raw_connect(client: &quinn::Endpoint, to: SocketAddr) -> Result<Connection, ConnectionError> {
    soon(client.connect(to, "reconvene.invalid").unwrap()).await
}

/// The hello of a member: protocol sync, network of all zeros, no address.
fn hello() -> Vec<u8> {
    let mut bytes = b"RCNV\x00\x01\x00\x01\x01".to_vec();
    bytes.extend_from_slice(&[0; 17]);
    bytes
}

/// Brings a raw client up as a member would, and consumes the `LinkUp`.
async fn raw_member(node: &Node, forge: &Forge) -> (quinn::Endpoint, Connection) {
    let client = raw_client(Some(&forge.good_papers()), b"reconvene/1");
    let connection = raw_connect(&client, node.endpoint.local_addr()).await.unwrap();
    let (mut send, mut receive) = connection.open_bi().await.unwrap();
    send.write_all(&hello()).await.unwrap();
    let mut answer = [0; 26];
    soon(receive.read_exact(&mut answer)).await.unwrap();
    assert_eq!(&answer[..4], b"RCNV");
    send.write_all(&[1]).await.unwrap();
    send.finish().unwrap();
    assert!(matches!(node.event().await, LinkEvent::LinkUp { address: None, .. }));
    (client, connection)
}

/// Dials `node` with these papers, says hello and sends a frame, and checks that not a byte comes back.
async fn refused_as_client(node: &Node, papers: Option<&Papers>, alpn: &[u8]) -> ConnectionError {
    let client = raw_client(papers, alpn);
    let connection = match raw_connect(&client, node.endpoint.local_addr()).await {
        Ok(connection) => connection,
        Err(error) => return error,
    };
    // The trap: QUIC's own connect succeeded. Everything after it must not.
    let early = async {
        let (mut send, mut receive) = connection.open_bi().await?;
        let _ = send.write_all(&hello()).await;
        let _ = send.write_all(&[1]).await;
        if let Ok(mut frames) = connection.open_uni().await {
            let _ = frames.write_all(b"\0\0\0\x05early").await;
        }
        let mut answer = [0; 1];
        match receive.read_exact(&mut answer).await {
            Ok(()) => panic!("a stranger was answered with {answer:?}"),
            Err(ReadExactError::FinishedEarly(count)) => panic!("a stranger was answered with {count} bytes"),
            Err(ReadExactError::ReadError(_)) => Ok::<(), ConnectionError>(()),
        }
    };
    let _ = soon(early).await;
    soon(connection.closed()).await
}

/// Lets `node` dial a server with these papers, and checks that it errs and says nothing.
async fn refused_as_server(node: &Node, papers: &Papers, alpn: &[u8]) -> LinkError {
    let server = raw_server(papers, alpn);
    let address = server.local_addr().unwrap().to_string();
    let overheard = tokio::spawn(async move {
        let incoming = server.accept().await.unwrap();
        let Ok(connection) = incoming.await else {
            return;
        };
        if let Ok((_, mut receive)) = connection.accept_bi().await {
            let said = receive.read_to_end(1_000).await;
            panic!("a stranger was told {said:?}");
        }
    });
    let error = soon(node.links.connect(&address)).await.unwrap_err();
    soon(overheard).await.unwrap();
    error
}

/// Checks that `node` noticed nothing so far: the first thing it sees is a proper link, and that works.
async fn unimpressed(node: &Node, forge: &Forge) {
    assert_eq!(node.links.peers(), vec![]);
    let member = Node::new(&forge.authority);
    member.link_to(node).await;
    member.links.send(node.id(), b"hello").unwrap();
    assert_eq!(node.frame().await, (member.id(), b"hello".to_vec()));
}

/// A TLS alert, in a close that says the same whatever was wrong with a certificate.
fn is_alert(error: &ConnectionError) -> bool {
    matches!(error, ConnectionError::ConnectionClosed(close) if u64::from(close.error_code) & 0xff00 == 0x0100)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_other_authority() {
    let (forge, other) = (Forge::new(), Forge::new());
    let node = Node::new(&forge.authority);
    let error = refused_as_client(&node, Some(&other.good_papers()), b"reconvene/1").await;
    assert!(is_alert(&error), "{error:?}");
    let error = refused_as_server(&node, &other.good_papers(), b"reconvene/1").await;
    assert!(matches!(error, LinkError::Connect { .. }), "{error:?}");

    // The same with the crate's own client: it never comes up.
    let stranger = Node::new(&other.authority);
    let error = soon(stranger.links.connect(&node.address())).await.unwrap_err();
    assert!(matches!(error, LinkError::Connect { .. }), "{error:?}");
    assert_eq!(stranger.links.peers(), vec![]);
    unimpressed(&node, &forge).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_no_certificate() {
    let forge = Forge::new();
    let node = Node::new(&forge.authority);
    let error = refused_as_client(&node, None, b"reconvene/1").await;
    assert!(is_alert(&error), "{error:?}");
    unimpressed(&node, &forge).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_wrong_application_protocol() {
    let forge = Forge::new();
    let node = Node::new(&forge.authority);
    for alpn in [&b"h3"[..], b"reconvene/2", b"reconvene/", b"reconvene/1x"] {
        let error = refused_as_client(&node, Some(&forge.good_papers()), alpn).await;
        assert!(is_alert(&error), "{error:?}");
        let error = refused_as_server(&node, &forge.good_papers(), alpn).await;
        assert!(matches!(error, LinkError::Connect { .. }), "{error:?}");
    }
    unimpressed(&node, &forge).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_san_lookalike() {
    let forge = Forge::new();
    let node = Node::new(&forge.authority);
    // The authority signed all of these: only the comparison of name and key can tell.
    let victim = format!("reconvene:node:{}", node.id());
    let lookalikes = [
        ("another node's name", forge.papers(|params, _| params.subject_alt_names = vec![uri(&victim)])),
        ("no name", forge.papers(|params, _| params.subject_alt_names = vec![])),
        ("two names", forge.papers(|params, _| params.subject_alt_names.push(uri(&victim)))),
        ("the same name twice", forge.papers(|params, name| params.subject_alt_names.push(uri(&name)))),
        (
            "a second name in another case",
            forge.papers(|params, _| params.subject_alt_names.push(uri(&victim.to_uppercase()))),
        ),
        (
            "capital digits",
            forge.papers(|params, name| {
                let (head, digits) = name.split_at(15);
                params.subject_alt_names = vec![uri(&format!("{head}{}", digits.to_uppercase()))];
            }),
        ),
        ("a longer name", forge.papers(|params, name| params.subject_alt_names = vec![uri(&format!("{name}0"))])),
        ("a name within", forge.papers(|params, name| params.subject_alt_names = vec![uri(&format!("x{name}"))])),
        (
            "a host name",
            forge.papers(|params, name| {
                params.subject_alt_names = vec![SanType::DnsName(name.replace(':', "-").as_str().try_into().unwrap())];
            }),
        ),
        (
            "a common name",
            forge.papers(|params, name| {
                params.subject_alt_names = vec![];
                params.distinguished_name.push(DnType::CommonName, name);
            }),
        ),
        (
            "a key of another kind",
            forge.papers_for(&KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap(), |_, _| {}),
        ),
        (
            "a certificate for e-mail",
            forge.papers(|params, _| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::EmailProtection]),
        ),
    ];
    let stranger = refused_as_client(&node, Some(&Forge::new().good_papers()), b"reconvene/1").await;
    for (what, papers) in &lookalikes {
        let error = refused_as_client(&node, Some(papers), b"reconvene/1").await;
        assert!(is_alert(&error), "{what}: {error:?}");
        // A client that has no key of our kind sends no certificate; that much is its own doing.
        if *what != "a key of another kind" {
            assert_eq!(error, stranger, "{what}: what was wrong does not show");
        }
        let error = refused_as_server(&node, papers, b"reconvene/1").await;
        assert!(matches!(error, LinkError::Connect { .. }), "{what}: {error:?}");
    }
    // Another URI beside the one name is fine: roles will stand there.
    let roles = forge.papers(|params, _| params.subject_alt_names.push(uri("reconvene:role:broker")));
    let client = raw_client(Some(&roles), b"reconvene/1");
    let connection = raw_connect(&client, node.endpoint.local_addr()).await.unwrap();
    let (mut send, mut receive) = connection.open_bi().await.unwrap();
    send.write_all(&hello()).await.unwrap();
    soon(receive.read_exact(&mut [0; 26])).await.unwrap();
    drop(connection);
    unimpressed(&node, &forge).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_certificate_chain_through_a_member() {
    // A member must not be able to make further members.
    let forge = Forge::new();
    let node = Node::new(&forge.authority);
    let member = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    forge.papers_for(&member, |_, _| {});
    let signed_by_member =
        Forge { authority: forge.authority.clone(), key: member, _dir: tempfile::tempdir().unwrap() };
    let error = refused_as_client(&node, Some(&signed_by_member.good_papers()), b"reconvene/1").await;
    assert!(is_alert(&error), "{error:?}");
    unimpressed(&node, &forge).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_early_frame() {
    // A member that sends frames before its hello, and then no hello that is one.
    let forge = Forge::new();
    let node = Node::new(&forge.authority);
    let client = raw_client(Some(&forge.good_papers()), b"reconvene/1");
    for bytes in [
        &b"GET / HTTP/1.1\r\nHost: here\r\n\r\n"[..],
        &[0xff; 300],
        b"RCNV\x00\x02\x00\x01\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
    ] {
        let connection = raw_connect(&client, node.endpoint.local_addr()).await.unwrap();
        let mut frames = connection.open_uni().await.unwrap();
        frames.write_all(b"\0\0\0\x05early").await.unwrap();
        let (mut send, _receive) = connection.open_bi().await.unwrap();
        let _ = send.write_all(bytes).await;
        let closed = soon(connection.closed()).await;
        assert!(
            matches!(&closed, ConnectionError::ApplicationClosed(close) if close.error_code == VarInt::from_u32(1)),
            "{closed:?}"
        );
    }
    unimpressed(&node, &forge).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_length_bomb() {
    let forge = Forge::new();
    let node = Node::new(&forge.authority);
    let limit = EndpointConfig::default().max_frame;
    for length in [limit + 1, u32::MAX] {
        let (_client, connection) = raw_member(&node, &forge).await;
        let mut frames = connection.open_uni().await.unwrap();
        frames.write_all(b"\0\0\0\x02ok").await.unwrap();
        assert_eq!(node.frame().await.1, b"ok");
        // Only the length: the link ends without waiting for, or making room for, what it announces.
        frames.write_all(&length.to_be_bytes()).await.unwrap();
        let closed = soon(connection.closed()).await;
        assert!(
            matches!(&closed, ConnectionError::ApplicationClosed(close) if close.error_code == VarInt::from_u32(7)),
            "{closed:?}"
        );
        assert!(matches!(node.event().await, LinkEvent::LinkDown { .. }));
    }
    unimpressed(&node, &forge).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_broken_frame() {
    let forge = Forge::new();
    let node = Node::new(&forge.authority);
    for bytes in [&b"\0\0"[..], b"\0\0\0\x0ashort"] {
        let (_client, connection) = raw_member(&node, &forge).await;
        let mut frames = connection.open_uni().await.unwrap();
        frames.write_all(bytes).await.unwrap();
        frames.finish().unwrap();
        soon(connection.closed()).await;
        assert!(matches!(node.event().await, LinkEvent::LinkDown { .. }));
    }
    unimpressed(&node, &forge).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_slowloris() {
    let forge = Forge::new();
    let mut config = EndpointConfig::default();
    config.handshake_timeout = Duration::from_secs(2);
    let node = Node::with(&forge.authority, config);
    let client = raw_client(Some(&forge.good_papers()), b"reconvene/1");

    // Without a hello; with half of one; with one, but without the acceptance of the answer.
    for count in [0, 7, 26] {
        let connection = raw_connect(&client, node.endpoint.local_addr()).await.unwrap();
        let (mut send, _receive) = connection.open_bi().await.unwrap();
        send.write_all(&hello()[..count]).await.unwrap();
        // Well before QUIC's own idle time-out, which a stranger could keep from running out.
        let closed = tokio::time::timeout(Duration::from_secs(12), connection.closed()).await.unwrap();
        assert!(matches!(closed, ConnectionError::ApplicationClosed(_)), "{closed:?}");
    }
    unimpressed(&node, &forge).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_slots_are_bounded_and_come_back() {
    let forge = Forge::new();
    let mut config = EndpointConfig::default();
    config.handshake_slots = 2;
    config.handshake_timeout = Duration::from_secs(3);
    let node = Node::with(&forge.authority, config);
    let client = raw_client(Some(&forge.good_papers()), b"reconvene/1");
    let mut held = Vec::new();
    let refused = loop {
        match raw_connect(&client, node.endpoint.local_addr()).await {
            Ok(connection) => held.push(connection),
            Err(error) => break error,
        }
        // Slots come back after 3 s, so on a machine that slow this would never end.
        assert!(held.len() < 100);
    };
    assert!(matches!(refused, ConnectionError::ConnectionClosed(_)), "{refused:?}");
    assert!(held.len() >= 2);
    for connection in held {
        soon(connection.closed()).await;
    }
    // The slots are free again. Newcomers had to prove their address meanwhile, which costs them nothing but a trip.
    unimpressed(&node, &forge).await;
}
