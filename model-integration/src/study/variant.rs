//! A model as a study runs it: with a type of arithmetic, and with or without BOS.

use mxlab_kernels::format::FloatType;

use super::Study;

/// A model and how it is run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variant {
    /// Directory or name of the model.
    pub model: String,
    /// Type of the arithmetic, if the study names types.
    pub dtype: Option<FloatType>,
    /// Whether contexts begin with BOS, if the study says so.
    pub add_bos_token: Option<bool>,
    /// Whether tasks are scored, and not only generations timed.
    pub is_scored: bool,
}

impl Variant {
    /// The model, and what the study varies, such as `embedded, float32, no BOS`.
    pub fn label(&self) -> String {
        let mut label = self.model.clone();
        if let Some(dtype) = self.dtype {
            label += &format!(", {dtype}");
        }
        if let Some(adds) = self.add_bos_token {
            label += if adds { ", BOS" } else { ", no BOS" };
        }
        label
    }
}

/// Every model of a study with every type and both ways of BOS that it names; at last the models
/// that are only timed.
pub fn variants(study: &Study) -> Vec<Variant> {
    let file = &study.file;
    let mut all = Vec::new();
    for model in &file.models {
        for dtype in or_default(&file.dtypes) {
            for add_bos_token in or_default(&file.add_bos_token) {
                all.push(Variant {
                    model: model.clone(),
                    dtype,
                    add_bos_token,
                    is_scored: true,
                });
            }
        }
    }
    let timed = file.workload.iter().flat_map(|own| &own.models);
    for model in timed.filter(|model| !file.models.contains(model)) {
        let timed = Variant {
            model: model.clone(),
            dtype: None,
            add_bos_token: None,
            is_scored: false,
        };
        if !all.contains(&timed) {
            all.push(timed);
        }
    }
    all
}

/// The values, or the default alone.
fn or_default<T: Copy>(values: &[T]) -> Vec<Option<T>> {
    match values {
        [] => vec![None],
        values => values.iter().copied().map(Some).collect(),
    }
}
