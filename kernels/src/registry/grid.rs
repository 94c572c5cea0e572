//! Chooses which results of a problem to recompute where recomputing all would take too long.

use rand::Rng;
use std::collections::BTreeSet;

/// Row and column in a [`Grid`] of a result that depends on no other.
pub type Place = [usize; 2];

/// The least number of places to choose, however many elements each has.
const LEAST_PLACES: usize = 16;

/// The results of a problem as a matrix of places. Each place can be recomputed without the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    /// Rows and columns of places, such as tokens and rows of W.
    pub size: [usize; 2],
    /// About how many rows and columns a thread block computes.
    pub block: [usize; 2],
    /// Elements of the outputs at each place.
    pub outputs: usize,
}

impl Grid {
    /// A grid of whole rows, computed by thread blocks of `block_elements` elements each.
    pub(crate) fn of_rows(rows: usize, cols: usize, block_elements: usize) -> Self {
        Self {
            size: [rows, 1],
            block: [(block_elements / cols.max(1)).max(1), 1],
            outputs: cols,
        }
    }

    /// Every place, row after row.
    pub fn all(&self) -> Vec<Place> {
        let [rows, cols] = self.size;
        let row = |row| (0..cols).map(move |col| [row, col]);
        (0..rows).flat_map(row).collect()
    }

    /// Draws places that have at least `least` elements of outputs together; all places if there
    /// are no more.
    ///
    /// Some places are always chosen: the corners, both sides of the edge of the first thread
    /// block, the first and the last place of the last thread block. A fifth of the others is drawn
    /// from the first and last rows and columns, the rest from anywhere.
    pub fn places(&self, rng: &mut impl Rng, least: usize) -> Vec<Place> {
        let [rows, cols] = self.size;
        let wanted = least.div_ceil(self.outputs.max(1)).max(LEAST_PLACES);
        if rows.saturating_mul(cols) <= wanted {
            return self.all();
        }
        let mut chosen = BTreeSet::new();
        for row in edges(rows, self.block[0]) {
            chosen.extend(edges(cols, self.block[1]).map(|col| [row, col]));
        }
        while chosen.len() < wanted {
            let mut place = [rng.random_range(0..rows), rng.random_range(0..cols)];
            if rng.random_ratio(1, 5) {
                let axis = rng.random_range(0..2);
                place[axis] = [0, self.size[axis] - 1][rng.random_range(0..2)];
            }
            chosen.insert(place);
        }
        chosen.into_iter().collect()
    }
}

/// The ends of an axis, and of its first and last thread block.
fn edges(size: usize, block: usize) -> impl Iterator<Item = usize> {
    let (block, last) = (block.max(1), size - 1);
    let edges: BTreeSet<usize> = [0, block - 1, block, last / block * block, last].into();
    edges.into_iter().filter(move |&at| at < size)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    fn grid(size: [usize; 2], block: [usize; 2], outputs: usize) -> Grid {
        Grid {
            size,
            block,
            outputs,
        }
    }

    #[test]
    fn places_have_the_edges_and_are_as_many_as_asked_for() {
        let grid = grid([4096, 14336], [64, 128], 1);
        for seed in 0..20 {
            let rng = &mut ChaCha8Rng::seed_from_u64(seed);
            let places = grid.places(rng, 512);
            assert_eq!(places.len(), 512);
            for row in [0, 63, 64, 4032, 4095] {
                for col in [0, 127, 128, 14208, 14335] {
                    assert!(places.contains(&[row, col]), "{row}, {col}");
                }
            }
            // The rest is spread: each eighth of either axis has some.
            for (axis, size) in grid.size.into_iter().enumerate() {
                let eighths: BTreeSet<usize> =
                    places.iter().map(|place| 8 * place[axis] / size).collect();
                assert_eq!(eighths.len(), 8);
            }
            let only = |axis: usize, at: usize| places.iter().filter(move |p| p[axis] == at);
            assert!(only(0, 4095).count() > 10 && only(1, 14335).count() > 10);
        }
    }

    #[test]
    fn few_places_are_all_chosen_and_long_ones_are_fewer() {
        let rng = &mut ChaCha8Rng::seed_from_u64(0);
        let few = grid([7, 3], [4, 4], 1);
        assert_eq!(few.places(rng, 512), few.all());
        assert_eq!(few.all().len(), 21);
        let long = grid([8192, 1], [1, 1], 8192);
        let places = long.places(rng, 512);
        assert_eq!(places.len(), LEAST_PLACES);
        assert!(places.contains(&[0, 0]) && places.contains(&[8191, 0]));
        assert_eq!(Grid::of_rows(8, 64, 256).block, [4, 1]);
    }
}
