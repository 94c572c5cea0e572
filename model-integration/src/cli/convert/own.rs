//! The tensors of this program's own layout, as `mxlab quantize --output` writes them.

use mxlab_kernels::format::BlockFormat;
use serde_json::Value;

use super::piece::{Content, Layout, Piece};
use crate::checkpoint::packed_file::Part;

/// The tensors of the matrix `name` `[rows, cols]` in `format`.
pub fn layout(name: &str, format: &BlockFormat, matrix: [usize; 2]) -> Layout {
    let contents = [
        Content::Codes,
        Content::Scales { shift: 0 },
        Content::Factor,
    ];
    let parts = Part::packed(name, &matrix, matrix, format).into_iter();
    let piece = |(part, content): (Part, Content)| Piece {
        name: part.name,
        dtype: part.dtype,
        shape: part.shape,
        content,
    };
    Layout {
        scheme: Value::Null,
        pieces: parts.zip(contents).map(piece).collect(),
    }
}
