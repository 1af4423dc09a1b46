//! CONNECT and CONNACK, credentials, take-over, enhanced authentication.

use crate::world::*;
use bytes::Bytes;
use martlet_broker::{BrokerEvent, BrokerLimits, Ending, ScriptedAuthentication};
use martlet_proto::{
    Auth, AuthReasonCode, BinaryData, Connect, ConnectReasonCode, DisconnectReasonCode, Packet,
    QoS, Utf8String, Version,
};

#[test]
fn the_bytes_of_each_version() {
    let table = [
        // (CONNECT, CONNACK)
        (
            "10 0f 00 06 4d 51 49 73 64 70 03 02 00 3c 00 01 61",
            "20 02 00 00",
        ),
        (
            "10 0d 00 04 4d 51 54 54 04 02 00 3c 00 01 61",
            "20 02 00 00",
        ),
        (
            "10 0e 00 04 4d 51 54 54 05 02 00 3c 00 00 01 61",
            "20 06 00 00 03 22 00 10",
        ),
    ];
    for (connect, connack) in table {
        each_way(config(), |world| {
            let peer = world.open(V5);
            world.say_hex(peer, connect);
            assert_eq!(world.hear_hex(peer), connack);
            world.say_hex(peer, "c0 00");
            assert_eq!(world.hear_hex(peer), "d0 00");
            world.say_hex(peer, "e0 00");
            assert_eq!(world.hear_hex(peer), "closed");
        });
    }
}

#[test]
fn a_version_that_is_not_spoken_is_rejected_in_a_form_that_the_client_understands() {
    const V5_CONNECT: &str = "10 0e 00 04 4d 51 54 54 05 02 00 3c 00 00 01 61";
    const V3_1_1_CONNECT: &str = "10 0d 00 04 4d 51 54 54 04 02 00 3c 00 01 61";
    const LEVEL_6: &str = "10 0e 00 04 4d 51 54 54 06 02 00 3c 00 00 01 61";
    const NO_MQTT: &str = "10 0d 00 04 48 54 54 50 04 02 00 3c 00 01 61";
    let table: [(&[Version], &str, &str); 6] = [
        (&[V3_1_1], V5_CONNECT, "20 02 00 01 closed"),
        (&[V5], V3_1_1_CONNECT, "20 02 00 01 closed"),
        (&[V3_1, V5], V3_1_1_CONNECT, "20 02 00 01 closed"),
        (&[V5], LEVEL_6, "20 03 00 84 00 closed"),
        (&[V3_1_1], LEVEL_6, "20 02 00 01 closed"),
        (&Version::ALL, NO_MQTT, "closed"),
    ];
    for (versions, connect, answer) in table {
        each_way(config().versions(versions.to_vec()), |world| {
            let peer = world.open(V5);
            world.say_hex(peer, connect);
            assert_eq!(world.hear_hex(peer), answer, "{versions:?}");
        });
    }
}

#[test]
fn a_malformed_connect_is_answered_in_v5_only() {
    each_way(config(), |world| {
        // The reserved connect flag.
        let peer = world.open(V5);
        world.say_hex(peer, "10 0e 00 04 4d 51 54 54 05 03 00 3c 00 00 01 61");
        assert_eq!(world.hear_hex(peer), "20 03 00 81 00 closed");
        let peer = world.open(V3_1_1);
        world.say_hex(peer, "10 0d 00 04 4d 51 54 54 04 03 00 3c 00 01 61");
        assert_eq!(world.hear_hex(peer), "closed");
        // A property twice is a protocol error.
        let peer = world.open(V5);
        world.say_hex(
            peer,
            "10 14 00 04 4d 51 54 54 05 02 00 3c 06 21 00 01 21 00 01 00 01 61",
        );
        assert_eq!(world.hear_hex(peer), "20 03 00 82 00 closed");
    });
}

#[test]
fn what_comes_before_connect_closes_and_so_does_a_second_connect() {
    each_version(|world, version| {
        let peer = world.open(version);
        world.send(peer, Packet::PingReq);
        assert_eq!(world.hear(peer), ["closed"]);

        let peer = world.client(version, "a");
        world.send(peer, clean(version, "a"));
        let last = world.hear(peer);
        assert_eq!(
            last,
            if version == V5 {
                vec!["DISCONNECT 82", "closed"]
            } else {
                vec!["closed"]
            }
        );
    });
}

