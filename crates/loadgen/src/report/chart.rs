//! Charts as SVG that is inlined into the report.
//!
//! plotters draws with fixed colours; these are placeholders here, replaced by CSS variables afterwards, so that one
//! drawing is right in light and in dark.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// Colours of series that can be told apart; a report with more targets uses them again with the next of [`DASHES`].
const SERIES_COLOURS: usize = 8;

/// How the first, second and third use of a colour is drawn: `stroke-dasharray`.
const DASHES: [&str; 3] = ["none", "9 4", "2 4"];

const WIDTH: u32 = 720;
const HEIGHT: u32 = 300;

/// Placeholder of the text colour.
const INK: RGBColor = RGBColor(1, 0, 1);
/// Placeholder of the axes.
const AXIS: RGBColor = RGBColor(1, 0, 2);
/// Placeholder of the grid.
const GRID: RGBColor = RGBColor(1, 0, 3);
/// Placeholder of a bound, dashed.
const BOUND: RGBColor = RGBColor(1, 0, 4);

/// Placeholder of a series: its dashes and its colour.
const fn series_placeholder(series: usize) -> RGBColor {
    let dashes = (series / SERIES_COLOURS) % DASHES.len();
    RGBColor(1, 1 + dashes as u8, (series % SERIES_COLOURS) as u8)
}

/// The colour of a series as CSS.
pub(crate) fn series_colour(series: usize) -> String {
    format!("var(--series-{})", series % SERIES_COLOURS)
}

/// The background, as CSS, that is to a legend what the line of a series is to its chart.
pub(crate) fn series_background(series: usize) -> String {
    let colour = series_colour(series);
    match (series / SERIES_COLOURS) % DASHES.len() {
        0 => colour,
        1 => format!("repeating-linear-gradient(90deg,{colour} 0 8px,transparent 8px 10px)"),
        _ => format!("repeating-linear-gradient(90deg,{colour} 0 2px,transparent 2px 4px)"),
    }
}

/// One line of a chart.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    /// Which series: the same target has the same colour and dashes in every chart.
    pub(crate) series: usize,
    /// Faint lines are the runs behind a strong one.
    pub(crate) is_faint: bool,
    pub(crate) points: Vec<(f64, f64)>,
}

/// How an axis counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Scale {
    Linear,
    Log,
}

/// What is drawn.
#[derive(Clone, Debug)]
pub(crate) struct Chart<'a> {
    pub(crate) title: &'a str,
    pub(crate) x_label: &'a str,
    pub(crate) x_scale: Scale,
    pub(crate) y_scale: Scale,
    pub(crate) x_text: fn(f64) -> String,
    pub(crate) y_text: fn(f64) -> String,
    pub(crate) lines: &'a [Line],
    /// A level that is not to be crossed, and what it is.
    pub(crate) bound: Option<(f64, &'a str)>,
    /// The largest value shown at least: charts that are compared share their axes.
    pub(crate) y_max: Option<f64>,
    /// Where x begins and ends; the lines' own range if absent.
    pub(crate) x_range: Option<(f64, f64)>,
}

/// Ticks where a person would put them: 1, 2, 5 and their tenfolds; on a log axis whole powers of ten.
#[derive(Clone, Debug)]
struct Axis {
    low: f64,
    high: f64,
    scale: Scale,
    text: fn(f64) -> String,
}

impl Axis {
    fn ticks(&self, count_max: usize) -> Vec<f64> {
        match self.scale {
            Scale::Linear => {
                let raw = (self.high - self.low) / count_max.max(1) as f64;
                let power = 10f64.powf(raw.log10().floor());
                let at_steps = |step: f64| -> Vec<f64> {
                    let first = (self.low / step).ceil() as i64;
                    let last = (self.high / step + 1e-9).floor() as i64;
                    (first..=last).map(|index| index as f64 * step).collect()
                };
                // Whole messages have no ticks between 0 and 1: two that read alike would both lie.
                let reads_well = |ticks: &Vec<f64>| {
                    let texts: BTreeSet<String> = ticks.iter().map(|tick| (self.text)(*tick)).collect();
                    texts.len() == ticks.len()
                };
                let steps = [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0].map(|factor| factor * power);
                let ticks = steps.into_iter().filter(|step| raw <= *step).map(at_steps).find(reads_well);
                ticks.unwrap_or_else(|| vec![self.low, self.high])
            }
            Scale::Log => {
                let (first, last) = (self.low.log10().ceil() as i32, (self.high.log10() + 1e-9).floor() as i32);
                let tens: Vec<f64> = (first..=last).map(|power| 10f64.powi(power)).collect();
                if tens.len() >= 3 {
                    return tens;
                }
                // Less than two decades: the steps between are needed to read anything off.
                (first - 1..=last)
                    .flat_map(|power| [1.0, 2.0, 5.0].map(|factor| factor * 10f64.powi(power)))
                    .filter(|tick| (self.low..=self.high).contains(tick))
                    .collect()
            }
        }
    }
}

