//! Where knocks are seen: one file for each source.

pub mod nflog;
