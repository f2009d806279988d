//! Requests to nf_tables and their answers, over one socket that stays open.

use std::io;

use postern_core::time::Duration;

use super::nfta;
use super::request::{self, ElementKey, Request};
use crate::firewall::table::model::timeout;
use crate::firewall::table::names::TABLE;
use crate::netlink::codec::{self, Attributes, Messages};
use crate::sys::netlink::NetlinkSocket;

/// How often a dump is repeated when the rules change under it.
const DUMP_ATTEMPTS: usize = 16;

/// The socket and its buffers, which keep their memory from one request to the next.
pub(crate) struct Connection {
    socket: NetlinkSocket,
    inbox: Box<[u8]>,
    outbox: Vec<u8>,
    sequence: u32,
    /// Whether the kernel is not known to lack [`ElementChange::Destroy`].
    pub(crate) destroys: bool,
}

/// Why a request failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The kernel refused a message.
    Refused {
        /// The message's distance from the first of its transaction.
        position: u32,
        /// The error number.
        number: i32,
        /// The kernel's sentence about it, or nothing.
        sentence: String,
    },
    /// A dump was interrupted each time.
    Restless,
    /// No answer was queued.
    NoAnswer,
    /// The socket failed.
    Socket(io::Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Socket(error)
    }
}

impl Failure {
    fn refused(position: u32, number: i32, sentence: &str) -> Self {
        Self::Refused {
            position,
            number,
            sentence: sentence.to_owned(),
        }
    }

    /// The kernel's error number, if it was the kernel.
    pub(crate) const fn number(&self) -> Option<i32> {
        match self {
            Self::Refused { number, .. } => Some(*number),
            _ => None,
        }
    }
}

/// How long an element stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Term {
    /// So long from now on.
    For(Duration),
    /// Until it is deleted.
    Forever,
}

/// A change to the elements of one set, whose name is given in parts.
#[derive(Clone, Copy)]
pub(crate) enum ElementChange<'c> {
    /// Adds an element, or leaves it as it is.
    Add(&'c [&'c str], ElementKey<'c>, Term),
    /// Deletes an element; fails with ENOENT if it is not there.
    Delete(&'c [&'c str], ElementKey<'c>),
    /// Adds no element: as the first of a transaction it keeps the kernel from telling about
    /// the transaction too where it is to tell about an element (`nf_tables_gen_notify`).
    Nothing(&'c [&'c str]),
    /// Deletes an element if it is there, and has the kernel tell what it was (Linux 6.3).
    Destroy(&'c [&'c str], ElementKey<'c>),
    /// Deletes all elements.
    Flush(&'c [&'c str]),
}

impl Connection {
    /// Opens the socket.
    pub(crate) fn open() -> io::Result<Self> {
        let socket = NetlinkSocket::open()?;
        Ok(Self {
            socket,
            inbox: vec![0; codec::LONGEST_ANSWER].into(),
            outbox: Vec::with_capacity(1024),
            sequence: 1,
            destroys: true,
        })
    }

    /// The port that notifications of its transactions bear.
    pub(crate) fn port(&self) -> io::Result<u32> {
        self.socket.port()
    }

    /// Takes as many sequence numbers as asked for, and returns the first.
    pub(crate) const fn reserve(&mut self, count: u32) -> u32 {
        let first = self.sequence;
        self.sequence = first.wrapping_add(count);
        first
    }

