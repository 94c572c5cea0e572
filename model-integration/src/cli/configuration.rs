//! The flags that choose configurations.

use anyhow::Result;
use clap::Args;

use super::output::Usage;
use crate::config::{FormatFlags, QuantConfig, load, named};

// The flags of commands that take several configurations.
#[derive(Args, Clone, Debug)]
pub struct ConfigurationsArgs {
    /// Named configurations or TOML files; repeat, or separate by commas [default: the format flags
    /// if there are any, beside the baseline; otherwise every named configuration]
    #[arg(
        long,
        value_name = "NAME|FILE",
        value_delimiter = ',',
        help_heading = "Formats"
    )]
    config: Vec<String>,
    #[command(flatten)]
    formats: FormatFlags,
}

// The flags of commands that take one.
#[derive(Args, Clone, Debug)]
pub struct ConfigurationArgs {
    /// Named configuration or TOML file [default: the format flags if there are any, otherwise the
    /// baseline]
    #[arg(
        long,
        value_name = "NAME|FILE",
        value_delimiter = ',',
        help_heading = "Formats"
    )]
    config: Vec<String>,
    #[command(flatten)]
    formats: FormatFlags,
}

impl ConfigurationsArgs {
    /// All configurations. Without `--config`: the baseline and the flags' configuration, or
    /// without flags every named one.
    pub fn all(&self) -> Result<Vec<QuantConfig>> {
        let flags = &self.formats;
        if !self.config.is_empty() {
            let each = flags.each();
            let configs = self.config.iter();
            let configs = configs.flat_map(|name| each.iter().map(move |flags| load(name, flags)));
            return Ok(configs.collect::<Result<_, _>>()?);
        }
        if flags.names_operand() {
            let mut configs = vec![baseline()?];
            for flags in flags.each() {
                let own = flags.config()?;
                if !own.is_unquantised() {
                    configs.push(own);
                }
            }
            return Ok(configs);
        }
        // Without a checkpoint that quantises inputs, `stored-weights` is the baseline again.
        let all = flags
            .each()
            .iter()
            .map(named::all)
            .collect::<Result<Vec<_>, _>>()?;
        let all = all.into_iter().flatten();
        Ok(all.filter(|config| config.stored_inputs).collect())
    }
}

impl ConfigurationArgs {
    /// The configuration with each of the formats of weights that the flags give.
    pub fn each(&self) -> Result<Vec<QuantConfig>> {
        let one = |formats| {
            let config = self.config.clone();
            Self { config, formats }.one()
        };
        self.formats.each().into_iter().map(one).collect()
    }

    /// The only configuration. Without `--config`: the flags' configuration, or the baseline.
    pub fn one(&self) -> Result<QuantConfig> {
        let flags = &self.formats;
        match self.config.as_slice() {
            [name] => Ok(load(name, flags)?),
            [] if flags.names_operand() => Ok(flags.config()?),
            [] if flags.is_empty() => baseline(),
            [] => Err(Usage(
                "format flags quantise nothing without an operand; add --weights, --activations or \
                 --kv".into(),
            )
            .into()),
            [_, second, ..] => {
                let message = format!(
                    "--config {second}: found several configurations, expected one; drop the others"
                );
                Err(Usage(message).into())
            }
        }
    }
}

fn baseline() -> Result<QuantConfig> {
    Ok(load("baseline", &FormatFlags::default())?)
}
