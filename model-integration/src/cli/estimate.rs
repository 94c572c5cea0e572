//! What `mxlab calibrate` says before it starts.

use std::path::Path;
use std::time::Duration;

use crate::calibrate::estimate::Estimate;
use crate::disk::available_disk;
use crate::memory::available_memory;

/// An estimate in words, with a warning for what is short.
pub fn words(estimate: &Estimate, output: &Path) -> String {
    let parts = [
        (estimate.text, "to write the text"),
        (estimate.layers, "to run the layers"),
        (estimate.sums, "to add up H"),
        (estimate.factors, "to factor it"),
        (estimate.rounding, "to round"),
    ];
    let parts = parts.iter().filter(|(seconds, _)| *seconds > 0.0);
    let parts: Vec<String> = parts
        .map(|(seconds, doing)| format!("{} {doing}", time(*seconds)))
        .collect();
    let mut text = format!(
        "this takes about {}: {}\n",
        time(estimate.seconds()),
        parts.join(", ")
    );
    let (memory, disk) = (available_memory(), available_disk(output));
    text += &format!(
        "memory: {} beside the model, of which H takes {}; the model has {}{}\n",
        size(estimate.memory),
        size(estimate.products),
        size(estimate.model),
        memory.map_or(String::new(), |most| format!(
            "; {} are available",
            size(most)
        )),
    );
    text += &format!(
        "disk: {}{}\n",
        size(estimate.disk),
        disk.map_or(String::new(), |most| format!("; {} are free", size(most))),
    );
    match memory {
        Some(most) if most < estimate.memory => {
            text += "warning: memory is short, and the system may end this run: ";
            text += match estimate.products > estimate.memory / 2 {
                true => "H is as large as inputs are wide, so use a machine with more\n",
                false => "lower --hidden-memory, --sequences or --length\n",
            };
        }
        Some(most) if most < estimate.memory + estimate.model => {
            text += "warning: memory is short of the model, which is read again from disk then\n";
        }
        _ => {}
    }
    if disk.is_some_and(|most| most < estimate.disk) {
        text += "warning: disk space is short: make room, or choose an output elsewhere\n";
    }
    text
}

fn size(bytes: u64) -> String {
    match bytes as f64 / f64::from(1 << 20) {
        mebibytes if mebibytes < 1024.0 => format!("{mebibytes:.0} MiB"),
        mebibytes => format!("{:.1} GiB", mebibytes / 1024.0),
    }
}

/// Two units at most.
fn time(seconds: f64) -> String {
    let whole = Duration::from_secs_f64(seconds).as_secs();
    match (whole / 3600, whole / 60, seconds) {
        (0, 0, seconds) if seconds < 10.0 => format!("{seconds:.1} s"),
        (0, 0, seconds) => format!("{seconds:.0} s"),
        (0, minutes, _) => format!("{minutes} min {} s", whole % 60),
        (hours, minutes, _) => format!("{hours} h {} min", minutes % 60),
    }
}
