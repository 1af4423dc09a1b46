//! How it looks. Drawing costs as much as there are lines, beside the message that is shown whole.

use super::app::{App, Connection, Focus, Prompt};
use super::glyph;
use super::grid::{Grid, Style};
use super::message::{self, Last};
use super::tree::NodeId;
use crossterm::style::Color;
use jiff::{SignedDuration, Zoned};
use std::time::Duration;

/// Lines and columns below which there is nothing to see.
const LEAST: (usize, usize) = (30, 10);

/// The keys, as the help has them.
const HELP: &[(&str, &str)] = &[
    ("↑ ↓  k j", "one row up, down"),
    ("PgUp PgDn", "one page up, down"),
    ("Home End  g G", "the first, the last row"),
    (
        "→ ←  l h",
        "open a branch and go into it; fold it and go out of it",
    ),
    ("Enter", "open or fold a branch"),
    ("+ -", "open or fold a branch and all in it"),
    ("/", "show topics that contain a text; Esc shows all"),
    ("p  Space", "stand still, while counting goes on; go on"),
    ("m", "payload: automatic, text, JSON, hexadecimal"),
    ("Tab", "keys move the topics, or the message"),
    ("[ ]", "less, more room for the message"),
    (
        "y Y",
        "copy the payload, the topic, to the clipboard (OSC 52)",
    ),
    (
        "x",
        "clear the retained message on the topic, after a question",
    ),
    ("Ctrl-L", "draw everything again"),
    ("q  Ctrl-C", "end"),
];

/// Draws the screen of this size; `started` is the time of day from which times count.
pub(super) fn draw(
    app: &mut App,
    (width, height): (usize, usize),
    now: Duration,
    started: &Zoned,
) -> Grid {
    let mut grid = Grid::new(width, height);
    if width < LEAST.0 || height < LEAST.1 {
        let text = format!("the terminal is smaller than {} x {}", LEAST.0, LEAST.1);
        grid.put((0, 0), width, &text, Style::PLAIN);
        return grid;
    }
    header(&mut grid, app, now);
    let pane = (height * app.percent / 100).clamp(3, height - 6);
    let shown_at = app.shown_at(now);
    topics(&mut grid, app, height - 4 - pane, shown_at);
    message(&mut grid, app, (height - 1 - pane, pane), shown_at, started);
    footer(&mut grid, app, now);
    if app.prompt == Prompt::Help {
        help(&mut grid);
    }
    grid
}

fn header(grid: &mut Grid, app: &App, now: Duration) {
    let width = grid.width();
    let (text, style) = match &app.connection {
        Connection::Connecting => ("connecting".to_owned(), Style::BOLD.coloured(Color::Yellow)),
        Connection::Connected(version) => (
            format!("connected, {version}"),
            Style::PLAIN.coloured(Color::Green),
        ),
        Connection::Lost { reason, next } => {
            let wait = next.saturating_sub(now).as_secs_f64();
            (
                format!("not connected; next attempt in {wait:.0} s: {reason}"),
                Style::BOLD.coloured(Color::Red),
            )
        }
    };
    let mut x = grid.put((1, 0), width, "martlet watch", Style::BOLD) + 3;
    x += grid.put((x, 0), width, &app.server, Style::PLAIN) + 2;
    grid.put((x, 0), width, &text, style);

    let root = app.tree.root();
    let mut parts = vec![
        (count(root.topics() as u64, "topic"), Style::PLAIN),
        (count(app.messages(), "message"), Style::PLAIN),
    ];
    if let Some(rate) = app.rate(now) {
        parts.push((rate_text(rate), Style::PLAIN));
    }
    let warning = Style::BOLD.coloured(Color::Yellow);
    if let Some(came) = app.paused() {
        let text = format!("PAUSED: {} came", count(came, "message"));
        parts.push((text, warning));
    }
    if let Some((text, topics)) = app.tree.narrowed() {
        let text = format!("filter {text:?}: {}", count(topics as u64, "topic"));
        parts.push((text, Style::PLAIN.coloured(Color::Cyan)));
    }
    if app.left_out() > 0 {
        let limits = app.tree.limits();
        let text = format!(
            "left out: {} on topics beyond the limit of {} or {} MiB",
            count(app.left_out(), "message"),
            count(limits.topics as u64, "topic"),
            limits.bytes >> 20
        );
        parts.push((text, warning));
    }
    if app.lost > 0 {
        parts.push((format!("{} lost", count(app.lost, "message")), warning));
    }
    let mut x = 1;
    for (text, style) in parts {
        x += grid.put((x, 1), width, &text, style) + 3;
    }
}

/// Where the columns of a row begin, and how wide they are.
struct Columns {
    name: usize,
    messages: usize,
    rate: usize,
    flags: usize,
    age: usize,
    payload: usize,
}

impl Columns {
    const MESSAGES: usize = 10;
    const RATE: usize = 9;
    const FLAGS: usize = 4;
    const AGE: usize = 5;

