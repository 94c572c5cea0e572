//! The forward pass, written once over [`Backend`]. What layers have is data: see
//! [`Layer`](super::Layer).
//!
//! Quantisation points are those of the published MX recipes: input and weight of each of the seven
//! projections along the input dimension; K after the rotation, and V, along `head_dim`. Embedding,
//! norms and softmax stay unquantised; the head and its input have a format if the configuration
//! gives them one.

use super::rope::{BatchTable, Rotation};
use super::{Attention, Backend, Batch, Expert, Linear, Llama, Map, Mlp, Norm, Projections};
use crate::config::Projection;
use crate::description::Routing;
use crate::description::kinds::ActivationFunction;
use crate::description::parameters::{GATE_UP, QKV, Role, in_layer, module_name, outer_name};

impl<B: Backend> Llama<B> {
    /// Logits `[rows, vocab]` at the given tokens of the batch. The batch's keys and values are
    /// appended to `cache`.
    ///
    /// # Errors
    /// Any error of the backend's operations.
    pub fn logits(
        &self,
        backend: &B,
        batch: &Batch,
        cache: &mut B::Cache,
        rows: &[u32],
    ) -> Result<B::Activation, B::Error> {
        let mut x = self.embed(backend, batch)?;
        let tables = self.rope.of(batch);
        let selected = batch.select(rows);
        for index in 0..self.layers.len() {
            let context = self.attend(backend, index, &x, &tables, batch, cache)?;
            let is_last = index + 1 == self.layers.len();
            if is_last && backend.selects_early() {
                let context = backend.select(&context, rows)?;
                x = backend.select(&x, rows)?;
                x = self.transform(backend, index, x, context, &selected)?;
            } else {
                x = self.transform(backend, index, x, context, batch)?;
                if is_last {
                    x = backend.select(&x, rows)?;
                }
            }
        }
        self.output(backend, &x, &selected)
    }

    /// Logits from the output `x` of the last layer for the tokens of a batch.
    ///
    /// # Errors
    /// Any error of the backend's operations.
    pub fn output(
        &self,
        backend: &B,
        x: &B::Activation,
        batch: &Batch,
    ) -> Result<B::Activation, B::Error> {
        let factors = &self.factors;
        let x = backend.norm(x, &self.norm, batch, &self.head_input)?;
        let head = self.head.as_ref().unwrap_or(&self.embedding);
        let mut logits = backend.linear(&x, head, None, None)?;
        if factors.logit_divisor != 1.0 {
            logits = backend.map(logits, Map::Over(factors.logit_divisor as f32))?;
        }
        if let Some(cap) = factors.logit_cap {
            logits = backend.map(logits, Map::SoftCap(cap as f32))?;
        }
        backend.watch(&logits, || outer_name(Role::Head).to_owned())?;
        Ok(logits)
    }

    /// The inputs of the first layer.
    ///
    /// # Errors
    /// A token that the model does not have.
    pub fn embed(&self, backend: &B, batch: &Batch) -> Result<B::Activation, B::Error> {
        let mut x = backend.embed(&self.embedding, &batch.tokens)?;
        if self.factors.embedding != 1.0 {
            x = backend.map(x, Map::Times(self.factors.embedding as f32))?;
        }
        backend.watch(&x, || outer_name(Role::Embedding).to_owned())?;
        Ok(x)
    }

    /// The output of a layer for its input `x`.
    ///
    /// # Errors
    /// Any error of the backend's operations.
    pub fn layer(
        &self,
        backend: &B,
        index: usize,
        x: B::Activation,
        batch: &Batch,
        cache: &mut B::Cache,
    ) -> Result<B::Activation, B::Error> {
        let context = self.attend(backend, index, &x, &self.rope.of(batch), batch, cache)?;
        self.transform(backend, index, x, context, batch)
    }

