//! The state of a GPU by NVML: clocks, throttling, power, other processes.

use super::mig::{Slice, slice_of};
use crate::device::Properties;
use nvml_wrapper::bitmasks::device::ThrottleReasons;
use nvml_wrapper::enum_wrappers::device::{Clock, TemperatureSensor};
use nvml_wrapper::{Device, Nvml};
use serde::{Deserialize, Serialize};

/// A GPU that NVML knows.
#[derive(Debug)]
pub struct GpuMonitor {
    nvml: Nvml,
    key: Key,
}

/// The key by which NVML finds a GPU.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Key {
    /// Where it is on the bus: the same for CUDA and NVML whatever devices either shows.
    PciBusId(String),
    /// Its UUID, or that of a MIG slice.
    Uuid(String),
}

/// The keys to try, the most reliable first.
fn keys(properties: &Properties) -> Vec<Key> {
    let bus = properties.pci_bus_id.clone().map(Key::PciBusId);
    let uuid = properties.uuid.clone().map(Key::Uuid);
    bus.into_iter().chain(uuid).collect()
}

/// The state of a GPU at one moment. `None` where NVML has no answer, which is common under MIG.
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
    /// The power limit, watts.
    pub power_limit_w: Option<f64>,
    /// Reasons for lower clocks, except idleness; `None` if unknown.
    pub throttled_by: Option<Vec<String>>,
    /// Processes that compute there, other than this one; `None` if NVML does not show them.
    pub other_processes: Option<u32>,
    /// Whether the GPU is divided into instances.
    pub is_mig: Option<bool>,
}

/// The reasons for throttling, by NVML's names.
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

/// What NVML answered; each may be refused alone.
#[derive(Clone, Debug, Default)]
struct Answers {
    clock_mhz: Option<u32>,
    memory_clock_mhz: Option<u32>,
    temperature_c: Option<u32>,
    power_mw: Option<u32>,
    power_limit_mw: Option<u32>,
    throttled_by: Option<ThrottleReasons>,
    /// Processes that compute there, by the ids that NVML sees.
    processes: Option<Vec<u32>>,
    mig_mode: Option<u32>,
}

impl Answers {
    /// The state for this process, which computes on the GPU.
    fn state(self, own: u32) -> GpuState {
        let watts = |milliwatts: u32| f64::from(milliwatts) / 1e3;
        let names = |reasons: ThrottleReasons| {
            let names = THROTTLES.iter();
            let names = names.filter(|(reason, _)| reasons.contains(*reason));
            names.map(|&(_, name)| name.to_owned()).collect()
        };
        GpuState {
            clock_mhz: self.clock_mhz,
            memory_clock_mhz: self.memory_clock_mhz,
            temperature_c: self.temperature_c,
            power_w: self.power_mw.map(watts),
            power_limit_w: self.power_limit_mw.map(watts),
            throttled_by: self.throttled_by.map(names),
            other_processes: self.processes.and_then(|listed| others(listed, own)),
            is_mig: self.mig_mode.map(|mode| mode != 0),
        }
    }
}

/// The number of processes other than this one. This process holds a context, so it is in the list,
/// perhaps under another id: in a container NVML lists the ids of the host. An empty list is no
/// answer.
fn others(mut listed: Vec<u32>, own: u32) -> Option<u32> {
    listed.sort_unstable();
    // A process with contexts on several slices is listed for each.
    listed.dedup();
    let others = match listed.contains(&own) {
        true => listed.iter().filter(|&&id| id != own).count(),
        false => listed.len().checked_sub(1)?,
    };
    u32::try_from(others).ok()
}

impl GpuMonitor {
    /// The GPU that CUDA has opened; `None` without NVML or if NVML does not know it.
    pub fn open(properties: &Properties) -> Option<Self> {
        let keys = keys(properties);
        if keys.is_empty() {
            return None;
        }
        let nvml = Nvml::init().ok()?;
        let key = keys.into_iter().find(|key| find(&nvml, key).is_some())?;
        Some(Self { nvml, key })
    }

