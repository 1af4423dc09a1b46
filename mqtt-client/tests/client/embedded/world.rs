//! A network between a client in an event loop and the embedded broker, in simulated time.

use bytes::BytesMut;
use martlet_broker::{Broker, BrokerConfig, ConnectionId};
use martlet_client::Reconnect;
use martlet_client::proto::SubscribeFilter;
use martlet_client::session::{
    Config, DisconnectOptions, Event, OutgoingPublish, SubscribeRequest,
};
use martlet_client::{
    ConnectionError, QoS,
    embedded::{Embedded, EmbeddedEvent, LinkConfig, LinkEvent},
    proto::PubAckReasonCode,
    session::{Instant, Session, TransportError, TransportErrorKind},
};
use std::time::Duration;

/// A network between a client and a broker that carries given bytes at given times.
pub(super) struct World {
    pub(super) client: Embedded,
    pub(super) broker: Broker,
    pub(super) now: Duration,
    pub(super) connection: Option<ConnectionId>,
    /// What the broker has not taken: the beginning of a packet.
    pub(super) input: BytesMut,
    /// The socket is full.
    pub(super) blocked: bool,
    /// Sockets can be opened, by themselves.
    pub(super) reachable: bool,
    /// The servers that were dialled.
    pub(super) dialed: Vec<String>,
    /// How often the sending side was to be shut down.
    pub(super) shut_down: usize,
    pub(super) events: Vec<EmbeddedEvent>,
}

pub(super) fn at(now: Duration) -> Instant {
    Instant::from_epoch(now)
}

pub(super) fn rejected() -> TransportError {
    TransportError::new(TransportErrorKind::Connect, "rejected")
}

pub(super) fn link() -> LinkConfig {
    LinkConfig::new("mqtt://one.example".parse().unwrap())
        .seed(1)
        .reconnect(Reconnect::default().retry_first(true))
}

impl World {
    pub(super) fn new(link: LinkConfig) -> Self {
        let config = Config::default().client_identifier("me".try_into().unwrap());
        Self {
            client: Embedded::new(Session::new(config), link),
            broker: Broker::new(BrokerConfig::default().sys_interval(Duration::ZERO)),
            now: Duration::ZERO,
            connection: None,
            input: BytesMut::new(),
            blocked: false,
            reachable: true,
            dialed: Vec::new(),
            shut_down: 0,
            events: Vec::new(),
        }
    }

    /// One of each poll, in order. Returns whether there was anything; `most` bytes are written.
    pub(super) fn drain_once(&mut self, most: usize) -> bool {
        let (now, mut any) = (at(self.now), false);
        let mut left = most;
        while let Some(output) = self
            .client
            .poll_wire(now)
            .filter(|_| !self.blocked && left > 0)
        {
            any = true;
            let chunk = output.chunk();
            let n = chunk.len().min(left);
            self.input.extend_from_slice(&chunk[..n]);
            self.client.handle_written(now, n);
            left -= n;
            if let Some(id) = self.connection {
                self.broker.handle_input(self.now, id, &mut self.input);
            }
        }
        if left == 0 {
            self.blocked = true;
        }
        if self.client.poll_shutdown(now) {
            any = true;
            self.shut_down += 1;
        }
        if let Some(target) = self.client.poll_dial(now) {
            any = true;
            self.dialed.push(target.host().to_owned());
            self.cut_server_side();
            if self.reachable {
                self.dialed();
            }
        }
        while let Some(event) = self.client.poll_event() {
            any = true;
            self.events.push(event);
        }
        any
    }

    pub(super) fn dialed(&mut self) {
        self.connection = Some(self.broker.handle_open(self.now));
        self.input.clear();
        self.blocked = false;
        self.client.handle_dialed(at(self.now));
    }

    pub(super) fn cut_server_side(&mut self) {
        if let Some(id) = self.connection.take() {
            self.broker.handle_close(self.now, id);
        }
    }

    /// Drains, and holds the client to the rule.
    pub(super) fn drain(&mut self) {
        let mut rounds = 0;
        while self.drain_once(usize::MAX) {
            rounds += 1;
            assert!(rounds < 100, "it does not come to rest: {:?}", self.client);
        }
        let next = self.client.poll_timeout();
        assert!(
            next.is_none_or(|next| next > at(self.now)),
            "{next:?} is left behind at {:?}",
            self.now
        );
        if !self.client.wants_socket() {
            self.cut_server_side();
        }
    }

