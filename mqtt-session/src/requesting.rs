//! Subscribing, unsubscribing and pinging: the commands and answers of the session, over the tables in `requests`.

use crate::error::Details;
use crate::event::{Answer, Subscribe, Unsubscribe};
use crate::requests::{MAX_PENDING, Request, RequestKind, Waiting};
use crate::session::Phase;
use crate::timers::Timer;
use crate::{ConnectionError, Event, Instant, Misbehaviour, OperationId, RequestError, Session};
use alloc::boxed::Box;
use alloc::vec::Vec;
use martlet_proto::{
    Packet, PacketIdentifier, SubAck, Subscribe as SubscribePacket, UnsubAck, UnsubAckReasonCode,
    Unsubscribe as UnsubscribePacket,
};

impl Session {
    /// Subscribes. Sent at once on a connection, otherwise when there is one; sent again if the connection ends before
    /// the answer. [`Event::Subscribed`] has the codes.
    ///
    /// # Errors
    /// [`RequestError`] when it can never be sent, or not to this server.
    pub fn subscribe(&mut self, now: Instant, subscribe: Subscribe) -> Result<OperationId, RequestError> {
        if subscribe.subscriptions.is_empty() {
            return Err(RequestError::NoFilter);
        }
        if subscribe.subscriptions.iter().any(|s| s.no_local && s.filter.share_name().is_some()) {
            return Err(RequestError::NoLocalShared);
        }
        let packet = SubscribePacket {
            packet_identifier: PacketIdentifier::MIN,
            subscription_identifier: subscribe.subscription_identifier,
            user_properties: subscribe.user_properties,
            subscriptions: subscribe.subscriptions,
        };
        self.request(now, RequestKind::Subscribe(packet))
    }

    /// Unsubscribes, by the same rules as [`subscribe`](Self::subscribe). [`Event::Unsubscribed`] has the codes.
    ///
    /// # Errors
    /// [`RequestError`] when it can never be sent, or not to this server.
    pub fn unsubscribe(
        &mut self,
        now: Instant,
        unsubscribe: Unsubscribe,
    ) -> Result<OperationId, RequestError> {
        if unsubscribe.filters.is_empty() {
            return Err(RequestError::NoFilter);
        }
        let packet = UnsubscribePacket {
            packet_identifier: PacketIdentifier::MIN,
            user_properties: unsubscribe.user_properties,
            filters: unsubscribe.filters,
        };
        self.request(now, RequestKind::Unsubscribe(packet))
    }

    /// Asks the server for a sign of life. [`Event::Pong`] tells the answer.
    ///
    /// # Errors
    /// [`RequestError::NotConnected`] without a connection.
    pub fn ping(&mut self, _now: Instant) -> Result<OperationId, RequestError> {
        if self.phase != Phase::Connected {
            return Err(if self.ended { RequestError::Closed } else { RequestError::NotConnected });
        }
        if self.requests.pings.len() >= usize::from(u16::MAX) {
            return Err(RequestError::TooMany);
        }
        let operation = OperationId(self.next_operation);
        self.next_operation += 1;
        self.send_ping(Some(operation));
        self.requests.deadlines.expect(self.output.position(), Waiting::Ping(operation));
        Ok(operation)
    }

    pub(crate) fn request(
        &mut self,
        _now: Instant,
        mut kind: RequestKind,
    ) -> Result<OperationId, RequestError> {
        if self.ended {
            return Err(RequestError::Closed);
        }
        let operation = OperationId(self.next_operation);
        if self.phase == Phase::Connected {
            self.adapt(&mut kind)?;
            self.write_request(Request { operation: Some(operation), kind })?;
        } else if self.requests.pending.len() < MAX_PENDING {
            if let RequestKind::Unsubscribe(packet) = &kind {
                packet.filters.iter().for_each(|filter| self.requests.unregister(filter));
            }
            self.requests.pending.push_back(Request { operation: Some(operation), kind });
        } else {
            return Err(RequestError::TooMany);
        }
        self.next_operation += 1;
        Ok(operation)
    }

    /// Fits a request to this server.
    pub(crate) fn adapt(&mut self, kind: &mut RequestKind) -> Result<(), RequestError> {
        let version = self.output.version;
        let user_properties = match kind {
            RequestKind::Subscribe(packet) | RequestKind::Restore(packet) => {
                let SubscribePacket { subscriptions, subscription_identifier, .. } = packet;
                self.counters.left_out_in_3x +=
                    self.limits.adapt(subscriptions, subscription_identifier, version)?;
                &mut packet.user_properties
            }
            RequestKind::Unsubscribe(packet) => &mut packet.user_properties,
        };
        if !version.has_properties() && !user_properties.is_empty() {
            user_properties.clear();
            self.counters.left_out_in_3x += 1;
        }
        Ok(())
    }

    pub(crate) fn write_request(&mut self, mut request: Request) -> Result<(), RequestError> {
        let version = self.output.version;
        let size = request.kind.packet(PacketIdentifier::MIN).encoded_len(version);
        let limit = self.limits.maximum_packet_size as usize;
        if size > limit {
            return Err(RequestError::PacketTooLarge { size, limit });
        }
        if let RequestKind::Unsubscribe(packet) = &request.kind {
            packet.filters.iter().for_each(|filter| self.requests.unregister(filter));
        }
        let operation = request.operation;
        let position = self.output.position();
        let Ok(id) = self.outbound.start_request(Box::new(request), position) else {
            return Err(RequestError::TooMany);
        };
        let request = self.outbound.request(id).expect("started a moment ago");
        let packet = request.kind.packet(id);
        self.output.packet(&packet).expect("checked and adapted before");
        self.requests.outstanding += 1;
        if let Some(operation) = operation {
            self.requests.deadlines.expect(self.output.position(), Waiting::Request(id, operation));
        }
        Ok(())
    }