    /// `attention(norm(x))`, the input of the output projection.
    fn attend(
        &self,
        backend: &B,
        index: usize,
        x: &B::Activation,
        tables: &[BatchTable],
        batch: &Batch,
        cache: &mut B::Cache,
    ) -> Result<B::Activation, B::Error> {
        let layer = &self.layers[index];
        let rope = layer.kind.rope.map(|rope| {
            let (table, number) = &tables[rope];
            Rotation {
                table,
                number: *number,
            }
        });
        let normed = |input: &B::Input| before(backend, x, &layer.input_norm, batch, input);
        let name = |part: usize| self.projection_name(index, QKV[part]);
        let qkv = match &layer.qkv {
            Projections::Separate(linears) => project(backend, normed, linears, name)?,
            Projections::Fused { stack, input } => {
                let outputs = backend.linear_stack(&normed(input)?, stack)?;
                for (part, output) in outputs.iter().enumerate() {
                    backend.watch(output, || name(part))?;
                }
                outputs
            }
        };
        let qkv = match &layer.head_norms {
            None => qkv,
            Some([of_queries, of_keys]) => {
                let ([query, key, value], as_it_is) = (qkv, B::Input::default());
                let query = backend.norm(&query, of_queries, batch, &as_it_is)?;
                let key = backend.norm(&key, of_keys, batch, &as_it_is)?;
                [query, key, value]
            }
        };
        let attention = Attention {
            layer: index,
            heads: self.heads,
            kv_heads: self.kv_heads,
            head_dim: self.head_dim,
            rope,
            window: layer.kind.window,
            scale: self.factors.attention as f32,
            cap: self.factors.attention_cap.map(|cap| cap as f32),
            sinks: layer.sinks.as_ref(),
            keys: layer.keys.as_ref(),
            values: layer.values.as_ref(),
            kv_first: self.kv_first,
            key_recent: layer.keys.map_or(0, |_| self.key_recent),
            key_rotation: self.key_rotation.as_ref().filter(|_| layer.keys.is_some()),
        };
        let context = backend.attend(qkv, attention, cache, batch, &layer.o.input)?;
        backend.watch(&context, || in_layer(index, "self_attn"))?;
        Ok(context)
    }

    /// `y + norm(mlp(norm(y)))` with `y = x + norm(o(context))`.
    fn transform(
        &self,
        backend: &B,
        index: usize,
        x: B::Activation,
        context: B::Activation,
        batch: &Batch,
    ) -> Result<B::Activation, B::Error> {
        let layer = &self.layers[index];
        let name = || self.projection_name(index, Projection::O);
        let x = self.add_half(
            backend,
            x,
            &context,
            &layer.o,
            &layer.after_attention,
            batch,
            name,
        )?;
        // Its memory is for what follows.
        drop(context);
        let normed = |input: &B::Input| before(backend, &x, &layer.mlp_norm, batch, input);
        let function = self.activation;
        let (inner, down) = match &layer.mlp {
            Mlp::Gated { gate_up, down } => {
                let name = |part: usize| self.projection_name(index, GATE_UP[part]);
                (
                    gated(backend, function, normed, gate_up, down, batch, name)?,
                    down,
                )
            }
            Mlp::Plain { up, down } => {
                let x = up.product(backend, &normed(&up.input)?, None)?;
                backend.watch(&x, || self.projection_name(index, Projection::Up))?;
                (backend.activate(x, function, batch, &down.input)?, down)
            }
            Mlp::Experts {
                router,
                routing,
                experts,
            } => {
                let own = normed(&B::Input::default())?;
                let out = self.mix(backend, index, &own, (router, *routing), experts, batch)?;
                let (norm, factor) = (layer.after_mlp.as_ref(), self.factors.residual as f32);
                return backend.add_normed(out, norm, factor, &x, batch);
            }
        };
        backend.watch(&inner, || in_layer(index, "mlp.act_fn"))?;
        let name = || self.projection_name(index, Projection::Down);
        self.add_half(backend, x, &inner, down, &layer.after_mlp, batch, name)
    }