    fn of(width: usize) -> Self {
        let name = (width * 2 / 5).clamp(16, 70);
        let messages = name + 1;
        let rate = messages + Self::MESSAGES;
        let flags = rate + Self::RATE;
        let age = flags + Self::FLAGS;
        Self {
            name,
            messages,
            rate,
            flags,
            age,
            payload: age + Self::AGE + 2,
        }
    }
}

fn topics(grid: &mut Grid, app: &mut App, height: usize, now: Duration) {
    let width = grid.width();
    let columns = Columns::of(width);
    let titles = [
        (columns.messages, Columns::MESSAGES, "messages"),
        (columns.rate, Columns::RATE, "rate"),
        (columns.flags, Columns::FLAGS, "QR"),
        (columns.age, Columns::AGE, "age"),
    ];
    grid.paint(2, Style::DIM);
    grid.put((1, 2), columns.name, "topic", Style::DIM);
    for (x, wide, title) in titles.into_iter().filter(|(x, wide, _)| x + wide <= width) {
        grid.put_right((x, 2), wide, title, Style::DIM);
    }
    grid.put((columns.payload, 2), width, "payload", Style::DIM);
    for (line, id) in app.rows(height).into_iter().enumerate() {
        row(grid, app, (id, 3 + line), &columns, now);
    }
    if app.messages() == 0 {
        grid.put((1, 3), width, "no message has come yet", Style::DIM);
    }
}

fn row(grid: &mut Grid, app: &App, (id, y): (NodeId, usize), columns: &Columns, now: Duration) {
    let width = grid.width();
    let node = app.tree.node(id);
    let base = match app.selected() == Some(id) {
        true if app.focus == Focus::Topics => Style::PLAIN.reversed(),
        true => Style::DIM.reversed(),
        false => Style::PLAIN,
    };
    grid.paint(y, base);
    let indent = (2 * (node.depth() - 1)).min(columns.name / 2);
    let has_rows = app.tree.first_child(id).is_some();
    let marker = match (has_rows, app.tree.is_open(id)) {
        (false, _) => " ",
        (true, true) => "▾",
        (true, false) => "▸",
    };
    grid.put((indent, y), 1, marker, base);
    let name = match (node.name(), node.is_branch()) {
        ("", _) => "\"\"".to_owned(),
        (name, true) => format!("{name}  ({})", number(node.topics() as u64)),
        (name, false) => name.to_owned(),
    };
    grid.put((indent + 2, y), columns.name - indent - 2, &name, base);
    let mut figure = |x: usize, wide: usize, text: &str| {
        if x + wide <= width {
            grid.put_right((x, y), wide, text, base);
        }
    };
    figure(columns.messages, Columns::MESSAGES, &short(node.messages()));
    let rate = node.rate().at(now).filter(|rate| *rate > 0.0);
    figure(
        columns.rate,
        Columns::RATE,
        &rate.map_or(String::new(), rate_text),
    );
    let Some(last) = node.last() else { return };
    let retained = if last.is_retained == Some(true) {
        "R"
    } else {
        " "
    };
    figure(
        columns.flags,
        Columns::FLAGS,
        &format!("{}{retained}", last.qos),
    );
    figure(columns.age, Columns::AGE, &age(now.saturating_sub(last.at)));
    let room = width.saturating_sub(columns.payload);
    let text = message::preview(&last.payload, room);
    grid.put((columns.payload, y), room, &text, base);
}

/// The whole message, from this line on.
fn message(
    grid: &mut Grid,
    app: &mut App,
    (y, height): (usize, usize),
    now: Duration,
    started: &Zoned,
) {
    let width = grid.width();
    let style = match app.focus {
        Focus::Message => Style::BOLD,
        Focus::Topics => Style::DIM,
    };
    grid.put((0, y), width, &"─".repeat(width), style);
    let Some(selected) = app.selected() else {
        return;
    };
    let node = app.tree.node(selected);
    let title = format!(" {} ", app.tree.topic(selected));
    grid.put((2, y), width.saturating_sub(4), &title, Style::BOLD);
    let room = height - 2;
    let Some(last) = node.last() else {
        let topics = count(node.topics() as u64, "topic");
        let text = format!("a branch of {topics}; no message has come on exactly this one");
        grid.put((1, y + 1), width, &text, Style::DIM);
        return;
    };
    let (lines, kind) = message::lines(&last.payload, app.mode);
    let facts = facts(last, kind, now, started);
    grid.put((1, y + 1), width, &facts, Style::DIM);
    let mut shown: Vec<(Vec<glyph::Glyph>, Style)> = Vec::new();
    let more = (last.left_out > 0).then(|| {
        let text = format!("{} not kept: the memory is full", last.left_out);
        ("more".to_owned(), text)
    });
    for (name, value) in last.properties.iter().chain(&more) {
        for line in glyph::wrap(&format!("{name}: {value}"), width - 2) {
            shown.push((line, Style::PLAIN.coloured(Color::Cyan)));
        }
    }
    for line in &lines {
        let wrapped = glyph::wrap(line, width - 2).into_iter();
        shown.extend(wrapped.map(|line| (line, Style::PLAIN)));
    }
    app.scroll = app.scroll.min(shown.len().saturating_sub(room));
    let hidden = shown.len().saturating_sub(room + app.scroll);
    let visible = shown.iter().skip(app.scroll).take(room).enumerate();
    for (line, (glyphs, style)) in visible {
        grid.put_glyphs((1, y + 2 + line), glyphs, *style);
    }
    if hidden > 0 || app.scroll > 0 {
        let text = format!(" {} lines above, {hidden} below ", app.scroll);
        let columns = glyph::width(&text).min(width);
        grid.put_right((width - columns, y), columns, &text, style);
    }
}

