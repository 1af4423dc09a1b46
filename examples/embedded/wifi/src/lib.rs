//! The client over `embassy-net`: the task that a program for an ESP32-C3, or any other board with that network stack,
//! spawns. What the board's own crate does, such as the radio, is the program's.
#![no_std]

use core::fmt;
use embassy_net::Stack;
use embassy_net::dns::DnsQueryType;
use embassy_net::tcp::{TcpReader, TcpSocket, TcpWriter};
use martlet_embedded::proto::{QoS, SubscribeFilter, TopicFilter, TopicName, Utf8String};
use martlet_embedded::session::{Config, OutgoingPublish, SubscribeRequest};
use martlet_embedded::{Backoff, Client, EmbassyClock, Network};

/// A TCP connection to one server.
pub struct Tcp<'a> {
    stack: Stack<'a>,
    socket: TcpSocket<'a>,
    host: &'static str,
    port: u16,
}

impl<'a> Tcp<'a> {
    /// To this server, with these buffers.
    pub fn new(
        stack: Stack<'a>,
        host: &'static str,
        port: u16,
        rx: &'a mut [u8],
        tx: &'a mut [u8],
    ) -> Self {
        let socket = TcpSocket::new(stack, rx, tx);
        Self {
            stack,
            socket,
            host,
            port,
        }
    }
}

/// Why there is no connection.
#[derive(Debug)]
pub enum DialError {
    /// The name could not be looked up.
    Dns(embassy_net::dns::Error),
    /// It has no address.
    NoAddress,
    /// The server could not be reached.
    Connect(embassy_net::tcp::ConnectError),
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(error) => write!(f, "the server's name could not be looked up: {error:?}"),
            Self::NoAddress => f.write_str("the server's name has no address"),
            Self::Connect(error) => write!(f, "the server could not be reached: {error:?}"),
        }
    }
}

impl core::error::Error for DialError {}

impl Network for Tcp<'_> {
    type Reader<'b>
        = TcpReader<'b>
    where
        Self: 'b;
    type Writer<'b>
        = TcpWriter<'b>
    where
        Self: 'b;
    type Error = DialError;

    async fn dial(&mut self) -> Result<(), DialError> {
        self.socket.abort();
        self.stack.wait_config_up().await;
        let addresses = self
            .stack
            .dns_query(self.host, DnsQueryType::A)
            .await
            .map_err(DialError::Dns)?;
        let address = *addresses.first().ok_or(DialError::NoAddress)?;
        self.socket
            .connect((address, self.port))
            .await
            .map_err(DialError::Connect)
    }

    fn split(&mut self) -> (TcpReader<'_>, TcpWriter<'_>) {
        self.socket.split()
    }

    fn hang_up(&mut self) {
        self.socket.close();
    }
}

/// Publishes the messages that it gets, for ever.
pub async fn run(stack: Stack<'_>, serial_number: u32) -> Option<()> {
    let (mut rx, mut tx) = ([0; 1024], [0; 1024]);
    let tcp = Tcp::new(stack, "broker.example", 1883, &mut rx, &mut tx);
    let config = Config::small().client_identifier(Utf8String::new("meter").ok()?);
    let mut client = Client::new(config, tcp, EmbassyClock, Backoff::new(serial_number));
    let filter = SubscribeFilter::new(TopicFilter::new("meter/set").ok()?, QoS::AtLeastOnce);
    client
        .subscribe(SubscribeRequest::new([filter]))
        .await
        .ok()?;
    loop {
        let message = client.next().await.ok()?;
        let payload = message.publish.payload().to_vec();
        let reading = OutgoingPublish::new(TopicName::new("meter/state").ok()?, payload);
        client.publish(reading.qos(QoS::AtLeastOnce)).await.ok()?;
    }
}
