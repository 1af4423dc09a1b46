//! The session, driven by hand.
#![no_std]
#![no_main]

extern crate alloc;

use bytes::{Buf, BytesMut};
use core::time::Duration;
use martlet_proto::{
    PubAckReasonCode, QoS, SubscribeFilter, TopicFilter, TopicName, Utf8String, Version,
};
use martlet_session::{
    Config, ConnectOptions, ConnectionError, Event, Instant, OutgoingPublish, SendBuffer, Session,
    SubscribeRequest,
};
use martlet_size::{Modem, start};

#[global_allocator]
static HEAP: embedded_alloc::LlffHeap = embedded_alloc::LlffHeap::empty();

fn now() -> Instant {
    Instant::from_epoch(Duration::from_millis(martlet_size::now()))
}

#[cortex_m_rt::entry]
fn main() -> ! {
    start();
    // SAFETY: once, before anything is allocated.
    unsafe {
        embedded_alloc::init!(HEAP, 32 * 1024);
    }
    let Some(mut session) = new_session() else {
        loop {}
    };
    let mut modem = Modem::new();
    loop {
        modem.dial();
        session.handle_open(now(), ConnectOptions::new(Version::V5));
        connection(&mut session, &mut modem);
        modem.hang_up();
        let again = martlet_size::now() + 1000;
        while martlet_size::now() < again {}
    }
}

fn new_session() -> Option<Session> {
    let config = Config::default().client_identifier(Utf8String::new("probe").ok()?);
    let mut session = Session::new(config);
    let filters = [SubscribeFilter::new(
        TopicFilter::new("probe/in").ok()?,
        QoS::AtLeastOnce,
    )];
    session
        .subscribe(now(), SubscribeRequest::new(filters))
        .ok()?;
    publish(&mut session, "hello")?;
    Some(session)
}

fn publish(session: &mut Session, payload: &'static str) -> Option<()> {
    let topic = TopicName::new("probe/out").ok()?;
    let message = OutgoingPublish::new(topic, payload).qos(QoS::AtLeastOnce);
    session.publish(now(), message).ok()?;
    Some(())
}

/// One connection, from the CONNECT to its end.
fn connection(session: &mut Session, modem: &mut Modem) {
    let mut input = BytesMut::new();
    let mut output = SendBuffer::new();
    loop {
        while session.poll_transmit(now(), &mut output) > 0 {
            while output.has_remaining() {
                let n = output.chunk().len();
                martlet_size::send(output.chunk());
                output.advance(n);
            }
        }
        while let Some(event) = session.poll_event() {
            if let Event::Message(message) = event {
                session.acknowledge(message.token, PubAckReasonCode::Success);
                let _ = publish(session, "received");
            }
        }
        if let Some(reason) = session.poll_close() {
            return session.handle_close(now(), reason);
        }
        let mut bytes = [0; 64];
        let mut n = 0;
        while let Some(byte) = modem.get() {
            bytes[n] = byte;
            n += 1;
            if n == bytes.len() {
                break;
            }
        }
        if n > 0 {
            input.extend_from_slice(&bytes[..n]);
            session.handle_input(now(), &mut input);
        } else if !modem.is_up() {
            return session.handle_close(now(), ConnectionError::ClosedByPeer);
        }
        session.handle_timeout(now());
    }
}
