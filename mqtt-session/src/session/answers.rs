//! What a CONNECT asks, and the answers of the server, which are held against it: one that answers
//! nothing changes nothing here.

use crate::{ConnectOptions, ConnectionError, Misbehaviour, ServerDisconnect, Session};
use alloc::boxed::Box;
use core::num::{NonZeroU16, NonZeroU32};
use martlet_proto::{
    BinaryData, ConnAck, Connect, ConnectProperties, ConnectReasonCode, Disconnect,
    DisconnectReasonCode, Utf8String,
};

impl Session {
    /// The question: the CONNECT.
    pub(crate) fn connect(&self, options: ConnectOptions) -> Connect {
        let config = &self.config;
        let (authentication_method, authentication_data) = options
            .authentication
            .map_or((None, None), |message| (Some(message.method), message.data));
        let properties = if options.version.has_properties() {
            ConnectProperties {
                authentication_method,
                authentication_data,
                session_expiry_interval: Some(self.session_expiry()).filter(|&seconds| seconds > 0),
                receive_maximum: Some(self.inbound.receive_maximum())
                    .filter(|&n| n != NonZeroU16::MAX),
                maximum_packet_size: NonZeroU32::new(config.maximum_packet_size)
                    .filter(|_| config.announce_maximum_packet_size),
                topic_alias_maximum: Some(config.topic_alias_maximum).filter(|&n| n > 0),
                request_response_information: Some(true)
                    .filter(|_| config.request_response_information),
                user_properties: options.user_properties,
                ..ConnectProperties::default()
            }
        } else {
            // 3.x has no word for it, and without it nobody knows who the other is: CONNECT is not
            // made.
            ConnectProperties {
                authentication_method,
                ..ConnectProperties::default()
            }
        };
        Connect {
            version: options.version,
            clean_start: self.clean_start,
            keep_alive: config.keep_alive,
            client_identifier: self.client_identifier().clone(),
            will: options.will.map(|will| {
                let mut will = *will;
                if !options.version.has_properties() {
                    will.delay_interval = None;
                    will.properties = martlet_proto::PublishProperties::default();
                }
                will
            }),
            user_name: options.user_name,
            password: options.password,
            properties,
        }
    }

    /// Takes what is left of a CONNACK when everything is out that answers no question. Neither the
    /// specification's text nor a server's benefit makes an error of it: the properties are ignored
    /// and counted.
    ///
    /// The authentication method is not looked at here: one that was not asked for is a protocol
    /// error [MQTT-4.12.0-6].
    pub(crate) fn take_answers(&mut self, connack: &mut ConnAck) {
        use ConnectReasonCode::{ServerMoved, UseAnotherServer};
        let accepts = !connack.reason.is_error();
        // A client that has named itself keeps its name (MQTT 5 §3.2.2.3.7).
        let asks_for_identifier = accepts && self.client_identifier().is_empty();
        let asks_for_information = accepts && self.config.request_response_information;
        // What a rejection says beside its reason is for reports; nobody follows it (MQTT 5 §4.11).
        let sends_elsewhere = matches!(connack.reason, UseAnotherServer | ServerMoved);
        let properties = &mut connack.properties;
        let unasked = ignore_unless(
            asks_for_identifier,
            &mut properties.assigned_client_identifier,
        ) + ignore_unless(asks_for_information, &mut properties.response_information)
            + u64::from(properties.server_reference.is_some() && !sends_elsewhere);
        if accepts {
            properties.server_reference = None;
        }
        // All of it may be kept for as long as the connection lasts, its packet not.
        let texts = [
            &mut properties.assigned_client_identifier,
            &mut properties.response_information,
            &mut properties.server_reference,
            &mut properties.authentication_method,
        ];
        texts.into_iter().flatten().for_each(Utf8String::detach);
        properties
            .authentication_data
            .iter_mut()
            .for_each(BinaryData::detach);
        self.own_diagnostics((
            &mut properties.reason_string,
            &mut properties.user_properties,
        ));
        self.count_unasked(unasked);
    }

    fn count_unasked(&mut self, answers: u64) {
        if answers > 0 {
            self.output.tally.counters_mut().unasked_answers += answers;
        }
    }

    pub(crate) fn handle_disconnect(&mut self, packet: Disconnect) -> Result<(), ConnectionError> {
        use DisconnectReasonCode::{ServerMoved, UseAnotherServer};
        if packet.session_expiry_interval.is_some() {
            return Err(ConnectionError::PeerMisbehaved(
                Misbehaviour::SessionExpiryInDisconnect,
            ));
        }
        let Disconnect {
            reason,
            mut reason_string,
            mut server_reference,
            mut user_properties,
            ..
        } = packet;
        let sends_elsewhere = matches!(reason, UseAnotherServer | ServerMoved);
        self.count_unasked(u64::from(server_reference.is_some() && !sends_elsewhere));
        server_reference.iter_mut().for_each(Utf8String::detach);
        self.own_diagnostics((&mut reason_string, &mut user_properties));
        let disconnect = ServerDisconnect {
            reason,
            reason_string,
            server_reference,
            user_properties,
        };
        Err(ConnectionError::DisconnectedByPeer(Box::new(disconnect)))
    }
}

/// Leaves out an answer that was not asked for, or that is empty. Returns how many that were.
fn ignore_unless(asked: bool, answer: &mut Option<Utf8String>) -> u64 {
    u64::from(
        answer
            .take_if(|answer| !asked || answer.is_empty())
            .is_some(),
    )
}
