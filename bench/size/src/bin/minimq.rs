//! The same with minimq, which keeps messages in buffers of a fixed size, and has no allocator.
#![no_std]
#![no_main]

use martlet_size::{Modem, block_on, now, start};
use minimq::{
    Buffers, ConfigBuilder, ConnectEvent, Publication, QoS, Session, SubscriptionOptions,
    TopicFilter,
};

#[cortex_m_rt::entry]
fn main() -> ! {
    start();
    block_on(run());
    loop {}
}

async fn run() {
    let (mut rx, mut tx) = ([0; 1024], [0; 1024]);
    let Ok(config) = ConfigBuilder::new(Buffers::new(&mut rx, &mut tx)).client_id("probe") else {
        return;
    };
    let mut session = Session::new(config.keepalive_interval(60).session_expiry_interval(3600));
    let mut modem = Modem::new();
    let mut is_first = true;
    loop {
        modem.dial();
        if let Ok(mut connection) = session.connect(&mut modem).await {
            if let ConnectEvent::Connected = connection.connect_event() {
                let options = SubscriptionOptions::default().maximum_qos(QoS::AtLeastOnce);
                let _ = connection
                    .subscribe(&[TopicFilter::new("probe/in").options(options)], &[])
                    .await;
            }
            let mut payload = Some("hello").filter(|_| is_first);
            is_first = false;
            loop {
                if let Some(payload) = payload {
                    let publication = Publication::text("probe/out", payload).qos(QoS::AtLeastOnce);
                    let _ = connection.publish(publication).await;
                }
                payload = match connection.recv().await {
                    Ok(_) => Some("received"),
                    Err(_) => break,
                };
            }
        }
        modem.hang_up();
        let again = now() + 1000;
        while now() < again {}
    }
}
