//! The events that wait for each reader.

use crate::event::ClientEvent;
use crate::hub::wakers::{Caller, KeptWaker, Wakers};
use slab::Slab;
use std::collections::VecDeque;
use std::task::Poll;

/// How many events of each kind wait for a slow reader before the oldest are dropped.
const WAITING: usize = 256;

/// How many bytes of what servers and applications have written wait in them; the newest event
/// waits in any case.
const WAITING_BYTES: usize = 1024 * 1024;

/// Everyone who reads events.
#[derive(Debug, Default)]
pub(crate) struct Subscribers {
    readers: Slab<Reader>,
    /// What waits for the log. It is a reader only while something does.
    log: Option<Box<Reader>>,
    /// Whether anybody reads the log.
    is_logged: bool,
    ended: bool,
}

/// What waits for one reader, in lanes: a number says what came first.
#[derive(Debug, Default)]
struct Reader {
    /// What happened to the client.
    client: VecDeque<(u64, ClientEvent)>,
    /// What happened to single messages.
    messages: VecDeque<(u64, ClientEvent)>,
    /// Counts, with those that came since they began to wait.
    dropped: Option<(u64, ClientEvent)>,
    discarded: Option<(u64, ClientEvent)>,
    pushed: u64,
    missed: u64,
    /// The sizes of the events in both queues.
    bytes: usize,
    waker: Option<KeptWaker>,
}

impl Reader {
    fn push(&mut self, event: &ClientEvent, size: usize) {
        self.pushed += 1;
        let number = self.pushed;
        match event {
            ClientEvent::InboundDropped(more) => match &mut self.dropped {
                Some((_, ClientEvent::InboundDropped(count))) => *count += more,
                waiting => *waiting = Some((number, event.clone())),
            },
            ClientEvent::Discarded {
                messages: more,
                topic: last,
                qos: last_qos,
            } => match &mut self.discarded {
                Some((
                    _,
                    ClientEvent::Discarded {
                        messages,
                        topic,
                        qos,
                    },
                )) => {
                    *messages += more;
                    topic.clone_from(last);
                    *qos = *last_qos;
                }
                waiting => *waiting = Some((number, event.clone())),
            },
            event => {
                let is_message = event.is_about_a_message();
                if self.lane(is_message).len() == WAITING {
                    self.miss(is_message);
                }
                self.lane(is_message).push_back((number, event.clone()));
                self.bytes += size;
                while self.bytes > WAITING_BYTES && self.messages.len() > usize::from(is_message) {
                    self.miss(true);
                }
                while self.bytes > WAITING_BYTES && self.client.len() > usize::from(!is_message) {
                    self.miss(false);
                }
            }
        }
    }

    fn lane(&mut self, of_messages: bool) -> &mut VecDeque<(u64, ClientEvent)> {
        if of_messages {
            &mut self.messages
        } else {
            &mut self.client
        }
    }

    /// Drops the oldest event of a kind.
    fn miss(&mut self, of_messages: bool) {
        if let Some((_, event)) = self.lane(of_messages).pop_front() {
            self.bytes -= event.size();
            self.missed += 1;
        }
    }

    fn pop(&mut self) -> Option<ClientEvent> {
        if self.missed > 0 {
            return Some(ClientEvent::Missed(std::mem::take(&mut self.missed)));
        }
        let number =
            |waiting: Option<&(u64, ClientEvent)>| waiting.map_or(u64::MAX, |(number, _)| *number);
        let numbers = [
            number(self.client.front()),
            number(self.messages.front()),
            number(self.dropped.as_ref()),
            number(self.discarded.as_ref()),
        ];
        let first = numbers.iter().min()?;
        let lane = numbers.iter().position(|number| number == first);
        let popped = match lane {
            Some(0) => self.client.pop_front(),
            Some(1) => self.messages.pop_front(),
            Some(2) => return self.dropped.take().map(|(_, event)| event),
            _ => return self.discarded.take().map(|(_, event)| event),
        };
        let (_, event) = popped?;
        self.bytes -= event.size();
        Some(event)
    }
}

impl Subscribers {
    pub(crate) fn add(&mut self) -> usize {
        self.readers.insert(Reader::default())
    }

    pub(crate) fn remove(&mut self, key: usize) -> Option<KeptWaker> {
        self.readers.remove(key).waker
    }

    pub(crate) fn push(&mut self, event: &ClientEvent, wakers: &mut Wakers) {
        let size = event.size();
        if self.is_logged {
            self.log.get_or_insert_default().push(event, size);
        }
        for (_, reader) in &mut self.readers {
            reader.push(event, size);
            wakers.take(&mut reader.waker);
        }
    }

    /// From now on events wait for the log, or do not.
    pub(crate) fn set_logged(&mut self, is_logged: bool) {
        self.is_logged = is_logged;
    }

