//! Every option: what it is called, what it means, and how its value is read.

use heapless::{String, Vec};

use super::draft::{Draft, Fault};
use super::methods::{MethodName, Methods};
use super::values::{
    choice, cutoff, is_special, is_volatile, led, mark, network, number, path, payload, period,
    port, ports, small_number, switch, time, time_within, user, word,
};
use super::{
    DEFAULT_CONTROL, DEFAULT_STATE_DIR, Fallback, Guard, Interface, LogFrom, MAX_EXEMPT,
    MAX_INTERFACES, OnCrash, Problem, Source,
};
use crate::code::{Algorithm, Digits};
use crate::door::{
    AtEnd, EngineName, InterfaceSet, MAX_ADDRESSES, MAX_DECOYS, MAX_DOORS, MAX_GUARDS,
    MAX_NETWORKS, MAX_STEPS, OnExpiry, Order, Sequence,
};
use crate::knock::Protocol::{Tcp, Udp};
use crate::near::{MAX_EDITS, is_near};
use crate::network::Network;
use crate::rfc3339;
use crate::spa::{Allow, Hmac};
use crate::time::Duration;

/// The types of sections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Section {
    /// `config postern 'global'`, in a router's configuration
    Postern,
    /// `config client 'global'`, in a client's file
    Client,
    /// `config door 'NAME'`
    Door,
    /// `config button`, in a router's configuration
    Button,
}

impl Section {
    /// The type as it is written.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Postern => "postern",
            Self::Client => "client",
            Self::Door => "door",
            Self::Button => "button",
        }
    }
}

/// An option of a section: the parser reads it by this, and documentation is made of it.
#[derive(Clone, Copy, Debug)]
pub struct OptionSpec {
    /// The name as it is written.
    pub name: &'static str,
    /// The section it belongs to.
    pub section: Section,
    /// The methods it belongs to; all of them where methods do not matter.
    pub methods: Methods,
    /// What happens where it is left out, if it belongs to the method.
    pub presence: Presence,
    /// What kind of thing a value is.
    pub unit: Words,
    /// The values that are accepted.
    pub expected: &'static str,
    /// What it does.
    pub meaning: Words,
    /// Whether values that cannot be read are kept out of every message: somebody may have
    /// written the secret itself.
    pub secret: bool,
    pub(super) kind: Kind,
}

impl OptionSpec {
    /// The most values of a `list`; `None` where there is one value, an `option`.
    pub const fn limit(&self) -> Option<usize> {
        match self.kind {
            Kind::One(_) => None,
            Kind::Many { limit, .. } => Some(limit),
        }
    }

    /// Whether it asks for what only engine `daemon` can do.
    pub fn needs_daemon(&self) -> bool {
        self.section == Section::Door
            && matches!(
                self.name,
                "payload" | "jitter" | "cutoff" | "not_before" | "not_after"
            )
    }

    /// Reads the value, where there is one.
    pub(super) const fn one(&self) -> Option<Setter> {
        match self.kind {
            Kind::One(set) => Some(set),
            Kind::Many { .. } => None,
        }
    }
}

/// What documentation says. A program that prints none is built without (feature `docs`).
#[derive(Clone, Copy, Debug)]
pub struct Words {
    /// The text.
    #[cfg(feature = "docs")]
    pub text: &'static str,
}

impl Words {
    #[cfg_attr(
        not(feature = "docs"),
        expect(unused_variables, reason = "they are left out")
    )]
    const fn new(text: &'static str) -> Self {
        Self {
            #[cfg(feature = "docs")]
            text,
        }
    }
}

/// What happens where an option is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// The configuration is refused. A client's file does without `guard`.
    Required,
    /// It has no value.
    Optional,
    /// It has this value.
    Default(&'static str),
}

/// How values are read.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// The value replaces the one before.
    One(Setter),
    /// The value is added to the list.
    Many {
        add: Setter,
        clear: fn(&mut Draft<'_>),
        limit: usize,
    },
}