impl Ranged for Axis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        let place = match self.scale {
            Scale::Linear => (value - self.low) / (self.high - self.low),
            Scale::Log => {
                let value = value.max(self.low);
                (value.log10() - self.low.log10()) / (self.high.log10() - self.low.log10())
            }
        };
        limit.0 + (f64::from(limit.1 - limit.0) * place.clamp(0.0, 1.0)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        match hint.weight().allow_light_points() {
            true => Vec::new(),
            false => self.ticks(hint.max_num_points().min(6)),
        }
    }

    fn range(&self) -> std::ops::Range<f64> {
        self.low..self.high
    }
}

impl ValueFormatter<f64> for Axis {
    fn format_ext(&self, value: &f64) -> String {
        (self.text)(*value)
    }
}

/// Draws it. A chart without points says so in words.
pub(crate) fn draw(chart: &Chart<'_>) -> String {
    let points = || chart.lines.iter().flat_map(|line| line.points.iter().copied());
    if points().next().is_none() {
        return "<p class=\"empty\">No samples.</p>".to_owned();
    }
    let x_low = points().map(|(x, _)| x).fold(f64::INFINITY, f64::min);
    let x_high = points().map(|(x, _)| x).fold(f64::NEG_INFINITY, f64::max);
    let (x_low, x_high) = chart.x_range.unwrap_or((x_low, x_high));
    let y_high = points()
        .map(|(_, y)| y)
        .chain(chart.bound.map(|(bound, _)| bound))
        .chain(chart.y_max)
        .fold(f64::NEG_INFINITY, f64::max);
    let y_low = points().map(|(_, y)| y).filter(|y| *y > 0.0).fold(f64::INFINITY, f64::min);
    let x = axis(x_low, x_high, chart.x_scale, chart.x_text);
    let y = match chart.y_scale {
        Scale::Linear => axis(0.0, y_high * 1.08, Scale::Linear, chart.y_text),
        Scale::Log => axis(decade_below(y_low.min(y_high)), decade_above(y_high), Scale::Log, chart.y_text),
    };
    let mut svg = String::new();
    // Drawing into a string cannot fail for a reason of the machine's.
    let drawn = draw_into(&mut svg, chart, x, y);
    match drawn {
        Ok(()) => themed(&svg, chart.title),
        Err(reason) => format!("<p class=\"empty\">Cannot be drawn: {}.</p>", super::html::escape(&reason)),
    }
}

fn axis(low: f64, high: f64, scale: Scale, text: fn(f64) -> String) -> Axis {
    let high = if high > low { high } else { low + 1.0 };
    Axis { low, high, scale, text }
}

/// A 1, 2 or 5 below, so that curves use the room.
fn decade_below(value: f64) -> f64 {
    let value = value.max(1e-6);
    let power = 10f64.powf(value.log10().floor());
    [5.0, 2.0, 1.0].map(|factor| factor * power).into_iter().find(|step| *step <= value * 1.000_001).unwrap_or(power)
}

