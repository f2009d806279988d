//! A caller of ubus, OpenWrt's bus: looks an object up and invokes one of its methods.
//!
//! A message is a header of 8 octets (`struct ubus_msghdr` in ubus' ubusmsg.h) and one blob
//! whose body is a list of blobs, the message's attributes. A blob (libubox' blob.h) is a
//! 32-bit word, big-endian: the length in the low 24 bits, these 4 octets included, above them
//! 7 bits that say which one it is, and a bit that says that a name follows; the next blob
//! begins at a multiple of 4 octets.

use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use postern_core::time::{Duration, Instant};

use crate::sys::clock::boottime;
use crate::sys::unix;

/// Where ubusd listens: since OpenWrt 21.02, and before.
pub(crate) const SOCKET_PATHS: [&str; 2] = ["/var/run/ubus/ubus.sock", "/var/run/ubus.sock"];
/// The longest body of a message: what a router with hundreds of networks says.
const MAX_BODY: usize = 256 * 1024;
/// How long a whole conversation may take: the agent hears no knocks meanwhile.
const CALL_TIMEOUT: Duration = Duration::from_secs(1);

const HEADER_LEN: usize = 8;
const BLOB_HEADER_LEN: usize = 4;
const EXTENDED_FLAG: u32 = 1 << 31;
/// [`EXTENDED_FLAG`] in a blob's first octet.
const NAMED_FLAG: u8 = 1 << 7;

/// `enum ubus_msg_type`
const HELLO: u8 = 0;
const STATUS: u8 = 1;
const DATA: u8 = 2;
const LOOKUP: u8 = 4;
const INVOKE: u8 = 5;
const ADD_OBJECT: u8 = 6;

/// ubusd's own object that sends events (`UBUS_SYSTEM_OBJECT_EVENT`).
const EVENT_OBJECT: u32 = 1;
/// How often the events that wait are read at once.
const MAX_READS: usize = 64;

/// `enum ubus_msg_attr`
const ATTRIBUTE_STATUS: u8 = 1;
const OBJECT_PATH: u8 = 2;
const OBJECT_ID: u8 = 3;
const METHOD: u8 = 4;
const ATTRIBUTE_DATA: u8 = 7;

/// A connection to ubusd.
pub(crate) struct Ubus {
    stream: UnixStream,
    give_up_at: Instant,
    sequence: u16,
}

impl Ubus {
    /// Connects; `NotFound` where there is no ubus.
    pub(crate) fn connect(socket: &Path) -> io::Result<Self> {
        let mut ubus = Self {
            stream: unix::connect(socket)?,
            give_up_at: boottime() + CALL_TIMEOUT,
            sequence: 0,
        };
        ubus.stream.set_write_timeout(Some(span(CALL_TIMEOUT)))?;
        match ubus.receive()? {
            BusMessage { kind: HELLO, .. } => Ok(ubus),
            _ => Err(nonsense()),
        }
    }

    /// Invokes a method without arguments, and returns the fields of what it answers.
    pub(crate) fn call(&mut self, object: &str, method: &str) -> io::Result<Vec<u8>> {
        let id = self.look_up(object)?;
        let answer = self.invoke(id, method, &[])?;
        answer.ok_or_else(nonsense)
    }

    /// Has ubusd tell of events of this name from now on, as libubus' `ubus_register_event_handler`
    /// does: to an object of the listener's own, which has no name.
    pub(crate) fn listen(mut self, event: &str) -> io::Result<Listener> {
        self.send(ADD_OBJECT, 0, &[])?;
        let object = self.answer(OBJECT_ID)?.ok_or_else(nonsense)?;
        let whom = field(INT32, "object", &object);
        let what = field(STRING, "pattern", &string(event));
        self.invoke(EVENT_OBJECT, "register", &[whom, what].concat())?;
        self.stream.set_nonblocking(true)?;
        Ok(Listener(self.stream))
    }

    fn invoke(&mut self, id: u32, method: &str, fields: &[u8]) -> io::Result<Option<Vec<u8>>> {
        let mut body = Vec::new();
        append(&mut body, OBJECT_ID, &id.to_be_bytes());
        append(&mut body, METHOD, &string(method));
        append(&mut body, ATTRIBUTE_DATA, fields);
        self.send(INVOKE, id, &body)?;
        self.answer(ATTRIBUTE_DATA)
    }

