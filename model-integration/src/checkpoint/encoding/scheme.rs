//! How a linear module's weight and input are quantised, in one form for all methods.

use mxlab_kernels::format::{
    BlockFormat, Dialect, ElementFormat, Rounding, ScaleFormat, ScaleRule,
};

/// The values of a code.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum CodeKind {
    /// Those of an element format.
    Float(ElementFormat),
    /// Integers of some bits, 2 to 8, minus a zero point.
    Int(u32),
}

impl CodeKind {
    /// Bits of a code.
    pub(super) const fn bits(self) -> u32 {
        match self {
            Self::Float(element) => element.bits(),
            Self::Int(bits) => bits,
        }
    }
}

/// The elements that share a scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// The whole tensor.
    Tensor,
    /// A row: the weights of an output, or the features of a token.
    Row,
    /// So many consecutive elements of a row.
    Columns(usize),
    /// A block of so many rows and columns.
    Block([usize; 2]),
}

/// How a factor beside the scales takes part in the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Factor {
    /// The scale is divided by it.
    Divides,
    /// The scale is multiplied by it.
    Multiplies,
}

/// The tensors of a matrix whose codes lie row by row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in super::super) struct WeightScheme {
    pub kind: CodeKind,
    pub group: Group,
    /// Whether there is a tensor of zero points.
    pub has_zero_points: bool,
    /// What is appended to the name of the weight for its codes and its scales.
    pub suffixes: [&'static str; 2],
    /// The same for a factor of all scales.
    pub factor: Option<(&'static str, Factor)>,
}

/// How the inputs of a module are quantised.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in super::super) struct InputScheme {
    pub kind: CodeKind,
    pub group: Group,
    /// Format of the scales of groups; `None` for the float32 of the arithmetic.
    pub scale: Option<ScaleFormat>,
    pub rule: Option<ScaleRule>,
    pub is_symmetric: bool,
    /// A stored scale: the name of its tensor beside the weight, and how it acts. With scales of
    /// groups it is a factor of these; without, it is the scale.
    pub stored: Option<(&'static str, Factor)>,
}

/// Both.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in super::super) struct Scheme {
    pub weights: WeightScheme,
    pub inputs: Option<InputScheme>,
}

/// How a checkpoint quantises the input of a projection.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum StoredInput {
    /// To a format of ours, perhaps with a stored scale of the tensor.
    Block(BlockFormat, Option<f32>),
    /// By a rule without a format of ours.
    Scalar(ScalarInput),
}

/// Quantisation of inputs by integers or with a stored scale: `scale * (round(clamp(x / scale +
/// zero)) - zero)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScalarInput {
    /// The values of codes.
    pub kind: CodeKind,
    /// Elements that share a scale; divides the features.
    pub group: usize,
    /// The scale, if it is stored; otherwise it follows from each group.
    pub scale: Option<f32>,
    /// Whether the zero point is 0.
    pub is_symmetric: bool,
}

/// Whether a format of inputs rounds and chooses scales as packages do, which cannot be told to do
/// otherwise: half to even, and fractions to the nearest.
pub(crate) fn rounds_as_packages(format: &BlockFormat) -> bool {
    let has_own_rule = format.scale() != ScaleFormat::Fp32 || format.rule() == ScaleRule::Nearest;
    let is_plain = matches!(format.dialect(), Dialect::Ocp | Dialect::Nvidia);
    format.rounding() == Rounding::Even && is_plain && has_own_rule
}

impl StoredInput {
    /// The quantisation with its rule and rounding, for messages.
    pub fn in_full(&self) -> String {
        match self {
            Self::Block(format, _) => format.to_string(),
            Self::Scalar(_) => self.name(),
        }
    }

