//! Which operand is quantised how, as flags say it.

use anyhow::Result;
use clap::Args;

use super::output::Usage;
use crate::config::{FormatFlags, QuantConfig, load, named};

#[derive(Args, Clone, Debug)]
pub struct ConfigurationArgs {
    /// Named configuration or TOML file; to evaluate several, repeat, or separate by commas
    /// [default: with format flags, what they say, and to evaluate the baseline too; without, the
    /// baseline, and to evaluate every named one]
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

impl ConfigurationArgs {
    /// All of them: every named one if none is given, the baseline too if there are but flags.
    pub fn all(&self) -> Result<Vec<QuantConfig>> {
        let flags = &self.formats;
        if !self.config.is_empty() {
            let configs = self.config.iter().map(|name| load(name, flags));
            return Ok(configs.collect::<Result<_, _>>()?);
        }
        if flags.names_operand() {
            let baseline = baseline()?;
            let own = flags.config()?;
            return Ok(match own.is_unquantised() {
                true => vec![baseline],
                false => vec![baseline, own],
            });
        }
        Ok(named::all(flags)?)
    }

    /// The one: the baseline if none is given.
    pub fn one(&self) -> Result<QuantConfig> {
        let flags = &self.formats;
        match self.config.as_slice() {
            [name] => Ok(load(name, flags)?),
            [] if flags.names_operand() => Ok(flags.config()?),
            [] if flags.is_empty() => baseline(),
            [] => Err(Usage(
                "format flags without --weights, --activations or --kv quantise nothing".into(),
            )
            .into()),
            [_, second, ..] => Err(Usage(format!("--config {second}: one is enough here")).into()),
        }
    }
}

fn baseline() -> Result<QuantConfig> {
    Ok(load("baseline", &FormatFlags::default())?)
}
