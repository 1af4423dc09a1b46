//! A reconnect storm: many clients lose one server at once, and nobody tells them when it is back.
//! The links are real, with their policy and its jitter; time, sockets and the server are
//! simulated.

use bytes::Buf;
use core::cmp::Reverse;
use core::fmt;
use core::time::Duration;
use martlet_client::{
    Reconnect,
    embedded::{Link, LinkConfig, VersionChoice},
};
use martlet_proto::{Utf8String, Version};
use martlet_session::{Config, Instant, Session, TransportError, TransportErrorKind};
use martlet_transport::Endpoint;
use std::collections::BinaryHeap;

/// A server's answer to a CONNECT of MQTT 5: welcome.
const CONNACK: [u8; 5] = [0x20, 3, 0, 0, 0];

/// When the server goes: the clients have been connected for long.
const LOST_AT: Duration = Duration::from_secs(3600);

/// What happens.
#[derive(Debug, Clone, Copy)]
pub struct Storm {
    /// How many clients there are.
    pub clients: u32,
    /// How long the server is away.
    pub outage: Duration,
    /// How long it takes to make a connection, or to be rejected.
    pub dial: Duration,
    /// Their policy.
    pub reconnect: Reconnect,
}

/// What was seen, second by second from the loss of the server.
#[derive(Debug, Clone, Default)]
pub struct StormSeen {
    /// Attempts.
    pub attempts: Vec<u32>,
    /// Attempts that succeeded.
    pub connected: Vec<u32>,
    /// The most attempts within a tenth of a second, the first second left out.
    pub peak_tenth: u32,
}

impl StormSeen {
    /// The most attempts in one second from this one on.
    pub fn peak_from(&self, second: usize) -> u32 {
        self.attempts
            .iter()
            .skip(second)
            .copied()
            .max()
            .unwrap_or(0)
    }
}

/// The table: the first seconds, then in steps that double.
impl fmt::Display for StormSeen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:>12}  {:>12}  {:>12}  {:>12}",
            "seconds", "attempts/s", "peak/s", "connected"
        )?;
        let (mut from, mut step, mut connected) = (0, 1, 0);
        while from < self.attempts.len() {
            let to = (from + step).min(self.attempts.len());
            let attempts = &self.attempts[from..to];
            let sum: u32 = attempts.iter().sum();
            connected += self.connected[from..to].iter().sum::<u32>();
            let peak = attempts.iter().max().copied().unwrap_or(0);
            let mean = sum / (to - from) as u32;
            writeln!(
                f,
                "{:>12}  {mean:>12}  {peak:>12}  {connected:>12}",
                format!("{from}..{to}")
            )?;
            from = to;
            step = if from < 4 { 1 } else { from };
        }
        Ok(())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    /// The link has a timer.
    Timer,
    /// A socket opens, or does not.
    Dialed,
}

struct Client {
    link: Link,
    session: Session,
}

impl Storm {
    /// Lets it happen, until all are connected again.
    pub fn run(&self) -> StormSeen {
        let mut clients: Vec<Client> = (0..self.clients).map(|n| self.client(n)).collect();
        let mut agenda = BinaryHeap::new();
        for (i, client) in clients.iter_mut().enumerate() {
            client.connect(Instant::EPOCH);
            client.link.handle_eof(None);
            client
                .link
                .exchange(Instant::from_epoch(LOST_AT), &mut client.session);
            self.wait(client, i, LOST_AT, &mut agenda);
        }
        let back = LOST_AT + self.outage;
        let mut seen = StormSeen::default();
        let mut tenths = Vec::new();
        while let Some(Reverse((now, due, i))) = agenda.pop() {
            let client: &mut Client = &mut clients[i];
            let at = Instant::from_epoch(now);
            let second = (now - LOST_AT).as_secs() as usize;
            seen.attempts.resize(seen.attempts.len().max(second + 1), 0);
            seen.connected.resize(seen.attempts.len(), 0);
            match due {
                Due::Timer => {
                    client.link.exchange(at, &mut client.session);
                    if client.link.poll_dial(at).is_some() {
                        seen.attempts[second] += 1;
                        let tenth = (now - LOST_AT).as_millis() as usize / 100;
                        tenths.resize(tenths.len().max(tenth + 1), 0);
                        tenths[tenth] += 1;
                        agenda.push(Reverse((now + self.dial, Due::Dialed, i)));
                    } else {
                        self.wait(client, i, now, &mut agenda);
                    }
                }
                Due::Dialed if now >= back => {
                    client.welcome(at);
                    seen.connected[second] += 1;
                }
                Due::Dialed => {
                    let rejected =
                        TransportError::new(TransportErrorKind::Connect, "connection refused");
                    client.link.handle_dial_failed(rejected);
                    client.link.exchange(at, &mut client.session);
                    self.wait(client, i, now, &mut agenda);
                }
            }
            while client.session.poll_event().is_some() {}
            while client.link.poll_event().is_some() {}
        }
        seen.peak_tenth = tenths.into_iter().skip(10).max().unwrap_or(0);
        seen
    }

    fn client(&self, n: u32) -> Client {
        let server = Endpoint::parse("mqtt://broker.example").expect("a URI");
        let link = LinkConfig::new(server)
            .version(VersionChoice::Fixed(Version::V5))
            .reconnect(self.reconnect)
            .seed(n.into());
        let client_identifier = Utf8String::new(format!("client-{n}")).expect("short");
        // Nothing is said in the long time before the storm.
        let session = Session::new(
            Config::default()
                .client_identifier(client_identifier)
                .keep_alive(0),
        );
        Client {
            link: Link::new(link, &session),
            session,
        }
    }

    /// The link's next timer; it may be due at once.
    fn wait(
        &self,
        client: &Client,
        i: usize,
        now: Duration,
        agenda: &mut BinaryHeap<Reverse<(Duration, Due, usize)>>,
    ) {
        let at = client.link.poll_timeout().map_or(now, Instant::since_epoch);
        assert!(client.link.stopped().is_none(), "client {i} gave up");
        agenda.push(Reverse((at.max(now), Due::Timer, i)));
    }
}

impl Client {
    fn connect(&mut self, now: Instant) {
        self.link.exchange(now, &mut self.session);
        assert!(self.link.poll_dial(now).is_some(), "it dials at once");
        self.welcome(now);
    }

    /// The socket opens, and the server accepts.
    fn welcome(&mut self, now: Instant) {
        self.link.handle_dialed(now);
        self.link.exchange(now, &mut self.session);
        let n = self.link.poll_wire(now).map_or(0, Buf::remaining);
        self.link.handle_written(now, n);
        self.link.handle_wire(now, &CONNACK);
        self.link.exchange(now, &mut self.session);
        assert!(self.session.is_connected(), "the server has accepted it");
    }
}