    pub(super) fn wire(&mut self, bytes: &[u8]) {
        self.client.handle_wire(at(self.now), bytes);
        self.drain();
    }

    pub(super) fn eof(&mut self) {
        self.cut_server_side();
        self.client.handle_eof(at(self.now), None);
        self.drain();
    }

    /// What the broker has written; the network carries `most` bytes of it at a time.
    pub(super) fn hear_broker(&mut self, most: usize) -> bool {
        let mut output = BytesMut::new();
        if let Some(id) = self.connection {
            while self.broker.poll_transmit(self.now, id, &mut output) > 0 {}
        }
        let was = self.connection;
        for chunk in output.chunks(most) {
            if self.connection == was {
                self.wire(chunk);
            }
        }
        let closed = self
            .broker
            .poll_close()
            .filter(|id| Some(*id) == self.connection);
        if closed.is_some() {
            self.eof();
        }
        closed.is_some() || !output.is_empty()
    }

    /// Until both have said what they have to say.
    pub(super) fn settle(&mut self) {
        self.drain();
        while self.hear_broker(7) {}
    }

    /// To the next moment that anybody waits for, or this one if that is sooner.
    pub(super) fn wait(&mut self, until: Duration) {
        let next = [
            self.client.poll_timeout().map(Instant::since_epoch),
            self.broker.poll_timeout(),
        ];
        self.now = self
            .now
            .max(next.into_iter().flatten().fold(until, Duration::min));
        self.broker.handle_timeout(self.now);
        self.client.handle_timeout(at(self.now));
        self.settle();
    }

    /// Lets so much time pass.
    pub(super) fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while self.now < until {
            self.wait(until);
        }
    }

    pub(super) fn subscribe(&mut self, filter: &str) {
        let subscriptions = vec![SubscribeFilter::new(
            filter.try_into().unwrap(),
            QoS::ExactlyOnce,
        )];
        self.client
            .session_mut()
            .subscribe(at(self.now), SubscribeRequest::new(subscriptions))
            .unwrap();
    }

    pub(super) fn publish(&mut self, qos: QoS, payload: &str) {
        let message = OutgoingPublish::new("a/b".try_into().unwrap(), payload.to_owned());
        self.client
            .session_mut()
            .publish(at(self.now), message.qos(qos).key(Some(0)))
            .unwrap();
    }

    pub(super) fn disconnect(&mut self) {
        self.client
            .session_mut()
            .disconnect(at(self.now), DisconnectOptions::default());
        self.settle();
    }

    /// The events so far, and takes the messages among them.
    pub(super) fn take(&mut self) -> Vec<EmbeddedEvent> {
        std::mem::take(&mut self.events)
    }

    /// The payloads that have come so far; they are acknowledged.
    pub(super) fn take_messages(&mut self) -> Vec<String> {
        let mut messages = Vec::new();
        for event in std::mem::take(&mut self.events) {
            match event {
                EmbeddedEvent::Session(Event::Message(message)) => {
                    messages.push(String::from_utf8(message.publish.payload().to_vec()).unwrap());
                    self.client
                        .session_mut()
                        .acknowledge(message.token, PubAckReasonCode::Success);
                }
                other => self.events.push(other),
            }
        }
        self.drain();
        messages
    }

    /// Why the connection or the attempt ended that ended last, and when the next begins.
    pub(super) fn ended(&self) -> (&ConnectionError, Option<Duration>) {
        let ended = self.events.iter().rev().find_map(|event| match event {
            EmbeddedEvent::Link(LinkEvent::Disconnected {
                reason: error,
                retry_in,
            }) => Some((error, *retry_in)),
            _ => None,
        });
        ended.expect("something has ended")
    }

    pub(super) fn acknowledged(&self) -> usize {
        let is_acknowledged = |event: &&EmbeddedEvent| {
            matches!(
                event,
                EmbeddedEvent::Session(Event::Published { result: Ok(_), .. })
            )
        };
        self.events.iter().filter(is_acknowledged).count()
    }
}
