//! A client's file: where to knock, and the doors there.

use heapless::{String, Vec};

use super::draft::Draft;
use super::{Diagnostic, Global, Section, Source, read};
use crate::door::{Door, MAX_DOORS, MAX_PATH};

/// The longest host name or address: that of a domain name (RFC 1035, section 2.3.4).
pub const MAX_ADDRESS: usize = 255;

/// What a client knows of a router's doors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// The host name or the address that the knocks go to; empty: it is to be asked for.
    pub address: String<MAX_ADDRESS>,
    /// How the router sees knocks.
    pub source: Source,
    /// The folder of what one-time methods remember, an absolute path; empty: there is a
    /// better default than a file can know.
    pub state_dir: String<MAX_PATH>,
    /// The doors, in the order of the file. They are as the router's, except that `guards`
    /// may be empty.
    pub doors: Vec<Door, MAX_DOORS>,
}

impl Client {
    /// Reads a client's file, and reports everything that is wrong with it.
    ///
    /// The sections of doors are the router's. What would be a weakness there is not
    /// reported here. Warnings leave a client; errors, one or more, do not.
    ///
    /// ```
    /// use postern_core::config::Client;
    ///
    /// let text = b"
    /// config client 'global'
    ///     option address 'router.example'
    /// config door 'ssh'
    ///     option method 'single-same'
    ///     list open 'udp:9001'
    /// ";
    /// let client = Client::parse(text, |wrong| panic!("{wrong}")).expect("a client's file");
    /// assert_eq!(client.address, "router.example");
    /// assert_eq!(client.doors[0].method.open()[0].number, 9001);
    /// ```
    pub fn parse(text: &[u8], mut report: impl FnMut(&Diagnostic<'_>)) -> Option<Self> {
        let mut client = Self {
            address: String::new(),
            source: Source::Nflog,
            state_dir: String::new(),
            doors: Vec::new(),
        };
        let mut global = Global::EMPTY;
        let (address, doors) = (&mut client.address, &mut client.doors);
        let draft = Draft::new(&mut global, address, doors, Section::Client);
        let right = read::read(text, Section::Client, draft, false, &mut report);
        client.source = global.source;
        client.state_dir = global.state_dir;
        right.then_some(client)
    }
}