#[test]
fn what_only_a_server_sends_is_a_protocol_error() {
    each_way(config(), |world| {
        for packet in [
            "20 03 00 00 00",
            "90 04 00 01 00 00",
            "b0 04 00 01 00 00",
            "d0 00",
        ] {
            let peer = world.client(V5, "a");
            world.say_hex(peer, packet);
            assert_eq!(world.hear(peer), ["DISCONNECT 82", "closed"], "{packet}");
        }
    });
}

#[test]
fn an_empty_client_identifier() {
    let assigned = |world: &mut World| {
        let mut identifiers = Vec::new();
        for _ in 0..2 {
            let peer = world.dial(clean(V5, ""));
            let Packet::ConnAck(ack) = world.hear_packets(peer).remove(0) else {
                panic!()
            };
            identifiers.push(ack.properties.assigned_client_identifier.unwrap());
        }
        identifiers
    };
    each_way(config(), |world| {
        let identifiers = assigned(world);
        assert_ne!(identifiers[0], identifiers[1]);
        assert!(world.broker.has_session(identifiers[0].as_str()));
        let mut same = World::new(config(), 1);
        assert_eq!(assigned(&mut same), identifiers, "the seed decides");
        let mut other = World::new(config().seed(1), 1);
        assert_ne!(assigned(&mut other), identifiers);

        world.client(V3_1_1, "");
        // [MQTT-3.1.3-8]; 3.1 wants 1 to 23 characters.
        for connect in [
            "10 0c 00 04 4d 51 54 54 04 00 00 3c 00 00",
            "10 0e 00 06 4d 51 49 73 64 70 03 02 00 3c 00 00",
            "10 26 00 06 4d 51 49 73 64 70 03 02 00 3c 00 18 \
             61 61 61 61 61 61 61 61 61 61 61 61 61 61 61 61 61 61 61 61 61 61 61 61",
        ] {
            let peer = world.open(V3_1_1);
            world.say_hex(peer, connect);
            assert_eq!(world.hear_hex(peer), "20 02 00 02 closed");
        }
    });
}

#[test]
fn credentials() {
    let config = config().with_user("ann", "secret").unwrap();
    each_way(config, |world| {
        let with = |version, name: Option<&str>, password: Option<&str>| Connect {
            user_name: name.map(|name| name.try_into().unwrap()),
            password: password.map(|password| password.try_into().unwrap()),
            ..clean(version, "a")
        };
        for version in Version::ALL {
            world.enter(with(version, Some("ann"), Some("secret")));
            let wrong = [
                (
                    Some("ann"),
                    Some("wrong"),
                    ConnectReasonCode::BadUserNameOrPassword,
                ),
                (Some("ann"), None, ConnectReasonCode::BadUserNameOrPassword),
                (
                    Some("bob"),
                    Some("secret"),
                    ConnectReasonCode::BadUserNameOrPassword,
                ),
                (None, None, ConnectReasonCode::NotAuthorized),
            ];
            for (name, password, reason) in wrong {
                let peer = world.dial(with(version, name, password));
                assert_eq!(world.hear(peer), rejected(reason), "{version} {name:?}");
            }
        }
    });
}

#[test]
fn a_broker_that_rejects() {
    let table = [
        (
            ConnectReasonCode::ServerUnavailable,
            "20 02 00 03 closed",
            "20 03 00 88 00 closed",
        ),
        (
            ConnectReasonCode::ServerBusy,
            "20 02 00 03 closed",
            "20 03 00 89 00 closed",
        ),
        (
            ConnectReasonCode::ServerMoved,
            "20 02 00 03 closed",
            "20 08 00 9d 05 1c 00 02 62 3a closed",
        ),
    ];
    for (reason, v3, v5) in table {
        let config = config()
            .reject(reason)
            .server_reference(Utf8String::try_from("b:").unwrap());
        each_way(config, |world| {
            let peer = world.dial(clean(V3_1_1, "a"));
            assert_eq!(world.hear_hex(peer), v3);
            let peer = world.dial(clean(V5, "a"));
            assert_eq!(world.hear_hex(peer), v5);
            assert_eq!(
                world.events.last(),
                Some(&BrokerEvent::Rejected {
                    connection: peer,
                    reason
                })
            );
            // What the broker does can change between connections.
            let config = world.broker.config().clone().reject(None);
            world.broker.configure(config);
            world.client(V5, "a");
        });
    }
}

