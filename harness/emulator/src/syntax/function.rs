//! Headers of kernels and functions. PTX ISA, sections 11.1 to 11.4.

use super::{
    ast::{Function, Space, Variable},
    parser::{Parsed, Parser},
};

impl Parser<'_> {
    /// `.entry` and what follows it.
    pub(super) fn entry(&mut self) -> Parsed<Function> {
        self.advance()?;
        self.named_function(true, Vec::new())
    }

    /// `.func` and what follows it.
    pub(super) fn func(&mut self) -> Parsed<Function> {
        self.advance()?;
        let returns = self.parameters()?;
        self.named_function(false, returns)
    }

    fn named_function(&mut self, is_entry: bool, returns: Vec<Variable>) -> Parsed<Function> {
        let (name, position) = self.name(match is_entry {
            true => "the name of a kernel",
            false => "the name of a function",
        })?;
        let mut function = Function {
            name,
            position,
            is_entry,
            returns,
            parameters: self.parameters()?,
            required_threads: None,
            maximum_threads: None,
            body: None,
        };
        while self.tuning(&mut function)? {}
        if !self.accept(";")? {
            if !self.is_at("{") {
                return self.unexpected("a performance directive, `{` or `;`");
            }
            function.body = Some(self.block()?);
        }
        Ok(function)
    }

    /// A list of parameters in parentheses, or nothing.
    fn parameters(&mut self) -> Parsed<Vec<Variable>> {
        let mut parameters = Vec::new();
        if !self.accept("(")? || self.accept(")")? {
            return Ok(parameters);
        }
        loop {
            if self.directive() == Some("reg") {
                return self.fail("parameters in registers are not supported: use `.param`");
            }
            if !self.accept_directive("param")? {
                return self.unexpected("`.param`");
            }
            parameters.push(self.parameter()?);
            if !self.accept(",")? {
                self.expect(")", "`,` or `)`")?;
                return Ok(parameters);
            }
        }
    }

    fn parameter(&mut self) -> Parsed<Variable> {
        let mut shape = self.variable_shape()?;
        if self.accept_directive("ptr")? {
            // What the pointer points to: a promise of the caller that nothing here relies on.
            if self
                .directive()
                .is_some_and(|name| Space::from_name(name).is_some())
            {
                self.advance()?;
            }
            if self.accept_directive("align")? {
                self.alignment()?;
            }
        }
        let (name, position) = self.name("the name of a parameter")?;
        self.dimensions(&mut shape)?;
        self.variable(Space::Param, false, &shape, (name, position), None)
    }

    /// Passes a directive between header and body; only the two that bound the threads of a block
    /// mean anything to a program that is interpreted. Whether there was one.
    fn tuning(&mut self, function: &mut Function) -> Parsed<bool> {
        match self.directive() {
            Some("reqntid") => function.required_threads = Some(self.extents()?),
            Some("maxntid") => function.maximum_threads = Some(self.extents()?),
            Some("reqnctapercluster") => drop(self.extents()?),
            Some(
                "maxnreg"
                | "minnctapersm"
                | "maxnctapersm"
                | "maxclusterrank"
                | "abi_preserve"
                | "abi_preserve_control",
            ) => {
                self.advance()?;
                self.integer("a number")?;
            }
            Some("noreturn" | "explicitcluster" | "blocksareclusters") => drop(self.advance()?),
            Some("pragma") => self.pragma()?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// A directive with one to three sizes.
    fn extents(&mut self) -> Parsed<[u32; 3]> {
        self.advance()?;
        let mut extents = [1; 3];
        for (axis, extent) in extents.iter_mut().enumerate() {
            if axis > 0 && !self.accept(",")? {
                break;
            }
            *extent = self.positive("a number of threads or blocks")?;
        }
        Ok(extents)
    }
}
