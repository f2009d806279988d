//! A disk whose power can be cut between any two writes.
//!
//! QEMU reads and writes it through the protocol of NBD
//! (github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md), so that the test knows every
//! write and every flush, and can let what was not flushed be lost.

use std::fs::{self, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use postern_tests::process::run;
use postern_tests::scratch::Scratch;

const SIZE: usize = 8 << 20;

/// A disk with a file system on it. It keeps what it holds from one machine to the next.
#[derive(Debug)]
pub(crate) struct Disk {
    scratch: Scratch,
    platter: Arc<Mutex<Platter>>,
}

/// What becomes of writes that were not flushed when the power goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unflushed {
    /// They are on the disk.
    Kept,
    /// They are not.
    Lost,
}

#[derive(Debug)]
struct Platter {
    /// What the machine reads.
    seen: Vec<u8>,
    /// What was there at the last flush.
    flushed: Vec<u8>,
    /// How many more writes and flushes there will be; `None`: the power stays.
    steps_left: Option<usize>,
    /// Whether there was one more, and no power for it.
    is_refused: bool,
}

impl Disk {
    /// A disk with these files, by their paths; only their owner can read them.
    pub(crate) fn with(files: &[(&str, &str)]) -> Self {
        let scratch = Scratch::new();
        let root = scratch.join("root");
        for folder in ["config", "postern"] {
            fs::create_dir_all(root.join(folder)).expect("make a folder");
        }
        for (name, text) in files {
            let path = root.join(name);
            fs::write(&path, text).expect("write a file");
            fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("make it private");
        }
        let image = scratch.join("image");
        let mut mke2fs = Command::new("mke2fs");
        mke2fs
            .args(["-q", "-t", "ext4", "-E", "lazy_itable_init=0", "-d"])
            .arg(root)
            .arg(&image);
        run(mke2fs.arg(format!("{}k", SIZE / 1024)), "").ok();
        let seen = fs::read(&image).expect("read the image");
        fs::remove_file(image).expect("remove the image");
        let platter = Platter {
            flushed: seen.clone(),
            seen,
            steps_left: None,
            is_refused: false,
        };
        Self {
            scratch,
            platter: Arc::new(Mutex::new(platter)),
        }
    }

    /// Offers it to one machine, at this socket.
    pub(crate) fn serve(&self) -> PathBuf {
        let path = self.scratch.join("nbd");
        let _ = fs::remove_file(&path);
        let listener = UnixListener::bind(&path).expect("offer a disk");
        let platter = Arc::clone(&self.platter);
        thread::spawn(move || {
            if let Ok((stream, _)) = listener.accept() {
                // It ends when QEMU does.
                let _ = attend(stream, &platter);
            }
        });
        path
    }

    /// Has the power go after so many more writes and flushes.
    pub(crate) fn cut_after(&self, steps: usize) {
        lock(&self.platter).steps_left = Some(steps);
    }

    /// Whether the power went in the middle of something.
    pub(crate) fn is_refused(&self) -> bool {
        lock(&self.platter).is_refused
    }

    /// Has the power back. The machine that had the disk must be gone.
    pub(crate) fn power_on(&self, unflushed: Unflushed) {
        let mut platter = lock(&self.platter);
        match unflushed {
            Unflushed::Kept => platter.flushed = platter.seen.clone(),
            Unflushed::Lost => platter.seen = platter.flushed.clone(),
        }
        platter.steps_left = None;
        platter.is_refused = false;
    }
}

fn lock(platter: &Mutex<Platter>) -> MutexGuard<'_, Platter> {
    platter.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Platter {
    /// Whether there is power for one more step.
    fn step(&mut self) -> bool {
        match &mut self.steps_left {
            Some(0) => self.is_refused = true,
            Some(left) => *left -= 1,
            None => {}
        }
        !self.is_refused
    }

    fn write(&mut self, at: usize, bytes: &[u8]) -> Option<()> {
        let place = self.seen.get_mut(at..at + bytes.len())?;
        place.copy_from_slice(bytes);
        Some(())
    }

    fn flush(&mut self) {
        self.flushed.copy_from_slice(&self.seen);
    }
}

const MAGIC: &[u8] = b"NBDMAGIC";
const OPTION: &[u8; 8] = b"IHAVEOPT";
const OPTION_REPLY: u64 = 0x0003_e889_0455_65a9;
const REQUEST: u32 = 0x2560_9513;
const REPLY: u32 = 0x6744_6698;
/// NBD_FLAG_FIXED_NEWSTYLE, NBD_FLAG_NO_ZEROES
const HANDSHAKE_FLAGS: u16 = 0b11;
/// NBD_FLAG_HAS_FLAGS, NBD_FLAG_SEND_FLUSH, NBD_FLAG_SEND_FUA
const TRANSMISSION_FLAGS: u16 = 0b1101;
const OPT_GO: u32 = 7;
const REP_ACK: u32 = 1;
const REP_INFO: u32 = 3;
const REP_ERR_UNSUP: u32 = 1 << 31 | 1;
const CMD_READ: u16 = 0;
const CMD_WRITE: u16 = 1;
const CMD_DISC: u16 = 2;
const CMD_FLUSH: u16 = 3;
const CMD_FLAG_FUA: u16 = 1;
const EINVAL: u32 = 22;