#[test]
fn connack_tells_what_is_allowed() {
    let limits = BrokerLimits::default()
        .receive_maximum(10.try_into().unwrap())
        .maximum_qos(QoS::AtLeastOnce)
        .retain_available(false)
        .maximum_packet_size(1000)
        .topic_alias_maximum(0)
        .wildcard_subscription_available(false)
        .subscription_identifier_available(false)
        .shared_subscription_available(false)
        .server_keep_alive(7)
        .maximum_session_expiry(60);
    let config = config()
        .limits(limits)
        .response_information(Utf8String::try_from("r/").unwrap());
    each_way(config, |world| {
        let mut connect = lasting(V5, "a");
        connect.properties.request_response_information = Some(true);
        let peer = world.dial(connect);
        let Packet::ConnAck(ack) = world.hear_packets(peer).remove(0) else {
            panic!()
        };
        let p = ack.properties;
        assert_eq!(p.session_expiry_interval, Some(60));
        assert_eq!(p.receive_maximum.map(Into::into), Some(10u16));
        assert_eq!(p.maximum_qos, Some(QoS::AtLeastOnce));
        assert_eq!(p.retain_available, Some(false));
        assert_eq!(p.maximum_packet_size.map(Into::into), Some(1000u32));
        assert_eq!(p.topic_alias_maximum, None);
        assert_eq!(p.wildcard_subscription_available, Some(false));
        assert_eq!(p.subscription_identifier_available, Some(false));
        assert_eq!(p.shared_subscription_available, Some(false));
        assert_eq!(p.server_keep_alive, Some(7));
        assert_eq!(p.response_information, Some("r/".try_into().unwrap()));
        assert_eq!(p.assigned_client_identifier, None);

        // [MQTT-3.2.2-12, MQTT-3.2.2-13]: a will that is not allowed rejects the CONNECT.
        let mut connect = clean(V5, "b");
        connect.will = Some(martlet_proto::Will {
            qos: Q2,
            ..will("w", "x")
        });
        let peer = world.dial(connect.clone());
        assert_eq!(
            world.hear(peer),
            rejected(ConnectReasonCode::QosNotSupported)
        );
        connect.will = Some(martlet_proto::Will {
            retain: true,
            ..will("w", "x")
        });
        let peer = world.dial(connect);
        assert_eq!(
            world.hear(peer),
            rejected(ConnectReasonCode::RetainNotSupported)
        );
    });
}

/// [MQTT-3.1.4-3]
#[test]
fn the_same_client_identifier_takes_over() {
    each_version(|world, version| {
        let first = world.client(version, "a");
        world.subscribe(first, "t", Q1);
        let second = world.enter(lasting(version, "a"));
        let last = world.hear(first);
        assert_eq!(
            last,
            if version == V5 {
                vec!["DISCONNECT 8e", "closed"]
            } else {
                vec!["closed"]
            }
        );
        assert!(world.is_open(second));
        assert_eq!(world.broker.connection_of("a"), Some(second));
        let ending = Ending::Broker(DisconnectReasonCode::SessionTakenOver);
        let client_identifier: Utf8String = "a".try_into().unwrap();
        assert!(world.events.contains(&BrokerEvent::Disconnected {
            connection: first,
            client_identifier,
            ending
        }));
        // The late end of the old network connection does not touch the new one.
        world.cut(first);
        world.subscribe(second, "t", Q1);
        // The session goes from connection to connection.
        let third = world.dial(lasting(version, "a"));
        let present = if version == V3_1 {
            "CONNACK 00"
        } else {
            "CONNACK present 00"
        };
        assert_eq!(world.hear(third), [present]);
    });
}

