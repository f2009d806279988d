//! What became of a knock, to people and to programs.

use core::fmt::Write as _;
use core::net::IpAddr;

use postern_core::door::Method;
use postern_core::knock::Port;

use super::Settings;
use super::packet::Packet;
use super::route::{NoWay, Route};
use super::watch::{Answer, Sight};
use crate::output::Failure;
use crate::output::json::{list, quoted};

/// What became of a knock.
pub(crate) struct Outcome {
    pub(super) host: String,
    door: String,
    closing: bool,
    /// What its owner can look at when the knocks were sent and nothing opened.
    hint: &'static str,
    address: Option<IpAddr>,
    /// The addresses of ours that packets came from.
    sources: Vec<IpAddr>,
    /// What was sent last.
    pub(super) packets: Vec<Packet>,
    pub(super) tries: u32,
    /// What was seen last.
    pub(super) sight: Option<Sight>,
    pub(super) end: End,
}

/// How it ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Nothing was to be sent.
    Dry,
    /// The knocks were sent; nobody looked what became of them.
    Sent,
    /// The port is as it should be.
    Seen,
    /// It was so without knocks.
    Already,
    /// There is no way to the host.
    NoWay(NoWay),
    /// The kernel would not send.
    Unsent(String),
    /// The knocks were sent, and the port is not as it should be.
    Unseen,
}

impl End {
    pub(super) const fn is_failure(&self) -> bool {
        matches!(self, Self::NoWay(_) | Self::Unsent(_) | Self::Unseen)
    }
}

impl Outcome {
    pub(super) fn new(settings: &Settings, host: &str, method: &Method) -> Self {
        let hint = match method {
            Method::Clock { .. } => {
                "; are the clocks right, here and at the router? 'postern status' there says so, and from when on \
                 codes count: those up to its first start do not"
            }
            Method::Seed { .. } | Method::List { .. } => {
                "; 'postern export' at the router says which --next it expects, and 'postern status' there whether \
                 it waits for 'postern resync'"
            }
            Method::Spa(_) => {
                "; are the clocks right, here and at the router, and is the address that the datagram names the one that \
                 the router sees? 'postern status' there counts what it refused, and why"
            }
            Method::Same { .. } | Method::Separate { .. } => "",
        };
        Self {
            host: host.into(),
            hint,
            door: settings.door.clone(),
            closing: settings.closing,
            address: None,
            sources: Vec::new(),
            packets: Vec::new(),
            tries: 0,
            sight: None,
            end: End::Dry,
        }
    }

    /// Forgets the way that was tried before.
    pub(super) fn take(&mut self, route: &Route) {
        self.address = Some(route.target.ip());
        self.sources = vec![route.source];
        self.sight = None;
        self.tries = 0;
    }

    /// Adds addresses that our packets came from.
    pub(super) fn see(&mut self, sources: impl IntoIterator<Item = IpAddr>) {
        for source in sources {
            if !self.sources.contains(&source) {
                self.sources.push(source);
            }
        }
    }

    /// What may keep its owner out although all went well.
    pub(crate) fn warning(&self) -> Option<String> {
        let sources: Vec<String> = self.sources.iter().map(IpAddr::to_string).collect();
        (sources.len() > 1).then(|| {
            format!(
                "packets to {} come from different addresses of this machine ({}); a door opens for \
                 the one that knocks",
                self.host,
                sources.join(", ")
            )
        })
    }

    pub(crate) fn render(&self, json: bool) -> String {
        if json { self.json() } else { self.text() }
    }

    /// The step that failed, if one did.
    pub(crate) fn verdict(&self) -> Result<(), Failure> {
        match self.failure() {
            Some((_, why)) => Err(Failure::Failed(why)),
            None => Ok(()),
        }
    }

    /// A word for programs, and a sentence for people.
    fn failure(&self) -> Option<(&'static str, String)> {
        let host = &self.host;
        match &self.end {
            End::NoWay(why) => {
                let step = match why {
                    NoWay::Name(_) => "name",
                    NoWay::Family(_) | NoWay::Route(_) => "route",
                };
                Some((step, format!("{host}: {why}")))
            }
            End::Unsent(why) => Some(("send", format!("{host}: a knock cannot be sent: {why}"))),
            End::Unseen => {
                let (step, why) = unseen(self.sight?);
                let (door, knocked, times) = (&self.door, self.knocked(), self.tries);
                let hint = if step == "silent" { self.hint } else { "" };
                let why = format!("door {door}: {knocked}, {times} times; {why}{hint}");
                Some((step, why))
            }
            End::Dry | End::Sent | End::Seen | End::Already => None,
        }
    }