/// Serves until the other side goes, or the power does.
fn attend(mut stream: UnixStream, platter: &Mutex<Platter>) -> io::Result<()> {
    shake_hands(&mut stream)?;
    loop {
        let request = Request::read(&mut stream)?;
        let is_step = matches!(request.kind, CMD_WRITE | CMD_FLUSH);
        if request.kind == CMD_DISC || is_step && !lock(platter).step() {
            // Without power nothing is answered any more; the line stays open until QEMU dies.
            return wait_for_end(&mut stream);
        }
        let answer = request.carry_out(&mut lock(platter));
        request.reply(&mut stream, answer)?;
    }
}

fn wait_for_end(stream: &mut UnixStream) -> io::Result<()> {
    io::copy(stream, &mut io::sink()).map(drop)
}

/// Fixed newstyle negotiation: the only export there is.
fn shake_hands(stream: &mut UnixStream) -> io::Result<()> {
    stream.write_all(MAGIC)?;
    stream.write_all(OPTION)?;
    stream.write_all(&HANDSHAKE_FLAGS.to_be_bytes())?;
    let _client_flags: [u8; 4] = read(stream)?;
    loop {
        let magic: [u8; 8] = read(stream)?;
        if magic != *OPTION {
            return Err(io::Error::other("no option"));
        }
        let option = u32::from_be_bytes(read(stream)?);
        let mut data = vec![0; u32::from_be_bytes(read(stream)?) as usize];
        stream.read_exact(&mut data)?;
        if option != OPT_GO {
            reply_option(stream, option, REP_ERR_UNSUP, &[])?;
            continue;
        }
        // NBD_INFO_EXPORT
        let mut info = vec![0, 0];
        info.extend((SIZE as u64).to_be_bytes());
        info.extend(TRANSMISSION_FLAGS.to_be_bytes());
        reply_option(stream, option, REP_INFO, &info)?;
        return reply_option(stream, option, REP_ACK, &[]);
    }
}

fn reply_option(stream: &mut UnixStream, option: u32, kind: u32, data: &[u8]) -> io::Result<()> {
    let mut reply = OPTION_REPLY.to_be_bytes().to_vec();
    reply.extend(option.to_be_bytes());
    reply.extend(kind.to_be_bytes());
    reply.extend((data.len() as u32).to_be_bytes());
    reply.extend(data);
    stream.write_all(&reply)
}

struct Request {
    flags: u16,
    kind: u16,
    cookie: [u8; 8],
    at: usize,
    length: usize,
    payload: Vec<u8>,
}

impl Request {
    fn read(stream: &mut UnixStream) -> io::Result<Self> {
        if u32::from_be_bytes(read(stream)?) != REQUEST {
            return Err(io::Error::other("no request"));
        }
        let flags = u16::from_be_bytes(read(stream)?);
        let kind = u16::from_be_bytes(read(stream)?);
        let cookie = read(stream)?;
        let at = u64::from_be_bytes(read(stream)?) as usize;
        let length = u32::from_be_bytes(read(stream)?) as usize;
        let mut payload = vec![0; if kind == CMD_WRITE { length } else { 0 }];
        stream.read_exact(&mut payload)?;
        Ok(Self {
            flags,
            kind,
            cookie,
            at,
            length,
            payload,
        })
    }

    /// What it reads; `None` where it asks for what there is not.
    fn carry_out(&self, platter: &mut Platter) -> Option<Vec<u8>> {
        match self.kind {
            CMD_READ => return Some(platter.seen.get(self.at..self.at + self.length)?.to_vec()),
            CMD_WRITE => platter.write(self.at, &self.payload)?,
            CMD_FLUSH => platter.flush(),
            _ => return None,
        }
        if self.flags & CMD_FLAG_FUA != 0 {
            platter.flush();
        }
        Some(Vec::new())
    }

    fn reply(&self, stream: &mut UnixStream, answer: Option<Vec<u8>>) -> io::Result<()> {
        let error = if answer.is_none() { EINVAL } else { 0 };
        let mut reply = REPLY.to_be_bytes().to_vec();
        reply.extend(error.to_be_bytes());
        reply.extend(self.cookie);
        reply.extend(answer.unwrap_or_default());
        stream.write_all(&reply)
    }
}

fn read<const N: usize>(stream: &mut UnixStream) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}
