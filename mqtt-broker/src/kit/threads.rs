//! Sockets and the threads that serve them: one accepts, one keeps time, and two are for each connection.

use super::line::Output;
use super::state::{Bell, Shared, State};
use core::net::{Ipv4Addr, SocketAddr};
use core::time::Duration;
use std::io::{Error, ErrorKind, Read, Result, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};

/// How much is read at once.
const BUFFER: usize = 64 * 1024;

/// How long to wait when no connection can be accepted, such as for too many open files: one that
/// ends may help.
const PAUSE: Duration = Duration::from_millis(10);

/// How long the thread that accepts is tried to be woken.
const WAKE: Duration = Duration::from_secs(1);

/// The listener and the clock.
#[derive(Debug)]
pub(super) struct Threads {
    address: SocketAddr,
    acceptor: Mutex<Option<JoinHandle<()>>>,
    keeper: Mutex<Option<JoinHandle<()>>>,
    /// A connection of the listener's own. While it is there, the system gives the port to nobody
    /// else, also when nobody listens.
    #[cfg(unix)]
    _anchor: [TcpStream; 2],
}

impl Threads {
    /// Listens on a free port of 127.0.0.1.
    pub(super) fn start(shared: &Arc<Shared>) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        #[cfg(unix)]
        let anchor = anchor(&listener)?;
        let keeper = {
            let shared = Arc::clone(shared);
            spawn(move || keep_time(&shared))?
        };
        let threads = Self {
            address,
            acceptor: Mutex::new(None),
            keeper: Mutex::new(Some(keeper)),
            #[cfg(unix)]
            _anchor: anchor,
        };
        match start_to_accept(shared, listener) {
            Ok(acceptor) => *lock(&threads.acceptor) = Some(acceptor),
            Err(error) => {
                threads.stop(shared);
                return Err(error);
            }
        }
        Ok(threads)
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Listens again.
    pub(super) fn listen(&self, shared: &Arc<Shared>) -> Result<()> {
        let mut acceptor = lock(&self.acceptor);
        if shared.lock().stopped {
            return Err(Error::new(
                ErrorKind::NotConnected,
                "the broker has stopped",
            ));
        }
        if acceptor.is_none() {
            let listener = TcpListener::bind(self.address)?;
            shared.lock().refusing = false;
            *acceptor = Some(start_to_accept(shared, listener)?);
        }
        Ok(())
    }

    /// Closes the listener. When it returns, nobody listens.
    pub(super) fn refuse(&self, shared: &Shared) {
        let mut acceptor = lock(&self.acceptor);
        if let Some(thread) = acceptor.take() {
            shared.lock().refusing = true;
            // The thread sees that at the next connection. Without one it cannot be waited for.
            if TcpStream::connect_timeout(&self.address, WAKE).is_ok() || thread.is_finished() {
                let _ = thread.join();
            }
        }
    }

    /// Ends all threads. Does nothing when they have ended.
    pub(super) fn stop(&self, shared: &Shared) {
        // In this order: to listen again meanwhile fails, or is undone.
        shared.run(State::stop);
        self.refuse(shared);
        let keeper = lock(&self.keeper).take();
        let connections = core::mem::take(&mut shared.lock().threads);
        for thread in keeper.into_iter().chain(connections) {
            let _ = thread.join();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn spawn(run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    Builder::new().name("martlet-broker".into()).spawn(run)
}

fn start_to_accept(shared: &Arc<Shared>, listener: TcpListener) -> Result<JoinHandle<()>> {
    let shared = Arc::clone(shared);
    spawn(move || accept(&shared, &listener))
}

/// A connection to the listener itself, both ends.
#[cfg(unix)]
fn anchor(listener: &TcpListener) -> Result<[TcpStream; 2]> {
    let near = TcpStream::connect(listener.local_addr()?)?;
    loop {
        let (far, peer) = listener.accept()?;
        if peer == near.local_addr()? {
            return Ok([near, far]);
        }
    }
}

/// Accepts connections until there are to be no more.
fn accept(shared: &Arc<Shared>, listener: &TcpListener) {
    let pause = Bell::default();
    loop {
        match listener.accept() {
            Ok((socket, _)) => {
                if let Ok(false) = serve(shared, socket) {
                    return;
                }
            }
            Err(_) => pause.wait(Some(PAUSE)),
        }
        if shared.lock().refusing {
            return;
        }
    }
}

/// Starts the threads of a connection. `Ok(false)`: there are to be no more connections.
fn serve(shared: &Arc<Shared>, socket: TcpStream) -> Result<bool> {
    // A packet should not wait for the acknowledgement of the one before.
    socket.set_nodelay(true)?;
    let (reads, writes) = (socket.try_clone()?, socket.try_clone()?);
    let Some((number, bell)) = shared.run(|state, now| state.open(now, socket)) else {
        return Ok(false);
    };
    let (reading, writing) = (Arc::clone(shared), Arc::clone(shared));
    let threads = [
        spawn(move || read(&reading, number, reads)),
        spawn(move || write(&writing, number, writes, &bell)),
    ];
    if threads.iter().any(Result::is_err) {
        shared.run(|state, now| state.lose(now, number));
    }
    let all = &mut shared.lock().threads;
    all.retain(|thread| !thread.is_finished());
    all.extend(threads.into_iter().flatten());
    Ok(true)
}

fn read(shared: &Shared, number: usize, mut socket: TcpStream) {
    let mut buffer = vec![0; BUFFER];
    loop {
        match socket.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => shared.run(|state, now| state.receive(now, number, &buffer[..n])),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    shared.run(|state, now| state.lose(now, number));
}

fn write(shared: &Shared, number: usize, mut socket: TcpStream, bell: &Bell) {
    loop {
        match shared.run(|state, now| state.next_output(now, number)) {
            Output::Write(bytes) => {
                if socket.write_all(&bytes).is_err() {
                    return shared.run(|state, now| state.cut(now, number));
                }
            }
            Output::Wait(most) => bell.wait(most),
            Output::Cut => return,
            Output::Close => {
                let _ = socket.shutdown(Shutdown::Write);
                return;
            }
        }
    }
}

fn keep_time(shared: &Shared) {
    let bell = shared.lock().keeper();
    while !shared.lock().stopped {
        let next = shared.keep_time();
        bell.wait(next);
    }
}
