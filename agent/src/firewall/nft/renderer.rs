//! What writes messages for the kernel: libnftnl, or our own encoder where that is not at hand.

use super::message::Renderer;

/// The name of the one that this program was built with.
pub(crate) const RENDERER: &str = if cfg!(feature = "libnftnl") {
    "libnftnl"
} else {
    "own netlink encoder"
};

/// The one that this program was built with.
#[cfg(feature = "libnftnl")]
pub(crate) fn built_in() -> impl Renderer {
    super::libnftnl::Libnftnl::new()
}

/// The one that this program was built with.
#[cfg(not(feature = "libnftnl"))]
pub(crate) fn built_in() -> impl Renderer {
    super::encoder::Encoder
}

#[cfg(all(test, not(feature = "libnftnl")))]
mod tests {
    /// What is linked statically does not show.
    #[test]
    fn without_libnftnl_no_c_library_of_netlink_is_linked() {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        assert!(maps.contains("libc"), "{maps}");
        assert!(
            !maps.contains("libnftnl") && !maps.contains("libmnl"),
            "{maps}"
        );
    }
}
