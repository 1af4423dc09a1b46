//! User properties: kept as they are on the wire, checked once, read on demand.

use crate::ground::error::DecodeError;
use crate::ground::property_table::{PropertyId, PropertyPlace};
use crate::ground::text::{TextError, Utf8String, checked_str};
use crate::ground::wire::{PacketReader, PacketWriter};
use crate::properties::reader::{PropertyReader, Value};
use crate::properties::writer::PropertyWriter;
use alloc::vec::Vec;
use bytes::{Bytes, BytesMut};

/// Name-value pairs whose meaning is up to applications; their order is kept, names may repeat
/// (MQTT 5 §3.3.2.3.7).
///
/// The pairs are kept encoded. Those of a packet that arrived share its bytes: however many there
/// are, nothing is allocated and nothing copied. A clone shares them too. Each getter walks them.
///
/// ```
/// use martlet_proto::UserProperties;
///
/// let properties = UserProperties::try_from([("room", "kitchen"), ("unit", "C")])?;
/// assert_eq!(properties.get("unit"), Some("C"));
/// assert!(properties.iter().eq([("room", "kitchen"), ("unit", "C")]));
/// # Ok::<(), martlet_proto::TextError>(())
/// ```
#[derive(Clone, Default)]
pub struct UserProperties(Bytes);

impl UserProperties {
    /// No pairs.
    pub const fn new() -> Self {
        Self(Bytes::new())
    }

    /// Adds a pair behind the others.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "as the other methods that set something"
    )]
    pub fn push(&mut self, name: Utf8String, value: Utf8String) {
        let bytes = core::mem::take(&mut self.0);
        // Memory that nobody shares grows where it is.
        let mut bytes = bytes
            .try_into_mut()
            .unwrap_or_else(|shared| BytesMut::from(&*shared));
        PropertyWriter(&mut PacketWriter(&mut bytes)).pair(name.as_bytes(), value.as_bytes());
        self.0 = bytes.freeze();
    }

    /// Adds the pairs of others behind these.
    pub(crate) fn append(&mut self, others: &Self) {
        if self.is_empty() {
            // A clone shares them.
            self.0.clone_from(&others.0);
            return;
        }
        let mut bytes = BytesMut::from(&*self.0);
        for (name, value) in others.iter() {
            PropertyWriter(&mut PacketWriter(&mut bytes)).pair(name.as_bytes(), value.as_bytes());
        }
        self.0 = bytes.freeze();
    }

    /// Whether there are no pairs.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The number of pairs.
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// The pairs, in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let mut reader = PropertyReader::again(&self.0, 0, PropertyPlace::Any);
        core::iter::from_fn(move || {
            loop {
                if let Value::Pair(name, value) =
                    reader.next().expect("checked when it was made")?.1
                {
                    return Some((
                        checked_str(name.of(&self.0)),
                        checked_str(value.of(&self.0)),
                    ));
                }
            }
        })
    }

    /// The value of the first pair with this name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter()
            .find_map(|(found, value)| (found == name).then_some(value))
    }

    /// Removes all pairs.
    pub fn clear(&mut self) {
        self.0 = Bytes::new();
    }

    /// The number of bytes that they are kept in.
    pub fn size(&self) -> usize {
        self.0.len()
    }

    /// Copies the pairs to memory of their own, so that they do not keep alive the buffer in which
    /// they arrived.
    pub fn detach(&mut self) {
        self.0 = Bytes::copy_from_slice(&self.0);
    }
}

/// Reads the properties of one place. `take` gets those that are not user properties; those are
/// returned, sharing `frame`.
pub(crate) fn read_properties(
    reader: &mut PacketReader<'_>,
    place: PropertyPlace,
    frame: &Bytes,
    take: impl FnMut(PropertyId, Value),
) -> Result<UserProperties, DecodeError> {
    share_pairs(&mut PropertyReader::new(reader, place)?, frame, take)
}

