//! An error of any type that can be cloned.

use alloc::boxed::Box;
use alloc::string::{String, ToString};
#[cfg(not(feature = "portable-atomic"))]
use alloc::sync::Arc;
use core::error::Error;
use core::fmt;
#[cfg(feature = "portable-atomic")]
use portable_atomic_util::Arc;

/// Any error, or a text in its place, that can be cloned and compared.
///
/// `Debug`, `Display` and `source()` are those of the error inside. Two are equal if they are
/// clones of one error, or have the same text.
#[derive(Clone)]
pub struct SharedError(Arc<dyn Error + Send + Sync>);

impl SharedError {
    /// Wraps an error, or a text: lower case, without a full stop, without secrets.
    pub fn new(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self(Arc::from(error.into()))
    }

    /// Sets what caused it, which `source()` returns from now on.
    #[must_use]
    pub fn caused_by(self, cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(Box::<dyn Error + Send + Sync>::from(Caused {
            text: self.to_string(),
            cause: cause.into(),
        }))
    }

    /// Returns the error inside.
    pub fn get(&self) -> &(dyn Error + Send + Sync + 'static) {
        &*self.0
    }

    /// Returns the error inside if it has this type.
    pub fn downcast_ref<E: Error + 'static>(&self) -> Option<&E> {
        self.0.downcast_ref()
    }
}

impl PartialEq for SharedError {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.to_string() == other.to_string()
    }
}

impl Eq for SharedError {}

impl fmt::Debug for SharedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for SharedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl Error for SharedError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}

/// A text with a cause.
#[derive(Debug)]
struct Caused {
    text: String,
    cause: Box<dyn Error + Send + Sync>,
}

impl fmt::Display for Caused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Error for Caused {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.cause)
    }
}

/// Gives types with a [`SharedError`] named `error` its text and its cause.
macro_rules! show_its_error {
    ($($type:ty),*) => {$(
        impl core::fmt::Display for $type {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                self.error.fmt(f)
            }
        }

        impl core::error::Error for $type {
            fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
                self.error.source()
            }
        }
    )*};
}
pub(crate) use show_its_error;