    fn device(&self) -> Option<Device<'_>> {
        find(&self.nvml, &self.key)
    }

    /// The MIG slice that CUDA has opened, such as `NVIDIA H100 MIG 1g.10gb (MIG-...)`; `None` if
    /// it is a whole GPU or NVML does not tell. `uuid` is the one CUDA says.
    pub fn slice(&self, uuid: Option<&str>) -> Option<String> {
        let device = self.device()?;
        if device.mig_is_mig_device_handle().unwrap_or(false) {
            let slice = Slice::new(device.uuid().ok()?, device.name().ok());
            return Some(slice.to_string());
        }
        let mode = device.mig_mode().ok()?.current;
        let slices = (0..device.mig_device_count().unwrap_or(0)).filter_map(|index| {
            let slice = device.mig_device_by_index(index).ok()?;
            Some(Slice::new(slice.uuid().ok()?, slice.name().ok()))
        });
        slice_of(mode, &slices.collect::<Vec<_>>(), uuid)
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

    /// Its state now. This process must hold a context on it.
    pub fn state(&self) -> GpuState {
        let Some(device) = self.device() else {
            return GpuState::default();
        };
        let processes = device.running_compute_processes().ok();
        let answers = Answers {
            clock_mhz: device.clock_info(Clock::SM).ok(),
            memory_clock_mhz: device.clock_info(Clock::Memory).ok(),
            temperature_c: device.temperature(TemperatureSensor::Gpu).ok(),
            power_mw: device.power_usage().ok(),
            power_limit_mw: device.enforced_power_limit().ok(),
            throttled_by: device.current_throttle_reasons().ok(),
            processes: processes.map(|listed| listed.iter().map(|process| process.pid).collect()),
            mig_mode: device.mig_mode().ok().map(|mode| mode.current),
        };
        answers.state(std::process::id())
    }
}

fn find<'n>(nvml: &'n Nvml, key: &Key) -> Option<Device<'n>> {
    match key {
        Key::PciBusId(id) => nvml.device_by_pci_bus_id(id.as_str()).ok(),
        Key::Uuid(uuid) => nvml.device_by_uuid(uuid.as_str()).ok(),
    }
}

impl GpuState {
    /// Reasons why times in this state are not those of an undisturbed GPU.
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
    use crate::device::Device;

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
    fn each_answer_is_kept_without_the_others() {
        assert_eq!(Answers::default().state(1), GpuState::default());
        let answers = Answers {
            power_mw: Some(351_250),
            throttled_by: Some(ThrottleReasons::GPU_IDLE | ThrottleReasons::SW_POWER_CAP),
            mig_mode: Some(0),
            ..Answers::default()
        };
        let expected = GpuState {
            power_w: Some(351.25),
            throttled_by: Some(vec!["power cap".to_owned()]),
            is_mig: Some(false),
            ..GpuState::default()
        };
        assert_eq!(answers.state(1), expected);
        let nothing = Answers {
            throttled_by: Some(ThrottleReasons::empty()),
            ..Answers::default()
        };
        assert_eq!(nothing.state(1).throttled_by, Some(Vec::new()));
    }

    #[test]
    fn this_process_is_not_another_one() {
        // On the host NVML lists our own id.
        assert_eq!(others(vec![7], 7), Some(0));
        assert_eq!(others(vec![9, 7, 8], 7), Some(2));
        // In a container it lists those of the host: one of them is ours.
        assert_eq!(others(vec![41_234], 7), Some(0));
        assert_eq!(others(vec![41_234, 41_300], 7), Some(1));
        // A process is listed for each slice that it uses.
        assert_eq!(others(vec![7, 7, 8, 8], 7), Some(1));
        // Nobody at all cannot be: NVML does not show processes there.
        assert_eq!(others(Vec::new(), 7), None);
        let unseen = Answers {
            processes: Some(Vec::new()),
            ..Answers::default()
        };
        assert_eq!(unseen.state(7).other_processes, None);
    }

    #[test]
    fn the_place_on_the_bus_is_looked_for_first() {
        let mut properties = Device::emulator().properties().clone();
        assert!(keys(&properties).is_empty());
        assert!(GpuMonitor::open(&properties).is_none());
        properties.uuid = Some("GPU-00000000-0000-0000-0000-000000000000".to_owned());
        properties.pci_bus_id = Some("0000:65:00.0".to_owned());
        let [first, second] = &keys(&properties)[..] else {
            panic!("two keys");
        };
        assert_eq!(*first, Key::PciBusId("0000:65:00.0".to_owned()));
        assert!(matches!(second, Key::Uuid(_)));
    }
}
