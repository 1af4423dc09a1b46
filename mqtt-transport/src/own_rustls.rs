//! rustls itself, for who wants to configure all of TLS with it.
//!
//! This module is the only place of this crate that shows rustls. It follows rustls' releases: what
//! is used of it is not covered by this crate's version number.

#[doc(no_inline)]
pub use ::rustls::*;

use crate::TlsConfig;
use std::sync::Arc;

/// Wraps your own configuration. Nothing is added to it, and all of it is used: verifier, clock,
/// session cache, limits.
pub fn tls_config(config: impl Into<Arc<ClientConfig>>) -> TlsConfig {
    TlsConfig {
        config: config.into(),
        server_name: None,
    }
}
