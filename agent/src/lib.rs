//! Postern, the Linux program, as a library: `main` only calls it.
//!
//! [`firewall`] tells the kernel what core decided. Everything `unsafe` is in `sys`.

pub mod firewall;
mod sys;
