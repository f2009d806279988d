//! The control socket: how the verbs reach a running agent.
//!
//! One request line, one answer: `ok` and a length or `failed` on the first line, then text. Only the
//! owner of the agent (root) may connect. A request is at most [`MAX_REQUEST_LEN`] bytes, at
//! most [`MAX_CLIENTS`] wait at a time; one more is turned away, and one that says nothing
//! for [`SOCKET_TIMEOUT`] is hung up on.

use core::net::IpAddr;
use std::fs::DirBuilder;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use postern_core::time::{Duration, Instant};

use crate::collect::CollectVec;
use crate::files::config_file::Doors;
use crate::network::Network;
use crate::onetime::Resync;
use crate::sys::unix::{self, Listener};

pub(crate) const MAX_CLIENTS: usize = 8;
const MAX_REQUEST_LEN: usize = 4096;
const SOCKET_TIMEOUT: Duration = Duration::from_secs(2);
/// How long nobody is received after there was no descriptor or memory for a caller, who waits: the verbs do for 3 s.
const REST: Duration = Duration::from_millis(500);

/// What a verb asks of the agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// Describe yourself.
    Status { json: bool },
    /// Tell of each knock from now on.
    Watch { json: bool },
    /// Open a door; for the door's grant if no time is named.
    Open {
        door: String,
        whom: Whom,
        lasting: Option<Duration>,
    },
    /// Withdraw a door's grants, or one source's.
    Close { door: String, from: Option<Network> },
    /// Let nobody in at a door, whatever is granted.
    Lock { door: String },
    /// Have its grants count again.
    Unlock { door: String },
    /// Listen again to a source that is cut off; to all of them if none is named.
    Pardon { source: Option<IpAddr> },
    /// Take over this configuration and install its guard, on trial for a time if one is named.
    Apply {
        config: PathBuf,
        confirm_within: Option<Duration>,
        doors: Doors,
    },
    /// Read the configuration's file again.
    Reload,
    /// Make the guard that is on trial stay.
    Confirm,
    /// Take the guard away.
    Remove,
    /// Take this for what a one-time door has used.
    Resync { door: String, how: Resync },
    /// Read a one-time door's secret and memory again.
    Reread { door: String },
}

/// For whom a door is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Whom {
    /// One source, or a network of them.
    Source(Network),
    /// Everyone on the guarded interfaces.
    Everyone,
    /// Everyone on one interface: a network may have several devices.
    On(Vec<String>),
}

/// The request to apply what may have no door.
const DOORLESS: &str = "apply-doorless";

/// What the agent answers.
pub(crate) type Answer = Result<String, String>;

impl Request {
    pub(crate) fn encode(&self) -> String {
        let or_dash = |value: Option<String>| value.unwrap_or_else(|| "-".into());
        let from = |from: &Option<Network>| or_dash(from.map(|from| from.to_string()));
        let address = |source: &Option<IpAddr>| or_dash(source.map(|source| source.to_string()));
        let millis = |time: Duration| format!("{}ms", time.as_millis());
        match self {
            Self::Status { json: false } => "status text".into(),
            Self::Status { json: true } => "status json".into(),
            Self::Watch { json: false } => "watch text".into(),
            Self::Watch { json: true } => "watch json".into(),
            Self::Open {
                door,
                whom,
                lasting,
            } => {
                let whom = match whom {
                    Whom::Source(source) => source.to_string(),
                    Whom::Everyone => "-".into(),
                    Whom::On(devices) => format!("on,{}", devices.join(",")),
                };
                format!("open {door} {whom} {}", or_dash(lasting.map(millis)))
            }
            Self::Close { door, from: source } => format!("close {door} {}", from(source)),
            Self::Lock { door } => format!("lock {door}"),
            Self::Unlock { door } => format!("unlock {door}"),
            Self::Pardon { source } => format!("pardon {}", address(source)),
            Self::Apply {
                config,
                confirm_within,
                doors,
            } => format!(
                "{} {} {}",
                match doors {
                    Doors::Needed => "apply",
                    Doors::Allowed => DOORLESS,
                },
                or_dash(confirm_within.map(millis)),
                config.display()
            ),
            Self::Reload => "reload".into(),
            Self::Confirm => "confirm".into(),
            Self::Remove => "remove".into(),
            Self::Resync { door, how } => match how {
                Resync::Usual => format!("resync {door}"),
                Resync::To(next) => format!("resync {door} to {next}"),
                Resync::Codes(first, second) => {
                    format!("resync {door} codes {first} {}", or_dash(second.clone()))
                }
            },
            Self::Reread { door } => format!("reread {door}"),
        }
    }

