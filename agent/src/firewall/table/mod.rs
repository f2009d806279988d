//! What the table looks like, as data: built for a configuration, rendered as text here and for the kernel in `nft`.

pub(crate) mod build;
pub(crate) mod delivery;
pub(crate) mod engines;
pub(crate) mod groups;
pub(crate) mod guarded;
pub(crate) mod model;
pub(crate) mod names;
mod ports;
pub(crate) mod rules;
pub(crate) mod text;
