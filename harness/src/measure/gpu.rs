//! What NVML tells of a GPU: its clocks and what holds them down, its power, who else uses it.

use nvml_wrapper::bitmasks::device::ThrottleReasons;
use nvml_wrapper::enum_wrappers::device::{Clock, TemperatureSensor};
use nvml_wrapper::{Device, Nvml};
use serde::{Deserialize, Serialize};

/// A GPU that NVML knows.
#[derive(Debug)]
pub struct GpuMonitor {
    nvml: Nvml,
    uuid: String,
}

/// A GPU at a moment. What NVML does not tell is `None`: with MIG, say, much of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GpuState {
    /// Clock of the multiprocessors, MHz.
    pub clock_mhz: Option<u32>,
    /// Clock of the memory, MHz.
    pub memory_clock_mhz: Option<u32>,
    /// Degrees Celsius.
    pub temperature_c: Option<u32>,
    /// Power, watts.
    pub power_w: Option<f64>,
    /// The most power that it may take, watts.
    pub power_limit_w: Option<f64>,
    /// What holds clocks down, but for idleness; `None` if that is not told.
    pub throttled_by: Option<Vec<String>>,
    /// Processes that compute there, other than this one.
    pub other_processes: Option<u32>,
    /// Whether the GPU is divided into instances.
    pub is_mig: Option<bool>,
}

/// What lowers clocks below what load and settings ask for, by NVML's names.
const THROTTLES: [(ThrottleReasons, &str); 7] = [
    (ThrottleReasons::SW_POWER_CAP, "power cap"),
    (ThrottleReasons::HW_SLOWDOWN, "hardware slowdown"),
    (ThrottleReasons::SYNC_BOOST, "sync boost"),
    (ThrottleReasons::SW_THERMAL_SLOWDOWN, "temperature"),
    (
        ThrottleReasons::HW_THERMAL_SLOWDOWN,
        "temperature (hardware)",
    ),
    (ThrottleReasons::HW_POWER_BRAKE_SLOWDOWN, "power brake"),
    (
        ThrottleReasons::APPLICATIONS_CLOCKS_SETTING,
        "application clocks",
    ),
];

impl GpuMonitor {
    /// The GPU of that UUID (`GPU-...`); `None` without NVML or if NVML does not know it.
    pub fn open(uuid: &str) -> Option<Self> {
        let monitor = Self {
            nvml: Nvml::init().ok()?,
            uuid: uuid.to_owned(),
        };
        monitor.device().is_some().then_some(monitor)
    }

    fn device(&self) -> Option<Device<'_>> {
        self.nvml.device_by_uuid(self.uuid.as_str()).ok()
    }

    /// Joules since the driver was loaded, where the chip counts them.
    pub(super) fn joules(&self) -> Option<f64> {
        let millijoules = self.device()?.total_energy_consumption().ok()?;
        Some(millijoules as f64 / 1e3)
    }

    /// Power, watts.
    pub(super) fn watts(&self) -> Option<f64> {
        Some(f64::from(self.device()?.power_usage().ok()?) / 1e3)
    }

    /// The driver's version, such as 580.65.06.
    pub fn driver(&self) -> Option<String> {
        self.nvml.sys_driver_version().ok()
    }

    /// As it is now.
    pub fn state(&self) -> GpuState {
        let Some(device) = self.device() else {
            return GpuState::default();
        };
        let throttled = device.current_throttle_reasons().ok().map(|reasons| {
            let names = THROTTLES.iter();
            let names = names.filter(|(reason, _)| reasons.contains(*reason));
            names.map(|&(_, name)| name.to_owned()).collect()
        });
        let own = std::process::id();
        let others = device.running_compute_processes().ok().map(|processes| {
            let others = processes.iter().filter(|process| process.pid != own);
            others.count() as u32
        });
        GpuState {
            clock_mhz: device.clock_info(Clock::SM).ok(),
            memory_clock_mhz: device.clock_info(Clock::Memory).ok(),
            temperature_c: device.temperature(TemperatureSensor::Gpu).ok(),
            power_w: self.watts(),
            power_limit_w: device
                .enforced_power_limit()
                .ok()
                .map(|milliwatts| f64::from(milliwatts) / 1e3),
            throttled_by: throttled,
            other_processes: others,
            is_mig: device.mig_mode().ok().map(|mode| mode.current != 0),
        }
    }
}

impl GpuState {
    /// Why times taken in this state are not those of a GPU at its own pace.
    pub fn marks(&self) -> Vec<String> {
        let throttles = self.throttled_by.iter().flatten();
        let mut marks: Vec<String> = throttles.map(|by| format!("throttled: {by}")).collect();
        match self.other_processes {
            None | Some(0) => {}
            Some(1) => marks.push("shared with another process".to_owned()),
            Some(others) => marks.push(format!("shared with {others} processes")),
        }
        if self.is_mig == Some(true) {
            marks.push("an instance of a divided GPU".to_owned());
        }
        marks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_disturbs_is_marked() {
        assert!(GpuState::default().marks().is_empty());
        let state = GpuState {
            throttled_by: Some(vec!["power cap".to_owned()]),
            other_processes: Some(2),
            is_mig: Some(true),
            ..GpuState::default()
        };
        let marks = state.marks();
        assert_eq!(marks.len(), 3, "{marks:?}");
        assert_eq!(marks[0], "throttled: power cap");
    }

    #[test]
    fn without_the_gpu_there_is_no_monitor() {
        assert!(GpuMonitor::open("GPU-00000000-0000-0000-0000-000000000000").is_none());
    }
}
