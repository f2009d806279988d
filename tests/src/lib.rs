//! Postern against the real kernel: real packets, real clients and real servers, each test
//! in network namespaces of its own.
//!
//! A [`mod@suite`] runs cases and counts what it had to skip. A case lays a [`topology`] of
//! [`namespace`]s, or a [`world`] with more machines in it, starts the [`agent`] and [`server`]s in them, makes [`packet`]s that a
//! [`sender`] sends, perhaps for a [`knocker`] with codes of an [`otp`] app, or amid [`floods`], or has the stock
//! `knock` [`client`], [`mod@fwknop`] or a [`visitor`] with ours do it, looks with a [`probe`] at what
//! became reachable, or with a [`session`] at what stays so, and reads the rules with [`nft`] and what the kernel says with a
//! [`kernel_log`]. Doors of every method, as a [`plan`] has them, go through one [`scenario`].
//! What a [`page`] tells its reader
//! to type is typed. A case never sleeps: it [`wait`]s. Programs of OpenWrt's are among its [`tools`].
//!
//! A test reports by panicking, so this crate does without the lints against panics.

#![forbid(unsafe_code)]

pub mod agent;
pub mod client;
pub mod clock;
pub mod floods;
pub mod fwknop;
pub mod kernel_log;
pub mod knocker;
pub mod namespace;
pub mod nft;
pub mod otp;
pub mod packet;
pub mod page;
pub mod plan;
pub mod probe;
pub mod process;
pub mod scan;
pub mod scenario;
pub mod scratch;
pub mod sender;
pub mod server;
pub mod session;
pub mod strace;
pub mod suite;
pub mod tools;
pub mod topology;
pub mod uci;
pub mod visitor;
pub mod wait;
pub mod world;
