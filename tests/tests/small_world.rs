//! Small worlds, tried whole.

use martlet_proto::{QoS, Version};
use martlet_tests::sim::Sabotage;
use martlet_tests::small_world::{From, Small, Walked, explore};

/// All that can happen to two messages with one cut; the example tries three messages and two cuts.
#[test]
fn two_messages_and_a_cut_in_every_order() {
    let mut all = Walked::default();
    for small in Small::all(2, 1) {
        let walked = explore(&small).unwrap_or_else(|wrong| panic!("{wrong}"));
        all.worlds += walked.worlds;
        all.states += walked.states;
    }
    assert!(all.worlds > 100_000 && all.states > 10_000, "{all:?}");
}

#[test]
fn three_qos_2_messages_and_two_cuts() {
    for version in [Version::V3_1_1, Version::V5] {
        let messages = vec![(From::Client, QoS::ExactlyOnce); 3];
        let small = Small {
            version,
            messages,
            cuts: 2,
            window: 3,
            sabotage: None,
        };
        let walked = explore(&small).unwrap_or_else(|wrong| panic!("{wrong}"));
        assert!(walked.worlds > 100_000, "{walked:?}");
    }
}

#[test]
fn planted_bugs_are_caught() {
    use From::{Client, Server};
    let (once, least) = (QoS::ExactlyOnce, QoS::AtLeastOnce);
    for (sabotage, messages, what) in [
        (Sabotage::ForgetsDup, [(Client, least); 2], "DupMissing"),
        (
            Sabotage::PublishesAfterPubrel,
            [(Client, once); 2],
            "PublishReleased",
        ),
        (
            Sabotage::SwallowsPubrel,
            [(Client, once); 2],
            "never acknowledged",
        ),
        (
            Sabotage::ReusesIdentifiers,
            [(Client, least), (Client, once)],
            "IdentifierInUse",
        ),
        (Sabotage::ConnectsTwice, [(Client, least); 2], "ConnectOnce"),
        (
            Sabotage::AcknowledgesOutOfOrder,
            [(Server, least); 2],
            "PubAckOrder",
        ),
        (
            Sabotage::DeliversOutOfOrder,
            [(Server, once); 2],
            "arrived after message",
        ),
    ] {
        let (version, messages) = (Version::V5, messages.to_vec());
        let small = Small {
            version,
            messages,
            cuts: 1,
            window: 2,
            sabotage: Some(sabotage),
        };
        match explore(&small) {
            Err(wrong) => assert!(wrong.what.contains(what), "{sabotage:?} shows as: {wrong}"),
            Ok(walked) => panic!("{sabotage:?} went unnoticed in {walked:?}"),
        }
    }
}