    pub(crate) fn decode(line: &str) -> Option<Self> {
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        if verb == "apply" || verb == DOORLESS {
            let (confirm_within, config) = rest.split_once(' ')?;
            let config = PathBuf::from(config);
            return config.is_absolute().then_some(Self::Apply {
                config,
                confirm_within: unless_dash(confirm_within, |time| Duration::parse(time).ok())?,
                doors: match verb {
                    DOORLESS => Doors::Allowed,
                    _ => Doors::Needed,
                },
            });
        }
        let words: Vec<&str> = rest.split_whitespace().collect_vec();
        match (verb, words.as_slice()) {
            ("status", ["text"]) => Some(Self::Status { json: false }),
            ("status", ["json"]) => Some(Self::Status { json: true }),
            ("watch", ["text"]) => Some(Self::Watch { json: false }),
            ("watch", ["json"]) => Some(Self::Watch { json: true }),
            ("open", [door, whom, lasting]) => Some(Self::Open {
                door: (*door).into(),
                whom: match whom.strip_prefix("on,") {
                    Some(devices) => Whom::On(devices.split(',').map(Into::into).collect_vec()),
                    None => unless_dash(whom, |source| Network::parse(source).ok())?
                        .map_or(Whom::Everyone, Whom::Source),
                },
                lasting: unless_dash(lasting, |lasting| Duration::parse(lasting).ok())?,
            }),
            ("close", [door, from]) => Some(Self::Close {
                door: (*door).into(),
                from: unless_dash(from, |from| Network::parse(from).ok())?,
            }),
            ("lock", [door]) => Some(Self::Lock {
                door: (*door).into(),
            }),
            ("unlock", [door]) => Some(Self::Unlock {
                door: (*door).into(),
            }),
            ("pardon", [source]) => Some(Self::Pardon {
                source: unless_dash(source, |source| source.parse().ok())?,
            }),
            ("reload", []) => Some(Self::Reload),
            ("confirm", []) => Some(Self::Confirm),
            ("remove", []) => Some(Self::Remove),
            ("resync", [door, how @ ..]) => Some(Self::Resync {
                door: (*door).into(),
                how: match how {
                    [] => Resync::Usual,
                    ["to", next] => Resync::To(next.parse().ok()?),
                    ["codes", first, second] => Resync::Codes(
                        (*first).into(),
                        unless_dash(second, |second| Some(second.into()))?,
                    ),
                    _ => return None,
                },
            }),
            ("reread", [door]) => Some(Self::Reread {
                door: (*door).into(),
            }),
            _ => None,
        }
    }
}

/// `Some(None)` for a dash, `None` for nonsense.
fn unless_dash<T>(word: &str, parse: impl FnOnce(&str) -> Option<T>) -> Option<Option<T>> {
    match word {
        "-" => Some(None),
        word => parse(word).map(Some),
    }
}

/// Asks the agent behind `socket`; `None` where no agent listens.
pub(crate) fn ask(socket: &Path, request: &Request) -> io::Result<Option<Answer>> {
    let Some(mut stream) = call(socket, request)? else {
        return Ok(None);
    };
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    understand(&answer).map(Some)
}

/// Tells the agent behind `socket` what it is asked; `None` where no agent listens.
pub(crate) fn call(socket: &Path, request: &Request) -> io::Result<Option<UnixStream>> {
    let mut stream = match unix::connect(socket) {
        Ok(stream) => stream,
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::NotFound | ErrorKind::ConnectionRefused
            ) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    // Longer than the agent needs for anything it does; it may also be stopped.
    let timeout = core::time::Duration::from_secs(3);
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    stream.write_all(format!("{}\n", request.encode()).as_bytes())?;
    Ok(Some(stream))
}

