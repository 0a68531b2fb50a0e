//! Owns TLS of the public port: certificate and key from PEM files to an acceptor.
//!
//! Knows rustls (TLS 1.2 and 1.3). Promises: a wrong file is told by name before a port is opened.

use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::path::Path;
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;

/// Why TLS cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("door.tls.certificate: {path} cannot be read as a PEM certificate chain: {reason}")]
    Certificate { path: String, reason: rustls_pki_types::pem::Error },
    #[error("door.tls.private_key: {path} cannot be read as a PEM private key: {reason}")]
    PrivateKey { path: String, reason: rustls_pki_types::pem::Error },
    #[error("certificate and private key do not go together: {0}")]
    Pair(#[from] rustls::Error),
}

/// Reads both files.
pub fn acceptor(certificate: &Path, private_key: &Path) -> Result<TlsAcceptor, TlsError> {
    let failed = |reason| TlsError::Certificate { path: certificate.display().to_string(), reason };
    let chain = CertificateDer::pem_file_iter(certificate).map_err(failed)?.collect::<Result<Vec<_>, _>>().map_err(failed)?;
    if chain.is_empty() {
        return Err(failed(rustls_pki_types::pem::Error::NoItemsFound));
    }
    let key = PrivateKeyDer::from_pem_file(private_key)
        .map_err(|reason| TlsError::PrivateKey { path: private_key.display().to_string(), reason })?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
