//! The opcodes that can be lowered. One that is not in the list is unknown, whatever the tables of
//! the other modules say, so that tests can ask for something of each.

use std::sync::LazyLock;

/// Every opcode that the emulator knows, in the order of the alphabet.
const INSTRUCTIONS: &str = "\
    abs activemask add addc and atom bar barrier bfe bfi bfind bmsk bra brev clz cnot \
    copysign cos cp cvt cvta div dp2a dp4a elect ex2 exit fence fma fns griddepcontrol ld \
    ldmatrix ldu lg2 lop3 mad mad24 madc match max membar min mma mov movmatrix mul mul24 \
    nanosleep neg not or popc prefetch prefetchu prmt rcp red redux rem ret rsqrt sad selp \
    set setp shf shfl shl shr sin slct sqrt st stmatrix sub subc szext tanh testp trap vote \
    xor";

/// Every opcode that the emulator knows.
pub fn instructions() -> impl Iterator<Item = &'static str> {
    INSTRUCTIONS.split(' ')
}

/// Whether an opcode is one of them.
pub(super) fn is_known(opcode: &str) -> bool {
    static SORTED: LazyLock<Vec<&str>> = LazyLock::new(|| instructions().collect());
    SORTED.binary_search(&opcode).is_ok()
}
