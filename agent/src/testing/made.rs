//! Files of the repository that are made from tables of the program.

use std::path::{Path, PathBuf};
use std::{env, fs};

/// Where the file of this name is, seen from the repository's top.
pub(crate) fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name)
}

/// Fails unless the file is what the tables make; `make docs` writes it.
#[track_caller]
pub(crate) fn expect(name: &str, made: &str) {
    if env::var_os("BLESS").is_some() {
        fs::write(path(name), made).unwrap();
    }
    let kept = fs::read_to_string(path(name)).unwrap_or_default();
    assert!(kept == made, "{name} is out of date: make docs");
}
