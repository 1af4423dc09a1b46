//! `martlet watch` in a terminal: a pseudo-terminal, whose bytes `vt100` turns into a screen.

use crate::run::{Running, at, martlet, run, status};
use martlet_broker::proto::{Packet, PacketType};
use martlet_broker::{Direction, Memory, TestBroker};
use pty_process::Size;
use pty_process::blocking::{Pty, open};
use std::io::{Read, Write};
use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// How long anything may take: far more than it does, so that it only ends what hangs.
const TIME: Duration = Duration::from_secs(60);

/// Sets the terminal's settings beside each other: as they were, and as the command left them.
const BETWEEN: &str = r#"stty -g; "$@"; echo "status $?"; stty -g"#;

/// A terminal, and a command in it.
struct Terminal {
    pty: Pty,
    child: Child,
    output: Receiver<Vec<u8>>,
    parser: vt100::Parser<Clipboard>,
}

/// What was copied.
#[derive(Default)]
struct Clipboard(Vec<u8>);

impl vt100::Callbacks for Clipboard {
    fn copy_to_clipboard(&mut self, _: &mut vt100::Screen, _: &[u8], data: &[u8]) {
        self.0 = data.to_vec();
    }
}

impl Terminal {
    fn start(command: &Command, (columns, lines): (u16, u16)) -> Self {
        let (pty, pts) = open().unwrap();
        pty.resize(Size::new(lines, columns)).unwrap();
        let mut shell = pty_process::blocking::Command::new("sh")
            .args(["-c", BETWEEN, "sh"])
            .arg(command.get_program())
            .args(command.get_args())
            .env_remove("NO_COLOR")
            .env_remove("XDG_CONFIG_HOME")
            .env_remove("HOME")
            .env("TZ", "UTC");
        let child = shell.spawn_borrowed(&pts).unwrap();
        drop(pts);
        let (sender, output) = channel();
        // A second handle of the same terminal: reading blocks.
        let mut reader =
            std::fs::File::from(std::os::fd::AsFd::as_fd(&pty).try_clone_to_owned().unwrap());
        std::thread::spawn(move || {
            let mut bytes = vec![0; 65_536];
            // It is an error when the last process has closed the other end.
            while let Ok(count @ 1..) = reader.read(&mut bytes) {
                if sender.send(bytes[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self {
            pty,
            child,
            output,
            parser: vt100::Parser::new_with_callbacks(lines, columns, 0, Clipboard::default()),
        }
    }

    fn text(&self) -> String {
        self.parser.screen().contents()
    }

    /// Waits until the screen is as it should be.
    #[track_caller]
    fn wait_until(&mut self, what: &str, is_met: impl Fn(&Self) -> bool) {
        let end = Instant::now() + TIME;
        while !is_met(self) {
            let left = end.saturating_duration_since(Instant::now());
            match self.output.recv_timeout(left) {
                Ok(bytes) => self.parser.process(&bytes),
                Err(error) => panic!("no {what}: {error}; the screen is\n{}", self.text()),
            }
        }
    }

    #[track_caller]
    fn wait_for(&mut self, part: &str) {
        self.wait_until(part, |terminal| terminal.text().contains(part));
    }

    #[track_caller]
    fn wait_without(&mut self, part: &str) {
        self.wait_until("screen without it", |terminal| {
            !terminal.text().contains(part)
        });
    }

    fn press(&mut self, keys: &str) {
        self.pty.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits for its end, and checks that the terminal is as it was before.
    #[track_caller]
    fn end(mut self, status: i32) -> String {
        self.wait_for("status ");
        let lines = |terminal: &Self| terminal.text().lines().count();
        self.wait_until("settings", |terminal| {
            let text = terminal.text();
            let mut after = text.lines().skip_while(|line| !line.starts_with("status "));
            after.nth(1).is_some_and(|line| line.contains(':')) && lines(terminal) > 2
        });
        self.child.wait().unwrap();
        let text = self.text();
        let settings: Vec<&str> = text
            .lines()
            .filter(|line| line.matches(':').count() > 10)
            .collect();
        assert!(text.contains(&format!("status {status}\n")), "{text}");
        assert_eq!(settings.first(), settings.last(), "{text}");
        assert!(settings.len() > 1, "{text}");
        let screen = self.parser.screen();
        assert!(
            !screen.alternate_screen() && !screen.hide_cursor(),
            "{text}"
        );
        text
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn watch(broker: &TestBroker, arguments: &str) -> Terminal {
    let command = at(broker, &format!("watch {arguments}"));
    let terminal = Terminal::start(&command, (100, 30));
    let subscribed = broker.wait_for_packets(Direction::ToClient, PacketType::SubAck, 1);
    subscribed.blocking().unwrap();
    terminal
}

fn publish(broker: &TestBroker, topic: &str, payload: &str, options: &str) {
    let mut command = at(broker, &format!("pub -q 1 -t {topic} {options}"));
    run(command.args(["-m", payload])).expect(status::DONE);
}

#[test]
fn topics_are_watched_filtered_paused_copied_and_cleared() {
    let broker = TestBroker::start().unwrap();
    publish(&broker, "home/kitchen/temp", "21.5", "-r");
    let mut terminal = watch(&broker, "--open 9");
    terminal.wait_for("21.5");
    publish(&broker, "home/bath/temp", "19.0", "");
    publish(&broker, "lamp", "{\"on\":true}", "");
    terminal.wait_for("{\"on\":true}");
    for part in [
        "martlet watch",
        "connected, MQTT 5",
        "3 topics",
        "▾ home  (2)",
        "0R",
        "connected",
    ] {
        assert!(
            terminal.text().contains(part),
            "{part}:\n{}",
            terminal.text()
        );
    }

    terminal.press("/kitchen\r");
    terminal.wait_without("bath");
    terminal.wait_for("filter \"kitchen\": 1 topic");
    terminal.press("G");
    terminal.wait_for("── home/kitchen/temp ──");
    terminal.wait_for("retain flag");

    terminal.press("p");
    terminal.wait_for("PAUSED: 0 messages");
    publish(&broker, "home/kitchen/temp", "99.9", "");
    terminal.wait_for("PAUSED: 1 message");
    assert!(!terminal.text().contains("99.9"), "{}", terminal.text());
    terminal.press(" ");
    terminal.wait_for("99.9");

    terminal.press("y");
    terminal.wait_until("copy", |terminal| {
        terminal.parser.callbacks().0 == b"OTkuOQ=="
    });
    terminal.press("Y");
    terminal.wait_until("copy", |terminal| {
        terminal.parser.callbacks().0 == b"aG9tZS9raXRjaGVuL3RlbXA="
    });

    terminal.press("x");
    terminal.wait_for("Clear the retained message on home/kitchen/temp");
    terminal.press("n");
    terminal.wait_for("nothing was cleared");
    terminal.press("x");
    terminal.wait_for("Clear the retained message on home/kitchen/temp");
    terminal.press("y");
    terminal.wait_for("cleared the retained message on home/kitchen/temp");
    let empty = |packet: &&Packet| matches!(packet, Packet::Publish(publish) if publish.payload().is_empty());
    let cleared: usize = broker
        .transcript()
        .iter()
        .map(|client| client.received().filter(empty).count())
        .sum();
    assert_eq!(cleared, 1, "the first answer was no");
    run(&mut at(&broker, "sub -t # --retained-only -W 0.2")).expect(status::TIMED_OUT);

    terminal.press("\x1b");
    terminal.wait_for("bath");
    terminal.press("?");
    terminal.wait_for("stand still");
    terminal.press("q");
    terminal.wait_without("stand still");
    terminal.press("q");
    terminal.end(status::DONE);
}

#[test]
fn it_goes_on_after_a_lost_connection_and_another_size() {
    let broker = TestBroker::start().unwrap();
    let mut terminal = watch(&broker, "a/# --retry-max-wait 0.5");
    terminal.wait_for("no message has come yet");
    broker.restart(Memory::Lost);
    terminal.wait_for("next attempt in");
    let again = broker.wait_for_packets(Direction::ToClient, PacketType::SubAck, 2);
    again.blocking().unwrap();
    publish(&broker, "a/b", "\x1b[2J\u{202e}again", "");
    terminal.wait_for("\\x1b[2J\\u{202e}again");
    terminal.wait_for("connected, MQTT 5");
    terminal.parser.screen_mut().set_size(20, 120);
    terminal.pty.resize(Size::new(20, 120)).unwrap();
    terminal.wait_until("last line", |terminal| {
        let rows: Vec<String> = terminal.parser.screen().rows(0, 120).collect();
        rows[19].contains("?: help")
    });
    terminal.press("\x03");
    terminal.end(status::DONE);
}

/// Whatever ends it, the terminal is restored, and the error is read there.
#[test]
fn the_terminal_is_restored_however_it_ends() {
    let broker = TestBroker::start().unwrap();
    let mut terminal = watch(&broker, "-i me --retries 0");
    terminal.wait_for("connected, MQTT 5");
    broker.restart(Memory::Lost);
    let text = terminal.end(status::LOST);
    assert!(
        text.contains("error: the server closed the connection"),
        "{text}"
    );

    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    drop(listener);
    let command = martlet(["watch", "-h", "127.0.0.1", "-p", &port]);
    let text = Terminal::start(&command, (100, 30)).end(status::CONNECTION);
    assert!(text.contains("is a server running"), "{text}");
}

/// Every message is counted, and keys are answered meanwhile.
#[test]
fn ten_thousand_topics_are_counted() {
    let broker = TestBroker::start().unwrap();
    let mut terminal = watch(&broker, "-q 1");
    let uri = broker.uri();
    let publisher = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let client = martlet_tokio::connect(uri.as_str()).await.unwrap();
            for number in 0..30_000 {
                let topic = format!("site/{}/{}", number % 100, number % 10_000);
                let publish = client
                    .publish(topic, "21.5")
                    .qos(martlet_tokio::QoS::AtLeastOnce);
                publish.enqueue().await.unwrap();
            }
            client.disconnect().await;
        });
    });
    // Keys are answered while they come.
    terminal.wait_for("── site ──");
    terminal.press("?");
    terminal.wait_for("stand still");
    terminal.press("?");
    terminal.wait_for("10,000 topics   30,000 messages");
    terminal.press("Gl");
    terminal.wait_for("── site/99 ──");
    publisher.join().unwrap();
    terminal.press("G");
    terminal.wait_for("── site/99/9999 ──");
    assert!(
        terminal.text().contains("3 messages on this topic"),
        "{}",
        terminal.text()
    );
    terminal.press("/777\r");
    terminal.wait_for("filter \"777\": 19 topics");
    terminal.press("q");
    terminal.end(status::DONE);
}

/// Makes the picture of the documentation:
/// `cargo test -p martlet-cli --test cli -- --ignored picture`
#[test]
#[ignore = "it writes docs/pictures/watch.svg"]
fn picture() {
    let broker = TestBroker::start().unwrap();
    publish(
        &broker,
        "home/kitchen/lamp",
        "{\"on\":true,\"level\":7}",
        "-r",
    );
    publish(&broker, "home/kitchen/window", "closed", "-r");
    publish(&broker, "gateway/state", "online", "-r");
    let mut terminal = watch(&broker, "-q 1 --open 2");
    let mut sensors = Vec::new();
    for (number, room) in ["attic", "bath", "hall", "kitchen"].into_iter().enumerate() {
        let options = format!(
            "pub -q 1 -t home/{room}/temperature --repeat 1000 --repeat-delay 0.{}",
            number + 2
        );
        let mut command = at(&broker, &options);
        sensors.push(Running::start(
            command.args(["-m", &format!("{}.5", 17 + number)]),
        ));
    }
    let report = "{\"uptime\":86400,\"load\":[0.2,0.1,0.1],\"version\":\"1.4.2\",\"clients\":{\"now\":4,\"most\":11}}";
    publish(
        &broker,
        "gateway/report",
        report,
        "-D publish content-type application/json",
    );
    publish(&broker, "gateway/raw", "\x1b[2J", "");
    terminal.wait_for("── gateway ──");
    terminal.press("jj");
    terminal.wait_for("application/json");
    // Until there is something to see.
    terminal.wait_until("rate", |terminal| {
        let text = terminal.text();
        let row = text.lines().find(|line| line.contains("attic"));
        row.is_some_and(|row| row.contains(" 40 "))
    });
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/pictures");
    std::fs::create_dir_all(folder).unwrap();
    std::fs::write(format!("{folder}/watch.svg"), svg(terminal.parser.screen())).unwrap();
    terminal.press("q");
    terminal.end(status::DONE);
}

/// The screen as a picture.
fn svg(screen: &vt100::Screen) -> String {
    const CELL: (usize, usize) = (8, 17);
    const COLOURS: [&str; 3] = ["#d8dee9", "#1d232b", "#8a94a3"];
    let (lines, columns) = screen.size();
    let (width, height) = (usize::from(columns) * CELL.0, usize::from(lines) * CELL.1);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"-8 -8 {} {}\" font-family=\"ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace\" font-size=\"13\">\n<title>martlet watch</title>\n<rect x=\"-8\" y=\"-8\" width=\"100%\" height=\"100%\" rx=\"6\" fill=\"{}\"/>\n",
        width + 16,
        height + 16,
        COLOURS[1]
    );
    for line in 0..lines {
        let mut column = 0;
        while column < columns {
            let look = |column| {
                let cell = screen.cell(line, column).unwrap();
                (cell.fgcolor(), cell.bold(), cell.dim(), cell.inverse())
            };
            let begin = column;
            let mut text = String::new();
            while column < columns && look(column) == look(begin) {
                let contents = screen.cell(line, column).unwrap().contents();
                text.push_str(if contents.is_empty() { " " } else { contents });
                column += 1;
            }
            let (colour, bold, dim, inverse) = look(begin);
            let mut fill = match colour {
                vt100::Color::Idx(9) => "#ef7b7b",
                vt100::Color::Idx(10) => "#8fce8f",
                vt100::Color::Idx(11) => "#e5c37a",
                vt100::Color::Idx(14) => "#7fc8d8",
                _ if dim => COLOURS[2],
                _ => COLOURS[0],
            };
            let (x, y) = (usize::from(begin) * CELL.0, usize::from(line) * CELL.1);
            let wide = usize::from(column - begin) * CELL.0;
            if inverse {
                out.push_str(&format!(
                    "<rect x=\"{x}\" y=\"{y}\" width=\"{wide}\" height=\"{}\" fill=\"{fill}\"/>\n",
                    CELL.1
                ));
                fill = COLOURS[1];
            }
            if text.trim().is_empty() {
                continue;
            }
            let weight = if bold { " font-weight=\"bold\"" } else { "" };
            let text = text
                .replace('&', "&amp;")
                .replace('<', "&lt;")
                .replace('>', "&gt;");
            out.push_str(&format!(
                "<text x=\"{x}\" y=\"{}\" fill=\"{fill}\"{weight} textLength=\"{wide}\" xml:space=\"preserve\">{text}</text>\n",
                y + 13
            ));
        }
    }
    out.push_str("</svg>\n");
    out
}
