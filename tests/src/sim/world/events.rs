//! What the applications make of the events of their sessions.

use super::super::client::{everything, topic_of};
use super::super::model::{End, Judgement};
use super::super::wire::number;
use super::super::wishes::DISLIKED;
use super::World;
use martlet_proto::{DisconnectReasonCode, SubAckReasonCode};
use martlet_session::{
    Answer, Connected, ConnectionError, Event, LostSession, Misbehaviour, OperationId,
    PublishError, ReceivedPublish, RequestError, WhenFull,
};

impl World {
    /// Gives an event to the application.
    pub(super) fn deliver_event(&mut self, i: usize, event: Event, times: u8) -> Judgement {
        let client = &mut self.clients[i];
        match event {
            Event::Connected(connected) => self.connected(i, &connected)?,
            Event::Message(message) => self.message(i, message, times)?,
            // Its end is still to come, and is reported then.
            Event::Published {
                result: Err(PublishError::Kept),
                ..
            } => {}
            Event::Published {
                operation,
                key: Some(key),
                result,
            } if key & DISLIKED != 0 => {
                for _ in 0..times {
                    self.wishes
                        .ended(key, operation.get(), result.as_ref().map(drop))?;
                }
            }
            Event::Published {
                operation,
                key,
                result,
            } => self.published(i, operation, key, result.err(), times)?,
            Event::Subscribed { operation, result } if times > 0 => {
                let is_error = |reason: SubAckReasonCode| reason.is_error();
                let is_known = self.wishes.answered_subscribe(
                    i,
                    operation.get(),
                    result.as_ref(),
                    is_error,
                )?;
                if !is_known {
                    self.subscribed(i, result)?;
                }
            }
            Event::Unsubscribed { operation, result } => {
                let is_known = self
                    .wishes
                    .answered_unsubscribe(i, operation.get(), result.is_ok());
                if !is_known {
                    client.not_subscribed();
                }
            }
            // Three connections ended before the answer.
            Event::RequestFailed { filter, .. } if filter == everything() => {
                client.not_subscribed();
            }
            Event::RequestFailed { filter, .. } => self.wishes.failed(i, filter.as_str()),
            Event::Disconnected(reason) => {
                self.wishes.disconnected(i, &reason);
                client.link = None;
                self.disconnected(&reason)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn connected(&mut self, i: usize, connected: &Connected) -> Judgement {
        let client = &mut self.clients[i];
        if core::mem::take(&mut client.lost) && connected.session_present {
            self.counts.unnoticed += 1;
            if let Some(publisher) = client.publisher {
                self.model.publisher_lost(publisher, true);
            }
            if client.subscribes {
                self.model.loss_unnoticed();
            }
        }
        if !connected.session_present {
            client.loss_noticed();
        }
        let identifier = client.session.client_identifier().as_str();
        if identifier != client.name {
            return Err(format!("the client was renamed to {identifier}"));
        }
        self.subscribe(i)
    }

    fn message(&mut self, i: usize, message: ReceivedPublish, times: u8) -> Judgement {
        let client = &mut self.clients[i];
        let life = client.link.and_then(|id| self.links.get(&id)?.life);
        let (qos, topic) = (message.publish.delivery().qos().as_u8(), topic_of(&message));
        let Some(life) = life else {
            return Err("a delivery without a connection".to_owned());
        };
        let number = number(message.publish.payload());
        for _ in 0..times {
            self.model.delivered(number, topic, qos, life)?;
        }
        if qos == 2 {
            client.received(message.publish.delivery().packet_identifier(), number);
        }
        client.hold(message.token, number);
        if self.options.slow_reader == 0 {
            self.take(i, 0)?;
        }
        Ok(())
    }

    fn published(
        &mut self,
        i: usize,
        operation: OperationId,
        key: Option<u32>,
        error: Option<PublishError>,
        times: u8,
    ) -> Judgement {
        let publisher = self.clients[i].publisher.unwrap_or_default();
        let number = match key {
            Some(key) => self.model.number(key),
            None => self.model.number_of(publisher, operation.get())?,
        };
        let end = match error {
            // It was acknowledged in the wrong flow; what has run out of time goes on.
            Some(error) if error != PublishError::Timeout && self.touched.contains(&number) => {
                End::Failed
            }
            error => self.end_of(error)?,
        };
        for _ in 0..times {
            self.model.ended(number, operation.get(), end)?;
        }
        Ok(())
    }

    fn subscribed(
        &mut self,
        i: usize,
        result: Result<Answer<SubAckReasonCode>, RequestError>,
    ) -> Judgement {
        let client = &mut self.clients[i];
        match result {
            Ok(answer) if answer.reasons.len() != 1 => {
                return Err(format!("one filter was asked for: {answer:?}"));
            }
            Ok(answer) if answer.reasons.iter().all(|reason| !reason.is_error()) => {
                client.subscribed = true;
            }
            Ok(answer) => return Err(format!("the subscription was rejected: {answer:?}")),
            Err(_) => client.not_subscribed(),
        }
        Ok(())
    }

    /// Why a connection may end.
    fn disconnected(&self, reason: &ConnectionError) -> Judgement {
        use DisconnectReasonCode as Code;
        let misdeeds = &self.options.misdeeds;
        let is_fine = match reason {
            ConnectionError::DisconnectedByPeer(disconnect) => {
                matches!(
                    disconnect.reason,
                    Code::SessionTakenOver | Code::KeepAliveTimeout
                )
            }
            ConnectionError::ClosedByPeer
            | ConnectionError::ClosedHere
            | ConnectionError::Timeout(_) => true,
            // A 3.x server does not know how much is taken.
            ConnectionError::InboundOverrun => !self.options.version.has_properties(),
            ConnectionError::PeerMisbehaved(Misbehaviour::ReasonCodes { .. }) => {
                misdeeds.miscount > 0
            }
            _ => false,
        };
        if is_fine {
            Ok(())
        } else {
            Err(format!("the connection ended: {reason}"))
        }
    }

    fn end_of(&self, error: Option<PublishError>) -> Result<End, String> {
        match error {
            None => Ok(End::Acknowledged),
            Some(PublishError::Closed(_)) => Ok(End::GivenUp),
            Some(PublishError::Timeout) if self.options.publish_timeout.is_some() => {
                Ok(End::GivenUp)
            }
            Some(PublishError::Expired) if self.options.expiry > 0 => Ok(End::Failed),
            Some(PublishError::Dropped) if self.options.queue.1 != WhenFull::Reject => {
                Ok(End::Failed)
            }
            Some(PublishError::InDoubt)
                if [self.options.lost_qos1, self.options.lost_qos2]
                    .contains(&LostSession::InDoubt) =>
            {
                Ok(End::Failed)
            }
            Some(PublishError::PacketTooLarge { .. } | PublishError::QosNotSupported { .. })
                if self.options.limits_change =>
            {
                Ok(End::Failed)
            }
            // Connections end here as they do when a server hangs up; bytes of the last one may
            // still be on their way.
            Some(PublishError::ServerHungUp { .. }) => Ok(End::GivenUp),
            Some(PublishError::WrongAcknowledgement { .. })
                if self.options.misdeeds.wrong_flow > 0 =>
            {
                Ok(End::GivenUp)
            }
            Some(error) => Err(format!("a message failed: {error}")),
        }
    }
}
