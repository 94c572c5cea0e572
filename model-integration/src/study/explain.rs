//! Hybrids between two configurations: each has a subset of their differences. They show how much
//! of a gap each difference explains.

use anyhow::{Context, Result, bail, ensure};
use mxlab_kernels::format::BlockFormat;

use crate::config::{FormatSpec, QuantConfig};

/// Most differences; n differences have 2^n subsets.
const MOST: usize = 5;

/// A part of a format in which two configurations may differ.
type Part = (&'static str, fn(&mut FormatSpec, FormatSpec));

const PARTS: [Part; 7] = [
    ("element", |spec, other| spec.element = other.element),
    ("scale", |spec, other| spec.scale = other.scale),
    ("rule", |spec, other| spec.rule = other.rule),
    ("rounding", |spec, other| spec.rounding = other.rounding),
    ("block_size", |spec, other| {
        spec.block_size = other.block_size
    }),
    ("tensor_scale", |spec, other| {
        spec.tensor_scale = other.tensor_scale
    }),
    ("dialect", |spec, other| spec.dialect = other.dialect),
];

fn operands(config: &QuantConfig) -> [Option<BlockFormat>; 6] {
    [
        config.weights.and_then(|format| format.block()),
        config.activations,
        config.keys,
        config.values,
        config.head.and_then(|format| format.block()),
        config.head_activations,
    ]
}

fn parts(from: &QuantConfig, to: &QuantConfig) -> Result<Vec<Part>> {
    let pairs = || operands(from).into_iter().zip(operands(to));
    let (a, b) = (&from.name, &to.name);
    for config in [from, to] {
        let ggml = config.formats().find_map(|format| format.ggml());
        if let Some(format) = ggml {
            bail!(
                "`explain`: `{}` has weights in {format}, which has no parts to choose; expected \
                 an element with scales",
                config.name
            );
        }
    }
    ensure!(
        pairs().all(|(a, b)| a.is_some() == b.is_some())
            && from.kv == to.kv
            && (from.rotation, &from.rotated) == (to.rotation, &to.rotated)
            && from.overrides.is_empty()
            && to.overrides.is_empty(),
        "`explain`: `{a}` and `{b}` do not quantise the same operands everywhere, rotated alike"
    );
    let differs = |&(_, take): &Part| {
        pairs().any(|(a, b)| match (a, b) {
            (Some(a), Some(b)) => {
                let mut spec = FormatSpec::of(&a);
                take(&mut spec, FormatSpec::of(&b));
                spec != FormatSpec::of(&a)
            }
            _ => false,
        })
    };
    let found: Vec<Part> = PARTS.into_iter().filter(differs).collect();
    ensure!(
        (2..=MOST).contains(&found.len()),
        "`explain`: `{a}` and `{b}` differ in {} parts of their formats; expected 2 to {MOST}",
        found.len()
    );
    Ok(found)
}

/// Every hybrid that is neither end, with the names of its differences. Hybrids with one difference
/// are in the order of the differences.
///
/// # Errors
/// If the two quantise different operands, have overrides, have too few or too many differences, or
/// a hybrid's parts are incompatible.
pub fn between(
    from: &QuantConfig,
    to: &QuantConfig,
) -> Result<Vec<(QuantConfig, Vec<&'static str>)>> {
    let parts = parts(from, to)?;
    let hybrid = |subset: usize| {
        let chosen = parts.iter().enumerate();
        let chosen = chosen.filter(|(bit, _)| subset >> bit & 1 == 1);
        let chosen: Vec<&Part> = chosen.map(|(_, part)| part).collect();
        let names: Vec<&str> = chosen.iter().map(|(name, _)| *name).collect();
        let name = format!("{}~{}", from.name, names.join("~"));
        let mixed = operands(from).into_iter().zip(operands(to));
        let mixed = mixed.map(|pair| {
            let (Some(a), Some(b)) = pair else {
                return Ok(None);
            };
            let mut spec = FormatSpec::of(&a);
            for (_, take) in &chosen {
                take(&mut spec, FormatSpec::of(&b));
            }
            let built = spec.build().map_err(anyhow::Error::msg);
            built
                .map(Some)
                .with_context(|| format!("`explain`: {name}"))
        });
        let mixed: Vec<Option<BlockFormat>> = mixed.collect::<Result<_>>()?;
        let mut config = QuantConfig::unquantised(&name);
        config.weights = mixed[0].map(Into::into);
        config.activations = mixed[1];
        config.keys = mixed[2];
        config.values = mixed[3];
        config.kv = from.kv;
        (config.rotation, config.rotated) = (from.rotation, from.rotated.clone());
        config.head = mixed[4].map(Into::into);
        config.head_activations = mixed[5];
        Ok((config, names))
    };
    (1..(1 << parts.len()) - 1).map(hybrid).collect()
}

/// The share of each difference in the gap `of[all] - of[none]`: its mean effect over every order
/// in which the differences can be added (Shapley 1953). The shares add up to the gap. `of` has a
/// value for each subset, indexed by bits.
pub fn shapley(of: &[f64]) -> Vec<f64> {
    let count = of.len().ilog2() as usize;
    let factorial = |n: usize| (1..=n).map(|x| x as f64).product::<f64>();
    let share = |bit: usize| {
        let without = (0..of.len()).filter(|subset| subset >> bit & 1 == 0);
        let effects = without.map(|subset| {
            let size = subset.count_ones() as usize;
            let weight = factorial(size) * factorial(count - size - 1) / factorial(count);
            weight * (of[subset | 1 << bit] - of[subset])
        });
        effects.sum()
    };
    (0..count).map(share).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::FormatFlags;

    fn config(weights: &str, more: impl Fn(&mut FormatFlags)) -> QuantConfig {
        let mut flags = FormatFlags {
            weights: vec![weights.parse().expect("an element")],
            ..FormatFlags::default()
        };
        more(&mut flags);
        let mut config = flags.config().expect("fits");
        config.name = weights.to_owned();
        config
    }

    #[test]
    fn hybrids_have_some_of_the_differences() {
        let from = config("fp4_e2m1", |_| {});
        let to = config("fp6_e2m3", |flags| {
            flags.block_size = Some(16);
            flags.rounding = Some("away".parse().expect("a rounding"));
        });
        let between = between(&from, &to).expect("fit");
        let alone = between.iter().filter(|(_, names)| names.len() == 1);
        let alone: Vec<&str> = alone.map(|(_, names)| names[0]).collect();
        assert_eq!(alone, ["element", "rounding", "block_size"]);
        assert_eq!(between.len(), 6);
        let name = "fp4_e2m1~element~block_size";
        let mut configs = between.iter().map(|(config, _)| config);
        let hybrid = configs.find(|config| config.name == name);
        let format = hybrid
            .and_then(|config| config.weights?.block())
            .expect("is there");
        let block = |config: &QuantConfig| config.weights.and_then(|of| of.block()).expect("set");
        let (own, rounding) = (block(&to), block(&from).rounding());
        assert_eq!(
            (format.element(), format.block_size(), format.rounding()),
            (own.element(), 16, rounding)
        );
        assert!(super::between(&from, &from).is_err());
    }

    #[test]
    fn shares_add_up_and_are_fair() {
        // Alone 1 and 2, together 5: the interaction is split in halves.
        assert_eq!(shapley(&[0.0, 1.0, 2.0, 5.0]), [2.0, 3.0]);
        assert_eq!(shapley(&[3.0, 4.0]), [1.0]);
        let of = [0.0, 1.0, 5.0, 2.0, 7.0, 3.0, -1.0, 4.0];
        let sum: f64 = shapley(&of).iter().sum();
        assert!((sum - 4.0).abs() < 1e-12);
    }
}