fn decade_above(value: f64) -> f64 {
    let value = value.max(1e-6);
    let power = 10f64.powf(value.log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .map(|factor| factor * power)
        .into_iter()
        .find(|step| value <= *step * 1.000_001)
        .unwrap_or(10.0 * power)
}

fn draw_into(svg: &mut String, chart: &Chart<'_>, x: Axis, y: Axis) -> Result<(), String> {
    let told = |error: &dyn std::fmt::Display| error.to_string();
    let root = SVGBackend::with_string(svg, (WIDTH, HEIGHT)).into_drawing_area();
    let (x_range, low) = (x.low..x.high, y.low);
    let mut plot = ChartBuilder::on(&root)
        .margin_top(14)
        .margin_right(36)
        .margin_left(4)
        .x_label_area_size(44)
        .y_label_area_size(66)
        .build_cartesian_2d(x, y)
        .map_err(|error| told(&error))?;
    let label = ("sans-serif", 17).into_font().color(&INK);
    plot.configure_mesh()
        .bold_line_style(GRID)
        .light_line_style(TRANSPARENT)
        .axis_style(AXIS)
        .label_style(label.clone())
        .x_desc(chart.x_label)
        .axis_desc_style(label)
        .set_all_tick_mark_size(6)
        .draw()
        .map_err(|error| told(&error))?;
    if let Some((bound, name)) = chart.bound {
        let ends = [(x_range.start, bound.max(low)), (x_range.end, bound.max(low))];
        plot.draw_series(LineSeries::new(ends, BOUND)).map_err(|error| told(&error))?;
        let style = ("sans-serif", 15).into_font().color(&INK).pos(Pos::new(HPos::Right, VPos::Bottom));
        let text = Text::new(name.to_owned(), (x_range.end, bound.max(low)), style);
        plot.draw_series([text]).map_err(|error| told(&error))?;
    }
    // Faint lines lie below strong ones.
    let (faint, strong): (Vec<&Line>, Vec<&Line>) = chart.lines.iter().partition(|line| line.is_faint);
    for line in faint.into_iter().chain(strong) {
        let width = if line.is_faint { 1 } else { 2 };
        let colour = series_placeholder(line.series).mix(if line.is_faint { 0.55 } else { 1.0 });
        let points = line.points.iter().map(|(x, y)| (*x, y.max(low)));
        plot.draw_series(LineSeries::new(points, ShapeStyle { color: colour, filled: false, stroke_width: width }))
            .map_err(|error| told(&error))?;
        if let [(x, y)] = line.points[..] {
            // A line of one point would not be seen.
            let dot = Circle::new((x, y.max(low)), 4, ShapeStyle { color: colour, filled: true, stroke_width: 1 });
            plot.draw_series([dot]).map_err(|error| told(&error))?;
        }
    }
    root.present().map_err(|error| told(&error))
}

/// Swaps placeholders for CSS variables and lets the page choose the size.
fn themed(svg: &str, title: &str) -> String {
    let mut out = String::with_capacity(svg.len());
    let _ = write!(out, "<svg class=\"chart\" role=\"img\" aria-label=\"{}\" ", super::html::escape(title));
    let body = svg.trim_start().strip_prefix("<svg ").unwrap_or(svg);
    let size = format!("width=\"{WIDTH}\" height=\"{HEIGHT}\" ");
    out.push_str(&body.replacen(&size, "", 1));
    for (placeholder, variable) in [("#010001", "--ink-soft"), ("#010002", "--axis"), ("#010003", "--grid")] {
        out = out.replace(placeholder, &format!("var({variable})"));
    }
    out = out.replace("stroke=\"#010004\"", "stroke=\"var(--ink-soft)\" stroke-dasharray=\"6 5\"");
    for series in 0..SERIES_COLOURS * DASHES.len() {
        let RGBColor(red, green, blue) = series_placeholder(series);
        let (placeholder, colour) = (format!("#{red:02X}{green:02X}{blue:02X}"), series_colour(series));
        let dashes = DASHES[series / SERIES_COLOURS];
        if dashes != "none" {
            let dashed = format!("stroke=\"{colour}\" stroke-dasharray=\"{dashes}\"");
            out = out.replace(&format!("stroke=\"{placeholder}\""), &dashed);
        }
        out = out.replace(&placeholder, &colour);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(value: f64) -> String {
        format!("{value}")
    }

    fn ticks(low: f64, high: f64, scale: Scale) -> Vec<f64> {
        Axis { low, high, scale, text: plain }.ticks(6)
    }

    #[test]
    fn ticks_are_round_numbers() {
        assert_eq!(ticks(0.0, 10.0, Scale::Linear), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        assert_eq!(ticks(0.0, 4321.0, Scale::Linear), [0.0, 1000.0, 2000.0, 3000.0, 4000.0]);
        assert_eq!(ticks(50.0, 20_000.0, Scale::Log), [100.0, 1000.0, 10_000.0]);
        assert_eq!(ticks(200.0, 1000.0, Scale::Log), [200.0, 500.0, 1000.0]);
    }

    #[test]
    fn ticks_of_whole_numbers_are_whole() {
        let whole = |high| Axis { low: 0.0, high, scale: Scale::Linear, text: super::super::format::count }.ticks(6);
        assert_eq!(whole(1.0), [0.0, 1.0]);
        assert_eq!(whole(3.2), [0.0, 1.0, 2.0, 3.0]);
        assert_eq!(whole(6.5), [0.0, 2.0, 4.0, 6.0]);
    }

    #[test]
    fn a_chart_has_its_lines_in_colours_of_the_page_and_no_placeholder_left() {
        let lines = [
            Line { series: 0, is_faint: false, points: vec![(0.0, 1.0), (1.0, 3.0)] },
            Line { series: 9, is_faint: false, points: vec![(0.0, 1.5), (1.0, 2.0)] },
            Line { series: 23, is_faint: true, points: vec![(0.5, 2.0)] },
        ];
        let svg = draw(&Chart {
            title: "a <b>",
            x_label: "time",
            x_scale: Scale::Linear,
            y_scale: Scale::Log,
            x_text: plain,
            y_text: plain,
            lines: &lines,
            bound: Some((2.5, "bound")),
            y_max: None,
            x_range: None,
        });
        for needle in [
            "stroke=\"var(--series-0)\" stroke-width",
            "stroke=\"var(--series-1)\" stroke-dasharray=\"9 4\"",
            "fill=\"var(--series-7)\"",
            "var(--grid)",
            "aria-label=\"a &lt;b&gt;\"",
            "\nbound\n",
            "time",
        ] {
            assert!(svg.contains(needle), "no {needle} in {svg}");
        }
        assert!(!svg.contains("#01"), "{svg}");
        assert!(!svg.contains("width=\"720\" height=\"300\""), "{svg}");
    }

    #[test]
    fn a_chart_without_points_says_so() {
        let chart = Chart {
            title: "t",
            x_label: "x",
            x_scale: Scale::Linear,
            y_scale: Scale::Linear,
            x_text: plain,
            y_text: plain,
            lines: &[],
            bound: None,
            y_max: None,
            x_range: None,
        };
        assert!(draw(&chart).contains("No samples"));
    }
}
