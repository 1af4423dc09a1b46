use super::*;
use crate::watch::app::Event;
use crate::watch::message::Arrival;
use crate::watch::tree::{Limits, Tree};
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

const LIMITS: Limits = Limits {
    topics: 100_000,
    bytes: 256 * 1024 * 1024,
    payload: 16 * 1024,
};

fn app(limits: Limits) -> App {
    let mut app = App::new("mqtt://broker.example".to_owned(), Tree::new(limits, 1));
    let connected = Connection::Connected("MQTT 5".to_owned());
    app.update(Event::Connection(connected), Duration::ZERO);
    app
}

fn arrive(app: &mut App, seconds: u64, topic: &str, payload: &[u8], retain: bool) {
    let arrival = Arrival {
        topic,
        payload,
        qos: u8::from(retain),
        retain,
        properties: Vec::new(),
    };
    app.update(Event::Message(&arrival), Duration::from_secs(seconds));
}

fn key(app: &mut App, code: KeyCode) {
    let key = KeyEvent::new(code, KeyModifiers::NONE);
    app.update(Event::Key(key), Duration::from_secs(10));
}

fn screen(app: &mut App, size: (usize, usize)) -> String {
    let started: Zoned = "2026-11-30T22:20:50+00:00[UTC]".parse().unwrap();
    draw(app, size, Duration::from_secs(10), &started).text()
}

/// The lines from one that holds this on.
#[track_caller]
fn from<'a>(screen: &'a str, part: &str) -> Vec<&'a str> {
    let lines: Vec<_> = screen
        .lines()
        .skip_while(|line| !line.contains(part))
        .collect();
    assert!(!lines.is_empty(), "{part} is not in\n{screen}");
    lines
}

