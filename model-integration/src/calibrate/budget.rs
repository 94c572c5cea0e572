//! A budget of bits among projections.
//!
//! From the formats of the fewest bits on, the step that saves the most nats a byte comes first, as
//! long as it fits the budget.

use std::cmp::Ordering;

use crate::config::Projection;

/// A projection of a layer, and what it costs under each format.
#[derive(Clone, Debug, PartialEq)]
pub struct Costs {
    /// The layer.
    pub layer: usize,
    /// The projection; of all experts together.
    pub projection: Projection,
    /// Elements of its weights.
    pub elements: usize,
    /// Bytes under each format.
    pub bytes: Vec<usize>,
    /// Nats a token under each format.
    pub nats: Vec<f64>,
}

/// The format of each projection, by its place among the choices, for at most `bits` a weight.
/// `None` if even the smallest formats need more.
pub fn choose(costs: &[Costs], bits: f64) -> Option<Vec<usize>> {
    let elements: usize = costs.iter().map(|of| of.elements).sum();
    let budget = (bits * elements as f64 / 8.0).floor() as usize;
    let smallest = |of: &Costs| {
        let places = 0..of.bytes.len();
        let key = |&place: &usize| (of.bytes[place], of.nats[place]);
        places.min_by(|a, b| key(a).partial_cmp(&key(b)).unwrap_or(Ordering::Equal))
    };
    let mut chosen: Vec<usize> = costs.iter().map(smallest).collect::<Option<_>>()?;
    let mut spent: usize = costs
        .iter()
        .zip(&chosen)
        .map(|(of, &at)| of.bytes[at])
        .sum();
    if spent > budget {
        return None;
    }
    loop {
        // What a step saves a byte; it has at least one, for steps between equal sizes.
        let mut best: Option<(f64, usize, usize)> = None;
        for (number, of) in costs.iter().enumerate() {
            let now = chosen[number];
            for place in 0..of.bytes.len() {
                let more = of.bytes[place].saturating_sub(of.bytes[now]);
                let saved = (of.nats[now] - of.nats[place]) / more.max(1) as f64;
                let fits = spent + of.bytes[place] <= budget + of.bytes[now];
                if fits && saved > 0.0 && best.is_none_or(|(most, ..)| saved > most) {
                    best = Some((saved, number, place));
                }
            }
        }
        let Some((_, number, place)) = best else {
            return Some(chosen);
        };
        spent = spent + costs[number].bytes[place] - costs[number].bytes[chosen[number]];
        chosen[number] = place;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn costs(elements: usize, nats: [f64; 2]) -> Costs {
        Costs {
            layer: 0,
            projection: Projection::Q,
            elements,
            bytes: vec![elements / 2, elements],
            nats: nats.into(),
        }
    }

    /// Every division of a budget costs at least what the chosen one does, where its steps fill it.
    #[test]
    fn the_steps_that_save_most_come_first() {
        let all = [
            costs(800, [0.5, 0.1]),
            costs(800, [0.9, 0.2]),
            costs(1600, [0.8, 0.1]),
            costs(800, [0.2, 0.2]),
        ];
        let total = |chosen: &[usize]| {
            let nats = all.iter().zip(chosen).map(|(of, &at)| of.nats[at]);
            let bytes = all.iter().zip(chosen).map(|(of, &at)| of.bytes[at]);
            (nats.sum::<f64>(), bytes.sum::<usize>())
        };
        for (bits, expected) in [
            (4.0, [0, 0, 0, 0]),
            (4.8, [0, 1, 0, 0]),
            (5.6, [1, 1, 0, 0]),
            (7.2, [1, 1, 1, 0]),
            (8.0, [1, 1, 1, 0]),
        ] {
            let chosen = choose(&all, bits).unwrap();
            assert_eq!(chosen, expected, "{bits}");
            let (least, bytes) = total(&chosen);
            assert!(bytes as f64 <= bits * 500.0);
            for number in 0..16 {
                let other: Vec<usize> = (0..4).map(|bit| number >> bit & 1).collect();
                let (nats, bytes) = total(&other);
                assert!(
                    bytes as f64 > bits * 500.0 || nats >= least - 1e-12,
                    "{bits}: {other:?}"
                );
            }
        }
        assert_eq!(choose(&all, 3.9), None);
    }
}
