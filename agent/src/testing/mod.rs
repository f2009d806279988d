//! What tests share.

pub(crate) mod eventually;
pub(crate) mod flows;
pub(crate) mod made;
pub(crate) mod scratch;
pub(crate) mod skipping;
