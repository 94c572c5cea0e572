//! The bound on tensor cores' sums, by which the registry judges products and attention, against
//! words of chips and against models of chips.
//!
//! | module | what |
//! |---|---|
//! | `words` | every f32 word and fp16's f16 words of `$MXLAB_SHARED/hardware/tensor-core` |
//! | `chips` | the adding rule of each chip, in integers |
//! | `models` | dot products, ordinary and adversarial, by all of these rules |

mod chips;
mod models;
mod words;