pub(super) type Setter = fn(&mut Draft<'_>, &str) -> Result<(), Fault>;

const LONGEST_WINDOW: Duration = Duration::from_secs(3_600);
const LONGEST_JITTER: Duration = Duration::from_secs(10);
const EXPECTED_PORT: &str = "tcp or udp, a colon, and a port from 1 to 65535, such as tcp:22, or icmp:echo:123 for a \
     ping of 123 octets";
const EXPECTED_PORTS: &str = "tcp or udp, a colon, and a port from 1 to 65535, or a range, such as tcp:22 or \
     udp:60000-61000, or icmp:echo";
const EXPECTED_NETWORK: &str = "an address, or a network such as 198.51.100.0/24 or 2001:db8::/32";
const EXPECTED_INTERFACE: &str = "a network interface such as wan, 1 to 15 bytes of printable ASCII \
                                  without spaces and / : * \" \\";
const EXPECTED_MOMENT: &str =
    "a moment such as 2026-12-24T18:00:00Z or 2026-12-24T19:00:00+01:00 (RFC 3339)";
const EXPECTED_ENGINE: &str = "daemon, chain or track";
const EXPECTED_SOURCE: &str = "nflog, packet, sockets or log";
const EXPECTED_PATH: &str = "an absolute path of at most 107 bytes";

/// Every option of every section.
pub const OPTIONS: &[OptionSpec] = &[
    OptionSpec {
        name: "enabled",
        section: Section::Postern,
        methods: Methods::ALL,
        presence: Presence::Default("1"),
        unit: Words::new("yes or no"),
        expected: "1 or 0",
        meaning: Words::new(
            "whether anything is guarded; with 0, run, apply and a reload take the guard away \
                  and say so, the agent waits for another configuration, and OpenWrt's init script \
                  does not start it",
        ),
        secret: false,
        kind: Kind::One(|draft, text| {
            draft.global.enabled = switch(text)?;
            Ok(())
        }),
    },
    OptionSpec {
        name: "source",
        section: Section::Postern,
        methods: Methods::ALL,
        presence: Presence::Default("nflog"),
        unit: Words::new("word"),
        expected: EXPECTED_SOURCE,
        meaning: Words::new(
            "where knocks are seen: nflog is a rule that copies packets to a netlink \
                  group; packet sees them before any rule does, and what the router forwards \
                  too; sockets listens at every knock port, which then answers connections and \
                  is listed by ss, and the firewall must let knocks in; log is a rule that has \
                  the kernel's log tell of them, a few a second",
        ),
        secret: false,
        kind: Kind::One(source),
    },
    OptionSpec {
        name: "engine",
        section: Section::Postern,
        methods: Methods::ALL,
        presence: Presence::Default("daemon"),
        unit: Words::new("word"),
        expected: EXPECTED_ENGINE,
        meaning: Words::new("what serves doors that have no engine of their own"),
        secret: false,
        // The reader looked for it before, because doors can stand before it.
        kind: Kind::One(|_, text| engine(text).map(drop)),
    },
    OptionSpec {
        name: "guard",
        section: Section::Postern,
        methods: Methods::ALL,
        presence: Presence::Default("gate"),
        unit: Words::new("word"),
        expected: "gate or mark",
        meaning: Words::new(
            "what keeps doors shut: gate drops new connections itself, mark lets an \
                  accepting rule of the firewall ask for a mark",
        ),
        secret: false,
        kind: Kind::One(|draft, text| {
            draft.global.guard = choice(text, &[("gate", Guard::Gate), ("mark", Guard::Mark)])?;
            Ok(())
        }),
    },
    OptionSpec {
        name: "interface",
        section: Section::Postern,
        methods: Methods::ALL,
        presence: Presence::Required,
        unit: Words::new("interface"),
        expected: EXPECTED_INTERFACE,
        meaning: Words::new(
            "an interface that is guarded and on which knocks are heard; on OpenWrt, a \
                  network of /etc/config/network or a device",
        ),
        secret: false,
        kind: Kind::Many {
            add: interface,
            clear: |draft| {
                draft.global.interfaces.clear();
                draft.global.named.clear();
            },
            limit: MAX_INTERFACES,
        },
    },
    OptionSpec {
        name: "exempt",
        section: Section::Postern,
        methods: Methods::ALL,
        presence: Presence::Optional,
        unit: Words::new("address or network"),
        expected: EXPECTED_NETWORK,
        meaning: Words::new(
            "whom nothing is guarded from behind guard gate, such as the LAN of a machine with one \
                  interface; whoever can send in the name of these addresses passes too",
        ),
        secret: false,
        kind: Kind::Many {
            add: |draft, text| add_network(&mut draft.global.exempt, text),
            clear: |draft| draft.global.exempt.clear(),
            limit: MAX_EXEMPT,
        },
    },
    OptionSpec {
        name: "promiscuous",
        section: Section::Postern,
        methods: Methods::ALL,
        presence: Presence::Default("0"),
        unit: Words::new("number"),
        expected: "0 or 1",
        meaning: Words::new(
            "whether source packet hears packets for other machines too, where the \
                  interface can see them",
        ),
        secret: false,
        kind: Kind::One(|draft, text| {
            draft.global.promiscuous = choice(text, &[("0", false), ("1", true)])?;
            Ok(())
        }),
    },
    OptionSpec {
        name: "mark",
        section: Section::Postern,
        methods: Methods::ALL,
        presence: Presence::Default("0x10000000"),
        unit: Words::new("hexadecimal number"),
        expected: "a hexadecimal number from 0x1 to 0xffffffff",
        meaning: Words::new("the bits that guard mark sets on packets of granted sources"),
        secret: false,
        kind: Kind::One(|draft, text| {
            draft.global.mark = mark(text)?;
            Ok(())
        }),
    },
    OptionSpec {
        name: "nflog_group",
        section: Section::Postern,
        methods: Methods::ALL,
        presence: Presence::Default("5"),
        unit: Words::new("number"),
        expected: "a number from 1 to 65535",
        meaning: Words::new("the netlink group of source nflog; 0 is the kernel's own log"),
        secret: false,
        kind: Kind::One(|draft, text| {
            draft.global.nflog_group = number(text, 1..=u16::MAX)?;
            Ok(())
        }),
    },
    OptionSpec {
        name: "log_from",
        section: Section::Postern,
        methods: Methods::ALL,
        presence: Presence::Default(KERNEL_LOG),
        unit: Words::new("path or word"),
        expected: "/dev/kmsg, stdin, or another absolute path of at most 107 bytes, not below \
                   /dev, /proc or /sys",
        meaning: Words::new(
            "where source log reads: /dev/kmsg is the kernel itself, which says of each line \
                  whether it wrote it; stdin is standard input, such as logread -f, believed \
                  once it has rested for a second; another path is the file of a log daemon, \
                  which may be rotated. In stdin and files, whoever can have a line written in \
                  the kernel's name, which most log daemons let everybody, can forge knocks",
        ),
        secret: false,
        kind: Kind::One(log_from),
    },
    OptionSpec {
        name: "control",
        section: Section::Postern,
        methods: Methods::ALL,
        presence: Presence::Default(DEFAULT_CONTROL),
        unit: Words::new("path"),
        expected: EXPECTED_PATH,
        meaning: Words::new("where the control socket lies"),
        secret: false,
        kind: Kind::One(|draft, text| {
            draft.global.control = path(text)?;
            Ok(())
        }),
    },
    OptionSpec {
        name: "state_dir",
        section: Section::Postern,
        methods: Methods::ALL,
        presence: Presence::Default(DEFAULT_STATE_DIR),
        unit: Words::new("path"),
        expected: EXPECTED_PATH,
        meaning: Words::new("the folder of what one-time methods remember"),
        secret: false,
        kind: Kind::One(state_dir),
    },
    OptionSpec {
        name: "fallback",
        section: Section::Postern,
        methods: Methods::ALL,
        presence: Presence::Default("auto"),
        unit: Words::new("word"),
        expected: "auto, other or none",
        meaning: Words::new(
            "the way in that stays when no door opens: auto guards no port that its \
                  owner comes in by unless a console, a serial line or an interface that is \
                  not guarded is found, other says that there is one that cannot be seen \
                  from here, none does without",
        ),
        secret: false,
        kind: Kind::One(|draft, text| {
            draft.global.fallback = choice(
                text,
                &[
                    ("auto", Fallback::Auto),
                    ("other", Fallback::Other),
                    ("none", Fallback::None),
                ],
            )?;
            Ok(())
        }),
    },
    OptionSpec {
        name: "on_crash",
        section: Section::Postern,
        methods: Methods::ALL,
        presence: Presence::Default("keep"),
        unit: Words::new("word"),
        expected: "keep or open",
        meaning: Words::new(
            "what becomes of the guard when the agent is killed: keep leaves it and its \
                  grants in the kernel, open has the kernel take it away, so that a gate stands \
                  open, while behind guard mark the firewall keeps everybody out",
        ),
        secret: false,
        kind: Kind::One(|draft, text| {
            let words = [("keep", OnCrash::Keep), ("open", OnCrash::Open)];
            draft.global.on_crash = choice(text, &words)?;
            Ok(())
        }),
    },
    OptionSpec {
        name: "address",
        section: Section::Client,
        methods: Methods::ALL,
        presence: Presence::Optional,
        unit: Words::new("host name or address"),
        expected: "a host name or an address, 1 to 255 bytes of printable ASCII without \
                  spaces",
        meaning: Words::new("where the knocks go unless the command line says otherwise"),
        secret: false,
        kind: Kind::One(address),
    },
    OptionSpec {
        name: "source",
        section: Section::Client,
        methods: Methods::ALL,
        presence: Presence::Default("nflog"),
        unit: Words::new("word"),
        expected: EXPECTED_SOURCE,
        meaning: Words::new(
            "how the router sees knocks: where it is by sockets, a TCP knock is a whole \
                  connection, and waits until it is made",
        ),
        secret: false,
        kind: Kind::One(source),
    },
    OptionSpec {
        name: "state_dir",
        section: Section::Client,
        methods: Methods::ALL,
        presence: Presence::Optional,
        unit: Words::new("path"),
        expected: EXPECTED_PATH,
        meaning: Words::new("the folder of what one-time methods remember"),
        secret: false,
        kind: Kind::One(state_dir),
    },
    OptionSpec {
        name: "guard",
        section: Section::Door,
        methods: Methods::ALL,
        presence: Presence::Required,
        unit: Words::new("port"),
        expected: EXPECTED_PORTS,
        meaning: Words::new(
            "a port, or a range of ports, that stays shut unless a source was granted access, as the \
                  stranger sees it: before any port forwarding; several doors can guard one port, and \
                  whoever has a grant of one of them enters; ports to knock on are left out of a range; \
                  icmp:echo is ping",
        ),
        secret: false,
        kind: Kind::Many {
            add: guard_port,
            clear: |draft| draft.door.guards.clear(),
            limit: MAX_GUARDS,
        },
    },
    OptionSpec {
        name: "behind",
        section: Section::Door,
        methods: Methods::ALL,
        presence: Presence::Optional,
        unit: Words::new("address or network"),
        expected: EXPECTED_NETWORK,
        meaning: Words::new(
            "a host behind this machine with an address of its own, or a network of them, whose ports \
                  the door guards; without any, it guards those of this machine",
        ),
        secret: false,
        kind: Kind::Many {
            add: |draft, text| add_network(&mut draft.door.behind, text),
            clear: |draft| draft.door.behind.clear(),
            limit: MAX_NETWORKS,
        },
    },
    OptionSpec {
        name: "to",
        section: Section::Door,
        methods: Methods::ALL,
        presence: Presence::Optional,
        unit: Words::new("address"),
        expected: "an address of this machine",
        meaning: Words::new(
            "an address of this machine at which the door guards; without any, it guards at all of them",
        ),
        secret: false,
        kind: Kind::Many {
            add: |draft, text| match network(text)? {
                network if network.prefix() == network.family().bits() => {
                    add_network(&mut draft.door.to, text)
                }
                _ => Err(Problem::BadValue.into()),
            },
            clear: |draft| draft.door.to.clear(),
            limit: MAX_ADDRESSES,
        },
    },
    OptionSpec {
        name: "interface",
        section: Section::Door,
        methods: Methods::ALL,
        presence: Presence::Optional,
        unit: Words::new("interface"),
        expected: EXPECTED_INTERFACE,
        meaning: Words::new(
            "one of the guarded interfaces, on which alone the door guards; without any, it guards on \
                  all of them. Its knocks are heard on all in any case",
        ),
        secret: false,
        kind: Kind::Many {
            add: door_interface,
            clear: |draft| draft.door.interfaces = InterfaceSet::EMPTY,
            limit: MAX_INTERFACES,
        },
    },
    OptionSpec {
        name: "from",
        section: Section::Door,
        methods: Methods::ALL,
        presence: Presence::Optional,
        unit: Words::new("address or network"),
        expected: EXPECTED_NETWORK,
        meaning: Words::new("whose knocks the door hears; without any, everybody's"),
        secret: false,
        kind: Kind::Many {
            add: |draft, text| add_network(&mut draft.door.from, text),
            clear: |draft| draft.door.from.clear(),
            limit: MAX_NETWORKS,
        },
    },
    OptionSpec {
        name: "not_before",
        section: Section::Door,
        methods: Methods::ALL,
        presence: Presence::Optional,
        unit: Words::new("moment"),
        expected: EXPECTED_MOMENT,
        meaning: Words::new(
            "from when on the door hears knocks; before, and while the clock is not trusted, it stays shut",
        ),
        secret: false,
        kind: Kind::One(|draft, text| {
            draft.door.not_before = Some(moment(text)?);
            Ok(())
        }),
    },
    OptionSpec {
        name: "not_after",
        section: Section::Door,
        methods: Methods::ALL,
        presence: Presence::Optional,
        unit: Words::new("moment"),
        expected: EXPECTED_MOMENT,
        meaning: Words::new(
            "when the door shuts for good: from then on it hears nothing, and grants end by then; while the \
                  clock is not trusted, it hears nothing and is not opened by hand",
        ),
        secret: false,
        kind: Kind::One(|draft, text| {
            draft.door.not_after = Some(moment(text)?);
            Ok(())
        }),
    },
    OptionSpec {
        name: "passive",
        section: Section::Door,
        methods: Methods::KNOCKED,
        presence: Presence::Default("0"),
        unit: Words::new("yes or no"),
        expected: "1 or 0",
        meaning: Words::new(
            "whether knocks pass on to the service that answers at their port: they are seen, and not \
                  taken from it",
        ),
        secret: false,
        kind: Kind::One(|draft, text| {
            draft.door.passive = switch(text)?;
            Ok(())
        }),
    },
    OptionSpec {
        name: "engine",
        section: Section::Door,
        methods: Methods::ALL,
        presence: Presence::Optional,
        unit: Words::new("word"),
        expected: EXPECTED_ENGINE,
        meaning: Words::new(
            "who keeps count of knocks: daemon is the agent; chain and track are nftables \
                  itself, which needs no agent, and serve the methods that begin with single \
                  or sequence: chain by a set for each knock, track by a set of the ports \
                  that are expected next",
        ),
        secret: false,
        kind: Kind::One(|draft, text| {
            draft.door.engine = engine(text)?;
            Ok(())
        }),
    },
    OptionSpec {
        name: "method",
        section: Section::Door,
        methods: Methods::ALL,
        presence: Presence::Required,
        unit: Words::new("word"),
        expected: "one of single-same, single-separate, sequence-same, sequence-separate, \
                  one-time-list, one-time-clock, one-time-seed, spa",
        meaning: Words::new(
            "how the ports to knock are chosen: single has one knock and sequence \
                  several, same closes as it opens and separate has knocks of its own to \
                  close; one-time takes sequences from a list, or derives ports from a \
                  secret and the clock or a counter; spa is one datagram of fwknop's clients",
        ),
        secret: false,
        kind: Kind::One(method),
    },
    OptionSpec {
        name: "open",
        section: Section::Door,
        methods: Methods::STATIC,
        presence: Presence::Required,
        unit: Words::new("port"),
        expected: EXPECTED_PORT,
        meaning: Words::new(
            "a port to knock on to open the door, in the order of the file; where the \
                  method ends in same, to close it too",
        ),
        secret: false,
        kind: Kind::Many {
            add: |draft, text| knock(draft, text, |draft| &mut draft.door.open),
            clear: |draft| draft.door.open.clear(),
            limit: MAX_STEPS,
        },
    },
    OptionSpec {
        name: "close",
        section: Section::Door,
        methods: Methods::CLOSING,
        presence: Presence::Optional,
        unit: Words::new("port"),
        expected: EXPECTED_PORT,
        meaning: Words::new(
            "a port to knock on to close the door, in the order of the file; without \
                  any, only time closes it",
        ),
        secret: false,
        kind: Kind::Many {
            add: |draft, text| knock(draft, text, |draft| &mut draft.door.close),
            clear: |draft| draft.door.close.clear(),
            limit: MAX_STEPS,
        },
    },
    OptionSpec {
        name: "list_file",
        section: Section::Door,
        methods: Methods::LIST,
        presence: Presence::Required,
        unit: Words::new("path"),
        expected: EXPECTED_PATH,
        meaning: Words::new("the file of sequences, one on a line, each used once and in turn"),
        secret: false,
        kind: Kind::One(list_file),
    },
    OptionSpec {
        name: "at_end",
        section: Section::Door,
        methods: Methods::LIST,
        presence: Presence::Default("wrap"),
        unit: Words::new("word"),
        expected: "wrap or stop",
        meaning: Words::new(
            "what comes after the last sequence of the list: wrap is the first again, \
                  stop leaves the door shut",
        ),
        secret: false,
        kind: Kind::One(|draft, text| {
            draft.door.at_end = choice(text, &[("wrap", AtEnd::Wrap), ("stop", AtEnd::Stop)])?;
            Ok(())
        }),
    },
    OptionSpec {
        name: "secret_file",
        section: Section::Door,
        methods: Methods::CODE,
        presence: Presence::Required,
        unit: Words::new("path"),
        expected: EXPECTED_PATH,
        meaning: Words::new("the file that holds the secret which client and router share"),
        secret: true,
        kind: Kind::One(secret_file),
    },
    OptionSpec {
        name: "algorithm",
        section: Section::Door,
        methods: Methods::CODE,
        presence: Presence::Default("sha1"),
        unit: Words::new("word"),
        expected: "sha1, sha256 or sha512",
        meaning: Words::new(
            "the hash function that derives codes; many authenticator apps know sha1 \
                  only",
        ),
        secret: false,
        kind: Kind::One(|draft, text| {
            draft.door.code.algorithm = choice(
                text,
                &[
                    ("sha1", Algorithm::Sha1),
                    ("sha256", Algorithm::Sha256),
                    ("sha512", Algorithm::Sha512),
                ],
            )?;
            Ok(())
        }),
    },
    OptionSpec {
        name: "digits",
        section: Section::Door,
        methods: Methods::CODE,
        presence: Presence::Default("6"),
        unit: Words::new("number"),
        expected: "6 or 8",
        meaning: Words::new(
            "the length of a code; each half of it is added to base and makes one \
                  knock",
        ),
        secret: false,
        kind: Kind::One(|draft, text| {
            draft.door.code.digits = choice(text, &[("6", Digits::Six), ("8", Digits::Eight)])?;
            Ok(())
        }),
    },
    OptionSpec {
        name: "base",
        section: Section::Door,
        methods: Methods::CODE,
        presence: Presence::Default("10000"),
        unit: Words::new("port"),
        expected: "a port from 1 to 64536, or to 55536 with 8 digits",
        meaning: Words::new("the port that half a code of zeros stands for"),
        secret: false,
        kind: Kind::One(|draft, text| {
            draft.door.code.base = number(text, 1..=u16::MAX)?;
            Ok(())
        }),
    },
    OptionSpec {
        name: "protocol",
        section: Section::Door,
        methods: Methods::CODE,
        presence: Presence::Default("tcp"),
        unit: Words::new("word"),
        expected: "tcp, udp or mixed",
        meaning: Words::new(
            "the protocol of both knocks of a code; with mixed, the first is TCP and \
                  the second UDP",
        ),
        secret: false,
        kind: Kind::One(|draft, text| {
            draft.door.code.protocols = choice(
                text,
                &[
                    ("tcp", [Tcp, Tcp]),
                    ("udp", [Udp, Udp]),
                    ("mixed", [Tcp, Udp]),
                ],
            )?;
            Ok(())
        }),
    },
    OptionSpec {
        name: "period",
        section: Section::Door,
        methods: Methods::CLOCK,
        presence: Presence::Default("30s"),
        unit: Words::new("time"),
        expected: "a time of whole seconds from 5s to 1h, such as 30s",
        meaning: Words::new("how long a code is the current one"),
        secret: false,
        kind: Kind::One(|draft, text| {
            draft.door.period = period(text)?;
            Ok(())
        }),
    },
    OptionSpec {
        name: "skew",
        section: Section::Door,
        methods: Methods::CLOCK,
        presence: Presence::Default("1"),
        unit: Words::new("number"),
        expected: "a number from 0 to 10",
        meaning: Words::new("how many periods before and after the current one are accepted too"),
        secret: false,
        kind: Kind::One(|draft, text| {
            draft.door.skew = small_number(text, 0..=10)?;
            Ok(())
        }),
    },
    OptionSpec {
        name: "look_ahead",
        section: Section::Door,
        methods: Methods::SEED,
        presence: Presence::Default("10"),
        unit: Words::new("number"),
        expected: "a number from 1 to 31",
        meaning: Words::new(
            "how many codes are accepted, the next one and those after it, in case \
                  that some were lost",
        ),
        secret: false,
        kind: Kind::One(|draft, text| {
            draft.door.look_ahead = small_number(text, 1..=31)?;
            Ok(())
        }),
    },
    OptionSpec {
        name: "order",
        section: Section::Door,
        methods: Methods::ONE_TIME,
        presence: Presence::Default("any"),
        unit: Words::new("word"),
        expected: "any or strict",
        meaning: Words::new("whether the knocks that open may come in any order"),
        secret: false,
        kind: Kind::One(|draft, text| {
            draft.door.code.order =
                choice(text, &[("any", Order::Any), ("strict", Order::Strict)])?;
            Ok(())
        }),
    },
    OptionSpec {
        name: "port",
        section: Section::Door,
        methods: Methods::SPA,
        presence: Presence::Default("62201"),
        unit: Words::new("port"),
        expected: "a port from 1 to 65535",
        meaning: Words::new("the UDP port at which a datagram is heard"),
        secret: false,
        kind: Kind::One(|draft, text| {
            draft.door.spa.port = number(text, 1..=u16::MAX)?;
            Ok(())
        }),
    },
    OptionSpec {
        name: "key_file",
        section: Section::Door,
        methods: Methods::SPA,
        presence: Presence::Required,
        unit: Words::new("path"),
        expected: EXPECTED_PATH,
        meaning: Words::new(
            "the file of both keys that client and router share, in lines of fwknop's \
                  access.conf: KEY_BASE64 or KEY encrypts, HMAC_KEY_BASE64 or HMAC_KEY authenticates",
        ),
        secret: true,
        kind: Kind::One(|draft, text| {
            draft.door.spa.key_file = path(text)?;
            lasting(text)
        }),
    },
    OptionSpec {
        name: "hmac",
        section: Section::Door,
        methods: Methods::SPA,
        presence: Presence::Default("sha256"),
        unit: Words::new("word"),
        expected: "md5, sha1, sha256, sha384 or sha512",
        meaning: Words::new(
            "the hash function that authenticates a datagram; the client must be told the same",
        ),
        secret: false,
        kind: Kind::One(|draft, text| {
            draft.door.spa.hmac = choice(text, Hmac::ALL)?;
            Ok(())
        }),
    },
    OptionSpec {
        name: "allow",
        section: Section::Door,
        methods: Methods::SPA,
        presence: Presence::Default("named"),
        unit: Words::new("word"),
        expected: "named, sender or any",
        meaning: Words::new(
            "whom a datagram lets in: named is the address in it, whoever sent it; sender is \
                  that address too, if it is the sender's; any is also the sender of one that names \
                  nobody (fwknop -s), whose address whoever holds it back can replace by their own",
        ),
        secret: false,
        kind: Kind::One(|draft, text| {
            draft.door.spa.allow = choice(text, Allow::ALL)?;
            Ok(())
        }),
    },
    OptionSpec {
        name: "max_age",
        section: Section::Door,
        methods: Methods::SPA,
        presence: Presence::Default("2m"),
        unit: Words::new("time"),
        expected: "a time from 1s to 1h, such as 2m",
        meaning: Words::new(
            "how far the time in a datagram may be from the router's clock, before and after",
        ),
        secret: false,
        kind: Kind::One(|draft, text| {
            let range = Duration::from_secs(1)..=Duration::from_secs(3_600);
            draft.door.spa.max_age = time_within(text, range)?;
            Ok(())
        }),
    },
    OptionSpec {
        name: "grant_max",
        section: Section::Door,
        methods: Methods::SPA,
        presence: Presence::Default("5m"),
        unit: Words::new("time"),
        expected: "a time from 1s to 365d, such as 5m",
        meaning: Words::new(
            "the longest grant that a datagram can ask for (fwknop -f); without a time of its \
                  own it gets grant",
        ),
        secret: false,
        kind: Kind::One(|draft, text| {
            let range = Duration::from_secs(1)..=Duration::LONGEST;
            draft.door.spa.grant_max = time_within(text, range)?;
            Ok(())
        }),
    },
    OptionSpec {
        name: "user",
        section: Section::Door,
        methods: Methods::SPA,
        presence: Presence::Optional,
        unit: Words::new("word"),
        expected: "a name of 1 to 48 printable characters, as the client sends it",
        meaning: Words::new("the user whom a datagram must name (fwknop -U); without it, any"),
        secret: false,
        kind: Kind::One(|draft, text| {
            draft.door.spa.user = user(text)?;
            Ok(())
        }),
    },
    OptionSpec {
        name: "payload",
        section: Section::Door,
        methods: Methods::KNOCKED,
        presence: Presence::Optional,
        unit: Words::new("payload"),
        expected: "dns, ntp, stun or quic, or hex: or text: and 1 to 64 bytes",
        meaning: Words::new(
            "what every UDP knock must carry: what a client of that protocol sends \
                  first, or exactly these bytes",
        ),
        secret: true,
        kind: Kind::One(|draft, text| {
            draft.door.payload = Some(payload(text)?);
            Ok(())
        }),
    },
    OptionSpec {
        name: "window",
        section: Section::Door,
        methods: Methods::KNOCKED,
        presence: Presence::Default("10s"),
        unit: Words::new("time"),
        expected: "a time above 0 and up to 1h, such as 10s",
        meaning: Words::new("the time from the first knock of an attempt to its last"),
        secret: false,
        kind: Kind::One(|draft, text| {
            draft.door.window = time(text, LONGEST_WINDOW)?;
            Ok(())
        }),
    },
    OptionSpec {
        name: "jitter",
        section: Section::Door,
        methods: Methods::STATIC,
        presence: Presence::Default("50ms"),
        unit: Words::new("time"),
        expected: "a time up to 10s, such as 50ms, or 0",
        meaning: Words::new(
            "how long the knocks of a sequence may be out of order, because packets \
                  overtake each other",
        ),
        secret: false,
        kind: Kind::One(|draft, text| {
            draft.door.jitter = time_within(text, Duration::from_millis(0)..=LONGEST_JITTER)?;
            Ok(())
        }),
    },
    OptionSpec {
        name: "grant",
        section: Section::Door,
        methods: Methods::ALL,
        presence: Presence::Default("30s"),
        unit: Words::new("time"),
        expected: "a time above 0 and up to 365d, such as 30s",
        meaning: Words::new("how long a source may open new connections after its knocks"),
        secret: false,
        kind: Kind::One(|draft, text| {
            draft.door.grant = time(text, Duration::LONGEST)?;
            Ok(())
        }),
    },
    OptionSpec {
        name: "grant_prefix4",
        section: Section::Door,
        methods: Methods::ALL,
        presence: Presence::Default("32"),
        unit: Words::new("number"),
        expected: "a number from 8 to 32",
        meaning: Words::new(
            "how many bits of an IPv4 address are granted; 32 is that address only",
        ),
        secret: false,
        kind: Kind::One(|draft, text| {
            draft.door.grant_prefix4 = small_number(text, 8..=32)?;
            Ok(())
        }),
    },
    OptionSpec {
        name: "grant_prefix6",
        section: Section::Door,
        methods: Methods::ALL,
        presence: Presence::Default("128"),
        unit: Words::new("number"),
        expected: "a number from 16 to 128",
        meaning: Words::new(
            "how many bits of an IPv6 address are granted; 128 is that address only",
        ),
        secret: false,
        kind: Kind::One(|draft, text| {
            draft.door.grant_prefix6 = small_number(text, 16..=128)?;
            Ok(())
        }),
    },
    OptionSpec {
        name: "decoys",
        section: Section::Door,
        methods: Methods::STATIC,
        presence: Presence::Default("16"),
        unit: Words::new("number"),
        expected: "a number from 0 to 32",
        meaning: Words::new(
            "how many blocks of 8 ports around the knock ports keep the door shut for the window to whoever hits one, \
                  because only a port scan does",
        ),
        secret: false,
        kind: Kind::One(|draft, text| {
            draft.door.decoys = small_number(text, 0..=MAX_DECOYS)?;
            Ok(())
        }),
    },
    OptionSpec {
        name: "cutoff",
        section: Section::Door,
        methods: Methods::KNOCKED,
        presence: Presence::Optional,
        unit: Words::new("number per time"),
        expected: "failures, 1 to 1000, per a time above 0 and up to 30d, such as 5 per 10m",
        meaning: Words::new(
            "how many failed attempts within which time silence a source for as long",
        ),
        secret: false,
        kind: Kind::One(|draft, text| {
            draft.door.cutoff = Some(cutoff(text)?);
            Ok(())
        }),
    },
    OptionSpec {
        name: "on_expiry",
        section: Section::Door,
        methods: Methods::ALL,
        presence: Presence::Default("keep"),
        unit: Words::new("word"),
        expected: "keep or cut",
        meaning: Words::new(
            "what becomes of the connections of a source whose grant ends: keep lets them \
                  live on, cut ends them once no door lets the source in there any more; doors \
                  that share a port must have the same here, as a connection does not say whose \
                  grant let it in",
        ),
        secret: false,
        kind: Kind::One(|draft, text| {
            let words = [("keep", OnExpiry::Keep), ("cut", OnExpiry::Cut)];
            draft.door.on_expiry = choice(text, &words)?;
            Ok(())
        }),
    },
    OptionSpec {
        name: "button",
        section: Section::Button,
        methods: Methods::ALL,
        presence: Presence::Required,
        unit: Words::new("word"),
        expected: "the name of a button, letters, digits, - and _, such as wps",
        meaning: Words::new(
            "the push button of a router that opens doors; reset belongs to OpenWrt",
        ),
        secret: false,
        kind: Kind::One(|_, text| word(text).map_err(Fault::from)),
    },
    OptionSpec {
        name: "door",
        section: Section::Button,
        methods: Methods::ALL,
        presence: Presence::Required,
        unit: Words::new("word"),
        expected: "the name of a door",
        meaning: Words::new("a door that it opens"),
        secret: false,
        kind: Kind::Many {
            add: |_, text| word(text).map_err(Fault::from),
            clear: |_| (),
            limit: MAX_DOORS,
        },
    },
    OptionSpec {
        name: "hold",
        section: Section::Button,
        methods: Methods::ALL,
        presence: Presence::Default("0"),
        unit: Words::new("seconds"),
        expected: "a number from 0 to 60",
        meaning: Words::new(
            "how long the button must be held; of several sections, the one with the \
                  longest time that it was held for counts",
        ),
        secret: false,
        kind: Kind::One(|_, text| Ok(small_number(text, 0..=60).map(drop)?)),
    },
    OptionSpec {
        name: "for",
        section: Section::Button,
        methods: Methods::ALL,
        presence: Presence::Default("5m"),
        unit: Words::new("time"),
        expected: "a time from 1s to 365d, such as 5m",
        meaning: Words::new("how long the doors stay open"),
        secret: false,
        kind: Kind::One(|_, text| {
            let range = Duration::from_secs(1)..=Duration::LONGEST;
            Ok(time_within(text, range).map(drop)?)
        }),
    },
    OptionSpec {
        name: "on",
        section: Section::Button,
        methods: Methods::ALL,
        presence: Presence::Optional,
        unit: Words::new("interface"),
        expected: "an interface, as in the section postern",
        meaning: Words::new(
            "for whom the doors open: everyone on this interface; without it, everyone \
                  on every interface that is guarded",
        ),
        secret: false,
        kind: Kind::One(|_, text| interface_name(text).map(drop)),
    },
    OptionSpec {
        name: "led",
        section: Section::Button,
        methods: Methods::ALL,
        presence: Presence::Optional,
        unit: Words::new("word"),
        expected: "a name in /sys/class/leds, such as green:wps",
        meaning: Words::new("the LED that blinks while the doors are open"),
        secret: false,
        kind: Kind::One(|_, text| led(text).map_err(Fault::from)),
    },
];

/// The section of this type, or the one that was probably meant, and whether it is that.
pub(super) fn section(written: &str) -> Option<(Section, bool)> {
    const ALL: [Section; 4] = [
        Section::Door,
        Section::Postern,
        Section::Button,
        Section::Client,
    ];
    (0..=MAX_EDITS).find_map(|edits| {
        let mut all = ALL.into_iter();
        let found = all.find(|section| is_near(written, section.name(), edits))?;
        Some((found, written == found.name()))
    })
}

/// The option that was probably meant.
pub(super) fn meant(section: Section, written: &str) -> Option<&'static OptionSpec> {
    (0..=MAX_EDITS).find_map(|edits| {
        let mut options = OPTIONS.iter().filter(|spec| spec.section == section);
        options.find(|spec| {
            // Two letters replaced make any short name of any other.
            let is_other = spec.name.len() < 5 && spec.name.len() == written.len();
            (edits < MAX_EDITS || !is_other) && is_near(written, spec.name, edits)
        })
    })
}