    fn look_up(&mut self, object: &str) -> io::Result<u32> {
        let mut body = Vec::new();
        append(&mut body, OBJECT_PATH, &string(object));
        self.send(LOOKUP, 0, &body)?;
        let id = self.answer(OBJECT_ID)?;
        id.and_then(|id| number(&id)).ok_or_else(nonsense)
    }

    fn send(&mut self, kind: u8, peer: u32, body: &[u8]) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut message = vec![0, kind];
        message.extend(self.sequence.to_be_bytes());
        message.extend(peer.to_be_bytes());
        append(&mut message, 0, body);
        self.stream.write_all(&message)
    }

    /// Waits for the status that ends an answer; the attribute, of the data that came first.
    fn answer(&mut self, wanted: u8) -> io::Result<Option<Vec<u8>>> {
        let mut found = None;
        loop {
            let message = self.receive()?;
            let attribute = |id| blobs(&message.body).find(|blob| blob.id == id);
            match message.kind {
                _ if message.sequence != self.sequence => {}
                DATA if found.is_none() => {
                    found = attribute(wanted).map(|blob| blob.body.to_vec());
                }
                STATUS => match attribute(ATTRIBUTE_STATUS).and_then(|blob| number(blob.body)) {
                    Some(0) => return Ok(found),
                    Some(status) => return Err(refused(status)),
                    None => return Err(nonsense()),
                },
                _ => {}
            }
        }
    }

    fn receive(&mut self) -> io::Result<BusMessage> {
        let mut header = [0; HEADER_LEN + BLOB_HEADER_LEN];
        self.read(&mut header)?;
        let [version, kind, s0, s1, _, _, _, _, root @ ..] = header;
        let length = (u32::from_be_bytes(root) & !(u32::MAX << 24)) as usize;
        let length = length
            .checked_sub(BLOB_HEADER_LEN)
            .filter(|length| *length <= MAX_BODY);
        let mut body = vec![0; length.filter(|_| version == 0).ok_or_else(nonsense)?];
        self.read(&mut body)?;
        Ok(BusMessage {
            kind,
            sequence: u16::from_be_bytes([s0, s1]),
            body,
        })
    }

    /// Fills the buffer before the time for it ends.
    fn read(&mut self, mut buffer: &mut [u8]) -> io::Result<()> {
        while !buffer.is_empty() {
            let left = self.give_up_at.since(boottime());
            if left == Duration::default() {
                return Err(ErrorKind::TimedOut.into());
            }
            self.stream.set_read_timeout(Some(span(left)))?;
            match self.stream.read(buffer) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(length) => buffer = buffer.get_mut(length..).unwrap_or_default(),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Is told of events by ubusd.
pub(crate) struct Listener(UnixStream);

impl Listener {
    /// Forgets what was told, whatever it was: whoever calls this asks how things are afterwards.
    /// An error: ubusd is gone.
    pub(crate) fn clear(&mut self) -> io::Result<()> {
        let mut events = [0; 512];
        for _ in 0..MAX_READS {
            match self.0.read(&mut events) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

struct BusMessage {
    kind: u8,
    sequence: u16,
    body: Vec<u8>,
}

/// One blob of a list.
#[derive(Clone, Copy)]
struct Blob<'b> {
    id: u8,
    named: bool,
    body: &'b [u8],
}

/// A field of a table, or an element of an array, which has an empty name (libubox' blobmsg.h).
#[derive(Clone, Copy)]
pub(crate) struct Field<'b> {
    pub(crate) name: &'b str,
    id: u8,
    body: &'b [u8],
}

/// `enum blobmsg_type`
const ARRAY: u8 = 1;
const TABLE: u8 = 2;
const STRING: u8 = 3;
const INT32: u8 = 5;

impl<'b> Field<'b> {
    /// The fields of a table or the elements of an array; none of anything else.
    pub(crate) fn fields(self) -> impl Iterator<Item = Field<'b>> {
        let body = if matches!(self.id, ARRAY | TABLE) {
            self.body
        } else {
            &[]
        };
        fields(body)
    }

    /// What a string says.
    pub(crate) fn text(self) -> Option<&'b str> {
        let text = self.body.strip_suffix(b"\0").filter(|_| self.id == STRING);
        text.and_then(|text| core::str::from_utf8(text).ok())
    }
}

/// The fields of the body of a table. What is malformed ends the list.
pub(crate) fn fields(body: &[u8]) -> impl Iterator<Item = Field<'_>> {
    blobs(body).map_while(|blob| {
        let (length, rest) = blob.body.split_at_checked(2).filter(|_| blob.named)?;
        let length = usize::from(u16::from_be_bytes(length.try_into().ok()?));
        Some(Field {
            name: core::str::from_utf8(rest.get(..length)?).ok()?,
            id: blob.id,
            // The name ends with a zero.
            body: blob
                .body
                .get((2 + length + 1).next_multiple_of(BLOB_HEADER_LEN)..)?,
        })
    })
}

