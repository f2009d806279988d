//! A guard on trial: the kernel disarms it unless its owner comes in anew and confirms it.

mod session;
mod store;
