//! Declarations of variables. PTX ISA, sections 5.1 to 5.4.

use super::{
    ast::{Position, Space, Type, Variable},
    parser::{Parsed, Parser, fail_at},
};

/// Bytes that one variable may have: more than any device.
const MAXIMUM_BYTES: u64 = 1 << 48;

/// What the names of a declaration have in common, and the dimensions of one of them.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    /// `.align`, if there is one.
    alignment: Option<u32>,
    /// Components of a vector type, 1 for a scalar.
    pub(super) components: u64,
    pub(super) ty: Type,
    /// Array dimensions, outermost first; 0 for `[]`.
    pub(super) dimensions: Vec<u64>,
}

impl Parser<'_> {
    /// A declaration from its state space to its `;`.
    pub(super) fn variables(&mut self, space: Space, is_extern: bool) -> Parsed<Vec<Variable>> {
        self.advance()?;
        let common = self.variable_shape()?;
        let mut variables = Vec::new();
        loop {
            let names = self.declared_names("the name of a variable")?;
            let mut shape = common.clone();
            self.dimensions(&mut shape)?;
            let mut initial = None;
            if self.is_at("=") {
                if is_extern || !matches!(space, Space::Const | Space::Global) {
                    return self.fail("only `.const` and `.global` variables have initial values");
                }
                if names.len() != 1 {
                    return self.fail("parameterised names have no initial values");
                }
                self.advance()?;
                initial = Some(self.initial_value(&mut shape)?);
            }
            for name in names {
                variables.push(self.variable(space, is_extern, &shape, name, initial.clone())?);
            }
            if !self.accept(",")? {
                self.expect(";", "`[`, `=`, `,` or `;`")?;
                return Ok(variables);
            }
        }
    }

    /// Alignment, vector width and type.
    pub(super) fn variable_shape(&mut self) -> Parsed<Shape> {
        let mut alignment = None;
        let mut components = 1;
        loop {
            let Some(name) = self.directive() else {
                return self.unexpected("a type");
            };
            match name {
                "align" => {
                    self.advance()?;
                    alignment = Some(self.alignment()?);
                }
                "attribute" => self.attribute()?,
                "v2" | "v4" => {
                    self.advance()?;
                    components = if name == "v2" { 2 } else { 4 };
                }
                _ => {
                    let Some(ty) = Type::from_name(name) else {
                        return self.unexpected("a type");
                    };
                    if ty == Type::Pred {
                        return self.fail("a predicate lives in a register only");
                    }
                    if components * u64::from(ty.bits()) > 128 {
                        return self.fail("a vector has at most 128 bits");
                    }
                    self.advance()?;
                    return Ok(Shape {
                        alignment,
                        components,
                        ty,
                        dimensions: Vec::new(),
                    });
                }
            }
        }
    }

    pub(super) fn alignment(&mut self) -> Parsed<u32> {
        let position = self.current.position;
        let alignment = self.positive("an alignment")?;
        if !alignment.is_power_of_two() {
            return fail_at(
                position,
                format!("alignment {alignment} is not a power of two"),
            );
        }
        Ok(alignment)
    }

    /// `.attribute(.managed)` or `.attribute(.unified(a, b))`: who else may see the variable.
    fn attribute(&mut self) -> Parsed<()> {
        self.advance()?;
        self.expect("(", "`(`")?;
        loop {
            if self.accept_directive("unified")? {
                self.expect("(", "`(`")?;
                self.integer("an identifier")?;
                self.expect(",", "`,`")?;
                self.integer("an identifier")?;
                self.expect(")", "`)`")?;
            } else if !self.accept_directive("managed")? {
                return self.unexpected("`.managed` or `.unified`");
            }
            if !self.accept(",")? {
                return self.expect(")", "`,` or `)`");
            }
        }
    }

    /// Array dimensions after a name.
    pub(super) fn dimensions(&mut self, shape: &mut Shape) -> Parsed<()> {
        while self.accept("[")? {
            let is_first = shape.dimensions.is_empty();
            if is_first && self.accept("]")? {
                shape.dimensions.push(0);
                continue;
            }
            let position = self.current.position;
            let size = self.integer_constant()?;
            if size == 0 {
                return fail_at(position, "an array has at least one element");
            }
            shape.dimensions.push(size);
            if shape.bytes().is_none_or(|bytes| bytes > MAXIMUM_BYTES) {
                return fail_at(position, "this array is larger than any memory");
            }
            self.expect("]", "`]`")?;
        }
        Ok(())
    }

    /// A variable of a declared shape.
    pub(super) fn variable(
        &self,
        space: Space,
        is_extern: bool,
        shape: &Shape,
        (name, position): (String, Position),
        initial: Option<Vec<u8>>,
    ) -> Parsed<Variable> {
        let elements = shape.elements();
        let may_be_open = is_extern || space == Space::Param;
        if elements == 0 && !may_be_open {
            return fail_at(position, format!("the size of `{name}` is missing"));
        }
        let natural = shape.components as u32 * shape.ty.bytes();
        Ok(Variable {
            space,
            is_extern,
            alignment: shape.alignment.unwrap_or(natural),
            ty: shape.ty,
            elements,
            name,
            position,
            initial,
        })
    }
}

impl Shape {
    /// Elements of the fundamental type, 0 for an open array. Within `u64`: `dimensions` checks.
    fn elements(&self) -> u64 {
        self.components * self.dimensions.iter().product::<u64>()
    }

    /// Bytes of the array, of one row where the first dimension is open; `None` on overflow.
    fn bytes(&self) -> Option<u64> {
        let row = self.components * u64::from(self.ty.bytes());
        let sizes = self.dimensions.iter().map(|&size| size.max(1));
        sizes.into_iter().try_fold(row, u64::checked_mul)
    }
}