/// The blobs of a list. What is malformed ends it.
fn blobs(mut list: &[u8]) -> impl Iterator<Item = Blob<'_>> {
    core::iter::from_fn(move || {
        let word = u32::from_be_bytes(*list.first_chunk()?);
        let length = (word & !(u32::MAX << 24)) as usize;
        let body = list.get(BLOB_HEADER_LEN..length)?;
        list = list
            .get(length.next_multiple_of(BLOB_HEADER_LEN)..)
            .unwrap_or_default();
        Some(Blob {
            id: (word >> 24 & 0x7f) as u8,
            named: word & EXTENDED_FLAG != 0,
            body,
        })
    })
}

/// Adds a blob, and what brings the next one to a multiple of 4 octets.
fn append(list: &mut Vec<u8>, id: u8, body: &[u8]) {
    let length = (BLOB_HEADER_LEN + body.len()) as u32;
    list.extend((u32::from(id) << 24 | length).to_be_bytes());
    list.extend(body);
    list.resize(list.len().next_multiple_of(BLOB_HEADER_LEN), 0);
}

/// A field of a table.
fn field(kind: u8, name: &str, body: &[u8]) -> Vec<u8> {
    let mut named = (name.len() as u16).to_be_bytes().to_vec();
    named.extend(string(name));
    named.resize(named.len().next_multiple_of(BLOB_HEADER_LEN), 0);
    named.extend(body);
    let mut list = Vec::new();
    append(&mut list, kind | NAMED_FLAG, &named);
    list
}

fn string(text: &str) -> Vec<u8> {
    [text.as_bytes(), b"\0"].concat()
}

fn number(body: &[u8]) -> Option<u32> {
    body.try_into().ok().map(u32::from_be_bytes)
}

const fn span(time: Duration) -> core::time::Duration {
    core::time::Duration::from_millis(time.as_millis())
}

/// `enum ubus_msg_status`
fn refused(status: u32) -> io::Error {
    match status {
        3 | 4 => ErrorKind::NotFound.into(),
        6 => ErrorKind::PermissionDenied.into(),
        _ => io::Error::other(format!("ubus says: status {status}")),
    }
}

