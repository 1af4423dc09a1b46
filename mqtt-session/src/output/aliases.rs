//! Topic aliases on what we send (MQTT 5 §3.3.2.3.4): chosen when a PUBLISH is encoded, gone with
//! the connection.
//!
//! The aliases are a small cache of topics, indexed by a hash: a topic that comes again costs two
//! bytes instead of its name. A topic that keeps its place earns credit with each use and loses it
//! to others that want the place; without credit it is evicted. So a few busy topics keep theirs
//! among many that come once. Every step is O(1).

use crate::{Limits, OutgoingPublish, TopicAliases};
use alloc::vec::Vec;
use core::num::NonZeroU16;
use martlet_proto::TopicName;

/// A topic shorter than this gains less from an alias (the property takes three bytes) than it
/// costs to set one.
const WORTH_IT: usize = 8;
/// More aliases than this cost memory without saving bytes: what is that much spread is rarely sent
/// twice.
const ENOUGH: u16 = 256;
/// The most that a topic can earn: a busy one gives way after this number of requests for its
/// place.
const MAX_CREDIT: u8 = 15;
/// What an alias adds to a packet that has no properties: the property, and no more for the
/// property length.
const OVERHEAD: usize = 3;

#[derive(Debug)]
pub(crate) struct Aliases {
    /// The application chooses.
    manual: bool,
    /// The highest alias that the server takes, or that is worth it.
    maximum: u16,
    /// Index: topic alias - 1.
    slots: Vec<Slot>,
    /// The server's Maximum Packet Size.
    maximum_packet_size: usize,
}

#[derive(Debug, Clone, Default)]
struct Slot {
    topic: Option<TopicName>,
    credit: u8,
}

/// How a topic is to be named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Choice {
    /// By its name alone.
    Name,
    /// By its name and this alias, which the server learns.
    Learn(NonZeroU16),
    /// By this alias alone.
    Alias(NonZeroU16),
}

impl Aliases {
    /// For a server with these limits; `None` when there are to be none.
    pub(crate) fn new(choice: TopicAliases, limits: &Limits) -> Option<Self> {
        let manual = match choice {
            TopicAliases::Automatic => false,
            TopicAliases::Manual => true,
            TopicAliases::Off => return None,
        };
        let maximum = if manual {
            limits.topic_alias_maximum
        } else {
            limits.topic_alias_maximum.min(ENOUGH)
        };
        // The application may use few of them, and not those at the front.
        let slots = alloc::vec![Slot::default(); if manual { 0 } else { usize::from(maximum) }];
        let maximum_packet_size = limits.maximum_packet_size as usize;
        (maximum > 0).then_some(Self {
            manual,
            maximum,
            slots,
            maximum_packet_size,
        })
    }

    /// Chooses for a PUBLISH that is about to be encoded; `size` is its size without an alias, or
    /// more.
    #[inline]
    pub(crate) fn choose(&mut self, message: &OutgoingPublish, size: usize) -> Choice {
        if self.manual {
            self.obey(message, size)
        } else {
            self.choose_by_cost(&message.topic, size)
        }
    }

    /// The application's choice, if the server takes it.
    #[cold]
    fn obey(&mut self, message: &OutgoingPublish, size: usize) -> Choice {
        let Some(alias) = message
            .topic_alias
            .filter(|alias| alias.get() <= self.maximum)
        else {
            return Choice::Name;
        };
        let index = usize::from(alias.get()) - 1;
        if self.slots.len() <= index {
            self.slots.resize(index + 1, Slot::default());
        }
        let known = &mut self.slots[index].topic;
        let is_known = known.as_ref() == Some(&message.topic);
        // A short name takes less than the alias in its place, for which the property length may
        // become longer too.
        if is_known && message.topic.as_bytes().len() > OVERHEAD {
            return Choice::Alias(alias);
        }
        if size + OVERHEAD > self.maximum_packet_size {
            return Choice::Name;
        }
        if is_known {
            return Choice::Alias(alias);
        }
        *known = Some(message.topic.clone());
        Choice::Learn(alias)
    }

    #[inline]
    fn choose_by_cost(&mut self, topic: &TopicName, size: usize) -> Choice {
        let name = topic.as_bytes();
        if name.len() < WORTH_IT {
            return Choice::Name;
        }
        // As a part of 2³², the same part of the slots.
        let index = ((u64::from(hash(name)) * self.slots.len() as u64) >> 32) as usize;
        let alias = NonZeroU16::MIN.saturating_add(index as u16);
        let slot = &mut self.slots[index];
        match &slot.topic {
            Some(known) if known.as_bytes() == name => {
                slot.credit = (slot.credit + 1).min(MAX_CREDIT);
                Choice::Alias(alias)
            }
            Some(_) if slot.credit > 0 => {
                slot.credit -= 1;
                Choice::Name
            }
            // Checked on the final bytes: the alias must not make the packet too large
            // [MQTT-3.2.2-15].
            _ if size + OVERHEAD > self.maximum_packet_size => Choice::Name,
            _ => {
                slot.topic = Some(topic.clone());
                Choice::Learn(alias)
            }
        }
    }
}