    /// All that waits for the log.
    pub(crate) fn drain_log(&mut self) -> Option<impl Iterator<Item = ClientEvent> + use<>> {
        let mut waiting = self.log.take()?;
        Some(std::iter::from_fn(move || waiting.pop()))
    }

    /// All that waits for this reader.
    pub(crate) fn drain(&mut self, key: usize) -> VecDeque<ClientEvent> {
        let reader = &mut self.readers[key];
        std::iter::from_fn(|| reader.pop()).collect()
    }

    pub(crate) fn poll(
        &mut self,
        key: usize,
        caller: &mut Caller<'_>,
    ) -> Poll<Option<ClientEvent>> {
        let reader = &mut self.readers[key];
        match reader.pop() {
            Some(event) => Poll::Ready(Some(event)),
            None if self.ended => Poll::Ready(None),
            None => {
                caller.wait_in(&mut reader.waker);
                Poll::Pending
            }
        }
    }

    /// The client goes on.
    pub(crate) fn resume(&mut self) {
        self.ended = false;
    }

    pub(crate) fn end(&mut self, wakers: &mut Wakers) {
        self.ended = true;
        for (_, reader) in &mut self.readers {
            wakers.take(&mut reader.waker);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may")]
mod tests {
    use super::*;
    use martlet_proto::{DisconnectReasonCode, QoS, SubAckReasonCode, TopicFilter, TopicName};
    use martlet_session::{
        Accepted, Config, ConnectionError, Instant, OutgoingPublish, PublishError, RequestError,
        ServerDisconnect, Session,
    };
    use std::time::Duration;

    /// Filters of up to 64 KiB were not counted in events about requests: 256 of them held 16 MiB.
    #[test]
    fn filters_of_failed_requests_are_counted() {
        let mut events = Subscribers::default();
        let key = events.add();
        let event = ClientEvent::RequestFailed {
            filter: TopicFilter::new("a".repeat(60_000)).unwrap(),
            error: RequestError::Timeout,
        };
        for _ in 0..100 {
            events.push(&event, &mut Wakers::default());
        }
        let waiting = events.drain(key);
        let kept = WAITING_BYTES / 60_000;
        assert_eq!(waiting.len(), 1 + kept, "and how many were missed");
        let missed = 100 - u64::try_from(kept).unwrap();
        assert_eq!(waiting[0], ClientEvent::Missed(missed));
    }

    /// The diagnostics of an error that persists are those of the disconnect before it.
    #[test]
    fn diagnostics_of_errors_are_counted_wherever_they_are() {
        let mut disconnect = ServerDisconnect::new(DisconnectReasonCode::NormalDisconnection);
        disconnect.reason_string = Some("x".repeat(1000).try_into().unwrap());
        let error = ConnectionError::DisconnectedByPeer(Box::new(disconnect));
        for event in [
            ClientEvent::Disconnected {
                reason: error.clone(),
                retry_in: None,
            },
            ClientEvent::PublishFailed(PublishError::Closed(error.clone())),
            ClientEvent::Subscribed(Err(RequestError::Closed(error.clone()))),
        ] {
            assert_eq!(event.size(), 1000, "{event:?}");
        }
    }

    /// An event whose size was not counted was a way around the bound on what waits for a reader.
    #[test]
    fn what_an_event_holds_on_to_is_counted() {
        let filter = || TopicFilter::new("y".repeat(20)).unwrap();
        let topic = || TopicName::new("z".repeat(30)).unwrap();
        let mut session = Session::new(Config::default());
        let message = OutgoingPublish::new(topic(), "");
        let Ok(Accepted::Pending(operation)) =
            session.publish(Instant::from_epoch(Duration::ZERO), message)
        else {
            unreachable!("it waits for a connection")
        };
        let codes = vec![(filter(), SubAckReasonCode::GrantedQos0); 3];
        let of_codes = 3 * (size_of_val(&codes[0].0) + 20);
        let table = [
            (ClientEvent::Subscribed(Ok(codes.clone())), of_codes),
            (ClientEvent::Resubscribed(codes), of_codes),
            (
                ClientEvent::RequestFailed {
                    filter: filter(),
                    error: RequestError::Timeout,
                },
                20,
            ),
            (
                ClientEvent::AcknowledgementsHeld {
                    topic: topic(),
                    received: true,
                    held: 1,
                },
                30,
            ),
            (
                ClientEvent::MessageSkipped {
                    topic: topic(),
                    size: 1,
                    qos: QoS::AtMostOnce,
                },
                30,
            ),
            (
                ClientEvent::Restored {
                    unacknowledged: vec![operation; 2],
                    quarantined: Vec::new(),
                },
                2 * size_of_val(&operation),
            ),
            (ClientEvent::StoreRecovered, 0),
        ];
        for (event, size) in table {
            assert_eq!(event.size(), size, "{event:?}");
        }
    }
}
