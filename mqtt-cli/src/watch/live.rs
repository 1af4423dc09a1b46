//! The loop: messages, keys and events of the connection become events of the [`App`], and a
//! screen follows at most twenty times a second.

use super::app::{App, Connection, Effect, Event};
use super::message::Arrival;
use super::terminal::Terminal;
use super::tree::Tree;
use super::view;
use crate::connection::{Plan, Session, lost_with};
use crate::exit::{Failure, Status, in_one_line};
use crate::signals::Signals;
use crossterm::event::Event as Input;
use crossterm::terminal;
use jiff::Zoned;
use martlet_tokio::session::ConnectionError;
use martlet_tokio::{Client, ClientEvent, Events, Message, QoS, Subscription, TopicFilter};
use std::future::pending;
use std::io;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};

/// Between two screens.
const FRAME: Duration = Duration::from_millis(50);

/// Messages that are taken before keys and the clock are looked at again.
const BATCH: usize = 1_000;

/// The streams of messages.
#[derive(Default)]
pub(super) struct Streams {
    stream: Option<Subscription>,
    unmatched: Option<Subscription>,
}

impl Streams {
    /// The next message; `None` when the client has stopped. Cancel safe.
    async fn next(&mut self) -> Option<Message> {
        tokio::select! {
            biased;
            message = next(&mut self.unmatched) => message,
            message = next(&mut self.stream) => message,
        }
    }

    fn try_next(&mut self) -> Option<Message> {
        let unmatched = self.unmatched.as_mut().and_then(Subscription::try_next);
        unmatched.or_else(|| self.stream.as_mut().and_then(Subscription::try_next))
    }
}

async fn next(stream: &mut Option<Subscription>) -> Option<Message> {
    match stream {
        Some(stream) => stream.next().await,
        None => pending().await,
    }
}

type Cleared = (String, Result<(), String>);

/// Messages under way that clear retained ones.
pub(super) struct Clearings {
    sender: mpsc::UnboundedSender<Cleared>,
    receiver: mpsc::UnboundedReceiver<Cleared>,
}

impl Clearings {
    fn new() -> Self {
        // One for each answer to a question.
        let (sender, receiver) = mpsc::unbounded_channel();
        Self { sender, receiver }
    }

    fn start(&self, client: &Client, topic: String) {
        let (client, sender) = (client.clone(), self.sender.clone());
        tokio::spawn(async move {
            let publish = client.publish(topic.as_str(), "").retain(true);
            let result = publish.qos(QoS::AtLeastOnce).await;
            let result = result.map(drop);
            let result = result.map_err(|error| Failure::of_publish(&error).to_string());
            // The command has ended where nobody receives it.
            let _ = sender.send((topic, result));
        });
    }

    /// What was not cleared, when the client has disconnected and every publish has its answer.
    pub(super) async fn failed(self) -> Vec<String> {
        let Self {
            sender,
            mut receiver,
        } = self;
        drop(sender);
        let mut failed = Vec::new();
        while let Some((topic, result)) = receiver.recv().await {
            if let Err(error) = result {
                failed.push(format!(
                    "the retained message on {topic:?} is not cleared: {error}"
                ));
            }
        }
        failed
    }
}

/// The view while it runs.
pub(super) struct Live<'a> {
    session: &'a Session,
    plan: &'a Plan,
    app: App,
    streams: Streams,
    clearings: Clearings,
    start: Instant,
    started: Zoned,
    is_changed: bool,
    was_connected: bool,
}

impl<'a> Live<'a> {
    pub(super) fn new(session: &'a Session, plan: &'a Plan, tree: Tree) -> Self {
        Self {
            session,
            plan,
            app: App::new(String::new(), tree),
            streams: Streams::default(),
            clearings: Clearings::new(),
            start: Instant::now(),
            started: Zoned::now(),
            is_changed: true,
            was_connected: false,
        }
    }

