//! What writes messages for the kernel: libnftnl, or our own encoder where that is not at hand.

use super::message::New;

/// Writes the attributes of messages: the only thing in which the ways to make them differ.
pub(super) trait Renderer {
    /// Writes the attributes of a message that makes something, of which [`New::fits`] is true.
    fn write(&mut self, new: &New<'_>, to: &mut Vec<u8>);
}

/// The name of the one that this program was built with.
pub(crate) const RENDERER: &str = if cfg!(feature = "libnftnl") {
    "libnftnl"
} else {
    "own netlink encoder"
};

/// The one that this program was built with.
#[cfg(feature = "libnftnl")]
pub(super) fn built_in() -> impl Renderer {
    super::libnftnl::Libnftnl::new()
}

/// The one that this program was built with.
#[cfg(not(feature = "libnftnl"))]
pub(super) fn built_in() -> impl Renderer {
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
