//! The picture of a run: the main hook beside its peers, one panel for each measure.

use plotters::element::{Rectangle, Text};
use plotters::prelude::{DrawingAreaErrorKind, DrawingBackend, IntoDrawingArea, SVGBackend};
use plotters::style::{Color as _, IntoFont as _, RGBColor, WHITE};

use crate::Failure;
use crate::measure::Figures;
use crate::report::MEASURES;
use crate::results::Results;
use crate::text::figure;

const WIDTH: i32 = 900;
const LEFT: i32 = 190;
const RIGHT: i32 = 90;
const BAR: i32 = 16;
const GAP: i32 = 6;
const TITLE: i32 = 26;
const PANEL_GAP: i32 = 18;
const OURS: RGBColor = RGBColor(38, 110, 84);
const THEIRS: RGBColor = RGBColor(148, 155, 164);
const INK: RGBColor = RGBColor(40, 44, 52);

/// The unit that each of [`MEASURES`] is shown in, and by what it is divided for that.
const UNITS: [(&str, f64); 8] = [
    ("ms", 1.0),
    ("ms", 1.0),
    ("ms", 1.0),
    ("ms", 1.0),
    ("µs", 1.0),
    ("µs", 1.0),
    ("µs", 1.0),
    ("MiB", 1_048_576.0),
];

/// The picture as SVG.
pub fn draw(results: &Results) -> Result<String, Failure> {
    let shown: Vec<&Figures> =
        results.figures.iter().filter(|f| f.is_peer || f.name == results.main).collect();
    let panel = TITLE + shown.len() as i32 * (BAR + GAP) + PANEL_GAP;
    let height = 20 + panel * MEASURES.len() as i32;
    let mut svg = String::new();
    let size = (WIDTH as u32, u32::try_from(height).unwrap_or(0));
    paint(SVGBackend::with_string(&mut svg, size), &shown, panel)
        .map_err(|error| Failure::new(format!("the picture: {error}")))?;
    Ok(svg)
}

fn paint<B: DrawingBackend>(
    backend: B,
    shown: &[&Figures],
    panel: i32,
) -> Result<(), DrawingAreaErrorKind<B::ErrorType>> {
    let area = backend.into_drawing_area();
    area.fill(&WHITE)?;
    let heading = ("sans-serif", 15).into_font().color(&INK);
    let label = ("sans-serif", 13).into_font().color(&INK);
    for (n, ((name, measure), (unit, scale))) in MEASURES.iter().zip(UNITS).enumerate() {
        let top = 10 + n as i32 * panel;
        let title = format!("{name}, {unit} (logarithmic)");
        area.draw(&Text::new(title, (10, top), heading.clone()))?;
        let values: Vec<f64> = shown.iter().map(|f| measure(f) / scale).collect();
        let most = values.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
        let least = values.iter().copied().filter(|v| *v > 0.0).fold(most, f64::min);
        // A decade below the shortest bar, so that it is one.
        let from = least.log10().floor() - 1.0;
        let decades = (most.log10() - from).max(f64::MIN_POSITIVE);
        for (row, (figures, value)) in shown.iter().zip(&values).enumerate() {
            let y = top + TITLE + row as i32 * (BAR + GAP);
            let part = if *value > 0.0 { (value.log10() - from) / decades } else { 0.0 };
            let length = (part * f64::from(WIDTH - LEFT - RIGHT)).round() as i32;
            let color = if figures.is_peer { THEIRS } else { OURS };
            area.draw(&Text::new(figures.title.clone(), (10, y + 1), label.clone()))?;
            let corners = [(LEFT, y), (LEFT + length, y + BAR)];
            area.draw(&Rectangle::new(corners, color.filled()))?;
            let end = (LEFT + length + 6, y + 1);
            area.draw(&Text::new(figure(*value), end, label.clone()))?;
        }
    }
    area.present()
}
