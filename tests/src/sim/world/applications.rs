//! What the applications do, and what goes wrong.

use super::super::client::{instant, payload};
use super::super::model::Judgement;
use super::super::network::{Arrival, Way};
use super::{Action, World};
use core::time::Duration;
use martlet_broker::Memory;
use martlet_proto::{PublishProperties, QoS, TopicName};
use martlet_session::{
    Accepted, ConnectionError, DisconnectOptions, OutgoingPublish, PublishError, WhenFull,
};

/// More than this many messages do not wait at a time.
const BACKLOG: usize = 200;

impl World {
    pub(super) fn go(&mut self) -> Judgement {
        let slow = if self.finishing {
            0
        } else {
            self.options.slow_reader
        };
        for i in 0..self.clients.len() {
            self.take(i, slow)?;
            // Room may have let it read on.
            self.drain_client(i)?;
            if self.clients[i].session.is_connected() && self.random.per_mille(700) {
                self.subscribe(i)?;
            }
        }
        self.misbehave()?;
        if !self.finishing {
            self.unsubscribe()?;
            for i in 0..self.clients.len() {
                self.publish(i)?;
            }
            self.go_wrong()?;
        }
        for i in 0..self.clients.len() {
            self.drain_client(i)?;
        }
        Ok(())
    }

    pub(super) fn take(&mut self, i: usize, slow: u32) -> Judgement {
        let client = &mut self.clients[i];
        client.take(self.now, &mut self.random, slow)?;
        client
            .rejected
            .drain(..)
            .for_each(|number| self.model.rejected(number));
        Ok(())
    }

    pub(super) fn subscribe(&mut self, i: usize) -> Judgement {
        if self.clients[i].subscribe(self.now)? {
            self.model.subscribing();
        }
        Ok(())
    }

    fn unsubscribe(&mut self) -> Judgement {
        let now = self.now;
        for client in self.clients.iter_mut().filter(|client| client.subscribed) {
            if self.random.per_mille(self.options.unsubscribe) && !client.session.is_ended() {
                self.counts.unsubscribes += 1;
                self.model.unsubscribing();
                client.unsubscribe(now)?;
            }
        }
        Ok(())
    }

    fn publish(&mut self, i: usize) -> Judgement {
        let Some(publisher) = self.clients[i].publisher else {
            return Ok(());
        };
        let topics = self.options.topics / self.options.publishers;
        for _ in 0..self.random.below(self.options.burst + 1) {
            if self.model.open() >= BACKLOG || self.model.undelivered() >= BACKLOG as u64 {
                break;
            }
            let number = self.model.next();
            let topic = publisher as u8 * topics + self.random.below(topics.into()) as u8;
            let qos = [0, 1, 1, 2, 2][self.random.below(5) as usize];
            let size = match self.random.below(20) {
                0 => self.random.below(6000),
                1..=3 => self.random.below(400),
                _ => self.random.below(20),
            };
            let mut properties = PublishProperties::default();
            let mut expires_at = None;
            if self.options.expiry > 0 && self.random.per_mille(self.options.expiry) {
                let seconds = self.random.between(1, 20);
                expires_at = Some(self.now + Duration::from_secs(seconds));
                properties = PublishProperties::builder()
                    .message_expiry_interval(seconds as u32)
                    .build();
            }
            let name = ["t/0", "t/1", "t/2", "t/3", "t/4", "t/5", "t/6", "t/7"][usize::from(topic)];
            let message = OutgoingPublish::new(
                TopicName::new(name).expect("a topic name"),
                payload(number, expires_at, size as usize),
            )
            .qos(QoS::from_u8(qos).unwrap_or(QoS::AtMostOnce))
            .key(Some(number as u32))
            .properties(properties);
            match self.clients[i].session.publish(instant(self.now), message) {
                Ok(accepted) => {
                    let acknowledged = matches!(accepted, Accepted::Sent(_));
                    self.model.published(
                        publisher,
                        topic,
                        qos,
                        accepted.operation().get(),
                        acknowledged,
                    );
                }
                Err(PublishError::QueueFull) if self.options.queue.1 == WhenFull::Reject => break,
                Err(
                    PublishError::Closed(_)
                    | PublishError::PacketTooLarge { .. }
                    | PublishError::QosNotSupported { .. },
                ) => {}
                Err(error) => return Err(format!("publish was rejected: {error}")),
            }
        }
        Ok(())
    }