#[test]
fn too_many() {
    each_way(config().max_connections(2).max_sessions(1), |world| {
        let first = world.client(V5, "a");
        let peer = world.dial(clean(V5, "b"));
        assert_eq!(world.hear(peer), rejected(ConnectReasonCode::QuotaExceeded));
        let peer = world.dial(clean(V3_1_1, "b"));
        assert_eq!(
            world.hear(peer),
            rejected(ConnectReasonCode::ServerUnavailable)
        );
        // The client that has a session may come again.
        let second = world.client(V5, "a");
        assert_eq!(world.hear(first), ["DISCONNECT 8e", "closed"]);
        let third = world.open(V5);
        assert!(world.is_open(third));
        let fourth = world.open(V5);
        assert_eq!(world.hear(fourth), ["closed"]);
        assert!(world.is_open(second));
    });
}

fn auth(reason: AuthReasonCode, data: &str) -> Auth {
    Auth {
        authentication_method: Some("M".try_into().unwrap()),
        authentication_data: Some(data.try_into().unwrap()),
        ..Auth::new(reason)
    }
}

fn with_method(method: &str) -> Connect {
    let mut connect = clean(V5, "a");
    connect.properties.authentication_method = Some(method.try_into().unwrap());
    connect
}

#[test]
fn enhanced_authentication_is_rejected() {
    each_way(config(), |world| {
        let peer = world.dial(with_method("M"));
        assert_eq!(
            world.hear(peer),
            rejected(ConnectReasonCode::BadAuthenticationMethod)
        );
        // AUTH without a method in CONNECT [MQTT-4.12.0-7].
        let peer = world.client(V5, "a");
        world.send(peer, auth(AuthReasonCode::ReAuthenticate, "x"));
        assert_eq!(world.hear(peer), ["DISCONNECT 82", "closed"]);
    });
}

#[test]
fn enhanced_authentication_follows_the_script() {
    let step = |challenge: &'static str, answer: &'static str| {
        (Bytes::from(challenge), Bytes::from(answer))
    };
    let script = ScriptedAuthentication::default()
        .method("M".try_into().unwrap())
        .steps(vec![step("one?", "one!"), step("two?", "two!")])
        .success(BinaryData::try_from("welcome").unwrap());
    each_way(config().authentication(script), |world| {
        use AuthReasonCode::{ContinueAuthentication, ReAuthenticate};
        let peer = world.dial(with_method("M"));
        assert_eq!(world.hear(peer), ["AUTH 18 one?"]);
        world.send(peer, auth(ContinueAuthentication, "one!"));
        assert_eq!(world.hear(peer), ["AUTH 18 two?"]);
        world.send(peer, auth(ContinueAuthentication, "two!"));
        let Packet::ConnAck(ack) = world.hear_packets(peer).remove(0) else {
            panic!()
        };
        assert_eq!(ack.reason, ConnectReasonCode::Success);
        assert_eq!(
            ack.properties.authentication_method,
            Some("M".try_into().unwrap())
        );
        assert_eq!(
            ack.properties.authentication_data.unwrap().as_bytes(),
            b"welcome"
        );

        // Again, later, while other packets go on.
        world.send(peer, auth(ReAuthenticate, ""));
        world.send(peer, Packet::PingReq);
        assert_eq!(world.hear(peer), ["AUTH 18 one?", "PINGRESP"]);
        world.send(peer, auth(ContinueAuthentication, "one!"));
        world.send(peer, auth(ContinueAuthentication, "two!"));
        assert_eq!(world.hear(peer), ["AUTH 18 two?", "AUTH 00 welcome"]);
        world.send(peer, auth(ReAuthenticate, ""));
        world.send(peer, auth(ContinueAuthentication, "wrong"));
        assert_eq!(
            world.hear(peer),
            ["AUTH 18 one?", "DISCONNECT 87", "closed"]
        );

        let peer = world.dial(with_method("M"));
        world.send(peer, auth(ContinueAuthentication, "wrong"));
        assert_eq!(world.hear(peer), ["AUTH 18 one?", "CONNACK 87", "closed"]);
        let peer = world.dial(with_method("N"));
        assert_eq!(
            world.hear(peer),
            rejected(ConnectReasonCode::BadAuthenticationMethod)
        );
        let peer = world.dial(with_method("M"));
        world.send(peer, Packet::PingReq);
        assert_eq!(world.hear(peer), ["AUTH 18 one?", "closed"]);
    });
}
