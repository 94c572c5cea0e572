//! Initial values of variables, as bytes. PTX ISA 5.4.4.

use super::{
    ast::{Immediate, Type},
    lexer::Token,
    parser::{Parsed, Parser, fail_at},
    variable::Shape,
};

/// Bytes of all initialised variables of a module, since `{}` after a large array costs the text
/// nothing.
const MAXIMUM_INITIAL_BYTES: u64 = 1 << 28;

impl Parser<'_> {
    /// What follows `=`. Sets the first dimension where it is open.
    pub(super) fn initial_value(&mut self, shape: &mut Shape) -> Parsed<Vec<u8>> {
        if matches!(
            shape.ty,
            Type::F16 | Type::F16x2 | Type::Bf16 | Type::Bf16x2 | Type::B128
        ) {
            return self.fail(format!(
                "`.{}` variables have no initial values: use a `.b` type",
                shape.ty.name()
            ));
        }
        let mut sizes = shape.dimensions.clone();
        if shape.components > 1 {
            sizes.push(shape.components);
        }
        let mut bytes = Vec::new();
        self.initial_values(shape.ty, &sizes, &mut bytes)?;
        self.initial_bytes += bytes.len() as u64;
        if let Some(first @ 0) = shape.dimensions.first_mut() {
            let row: u64 = sizes[1..].iter().product::<u64>() * u64::from(shape.ty.bytes());
            *first = bytes.len() as u64 / row;
            if bytes.is_empty() {
                return self.fail("an array has at least one element");
            }
        }
        Ok(bytes)
    }

    /// Appends a value with the dimensions `sizes`; what its braces leave out is zero.
    fn initial_values(&mut self, ty: Type, sizes: &[u64], bytes: &mut Vec<u8>) -> Parsed<()> {
        let Some((&size, inner)) = sizes.split_first() else {
            return self.initial_scalar(ty, bytes);
        };
        let start = bytes.len();
        self.expect("{", "`{`: an array has a list of values in braces")?;
        let mut count = 0;
        while !self.is_at("}") {
            if size > 0 && count == size {
                return self.fail(format!("more values than the {size} of the array"));
            }
            self.nested(|parser| parser.initial_values(ty, inner, bytes))?;
            count += 1;
            if !self.accept(",")? {
                break;
            }
            if self.is_at("}") {
                return self.unexpected("a value");
            }
        }
        if !self.is_at("}") {
            return self.unexpected("`,` or `}`");
        }
        if size > 0 {
            let row = inner.iter().product::<u64>() * u64::from(ty.bytes());
            let end = start as u64 + size * row;
            if self.initial_bytes + end > MAXIMUM_INITIAL_BYTES {
                return self.fail(format!(
                    "more than {MAXIMUM_INITIAL_BYTES} bytes of initialised variables"
                ));
            }
            bytes.resize(end as usize, 0);
        }
        self.advance()?;
        Ok(())
    }

    fn initial_scalar(&mut self, ty: Type, bytes: &mut Vec<u8>) -> Parsed<()> {
        let position = self.current.position;
        match self.current.token {
            Token::Word(name) if name != "WARP_SZ" => {
                return self.fail(format!(
                    "an address as initial value is not supported: `{}`",
                    super::number::shorten(name)
                ));
            }
            Token::Mark("{") => return self.unexpected("one value"),
            _ => {}
        }
        let is_float = matches!(ty, Type::F32 | Type::F64);
        let is_typeless = matches!(ty, Type::B32 | Type::B64);
        let bits = match (self.constant()?, ty.bytes()) {
            (Immediate::Integer(value), _) if !is_float => value,
            (Immediate::Single(bits), 4) if is_float || is_typeless => u64::from(bits),
            (Immediate::Double(bits), 8) if is_float || is_typeless => bits,
            (Immediate::Double(bits), 4) if is_float || is_typeless => {
                let (wide, narrow) = (f64::from_bits(bits), f64::from_bits(bits) as f32);
                if wide.is_finite() && narrow.is_infinite() {
                    return fail_at(position, "this value is beyond single precision");
                }
                u64::from(narrow.to_bits())
            }
            (value, _) => {
                let kind = match value {
                    Immediate::Integer(_) => "an integer",
                    Immediate::Single(_) => "a single-precision value",
                    Immediate::Double(_) => "a floating-point value",
                };
                let message = format!("{kind} cannot initialise `.{}`", ty.name());
                return fail_at(position, message);
            }
        };
        bytes.extend_from_slice(&bits.to_le_bytes()[..ty.bytes() as usize]);
        Ok(())
    }
}
