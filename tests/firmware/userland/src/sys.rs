//! System calls that the standard library has no function for.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::net::UdpSocket;
use std::os::fd::AsRawFd as _;
use std::ptr;

/// mount(2) without flags and options.
pub(crate) fn mount(device: &str, place: &str, kind: &str) -> io::Result<()> {
    let [device, place, kind] = [device, place, kind].map(CString::new);
    let (device, place, kind) = (device?, place?, kind?);
    // SAFETY: three strings that end in zero, and no options.
    check(unsafe {
        libc::mount(
            device.as_ptr(),
            place.as_ptr(),
            kind.as_ptr(),
            0,
            ptr::null(),
        )
    })
}

/// finit_module(2) without parameters. A module that is there already is no mistake.
pub(crate) fn load_module(file: &File) -> io::Result<()> {
    // SAFETY: an open file, and a string that ends in zero.
    let result =
        unsafe { libc::syscall(libc::SYS_finit_module, file.as_raw_fd(), c"".as_ptr(), 0) };
    match check(result as libc::c_int) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        loaded => loaded,
    }
}

/// Makes a request of netdevice(7), with a structure that the caller knows to be its own.
pub(crate) fn ask_interface<T>(
    family: i32,
    request: libc::c_ulong,
    with: &mut T,
) -> io::Result<()> {
    let any = if family == libc::AF_INET6 {
        "[::]:0"
    } else {
        "0.0.0.0:0"
    };
    let socket = UdpSocket::bind(any)?;
    // SAFETY: the kernel reads and writes no more than the structure of this request, which
    // lives until the call returns.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), request as _, ptr::from_mut(with)) })
}

/// kill(2)
pub(crate) fn kill(pid: i32, signal: i32) -> io::Result<()> {
    // SAFETY: two numbers.
    check(unsafe { libc::kill(pid, signal) })
}

/// sync(2)
pub(crate) fn sync() {
    // SAFETY: it takes nothing, returns nothing and cannot fail.
    unsafe { libc::sync() }
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
