//! What others do to the table, as nf_tables tells it (nft(8), `monitor`).

use core::fmt::{self, Display, Formatter};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use super::Firewall;
use super::nft::nfta;
use super::nft::request::INET;
use super::table::names::{self, TABLE};
use crate::netlink::codec::{Message, Messages, as_text, as_u32};
use crate::sys::netlink::NetlinkSocket;

/// Room for what is told while the agent is busy, such as a ruleset that is flushed.
const RECEIVE_BUFFER: u32 = 1 << 20;
/// Room for one datagram, as nf_tables makes them (NLMSG_GOODSIZE).
const MAX_DATAGRAM_LEN: usize = 32 * 1024;
/// The most datagrams that are read at a time: whoever changes rules without end must not keep
/// the agent from its knocks.
const MAX_DATAGRAMS_A_TURN: usize = 256;

/// What is told of the tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// Somebody else did something to it.
    Done(Deed, Doer),
    /// Other tables are not what they were.
    ForeignTables,
    /// There was no room for what was told.
    Missed,
}

/// What one transaction did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Deed {
    /// Elements came or went that come and go: grants, cut-offs, a trial that was confirmed.
    Grants,
    /// It is not what it was.
    Changed,
    /// It is gone.
    Deleted,
}

/// Who did it, as far as the kernel tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Doer {
    process: Option<u32>,
    name: String,
}

impl Doer {
    /// Whether it was a verb of this program, which speaks to the kernel where no agent answers.
    pub(crate) fn is_postern(&self) -> bool {
        self.name == "postern"
    }
}

impl Display for Doer {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        // Whoever runs a program chooses its name.
        let name = self.name.escape_default();
        match self.process {
            Some(process) => write!(f, "{name} (process {process})"),
            None => f.write_str("somebody"),
        }
    }
}

/// Hears of changes that others make.
pub(crate) struct Watch {
    socket: NetlinkSocket,
    own_port: u32,
    inbox: Box<[u8]>,
    /// What the transaction did that is being told.
    deed: Option<Deed>,
    /// Whether it concerns other tables.
    others: bool,
}

impl Watch {
    /// Hears from now on of what others than this firewall's socket do.
    pub(crate) fn open(firewall: &Firewall) -> io::Result<Self> {
        let own_port = firewall.connection.port()?;
        let socket = NetlinkSocket::open()?;
        socket.join(libc::NFNLGRP_NFTABLES, own_port, RECEIVE_BUFFER)?;
        Ok(Self {
            socket,
            own_port,
            inbox: vec![0; MAX_DATAGRAM_LEN].into(),
            deed: None,
            others: false,
        })
    }

    /// What was told since this was last asked; never waits.
    pub(crate) fn hear(&mut self) -> io::Result<Vec<News>> {
        let mut news = Vec::new();
        for _ in 0..MAX_DATAGRAMS_A_TURN {
            match self.socket.receive(&mut self.inbox) {
                Ok(datagram) => {
                    let messages = Messages(datagram).filter(|it| it.port != self.own_port);
                    news.extend(messages.filter_map(|it| {
                        let concerned = (&mut self.deed, &mut self.others);
                        learn(concerned, &it)
                    }));
                }
                Err(error) => match error.raw_os_error() {
                    Some(libc::EAGAIN) => break,
                    Some(libc::EINTR) => {}
                    Some(libc::ENOBUFS) => news.push(News::Missed),
                    _ => return Err(error),
                },
            }
        }
        if core::mem::take(&mut self.others) {
            news.push(News::ForeignTables);
        }
        Ok(news)
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Learns from a message what its transaction did; the last message of each says who did it.
pub(super) fn learn(
    (deed, others): (&mut Option<Deed>, &mut bool),
    message: &Message<'_>,
) -> Option<News> {
    let (kind, family) = message.of_nf_tables()?;
    if kind == libc::NFT_MSG_NEWGEN {
        return deed.take().map(|deed| News::Done(deed, doer(message)));
    }
    let table = message.attributes().find(nfta::TABLE_OF_ANY);
    if family != INET || table.and_then(as_text) != Some(TABLE) {
        *others = true;
        return None;
    }
    *deed = match (kind, *deed) {
        (libc::NFT_MSG_DELTABLE, _) => Some(Deed::Deleted),
        // What was deleted before in the same transaction was made anew.
        (libc::NFT_MSG_NEWTABLE, _) => Some(Deed::Changed),
        (libc::NFT_MSG_NEWSETELEM | libc::NFT_MSG_DELSETELEM, before) if !is_fixed(message) => {
            before.max(Some(Deed::Grants))
        }
        (_, before) => before.max(Some(Deed::Changed)),
    };
    None
}

fn is_fixed(elements: &Message<'_>) -> bool {
    let set = elements.attributes().find(nfta::LIST_SET);
    set.and_then(as_text).is_some_and(names::is_fixed)
}

fn doer(generation: &Message<'_>) -> Doer {
    let about = generation.attributes();
    let name = about.find(nfta::GEN_NAME).and_then(as_text);
    Doer {
        process: about.find(nfta::GEN_PROCESS).and_then(as_u32),
        name: name.unwrap_or_default().to_owned(),
    }
}
