//! How values that serde does not know are written in a file, whatever its format.

use crate::secret::{HIDDEN, Secret, Uri};
use crate::{Martlet, Plugin};
use martlet_client::{QoS, Version, client::TopicDefaults};
use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// A module for serde's `with`: `optional` is the same for an `Option`.
macro_rules! with {
    ($name:ident, $optional:ident, $type:ty, $visitor:ident) => {
        pub(crate) mod $name {
            use super::*;

            pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<$type, D::Error> {
                // Any number; what is none comes as what it is.
                from.deserialize_f64($visitor)
            }

            pub(crate) fn serialize<S: Serializer>(value: &$type, to: S) -> Result<S::Ok, S::Error> {
                $visitor::write(*value, to)
            }
        }

        with!(optional $name, $optional, $type);
    };
    (optional $name:ident, $optional:ident, $type:ty) => {
        pub(crate) mod $optional {
            use super::*;

            struct Wrapped($type);

            impl<'de> Deserialize<'de> for Wrapped {
                fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                    super::$name::deserialize(from).map(Wrapped)
                }
            }

            impl Serialize for Wrapped {
                fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                    super::$name::serialize(&self.0, to)
                }
            }

            pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
                from: D,
            ) -> Result<Option<$type>, D::Error> {
                Ok(Option::<Wrapped>::deserialize(from)?.map(|wrapped| wrapped.0))
            }

            pub(crate) fn serialize<S: Serializer>(
                value: &Option<$type>,
                to: S,
            ) -> Result<S::Ok, S::Error> {
                value.map(Wrapped).serialize(to)
            }
        }
    };
}

with!(qos, optional_qos, QoS, QosVisitor);
with!(seconds, optional_seconds, Duration, SecondsVisitor);

struct QosVisitor;

impl QosVisitor {
    fn write<S: Serializer>(qos: QoS, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u8(qos.as_u8())
    }
}

impl Visitor<'_> for QosVisitor {
    type Value = QoS;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a QoS of 0, 1 or 2")
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<QoS, E> {
        let qos = u8::try_from(value).ok().and_then(QoS::from_u8);
        qos.ok_or_else(|| E::custom("a QoS is 0, 1 or 2"))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<QoS, E> {
        // Formats that have signed numbers only come here with any.
        self.visit_u64(
            value
                .try_into()
                .map_err(|_| E::custom("a QoS is 0, 1 or 2"))?,
        )
    }
}

struct SecondsVisitor;

impl SecondsVisitor {
    fn write<S: Serializer>(duration: Duration, to: S) -> Result<S::Ok, S::Error> {
        if duration.subsec_nanos() == 0 {
            to.serialize_u64(duration.as_secs())
        } else {
            to.serialize_f64(duration.as_secs_f64())
        }
    }
}

