//! `chart.svg`: CPU time a message, a panel for each scenario. The colours are readable on light and
//! on dark background, because who shows the picture decides which it is.

use crate::peers::{MARTLET, RUNTIMES};
use crate::report::{cpu, digits, user};
use crate::results::Results;
use crate::scenario::Scenario;
use std::fmt::Write;

const PANELS: [Scenario; 5] = [
    Scenario::Publish { qos: 0, size: 16 },
    Scenario::Publish { qos: 1, size: 16 },
    Scenario::Publish { qos: 2, size: 16 },
    Scenario::Receive { qos: 0, size: 16 },
    Scenario::Receive { qos: 1, size: 16 },
];

const WIDTH: f64 = 880.0;
const COLUMNS: usize = 2;
const NAMES: f64 = 140.0;
const NUMBERS: f64 = 48.0;
const LINE: f64 = 18.0;
const BAR: f64 = 12.0;
const GAP: f64 = 20.0;
const TITLE: f64 = 28.0;

/// A bar is cut when it is longer than this many times the one in the middle, so that the others can be
/// compared.
const CUT: f64 = 3.0;
/// The gap in a bar that is cut, and what follows it.
const MISSING: f64 = 5.0;
const TIP: f64 = 8.0;

const TEXT: &str = "#737b85";
const OURS: &str = "#1f83e8";
const THEIRS: &str = "#8a929c";
const FLOOR: &str = "#d1732b";

/// One bar.
struct Bar {
    name: &'static str,
    cpu: f64,
    user: f64,
}

/// The bars of one scenario, and the floor.
struct Panel {
    title: String,
    bars: Vec<Bar>,
    floor: Option<f64>,
}

impl Panel {
    /// The longest bar that is not cut. They are in order.
    fn longest(&self) -> f64 {
        let middle = self.bars.get(self.bars.len() / 2);
        let limit = middle.map_or(0.0, |bar| bar.cpu * CUT);
        let whole = self.bars.iter().filter(|bar| bar.cpu <= limit);
        whole.map(|bar| bar.cpu).fold(0.0, f64::max)
    }
}

pub fn svg(results: &Results) -> String {
    let panels: Vec<Panel> = PANELS
        .iter()
        .filter_map(|scenario| panel(results, *scenario))
        .collect();
    let most = panels.iter().map(|panel| panel.bars.len()).max();
    let height = TITLE + LINE * most.unwrap_or(0) as f64 + GAP;
    let whole = height * (panels.len() + 1).div_ceil(COLUMNS) as f64;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {whole}\" width=\"{WIDTH}\" \
         height=\"{whole}\" role=\"img\" font-family=\"system-ui, sans-serif\" font-size=\"12\" \
         fill=\"{TEXT}\">\n<title>CPU time a message of MQTT clients</title>\n"
    );
    for (i, panel) in panels.iter().enumerate() {
        let (x, y) = place(i, height);
        draw(&mut svg, panel, x, y);
    }
    let (x, y) = place(panels.len(), height);
    legend(&mut svg, x, y);
    svg.push_str("</svg>\n");
    svg
}

fn place(i: usize, height: f64) -> (f64, f64) {
    let column = (i % COLUMNS) as f64;
    let row = (i / COLUMNS) as f64;
    (column * WIDTH / COLUMNS as f64, row * height)
}

fn panel(results: &Results, scenario: Scenario) -> Option<Panel> {
    let row = results.rows.iter().find(|row| row.scenario == scenario)?;
    let (mut bars, mut floor) = (Vec::new(), None);
    for (peer, cell) in row.cells() {
        let (Some(cpu), Some(user)) = (cell.spread(cpu), cell.spread(user)) else {
            continue;
        };
        match peer.name {
            "floor" => floor = Some(cpu.median),
            "raw writes" => {}
            name if RUNTIMES.contains(&name) => {}
            name => bars.push(Bar {
                name,
                cpu: cpu.median,
                user: user.median.min(cpu.median),
            }),
        }
    }
    bars.sort_by(|a, b| a.cpu.total_cmp(&b.cpu));
    Some(Panel {
        title: scenario.title(),
        bars,
        floor,
    })
}

