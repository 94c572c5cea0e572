//! Kernel families, a folder each: the template, the signature and the problems of its kernels. The
//! scalar definitions stand together in [`crate::reference`].
//!
//! A family is added by its folder, its definition, and its line in [`LIST`].

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

/// THE list of families.
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
    /// What its kernels are listed as, and chosen by with `--family`.
    pub members: &'static [&'static str],
    /// The sources of its PTX, by their paths under `family/`.
    pub templates: &'static [(&'static str, &'static str)],
    /// Its kernels.
    pub kernels: fn() -> Kernels,
}
