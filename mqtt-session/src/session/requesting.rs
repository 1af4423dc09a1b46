//! Subscribing, unsubscribing and pinging: the commands and answers of the session, over the state
//! in `requests`.

use crate::error::{AnswerProblem, Details, InvalidAnswer};
use crate::event::{SubscribeRequest, UnsubscribeRequest};
use crate::outbound::{ConnectionEnd, Liveness};
use crate::requests::{AwaitedAnswer, Blame, NextRequest, OVERHEAD, PendingRequest, RequestKind};
use crate::session::timers::TimerKind;
use crate::{ConnectionError, Event, Instant, Misbehaviour, OperationId, RequestError, Session};
use alloc::boxed::Box;
use alloc::vec::Vec;
use bytes::BytesMut;
use core::time::Duration;
use martlet_proto::{
    DecodeError, FixedHeader, Packet, PacketIdentifier, PacketType, QoS, SubAck, SubAckReasonCode,
    Subscribe as SubscribePacket, SubscribeFilter, TopicFilter, UnsubAck, UnsubAckReasonCode,
    Unsubscribe as UnsubscribePacket, UserProperties, Version,
};

impl Session {
    // ---- commands

    /// Subscribes. Sent at once on a connection, otherwise when there is one, for which it waits
    /// [`offline_timeout`](SubscribeRequest::offline_timeout) in all; sent again if the connection
    /// ends before the answer, until that has ended
    /// [`max_request_losses`](crate::Config::max_request_losses) connections. Many filters travel
    /// in several packets ([`max_filters_per_packet`](crate::Config::max_filters_per_packet)).
    /// [`Event::Subscribed`] has the codes of all of them.
    ///
    /// Subscriptions are state: a later subscribe or unsubscribe of the same filter takes the place
    /// of one that was not sent yet. A subscribe then has the later one's answer; one that was
    /// unsubscribed fails as [`RequestError::Superseded`], and so does an unsubscribe after which
    /// the filter was subscribed to again.
    ///
    /// # Errors
    /// [`RequestError`] when it can never be sent, or not to this server.
    pub fn subscribe(
        &mut self,
        now: Instant,
        subscribe: SubscribeRequest,
    ) -> Result<OperationId, RequestError> {
        if subscribe.subscriptions.is_empty() {
            return Err(RequestError::NoFilter);
        }
        if subscribe
            .subscriptions
            .iter()
            .any(|s| s.no_local && s.filter.share_name().is_some())
        {
            return Err(RequestError::NoLocalShared);
        }
        let SubscribeRequest {
            subscriptions,
            subscription_identifier: identifier,
            user_properties,
            offline_timeout,
        } = subscribe;
        self.ask(
            now,
            RequestKind::Subscribe {
                identifier,
                user_properties,
            },
            subscriptions,
            offline_timeout,
        )
    }

    /// Unsubscribes, by the same rules as [`subscribe`](Self::subscribe). [`Event::Unsubscribed`]
    /// has the codes. Once the server has lost the session there is nothing left to unsubscribe
    /// from: it is answered, not sent.
    ///
    /// # Errors
    /// [`RequestError`] when it can never be sent, or not to this server.
    pub fn unsubscribe(
        &mut self,
        now: Instant,
        unsubscribe: UnsubscribeRequest,
    ) -> Result<OperationId, RequestError> {
        if unsubscribe.filters.is_empty() {
            return Err(RequestError::NoFilter);
        }
        let UnsubscribeRequest {
            filters,
            user_properties,
            offline_timeout,
        } = unsubscribe;
        let subscriptions = filters
            .into_iter()
            .map(|filter| SubscribeFilter::new(filter, QoS::AtMostOnce))
            .collect();
        self.ask(
            now,
            RequestKind::Unsubscribe { user_properties },
            subscriptions,
            offline_timeout,
        )
    }

    /// Withdraws subscriptions of this session without waiting for an answer. What was not sent
    /// leaves nothing behind; an UNSUBSCRIBE is sent only for what the server has granted, or may
    /// have. It cannot fail, and ignores filters that are not subscribed to.
    pub fn withdraw_subscriptions(&mut self, now: Instant, filters: Vec<TopicFilter>) {
        let order = OperationId(self.next_operation);
        self.next_operation += 1;
        let most = self.most_filters();
        if let Some(wishes) = self.requests.known() {
            wishes.withdraw(order, filters, most);
            self.send_requests(now);
        }
    }

