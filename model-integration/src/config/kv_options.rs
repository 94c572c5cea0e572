//! What keys and values have besides their formats.

use mxlab_kernels::format::{FormatError, Hadamard, Rotation};
use serde::{Deserialize, Serialize};

/// How keys and values that have a format are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KvOptions {
    /// Positions at the beginning of each sequence that stay in the model's type.
    #[serde(skip_serializing_if = "is_zero")]
    pub first: usize,
    /// Keys that a query sees last, its own included, which it sees in the model's type.
    #[serde(skip_serializing_if = "is_zero")]
    pub key_recent: usize,
    /// The rotation of each head of queries and keys, after the rotary one. Their products stay.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_rotation: Option<Rotation>,
}

fn is_zero(positions: &usize) -> bool {
    *positions == 0
}

impl KvOptions {
    /// Whether keys and values have nothing but their formats.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// In words, each after a semicolon; empty if there are none.
    pub(super) fn describe(&self) -> String {
        let rotation = match self.key_rotation {
            None => String::new(),
            Some(rotation) => format!("; K rotated by {rotation}"),
        };
        let first = match self.first {
            0 => String::new(),
            1 => "; KV exact at the first position".to_owned(),
            first => format!("; KV exact at the first {first} positions"),
        };
        let recent = match self.key_recent {
            0 => String::new(),
            1 => "; K exact at the query's position".to_owned(),
            recent => format!("; K exact at the last {recent} positions"),
        };
        rotation + &first + &recent
    }

    /// Checks that a model quantises some of its positions, and that its heads can be rotated.
    ///
    /// # Errors
    /// [`KvMisfit`].
    pub fn check(&self, positions: usize, head_dim: usize) -> Result<(), KvMisfit> {
        for (option, exact) in [("kv_first", self.first), ("key_recent", self.key_recent)] {
            if exact >= positions {
                return Err(KvMisfit::Positions {
                    option,
                    exact,
                    positions,
                });
            }
        }
        self.rotation_of_keys(head_dim).map(|_| ())
    }

    /// The rotation of heads of `head_dim` features, if there is one.
    ///
    /// # Errors
    /// [`KvMisfit::Rotation`].
    pub fn rotation_of_keys(&self, head_dim: usize) -> Result<Option<Hadamard>, KvMisfit> {
        let of_heads = |rotation: Rotation| {
            let reason = |reason| KvMisfit::Rotation { rotation, reason };
            rotation.of_rows(head_dim).map_err(reason)
        };
        self.key_rotation.map(of_heads).transpose()
    }
}

/// Options of keys and values that do not fit a model.
#[derive(Debug, PartialEq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum KvMisfit {
    #[error(
        "`{option}`: {exact} positions are all that the model has, {positions}; expected fewer, \
         or no formats of keys and values"
    )]
    Positions {
        option: &'static str,
        exact: usize,
        positions: usize,
    },
    #[error("`key_rotation`: {rotation}: of a head, {reason}")]
    Rotation {
        rotation: Rotation,
        reason: FormatError,
    },
}
