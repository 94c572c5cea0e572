//! Groups texts to modules. Kernels whose texts begin alike share a module: ptxas assembles it
//! faster than each kernel alone, and it compresses better.

use super::Source;
use crate::assemble::Target;
use std::collections::VecDeque;

/// Kernels of a module, at most: 40 in one take 0.6 of the time that they take alone.
pub const MODULE_KERNELS: usize = 40;

/// The directive that names a text's kernel.
const ENTRY: &str = ".visible .entry";

/// Texts that become one module.
#[derive(Clone, Debug)]
pub struct Group {
    /// The text in front of the kernels: `.version`, `.target`, tables.
    pub prologue: String,
    /// The target that they are assembled for.
    pub arch: Target,
    /// The kernels.
    pub sources: Vec<Source>,
}

impl Group {
    /// The text of the module.
    pub fn text(&self) -> String {
        let bodies = self.sources.iter().map(|source| split(&source.ptx).1);
        std::iter::once(self.prologue.as_str())
            .chain(bodies)
            .collect()
    }

    /// Each kernel alone.
    pub fn singly(&self) -> impl Iterator<Item = Self> {
        self.sources.iter().map(|source| Self {
            prologue: self.prologue.clone(),
            arch: self.arch,
            sources: vec![source.clone()],
        })
    }
}

/// Groups neighbouring texts in their order. Families do not share modules, so that a change of one
/// family leaves the modules of all others unchanged.
pub struct Groups<I> {
    sources: I,
    chip: Target,
    family: String,
    open: Vec<Group>,
    full: VecDeque<Group>,
}

impl<I: Iterator<Item = Source>> Groups<I> {
    /// Groups for a chip; texts that it does not run are left out.
    pub fn new(sources: I, chip: Target) -> Self {
        Self {
            sources,
            chip,
            family: String::new(),
            open: Vec::new(),
            full: VecDeque::new(),
        }
    }

    fn add(&mut self, source: Source) {
        if self.family != source.family {
            self.full.extend(self.open.drain(..));
            self.family.clone_from(&source.family);
        }
        // A text without a target is one that ptxas refuses, and names.
        let own = Target::from_ptx(&source.ptx).unwrap_or(self.chip);
        let Some(arch) = own.assembled_for(self.chip) else {
            return;
        };
        let prologue = without_comments(split(&source.ptx).0);
        // Text without a kernel that is found: a module of its own.
        let is_whole = !split(&source.ptx).1.is_empty();
        let fits = |group: &Group| is_whole && group.arch == arch && group.prologue == prologue;
        match self.open.iter().position(fits) {
            Some(at) => {
                self.open[at].sources.push(source);
                if self.open[at].sources.len() == MODULE_KERNELS {
                    self.full.push_back(self.open.swap_remove(at));
                }
            }
            None => self.open.push(Group {
                prologue,
                arch,
                sources: vec![source],
            }),
        }
    }
}

impl<I: Iterator<Item = Source>> Iterator for Groups<I> {
    type Item = Group;

    fn next(&mut self) -> Option<Group> {
        while self.full.is_empty() {
            match self.sources.next() {
                Some(source) => self.add(source),
                None if self.open.is_empty() => return None,
                None => self.full.extend(self.open.drain(..)),
            }
        }
        self.full.pop_front()
    }
}

/// Splits a text into the part in front of the kernel, and the kernel.
fn split(ptx: &str) -> (&str, &str) {
    ptx.split_at(ptx.find(ENTRY).unwrap_or(ptx.len()))
}

/// The text without comments and empty lines, which are about one kernel.
fn without_comments(text: &str) -> String {
    let lines = text.lines().filter(|line| {
        let line = line.trim();
        !line.is_empty() && !line.starts_with("//")
    });
    lines.flat_map(|line| [line, "\n"]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(id: usize, family: &str, target: &str, table: &str) -> Source {
        let ptx = format!(
            "// k{id}: a kernel\n.version 7.8\n.target {target}\n\n\
             {table}.visible .entry k{id}()\n{{\n ret;\n}}\n"
        );
        Source {
            id: format!("k{id}"),
            family: family.to_owned(),
            ptx,
        }
    }

    fn groups(sources: Vec<Source>) -> Vec<Group> {
        Groups::new(sources.into_iter(), Target::new(90)).collect()
    }

    #[test]
    fn kernels_that_begin_alike_share_a_module_and_no_other() {
        let table = ".const .b32 table[1] = {1};\n";
        let groups = groups(vec![
            source(0, "a", "sm_80", ""),
            source(1, "a", "sm_89", ""),
            source(2, "a", "sm_80", ""),
            source(3, "a", "sm_90a", ""),
            source(4, "a", "sm_80", table),
            source(5, "a", "sm_100", ""),
            source(6, "b", "sm_80", ""),
        ]);
        let names = groups.iter().map(|group| {
            let ids: Vec<&str> = group.sources.iter().map(|s| s.id.as_str()).collect();
            format!("{} {}", group.arch, ids.join(" "))
        });
        let expected = [
            "sm_90 k0 k2",
            "sm_90 k1",
            "sm_90a k3",
            "sm_90 k4",
            "sm_90 k6",
        ];
        assert_eq!(names.collect::<Vec<_>>(), expected);
        assert_eq!(
            groups[0].text(),
            ".version 7.8\n.target sm_80\n.visible .entry k0()\n{\n ret;\n}\n\
             .visible .entry k2()\n{\n ret;\n}\n"
        );
        assert!(groups[3].text().contains(table));
        let singly: Vec<Group> = groups[0].singly().collect();
        assert_eq!(singly.len(), 2);
        assert!(
            singly[1]
                .text()
                .starts_with(".version 7.8\n.target sm_80\n.visible .entry k2()")
        );
    }

    #[test]
    fn a_module_is_full_at_some_point() {
        let sources = (0..2 * MODULE_KERNELS + 1).map(|id| source(id, "a", "sm_80", ""));
        let groups = groups(sources.collect());
        let sizes: Vec<usize> = groups.iter().map(|group| group.sources.len()).collect();
        assert_eq!(sizes, [MODULE_KERNELS, MODULE_KERNELS, 1]);
        assert_eq!(groups[2].sources[0].id, format!("k{}", 2 * MODULE_KERNELS));
    }
}