    /// Asks the server for a sign of life. [`Event::Pong`] tells the answer.
    ///
    /// # Errors
    /// [`RequestError::NotConnected`] without a connection.
    pub fn ping(&mut self) -> Result<OperationId, RequestError> {
        if !self.is_connected() {
            return Err(self.not_connected());
        }
        if self.requests.pings.len() >= usize::from(u16::MAX) {
            return Err(RequestError::TooMany);
        }
        let operation = OperationId(self.next_operation);
        self.next_operation += 1;
        self.send_ping(Some(operation));
        self.requests
            .deadlines
            .expect(self.output.position(), AwaitedAnswer::Ping(operation));
        Ok(operation)
    }

    fn ask(
        &mut self,
        now: Instant,
        action: RequestKind,
        subscriptions: Vec<SubscribeFilter>,
        offline_timeout: Option<Duration>,
    ) -> Result<OperationId, RequestError> {
        if self.is_ended() {
            return Err(RequestError::Closed(self.why_closed()));
        }
        if !self.requests.wishes_mut().has_room(subscriptions.len()) {
            return Err(RequestError::TooMany);
        }
        if self.is_connected() {
            if !self.outbound.has_identifier() {
                return Err(RequestError::TooMany);
            }
            self.check_request(&action, &subscriptions)?;
        }
        let operation = OperationId(self.next_operation);
        self.next_operation += 1;
        let expires = now + offline_timeout.unwrap_or(self.config.offline_timeout);
        let most = self.most_filters();
        self.requests
            .wishes_mut()
            .ask(operation, expires, action, subscriptions, most);
        self.send_requests(now);
        Ok(operation)
    }

    fn most_filters(&self) -> usize {
        usize::from(self.config.max_filters_per_packet).max(1)
    }

    /// Whether the server of this connection can be asked for each of these, one by one.
    fn check_request(
        &self,
        action: &RequestKind,
        subscriptions: &[SubscribeFilter],
    ) -> Result<(), RequestError> {
        if !action.is_unsubscribe() {
            if let Some((_, what)) = subscriptions
                .iter()
                .find_map(|entry| self.limits.rejection(entry))
            {
                return Err(RequestError::NotSupported(what));
            }
        }
        let Some(longest) = subscriptions
            .iter()
            .max_by_key(|entry| entry.filter.as_bytes().len())
        else {
            return Ok(());
        };
        let (packet, _) = self.packet(action, core::iter::once(longest));
        self.check_request_size(&packet)
    }

    fn check_request_size(&self, packet: &Packet) -> Result<(), RequestError> {
        let size = packet.encoded_len(self.output.version);
        let limit = self.limits.maximum_packet_size as usize;
        if size <= limit {
            Ok(())
        } else {
            Err(RequestError::PacketTooLarge { size, limit })
        }
    }

    // ---- sending

    /// The server has accepted a connection. Returns the subscriptions that it does not take, of
    /// those to make again.
    pub(crate) fn resume_requests(
        &mut self,
        session_present: bool,
        ask_again: bool,
    ) -> Vec<(TopicFilter, SubAckReasonCode)> {
        let most = self.most_filters();
        let has_codes = self.output.version.has_properties();
        let Some(wishes) = self.requests.known() else {
            return Vec::new();
        };
        if !session_present {
            wishes.lose_session(match has_codes {
                true => UnsubAckReasonCode::NoSubscriptionExisted,
                false => UnsubAckReasonCode::Success,
            });
        }
        if ask_again {
            wishes.restore(&self.limits, most, session_present)
        } else {
            Vec::new()
        }
    }

