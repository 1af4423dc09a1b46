//! Two ends in memory: a session, and a server that answers as the floor does, by hand.

use super::codec::{decode_borrowed, encode};
use bytes::{Buf, Bytes, BytesMut};
use martlet_proto::{PubAckReasonCode, QoS, TopicName, Version};
use martlet_session::CleanStart;
use martlet_session::{
    Config, ConnectOptions, Event, InboundLimits, Instant, OutgoingPublish, QueueLimits,
    SendBuffer, Session,
};

pub(crate) const TOPIC: &str = "sensors/building-7/t/001";
pub(crate) const PAYLOAD: &[u8] = b"0123456789abcdef";

const NOW: Instant = Instant::EPOCH;

/// A connected session and what the server knows.
pub(crate) struct Ends {
    pub(crate) session: Session,
    level: u8,
    message: OutgoingPublish,
    out: SendBuffer,
    input: BytesMut,
    /// Identifiers of QoS 2 between PUBLISH and PUBREL.
    seen: Vec<u64>,
}

impl Ends {
    pub(crate) fn new(version: Version, window: u16, key: Option<u32>) -> Self {
        let config = Config::default()
            .clean_start(CleanStart::Never)
            .keep_alive(60)
            .client_identifier(martlet_proto::Utf8String::from_static("me").expect("a text"))
            .max_in_flight(window)
            .max_in_flight_3x(window)
            .queue(QueueLimits::default().messages(100_000))
            .inbound(
                InboundLimits::default()
                    .receive_maximum(u16::MAX)
                    .hard_messages(1 << 17)
                    .soft_messages(1 << 17),
            );
        let mut session = Session::new(config);
        session.handle_open(NOW, ConnectOptions::new(version));
        let mut out = SendBuffer::new();
        while session.poll_transmit(NOW, &mut out) > 0 {}
        out.clear();
        let connack: &[u8] = if version == Version::V5 {
            &[0x20, 3, 0, 0, 0]
        } else {
            &[0x20, 2, 0, 0]
        };
        let mut input = BytesMut::with_capacity(1 << 20);
        input.extend_from_slice(connack);
        session.handle_input(NOW, &mut input);
        while session.poll_event().is_some() {}
        assert!(session.is_connected());
        let message = OutgoingPublish::new(
            TopicName::new(TOPIC).expect("a topic"),
            Bytes::from_static(PAYLOAD),
        )
        .key(key);
        Self {
            session,
            level: version.level(),
            message,
            out,
            input,
            seen: vec![0; 1024],
        }
    }

    /// Completes `n` messages at `qos` (1 or 2) with at most `window` in flight; returns how many
    /// arrived.
    pub(crate) fn publish(&mut self, qos: u8, window: usize, n: usize) -> usize {
        self.message.qos = QoS::from_u8(qos).expect("1 or 2");
        let reported = self.message.key.is_some();
        let (mut sent, mut arrived, mut done) = (0, 0, 0);
        while done < n {
            loop {
                while sent - done < window && sent < n && self.session.queued() == 0 {
                    self.session
                        .publish(NOW, self.message.clone())
                        .expect("there is room");
                    sent += 1;
                }
                if self.session.poll_transmit(NOW, &mut self.out) == 0 {
                    break;
                }
                arrived += self.answer(qos);
            }
            self.session.handle_input(NOW, &mut self.input);
            let mut events = 0;
            while let Some(event) = self.session.poll_event() {
                events += usize::from(matches!(event, Event::Published { result: Ok(_), .. }));
            }
            done = if reported {
                done + events
            } else {
                sent - self.session.in_flight() - self.session.queued()
            };
            // As a driver: every turn looks at the clock.
            std::hint::black_box(self.session.poll_timeout());
        }
        arrived
    }

    /// The server reads what has left and writes its answers, as the floor does.
    fn answer(&mut self, qos: u8) -> usize {
        let mut arrived = 0;
        while self.out.has_remaining() {
            let chunk = self.out.chunk();
            let len = chunk.len();
            let mut at = 0;
            while at < len {
                let packet = &chunk[at..];
                if packet[0] >> 4 == 3 {
                    let (p, l) = decode_borrowed(packet, self.level).expect("a whole PUBLISH");
                    let [high, low] = p.id.to_be_bytes();
                    if qos == 1 {
                        arrived += 1;
                        self.input.extend_from_slice(&[0x40, 2, high, low]);
                    } else {
                        let word = &mut self.seen[usize::from(p.id >> 6)];
                        if *word >> (p.id & 63) & 1 == 0 {
                            *word |= 1 << (p.id & 63);
                            arrived += 1;
                        }
                        self.input.extend_from_slice(&[0x50, 2, high, low]);
                    }
                    std::hint::black_box(&p);
                    at += l;
                } else {
                    let id = u16::from_be_bytes([packet[2], packet[3]]);
                    self.seen[usize::from(id >> 6)] &= !(1 << (id & 63));
                    self.input
                        .extend_from_slice(&[0x70, 2, packet[2], packet[3]]);
                    at += 4;
                }
            }
            self.out.advance(len);
        }
        arrived
    }

    /// Takes `n` messages of the server, in turns of `batch`; returns how many were delivered.
    pub(crate) fn receive(&mut self, qos: u8, batch: u16, n: usize) -> usize {
        let mut delivered = 0;
        while delivered < n {
            self.input.reserve(1 << 16);
            for id in 1..=batch {
                encode(&mut self.input, self.level, qos, id, TOPIC, &[], PAYLOAD);
            }
            self.session.handle_input(NOW, &mut self.input);
            while let Some(event) = self.session.poll_event() {
                if let Event::Message(message) = event {
                    std::hint::black_box(message.publish.payload());
                    self.session
                        .acknowledge(message.token, PubAckReasonCode::Success);
                    delivered += 1;
                }
            }
            self.acknowledged();
            if qos == 2 {
                for id in 1..=batch {
                    let [high, low] = id.to_be_bytes();
                    self.input.extend_from_slice(&[0x62, 2, high, low]);
                }
                self.session.handle_input(NOW, &mut self.input);
                self.acknowledged();
            }
        }
        delivered
    }

    fn acknowledged(&mut self) {
        while self.session.poll_transmit(NOW, &mut self.out) > 0 {}
        std::hint::black_box(self.out.chunk());
        let n = self.out.remaining();
        self.out.advance(n);
    }
}
