//! Programs of OpenWrt's own, which `tests/openwrt/tools/build` has compiled.

use std::env;
use std::path::PathBuf;

/// The folder that they are in, beside cargo's own.
///
/// # Panics
/// When this program does not know where it is.
pub fn folder() -> PathBuf {
    let test = env::current_exe().expect("know where this program is");
    let target = test
        .ancestors()
        .find(|folder| folder.join("tools").is_dir());
    target.unwrap_or(&test).join("tools")
}

/// One of them, or where it should be.
pub fn path(name: &str) -> PathBuf {
    folder().join(name)
}