fn nonsense() -> io::Error {
    ErrorKind::InvalidData.into()
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::thread;

    use super::*;
    use crate::testing::eventually::eventually;
    use crate::testing::scratch::Scratch;

    #[test]
    fn fields_are_found_in_tables_and_arrays() {
        let wan = [
            field(STRING, "interface", b"wan\0"),
            field(7, "up", &[1]),
            field(5, "uptime", &7_u32.to_be_bytes()),
            field(7, "pending", &[0]),
        ];
        let list = field(TABLE, "", &wan.concat());
        let message = field(ARRAY, "interface", &list);
        let array = fields(&message).next().unwrap();
        assert_eq!(array.name, "interface");
        let table = array.fields().next().unwrap();
        let names: Vec<_> = table.fields().map(|field| field.name).collect();
        assert_eq!(names, ["interface", "up", "uptime", "pending"]);
        let texts: Vec<_> = table.fields().map(Field::text).collect();
        assert_eq!(texts, [Some("wan"), None, None, None]);
        let uptime = table.fields().nth(2).unwrap();
        assert_eq!(uptime.fields().count(), 0);
    }

    #[test]
    fn whatever_was_cut_off_ends_the_list() {
        let list = [field(STRING, "a", b"one\0"), field(STRING, "b", b"two\0")].concat();
        let first = list.len() / 2;
        for length in 0..list.len() {
            let whole = usize::from(length >= first);
            assert_eq!(fields(&list[..length]).count(), whole, "{length}");
        }
    }

    #[test]
    fn hostile_lengths_are_refused() {
        for word in [
            0,
            1,
            3,
            4,
            5,
            0x00ff_ffff,
            0x8000_0004,
            0x8300_0006,
            u32::MAX,
        ] {
            for tail in [&[][..], &[0xff; 3], &[0xff; 8], &[0; 8]] {
                let list = [&word.to_be_bytes()[..], tail].concat();
                assert!(blobs(&list).count() <= 3, "{word:x}");
                assert!(fields(&list).all(|field| field.name.is_empty()), "{word:x}");
            }
        }
    }

    /// What comes of a bus that says these bytes to whoever connects, and nothing more.
    fn said(bytes: &'static [u8], hangs_up: bool) -> ErrorKind {
        let scratch = Scratch::new();
        let path = scratch.path("ubus");
        let listener = UnixListener::bind(&path).unwrap();
        let bus = thread::spawn(move || {
            let (mut caller, _) = listener.accept().unwrap();
            caller.write_all(bytes).unwrap();
            // Until the caller gives up.
            while !hangs_up && caller.read(&mut [0; 512]).is_ok_and(|length| length > 0) {}
        });
        let outcome = Ubus::connect(&path).and_then(|mut ubus| ubus.call("object", "method"));
        bus.join().unwrap();
        outcome.unwrap_err().kind()
    }

    const GREETING: &[u8] = b"\0\0\0\0\0\0\0\x01\0\0\0\x04";

    #[test]
    fn a_bus_that_talks_nonsense_is_hung_up_on() {
        for (bytes, hangs_up, kind) in [
            (&b""[..], true, ErrorKind::UnexpectedEof),
            (b"\0\0\0", true, ErrorKind::UnexpectedEof),
            // Another version, another message, a body without end, one without a length.
            (
                b"\x01\0\0\0\0\0\0\x01\0\0\0\x04",
                true,
                ErrorKind::InvalidData,
            ),
            (
                b"\0\x01\0\0\0\0\0\x01\0\0\0\x04",
                true,
                ErrorKind::InvalidData,
            ),
            (
                b"\0\0\0\0\0\0\0\x01\0\xff\xff\xff",
                true,
                ErrorKind::InvalidData,
            ),
            (
                b"\0\0\0\0\0\0\0\x01\0\0\0\x03",
                true,
                ErrorKind::InvalidData,
            ),
            (GREETING, false, ErrorKind::TimedOut),
            (b"", false, ErrorKind::TimedOut),
        ] {
            let found = match said(bytes, hangs_up) {
                // What read(2) says when its time is over.
                ErrorKind::WouldBlock => ErrorKind::TimedOut,
                // It hung up before the question came.
                ErrorKind::BrokenPipe | ErrorKind::ConnectionReset => ErrorKind::UnexpectedEof,
                kind => kind,
            };
            assert_eq!(found, kind, "{bytes:?}");
        }
    }

    #[test]
    fn an_answer_without_what_was_asked_for_is_nonsense() {
        // A greeting, then for the first question a status that is well.
        let status = [
            GREETING,
            b"\0\x01\0\x01\0\0\0\0\0\0\0\x0c\x01\0\0\x08\0\0\0\0",
        ]
        .concat();
        assert_eq!(said(status.leak(), false), ErrorKind::InvalidData);
        let refused = [
            GREETING,
            b"\0\x01\0\x01\0\0\0\0\0\0\0\x0c\x01\0\0\x08\0\0\0\x04",
        ]
        .concat();
        assert_eq!(said(refused.leak(), false), ErrorKind::NotFound);
    }

    #[test]
    fn events_are_forgotten_until_the_bus_is_gone() {
        let (stream, mut bus) = UnixStream::pair().unwrap();
        stream.set_nonblocking(true).unwrap();
        let mut listener = Listener(stream);
        assert!(listener.clear().is_ok());
        for said in [&b"\xff"[..], &[0; 4096]] {
            bus.write_all(said).unwrap();
            assert!(listener.clear().is_ok());
            assert!(listener.clear().is_ok(), "nothing waits");
        }
        bus.write_all(b"more").unwrap();
        drop(bus);
        eventually(|| listener.clear().is_err());
    }
}