    /// Applies all of the changes or none.
    pub(crate) fn apply(&mut self, changes: &[ElementChange<'_>]) -> Result<(), Failure> {
        self.apply_telling(changes, &mut |_| {})
    }

    /// Applies all of the changes or none; `told` gets each element that the kernel tells it
    /// deleted.
    pub(crate) fn apply_telling(
        &mut self,
        changes: &[ElementChange<'_>],
        told: &mut dyn FnMut(Attributes<'_>),
    ) -> Result<(), Failure> {
        let count = changes.len() as u32;
        let first = self.reserve(count.wrapping_add(2));
        let mut octets = core::mem::take(&mut self.outbox);
        octets.clear();
        request::begin(&mut octets, first, None);
        for (position, change) in (1..).zip(changes) {
            change.write(&mut octets, first.wrapping_add(position), position == count);
        }
        request::end(&mut octets, first.wrapping_add(count).wrapping_add(1));
        let result = self.commit_telling(&octets, first, count, told);
        self.outbox = octets;
        result
    }

    /// Deletes the table.
    pub(crate) fn remove_table(&mut self) -> Result<(), Failure> {
        let first = self.reserve(3);
        let mut octets = Vec::new();
        request::begin(&mut octets, first, None);
        let ask = Request {
            kind: libc::NFT_MSG_DELTABLE,
            flags: libc::NLM_F_ACK,
        };
        request::request(&mut octets, ask, first.wrapping_add(1), |to| {
            codec::text(to, nfta::TABLE_NAME, &[TABLE]);
        });
        request::end(&mut octets, first.wrapping_add(2));
        self.commit(&octets, first, 1)
    }

    /// Sends a transaction of `count` messages between its begin and its end, of which the
    /// last asks for an acknowledgement, and waits for what becomes of it.
    ///
    /// The kernel has processed all of it, and queued what it has to say, before the call
    /// that sends returns (`nfnetlink_rcv_batch`). Its answers come in order.
    pub(crate) fn commit(&mut self, octets: &[u8], first: u32, count: u32) -> Result<(), Failure> {
        self.commit_telling(octets, first, count, &mut |_| {})
    }

    fn commit_telling(
        &mut self,
        octets: &[u8],
        first: u32,
        count: u32,
        told: &mut dyn FnMut(Attributes<'_>),
    ) -> Result<(), Failure> {
        self.socket.send(octets)?;
        let mut failure = None;
        while let Some(datagram) = self.socket.receive_queued(&mut self.inbox)? {
            for message in Messages(datagram) {
                let position = message.sequence.wrapping_sub(first);
                if message.kind == request::ELEMENT_DELETED {
                    told(message.attributes());
                }
                let Some((number, sentence)) = message.outcome() else {
                    continue;
                };
                // What is left of an earlier exchange has lower numbers.
                if position > count {
                    continue;
                }
                if number != 0 && failure.is_none() {
                    failure = Some(Failure::refused(position, number, sentence));
                }
                if position == count {
                    return failure.map_or(Ok(()), Err);
                }
            }
        }
        Err(failure.unwrap_or(Failure::NoAnswer))
    }

    /// Asks for one thing: what `parse` makes of the answer.
    pub(crate) fn ask<T>(
        &mut self,
        kind: i32,
        fill: &dyn Fn(&mut Vec<u8>),
        parse: impl Fn(Attributes<'_>) -> Option<T>,
    ) -> Result<T, Failure> {
        let mut answer = None;
        self.ask_until(kind, fill, &mut |message| {
            answer = parse(message);
            answer.is_some()
        })?;
        answer.ok_or(Failure::NoAnswer)
    }

    /// Asks for one thing, which has come where `is_answer` says so.
    fn ask_until(
        &mut self,
        kind: i32,
        fill: &dyn Fn(&mut Vec<u8>),
        is_answer: &mut dyn FnMut(Attributes<'_>) -> bool,
    ) -> Result<(), Failure> {
        let sequence = self.request(request::INET, Request { kind, flags: 0 }, fill)?;
        while let Some(datagram) = self.socket.receive_queued(&mut self.inbox)? {
            for message in Messages(datagram) {
                if message.sequence != sequence {
                    continue;
                }
                if let Some((number, sentence)) = message.outcome() {
                    return Err(Failure::refused(0, number, sentence));
                }
                if is_answer(message.attributes()) {
                    return Ok(());
                }
            }
        }
        Err(Failure::NoAnswer)
    }

    /// Asks for all things of a kind: `parse` adds what it makes of each message.
    ///
    /// If the rules change meanwhile, what was read is of no use: it begins again.
    pub(crate) fn dump<T>(
        &mut self,
        kind: i32,
        fill: &dyn Fn(&mut Vec<u8>),
        parse: impl Fn(Attributes<'_>, &mut Vec<T>),
    ) -> Result<Vec<T>, Failure> {
        self.dump_of(request::INET, kind, fill, parse)
    }

    /// As [`Self::dump`], of tables of another family.
    pub(crate) fn dump_of<T>(
        &mut self,
        family: u8,
        kind: i32,
        fill: &dyn Fn(&mut Vec<u8>),
        parse: impl Fn(Attributes<'_>, &mut Vec<T>),
    ) -> Result<Vec<T>, Failure> {
        let mut found = Vec::new();
        self.dump_whole(family, kind, fill, &mut |message| match message {
            Some(message) => parse(message, &mut found),
            None => found.clear(),
        })?;
        Ok(found)
    }

    /// Hands each message of a dump on; `None` where it begins anew.
    fn dump_whole(
        &mut self,
        family: u8,
        kind: i32,
        fill: &dyn Fn(&mut Vec<u8>),
        each: &mut dyn FnMut(Option<Attributes<'_>>),
    ) -> Result<(), Failure> {
        for _ in 0..DUMP_ATTEMPTS {
            if self.dump_once(family, kind, fill, each)? {
                return Ok(());
            }
            each(None);
        }
        Err(Failure::Restless)
    }

    /// Hands each message of a dump on; `false`: the rules changed meanwhile.
    fn dump_once(
        &mut self,
        family: u8,
        kind: i32,
        fill: &dyn Fn(&mut Vec<u8>),
        each: &mut dyn FnMut(Option<Attributes<'_>>),
    ) -> Result<bool, Failure> {
        let flags = libc::NLM_F_DUMP;
        let sequence = self.request(family, Request { kind, flags }, fill)?;
        let mut interrupted = false;
        while let Some(datagram) = self.socket.receive_queued(&mut self.inbox)? {
            for message in Messages(datagram) {
                if message.sequence != sequence {
                    continue;
                }
                interrupted |= message.flags & libc::NLM_F_DUMP_INTR as u16 != 0;
                match message.outcome() {
                    Some((0, _)) => return Ok(!interrupted),
                    Some((libc::EINTR, _)) => return Ok(false),
                    Some((number, sentence)) => return Err(Failure::refused(0, number, sentence)),
                    None => each(Some(message.attributes())),
                }
            }
        }
        Err(Failure::NoAnswer)
    }

    fn request(
        &mut self,
        family: u8,
        ask: Request,
        fill: &dyn Fn(&mut Vec<u8>),
    ) -> Result<u32, Failure> {
        let sequence = self.reserve(1);
        self.outbox.clear();
        request::request_of(family, &mut self.outbox, ask, sequence, fill);
        self.socket.send(&self.outbox)?;
        Ok(sequence)
    }
}

impl ElementChange<'_> {
    fn write(&self, to: &mut Vec<u8>, sequence: u32, last: bool) {
        let acknowledge = if last { libc::NLM_F_ACK } else { 0 };
        let (kind, flags) = match self {
            Self::Add(..) | Self::Nothing(_) => (libc::NFT_MSG_NEWSETELEM, libc::NLM_F_CREATE),
            Self::Delete(..) | Self::Flush(_) => (libc::NFT_MSG_DELSETELEM, 0),
            Self::Destroy(..) => (request::DESTROY_ELEMENTS, libc::NLM_F_ECHO),
        };
        let ask = Request {
            kind,
            flags: flags | acknowledge,
        };
        request::request(to, ask, sequence, |to| match *self {
            Self::Add(set, key, Term::For(lasting)) => {
                request::element(to, set, key, Some(timeout(lasting)));
            }
            Self::Add(set, key, Term::Forever)
            | Self::Delete(set, key)
            | Self::Destroy(set, key) => request::element(to, set, key, None),
            Self::Nothing(set) => request::no_elements(to, set),
            Self::Flush(set) => request::set_of_elements(to, set),
        });
    }
}