/// The option of this name, and its index.
pub(super) fn find(section: Section, name: &str) -> Option<(usize, &'static OptionSpec)> {
    let mut options = OPTIONS.iter().enumerate();
    options.find(|(_, spec)| spec.section == section && spec.name == name)
}

/// The option that says where the knocks of the method come from.
pub(super) fn knocks_from(method: MethodName) -> Option<&'static OptionSpec> {
    OPTIONS
        .iter()
        .filter(|spec| spec.presence == Presence::Required && spec.methods != Methods::ALL)
        .find(|spec| spec.methods.contains(method))
}

fn source(draft: &mut Draft<'_>, text: &str) -> Result<(), Fault> {
    draft.global.source = known_source(text)?;
    Ok(())
}

pub(super) fn known_source(text: &str) -> Result<Source, Problem> {
    let sources = [Source::Nflog, Source::Packet, Source::Sockets, Source::Log];
    choice(text, &sources.map(|source| (source.name(), source)))
}

/// The device of the kernel's log.
const KERNEL_LOG: &str = "/dev/kmsg";

fn log_from(draft: &mut Draft<'_>, text: &str) -> Result<(), Fault> {
    draft.global.log_from = match text {
        KERNEL_LOG => LogFrom::Kernel,
        "stdin" => LogFrom::Input,
        _ if is_special(text) => return Err(Problem::BadValue.into()),
        _ => LogFrom::File(path(text)?),
    };
    let forgeable = draft.source == Source::Log && draft.global.log_from != LogFrom::Kernel;
    match forgeable {
        true => Err(Problem::Forgeable.into()),
        false => Ok(()),
    }
}