#[test]
fn a_screen() {
    let mut app = app(LIMITS);
    arrive(&mut app, 2, "home/kitchen/temp", b"21.5", true);
    for second in 5..10 {
        arrive(&mut app, second, "home/bath/temp", b"19.0", false);
    }
    arrive(&mut app, 9, "lamp", br#"{"on":true,"level":7}"#, true);
    screen(&mut app, (90, 18));
    key(&mut app, KeyCode::End);
    let expected = r#"
 martlet watch  mqtt://broker.example  connected, MQTT 5
 3 topics   7 messages   1.2/s
 topic                                 messages     rate  QR  age  payload
▾ home  (2)                                   6    1.0/s
  ▸ bath  (1)                                 5    1.0/s
  ▸ kitchen  (1)                              1
  lamp                                        1    0.2/s  1R   1s  {"on":true,"level":7}




── lamp ──────────────────────────────────────────────────────────────────────────────────
 QoS 1  retain flag  21 bytes  JSON  22:20:59, 1s ago  1 message on this topic
 {
   "on":  true,
   "level":  7
 }
 ?: help  /: filter  p: pause  y: copy  x: clear retained  q: end
"#;
    let expected = expected.trim_start_matches('\n');
    assert_eq!(screen(&mut app, (90, 18)), expected);
}

#[test]
fn text_of_others_is_escaped_everywhere() {
    let mut app = app(LIMITS);
    let evil = "a\x1b[2J\u{202e}b\u{9b}";
    arrive(&mut app, 1, evil, b"\x1b]0;title\x07\xff\xe2\x80\xae", true);
    let reason = "gone\x1b[2J".to_owned();
    let next = Duration::from_secs(13);
    app.update(
        Event::Connection(Connection::Lost { reason, next }),
        Duration::ZERO,
    );
    for (code, part) in [
        (KeyCode::Char('m'), r"a\x1b[2J\u{202e}b\u{9b}"),
        (
            KeyCode::Char('x'),
            "Clear the retained message on a\\x1b[2J\\u{202e}b",
        ),
        (KeyCode::Char('n'), r"gone\x1b[2J"),
        (KeyCode::Char('m'), r"\x1b]0;title\x07\xff\u{202e}"),
    ] {
        key(&mut app, code);
        let screen = screen(&mut app, (150, 20));
        assert!(screen.contains(part), "{part}: {screen}");
        let acts = |c: char| c != '\n' && crate::escape::is_active(c);
        assert!(!screen.contains(acts), "{screen:?}");
    }
}

#[test]
fn the_header_says_what_is_wrong() {
    let mut app = app(Limits {
        topics: 1,
        ..LIMITS
    });
    arrive(&mut app, 1, "a", b"x", false);
    arrive(&mut app, 1, "b", b"x", false);
    let reason = "the server closed the connection".to_owned();
    let next = Duration::from_secs(14);
    app.update(
        Event::Connection(Connection::Lost { reason, next }),
        Duration::ZERO,
    );
    app.update(Event::Lost(3), Duration::ZERO);
    key(&mut app, KeyCode::Char('p'));
    arrive(&mut app, 10, "a", b"later", false);
    let screen = screen(&mut app, (200, 20));
    for part in [
        "not connected; next attempt in 4 s: the server closed the connection",
        "1 topic   3 messages",
        "PAUSED: 1 message came",
        "left out: 1 message on topics beyond the limit of 1 topic or 256 MiB",
        "3 messages lost",
    ] {
        assert!(screen.contains(part), "{part}: {screen}");
    }
    assert!(!screen.contains("later"), "{screen}");
}

#[test]
fn a_long_message_is_scrolled() {
    let mut app = app(LIMITS);
    let lines: String = (0..100).map(|line| format!("line {line}\n")).collect();
    arrive(&mut app, 1, "a", lines.as_bytes(), false);
    let shown = screen(&mut app, (80, 20));
    let pane = from(&shown, "0 lines above");
    assert_eq!((pane[2], pane[6]), (" line 0", " line 4"));
    assert!(pane[0].contains("95 below"), "{pane:?}");
    key(&mut app, KeyCode::Tab);
    key(&mut app, KeyCode::Down);
    assert_eq!(
        from(&screen(&mut app, (80, 20)), "1 lines above")[2],
        " line 1"
    );
    for _ in 0..20 {
        key(&mut app, KeyCode::PageDown);
    }
    assert_eq!(
        from(&screen(&mut app, (80, 20)), "95 lines above")[6],
        " line 99"
    );
    key(&mut app, KeyCode::Up);
    assert_eq!(
        from(&screen(&mut app, (80, 20)), "94 lines above")[2],
        " line 94"
    );
    arrive(&mut app, 2, "a", &[b'x'; 20_000], false);
    let screen = screen(&mut app, (120, 20));
    assert!(
        screen.contains("20,000 bytes") && screen.contains("FIRST 16,384 BYTES"),
        "{screen}"
    );
}

/// No size and no message makes it panic.
#[test]
fn every_size_can_be_drawn() {
    let mut app = app(LIMITS);
    for topic in ["日本/語/e\u{301}", "", "/", "a/b/c/d/e/f/g/h/i/j/k"] {
        arrive(
            &mut app,
            1,
            topic,
            "日本\u{200b}語".repeat(300).as_bytes(),
            true,
        );
    }
    key(&mut app, KeyCode::Char('+'));
    for keys in ["", "?", "/日", "x", "]]]]]]]]]]]", "[[[[[[[[[[[[["] {
        keys.chars().for_each(|c| key(&mut app, KeyCode::Char(c)));
        for width in (0..130).step_by(3) {
            for height in 0..40 {
                screen(&mut app, (width, height));
            }
        }
        key(&mut app, KeyCode::Esc);
    }
    for code in [KeyCode::Up, KeyCode::Down, KeyCode::End, KeyCode::Home] {
        key(&mut app, code);
        screen(&mut app, (40, 12));
    }
}

#[test]
fn figures_have_their_shape() {
    assert_eq!(number(0), "0");
    assert_eq!(number(1_234_567), "1,234,567");
    assert_eq!(number(123_456), "123,456");
    assert_eq!(short(9_999_999), "9,999,999");
    assert_eq!(short(12_345_678), "12 M");
    assert_eq!(
        (rate_text(0.2), rate_text(5_012.4)),
        ("0.2/s".into(), "5,012/s".into())
    );
    let ages = [59, 60, 3_600, 90_000].map(|seconds| age(Duration::from_secs(seconds)));
    assert_eq!(ages, ["59s", "1m", "1h", "1d"]);
}
