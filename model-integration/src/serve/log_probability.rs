//! Log-probabilities of tokens, by the logits of the model as they are.

use rayon::prelude::*;

/// A token and the likeliest ones in its place.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenLog {
    /// The token.
    pub token: u32,
    /// Its log-probability; `None` for the first of a sequence, which follows nothing.
    pub log_probability: Option<f32>,
    /// The likeliest tokens, that with the greatest logit first; of equal ones the first by id.
    pub likeliest: Vec<(u32, f32)>,
}

impl TokenLog {
    /// The first token of a sequence.
    pub fn first(token: u32) -> Self {
        Self {
            token,
            log_probability: None,
            likeliest: Vec::new(),
        }
    }

    /// `token` and the `most` likeliest, by a row of logits.
    pub fn new(logits: &[f32], token: u32, most: usize) -> Self {
        // As in `crate::model::score`.
        let greatest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f64 = logits.iter().map(|x| f64::from(x - greatest).exp()).sum();
        let of = |logit: f32| (f64::from(logit - greatest) - sum.ln()) as f32;
        Self {
            token,
            log_probability: Some(of(logits[token as usize])),
            likeliest: likeliest(logits, most)
                .into_iter()
                .map(|token| (token, of(logits[token as usize])))
                .collect(),
        }
    }

    /// One for each of `tokens`, whose logits are rows one behind another.
    pub fn of_rows(logits: &[f32], tokens: &[u32], most: usize) -> Vec<Self> {
        let vocabulary = logits.len().checked_div(tokens.len()).unwrap_or(0).max(1);
        let rows = logits.par_chunks_exact(vocabulary).zip(tokens);
        rows.map(|(row, &token)| Self::new(row, token, most))
            .collect()
    }
}

/// The `most` tokens with the greatest logits.
fn likeliest(logits: &[f32], most: usize) -> Vec<u32> {
    let mut found: Vec<u32> = Vec::with_capacity(most + 1);
    for (token, &logit) in (0..).zip(logits) {
        let is_greater = |&other: &u32| logits[other as usize] >= logit;
        if found.len() == most && found.last().is_none_or(is_greater) {
            continue;
        }
        let place = found.partition_point(is_greater);
        found.insert(place, token);
        found.truncate(most);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_probabilities_add_up_and_the_likeliest_come_in_order() {
        let logits = [0.5, 2.0, -1.0, 2.0, f32::NEG_INFINITY];
        let all = TokenLog::new(&logits, 2, 9);
        let order: Vec<u32> = all.likeliest.iter().map(|&(token, _)| token).collect();
        assert_eq!(order, [1, 3, 0, 2, 4]);
        let sum: f32 = all.likeliest.iter().map(|(_, log)| log.exp()).sum();
        assert!((sum - 1.0).abs() < 1e-6, "{sum}");
        assert_eq!(all.log_probability, Some(all.likeliest[3].1));
        assert_eq!(TokenLog::new(&logits, 2, 2).likeliest, all.likeliest[..2]);
        assert_eq!(TokenLog::new(&logits, 2, 0).likeliest, []);
        let rows = TokenLog::of_rows(&logits.repeat(2), &[2, 1], 9);
        assert_eq!(rows[0], all);
        assert_eq!(rows[1].log_probability, Some(all.likeliest[0].1));
    }
}
