//! Protects connections as `sslmode` says.
//!
//! | `sslmode`          | TLS              | certificate                                          |
//! |--------------------|------------------|------------------------------------------------------|
//! | `disable`          | never            |                                                      |
//! | `prefer` (default) | if it is offered | not verified                                         |
//! | `require`          | always           | not verified; with `sslrootcert` as by `verify-ca`   |
//! | `verify-ca`        | always           | of an authority in `sslrootcert`, else the platform's|
//! | `verify-full`      | always           | the same, and made out to the host's name            |
//!
//! This is what libpq does, down to `require`, which keeps a listener out but not an impostor; only `allow`, which
//! tries without TLS first, is `prefer` here, and the platform's authorities stand in where no file is named.
//!
//! Invariant: a mode that verifies never falls back to one that does not.
//! Not here: reading the connection string (`url`).

use std::path::Path;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::url::{SslMode, Target};
use crate::error::OpenError;

/// Sets the driver's mode and returns what makes the TLS connections.
///
/// # Errors
/// [`OpenError::Url`] if the certificates of `sslrootcert` cannot be read.
pub(super) fn connector(target: &mut Target) -> Result<MakeRustlsConnect, OpenError> {
    let (driver, verify) = match (target.mode, &target.root_cert) {
        (SslMode::Disable, _) => (tokio_postgres::config::SslMode::Disable, Verify::Nothing),
        (SslMode::Prefer, _) => (tokio_postgres::config::SslMode::Prefer, Verify::Nothing),
        (SslMode::Require, None) => (tokio_postgres::config::SslMode::Require, Verify::Nothing),
        (SslMode::Require, Some(_)) | (SslMode::VerifyCa, _) => {
            (tokio_postgres::config::SslMode::Require, Verify::Authority)
        }
        (SslMode::VerifyFull, _) => (tokio_postgres::config::SslMode::Require, Verify::AuthorityAndName),
    };
    target.config.ssl_mode(driver);
    let provider = Arc::new(ring::default_provider());
    let verifier: Arc<dyn ServerCertVerifier> = match verify {
        Verify::Nothing => Arc::new(Lenient { provider: provider.clone(), authority: None }),
        Verify::Authority => {
            let authority = Some(verifier(target.root_cert.as_deref(), &provider)?);
            Arc::new(Lenient { provider: provider.clone(), authority })
        }
        Verify::AuthorityAndName => verifier(target.root_cert.as_deref(), &provider)?,
    };
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| refused(error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}

/// What of a certificate is verified.
#[derive(Clone, Copy)]
enum Verify {
    Nothing,
    Authority,
    AuthorityAndName,
}

fn verifier(
    root_cert: Option<&Path>,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<WebPkiServerVerifier>, OpenError> {
    let roots = match root_cert {
        Some(path) => roots_of(path)?,
        None => {
            let mut roots = RootCertStore::empty();
            // A platform's store may hold a certificate that cannot be read; what matters is whether any can.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            roots
        }
    };
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .build()
        .map_err(|_| refused("no certificate authority is known: name a PEM file as sslrootcert"))
}

fn roots_of(path: &Path) -> Result<RootCertStore, OpenError> {
    let unreadable = |error: rustls::pki_types::pem::Error| {
        refused(format!("sslrootcert {} cannot be read: {error}", path.display()))
    };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(unreadable)? {
        let unusable = |error| refused(format!("sslrootcert {} cannot be used: {error}", path.display()));
        roots.add(certificate.map_err(unreadable)?).map_err(unusable)?;
    }
    Ok(roots)
}

fn refused(reason: impl Into<String>) -> OpenError {
    OpenError::Url { reason: reason.into() }
}

/// Verifies the authority only, or nothing; the handshake's signatures are verified in any case, because they prove
/// that the peer holds the key it encrypts with.
#[derive(Debug)]
struct Lenient {
    provider: Arc<CryptoProvider>,
    authority: Option<Arc<WebPkiServerVerifier>>,
}

impl ServerCertVerifier for Lenient {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Some(authority) = &self.authority else { return Ok(ServerCertVerified::assertion()) };
        match authority.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            // The name is compared last, after the chain was found good.
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
