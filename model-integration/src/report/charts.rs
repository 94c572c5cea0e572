//! Charts as SVG.

use std::collections::BTreeMap;

use mxlab_benches::BenchRecord;
use mxlab_benches::record::{Measured, RoofRecord};
use plotters::prelude::*;

use super::tables::{speed_ups, yardstick};

/// Width and height.
const SIZE: (u32, u32) = (1240, 520);
/// Width of the legend, at the right.
const LEGEND: u32 = 440;
/// Most series of a chart: more cannot be told apart.
const MOST_SERIES: usize = 14;

/// A chart.
pub struct Chart {
    /// What its file is called after.
    pub kind: &'static str,
    /// What it shows.
    pub title: String,
    /// The picture.
    pub svg: String,
}

type Points = Vec<(f64, f64)>;

/// The charts that a record has points for.
pub fn of(record: &BenchRecord) -> Vec<Chart> {
    let charts = [roofline(record), speed_up(record), bandwidth(record)];
    charts.into_iter().flatten().collect()
}

/// Operations a second against operations a byte, below what a copy and a product reach.
fn roofline(record: &BenchRecord) -> Option<Chart> {
    let roof = record.roof.as_ref()?;
    let product = roof.product.as_ref()?.rate()?;
    let copy = roof.copy.bandwidth();
    let mut series = BTreeMap::new();
    for measured in &record.measured {
        if let Some(rate) = measured.rate() {
            let intensity = measured.case.operations as f64 / measured.case.bytes as f64;
            let points: &mut Points = series.entry(measured.case.kernel.clone()).or_default();
            points.push((intensity, rate / 1e9));
        }
    }
    if series.is_empty() {
        return None;
    }
    let bounds = bounds(&series);
    let [x, _] = bounds;
    let ridge = product / copy;
    let height = |intensity: f64| (intensity * copy).min(product) / 1e9;
    let mut line: Points = vec![(x.0, height(x.0))];
    line.extend((x.0 < ridge && ridge < x.1).then(|| (ridge, height(ridge))));
    line.push((x.1, height(x.1)));
    let title = "Rate against intensity, and the roofline measured in the same run".to_owned();
    let axes = ["operations a byte", "Gop/s"];
    draw(
        Kind {
            name: "roofline",
            title,
            axes,
        },
        series,
        Some(("roofline", line)),
    )
}

/// How many times as fast as the yardstick, against tokens.
fn speed_up(record: &BenchRecord) -> Option<Chart> {
    let mut series: BTreeMap<String, Points> = BTreeMap::new();
    for (case, times) in speed_ups(record) {
        let tokens = case.tokens.unwrap_or(1) as f64;
        let name = format!("{} {}x{}", case.kernel, case.rows, case.cols);
        series.entry(name).or_default().push((tokens, times));
    }
    let title = format!("Times as fast as {}, against tokens", yardstick(record)?);
    let axes = ["tokens", "times as fast"];
    let kind = Kind {
        name: "speed-up",
        title,
        axes,
    };
    (!series.is_empty()).then_some(())?;
    let bounds = bounds(&series);
    let [x, _] = bounds;
    draw(
        kind,
        series,
        Some(("as fast", vec![(x.0, 1.0), (x.1, 1.0)])),
    )
}

/// Bytes a second of what is bound by memory, against bytes.
fn bandwidth(record: &BenchRecord) -> Option<Chart> {
    let roof: &RoofRecord = record.roof.as_ref()?;
    let mut series: BTreeMap<String, Points> = BTreeMap::new();
    let is_copying = |measured: &&Measured| measured.case.operations == 0;
    for measured in record.measured.iter().filter(is_copying) {
        let points = series.entry(measured.case.kernel.clone()).or_default();
        points.push((measured.case.bytes as f64 / 1e6, measured.bandwidth() / 1e9));
    }
    (!series.is_empty()).then_some(())?;
    let [x, _] = bounds(&series);
    let copy = roof.copy.bandwidth() / 1e9;
    let title = "Bandwidth against size, and that of a copy in the same run".to_owned();
    let axes = ["MB that move", "GB/s"];
    let kind = Kind {
        name: "bandwidth",
        title,
        axes,
    };
    draw(kind, series, Some(("copy", vec![(x.0, copy), (x.1, copy)])))
}

