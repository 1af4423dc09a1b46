//! What holds for a session: the client's packet identifiers and what they stand for.

use super::Rule;
use super::decode::WirePublish;
use std::collections::BTreeMap;

/// What an identifier was taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Qos1,
    Qos2,
    Subscribe,
    Unsubscribe,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// PUBLISH, SUBSCRIBE or UNSUBSCRIBE has left.
    Asked,
    /// PUBREC has come, as the so-manieth.
    Received(u64),
    /// PUBREL has left, for the PUBREC of that number.
    Released(u64),
}

#[derive(Debug)]
struct Exchange {
    kind: Kind,
    stage: Stage,
    content: u64,
    /// When its PUBLISH left for the first time, counted in PUBLISHes.
    number: u64,
    /// The PUBLISH has left on this connection: it counts against the server's Receive Maximum.
    here: bool,
    /// The PUBREL has left on this connection.
    released_here: bool,
    /// A PUBREC has come by that the client may not have got: where its PUBREL belongs is not
    /// known.
    unordered: bool,
    /// The client sends it again, or has given it up: the server has no session and MQTT 3.1.1 goes
    /// on, or it was begun by a PUBREC to nothing that is known here.
    optional: bool,
}

impl Exchange {
    fn new(kind: Kind) -> Self {
        Self {
            kind,
            stage: Stage::Asked,
            content: 0,
            number: 0,
            here: false,
            released_here: false,
            unordered: false,
            optional: false,
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct ObservedSession {
    exchanges: BTreeMap<u16, Exchange>,
    /// PUBLISHes and PUBRECs so far.
    numbers: u64,
    /// On this connection: messages not acknowledged, and the last of those sent again.
    pub(crate) in_flight: usize,
    last_again: u64,
    last_released_again: u64,
    /// The last message that was sent for the first time on this connection.
    last_new: u64,
}

type Judged = Result<(), (Rule, String)>;

impl ObservedSession {
    /// A new connection. What was asked for on an old one and was not answered will not be; it is
    /// asked for anew.
    pub(crate) fn open(&mut self) {
        self.in_flight = 0;
        self.last_again = 0;
        self.last_released_again = 0;
        self.last_new = 0;
        self.exchanges.retain(|_, exchange| {
            exchange.here = false;
            exchange.released_here = false;
            matches!(exchange.kind, Kind::Qos1 | Kind::Qos2)
        });
    }

    /// The server has no session, and the client goes on with its own (3.1.1).
    pub(crate) fn go_on(&mut self) {
        self.exchanges
            .values_mut()
            .for_each(|exchange| exchange.optional = true);
    }

    /// The client sends a PUBLISH. `lenient`: what is sent again may be unknown here.
    pub(crate) fn publish(
        &mut self,
        publish: &WirePublish,
        content: u64,
        kind: Kind,
        lenient: bool,
    ) -> Judged {
        let id = publish.id;
        let what = |text| Err((text, format!("PUBLISH {id}")));
        if let Some(exchange) = self
            .exchanges
            .get_mut(&id)
            .filter(|exchange| exchange.optional)
        {
            exchange.optional = false;
            let again = publish.dup && (exchange.kind, exchange.content) == (kind, content);
            if !again {
                self.exchanges.remove(&id);
            }
        }
        // A message of QoS 1 that is given up leaves its identifier with its connection, because the
        // server keeps nothing of it.
        let is_left = |known: &Exchange| {
            let is_other = (known.kind, known.content) != (kind, content);
            // After a restart a message may have been sent before, as far as the client knows.
            let may_be_new = !publish.dup || lenient;
            known.kind == Kind::Qos1 && !known.here && is_other && may_be_new
        };
        if self.exchanges.get(&id).is_some_and(is_left) {
            self.exchanges.remove(&id);
        }
        let known = self.exchanges.get_mut(&id);
        let Some(exchange) = known else {
            // An acknowledgement that came by may not have reached the client.
            self.begin(id, content, kind);
            match self.exchanges.get_mut(&id).filter(|_| publish.dup) {
                // It was sent for the first time before this was watched, or has ended here: its
                // place is where it is.
                Some(exchange) => exchange.number = self.last_again.max(self.last_new),
                None => self.last_new = self.numbers,
            }
            return if publish.dup && !lenient {
                what(Rule::DupClaimed)
            } else {
                Ok(())
            };
        };
        if (exchange.kind, exchange.content) != (kind, content) {
            return what(Rule::IdentifierInUse);
        }
        match exchange.stage {
            Stage::Asked => {}
            Stage::Received(_) if lenient => {
                exchange.stage = Stage::Asked;
                exchange.unordered = true;
            }
            Stage::Received(_) | Stage::Released(_) => return what(Rule::PublishReleased),
        }
        if exchange.here {
            return what(if publish.dup {
                Rule::SentTwice
            } else {
                Rule::IdentifierInUse
            });
        }
        exchange.here = true;
        self.in_flight += 1;
        let number = exchange.number;
        let last = core::mem::replace(&mut self.last_again, number);
        if !publish.dup {
            return what(Rule::DupMissing);
        }
        if number < last {
            return what(Rule::ResendOrder);
        }
        Ok(())
    }

    fn begin(&mut self, id: u16, content: u64, kind: Kind) {
        self.numbers += 1;
        self.in_flight += 1;
        let number = self.numbers;
        self.exchanges.insert(
            id,
            Exchange {
                content,
                number,
                here: true,
                ..Exchange::new(kind)
            },
        );
    }

    /// The client asks for something; whether the identifier was free.
    pub(crate) fn request(&mut self, id: u16, kind: Kind) -> bool {
        let is_free = |known: Exchange| known.optional || (known.kind == Kind::Qos1 && !known.here);
        self.exchanges
            .insert(id, Exchange::new(kind))
            .is_none_or(is_free)
    }

    /// Whether the PUBREL of this identifier has left before.
    pub(crate) fn is_released(&self, id: u16) -> bool {
        self.exchanges
            .get(&id)
            .is_some_and(|exchange| matches!(exchange.stage, Stage::Released(_)))
    }

    /// The client sends a PUBREL; `asked`: to a PUBREC of this connection. `lenient`: a PUBREC may
    /// come by here before the client has it, when the PUBREL that is sent again is on its way
    /// already.
    pub(crate) fn pubrel(&mut self, id: u16, asked: bool, lenient: bool) -> Judged {
        let unasked = Err((Rule::PubRelUnasked, format!("PUBREL {id}")));
        let Some(exchange) = self.exchanges.get_mut(&id) else {
            // To a PUBREC that nobody waited for, or that came after an answer of another flow: the
            // client may wait for its PUBCOMP, and send the PUBREL again.
            if asked {
                let exchange = Exchange {
                    stage: Stage::Released(self.numbers),
                    released_here: true,
                    unordered: true,
                    optional: true,
                    ..Exchange::new(Kind::Qos2)
                };
                self.exchanges.insert(id, exchange);
            }
            return if asked || lenient { Ok(()) } else { unasked };
        };
        match exchange.stage {
            Stage::Received(number) => {
                exchange.stage = Stage::Released(number);
                exchange.released_here = true;
                Ok(())
            }
            Stage::Released(_) if asked => Ok(()),
            Stage::Released(_) if exchange.released_here && !lenient => {
                Err((Rule::SentTwice, format!("PUBREL {id}")))
            }
            Stage::Released(number) => {
                exchange.released_here = true;
                if exchange.unordered {
                    return Ok(());
                }
                let last = core::mem::replace(&mut self.last_released_again, number);
                if number < last {
                    Err((Rule::PubRelOrder, format!("PUBREL {id}")))
                } else {
                    Ok(())
                }
            }
            // The PUBLISH that was sent again came by after the PUBREC.
            Stage::Asked if asked && exchange.kind == Kind::Qos2 => {
                exchange.stage = Stage::Released(self.numbers);
                exchange.released_here = true;
                Ok(())
            }
            // A PUBREC to something else is answered too, and changes nothing.
            Stage::Asked if asked => Ok(()),
            Stage::Asked => unasked,
        }
    }

    /// PUBREC of success. To a message of QoS 1 it is the wrong answer, which ends it.
    pub(crate) fn received(&mut self, id: u16) {
        let Some(exchange) = self.exchanges.get_mut(&id) else {
            return;
        };
        match exchange.kind {
            Kind::Qos1 => self.end(id),
            Kind::Qos2 if exchange.stage == Stage::Asked => {
                self.numbers += 1;
                exchange.stage = Stage::Received(self.numbers);
            }
            Kind::Qos2 | Kind::Subscribe | Kind::Unsubscribe => {}
        }
    }

    /// PUBACK, PUBCOMP, or a PUBREC that rejects: whichever message has the identifier, the server
    /// is done with it.
    pub(crate) fn completed(&mut self, id: u16) {
        let is_message = |exchange: &Exchange| matches!(exchange.kind, Kind::Qos1 | Kind::Qos2);
        if self.exchanges.get(&id).is_some_and(is_message) {
            self.end(id);
        }
    }

    /// The answer to a request.
    pub(crate) fn answered(&mut self, id: u16, kind: Kind) {
        if self
            .exchanges
            .get(&id)
            .is_some_and(|exchange| exchange.kind == kind)
        {
            self.end(id);
        }
    }

    fn end(&mut self, id: u16) {
        if let Some(exchange) = self.exchanges.remove(&id) {
            self.in_flight -= usize::from(exchange.here);
        }
    }
}