/// An answer says how long it is, so that one that broke off is known.
fn understand(answer: &str) -> io::Result<Answer> {
    let (first, text) = answer.split_once('\n').unwrap_or((answer, ""));
    if first == "failed" {
        return Ok(Err(text.trim_end().into()));
    }
    let length = first
        .strip_prefix("ok ")
        .and_then(|length| length.parse().ok());
    match length {
        Some(length) if text.len() == length => Ok(Ok(text.into())),
        _ => Err(ErrorKind::UnexpectedEof.into()),
    }
}

/// The agent's end.
pub(crate) struct Control {
    listener: Listener,
    clients: Vec<Client>,
    rests_until: Option<Instant>,
}

struct Client {
    stream: UnixStream,
    line: Vec<u8>,
    hang_up_at: Instant,
}

impl Control {
    /// Listens, in a folder that nobody else can enter if there is none yet.
    pub(crate) fn listen(path: &Path) -> io::Result<Self> {
        if let Some(folder) = path.parent().filter(|folder| !folder.exists()) {
            DirBuilder::new().mode(0o700).create(folder)?;
        }
        Ok(Self {
            listener: Listener::bind(path)?,
            clients: Vec::with_capacity(MAX_CLIENTS),
            rests_until: None,
        })
    }

    /// What to wait for.
    pub(crate) fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let clients = self.clients.iter().map(|client| client.stream.as_fd());
        let listener = Some(self.listener.as_fd()).filter(|_| self.rests_until.is_none());
        listener.into_iter().chain(clients)
    }

    /// When a silent client is hung up on, or others are received again.
    pub(crate) fn poll_at(&self) -> Option<Instant> {
        let clients = self.clients.iter().map(|client| client.hang_up_at);
        clients.chain(self.rests_until).min()
    }

    /// Reads what came: the callers whose request is complete.
    pub(crate) fn hear(&mut self, now: Instant) -> Vec<Caller> {
        let mut callers = Vec::new();
        self.clients.retain_mut(|client| match client.listen(now) {
            Heard::Nothing => true,
            Heard::HungUp => false,
            Heard::Line(line) => {
                if let Ok(stream) = client.stream.try_clone() {
                    let request = Request::decode(&line);
                    callers.push(Caller { stream, request });
                }
                false
            }
        });
        if self.rests_until.is_some_and(|until| until > now) {
            return callers;
        }
        self.rests_until = None;
        // Bounded, so that a storm of callers cannot keep the agent from its knocks.
        for _ in 0..MAX_CLIENTS {
            match self.listener.accept() {
                Ok(Some(stream)) if self.clients.len() < MAX_CLIENTS => {
                    self.clients.push(Client {
                        stream,
                        line: Vec::new(),
                        hang_up_at: now + SOCKET_TIMEOUT,
                    });
                }
                Ok(Some(_)) => {}
                Ok(None) => break,
                // Whoever that was is gone.
                Err(error) if error.kind() == ErrorKind::PermissionDenied => {}
                Err(_) => {
                    self.rests_until = Some(now + REST);
                    break;
                }
            }
        }
        callers
    }
}

/// Someone who asked and waits for the answer.
pub(crate) struct Caller {
    stream: UnixStream,
    request: Option<Request>,
}

impl Caller {
    /// What was asked; `None` where it makes no sense.
    pub(crate) const fn request(&self) -> Option<&Request> {
        self.request.as_ref()
    }

    /// The way to whoever asked.
    pub(crate) fn into_stream(self) -> UnixStream {
        self.stream
    }

    /// Answers without waiting: what does not fit the socket's buffer is lost, and the
    /// verb reports that the answer broke off.
    pub(crate) fn answer(mut self, answer: &Answer) {
        let text = match answer {
            Ok(text) => format!("ok {}\n{text}", text.len()),
            Err(why) => format!("failed\n{why}\n"),
        };
        _ = self.stream.write_all(text.as_bytes());
    }
}

enum Heard {
    Nothing,
    Line(String),
    HungUp,
}

