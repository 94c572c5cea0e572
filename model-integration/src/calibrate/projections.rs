//! The projections of a layer, and the parameters that are their weights.

use crate::config::Projection;
use crate::description::parameters::{GATE_UP, Parameter, Parameters, QKV};
use crate::model::cpu::Cpu;
use crate::model::{Expert, Layer, Linear, Mlp, Projections};

/// The weights of a layer's projections in the order of [`linears`].
pub fn weights_of<'p>(
    parameters: &'p Parameters,
    index: usize,
    layer: &Layer<Cpu>,
) -> Vec<&'p Parameter> {
    let weight = |projection| parameters.of_layer(index, [projection])[0].0;
    let mut all: Vec<&Parameter> = QKV.map(weight).into();
    all.push(weight(Projection::O));
    let gated = [GATE_UP[0], GATE_UP[1], Projection::Down];
    match &layer.mlp {
        Mlp::Gated { .. } => all.extend(gated.map(weight)),
        Mlp::Plain { .. } => all.extend([Projection::Up, Projection::Down].map(weight)),
        Mlp::Experts { experts, .. } => {
            for expert in 0..experts.len() {
                let of_expert = parameters.of_expert(index, Some(expert), gated);
                all.extend(of_expert.map(|(weight, _)| weight));
            }
        }
    }
    all
}

/// Defines a function that lists the projections of a layer, each of which the CPU engine keeps
/// apart: to be read, or to be changed.
macro_rules! define_linears {
    ($name:ident $(, $mutable:tt)?) => {
        pub fn $name(layer: &$($mutable)? Layer<Cpu>) -> Vec<&$($mutable)? Linear<Cpu>> {
            fn separate<const N: usize>(
                of: &$($mutable)? Projections<Cpu, N>,
            ) -> &$($mutable)? [Linear<Cpu>; N] {
                match of {
                    Projections::Separate(linears) => linears,
                    Projections::Fused { stack, .. } => match *stack {},
                }
            }
            let mut all = Vec::new();
            all.extend(separate(&$($mutable)? layer.qkv));
            all.push(&$($mutable)? layer.o);
            match &$($mutable)? layer.mlp {
                Mlp::Gated { gate_up, down } => {
                    all.extend(separate(gate_up));
                    all.push(down);
                }
                Mlp::Plain { up, down } => all.extend([up, down]),
                Mlp::Experts { experts, .. } => {
                    for Expert { gate_up, down } in experts {
                        all.extend(separate(gate_up));
                        all.push(down);
                    }
                }
            }
            all
        }
    };
}
define_linears!(linears);
define_linears!(linears_mut, mut);
