//! Charts of bench records.

use mxlab_benches::BenchRecord;
use mxlab_benches::record::{Measured, RoofRecord};

use super::plot::{Chart, Plot, Points, Series, WIDE};
use super::tables::{speed_ups, yardstick};

/// The charts for which a record has points.
pub fn of(record: &BenchRecord) -> Vec<Chart> {
    let charts = [roofline(record), speed_up(record), bandwidth(record)];
    charts.into_iter().flatten().collect()
}

/// Operations per second against operations per byte, with the measured roofs of a copy and a
/// product.
fn roofline(record: &BenchRecord) -> Option<Chart> {
    let roof = record.roof.as_ref()?;
    let product = roof.product.as_ref()?.rate()?;
    let copy = roof.copy.bandwidth();
    let mut series = Series::new();
    for measured in &record.measured {
        if let Some(rate) = measured.rate() {
            let intensity = measured.case.operations as f64 / measured.case.bytes as f64;
            let points = series.entry(measured.case.kernel.clone()).or_default();
            points.push((intensity, rate / 1e9));
        }
    }
    let (least, most) = reach(&series)?;
    let ridge = product / copy;
    let height = |intensity: f64| (intensity * copy).min(product) / 1e9;
    let mut line: Points = vec![(least, height(least))];
    line.extend((least < ridge && ridge < most).then(|| (ridge, height(ridge))));
    line.push((most, height(most)));
    let plot = Plot {
        kind: "roofline",
        title: "Rate against intensity, and the roofline measured in the same run".to_owned(),
        axes: ["operations a byte", "Gop/s"],
        size: WIDE,
        is_log: true,
        is_joined: true,
        series,
        line: Some(("roofline", line)),
    };
    plot.draw()
}

/// Speed-up over the reference kernel, against tokens.
fn speed_up(record: &BenchRecord) -> Option<Chart> {
    let mut series = Series::new();
    for (case, times) in speed_ups(record) {
        let tokens = case.tokens.unwrap_or(1) as f64;
        let name = format!("{} {}x{}", case.kernel, case.rows, case.cols);
        series.entry(name).or_default().push((tokens, times));
    }
    let (least, most) = reach(&series)?;
    let plot = Plot {
        kind: "speed-up",
        title: format!("Times as fast as {}, against tokens", yardstick(record)?),
        axes: ["tokens", "times as fast"],
        size: WIDE,
        is_log: true,
        is_joined: true,
        series,
        line: Some(("as fast", vec![(least, 1.0), (most, 1.0)])),
    };
    plot.draw()
}

/// Bytes per second of memory-bound kernels, against bytes.
fn bandwidth(record: &BenchRecord) -> Option<Chart> {
    let roof: &RoofRecord = record.roof.as_ref()?;
    let mut series = Series::new();
    let is_copying = |measured: &&Measured| measured.case.operations == 0;
    for measured in record.measured.iter().filter(is_copying) {
        let points = series.entry(measured.case.kernel.clone()).or_default();
        points.push((measured.case.bytes as f64 / 1e6, measured.bandwidth() / 1e9));
    }
    let (least, most) = reach(&series)?;
    let copy = roof.copy.bandwidth() / 1e9;
    let plot = Plot {
        kind: "bandwidth",
        title: "Bandwidth against size, and that of a copy in the same run".to_owned(),
        axes: ["MB that move", "GB/s"],
        size: WIDE,
        is_log: true,
        is_joined: true,
        series,
        line: Some(("copy", vec![(least, copy), (most, copy)])),
    };
    plot.draw()
}

/// The smallest and largest x, with a margin; `None` without points.
fn reach(series: &Series) -> Option<(f64, f64)> {
    let mut x = series.values().flatten().map(|point| point.0);
    let first = x.next()?;
    let (least, most) = x.fold((first, first), |(a, b), x| (a.min(x), b.max(x)));
    Some((least / 1.5, most * 1.5))
}
