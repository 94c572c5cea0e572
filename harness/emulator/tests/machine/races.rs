//! The race detector against the definition of a race, over random programs.
//!
//! Every thread of a block runs the same steps: accesses to shared memory, barriers of the block,
//! barriers of the warps. Two accesses race if they are of different threads, touch a common byte,
//! one of them writes and not both are atomic, and no barrier is between them that both threads
//! wait at.

use crate::machine::launched::{BODY_LINE, Machine, kernel};
use proptest::prelude::*;
use ptx_emulator::launch::LaunchError;
use ptx_emulator::memory::shared::Access;
use ptx_emulator::report::Violation;

const THREADS: u32 = 64;
const BYTES: u32 = 512;

#[derive(Clone, Copy, Debug)]
enum Step {
    BlockBarrier,
    WarpBarrier,
    /// Threads `first..first + count` reach `size` bytes at `size * ((stride * tid + start) %
    /// (BYTES / size))`.
    Access {
        access: Access,
        size: u32,
        stride: u32,
        start: u32,
        first: u32,
        count: u32,
    },
}

impl Step {
    /// The first byte that a thread reaches.
    fn offset(self, thread: u32) -> Option<u32> {
        match self {
            Self::Access {
                size,
                stride,
                start,
                first,
                count,
                ..
            } => (first..first + count)
                .contains(&thread)
                .then(|| (stride * thread + start) % (BYTES / size) * size),
            _ => None,
        }
    }

    /// A line of PTX.
    fn ptx(self) -> String {
        let Self::Access {
            access,
            size,
            stride,
            start,
            first,
            count,
        } = self
        else {
            return match self {
                Self::BlockBarrier => "bar.sync 0;".to_owned(),
                _ => "bar.warp.sync 0xffffffff;".to_owned(),
            };
        };
        let (vector, ty, registers) = match size {
            1 => ("", "u8", "%r8"),
            2 => ("", "u16", "%r8"),
            4 => ("", "u32", "%r8"),
            8 => (".v2", "u32", "{%r8, %r9}"),
            _ => (".v4", "u32", "{%r8, %r9, %r10, %r11}"),
        };
        let operation = match access {
            Access::Read => format!("ld.shared{vector}.{ty} {registers}, [%r0];"),
            Access::Write => format!("st.shared{vector}.{ty} [%r0], {registers};"),
            Access::Atomic => "atom.shared.add.u32 %r8, [%r0], 1;".to_owned(),
            Access::AtomicRead => format!("ld.relaxed.cta.shared.{ty} {registers}, [%r0];"),
            Access::AtomicWrite => format!("st.relaxed.cta.shared.{ty} [%r0], {registers};"),
        };
        format!(
            "mad.lo.u32 %r0, %tid, {stride}, {start}; and.b32 %r0, %r0, {mask}; \
             mad.lo.u32 %r0, %r0, {size}, tile; sub.u32 %r1, %tid, {first}; \
             setp.lt.u32 %p0, %r1, {count}; @%p0 {operation}",
            mask = BYTES / size - 1
        )
    }
}

/// An access by a thread: its step, and the barriers that it had waited at before.
#[derive(Clone, Copy, Debug)]
struct Event {
    step: usize,
    thread: u32,
    access: Access,
    bytes: [u32; 2],
    block_epoch: u32,
    warp_epoch: u32,
}

fn events(steps: &[Step]) -> Vec<Event> {
    let (mut block_epoch, mut warp_epoch) = (0, 0);
    let mut events = Vec::new();
    for (step, &what) in steps.iter().enumerate() {
        match what {
            Step::BlockBarrier => block_epoch += 1,
            Step::WarpBarrier => warp_epoch += 1,
            Step::Access { access, size, .. } => {
                for thread in 0..THREADS {
                    if let Some(offset) = what.offset(thread) {
                        events.push(Event {
                            step,
                            thread,
                            access,
                            bytes: [offset, offset + size],
                            block_epoch,
                            warp_epoch,
                        });
                    }
                }
            }
        }
    }
    events
}

