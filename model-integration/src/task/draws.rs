//! Draws without replacement, equal to those of Python's `random.Random(seed).sample`, with which
//! lm-evaluation-harness chooses solved examples.

use std::collections::HashSet;

use rand_mt::Mt;

/// A sequence of draws.
pub struct Draws(Mt);

impl Draws {
    /// The initial state of Python's `random.Random(seed)`.
    pub fn new(seed: u32) -> Self {
        Self(Mt::new_with_key([seed]))
    }

    /// A number below `bound`, which is positive: the high bits of a draw, repeated until they are
    /// below it.
    fn below(&mut self, bound: u32) -> usize {
        let bits = u32::BITS - bound.leading_zeros();
        loop {
            let drawn = self.0.next_u32() >> (u32::BITS - bits);
            if drawn < bound {
                return drawn as usize;
            }
        }
    }

    /// `count` different indices below `length`.
    ///
    /// # Panics
    /// If `length` is less than `count`, or does not fit a `u32`.
    pub fn sample(&mut self, length: usize, count: usize) -> Vec<usize> {
        assert!(count <= length, "{count} of {length}");
        let bound = |left: usize| u32::try_from(left).expect("fewer than 2^32 examples");
        // Python chooses between two algorithms, which draw different numbers.
        let mut set_size = 21;
        if count > 5 {
            let mut table = 4;
            while table < 3 * count {
                table *= 4;
            }
            set_size += table;
        }
        if length <= set_size {
            let mut pool: Vec<usize> = (0..length).collect();
            return (0..count)
                .map(|done| {
                    let left = length - done;
                    let drawn = self.below(bound(left));
                    let index = pool[drawn];
                    pool[drawn] = pool[left - 1];
                    index
                })
                .collect();
        }
        let mut drawn = HashSet::new();
        (0..count)
            .map(|_| {
                loop {
                    let index = self.below(bound(length));
                    if drawn.insert(index) {
                        return index;
                    }
                }
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The output of CPython 3.11 for `r = random.Random(1234)` and these calls, in order.
    #[test]
    fn draws_are_those_of_python() {
        let mut draws = Draws::new(1234);
        for (length, count, expected) in [
            (7473, 5, vec![6374, 3610, 957, 61, 742]),
            (7473, 5, vec![7462, 6610, 4769, 286, 5501]),
            (9, 6, vec![1, 8, 6, 2, 7, 0]),
            (21, 5, vec![0, 20, 11, 15, 14]),
            (22, 5, vec![4, 2, 5, 3, 0]),
            (85, 6, vec![64, 62, 31, 8, 69, 59]),
            (86, 6, vec![8, 76, 11, 65, 74, 5]),
            (
                1000,
                40,
                vec![
                    276, 844, 569, 64, 660, 309, 492, 870, 363, 272, 255, 671, 955, 204, 464, 897,
                    542, 681, 19, 964, 520, 72, 5, 341, 147, 727, 484, 673, 386, 171, 55, 78, 601,
                    508, 167, 77, 570, 220, 27, 959,
                ],
            ),
            (1, 1, vec![0]),
            (5, 0, vec![]),
            (5, 5, vec![0, 1, 2, 3, 4]),
        ] {
            assert_eq!(draws.sample(length, count), expected, "{count} of {length}");
        }
    }
}
