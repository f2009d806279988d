//! Doors of method `spa`: their keys, and what is done with them. Core judges the datagrams.

/// Whether there is anything of it in this program.
pub(crate) const IS_BUILT_IN: bool = cfg!(feature = "spa");

pub(crate) mod crypto;
pub(crate) mod keys;
pub(crate) mod request;
#[cfg(test)]
mod tests;