/// The same, of a reader that stands before the first property.
pub(crate) fn share_pairs(
    properties: &mut PropertyReader<'_>,
    frame: &Bytes,
    mut take: impl FnMut(PropertyId, Value),
) -> Result<UserProperties, DecodeError> {
    let mut pairs = None;
    loop {
        let start = properties.at();
        let Some((id, value)) = properties.next()? else {
            break;
        };
        match id {
            // Other properties may come between them, and are skipped when the pairs are read.
            PropertyId::UserProperty => pairs.get_or_insert((start, start)).1 = properties.at(),
            _ => take(id, value),
        }
    }
    Ok(pairs.map_or_else(UserProperties::new, |(start, end)| {
        UserProperties(frame.slice(start..end))
    }))
}

impl PropertyWriter<'_> {
    pub(crate) fn user(&mut self, pairs: &UserProperties) {
        for (name, value) in pairs.iter() {
            self.pair(name.as_bytes(), value.as_bytes());
        }
    }
}

impl core::fmt::Debug for UserProperties {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl PartialEq for UserProperties {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for UserProperties {}

impl Extend<(Utf8String, Utf8String)> for UserProperties {
    fn extend<T: IntoIterator<Item = (Utf8String, Utf8String)>>(&mut self, pairs: T) {
        for (name, value) in pairs {
            self.push(name, value);
        }
    }
}

impl FromIterator<(Utf8String, Utf8String)> for UserProperties {
    fn from_iter<T: IntoIterator<Item = (Utf8String, Utf8String)>>(pairs: T) -> Self {
        let mut properties = Self::new();
        properties.extend(pairs);
        properties
    }
}

impl<const N: usize> From<[(Utf8String, Utf8String); N]> for UserProperties {
    fn from(pairs: [(Utf8String, Utf8String); N]) -> Self {
        pairs.into_iter().collect()
    }
}

impl From<Vec<(Utf8String, Utf8String)>> for UserProperties {
    fn from(pairs: Vec<(Utf8String, Utf8String)>) -> Self {
        pairs.into_iter().collect()
    }
}

impl<const N: usize> TryFrom<[(&str, &str); N]> for UserProperties {
    type Error = TextError;
    fn try_from(pairs: [(&str, &str); N]) -> Result<Self, TextError> {
        let mut properties = Self::new();
        for (name, value) in pairs {
            properties.push(name.try_into()?, value.try_into()?);
        }
        Ok(properties)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ground::packet_type::PacketType;

    fn text(text: &str) -> Utf8String {
        Utf8String::new(text).unwrap()
    }

    /// Pairs came apart into a vector of 64 bytes each: a pair of five bytes on the wire cost
    /// thirteen times that.
    #[test]
    fn pairs_share_the_bytes_of_their_packet_whatever_stands_between_them() {
        let section = b"\x1f\0\x01s\x26\0\x01a\0\x01b\x1c\0\x01r\x26\0\0\0\0";
        let mut packet = std::vec![section.len() as u8];
        packet.extend_from_slice(section);
        let frame = Bytes::from(packet);
        let mut reader = PacketReader::new(PacketType::Disconnect, &frame, 0);
        let mut others = Vec::new();
        let pairs = read_properties(&mut reader, PropertyPlace::Disconnect, &frame, |id, _| {
            others.push(id);
        })
        .unwrap();
        assert_eq!(
            others,
            [PropertyId::ReasonString, PropertyId::ServerReference]
        );
        assert!(pairs.iter().eq([("a", "b"), ("", "")]));
        assert_eq!(
            (pairs.len(), pairs.get("a"), pairs.get("r")),
            (2, Some("b"), None)
        );
        assert!(frame.as_ptr_range().contains(&pairs.0.as_ptr()));
        let same = UserProperties::from([(text("a"), text("b")), (text(""), text(""))]);
        assert_eq!(pairs, same);
        assert!(pairs.size() > same.size());
        let mut detached = pairs.clone();
        detached.detach();
        assert!(!frame.as_ptr_range().contains(&detached.0.as_ptr()));
        assert_eq!(detached, pairs);
    }

    #[test]
    fn what_is_shared_is_not_changed() {
        let mut one = UserProperties::try_from([("a", "1")]).unwrap();
        let two = one.clone();
        one.push(text("b"), text("2"));
        assert!(two.iter().eq([("a", "1")]) && one.iter().eq([("a", "1"), ("b", "2")]));
        one.clear();
        assert!(one.is_empty() && one == UserProperties::default());
        assert_eq!(std::format!("{two:?}"), r#"[("a", "1")]"#);
    }
}
