//! How nf_tables is spoken to.

pub(super) mod nfta;
pub(super) mod request;
