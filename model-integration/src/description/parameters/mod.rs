//! The parameters of a model as data: names, shapes, roles.
//!
//! Only [`parameters`] knows them. Loading, planning, measuring, conversion, synthesis and training
//! all walk its list. The modules of a layer are those of the model's [`Architecture`].

mod describe;

use mxlab_kernels::format::{BlockFormat, GgmlFormat, MatrixFormat};

use self::describe::{Place, describe};
use super::architecture::Module;
use super::{Architecture, ModelConfig};
use crate::config::Projection::{self, Gate, K, Q, Up, V};
use crate::config::{Fallback, QuantConfig};

/// The role of a module that has parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// The token embedding.
    Embedding,
    /// The norm before attention.
    InputNorm,
    /// The norm of queries.
    QueryNorm,
    /// The norm of keys.
    KeyNorm,
    /// A score without a key for each query head.
    Sinks,
    /// The norm of the attention's output.
    AfterAttentionNorm,
    /// The norm before the MLP.
    MlpNorm,
    /// The norm of the MLP's output.
    AfterMlpNorm,
    /// One of the seven projections of a layer; there may be several, one an expert.
    Projection(Projection),
    /// The scores of experts.
    Router,
    /// The norm after the last layer.
    FinalNorm,
    /// The output head, which computes logits.
    Head,
}

impl Role {
    /// Whether it is a norm.
    pub const fn is_norm(self) -> bool {
        matches!(
            self,
            Self::InputNorm
                | Self::QueryNorm
                | Self::KeyNorm
                | Self::AfterAttentionNorm
                | Self::MlpNorm
                | Self::AfterMlpNorm
                | Self::FinalNorm
        )
    }
}

/// How the forward pass uses a matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// Rows are looked up by token.
    Lookup,
    /// Both lookup and product: an embedding that is also the head.
    LookupAndProduct,
    /// Activations are multiplied by it.
    Product,
}

/// A weight or a bias.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    /// The role of its module.
    pub role: Role,
    /// The decoder layer of the module; `None` outside the layers.
    pub layer: Option<usize>,
    /// The expert of the module, if it belongs to one.
    pub expert: Option<usize>,
    /// Whether it is a bias rather than a weight.
    pub is_bias: bool,
    /// Its name in a Hugging Face checkpoint with one tensor for each projection.
    pub name: String,
    /// Name in a GGUF file.
    pub gguf_name: String,
    /// `[outputs, inputs]` of a matrix, `[features]` of a gain or a bias.
    pub shape: Vec<usize>,
    /// The tensor that stacks it with others in checkpoints of this architecture.
    pub fused: Option<Fused>,
    /// Width of a head, if GGUF files interleave the two halves of each head.
    pub gguf_interleaved: Option<usize>,
    /// What has to be added to its elements in a GGUF file.
    pub gguf_offset: f32,
    /// The module whose weight it shares; checkpoints do not store it again.
    pub tied_to: Option<Role>,
    /// Standard deviation of a matrix's normal initial weights; `None` for a gain or a bias, which
    /// starts at 1.
    pub first_deviation: Option<f64>,
}

/// A weight has rows that its format does not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{tensor}` has rows of {cols} elements; {format} takes multiples of {}: choose another \
     format, or add --fallback ggml, with which it gets {stand_in}", format.block_size()
)]
pub struct RowLength {
    tensor: String,
    format: GgmlFormat,
    cols: usize,
    stand_in: GgmlFormat,
}

/// A tensor that stacks several parameters by rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fused {
    /// Its name.
    pub name: String,
    /// Its number of rows.
    pub rows: usize,
    /// The parameter's first row.
    pub first: usize,
    /// Distance to its next row.
    pub step: usize,
    /// The number of matrices in a stack of experts, a size of its own in front of rows. Floats of
    /// their weights are stored column by column.
    pub experts: Option<usize>,
}

