//! Postern, the Linux program, as a library that its binary and its tests share.

pub mod firewall;
pub mod source;
pub mod sys;