fn interface(draft: &mut Draft<'_>, text: &str) -> Result<(), Fault> {
    let name = interface_name(text)?;
    if draft.global.interfaces.contains(&name) {
        return Err(Problem::InterfaceTwice.into());
    }
    let itself = InterfaceSet::only(draft.global.interfaces.len());
    push(&mut draft.global.interfaces, name)?;
    push(&mut draft.global.named, itself)
}

fn door_interface(draft: &mut Draft<'_>, text: &str) -> Result<(), Fault> {
    let name = interface_name(text)?;
    match draft.interfaces.iter().position(|known| *known == name) {
        Some(index) if draft.door.interfaces.contains(index) => Err(Problem::InterfaceTwice.into()),
        Some(index) => {
            draft.door.interfaces.insert(index);
            Ok(())
        }
        // A client knows of none.
        None if draft.interfaces.is_empty() => Ok(()),
        None => Err(Problem::NotGuarded.into()),
    }
}

fn add_network<const N: usize>(list: &mut Vec<Network, N>, text: &str) -> Result<(), Fault> {
    let network = network(text)?;
    if list
        .iter()
        .any(|other| other.includes(&network) || network.includes(other))
    {
        return Err(Problem::NetworkTwice.into());
    }
    push(list, network)
}

fn moment(text: &str) -> Result<u64, Problem> {
    rfc3339::parse(text).ok_or(Problem::BadValue)
}

