//! OpenWrt's own services: the names of its networks, and its bus.

pub(crate) mod networks;
pub(crate) mod ubus;
