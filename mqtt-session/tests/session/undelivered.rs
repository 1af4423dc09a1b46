//! What was accepted and not acknowledged is there to be looked at, with its content.

use crate::driver::*;
use martlet_proto::{PublishProperties, QoS, Version};
use martlet_session::{CleanStart, DeliveryStage, Event, Undelivered};

fn lines(messages: impl IntoIterator<Item = Undelivered>) -> Vec<String> {
    let line = |message: Undelivered| {
        let (operation, stage) = (message.operation.get(), message.stage);
        let content = message.message.map(|message| {
            let payload = String::from_utf8_lossy(&message.payload).into_owned();
            format!(
                " q{} {} {payload}",
                message.qos.as_u8(),
                message.topic.as_str()
            )
        });
        format!("{operation} {stage:?}{}", content.unwrap_or_default())
    };
    messages.into_iter().map(line).collect()
}

/// Ten messages of every kind, at every stage.
fn in_all_stages(version: Version) -> Peer {
    let config = named()
        .max_in_flight(4)
        .max_in_flight_3x(4)
        .clean_start(CleanStart::Never);
    let mut peer = Peer::connected(version, config);
    for (quality, payload) in [(1, "1"), (2, "2"), (2, "3"), (1, "4"), (2, "5"), (1, "6")] {
        peer.publish(message(quality, "a", payload));
    }
    // The second is with the server, the first is acknowledged, and so the fifth is sent.
    peer.send_all(&[pubrec(2), puback(1)]);
    peer.reported();
    peer
}

#[test]
fn each_message_with_its_stage_in_order() {
    for version in Version::ALL {
        let mut peer = in_all_stages(version);
        let expected = [
            "2 Received",
            "3 InFlight q2 a 3",
            "4 InFlight q1 a 4",
            "5 InFlight q2 a 5",
            "6 Queued q1 a 6",
        ];
        assert_eq!(lines(peer.session.undelivered()), expected);
        // Without a connection too, with what is published then.
        peer.cut();
        peer.publish(message(0, "a", "7"));
        let mut offline = expected.to_vec();
        offline.push("7 Queued q0 a 7");
        assert_eq!(lines(peer.session.undelivered()), offline);
        // The application ends it: it gets them all.
        peer.disconnect(seconds(0));
        let left = peer.events().into_iter().find_map(|event| match event {
            Event::Undelivered(messages) => Some(messages),
            _ => None,
        });
        assert_eq!(lines(left.unwrap()), offline);
        assert_eq!(lines(peer.session.undelivered()), Vec::<String>::new());
    }
}

#[test]
fn properties_are_there_and_what_has_ended_is_not() {
    let mut peer = Peer::connected(Version::V5, named());
    let properties = PublishProperties::builder().try_user_property("k", "v");
    let properties = PublishProperties::from(properties.unwrap());
    peer.publish(
        message(1, "a", "1")
            .properties(properties.clone())
            .retain(true),
    );
    let withdrawn = peer.publish(message(1, "a", "2"));
    peer.session.withdraw(withdrawn);
    peer.drain();
    let messages: Vec<_> = peer.session.undelivered().collect();
    let [
        Undelivered {
            stage: DeliveryStage::InFlight,
            message: Some(message),
            ..
        },
    ] = &messages[..]
    else {
        panic!("{messages:?}");
    };
    assert_eq!(message.properties, properties);
    assert!(message.retain && message.qos == QoS::AtLeastOnce);
    peer.send(puback(1));
    assert_eq!(peer.session.undelivered().count(), 0);
}