/// The parameters of a model, in checkpoint order.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameters(Vec<Parameter>);

/// The projections of the attention input.
pub const QKV: [Projection; 3] = [Q, K, V];

/// The projections of the MLP input.
pub const GATE_UP: [Projection; 2] = [Gate, Up];

/// The modules outside the layers.
const EMBEDDING: Module = Module(Role::Embedding, "model.embed_tokens", "token_embd");
const FINAL_NORM: Module = Module(Role::FinalNorm, "model.norm", "output_norm");
const HEAD: Module = Module(Role::Head, "lm_head", "output");

/// The parameters of a model.
pub fn parameters(config: &ModelConfig) -> Parameters {
    let mut all = describe(&EMBEDDING, config, Place::default());
    for (index, kind) in config.layers.iter().enumerate() {
        let layer = Some(index);
        let place = |expert| Place { layer, expert };
        let modules = modules(config.architecture, kind.has_experts);
        let (of_experts, others) = modules.partition::<Vec<_>, _>(|module| module.1.contains("{}"));
        for module in others {
            all.extend(describe(module, config, place(None)));
        }
        for expert in 0..config.experts.map_or(0, |experts| experts.count) {
            for module in &of_experts {
                all.extend(describe(module, config, place(Some(expert))));
            }
        }
    }
    for module in [&FINAL_NORM, &HEAD] {
        all.extend(describe(module, config, Place::default()));
    }
    Parameters(all)
}

/// The modules of a layer.
fn modules(
    architecture: &Architecture,
    has_experts: bool,
) -> Box<dyn Iterator<Item = &'static Module>> {
    match has_experts {
        false => Box::new(architecture.modules()),
        true => Box::new(architecture.modules_with_experts()),
    }
}

/// The name of a module outside the layers, such as `model.norm`.
///
/// # Panics
/// If modules of this role belong to a layer.
pub fn outer_name(role: Role) -> &'static str {
    outer(role).1
}

/// The name of such a module in a GGUF file.
///
/// # Panics
/// As [`outer_name`].
pub fn gguf_outer_name(role: Role) -> &'static str {
    outer(role).2
}

fn outer(role: Role) -> &'static Module {
    let found = [&EMBEDDING, &FINAL_NORM, &HEAD]
        .into_iter()
        .find(|module| module.0 == role);
    found.unwrap_or_else(|| panic!("{role:?} is a module of layers"))
}

/// The name of a module of a layer, such as `model.layers.3.self_attn.q_proj`, or of an expert of
/// it.
///
/// # Panics
/// If the architecture's layers have no such module.
pub fn module_name(
    architecture: &Architecture,
    layer: usize,
    role: Role,
    expert: Option<usize>,
) -> String {
    let mut modules = modules(architecture, expert.is_some());
    let found = modules.find(|module| module.0 == role);
    let Module(_, name, _) = found.unwrap_or_else(|| panic!("no layer has {role:?}"));
    in_layer(layer, &numbered(name, expert))
}

fn numbered(name: &str, expert: Option<usize>) -> String {
    match expert {
        None => name.to_owned(),
        Some(expert) => name.replace("{}", &expert.to_string()),
    }
}

/// The name of a part of a layer.
pub fn in_layer(layer: usize, part: &str) -> String {
    format!("model.layers.{layer}.{part}")
}

impl Parameters {
    /// The parameters that a checkpoint stores: all that are not tied to another one.
    pub fn stored(&self) -> impl Iterator<Item = &Parameter> {
        let all = self.0.iter();
        all.filter(|parameter| parameter.tied_to.is_none())
    }

    /// Leaves out the biases that `is_absent`, and gives their names. A projection without a bias
    /// adds none.
    pub fn leave_out_biases(&mut self, is_absent: impl Fn(&Parameter) -> bool) -> Vec<String> {
        let is_absent = |parameter: &Parameter| parameter.is_bias && is_absent(parameter);
        let absent = self.0.iter().filter(|parameter| is_absent(parameter));
        let names = absent.map(|parameter| parameter.name.clone()).collect();
        self.0.retain(|parameter| !is_absent(parameter));
        names
    }