    /// The quantisation in words.
    pub fn name(&self) -> String {
        match self {
            Self::Block(format, stored) => {
                let (element, scale) = (format.element(), format.scale());
                let stored = if stored.is_some() {
                    ", stored tensor scale"
                } else {
                    ""
                };
                format!("{element} {scale} k{}{stored}", format.block_size())
            }
            Self::Scalar(scalar) => {
                let kind = match scalar.kind {
                    CodeKind::Float(element) => element.name().to_owned(),
                    CodeKind::Int(bits) if scalar.is_symmetric => format!("int{bits}"),
                    CodeKind::Int(bits) => format!("int{bits} with zero points"),
                };
                let scale = if scalar.scale.is_some() {
                    ", stored scale"
                } else {
                    ""
                };
                format!("{kind} k{}{scale}", scalar.group)
            }
        }
    }
}

impl InputScheme {
    /// The quantisation of an input of `features` features; `stored` is the stored scale as a
    /// multiplier. `None` if the parts do not fit each other.
    pub(super) fn of_input(self, features: usize, stored: Option<f32>) -> Option<StoredInput> {
        let group = match self.group {
            Group::Tensor | Group::Row => features,
            Group::Columns(group) | Group::Block([_, group]) => group,
        };
        let scalar = || {
            let scalar = ScalarInput {
                kind: self.kind,
                group,
                scale: stored,
                is_symmetric: self.is_symmetric,
            };
            features.is_multiple_of(group).then_some(scalar)
        };
        match (self.kind, self.scale) {
            (CodeKind::Float(element), Some(scale)) => {
                let is_nvfp4 = scale == ScaleFormat::UE4M3;
                let mut format = BlockFormat::new(element).scale(scale).block_size(group);
                if let Some(rule) = self.rule {
                    format = format.rule(rule);
                }
                if is_nvfp4 {
                    // Blocks whose scale rounds to zero become zero in both packages.
                    format = format.rule(ScaleRule::NearestFlush);
                    format = format.tensor_scale(true).dialect(Dialect::Nvidia);
                }
                Some(StoredInput::Block(format.build().ok()?, stored))
            }
            (CodeKind::Float(element), None) if stored.is_none() => {
                let format = BlockFormat::new(element).scale(ScaleFormat::Fp32);
                let format = format.block_size(group).build().ok()?;
                Some(StoredInput::Block(format, None))
            }
            (CodeKind::Float(_) | CodeKind::Int(_), _) => scalar().map(StoredInput::Scalar),
        }
    }
}

impl ScalarInput {
    /// Quantises and dequantises values, a group after the other.
    pub fn apply(&self, values: &mut [f32]) {
        for group in values.chunks_mut(self.group) {
            match self.kind {
                CodeKind::Float(element) => self.floats(element, group),
                CodeKind::Int(bits) => self.integers(bits, group),
            }
        }
    }

    fn floats(&self, element: ElementFormat, group: &mut [f32]) {
        let amax = group.iter().fold(0.0_f32, |amax, x| amax.max(x.abs()));
        let scale = self.scale.unwrap_or(amax / element.max_normal());
        if scale > 0.0 {
            for x in group {
                let code = element.encode(f64::from(*x / scale), Rounding::Even, 0);
                *x = element.decode(code) * scale;
            }
        }
    }

    /// The scale maps amax, or the range, to all steps between the lowest and the highest code, as
    /// compressed-tensors has it.
    fn integers(&self, bits: u32, group: &mut [f32]) {
        let lowest = -(1_i32 << (bits - 1)) as f32;
        let highest = -lowest - 1.0;
        let steps = highest - lowest;
        let min = group.iter().fold(0.0_f32, |min, &x| min.min(x));
        let max = group.iter().fold(0.0_f32, |max, &x| max.max(x));
        let scale = self.scale.unwrap_or(match self.is_symmetric {
            true => max.max(-min) / (steps / 2.0),
            false => (max - min) / steps,
        });
        if scale > 0.0 {
            let zero = match self.is_symmetric {
                true => 0.0,
                false => (lowest - min / scale)
                    .clamp(lowest, highest)
                    .round_ties_even(),
            };
            for x in group {
                let code = (*x / scale + zero).clamp(lowest, highest).round_ties_even();
                *x = (code - zero) * scale;
            }
        }
    }
}
