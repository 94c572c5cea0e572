//! The resources that a kernel takes of a multiprocessor, as `ptxas -v` reports them.

/// The resources of a kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    /// Registers of a thread.
    pub registers: u32,
    /// Bytes of static shared memory of a thread block.
    pub static_shared_bytes: u32,
    /// Named barriers of a thread block.
    pub barriers: u32,
    /// Bytes of local memory of a thread.
    pub stack_bytes: u32,
    /// Bytes that a thread writes where registers did not suffice.
    pub spill_store_bytes: u32,
    /// Bytes that it reads back.
    pub spill_load_bytes: u32,
}

impl Resources {
    /// Whether any value lives in local memory.
    pub const fn uses_local_memory(&self) -> bool {
        self.stack_bytes + self.spill_store_bytes + self.spill_load_bytes > 0
    }

    /// From the report on a text with one kernel: `0 bytes stack frame, 0 bytes spill stores, 0
    /// bytes spill loads` for each function and `Used 18 registers, used 1 barriers, 256 bytes
    /// smem`. `None` without the latter.
    pub(super) fn parse(report: &str) -> Option<Self> {
        let mut resources = Self::default();
        let mut is_complete = false;
        for line in report.lines() {
            let line = line.trim_start();
            let counts = match line.split_once("Used ") {
                Some((_, counts)) => counts,
                None if line.contains("bytes stack frame") => line,
                None => continue,
            };
            for item in counts.split(',') {
                let item = item.trim().trim_start_matches("used ");
                let Some((count, what)) = item.split_once(' ') else {
                    continue;
                };
                let field = match what {
                    "registers" => {
                        is_complete = true;
                        &mut resources.registers
                    }
                    "barriers" => &mut resources.barriers,
                    "bytes smem" => &mut resources.static_shared_bytes,
                    "bytes stack frame" => &mut resources.stack_bytes,
                    "bytes spill stores" => &mut resources.spill_store_bytes,
                    "bytes spill loads" => &mut resources.spill_load_bytes,
                    _ => continue,
                };
                *field += count.parse::<u32>().ok()?;
            }
        }
        is_complete.then_some(resources)
    }
}

#[cfg(test)]
mod tests {
    use super::Resources;

    #[test]
    fn a_report_is_read() {
        let report = "\
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 't' for 'sm_80'
ptxas info    : Function properties for t
    128 bytes stack frame, 64 bytes spill stores, 60 bytes spill loads
ptxas info    : Used 24 registers, used 1 barriers, 128 bytes cumulative stack size, 256 bytes smem, 360 bytes cmem[0]
ptxas info    : Compile time = 3.435 ms
";
        let expected = Resources {
            registers: 24,
            static_shared_bytes: 256,
            barriers: 1,
            stack_bytes: 128,
            spill_store_bytes: 64,
            spill_load_bytes: 60,
        };
        assert_eq!(Resources::parse(report), Some(expected));
        assert_eq!(Resources::parse("ptxas info    : 0 bytes gmem"), None);
    }
}
