//! QEMU's boards `mps2-an385` (Cortex-M3) and `mps2-an386` (Cortex-M4): a clock, and a modem on the first UART, which stands
//! for the network.
#![no_std]

use core::cell::Cell;
use core::future::poll_fn;
use core::ptr;
use core::task::Poll;
use embedded_io_async::{ErrorKind, ErrorType, Read, Write};

const UART: usize = 0x4000_4000;
const TIMER: usize = 0x4000_0000;

fn read_register(address: usize) -> u32 {
    // SAFETY: only registers of the board are read.
    unsafe { ptr::with_exposed_provenance::<u32>(address).read_volatile() }
}

fn write_register(address: usize, value: u32) {
    // SAFETY: only registers of the board are written.
    unsafe { ptr::with_exposed_provenance_mut::<u32>(address).write_volatile(value) }
}

/// Switches on what the programs use.
pub fn start() {
    write_register(UART + 0x10, 16);
    write_register(UART + 0x08, 3);
    write_register(TIMER + 0x08, u32::MAX);
    write_register(TIMER, 1);
}

/// Milliseconds since [`start`], if it is called every two minutes.
pub fn now() -> u64 {
    struct Clock(Cell<(u32, u64)>);
    // SAFETY: there is one thread, and no interrupt.
    unsafe impl Sync for Clock {}
    static CLOCK: Clock = Clock(Cell::new((0, 0)));
    const TICKS_PER_MS: u64 = 25_000;

    let elapsed = u32::MAX - read_register(TIMER + 0x04);
    let (last, before) = CLOCK.0.get();
    let total = before + u64::from(elapsed.wrapping_sub(last));
    CLOCK.0.set((elapsed, total));
    total / TICKS_PER_MS
}

/// Announces a command of the modem; twice, it stands for itself.
const ESCAPE: u8 = 0x10;
const DIAL: u8 = b'D';
const CONNECTED: u8 = b'C';
const HANG_UP: u8 = b'H';

/// A modem that has one server's number.
pub struct Modem {
    escaped: bool,
    is_up: bool,
}

impl Modem {
    /// The modem, which is not connected.
    pub const fn new() -> Self {
        Self {
            escaped: false,
            is_up: false,
        }
    }

    /// Makes a connection in place of the one that there is.
    pub fn dial(&mut self) {
        self.is_up = false;
        put(ESCAPE);
        put(DIAL);
        while !self.is_up {
            self.get();
        }
    }

    /// Ends the connection.
    pub fn hang_up(&mut self) {
        self.is_up = false;
        put(ESCAPE);
        put(HANG_UP);
    }

    /// Whether there is a connection.
    pub const fn is_up(&self) -> bool {
        self.is_up
    }

    /// The next byte of the server, if it is there.
    pub fn get(&mut self) -> Option<u8> {
        while read_register(UART + 0x04) & 2 != 0 {
            let byte = read_register(UART) as u8;
            match (core::mem::take(&mut self.escaped), byte) {
                (false, ESCAPE) => self.escaped = true,
                (true, CONNECTED) => self.is_up = true,
                (true, HANG_UP) => self.is_up = false,
                (false, _) | (true, ESCAPE) => return Some(byte),
                (true, _) => {}
            }
        }
        None
    }

    /// The halves of the connection.
    pub fn split(&mut self) -> (&mut Self, ModemWriter) {
        (self, ModemWriter)
    }
}

/// Sends bytes to the server.
pub fn send(bytes: &[u8]) {
    for &byte in bytes {
        if byte == ESCAPE {
            put(ESCAPE);
        }
        put(byte);
    }
}

impl Default for Modem {
    fn default() -> Self {
        Self::new()
    }
}

fn put(byte: u8) {
    while read_register(UART + 0x04) & 1 != 0 {}
    write_register(UART, byte.into());
}

/// Writes to the connection of a modem.
pub struct ModemWriter;

impl ErrorType for ModemWriter {
    type Error = ErrorKind;
}

impl Write for ModemWriter {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, ErrorKind> {
        send(bytes);
        Ok(bytes.len())
    }

    async fn flush(&mut self) -> Result<(), ErrorKind> {
        Ok(())
    }
}

impl ErrorType for Modem {
    type Error = ErrorKind;
}

impl Read for Modem {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, ErrorKind> {
        poll_fn(|_| {
            let mut n = 0;
            while n < buffer.len() {
                let Some(byte) = self.get() else { break };
                buffer[n] = byte;
                n += 1;
            }
            match n {
                0 if self.is_up => Poll::Pending,
                0 => Poll::Ready(Err(ErrorKind::ConnectionReset)),
                n => Poll::Ready(Ok(n)),
            }
        })
        .await
    }
}

impl Write for Modem {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, ErrorKind> {
        send(bytes);
        Ok(bytes.len())
    }

    async fn flush(&mut self) -> Result<(), ErrorKind> {
        Ok(())
    }
}
