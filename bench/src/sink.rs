//! The server: blocking sockets, a thread for each connection, all answers to what one `read`
//! brought in one `write`. It parses as little as it can, and counts what it got.

use crate::codec;
use crate::control::{Control, HELLO};
use crate::messages::{Tally, payload};
use crate::sample::ServerSample;
use crate::scenario::{Scenario, WINDOW};
use crate::tls;
use cpu_time::ProcessTime;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};

/// As many bytes as the server writes at once when it has much to send.
const BLOCK: usize = 1 << 16;

/// Prints its port, serves until the client closes the control connection, and prints a sample.
pub fn run(scenario: Scenario, n: usize) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    println!("{}", listener.local_addr().expect("an address").port());
    let server = Arc::new(Server {
        scenario,
        n,
        filters: AtomicUsize::new(0),
        tally: Mutex::default(),
        begun: Mutex::default(),
        began: Condvar::new(),
        control: Mutex::new(None),
        source: Mutex::new(None),
        subscribed: Condvar::new(),
        connections: AtomicUsize::new(0),
        acknowledged: AtomicUsize::new(0),
        tls: scenario.has_tls().then(tls::server),
    });
    loop {
        let (mut socket, _) = listener.accept().expect("a connection");
        socket.set_nodelay(true).expect("a socket");
        let server = server.clone();
        // The stacks of 10,000 connections are small.
        let thread = std::thread::Builder::new().stack_size(1 << 17);
        let connection = move || {
            let mut first = [0];
            if socket.peek(&mut first).is_err() {
                return;
            }
            if first[0] != HELLO {
                // It ends with the connection.
                let _ = server.accept(&socket);
                return;
            }
            let _ = socket.read(&mut first);
            server.control(Control::accept(socket));
        };
        thread.spawn(connection).expect("a thread");
    }
}

struct Server {
    scenario: Scenario,
    n: usize,
    /// How many filters the client has subscribed to.
    filters: AtomicUsize,
    tally: Mutex<Tally>,
    /// Whether the client has let the server begin.
    begun: Mutex<bool>,
    began: Condvar,
    control: Mutex<Option<Control>>,
    source: Mutex<Option<Source>>,
    /// There is a source, and all filters are subscribed to.
    subscribed: Condvar,
    /// How many CONNECTs were answered.
    connections: AtomicUsize,
    acknowledged: AtomicUsize,
    tls: Option<Arc<ServerConfig>>,
}

impl Server {
    /// The control connection. Its end is the process's.
    fn control(&self, mut control: Control) -> ! {
        *self.control.lock().expect("a lock") = Some(control.share());
        control.welcome();
        if self.tls.is_some() {
            control.send_authority(tls::authority());
        }
        let mut start = ProcessTime::now();
        while control.wait() {
            start = ProcessTime::now();
            *self.begun.lock().expect("a lock") = true;
            self.began.notify_all();
            if self.scenario.is_receive() {
                self.begin();
            }
        }
        let sample = ServerSample {
            cpu: start.elapsed().as_secs_f64(),
            tally: *self.tally.lock().expect("a lock"),
            connections: self.connections.load(Ordering::Relaxed),
            acknowledged: self.acknowledged.load(Ordering::Relaxed),
        };
        sample.print();
        std::process::exit(0);
    }

    /// Sends all messages at QoS 0, and a window of them otherwise.
    fn begin(&self) {
        let guard = self.source.lock().expect("a lock");
        let all = self.scenario.filters().len();
        let ready = |source: &mut Option<Source>| {
            source.is_none() || self.filters.load(Ordering::Acquire) < all
        };
        let mut guard = self.subscribed.wait_while(guard, ready).expect("a lock");
        let source = guard.as_mut().expect("a source");
        let mut block = Vec::with_capacity(2 * BLOCK);
        while source.next(&mut block) {
            if block.len() >= BLOCK {
                if source.socket.write_all(&block).is_err() {
                    return;
                }
                block.clear();
            }
        }
        let _ = source.socket.write_all(&block);
    }

    /// One connection of the client that is measured.
    fn accept(&self, socket: &TcpStream) -> io::Result<()> {
        match &self.tls {
            None => self.serve(socket, socket),
            Some(config) => {
                let tls = ServerConnection::new(config.clone()).map_err(io::Error::other)?;
                self.serve(socket, StreamOwned::new(tls, socket))
            }
        }
    }