impl Visitor<'_> for SecondsVisitor {
    type Value = Duration;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number of seconds")
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Duration, E> {
        Ok(Duration::from_secs(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Duration, E> {
        let seconds = u64::try_from(value).map_err(|_| E::custom("a time cannot be negative"))?;
        self.visit_u64(seconds)
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Duration, E> {
        Duration::try_from_secs_f64(value)
            .map_err(|error| E::custom(format_args!("no such time: {error}")))
    }
}

/// A version, or `auto` for `None`.
pub(crate) mod version {
    use super::*;

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Version>, D::Error> {
        from.deserialize_any(VersionVisitor)
    }

    pub(crate) fn serialize<S: Serializer>(
        version: &Option<Version>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.serialize_str(match version {
            None => "auto",
            Some(Version::V3_1) => "3.1",
            Some(Version::V3_1_1) => "3.1.1",
            Some(Version::V5) => "5",
        })
    }
}

struct VersionVisitor;

impl<'de> Visitor<'de> for VersionVisitor {
    type Value = Option<Version>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a version of MQTT, 3.1, 3.1.1 or 5, or auto")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Option<Version>, E> {
        match text {
            "auto" => Ok(None),
            "3.1" => Ok(Some(Version::V3_1)),
            "3.1.1" => Ok(Some(Version::V3_1_1)),
            "5" | "5.0" => Ok(Some(Version::V5)),
            _ => Err(E::unknown_variant(text, &["3.1", "3.1.1", "5", "auto"])),
        }
    }

    // Without quotes two of them are numbers.
    fn visit_u64<E: Error>(self, number: u64) -> Result<Option<Version>, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Option<Version>, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Option<Version>, E> {
        self.visit_str(&number.to_string())
    }

    // A key without a value is equivalent to no key.
    fn visit_unit<E: Error>(self) -> Result<Option<Version>, E> {
        Ok(Martlet::amqtt().version)
    }

    fn visit_none<E: Error>(self) -> Result<Option<Version>, E> {
        Ok(Martlet::amqtt().version)
    }

    fn visit_some<D: Deserializer<'de>>(self, some: D) -> Result<Option<Version>, D::Error> {
        some.deserialize_any(self)
    }
}

/// A map of names to options, a list of such maps with one name each, or a list of names.
pub(crate) mod plugins {
    use super::*;

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Plugin>, D::Error> {
        from.deserialize_any(PluginsVisitor)
    }

    pub(crate) fn serialize<S: Serializer>(plugins: &[Plugin], to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(Some(plugins.len()))?;
        for plugin in plugins {
            map.serialize_entry(plugin.name(), &NoOptions {})?;
        }
        map.end()
    }
}

struct PluginsVisitor;

impl<'de> Visitor<'de> for PluginsVisitor {
    type Value = Vec<Plugin>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("plugins with their options")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Vec<Plugin>, A::Error> {
        let mut plugins = Vec::new();
        while let Some(plugin) = map.next_key::<Plugin>()? {
            map.next_value::<Option<NoOptions>>()?;
            add(&mut plugins, plugin)?;
        }
        Ok(plugins)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<Plugin>, A::Error> {
        struct Item(Vec<Plugin>);
        impl<'de> Deserialize<'de> for Item {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                from.deserialize_any(PluginsVisitor).map(Self)
            }
        }
        let mut plugins = Vec::new();
        while let Some(Item(item)) = list.next_element()? {
            for plugin in item {
                add(&mut plugins, plugin)?;
            }
        }
        Ok(plugins)
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Vec<Plugin>, E> {
        PluginVisitor.visit_str(name).map(|plugin| vec![plugin])
    }
}

/// Once is enough, under whatever name.
fn add<E: Error>(plugins: &mut Vec<Plugin>, plugin: Plugin) -> Result<(), E> {
    if plugins.contains(&plugin) {
        return Err(E::duplicate_field(plugin.name()));
    }
    plugins.push(plugin);
    Ok(())
}

impl Plugin {
    /// The name in a file, and another that also stands for it.
    const NAMES: [(&'static str, Self); 2] = [
        (
            "amqtt.plugins.logging_amqtt.PacketLoggerPlugin",
            Self::PacketLogger,
        ),
        ("packet_logger_plugin", Self::PacketLogger),
    ];

    fn name(self) -> &'static str {
        match self {
            Self::PacketLogger => Self::NAMES[0].0,
        }
    }
}

impl<'de> Deserialize<'de> for Plugin {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_identifier(PluginVisitor)
    }
}

struct PluginVisitor;

impl Visitor<'_> for PluginVisitor {
    type Value = Plugin;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a plugin")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Plugin, E> {
        const KNOWN: &[&str] = &[Plugin::NAMES[0].0, Plugin::NAMES[1].0];
        let found = Plugin::NAMES.iter().find(|(known, _)| *known == name);
        found
            .map(|(_, plugin)| *plugin)
            .ok_or_else(|| E::unknown_variant(name, KNOWN))
    }
}

