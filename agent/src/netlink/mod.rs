//! What is asked of the kernel and heard from it over netlink, beside nf_tables.

pub(crate) mod codec;
pub(crate) mod conntrack;
pub(crate) mod links;
