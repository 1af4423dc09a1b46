use super::*;
use crate::watch::tree::Limits;

pub(in crate::watch) const LIMITS: Limits = Limits {
    topics: 100_000,
    bytes: 256 * 1024 * 1024,
    payload: 16 * 1024,
};

/// A view that has got a message on each of these topics.
fn app(topics: &[&str]) -> App {
    let mut app = App::new("mqtt://example".to_owned(), Tree::new(LIMITS, 1));
    for topic in topics {
        arrive(&mut app, topic, b"x", false);
    }
    app.rows(10);
    app
}

fn arrive(app: &mut App, topic: &str, payload: &[u8], retain: bool) {
    let arrival = Arrival {
        topic,
        payload,
        qos: 1,
        retain,
        properties: Vec::new(),
    };
    assert_eq!(app.update(Event::Message(&arrival), Duration::ZERO), None);
}

/// Presses keys: a character each, and `↑↓←→` as they say, `⏎` Enter, `⎋` Escape, `⌫` Backspace.
fn press(app: &mut App, keys: &str) -> Option<Effect> {
    let mut effect = None;
    for key in keys.chars() {
        let code = match key {
            '↑' => KeyCode::Up,
            '↓' => KeyCode::Down,
            '←' => KeyCode::Left,
            '→' => KeyCode::Right,
            '⏎' => KeyCode::Enter,
            '⎋' => KeyCode::Esc,
            '⌫' => KeyCode::Backspace,
            '⇞' => KeyCode::PageUp,
            '⇟' => KeyCode::PageDown,
            key => KeyCode::Char(key),
        };
        let event = Event::Key(KeyEvent::new(code, KeyModifiers::NONE));
        effect = app.update(event, Duration::from_secs(1));
        app.rows(10);
    }
    effect
}

fn selected(app: &App) -> String {
    app.tree.topic(app.selected().unwrap())
}

fn rows(app: &mut App, height: usize) -> Vec<String> {
    let rows = app.rows(height);
    assert!(
        rows.contains(&app.selected().unwrap()),
        "the selected row is shown"
    );
    rows.into_iter().map(|id| app.tree.topic(id)).collect()
}

#[test]
fn keys_move_through_the_tree() {
    let mut app = app(&["a/1/x", "a/2", "b"]);
    for (keys, expected) in [
        ("", "a"),
        ("↓", "a/1"),
        ("→", "a/1"),
        ("→", "a/1/x"),
        ("←", "a/1"),
        ("←", "a/1"),
        ("j", "a/2"),
        ("→", "a/2"),
        ("G", "b"),
        ("↓", "b"),
        ("g", "a"),
        ("↑", "a"),
        ("⏎↓", "b"),
        ("↑+", "a"),
        ("↓↓", "a/1/x"),
        ("⇞", "a"),
        ("⇟", "b"),
    ] {
        press(&mut app, keys);
        assert_eq!(selected(&app), expected, "{keys}");
    }
}

#[test]
fn the_selected_row_is_always_shown() {
    let topics: Vec<String> = (10..60).map(|number| number.to_string()).collect();
    let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
    let mut app = app(&topics);
    assert_eq!(rows(&mut app, 3), ["10", "11", "12"]);
    let id = app.tree.find("30");
    app.selected = id;
    assert_eq!(rows(&mut app, 3), ["28", "29", "30"]);
    app.selected = app.tree.find("29");
    assert_eq!(
        rows(&mut app, 3),
        ["28", "29", "30"],
        "it does not move without a need"
    );
    app.selected = app.tree.find("20");
    assert_eq!(rows(&mut app, 3), ["20", "21", "22"]);
    // What comes above does not push the rows away; what comes between does.
    arrive(&mut app, "15/new", b"x", false);
    arrive(&mut app, "200", b"x", false);
    assert_eq!(rows(&mut app, 3), ["20", "200", "21"]);
    app.selected = app.tree.find("59");
    assert_eq!(rows(&mut app, 3), ["57", "58", "59"]);
    assert_eq!(rows(&mut app, 5), ["55", "56", "57", "58", "59"]);
    app.tree.narrow("5");
    assert_eq!(rows(&mut app, 2), ["58", "59"]);
    app.tree.narrow("15");
    assert_eq!(rows(&mut app, 9), ["15", "15/new"]);
    app.tree.narrow("no such topic");
    assert_eq!(app.rows(9), []);
    assert_eq!(app.selected(), None);
    press(&mut app, "↓yYx");
    app.tree.narrow("");
    assert_eq!(rows(&mut app, 2), ["10", "11"]);
}

#[test]
fn a_filter_is_typed() {
    let mut app = app(&["kitchen/q", "bath/q", "hall"]);
    assert_eq!(press(&mut app, "/q"), None, "it is no command here");
    assert_eq!(app.prompt, Prompt::Filter("q".to_owned()));
    assert_eq!(
        rows(&mut app, 9),
        ["bath", "bath/q", "kitchen", "kitchen/q"]
    );
    press(&mut app, "⌫KIT⏎");
    assert_eq!(app.prompt, Prompt::None);
    assert_eq!(rows(&mut app, 9), ["kitchen", "kitchen/q"]);
    press(&mut app, "/⎋");
    assert_eq!(rows(&mut app, 9).len(), 5);
    press(&mut app, "/hall⏎⎋");
    assert_eq!(app.tree.narrowed(), None);
}

