//! Owns the signature under OpenDSR answers: by the operator's certificate, or, without one, by the key of the audit log.
//!
//! The specification asks for a certificate of a trusted authority, issued for the domain that is asked (§4.1), and a
//! signature of FIPS 186-4: RSA or ECDSA. Only an operator has such a certificate. Without one answers are
//! signed all the same, with Ed25519, which a caller who knows the key can check and a library that looks for
//! a certificate cannot. Promises: a wrong file is told by name before a port is opened; of the certificate's
//! file only certificates are ever shown.

use crate::desk::rights::Rights;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::SignatureScheme;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest, Sha256};
use std::path::Path;

/// What signs.
pub enum Seal {
    Certificate {
        key: CertifiedKey,
        /// The chain, to be shown.
        pem: String,
    },
    AuditLog,
}

/// Why the certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    #[error("opendsr.certificate: {path} cannot be read as a PEM certificate chain: {reason}")]
    Certificate { path: String, reason: rustls_pki_types::pem::Error },
    #[error("opendsr.private_key: {path} cannot be read as a PEM private key: {reason}")]
    PrivateKey { path: String, reason: rustls_pki_types::pem::Error },
    #[error("opendsr.certificate and opendsr.private_key do not go together: {0}")]
    Pair(#[from] rustls::Error),
    #[error("opendsr.private_key is neither RSA nor ECDSA on P-256 or P-384")]
    Algorithm,
}

/// Signatures of FIPS 186-4; with RSA as other processors of OpenDSR sign.
const SCHEMES: [SignatureScheme; 3] = [SignatureScheme::RSA_PKCS1_SHA256, SignatureScheme::ECDSA_NISTP256_SHA256, SignatureScheme::ECDSA_NISTP384_SHA384];

impl Seal {
    /// A signature of `body` in base64; `None` where none can be made.
    pub fn sign(&self, body: &[u8], rights: &Rights) -> Option<String> {
        match self {
            Self::Certificate { key, .. } => Some(STANDARD.encode(key.key.choose_scheme(&SCHEMES)?.sign(body).ok()?)),
            Self::AuditLog => Some(STANDARD.encode(bytes(&rights.sign(&Sha256::digest(body)).0)?)),
        }
    }

    /// How `sign` signs, for whoever checks.
    pub fn algorithm(&self) -> &'static str {
        match self {
            Self::Certificate { key, .. } => match key.key.choose_scheme(&SCHEMES).map(|signer| signer.scheme()) {
                Some(SignatureScheme::RSA_PKCS1_SHA256) => "RSASSA-PKCS1-v1_5 with SHA-256 over the body",
                Some(SignatureScheme::ECDSA_NISTP256_SHA256) => "ECDSA on P-256 with SHA-256 over the body, in DER",
                Some(_) | None => "ECDSA on P-384 with SHA-384 over the body, in DER",
            },
            Self::AuditLog => "Ed25519 (RFC 8032) over the 32 bytes of the body's SHA-256",
        }
    }

    pub fn read(certificate: &Path, private_key: &Path) -> Result<Self, SealError> {
        let failed = |reason| SealError::Certificate { path: certificate.display().to_string(), reason };
        let chain = CertificateDer::pem_file_iter(certificate).map_err(failed)?.collect::<Result<Vec<_>, _>>().map_err(failed)?;
        if chain.is_empty() {
            return Err(failed(rustls_pki_types::pem::Error::NoItemsFound));
        }
        let key = PrivateKeyDer::from_pem_file(private_key).map_err(|reason| SealError::PrivateKey { path: private_key.display().to_string(), reason })?;
        let pem = chain.iter().map(|certificate| pem(certificate)).collect();
        let key = CertifiedKey::from_der(chain, key, &rustls::crypto::ring::default_provider())?;
        if key.key.choose_scheme(&SCHEMES).is_none() {
            return Err(SealError::Algorithm);
        }
        Ok(Self::Certificate { key, pem })
    }
}

/// RFC 7468, lines of 64.
fn pem(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> = text.as_bytes().chunks(64).filter_map(|line| std::str::from_utf8(line).ok()).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}

fn bytes(digits: &str) -> Option<Vec<u8>> {
    digits.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}
