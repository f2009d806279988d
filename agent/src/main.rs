//! Postern, the Linux program.

fn main() {}
