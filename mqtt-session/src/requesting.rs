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
    Packet, PacketIdentifier, SubAck, SubAckReasonCode, Subscribe as SubscribePacket, UnsubAck,
    UnsubAckReasonCode, Unsubscribe as UnsubscribePacket,
};

impl Session {
    /// Subscribes. Sent at once on a connection, otherwise when there is one, for which it waits
    /// [`offline_timeout`](crate::Config::offline_timeout); sent again if the connection ends before the answer.
    /// [`Event::Subscribed`] has the codes.
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
    pub fn ping(&mut self) -> Result<OperationId, RequestError> {
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

    pub(crate) fn request(&mut self, now: Instant, kind: RequestKind) -> Result<OperationId, RequestError> {
        if self.ended {
            return Err(RequestError::Closed);
        }
        let operation = OperationId(self.next_operation);
        let deadline = now + self.config.offline_timeout;
        let request = Request {
            operation: Some(operation),
            order: operation.get(),
            deadline: Some(deadline),
            awaited: false,
            kind,
        };
        if self.phase == Phase::Connected {
            self.write_request(request).map_err(|(_, error)| error)?;
        } else if self.requests.pending.len() < MAX_PENDING {
            if let RequestKind::Unsubscribe(packet) = &request.kind {
                self.requests.unregister(&packet.filters, request.order);
            }
            self.requests.pending.push_back(request);
            let next = self.timers.get(Timer::Request).map_or(deadline, |at| at.min(deadline));
            self.timers.set(Timer::Request, next);
        } else {
            return Err(RequestError::TooMany);
        }
        self.next_operation += 1;
        Ok(operation)
    }

    /// Fits the packet of a request to this server; the request stays as it was, for other servers.
    fn adapt(&mut self, packet: &mut Packet) -> Result<(), RequestError> {
        let version = self.output.version;
        let user_properties = match packet {
            Packet::Subscribe(packet) => {
                let SubscribePacket { subscriptions, subscription_identifier, user_properties, .. } =
                    &mut **packet;
                self.counters.left_out_in_3x +=
                    self.limits.adapt(subscriptions, subscription_identifier, version)?;
                user_properties
            }
            Packet::Unsubscribe(packet) => &mut packet.user_properties,
            _ => return Ok(()),
        };
        if !version.has_properties() && !user_properties.is_empty() {
            user_properties.clear();
            self.counters.left_out_in_3x += 1;
        }
        Ok(())
    }

    /// Writes a request, or gives it back.
    fn write_request(&mut self, request: Request) -> Result<(), (Box<Request>, RequestError)> {
        let mut packet = request.kind.packet();
        let mut request = Box::new(request);
        if let Err(error) = self.adapt(&mut packet) {
            return Err((request, error));
        }
        let size = packet.encoded_len(self.output.version);
        let limit = self.limits.maximum_packet_size as usize;
        if size > limit {
            return Err((request, RequestError::PacketTooLarge { size, limit }));
        }
        let (operation, order) = (request.operation, request.order);
        request.awaited = true;
        let id = match self.outbound.start_request(request, self.output.position()) {
            Ok(id) => id,
            Err(request) => return Err((request, RequestError::TooMany)),
        };
        match &mut packet {
            Packet::Subscribe(packet) => packet.packet_identifier = id,
            Packet::Unsubscribe(packet) => {
                packet.packet_identifier = id;
                self.requests.unregister(&packet.filters, order);
            }
            _ => {}
        }
        self.output.packet(&packet).expect("checked and adapted before");
        self.requests.outstanding += 1;
        self.requests.deadlines.expect(self.output.position(), Waiting::Request(id, operation));
        Ok(())
    }

    /// Sends a request that has waited for the connection.
    pub(crate) fn send_request(&mut self, request: Request) {
        let Err((request, error)) = self.write_request(request) else { return };
        match (request.kind, request.operation) {
            (RequestKind::Restore(packet), _) => {
                let given_up = self.requests.give_up_restoring(packet, SubAckReasonCode::QuotaExceeded);
                self.events.push_back(Event::Resubscribed(given_up));
            }
            (kind, Some(operation)) => {
                let is_unsubscribe = matches!(kind, RequestKind::Unsubscribe(_));
                self.events.push_back(failed(operation, is_unsubscribe, error));
            }
            (_, None) => {}
        }
    }

    pub(crate) fn send_ping(&mut self, operation: Option<OperationId>) {
        if operation.is_none() && self.ping_queued {
            return;
        }
        self.output.packet(&Packet::PingReq).expect("a PINGREQ");
        // A server that sends anything but PINGRESPs makes no memory of them.
        if operation.is_some() || self.requests.pings.len() < usize::from(u16::MAX) {
            self.requests.pings.push_back(operation);
        }
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
        let request = self.finish_request(id);
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
            let identifier = packet.subscription_identifier;
            self.requests.register(subscription, identifier, request.order, reason, restore);
        }
        if restore {
            self.events.push_back(Event::Resubscribed(restored));
            self.requests.restoring = self.requests.restoring.saturating_sub(1);
            if self.requests.restoring == 0 {
                self.store_identity(None);
            }
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
        let request = self.finish_request(id);
        if let RequestKind::Unsubscribe(packet) = &request.kind {
            // The SUBACK of an earlier subscribe may have come in between.
            self.requests.unregister(&packet.filters, request.order);
        }
        if let Some(operation) = request.operation {
            let details = Details::new(unsuback.reason_string, unsuback.user_properties);
            self.events.push_back(Event::Unsubscribed { operation, result: Ok(Answer { reasons, details }) });
        }
        Ok(())
    }

    fn finish_request(&mut self, id: PacketIdentifier) -> Box<Request> {
        let request = self.outbound.finish_request(id).expect("looked at a moment ago");
        self.requests.outstanding -= usize::from(request.awaited);
        request
    }

    /// Requests whose packets have just left wait from now on.
    pub(crate) fn requests_handed_out(&mut self, now: Instant) {
        let requests = &mut self.requests;
        if requests.deadlines.is_departing_empty() {
            return;
        }
        if !requests.deadlines.handed_out(self.output.handed_out(), now + self.config.request_timeout) {
            return;
        }
        // PINGRESPs come in order: what is older than the first that is awaited has been answered.
        let first_ping = requests.pings.iter().flatten().next().copied();
        let outbound = &self.outbound;
        requests.deadlines.tidy(requests.outstanding + requests.pings.len(), |waiting| match *waiting {
            Waiting::Request(id, operation) => outbound.is_awaited(id, operation),
            Waiting::Ping(operation) => first_ping.is_some_and(|first| operation >= first),
        });
        self.timers.set(Timer::Request, requests.next_deadline());
    }

    pub(crate) fn expire_requests(&mut self, now: Instant) {
        while let Some(waiting) = self.requests.deadlines.expire(now) {
            match waiting {
                Waiting::Request(id, operation) => {
                    if !self.outbound.is_awaited(id, operation) {
                        continue;
                    }
                    let request = self.outbound.request(id).expect("looked at a moment ago");
                    // The identifier stays taken: the answer may still come.
                    request.operation = None;
                    request.awaited = false;
                    self.requests.outstanding -= 1;
                    if let Some(operation) = operation {
                        let is_unsubscribe = matches!(request.kind, RequestKind::Unsubscribe(_));
                        self.events.push_back(failed(operation, is_unsubscribe, RequestError::Timeout));
                    }
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
        while let Some((operation, is_unsubscribe)) = self.requests.expire_pending(now) {
            self.events.push_back(failed(operation, is_unsubscribe, RequestError::NotConnected));
        }
        self.timers.set(Timer::Request, self.requests.next_deadline());
    }

    pub(crate) fn fail_pending(&mut self) {
        for request in core::mem::take(&mut self.requests.pending) {
            if matches!(request.kind, RequestKind::Restore(_)) {
                // The session lives on, and the server does not have these subscriptions.
                self.requests.pending.push_back(request);
            } else if let Some(operation) = request.operation {
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
