//! A TCP relay on loopback that puts a linter between clients and a real broker.

use super::{Finding, Linter};
use core::time::Duration;
use std::collections::{HashMap, VecDeque};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

/// Takes connections for a server, passes them on byte by byte, and lints what the clients say.
/// Time is not looked at: on a busy machine it says nothing about a client.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    shared: Arc<Shared>,
    listener: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    ended: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// By client identifier; each has its session over many connections.
    linters: HashMap<String, Arc<Mutex<Linter>>>,
    /// Linters of connections, those without a client identifier among them.
    all: Vec<Arc<Mutex<Linter>>>,
    /// So that they can be ended.
    sockets: Vec<TcpStream>,
    connections: usize,
    /// After how many bytes the next connections are cut.
    cuts: VecDeque<usize>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Relay {
    /// A relay to this server, on a free port.
    ///
    /// # Errors
    /// What the system says when there is no port.
    pub fn start(server: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::default());
        let sharing = Arc::clone(&shared);
        let listener = thread::spawn(move || {
            for client in listener.incoming() {
                if sharing.ended.load(Ordering::Acquire) {
                    break;
                }
                // While the server is not there, the client's connection ends as soon as it has
                // begun.
                if let (Ok(client), Ok(server)) = (client, TcpStream::connect(server)) {
                    let _ = connect(&sharing, client, server);
                }
            }
        });
        Ok(Self {
            address,
            shared,
            listener: Some(listener),
        })
    }

    /// Where clients connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections there were.
    pub fn connections(&self) -> usize {
        lock(&self.shared.state).connections
    }

    /// What the clients have done wrong so far.
    pub fn findings(&self) -> Vec<Finding> {
        let all = lock(&self.shared.state).all.clone();
        let findings = all
            .iter()
            .flat_map(|linter| lock(linter).findings().to_vec());
        findings
            .filter(|finding| !finding.rule.is_servers())
            .collect()
    }

    /// Cuts all connections.
    pub fn cut(&self) {
        lock(&self.shared.state).cut();
    }

    /// Cuts each of the next connections after this number of bytes in both directions together, in
    /// the middle of a packet or not. Replaces what is left of an earlier call.
    pub fn cut_after(&self, bytes: impl IntoIterator<Item = usize>) {
        lock(&self.shared.state).cuts = bytes.into_iter().collect();
    }
}

impl State {
    fn cut(&mut self) {
        for socket in self.sockets.drain(..) {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Release);
        // It waits for a connection.
        let _ = TcpStream::connect(self.address);
        if let Some(listener) = self.listener.take() {
            let _ = listener.join();
        }
        lock(&self.shared.state).cut();
    }
}

/// Two threads pass the bytes on.
fn connect(shared: &Arc<Shared>, client: TcpStream, server: TcpStream) -> io::Result<()> {
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let cut_after = {
        let mut state = lock(&shared.state);
        state.connections += 1;
        state
            .sockets
            .extend([client.try_clone()?, server.try_clone()?]);
        state.cuts.pop_front().unwrap_or(usize::MAX)
    };
    let (early, left) = (Mutex::new(Early::default()), Mutex::new(cut_after));
    let tap = Arc::new(Tap {
        shared: Arc::clone(shared),
        early,
        left,
    });
    let (from_client, to_server, tap_sent) =
        (client.try_clone()?, server.try_clone()?, Arc::clone(&tap));
    thread::spawn(move || pass_on(from_client, to_server, &tap_sent, Tap::sent));
    thread::spawn(move || pass_on(server, client, &tap, Tap::received));
    Ok(())
}

/// Until the end of `from`. When `to` takes nothing any more, what comes is still read: a socket
/// that is closed with bytes unread is reset, and its other side may lose what it was sent.
fn pass_on(mut from: TcpStream, mut to: TcpStream, tap: &Tap, look_at: fn(&Tap, &[u8])) {
    let mut buffer = vec![0; 64 * 1024];
    let mut open = true;
    while let Ok(n @ 1..) = from.read(&mut buffer) {
        let passes = tap.take(n);
        look_at(tap, &buffer[..passes]);
        open = open && to.write_all(&buffer[..passes]).is_ok();
        if passes < n {
            let _ = from.shutdown(Shutdown::Both);
            let _ = to.shutdown(Shutdown::Both);
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

/// The linter of one connection.
#[derive(Debug)]
struct Tap {
    shared: Arc<Shared>,
    early: Mutex<Early>,
    /// How many bytes may still pass before it is cut.
    left: Mutex<usize>,
}

#[derive(Debug, Default)]
struct Early {
    /// The bytes of the CONNECT, until it is whole and says who the client is.
    bytes: Vec<u8>,
    linter: Option<Arc<Mutex<Linter>>>,
    /// Which of the linter's connections this is: what still comes on an older one is not looked
    /// at.
    connection: u64,
}

impl Tap {
    /// How many of `n` bytes may pass.
    fn take(&self, n: usize) -> usize {
        let mut left = lock(&self.left);
        let passes = n.min(*left);
        *left -= passes;
        passes
    }

    fn sent(&self, bytes: &[u8]) {
        let mut early = lock(&self.early);
        if let Some(linter) = &early.linter {
            let mut linter = lock(linter);
            if linter.connections == early.connection {
                linter.sent(Duration::ZERO, bytes);
            }
            return;
        }
        early.bytes.extend_from_slice(bytes);
        let mut probe = Linter::on_the_way();
        probe.open(Duration::ZERO);
        probe.sent(Duration::ZERO, &early.bytes);
        if probe.version().is_none() && probe.findings().is_empty() {
            return;
        }
        let mut state = lock(&self.shared.state);
        let linter = match probe.client_identifier() {
            None => Arc::new(Mutex::new(Linter::on_the_way())),
            Some(name) => Arc::clone(
                state
                    .linters
                    .entry(name.to_owned())
                    .or_insert_with(|| Arc::new(Mutex::new(Linter::on_the_way()))),
            ),
        };
        if !state.all.iter().any(|known| Arc::ptr_eq(known, &linter)) {
            state.all.push(Arc::clone(&linter));
        }
        drop(state);
        {
            let mut linter = lock(&linter);
            linter.open(Duration::ZERO);
            linter.sent(Duration::ZERO, &early.bytes);
            early.connection = linter.connections;
        }
        early.linter = Some(linter);
    }

    fn received(&self, bytes: &[u8]) {
        let early = lock(&self.early);
        // A server that speaks first is none of MQTT.
        let (Some(linter), connection) = (early.linter.clone(), early.connection) else {
            return;
        };
        drop(early);
        let name = {
            let mut linter = lock(&linter);
            if linter.connections == connection {
                linter.received(Duration::ZERO, bytes);
            }
            linter.client_identifier().map(str::to_owned)
        };
        if let Some(name) = name {
            lock(&self.shared.state)
                .linters
                .entry(name)
                .or_insert(linter);
        }
    }
}
