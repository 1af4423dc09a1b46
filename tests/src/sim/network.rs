//! One network connection: bytes on their way, in both directions, and what can happen to them.

use super::Random;
use bytes::BytesMut;
use core::time::Duration;
use martlet_broker::{BrokerLimits, ConnectionId};
use std::collections::VecDeque;

/// Which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Way {
    ToBroker,
    ToClient,
}

/// What arrives.
#[derive(Debug)]
pub(crate) enum Arrival {
    Bytes(Vec<u8>),
    /// The other side has closed, or the network has.
    End,
}

/// One direction.
#[derive(Debug, Default)]
pub(crate) struct Lane {
    travelling: VecDeque<(Duration, Arrival)>,
    /// Nothing overtakes anything.
    latest: Duration,
    /// What is sent vanishes.
    pub(crate) vanishes: bool,
    /// The end is on its way; nothing comes after it.
    ended: bool,
}

#[derive(Debug)]
pub(crate) struct SimLink {
    pub(crate) client: usize,
    pub(crate) connection: ConnectionId,
    /// What the broker tells this connection.
    pub(crate) limits: BrokerLimits,
    to_broker: Lane,
    to_client: Lane,
    /// The client's socket is open.
    pub(crate) client_open: bool,
    /// The broker's socket is open.
    pub(crate) broker_open: bool,
    /// What the broker has received and not taken.
    pub(crate) unread: BytesMut,
    /// The broker has accepted a CONNECT on it in this life of the subscriber's session.
    pub(crate) life: Option<u64>,
}

impl SimLink {
    pub(crate) fn new(client: usize, connection: ConnectionId, limits: BrokerLimits) -> Self {
        Self {
            client,
            connection,
            limits,
            to_broker: Lane::default(),
            to_client: Lane::default(),
            client_open: true,
            broker_open: true,
            unread: BytesMut::new(),
            life: None,
        }
    }

    pub(crate) fn lane(&mut self, way: Way) -> &mut Lane {
        match way {
            Way::ToBroker => &mut self.to_broker,
            Way::ToClient => &mut self.to_client,
        }
    }

    /// Both sockets are closed, and nothing will arrive.
    pub(crate) fn is_over(&self) -> bool {
        !self.client_open && !self.broker_open
    }
}

impl Lane {
    /// Sends something that arrives at this time, or after all that is on its way. Returns when, if
    /// it does.
    pub(crate) fn send(&mut self, at: Duration, arrival: Arrival) -> Option<Duration> {
        if self.vanishes || self.ended {
            return None;
        }
        self.ended = matches!(arrival, Arrival::End);
        self.latest = self.latest.max(at);
        self.travelling.push_back((self.latest, arrival));
        Some(self.latest)
    }

    /// What has arrived by now.
    pub(crate) fn receive(&mut self, now: Duration) -> Option<Arrival> {
        let &(at, _) = self.travelling.front()?;
        if at > now {
            None
        } else {
            self.travelling.pop_front().map(|(_, arrival)| arrival)
        }
    }

    /// From now on nothing arrives any more, and nobody hears of it.
    pub(crate) fn vanish(&mut self) {
        self.vanishes = true;
        self.travelling.clear();
    }

    /// The connection breaks: of what travels a random number of bytes still arrives.
    pub(crate) fn cut(&mut self, random: &mut Random) {
        if self.vanishes || self.ended {
            return;
        }
        let all: usize = self
            .travelling
            .iter()
            .map(|(_, arrival)| arrival.len())
            .sum();
        let mut keep = random.below(all as u64 + 1) as usize;
        self.travelling.retain_mut(|(_, arrival)| {
            let Arrival::Bytes(bytes) = arrival else {
                return false;
            };
            bytes.truncate(keep);
            keep -= bytes.len();
            !bytes.is_empty()
        });
    }

    /// All that is on its way, and what follows, comes no sooner than then.
    pub(crate) fn delay(&mut self, until: Duration) {
        for (at, _) in &mut self.travelling {
            *at = (*at).max(until);
        }
        self.latest = self.latest.max(until);
    }
}

impl Arrival {
    fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::End => 0,
        }
    }
}
