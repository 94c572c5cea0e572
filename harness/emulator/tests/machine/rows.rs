//! Accesses of eight lanes to 16 bytes each, checked together and one by one.

use proptest::prelude::*;
use ptx_emulator::memory::shared::{Access, Fault, Moment, Record, SharedMemory};

const ROWS: u64 = 9;

/// An access at some time.
#[derive(Clone, Debug)]
enum Step {
    /// Of eight lanes to a row each.
    Rows([u64; 8], Access),
    /// Of one lane to some bytes.
    Bytes(u64, u32, Access),
    /// The begin of a copy into a word.
    Copy(u64),
}

fn access() -> impl Strategy<Value = Access> {
    prop_oneof![4 => Just(Access::Read), 2 => Just(Access::Write), 1 => Just(Access::AtomicWrite)]
}

fn rows() -> impl Strategy<Value = [u64; 8]> {
    let all_apart = (0..ROWS - 7).prop_map(|first| std::array::from_fn(|i| first + i as u64));
    // One row more than there are.
    prop_oneof![4 => all_apart, 1 => prop::array::uniform8(0..=ROWS)]
}

fn step() -> impl Strategy<Value = Step> {
    let bytes = prop_oneof![3 => Just(4u32), 1 => Just(1), 1 => Just(2)];
    prop_oneof![
        5 => (rows(), access()).prop_map(|(rows, access)| Step::Rows(rows, access)),
        2 => (0..4 * ROWS, bytes, access())
            .prop_map(|(word, n, access)| Step::Bytes(4 * word, n, access)),
        1 => (0..4 * ROWS).prop_map(|word| Step::Copy(4 * word)),
    ]
}

/// One by one, until the first that is wrong.
fn each_row(
    memory: &mut SharedMemory,
    rows: &[u64; 8],
    access: Access,
    first: Record,
) -> Result<(), Fault> {
    let mut lanes = (0..).zip(rows);
    lanes.try_for_each(|(lane, &row)| memory.touch(row, 16, access, first.of_lane(lane)))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]
    #[test]
    fn rows_together_are_as_rows_one_by_one(
        starts_written in prop::bool::weighted(0.8),
        // With the barriers of the block and of the warp passed before, and a thread.
        steps in prop::collection::vec((step(), 0..9u32, 0..9u32, 0..5u32), 1..12),
    ) {
        let (mut together, mut single) =
            [0, 1].map(|_| SharedMemory::new(16 * ROWS as usize)).into();
        let (mut block_epoch, mut warp_epoch) = (0, 0);
        if starts_written {
            let moment = Moment { block_epoch, warp_epoch, thread: 0 };
            for memory in [&mut together, &mut single] {
                let all = memory.touch(0, 16 * ROWS as u32, Access::Write, Record::new(moment, 0));
                prop_assert_eq!(all, Ok(()));
            }
            block_epoch = 1;
        }
        for (instruction, (step, block, warp, thread)) in (1..).zip(steps) {
            match (block, warp) {
                (0, _) => (block_epoch, warp_epoch) = (block_epoch + 1, 0),
                (_, 0) => warp_epoch += 1,
                _ => {}
            }
            let thread = [0, 0, 0, 8, 32][thread as usize];
            let now = Record::new(Moment { block_epoch, warp_epoch, thread }, instruction);
            let results: [Result<(), Fault>; 2] = match step {
                Step::Rows(rows, access) => {
                    let rows = rows.map(|row| 16 * row);
                    let first = match together.touch_rows(&rows, access, now) {
                        true => Ok(()),
                        false => each_row(&mut together, &rows, access, now),
                    };
                    [first, each_row(&mut single, &rows, access, now)]
                }
                Step::Bytes(at, count, access) => [&mut together, &mut single]
                    .map(|memory| memory.touch(at, count, access, now)),
                Step::Copy(at) => [&mut together, &mut single].map(|memory| {
                    memory.touch(at, 4, Access::Write, now)?;
                    memory.begin_copy(at, 4, thread);
                    Ok(())
                }),
            };
            prop_assert_eq!(results[0], results[1]);
            if results[0].is_err() {
                break;
            }
        }
    }
}