/// FNV-1a over eight bytes at a time: spreads topics; nobody gains by making them collide but a
/// longer packet. What is only in the upper bytes of a word is only in the upper half of the
/// products: the two halves are mixed in the end.
fn hash(name: &[u8]) -> u32 {
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    const GOLDEN_RATIO: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let mut words = name.chunks_exact(8);
    for word in &mut words {
        hash =
            (hash ^ u64::from_le_bytes(word.try_into().expect("eight bytes"))).wrapping_mul(PRIME);
    }
    for &byte in words.remainder() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(PRIME);
    }
    ((hash ^ hash >> 32).wrapping_mul(GOLDEN_RATIO) >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::format;
    use std::string::String;

    fn topic(name: &str) -> TopicName {
        TopicName::new(name).unwrap()
    }

    fn automatic(topic_alias_maximum: u16, maximum_packet_size: u32) -> Option<Aliases> {
        let limits = Limits {
            topic_alias_maximum,
            maximum_packet_size,
            ..Limits::unknown()
        };
        Aliases::new(TopicAliases::Automatic, &limits)
    }

    #[test]
    fn a_busy_topic_keeps_its_alias_among_many_that_come_once() {
        let mut aliases = automatic(1, 1000).unwrap();
        let busy = topic("sensors/busy");
        assert_eq!(
            aliases.choose_by_cost(&busy, 30),
            Choice::Learn(NonZeroU16::MIN)
        );
        for n in 0..1000 {
            assert_eq!(
                aliases.choose_by_cost(&busy, 30),
                Choice::Alias(NonZeroU16::MIN),
                "{n}"
            );
            assert_eq!(
                aliases.choose_by_cost(&topic(&format!("sensors/once/{n}")), 30),
                Choice::Name,
                "{n}"
            );
        }
    }

    /// Whatever part of a name tells topics apart. Names that differed in the last bytes of a word,
    /// such as `device01/…` and `device02/…`, once competed for a single alias.
    #[test]
    #[cfg_attr(miri, ignore = "too slow: 5,000 topics")]
    fn topics_are_spread_over_all_aliases() {
        let names: [fn(u16) -> String; 5] = [
            |i| format!("dev{i:05}/temperature"),
            |i| format!("{i:08}/temperature"),
            |i| format!("plant/temperature/{i}"),
            |i| format!("plant/{i}/temperature"),
            |i| format!("plant{i:03}"),
        ];
        for name in names {
            for maximum in [10, 16, 100] {
                let mut aliases = automatic(maximum, 1000).unwrap();
                for i in 0..8 * maximum {
                    aliases.choose_by_cost(&topic(&name(i)), 30);
                }
                let unused = aliases
                    .slots
                    .iter()
                    .filter(|slot| slot.topic.is_none())
                    .count();
                assert_eq!(unused, 0, "{} of {maximum}", name(0));
            }
        }
    }

    #[test]
    fn a_topic_that_is_gone_gives_way() {
        let mut aliases = automatic(1, 1000).unwrap();
        let (old, new) = (topic("sensors/old"), topic("sensors/new"));
        for _ in 0..100 {
            aliases.choose_by_cost(&old, 30);
        }
        let waits = (0..)
            .take_while(|_| aliases.choose_by_cost(&new, 30) == Choice::Name)
            .count();
        assert_eq!(waits, usize::from(MAX_CREDIT));
        assert_eq!(
            aliases.choose_by_cost(&new, 30),
            Choice::Alias(NonZeroU16::MIN)
        );
    }

    #[test]
    fn the_maximum_is_kept_and_nothing_is_learnt_that_would_not_fit() {
        assert!(automatic(0, 1000).is_none());
        let mut aliases = automatic(7, 50).unwrap();
        for n in 0..1000 {
            match aliases.choose_by_cost(&topic(&format!("sensors/{n}/value")), 47) {
                Choice::Learn(alias) | Choice::Alias(alias) => assert!(alias.get() <= 7),
                Choice::Name => {}
            }
        }
        let mut aliases = automatic(1, 50).unwrap();
        assert_eq!(
            aliases.choose_by_cost(&topic("sensors/too/large"), 48),
            Choice::Name
        );
        assert_eq!(aliases.choose_by_cost(&topic("short"), 10), Choice::Name);
    }
}
