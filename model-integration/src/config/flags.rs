//! Formats from the command line, on top of any configuration.

use std::fmt::Write;

use clap::Args;
use mxlab_kernels::format::{Dialect, Rotation, Rounding, ScaleFormat, ScaleRule};

use super::file::{ConfigError, Source};
use super::{ConfigFile, Fallback, FormatSpec, OperandSpec, Projection, QuantConfig};

/// Flags that describe formats. Alone they make a configuration of their own; together with
/// `--config` they replace the parts they name in every operand of it.
#[derive(Args, Clone, Debug, Default)]
#[command(
    next_help_heading = "Formats (alone: a configuration of their own; with --config: \
                               on top of every operand of it)"
)]
pub struct FormatFlags {
    /// Format of the weights: an element, `mxfp4`, `nvfp4`, one of ggml's such as `q4_k`, or
    /// `none` (`mxlab formats` lists all); several with commas are several configurations
    #[arg(long, value_name = "FORMAT", value_delimiter = ',')]
    pub weights: Vec<OperandSpec>,
    /// Element format of the activations (inputs of projections), or `none`
    #[arg(long, value_name = "ELEMENT")]
    pub activations: Option<OperandSpec>,
    /// Element format of keys and values, or `none`
    #[arg(long, value_name = "ELEMENT")]
    pub kv: Option<OperandSpec>,
    /// Element format of the keys alone
    #[arg(long, value_name = "ELEMENT")]
    pub keys: Option<OperandSpec>,
    /// Element format of the values alone
    #[arg(long, value_name = "ELEMENT")]
    pub values: Option<OperandSpec>,
    /// First positions of a sequence whose keys and values stay in the model's type [default: 0]
    #[arg(long, value_name = "POSITIONS")]
    pub kv_first: Option<usize>,
    /// Keys that a query sees last, its own included, in the model's type [default: 0]
    #[arg(long, value_name = "POSITIONS")]
    pub key_recent: Option<usize>,
    /// Rotation of each head of queries and keys before keys are quantised: a power of two, or
    /// `row` for a whole head; a seed of signs after a colon
    #[arg(long, value_name = "SIZE[:SEED]")]
    pub key_rotation: Option<Rotation>,
    /// Format of the output head's weights, as for --weights
    #[arg(long, value_name = "FORMAT")]
    pub head: Option<OperandSpec>,
    /// Element format of the output head's input, or `none`
    #[arg(long, value_name = "ELEMENT")]
    pub head_activations: Option<OperandSpec>,
    /// Rotation of the projections' inputs, and of their weights before they are quantised: blocks
    /// of a power of two, or `row`; a seed of signs after a colon, as in 32:7
    #[arg(long, value_name = "SIZE[:SEED]")]
    pub rotation: Option<Rotation>,
    /// The projections that are rotated [default: all]
    #[arg(long, value_name = "PROJECTION", value_enum, value_delimiter = ',')]
    pub rotated: Vec<Projection>,
    /// Type of weights whose rows are no multiple of a K-quant's 256 [default: refuse them]
    #[arg(long, value_name = "WHOSE")]
    pub fallback: Option<Fallback>,
    /// Scale format [default: e8m0]
    #[arg(long, value_name = "FORMAT")]
    pub scale: Option<ScaleFormat>,
    /// Bits of an e8m0 scale, 2 to 8 [default: 8]
    #[arg(long, value_name = "BITS", value_parser = clap::value_parser!(u8).range(2..=8))]
    pub scale_bits: Option<u8>,
    /// Block size k: consecutive elements that share a scale [default: 32]
    #[arg(long, value_name = "K", value_parser = block_size)]
    pub block_size: Option<usize>,
    /// Rule that chooses the shared scale X
    #[arg(
        long,
        value_name = "RULE",
        help = one_of("Rule that chooses the shared scale X", ScaleRule::ALL)
    )]
    pub scale_rule: Option<ScaleRule>,
    /// Rounding of elements
    #[arg(long, value_name = "ROUNDING", help = one_of("Rounding of elements", Rounding::ALL))]
    pub rounding: Option<Rounding>,
    /// Whether the tensor has an f32 scale too, as in NVFP4
    #[arg(long, value_name = "BOOL")]
    pub tensor_scale: Option<bool>,
    /// Quantiser whose special cases to follow
    #[arg(
        long,
        value_name = "DIALECT",
        help = one_of("Quantiser whose special cases to follow", Dialect::ALL)
    )]
    pub dialect: Option<Dialect>,
}

/// Help with the names that an option accepts.
fn one_of<T: std::fmt::Display>(what: &str, names: impl IntoIterator<Item = T>) -> String {
    let names: Vec<String> = names.into_iter().map(|name| name.to_string()).collect();
    format!("{what}: {}", names.join(", "))
}

fn block_size(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("a block has at least one element; give a whole number such as 32".into()),
        Ok(k) => Ok(k),
        Err(_) => Err("not a whole number; give one such as 32".into()),
    }
}