#[test]
fn a_pause_stops_the_view_and_not_the_counting() {
    let mut app = app(&["a", "b"]);
    press(&mut app, "p");
    arrive(&mut app, "a", b"later", false);
    arrive(&mut app, "c", b"x", false);
    assert_eq!(rows(&mut app, 9), ["a", "b"]);
    assert_eq!(app.last().unwrap().payload, b"x");
    assert_eq!((app.paused(), app.messages()), (Some(2), 4));
    assert_eq!(app.shown_at(Duration::from_secs(9)), Duration::from_secs(1));
    press(&mut app, "↓");
    assert_eq!(selected(&app), "b", "keys go on");
    press(&mut app, "↑p");
    assert_eq!(rows(&mut app, 9), ["a", "b", "c"]);
    assert_eq!(app.last().unwrap().payload, b"later");
    assert_eq!((app.paused(), app.messages()), (None, 4));
}

#[test]
fn a_retained_message_is_cleared_after_a_question_that_names_its_topic() {
    let mut app = app(&["a/b"]);
    arrive(&mut app, "a/b", b"x", true);
    assert_eq!(press(&mut app, "x"), None);
    assert_eq!(app.prompt, Prompt::None, "a branch has no message");
    press(&mut app, "↓x");
    assert_eq!(app.prompt, Prompt::Clear("a/b".to_owned()));
    for no in ["n", "x", "⏎", "⎋", "Y", "q"] {
        assert_eq!(press(&mut app, no), None, "{no}");
        assert_eq!(app.prompt, Prompt::None);
        press(&mut app, "x");
    }
    assert_eq!(press(&mut app, "y"), Some(Effect::Clear("a/b".to_owned())));
    assert_eq!(
        app.last().unwrap().is_retained,
        Some(true),
        "it is under way"
    );
    let cleared = |result| Event::Cleared {
        topic: "a/b".to_owned(),
        result,
    };
    app.update(cleared(Err("rejected".to_owned())), Duration::from_secs(1));
    assert!(
        app.notice(Duration::from_secs(2))
            .unwrap()
            .contains("not cleared: rejected")
    );
    assert_eq!(app.last().unwrap().is_retained, Some(true));
    app.update(cleared(Ok(())), Duration::from_secs(1));
    assert_eq!(app.last().unwrap().is_retained, Some(false));
    assert!(app.notice(Duration::from_secs(2)).unwrap().contains("a/b"));
    assert_eq!(app.notice(Duration::from_secs(11)), None);
}

#[test]
fn the_payload_and_the_topic_are_copied() {
    let mut app = app(&["a"]);
    arrive(&mut app, "a", b"\x1b\xff", false);
    assert_eq!(
        press(&mut app, "y"),
        Some(Effect::Copy(b"\x1b\xff".to_vec()))
    );
    assert!(
        app.notice(Duration::from_secs(1))
            .unwrap()
            .contains("OSC 52")
    );
    assert_eq!(press(&mut app, "Y"), Some(Effect::Copy(b"a".to_vec())));
    arrive(&mut app, "a", &[7; 20_000], false);
    press(&mut app, "y");
    let notice = app.notice(Duration::from_secs(1)).unwrap();
    assert!(
        notice.contains("the first 16384 of 20000 bytes"),
        "{notice}"
    );
}

#[test]
fn it_ends_with_q_and_with_control_c_from_everywhere() {
    let control_c = || KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    for before in ["", "/", "x", "?", "p"] {
        let mut app = app(&["a"]);
        press(&mut app, before);
        let effect = app.update(Event::Key(control_c()), Duration::ZERO);
        assert_eq!(effect, Some(Effect::Quit), "{before}");
    }
    assert_eq!(press(&mut app(&[]), "q"), Some(Effect::Quit));
}

#[test]
fn keys_change_the_view() {
    let mut app = app(&["a"]);
    press(&mut app, "mm]]][");
    assert_eq!((app.mode, app.percent), (Mode::Json, 45));
    press(&mut app, &"[".repeat(30));
    assert_eq!(app.percent, 10);
    press(&mut app, &"]".repeat(30));
    assert_eq!(app.percent, 80);
    let tab = KeyEvent::new(KeyCode::Tab, KeyModifiers::NONE);
    app.update(Event::Key(tab), Duration::ZERO);
    press(&mut app, "↓↓↑");
    assert_eq!((app.focus, app.scroll), (Focus::Message, 1));
    press(&mut app, "?");
    assert_eq!(app.prompt, Prompt::Help);
    press(&mut app, "q");
    assert_eq!(app.prompt, Prompt::None, "any key ends the help");
}
