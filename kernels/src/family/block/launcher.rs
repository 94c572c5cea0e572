//! Chooses the fastest kernel of an operation that the operands allow.

use super::{Addressing, BlockOperation, BlockVariant, Target};
use crate::format::{BlockFormat, FloatType};
use crate::kernel::{Call, Kernel, LaunchError, Launcher, Signature, VariantError};
use mxlab_harness::device::{Device, Stream};
use std::sync::OnceLock;

/// The kernels of an operation for a format, with the conversions that the device has: a fast one
/// for aligned operands, and one for any layout. Each is loaded when it is first needed.
#[derive(Debug)]
pub struct BlockLauncher {
    device: Device,
    aligned: Choice,
    ragged: Choice,
}

/// A kernel that may be loaded.
#[derive(Debug)]
struct Choice {
    variant: BlockVariant,
    signature: Signature,
    loaded: OnceLock<Launcher>,
}

impl BlockLauncher {
    /// The kernels of `operation`; `dense` is the type of the tensor that is not packed.
    ///
    /// # Errors
    /// [`VariantError`] if there are none.
    pub fn new(
        device: &Device,
        operation: BlockOperation,
        format: BlockFormat,
        dense: FloatType,
    ) -> Result<Self, VariantError> {
        let sm = device.properties().sm;
        let choice = |addressing| {
            let portable = BlockVariant::new(operation, format, dense, addressing)?;
            let targets = Target::ALL.into_iter().filter(|target| target.runs_on(sm));
            let mut converting = targets.filter_map(|target| portable.with_conversions(target));
            let variant = converting.next_back().unwrap_or(portable);
            Ok::<_, VariantError>(Choice {
                variant,
                signature: variant.signature(),
                loaded: OnceLock::new(),
            })
        };
        Ok(Self {
            device: device.clone(),
            aligned: choice(Addressing::Aligned)?,
            ragged: choice(Addressing::Ragged)?,
        })
    }

    /// The variant for these operands.
    pub fn pick(&self, call: &Call) -> &BlockVariant {
        &self.choice(&self.part(call)).variant
    }

    /// The variant for any layout, if the operands do not have the layout of the fast one.
    fn choice(&self, call: &Call) -> &Choice {
        match self.aligned.signature.check(call) {
            Err(LaunchError::Layout { .. }) => &self.ragged,
            _ => &self.aligned,
        }
    }

    /// Launches the variant for these operands.
    ///
    /// # Errors
    /// [`LaunchError`] if the operands do not fit together, or the device refuses.
    pub fn launch(&self, stream: &Stream, call: &Call) -> Result<(), LaunchError> {
        let call = self.part(call);
        let choice = self.choice(&call);
        let launcher = match choice.loaded.get() {
            Some(launcher) => launcher,
            None => {
                let launcher = choice.variant.launcher(&self.device)?;
                choice.loaded.get_or_init(|| launcher)
            }
        };
        launcher.launch(stream, &call)
    }

    /// The part of a call that the operation takes. A single row gets the least stride, since no
    /// row follows it.
    fn part<'a>(&self, call: &Call<'a>) -> Call<'a> {
        let call = call.clone().of_operands(&self.ragged.signature);
        match (call.size_of("rows"), call.size_of("cols")) {
            (Some(1), Some(cols)) => call.size("src_stride", cols).size("dst_stride", cols),
            _ => call,
        }
    }
}