struct Kind {
    name: &'static str,
    title: String,
    axes: [&'static str; 2],
}

/// The least and greatest of both coordinates, with room around.
fn bounds(series: &BTreeMap<String, Points>) -> [(f64, f64); 2] {
    let points = || series.values().flatten();
    let range = |of: &dyn Fn(&(f64, f64)) -> f64| {
        let least = points().map(of).fold(f64::INFINITY, f64::min);
        let most = points().map(of).fold(0.0, f64::max);
        (least / 1.5, most * 1.5)
    };
    [range(&|point| point.0), range(&|point| point.1)]
}

/// Lines and points on logarithmic axes, with a grey line of what bounds or divides them.
fn draw(
    kind: Kind,
    mut series: BTreeMap<String, Points>,
    line: Option<(&str, Points)>,
) -> Option<Chart> {
    let count = series.len();
    while series.len() > MOST_SERIES {
        series.pop_last();
    }
    let title = match count > MOST_SERIES {
        true => format!("{}; {MOST_SERIES} of {count} kernels", kind.title),
        false => kind.title,
    };
    let kind = Kind { title, ..kind };
    let mut all = series.clone();
    if let Some((name, points)) = &line {
        all.insert((*name).to_owned(), points.clone());
    }
    let [x, y] = bounds(&all);
    let mut svg = String::new();
    // A chart that cannot be drawn is none; drawing to a string fails of nothing else.
    paint(&mut svg, &kind, &series, line.as_ref(), x, y).ok()?;
    Some(Chart {
        kind: kind.name,
        title: kind.title,
        svg,
    })
}

fn paint(
    svg: &mut String,
    kind: &Kind,
    series: &BTreeMap<String, Points>,
    line: Option<&(&str, Points)>,
    x: (f64, f64),
    y: (f64, f64),
) -> Result<(), Box<dyn std::error::Error>> {
    let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let (area, legend) = area.split_horizontally(SIZE.0 - LEGEND);
    let mut chart = ChartBuilder::on(&area)
        .caption(&kind.title, ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(44)
        .y_label_area_size(64)
        .build_cartesian_2d((x.0..x.1).log_scale(), (y.0..y.1).log_scale())?;
    let [x_name, y_name] = kind.axes;
    let number = |value: &f64| match *value {
        v if v >= 10.0 => format!("{v:.0}"),
        v if v >= 1.0 => format!("{v:.1}"),
        v => format!("{v:.2}"),
    };
    chart
        .configure_mesh()
        .x_desc(x_name)
        .y_desc(y_name)
        .x_label_formatter(&number)
        .y_label_formatter(&number)
        .light_line_style(WHITE)
        .draw()?;
    let mut names = Vec::new();
    if let Some((name, points)) = line {
        let grey = RGBColor(90, 90, 90);
        chart.draw_series(LineSeries::new(points.clone(), grey.stroke_width(2)))?;
        names.push((*name, grey.to_rgba()));
    }
    for (index, (name, points)) in series.iter().enumerate() {
        let color = Palette99::pick(index).to_rgba();
        let mut points = points.clone();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        chart.draw_series(LineSeries::new(points.clone(), color.stroke_width(1)))?;
        let circles = points
            .iter()
            .map(|&point| Circle::new(point, 4, color.filled()));
        chart.draw_series(circles)?;
        names.push((name, color));
    }
    for (index, (name, color)) in names.into_iter().enumerate() {
        let y = 50 + 18 * index as i32;
        legend.draw(&Circle::new((10, y), 4, color.filled()))?;
        let text = Text::new(name.to_owned(), (22, y - 6), ("sans-serif", 11));
        legend.draw(&text)?;
    }
    area.present()?;
    Ok(())
}
