#![doc = include_str!("../README.md")]
//!
//! # A packet's journey
//!
//! [`packet`] reads bytes, or [`kernlog`] a line, into a [`knock`]; the [`engine`] asks the
//! [`door`]'s method what the knock amounts to at that [`time`], and answers with a
//! decision. In private modules behind the engine: `ports` finds the doors that a port
//! concerns, `table` keeps the attempts of every source under a [`hash`], `bloom`
//! stands in for it under a flood, `cutoff` counts failures, [`guesses`] those at codes. A [`config`] says which
//! doors there are.
//!
//! There is no operating system here, no allocator and no clock. Every table has a
//! capacity, and what happens when it is full is written where the table is.

#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

mod accepted;
mod bloom;
pub mod code;
pub mod config;
mod cutoff;
pub mod decoy;
mod display;
pub mod door;
pub mod engine;
pub mod guesses;
pub mod hash;
pub mod kernlog;
pub mod knock;
pub mod method;
pub mod near;
pub mod network;
pub mod packet;
pub mod payload;
pub mod ports;
pub mod reasons;
pub mod rfc3339;
pub mod spa;
mod table;
pub mod time;
pub mod uci;