/// The kernel refuses `/`, `:`, white space, `.` and `..` (`dev_valid_name` in
/// net/core/dev.c). To nft, `*` is a wildcard, and `"` and `\` do not fit in its strings.
fn interface_name(text: &str) -> Result<Interface, Fault> {
    // The names of iptables and of other firewalls for several, and those that `ip` and `ifconfig`
    // show of what is made over another one. The kernel would take some of them for a name.
    if matches!(text, "any" | "all" | "*") || text.ends_with(['+', '*']) {
        return Err(Problem::Wildcard.into());
    }
    if text.find(['@', ':']).is_some_and(|at| at > 0) {
        return Err(Problem::MoreThanName.into());
    }
    let name = Interface::try_from(text).map_err(|_| Problem::BadValue)?;
    let allowed = |byte: u8| byte.is_ascii_graphic() && !b"/:*\"\\".contains(&byte);
    if text.is_empty() || text == "." || text == ".." || !text.bytes().all(allowed) {
        return Err(Problem::BadValue.into());
    }
    match text {
        "lo" => Err(Problem::Loopback.into()),
        _ => Ok(name),
    }
}

fn engine(text: &str) -> Result<EngineName, Fault> {
    EngineName::parse(text).ok_or(Problem::UnknownWord.into())
}

