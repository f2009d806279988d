//! Reading no more of a file than it should have.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// The bytes of a file, at most so many from its beginning.
pub(crate) fn read(path: &Path, most: usize) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    File::open(path)?
        .take(most as u64)
        .read_to_end(&mut content)?;
    Ok(content)
}
