//! Reductions of logits on the device: log-probabilities of targets, chosen tokens.

use mxlab_kernels::kernel::Call;
use mxlab_kernels::reference::Sampling;

use super::backend::whole;
use super::{Activation, DeviceBackend};
use crate::model::LlamaError;
use crate::model::score::TargetLogit;

impl DeviceBackend {
    /// The reduced logits of target tokens, one row of logits each.
    pub(super) fn target_logits(
        &self,
        logits: &Activation,
        targets: &[u32],
    ) -> Result<Vec<TargetLogit>, LlamaError> {
        let [max, argmax, sum, target, ids] = &self.results;
        ids.write(0, targets)?;
        let call = Call::new()
            .size("rows", targets.len())
            .size("cols", logits.cols())
            .rows("src", "src_stride", logits.dense())
            .buffer("targets", whole(ids))
            .buffer("dst_max", whole(max))
            .buffer("dst_argmax", whole(argmax))
            .buffer("dst_sum", whole(sum))
            .buffer("dst_target", whole(target));
        let kernel = self.kernels.log_probs()?;
        kernel.launch(&self.stream, &call)?;
        self.stream.synchronize()?;
        let count = targets.len();
        let (mut greatest, mut chosen) = (vec![0f32; count], vec![0u32; count]);
        let (mut sums, mut logits) = (vec![0f64; count], vec![0f32; count]);
        max.read(0, &mut greatest)?;
        argmax.read(0, &mut chosen)?;
        sum.read(0, &mut sums)?;
        target.read(0, &mut logits)?;
        let of_row = |row: usize| TargetLogit {
            logit: logits[row],
            greatest: greatest[row],
            exponentials: sums[row],
            is_greedy: chosen[row] == targets[row],
        };
        Ok((0..count).map(of_row).collect())
    }

    /// Writes the random numbers for [`DeviceBackend::sample`].
    pub(super) fn stage_random(&self, random: &[u32]) -> Result<(), LlamaError> {
        Ok(self.results[4].write(0, random)?)
    }

    /// Launches the choice of a token for each row of logits.
    pub(super) fn sample(&self, logits: &Activation, sampling: Sampling) -> Result<(), LlamaError> {
        let call = Call::new()
            .size("rows", logits.rows())
            .size("cols", logits.cols())
            .rows("src", "src_stride", logits.dense())
            .buffer("random", whole(&self.results[4]))
            .number("temperature", sampling.temperature)
            .number("top_p", sampling.top_p)
            .buffer("dst", whole(&self.results[1]));
        Ok(self.kernels.sample()?.launch(&self.stream, &call)?)
    }

    /// The tokens chosen last.
    pub(super) fn chosen(&self, count: usize) -> Result<Vec<u32>, LlamaError> {
        self.stream.synchronize()?;
        let mut tokens = vec![0u32; count];
        self.results[1].read(0, &mut tokens)?;
        Ok(tokens)
    }
}
