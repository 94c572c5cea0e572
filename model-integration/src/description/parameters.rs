//! The parameters of a model as data: names, shapes, roles.
//!
//! [`parameters`] is the one place that knows them. What loads, plans, measures, converts, makes or
//! trains a model walks the list that it returns; what differs between architectures is a row of
//! [`super::architecture`].

use super::ModelConfig;
use super::architecture::Bias;
use crate::config::Projection;

/// What a module with parameters does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Its rows are looked up by token.
    Embedding,
    /// The norm before attention.
    InputNorm,
    /// The norm before the MLP.
    PostAttentionNorm,
    /// One of the seven projections of a layer.
    Projection(Projection),
    /// The norm behind the last layer.
    FinalNorm,
    /// Turns the last activation into logits.
    Head,
}

/// How the forward pass uses a matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// Rows are looked up by token.
    Lookup,
    /// Rows are looked up, and activations are multiplied by it: an embedding that is the head too.
    LookupAndProduct,
    /// Activations are multiplied by it.
    Product,
}

/// A weight or a bias.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    /// What its module does.
    pub role: Role,
    /// The module's decoder layer; `None` outside of them.
    pub layer: Option<usize>,
    /// Whether it is the module's bias, not its weight.
    pub is_bias: bool,
    /// Name in a Hugging Face checkpoint with a tensor for each projection.
    pub name: String,
    /// Name in a GGUF file.
    pub gguf_name: String,
    /// `[outputs, inputs]` of a matrix, `[features]` of a gain or a bias.
    pub shape: Vec<usize>,
    /// The tensor that holds it beside others in checkpoints of this architecture.
    pub fused: Option<Fused>,
    /// Features of a head, where a GGUF file has the two halves of each head interleaved.
    pub gguf_interleaved: Option<usize>,
    /// The module whose weight it is; a checkpoint does not have it a second time.
    pub tied_to: Option<Role>,
    /// Standard deviation of a matrix's first weights, which are normal; `None` for a gain or a
    /// bias, which starts at 1.
    pub first_deviation: Option<f64>,
}

/// A tensor whose rows are those of several parameters, one after another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fused {
    /// Its name.
    pub name: String,
    /// Its rows.
    pub rows: usize,
    /// The first row of the parameter.
    pub first: usize,
}

/// The parameters of a model, in the order of a checkpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameters(Vec<Parameter>);

/// Projections of the input of attention.
pub const QKV: [Projection; 3] = [Projection::Q, Projection::K, Projection::V];

/// Projections of the input of the MLP.
pub const GATE_UP: [Projection; 2] = [Projection::Gate, Projection::Up];

/// A size that a configuration gives.
#[derive(Clone, Copy)]
enum Size {
    Vocabulary,
    Hidden,
    Inner,
    Queries,
    Keys,
}

/// A module: its names in the two kinds of checkpoints, and the shape of its weight.
struct Module {
    role: Role,
    name: &'static str,
    gguf_name: &'static str,
    shape: &'static [Size],
}

use Size::{Hidden, Inner, Keys, Queries, Vocabulary};

const EMBEDDING: Module = module(
    Role::Embedding,
    "model.embed_tokens",
    "token_embd",
    &[Vocabulary, Hidden],
);
const FINAL_NORM: Module = module(Role::FinalNorm, "model.norm", "output_norm", &[Hidden]);
const HEAD: Module = module(Role::Head, "lm_head", "output", &[Vocabulary, Hidden]);

/// The modules of a layer.
#[rustfmt::skip]
const LAYER: [Module; 9] = [
    module(Role::InputNorm, "input_layernorm", "attn_norm", &[Hidden]),
    module(Role::PostAttentionNorm, "post_attention_layernorm", "ffn_norm", &[Hidden]),
    projection(Projection::Q, "self_attn.q_proj", "attn_q", &[Queries, Hidden]),
    projection(Projection::K, "self_attn.k_proj", "attn_k", &[Keys, Hidden]),
    projection(Projection::V, "self_attn.v_proj", "attn_v", &[Keys, Hidden]),
    projection(Projection::O, "self_attn.o_proj", "attn_output", &[Hidden, Queries]),
    projection(Projection::Gate, "mlp.gate_proj", "ffn_gate", &[Inner, Hidden]),
    projection(Projection::Up, "mlp.up_proj", "ffn_up", &[Inner, Hidden]),
    projection(Projection::Down, "mlp.down_proj", "ffn_down", &[Hidden, Inner]),
];

