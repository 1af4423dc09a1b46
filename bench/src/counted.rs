//! The same program with an allocator that counts. It is a build of its own because counting costs
//! as much as some peers' messages do.
#![forbid(unsafe_code)]

use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use std::alloc::System;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn main() {
    martlet_bench::main(Some(|| {
        let stats = ALLOCATOR.stats();
        martlet_bench::Allocations {
            count: (stats.allocations + stats.reallocations) as u64,
            live: stats
                .bytes_allocated
                .saturating_sub(stats.bytes_deallocated) as u64,
        }
    }));
}