    /// `stream` is what makes TLS of the socket, or the socket.
    fn serve(&self, socket: &TcpStream, mut stream: impl Read + Write) -> io::Result<()> {
        // 10,000 connections that do nothing are small.
        let size = if let Scenario::Idle(_) = self.scenario {
            12
        } else {
            19
        };
        let mut input = vec![0; 1 << size];
        let (mut have, mut replies) = (0, Vec::new());
        let mut connection = Connection::default();
        loop {
            match stream.read(&mut input[have..])? {
                // The source of messages has a handle of its own, which would keep it open.
                0 => return socket.shutdown(Shutdown::Both),
                read => have += read,
            }
            let mut at = 0;
            while let Some((header, len)) = codec::frame(&input[at..have]) {
                self.packet(&mut connection, &input[at..at + len], header, &mut replies);
                at += len;
            }
            input.copy_within(at..have, 0);
            have -= at;
            if connection.acknowledged > 0 && self.scenario.is_receive() {
                self.refill(&mut connection, &mut replies);
            }
            if !replies.is_empty() {
                // The first messages may still be on their way, from the control thread.
                let _source = self
                    .scenario
                    .is_receive()
                    .then(|| self.source.lock().expect("a lock"));
                stream.write_all(&replies)?;
                replies.clear();
            }
            self.after(&mut connection, socket);
        }
    }

    /// Handles one packet; its answer is appended to `replies`.
    fn packet(
        &self,
        connection: &mut Connection,
        packet: &[u8],
        header: usize,
        replies: &mut Vec<u8>,
    ) {
        let qos = packet[0] >> 1 & 3;
        let id = |at: usize| [packet[at], packet[at + 1]];
        match packet[0] >> 4 {
            1 => {
                self.connections.fetch_add(1, Ordering::Relaxed);
                if self.scenario == Scenario::Offline {
                    // There is no connection until the client has queued all messages.
                    let begun = self.begun.lock().expect("a lock");
                    let wait = self.began.wait_while(begun, |begun| !*begun);
                    drop(wait.expect("a lock"));
                }
                connection.is_v5 = packet[header + 6] == 5;
                // MQTT 5 states the window as Receive Maximum.
                let answer: &[u8] = match connection.is_v5 {
                    true => &[0x20, 6, 0, 0, 3, 0x21, 0, WINDOW as u8],
                    false => &[0x20, 2, 0, 0],
                };
                replies.extend_from_slice(answer);
            }
            3 => {
                let topic = usize::from(u16::from_be_bytes(id(header)));
                let mut at = header + 2 + topic;
                if qos > 0 {
                    let [high, low] = id(at);
                    replies.extend_from_slice(&[0x30 + 0x10 * qos, 2, high, low]);
                    at += 2;
                }
                if connection.is_v5 {
                    at += 1 + usize::from(packet[at]);
                }
                connection.tally.add(&packet[at..]);
                if qos < 2 {
                    connection.completed += 1;
                }
                if self.scenario == Scenario::PingPong {
                    replies.extend_from_slice(packet);
                }
            }
            4 | 7 => {
                connection.acknowledged += 1;
                connection.free.push(u16::from_be_bytes(id(header)));
            }
            5 => {
                let [high, low] = id(header);
                replies.extend_from_slice(&[0x62, 2, high, low]);
            }
            6 => {
                let [high, low] = id(header);
                replies.extend_from_slice(&[0x70, 2, high, low]);
                connection.completed += 1;
            }
            8 => connection.filters += subscribe(packet, header, connection.is_v5, replies),
            // Of MQTT 3.1.1; no peer unsubscribes over 5.
            10 => {
                let [high, low] = id(header);
                replies.extend_from_slice(&[0xb0, 2, high, low]);
            }
            12 => replies.extend_from_slice(&[0xd0, 0]),
            _ => {}
        }
    }

    /// Sends as many messages as were acknowledged.
    fn refill(&self, connection: &mut Connection, replies: &mut Vec<u8>) {
        let acknowledged = std::mem::take(&mut connection.acknowledged);
        self.acknowledged.fetch_add(acknowledged, Ordering::Relaxed);
        let mut source = self.source.lock().expect("a lock");
        let source = source.as_mut().expect("a source");
        source.free.append(&mut connection.free);
        while source.next(replies) {}
    }

