//! A matrix that its file stores in a quantised layout without a format of ours. Its values are
//! computed when they are read; they are never stored a second time.

use std::path::Path;

use mxlab_kernels::format::GgmlFormat;

/// The rows of such a matrix.
pub trait DecodedRows: Send + Sync {
    /// The layout's name among those who write it, such as `Q4_K`.
    fn layout(&self) -> &str;

    /// The file, and the tensor that messages name; `None` if no file has these rows.
    fn place(&self) -> Option<(&Path, &str)>;

    /// A stored row in a format of ggml, if the layout is one.
    fn ggml(&self, _row: usize) -> Option<(GgmlFormat, &[u8])> {
        None
    }

    /// Bytes of a row in the file, with its share of scales.
    fn row_bytes(&self) -> usize;

    /// Writes the values of a stored row, exactly as the layout defines them in f32. `out` has the
    /// length of a row.
    fn read(&self, row: usize, out: &mut [f32]);
}
