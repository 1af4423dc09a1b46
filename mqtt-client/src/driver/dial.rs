//! Opening a socket to a name: every address of it, IPv6 and IPv4 in turn, each a little after the
//! one before it, and the first that answers is taken (RFC 8305, without its asynchronous look-up).

use crate::driver::runtime::{Network, Pinned, Timer};
use crate::driver::socket::{Address, SocketOptions};
use crate::link::target::Target;
use martlet_session::{TransportError, TransportErrorKind};
use std::collections::VecDeque;
use std::fmt::Write;
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// How long one address has for itself before the next is tried beside it (RFC 8305 §5).
const HEAD_START: Duration = Duration::from_millis(250);

/// How many failures an error tells of; a name may have hundreds of addresses.
const SHOWN: usize = 8;

/// A socket that is being opened: the [`Runtime::dial`](crate::runtime::Runtime::dial) of every
/// [`Network`]. All addresses of the name are tried, the families in turn; the next begins 250 ms
/// after the last, or at once when that has failed. The first to connect wins; the others are
/// dropped.
#[must_use = "nothing is dialled unless it is polled"]
pub struct Dial<N: Network> {
    network: N,
    options: SocketOptions,
    host: String,
    resolve: Option<Pinned<N::Resolve>>,
    left: VecDeque<Address>,
    attempts: Vec<Attempt<N>>,
    /// Set to when the next attempt may begin.
    head_start: N::Timer,
    /// What failed last: its address and why.
    failure: Option<(String, io::Error)>,
    failures: usize,
    /// The first of those before it, in words.
    earlier: String,
}

struct Attempt<N: Network> {
    address: Address,
    connect: Pinned<N::Connect>,
}

impl<N: Network> Dial<N> {
    /// Opens a socket to `target`.
    pub fn new(network: N, target: &Target, options: &SocketOptions) -> Self {
        let (host, port) = (target.host(), target.port());
        let head_start = network.timer();
        let mut dial = Self {
            network,
            options: options.clone(),
            host: host.to_owned(),
            resolve: None,
            left: VecDeque::new(),
            attempts: Vec::new(),
            head_start,
            failure: None,
            failures: 0,
            earlier: String::new(),
        };
        if let Some(path) = target.unix_path() {
            #[cfg(unix)]
            dial.left.push_back(Address::Unix(path.into()));
            #[cfg(not(unix))]
            dial.fail(
                path.to_string(),
                io::Error::new(
                    io::ErrorKind::Unsupported,
                    "there are no Unix sockets on this system",
                ),
            );
        } else if let (Ok(address), Some(zone)) = (host.parse::<Ipv6Addr>(), target.zone()) {
            match zone.parse() {
                Ok(scope) => {
                    let address = SocketAddrV6::new(address, port, 0, scope);
                    dial.left.push_back(Address::Tcp(address.into()));
                }
                // The system's resolver knows the numbers of its interfaces.
                Err(_) => {
                    dial.host = format!("{address}%{zone}");
                    dial.resolve = Some(Box::pin(dial.network.resolve(&dial.host, port)));
                }
            }
        } else if let Ok(address) = host.parse::<IpAddr>() {
            dial.left
                .push_back(Address::Tcp(SocketAddr::new(address, port)));
        } else {
            dial.resolve = Some(Box::pin(dial.network.resolve(host, port)));
        }
        dial
    }

    fn fail(&mut self, address: String, why: io::Error) {
        self.failures += 1;
        let before = self.failure.replace((address, why));
        if let Some((address, why)) = before.filter(|_| self.failures <= SHOWN) {
            // Writing to a string does not fail.
            let _ = write!(self.earlier, "{address} ({why}), ");
        }
    }

    /// Nothing is left to try.
    fn failed(&mut self) -> TransportError {
        let kind = TransportErrorKind::Connect;
        let Some((address, why)) = self.failure.take() else {
            return TransportError::new(kind, "there is no address to connect to");
        };
        let more = match self.failures.saturating_sub(SHOWN) {
            0 => String::new(),
            more => format!("{more} more, "),
        };
        let text = format!("cannot connect to {}{more}{address}", self.earlier);
        TransportError::new(kind, text).caused_by(why)
    }

