//! The emulator as a machine.

use super::fault::Faults;
use super::machine::{Copy, Launch, Machine, Product, Text};
use super::{DeviceError, DeviceKind, KernelAttributes, Properties, Result, Statistics};
use ptx_emulator::launch::{DEFAULT_BUDGET, Kernels, LaunchError, MAX_SHARED, MAX_THREADS};
use ptx_emulator::memory::global::{GlobalMemory, MemoryError};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The newest compute capability that the emulator knows instructions of.
const NEWEST_SM: u32 = 121;

/// Limits of an emulator.
#[derive(Clone, Copy, Debug)]
pub struct EmulatorOptions {
    /// Bytes of global memory.
    pub memory_bytes: u64,
    /// Warp instructions that a block may run before it counts as hanging.
    pub budget: u64,
    /// Whether the device is lost after the sanitizer stops a kernel, as in CUDA: the launch itself
    /// succeeds, and the next call and every later one returns the fault.
    pub is_lost_by_faults: bool,
}

impl Default for EmulatorOptions {
    fn default() -> Self {
        Self {
            memory_bytes: 4 << 30,
            budget: DEFAULT_BUDGET,
            is_lost_by_faults: false,
        }
    }
}

#[derive(Debug)]
pub(super) struct Emulator {
    properties: Properties,
    budget: u64,
    is_lost_by_faults: bool,
    faults: Faults,
    memory: Mutex<GlobalMemory>,
    modules: Mutex<Modules>,
}

#[derive(Debug, Default)]
struct Modules {
    loaded: BTreeMap<u64, Arc<Kernels>>,
    next: u64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A launch that panicked has left bytes half written, which are bytes still.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Emulator {
    pub fn new(options: EmulatorOptions) -> Self {
        Self {
            properties: Properties {
                kind: DeviceKind::Emulator,
                name: "PTX emulator".to_owned(),
                uuid: None,
                pci_bus_id: None,
                mig: None,
                sm: NEWEST_SM,
                memory_bytes: options.memory_bytes,
                max_threads: MAX_THREADS,
                max_shared: MAX_SHARED,
                multiprocessors: None,
                shared_per_multiprocessor: None,
                registers_per_multiprocessor: None,
                l2_bytes: None,
                clock_khz: None,
                memory_clock_khz: None,
                memory_bus_bits: None,
                driver_version: None,
            },
            budget: options.budget,
            is_lost_by_faults: options.is_lost_by_faults,
            faults: Faults::default(),
            memory: Mutex::new(GlobalMemory::new(options.memory_bytes)),
            modules: Mutex::default(),
        }
    }

    fn kernels(&self, module: u64) -> Result<Arc<Kernels>> {
        let kernels = lock(&self.modules).loaded.get(&module).cloned();
        kernels.ok_or_else(|| DeviceError::Driver {
            call: "find a module",
            reason: "it is not loaded".to_owned(),
        })
    }
}

impl Machine for Emulator {
    fn properties(&self) -> &Properties {
        &self.properties
    }

    fn allocate(&self, name: &str, bytes: usize) -> Result<u64> {
        self.faults.check()?;
        let mut memory = lock(&self.memory);
        memory
            .allocate(bytes as u64, name)
            .map_err(|error| match error {
                MemoryError::OutOfMemory {
                    asked,
                    free,
                    capacity,
                } => DeviceError::OutOfMemory {
                    code: None,
                    name: name.to_owned(),
                    asked,
                    free,
                    total: capacity,
                },
                error => error.into(),
            })
    }

    fn free(&self, address: u64) {
        // It was allocated and is freed once: by its buffer.
        let _ = lock(&self.memory).free(address);
    }

    fn products_graph(
        &self,
        _products: &[Product],
        _workspace: (u64, usize),
    ) -> Result<Option<u64>> {
        Ok(None)
    }

    fn free_memory(&self) -> Result<u64> {
        self.faults.check()?;
        let memory = lock(&self.memory);
        Ok(memory.capacity() - memory.used())
    }

    fn write(&self, address: u64, bytes: &[u8]) -> Result<()> {
        self.faults.check()?;
        Ok(lock(&self.memory).write(address, bytes)?)
    }

