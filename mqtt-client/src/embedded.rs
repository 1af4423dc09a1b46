//! The whole client without a runtime and without I/O, for your own event loop.

use crate::link::attempt::Attempt;
use crate::link::observer::Observer;
pub use crate::link::target::Target;
pub use crate::link::{Link, LinkConfig, LinkEvent, VersionChoice};
use bytes::Buf;
use martlet_session::{ConnectionError, Event, GivenUp, Instant, Session, TransportError};
use std::collections::VecDeque;

/// A client for an event loop of your own: a [`Session`] and a [`Link`], the same that a
/// [`Driver`](crate::Driver) drives, behind one surface. It opens no socket, reads no clock and
/// starts no thread. The loop brings a socket, a clock and a way to wait for both; URIs, TLS,
/// WebSocket, proxies, fail-over, reconnecting and every deadline are in here.
///
/// **The rule to drain.** After every handler or command, drain the polls in this order:
/// [`poll_wire`](Self::poll_wire) (unless the socket is full),
/// [`poll_shutdown`](Self::poll_shutdown), [`poll_dial`](Self::poll_dial),
/// [`poll_event`](Self::poll_event), [`poll_timeout`](Self::poll_timeout); the last is then the
/// only thing to wait for besides the socket. Early and spurious calls do nothing.
///
/// ```
/// use bytes::{Buf, BytesMut};
/// use martlet_client::session::{Config, Event, OutgoingPublish};
/// use martlet_client::{QoS, TopicName, embedded::{Embedded, EmbeddedEvent, LinkConfig}, session::{Instant, Session}};
/// # use martlet_client::proto::{Ack, ConnAck, ConnectReasonCode, Packet, PubAckReasonCode, Version};
///
/// let mut client = Embedded::new(Session::new(Config::default()), LinkConfig::new("mqtt://localhost".parse()?));
/// let mut now = Instant::EPOCH;                          // any epoch: it only has to go forward
/// let mut server = BytesMut::new();                      // stands for the socket
///
/// let hello = OutgoingPublish::new(TopicName::new("a/b")?, "hi").qos(QoS::AtLeastOnce).key(7);
/// client.session_mut().publish(now, hello)?;             // any command; it waits for a connection
/// while client.stopped().is_none() {
///     // Drain.
///     while let Some(output) = client.poll_wire(now) {
///         let n = output.chunk().len();
///         server.extend_from_slice(output.chunk());      // write to the socket; it may take less
///         client.handle_written(now, n);
///     }
///     if client.poll_shutdown(now) {
///         client.handle_eof(now, None);                  // shut down its sending side; here: that is the end
///     }
///     if let Some(target) = client.poll_dial(now) {
///         assert_eq!((target.host(), target.port()), ("localhost", 1883));
///         client.handle_dialed(now);                     // when it is open, or `handle_dial_failed`
///         continue;                                      // a handler: drain again
///     }
///     let mut any = false;
///     while let Some(event) = client.poll_event() {
///         any = true;
///         match event {
///             EmbeddedEvent::Session(Event::Published { key: Some(7), result, .. }) => {
///                 println!("{}", result?.reason);
///                 client.session_mut().disconnect(now, Default::default());
///             }
///             other => println!("{other:?}"),
///         }
///     }
///     if any {
///         continue;                                      // perhaps a command: drain again
///     }
///     if !client.wants_socket() {
///         server.clear();                                // drop the socket
///     }
///     // Wait for the socket, if `wants_wire`, or for this:
///     if let Some(at) = client.poll_timeout().filter(|_| server.is_empty()) {
///         now = now.max(at);
///         client.handle_timeout(now);
///     }
///     # // The server's side of the example.
///     # let mut input = BytesMut::new();
///     # match Packet::decode(&mut server, Version::V5, 1000)? {
///     #     Some(Packet::Connect(_)) => Packet::from(ConnAck::new(ConnectReasonCode::Success)).encode(Version::V5, &mut input)?,
///     #     Some(Packet::Publish(publish)) => Packet::PubAck(Ack::new(publish.delivery().packet_identifier().unwrap(), PubAckReasonCode::Success)).encode(Version::V5, &mut input)?,
///     #     _ => {}
///     # }
///     client.handle_wire(now, &input);                   // bytes from the socket; here: what a server says
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// **With a store**, make the session of it with [`Session::restore`]. Then drain
/// [`Session::poll_store`] before [`poll_wire`](Self::poll_wire), also when the socket is full, and
/// once more after [`stopped`](Self::stopped); and tell the end with [`Session::handle_stored`] or
/// [`Session::handle_store_failed`], all by [`session_mut`](Self::session_mut): packets that must
/// be stored first are sent after that.
///
/// **If you keep messages** of QoS 1 in a queue, with their tokens, call
/// [`Session::poll_superseded`] after each drain: on a resumed session the server sends them again.
/// Those in the queue that [`is_superseded`](Session::is_superseded) then tells are to be dropped,
/// and their tokens acknowledged.
///
/// **Fresh credentials** are asked for before each attempt where [`LinkConfig::prepare_timeout`] is
/// set: see [`poll_prepare`](Self::poll_prepare). **Enhanced authentication** begins there too,
/// with [`ConnectOptions::authentication`](martlet_session::ConnectOptions::authentication). Then
/// answer each [`Event::AuthChallenge`] with [`Session::authenticate`], and
/// [`Event::Authenticated`] with
/// [`Session::accept_server`]: without that there is no connection.
pub struct Embedded {
    session: Session,
    link: Link,
    /// Events that are not returned yet, if both session and link had some.
    events: VecDeque<EmbeddedEvent>,
    /// The sending side of this connection's socket was to be shut down.
    shut_down: bool,
}

