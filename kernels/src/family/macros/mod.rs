//! PTX macros that several templates use. Templates read top to bottom as the kernel does, over
//! these: place, load, amax, scale, encode, pack. Formats differ only in numbers, which come
//! from the same plan that the CPU kernels compute with.
//!
//! | to change | edit |
//! |---|---|
//! | how a block kernel places its threads | `kernel.j2` |
//! | how an element is rounded or decoded | `element.j2`: f32; `pairs.j2`: bf16, two at a time |
//! | how a chip converts an element | `hardware.j2` |
//! | how a scale follows from amax | `scale.j2` |
//! | a number that the macros of block formats need | `family/block/context.rs` |
//! | a number of a chunk of codes | `chunk.rs` |
//! | how stored codes become operands | `codes.rs` |
//! | which blocks are rotated | `rotated.rs` |
//! | what every template can call | `render.rs` |

pub(crate) mod chunk;
pub(crate) mod codes;
mod render;
pub(crate) mod rotated;

pub(crate) use render::render_kernel;

macro_rules! templates {
    ($($name:literal),* $(,)?) => {
        [$((concat!("macros/", $name), include_str!($name))),*]
    };
}

/// Their sources, by their paths under `family/`.
pub(crate) static TEMPLATES: &[(&str, &str)] = &templates![
    "amax.j2",
    "bytes.j2",
    "cache.j2",
    "codes.j2",
    "dense.j2",
    "element.j2",
    "exponential.j2",
    "fragments.j2",
    "hardware.j2",
    "kernel.j2",
    "output.j2",
    "pairs.j2",
    "partials.j2",
    "products.j2",
    "random.j2",
    "rows.j2",
    "scale.j2",
    "signature.j2",
    "softmax.j2",
    "stages.j2",
    "stored.j2",
    "tiles.j2",
];
