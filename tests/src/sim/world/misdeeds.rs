//! What a misbehaving server does, and what the applications want that makes it.

use super::super::client::{instant, payload};
use super::super::model::Judgement;
use super::super::wishes::DISLIKED;
use super::World;
use core::time::Duration;
use martlet_broker::{BrokerEvent, Moods};
use martlet_proto::{PacketType, QoS, SubscribeFilter, TopicFilter, TopicName, Utf8String};
use martlet_session::{OutgoingPublish, SubscribeRequest, UnsubscribeRequest};

/// How many filters the server takes at a time.
const MOST_FILTERS: usize = 8;

/// More requests than this do not wait at a time, of one client.
const WAITING: usize = 3;

/// Messages that the server does not like, of one client, that wait at a time.
const OPEN: usize = 2;

/// Until when the server does what it does for a while only.
#[derive(Debug, Default)]
pub(super) struct Spells {
    miscounts: Duration,
    wrong_flow: Duration,
    renames: Duration,
}

fn filter(text: String) -> TopicFilter {
    TopicFilter::new(text).expect("a filter")
}

impl World {
    /// What the server does wrong now.
    pub(super) fn moods(&self) -> Moods {
        let misdeeds = &self.options.misdeeds;
        let mut moods = Moods::new();
        if misdeeds.forbidden_publish > 0 {
            moods = moods.hang_up_on_publish(filter("p/#".to_owned()));
        }
        if misdeeds.forbidden_filter > 0 {
            moods = moods.hang_up_on_subscribe(filter("forbidden/#".to_owned()));
        }
        if misdeeds.many_filters > 0 {
            moods = moods.hang_up_on_filters(MOST_FILTERS);
        }
        if misdeeds.overshoot > 0 {
            moods = moods.overshoot(misdeeds.overshoot);
        }
        if self.finishing {
            return moods;
        }
        if self.now < self.spells.miscounts {
            moods = moods.miscount_codes();
        }
        if self.now < self.spells.wrong_flow {
            moods = moods.acknowledge_in_the_wrong_flow();
        }
        if self.now < self.spells.renames {
            moods = moods.rename_clients(Utf8String::from_static("another").expect("short"));
        }
        moods
    }

    /// A go of the server, and of the applications.
    pub(super) fn misbehave(&mut self) -> Judgement {
        let misdeeds = self.options.misdeeds.clone();
        if misdeeds.is_none() {
            return Ok(());
        }
        if !self.finishing {
            let until = self.now + self.seconds(5);
            for (often, spell) in [
                (misdeeds.miscount, &mut self.spells.miscounts),
                (misdeeds.wrong_flow, &mut self.spells.wrong_flow),
                (misdeeds.rename, &mut self.spells.renames),
            ] {
                if self.random.per_mille(often) {
                    *spell = until;
                }
            }
        }
        let moods = self.moods();
        let config = self.broker.config().clone().moods(moods);
        self.broker.configure(config);
        if self.finishing {
            return Ok(());
        }
        for i in 0..self.clients.len() {
            if self.clients[i].session.is_ended() {
                continue;
            }
            if self.random.per_mille(misdeeds.forbidden_publish) && self.wishes.held(i).0 < OPEN {
                self.publish_disliked(i)?;
            }
            if self.wishes.waiting(i) < WAITING {
                if self.random.per_mille(misdeeds.forbidden_filter) {
                    let count = self.random.between(1, 3);
                    self.wish_for(i, "forbidden", count)?;
                }
                if self.random.per_mille(misdeeds.many_filters) {
                    let count = self.random.between(1, 20);
                    self.wish_for(i, "wished", count)?;
                }
                if self.random.per_mille(misdeeds.many_filters) {
                    self.end_wish(i)?;
                }
            }
        }
        Ok(())
    }

    fn publish_disliked(&mut self, i: usize) -> Judgement {
        let Some(_) = self.clients[i].publisher else {
            return Ok(());
        };
        let number = self.wishes.next();
        let qos = if self.random.per_mille(500) {
            QoS::AtLeastOnce
        } else {
            QoS::ExactlyOnce
        };
        let topic = TopicName::new(format!("p/{number}")).expect("a topic name");
        let message = OutgoingPublish::new(topic, payload(u64::from(DISLIKED) + number, None, 0))
            .qos(qos)
            .key(Some(DISLIKED | number as u32));
        // The queue may be full, and the server's limits may forbid it.
        if let Ok(accepted) = self.clients[i].session.publish(instant(self.now), message) {
            self.wishes.published(i, number, accepted.operation().get());
        }
        Ok(())
    }

    fn wish_for(&mut self, i: usize, kind: &str, count: u64) -> Judgement {
        let number = self.wishes.next();
        let names: Vec<_> = (0..count).map(|n| format!("{kind}/{number}/{n}")).collect();
        let filters = names
            .iter()
            .map(|name| SubscribeFilter::new(filter(name.clone()), QoS::AtLeastOnce));
        let subscribe = SubscribeRequest::new(filters);
        let asked = self.clients[i]
            .session
            .subscribe(instant(self.now), subscribe);
        let operation = asked.map_err(|error| format!("a subscribe was rejected: {error}"))?;
        self.wishes
            .subscribing(i, operation.get(), names, kind == "forbidden");
        Ok(())
    }

    fn end_wish(&mut self, i: usize) -> Judgement {
        let Some(name) = self.wishes.subscribed_filter(i) else {
            return Ok(());
        };
        let unsubscribe = UnsubscribeRequest::new([filter(name.clone())]);
        let asked = self.clients[i]
            .session
            .unsubscribe(instant(self.now), unsubscribe);
        let operation = asked.map_err(|error| format!("an unsubscribe was rejected: {error}"))?;
        self.wishes.unsubscribing(i, operation.get(), name);
        Ok(())
    }

    /// The server has done something wrong.
    pub(super) fn misbehaved(&mut self, event: &BrokerEvent) -> Judgement {
        let BrokerEvent::Misbehaved { at, publish, .. } = event else {
            return Ok(());
        };
        self.counts.misdeeds += 1;
        match publish {
            Some(publish) if publish.topic().starts_with("t/") || publish.topic().is_empty() => {
                // Acknowledged in the wrong flow.
                let number = super::super::wire::number(publish.payload());
                if number < u64::from(DISLIKED) {
                    self.touched.insert(number);
                    self.model.forgotten(number);
                    return Ok(());
                }
                self.wishes.hung_up()
            }
            Some(_) => self.wishes.hung_up(),
            None if *at == PacketType::Subscribe && self.now >= self.spells.miscounts => {
                self.wishes.hung_up()
            }
            None => Ok(()),
        }
    }
}
