//! What the kernel and the C libraries offer, made safe: the only place with `unsafe` code.
#![expect(unsafe_code, reason = "every block states why it is sound")]

pub mod clock;
#[cfg(test)]
pub(crate) mod costs;
pub(crate) mod link;
pub mod netlink;
#[cfg(feature = "libnftnl")]
pub(crate) mod nftnl;
pub mod poll;
pub mod process;
pub mod signal;
pub mod tcp;
pub mod unix;

use std::io;

/// What a C function means by a negative result: the reason stands in errno.
fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}