    fn go_wrong(&mut self) -> Judgement {
        let faults = self.options.faults.clone();
        let i = self.random.below(self.clients.len() as u64) as usize;
        let way = if self.random.per_mille(500) {
            Way::ToBroker
        } else {
            Way::ToClient
        };
        if let Some(id) = self.clients[i].link {
            if self.random.per_mille(faults.cut) {
                self.cut(id);
            }
            if self.random.per_mille(faults.half_open) {
                self.counts.half_open += 1;
                let both = self.random.per_mille(500);
                if let Some(link) = self.links.get_mut(&id) {
                    link.lane(way).vanish();
                    if both {
                        link.lane(Way::ToBroker).vanish();
                        link.lane(Way::ToClient).vanish();
                    }
                }
            }
            if self.random.per_mille(faults.delay) {
                let until = self.now + self.seconds(10);
                self.links
                    .get_mut(&id)
                    .map(|link| link.lane(way))
                    .into_iter()
                    .for_each(|lane| lane.delay(until));
            }
            if self.random.per_mille(faults.block) {
                self.clients[i].blocked = true;
                let after = self.seconds(6);
                self.after(after, Action::Unblock(i, id));
            }
            if self.random.per_mille(faults.disconnect) {
                let drain = self.seconds(3);
                let options = DisconnectOptions::default().drain(drain);
                self.clients[i]
                    .session
                    .disconnect(instant(self.now), options);
                self.drain_client(i)?;
            }
        }
        if faults.crash > 0 && self.random.per_mille(faults.crash) {
            self.crash(i)?;
        }
        if self.random.per_mille(faults.take_over) && self.clients[i].link.is_some() {
            let heard = self.seconds(20);
            self.leave_client(i, ConnectionError::ClosedByPeer, Some(heard))?;
        }
        if self.random.per_mille(faults.restart) {
            self.counts.restarts += 1;
            self.broker.restart(self.now, Memory::Kept);
        }
        if self.random.per_mille(faults.amnesia) {
            self.counts.amnesias += 1;
            self.broker.restart(self.now, Memory::Lost);
        }
        self.drain_broker()
    }

    /// The process of a client dies, and with it its connection; another begins with its store.
    fn crash(&mut self, i: usize) -> Judgement {
        let link = self.clients[i].link;
        let Some(remains) = self.clients[i].crash(self.now, &mut self.random)? else {
            return Ok(());
        };
        self.counts.crashes += 1;
        if let Some(id) = link {
            self.counts.connections += 1;
            if let Some(link) = self.links.get_mut(&id) {
                link.client_open = false;
            }
            // Some of what it has sent arrives.
            self.cut(id);
            let wait = self.seconds(2);
            self.after(wait, Action::Reopen(i));
            self.tidy(id);
        }
        if let Some(publisher) = self.clients[i].publisher {
            self.model
                .crashed(publisher, &remains.messages, &remains.traces)?;
        }
        self.model.may_come_again(remains.unrecorded);
        self.drain_client(i)
    }

    /// The connection breaks for both sides, each having got what it has got.
    fn cut(&mut self, id: u64) {
        self.counts.cuts += 1;
        for way in [Way::ToBroker, Way::ToClient] {
            if let Some(link) = self.links.get_mut(&id) {
                link.lane(way).cut(&mut self.random);
            }
            self.send(id, way, Arrival::End);
        }
    }
}
