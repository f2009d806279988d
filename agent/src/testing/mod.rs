//! What tests share.

pub(crate) mod scratch;
pub(crate) mod skipping;