    /// Stores every module's own weight.
    pub fn untie(&mut self) {
        self.0.iter_mut().for_each(|one| one.tied_to = None);
    }

    /// The number of elements of the stored parameters.
    pub fn elements(&self) -> u64 {
        self.stored().map(|one| one.elements() as u64).sum()
    }

    /// The stored parameter with this name in a Hugging Face checkpoint.
    pub fn named(&self, name: &str) -> Option<&Parameter> {
        self.stored().find(|parameter| parameter.name == name)
    }

    /// A module's weight.
    ///
    /// # Panics
    /// If the model does not have this layer.
    pub fn weight(&self, layer: Option<usize>, role: Role) -> &Parameter {
        let weight = self.find(layer, role, None, false);
        weight.unwrap_or_else(|| panic!("the model has no {role:?} in layer {layer:?}"))
    }

    /// A module's weight, if the model has the module.
    pub fn weight_if_any(&self, layer: Option<usize>, role: Role) -> Option<&Parameter> {
        self.find(layer, role, None, false)
    }

    /// A module's bias, if it has one.
    pub fn bias(&self, layer: Option<usize>, role: Role) -> Option<&Parameter> {
        self.find(layer, role, None, true)
    }

    /// The weights of the projections of all layers.
    pub fn projections(&self) -> impl Iterator<Item = (usize, Projection, &Parameter)> {
        let all = self.0.iter();
        all.filter_map(|one| one.projection().map(|(layer, of)| (layer, of, one)))
    }

    /// Weights and biases of some projections of a layer.
    ///
    /// # Panics
    /// If the model does not have this layer.
    pub fn of_layer<const N: usize>(
        &self,
        layer: usize,
        projections: [Projection; N],
    ) -> [(&Parameter, Option<&Parameter>); N] {
        self.of_expert(layer, None, projections)
    }

    /// Weights and biases of some projections of an expert, or of a layer without experts.
    ///
    /// # Panics
    /// If the model does not have them.
    pub fn of_expert<const N: usize>(
        &self,
        layer: usize,
        expert: Option<usize>,
        projections: [Projection; N],
    ) -> [(&Parameter, Option<&Parameter>); N] {
        projections.map(|projection| {
            let find =
                |is_bias| self.find(Some(layer), Role::Projection(projection), expert, is_bias);
            let weight = find(false);
            let absent = || panic!("layer {layer} has no {projection:?} of {expert:?}");
            (weight.unwrap_or_else(absent), find(true))
        })
    }

    /// The same projection of the other experts of its layer.
    pub fn of_other_experts(&self, weight: &Parameter) -> impl Iterator<Item = &Parameter> {
        let (layer, role, expert) = (weight.layer, weight.role, weight.expert);
        let of_layer = self.of(layer).filter(move |_| expert.is_some());
        of_layer.filter(move |one| one.role == role && !one.is_bias && one.expert != expert)
    }

    /// How a stored matrix is used under a configuration.
    pub fn usage(&self, matrix: &Parameter, config: &QuantConfig) -> Usage {
        match matrix.role {
            Role::Embedding if self.head(config).is_none() => Usage::LookupAndProduct,
            Role::Embedding => Usage::Lookup,
            _ => Usage::Product,
        }
    }

    /// The stored matrix of an output head that is kept beside the embedding: an untied head, or
    /// the embedding a second time, in a format of its own.
    pub fn head(&self, config: &QuantConfig) -> Option<&Parameter> {
        let head = self.weight(None, Role::Head);
        match head.tied_to {
            None => Some(head),
            Some(role) => config.head.map(|_| self.weight(None, role)),
        }
    }

