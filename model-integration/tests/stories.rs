//! Text for `--text`: stories of the embedded model's kind.

use std::fs;
use std::path::Path;

use mxlab::corpus::heldout;

/// A file of stories in `folder`.
pub fn text(folder: &Path) -> String {
    let path = folder.join("stories.txt");
    fs::write(&path, heldout::stories(7, 60).join("\n")).expect("written");
    path.to_str().expect("UTF-8").to_owned()
}
