//! A line for each packet and each event.

use crate::event::ClientEvent;
use crate::link::observer::Observer;
use martlet_proto::{Ack, Connect, Packet, Publish};
use martlet_session::Instant;
use std::fmt::{self, Display, Write};

/// An observer that makes a line of text of each packet that leaves (`-out->`) and comes
/// (`<-in--`), and of each event of the client (`------`), with a name in front that tells clients
/// apart:
///
/// ```text
/// me ------ connecting to mqtt://localhost
/// me -out-> CONNECT MQTT 5 id "me" clean start keep alive 60 s
/// me <-in-- CONNACK success
/// me -out-> PUBLISH QoS 1 #1 "a/b" [5 bytes]
/// ```
///
/// Payloads, passwords, user names and authentication data are left out; topics, filters and
/// identifiers are shown. The line goes to a function, which must not block: to `log::debug!`, say,
/// or to a channel.
///
/// ```
/// # use martlet_client::{Client, ConnectError, PacketLogger};
/// let builder = Client::builder("mqtt://localhost")
///     .observer(PacketLogger::new("me", |line| eprintln!("{line}")));
/// # Ok::<(), ConnectError>(())
/// ```
#[derive(Clone)]
pub struct PacketLogger<W> {
    name: String,
    write: W,
    line: String,
}

impl<W: FnMut(&str)> PacketLogger<W> {
    /// Gives each line, without its end, to `write`.
    pub fn new(name: impl Into<String>, write: W) -> Self {
        Self {
            name: name.into(),
            write,
            line: String::new(),
        }
    }

    pub(crate) fn set_name(&mut self, name: &str) {
        name.clone_into(&mut self.name);
    }

    fn write(&mut self, direction: &str, what: &dyn Display) {
        self.line.clear();
        // Writing to a string does not fail.
        let _ = write!(self.line, "{} {direction} {what}", self.name);
        (self.write)(&self.line);
    }
}

/// Packets in the process's log, at *debug*.
pub(crate) type PacketLog = PacketLogger<fn(&str)>;

impl PacketLog {
    /// Whether anybody reads it.
    pub(crate) fn is_on() -> bool {
        #[cfg(feature = "tracing")]
        return tracing::event_enabled!(target: "martlet::packets", tracing::Level::DEBUG);
        #[cfg(not(feature = "tracing"))]
        return log::log_enabled!(target: "martlet::packets", log::Level::Debug);
    }

    pub(crate) fn of_process() -> Self {
        Self::new(String::new(), |line| {
            #[cfg(feature = "tracing")]
            tracing::debug!(target: "martlet::packets", "{line}");
            #[cfg(not(feature = "tracing"))]
            log::debug!(target: "martlet::packets", "{line}");
        })
    }
}

impl<W: FnMut(&str)> Observer for PacketLogger<W> {
    fn packet_sent(&mut self, _: Instant, packet: &Packet) {
        self.write("-out->", &Line(packet));
    }

    fn packet_received(&mut self, _: Instant, packet: &Packet) {
        self.write("<-in--", &Line(packet));
    }

    fn client_event(&mut self, _: Instant, event: &ClientEvent) {
        self.write("------", &event);
    }
}

impl<W> fmt::Debug for PacketLogger<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PacketLogger")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// Text of others is quoted, so that none can make lines of its own.
struct Line<'a>(&'a Packet);

impl Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.packet_type())?;
        match self.0 {
            Packet::Connect(packet) => connect(f, packet),
            Packet::ConnAck(packet) => {
                write!(f, " {}", packet.reason)?;
                f.write_str(if packet.session_present {
                    " session present"
                } else {
                    ""
                })
            }
            Packet::Publish(packet) => publish(f, packet),
            Packet::PubAck(packet) | Packet::PubRec(packet) => acknowledgement(f, packet),
            Packet::PubRel(packet) | Packet::PubComp(packet) => acknowledgement(f, packet),
            Packet::Subscribe(packet) => {
                write!(f, " #{}", packet.packet_identifier)?;
                packet
                    .subscriptions
                    .iter()
                    .try_for_each(|entry| write!(f, " {:?} {}", entry.filter.as_str(), entry.qos))
            }
            Packet::SubAck(packet) => {
                write!(f, " #{}", packet.packet_identifier)?;
                list(f, &packet.reasons)
            }
            Packet::Unsubscribe(packet) => {
                write!(f, " #{}", packet.packet_identifier)?;
                packet
                    .filters
                    .iter()
                    .try_for_each(|filter| write!(f, " {:?}", filter.as_str()))
            }
            Packet::UnsubAck(packet) => {
                write!(f, " #{}", packet.packet_identifier)?;
                list(f, &packet.reasons)
            }
            Packet::Disconnect(packet) => write!(f, " {}", packet.reason),
            Packet::Auth(packet) => {
                write!(f, " {}", packet.reason)?;
                if let Some(method) = &packet.authentication_method {
                    write!(f, " {:?}", method.as_str())?;
                }
                match &packet.authentication_data {
                    Some(data) => write!(f, " [{} bytes]", data.as_bytes().len()),
                    None => Ok(()),
                }
            }
            Packet::PingReq | Packet::PingResp => Ok(()),
        }
    }
}

fn connect(f: &mut fmt::Formatter<'_>, packet: &Connect) -> fmt::Result {
    write!(
        f,
        " {} id {:?}",
        packet.version,
        packet.client_identifier.as_str()
    )?;
    f.write_str(if packet.clean_start {
        " clean start"
    } else {
        ""
    })?;
    write!(f, " keep alive {} s", packet.keep_alive)?;
    if let Some(will) = &packet.will {
        write!(
            f,
            " will {:?} [{} bytes]",
            will.topic.as_str(),
            will.payload.as_bytes().len()
        )?;
    }
    f.write_str(if packet.user_name.is_some() {
        " with user name"
    } else {
        ""
    })?;
    f.write_str(if packet.password.is_some() {
        " with password"
    } else {
        ""
    })?;
    match &packet.properties.authentication_method {
        Some(method) => write!(f, " authentication {:?}", method.as_str()),
        None => Ok(()),
    }
}

fn publish(f: &mut fmt::Formatter<'_>, packet: &Publish) -> fmt::Result {
    let delivery = packet.delivery();
    write!(f, " {}", delivery.qos())?;
    if let Some(identifier) = delivery.packet_identifier() {
        write!(f, " #{identifier}")?;
    }
    f.write_str(if delivery.duplicate() {
        " duplicate"
    } else {
        ""
    })?;
    f.write_str(if packet.retain() { " retain" } else { "" })?;
    write!(f, " {:?}", packet.topic())?;
    if let Some(alias) = packet.properties().topic_alias() {
        write!(f, " alias {alias}")?;
    }
    write!(f, " [{} bytes]", packet.payload().len())
}

fn acknowledgement<R: Display>(f: &mut fmt::Formatter<'_>, packet: &Ack<R>) -> fmt::Result {
    write!(f, " #{} {}", packet.packet_identifier, packet.reason)
}

fn list<R: Display>(f: &mut fmt::Formatter<'_>, reasons: &[R]) -> fmt::Result {
    reasons
        .iter()
        .try_for_each(|reason| write!(f, " {reason};"))
}