/// The options of a plugin that has none.
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct NoOptions {}

/// A map of names to values, or a list of such maps.
pub(crate) mod headers {
    use super::*;

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Vec<(String, Secret)>, D::Error> {
        from.deserialize_any(HeadersVisitor)
    }

    pub(crate) fn serialize<S: Serializer>(
        headers: &[(String, Secret)],
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.collect_seq(
            headers
                .iter()
                .map(|(name, value)| BTreeMap::from([(name, value)])),
        )
    }
}

struct HeadersVisitor;

impl<'de> Visitor<'de> for HeadersVisitor {
    type Value = Vec<(String, Secret)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("headers with their values")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut headers = Vec::new();
        while let Some(header) = map.next_entry()? {
            headers.push(header);
        }
        Ok(headers)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut headers = Vec::new();
        while let Some(some) = list.next_element::<BTreeMap<String, Secret>>()? {
            headers.extend(some);
        }
        Ok(headers)
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct SecretVisitor;

        impl<'de> Visitor<'de> for SecretVisitor {
            type Value = Secret;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text, {env: NAME} or {file: path}")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Secret, E> {
                Ok(Secret::Text(text.to_owned()))
            }

            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Secret, E> {
                Ok(Secret::from(bytes.to_vec()))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Secret, A::Error> {
                // Neither key nor value is shown: the secret may be in either place.
                let wrong = || A::Error::custom("expected text, {env: NAME} or {file: path}");
                let secret = match map.next_key::<String>()?.as_deref() {
                    Some("env") => Secret::Env(map.next_value()?),
                    Some("file") => Secret::File(map.next_value()?),
                    _ => return Err(wrong()),
                };
                match map.next_key::<IgnoredAny>()? {
                    None => Ok(secret),
                    Some(_) => Err(wrong()),
                }
            }
        }

        from.deserialize_any(SecretVisitor)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let (key, value) = match self {
            // Nothing is not a secret, and a will may well be it.
            Self::Text(text) => return to.serialize_str(if text.is_empty() { "" } else { HIDDEN }),
            Self::Bytes(_) => return to.serialize_str(HIDDEN),
            Self::Env(name) => ("env", name.as_str()),
            Self::File(path) => ("file", &*path.to_string_lossy()),
        };
        let mut map = to.serialize_map(Some(1))?;
        map.serialize_entry(key, value)?;
        map.end()
    }
}

/// A path that is not UTF-8 is shown as well as it can be: printing does not fail.
pub(crate) fn path<S: Serializer>(path: &Option<PathBuf>, to: S) -> Result<S::Ok, S::Error> {
    path.as_ref()
        .map(|path| path.to_string_lossy())
        .serialize(to)
}

impl<'de> Deserialize<'de> for Uri {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from).map(Self::from)
    }
}

impl Serialize for Uri {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

/// Topics with what a publish to each uses.
pub(crate) mod topics {
    use super::*;

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<BTreeMap<String, TopicDefaults>, D::Error> {
        let topics = BTreeMap::<String, TopicDefaultsDef>::deserialize(from)?;
        Ok(topics
            .into_iter()
            .map(|(topic, own)| {
                let own = TopicDefaults::default().qos(own.qos).retain(own.retain);
                (topic, own)
            })
            .collect())
    }

    pub(crate) fn serialize<S: Serializer>(
        topics: &BTreeMap<String, TopicDefaults>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.collect_map(topics.iter().map(|(topic, own)| {
            let (qos, retain) = (own.qos, own.retain);
            (topic, TopicDefaultsDef { qos, retain })
        }))
    }
}

/// [`TopicDefaults`], whose crate does not know serde.
#[derive(Default, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
struct TopicDefaultsDef {
    #[serde(with = "optional_qos", skip_serializing_if = "Option::is_none")]
    qos: Option<QoS>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retain: Option<bool>,
}
