//! GPTQ and AWQ: codes in 32-bit words by columns, so that inputs lie one after another.

use super::super::CheckpointError;
use super::super::fields::Fields;
use super::super::weights::Weights;
use super::by_rows::group_index;
use super::code_table::{CodeTable, Order};
use super::grouped::{Grouped, Groups, Zeros};
use super::scale_table::ScaleTable;
use super::scheme::CodeKind;

/// The layout of all matrices of a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in super::super) struct Layout {
    writer: &'static str,
    bits: u32,
    /// Columns of a group; `None` for all.
    group: Option<usize>,
    is_awq: bool,
    /// Whether zero points are stored; otherwise they are the middle.
    has_zeros: bool,
    /// What is added to stored zero points.
    add: u32,
}

/// GPTQ, as AutoGPTQ and GPTQModel write it.
///
/// # Errors
/// `Field` and `MissingField`.
pub(super) fn gptq(config: Fields) -> Result<Layout, CheckpointError> {
    // Newer versions have the second name.
    let field = match config.get("checkpoint_format") {
        None => "format",
        Some(_) => "checkpoint_format",
    };
    let add = match config.text(field)? {
        // The first version stores zero points less one.
        None | Some("gptq") => 1,
        Some("gptq_v2") => 0,
        Some(_) => return Err(config.error(field, "\"gptq\" or \"gptq_v2\"")),
    };
    layout(config, "GPTQ", &[2, 3, 4, 8], add)
}

/// AWQ in the layout of its `gemm` kernel.
///
/// # Errors
/// `Field` and `MissingField`.
pub(super) fn awq(config: Fields) -> Result<Layout, CheckpointError> {
    let version = config.text("version")?.unwrap_or("gemm");
    if !version.eq_ignore_ascii_case("gemm") {
        return Err(config.error("version", "\"gemm\", the supported layout"));
    }
    layout(config, "AWQ", &[4], 0)
}

/// The integers of AutoRound, as GPTQ or AWQ has them; `add` to zero points.
///
/// # Errors
/// `Field` and `MissingField`.
pub(super) fn auto_round(
    config: Fields,
    writer: &'static str,
    add: u32,
) -> Result<Layout, CheckpointError> {
    let known: &[usize] = if writer == "AWQ" { &[4] } else { &[2, 3, 4, 8] };
    layout(config, writer, known, add)
}

fn layout(
    config: Fields,
    writer: &'static str,
    known: &[usize],
    add: u32,
) -> Result<Layout, CheckpointError> {
    let bits = config.required_size("bits", 8)?;
    if !known.contains(&bits) {
        let known: Vec<String> = known.iter().map(ToString::to_string).collect();
        return Err(config.error("bits", known.join(", ")));
    }
    let group = match config.get("group_size").and_then(serde_json::Value::as_i64) {
        Some(-1) => None,
        _ => Some(config.required_size("group_size", 1 << 20)?),
    };
    Ok(Layout {
        writer,
        bits: bits as u32,
        group,
        is_awq: writer == "AWQ",
        has_zeros: config.flag("zero_point", true)?,
        add,
    })
}

impl Layout {
    /// The matrix of a module; `None` if it is not stored in codes.
    ///
    /// # Errors
    /// `MissingTensor`, `Shape`, `PackedDtype`, `PackedFormat`.
    pub(super) fn find(
        &self,
        weights: &Weights,
        module: &str,
        [rows, cols]: [usize; 2],
    ) -> Result<Option<Grouped>, CheckpointError> {
        let name = |part: &str| format!("{module}.{part}");
        let Some(codes) = weights.place(&name("qweight")) else {
            return Ok(None);
        };
        let bits = self.bits as usize;
        let width = self.group.unwrap_or(cols).max(1);
        let count = cols.div_ceil(width);
        let row_words = (rows * bits).div_ceil(32);
        let codes = match self.is_awq {
            true => {
                let order = Order::Awq { words: row_words };
                CodeTable::of_words(codes, self.bits, order, [cols, row_words])?
            }
            false => {
                let order = Order::Strided { lines: rows };
                let words = (cols * bits).div_ceil(32);
                CodeTable::of_words(codes, self.bits, order, [words, rows])?
            }
        };
        let scales = weights.required(&name("scales"), &[count, rows])?;
        let scales = ScaleTable::transposed(scales, [count, rows])?;
        let groups = match weights.place(&name("g_idx")) {
            None => Groups::Width(width),
            Some(index) => group_index(weights, module, index, cols, width)?,
        };
        Ok(Some(Grouped {
            layout: format!("{} int{bits}", self.writer),
            rows,
            cols,
            kind: CodeKind::Int(self.bits),
            values: None,
            codes,
            scales,
            groups,
            factor: None,
            zeros: self.zeros(weights, &name("qzeros"), [count, rows], row_words)?,
            is_rounded: false,
        }))
    }

    fn zeros(
        &self,
        weights: &Weights,
        name: &str,
        [groups, rows]: [usize; 2],
        row_words: usize,
    ) -> Result<Zeros, CheckpointError> {
        if !self.has_zeros {
            return Ok(Zeros::Middle);
        }
        let place = weights.required(name, &[groups, row_words])?;
        let order = match self.is_awq {
            true => Order::Awq { words: row_words },
            false => Order::Stream {
                line_bytes: row_words * 4,
            },
        };
        let table = CodeTable::of_words(place, self.bits, order, [groups, row_words])?;
        // Symmetric matrices have the middle in every place.
        let middle = (1_u32 << (self.bits - 1)).wrapping_sub(self.add);
        let fills = 32 % self.bits == 0 && (rows * self.bits as usize).is_multiple_of(32);
        let repeated =
            (0..32 / self.bits).fold(0, |word, place| word | middle << (place * self.bits));
        if fills && table.is_all(repeated) {
            return Ok(Zeros::Middle);
        }
        Ok(Zeros::Stored {
            table,
            // AWQ's lines are rows of the matrix, GPTQ's are groups.
            by_groups: !self.is_awq,
            rows: 1,
            add: self.add,
        })
    }
}