fn draw(svg: &mut String, panel: &Panel, x: f64, y: f64) {
    let longest = panel.longest();
    let room = WIDTH / COLUMNS as f64 - NAMES - NUMBERS - GAP;
    let scale = room / longest.max(f64::MIN_POSITIVE);
    let left = x + NAMES;
    let title = &panel.title;
    text(svg, x + 8.0, y + 16.0, "start", true, title);
    for (i, bar) in panel.bars.iter().enumerate() {
        let top = y + TITLE + i as f64 * LINE;
        let base = top + BAR - 2.0;
        let is_ours = bar.name == MARTLET;
        let colour = if is_ours { OURS } else { THEIRS };
        text(svg, left - 6.0, base, "end", is_ours, bar.name);
        let length = bar.cpu.min(longest) * scale;
        let user = bar.user / bar.cpu.max(f64::MIN_POSITIVE) * length;
        let mut part = |from: f64, to: f64| {
            let middle = user.clamp(from, to);
            rectangle(svg, left + from, top, middle - from, colour, 1.0);
            rectangle(svg, left + middle, top, to - middle, colour, 0.5);
        };
        if bar.cpu > longest {
            part(0.0, length - TIP - MISSING);
            part(length - TIP, length);
        } else {
            part(0.0, length);
        }
        let end = left + length + 5.0;
        text(svg, end, base, "start", is_ours, &digits(bar.cpu));
    }
    if let Some(floor) = panel.floor {
        let x = left + floor * scale;
        let (top, bottom) = (y + TITLE - 4.0, y + TITLE + panel.bars.len() as f64 * LINE);
        line(svg, x, top, bottom);
    }
}

fn legend(svg: &mut String, x: f64, y: f64) {
    let left = x + 20.0;
    text(
        svg,
        left,
        y + 16.0,
        "start",
        true,
        "CPU µs a message, user and system",
    );
    let rows = [
        (1.0, "user: the client's own code"),
        (0.5, "system: the kernel for it, most of it TCP"),
    ];
    for (i, (opacity, label)) in rows.into_iter().enumerate() {
        let top = y + TITLE + i as f64 * LINE;
        rectangle(svg, left, top, 14.0, OURS, opacity);
        rectangle(svg, left + 16.0, top, 14.0, THEIRS, opacity);
        text(svg, left + 38.0, top + BAR - 2.0, "start", false, label);
    }
    let top = y + TITLE + 2.0 * LINE;
    line(svg, left + 14.0, top, top + BAR);
    let label = "the floor: a hand-written client without properties,";
    text(svg, left + 38.0, top + BAR - 2.0, "start", false, label);
    let label = "timers, limits or reconnect";
    text(
        svg,
        left + 38.0,
        top + LINE + BAR - 2.0,
        "start",
        false,
        label,
    );
    let notes = [
        "16 B payloads, window of 100, over loopback TCP.",
        "Each panel has a scale of its own. Shorter is better.",
        "A bar with a gap is too long for its panel.",
    ];
    for (i, note) in notes.into_iter().enumerate() {
        let base = top + (2.6 + i as f64) * LINE + BAR;
        text(svg, left, base, "start", false, note);
    }
}

fn text(svg: &mut String, x: f64, y: f64, anchor: &str, bold: bool, content: &str) {
    let weight = if bold { " font-weight=\"bold\"" } else { "" };
    let _ = writeln!(
        svg,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\"{weight}>{content}</text>"
    );
}

fn rectangle(svg: &mut String, x: f64, y: f64, width: f64, colour: &str, opacity: f64) {
    let width = width.max(0.0);
    let _ = writeln!(
        svg,
        "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{BAR}\" fill=\"{colour}\" \
         fill-opacity=\"{opacity}\"/>"
    );
}

fn line(svg: &mut String, x: f64, top: f64, bottom: f64) {
    let _ = writeln!(
        svg,
        "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{top:.1}\" y2=\"{bottom:.1}\" stroke=\"{FLOOR}\" \
         stroke-width=\"1.5\" stroke-dasharray=\"4 2\"/>"
    );
}
