//! Messages of one QoS that wait for their acknowledgement.

use crate::error::Details;
use crate::ordered::Ordered;
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use martlet_proto::{Ack, AckProperties, PacketIdentifier, PubAck, PubAckReasonCode, QoS};

/// Messages of one QoS whose acknowledgement has not left, in order of arrival on this connection.
#[derive(Debug, Default)]
pub(super) struct AwaitingAck {
    /// Place of the first entry.
    pub(super) base: u64,
    pub(super) entries: VecDeque<AwaitingEntry>,
    pub(super) rare: Option<Box<FromEarlier>>,
}

/// What most sessions never have: what came on earlier connections, and what was said about it.
#[derive(Debug, Default)]
pub(super) struct FromEarlier {
    /// Tokens whose place is not their sequence: first delivered on an earlier connection.
    pub(super) moved: Ordered<u64, u64>,
    /// By token: delivered on an earlier connection and not sent again yet.
    pub(super) stale: Ordered<u64, Stale>,
    /// Those of them that can still be sent again, by packet identifier.
    pub(super) stale_ids: Ordered<u64, u64>,
    /// By token: the first token of the same message, which came on an earlier connection; removed
    /// when it is asked for. Of QoS 1 only: a QoS 2 message that comes again keeps its token.
    pub(super) replaced: Ordered<u64, u64>,
    /// By token: what to tell the server with the acknowledgement, on this connection.
    pub(super) details: Ordered<u64, Box<Details>>,
    /// The token at the front when somebody last looked, if it held back others.
    pub(super) holder: Option<u64>,
    /// A stale message was superseded since somebody last asked.
    pub(super) superseded: bool,
    /// The server has no session: what is in doubt is forgotten with this connection. (Of QoS 2,
    /// for both.)
    pub(super) doubts_for_now: bool,
}

#[derive(Debug)]
pub(super) struct AwaitingEntry {
    pub(super) packet_identifier: PacketIdentifier,
    pub(super) token: u64,
    /// The size of its packet.
    pub(super) bytes: u32,
    pub(super) taken: Option<PubAckReasonCode>,
    pub(super) mark: Mark,
}

/// What is special about an entry. An entry is as small as it can be: there may be one for each
/// packet identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    None,
    /// A copy of a message whose PUBREC has left already: it only has its turn.
    Again,
    /// The application will not answer: it is never acknowledged on this connection.
    Abandoned,
    /// There is something to tell with the acknowledgement.
    Explained,
}

#[derive(Debug)]
pub(super) struct Stale {
    pub(super) packet_identifier: PacketIdentifier,
    pub(super) bytes: u32,
    pub(super) taken: Option<PubAckReasonCode>,
    /// A copy that came later has taken its place. It is not counted any more.
    pub(super) superseded: bool,
}

impl AwaitingAck {
    #[inline]
    pub(super) fn push(&mut self, packet_identifier: PacketIdentifier, bytes: u32) -> u64 {
        let place = self.base + self.entries.len() as u64;
        self.entries
            .push_back(AwaitingEntry::new(packet_identifier, place, bytes));
        place
    }

    /// The place and the entry of a message that came on this connection.
    #[inline]
    pub(super) fn find(&mut self, token: u64) -> Option<(u64, &mut AwaitingEntry)> {
        let place = self
            .rare
            .as_ref()
            .and_then(|rare| rare.moved.get(&token).copied())
            .unwrap_or(token);
        let entry = place
            .checked_sub(self.base)
            .and_then(|i| self.entries.get_mut(i as usize))?;
        (entry.token == token).then_some((place, entry))
    }

    pub(super) fn entry(&mut self, token: u64) -> Option<&mut AwaitingEntry> {
        self.find(token).map(|(_, entry)| entry)
    }

    /// Returns whether an acknowledgement may have become due, and notes when it is not the oldest
    /// that was taken.
    #[inline]
    pub(super) fn take(
        &mut self,
        token: u64,
        reason: PubAckReasonCode,
        qos: QoS,
        overtaken: &mut bool,
    ) -> bool {
        let base = self.base;
        if let Some((place, entry)) = self.find(token) {
            entry.taken = Some(reason);
            *overtaken |= place != base;
            return true;
        }
        if let Some(rare) = &mut self.rare {
            rare.take(token, reason, qos);
        }
        false
    }