impl FormatFlags {
    /// Whether no flag was given.
    pub fn is_empty(&self) -> bool {
        !self.names_operand()
            && self.common() == FormatSpec::default()
            && self.rotation.is_none()
            && self.rotated.is_empty()
            && self.fallback.is_none()
            && self.kv_first.is_none()
            && self.key_recent.is_none()
            && self.key_rotation.is_none()
    }

    /// Whether an element format or a rotation was given, so that the flags alone form a
    /// configuration.
    pub fn names_operand(&self) -> bool {
        let mut operands = self.operands().into_iter();
        operands.any(|(_, operand)| operand.is_some()) || self.rotation.is_some()
    }

    /// Whether an operand other than the weights was given.
    pub fn names_beyond_weights(&self) -> bool {
        let [_, others @ ..] = self.operands();
        others.iter().any(|(_, operand)| operand.is_some())
    }

    /// The flags with one format of weights each.
    pub fn each(&self) -> Vec<Self> {
        match self.weights.as_slice() {
            [] => vec![self.clone()],
            several => {
                let one = |format: &OperandSpec| Self {
                    weights: vec![format.clone()],
                    ..self.clone()
                };
                several.iter().map(one).collect()
            }
        }
    }

    /// The format of weights; the first, if there are several.
    pub(super) fn weight(&self) -> Option<&OperandSpec> {
        self.weights.first()
    }

    /// The configuration of the flags alone, named after them.
    ///
    /// # Errors
    /// [`ConfigError`] if they are incompatible.
    pub fn config(&self) -> Result<QuantConfig, ConfigError> {
        let source = Source {
            file: "command line",
            text: "",
        };
        let name = self.suffix();
        let name = name.trim_start_matches('+');
        ConfigFile::default().resolve(name, source, self)
    }

    pub(super) fn keys(&self) -> Option<&OperandSpec> {
        self.keys.as_ref().or(self.kv.as_ref())
    }

    pub(super) fn values(&self) -> Option<&OperandSpec> {
        self.values.as_ref().or(self.kv.as_ref())
    }

    /// The parts that apply to every operand.
    pub(super) fn common(&self) -> FormatSpec {
        FormatSpec {
            element: None,
            scale: self.scale,
            scale_bits: self.scale_bits,
            block_size: self.block_size,
            rule: self.scale_rule,
            rounding: self.rounding,
            tensor_scale: self.tensor_scale,
            dialect: self.dialect,
        }
    }

    /// The suffix of a configuration's name under these flags, such as `+w-fp4_e2m1+ue5m3+k16`.
    pub fn suffix(&self) -> String {
        let mut suffix = String::new();
        let mut add = |prefix: &str, value: Option<&dyn std::fmt::Display>| {
            if let Some(value) = value {
                // A colon separates the seed of a stochastic rounding; file names avoid it.
                let value = value.to_string().replace(':', "-");
                let _ = write!(suffix, "+{prefix}{value}");
            }
        };
        for (prefix, operand) in self.operands() {
            add(prefix, operand.map(|operand| operand as _));
        }
        let key_rotation = self.key_rotation.as_ref();
        add("k-rotation-", key_rotation.map(|part| part as _));
        add("first-", self.kv_first.as_ref().map(|part| part as _));
        add("k-recent-", self.key_recent.as_ref().map(|part| part as _));
        add("", self.scale.as_ref().map(|part| part as _));
        add("s", self.scale_bits.as_ref().map(|part| part as _));
        add("k", self.block_size.as_ref().map(|part| part as _));
        add("", self.scale_rule.as_ref().map(|part| part as _));
        add("round-", self.rounding.as_ref().map(|part| part as _));
        add(
            "tensor-scale-",
            self.tensor_scale.as_ref().map(|part| part as _),
        );
        add("", self.dialect.as_ref().map(|part| part as _));
        add("rotation-", self.rotation.as_ref().map(|part| part as _));
        for projection in &self.rotated {
            add("of-", Some(&projection.name()));
        }
        // Formats with blocks of 32 have no stand-in but floats.
        let has_super_blocks = |operand: &OperandSpec| match operand {
            OperandSpec::Ggml(format) => format.block_size() > 32,
            OperandSpec::None | OperandSpec::Format(_) | OperandSpec::Named(_) => false,
        };
        let mut matrices = self.weight().into_iter().chain(&self.head);
        let stands_in = self.fallback.is_some() && matrices.any(has_super_blocks);
        add("", stands_in.then_some(&"fallback" as _));
        suffix
    }

    fn operands(&self) -> [(&'static str, Option<&OperandSpec>); 7] {
        [
            ("w-", self.weight()),
            ("a-", self.activations.as_ref()),
            ("kv-", self.kv.as_ref()),
            ("k-", self.keys.as_ref()),
            ("v-", self.values.as_ref()),
            ("head-", self.head.as_ref()),
            ("head-a-", self.head_activations.as_ref()),
        ]
    }
}
