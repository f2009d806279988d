//! Where the program meets the C libraries and the kernel: everything unsafe is here.

#![expect(
    unsafe_code,
    reason = "system calls and libnftnl are C; what leaves this folder is safe to call"
)]

pub(crate) mod netlink;
pub(crate) mod nftnl;
