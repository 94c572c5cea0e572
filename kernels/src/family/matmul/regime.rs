//! Regimes of token counts, and the thread blocks for them.

/// The number of tokens that a kernel is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Regime {
    /// At most 8: decode.
    Gemv8,
    /// At most 16.
    Gemv16,
    /// At most 64: a batch.
    Tile64,
    /// At most 128, and more where the next regime has no kernel.
    Tile128,
    /// Any number: prefill. Not for scales that are applied to sums.
    Tile256,
    /// Any number: prefill with operands of 8 bits, scales applied to sums.
    Tile192,
}

/// The shape of a thread block of a regime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Warps.
    pub warps: u32,
    /// Warps with different rows; other warps differ in tokens.
    pub row_warps: u32,
    /// Tiles of 16 rows of a warp.
    pub row_tiles: u32,
    /// Tiles of 8 tokens of a warp.
    pub token_tiles: u32,
    /// Stages of shared memory; 0 if operands come straight from memory.
    pub stages: u32,
}

impl Shape {
    /// Rows of a thread block.
    pub const fn rows(&self) -> u32 {
        16 * self.row_tiles * self.row_warps
    }

    /// Tokens of a thread block.
    pub const fn tokens(&self) -> u32 {
        let token_warps = if self.stages == 0 {
            1
        } else {
            self.warps / self.row_warps
        };
        8 * self.token_tiles * token_warps
    }
}

impl Regime {
    /// Every regime there is.
    pub const ALL: [Self; 6] = [
        Self::Gemv8,
        Self::Gemv16,
        Self::Tile64,
        Self::Tile128,
        Self::Tile256,
        Self::Tile192,
    ];

    /// What a thread block has.
    pub const fn shape(self) -> Shape {
        let gemv = Shape {
            warps: 8,
            row_warps: 1,
            row_tiles: 1,
            token_tiles: 1,
            stages: 0,
        };
        let token_tiles = match self {
            Self::Gemv8 => return gemv,
            Self::Gemv16 => 2,
            Self::Tile192 => 6,
            Self::Tile64 | Self::Tile128 | Self::Tile256 => 8,
        };
        let (warps, row_warps, row_tiles, stages) = match self {
            Self::Gemv8 | Self::Gemv16 => (8, 1, 1, 0),
            Self::Tile64 => (4, 4, 2, 4),
            Self::Tile128 => (8, 4, 2, 3),
            Self::Tile256 | Self::Tile192 => (8, 2, 4, 3),
        };
        Shape {
            warps,
            row_warps,
            row_tiles,
            token_tiles,
            stages,
        }
    }

    /// Tokens of a thread block.
    pub const fn tokens(self) -> u32 {
        self.shape().tokens()
    }

    /// Whether chunks can be split over thread blocks.
    pub const fn splits(self) -> bool {
        self.shape().stages > 0
    }

    /// The name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gemv8 => "gemv8",
            Self::Gemv16 => "gemv16",
            Self::Tile64 => "tile64",
            Self::Tile128 => "tile128",
            Self::Tile256 => "tile256",
            Self::Tile192 => "tile192",
        }
    }

    pub(super) const fn template(self) -> &'static str {
        match self {
            Self::Gemv8 | Self::Gemv16 => "matmul/gemv.ptx.j2",
            Self::Tile64 | Self::Tile128 | Self::Tile256 | Self::Tile192 => "matmul/tile.ptx.j2",
        }
    }
}
