//! Netfilter's log lines, from wherever the machine has them.

mod follower;
mod input;
mod kmsg;
mod lines;