    fn text(&self) -> String {
        let (door, knocked) = (&self.door, self.knocked());
        match (&self.end, self.sight) {
            (End::Dry, _) => self
                .packets
                .iter()
                .map(|packet| self.line(packet))
                .collect(),
            (End::Sent, _) => format!("door {door}: {knocked}\n"),
            (End::Seen, Some(sight)) => format!("door {door}: {knocked}; {}\n", state(sight)),
            (End::Already, Some(sight)) => {
                format!(
                    "door {door}: {} already, so nothing was sent\n",
                    state(sight)
                )
            }
            _ => String::new(),
        }
    }

    fn knocked(&self) -> String {
        let ports = match self.packets.len() {
            1 => "1 port".to_string(),
            ports => format!("{ports} ports"),
        };
        format!("knocked {ports} at {}", self.at())
    }

    fn at(&self) -> String {
        self.address
            .map_or_else(|| self.host.clone(), |address| address.to_string())
    }

    fn line(&self, packet: &Packet) -> String {
        let (protocol, number) = (packet.port.protocol.name(), packet.port.number);
        let line = format!("{protocol} {} {number} {}", self.at(), packet.hex());
        format!("{}\n", line.trim_end())
    }

    fn json(&self) -> String {
        let action = if self.closing { "close" } else { "open" };
        let mut json = format!("{{\"door\":{}", quoted(&self.door));
        _ = write!(
            json,
            ",\"action\":{},\"host\":{}",
            quoted(action),
            quoted(&self.host)
        );
        let address = self.address.map(|address| quoted(&address.to_string()));
        _ = write!(json, ",\"address\":{}", or_null(address));
        let sources = self
            .sources
            .iter()
            .map(|source| quoted(&source.to_string()));
        _ = write!(json, ",\"sources\":{}", list(sources));
        let packets = self.packets.iter().map(|packet| {
            let (protocol, number) = (packet.port.protocol.name(), packet.port.number);
            let payload = quoted(&packet.hex());
            format!("{{\"protocol\":\"{protocol}\",\"port\":{number},\"payload\":{payload}}}")
        });
        _ = write!(
            json,
            ",\"packets\":{},\"tries\":{}",
            list(packets),
            self.tries
        );
        let seen = self.sight.map(|sight| {
            let (port, answer) = (quoted(&name(sight.port)), quoted(word(sight.answer)));
            format!("{{\"port\":{port},\"answer\":{answer}}}")
        });
        _ = write!(json, ",\"seen\":{}", or_null(seen));
        let (step, why) = self.failure().unzip();
        _ = write!(json, ",\"failed\":{}", or_null(step.map(quoted)));
        _ = writeln!(
            json,
            ",\"reason\":{}}}",
            or_null(why.as_deref().map(quoted))
        );
        json
    }
}

/// At which step it failed, and what that can mean.
fn unseen(sight: Sight) -> (&'static str, String) {
    let port = name(sight.port);
    match sight.answer {
        Answer::Open => ("open", format!("{port} still answers")),
        Answer::Refused => (
            "refused",
            format!(
                "{port} refuses: nothing listens there, or another firewall rejects connections"
            ),
        ),
        Answer::Unreachable => ("unreachable", format!("{port}: the host cannot be reached")),
        Answer::Silent => (
            "silent",
            format!(
                "{port} is silent: the knocks were filtered on the way, they were the wrong ones, \
                 nobody hears them, or your address is cut off ('postern status' at the router says so, \
                 'postern pardon ADDRESS' ends it)"
            ),
        ),
    }
}

fn state(sight: Sight) -> String {
    match sight.answer {
        Answer::Open => format!("{} answers", name(sight.port)),
        _ => format!("{} does not answer", name(sight.port)),
    }
}

fn name(port: Port) -> String {
    format!("{}:{}", port.protocol.name(), port.number)
}

const fn word(answer: Answer) -> &'static str {
    match answer {
        Answer::Open => "open",
        Answer::Refused => "refused",
        Answer::Unreachable => "unreachable",
        Answer::Silent => "silent",
    }
}

fn or_null(json: Option<String>) -> String {
    json.unwrap_or_else(|| "null".into())
}