impl Client {
    fn listen(&mut self, now: Instant) -> Heard {
        let mut piece = [0; 512];
        match self.stream.read(&mut piece) {
            Ok(0) => Heard::HungUp,
            Ok(length) => {
                self.line.extend(piece.iter().take(length));
                self.whole_line()
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock && now < self.hang_up_at => {
                Heard::Nothing
            }
            Err(_) => Heard::HungUp,
        }
    }

    fn whole_line(&self) -> Heard {
        match self.line.split_last() {
            Some((b'\n', line)) => match core::str::from_utf8(line) {
                Ok(line) => Heard::Line(line.into()),
                Err(_) => Heard::HungUp,
            },
            _ if self.line.len() > MAX_REQUEST_LEN => Heard::HungUp,
            _ => Heard::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::testing::scratch::Scratch;

    #[test]
    fn requests_survive_the_wire() {
        let source = Some("2001:db8::7".parse().unwrap());
        let from = Some(Network::parse("2001:db8::/64").unwrap());
        for request in [
            Request::Status { json: true },
            Request::Status { json: false },
            Request::Watch { json: true },
            Request::Watch { json: false },
            Request::Open {
                door: "ssh".into(),
                whom: Whom::Source(Network::parse("2001:db8::7").unwrap()),
                lasting: Some(Duration::from_millis(1_500)),
            },
            Request::Open {
                door: "ssh".into(),
                whom: Whom::Everyone,
                lasting: None,
            },
            Request::Open {
                door: "ssh".into(),
                whom: Whom::On(vec!["eth7".into(), "pppoe-wan".into()]),
                lasting: None,
            },
            Request::Close {
                door: "ssh".into(),
                from,
            },
            Request::Close {
                door: "ssh".into(),
                from: None,
            },
            Request::Apply {
                config: "/etc/a file".into(),
                confirm_within: None,
                doors: Doors::Allowed,
            },
            Request::Apply {
                config: "/etc/a file".into(),
                confirm_within: Some(Duration::from_secs(120)),
                doors: Doors::Needed,
            },
            Request::Lock { door: "ssh".into() },
            Request::Unlock { door: "ssh".into() },
            Request::Pardon { source },
            Request::Pardon { source: None },
            Request::Reload,
            Request::Confirm,
            Request::Remove,
            resync(Resync::Usual),
            resync(Resync::To(u64::MAX)),
            resync(Resync::Codes("482913".into(), None)),
            resync(Resync::Codes("482913".into(), Some("000111".into()))),
            Request::Reread { door: "ssh".into() },
        ] {
            assert_eq!(Request::decode(&request.encode()), Some(request));
        }
    }

    fn resync(how: Resync) -> Request {
        Request::Resync {
            door: "ssh".into(),
            how,
        }
    }

    #[test]
    fn a_missing_folder_is_made_for_the_agent_alone() {
        let scratch = Scratch::new();
        let folder = scratch.path("run");
        let _control = Control::listen(&folder.join("control.sock")).unwrap();
        let mode = fs::metadata(&folder).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        assert!(Control::listen(&scratch.path("no/such/control.sock")).is_err());
    }

    #[test]
    fn an_answer_that_broke_off_is_known() {
        assert_eq!(understand("ok 5\nhello").unwrap(), Ok("hello".into()));
        assert_eq!(understand("failed\nno\n").unwrap(), Err("no".into()));
        for broken in ["", "ok", "ok 5\nhell", "ok 5\nhello!", "ok x\n", "okay"] {
            assert!(understand(broken).is_err(), "{broken}");
        }
    }

    #[test]
    fn nonsense_is_not_understood() {
        for line in [
            "",
            "open",
            "open ssh",
            "open ssh nowhere -",
            "open ssh - soon",
            "apply x",
            "apply - x",
            "apply soon /x",
            "remove all",
            "lock",
            "unlock ssh web",
            "pardon",
            "pardon everyone",
            "resync",
            "resync ssh to",
            "resync ssh to 18446744073709551616",
            "resync ssh codes 1",
            "reread",
        ] {
            assert_eq!(Request::decode(line), None, "{line}");
        }
    }
}
