//! A product of bf16 by cuBLAS.

use super::{Gpu, Launches, case};
use crate::{BenchError, Case, Opened, Target};
use mxlab_harness::device::{Buffer, DeviceError, VendorProduct};
use mxlab_kernels::format::{FloatType, random_at};
use mxlab_kernels::registry::Shape;
use std::rc::Rc;

/// y = x W^T in bf16, by the vendor's library.
pub struct VendorTarget {
    gpu: Rc<Gpu>,
    sizes: [usize; 3],
    case: Case,
}

impl VendorTarget {
    /// The product of these rows, columns and tokens.
    pub fn new(gpu: Rc<Gpu>, sizes: [usize; 3]) -> Self {
        let [rows, cols, tokens] = sizes;
        let bytes = 2 * (rows * cols + tokens * (rows + cols));
        let operations = 2 * rows as u64 * cols as u64 * tokens as u64;
        let shape = Shape {
            rows,
            cols,
            tokens: Some(tokens),
        };
        let costs = [bytes as u64, operations];
        let case = case("cublas_bf16".to_owned(), "vendor", shape, costs);
        Self { gpu, sizes, case }
    }

    /// Whether a device has such a library.
    ///
    /// # Errors
    /// If it is installed but does not work.
    pub fn is_there(gpu: &Rc<Gpu>) -> Result<bool, BenchError> {
        let sizes = [16, 16, 16];
        let buffers = Buffers::new(gpu, sizes)?;
        let graph = gpu.stream.vendor_products(sizes, &[buffers.product()])?;
        Ok(graph.is_some())
    }
}

struct Buffers([Buffer; 3]);

impl Buffers {
    /// W, x and y, of values like those of a model.
    fn new(gpu: &Gpu, [rows, cols, tokens]: [usize; 3]) -> Result<Self, DeviceError> {
        let values = |len: usize, seed: u32| -> Vec<u16> {
            // A piece again and again: to draw many takes long, and no product knows.
            let value = |i: usize| {
                let uniform = f64::from(random_at(seed, (i % 65521) as u64)) / f64::from(u32::MAX);
                FloatType::Bf16.to_bits((uniform - 0.5) as f32) as u16
            };
            (0..len).map(value).collect()
        };
        Ok(Self([
            gpu.device.upload("W", &values(rows * cols, 1))?,
            gpu.device.upload("x", &values(tokens * cols, 2))?,
            gpu.device.upload("y", &vec![0u16; tokens * rows])?,
        ]))
    }

    const fn product(&self) -> VendorProduct<'_> {
        let Self([w, x, y]) = self;
        VendorProduct { w, x, y }
    }
}

impl Target for VendorTarget {
    fn case(&self) -> &Case {
        &self.case
    }

    fn memory(&self) -> u64 {
        self.case.bytes * self.gpu.copies(self.case.bytes) as u64
    }

    fn open(&self) -> Result<Box<dyn Opened + '_>, BenchError> {
        let copies = self.gpu.copies(self.case.bytes);
        let buffers: Vec<Buffers> = (0..copies)
            .map(|_| Buffers::new(&self.gpu, self.sizes))
            .collect::<Result<_, _>>()?;
        let launches = Launches::new(&self.gpu, copies, |count| {
            let products = buffers.iter().cycle().take(count).map(Buffers::product);
            let products: Vec<VendorProduct> = products.collect();
            let graph = self.gpu.stream.vendor_products(self.sizes, &products)?;
            graph.ok_or_else(|| BenchError::Shape {
                kernel: self.case.kernel.clone(),
                reason: "cuBLAS is not there".to_owned(),
            })
        })?;
        Ok(Box::new(launches))
    }
}
