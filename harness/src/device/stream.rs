//! Streams run launches and copies in order. Events mark a place in a stream and its time.

use super::buffer::PinnedMemory;
use super::graph::{Graph, Launches, Prepared, VendorProduct};
use super::machine::{Copy, Machine};
use super::{Argument, Buffer, DeviceError, Geometry, Kernel, Pinned, Result, Statistics};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The default limit of a synchronisation. [`Stream::set_watchdog`] and
/// [`Stream::synchronize_within`] set another.
pub const WATCHDOG: Duration = Duration::from_secs(60);

/// Runs launches and copies in order.
#[derive(Debug)]
pub struct Stream {
    machine: Arc<dyn Machine>,
    handle: u64,
    watchdog: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The kernel launched last, for reports.
    last: String,
    statistics: Option<Statistics>,
    /// Pinned memory of copies under way.
    copied: Vec<Arc<PinnedMemory>>,
    /// Kernels under way: their modules stay loaded.
    launched: Vec<Kernel>,
    /// Graphs under way.
    replayed: Vec<Arc<Launches>>,
    /// The launches since a recording began.
    recorded: Option<Vec<Prepared>>,
}

impl State {
    /// # Errors
    /// While launches are recorded.
    fn check_idle(&self, what: &'static str) -> Result<()> {
        match self.recorded {
            Some(_) => Err(DeviceError::Recording(what)),
            None => Ok(()),
        }
    }
}

/// Ends a recording when dropped.
struct Recording<'s>(&'s Stream);

impl Drop for Recording<'_> {
    fn drop(&mut self) {
        self.0.state().recorded = None;
    }
}

