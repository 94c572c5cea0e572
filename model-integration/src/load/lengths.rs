//! Numbers of tokens: fixed, drawn, or from a file.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use rand::Rng;
use rand_distr::{Distribution, LogNormal, Normal};

/// Most tokens of a length.
const MOST: usize = 1 << 20;

/// How the length of a request is chosen. Its text is what `--prompt-tokens` takes.
#[derive(Clone, Debug, PartialEq)]
pub struct Lengths {
    text: String,
    shape: Shape,
}

#[derive(Clone, Debug, PartialEq)]
enum Shape {
    Fixed(usize),
    Uniform(usize, usize),
    Normal(Normal<f64>),
    LogNormal(LogNormal<f64>),
    Listed(Vec<usize>),
}

impl Lengths {
    /// The length of request `index`; draws from `random`.
    pub fn of(&self, index: usize, random: &mut impl Rng) -> usize {
        let rounded = |value: f64| value.round().clamp(1.0, MOST as f64) as usize;
        match &self.shape {
            Shape::Fixed(length) => *length,
            Shape::Uniform(least, most) => random.random_range(*least..=*most),
            Shape::Normal(normal) => rounded(normal.sample(random)),
            Shape::LogNormal(normal) => rounded(normal.sample(random)),
            Shape::Listed(lengths) => lengths[index % lengths.len()],
        }
    }
}

impl fmt::Display for Lengths {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Lengths {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{text}` is no length; expected N, LEAST-MOST, normal:MEAN:DEVIATION, \
                 lognormal:MEDIAN:SIGMA or @FILE with a number in each line; numbers from 1 to \
                 {MOST}"
            )
        };
        let number = |text: &str| text.parse().ok().filter(|n| (1..=MOST).contains(n));
        let pair = |text: &str| {
            let (one, other) = text.split_once(':')?;
            let (one, other) = (one.parse::<f64>().ok()?, other.parse::<f64>().ok()?);
            ((1.0..=MOST as f64).contains(&one) && (0.0..=MOST as f64).contains(&other))
                .then_some((one, other))
        };
        let shape = if let Some(path) = text.strip_prefix('@') {
            Shape::Listed(listed(Path::new(path))?)
        } else if let Some(rest) = text.strip_prefix("normal:") {
            let (mean, deviation) = pair(rest).ok_or_else(wrong)?;
            Shape::Normal(Normal::new(mean, deviation).map_err(|_| wrong())?)
        } else if let Some(rest) = text.strip_prefix("lognormal:") {
            let (median, sigma) = pair(rest).ok_or_else(wrong)?;
            Shape::LogNormal(LogNormal::new(median.ln(), sigma).map_err(|_| wrong())?)
        } else if let Some((least, most)) = text.split_once('-') {
            let ends = number(least).zip(number(most));
            let (least, most) = ends.filter(|(a, b)| a <= b).ok_or_else(wrong)?;
            Shape::Uniform(least, most)
        } else {
            Shape::Fixed(number(text).ok_or_else(wrong)?)
        };
        Ok(Self {
            text: text.to_owned(),
            shape,
        })
    }
}

fn listed(path: &Path) -> Result<Vec<usize>, String> {
    let name = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| format!("`{name}`: {error}"))?;
    let lines = text.lines().enumerate();
    let lines = lines.filter(|(_, line)| !line.trim().is_empty());
    let lengths: Vec<usize> = lines
        .map(|(index, line)| match line.trim().parse() {
            Ok(length) if (1..=MOST).contains(&length) => Ok(length),
            _ => Err(format!(
                "`{name}` line {}: found `{line}`, expected a number from 1 to {MOST}",
                index + 1
            )),
        })
        .collect::<Result<_, _>>()?;
    match lengths.is_empty() {
        true => Err(format!(
            "`{name}` has no length; expected a number in each line"
        )),
        false => Ok(lengths),
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::Lengths;

    #[test]
    fn drawn_lengths_have_their_mean() {
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let mut mean = |text: &str| {
            let lengths: Lengths = text.parse().expect("a length");
            let drawn = (0..4000).map(|index| lengths.of(index, &mut random) as f64);
            drawn.sum::<f64>() / 4000.0
        };
        assert_eq!(mean("16"), 16.0);
        assert!((mean("10-30") - 20.0).abs() < 0.5);
        assert!((mean("normal:200:20") - 200.0).abs() < 2.0);
        // exp(0.5²/2) times the median.
        assert!((mean("lognormal:100:0.5") - 113.3).abs() < 5.0);
    }

    #[test]
    fn wrong_lengths_are_refused() {
        for wrong in [
            "",
            "0",
            "-3",
            "3-2",
            "1e3",
            "normal:8",
            "normal:0:1",
            "normal:8:-1",
            "normal:nan:1",
            "lognormal:8:inf",
            "@",
            "99999999",
        ] {
            wrong.parse::<Lengths>().expect_err(wrong);
        }
    }
}
