//! The books of what a misbehaving server does not like: messages and filters at which it hangs up,
//! and filters that it takes as long as they do not come too many at a time. Each wish has topics
//! of its own, so that the wire shows which packets are for it.

use super::model::Judgement;
use super::options::Options;
use super::wire::number;
use martlet_proto::{Packet, PacketIdentifier};
use martlet_session::{Answer, ConnectionError, PublishError, RequestError};
use std::collections::BTreeMap;

/// Keys of messages that the server does not like have this bit; the rest is their number.
pub(crate) const DISLIKED: u32 = 1 << 31;

/// How often the SUBSCRIBE for a filter may be sent until it is answered: three connections that
/// end instead are enough.
const MOST_SUBSCRIBES: u32 = 3;

/// How often a message may be sent that ends its connection: three times among others, three times
/// alone, and as often again where others were acknowledged in between.
const MOST_PUBLISHES: u32 = 12;

/// How many connections a single thing that the server does not like may cost, and how many it may
/// cost in any case.
const HANG_UPS: (u64, u64) = (12, 12);

/// A message that the server does not like.
#[derive(Debug)]
struct Message {
    client: usize,
    operation: u64,
    /// Its end was reported.
    reported: bool,
    /// It is not sent any more.
    gone: bool,
    sent: u32,
}

/// What an application wants of a filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    Subscribing,
    Subscribed,
    Unsubscribing,
    /// It wants nothing.
    Gone,
    /// Nobody knows: a request for the subscription, or for its end, was not answered in time.
    Unknown,
}

#[derive(Debug)]
struct Filter {
    wish: Wish,
    /// The server hangs up on it.
    forbidden: bool,
    /// How often its SUBSCRIBE was sent without an answer.
    sent: u32,
}

#[derive(Debug)]
struct Request {
    filters: Vec<String>,
    forbidden: bool,
}

#[derive(Debug, Default)]
pub(crate) struct SimWishes {
    messages: BTreeMap<u64, Message>,
    /// By client.
    filters: BTreeMap<(usize, String), Filter>,
    /// By client and operation: what waits for an answer.
    requests: BTreeMap<(usize, u64), Request>,
    /// By client and packet identifier: what its last SUBSCRIBE with it asked for.
    packets: BTreeMap<(usize, PacketIdentifier), Vec<String>>,
    /// The connections that were ended for them.
    hang_ups: u64,
    /// Nothing else ends connections, so that their number is bounded.
    exact: bool,
    /// The server answers SUBSCRIBEs with the wrong number of codes, now and then.
    miscounts: bool,
    next: u64,
}

impl SimWishes {
    pub(crate) fn new(options: &Options) -> Self {
        Self {
            exact: options.are_faultless(),
            miscounts: options.misdeeds.miscount > 0,
            ..Self::default()
        }
    }

    // ---- messages

