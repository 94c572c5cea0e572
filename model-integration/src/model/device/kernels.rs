//! Kernels, loaded on first use.

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::hash::Hash;
use std::rc::Rc;

use mxlab_harness::device::Device;
use mxlab_kernels::family::append::AppendVariant;
use mxlab_kernels::family::attention::AttentionVariant;
use mxlab_kernels::family::block::Packer;
use mxlab_kernels::family::matmul::MatmulVariant;
use mxlab_kernels::family::rows::{HeadNorm, RowVariant};
use mxlab_kernels::family::shuffle::Shuffle;
use mxlab_kernels::family::{embed::Embed, log_probs::LogProbs, sample::Sample};
use mxlab_kernels::format::{BlockFormat, FloatType};
use mxlab_kernels::fragment::WeightFormat;
use mxlab_kernels::kernel::{Kernel, LaunchError, Launcher};

/// The kernels of one family, by variant.
struct Family<V, K>(RefCell<HashMap<V, Rc<K>>>);

impl<V, K> Default for Family<V, K> {
    fn default() -> Self {
        Self(RefCell::default())
    }
}

impl<V: Eq + Hash, K> Family<V, K> {
    fn get<E>(&self, variant: V, load: impl FnOnce() -> Result<K, E>) -> Result<Rc<K>, E> {
        if let Some(kernel) = self.0.borrow().get(&variant) {
            return Ok(kernel.clone());
        }
        let kernel = Rc::new(load()?);
        self.0.borrow_mut().insert(variant, kernel.clone());
        Ok(kernel)
    }
}

/// All kernels of an engine.
pub(super) struct Kernels {
    device: Device,
    matmul: Family<MatmulVariant, Launcher>,
    rows: Family<RowVariant, Launcher>,
    head_norm: Family<HeadNorm, Launcher>,
    append: Family<AppendVariant, Launcher>,
    attention: Family<AttentionVariant, Launcher>,
    packers: Family<BlockFormat, Packer>,
    shuffles: Family<WeightFormat, Shuffle>,
    embed: OnceCell<Launcher>,
    log_probs: OnceCell<Launcher>,
    sample: OnceCell<Launcher>,
}

impl Kernels {
    pub fn new(device: &Device) -> Self {
        Self {
            device: device.clone(),
            matmul: Family::default(),
            rows: Family::default(),
            head_norm: Family::default(),
            append: Family::default(),
            attention: Family::default(),
            packers: Family::default(),
            shuffles: Family::default(),
            embed: OnceCell::new(),
            log_probs: OnceCell::new(),
            sample: OnceCell::new(),
        }
    }

    pub fn matmul(&self, variant: MatmulVariant) -> Result<Rc<Launcher>, LaunchError> {
        self.matmul.get(variant, || variant.launcher(&self.device))
    }

    pub fn rows(&self, variant: RowVariant) -> Result<Rc<Launcher>, LaunchError> {
        self.rows.get(variant, || variant.launcher(&self.device))
    }

    pub fn head_norm(&self, variant: HeadNorm) -> Result<Rc<Launcher>, LaunchError> {
        (self.head_norm).get(variant, || variant.launcher(&self.device))
    }

    pub fn append(&self, variant: AppendVariant) -> Result<Rc<Launcher>, LaunchError> {
        self.append.get(variant, || variant.launcher(&self.device))
    }

    pub fn attention(&self, variant: AttentionVariant) -> Result<Rc<Launcher>, LaunchError> {
        self.attention
            .get(variant, || variant.launcher(&self.device))
    }

    /// The kernel that packs weights from bf16.
    pub fn packer(&self, format: BlockFormat) -> Result<Rc<Packer>, LaunchError> {
        self.packers.get(format, || {
            Ok(Packer::new(&self.device, format, FloatType::Bf16)?)
        })
    }

    /// The kernel that brings weights into fragment order.
    pub fn shuffle(&self, format: WeightFormat) -> Result<Rc<Shuffle>, LaunchError> {
        self.shuffles
            .get(format, || Shuffle::of_format(&self.device, format))
    }

    pub fn embed(&self) -> Result<&Launcher, LaunchError> {
        once(&self.embed, || Embed.launcher(&self.device))
    }

    pub fn log_probs(&self) -> Result<&Launcher, LaunchError> {
        once(&self.log_probs, || LogProbs.launcher(&self.device))
    }

    pub fn sample(&self) -> Result<&Launcher, LaunchError> {
        once(&self.sample, || Sample.launcher(&self.device))
    }
}

fn once<K>(
    cell: &OnceCell<K>,
    load: impl FnOnce() -> Result<K, LaunchError>,
) -> Result<&K, LaunchError> {
    if cell.get().is_none() {
        // No other thread sets it: cells are not shared between threads.
        let _ = cell.set(load()?);
    }
    cell.get().map_or_else(|| unreachable!("just set"), Ok)
}