    /// What outlives the view.
    pub(super) fn end(self) -> (Streams, Clearings) {
        (self.streams, self.clearings)
    }

    /// Takes the terminal, and gives it back at the end.
    pub(super) async fn run(
        &mut self,
        mut events: Events,
        filters: &[(TopicFilter, QoS)],
        signals: &mut Signals,
    ) -> Result<(), Failure> {
        let mut terminal = Terminal::take().map_err(|error| wrong(&error))?;
        let mut size = terminal::size().map_err(|error| wrong(&error))?;
        let mut input = read_input();
        let mut frames = tokio::time::interval(FRAME);
        frames.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let subscribing = subscribe(&self.session.client, self.plan, filters);
        let mut subscribing = std::pin::pin!(subscribing);
        let mut is_subscribed = false;
        let mut second = 0;
        loop {
            tokio::select! {
                biased;
                // It is to run until it is stopped.
                _ = signals.next() => return Ok(()),
                event = input.recv() => match event {
                    Some(Ok(Input::Key(key))) => {
                        let effect = self.update(Event::Key(key));
                        if self.act(effect, &mut terminal)? {
                            return Ok(());
                        }
                    }
                    Some(Ok(Input::Resize(width, height))) => {
                        size = (width, height);
                        self.is_changed = true;
                    }
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return Err(wrong(&error)),
                    None => return Err(wrong(&io::ErrorKind::UnexpectedEof.into())),
                },
                event = events.next() => match event {
                    Some(event) => self.connection(&event)?,
                    None => return Err(self.session.stopped().await),
                },
                Some((topic, result)) = self.clearings.receiver.recv() => {
                    self.update(Event::Cleared { topic, result });
                }
                _ = frames.tick() => {
                    // Ages and rates change with each second.
                    let now = self.start.elapsed().as_secs();
                    if self.is_changed || now != second {
                        second = now;
                        self.is_changed = false;
                        let size = (size.0.into(), size.1.into());
                        let grid = view::draw(&mut self.app, size, self.start.elapsed(), &self.started);
                        terminal.show(grid).map_err(|error| wrong(&error))?;
                    }
                }
                stream = &mut subscribing, if !is_subscribed => {
                    is_subscribed = true;
                    let stream = stream?;
                    self.check_answer(filters, &stream);
                    self.streams.stream = Some(stream);
                    // Those of a session that goes on, and of filters that it has from before.
                    self.streams.unmatched = self.session.client.unmatched();
                }
                message = self.streams.next() => {
                    let Some(message) = message else {
                        return Err(self.session.stopped().await);
                    };
                    self.take(message);
                }
            }
        }
    }

    fn update(&mut self, event: Event<'_>) -> Option<Effect> {
        self.is_changed = true;
        self.app.update(event, self.start.elapsed())
    }

    /// Takes this message, and those that have come with it.
    fn take(&mut self, first: Message) {
        let mut next = Some(first);
        for _ in 0..BATCH {
            let Some(message) = next else { return };
            self.update(Event::Message(&Arrival::of(&message)));
            next = self.streams.try_next();
        }
        if let Some(message) = next {
            self.update(Event::Message(&Arrival::of(&message)));
        }
    }

    /// Does what a key asks for; returns whether it is the end.
    fn act(
        &mut self,
        effect: Option<Effect>,
        terminal: &mut Terminal<io::Stdout>,
    ) -> Result<bool, Failure> {
        match effect {
            Some(Effect::Quit) => return Ok(true),
            Some(Effect::Copy(bytes)) => terminal.copy(&bytes).map_err(|error| wrong(&error))?,
            Some(Effect::Clear(topic)) => self.clearings.start(&self.session.client, topic),
            Some(Effect::Redraw) => terminal.forget(),
            None => {}
        }
        Ok(false)
    }

