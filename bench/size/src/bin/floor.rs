//! What every program here has: the start, the board and the allocator.
#![no_std]
#![no_main]

extern crate alloc;

use martlet_size::{Modem, now, start};

#[global_allocator]
static HEAP: embedded_alloc::LlffHeap = embedded_alloc::LlffHeap::empty();

#[cortex_m_rt::entry]
fn main() -> ! {
    start();
    // SAFETY: once, before anything is allocated.
    unsafe {
        embedded_alloc::init!(HEAP, 32 * 1024);
    }
    let mut modem = Modem::new();
    modem.dial();
    loop {
        let mut bytes = alloc::vec::Vec::new();
        while let Some(byte) = modem.get() {
            bytes.push(byte);
        }
        bytes.push(now() as u8);
        martlet_size::send(&bytes);
    }
}