/// The parameters of a model.
pub fn parameters(config: &ModelConfig) -> Parameters {
    let mut all = Vec::new();
    let mut add = |layer, module: &Module| module.describe(config, layer, &mut all);
    add(None, &EMBEDDING);
    for layer in 0..config.num_hidden_layers {
        for module in &LAYER {
            add(Some(layer), module);
        }
    }
    add(None, &FINAL_NORM);
    add(None, &HEAD);
    Parameters(all)
}

/// The name of a module, such as `model.layers.3.self_attn.q_proj`.
pub fn module_name(layer: Option<usize>, role: Role) -> String {
    let name = Module::of(role).name;
    layer.map_or_else(|| name.to_owned(), |layer| in_layer(layer, name))
}

/// The name of a part of a layer.
pub fn in_layer(layer: usize, part: &str) -> String {
    format!("model.layers.{layer}.{part}")
}

/// The name of a module in a GGUF file, such as `blk.3.attn_q`.
pub fn gguf_module_name(layer: Option<usize>, role: Role) -> String {
    let name = Module::of(role).gguf_name;
    layer.map_or_else(|| name.to_owned(), |layer| format!("blk.{layer}.{name}"))
}

impl Parameters {
    /// Those that a checkpoint has: all that are not tied to another.
    pub fn stored(&self) -> impl Iterator<Item = &Parameter> {
        let all = self.0.iter();
        all.filter(|parameter| parameter.tied_to.is_none())
    }

    /// The number of elements of those.
    pub fn elements(&self) -> u64 {
        self.stored().map(|parameter| parameter.len() as u64).sum()
    }

    /// The stored parameter of a name in a Hugging Face checkpoint.
    pub fn named(&self, name: &str) -> Option<&Parameter> {
        self.stored().find(|parameter| parameter.name == name)
    }

    /// A module's weight.
    ///
    /// # Panics
    /// If the model has no such layer.
    pub fn weight(&self, layer: Option<usize>, role: Role) -> &Parameter {
        let weight = self.find(layer, role, false);
        weight.unwrap_or_else(|| panic!("the model has no {role:?} in layer {layer:?}"))
    }

    /// A module's bias, if it has one.
    pub fn bias(&self, layer: Option<usize>, role: Role) -> Option<&Parameter> {
        self.find(layer, role, true)
    }

    /// The weights of the projections of all layers.
    pub fn projections(&self) -> impl Iterator<Item = (usize, Projection, &Parameter)> {
        let all = self.0.iter();
        all.filter_map(|parameter| {
            let (layer, projection) = parameter.projection()?;
            Some((layer, projection, parameter))
        })
    }

    /// How a matrix is used.
    pub fn usage(&self, matrix: &Parameter) -> Usage {
        match matrix.role {
            Role::Embedding if self.weight(None, Role::Head).tied_to.is_some() => {
                Usage::LookupAndProduct
            }
            Role::Embedding => Usage::Lookup,
            _ => Usage::Product,
        }
    }

    fn find(&self, layer: Option<usize>, role: Role, is_bias: bool) -> Option<&Parameter> {
        let mut all = self.0.iter();
        all.find(|found| (found.layer, found.role, found.is_bias) == (layer, role, is_bias))
    }
}

impl Parameter {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether there are none, which no configuration gives.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Outputs and inputs of a matrix; `None` for a gain or a bias.
    pub fn matrix(&self) -> Option<[usize; 2]> {
        self.shape.as_slice().try_into().ok()
    }

    /// Layer and projection of a weight that a configuration gives a format; `None` for any other
    /// parameter.
    pub fn projection(&self) -> Option<(usize, Projection)> {
        match (self.layer, self.role, self.is_bias) {
            (Some(layer), Role::Projection(projection), false) => Some((layer, projection)),
            _ => None,
        }
    }
}

