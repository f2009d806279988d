//! Postern against the real kernel.
