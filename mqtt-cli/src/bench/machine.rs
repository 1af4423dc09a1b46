//! Open files, CPU time and memory of this process.

use crate::exit::Failure;
use crate::open_files;

/// Files that are open beside the connections: standard streams, libraries, and the event queues of
/// each thread.
const OTHER_FILES: u64 = 64;
const FILES_OF_THREAD: u64 = 4;

/// Makes sure that this many connections can be open at once.
pub(super) fn allow_connections(connections: u64, threads: u16) -> Result<(), Failure> {
    let needed = connections + OTHER_FILES + FILES_OF_THREAD * u64::from(threads);
    open_files::allow(needed).map_err(|most| {
        Failure::usage(format!(
            "--clients: {connections} connections need {needed} open files, and this process may open {most}: raise the limit (ulimit -n) or lower --clients"
        ))
    })
}

/// Lets this thread wake up when it is to: by default Linux may be 50 µs late.
pub(super) fn wake_precisely() {
    #[cfg(target_os = "linux")]
    {
        let slack = std::num::NonZeroU64::new(1_000);
        // Without it messages are handed over a little later, which the report says.
        let _ = rustix::thread::set_current_timer_slack(slack);
    }
}

/// The CPU time of this process in nanoseconds, where the system says.
pub(super) fn cpu_time() -> Option<u64> {
    #[cfg(unix)]
    {
        use rustix::time::{ClockId, clock_gettime};
        let time = clock_gettime(ClockId::ProcessCPUTime);
        let seconds = u64::try_from(time.tv_sec).ok()?;
        let rest = u64::try_from(time.tv_nsec).ok()?;
        seconds.checked_mul(1_000_000_000)?.checked_add(rest)
    }
    #[cfg(not(unix))]
    None
}

/// The most memory that this process had resident, in bytes, where the system says.
pub(super) fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}
