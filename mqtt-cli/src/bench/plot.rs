//! Latencies and rate over time, as a picture.

use super::latency::{Point, time};
use super::options::{PlotFormat, Work, wrong_plot};
use super::report::Summary;
use crate::exit::{Failure, Status};
use plotters::coord::Shift;
use plotters::prelude::*;
#[cfg(feature = "png")]
use plotters::style::{FontStyle, register_font};
use std::error::Error;
use std::fs::OpenOptions;
use std::path::Path;

const SIZE: (u32, u32) = (900, 640);
/// The part of the latencies.
const UPPER: u32 = 380;
/// Microseconds: below it a logarithm says little.
const LEAST: f64 = 1.0;

/// Opens the file, before anything is sent: whether it can be written.
pub(super) fn open(path: &Path) -> Result<(), Failure> {
    let file = OpenOptions::new().append(true).create(true).open(path);
    file.map(drop).map_err(|error| wrong_plot(path, error))
}

/// Draws the result.
pub(super) fn draw(
    path: &Path,
    format: PlotFormat,
    summary: &Summary,
    work: &Work,
) -> Result<(), Failure> {
    let write = || {
        let picture = match format {
            PlotFormat::Svg => svg(summary, work)?,
            #[cfg(feature = "png")]
            PlotFormat::Png => png(summary, work)?,
        };
        Ok(std::fs::write(path, picture)?)
    };
    write().map_err(|error: Box<dyn Error>| {
        Failure::new(
            Status::Failed,
            format!("--plot: {}: {error}", path.display()),
        )
    })
}

fn svg(summary: &Summary, work: &Work) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut picture = String::new();
    paint(SVGBackend::with_string(&mut picture, SIZE), summary, work)?;
    Ok(picture.into_bytes())
}

#[cfg(feature = "png")]
fn png(summary: &Summary, work: &Work) -> Result<Vec<u8>, Box<dyn Error>> {
    let (width, height) = SIZE;
    let mut pixels = vec![0; 3 * width as usize * height as usize];
    paint(BitMapBackend::with_buffer(&mut pixels, SIZE), summary, work)?;
    let mut picture = Vec::new();
    let mut encoder = png::Encoder::new(&mut picture, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.write_header()?.write_image_data(&pixels)?;
    Ok(picture)
}

type Panel<B> = DrawingArea<B, Shift>;
type Painted = Result<(), Box<dyn Error>>;

fn paint<B: DrawingBackend<ErrorType: 'static>>(
    backend: B,
    summary: &Summary,
    work: &Work,
) -> Painted {
    // With fonts in the build both formats are laid out with this one.
    #[cfg(feature = "png")]
    register_font("sans-serif", FontStyle::Normal, dejavu::sans::regular())
        .map_err(|_| "the font cannot be read")?;
    let area = backend.into_drawing_area();
    area.fill(&WHITE)?;
    let title = summary.title(work);
    let area = area.titled(&title, ("sans-serif", 18))?;
    let (upper, lower) = area.split_vertically(UPPER);
    paint_latencies(&upper, summary)?;
    paint_rates(&lower, summary)?;
    area.present()?;
    Ok(())
}

/// The end of the axis of time.
fn end(summary: &Summary) -> f64 {
    let last = summary.timeline.last().map(|point| point.seconds);
    last.unwrap_or(1.0)
}

fn paint_latencies<B: DrawingBackend<ErrorType: 'static>>(
    area: &Panel<B>,
    summary: &Summary,
) -> Painted {
    let points = &summary.timeline;
    let slowest = points
        .iter()
        .filter_map(|point| point.max)
        .fold(LEAST, f64::max);
    let fastest = points
        .iter()
        .filter_map(|point| point.p50)
        .fold(slowest, f64::min);
    // Whole powers of ten around them.
    let bottom = 10_f64.powf(fastest.max(LEAST).log10().floor());
    let top = 10_f64.powf(slowest.log10().ceil()).max(bottom * 10.0);
    let mut chart = ChartBuilder::on(area)
        .margin(10)
        .x_label_area_size(20)
        .y_label_area_size(75)
        .build_cartesian_2d(0.0..end(summary), (bottom..top).log_scale())?;
    chart
        .configure_mesh()
        .y_desc("latency")
        .y_label_formatter(&|value| time(*value))
        .max_light_lines(0)
        .draw()?;
    type Value = fn(&Point) -> Option<f64>;
    let lines: [(&str, Value, RGBColor); 3] = [
        ("max", |point| point.max, RGBColor(190, 60, 40)),
        ("p99", |point| point.p99, RGBColor(220, 140, 20)),
        ("p50", |point| point.p50, RGBColor(30, 90, 160)),
    ];
    for (name, value, colour) in lines {
        let style = colour.stroke_width(2);
        let place = |point: &Point| value(point).map(|value| (point.seconds, value.max(bottom)));
        // Where nothing was answered there is no line.
        for part in points.split(|point| value(point).is_none()) {
            let places = || part.iter().filter_map(place);
            chart.draw_series(LineSeries::new(places(), style))?;
            if part.len() == 1 {
                let dot = |place| Circle::new(place, 2, colour.filled());
                chart.draw_series(places().map(dot))?;
            }
        }
        chart
            .draw_series(LineSeries::new(std::iter::empty(), style))?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.3))
        .draw()?;
    Ok(())
}

fn paint_rates<B: DrawingBackend<ErrorType: 'static>>(
    area: &Panel<B>,
    summary: &Summary,
) -> Painted {
    let points = &summary.timeline;
    let highest = points.iter().map(|point| point.rate).fold(1.0, f64::max);
    let highest = highest.max(summary.wanted_rate().unwrap_or(0.0)) * 1.1;
    let mut chart = ChartBuilder::on(area)
        .margin(10)
        .x_label_area_size(40)
        .y_label_area_size(75)
        .build_cartesian_2d(0.0..end(summary), 0.0..highest)?;
    chart
        .configure_mesh()
        .x_desc("seconds")
        .y_desc("a second")
        .y_label_formatter(&|value| format!("{value:.0}"))
        .max_light_lines(0)
        .draw()?;
    let line = points.iter().map(|point| (point.seconds, point.rate));
    let style = RGBColor(30, 90, 160).stroke_width(2);
    chart.draw_series(LineSeries::new(line, style))?;
    if let Some(wanted) = summary.wanted_rate() {
        let style = BLACK.mix(0.5).stroke_width(1);
        let ends = [(0.0, wanted), (end(summary), wanted)];
        chart.draw_series(DashedLineSeries::new(ends, 6, 4, style))?;
    }
    Ok(())
}
