//! The table beside nft, the kernel and packets; and configurations for whoever tests the firewall.

mod decoys;
mod engines;
pub(crate) mod examples;
mod expressions;
mod golden_messages;
mod golden_rulesets;
mod install;
pub(crate) mod kernel;
mod knocks;
mod packets;
mod places;
mod renderers;
