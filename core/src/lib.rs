//! What a knock means: packets in, decisions out.
//!
//! A packet's journey, in the order of the modules: [`packet`] reads bytes into a
//! [`knock`]; [`engine`] holds the [`door`]s of a [`config`] and the [`table`] of
//! sources, asks the door's [`method`] what the knock amounts to at that [`time`],
//! lets [`cutoff`] count the failures, and answers with a decision.
//!
//! There is no operating system here, no allocator and no clock. Every table has a
//! capacity, and what happens when it is full is written where the table is.

#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod config;
pub mod door;
pub mod hash;
pub mod knock;
pub mod packet;
pub mod time;
pub mod uci;
