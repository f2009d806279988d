//! Networks and families, as core has them.

pub(crate) use postern_core::network::{Family, Network, family};
