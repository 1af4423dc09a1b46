//! Properties of MQTT 5 from the command line: `-D COMMAND IDENTIFIER [NAME] VALUE`.

use super::authentication::Authentication;
use crate::exit::Failure;
use martlet_tokio::UserProperties;
use martlet_tokio::proto::{
    BinaryData, PublishProperties, PublishPropertiesBuilder, TopicName, Utf8String,
};
use std::num::NonZeroU16;
use std::str::FromStr;

/// Separates the words of one property on the way from the arguments: no argument holds it.
pub(crate) const SEPARATOR: char = '\0';

/// The properties of a command line.
#[derive(Default)]
pub(crate) struct Properties {
    pub(crate) connect: ConnectProperties,
    pub(crate) publish: PublishProperties,
    pub(crate) topic_alias: Option<NonZeroU16>,
    pub(crate) will: PublishProperties,
    pub(crate) will_delay: Option<u32>,
    pub(crate) has_will: bool,
    pub(crate) subscribe: UserProperties,
    pub(crate) unsubscribe: UserProperties,
    pub(crate) disconnect: UserProperties,
    pub(crate) disconnect_expiry: Option<u32>,
}

/// Those of the CONNECT.
#[derive(Default)]
pub(crate) struct ConnectProperties {
    pub(crate) receive_maximum: Option<NonZeroU16>,
    pub(crate) maximum_packet_size: Option<u32>,
    pub(crate) topic_alias_maximum: Option<u16>,
    pub(crate) request_response_information: Option<bool>,
    pub(crate) session_expiry_interval: Option<u32>,
    pub(super) authentication: Authentication,
    pub(crate) user: UserProperties,
}

/// One property as it was written.
struct Written<'a> {
    command: &'a str,
    identifier: &'a str,
    /// Of a user property.
    name: &'a str,
    value: &'a str,
}

impl Properties {
    /// Reads them; `commands` are the packets that this command sends.
    pub(crate) fn read(options: &[String], commands: &[&str]) -> Result<Self, Failure> {
        let mut properties = Self::default();
        for option in options {
            properties.add(&Written::split(option)?, commands)?;
        }
        Ok(properties)
    }

    fn add(&mut self, written: &Written<'_>, commands: &[&str]) -> Result<(), Failure> {
        let command = written.command.to_ascii_lowercase();
        if !commands.contains(&command.as_str()) {
            let text = format!(
                "not a packet of this command; there are {}",
                commands.join(", ")
            );
            return Err(written.wrong(&text));
        }
        match command.as_str() {
            "connect" => self.connect.add(written),
            "publish" if written.identifier == "topic-alias" => {
                self.topic_alias = Some(written.number()?);
                Ok(())
            }
            "publish" => {
                let builder = self.publish.to_builder();
                self.publish = written.of_message(builder)?;
                Ok(())
            }
            "will" => {
                self.has_will = true;
                if written.identifier == "will-delay-interval" {
                    self.will_delay = Some(written.number()?);
                    return Ok(());
                }
                self.will = written.of_message(self.will.to_builder())?;
                Ok(())
            }
            "subscribe" => written.user_property(&mut self.subscribe),
            "unsubscribe" => written.user_property(&mut self.unsubscribe),
            _ if written.identifier == "session-expiry-interval" => {
                self.disconnect_expiry = Some(written.number()?);
                Ok(())
            }
            _ => written.user_property(&mut self.disconnect),
        }
    }
}

impl ConnectProperties {
    fn add(&mut self, written: &Written<'_>) -> Result<(), Failure> {
        match written.identifier {
            "receive-maximum" => self.receive_maximum = Some(written.number()?),
            "maximum-packet-size" => self.maximum_packet_size = Some(written.number()?),
            "topic-alias-maximum" => self.topic_alias_maximum = Some(written.number()?),
            "session-expiry-interval" => self.session_expiry_interval = Some(written.number()?),
            "request-response-information" => {
                self.request_response_information = Some(written.truth()?);
            }
            "authentication-method" => {
                self.authentication.method = Some(written.text(written.value)?);
            }
            "authentication-data" => self.authentication.data = Some(written.data()?),
            "request-problem-information" => {
                return Err(written.wrong("this property cannot be set: it is always 1"));
            }
            _ => written.user_property(&mut self.user)?,
        }
        Ok(())
    }
}

