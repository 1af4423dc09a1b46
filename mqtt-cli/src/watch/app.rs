//! What the command knows and what becomes of each event: no terminal, no clock, no client.

use super::message::{Arrival, Last, Mode};
use super::tree::{NodeId, Tree};
use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use std::time::Duration;

/// Longer texts of a filter are not taken.
const MAX_FILTER: usize = 200;

/// How long a notice stays.
const NOTICE: Duration = Duration::from_secs(10);

/// How the connection is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Connection {
    Connecting,
    /// The version that it speaks.
    Connected(String),
    /// Why, and when the next attempt begins.
    Lost {
        reason: String,
        next: Duration,
    },
}

/// What happens.
#[derive(Debug)]
pub(super) enum Event<'a> {
    Message(&'a Arrival<'a>),
    Key(KeyEvent),
    Connection(Connection),
    /// Something to be read, such as a rejected filter.
    Notice(String),
    /// Messages were lost on the way to the view.
    Lost(u64),
    /// The server has taken the message that clears a retained one, or not.
    Cleared {
        topic: String,
        result: Result<(), String>,
    },
}

/// What is to be done about it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Effect {
    Quit,
    /// Hand this to the clipboard.
    Copy(Vec<u8>),
    /// Publish an empty retained message on this topic.
    Clear(String),
    /// Draw everything again: something else has written to the terminal.
    Redraw,
}

/// What keys move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Focus {
    Topics,
    Message,
}

/// What keys are for, where they are not commands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Prompt {
    None,
    /// The text of the filter is typed.
    Filter(String),
    /// Whether the retained message on this topic is to be cleared.
    Clear(String),
    Help,
}

/// While the view stands still.
#[derive(Debug)]
struct Pause {
    since: Duration,
    /// What has come since then.
    later: Tree,
}

/// Everything that is shown.
#[derive(Debug)]
pub(super) struct App {
    /// The server's address, without secrets.
    pub(super) server: String,
    pub(super) tree: Tree,
    pause: Option<Pause>,
    pub(super) connection: Connection,
    pub(super) focus: Focus,
    pub(super) prompt: Prompt,
    pub(super) mode: Mode,
    /// Lines of the message that are above its pane.
    pub(super) scroll: usize,
    /// The part of the screen that the message has.
    pub(super) percent: usize,
    pub(super) lost: u64,
    selected: Option<NodeId>,
    top: Option<NodeId>,
    /// Rows that were shown last: a page.
    page: usize,
    notice: Option<(String, Duration)>,
}

impl App {
    pub(super) fn new(server: String, tree: Tree) -> Self {
        Self {
            server,
            tree,
            pause: None,
            connection: Connection::Connecting,
            focus: Focus::Topics,
            prompt: Prompt::None,
            mode: Mode::Auto,
            scroll: 0,
            percent: 35,
            lost: 0,
            selected: None,
            top: None,
            page: 1,
            notice: None,
        }
    }

    /// Takes an event; the time counts from the start of the command.
    pub(super) fn update(&mut self, event: Event<'_>, now: Duration) -> Option<Effect> {
        match event {
            Event::Message(arrival) => match &mut self.pause {
                Some(pause) => pause.later.add_later(arrival, now, &self.tree),
                None => self.tree.add(arrival, now),
            },
            Event::Key(key) if key.kind != KeyEventKind::Release => return self.key(key, now),
            Event::Key(_) => {}
            Event::Connection(connection) => self.connection = connection,
            Event::Notice(text) => self.notice = Some((text, now)),
            Event::Lost(messages) => self.lost += messages,
            Event::Cleared { topic, result } => {
                let text = match result {
                    Ok(()) => {
                        self.tree.forget_retained(&topic);
                        if let Some(pause) = &mut self.pause {
                            pause.later.forget_retained(&topic);
                        }
                        format!("cleared the retained message on {topic}")
                    }
                    Err(error) => {
                        format!("the retained message on {topic} is not cleared: {error}")
                    }
                };
                self.notice = Some((text, now));
            }
        }
        None
    }

    /// Messages in all, those that wait behind a pause too.
    pub(super) fn messages(&self) -> u64 {
        self.tree.root().messages() + self.paused().unwrap_or(0)
    }

    /// Messages a second, those that wait behind a pause too.
    pub(super) fn rate(&self, now: Duration) -> Option<f64> {
        let mut rate = *self.tree.root().rate();
        if let Some(pause) = &self.pause {
            rate.merge(pause.later.root().rate());
        }
        rate.at(now)
    }

    /// Messages that have come since the view stands still.
    pub(super) fn paused(&self) -> Option<u64> {
        self.pause
            .as_ref()
            .map(|pause| pause.later.root().messages())
    }