    /// The number of the next wish.
    pub(crate) fn next(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    pub(crate) fn published(&mut self, client: usize, number: u64, operation: u64) {
        let message = Message {
            client,
            operation,
            reported: false,
            gone: false,
            sent: 0,
        };
        self.messages.insert(number, message);
    }

    /// The session has reported the end of a message.
    pub(crate) fn ended(
        &mut self,
        key: u32,
        operation: u64,
        result: Result<(), &PublishError>,
    ) -> Judgement {
        let number = u64::from(key & !DISLIKED);
        let Some(message) = self.messages.get_mut(&number) else {
            return Err(format!(
                "nobody has published the disliked message {number}"
            ));
        };
        if message.operation != operation || message.reported {
            return Err(format!(
                "the disliked message {number} ended twice, or as another"
            ));
        }
        match result {
            Ok(()) => {
                return Err(format!(
                    "message {number} was acknowledged, and the server never took it"
                ));
            }
            // They say that it goes on.
            Err(PublishError::Timeout | PublishError::Closed(_)) => {}
            Err(_) => message.gone = true,
        }
        message.reported = true;
        Ok(())
    }

    /// Messages of a client whose end was not reported, and that its session may hold.
    pub(crate) fn held(&self, client: usize) -> (usize, u64) {
        let own = || {
            self.messages
                .values()
                .filter(|message| message.client == client)
        };
        let open = own().filter(|message| !message.reported).count();
        (open, own().filter(|message| !message.gone).count() as u64)
    }

    // ---- filters

    pub(crate) fn subscribing(
        &mut self,
        client: usize,
        operation: u64,
        filters: Vec<String>,
        forbidden: bool,
    ) {
        for filter in &filters {
            let wish = Filter {
                wish: Wish::Subscribing,
                forbidden,
                sent: 0,
            };
            self.filters.insert((client, filter.clone()), wish);
        }
        self.requests
            .insert((client, operation), Request { filters, forbidden });
    }

    pub(crate) fn unsubscribing(&mut self, client: usize, operation: u64, filter: String) {
        if let Some(known) = self.filters.get_mut(&(client, filter.clone())) {
            known.wish = Wish::Unsubscribing;
        }
        self.requests.insert(
            (client, operation),
            Request {
                filters: vec![filter],
                forbidden: false,
            },
        );
    }

    /// A filter that a client has subscribed to.
    pub(crate) fn subscribed_filter(&self, client: usize) -> Option<String> {
        let mut filters = self
            .filters
            .range((client, String::new())..(client + 1, String::new()));
        filters
            .find(|(_, filter)| filter.wish == Wish::Subscribed)
            .map(|((_, name), _)| name.clone())
    }

    /// How many requests of a client wait for an answer.
    pub(crate) fn waiting(&self, client: usize) -> usize {
        self.requests.range((client, 0)..(client + 1, 0)).count()
    }

    /// The session has reported the end of a SUBSCRIBE. False when it is of something else.
    pub(crate) fn answered_subscribe<T: Copy>(
        &mut self,
        client: usize,
        operation: u64,
        result: Result<&Answer<T>, &RequestError>,
        is_error: impl Fn(T) -> bool,
    ) -> Result<bool, String> {
        let Some(request) = self.requests.remove(&(client, operation)) else {
            return Ok(false);
        };
        if request.forbidden && result.is_ok() {
            return Err(format!(
                "{:?} was granted, and the server hangs up on it",
                request.filters
            ));
        }
        if let Ok(answer) = result {
            if answer.reasons.len() != request.filters.len() {
                return Err(format!(
                    "{} codes for {:?}",
                    answer.reasons.len(),
                    request.filters
                ));
            }
        } else if self.exact && !self.dislikes_any() && !self.miscounts {
            return Err(format!(
                "{:?} failed as {:?}, and nothing forbids it",
                request.filters,
                result.err()
            ));
        }
        for (i, filter) in request.filters.into_iter().enumerate() {
            let Some(filter) = self.filters.get_mut(&(client, filter)) else {
                continue;
            };
            filter.wish = match result {
                Ok(answer) if !is_error(answer.reasons[i]) => Wish::Subscribed,
                // A part may have been granted, or may yet be.
                Err(RequestError::Timeout | RequestError::NotConnected) => Wish::Unknown,
                _ => Wish::Gone,
            };
        }
        Ok(true)
    }

    /// The session does not go on with a filter.
    pub(crate) fn failed(&mut self, client: usize, filter: &str) {
        if let Some(filter) = self.filters.get_mut(&(client, filter.to_owned())) {
            filter.wish = Wish::Gone;
        }
    }

    /// The session has reported the end of an UNSUBSCRIBE. False when it is of something else.
    pub(crate) fn answered_unsubscribe(
        &mut self,
        client: usize,
        operation: u64,
        is_ok: bool,
    ) -> bool {
        let Some(request) = self.requests.remove(&(client, operation)) else {
            return false;
        };
        for filter in request.filters {
            if let Some(filter) = self.filters.get_mut(&(client, filter)) {
                filter.wish = if is_ok { Wish::Gone } else { Wish::Unknown };
            }
        }
        true
    }

    // ---- the wire

    /// A client has sent this packet: it is for a wish that there is, and not the n-th that ends a
    /// connection.
    pub(crate) fn sent(&mut self, client: usize, packet: &Packet) -> Judgement {
        match packet {
            Packet::Publish(publish) if publish.delivery().packet_identifier().is_some() => {
                let number = number(publish.payload());
                let Some(key) = number
                    .checked_sub(u64::from(DISLIKED))
                    .filter(|&it| it < DISLIKED.into())
                else {
                    return Ok(());
                };
                let Some(message) = self.messages.get_mut(&key) else {
                    return Err(format!("nobody has published {number}"));
                };
                message.sent += 1;
                if message.gone {
                    return Err(format!("message {key} was sent after its end: {message:?}"));
                }
                if self.exact && message.sent > MOST_PUBLISHES {
                    return Err(format!("message {key} was sent {} times", message.sent));
                }
            }
            Packet::Subscribe(subscribe) => {
                let filters = subscribe
                    .subscriptions
                    .iter()
                    .map(|subscription| subscription.filter.as_str().to_owned());
                self.packets
                    .insert((client, subscribe.packet_identifier), filters.collect());
                for subscription in &subscribe.subscriptions {
                    self.sent_filter(client, subscription.filter.as_str(), false)?;
                }
            }
            Packet::Unsubscribe(unsubscribe) => {
                for filter in &unsubscribe.filters {
                    self.sent_filter(client, filter.as_str(), true)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// The server has answered a SUBSCRIBE of this identifier: that was not the packet at which it
    /// hangs up. The application may wait for the answer to another one of the same request.
    pub(crate) fn answered(&mut self, client: usize, id: PacketIdentifier) {
        for filter in self.packets.remove(&(client, id)).into_iter().flatten() {
            if let Some(filter) = self.filters.get_mut(&(client, filter)) {
                filter.sent = 0;
            }
        }
    }

    /// A connection has ended. Where the server gave a reason, it does not count against the
    /// SUBSCRIBEs that had no answer.
    pub(crate) fn disconnected(&mut self, client: usize, reason: &ConnectionError) {
        let otherwise = matches!(reason, ConnectionError::DisconnectedByPeer(_));
        let first = PacketIdentifier::MIN;
        let unanswered = self.packets.range((client, first)..(client + 1, first));
        let unanswered: Vec<_> = unanswered.map(|(key, _)| *key).collect();
        for name in unanswered
            .iter()
            .filter_map(|key| self.packets.remove(key))
            .flatten()
        {
            if let Some(filter) = self.filters.get_mut(&(client, name)) {
                filter.sent -= u32::from(otherwise && filter.sent > 0);
            }
        }
    }

    fn sent_filter(&mut self, client: usize, name: &str, ends: bool) -> Judgement {
        let Some(filter) = self.filters.get_mut(&(client, name.to_owned())) else {
            return Ok(());
        };
        let fits = match filter.wish {
            Wish::Subscribing | Wish::Subscribed => !ends,
            // What was lost may be restored before its end is asked for.
            Wish::Unsubscribing | Wish::Unknown => true,
            Wish::Gone => false,
        };
        if !fits {
            let what = if ends { "UNSUBSCRIBE" } else { "SUBSCRIBE" };
            return Err(format!("{what} for {name}, which nobody wants: {filter:?}"));
        }
        if filter.wish == Wish::Subscribing {
            filter.sent += 1;
            if filter.sent > MOST_SUBSCRIBES {
                return Err(format!(
                    "SUBSCRIBE for {name} was sent {} times",
                    filter.sent
                ));
            }
        }
        Ok(())
    }

    /// The server has ended a connection for one of them.
    pub(crate) fn hung_up(&mut self) -> Judgement {
        self.hang_ups += 1;
        let (each, always) = HANG_UPS;
        let forbidden = self
            .filters
            .values()
            .filter(|filter| filter.forbidden)
            .count();
        let most = each * (self.messages.len() + forbidden) as u64 + always;
        if self.exact && self.hang_ups > most {
            return Err(format!(
                "{} connections were ended for {} wishes",
                self.hang_ups, self.next
            ));
        }
        Ok(())
    }

    /// Whether the applications have wanted anything that ends connections.
    fn dislikes_any(&self) -> bool {
        !self.messages.is_empty() || self.filters.values().any(|filter| filter.forbidden)
    }

    /// Every operation has ended.
    pub(crate) fn are_acknowledged(&self) -> bool {
        self.requests.is_empty() && self.messages.values().all(|message| message.reported)
    }

    pub(crate) fn describe(&self) -> String {
        let message = self.messages.iter().find(|(_, message)| !message.reported);
        format!(
            "waiting: {:?}, {message:?}",
            self.requests.first_key_value()
        )
    }
}
