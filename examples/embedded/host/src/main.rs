//! Starts the device in QEMU and is the other end of its modem, with the embedded broker behind it. It cuts the connection
//! once, and fails unless the device says what `transcript.txt` has.
//!
//! ```text
//! host DEVICE TRANSCRIPT
//! ```

use bytes::BytesMut;
use martlet_broker::{Broker, BrokerConfig, BrokerEvent, ConnectionId};
use martlet_proto::{Delivery, PacketIdentifier, PublishRef, TopicName};
use std::error::Error;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long all of it may take.
const LONGEST: Duration = Duration::from_secs(60);

/// The commands of the modem.
const ESCAPE: u8 = 0x10;
const DIAL: u8 = b'D';
const CONNECTED: u8 = b'C';
const HANG_UP: u8 = b'H';

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(device), Some(transcript)) = (arguments.next(), arguments.next()) else {
        return Err("usage: host DEVICE TRANSCRIPT".into());
    };
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut qemu = Command::new("qemu-system-arm")
        .args(["-machine", "mps2-an385", "-nographic", "-monitor", "none"])
        .args([
            "-semihosting-config",
            "enable=on,target=native",
            "-kernel",
            &device,
        ])
        .args(["-serial", &format!("tcp:{}", listener.local_addr()?)])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let served = listener
        .accept()
        .map_err(Into::into)
        .and_then(|(line, _)| serve(line, &mut qemu));
    if served.is_err() {
        qemu.kill()?;
    }
    let output = qemu.wait_with_output()?;
    let said = String::from_utf8(output.stdout)? + &String::from_utf8(output.stderr)?;
    print!("{said}");
    let accepted = served?;
    if !output.status.success() {
        return Err(format!("the device ended with {}", output.status).into());
    }
    if said != std::fs::read_to_string(transcript)? {
        return Err("that is not what the transcript has".into());
    }
    if accepted != ["hello", "one", "two"] {
        return Err(format!("the broker has accepted {accepted:?}").into());
    }
    println!("as in the transcript; the broker has accepted {accepted:?}, each once");
    Ok(())
}

/// The broker, and the line to it.
struct Exchange {
    broker: Broker,
    connection: Option<ConnectionId>,
    input: BytesMut,
    escaped: bool,
    accepted: Vec<String>,
}

/// Returns the payloads that the broker has accepted of the device.
fn serve(mut line: TcpStream, qemu: &mut Child) -> Result<Vec<String>, Box<dyn Error>> {
    line.set_nodelay(true)?;
    line.set_read_timeout(Some(Duration::from_millis(20)))?;
    let start = Instant::now();
    let mut exchange = Exchange {
        broker: Broker::new(BrokerConfig::default().record_events(true)),
        connection: None,
        input: BytesMut::new(),
        escaped: false,
        accepted: Vec::new(),
    };
    let mut buffer = [0; 1024];
    while start.elapsed() < LONGEST {
        let now = start.elapsed();
        match line.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => {
                for &byte in &buffer[..n] {
                    exchange.take(now, byte, &mut line)?;
                }
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            // The device has ended.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
            Err(error) => return Err(error.into()),
        }
        exchange.broker.handle_timeout(now);
        exchange.turn(now, &mut line)?;
        if qemu.try_wait()?.is_some() {
            break;
        }
    }
    match start.elapsed() < LONGEST {
        true => Ok(exchange.accepted),
        false => Err("the device has not ended in time".into()),
    }
}

impl Exchange {
    /// A byte of the device.
    fn take(&mut self, now: Duration, byte: u8, line: &mut TcpStream) -> std::io::Result<()> {
        match (std::mem::take(&mut self.escaped), byte) {
            (false, ESCAPE) => self.escaped = true,
            (true, DIAL) => {
                self.end(now);
                self.connection = Some(self.broker.handle_open(now));
                line.write_all(&[ESCAPE, CONNECTED])?;
            }
            (true, HANG_UP) => self.end(now),
            _ => self.input.extend_from_slice(&[byte]),
        }
        Ok(())
    }

    fn end(&mut self, now: Duration) {
        self.input.clear();
        if let Some(id) = self.connection.take() {
            self.broker.handle_close(now, id);
        }
    }

    /// Lets the broker read and write, and plays the part of everybody else.
    fn turn(&mut self, now: Duration, line: &mut TcpStream) -> Result<(), Box<dyn Error>> {
        if let Some(id) = self.connection {
            self.broker.handle_input(now, id, &mut self.input);
        }
        while let Some(event) = self.broker.poll_event() {
            let BrokerEvent::Accepted {
                publish,
                client_identifier: Some(_),
                ..
            } = event
            else {
                continue;
            };
            let payload = String::from_utf8(publish.payload().to_vec())?;
            match payload.as_str() {
                "hello" => self.publish(now, "one")?,
                "one" => {
                    // Before the device has its PUBREC.
                    self.end(now);
                    line.write_all(&[ESCAPE, HANG_UP])?;
                    self.publish(now, "two")?;
                }
                _ => self.publish(now, "stop")?,
            }
            self.accepted.push(payload);
        }
        let Some(id) = self.connection else {
            return Ok(());
        };
        let mut output = BytesMut::new();
        while self.broker.poll_transmit(now, id, &mut output) > 0 {}
        for &byte in &output {
            line.write_all(if byte == ESCAPE {
                &[ESCAPE, ESCAPE]
            } else {
                std::slice::from_ref(&byte)
            })?;
        }
        if self.broker.poll_close().is_some() {
            self.end(now);
            line.write_all(&[ESCAPE, HANG_UP])?;
        }
        Ok(())
    }

    fn publish(&mut self, now: Duration, payload: &str) -> Result<(), Box<dyn Error>> {
        let topic = TopicName::new("device/in")?;
        let delivery = Delivery::ExactlyOnce {
            packet_identifier: PacketIdentifier::MIN,
            duplicate: false,
        };
        let publish = PublishRef::new(&topic, payload.as_bytes()).with_delivery(delivery);
        self.broker.publish(now, publish);
        Ok(())
    }
}
