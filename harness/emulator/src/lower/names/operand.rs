//! The registers and places that operands are.

use super::Names;
use crate::alu::{LowerError, Operands};
use crate::lower::class_of;
use crate::memory::{CONST_WINDOW, LOCAL_WINDOW, PARAM_WINDOW, SHARED_WINDOW};
use crate::program::{self, Address, Special};
use crate::registers::{Class, Register};
use crate::syntax::ast::{Immediate, Operand, Type};

impl Names {
    /// The address operand of an instruction on `space`.
    pub fn address(
        &mut self,
        base: Option<&str>,
        offset: i64,
        space: program::Space,
    ) -> Result<Address, String> {
        let Some(base) = base else {
            return Ok(Address {
                base: None,
                offset: offset as u64,
            });
        };
        if let Some((register, _)) = self.register(base) {
            return match register.class {
                Class::Predicate => Err(format!("`{base}` is a predicate, not an address")),
                Class::Word | Class::Double => Ok(Address {
                    base: Some(register),
                    offset: offset as u64,
                }),
            };
        }
        match self.variable(base) {
            Some(place) if place.space == space => Ok(Address {
                base: None,
                offset: place.offset.wrapping_add(offset as u64),
            }),
            Some(place) => Err(format!(
                "`{base}` is in {:?} memory, the instruction reaches {space:?}",
                place.space
            )),
            None => Err(format!("`{base}` is not declared")),
        }
    }

    fn special(&mut self, special: Special) -> Register {
        let known = self.specials.iter().find(|(_, known)| *known == special);
        if let Some((register, _)) = known {
            return *register;
        }
        let register = self.fresh(Class::Word, "special");
        self.specials.push((register, special));
        register
    }

    fn resolve(&mut self, operand: &Operand, ty: Type) -> Result<Register, String> {
        let class = class_of(ty).ok_or("128-bit operands are not supported")?;
        match operand {
            Operand::Name(name) => {
                if let Some((register, declared)) = self.register(name) {
                    return if register.class == class {
                        Ok(register)
                    } else {
                        Err(format!(
                            "`{name}` is {declared:?}, the instruction takes {ty:?}"
                        ))
                    };
                }
                if let Some(special) = special(name) {
                    let register = self.special(special);
                    return if class == Class::Word {
                        Ok(register)
                    } else {
                        Err(format!(
                            "`{name}` has 32 bits, the instruction takes {ty:?}"
                        ))
                    };
                }
                match self.variable(name) {
                    Some(place) if class != Class::Predicate => {
                        Ok(self.constant(class, place.offset))
                    }
                    _ => Err(format!("`{name}` is not declared")),
                }
            }
            Operand::Offset { base, offset } => match self.variable(base) {
                Some(place) if class != Class::Predicate => {
                    Ok(self.constant(class, place.offset.wrapping_add(*offset as u64)))
                }
                _ => Err(format!(
                    "`{base}` is not a variable, so nothing is added to it"
                )),
            },
            Operand::Immediate(_) if is_half(ty) => Err(format!(
                "there are no constants of type {ty:?}: a register is expected, which `mov` fills"
            )),
            Operand::Immediate(immediate) => Ok(self.constant(class, bits(*immediate, ty)?)),
            _ => Err("a register or a constant is expected".to_owned()),
        }
    }

    /// What a `cvta` of this space adds to an address.
    pub fn window(space: program::Space) -> u64 {
        match space {
            program::Space::Shared => SHARED_WINDOW,
            program::Space::Local => LOCAL_WINDOW,
            program::Space::Param => PARAM_WINDOW,
            program::Space::Const => CONST_WINDOW,
            program::Space::Global | program::Space::Generic => 0,
        }
    }
}

/// Types whose instructions take registers only, as ptxas has it.
const fn is_half(ty: Type) -> bool {
    matches!(ty, Type::F16 | Type::F16x2 | Type::Bf16 | Type::Bf16x2)
}

impl Operands for Names {
    fn source(&mut self, operand: &Operand, ty: Type) -> Result<Register, LowerError> {
        self.resolve(operand, ty)
            .map_err(|reason| LowerError::Operand {
                instruction: format!("{operand:?}"),
                number: 0,
                reason,
            })
    }

    fn destination(&mut self, operand: &Operand, ty: Type) -> Result<Register, LowerError> {
        let wrong = |reason: String| LowerError::Operand {
            instruction: format!("{operand:?}"),
            number: 0,
            reason,
        };
        match operand {
            Operand::Sink => {
                let class = class_of(ty);
                let class =
                    class.ok_or_else(|| wrong("128-bit operands are not supported".into()))?;
                Ok(self.fresh(class, "_"))
            }
            Operand::Name(name) if self.register(name).is_some() => self.source(operand, ty),
            _ => Err(wrong("a register is expected".to_owned())),
        }
    }

    fn width(&self, operand: &Operand) -> Option<u32> {
        match operand {
            Operand::Name(name) => self.register(name).map(|(_, ty)| ty.bits()),
            _ => None,
        }
    }

    fn carry(&mut self) -> Register {
        match self.carry {
            Some(register) => register,
            None => {
                let register = self.fresh(Class::Predicate, "carry");
                self.carry = Some(register);
                register
            }
        }
    }
}

/// The bits of a constant as a value of a type.
fn bits(immediate: Immediate, ty: Type) -> Result<u64, String> {
    let mask = if ty.bits() == 64 {
        u64::MAX
    } else {
        (1 << ty.bits()) - 1
    };
    match (immediate, ty) {
        (Immediate::Integer(value), Type::F32 | Type::F64 | Type::F16 | Type::Bf16) => Err(
            format!("{value} is an integer, the instruction takes {ty:?}"),
        ),
        (Immediate::Integer(value), _) => Ok(value & mask),
        (Immediate::Single(bits), Type::F64) => Ok(f64::from(f32::from_bits(bits)).to_bits()),
        (Immediate::Single(bits), _) if ty.bits() == 32 => Ok(u64::from(bits)),
        (Immediate::Double(bits), Type::F32) => {
            Ok(u64::from((f64::from_bits(bits) as f32).to_bits()))
        }
        (Immediate::Double(bits), _) if ty.bits() == 64 => Ok(bits),
        _ => Err(format!("a floating-point constant is no {ty:?}")),
    }
}

/// The special register of a name.
fn special(name: &str) -> Option<Special> {
    let axis = |suffix: &str| ["x", "y", "z"].iter().position(|axis| *axis == suffix);
    if let Some((base, suffix)) = name.split_once('.') {
        let axis = axis(suffix)?;
        return Some(match base {
            "%tid" => Special::Tid(axis),
            "%ntid" => Special::NTid(axis),
            "%ctaid" => Special::CtaId(axis),
            "%nctaid" => Special::NCtaId(axis),
            _ => return None,
        });
    }
    Some(match name {
        "%laneid" => Special::LaneId,
        "%warpid" => Special::WarpId,
        "%nwarpid" => Special::NWarpId,
        "%lanemask_eq" => Special::LaneMaskEq,
        "%lanemask_lt" => Special::LaneMaskLt,
        "%lanemask_le" => Special::LaneMaskLe,
        "%lanemask_gt" => Special::LaneMaskGt,
        "%lanemask_ge" => Special::LaneMaskGe,
        "%dynamic_smem_size" => Special::DynamicSharedBytes,
        "%total_smem_size" => Special::TotalSharedBytes,
        _ => return None,
    })
}
