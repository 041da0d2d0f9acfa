//! The NodeId in a certificate.

use core::fmt::Write as _;

use reconvene_clock::NodeId;
use ring::digest;
use rustls::pki_types::CertificateDer;
use webpki::EndEntityCert;

/// The node that owns this Ed25519 public key: the first 128 bits of its SHA-256.
pub(crate) fn node_of_key(public_key: &[u8]) -> NodeId {
    let hash = digest::digest(&digest::SHA256, public_key);
    let mut name = [0_u8; 16];
    name.iter_mut().zip(hash.as_ref()).for_each(|(to, from)| *to = *from);
    NodeId::new(name)
}

/// The URI that names this node in a certificate.
pub(crate) fn uri_of(node: NodeId) -> String {
    let mut uri = PREFIX.to_owned();
    // Writing to a String does not fail.
    let _ = write!(uri, "{node}");
    uri
}

/// The node that a certificate names, if it names exactly one and that is the owner of the certificate's key.
///
/// Says nothing about who signed the certificate.
pub(crate) fn node_of_certificate(certificate: &CertificateDer<'_>) -> Option<NodeId> {
    let parsed = EndEntityCert::try_from(certificate).ok()?;
    let info = parsed.subject_public_key_info();
    let public_key = info.as_ref().strip_prefix(&ED25519_INFO)?;
    if public_key.len() != ED25519_KEY_BYTES {
        return None;
    }
    let node = node_of_key(public_key);

    // Look-alikes in another case count as names too, so that no reader can take them for a second identity.
    let mut names = parsed.valid_uri_names().filter(|uri| {
        uri.as_bytes().get(..PREFIX.len()).is_some_and(|head| head.eq_ignore_ascii_case(PREFIX.as_bytes()))
    });
    let only = names.next()?;
    (names.next().is_none() && only == uri_of(node)).then_some(node)
}

const PREFIX: &str = "reconvene:node:";

/// DER of SubjectPublicKeyInfo before the 32 key bytes: SEQUENCE, OID 1.3.101.112, BIT STRING (RFC 8410, section 4).
const ED25519_INFO: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

const ED25519_KEY_BYTES: usize = 32;
