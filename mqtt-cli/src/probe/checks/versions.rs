//! The versions of MQTT.

use crate::probe::context::{Ask, Context};
use crate::probe::finding::Finding;
use crate::probe::trouble::Trouble;
use martlet_tokio::Version;
use martlet_tokio::proto::ConnectReasonCode;
use std::num::NonZeroU16;

/// A finding for each version, in their order.
pub(in crate::probe) async fn versions(cx: &Context) -> Result<Vec<Finding>, Trouble> {
    let mut findings = Vec::new();
    for version in Version::ALL {
        findings.push(speaks(cx, version).await?);
    }
    Ok(findings)
}

async fn speaks(cx: &Context, version: Version) -> Result<Finding, Trouble> {
    let connected = async {
        let mut ask = Ask::new(cx.identifier());
        // As clients have it: servers that know only 3.x stumble over properties.
        ask.receive_maximum = Some(NonZeroU16::MAX);
        let (mut client, _) = cx.connect_in(version, ask).await?;
        client.ping().await?;
        client.disconnect(None).await
    };
    let advice = match version {
        Version::V5 => "Builder::version(Version::V3_1_1), -V 311: saves an attempt at connecting",
        _ => "Builder::version, -V: choose a version that the server has",
    };
    match connected.await {
        Ok(()) => Ok(Finding::yes()),
        Err(Trouble::Rejected(ConnectReasonCode::UnsupportedProtocolVersion)) => {
            Ok(Finding::no("the server rejects the CONNECT").advice(advice))
        }
        // About who connects, not about the version.
        Err(trouble) if trouble.is_denied() || matches!(trouble, Trouble::Rejected(_)) => {
            Ok(Finding::not_tried(trouble.to_string()))
        }
        Err(Trouble::Silent("CONNACK")) => {
            let note = "the server leaves the CONNECT without an answer";
            let advice = "Builder::version, -V: a client that negotiates times out";
            Ok(Finding::no(note).advice(advice))
        }
        Err(trouble) if trouble.is_an_answer() => {
            Ok(Finding::no(trouble.to_string()).advice(advice))
        }
        // An identifier that 3.1 does not have.
        Err(Trouble::NotEncodable(why)) => Ok(Finding::not_tried(why)),
        Err(trouble) => Err(trouble),
    }
}
