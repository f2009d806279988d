//! How nf_tables is spoken to: what a table is for the kernel, and the messages that say so.

pub(crate) mod batch;
pub(crate) mod connection;
pub(crate) mod dump;
mod element;
#[cfg(any(test, not(feature = "libnftnl")))]
pub(crate) mod encoder;
pub(crate) mod expression;
#[cfg(feature = "libnftnl")]
pub(crate) mod libnftnl;
pub(crate) mod lowering;
pub(crate) mod message;
pub(crate) mod nfta;
pub(crate) mod object;
pub(crate) mod refusal;
pub(crate) mod renderer;
pub(crate) mod request;
