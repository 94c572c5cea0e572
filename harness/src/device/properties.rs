//! Properties of a device.

use serde::{Deserialize, Serialize};

/// Which of the two machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeviceKind {
    /// An NVIDIA GPU.
    Cuda,
    /// The PTX emulator.
    Emulator,
}

/// The properties and limits of a device; `None` where unknown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Properties {
    /// Which machine.
    pub kind: DeviceKind,
    /// The name of the chip.
    pub name: String,
    /// Its id in NVML, `GPU-...`.
    pub uuid: Option<String>,
    /// Where it is: domain:bus:device.function, hexadecimal, such as `0000:65:00.0`.
    #[serde(default)]
    pub pci_bus_id: Option<String>,
    /// Its MIG slice; `None` if it is a whole GPU or if that is unknown.
    #[serde(default)]
    pub mig: Option<String>,
    /// Compute capability, as 90 for 9.0; on the emulator the highest whose instructions it knows.
    pub sm: u32,
    /// Bytes of global memory.
    pub memory_bytes: u64,
    /// Threads of a block, at most.
    pub max_threads: u32,
    /// Bytes of shared memory of a block, at most, static and dynamic.
    pub max_shared: u32,
    /// Streaming multiprocessors.
    pub multiprocessors: Option<u32>,
    /// Bytes of shared memory of a multiprocessor.
    pub shared_per_multiprocessor: Option<u32>,
    /// Registers of a multiprocessor.
    pub registers_per_multiprocessor: Option<u32>,
    /// Bytes of L2.
    pub l2_bytes: Option<u32>,
    /// Highest clock of the multiprocessors, kHz.
    pub clock_khz: Option<u32>,
    /// Highest clock of the memory, kHz.
    pub memory_clock_khz: Option<u32>,
    /// Width of the memory bus, bits.
    pub memory_bus_bits: Option<u32>,
    /// The CUDA version that the driver supports, as 13000 for 13.0.
    pub driver_version: Option<u32>,
}

/// The slice in CUDA's name of a device, such as `MIG 1g.10gb`; `None` for a whole GPU.
pub(super) fn slice_in_name(name: &str) -> Option<String> {
    let (_, profile) = name.split_once(" MIG ")?;
    Some(format!("MIG {profile}"))
}

impl Properties {
    /// Whether it runs PTX of that `.target`: sm_90 runs on 9.0 and later, sm_90a on 9.0 only,
    /// sm_100f on 10.0 and later of the family.
    pub fn runs(&self, target: &str) -> bool {
        let number = target.trim_start_matches("sm_");
        let digits = number.trim_end_matches(['a', 'f']);
        let sm = self.sm;
        digits.parse::<u32>().is_ok_and(|needed| {
            match (self.kind, number.strip_prefix(digits)) {
                // It knows the instructions of all before; one it does not is an error of its own.
                (DeviceKind::Emulator, _) => sm >= needed,
                (_, Some("a")) => sm == needed,
                (_, Some("f")) => sm / 10 == needed / 10 && sm >= needed,
                _ => sm >= needed,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_slices_end_with_a_profile() {
        let name = "NVIDIA A100-SXM4-40GB MIG 1g.5gb";
        assert_eq!(slice_in_name(name), Some("MIG 1g.5gb".to_owned()));
        assert_eq!(slice_in_name("NVIDIA H200"), None);
    }
}