impl Stream {
    pub(super) fn new(machine: Arc<dyn Machine>) -> Result<Self> {
        let handle = machine.stream()?;
        Ok(Self {
            machine,
            handle,
            watchdog: WATCHDOG,
            state: Mutex::default(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // What is inside is whole between any two statements.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Launches a kernel, or only notes it during [`Stream::record_graph`].
    ///
    /// # Errors
    /// [`DeviceError`] if arguments or geometry do not fit the kernel or the device; on the
    /// emulator also the rule that the kernel broke.
    pub fn launch(
        &self,
        kernel: &Kernel,
        geometry: Geometry,
        arguments: &[Argument],
    ) -> Result<()> {
        if !Arc::ptr_eq(kernel.machine(), &self.machine) {
            let what = format!("kernel `{}`", kernel.entry());
            return Err(DeviceError::OtherDevice(what));
        }
        let prepared = Prepared::new(kernel, geometry, arguments)?;
        // Held over the launch, as over a copy: a synchronisation in between would let go of what
        // has just begun.
        let mut state = self.state();
        if let Some(recorded) = &mut state.recorded {
            recorded.push(prepared);
            return Ok(());
        }
        let statistics = self.machine.launch(self.handle, &prepared.launch())?;
        kernel.entry().clone_into(&mut state.last);
        let is_under_way = statistics.is_none();
        state.statistics = statistics;
        let is_held = |held: &Kernel| held.handles() == kernel.handles();
        if is_under_way && !state.launched.iter().any(is_held) {
            state.launched.push(kernel.clone());
        }
        Ok(())
    }

    /// Records what `launch` launches on this stream as a graph, without running it. Meanwhile the
    /// stream takes no copies, events or waits.
    ///
    /// # Errors
    /// The error of `launch`, after which the stream is as before; or if the driver refuses.
    pub fn record_graph<E: From<DeviceError>>(
        &self,
        launch: impl FnOnce(&Self) -> Result<(), E>,
    ) -> Result<Graph, E> {
        let mut state = self.state();
        state.check_idle("record a graph")?;
        state.recorded = Some(Vec::new());
        drop(state);
        let recording = Recording(self);
        launch(self)?;
        let recorded = self.state().recorded.take().unwrap_or_default();
        drop(recording);
        Ok(Graph::new(self.machine.clone(), recorded)?)
    }

    /// A graph of products of these sizes (rows, columns, tokens) by the vendor's library; `None`
    /// without the library. Only benches use it, to compare kernels with it.
    ///
    /// # Errors
    /// If a buffer is too small, or the library fails.
    pub fn vendor_products(
        &self,
        sizes: [usize; 3],
        products: &[VendorProduct],
    ) -> Result<Option<Graph>> {
        Graph::of_products(self.machine.clone(), sizes, products)
    }

    /// Launches a graph, on the current contents of its buffers.
    ///
    /// # Errors
    /// As [`Stream::launch`].
    pub fn replay(&self, graph: &Graph) -> Result<()> {
        if !graph.is_of(&self.machine) {
            return Err(DeviceError::OtherDevice("the graph".to_owned()));
        }
        let mut state = self.state();
        state.check_idle("replay another graph")?;
        let launches = graph.share();
        let statistics = launches.replay(self.handle)?;
        if let Some(last) = launches.last() {
            last.clone_into(&mut state.last);
        }
        let is_under_way = statistics.is_none();
        state.statistics = statistics;
        let is_held = |held: &Arc<Launches>| Arc::ptr_eq(held, &launches);
        if is_under_way && !state.replayed.iter().any(is_held) {
            state.replayed.push(launches);
        }
        Ok(())
    }

    /// Starts to copy all of `source` to byte `offset` of a buffer.
    ///
    /// # Errors
    /// If it does not fit.
    pub fn copy_in(&self, buffer: &Buffer, offset: usize, source: &Pinned) -> Result<()> {
        self.copy(buffer, offset, source, true)
    }

    /// Starts to copy from byte `offset` of a buffer until `target` is full.
    ///
    /// # Errors
    /// If the buffer is too short.
    pub fn copy_out(&self, buffer: &Buffer, offset: usize, target: &Pinned) -> Result<()> {
        self.copy(buffer, offset, target, false)
    }

    fn copy(
        &self,
        buffer: &Buffer,
        offset: usize,
        pinned: &Pinned,
        is_to_device: bool,
    ) -> Result<()> {
        buffer.check(offset, pinned.len())?;
        if !buffer.is_of(&self.machine) {
            return Err(DeviceError::OtherDevice(format!("`{}`", buffer.name())));
        }
        if !pinned.is_of(&self.machine) {
            return Err(DeviceError::OtherDevice("pinned memory".to_owned()));
        }
        let memory = pinned.share();
        let copy = Copy {
            host: memory.pointer(),
            device: buffer.address() + offset as u64,
            bytes: pinned.len(),
            is_to_device,
        };
        let mut state = self.state();
        state.check_idle("copy")?;
        // First, so that it outlives the copy whatever happens.
        state.copied.push(memory);
        // SAFETY: the host cannot reach the memory until `copied` lets it go after a
        // synchronisation, and it is as long as the copy. Freeing device memory waits for the
        // device.
        unsafe { self.machine.copy(self.handle, copy) }
    }

    /// Sets how long a synchronisation waits.
    pub const fn set_watchdog(&mut self, limit: Duration) {
        self.watchdog = limit;
    }

    /// Waits until all earlier work is done, for [`WATCHDOG`] at most unless another limit is set.
    ///
    /// # Errors
    /// The fault of an earlier kernel, or [`DeviceError::Watchdog`] if one did not end in time.
    pub fn synchronize(&self) -> Result<()> {
        self.synchronize_within(self.watchdog)
    }

    /// Waits until all earlier work is done, for `limit` at most.
    ///
    /// # Errors
    /// As [`Stream::synchronize`].
    pub fn synchronize_within(&self, limit: Duration) -> Result<()> {
        let mut state = self.state();
        state.check_idle("be waited for")?;
        self.machine.synchronize(self.handle, &state.last, limit)?;
        state.copied.clear();
        state.launched.clear();
        state.replayed.clear();
        Ok(())
    }

    /// Counts of the last launch; only the emulator has them.
    pub fn statistics(&self) -> Option<Statistics> {
        self.state().statistics.clone()
    }

    /// An event that happens when all earlier work is done.
    ///
    /// # Errors
    /// If the driver refuses.
    pub fn record(&self) -> Result<Event> {
        self.state().check_idle("have an event")?;
        let handle = self.machine.record(self.handle)?;
        Ok(Event {
            machine: self.machine.clone(),
            handle,
        })
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        let is_idle =
            state.copied.is_empty() && state.launched.is_empty() && state.replayed.is_empty();
        if !is_idle
            && self
                .machine
                .synchronize(self.handle, &state.last, WATCHDOG)
                .is_err()
        {
            // The device may still write there: never given back.
            std::mem::forget(std::mem::take(&mut state.copied));
            std::mem::forget(std::mem::take(&mut state.launched));
            std::mem::forget(std::mem::take(&mut state.replayed));
        }
        self.machine.end_stream(self.handle);
    }
}

/// A place in a stream.
#[derive(Debug)]
pub struct Event {
    machine: Arc<dyn Machine>,
    handle: u64,
}

impl Event {
    /// Device time between two events that have happened.
    ///
    /// # Errors
    /// If one has not happened; [`DeviceError::NoClock`] on the emulator.
    pub fn milliseconds_since(&self, earlier: &Self) -> Result<f32> {
        if !Arc::ptr_eq(&self.machine, &earlier.machine) {
            return Err(DeviceError::OtherDevice("the earlier event".to_owned()));
        }
        self.machine.milliseconds(earlier.handle, self.handle)
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        self.machine.end_event(self.handle);
    }
}
