//! The kernel that looks up tokens in a table.

use super::render::render_template;
use serde::Serialize;

/// Rows of a table of bf16, one for each token.
///
/// # Launch
/// A thread block of 256 threads for each token. Parameters: dst (bf16, rows 16-byte aligned), status (u32), table
/// (bf16), tokens (u32 a row); vocabulary, cols, padded, dst_stride, table_stride (u32). Columns from `cols` on and
/// below `padded`, a multiple of 8, become zeros; so does the row of a token that is not below `vocabulary`, and
/// `status` the least such row, if it was more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EmbedVariant;

/// What the template knows as `v`.
#[derive(Serialize)]
struct Context {
    kernel: String,
}

impl EmbedVariant {
    /// The name of the entry.
    pub fn id(&self) -> String {
        "embed_bf16__sm80".to_owned()
    }

    /// Its PTX.
    pub fn render(&self) -> String {
        let kernel = self.id();
        render_template("embed/embed.ptx.j2", &Context { kernel })
    }
}