impl<'a> Written<'a> {
    fn split(option: &'a str) -> Result<Self, Failure> {
        let words: Vec<&str> = option.split(SEPARATOR).collect();
        match words[..] {
            [command, identifier, value] if identifier != "user-property" => Ok(Self {
                command,
                identifier,
                name: "",
                value,
            }),
            [command, identifier, name, value] => Ok(Self {
                command,
                identifier,
                name,
                value,
            }),
            _ => Err(Failure::usage(
                "--property needs COMMAND IDENTIFIER VALUE, or COMMAND user-property NAME VALUE",
            )),
        }
    }

    fn wrong(&self, text: &str) -> Failure {
        Failure::usage(format!(
            "--property {} {}: {text}",
            self.command, self.identifier
        ))
    }

    fn number<N: FromStr>(&self) -> Result<N, Failure> {
        let wrong = |_| self.wrong("the value is not a number that this property can have");
        self.value.parse().map_err(wrong)
    }

    fn truth(&self) -> Result<bool, Failure> {
        match self.value {
            "0" => Ok(false),
            "1" => Ok(true),
            _ => Err(self.wrong("the value is 0 or 1")),
        }
    }

    fn text(&self, text: &str) -> Result<Utf8String, Failure> {
        Utf8String::try_from(text).map_err(|error| self.wrong(&error.to_string()))
    }

    fn data(&self) -> Result<BinaryData, Failure> {
        BinaryData::try_from(self.value).map_err(|error| self.wrong(&error.to_string()))
    }

    fn user_property(&self, properties: &mut UserProperties) -> Result<(), Failure> {
        if self.identifier != "user-property" {
            return Err(self.wrong("this packet has no such property"));
        }
        properties.push(self.text(self.name)?, self.text(self.value)?);
        Ok(())
    }

    /// A property of a message, or of a will.
    fn of_message(&self, builder: PublishPropertiesBuilder) -> Result<PublishProperties, Failure> {
        let builder = match self.identifier {
            "content-type" => builder.content_type(self.text(self.value)?),
            "correlation-data" => builder.correlation_data(self.data()?),
            "message-expiry-interval" => builder.message_expiry_interval(self.number()?),
            "payload-format-indicator" => builder.payload_is_utf8(self.truth()?),
            "response-topic" => {
                let topic = TopicName::try_from(self.value);
                builder.response_topic(topic.map_err(|error| self.wrong(&error.to_string()))?)
            }
            "user-property" => builder.user_property(self.text(self.name)?, self.text(self.value)?),
            _ => return Err(self.wrong("this packet has no such property")),
        };
        Ok(builder.build())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Properties, Failure> {
        let options: Vec<String> = text
            .split(';')
            .map(|option| option.replace(' ', "\0"))
            .collect();
        Properties::read(&options, &["connect", "publish", "will", "disconnect"])
    }

    #[test]
    fn properties_go_to_their_packets() {
        let found = read(
            "PUBLISH content-type text;publish user-property a b;publish user-property a c;\
             publish topic-alias 7;will will-delay-interval 3;connect receive-maximum 9;\
             disconnect session-expiry-interval 5;connect user-property n v",
        )
        .unwrap();
        assert_eq!(found.publish.as_ref().content_type(), Some("text"));
        let user: Vec<_> = found.publish.as_ref().user_properties().collect();
        assert_eq!(user, [("a", "b"), ("a", "c")]);
        assert_eq!(found.topic_alias.map(NonZeroU16::get), Some(7));
        assert_eq!((found.will_delay, found.has_will), (Some(3), true));
        assert_eq!(found.connect.receive_maximum.map(NonZeroU16::get), Some(9));
        assert_eq!(found.connect.user.get("n"), Some("v"));
        assert_eq!(found.disconnect_expiry, Some(5));
    }

    #[test]
    fn what_cannot_be_names_the_property() {
        for (text, part) in [
            (
                "subscribe user-property a b",
                "subscribe user-property: not a packet",
            ),
            (
                "publish nonsense 1",
                "publish nonsense: this packet has no such property",
            ),
            (
                "publish topic-alias 0",
                "publish topic-alias: the value is not a number",
            ),
            (
                "connect receive-maximum 65536",
                "receive-maximum: the value is not a number",
            ),
            ("publish payload-format-indicator 2", "the value is 0 or 1"),
            ("publish response-topic a/#", "publish response-topic: "),
            (
                "publish user-property a",
                "--property needs COMMAND IDENTIFIER VALUE",
            ),
            ("publish", "--property needs COMMAND IDENTIFIER VALUE"),
            ("connect request-problem-information 0", "cannot be set"),
        ] {
            let failure = read(text).err().unwrap().to_string();
            assert!(failure.contains(part), "{text}: {failure}");
        }
    }
}