    fn read(&self, address: u64, bytes: &mut [u8]) -> Result<()> {
        self.faults.check()?;
        Ok(lock(&self.memory).read(address, bytes)?)
    }

    fn allocate_pinned(&self, bytes: usize) -> Result<*mut u8> {
        self.faults.check()?;
        Ok(Box::into_raw(vec![0u8; bytes].into_boxed_slice()).cast())
    }

    fn free_pinned(&self, pointer: *mut u8, bytes: usize) {
        // SAFETY: from `allocate_pinned`, with that size.
        drop(unsafe { Box::from_raw(std::ptr::slice_from_raw_parts_mut(pointer, bytes)) });
    }

    fn load(&self, text: &Text) -> Result<u64> {
        self.faults.check()?;
        let kernels = Kernels::of(text.tree).map_err(|reason| DeviceError::Unsupported {
            module: text.name.to_owned(),
            reason,
        })?;
        let mut modules = lock(&self.modules);
        let handle = modules.next;
        modules.next += 1;
        modules.loaded.insert(handle, Arc::new(kernels));
        Ok(handle)
    }

    fn unload(&self, module: u64) {
        lock(&self.modules).loaded.remove(&module);
    }

    /// A launch finds the kernel by its name; the handle is not used.
    fn kernel(&self, module: u64, entry: &str) -> Result<(u64, KernelAttributes)> {
        self.faults.check()?;
        let kernels = self.kernels(module)?;
        let program = kernels.programs().iter().find(|p| p.name == entry);
        let program = program.ok_or_else(|| LaunchError::NoKernel(entry.to_owned()))?;
        let attributes = KernelAttributes {
            static_shared: program.static_shared,
            ..KernelAttributes::default()
        };
        Ok((0, attributes))
    }

    fn blocks_per_multiprocessor(
        &self,
        _kernel: u64,
        _attributes: &KernelAttributes,
        _threads: u32,
        _dynamic_shared: u32,
    ) -> Result<Option<u32>> {
        Ok(None)
    }

    fn stream(&self) -> Result<u64> {
        self.faults.check()?;
        Ok(0)
    }

    fn end_stream(&self, _stream: u64) {}

    fn launch(&self, _stream: u64, launch: &Launch) -> Result<Option<Statistics>> {
        self.faults.check()?;
        let kernels = self.kernels(launch.module)?;
        let memory = &mut lock(&self.memory);
        let (geometry, parameters) = (launch.geometry, launch.parameters);
        match kernels.launch(launch.entry, geometry, parameters, memory, self.budget) {
            Ok(statistics) => Ok(Some(statistics)),
            Err(LaunchError::Violation(report)) if self.is_lost_by_faults => {
                self.faults.lost(report.to_string(), Some(launch.entry));
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// There is nothing to prepare; the handle is not used.
    fn graph(&self, _launches: &[Launch]) -> Result<u64> {
        self.faults.check()?;
        Ok(0)
    }

    fn end_graph(&self, _graph: u64) {}

    fn replay(&self, stream: u64, _graph: u64, launches: &[Launch]) -> Result<Option<Statistics>> {
        let mut launches = launches.iter();
        launches.try_fold(None, |_, launch| self.launch(stream, launch))
    }

    unsafe fn copy(&self, _stream: u64, copy: Copy) -> Result<()> {
        // SAFETY: by the contract of this method.
        let host = unsafe { std::slice::from_raw_parts_mut(copy.host, copy.bytes) };
        match copy.is_to_device {
            true => self.write(copy.device, host),
            false => self.read(copy.device, host),
        }
    }

    fn synchronize(&self, _: u64, _: &str, _: Duration) -> Result<()> {
        self.faults.check()
    }

    fn record(&self, _stream: u64) -> Result<u64> {
        self.faults.check()?;
        Ok(0)
    }

    fn end_event(&self, _event: u64) {}

    fn milliseconds(&self, _earlier: u64, _later: u64) -> Result<f32> {
        Err(DeviceError::NoClock)
    }
}