    /// What happens beside messages. An error ends the view: no attempt follows.
    fn connection(&mut self, event: &ClientEvent) -> Result<(), Failure> {
        let lost = lost_with(event);
        if lost > 0 {
            self.update(Event::Lost(lost));
        }
        match event {
            ClientEvent::Connecting(server) => {
                self.app.server = server.to_string();
                self.update(Event::Connection(Connection::Connecting));
            }
            ClientEvent::Connected(connected) => {
                self.was_connected = true;
                let version = connected.version.to_string();
                self.update(Event::Connection(Connection::Connected(version)));
            }
            ClientEvent::Disconnected {
                reason,
                retry_in: None,
            } => return Err(Failure::of_connection(reason, self.was_connected)),
            ClientEvent::Disconnected {
                reason,
                retry_in: Some(wait),
            } => {
                let reason = match reason {
                    ConnectionError::ClosedByPeer => "the server closed the connection".to_owned(),
                    reason => in_one_line(reason.clone()),
                };
                let next = self.start.elapsed() + *wait;
                self.update(Event::Connection(Connection::Lost { reason, next }));
            }
            ClientEvent::Resubscribed(filters) => {
                for (filter, reason) in filters.iter().filter(|(_, reason)| reason.is_error()) {
                    let filter = filter.as_str();
                    self.update(Event::Notice(format!(
                        "the server rejected {filter:?}: {reason}"
                    )));
                }
            }
            ClientEvent::InboundDropped(_)
            | ClientEvent::Discarded { .. }
            | ClientEvent::MessageRejected(_)
            | ClientEvent::MessageSkipped { .. }
            | ClientEvent::RequestFailed { .. }
            | ClientEvent::TrustNotReloaded(_)
            | ClientEvent::StoreFailed(_)
            | ClientEvent::Missed(_)
            | ClientEvent::StoreRecovered => {
                self.update(Event::Notice(event.to_string()));
            }
            _ => {}
        }
        Ok(())
    }

    /// The server may have rejected some of the filters; the others go on.
    fn check_answer(&mut self, filters: &[(TopicFilter, QoS)], stream: &Subscription) {
        for ((filter, qos), reason) in filters.iter().zip(stream.reasons()) {
            let filter = filter.as_str();
            if reason.is_error() {
                self.update(Event::Notice(format!(
                    "the server rejected {filter:?}: {reason}"
                )));
            } else if reason.as_u8() < *qos as u8 {
                let granted = reason.as_u8();
                let text = format!("the server granted QoS {granted} for {filter:?}");
                self.update(Event::Notice(text));
            }
        }
    }
}

/// Subscribes once there is a connection, however long that takes.
async fn subscribe(
    client: &Client,
    plan: &Plan,
    filters: &[(TopicFilter, QoS)],
) -> Result<Subscription, Failure> {
    let connected = client.connected().await;
    connected.map_err(|error| Failure::of_connect(&error))?;
    let mut subscribe = client.subscribe_all(filters.iter().cloned());
    // The flag of what is published later says what the server keeps.
    subscribe = subscribe.without_identifier().retain_as_published();
    if plan.is_lasting {
        subscribe = subscribe.keep_on_server();
    }
    if !plan.properties.subscribe.is_empty() {
        subscribe = subscribe.user_properties(plan.properties.subscribe.clone());
    }
    subscribe
        .await
        .map_err(|error| Failure::of_subscribe(&error))
}

/// Reads keys on a thread of its own: reading blocks. It is not waited for at the end.
fn read_input() -> mpsc::Receiver<io::Result<Input>> {
    let (sender, receiver) = mpsc::channel(64);
    std::thread::spawn(move || {
        loop {
            let event = crossterm::event::read();
            let is_over = event.is_err();
            if sender.blocking_send(event).is_err() || is_over {
                return;
            }
        }
    });
    receiver
}

fn wrong(error: &io::Error) -> Failure {
    Failure::new(Status::Failed, format!("the terminal: {error}"))
}