/// What an [`Embedded`] client tells the application, in order.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EmbeddedEvent {
    /// The session's, but for [`Event::Disconnected`], in whose place there is
    /// [`LinkEvent::Disconnected`], which knows what comes next.
    Session(Event),
    /// What happened to the connection.
    Link(LinkEvent),
}

impl Embedded {
    /// A client that dials at once.
    pub fn new(session: Session, link: LinkConfig) -> Self {
        Self {
            link: Link::new(link, &session),
            session,
            events: VecDeque::new(),
            shut_down: false,
        }
    }

    /// Shows every packet to `observer`.
    pub fn set_observer(&mut self, observer: impl Observer + Send + 'static) {
        self.link.set_observer(Box::new(observer));
    }

    // ---- getters

    /// The session, to look at.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Whether there should be a socket, open or on its way; when it turns false, drop it.
    pub fn wants_socket(&self) -> bool {
        self.link.has_socket() || self.link.is_dialing() || self.link.has_failed()
    }

    /// Whether the socket should be read. False while the application has not taken what came.
    pub fn wants_wire(&self) -> bool {
        self.link.wants_wire()
    }

    /// Why no further attempt will be made, once that is so: because of
    /// [`disconnect`](Session::disconnect), or because no server is left to try. In the latter case
    /// the session is on hold ([`Session::stop`]), and [`retry_now`](Self::retry_now) revives the
    /// client.
    pub fn stopped(&self) -> Option<&ConnectionError> {
        self.link.stopped()
    }

    // ---- handlers

    /// The attempt that [`poll_prepare`](Self::poll_prepare) gave is ready, or there will be none.
    pub fn handle_prepared(&mut self, now: Instant, attempt: Result<Attempt, GivenUp>) {
        self.link.handle_prepared(attempt);
        self.turn(now);
    }

    /// The socket that [`poll_dial`](Self::poll_dial) asked for is open.
    pub fn handle_dialed(&mut self, now: Instant) {
        if self.link.is_dialing() {
            self.shut_down = false;
        }
        self.link.handle_dialed(now);
        self.turn(now);
    }

    /// It could not be opened.
    pub fn handle_dial_failed(&mut self, now: Instant, error: TransportError) {
        self.link.handle_dial_failed(error);
        self.turn(now);
    }

    /// Bytes have come from the socket, in pieces of any size. They are copied.
    pub fn handle_wire(&mut self, now: Instant, bytes: &[u8]) {
        self.link.handle_wire(now, bytes);
        self.turn(now);
    }

    /// The socket has taken `n` bytes from the front of what [`poll_wire`](Self::poll_wire) gave.
    ///
    /// # Panics
    /// When there were fewer.
    pub fn handle_written(&mut self, now: Instant, n: usize) {
        self.link.handle_written(now, n);
    }

    /// The socket has ended, or failed with this error: `Some(error.into())` of an
    /// [`std::io::Error`].
    pub fn handle_eof(&mut self, now: Instant, error: Option<TransportError>) {
        let has_failed = error.is_some();
        self.link.handle_eof(error);
        match has_failed {
            // There is nothing to write to any more.
            true => self.conclude(now),
            false => self.turn(now),
        }
    }

