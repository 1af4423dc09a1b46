//! The libraries that TLS can use for its cryptography.

use super::TrustError;
use rustls::crypto::CryptoProvider;
use std::sync::Arc;

/// The library that does TLS's cryptography. The default is [`Ring`](Self::Ring) where that is
/// compiled in, else [`AwsLcRs`](Self::AwsLcRs), else [`Installed`](Self::Installed).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Crypto {
    /// The crate `ring`.
    #[cfg(feature = "ring")]
    #[cfg_attr(docsrs, doc(cfg(feature = "ring")))]
    #[default]
    Ring,
    /// The crate `aws-lc-rs`; it adds key exchange that withstands quantum computers.
    #[cfg(feature = "aws-lc-rs")]
    #[cfg_attr(docsrs, doc(cfg(feature = "aws-lc-rs")))]
    #[cfg_attr(not(feature = "ring"), default)]
    AwsLcRs,
    /// What the program has installed for all of its process with
    /// [`CryptoProvider::install_default`].
    #[cfg_attr(not(any(feature = "ring", feature = "aws-lc-rs")), default)]
    Installed,
}

impl Crypto {
    pub(super) fn provider(self) -> Result<Arc<CryptoProvider>, TrustError> {
        match self {
            #[cfg(feature = "ring")]
            Self::Ring => Ok(rustls::crypto::ring::default_provider().into()),
            #[cfg(feature = "aws-lc-rs")]
            Self::AwsLcRs => Ok(rustls::crypto::aws_lc_rs::default_provider().into()),
            Self::Installed => CryptoProvider::get_default()
                .cloned()
                .ok_or(TrustError::NoCrypto),
        }
    }
}