fn race(a: &Event, b: &Event) -> bool {
    let are_ordered = a.thread == b.thread
        || a.block_epoch != b.block_epoch
        || a.thread / 32 == b.thread / 32 && a.warp_epoch != b.warp_epoch;
    let meet = a.bytes[0] < b.bytes[1] && b.bytes[0] < a.bytes[1];
    let is_read = |event: &Event| matches!(event.access, Access::Read | Access::AtomicRead);
    let is_atomic = |event: &Event| !matches!(event.access, Access::Read | Access::Write);
    let is_harmless = is_read(a) && is_read(b) || is_atomic(a) && is_atomic(b);
    !are_ordered && meet && !is_harmless
}

fn accesses() -> impl Strategy<Value = Step> {
    let kinds = prop_oneof![
        3 => Just(Access::Read),
        2 => Just(Access::Write),
        1 => Just(Access::Atomic),
        1 => Just(Access::AtomicRead),
        1 => Just(Access::AtomicWrite)
    ];
    // Strides that give each thread a place of its own, and others.
    let strides = prop_oneof![4 => Just(1), 1 => Just(0), 1 => Just(3), 1 => Just(2)];
    // All threads, a warp, a few, one.
    let threads = prop_oneof![
        2 => Just((0, THREADS)),
        2 => prop_oneof![Just((0, 32)), Just((32, 32))],
        1 => (0..60u32, 1..4u32),
        2 => (0..THREADS, Just(1)),
    ];
    (kinds, 0..5u32, strides, 0..8u32, threads).prop_map(
        |(access, size, stride, start, (first, count))| Step::Access {
            access,
            size: match access {
                Access::Read | Access::Write => 1 << size,
                _ => 4,
            },
            stride,
            start,
            first,
            count,
        },
    )
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => accesses(),
        2 => Just(Step::BlockBarrier),
        2 => Just(Step::WarpBarrier)
    ];
    prop::collection::vec(step, 1..14)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6000))]
    #[test]
    fn the_detector_agrees_with_the_definition(steps in steps()) {
        // All of the memory is written first.
        let mut body = format!(
            ".shared .align 16 .b8 tile[{BYTES}]; mov.u32 %r8, 0; mov.u32 %r9, 0; mov.u32 %r10, 0; \
             mov.u32 %r11, 0; shl.b32 %r1, %tid, 3; add.u32 %r1, %r1, tile; \
             st.shared.v2.u32 [%r1], {{%r8, %r9}}; bar.sync 0;"
        );
        for step in &steps {
            body.push('\n');
            body.push_str(&step.ptx());
        }
        let events = events(&steps);
        let racing = |a: &Event| events.iter().find(|b| race(a, b));
        let expected = events.iter().find_map(|a| racing(a).map(|b| (*a, *b)));
        match Machine::new(1, &[0]).run(&kernel(&body), 1, THREADS) {
            Ok(_) => prop_assert!(expected.is_none(), "{expected:?} was not found"),
            Err(LaunchError::Violation(report)) => {
                let Violation::SharedRace { address, access, other_access, other } =
                    &report.violation
                else {
                    return Err(TestCaseError::fail(report.to_string()));
                };
                let is_side = |event: &Event, line: u32, thread: u32, access: Access| {
                    BODY_LINE + 1 + event.step as u32 == line
                        && event.thread == thread
                        && event.access == access
                        // The address is the first that this access reaches.
                        && event.bytes[0] < *address as u32 + 16
                };
                let here = events.iter().find(|event| {
                    is_side(event, report.position.line, report.thread.0[0], *access)
                });
                let there = events.iter().find(|event| {
                    // Of an earlier one is only known whether it was atomic.
                    let access = match event.access {
                        Access::AtomicWrite => Access::Atomic,
                        known => known,
                    };
                    let (line, thread) = (other.position.line, other.thread.0[0]);
                    is_side(&Event { access, ..**event }, line, thread, *other_access)
                });
                let (Some(here), Some(there)) = (here, there) else {
                    return Err(TestCaseError::fail(format!("no such accesses: {report}")));
                };
                prop_assert_eq!(u64::from(here.bytes[0]), *address);
                prop_assert!(race(here, there), "{report}");
            }
            Err(other) => return Err(TestCaseError::fail(other.to_string())),
        }
    }
}