    fn resolved(&mut self, addresses: Vec<SocketAddr>) -> Result<(), TransportError> {
        let local = self.options.local_address;
        let ours =
            |address: &SocketAddr| local.is_none_or(|local| local.is_ipv4() == address.is_ipv4());
        self.left = in_turn(addresses.into_iter().filter(ours))
            .map(Address::Tcp)
            .collect();
        if self.left.is_empty() {
            let family = match local {
                None => "",
                Some(IpAddr::V4(_)) => " of IPv4, which the local address is of",
                Some(IpAddr::V6(_)) => " of IPv6, which the local address is of",
            };
            let text = format!("the name {} has no address{family}", self.host);
            return Err(TransportError::new(TransportErrorKind::Resolve, text));
        }
        Ok(())
    }

    fn begin_next(&mut self) {
        let Some(address) = self.left.pop_front() else {
            return;
        };
        let connect = Box::pin(self.network.connect(&address, &self.options));
        self.attempts.push(Attempt { address, connect });
        if !self.left.is_empty() {
            self.head_start.reset(HEAD_START);
        }
    }
}

impl<N: Network + Unpin> Future for Dial<N> {
    type Output = Result<N::Socket, TransportError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if let Some(resolve) = &mut this.resolve {
            let resolved = std::task::ready!(resolve.as_mut().poll(cx));
            this.resolve = None;
            match resolved {
                Ok(addresses) => this.resolved(addresses)?,
                Err(error) => {
                    let hint = if this.host.contains('%') {
                        "; behind the % is the name of a network interface of this machine"
                    } else {
                        ""
                    };
                    let text = format!("cannot resolve {}{hint}", this.host);
                    return Poll::Ready(Err(TransportError::new(
                        TransportErrorKind::Resolve,
                        text,
                    )
                    .caused_by(error)));
                }
            }
        }
        // Each round begins an attempt, so there are as many as addresses.
        loop {
            let mut is_free = this.attempts.is_empty();
            let mut n = 0;
            while let Some(attempt) = this.attempts.get_mut(n) {
                match attempt.connect.as_mut().poll(cx) {
                    Poll::Ready(Ok(socket)) => return Poll::Ready(Ok(socket)),
                    Poll::Ready(Err(error)) => {
                        let Attempt { address, .. } = this.attempts.remove(n);
                        this.fail(address.to_string(), error);
                        is_free = true;
                    }
                    Poll::Pending => n += 1,
                }
            }
            if this.left.is_empty() {
                if !this.attempts.is_empty() {
                    return Poll::Pending;
                }
                return Poll::Ready(Err(this.failed()));
            }
            if !is_free {
                std::task::ready!(this.head_start.poll_expired(cx));
            }
            this.begin_next();
        }
    }
}

impl<N: Network> std::fmt::Debug for Dial<N> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dial")
            .field("host", &self.host)
            .field("left", &self.left)
            .finish_non_exhaustive()
    }
}

