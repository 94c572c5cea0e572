//! Running one-kernel programs in tests.

use ptx_emulator::launch::{DEFAULT_BUDGET, Geometry, Kernels, LaunchError};
use ptx_emulator::memory::global::GlobalMemory;
use ptx_emulator::statistics::Statistics;

/// Wraps a body into a kernel `k(u64 out, u64 in, u32 n)` with some registers and the parameters
/// loaded: `%out`, `%in`, `%n`, `%tid`, `%p0..`, `%r0..`, `%rd0..`, `%f0..`.
pub fn kernel(body: &str) -> String {
    format!(
        ".version 8.0\n.target sm_80\n.address_size 64\n\
         .visible .entry k(.param .u64 p_out, .param .u64 p_in, .param .u32 p_n)\n{{\n\
         .reg .pred %p<8>; .reg .b32 %r<32>; .reg .b64 %rd<16>; .reg .f32 %f<16>;\n\
         .reg .b64 %out, %in; .reg .b32 %n, %tid;\n\
         ld.param.u64 %out, [p_out]; ld.param.u64 %in, [p_in]; ld.param.u32 %n, [p_n];\n\
         mov.u32 %tid, %tid.x;\n{body}\n}}\n"
    )
}

/// Line of the first line of a [`kernel`]'s body.
pub const BODY_LINE: u32 = 10;

/// Device memory with an `out` of zeros and an `in` of the given words.
pub struct Machine {
    pub memory: GlobalMemory,
    pub out: u64,
    pub input: u64,
    pub words: usize,
}

impl Machine {
    pub fn new(out_words: usize, input: &[u32]) -> Self {
        let mut memory = GlobalMemory::new(1 << 30);
        let out = memory
            .allocate(4 * out_words as u64, "out")
            .expect("memory");
        let place = memory
            .allocate(4 * input.len() as u64, "in")
            .expect("memory");
        let bytes: Vec<u8> = input.iter().flat_map(|word| word.to_le_bytes()).collect();
        memory.write(place, &bytes).expect("inside");
        Self {
            memory,
            out,
            input: place,
            words: out_words,
        }
    }

    pub fn run(&mut self, source: &str, grid: u32, block: u32) -> Result<Statistics, LaunchError> {
        self.run_with(source, grid, block, DEFAULT_BUDGET)
    }

    pub fn run_with(
        &mut self,
        source: &str,
        grid: u32,
        block: u32,
        budget: u64,
    ) -> Result<Statistics, LaunchError> {
        let kernels = Kernels::load(source).unwrap_or_else(|error| panic!("{error}\n{source}"));
        let mut parameters = Vec::new();
        parameters.extend(self.out.to_le_bytes());
        parameters.extend(self.input.to_le_bytes());
        parameters.extend((self.words as u32).to_le_bytes());
        let geometry = Geometry {
            grid: [grid, 1, 1],
            block: [block, 1, 1],
            dynamic_shared: 0,
        };
        kernels.launch("k", geometry, &parameters, &mut self.memory, budget)
    }

    pub fn output(&self) -> Vec<u32> {
        let mut bytes = vec![0; 4 * self.words];
        self.memory.read(self.out, &mut bytes).expect("written");
        bytes
            .chunks_exact(4)
            .map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]))
            .collect()
    }
}