    /// The time is `now`. Early calls do nothing.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.turn(now);
    }

    // ---- commands

    /// The session, for its commands: publish, subscribe, acknowledge, disconnect, authenticate.
    /// What belongs to the connection is done here and not to be done there: `handle_open`,
    /// `handle_input`, `handle_timeout`, `handle_close`, `poll_transmit`, `poll_event` and
    /// `poll_close`.
    pub fn session_mut(&mut self) -> &mut Session {
        &mut self.session
    }

    /// Makes the next attempt now, if it waits for its time. A client that has
    /// [stopped](Self::stopped), but not because of
    /// [`disconnect`](Session::disconnect), is revived: it goes on with its queue and
    /// subscriptions.
    pub fn retry_now(&mut self) {
        self.session.resume();
        if self.session.wants_connection() {
            self.link.retry_now();
        }
    }

    /// Ends the connection in good order and makes another at once, as with a new token or
    /// certificate; an attempt that is under way begins anew, and a client that has stopped is
    /// revived.
    pub fn replace(&mut self, now: Instant) {
        self.session.resume();
        if !self.session.is_ended() {
            self.link.replace(&mut self.session);
            self.turn(now);
        }
    }

    /// Sets the configuration of TLS that attempts from now on use, such as that of
    /// [`TrustFiles`](crate::transport::TrustFiles) that have changed. One attempt's is set with
    /// [`Attempt::set_tls_config`].
    #[cfg(feature = "tls")]
    pub fn set_tls(&mut self, config: martlet_transport::TlsConfig) {
        self.link.set_tls(Ok(config));
    }

    // ---- polls

    /// Bytes for the socket, if there are any: write from the front what it takes, at best all
    /// chunks at once ([`Buf::chunks_vectored`]), and tell how many with
    /// [`handle_written`](Self::handle_written). Large payloads are not copied where there is no
    /// TLS and no WebSocket.
    #[must_use = "the server waits for it"]
    pub fn poll_wire(&mut self, now: Instant) -> Option<&dyn Buf> {
        self.turn(now);
        self.link.poll_wire(now)
    }

    /// The connection is ending and everything is written: shut down the socket's sending side, go
    /// on reading, and tell its end with [`handle_eof`](Self::handle_eof). Once for each
    /// connection.
    #[must_use = "the server waits for it"]
    pub fn poll_shutdown(&mut self, now: Instant) -> bool {
        self.turn(now);
        let is_written = self.link.is_closing() && self.link.poll_wire(now).is_none();
        is_written && !std::mem::replace(&mut self.shut_down, true)
    }

    /// Prepare this attempt to connect now, where [`LinkConfig::prepare_timeout`] says so:
    /// credentials, headers, enhanced authentication. Tell the end with
    /// [`handle_prepared`](Self::handle_prepared). Ask before [`poll_dial`](Self::poll_dial).
    #[must_use = "the link waits for the attempt"]
    pub fn poll_prepare(&mut self, now: Instant) -> Option<Attempt> {
        self.conclude(now);
        self.link.poll_prepare(now)
    }

    /// Open a socket to this target now, in place of any other, and tell the end with
    /// [`handle_dialed`](Self::handle_dialed) or [`handle_dial_failed`](Self::handle_dial_failed),
    /// at once or later.
    #[must_use = "the link waits for the socket"]
    pub fn poll_dial(&mut self, now: Instant) -> Option<Target> {
        self.conclude(now);
        let target = self.link.poll_dial(now);
        self.collect();
        target
    }

    /// What the application should know next. An event that leads to a command is a reason to drain
    /// again.
    #[must_use = "an event is returned once"]
    pub fn poll_event(&mut self) -> Option<EmbeddedEvent> {
        self.events
            .pop_front()
            .or_else(|| poll_session(&mut self.session))
    }

    /// When to call [`handle_timeout`](Self::handle_timeout); `None` when there is nothing to wait
    /// for but the socket.
    #[must_use = "wait for it besides the socket"]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.link
            .poll_timeout()
            .into_iter()
            .chain(self.session.poll_timeout())
            .min()
    }

    /// Lets link and session see what the other has, unless something should be written before: the
    /// last words of a failed connection, or bytes that are due because nobody looked in time.
    fn turn(&mut self, now: Instant) {
        if !self.link.has_failed() && !self.link.is_write_due(now) {
            self.exchange(now);
        }
    }

    /// The same whether or not it was written.
    fn conclude(&mut self, now: Instant) {
        self.exchange(now);
        if self.link.has_failed() {
            self.exchange(now);
        }
    }

    fn exchange(&mut self, now: Instant) {
        self.link.exchange(now, &mut self.session);
        self.collect();
        if !self.session.wants_connection() {
            return;
        }
        if let Some(reason) = self.link.stopped() {
            // No server is left to try: everything that waits gets the reason.
            self.session.stop(now, reason.clone());
        }
    }

    /// Puts what the link tells behind what the session had to tell before.
    fn collect(&mut self) {
        while let Some(event) = self.link.poll_event() {
            self.events
                .extend(std::iter::from_fn(|| poll_session(&mut self.session)));
            self.events.push_back(EmbeddedEvent::Link(event));
        }
    }
}

fn poll_session(session: &mut Session) -> Option<EmbeddedEvent> {
    loop {
        match session.poll_event()? {
            Event::Disconnected(_) => {}
            event => return Some(EmbeddedEvent::Session(event)),
        }
    }
}

impl std::fmt::Debug for Embedded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Embedded")
            .field("link", &self.link)
            .finish_non_exhaustive()
    }
}
