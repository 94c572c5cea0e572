//! Energy, by a counter of the chip or the CPU if there is one, else by sampling and integrating
//! power.

mod power;
mod rapl;

use super::GpuMonitor;
use power::PowerSampler;
use rapl::Rapl;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Instant;

/// The source of an energy measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EnergySource {
    /// The GPU's counter of energy, by NVML.
    GpuCounter,
    /// The GPU's power, by NVML, sampled every 100 ms, integrated by trapezoids.
    GpuPower,
    /// The counters of the CPU's packages (RAPL, by Linux' powercap).
    CpuPackages,
}

/// Energy that was used.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Energy {
    /// Joules, of the whole device.
    pub joules: f64,
    /// Seconds of the measurement.
    pub seconds: f64,
    /// The source.
    pub source: EnergySource,
}

/// A meter of energy.
#[derive(Debug)]
pub struct EnergyMeter(Meter);

#[derive(Debug)]
enum Meter {
    GpuCounter(Arc<GpuMonitor>),
    GpuPower(Arc<GpuMonitor>),
    CpuPackages(Rapl),
}

impl EnergyMeter {
    /// The meter of a GPU; `None` if NVML reports neither energy nor power.
    pub fn of_gpu(monitor: &Arc<GpuMonitor>) -> Option<Self> {
        if monitor.joules().is_some() {
            return Some(Self(Meter::GpuCounter(monitor.clone())));
        }
        monitor.watts()?;
        Some(Self(Meter::GpuPower(monitor.clone())))
    }

    /// The meter of the CPU; `None` if its counters are missing or not readable.
    pub fn of_cpu() -> Option<Self> {
        Rapl::open("/sys/class/powercap".as_ref()).map(|rapl| Self(Meter::CpuPackages(rapl)))
    }

    /// Begins to measure.
    pub fn start(&self) -> Metering<'_> {
        let reading = match &self.0 {
            Meter::GpuCounter(monitor) => Reading::Counter(monitor.joules()),
            Meter::GpuPower(monitor) => {
                let monitor = monitor.clone();
                Reading::Power(PowerSampler::start(move || monitor.watts()))
            }
            Meter::CpuPackages(rapl) => Reading::Packages(rapl.read()),
        };
        Metering {
            meter: self,
            reading,
            start: Instant::now(),
        }
    }
}

/// A measurement that has begun.
#[derive(Debug)]
pub struct Metering<'m> {
    meter: &'m EnergyMeter,
    reading: Reading,
    start: Instant,
}

#[derive(Debug)]
enum Reading {
    Counter(Option<f64>),
    Power(PowerSampler),
    Packages(Option<Vec<u64>>),
}

impl Metering<'_> {
    /// The energy since it began; `None` if it could not be read at either end. Counters update
    /// every few tens of milliseconds, so less than half a second means little.
    pub fn stop(self) -> Option<Energy> {
        let seconds = self.start.elapsed().as_secs_f64();
        let (joules, source) = match (&self.meter.0, self.reading) {
            (Meter::GpuCounter(monitor), Reading::Counter(before)) => {
                (monitor.joules()? - before?, EnergySource::GpuCounter)
            }
            (Meter::GpuPower(_), Reading::Power(sampler)) => {
                (sampler.stop()?, EnergySource::GpuPower)
            }
            (Meter::CpuPackages(rapl), Reading::Packages(before)) => {
                (rapl.joules_since(&before?)?, EnergySource::CpuPackages)
            }
            _ => return None,
        };
        Some(Energy {
            joules,
            seconds,
            source,
        })
    }
}
