//! How many files this process may have open: each connection is one.

/// Raises the limit to this number. The error is the limit that stays.
#[cfg(unix)]
pub(crate) fn allow(needed: u64) -> Result<(), u64> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let Some(current) = limit.current.filter(|current| *current < needed) else {
        return Ok(());
    };
    if let Some(most) = limit.maximum.filter(|most| *most < needed) {
        return Err(most);
    }
    let raised = Rlimit {
        current: Some(needed),
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, raised).map_err(|_| current)
}

/// Raises the limit as far as it may be, where the system says how far that is.
#[cfg(unix)]
pub(crate) fn allow_most() {
    use rustix::process::{Resource, getrlimit};
    if let Some(most) = getrlimit(Resource::Nofile).maximum {
        // The limit that stays is enough for most uses.
        let _ = allow(most);
    }
}

#[cfg(not(unix))]
pub(crate) fn allow(_needed: u64) -> Result<(), u64> {
    Ok(())
}

#[cfg(not(unix))]
pub(crate) fn allow_most() {}
