//! The control socket: a listener that only root, or the agent's own user, can talk to.

use core::mem;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use super::check;
use super::process::effective_user;

/// A listener at a path, which it holds until it is dropped.
pub(crate) struct Listener {
    listener: UnixListener,
    path: PathBuf,
    /// Keeps a second agent from the same path; the kernel frees it however this one ends.
    _lock: File,
}

impl Listener {
    /// Listens at the path with mode 0600.
    ///
    /// What a dead agent left there is removed; a socket on which anybody answers, and a file
    /// that is no socket, are errors that say so. `PATH.lock` is left behind as a lock file:
    /// to remove it would let two agents hold different files of that name.
    pub(crate) fn bind(path: &Path) -> io::Result<Self> {
        let address = Address::new(path)?;
        let lock = lock(path)?;
        remove_stale(path, &address)?;
        let socket = socket()?;
        // The mode that the socket has before it is bound becomes the file's mode (Linux,
        // unix_bind_bsd in net/unix/af_unix.c), so it was never open to others.
        // SAFETY: changes the mode of a file that `socket` keeps open.
        check(unsafe { libc::fchmod(socket.as_raw_fd(), 0o600) })?;
        // SAFETY: the address is valid for its length, and `socket` is open.
        check(unsafe { libc::bind(socket.as_raw_fd(), address.pointer(), address.length) })
            .map_err(|error| at(path, "cannot bind", &error))?;
        // SAFETY: `socket` is open and bound.
        check(unsafe { libc::listen(socket.as_raw_fd(), 16) })?;
        Ok(Self {
            listener: socket.into(),
            path: path.to_owned(),
            _lock: lock,
        })
    }

    /// The next connection, non-blocking as the listener itself; `None` when nobody waits.
    ///
    /// Anybody but root and the agent's own user gets `PermissionDenied` and is hung up on.
    pub(crate) fn accept(&self) -> io::Result<Option<UnixStream>> {
        let stream = match self.listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if is_nobody(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        let user = peer_user(&stream)?;
        if user != 0 && user != effective_user() {
            let message = format!("user {user} may not use the control socket");
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
        }
        stream.set_nonblocking(true)?;
        Ok(Some(stream))
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // What cannot be removed is stale for the next agent.
        let _ = fs::remove_file(&self.path);
    }
}

/// Whether accept found nobody: none came, or whoever came has left.
fn is_nobody(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, Interrupted, WouldBlock};
    matches!(error.kind(), WouldBlock | ConnectionAborted | Interrupted)
}

/// The user who connected (SO_PEERCRED, unix(7)).
fn peer_user(stream: &UnixStream) -> io::Result<u32> {
    let mut peer = libc::ucred {
        pid: 0,
        uid: u32::MAX,
        gid: u32::MAX,
    };
    let mut length = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes, the size of `peer`.
    check(unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut peer).cast(),
            &raw mut length,
        )
    })?;
    Ok(peer.uid)
}

/// The lock that stands beside the socket.
pub(crate) fn lock_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    name.into()
}

fn lock(path: &Path) -> io::Result<File> {
    let name = lock_of(path);
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(&name)
        .map_err(|error| at(&name, "cannot open", &error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(in_use(path)),
        Err(TryLockError::Error(error)) => Err(at(&name, "cannot lock", &error)),
    }
}

/// Removes a socket that nobody listens on. The lock is held, so no agent can start one.
fn remove_stale(path: &Path, address: &Address) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(at(path, "cannot look at", &error)),
        Ok(found) if !found.file_type().is_socket() => {
            let message = format!("{} exists and is no socket", path.display());
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, message));
        }
        Ok(_) => {}
    }
    if is_answered(address)? {
        return Err(in_use(path));
    }
    fs::remove_file(path).map_err(|error| at(path, "cannot remove", &error))
}

/// Whether somebody listens. Does not wait: a full queue is an answer too.
fn is_answered(address: &Address) -> io::Result<bool> {
    let socket = socket()?;
    // SAFETY: the address is valid for its length, and `socket` is open.
    let result =
        check(unsafe { libc::connect(socket.as_raw_fd(), address.pointer(), address.length) });
    match result {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(false),
        // A socket of another type (EPROTOTYPE) is somebody's as well.
        _ => Ok(true),
    }
}

/// Whether somebody listens at a path, or hangs there.
pub(crate) fn is_listening(path: &Path) -> bool {
    match connect(path) {
        Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        Ok(_) => true,
    }
}

const PRESENCE: &[u8] = b"postern";

