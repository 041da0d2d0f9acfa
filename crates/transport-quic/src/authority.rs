//! The development authority: who may join the network.

use core::fmt;
use core::time::Duration;
use std::path::Path;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PKCS_ED25519, SanType, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, UnixTime};
use webpki::KeyUsage;

use crate::error::AuthorityError;
use crate::files::{self, Pair, PemPair};
use crate::identity::Identity;
use crate::node_name::{node_of_certificate, node_of_key, uri_of};
use crate::tls::Verifier;
use reconvene_clock::NodeId;

/// A key that signs node certificates, kept where the nodes can reach it: for development, demonstrations and tests.
///
/// Whoever can read its directory can make nodes of the network. Its certificates hold for a century, name no roles
/// and cannot be revoked. A network of sites that do not trust each other's disks needs an authority kept offline.
///
/// ```
/// use reconvene_transport_quic::Authority;
///
/// let authority = Authority::generate()?;
/// let (one, two) = (authority.issue()?, authority.issue()?);
/// assert_ne!(one.node_id(), two.node_id());
/// # Ok::<(), reconvene_transport_quic::AuthorityError>(())
/// ```
#[derive(Clone)]
pub struct Authority {
    certificate: CertificateDer<'static>,
    key: Arc<KeyPair>,
}

/// Whether a call made what it returns, or found it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "there is no third case")]
pub enum Created {
    /// This call made it; a program should tell its user.
    New,
    /// It was there, or another process made it meanwhile.
    Existing,
}

impl Authority {
    /// A new authority with a fresh key, in memory only.
    ///
    /// # Errors
    ///
    /// [`AuthorityError::Generate`] if the system gives no random bytes.
    pub fn generate() -> Result<Self, AuthorityError> {
        Ok(Self::generate_with_pem()?.0)
    }

    /// The authority kept in `dir`.
    ///
    /// # Errors
    ///
    /// [`AuthorityError::Missing`] if there is none; otherwise which file is unreadable, damaged or does not match.
    pub fn load(dir: &Path) -> Result<Self, AuthorityError> {
        Self::find(dir)?.ok_or_else(|| AuthorityError::Missing { dir: dir.to_owned() })
    }

    /// The authority kept in `dir`, which is made with a new authority in it if there is none.
    ///
    /// Of several processes that start together one makes it, and all return the same. What exists is never
    /// overwritten, damaged or not. On unix only the owner can read what is made.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load) but for a missing authority, and when nothing can be written.
    pub fn load_or_create(dir: &Path) -> Result<(Self, Created), AuthorityError> {
        if let Some(found) = Self::find(dir)? {
            return Ok((found, Created::Existing));
        }
        let (new, pem) = Self::generate_with_pem()?;
        files::make_parent(dir)?;
        if files::publish(dir, AUTHORITY, &pem)? {
            return Ok((new, Created::New));
        }
        Ok((Self::load(dir)?, Created::Existing))
    }

    /// A new node: a fresh Ed25519 key with a certificate of this authority.
    ///
    /// # Errors
    ///
    /// [`AuthorityError::Generate`] if the system gives no random bytes.
    pub fn issue(&self) -> Result<Identity, AuthorityError> {
        Ok(self.issue_with_pem()?.0)
    }

    /// The node kept as `name` in `dir`, which is made if it is missing: a node that restarts keeps its NodeId.
    ///
    /// As race-free and as careful with what exists as [`load_or_create`](Self::load_or_create). `dir` may be the
    /// directory of the authority itself. Two running nodes must not share a name.
    ///
    /// # Errors
    ///
    /// [`AuthorityError::Name`] for a name other than 1 to 64 characters of `a-z`, `0-9` and `-`; otherwise which file
    /// is unreadable, damaged or of another authority, or that nothing can be written.
    pub fn load_or_issue(&self, dir: &Path, name: &str) -> Result<(Identity, Created), AuthorityError> {
        let usable = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if name.is_empty() || name.len() > 64 || name == AUTHORITY || !name.bytes().all(usable) {
            return Err(AuthorityError::Name { name: name.to_owned() });
        }
        let home = dir.join(name);
        if let Some(pair) = files::read(&home)? {
            return Ok((self.adopt(&home, pair)?, Created::Existing));
        }
        let (new, pem) = self.issue_with_pem()?;
        files::make_parent(dir)?;
        if files::publish(dir, name, &pem)? {
            return Ok((new, Created::New));
        }
        let pair = files::read(&home)?.ok_or_else(|| AuthorityError::Missing { dir: home.clone() })?;
        Ok((self.adopt(&home, pair)?, Created::Existing))
    }