/// The families in turn, beginning with that of the first, each in the resolver's order; nothing
/// twice.
fn in_turn(addresses: impl Iterator<Item = SocketAddr>) -> impl Iterator<Item = SocketAddr> {
    let mut first = VecDeque::new();
    let mut second = VecDeque::new();
    for address in addresses {
        let is_first = first
            .front()
            .is_none_or(|first: &SocketAddr| first.is_ipv4() == address.is_ipv4());
        let family = if is_first { &mut first } else { &mut second };
        if !family.contains(&address) {
            family.push_back(address);
        }
    }
    std::iter::from_fn(move || {
        let next = first.pop_front();
        if !second.is_empty() {
            std::mem::swap(&mut first, &mut second);
        }
        next
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::runtime::Runtime;
    use futures_io::{AsyncRead, AsyncWrite};
    use martlet_transport::Endpoint;
    use std::cell::{Cell, RefCell};
    use std::error::Error;
    use std::future::{Ready, ready};
    use std::io;
    use std::rc::Rc;
    use std::task::Waker;

    thread_local! {
        static NOW: Cell<u64> = const { Cell::new(0) };
    }

    /// Milliseconds of the simulated time.
    fn now() -> u64 {
        NOW.get()
    }

    /// A network whose time goes on when the test says so.
    #[derive(Clone)]
    struct Fake {
        name: &'static [&'static str],
        /// The milliseconds that a connection to an address takes, and how it ends.
        plan: &'static [(&'static str, u64, Result<(), io::ErrorKind>)],
        log: Rc<RefCell<Vec<String>>>,
    }

    struct Attempt {
        address: String,
        done: u64,
        end: Result<(), io::ErrorKind>,
        log: Rc<RefCell<Vec<String>>>,
    }

    /// A socket to this address, which nobody reads or writes.
    #[derive(Debug)]
    struct Connected(String);

    struct Alarm(Option<u64>);

    impl Runtime for Fake {
        type Socket = Connected;
        type Dial = Dial<Self>;
        type Timer = Alarm;

        fn dial(&self, target: &Target, options: &SocketOptions) -> Dial<Self> {
            Dial::new(self.clone(), target, options)
        }

        fn timer(&self) -> Alarm {
            Alarm(None)
        }
    }

    impl Network for Fake {
        type Resolve = Ready<io::Result<Vec<SocketAddr>>>;
        type Connect = Attempt;

        fn resolve(&self, host: &str, port: u16) -> Self::Resolve {
            assert!(
                ["name.example", "fe80::1%eth0"].contains(&host) && port == 1883,
                "{host}:{port}"
            );
            match self.name {
                ["unknown"] => ready(Err(io::Error::new(io::ErrorKind::NotFound, "no such host"))),
                name => ready(Ok(name
                    .iter()
                    .map(|address| address.parse().unwrap())
                    .collect())),
            }
        }

        fn connect(&self, address: &Address, _: &SocketOptions) -> Attempt {
            let address = address.to_string();
            self.log.borrow_mut().push(format!("{} {address}", now()));
            let found = self.plan.iter().find(|(planned, ..)| *planned == address);
            let &(_, takes, end) = found.expect("an address of the plan");
            Attempt {
                address,
                done: now() + takes,
                end,
                log: Rc::clone(&self.log),
            }
        }
    }

    impl Timer for Alarm {
        fn reset(&mut self, wait: Duration) {
            self.0 = Some(now() + u64::try_from(wait.as_millis()).unwrap());
        }

        fn poll_expired(&mut self, _: &mut Context<'_>) -> Poll<()> {
            if self.0.is_some_and(|at| at <= now()) {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        }
    }

    impl Future for Attempt {
        type Output = io::Result<Connected>;

        fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
            if now() < self.done {
                return Poll::Pending;
            }
            Poll::Ready(
                self.end
                    .map(|()| Connected(self.address.clone()))
                    .map_err(Into::into),
            )
        }
    }

    impl Drop for Attempt {
        fn drop(&mut self) {
            self.log
                .borrow_mut()
                .push(format!("{} drop {}", now(), self.address));
        }
    }

    impl AsyncRead for Connected {
        fn poll_read(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &mut [u8],
        ) -> Poll<io::Result<usize>> {
            Poll::Pending
        }
    }

    impl AsyncWrite for Connected {
        fn poll_write(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &[u8],
        ) -> Poll<io::Result<usize>> {
            Poll::Pending
        }
        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }
        fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }

    const REFUSED: Result<(), io::ErrorKind> = Err(io::ErrorKind::ConnectionRefused);
    /// Longer than anybody waits.
    const NEVER: u64 = 1_000_000;

    type Outcome = (Result<String, TransportError>, Vec<String>);

    /// Dials, and lets time pass until that is done.
    fn dial(
        uri: &str,
        name: &'static [&'static str],
        plan: &'static [(&'static str, u64, Result<(), io::ErrorKind>)],
        options: &SocketOptions,
    ) -> Outcome {
        NOW.set(0);
        let fake = Fake {
            name,
            plan,
            log: Rc::default(),
        };
        let target = Target::new(Endpoint::parse(uri).unwrap(), None);
        let mut dial = fake.dial(&target, options);
        let mut cx = Context::from_waker(Waker::noop());
        let result = loop {
            if let Poll::Ready(result) = Pin::new(&mut dial).poll(&mut cx) {
                break result.map(|socket| socket.0);
            }
            assert!(now() < NEVER, "it hangs: {:?}", fake.log);
            NOW.set(now() + 10);
        };
        drop(dial);
        (result, fake.log.take())
    }

    fn by_name(
        name: &'static [&'static str],
        plan: &'static [(&'static str, u64, Result<(), io::ErrorKind>)],
    ) -> Outcome {
        dial("mqtt://name.example", name, plan, &SocketOptions::default())
    }

    #[test]
    fn an_address_needs_no_look_up() {
        let plan = &[("127.0.0.1:1883", 20, Ok(()))];
        let (result, log) = dial(
            "mqtt://127.0.0.1",
            &["unknown"],
            plan,
            &SocketOptions::default(),
        );
        assert_eq!(result.unwrap(), "127.0.0.1:1883");
        assert_eq!(log, ["0 127.0.0.1:1883", "20 drop 127.0.0.1:1883"]);
    }

    #[cfg(unix)]
    #[test]
    fn a_unix_socket_has_a_path() {
        let plan = &[("/run/mqtt.sock", 0, Ok(()))];
        let (result, _) = dial(
            "mqtt+unix:///run/mqtt.sock",
            &[],
            plan,
            &SocketOptions::default(),
        );
        assert_eq!(result.unwrap(), "/run/mqtt.sock");
    }

    /// The second has 250 ms less than the first, and wins; the others are dropped.
    #[test]
    fn the_first_to_connect_wins() {
        let name = &["[::1]:1", "[::2]:1", "[::1]:1", "1.1.1.1:1", "2.2.2.2:1"];
        let plan = &[
            ("[::1]:1", NEVER, Ok(())),
            ("1.1.1.1:1", 300, Ok(())),
            ("[::2]:1", NEVER, Ok(())),
            ("2.2.2.2:1", 0, Ok(())),
        ];
        let (result, log) = by_name(name, plan);
        assert_eq!(result.unwrap(), "1.1.1.1:1");
        assert_eq!(
            log[..3],
            ["0 [::1]:1", "250 1.1.1.1:1", "500 [::2]:1"],
            "the families in turn"
        );
        let mut dropped = log[3..].to_vec();
        dropped.sort();
        assert_eq!(
            dropped,
            ["550 drop 1.1.1.1:1", "550 drop [::1]:1", "550 drop [::2]:1"]
        );
    }

    #[test]
    fn a_failure_hands_over_at_once() {
        let name = &["1.1.1.1:1", "2.2.2.2:1", "[::1]:1", "3.3.3.3:1"];
        let plan = &[
            ("1.1.1.1:1", 40, REFUSED),
            ("[::1]:1", 0, REFUSED),
            ("2.2.2.2:1", 400, REFUSED),
            ("3.3.3.3:1", 1000, Ok(())),
        ];
        let (result, log) = by_name(name, plan);
        assert_eq!(result.unwrap(), "3.3.3.3:1");
        let begun: Vec<_> = log.iter().filter(|line| !line.contains("drop")).collect();
        assert_eq!(
            begun,
            ["0 1.1.1.1:1", "40 [::1]:1", "40 2.2.2.2:1", "290 3.3.3.3:1"]
        );
        assert_eq!(log.last().unwrap(), "1290 drop 3.3.3.3:1");
    }

    #[test]
    fn an_error_names_addresses_and_reasons() {
        let plan = &[
            ("1.1.1.1:1", 10, REFUSED),
            ("[::1]:1", 500, Err(io::ErrorKind::HostUnreachable)),
        ];
        let (result, _) = by_name(&["1.1.1.1:1", "[::1]:1"], plan);
        let error = result.unwrap_err();
        assert_eq!(error.kind(), TransportErrorKind::Connect);
        assert_eq!(
            error.to_string(),
            "cannot connect to 1.1.1.1:1 (connection refused), [::1]:1"
        );
        let cause = error.source().unwrap().downcast_ref::<io::Error>().unwrap();
        assert_eq!(cause.kind(), io::ErrorKind::HostUnreachable);
    }

    #[test]
    fn an_error_is_bounded() {
        let name = &[
            "1.1.1.1:1",
            "1.1.1.1:2",
            "1.1.1.1:3",
            "1.1.1.1:4",
            "1.1.1.1:5",
            "1.1.1.1:6",
            "1.1.1.1:7",
            "1.1.1.1:8",
            "1.1.1.1:9",
            "1.1.1.1:10",
        ];
        const PLAN: &[(&str, u64, Result<(), io::ErrorKind>)] = &[
            ("1.1.1.1:1", 0, REFUSED),
            ("1.1.1.1:2", 0, REFUSED),
            ("1.1.1.1:3", 0, REFUSED),
            ("1.1.1.1:4", 0, REFUSED),
            ("1.1.1.1:5", 0, REFUSED),
            ("1.1.1.1:6", 0, REFUSED),
            ("1.1.1.1:7", 0, REFUSED),
            ("1.1.1.1:8", 0, REFUSED),
            ("1.1.1.1:9", 0, REFUSED),
            ("1.1.1.1:10", 0, REFUSED),
        ];
        let text = by_name(name, PLAN).0.unwrap_err().to_string();
        assert!(
            text.contains("1.1.1.1:7 (") && text.ends_with("), 2 more, 1.1.1.1:10"),
            "{text}"
        );
    }

    #[test]
    fn a_name_without_addresses_is_told() {
        for (name, text) in [
            (&["unknown"][..], "cannot resolve name.example"),
            (&[], "the name name.example has no address"),
        ] {
            let error = by_name(name, &[]).0.unwrap_err();
            assert_eq!(
                (error.kind(), error.to_string().as_str()),
                (TransportErrorKind::Resolve, text)
            );
        }
    }

    /// A link-local address is only an address together with the interface that its link is behind.
    #[test]
    fn a_zone_goes_to_the_socket() {
        let numbered = &[("[fe80::1%7]:1883", 0, Ok(()))];
        let options = SocketOptions::default();
        assert_eq!(
            dial("mqtt://[fe80::1%257]", &[], numbered, &options)
                .0
                .unwrap(),
            "[fe80::1%7]:1883"
        );
        let named = dial(
            "mqtt://[fe80::1%25eth0]",
            &["[fe80::1%7]:1883"],
            numbered,
            &options,
        );
        assert_eq!(named.0.unwrap(), "[fe80::1%7]:1883");
        let error = dial("mqtt://[fe80::1%eth0]", &["unknown"], &[], &options)
            .0
            .unwrap_err();
        assert!(error.to_string().contains("network interface"), "{error}");
    }

    #[test]
    fn a_local_address_chooses_the_family() {
        let local = |text: &str| SocketOptions {
            local_address: Some(text.parse().unwrap()),
            ..SocketOptions::default()
        };
        let name = &["[::1]:1", "1.1.1.1:1"];
        let plan = &[("[::1]:1", 0, Ok(())), ("1.1.1.1:1", 0, Ok(()))];
        let uri = "mqtt://name.example";
        assert_eq!(
            dial(uri, name, plan, &local("127.0.0.1")).0.unwrap(),
            "1.1.1.1:1"
        );
        assert_eq!(dial(uri, name, plan, &local("::1")).0.unwrap(), "[::1]:1");
        let error = dial(uri, &["[::1]:1"], plan, &local("127.0.0.1"))
            .0
            .unwrap_err();
        assert!(error.to_string().contains("no address of IPv4"), "{error}");
    }
}