/// What is known of a message beside its properties and its payload.
fn facts(last: &Last, kind: &str, now: Duration, started: &Zoned) -> String {
    let came = SignedDuration::try_from(last.at).unwrap_or_default();
    let came = started.checked_add(came).map_or_else(
        |_| String::new(),
        |time| time.strftime("%H:%M:%S").to_string(),
    );
    let mut text = format!(
        "QoS {}  {}{}  {kind}  {came}, {} ago  {} on this topic",
        last.qos,
        if last.retain { "retain flag  " } else { "" },
        count(last.length as u64, "byte"),
        age(now.saturating_sub(last.at)),
        count(last.messages, "message"),
    );
    if last.payload.len() < last.length {
        let kept = number(last.payload.len() as u64);
        text.push_str(&format!("  ONLY THE FIRST {kept} BYTES ARE KEPT"));
    }
    text
}

fn footer(grid: &mut Grid, app: &App, now: Duration) {
    let (width, y) = (grid.width(), grid.height() - 1);
    let question = Style::BOLD.coloured(Color::Yellow);
    let (text, style) = match &app.prompt {
        Prompt::Filter(text) => {
            let text = format!("/{text}_   Enter: done  Esc: all topics");
            (text, Style::BOLD)
        }
        Prompt::Clear(topic) => {
            // The question must not be pushed away by a long topic.
            const QUESTION: &str = "y: yes, any other key: no. Clear the retained message on ";
            let used = grid.put((1, y), width, QUESTION, question);
            grid.put((1 + used, y), width, topic, question.reversed());
            return;
        }
        Prompt::None | Prompt::Help => match app.notice(now) {
            Some(notice) => (notice.to_owned(), Style::BOLD),
            None => (
                "?: help  /: filter  p: pause  y: copy  x: clear retained  q: end".to_owned(),
                Style::DIM,
            ),
        },
    };
    grid.put((1, y), width.saturating_sub(1), &text, style);
}

fn help(grid: &mut Grid) {
    let keys = HELP
        .iter()
        .map(|(keys, _)| glyph::width(keys))
        .max()
        .unwrap_or(0);
    let texts = HELP
        .iter()
        .map(|(_, text)| glyph::width(text))
        .max()
        .unwrap_or(0);
    let width = (keys + texts + 6).min(grid.width());
    let height = (HELP.len() + 4).min(grid.height());
    let (x, y) = ((grid.width() - width) / 2, (grid.height() - height) / 2);
    grid.clear((x, y), width, height);
    grid.put((x, y), width, &"─".repeat(width), Style::DIM);
    grid.put((x + 2, y), width - 4, " keys ", Style::BOLD);
    for (line, (key, text)) in HELP.iter().enumerate().take(height - 2) {
        let room = width - 4;
        grid.put((x + 2, y + 1 + line), keys.min(room), key, Style::BOLD);
        let room = room.saturating_sub(keys + 2);
        grid.put((x + 4 + keys, y + 1 + line), room, text, Style::PLAIN);
    }
    let end = y + height - 1;
    grid.put(
        (x + 2, end - 1),
        width - 4,
        "R in a row: the server has a retained message there",
        Style::DIM,
    );
    grid.put((x, end), width, &"─".repeat(width), Style::DIM);
}

/// With a comma for each thousand.
fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number of things.
fn count(things: u64, name: &str) -> String {
    let end = if things == 1 { "" } else { "s" };
    format!("{} {name}{end}", number(things))
}

/// In at most nine columns.
fn short(messages: u64) -> String {
    match messages {
        ..10_000_000 => number(messages),
        _ => format!("{} M", number(messages / 1_000_000)),
    }
}

fn rate_text(rate: f64) -> String {
    match rate {
        ..99.95 => format!("{rate:.1}/s"),
        _ => format!("{}/s", number(rate.round() as u64)),
    }
}

fn age(age: Duration) -> String {
    let seconds = age.as_secs();
    match seconds {
        ..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m", seconds / 60),
        3_600..86_400 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests;
