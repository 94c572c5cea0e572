//! Faults on purpose: kernels and allocations that must fail, and how the device reports them.

use super::{Bench, Job, Verdict, Visit};
use mxlab_harness::device::{Argument, DeviceError, Geometry};

/// A fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A kernel writes to an address that nobody has.
    IllegalAddress,
    /// An allocation of twice the memory of the device.
    OutOfMemory,
    /// A kernel runs for much longer than the watchdog waits, about half a minute on a GPU.
    Hang,
}

impl Fault {
    const fn name(self) -> &'static str {
        match self {
            Self::IllegalAddress => "fault_illegal_address",
            Self::OutOfMemory => "fault_out_of_memory",
            Self::Hang => "fault_hang",
        }
    }

    /// A kernel of its name: `(address)`.
    fn ptx(self) -> String {
        let body = match self {
            // The lowest page is never mapped.
            Self::IllegalAddress | Self::OutOfMemory => "st.global.u32 [%rd0], %r0;",
            // Each load takes some hundred cycles, and its address is what the one before loaded, a
            // zero, plus its own: none can begin earlier.
            Self::Hang => {
                "$again:\n    ld.volatile.global.u64 %rd1, [%rd0];\n    \
                 add.u64 %rd0, %rd0, %rd1;\n    add.u32 %r0, %r0, 1;\n    \
                 setp.lt.u32 %p, %r0, 200000000;\n    @%p bra $again;"
            }
        };
        format!(
            ".version 7.0\n.target sm_80\n.address_size 64\n\n\
             .visible .entry {}(.param .u64 address)\n{{\n    \
             .reg .pred %p;\n    .reg .b32 %r<1>;\n    .reg .b64 %rd<2>;\n    \
             ld.param.u64 %rd0, [address];\n    mov.u32 %r0, 0;\n    {body}\n    ret;\n}}\n",
            self.name()
        )
    }

    fn commit(self, bench: &Bench) -> Result<(), DeviceError> {
        if self == Self::OutOfMemory {
            let bytes = bench.device.properties().memory_bytes.saturating_mul(2);
            let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
            return bench.device.allocate("twice the memory", bytes).map(drop);
        }
        let kernel = bench.device.load(self.name(), &self.ptx())?;
        let kernel = kernel.kernel(self.name())?;
        let word = bench.device.upload("word", &[0u64])?;
        let address = match self {
            Self::Hang => Argument::Buffer(&word),
            Self::IllegalAddress | Self::OutOfMemory => Argument::U64(8),
        };
        let geometry = Geometry {
            grid: [1, 1, 1],
            block: [1, 1, 1],
            dynamic_shared: 0,
        };
        bench.stream.launch(&kernel, geometry, &[address])?;
        bench.stream.synchronize()
    }
}

/// A fault as a job.
pub struct FaultJob(pub Fault);

impl Job for FaultJob {
    fn id(&self) -> String {
        self.0.name().to_owned()
    }

    fn family(&self) -> &'static str {
        "faults"
    }

    fn repeats(&self) -> bool {
        false
    }

    fn must_crash(&self) -> bool {
        self.0 != Fault::OutOfMemory
    }

    fn visit(&self, bench: &Bench) -> Visit {
        let wrong = |failure: String| Verdict::Wrong {
            failure,
            seed: None,
            problem: None,
        };
        Visit::without_problems(match (self.0, self.0.commit(bench)) {
            (Fault::OutOfMemory, Err(DeviceError::OutOfMemory { .. })) => Verdict::Right,
            (_, Err(error)) if error.is_lost() => Verdict::Crashed {
                failure: error.to_string(),
                seed: None,
            },
            (_, Err(error)) => wrong(format!("another error than that of the fault: {error}")),
            (_, Ok(())) => wrong("nothing stopped it".to_owned()),
        })
    }
}