    fn generate_with_pem() -> Result<(Self, PemPair), AuthorityError> {
        let key = new_key()?;
        let certificate = authority_params().self_signed(&key).map_err(generate_failed)?;
        let pem = PemPair { certificate: certificate.pem(), key: key.serialize_pem() };
        Ok((Self { certificate: certificate.into(), key: Arc::new(key) }, pem))
    }

    fn issue_with_pem(&self) -> Result<(Identity, PemPair), AuthorityError> {
        let key = new_key()?;
        let node = node_of_key(key.public_key_raw());
        let certificate = self.sign(&node_params(&uri_of(node))?, &key)?;
        let pem = PemPair { certificate: certificate.pem(), key: key.serialize_pem() };
        Ok((self.identity(node, certificate.into(), key.serialize_der()), pem))
    }

    fn find(dir: &Path) -> Result<Option<Self>, AuthorityError> {
        let home = dir.join(AUTHORITY);
        let Some(pair) = files::read(&home)? else {
            return Ok(None);
        };
        let mismatch = || AuthorityError::Mismatch { dir: home.clone() };
        let key = read_key(&pair).ok_or_else(mismatch)?;
        let found = Self { certificate: pair.certificate, key: Arc::new(key) };
        // The whole way at once: what this key signs must be accepted by whoever trusts this certificate.
        let probe = found.issue()?;
        if found.accepts(&probe.certificate) { Ok(Some(found)) } else { Err(mismatch()) }
    }

    /// An identity from files, after checking that it is one.
    fn adopt(&self, home: &Path, pair: Pair) -> Result<Identity, AuthorityError> {
        let mismatch = || AuthorityError::Mismatch { dir: home.to_owned() };
        let key = read_key(&pair).ok_or_else(mismatch)?;
        let node = node_of_key(key.public_key_raw());
        if node_of_certificate(&pair.certificate) != Some(node) || !self.accepts(&pair.certificate) {
            return Err(mismatch());
        }
        Ok(self.identity(node, pair.certificate, pair.key))
    }

    fn accepts(&self, certificate: &CertificateDer<'_>) -> bool {
        let now = UnixTime::since_unix_epoch(Duration::from_secs(SOME_TIME_WITHIN_VALIDITY));
        Verifier::new(&self.certificate)
            .is_some_and(|verifier| verifier.check(certificate, &[], now, KeyUsage::server_auth()).is_ok())
    }

    fn sign(&self, params: &CertificateParams, key: &KeyPair) -> Result<Certificate, AuthorityError> {
        let authority = authority_params();
        params.signed_by(key, &Issuer::from_params(&authority, &*self.key)).map_err(generate_failed)
    }

    fn identity(&self, node: NodeId, certificate: CertificateDer<'static>, key: Vec<u8>) -> Identity {
        Identity { node, certificate, key, authority: self.certificate.clone() }
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

fn new_key() -> Result<KeyPair, AuthorityError> {
    KeyPair::generate_for(&PKCS_ED25519).map_err(generate_failed)
}

fn read_key(pair: &Pair) -> Option<KeyPair> {
    let der = PrivatePkcs8KeyDer::from(pair.key.as_slice());
    KeyPair::from_pkcs8_der_and_sign_algo(&der, &PKCS_ED25519).ok()
}

fn generate_failed(error: rcgen::Error) -> AuthorityError {
    AuthorityError::Generate { source: error.into() }
}

/// What the authority's certificate says; the same for each, since only the key tells authorities apart.
fn authority_params() -> CertificateParams {
    let mut params = params("Reconvene development authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

fn node_params(uri: &str) -> Result<CertificateParams, AuthorityError> {
    let mut params = params("Reconvene node");
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.subject_alt_names = vec![SanType::URI(uri.try_into().map_err(generate_failed)?)];
    Ok(params)
}

fn params(common_name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    // A fixed century: nothing expires in the middle of a demonstration, and machines whose clock was never set join.
    params.not_before = date_time_ymd(2000, 1, 1);
    params.not_after = date_time_ymd(2100, 1, 1);
    params
}

const AUTHORITY: &str = "authority";

/// In 2033.
const SOME_TIME_WITHIN_VALIDITY: u64 = 2_000_000_000;
