//! Kernel families, one folder each. A folder holds the templates, the signature and the problems
//! of its kernels. Their scalar definitions stand together in [`crate::reference`].
//!
//! To add a family, add its folder, its scalar definition, and a line in [`LIST`].

pub mod append;
pub mod attention;
pub mod block;
pub mod embed;
pub mod log_probs;
pub(crate) mod macros;
pub mod matmul;
pub mod rows;
pub mod sample;
pub mod shuffle;

use crate::registry::Entry;

/// The one list of families.
pub static LIST: &[Family] = &[
    append::FAMILY,
    attention::FAMILY,
    block::FAMILY,
    embed::FAMILY,
    log_probs::FAMILY,
    matmul::FAMILY,
    rows::FAMILY,
    sample::FAMILY,
    shuffle::FAMILY,
];

/// The kernels of a family.
pub type Kernels = Box<dyn Iterator<Item = Box<dyn Entry>> + Send>;

/// A family: kernels that share templates and problems.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    /// Its name, which is that of its folder.
    pub name: &'static str,
    /// The names that `mxlab list` shows for its kernels and `--family` selects.
    pub members: &'static [&'static str],
    /// Its templates, by their paths under `family/`.
    pub templates: &'static [(&'static str, &'static str)],
    /// Its kernels.
    pub kernels: fn() -> Kernels,
}
