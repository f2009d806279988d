//! Packages of distributions.

pub(crate) mod deb;
