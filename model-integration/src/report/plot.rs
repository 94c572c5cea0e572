//! Draws charts as SVG.

use std::collections::BTreeMap;

use plotters::coord::Shift;
use plotters::coord::ranged1d::{Ranged, ValueFormatter};
use plotters::prelude::*;
use serde::Serialize;

/// Size of a chart with long series names, including its legend on the right.
pub const WIDE: Size = Size {
    width: 1240,
    height: 520,
    legend: 440,
};

/// Size of a chart with short names.
pub const NARROW: Size = Size {
    width: 800,
    height: 420,
    legend: 230,
};

/// Colours that can be distinguished on white and on black.
const PALETTE: [RGBColor; 10] = [
    RGBColor(78, 121, 167),
    RGBColor(242, 142, 43),
    RGBColor(225, 87, 89),
    RGBColor(89, 161, 79),
    RGBColor(176, 122, 161),
    RGBColor(156, 117, 95),
    RGBColor(93, 176, 170),
    RGBColor(204, 168, 40),
    RGBColor(228, 120, 140),
    RGBColor(140, 140, 140),
];

/// Size of a chart, in SVG units.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    width: u32,
    height: u32,
    legend: u32,
}
/// Most series of a chart; more cannot be distinguished.
const MOST_SERIES: usize = 20;

/// A chart.
#[derive(Serialize)]
pub struct Chart {
    /// Base of its file name.
    pub kind: String,
    /// Its title.
    pub title: String,
    /// The SVG, black on white.
    pub svg: String,
    /// The SVG for embedding in a page: in the colour of its text, on a transparent background.
    pub inline: String,
}

/// How the points of a series are joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Join {
    /// Not.
    No,
    /// From left to right.
    LeftToRight,
    /// In their order.
    InOrder,
}

/// Points of a series.
pub type Points = Vec<(f64, f64)>;

/// Series by name.
pub type Series = BTreeMap<String, Points>;

/// The description of a chart.
pub struct Plot<'a> {
    /// Base of its file name.
    pub kind: &'a str,
    /// Its title.
    pub title: String,
    /// Its size.
    pub size: Size,
    /// Names of the axes.
    pub axes: [&'a str; 2],
    /// Whether both axes are logarithmic.
    pub is_log: bool,
    /// How the points of a series are joined.
    pub join: Join,
    /// The series.
    pub series: Series,
    /// Grey lines that bound or divide the points.
    pub lines: Vec<(String, Points)>,
}

