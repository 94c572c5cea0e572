//! Charts of bench records.

use std::collections::BTreeMap;

use mxlab_benches::record::{Measured, RoofRecord};
use mxlab_benches::{BenchRecord, Case};

use super::plot::{Chart, Join, Plot, Points, Series, WIDE};
use super::tables::{speed_ups, yardstick};

/// The charts for which a record has points.
pub fn of(record: &BenchRecord) -> Vec<Chart> {
    let charts = [roofline(record), speed_up(record), bandwidth(record)];
    charts.into_iter().flatten().collect()
}

/// Operations per second against operations per byte, below the roofs of the same run: a slope for
/// each level of memory, and a level for each kind of arithmetic, that a product is bound by.
fn roofline(record: &BenchRecord) -> Option<Chart> {
    let roof = record.roof.as_ref()?;
    let mut series = Series::new();
    let mut slopes: BTreeMap<String, f64> = BTreeMap::new();
    let mut levels: BTreeMap<String, f64> = BTreeMap::new();
    for measured in &record.measured {
        let case = &measured.case;
        let Some(rate) = measured.rate() else {
            continue;
        };
        let intensity = case.operations as f64 / case.bytes as f64;
        let points = series.entry(case.kernel.clone()).or_default();
        points.push((intensity, rate / 1e9));
        let fastest = roof.level(case).map(|roof| (peak(roof), &roof.case));
        if let Some((bandwidth, of)) = fastest.max_by(|a, b| a.0.total_cmp(&b.0)) {
            slopes.insert(of.kernel.clone(), bandwidth / 1e9);
        }
        if let Some(arithmetic) = roof.arithmetic(case) {
            let rate = arithmetic.case.operations as f64 / arithmetic.fastest();
            levels.insert(arithmetic.case.kernel.clone(), rate / 1e9);
        }
    }
    let (least, most) = reach(&series)?;
    let top = levels.values().copied().fold(0.0, f64::max);
    let steepest = slopes.values().copied().fold(0.0, f64::max);
    let slopes = slopes.into_iter().map(|(name, slope)| {
        let end = most.min(top / slope).max(least);
        let name = format!("{name}: {slope:.0} GB/s");
        (name, vec![(least, slope * least), (end, slope * end)])
    });
    let levels = levels.into_iter().map(|(name, level)| {
        let start = least.max(level / steepest).min(most);
        let name = format!("{name}: {level:.0} Gop/s");
        (name, vec![(start, level), (most, level)])
    });
    let plot = Plot {
        kind: "roofline",
        title: "Rate against intensity, and the roofs measured in the same run".to_owned(),
        axes: ["operations a byte", "Gop/s"],
        size: WIDE,
        is_log: true,
        join: Join::LeftToRight,
        lines: slopes.chain(levels).collect(),
        series,
    };
    plot.draw()
}

/// Bytes per second of a roof.
fn peak(roof: &Measured) -> f64 {
    roof.case.bytes as f64 / roof.fastest()
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
        join: Join::LeftToRight,
        series,
        lines: vec![("as fast".to_owned(), vec![(least, 1.0), (most, 1.0)])],
    };
    plot.draw()
}

/// Bytes per second of memory-bound kernels, against the bytes that they touch.
fn bandwidth(record: &BenchRecord) -> Option<Chart> {
    let roof: &RoofRecord = record.roof.as_ref()?;
    let mut series = Series::new();
    let mut sizes: Vec<&Case> = Vec::new();
    let is_copying = |m: &&Measured| m.case.operations == 0 && m.case.bytes > 0;
    for measured in record.measured.iter().filter(is_copying) {
        let points = series.entry(measured.case.kernel.clone()).or_default();
        let megabytes = measured.case.working_set() as f64 / 1e6;
        points.push((megabytes, measured.bandwidth() / 1e9));
        sizes.push(&measured.case);
    }
    let (least, most) = reach(&series)?;
    sizes.sort_by_key(|case| case.working_set());
    // The fastest traffic at each size, with a step where another level begins.
    let fastest = |case: &Case| roof.level(case).map(peak).fold(0.0, f64::max);
    let mut line: Points = Vec::new();
    for case in sizes {
        let (x, y) = (case.working_set() as f64 / 1e6, fastest(case) / 1e9);
        if let Some(&(_, before)) = line.last().filter(|(_, before)| *before != y) {
            line.push((x, before));
        }
        line.push((x, y));
    }
    let (first, last) = (line.first()?.1, line.last()?.1);
    line.insert(0, (least, first));
    line.push((most, last));
    let plot = Plot {
        kind: "bandwidth",
        title: "Bandwidth against size, and the fastest traffic of the same run".to_owned(),
        axes: ["MB touched", "GB/s"],
        size: WIDE,
        is_log: true,
        join: Join::LeftToRight,
        series,
        lines: vec![("fastest traffic".to_owned(), line)],
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