/// That an agent lives in this network namespace: each has abstract names of its own (unix(7)), and the kernel
/// frees them however an agent ends.
pub(crate) struct Presence(Option<OwnedFd>);

impl Presence {
    /// Tells others, unless another agent did.
    pub(crate) fn claim() -> Self {
        let bind = || {
            let (address, socket) = (Address::presence(), socket()?);
            // SAFETY: the address is valid for its length, and `socket` is open.
            check(unsafe { libc::bind(socket.as_raw_fd(), address.pointer(), address.length) })?;
            // SAFETY: `socket` is open and bound.
            check(unsafe { libc::listen(socket.as_raw_fd(), 16) }).map(|_| socket)
        };
        Self(bind().ok())
    }

    /// Tells others, if another agent did so before and has ended since.
    #[must_use]
    pub(crate) fn kept(self) -> Self {
        match self.0 {
            Some(_) => self,
            None => Self::claim(),
        }
    }

    /// Whether another agent lives. Any user can take the name: only a root's counts, or the agent's own user's.
    pub(crate) fn is_others(&self) -> bool {
        let peer = || {
            let (address, socket) = (Address::presence(), socket()?);
            // SAFETY: the address is valid for its length, and `socket` is open.
            check(unsafe { libc::connect(socket.as_raw_fd(), address.pointer(), address.length) })?;
            peer_user(&UnixStream::from(socket))
        };
        let is_agents = |user| user == 0 || user == effective_user();
        // Nobody takes what waits there: after many starts it is full.
        let is_full = |error: io::Error| error.kind() == io::ErrorKind::WouldBlock;
        self.0.is_none() && peer().map_or_else(is_full, is_agents)
    }
}

/// Connects to a listener, without waiting for it: one whose queue is full, because it hangs,
/// is `WouldBlock` (connect(2), EAGAIN).
pub(crate) fn connect(path: &Path) -> io::Result<UnixStream> {
    let address = Address::new(path)?;
    let socket = socket()?;
    // SAFETY: the address is valid for its length, and `socket` is open.
    check(unsafe { libc::connect(socket.as_raw_fd(), address.pointer(), address.length) })?;
    let stream = UnixStream::from(socket);
    stream.set_nonblocking(false)?;
    Ok(stream)
}

fn socket() -> io::Result<OwnedFd> {
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: takes numbers only.
    let socket = check(unsafe { libc::socket(libc::AF_UNIX, kind, 0) })?;
    // SAFETY: the socket was just made, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(socket) })
}

fn in_use(path: &Path) -> io::Error {
    let message = format!(
        "another program listens at {}; is postern running?",
        path.display()
    );
    io::Error::new(io::ErrorKind::AddrInUse, message)
}

fn at(path: &Path, what: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what} {}: {error}", path.display()))
}

/// A path as the kernel takes it.
struct Address {
    raw: libc::sockaddr_un,
    length: libc::socklen_t,
}

impl Address {
    const fn empty() -> libc::sockaddr_un {
        // SAFETY: sockaddr_un is made of integers, for which all zero is a value.
        let raw: libc::sockaddr_un = unsafe { mem::zeroed() };
        let sun_family = libc::AF_UNIX as libc::sa_family_t;
        libc::sockaddr_un { sun_family, ..raw }
    }

    /// The abstract name by which agents know each other; its first byte is zero.
    fn presence() -> Self {
        let mut raw = Self::empty();
        for (to, from) in raw.sun_path.iter_mut().skip(1).zip(PRESENCE) {
            *to = from.cast_signed() as libc::c_char;
        }
        let length = mem::offset_of!(libc::sockaddr_un, sun_path) + 1 + PRESENCE.len();
        let length = length as libc::socklen_t;
        Self { raw, length }
    }