    /// The packet of a request as this server can have it, and how many things were left out; its
    /// identifier is not known yet. The request stays as it is, for other servers.
    fn packet<'a>(
        &self,
        action: &RequestKind,
        subscriptions: impl Iterator<Item = &'a SubscribeFilter>,
    ) -> (Packet, u64) {
        let version = self.output.version;
        let packet_identifier = PacketIdentifier::MIN;
        let mut left_out = 0;
        let adapt = |user_properties: &UserProperties, left_out: &mut u64| {
            if version.has_properties() || user_properties.is_empty() {
                return user_properties.clone();
            }
            *left_out += 1;
            UserProperties::new()
        };
        let packet = match action {
            RequestKind::Subscribe {
                identifier,
                user_properties,
            } => {
                let mut packet = SubscribePacket {
                    packet_identifier,
                    subscription_identifier: *identifier,
                    user_properties: adapt(user_properties, &mut left_out),
                    subscriptions: subscriptions.cloned().collect(),
                };
                let SubscribePacket {
                    subscriptions,
                    subscription_identifier,
                    ..
                } = &mut packet;
                left_out += self
                    .limits
                    .adapt(subscriptions, subscription_identifier, version);
                packet.into()
            }
            RequestKind::Unsubscribe { user_properties } => {
                let user_properties = adapt(user_properties, &mut left_out);
                let filters = subscriptions
                    .map(|subscription| subscription.filter.clone())
                    .collect();
                UnsubscribePacket {
                    packet_identifier,
                    user_properties,
                    filters,
                }
                .into()
            }
        };
        (packet, left_out)
    }

    /// Sends the requests that may be sent now. Suspected requests wait until the messages that
    /// were there when the connection began are acknowledged, so that these do not fail with them. One that
    /// fails with the next loss waits until the connection is seen to work.
    pub(crate) fn send_requests(&mut self, now: Instant) {
        let latest = now + self.config.request_timeout;
        while self.is_connected() && !self.holds_requests() {
            let Some(wishes) = self.requests.known() else {
                break;
            };
            let (outbound, began) = (&self.outbound, self.began);
            let gated_from = match self.outbound.liveness {
                Liveness::Shown => u32::MAX,
                Liveness::Unknown | Liveness::Asked => {
                    self.config.max_request_losses.saturating_sub(1)
                }
            };
            match wishes.next(now, latest, gated_from, || outbound.has_completed(began)) {
                NextRequest::Send(request) => {
                    if !self.send_request(request) {
                        break;
                    }
                }
                NextRequest::AwaitLiveness => {
                    self.may_send_suspect(now);
                    break;
                }
                NextRequest::Nothing => break,
            }
        }
        self.timers
            .set(TimerKind::Request, self.requests.next_deadline(now));
        self.emit_request_events();
    }

    /// Moves the events of requests to those of the session.
    pub(crate) fn emit_request_events(&mut self) {
        let Some(wishes) = self.requests.known() else {
            return;
        };
        if !wishes.events.is_empty() {
            for event in core::mem::take(&mut wishes.events) {
                self.tell(event);
            }
            // The identity record says whether subscriptions are still to be made again.
            self.store_identity(None);
        }
    }

    /// Sends a request; `false` when there is no packet identifier for it.
    fn send_request(&mut self, mut request: PendingRequest) -> bool {
        if !request.action.is_unsubscribe() {
            for wish in core::mem::take(&mut request.wishes) {
                match self.limits.rejection(&wish.subscription) {
                    Some((code, what)) => {
                        self.requests.wishes_mut().reject(
                            wish,
                            &RequestError::NotSupported(what),
                            code,
                        );
                    }
                    None => request.wishes.push(wish),
                }
            }
        }
        let limit = self.limits.maximum_packet_size as usize;
        loop {
            if request.wishes.is_empty() {
                return true;
            }
            let subscriptions = request.wishes.iter().map(|wish| &wish.subscription);
            let (mut packet, left_out) = self.packet(&request.action, subscriptions);
            let Err(error) = self.check_request_size(&packet) else {
                let id = match self
                    .outbound
                    .start_request(Box::new(request), self.output.position())
                {
                    Ok(id) => id,
                    Err(request) => {
                        self.requests.wishes_mut().put_back(*request);
                        return false;
                    }
                };
                match &mut packet {
                    Packet::Subscribe(packet) => packet.packet_identifier = id,
                    Packet::Unsubscribe(packet) => packet.packet_identifier = id,
                    _ => {}
                }
                self.output.tally.counters_mut().left_out_in_3x += left_out;
                self.output
                    .packet(&packet)
                    .expect("checked and adapted before");
                if let Some(request) = self.outbound.request(id) {
                    self.requests.wishes_mut().sent(request);
                    let waiting = AwaitedAnswer::Request(id, request.number());
                    self.requests
                        .deadlines
                        .expect(self.output.position(), waiting);
                }
                return true;
            };
            if request.wishes.len() == 1 {
                for wish in core::mem::take(&mut request.wishes) {
                    self.requests.wishes_mut().reject(
                        wish,
                        &error,
                        SubAckReasonCode::QuotaExceeded,
                    );
                }
                return true;
            }
            let most = self.most_filters().min(request.wishes.len() - 1);
            let properties = packet.encoded_len(self.output.version)
                - request
                    .wishes
                    .iter()
                    .map(|wish| wish.subscription.filter.as_bytes().len() + 2)
                    .sum::<usize>();
            let bytes = limit.saturating_sub(OVERHEAD.max(properties));
            let Some(first) = self.requests.wishes_mut().cut(request, most, bytes) else {
                return true;
            };
            request = first;
        }
    }

    pub(crate) fn send_ping(&mut self, operation: Option<OperationId>) {
        if operation.is_none() && self.output.ping_queued {
            return;
        }
        self.output.packet(&Packet::PingReq).expect("a PINGREQ");
        // A server that sends anything but PINGRESPs makes no memory of them.
        if operation.is_some() || self.requests.pings.len() < usize::from(u16::MAX) {
            self.requests.pings.push_back(operation);
        }
        self.output.ping_queued = true;
    }

    // ---- answers

    pub(crate) fn handle_suback(&mut self, suback: SubAck) -> Result<(), ConnectionError> {
        let id = suback.packet_identifier;
        let asked = match self.outbound.request(id) {
            Some(request) if !request.action.is_unsubscribe() => request.wishes.len(),
            _ => {
                self.output.tally.counters_mut().unexpected_acknowledgements += 1;
                return Ok(());
            }
        };
        if asked != suback.reasons.len() {
            let problem = AnswerProblem::ReasonCodes {
                asked,
                given: suback.reasons.len(),
            };
            return self.handle_misanswered(id, problem, &self.quote(&suback.into()));
        }
        let SubAck {
            reasons,
            reason_string,
            user_properties,
            ..
        } = suback;
        let details = Details::new(reason_string, user_properties);
        let request = self.finish_request(id);
        self.requests
            .wishes_mut()
            .handle_suback(request, &reasons, details.as_deref());
        self.emit_request_events();
        Ok(())
    }

    pub(crate) fn handle_unsuback(&mut self, unsuback: UnsubAck) -> Result<(), ConnectionError> {
        let id = unsuback.packet_identifier;
        let asked = match self.outbound.request(id) {
            Some(request) if request.action.is_unsubscribe() => request.wishes.len(),
            _ => {
                self.output.tally.counters_mut().unexpected_acknowledgements += 1;
                return Ok(());
            }
        };
        let given = unsuback.reasons.len();
        if self.output.version.has_properties() && asked != given {
            let problem = AnswerProblem::ReasonCodes { asked, given };
            return self.handle_misanswered(id, problem, &self.quote(&unsuback.into()));
        }
        let UnsubAck {
            mut reasons,
            reason_string,
            user_properties,
            ..
        } = unsuback;
        // In 3.x there are none.
        reasons.resize(asked, UnsubAckReasonCode::Success);
        let details = Details::new(reason_string, user_properties);
        let request = self.finish_request(id);
        self.requests
            .wishes_mut()
            .handle_unsuback(request, &reasons, details.as_deref());
        self.emit_request_events();
        Ok(())
    }

    fn finish_request(&mut self, id: PacketIdentifier) -> PendingRequest {
        *self
            .outbound
            .finish_request(id)
            .expect("looked at a moment ago")
    }

    fn quote(&self, packet: &Packet) -> Vec<u8> {
        // The buffer that all packets are encoded to: each kind has the encoder once more.
        let mut bytes = BytesMut::new();
        // A server may have sent 0x80 in 3.1, which has no such code: the bytes are those of 3.1.1.
        let version = match self.output.version {
            Version::V3_1 => Version::V3_1_1,
            version => version,
        };
        packet
            .encode(version, &mut bytes)
            .expect("it was decoded in this version");
        bytes.into()
    }

    /// Handles an answer that does not fit its request. The first time it may be damage, and the
    /// connection ends. The second time the server means it: the request fails, and the connection
    /// goes on.
    fn handle_misanswered(
        &mut self,
        id: PacketIdentifier,
        problem: AnswerProblem,
        answer: &[u8],
    ) -> Result<(), ConnectionError> {
        let Some(request) = self.outbound.request(id) else {
            return Err(problem.into());
        };
        if !core::mem::replace(&mut request.past.misanswered, true) {
            return Err(problem.into());
        }
        let request = self.finish_request(id);
        let error = RequestError::InvalidAnswer(Box::new(InvalidAnswer::new(problem, answer)));
        self.requests
            .wishes_mut()
            .handle_misanswered(request, &error);
        self.emit_request_events();
        Ok(())
    }

    /// Handles a packet that cannot be decoded and is at the front of `input`. It is skipped if it
    /// is the answer to a request, perhaps in the form of another version.
    pub(crate) fn handle_undecodable(
        &mut self,
        input: &mut BytesMut,
        error: DecodeError,
    ) -> Result<(), ConnectionError> {
        let malformed = Err(ConnectionError::Malformed(error));
        if !self.is_online() {
            return malformed;
        }
        let unsubscribes = match error.packet_type() {
            Some(PacketType::SubAck) => false,
            Some(PacketType::UnsubAck) => true,
            _ => return malformed,
        };
        let Ok(Some(header)) = FixedHeader::decode(input, self.output.version) else {
            return malformed;
        };
        let (start, size) = (header.header_size(), header.packet_size());
        if size > input.len() || size > self.config.maximum_packet_size as usize {
            return malformed;
        }
        let id = match input.get(start..size) {
            Some([high, low, ..]) => PacketIdentifier::new(u16::from_be_bytes([*high, *low])),
            _ => None,
        };
        let Some(id) = id else { return malformed };
        match self.outbound.request(id) {
            Some(request) if request.action.is_unsubscribe() == unsubscribes => {}
            _ => return malformed,
        }
        let answer = input.split_to(size);
        self.handle_misanswered(id, AnswerProblem::Malformed(error), &answer)
    }

    // ---- time

    /// Requests whose packets have just left wait from now on.
    pub(crate) fn requests_handed_out(&mut self, now: Instant) {
        let requests = &mut self.requests;
        if requests.deadlines.is_departing_empty() {
            return;
        }
        if !requests
            .deadlines
            .handed_out(self.output.handed_out(), now + self.config.request_timeout)
        {
            return;
        }
        // PINGRESPs come in order: what is older than the first that is awaited has been answered.
        let first_ping = requests.pings.iter().flatten().next().copied();
        let outbound = &self.outbound;
        requests
            .deadlines
            .tidy(
                requests.outstanding() + requests.pings.len(),
                |waiting| match *waiting {
                    AwaitedAnswer::Request(id, number) => outbound.is_awaited(id, number),
                    AwaitedAnswer::Ping(operation) => {
                        first_ping.is_some_and(|first| operation >= first)
                    }
                },
            );
        self.timers
            .set(TimerKind::Request, requests.next_deadline(now));
    }

    pub(crate) fn expire_requests(&mut self, now: Instant) {
        while let Some(waiting) = self.requests.deadlines.expire(now) {
            match waiting {
                AwaitedAnswer::Request(id, number) => {
                    if !self.outbound.is_awaited(id, number) {
                        continue;
                    }
                    let request = self.outbound.request(id).expect("looked at a moment ago");
                    self.requests.wishes_mut().handle_timeout(request);
                }
                AwaitedAnswer::Ping(operation) => {
                    if let Some(ping) = self
                        .requests
                        .pings
                        .iter_mut()
                        .find(|ping| **ping == Some(operation))
                    {
                        *ping = None;
                        self.events.push_back(Event::Pong {
                            operation,
                            result: Err(RequestError::Timeout),
                        });
                    }
                }
            }
        }
        let is_connected = self.is_online();
        let error = if is_connected {
            RequestError::Timeout
        } else {
            RequestError::NotConnected
        };
        if let Some(wishes) = self.requests.known() {
            wishes.expire(now, &error);
        }
        self.timers
            .set(TimerKind::Request, self.requests.next_deadline(now));
        self.emit_request_events();
    }

    /// Which of the requests without an answer a connection may have ended for.
    pub(crate) fn blame(&self, reason: &ConnectionError) -> Blame {
        let is_about_an_answer = match reason {
            ConnectionError::PeerMisbehaved(Misbehaviour::ReasonCodes { .. }) => true,
            ConnectionError::Malformed(error) => matches!(
                error.packet_type(),
                Some(PacketType::SubAck | PacketType::UnsubAck)
            ),
            _ => false,
        };
        if is_about_an_answer {
            return Blame::All;
        }
        if ConnectionEnd::of(reason) == ConnectionEnd::Other {
            return Blame::None;
        }
        // All that has left did so a request timeout before its deadline.
        let last = self.requests.deadlines.last();
        if last.is_some_and(|last| self.last_received + self.config.request_timeout > last) {
            Blame::New
        } else {
            Blame::All
        }
    }

    /// What a request that needs a connection fails with while there is none.
    pub fn not_connected(&self) -> RequestError {
        if self.is_ended() {
            RequestError::Closed(self.why_closed())
        } else {
            RequestError::NotConnected
        }
    }

    pub(crate) fn fail_pending(&mut self) {
        // Only the operations fail: the wishes belong to the session, which may connect again.
        let error = RequestError::Closed(self.why_closed());
        if let Some(wishes) = self.requests.known() {
            wishes.fail_unsent(&error);
        }
        self.emit_request_events();
    }
}

impl From<AnswerProblem> for ConnectionError {
    fn from(problem: AnswerProblem) -> Self {
        match problem {
            AnswerProblem::ReasonCodes { asked, given } => {
                Self::PeerMisbehaved(Misbehaviour::ReasonCodes { asked, given })
            }
            AnswerProblem::Malformed(error) => Self::Malformed(error),
        }
    }
}