const fn module(
    role: Role,
    name: &'static str,
    gguf_name: &'static str,
    shape: &'static [Size],
) -> Module {
    Module {
        role,
        name,
        gguf_name,
        shape,
    }
}

const fn projection(
    projection: Projection,
    name: &'static str,
    gguf_name: &'static str,
    shape: &'static [Size],
) -> Module {
    module(Role::Projection(projection), name, gguf_name, shape)
}

impl Module {
    fn of(role: Role) -> &'static Self {
        let mut all = LAYER.iter().chain([&EMBEDDING, &FINAL_NORM, &HEAD]);
        let found = all.find(|module| module.role == role);
        found.expect("the table has every role")
    }

    fn shape(&self, config: &ModelConfig) -> Vec<usize> {
        self.shape.iter().map(|size| size.of(config)).collect()
    }

    /// Adds the weight and the bias, if there is one.
    fn describe(&self, config: &ModelConfig, layer: Option<usize>, all: &mut Vec<Parameter>) {
        let is_tied = self.role == Role::Head && config.tie_word_embeddings;
        let shape = self.shape(config);
        let mut add = |is_bias: bool, shape: Vec<usize>| {
            let part = if is_bias { "bias" } else { "weight" };
            all.push(Parameter {
                role: self.role,
                layer,
                is_bias,
                name: format!("{}.{part}", module_name(layer, self.role)),
                gguf_name: format!("{}.{part}", gguf_module_name(layer, self.role)),
                first_deviation: self.first_deviation(config, &shape),
                shape,
                fused: self.fused(config, layer, part),
                gguf_interleaved: self.gguf_interleaved(config),
                tied_to: is_tied.then_some(Role::Embedding),
            });
        };
        let outputs = shape[0];
        add(false, shape);
        if self.has_bias(config) {
            add(true, vec![outputs]);
        }
    }

    fn has_bias(&self, config: &ModelConfig) -> bool {
        let Role::Projection(projection) = self.role else {
            return false;
        };
        match config.architecture.bias(projection) {
            None => false,
            Some(Bias::Always) => true,
            Some(Bias::AttentionBias) => config.attention_bias,
            Some(Bias::MlpBias) => config.mlp_bias,
        }
    }

    fn fused(&self, config: &ModelConfig, layer: Option<usize>, part: &str) -> Option<Fused> {
        let Role::Projection(projection) = self.role else {
            return None;
        };
        let (name, members) = config.architecture.fused(projection)?;
        let rows = |members: &[Projection]| {
            let members = members.iter();
            let rows = members.map(|&of| Self::of(Role::Projection(of)).shape(config)[0]);
            rows.sum()
        };
        let index = members.iter().position(|&member| member == projection)?;
        Some(Fused {
            name: format!("{}.{part}", in_layer(layer?, name)),
            rows: rows(members),
            first: rows(&members[..index]),
        })
    }

    fn gguf_interleaved(&self, config: &ModelConfig) -> Option<usize> {
        let is_rotated = matches!(self.role, Role::Projection(Projection::Q | Projection::K));
        let interleaves = (config.architecture.gguf).is_some_and(|gguf| gguf.interleaves_heads);
        (is_rotated && interleaves).then_some(config.head_dim)
    }

    /// Variance 1 / inputs, divided by the number of writes to the residual stream for what writes
    /// to it.
    fn first_deviation(&self, config: &ModelConfig, shape: &[usize]) -> Option<f64> {
        let &[_, inputs] = shape else {
            return None;
        };
        let deviation = 1.0 / (inputs as f64).sqrt();
        Some(match self.role {
            Role::Embedding => 0.04,
            Role::Projection(Projection::O | Projection::Down) => {
                deviation / (2.0 * config.num_hidden_layers as f64).sqrt()
            }
            _ => deviation,
        })
    }
}

impl Size {
    const fn of(self, config: &ModelConfig) -> usize {
        match self {
            Vocabulary => config.vocab_size,
            Hidden => config.hidden_size,
            Inner => config.intermediate_size,
            Queries => config.num_attention_heads * config.head_dim,
            Keys => config.num_key_value_heads * config.head_dim,
        }
    }
}
