//! Pages of the cache: who uses which, and which hold the beginning of a text that comes again.

use std::collections::{BTreeMap, HashMap};

/// The content of a full page: what stands before it, and its tokens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Content {
    before: Prefix,
    tokens: Box<[u32]>,
}

/// What a sequence holds up to the end of a full page. Equal prefixes of equal sequences are equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Prefix {
    /// Nothing yet, in a class of sequences.
    Empty(usize),
    /// The full pages up to one with this number, which is never given again.
    Pages(u64),
}

#[derive(Clone, Debug, Default)]
struct Page {
    users: usize,
    /// Its content, once it is full and nobody holds the same.
    content: Option<(Content, u64)>,
    /// When it was last released.
    idle_since: u64,
}

/// The pages of a cache. A page without users keeps its content until its memory is needed; of
/// those the one that was released first goes first.
#[derive(Clone, Debug)]
pub struct Pages {
    size: usize,
    pages: Vec<Page>,
    /// Pages without users and content.
    free: Vec<u32>,
    /// Pages without users, but with content, by the time of their release.
    idle: BTreeMap<u64, u32>,
    by_content: HashMap<Content, u32>,
    /// Numbers of contents and times.
    clock: u64,
}

impl Pages {
    /// `count` pages of `size` positions.
    pub fn new(size: usize, count: usize) -> Self {
        Self {
            size,
            pages: vec![Page::default(); count],
            free: (0..count as u32).rev().collect(),
            idle: BTreeMap::new(),
            by_content: HashMap::new(),
            clock: 0,
        }
    }

    /// Positions of a page.
    pub const fn size(&self) -> usize {
        self.size
    }

    /// Number of pages.
    pub const fn count(&self) -> usize {
        self.pages.len()
    }

    /// Pages without users.
    pub fn available(&self) -> usize {
        self.free.len() + self.idle.len()
    }

    /// A page for new positions; `None` if all have users.
    pub fn take(&mut self) -> Option<u32> {
        let page = match self.free.pop() {
            Some(page) => page,
            None => {
                let (_, page) = self.idle.pop_first()?;
                if let Some((content, _)) = self.pages[page as usize].content.take() {
                    self.by_content.remove(&content);
                }
                page
            }
        };
        self.pages[page as usize].users = 1;
        Some(page)
    }

    /// The page that holds `tokens` behind `before`, for one more user, and the prefix that it
    /// ends.
    pub fn share(&mut self, before: Prefix, tokens: &[u32]) -> Option<(u32, Prefix)> {
        let content = Content {
            before,
            tokens: tokens.into(),
        };
        let index = *self.by_content.get(&content)?;
        let page = &mut self.pages[index as usize];
        if page.users == 0 {
            self.idle.remove(&page.idle_since);
        }
        page.users += 1;
        let number = page.content.as_ref().map(|(_, number)| *number)?;
        Some((index, Prefix::Pages(number)))
    }

    /// How many pages hold the beginning of `tokens`, in users' hands and without.
    pub fn held(&self, mut before: Prefix, tokens: &[u32]) -> [usize; 2] {
        let mut held = [0, 0];
        for tokens in tokens.chunks_exact(self.size) {
            let tokens = tokens.into();
            let Some(&index) = self.by_content.get(&Content { before, tokens }) else {
                break;
            };
            let page = &self.pages[index as usize];
            held[usize::from(page.users == 0)] += 1;
            if let Some((_, number)) = page.content {
                before = Prefix::Pages(number);
            }
        }
        held
    }

    /// A user has filled `page` with `tokens` behind `before`; returns the prefix that it ends.
    pub fn fill(&mut self, page: u32, before: Prefix, tokens: &[u32]) -> Prefix {
        let content = Content {
            before,
            tokens: tokens.into(),
        };
        if let Some(&same) = self.by_content.get(&content)
            && let Some((_, number)) = self.pages[same as usize].content
        {
            return Prefix::Pages(number);
        }
        self.clock += 1;
        self.pages[page as usize].content = Some((content.clone(), self.clock));
        self.by_content.insert(content, page);
        Prefix::Pages(self.clock)
    }

    /// Takes the pages of a sequence from one of their users, the last page first: it is the least
    /// likely to come again.
    pub fn release(&mut self, pages: &[u32]) {
        for &index in pages.iter().rev() {
            let page = &mut self.pages[index as usize];
            page.users -= 1;
            if page.users > 0 {
                continue;
            }
            if page.content.is_none() {
                self.free.push(index);
                continue;
            }
            self.clock += 1;
            page.idle_since = self.clock;
            self.idle.insert(self.clock, index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_found_by_all_that_stands_before_it() {
        let mut pages = Pages::new(2, 3);
        let root = Prefix::Empty(0);
        let [a, b] = [(); 2].map(|()| pages.take().expect("a page"));
        let first = pages.fill(a, root, &[1, 2]);
        let second = pages.fill(b, first, &[1, 2]);
        assert_ne!(first, second);
        assert_eq!(pages.share(root, &[1, 2]), Some((a, first)));
        assert_eq!(pages.share(first, &[1, 2]), Some((b, second)));
        assert_eq!(pages.share(second, &[1, 2]), None);
        assert_eq!(pages.share(Prefix::Empty(1), &[1, 2]), None);
        assert_eq!(pages.held(root, &[1, 2, 1, 2, 1, 2]), [2, 0]);

        // Both users leave; the page that was released first, the last of the sequence, goes first.
        pages.release(&[a, b]);
        assert_eq!(pages.available(), 1);
        pages.release(&[a, b]);
        assert_eq!(pages.available(), 3);
        assert_eq!(pages.held(root, &[1, 2, 1, 2, 1, 2]), [0, 2]);
        let taken = [(); 2].map(|()| pages.take().expect("a page"));
        assert_eq!(taken[1], b);
        assert_eq!(pages.held(root, &[1, 2, 1, 2]), [0, 1]);

        // With its parent gone and come again, the child's content is another.
        assert_eq!(pages.take(), Some(a));
        assert_eq!(pages.take(), None);
        let again = pages.fill(a, root, &[1, 2]);
        assert_ne!(again, first);
        assert_eq!(pages.share(again, &[1, 2]), None);
    }

    #[test]
    fn a_page_that_holds_what_another_does_is_forgotten() {
        let mut pages = Pages::new(1, 2);
        let [a, b] = [(); 2].map(|()| pages.take().expect("a page"));
        let prefix = pages.fill(a, Prefix::Empty(0), &[7]);
        assert_eq!(pages.fill(b, Prefix::Empty(0), &[7]), prefix);
        pages.release(&[a]);
        pages.release(&[b]);
        assert_eq!(pages.take(), Some(b));
        assert_eq!(pages.take(), Some(a));
    }
}
