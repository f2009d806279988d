//! Files: read within bounds, kept from others, replaced so that a crash leaves the old one or the new one.

pub(crate) mod atomic_file;
pub(crate) mod bounded;
pub(crate) mod config_file;
pub(crate) mod owner;
pub(crate) mod private_file;