fn state_dir(draft: &mut Draft<'_>, text: &str) -> Result<(), Fault> {
    draft.global.state_dir = path(text)?;
    lasting(text)
}

fn address(draft: &mut Draft<'_>, text: &str) -> Result<(), Fault> {
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Problem::BadValue.into());
    }
    *draft.address = String::try_from(text).map_err(|_| Problem::BadValue)?;
    Ok(())
}

fn guard_port(draft: &mut Draft<'_>, text: &str) -> Result<(), Fault> {
    let ports = ports(text)?;
    draft.check_guard(ports)?;
    push(&mut draft.door.guards, ports)
}

fn method(draft: &mut Draft<'_>, text: &str) -> Result<(), Fault> {
    draft.door.method = MethodName::parse(text);
    draft
        .door
        .method
        .map(drop)
        .ok_or(Problem::UnknownWord.into())
}

fn knock(
    draft: &mut Draft<'_>,
    text: &str,
    sequence: for<'d> fn(&'d mut Draft<'_>) -> &'d mut Sequence,
) -> Result<(), Fault> {
    let port = port(text)?;
    draft.check_knock(port)?;
    push(sequence(draft), port)
}

fn list_file(draft: &mut Draft<'_>, text: &str) -> Result<(), Fault> {
    draft.door.list_file = path(text)?;
    draft.check_file(text)?;
    lasting(text)
}

fn secret_file(draft: &mut Draft<'_>, text: &str) -> Result<(), Fault> {
    draft.door.code.secret_file = path(text)?;
    draft.check_file(text)?;
    lasting(text)
}

/// Warns of a path that a reboot empties.
fn lasting(path: &str) -> Result<(), Fault> {
    match is_volatile(path) {
        true => Err(Problem::Volatile.into()),
        false => Ok(()),
    }
}

fn push<T, const N: usize>(list: &mut Vec<T, N>, value: T) -> Result<(), Fault> {
    list.push(value).map_err(|_| Problem::TooManyValues.into())
}
