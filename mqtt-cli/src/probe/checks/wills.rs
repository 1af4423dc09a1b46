//! Wills.

use crate::probe::connection::Connection;
use crate::probe::context::{Ask, Context};
use crate::probe::finding::{Finding, Support};
use crate::probe::trouble::Trouble;
use martlet_tokio::Will;
use martlet_tokio::proto::SubscribeFilter;
use std::time::Duration;
use tokio::time::Instant;

/// A client with a will, and one that waits for it.
async fn with_will(
    cx: &Context,
    rest: &str,
    delay: Option<u32>,
) -> Result<(Connection, Connection), Trouble> {
    let filter = SubscribeFilter::new(cx.filter(rest)?, cx.qos());
    let watcher = cx.subscriber(vec![filter]).await?;
    let mut will = Will::new(cx.topic(rest)?, "gone")
        .map_err(|error| Trouble::NotEncodable(error.to_string()))?
        .qos(cx.qos());
    if let Some(seconds) = delay {
        will = will.delay_interval(seconds);
    }
    let mut ask = match delay {
        // The will would be published at the end of the session.
        Some(_) => Ask::session(cx.identifier()),
        None => Ask::new(cx.identifier()),
    };
    ask.will = Some(will);
    let (mut client, _) = cx.connect(ask).await?;
    client.ping().await?;
    Ok((client, watcher))
}

/// The will is published when the connection is cut, and not when the client disconnects.
pub(in crate::probe) async fn wills(cx: &Context) -> Result<Vec<Finding>, Trouble> {
    let cut = will_on_cut(cx).await?;
    let disconnect = match cut.result {
        Support::Yes => will_on_disconnect(cx).await?,
        _ => Finding::not_tried("no will comes after a cut either"),
    };
    Ok(vec![cut, disconnect])
}

async fn will_on_cut(cx: &Context) -> Result<Finding, Trouble> {
    let (client, mut watcher) = with_will(cx, "will/cut", None).await?;
    drop(client);
    let message = watcher.message(Instant::now() + cx.wait()).await?;
    Ok(match message {
        Some(message) if message.payload() == b"gone" => Finding::yes(),
        Some(_) => Finding::no("another message is published in its place"),
        None => {
            let note = format!("not within {} s of the cut", cx.wait().as_secs_f32());
            Finding::no(note).advice("publish what is alive regularly, and notice what is missing")
        }
    })
}

async fn will_on_disconnect(cx: &Context) -> Result<Finding, Trouble> {
    let (client, mut watcher) = with_will(cx, "will/disconnect", None).await?;
    client.disconnect(None).await?;
    watcher.ping().await?;
    let message = watcher.message(Instant::now() + cx.quiet()).await?;
    Ok(match message {
        None => Finding::yes(),
        Some(_) => Finding::no("it is published all the same")
            .advice("publish a message of your own before you disconnect, and ignore the will"),
    })
}

/// The will is published after its delay.
pub(in crate::probe) async fn will_delay(cx: &Context) -> Result<Vec<Finding>, Trouble> {
    /// Seconds.
    const DELAY: u32 = 2;
    /// Servers count whole seconds, which begin anywhere.
    const EARLIEST: Duration = Duration::from_millis(900);
    let (client, mut watcher) = with_will(cx, "will/delay", Some(DELAY)).await?;
    let cut = Instant::now();
    drop(client);
    let until = cut + Duration::from_secs(DELAY.into()) + cx.wait();
    let message = watcher.message(until).await?;
    let after = cut.elapsed();
    let finding = match message {
        None => Finding::no(format!("it does not come within {} s", after.as_secs()))
            .advice("set no delay"),
        Some(_) if after < EARLIEST => {
            Finding::no("it is published at once").advice("wait for the client's return yourself")
        }
        Some(_) => Finding::yes().note(format!(
            "{:.1} s after the cut, of {DELAY} s",
            after.as_secs_f32()
        )),
    };
    Ok(vec![finding])
}