    /// Messages on topics for which there was no room.
    pub(super) fn left_out(&self) -> u64 {
        let later = self
            .pause
            .as_ref()
            .map_or(0, |pause| pause.later.left_out());
        self.tree.left_out() + later
    }

    /// The time of what is shown.
    pub(super) fn shown_at(&self, now: Duration) -> Duration {
        self.pause.as_ref().map_or(now, |pause| pause.since)
    }

    pub(super) fn notice(&self, now: Duration) -> Option<&str> {
        let (text, since) = self.notice.as_ref()?;
        (now.saturating_sub(*since) < NOTICE).then_some(text)
    }

    pub(super) fn selected(&self) -> Option<NodeId> {
        self.selected
    }

    /// The message that is shown whole.
    pub(super) fn last(&self) -> Option<&Last> {
        self.tree.node(self.selected?).last()
    }

    /// The rows that are shown in this many lines, with the selected one among them.
    pub(super) fn rows(&mut self, height: usize) -> Vec<NodeId> {
        self.page = height.max(1);
        let visible = |id: Option<NodeId>| id.and_then(|id| self.tree.visible(id));
        let first = self.tree.first();
        self.selected = visible(self.selected).or(first);
        self.top = visible(self.top).or(first);
        let (Some(selected), Some(top)) = (self.selected, self.top) else {
            return Vec::new();
        };
        let mut rows = self.rows_from(top, height);
        if !rows.contains(&selected) {
            let top = match self.tree.is_above(selected, top) {
                true => selected,
                false => self.up(selected, height.saturating_sub(1)),
            };
            rows = self.rows_from(top, height);
        }
        if let Some(last) = rows.last().filter(|_| rows.len() < height) {
            // Lines do not stay empty while there are rows above.
            let top = self.up(*last, height - 1);
            rows = self.rows_from(top, height);
        }
        self.top = rows.first().copied();
        rows
    }

    fn rows_from(&self, top: NodeId, height: usize) -> Vec<NodeId> {
        let below = |id: &NodeId| self.tree.below(*id);
        std::iter::successors(Some(top), below)
            .take(height)
            .collect()
    }

    fn up(&self, from: NodeId, rows: usize) -> NodeId {
        (0..rows)
            .try_fold(from, |id, _| self.tree.above(id).ok_or(id))
            .unwrap_or_else(|id| id)
    }

    fn down(&self, from: NodeId, rows: usize) -> NodeId {
        (0..rows)
            .try_fold(from, |id, _| self.tree.below(id).ok_or(id))
            .unwrap_or_else(|id| id)
    }

    fn say(&mut self, text: impl Into<String>, now: Duration) {
        self.notice = Some((text.into(), now));
    }
}