    /// The weighted sum of the chosen experts' outputs for `x`.
    fn mix(
        &self,
        backend: &B,
        index: usize,
        x: &B::Activation,
        (router, routing): (&Linear<B>, Routing),
        experts: &[Expert<B>],
        batch: &Batch,
    ) -> Result<B::Activation, B::Error> {
        let scores = router.product(backend, x, None)?;
        backend.watch(&scores, || {
            module_name(self.architecture, index, Role::Router, Some(0))
        })?;
        let chosen = backend.route(&scores, routing)?;
        let mut outputs = Vec::new();
        for (number, (expert, chosen)) in experts.iter().zip(chosen).enumerate() {
            if chosen.rows.is_empty() {
                continue;
            }
            let own = backend.select(x, &chosen.rows)?;
            let batch = &batch.select(&chosen.rows);
            let name = |projection: Projection| {
                let role = Role::Projection(projection);
                module_name(self.architecture, index, role, Some(number))
            };
            let input = |input: &B::Input| backend.as_input(&own, batch, input);
            let down = &expert.down;
            let part = |part: usize| name(GATE_UP[part]);
            let function = self.activation;
            let inner = gated(backend, function, input, &expert.gate_up, down, batch, part)?;
            let output = down.product(backend, &inner, None)?;
            backend.watch(&output, || name(Projection::Down))?;
            outputs.push((chosen, output));
        }
        backend.mix(batch.tokens.len(), outputs)
    }

    /// `x + factor * norm(last(inner))`. Without norm and factor the product itself adds `x`.
    #[expect(
        clippy::too_many_arguments,
        reason = "operands, parameters and their name"
    )]
    fn add_half(
        &self,
        backend: &B,
        x: B::Activation,
        inner: &B::Activation,
        last: &Linear<B>,
        norm: &Option<Norm<B::Vector>>,
        batch: &Batch,
        name: impl FnOnce() -> String,
    ) -> Result<B::Activation, B::Error> {
        let factor = self.factors.residual as f32;
        let is_fused = norm.is_none() && factor == 1.0;
        let residual = Some(&x).filter(|_| is_fused);
        let out = last.product(backend, inner, residual)?;
        backend.watch(&out, name)?;
        match is_fused {
            true => Ok(out),
            false => backend.add_normed(out, norm.as_ref(), factor, &x, batch),
        }
    }

    fn projection_name(&self, layer: usize, projection: Projection) -> String {
        module_name(self.architecture, layer, Role::Projection(projection), None)
    }
}

/// The input of a layer's half, in the format `input`.
fn before<B: Backend>(
    backend: &B,
    x: &B::Activation,
    norm: &Option<Norm<B::Vector>>,
    batch: &Batch,
    input: &B::Input,
) -> Result<B::Activation, B::Error> {
    match norm {
        Some(norm) => backend.norm(x, norm, batch, input),
        None => backend.as_input(x, batch, input),
    }
}

/// `function(gate(x)) * up(x)` in the format of `down`'s input; `x` makes the input in a format.
fn gated<B: Backend>(
    backend: &B,
    function: ActivationFunction,
    x: impl Fn(&B::Input) -> Result<B::Activation, B::Error>,
    gate_up: &Projections<B, 2>,
    down: &Linear<B>,
    batch: &Batch,
    name: impl Fn(usize) -> String,
) -> Result<B::Activation, B::Error> {
    match gate_up {
        Projections::Separate(linears) => {
            let gate_up = project(backend, x, linears, name)?;
            backend.gate(gate_up, function, batch, &down.input)
        }
        Projections::Fused { stack, input } => {
            backend.linear_swiglu(&x(input)?, stack, batch, &down.input, name)
        }
    }
}

/// Runs projections with a common input. `make` makes it once for all projections that take the
/// same format.
fn project<B: Backend, const N: usize>(
    backend: &B,
    make: impl Fn(&B::Input) -> Result<B::Activation, B::Error>,
    linears: &[Linear<B>; N],
    name: impl Fn(usize) -> String,
) -> Result<[B::Activation; N], B::Error> {
    let mut inputs: Vec<(&B::Input, B::Activation)> = Vec::with_capacity(1);
    let mut outputs = Vec::with_capacity(N);
    for (part, linear) in linears.iter().enumerate() {
        let input = &linear.input;
        let made = inputs.iter().position(|(made_for, _)| *made_for == input);
        let made = match made {
            Some(made) => made,
            None => {
                inputs.push((input, make(input)?));
                inputs.len() - 1
            }
        };
        let x = &inputs[made].1;
        let output = linear.product(backend, x, None)?;
        backend.watch(&output, || name(part))?;
        outputs.push(output);
    }
    Ok(outputs
        .try_into()
        .unwrap_or_else(|_| unreachable!("one output per projection")))
}