    /// The token of the message that holds back the acknowledgements of others.
    pub(super) fn holder(&self) -> Option<u64> {
        let front = self.entries.front().filter(|front| front.taken.is_none())?;
        self.entries
            .iter()
            .rev()
            .any(|entry| entry.taken.is_some())
            .then_some(front.token)
    }

    /// A message of QoS 2 that is with the application has come again: it has its place in the
    /// order of arrival, and its token. Returns whether there was one.
    pub(super) fn revive(&mut self, packet_identifier: PacketIdentifier) -> bool {
        let place = self.base + self.entries.len() as u64;
        let Some(rare) = &mut self.rare else {
            return false;
        };
        let Some(token) = rare.stale_ids.remove(&packet_identifier.get().into()) else {
            return false;
        };
        let Some(Stale { bytes, taken, .. }) = rare.stale.remove(&token) else {
            return false;
        };
        rare.moved.insert(token, place);
        self.entries.push_back(AwaitingEntry {
            taken,
            ..AwaitingEntry::new(packet_identifier, token, bytes)
        });
        true
    }

    #[inline]
    pub(super) fn pop_taken(&mut self) -> Option<(AwaitingEntry, PubAckReasonCode)> {
        let reason = self.entries.front()?.taken?;
        let entry = self.entries.pop_front()?;
        self.base += 1;
        if let Some(rare) = &mut self.rare {
            rare.moved.remove(&entry.token);
            rare.replaced.remove(&entry.token);
        }
        Some((entry, reason))
    }

    /// The acknowledgement of a message that was taken.
    #[inline]
    pub(super) fn acknowledgement(
        &mut self,
        entry: &AwaitingEntry,
        reason: PubAckReasonCode,
    ) -> PubAck {
        let mut ack = Ack::new(entry.packet_identifier, reason);
        if entry.mark == Mark::Explained {
            let details = self
                .rare
                .as_mut()
                .and_then(|rare| rare.details.remove(&entry.token));
            ack.properties = details.map(|details| {
                let Details {
                    reason_string,
                    user_properties,
                } = *details;
                Box::new(AckProperties {
                    reason_string,
                    user_properties,
                })
            });
        }
        ack
    }

    pub(super) fn become_stale(&mut self, mut keep: impl FnMut(&AwaitingEntry) -> bool) {
        self.base += self.entries.len() as u64;
        if self.entries.is_empty() {
            return;
        }
        let rare = self.rare.get_or_insert_default();
        rare.moved.clear();
        rare.details.clear();
        rare.holder = None;
        for entry in self.entries.drain(..).filter(|entry| keep(entry)) {
            let AwaitingEntry {
                packet_identifier,
                token,
                bytes,
                taken,
                ..
            } = entry;
            rare.stale.insert(
                token,
                Stale {
                    packet_identifier,
                    bytes,
                    taken,
                    superseded: false,
                },
            );
            rare.stale_ids.insert(packet_identifier.get().into(), token);
        }
        let stale = &rare.stale;
        rare.replaced.retain(|token, _| stale.contains_key(token));
    }

    /// Only what is superseded stays so.
    pub(super) fn lose_session(&mut self) {
        let Some(rare) = self.rare.take() else { return };
        let mut stale = rare.stale;
        stale.retain(|_, stale| stale.superseded);
        if !stale.is_empty() {
            self.rare = Some(Box::new(FromEarlier {
                stale,
                superseded: rare.superseded,
                ..FromEarlier::default()
            }));
        }
    }
}

impl AwaitingEntry {
    #[inline]
    pub(super) fn new(packet_identifier: PacketIdentifier, token: u64, bytes: u32) -> Self {
        Self {
            packet_identifier,
            token,
            bytes,
            taken: None,
            mark: Mark::None,
        }
    }
}