    /// Every matrix that an engine keeps under a configuration: its stored parameter, its usage,
    /// and the parameter that says its formats.
    pub fn kept(
        &self,
        config: &QuantConfig,
    ) -> impl Iterator<Item = (&Parameter, Usage, &Parameter)> {
        let head = self.weight(None, Role::Head);
        let stored = self.stored().filter(|stored| stored.matrix().is_some());
        let stored = stored.map(move |stored| match self.usage(stored, config) {
            // Only its product has an input.
            Usage::LookupAndProduct => (stored, Usage::LookupAndProduct, head),
            usage => (stored, usage, stored),
        });
        let second = self.head(config).filter(|_| head.tied_to.is_some());
        stored.chain(second.map(|stored| (stored, Usage::Product, head)))
    }

    fn find(
        &self,
        layer: Option<usize>,
        role: Role,
        expert: Option<usize>,
        is_bias: bool,
    ) -> Option<&Parameter> {
        let wanted = (layer, role, expert, is_bias);
        self.of(layer).find(|one| one.place() == wanted)
    }

    /// The parameters of a layer, or of no layer.
    fn of(&self, layer: Option<usize>) -> impl Iterator<Item = &Parameter> {
        // Layers follow each other behind the embedding.
        let first = match layer {
            None => 0,
            Some(_) => {
                let is_before = |one: &Parameter| one.layer.is_some_and(|own| Some(own) < layer);
                1 + self.0[1..].partition_point(is_before)
            }
        };
        let rest = self.0[first..].iter();
        let rest = rest.take_while(move |one| layer.is_none() || one.layer == layer);
        rest.filter(move |one| one.layer == layer)
    }
}

impl Parameter {
    const fn place(&self) -> (Option<usize>, Role, Option<usize>, bool) {
        (self.layer, self.role, self.expert, self.is_bias)
    }

    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// Outputs and inputs of a matrix; `None` for a gain or a bias.
    pub fn matrix(&self) -> Option<[usize; 2]> {
        self.shape.as_slice().try_into().ok()
    }

    /// Layer and projection of a projection's weight; `None` for any other parameter.
    pub fn projection(&self) -> Option<(usize, Projection)> {
        match (self.layer, self.role, self.is_bias) {
            (Some(layer), Role::Projection(projection), false) => Some((layer, projection)),
            _ => None,
        }
    }

    /// The block formats that a configuration gives a weight and its input; none for parameters
    /// that no configuration quantises.
    pub fn formats(&self, config: &QuantConfig) -> (Option<BlockFormat>, Option<BlockFormat>) {
        let (weight, input) = self.given_formats(config);
        (weight.and_then(|format| format.block()), input)
    }

    /// The format of a weight, with the configuration's stand-in where ggml has no such rows.
    ///
    /// # Errors
    /// [`RowLength`] without a stand-in.
    pub fn weight_format(&self, config: &QuantConfig) -> Result<Option<MatrixFormat>, RowLength> {
        let (Some(format), Some([_, cols])) = (self.given_ggml(config), self.matrix()) else {
            return Ok(self.given_formats(config).0);
        };
        let stand_in = format.stand_in(cols);
        match config.fallback {
            None if stand_in != format => Err(RowLength {
                tensor: self.name.clone(),
                format,
                cols,
                stand_in,
            }),
            None | Some(Fallback::Ggml) => Ok(Some(MatrixFormat::Ggml(stand_in))),
        }
    }

    /// The format of ggml that a configuration names for a weight, whatever its rows.
    pub fn given_ggml(&self, config: &QuantConfig) -> Option<GgmlFormat> {
        self.given_formats(config).0?.ggml()
    }

    fn given_formats(&self, config: &QuantConfig) -> (Option<MatrixFormat>, Option<BlockFormat>) {
        match (self.projection(), self.role) {
            (Some((layer, projection)), _) => config.for_projection(layer, projection),
            (None, Role::Head) if !self.is_bias => (config.head, config.head_activations),
            (None, _) => (None, None),
        }
    }
}