    fn new(path: &Path) -> io::Result<Self> {
        let bytes = path.as_os_str().as_bytes();
        let mut raw = Self::empty();
        // One byte stays zero and ends the path. An empty one would mean "any address".
        if bytes.is_empty() || bytes.len() >= raw.sun_path.len() || bytes.contains(&0) {
            let message = format!("{}: not a path for a socket", path.display());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        for (to, from) in raw.sun_path.iter_mut().zip(bytes) {
            *to = from.cast_signed() as libc::c_char;
        }
        Ok(Self {
            raw,
            length: size_of::<libc::sockaddr_un>() as libc::socklen_t,
        })
    }

    fn pointer(&self) -> *const libc::sockaddr {
        (&raw const self.raw).cast()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use super::*;
    use crate::sys::poll::{PollFd, poll};
    use crate::testing::eventually::eventually;
    use crate::testing::skipping::may_as_root;

    /// A directory that is removed with whatever is in it.
    struct Directory(PathBuf);

    impl Directory {
        fn new(name: &str) -> Self {
            let name = format!("postern-unix-{}-{name}", std::process::id());
            let path = std::env::temp_dir().join(name);
            fs::create_dir(&path).unwrap();
            Self(path)
        }

        fn socket(&self) -> PathBuf {
            self.0.join("control")
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn accepted(listener: &Listener) -> io::Result<UnixStream> {
        poll(&mut [PollFd::readable(listener.as_fd())], None)?;
        listener.accept().map(Option::unwrap)
    }

    #[test]
    fn agents_of_one_network_namespace_know_each_other() {
        crate::sys::tap::in_a_namespace(|| {
            let first = Presence::claim();
            assert!(!first.is_others());
            // More than there is room for.
            for _ in 0..40 {
                assert!(Presence::claim().is_others());
            }
            drop(first);
            eventually(|| !Presence::claim().is_others());
        });
    }

    #[test]
    fn a_client_talks_to_the_listener() {
        let directory = Directory::new("talk");
        let listener = Listener::bind(&directory.socket()).unwrap();
        assert!(listener.accept().unwrap().is_none());
        let mut client = UnixStream::connect(directory.socket()).unwrap();
        let mut server = accepted(&listener).unwrap();
        client.write_all(b"status").unwrap();
        let mut text = [0; 6];
        server.read_exact(&mut text).unwrap();
        assert_eq!(&text, b"status");
        assert_eq!(
            server.read(&mut text).unwrap_err().kind(),
            io::ErrorKind::WouldBlock
        );
    }

    #[test]
    fn only_the_owner_may_open_it() {
        let directory = Directory::new("mode");
        let _listener = Listener::bind(&directory.socket()).unwrap();
        let found = fs::metadata(directory.socket()).unwrap();
        assert_eq!(found.mode() & 0o7777, 0o600);
        assert_eq!(found.uid(), effective_user());
    }

    #[test]
    fn a_second_listener_is_refused_and_the_first_goes_on() {
        let directory = Directory::new("second");
        let listener = Listener::bind(&directory.socket()).unwrap();
        let error = Listener::bind(&directory.socket()).err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert!(error.to_string().contains("is postern running?"), "{error}");
        let _client = UnixStream::connect(directory.socket()).unwrap();
        accepted(&listener).unwrap();
    }

    #[test]
    fn a_program_that_takes_no_lock_is_respected() {
        let directory = Directory::new("foreign");
        let _foreign = UnixListener::bind(directory.socket()).unwrap();
        let error = Listener::bind(&directory.socket()).err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert!(directory.socket().exists());
    }

    #[test]
    fn a_dead_programs_socket_is_replaced() {
        let directory = Directory::new("stale");
        drop(UnixListener::bind(directory.socket()).unwrap());
        assert!(directory.socket().exists());
        eventually(|| Listener::bind(&directory.socket()).is_ok());
        assert!(!directory.socket().exists());
        eventually(|| Listener::bind(&directory.socket()).is_ok());
    }

    #[test]
    fn a_file_is_not_removed() {
        let directory = Directory::new("file");
        fs::write(directory.socket(), "precious").unwrap();
        let error = Listener::bind(&directory.socket()).err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(directory.socket()).unwrap(), b"precious");
    }

    #[test]
    fn paths_that_the_kernel_cannot_take() {
        for path in ["", "a\0b", &"x".repeat(108)] {
            let error = Listener::bind(Path::new(path)).err().unwrap();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{path:?}");
        }
        assert!(Address::new(Path::new(&"x".repeat(107))).is_ok());
    }

    #[test]
    fn a_stranger_is_hung_up_on() {
        if !may_as_root() {
            return;
        }
        let directory = Directory::new("stranger");
        let listener = Listener::bind(&directory.socket()).unwrap();
        let open = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode));
        open(&directory.0, 0o755).unwrap();
        open(&directory.socket(), 0o666).unwrap();
        let path = directory.socket();
        let stranger = std::thread::spawn(move || {
            // SAFETY: takes numbers only. The bare call changes this thread's user alone.
            check(unsafe { libc::syscall(libc::SYS_setresuid, 65534, 65534, 65534) } as i32)
                .unwrap();
            UnixStream::connect(path).unwrap()
        });
        let error = accepted(&listener).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        assert!(error.to_string().contains("user 65534"), "{error}");
        let mut stranger = stranger.join().unwrap();
        assert_eq!(stranger.read(&mut [0]).unwrap(), 0);
    }
}
