//! Directives of module scope. PTX ISA, sections 11.1, 11.5 and 11.6.

use super::{
    ast::{Module, Space},
    lexer::Token,
    parser::{Parsed, Parser},
};

impl Parser<'_> {
    /// A whole translation unit.
    pub(super) fn module(mut self) -> Parsed<Module> {
        let mut module = Module {
            version: self.version()?,
            target: self.target()?,
            variables: Vec::new(),
            functions: Vec::new(),
        };
        if self.accept_directive("address_size")? {
            let position = self.current.position;
            match self.integer("64")? {
                64 => {}
                _ => {
                    return super::parser::fail_at(position, "only 64-bit addresses are supported");
                }
            }
        }
        while self.current.token != Token::End {
            self.module_item(&mut module)?;
        }
        Ok(module)
    }

    fn version(&mut self) -> Parsed<(u32, u32)> {
        if !self.accept_directive("version")? {
            return self.unexpected("`.version` at the start of the module");
        }
        let parts = self.current.text.split_once('.');
        let version =
            parts.and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
        let Some(version) = version else {
            return self.unexpected("a version such as `8.0`");
        };
        self.advance()?;
        Ok(version)
    }

    fn target(&mut self) -> Parsed<Vec<String>> {
        if !self.accept_directive("target")? {
            return self.unexpected("`.target` after the version");
        }
        let mut target = vec![self.word("an architecture such as `sm_90`")?.to_owned()];
        while self.accept(",")? {
            let option = self.word("a target option")?;
            // The tree has no debugging information, without which `debug` is an error.
            if option != "debug" {
                target.push(option.to_owned());
            }
        }
        Ok(target)
    }

    fn module_item(&mut self, module: &mut Module) -> Parsed<()> {
        if self.debugging()? {
            return Ok(());
        }
        // Linkage does not matter to a module that runs alone, except that `.extern` has no
        // storage of its own.
        let mut is_extern = false;
        while let Some(linkage @ ("visible" | "extern" | "weak" | "common")) = self.directive() {
            is_extern |= linkage == "extern";
            self.advance()?;
        }
        match self.directive() {
            Some("entry") => module.functions.push(self.entry()?),
            Some("func") => module.functions.push(self.func()?),
            Some(name) => match Space::from_name(name) {
                Some(Space::Param | Space::Local) | None => {
                    return self.unexpected(
                        "`.entry`, `.func`, `.global`, `.const`, `.shared` or another directive \
                         of module scope",
                    );
                }
                Some(space) => module.variables.extend(self.variables(space, is_extern)?),
            },
            None => return self.unexpected("a directive of module scope"),
        }
        Ok(())
    }

    /// Passes a directive that says where code comes from or advises the compiler: `.file`,
    /// `.loc`, `.section`, `.pragma`. Whether there was one.
    pub(super) fn debugging(&mut self) -> Parsed<bool> {
        match self.directive() {
            Some("file") => self.file()?,
            Some("loc") => self.location()?,
            Some("section") => self.section()?,
            Some("pragma") => self.pragma()?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn file(&mut self) -> Parsed<()> {
        self.advance()?;
        self.integer("the index of a file")?;
        self.text("the name of a file")?;
        while self.accept(",")? {
            self.integer("a time stamp or size")?;
        }
        Ok(())
    }

    fn location(&mut self) -> Parsed<()> {
        self.advance()?;
        self.source_place()?;
        while self.accept(",")? {
            match self.word("`function_name` or `inlined_at`")? {
                "function_name" => {
                    self.word("a label")?;
                    if self.accept("+")? {
                        self.integer("an offset")?;
                    }
                }
                _ => self.source_place()?,
            }
        }
        Ok(())
    }

    fn source_place(&mut self) -> Parsed<()> {
        for part in ["the index of a file", "a line", "a column"] {
            self.integer(part)?;
        }
        Ok(())
    }

    fn section(&mut self) -> Parsed<()> {
        self.advance()?;
        if self.directive().is_none() {
            return self.unexpected("the name of a section");
        }
        self.advance()?;
        self.expect("{", "`{` of the section")?;
        while !self.is_at("}") {
            match self.current.token {
                Token::End | Token::Mark("{") => {
                    return self.unexpected("data or `}` of the section");
                }
                _ => self.advance()?,
            };
        }
        self.advance()?;
        Ok(())
    }

    pub(super) fn pragma(&mut self) -> Parsed<()> {
        self.advance()?;
        self.text("a string")?;
        while self.accept(",")? {
            self.text("a string")?;
        }
        self.expect(";", "`,` or `;`")
    }

    fn text(&mut self, expected: &str) -> Parsed<()> {
        match self.current.token {
            Token::Text(_) => self.advance().map(drop),
            _ => self.unexpected(expected),
        }
    }
}
