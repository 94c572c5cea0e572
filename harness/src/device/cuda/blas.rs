//! Products by cuBLAS, if its library is found, for comparison in benches.
//!
//! They are captured from a stream into a graph, so that they launch like the kernels of graphs.

use super::super::machine::{Machine, Product};
use super::super::{DeviceError, Result};
use super::Cuda;
use cudarc::cublas::{result as blas, sys as blas_sys};
use cudarc::driver::result;
use cudarc::driver::sys;
use std::ffi::c_void;

/// The functions that are called here. cudarc panics if the library lacks one.
const NEEDED: [&str; 5] = [
    "cublasCreate_v2",
    "cublasDestroy_v2",
    "cublasSetStream_v2",
    "cublasSetWorkspace_v2",
    "cublasGemmEx",
];

/// cuBLAS, with a stream to capture from.
struct Blas<'c> {
    cuda: &'c Cuda,
    handle: blas_sys::cublasHandle_t,
    stream: u64,
}

impl Drop for Blas<'_> {
    fn drop(&mut self) {
        // SAFETY: created by `graph`, used no more.
        let _ = unsafe { blas::destroy_handle(self.handle) };
        self.cuda.end_stream(self.stream);
    }
}

fn failed(call: &'static str) -> impl Fn(blas::CublasError) -> DeviceError {
    move |error| DeviceError::Driver {
        call,
        reason: error.to_string(),
    }
}

/// The products as a graph, each after the one before; `None` without cuBLAS.
pub(super) fn graph(
    cuda: &Cuda,
    products: &[Product],
    (workspace, bytes): (u64, usize),
) -> Result<Option<u64>> {
    // SAFETY: opens a library and closes it.
    if !unsafe { blas_sys::is_culib_present() } {
        return Ok(None);
    }
    let lacking = NEEDED.into_iter().find(|name| {
        // SAFETY: the library is there; the function is looked for and not called.
        unsafe { blas_sys::culib().get::<unsafe extern "C" fn()>(name.as_bytes()) }.is_err()
    });
    if let Some(name) = lacking {
        return Err(DeviceError::Driver {
            call: "open cuBLAS",
            reason: format!("its library lacks {name}; cuBLAS 12 or later is needed"),
        });
    }
    cuda.bind()?;
    let driver = |call| cuda.faults.failed(call);
    let blas = Blas {
        cuda,
        stream: cuda.stream()?,
        handle: blas::create_handle().map_err(failed("open cuBLAS"))?,
    };
    let stream = blas.stream as sys::CUstream;
    // SAFETY: handle, stream and workspace exist, the workspace is as long as told.
    unsafe {
        blas::set_stream(blas.handle, stream.cast()).map_err(failed("set the stream of cuBLAS"))?;
        blas_sys::cublasSetWorkspace_v2(blas.handle, workspace as *mut c_void, bytes)
            .result()
            .map_err(failed("set the workspace of cuBLAS"))?;
    }
    // Once as it is: what is loaded at the first use is not captured.
    blas.multiply(products.iter().take(1))?;
    cuda.synchronize(blas.stream, "cuBLAS", super::WATCHDOG)?;
    let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
    // SAFETY: the stream exists and is idle.
    unsafe { result::stream::begin_capture(stream, mode) }.map_err(driver("begin a capture"))?;
    let multiplied = blas.multiply(products.iter());
    // SAFETY: the capture has begun on this stream.
    let captured = unsafe { result::stream::end_capture(stream) };
    multiplied?;
    let captured = captured.map_err(driver("end a capture"))?;
    let mut graph = std::ptr::null_mut();
    // SAFETY: the captured graph is whole; writes one pointer.
    let made = unsafe { sys::cuGraphInstantiateWithFlags(&raw mut graph, captured, 0) };
    // SAFETY: captured above; what was made of it is no part of it.
    let _ = unsafe { result::graph::destroy(captured) };
    made.result().map_err(driver("record a graph"))?;
    Ok(Some(graph as u64))
}

impl Blas<'_> {
    fn multiply<'p>(&self, products: impl Iterator<Item = &'p Product>) -> Result<()> {
        use blas_sys::cublasOperation_t::{CUBLAS_OP_N, CUBLAS_OP_T};
        const BF16: blas_sys::cudaDataType = blas_sys::cudaDataType::CUDA_R_16BF;
        let (one, zero) = (1.0f32, 0.0f32);
        for product in products {
            let &Product {
                w,
                x,
                y,
                rows,
                cols,
                tokens,
            } = product;
            // Column after column, as cuBLAS has it, y^T = W x^T.
            // SAFETY: the buffers exist and are as large as the sizes say.
            unsafe {
                blas::gemm_ex(
                    self.handle,
                    CUBLAS_OP_T,
                    CUBLAS_OP_N,
                    rows,
                    tokens,
                    cols,
                    (&raw const one).cast(),
                    w as *const c_void,
                    BF16,
                    cols,
                    x as *const c_void,
                    BF16,
                    cols,
                    (&raw const zero).cast(),
                    y as *mut c_void,
                    BF16,
                    rows,
                    blas_sys::cublasComputeType_t::CUBLAS_COMPUTE_32F,
                    blas_sys::cublasGemmAlgo_t::CUBLAS_GEMM_DEFAULT,
                )
            }
            .map_err(failed("multiply by cuBLAS"))?;
        }
        Ok(())
    }
}
