//! Where an MQTT server is, from a URI.
//!
//! **What it does.** [`Endpoint::parse`] reads `mqtt://user:secret@host:1883`, or `mqtts`, `ws`, `wss` or `mqtt+unix`,
//! and says what each part is, or which part is wrong and what to do about it. **What it does not touch.** It opens
//! nothing and resolves nothing; it knows nothing of MQTT's packets. Passwords never appear in its errors or in `Debug`.
//!
//! ```
//! use martlet_transport::Endpoint;
//!
//! let endpoint = Endpoint::parse("mqtt://ann:p%40ss@[::1]")?;
//! assert_eq!((endpoint.host(), endpoint.port()), ("::1", 1883));
//! assert_eq!(endpoint.user_name(), Some("ann"));
//! assert_eq!(endpoint.password(), Some(&b"p@ss"[..]));
//! assert_eq!(format!("{endpoint}"), "mqtt://[::1]:1883");
//! # Ok::<(), martlet_transport::UriError>(())
//! ```

mod endpoint;
mod uri;

pub use endpoint::{Endpoint, Scheme};
pub use uri::UriError;