/// Keys.
impl App {
    fn key(&mut self, key: KeyEvent, now: Duration) -> Option<Effect> {
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return match key.code {
                KeyCode::Char('c') => Some(Effect::Quit),
                KeyCode::Char('l') => Some(Effect::Redraw),
                _ => None,
            };
        }
        self.notice = None;
        match std::mem::replace(&mut self.prompt, Prompt::None) {
            Prompt::None => self.command(key.code, now),
            Prompt::Filter(text) => {
                self.type_filter(text, key.code);
                None
            }
            Prompt::Clear(topic) if key.code == KeyCode::Char('y') => {
                self.say(format!("clearing the retained message on {topic} …"), now);
                Some(Effect::Clear(topic))
            }
            Prompt::Clear(_) => {
                self.say("nothing was cleared", now);
                None
            }
            // Any key ends the help.
            Prompt::Help => None,
        }
    }

    fn type_filter(&mut self, mut text: String, key: KeyCode) {
        match key {
            KeyCode::Enter => return,
            KeyCode::Esc => {
                self.tree.narrow("");
                return;
            }
            KeyCode::Backspace => drop(text.pop()),
            KeyCode::Char(c) if text.len() < MAX_FILTER => text.push(c),
            _ => {}
        }
        self.tree.narrow(&text);
        self.prompt = Prompt::Filter(text);
    }

    fn command(&mut self, key: KeyCode, now: Duration) -> Option<Effect> {
        match key {
            KeyCode::Char('q') => return Some(Effect::Quit),
            KeyCode::Char('?') => self.prompt = Prompt::Help,
            KeyCode::Char('/') => {
                let text = self.tree.narrowed().map_or("", |(text, _)| text);
                self.prompt = Prompt::Filter(text.to_owned());
            }
            KeyCode::Esc => self.tree.narrow(""),
            KeyCode::Char('p' | ' ') => self.pause(now),
            KeyCode::Char('m') => {
                self.mode = self.mode.next();
                self.scroll = 0;
            }
            KeyCode::Char('[') => self.percent = self.percent.saturating_sub(5).max(10),
            KeyCode::Char(']') => self.percent = (self.percent + 5).min(80),
            KeyCode::Tab => {
                self.focus = match self.focus {
                    Focus::Topics => Focus::Message,
                    Focus::Message => Focus::Topics,
                }
            }
            KeyCode::Char('y') => return self.copy_payload(now),
            KeyCode::Char('Y') => return self.copy_topic(now),
            KeyCode::Char('x') => self.ask_to_clear(now),
            key if self.focus == Focus::Message => self.scroll(key),
            key => self.move_selection(key),
        }
        None
    }

    fn pause(&mut self, now: Duration) {
        match self.pause.take() {
            Some(pause) => self.tree.merge(pause.later),
            None => {
                self.pause = Some(Pause {
                    since: now,
                    later: self.tree.later(),
                });
            }
        }
    }

    fn copy_payload(&mut self, now: Duration) -> Option<Effect> {
        let Some(last) = self.last() else {
            self.say("no message here: choose a topic", now);
            return None;
        };
        let (bytes, length) = (last.payload.clone(), last.length);
        let what = match bytes.len() == length {
            true => format!("the payload, {length} bytes,"),
            false => format!("the first {} of {length} bytes of the payload", bytes.len()),
        };
        self.say_copied(&what, now);
        Some(Effect::Copy(bytes))
    }

    fn copy_topic(&mut self, now: Duration) -> Option<Effect> {
        let topic = self.tree.topic(self.selected?);
        self.say_copied("the topic", now);
        Some(Effect::Copy(topic.into_bytes()))
    }

    fn say_copied(&mut self, what: &str, now: Duration) {
        let text = format!(
            "sent {what} to the terminal's clipboard (OSC 52); a terminal does not say if it refuses"
        );
        self.say(text, now);
    }

    fn ask_to_clear(&mut self, now: Duration) {
        match (self.selected, self.last()) {
            (Some(selected), Some(_)) => self.prompt = Prompt::Clear(self.tree.topic(selected)),
            _ => self.say("no message here: choose a topic", now),
        }
    }

    fn scroll(&mut self, key: KeyCode) {
        // The view knows where the end is.
        self.scroll = match key {
            KeyCode::Up | KeyCode::Char('k') => self.scroll.saturating_sub(1),
            KeyCode::Down | KeyCode::Char('j') => self.scroll + 1,
            KeyCode::PageUp => self.scroll.saturating_sub(10),
            KeyCode::PageDown => self.scroll + 10,
            KeyCode::Home | KeyCode::Char('g') => 0,
            _ => self.scroll,
        };
    }

    fn move_selection(&mut self, key: KeyCode) {
        let Some(selected) = self.selected.and_then(|id| self.tree.visible(id)) else {
            return;
        };
        let page = self.page.saturating_sub(1).max(1);
        let to = match key {
            KeyCode::Up | KeyCode::Char('k') => self.up(selected, 1),
            KeyCode::Down | KeyCode::Char('j') => self.down(selected, 1),
            KeyCode::PageUp => self.up(selected, page),
            KeyCode::PageDown => self.down(selected, page),
            KeyCode::Home | KeyCode::Char('g') => self.tree.first().unwrap_or(selected),
            KeyCode::End | KeyCode::Char('G') => self.tree.last().unwrap_or(selected),
            KeyCode::Right | KeyCode::Char('l') => self.open(selected),
            KeyCode::Left | KeyCode::Char('h') => self.fold(selected),
            KeyCode::Enter => {
                let is_open = self.tree.is_open(selected);
                self.tree.set_open(selected, !is_open);
                selected
            }
            KeyCode::Char('+' | '*') => {
                self.tree.set_all_open(selected, true);
                selected
            }
            KeyCode::Char('-') => {
                self.tree.set_all_open(selected, false);
                selected
            }
            _ => selected,
        };
        if to != selected {
            self.scroll = 0;
        }
        self.selected = Some(to);
    }

    fn open(&mut self, id: NodeId) -> NodeId {
        match self.tree.is_open(id) {
            true => self.tree.first_child(id).unwrap_or(id),
            false => {
                self.tree.set_open(id, true);
                id
            }
        }
    }

    fn fold(&mut self, id: NodeId) -> NodeId {
        let is_open = self.tree.is_open(id) && self.tree.first_child(id).is_some();
        match is_open {
            true => {
                self.tree.set_open(id, false);
                id
            }
            false => self.tree.parent(id).unwrap_or(id),
        }
    }
}

#[cfg(test)]
mod tests;