    /// Shares what the packets of one read changed, after the answers have left.
    fn after(&self, connection: &mut Connection, socket: &TcpStream) {
        if connection.tally.count > 0 {
            let mut tally = self.tally.lock().expect("a lock");
            tally.merge(std::mem::take(&mut connection.tally));
        }
        let completed = match self.scenario {
            Scenario::Acknowledge { .. } => self.acknowledged.load(Ordering::Relaxed),
            _ => connection.completed,
        };
        let is_complete = completed >= self.n;
        if is_complete && !std::mem::replace(&mut connection.reported, true) {
            let mut control = self.control.lock().expect("a lock");
            if let Some(control) = control.as_mut() {
                control.report_done();
            }
        }
        if connection.filters > 0 && self.scenario.is_receive() {
            let mut source = self.source.lock().expect("a lock");
            source.get_or_insert_with(|| {
                let socket = socket.try_clone().expect("a socket");
                Source::new(self.scenario, self.n, connection.is_v5, socket)
            });
            self.filters
                .fetch_add(std::mem::take(&mut connection.filters), Ordering::Release);
            self.subscribed.notify_all();
        }
    }
}

/// Answers a SUBSCRIBE with what it asks for; returns the number of filters.
fn subscribe(packet: &[u8], header: usize, is_v5: bool, replies: &mut Vec<u8>) -> usize {
    let mut at = header + 2;
    if is_v5 {
        at += 1 + usize::from(packet[at]);
    }
    let mut codes = Vec::new();
    while at < packet.len() {
        at += 2 + usize::from(u16::from_be_bytes([packet[at], packet[at + 1]])) + 1;
        codes.push(packet[at - 1] & 3);
    }
    replies.push(0x90);
    let mut left = 2 + usize::from(is_v5) + codes.len();
    while left >= 128 {
        replies.push(left as u8 | 128);
        left >>= 7;
    }
    replies.push(left as u8);
    replies.extend_from_slice(&packet[header..header + 2]);
    if is_v5 {
        replies.push(0);
    }
    replies.extend_from_slice(&codes);
    codes.len()
}

/// What a connection counts before it shares it.
#[derive(Default)]
struct Connection {
    is_v5: bool,
    tally: Tally,
    completed: usize,
    reported: bool,
    filters: usize,
    acknowledged: usize,
    free: Vec<u16>,
}

/// The messages that the server sends.
struct Source {
    socket: TcpStream,
    topics: Vec<String>,
    n: usize,
    number: usize,
    qos: u8,
    size: usize,
    is_v5: bool,
    /// The identifiers that are free: the window.
    free: Vec<u16>,
    body: Vec<u8>,
}

impl Source {
    fn new(scenario: Scenario, n: usize, is_v5: bool, socket: TcpStream) -> Self {
        Self {
            socket,
            topics: scenario.topics(),
            n,
            number: 0,
            qos: scenario.qos(),
            size: scenario.size(),
            is_v5,
            free: (1..=scenario.window() as u16).collect(),
            body: payload(0, scenario.size()),
        }
    }

    /// Appends the next message; `false` if there is none now.
    fn next(&mut self, out: &mut Vec<u8>) -> bool {
        if self.number == self.n {
            return false;
        }
        let id = match self.qos {
            0 => None,
            _ => match self.free.pop() {
                Some(id) => Some(id),
                None => return false,
            },
        };
        let topic = self.topics[self.number % self.topics.len()].as_bytes();
        let extra = 2 * usize::from(id.is_some()) + usize::from(self.is_v5);
        out.push(0x30 | self.qos << 1);
        let mut left = 2 + topic.len() + extra + self.size;
        while left >= 128 {
            out.push(left as u8 | 128);
            left >>= 7;
        }
        out.push(left as u8);
        out.extend_from_slice(&(topic.len() as u16).to_be_bytes());
        out.extend_from_slice(topic);
        if let Some(id) = id {
            out.extend_from_slice(&id.to_be_bytes());
        }
        if self.is_v5 {
            out.push(0);
        }
        self.body[..8].copy_from_slice(&(self.number as u64).to_be_bytes());
        out.extend_from_slice(&self.body);
        self.number += 1;
        true
    }
}