    /// Sends a request that has waited for the connection.
    pub(crate) fn send_request(&mut self, mut request: Request) {
        let (operation, is_unsubscribe) =
            (request.operation, matches!(request.kind, RequestKind::Unsubscribe(_)));
        let written = match self.adapt(&mut request.kind) {
            Ok(()) => self.write_request(request),
            Err(error) => Err(error),
        };
        if let (Err(error), Some(operation)) = (written, operation) {
            self.events.push_back(failed(operation, is_unsubscribe, error));
        }
    }

    pub(crate) fn send_ping(&mut self, operation: Option<OperationId>) {
        if operation.is_none() && self.ping_queued {
            return;
        }
        self.output.packet(&Packet::PingReq).expect("a PINGREQ");
        self.requests.pings.push_back(operation);
        self.ping_queued = true;
    }

    pub(crate) fn handle_suback(&mut self, suback: SubAck) -> Result<(), ConnectionError> {
        let id = suback.packet_identifier;
        match self.outbound.request(id).map(|request| &request.kind) {
            Some(RequestKind::Subscribe(packet) | RequestKind::Restore(packet)) => {
                check_count(packet.subscriptions.len(), suback.reasons.len())?;
            }
            Some(RequestKind::Unsubscribe(_)) | None => {
                self.counters.unexpected_acknowledgements += 1;
                return Ok(());
            }
        }
        let request = self.outbound.finish_request(id).expect("looked at a moment ago");
        self.requests.outstanding -= 1;
        let (packet, restore) = match request.kind {
            RequestKind::Subscribe(packet) => (packet, false),
            RequestKind::Restore(packet) => (packet, true),
            RequestKind::Unsubscribe(_) => unreachable!("looked at a moment ago"),
        };
        let mut restored = Vec::new();
        for (subscription, &reason) in packet.subscriptions.into_iter().zip(&suback.reasons) {
            if restore {
                restored.push((subscription.filter.clone(), reason));
            }
            self.requests.register(subscription, packet.subscription_identifier, reason);
        }
        if restore {
            self.events.push_back(Event::Resubscribed(restored));
        }
        if let Some(operation) = request.operation {
            let details = Details::new(suback.reason_string, suback.user_properties);
            let result = Ok(Answer { reasons: suback.reasons, details });
            self.events.push_back(Event::Subscribed { operation, result });
        }
        Ok(())
    }

    pub(crate) fn handle_unsuback(&mut self, unsuback: UnsubAck) -> Result<(), ConnectionError> {
        let id = unsuback.packet_identifier;
        let asked = match self.outbound.request(id).map(|request| &request.kind) {
            Some(RequestKind::Unsubscribe(packet)) => packet.filters.len(),
            _ => {
                self.counters.unexpected_acknowledgements += 1;
                return Ok(());
            }
        };
        let mut reasons = unsuback.reasons;
        if self.output.version.has_properties() {
            check_count(asked, reasons.len())?;
        } else {
            reasons.resize(asked, UnsubAckReasonCode::Success);
        }
        let request = self.outbound.finish_request(id).expect("looked at a moment ago");
        self.requests.outstanding -= 1;
        if let RequestKind::Unsubscribe(packet) = &request.kind {
            // A SUBACK may have come in between.
            packet.filters.iter().for_each(|filter| self.requests.unregister(filter));
        }
        if let Some(operation) = request.operation {
            let details = Details::new(unsuback.reason_string, unsuback.user_properties);
            self.events.push_back(Event::Unsubscribed { operation, result: Ok(Answer { reasons, details }) });
        }
        Ok(())
    }

    pub(crate) fn expire_requests(&mut self, now: Instant) {
        while let Some(waiting) = self.requests.deadlines.expire(now) {
            match waiting {
                Waiting::Request(id, operation) => {
                    let Some(request) = self.outbound.request(id).filter(|r| r.operation == Some(operation))
                    else {
                        continue;
                    };
                    // The identifier stays taken: the answer may still come.
                    request.operation = None;
                    let event = match request.kind {
                        RequestKind::Unsubscribe(_) => {
                            Event::Unsubscribed { operation, result: Err(RequestError::Timeout) }
                        }
                        _ => Event::Subscribed { operation, result: Err(RequestError::Timeout) },
                    };
                    self.events.push_back(event);
                }
                Waiting::Ping(operation) => {
                    if let Some(ping) = self.requests.pings.iter_mut().find(|ping| **ping == Some(operation))
                    {
                        *ping = None;
                        self.events.push_back(Event::Pong { operation, result: Err(RequestError::Timeout) });
                    }
                }
            }
        }
        self.timers.set(Timer::Request, self.requests.deadlines.next());
    }

    pub(crate) fn fail_pending(&mut self) {
        for request in core::mem::take(&mut self.requests.pending) {
            if let Some(operation) = request.operation {
                let is_unsubscribe = matches!(request.kind, RequestKind::Unsubscribe(_));
                self.events.push_back(failed(operation, is_unsubscribe, RequestError::Closed));
            }
        }
    }
}

fn failed(operation: OperationId, is_unsubscribe: bool, error: RequestError) -> Event {
    if is_unsubscribe {
        Event::Unsubscribed { operation, result: Err(error) }
    } else {
        Event::Subscribed { operation, result: Err(error) }
    }
}

fn check_count(asked: usize, given: usize) -> Result<(), ConnectionError> {
    if asked == given {
        return Ok(());
    }
    Err(ConnectionError::PeerMisbehaved(Misbehaviour::ReasonCodes { asked, given }))
}
