//! Immediates in every notation and constant expressions, with values worked out by hand.

use ptx_emulator::syntax::ast::{Immediate, Operand};

use super::last_operand;

const TOP: u64 = 1 << 63;
const fn minus(value: u64) -> u64 {
    value.wrapping_neg()
}

pub(super) const INTEGERS: [(&str, u64); 78] = [
    // Notations.
    ("0", 0),
    ("00", 0),
    ("0U", 0),
    ("7", 7),
    ("42U", 42),
    ("017", 15),
    ("0777U", 511),
    ("0x1f", 31),
    ("0XABCDEFU", 11_259_375),
    ("0b1011", 11),
    ("0B11U", 3),
    ("9223372036854775807", TOP - 1),
    ("9223372036854775808", TOP),
    ("18446744073709551615", u64::MAX),
    ("0xFFFFFFFFFFFFFFFF", u64::MAX),
    ("01777777777777777777777", u64::MAX),
    ("-1", u64::MAX),
    ("-0x10", minus(16)),
    ("-9223372036854775808", TOP),
    ("WARP_SZ", 32),
    // Unary operators.
    ("+5", 5),
    ("- -5", 5),
    ("- - -5", minus(5)),
    ("~5", minus(6)),
    ("~~5", 5),
    ("!5", 0),
    ("!0", 1),
    ("!!7", 1),
    ("-(5U)>>1", (TOP - 1) - 2),
    ("(~0)>>1", TOP - 1),
    ("-(!0)>>1", u64::MAX),
    // Precedence and associativity.
    ("(1<<4)+3", 19),
    ("1<<4+3", 128),
    ("1+2*3", 7),
    ("(1+2)*3", 9),
    ("1-2-3", minus(4)),
    ("100/10/5", 2),
    ("1|2^3&1", 3),
    ("1==1==0", 0),
    ("3>2>1", 0),
    ("1<2<3", 1),
    ("2|1==1", 3),
    ("0&&0||1", 1),
    ("1?2:3", 2),
    ("0?1:0?2:3", 3),
    ("1?0?2:3:4", 3),
    ("2?3:4?5:6", 3),
    ("WARP_SZ*4-1", 127),
    // Signed and unsigned.
    ("-7/2", minus(3)),
    ("-7/2U", TOP - 4),
    ("7 % 4", 3),
    ("7 %-4", 7),
    ("-1 % 5U", 0),
    ("-1>>1", u64::MAX),
    ("((.u64)-1)>>1", TOP - 1),
    ("(.s64)((.u64)-1)>>1", u64::MAX),
    ("0x8000000000000000>>1", TOP >> 1),
    ("-1 >> 1U", u64::MAX),
    ("-1<1U", 0),
    ("-1<0", 1),
    ("0-1>1U", 1),
    ("-1==18446744073709551615", 1),
    ("((0?-1:1U)-2)>>1", TOP - 1),
    ("((0?-2:1)-3)>>1", u64::MAX),
    ("(-8&-1)>>1", minus(4)),
    ("(-4|0)>>1", minus(2)),
    ("(-4^0)>>1", minus(2)),
    ("(2==2U)-2>>1", u64::MAX),
    // Ends of the range.
    ("9223372036854775807+1", TOP),
    ("-9223372036854775807-1>>1", 0xC000_0000_0000_0000),
    ("(1<<63)>>63", u64::MAX),
    ("1<<64", 1),
    ("1<<70", 64),
    ("1>>70", 0),
    // Comparisons of floating-point values are integers.
    ("1.5>1.0", 1),
    ("-1.5>=1.0", 0),
    ("1.0==1.0", 1),
    ("3!=3", 0),
];

#[test]
fn integers() {
    for (text, value) in INTEGERS {
        let operand = last_operand(&format!("mov.b64 a, {text};"));
        assert_eq!(
            operand,
            Operand::Immediate(Immediate::Integer(value)),
            "{text}"
        );
    }
}

#[test]
fn floating_point() {
    let single = Immediate::Single;
    let double = Immediate::Double;
    for (text, value) in [
        ("0f3F800000", single(0x3F80_0000)),
        ("0F3f800000", single(0x3F80_0000)),
        ("0fFFC00001", single(0xFFC0_0001)),
        ("0d3FF0000000000000", double(0x3FF0_0000_0000_0000)),
        ("0D7ff4000000000001", double(0x7FF4_0000_0000_0001)),
        ("1.0", double(0x3FF0_0000_0000_0000)),
        ("1.", double(0x3FF0_0000_0000_0000)),
        (".5", double(0x3FE0_0000_0000_0000)),
        ("00.5", double(0x3FE0_0000_0000_0000)),
        ("08.5", double(0x4021_0000_0000_0000)),
        ("-0.0", double(0x8000_0000_0000_0000)),
        ("1e3", double(0x408F_4000_0000_0000)),
        ("1.5E+3", double(0x4097_7000_0000_0000)),
        ("25e-2", double(0x3FD0_0000_0000_0000)),
        (".5e1", double(0x4014_0000_0000_0000)),
        ("-1.0-2.0*3.0", double(0xC01C_0000_0000_0000)),
        ("-(1.0/4.0)", double(0xBFD0_0000_0000_0000)),
        ("1?1.0:2.0", double(0x3FF0_0000_0000_0000)),
    ] {
        let operand = last_operand(&format!("mov.f64 a, {text};"));
        assert_eq!(operand, Operand::Immediate(value), "{text}");
    }
}

#[test]
fn offsets_of_addresses() {
    for (text, base, offset) in [
        ("[a]", Some("a"), 0),
        ("[a+4]", Some("a"), 4),
        ("[a-4]", Some("a"), -4),
        ("[ a + -4 ]", Some("a"), -4),
        ("[%rd1+4+8]", Some("%rd1"), 12),
        ("[a-4+2]", Some("a"), -2),
        ("[a+4*2]", Some("a"), 8),
        ("[a+(1<<4)]", Some("a"), 16),
        ("[v.x+1]", Some("v.x"), 1),
        ("[1234]", None, 1234),
        ("[0x10+4]", None, 20),
        ("[-8]", None, -8),
    ] {
        let expected = Operand::Address {
            base: base.map(str::to_owned),
            offset,
        };
        assert_eq!(
            last_operand(&format!("ld.b32 r, {text};")),
            expected,
            "{text}"
        );
    }
}
