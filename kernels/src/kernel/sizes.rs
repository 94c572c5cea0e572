//! Sizes by name.

/// The sizes of a launch: rows, columns, strides. There are few, so a list is the fastest map.
#[derive(Clone, Debug, Default)]
pub struct Sizes(Vec<(&'static str, usize)>);

impl Sizes {
    /// Sets a size.
    pub fn set(&mut self, name: &'static str, value: usize) {
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some((_, known)) => *known = value,
            None => self.0.push((name, value)),
        }
    }

    /// The size `name`, if it is set.
    pub fn get(&self, name: &str) -> Option<usize> {
        let mut sizes = self.0.iter();
        sizes.find_map(|&(known, value)| (known == name).then_some(value))
    }
}

impl FromIterator<(&'static str, usize)> for Sizes {
    fn from_iter<I: IntoIterator<Item = (&'static str, usize)>>(sizes: I) -> Self {
        Self(sizes.into_iter().collect())
    }
}