impl Plot<'_> {
    /// Draws it; `None` without points.
    pub fn draw(mut self) -> Option<Chart> {
        self.series.retain(|_, points| !points.is_empty());
        let count = self.series.len();
        if count == 0 {
            return None;
        }
        while self.series.len() > MOST_SERIES {
            self.series.pop_last();
        }
        if count > MOST_SERIES {
            self.title += &format!("; {MOST_SERIES} of {count} series");
        }
        let mut svg = String::new();
        // A chart that cannot be drawn is omitted. Drawing to a string has no other errors.
        self.paint(&mut svg).ok()?;
        Some(Chart {
            kind: self.kind.to_owned(),
            title: self.title,
            inline: inline(&svg, self.size),
            svg,
        })
    }

    fn paint(&self, svg: &mut String) -> Result<(), Box<dyn std::error::Error>> {
        let Size {
            width,
            height,
            legend,
        } = self.size;
        let area = SVGBackend::with_string(svg, (width, height)).into_drawing_area();
        area.fill(&WHITE)?;
        let (left, legend) = area.split_horizontally(width - legend);
        let [x, y] = self.bounds();
        let mut builder = ChartBuilder::on(&left);
        builder
            .caption(&self.title, ("sans-serif", 17))
            .margin(12)
            .x_label_area_size(44)
            .y_label_area_size(64);
        let names = match self.is_log {
            true => {
                let (x, y) = ((x.0..x.1).log_scale(), (y.0..y.1).log_scale());
                self.fill_in(&mut builder.build_cartesian_2d(x, y)?)?
            }
            false => self.fill_in(&mut builder.build_cartesian_2d(x.0..x.1, y.0..y.1)?)?,
        };
        for (index, (name, color)) in names.into_iter().enumerate() {
            let y = 50 + 18 * index as i32;
            label(&legend, &name, color, y)?;
        }
        area.present()?;
        Ok(())
    }

    /// Draws mesh, line and series, and returns their names and colours.
    fn fill_in<X, Y>(
        &self,
        chart: &mut ChartContext<SVGBackend, Cartesian2d<X, Y>>,
    ) -> Result<Vec<(String, RGBAColor)>, Box<dyn std::error::Error>>
    where
        X: Ranged<ValueType = f64> + ValueFormatter<f64>,
        Y: Ranged<ValueType = f64> + ValueFormatter<f64>,
    {
        let [x_name, y_name] = self.axes;
        let [x, y] = self.bounds();
        chart
            .configure_mesh()
            .x_desc(x_name)
            .y_desc(y_name)
            .x_label_formatter(&|value| self.tick(*value, x))
            .y_label_formatter(&|value| self.tick(*value, y))
            .label_style(("sans-serif", 13))
            .axis_desc_style(("sans-serif", 14))
            .light_line_style(TRANSPARENT)
            .draw()?;
        let mut names = Vec::new();
        for (index, (name, points)) in self.lines.iter().enumerate() {
            let shade = 110 + 100 * index / self.lines.len();
            let grey = RGBColor(shade as u8, shade as u8, shade as u8);
            chart.draw_series(LineSeries::new(points.clone(), grey.stroke_width(2)))?;
            names.push((name.clone(), grey.to_rgba()));
        }
        for (index, (name, points)) in self.series.iter().enumerate() {
            let color = PALETTE[index % PALETTE.len()].to_rgba();
            let mut points = points.clone();
            if self.join != Join::InOrder {
                points.sort_by(|a, b| a.0.total_cmp(&b.0));
            }
            if self.join != Join::No {
                chart.draw_series(LineSeries::new(points.clone(), color.stroke_width(1)))?;
            }
            let circles = points.iter();
            chart.draw_series(circles.map(|&point| Circle::new(point, 4, color.filled())))?;
            names.push((name.clone(), color));
        }
        Ok(names)
    }

    /// A tick label, with as many digits as distinguish it from the next.
    fn tick(&self, value: f64, (least, most): (f64, f64)) -> String {
        let step = match self.is_log {
            true => value.abs(),
            false => (most - least) / 8.0,
        };
        let digits = (-step.log10().floor()).clamp(0.0, 6.0) as usize;
        format!("{value:.digits$}")
    }

    /// The smallest and largest of both coordinates, with a margin.
    fn bounds(&self) -> [(f64, f64); 2] {
        let lines = self.lines.iter().flat_map(|(_, points)| points);
        let points: Vec<&(f64, f64)> = self.series.values().flatten().chain(lines).collect();
        let range = |of: &dyn Fn(&(f64, f64)) -> f64| {
            let values = points.iter().map(|point| of(point));
            let least = values.clone().fold(f64::INFINITY, f64::min);
            let most = values.fold(f64::NEG_INFINITY, f64::max);
            match self.is_log {
                true => (least / 1.5, most * 1.5),
                false => {
                    let room = (0.06 * (most - least)).max(1e-3 * most.abs()).max(1e-9);
                    (least - room, most + room)
                }
            }
        };
        [range(&|point| point.0), range(&|point| point.1)]
    }
}

fn label(
    legend: &DrawingArea<SVGBackend, Shift>,
    name: &str,
    color: RGBAColor,
    y: i32,
) -> Result<(), Box<dyn std::error::Error>> {
    legend.draw(&Circle::new((10, y), 4, color.filled()))?;
    let text = Text::new(name.to_owned(), (22, y - 6), ("sans-serif", 13));
    legend.draw(&text)?;
    Ok(())
}

/// Turns black on white into the surrounding text's colour on transparent.
fn inline(svg: &str, size: Size) -> String {
    let Size { width, height, .. } = size;
    let fixed = format!("width=\"{width}\" height=\"{height}\" ");
    svg.replacen(&fixed, "", 1)
        .replace("\"#FFFFFF\"", "\"none\"")
        .replace("\"#000000\"", "\"currentColor\"")
}
