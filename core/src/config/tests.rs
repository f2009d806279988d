use std::string::{String, ToString};
use std::vec::Vec;
use std::{format, vec};

use ufmt::{uWrite, uwrite};

use super::draft::defaults;
use super::*;
use crate::door::{Cutoff, EngineName, MAX_GUARDS, MAX_NAME, MAX_STEPS, Method, OnExpiry};
use crate::knock::{PortRange, Protocol, tcp, udp};
use crate::time::Duration;

type Vec64 = heapless::Vec<Door, MAX_DOORS>;

const DESIGN: &[u8] = include_bytes!("../../tests/golden/right/design.conf");

const SEVEN: &[u8] = include_bytes!("../../tests/golden/client/right/seven-methods.conf");

/// A valid global section and the start of a door, on five lines.
const HEAD: &str = "config postern global\nlist interface wan\nconfig door ssh\n\
                    option method sequence-separate\n";
/// The rest of that door.
const TAIL: &str = "list guard 22\nlist open 9\nlist open 7\nlist open 6\n";

struct Text(String);

impl uWrite for Text {
    type Error = core::convert::Infallible;

    fn write_str(&mut self, text: &str) -> Result<(), Self::Error> {
        self.0.push_str(text);
        Ok(())
    }
}

/// The configuration, and the line, the problem and the message of each diagnostic.
fn parse(text: impl AsRef<[u8]>) -> (Option<Config>, Vec<(u32, Problem, String)>) {
    let mut said = Vec::new();
    let config = Config::parse(text.as_ref(), |diagnostic| {
        let mut message = Text(String::new());
        let Ok(()) = uwrite!(message, "{}", diagnostic);
        said.push((diagnostic.line, diagnostic.problem, message.0));
    });
    (config, said)
}

/// The client's file, and the line, the problem and the message of each diagnostic.
fn parse_client(text: impl AsRef<[u8]>) -> (Option<Client>, Vec<(u32, Problem, String)>) {
    let mut said = Vec::new();
    let client = Client::parse(text.as_ref(), |diagnostic| {
        let mut message = Text(String::new());
        let Ok(()) = uwrite!(message, "{}", diagnostic);
        said.push((diagnostic.line, diagnostic.problem, message.0));
    });
    (client, said)
}

fn problems(text: impl AsRef<[u8]>) -> Vec<Problem> {
    let (config, said) = parse(text);
    let problems: Vec<Problem> = said.into_iter().map(|(_, problem, _)| problem).collect();
    let errors = problems.iter().any(|at| at.severity() == Severity::Error);
    assert_eq!(config.is_none(), errors, "{problems:?}");
    problems
}

fn valid(text: impl AsRef<[u8]>) -> Config {
    let (config, said) = parse(text);
    config.unwrap_or_else(|| panic!("{said:?}"))
}

#[test]
fn the_example_of_the_design() {
    let (config, said) = parse(DESIGN);
    assert_eq!(said, []);
    let expected = Config {
        global: Global {
            source: Source::Nflog,
            guard: Guard::Mark,
            interfaces: ["wan".try_into().unwrap()].into_iter().collect(),
            named: [InterfaceSet::only(0)].into_iter().collect(),
            promiscuous: false,
            exempt: Default::default(),
            mark: 0x1000_0000,
            nflog_group: 5,
            log_from: LogFrom::Kernel,
            control: "/var/run/postern/control.sock".try_into().unwrap(),
            state_dir: "/etc/postern/state".try_into().unwrap(),
            fallback: Fallback::Auto,
            on_crash: OnCrash::Keep,
            enabled: true,
        },
        doors: [Door {
            name: "ssh".try_into().unwrap(),
            guards: [tcp(22).into()].into_iter().collect(),
            behind: Default::default(),
            to: Default::default(),
            interfaces: Default::default(),
            from: Default::default(),
            not_before: None,
            not_after: None,
            passive: false,
            engine: EngineName::Daemon,
            method: Method::Separate {
                open: [tcp(7000), udp(8001), tcp(9002)].into_iter().collect(),
                close: [tcp(9003), tcp(7004)].into_iter().collect(),
            },
            payload: None,
            window: Duration::from_secs(10),
            jitter: Duration::from_millis(50),
            grant: Duration::from_secs(30),
            grant_prefix4: 32,
            grant_prefix6: 128,
            decoys: 16,
            cutoff: Some(Cutoff {
                failures: 5,
                within: Duration::from_secs(600),
            }),
            on_expiry: OnExpiry::Keep,
        }]
        .into_iter()
        .collect(),
    };
    assert_eq!(config, Some(expected));
}

#[test]
fn a_new_door_is_as_the_defaults_of_options_say() {
    let read = valid(format!("{HEAD}{TAIL}")).doors;
    let door = read.first().unwrap();
    assert_eq!(
        Door::new(&door.name, &[tcp(22)], door.method.clone()).as_ref(),
        Some(door)
    );
    assert_eq!(
        Door::new(&"a".repeat(MAX_NAME + 1), &[], door.method.clone()),
        None
    );
}

#[test]
fn every_default_can_be_read() {
    let (mut global, mut address, mut doors) = (Global::EMPTY, Default::default(), Vec64::new());
    let mut draft = Draft::new(&mut global, &mut address, &mut doors, Section::Postern);
    for section in [Section::Postern, Section::Client, Section::Door] {
        for (set, text) in defaults(section) {
            assert_eq!(set(&mut draft, text), Ok(()), "{text}");
        }
    }
    let is_default = |spec: &&OptionSpec| matches!(spec.presence, Presence::Default(_));
    let many = OPTIONS
        .iter()
        .filter(is_default)
        .find(|spec| spec.one().is_none());
    assert!(many.is_none(), "{many:?}");
    let door = draft.door;
    assert_eq!(door.window, Duration::from_secs(10));
    assert_eq!(door.jitter, Duration::from_millis(50));
    assert_eq!(door.grant, Duration::from_secs(30));
    assert_eq!((door.grant_prefix4, door.grant_prefix6), (32, 128));
    assert_eq!((door.period, door.skew, door.look_ahead), (30, 1, 10));
    assert_eq!((door.code.base, door.code.digits.count()), (10_000, 6));
    assert_eq!(global.mark, 0x1000_0000);
    assert_eq!(global.guard, Guard::Gate);
}

#[test]
fn options_are_described_and_named_once() {
    for (index, spec) in OPTIONS.iter().enumerate() {
        for text in [spec.unit.text, spec.expected, spec.meaning.text] {
            assert!(!text.is_empty() && !text.contains(['{', '\n']) && !text.contains("  "));
        }
        let same = |other: &&OptionSpec| other.section == spec.section && other.name == spec.name;
        assert_eq!(OPTIONS.iter().position(|other| same(&other)), Some(index));
    }
}

#[test]
fn a_configuration_is_small() {
    for size in [size_of::<Config>(), size_of::<Client>()] {
        assert!(size <= 72 * 1024, "{size} bytes");
    }
}

#[test]
fn values_that_are_accepted() {
    for (option, check) in [
        (
            "option cutoff '1 per 1ms'",
            (|door| door.cutoff.unwrap().failures == 1) as fn(&Door) -> bool,
        ),
        ("option cutoff ' 1000  per\t30d '", |door| {
            door.cutoff.unwrap().failures == 1000
        }),
        ("option window 1h", |door| {
            door.window == Duration::from_secs(3600)
        }),
        ("option window 1ms", |door| {
            door.window == Duration::from_millis(1)
        }),
        ("option grant 365d", |door| door.grant == Duration::LONGEST),
        ("option grant 90", |door| {
            door.grant == Duration::from_secs(90)
        }),
        ("list guard udp:65535", |door| {
            door.guards[0].protocol == Protocol::Udp
        }),
        ("list guard 1", |door| door.guards[0] == tcp(1).into()),
        ("option cutoff ''", |door| door.cutoff.is_none()),
        ("option window ''", |door| {
            door.window == Duration::from_secs(10)
        }),
        ("option guard '23 udp:23'", |door| door.guards.len() == 3),
        ("option guard 23\nlist guard 24", |door| {
            door.guards.len() == 3
        }),
        ("option grant 1s\noption grant 2s", |door| {
            door.grant == Duration::from_secs(2)
        }),
        ("option grant 1s\noption grant ''", |door| {
            door.grant == Duration::from_secs(1)
        }),
        ("list open tcp:8\nlist open udp:8", |_| true),
        ("list guard udp:9", |_| true),
        ("list guard udp:60000-61000", |door| {
            door.guards(udp(60_500)) && !door.guards(udp(61_001)) && !door.guards_alone(udp(60_000))
        }),
        ("list guard 100-200", |door| door.guards(tcp(200))),
        // Ports to knock on are left out of a range.
        ("list guard tcp:100-65535", |door| door.guards(tcp(7000))),
        ("list guard icmp:echo", |door| {
            door.guards[0] == PortRange::ECHO
        }),
        ("list guard icmp:echo\nlist open icmp:echo:123", |_| true),
        ("list open icmp:echo:0\nlist open icmp:echo:1452", |_| true),
        ("option behind '192.0.2.0/24 2001:db8::10'", |door| {
            door.behind.len() == 2
        }),
        ("option to 192.0.2.7\nlist to 2001:db8::7", |door| {
            door.to.len() == 2
        }),
        ("list from 198.51.100.0/24", |door| {
            door.hears([198, 51, 100, 7].into()) && !door.hears([198, 51, 101, 7].into())
        }),
        ("", |door| door.hears([198, 51, 100, 7].into())),
        (
            "option not_before 1970-01-02T00:00:00Z\noption not_after 1970-01-02T01:00:01+01:00",
            |door| door.not_before == Some(86_400) && door.not_after == Some(86_401),
        ),
        ("option passive 1", |door| door.passive),
    ] {
        let config = valid(format!("{HEAD}{option}\n{TAIL}"));
        assert!(check(&config.doors[0]), "{option}: {config:?}");
    }
}

#[test]
fn values_that_are_refused() {
    use Problem::{BadValue, OutOfRange};
    for (option, values, problem) in [
        (
            "list guard",
            "'' ssh tcp: :22 tcp22 TCP:22 sctp:22 x:tcp 0:tcp 22:sctp tcp:22:23 +22 -1 0x16 '22 23'",
            BadValue,
        ),
        ("list guard", "22:tcp 65535:udp", Problem::PortFirst),
        (
            "list guard",
            "tcp:20-10 20-20 tcp:20- -20 20-30-40 tcp:20-tcp:30 icmp icmp:echo:5 icmp:echo:5-6 icmp:echo:",
            BadValue,
        ),
        ("list guard", "tcp:0-10 tcp:20-65536", OutOfRange),
        ("list guard", "tcp:20-30", Problem::GuardTwice),
        ("list open", "icmp:echo icmp:5 icmp:echo:x echo:5", BadValue),
        ("list open", "icmp:echo:1453", OutOfRange),
        (
            "list from",
            "example.net 192.0.2.1:22 192.0.2.0/33 ::ffff:192.0.2.1",
            BadValue,
        ),
        (
            "list behind",
            "192.0.2.1/24 2001:db8::1/64",
            Problem::HostBits,
        ),
        ("list to", "192.0.2.0/24", BadValue),
        (
            "option from",
            "'192.0.2.0/24 192.0.2.7' '::1 ::1'",
            Problem::NetworkTwice,
        ),
        (
            "option not_after",
            "2026-12-24 tomorrow 2026-13-01T00:00:00Z 1800000000",
            BadValue,
        ),
        ("option passive", "2 2s maybe", Problem::UnknownWord),
        ("list open", "7000:tcp", Problem::PortFirst),
        (
            "list open",
            "0 65536 tcp:0 udp:99999999999999999999",
            OutOfRange,
        ),
        (
            "option window",
            "0 0ms 61m 3600001ms 366d 99999999999999999999",
            OutOfRange,
        ),
        ("option window", "s 10x '10 s' -1 1.5s", BadValue),
        ("option grant", "0 366d", OutOfRange),
        (
            "option cutoff",
            "5 '5 per' '5 in 10m' '5 per 10m x' 'x per 10m' '5 per x' per",
            BadValue,
        ),
        (
            "option cutoff",
            "'0 per 10m' '1001 per 10m' '5 per 0' '5 per 31d'",
            OutOfRange,
        ),
        (
            "option method",
            "sequence SEQUENCE-SEPARATE one-time single_same",
            Problem::UnknownWord,
        ),
    ] {
        for value in split(values) {
            let text = format!("{HEAD}{option} {value}\n{TAIL}");
            let found = problems(&text);
            assert!(found.contains(&problem), "{option} {value}: {found:?}");
        }
    }
}

#[test]
fn options_that_do_not_go_together() {
    use Problem::{
        ExemptFromMark, NeedsDaemon, NeverOpen, NoSockets, NotGuarded, PassiveCutoff, ToWithBehind,
    };
    let late = "option not_before 2026-12-24T19:00:00+01:00\noption not_after 2026-12-24T18:00:00Z";
    for (door, global, expected) in [
        (
            "list to 192.0.2.1\nlist behind 192.0.2.8",
            "",
            &[ToWithBehind][..],
        ),
        (late, "", &[NeverOpen]),
        (
            "option not_after 2100-01-01T00:00:00Z",
            "option engine chain",
            &[NeedsDaemon],
        ),
        (
            "option passive 1\noption cutoff '5 per 10m'",
            "",
            &[PassiveCutoff],
        ),
        ("option passive 1", "option source sockets", &[NoSockets]),
        (
            "option passive 1",
            "option source sockets\noption engine track",
            &[],
        ),
        (
            "list open icmp:echo:99",
            "option source sockets",
            &[NoSockets],
        ),
        ("list open icmp:echo:99", "", &[]),
        ("", "list exempt 192.0.2.0/24", &[]),
        (
            "",
            "list exempt 192.0.2.0/24\noption guard mark",
            &[ExemptFromMark],
        ),
        (
            "list interface wan\nlist interface lan",
            "list interface lan",
            &[],
        ),
        ("list interface lan", "", &[NotGuarded]),
    ] {
        let text = format!("{HEAD}{door}\n{TAIL}config postern global\n{global}\n");
        let mut found = problems(&text);
        found.retain(|problem| problem.severity() == Severity::Error);
        assert_eq!(found, expected, "{text}");
    }
    let read = valid(format!(
        "{HEAD}list interface lan\n{TAIL}config postern global\nlist interface lan\n"
    ));
    let interfaces = read.doors[0].interfaces;
    assert!(!interfaces.contains(0) && interfaces.contains(1));
    assert_eq!(read.global.interfaces_of(&read.doors[0]), interfaces);
    let everywhere = valid(format!(
        "{HEAD}{TAIL}config postern global\nlist interface lan\n"
    ));
    let interfaces = everywhere.global.interfaces_of(&everywhere.doors[0]);
    assert!(interfaces.contains(0) && interfaces.contains(1) && !interfaces.contains(2));
}

#[test]
fn a_fallback_has_to_be_found_unless_its_owner_speaks_of_it() {
    for (option, expected) in [
        ("", Fallback::Auto),
        ("option fallback auto", Fallback::Auto),
        ("option fallback other", Fallback::Other),
        ("option fallback none", Fallback::None),
    ] {
        let text = format!("{HEAD}{TAIL}config postern global\n{option}\n");
        assert_eq!(valid(text).global.fallback, expected, "{option}");
    }
}

#[test]
fn connections_outlive_their_grant_unless_they_are_to_be_cut() {
    for (option, expected) in [
        ("", OnExpiry::Keep),
        ("option on_expiry keep", OnExpiry::Keep),
        ("option on_expiry cut", OnExpiry::Cut),
    ] {
        let door = valid(format!("{HEAD}{TAIL}{option}\n")).doors[0].clone();
        assert_eq!(door.on_expiry, expected, "{option}");
    }
}

#[test]
fn a_guard_outlives_the_agent_unless_it_is_to_open() {
    for (option, expected) in [
        ("", OnCrash::Keep),
        ("option on_crash keep", OnCrash::Keep),
        ("option on_crash open", OnCrash::Open),
    ] {
        let text = format!("{HEAD}{TAIL}config postern global\n{option}\n");
        assert_eq!(valid(text).global.on_crash, expected, "{option}");
    }
}

#[test]
fn global_values_that_are_refused() {
    use Problem::{BadValue, OutOfRange};
    for (option, values, problem) in [
        ("option promiscuous", "yes 2 01", Problem::UnknownWord),
        ("option source", "pcap NFLOG", Problem::UnknownWord),
        ("option guard", "drop", Problem::UnknownWord),
        ("option fallback", "console None yes", Problem::UnknownWord),
        ("option on_crash", "close Open", Problem::UnknownWord),
        (
            "option mark",
            "1 268435456 0x 0xg 0X1 '0x 1' 0x-1 0x+1 -0x1",
            BadValue,
        ),
        ("option mark", "0x0 0x00000000000 0x100000000", OutOfRange),
        ("option nflog_group", "0 65536 99999999999", OutOfRange),
        ("option nflog_group", "x -1 0x5", BadValue),
        (
            "option log_from",
            "- Stdin kern.log /dev/log /dev/kmsg/ /proc/kmsg /sys/x /var/log/",
            BadValue,
        ),
        (
            "option control",
            "run/x x / /run/ '/a\nb' '/a\x1bb'",
            BadValue,
        ),
        (
            "list interface",
            "'' . .. a/b :b 'a b' 'a\tb' e*h 'a\"b' a\\\\b 'a\x7f' é abcdefghijklmnop",
            BadValue,
        ),
        (
            "list interface",
            "any all * + eth* eth+ a-long-name-of-some+",
            Problem::Wildcard,
        ),
        (
            "list interface",
            "eth0:1 wan0@if5 a-long-name@if1234567",
            Problem::MoreThanName,
        ),
        ("list interface", "lo", Problem::Loopback),
        ("list interface", "wan", Problem::InterfaceTwice),
    ] {
        for value in split(values) {
            let text = format!("{HEAD}{TAIL}config postern global\n{option} {value}\n");
            assert_eq!(problems(&text), [problem], "{option} {value}");
        }
    }
}

#[test]
fn a_log_that_cannot_tell_is_warned_of_where_it_is_read() {
    let log = |value: &str| value.try_into().map(LogFrom::File).unwrap();
    for (value, expected) in [
        ("/dev/kmsg", LogFrom::Kernel),
        ("stdin", LogFrom::Input),
        ("/var/log/kern.log", log("/var/log/kern.log")),
        ("/device/log", log("/device/log")),
    ] {
        for source in ["nflog", "log"] {
            // In either order, and in front of the doors or behind them.
            let names = [
                format!("option source {source}"),
                format!("option log_from {value}"),
            ];
            let section =
                |names: &[String]| format!("config postern global\n{}\n", names.join("\n"));
            let reversed = [names[1].clone(), names[0].clone()];
            for text in [
                section(&names) + HEAD + TAIL,
                format!("{HEAD}{TAIL}{}", section(&reversed)),
            ] {
                let (config, said) = parse(&text);
                assert_eq!(config.unwrap().global.log_from, expected, "{text}");
                let warned = source == "log" && value != "/dev/kmsg";
                let said: Vec<Problem> = said.into_iter().map(|(_, problem, _)| problem).collect();
                assert_eq!(said, vec![Problem::Forgeable; warned.into()], "{text}");
            }
        }
    }
}

/// Splits at spaces outside of single quotes.
fn split(values: &str) -> Vec<&str> {
    let mut quoted = false;
    values
        .split(|at: char| {
            quoted ^= at == '\'';
            at == ' ' && !quoted
        })
        .collect()
}

#[test]
fn sections_of_one_name_merge() {
    let text = format!(
        "config postern global\noption mark 0x1\n{HEAD}{TAIL}config postern global\noption mark 0x2\n"
    );
    let (config, said) = parse(&text);
    assert_eq!(config.unwrap().global.mark, 2);
    assert_eq!(said.len(), 1);
    assert_eq!((said[0].0, said[0].1), (12, Problem::OptionTwice));
}

/// The others would be left unguarded.
#[test]
fn an_option_does_not_replace_a_list() {
    for text in [
        "list guard 23\noption guard 24",
        "list close 23\nlist close 24\noption close 25",
        "option guard '23 24'\nlist guard 25",
        "config postern global\noption interface lan",
    ] {
        let found = problems(format!("{HEAD}{TAIL}{text}\n"));
        assert_eq!(found, [Problem::ListTwice], "{text}");
    }
}

#[test]
fn what_is_nearly_a_section_is_not_ignored() {
    use Problem::{ClientSection, NearSection, NotGlobal, StrayDoor, UnknownSection};
    const WEB: &str = "list guard 80\noption method sequence-same\noption open '5 4 3'\n";
    for (section, expected) in [
        ("config Door web", NearSection),
        ("config DOOR web", NearSection),
        ("config dor web", NearSection),
        ("config doors web", NearSection),
        ("config odor web", NearSection),
        ("config DROO web", NearSection),
        ("config d00r web", NearSection),
        ("config door: web", NearSection),
        ("config Postern web", NearSection),
        ("config posten web", NearSection),
        ("config postfern web", NearSection),
        ("config butotn web", NearSection),
        ("config Button web", NearSection),
        ("config clients web", ClientSection),
        ("config Client web", ClientSection),
        ("config postern globl", NotGlobal),
        ("config postern Global", NotGlobal),
        ("config porte web", StrayDoor),
        ("config portals web", StrayDoor),
        ("config rule", StrayDoor),
    ] {
        let found = problems(format!("{HEAD}{TAIL}{section}\n{WEB}"));
        let errors = found.iter().filter(|at| at.severity() == Severity::Error);
        assert!(
            errors.clone().any(|at| *at == expected),
            "{section}: {found:?}"
        );
        assert!(errors.count() <= 4, "{section}: {found:?}");
    }
    for section in [
        "config rule web",
        "config dropbear",
        "config a-very-long-name-of-a-section",
    ] {
        let found = problems(format!("{HEAD}{TAIL}{section}\noption target ACCEPT\n"));
        assert_eq!(found, [UnknownSection], "{section}");
    }
    // Only what makes a door of it.
    for option in [
        "list guard 80",
        "option method x",
        "list open 9",
        "option cutoff x",
    ] {
        let found = problems(format!(
            "{HEAD}{TAIL}config porte x\noption a b\n{option}\n{WEB}"
        ));
        assert_eq!(found, [StrayDoor], "{option}");
    }
    let found = problems(format!("{HEAD}{TAIL}config doro web\n{WEB}"));
    assert_eq!(found, [NearSection]);
    // Neither what a door has nor that there is none is told besides.
    let only = format!("config postern global\nlist interface wan\nconfig dor ssh\n{WEB}");
    assert_eq!(problems(only), [NearSection]);
    let only = format!("config Postern global\nlist interface wan\nconfig door ssh\n{WEB}");
    assert_eq!(problems(only), [NearSection]);
}

#[test]
fn what_is_nearly_an_option_is_not_ignored() {
    use Problem::{NearOption, NotGuarded, OptionElsewhere, UnknownOption};
    for (text, expected) in [
        ("list gaurd 80", NearOption),
        ("list Guard 80", NearOption),
        ("list guards 80", NearOption),
        ("list uard 80", NearOption),
        ("list g_aurd 80", NearOption),
        ("list oepn 80", NearOption),
        ("list opened 80", NearOption),
        ("list clsoe 80", NearOption),
        ("option cutof '5 per 10m'", NearOption),
        ("option cut_off '5 per 10m'", NearOption),
        ("option ON_EXPIRY cut", NearOption),
        ("option on_expire cut", NearOption),
        ("option window_ 5s", NearOption),
        ("option decoy 0", NearOption),
        ("config postern global\noption enable 0", NearOption),
        ("config postern global\nlist interfaces lan", NearOption),
        ("config postern global\noption gaurd mark", NearOption),
        ("config button\noption button wps\nlist dor ssh", NearOption),
        ("list interface lan", NotGuarded),
        ("list exempt 192.0.2.1", OptionElsewhere),
        ("option fallback none", OptionElsewhere),
        (
            "config postern global\noption cutoff '5 per 10m'",
            OptionElsewhere,
        ),
        (
            "config button\noption button wps\nlist door ssh\nlist guard 9",
            OptionElsewhere,
        ),
        ("option name ssh", UnknownOption),
        ("option comment mine", UnknownOption),
        ("option colour red", UnknownOption),
        ("option if wan", UnknownOption),
    ] {
        assert_eq!(
            problems(format!("{HEAD}{TAIL}{text}\n")),
            [expected],
            "{text}"
        );
    }
    // What is written wrong is not missing.
    for text in [
        format!("{}list gaurd 22\n{TAIL}", HEAD).replace("list guard 22\n", ""),
        format!("{HEAD}{TAIL}").replace("list interface", "list interfaec"),
        format!("{HEAD}{TAIL}").replace("option method", "option metohd"),
    ] {
        assert_eq!(problems(&text), [NearOption], "{text}");
    }
}

#[test]
fn nothing_is_guarded_only_where_that_is_said() {
    let (head, none) = ("config postern global\nlist interface wan\n", &[][..]);
    for (text, expected) in [
        (head.to_string(), &[Problem::NoDoors][..]),
        (format!("{head}option enabled 1\n"), &[Problem::NoDoors]),
        (format!("{head}option enabled 0\n"), none),
        (format!("{head}option enabled off\n"), none),
        (
            format!("{head}option enabled 'O'\n"),
            &[Problem::UnknownWord, Problem::NoDoors],
        ),
        (String::new(), &[Problem::ForeignFile]),
        ("# no word\n".into(), &[Problem::ForeignFile]),
        (
            "config interface lan\noption a b\nconfig b\n".into(),
            &[Problem::ForeignFile],
        ),
        (
            "package network\n\nconfig device\n".into(),
            &[Problem::ForeignFile],
        ),
        (
            format!("{HEAD}{TAIL}package network\nconfig device\n"),
            &[Problem::ForeignPackage, Problem::UnknownSection],
        ),
    ] {
        assert_eq!(problems(&text), expected, "{text}");
    }
    assert!(!valid(format!("{head}option enabled 0\n")).global.enabled);
    assert!(valid(format!("{HEAD}{TAIL}")).global.enabled);
    let mut said = Vec::new();
    let config = Config::parse_doorless(head.as_bytes(), |found| said.push(found.problem));
    assert!(config.is_some());
    assert_eq!(said, [Problem::Doorless]);
    assert!(Config::parse_doorless(b"", |_| {}).is_none());
}

#[test]
fn doors_that_open_by_the_same_knocks() {
    let web = |open: &str, more: &str| {
        problems(format!(
            "{HEAD}{TAIL}config door web\nlist guard 80\noption method sequence-same\n\
             option open '{open}'\n{more}"
        ))
    };
    let cutoff = "option cutoff '5 per 10m'\n";
    assert_eq!(web("9 7 6", ""), [Problem::SameSequence]);
    assert_eq!(web("9 7 6 5", ""), [Problem::SameSequence]);
    assert_eq!(web("9 7", cutoff), [Problem::SameSequence]);
    assert_eq!(web("7 6 9", ""), []);
    assert_eq!(web("9 6 7", ""), []);
}

#[test]
fn names_across_sections() {
    for (text, expected) in [
        ("config door ssh", &[Problem::DoorTwice][..]),
        ("config door 's's\"h\"", &[Problem::DoorTwice]),
        ("config postern ssh", &[Problem::OtherType]),
        ("config door global", &[Problem::OtherType]),
        (
            "config other x\nconfig other x",
            &[Problem::UnknownSection; 2],
        ),
        (
            "config other x\nconfig another x",
            &[Problem::UnknownSection, Problem::OtherType],
        ),
        (
            "config other\nconfig another",
            &[Problem::UnknownSection; 2],
        ),
        ("config other ssh", &[Problem::OtherType]),
        ("config postern", &[Problem::NotGlobal]),
    ] {
        assert_eq!(
            problems(format!("{HEAD}{TAIL}{text}\n")),
            expected,
            "{text}"
        );
    }
}

#[test]
fn what_is_lost_with_a_section_is_not_missed() {
    let lost = Problem::Syntax(crate::uci::Problem::TooManyWords);
    let text = format!(
        "config postern global x\nlist interface wan\n{}",
        &HEAD[41..]
    );
    assert_eq!(problems(format!("{text}{TAIL}")), [lost]);
    let text = format!("{HEAD}{TAIL}config door web x\noption window 0\n");
    assert_eq!(problems(text), [lost]);
}

/// A one-time door of a client with this option.
fn one_time(method: &str, option: &str) -> (Option<Client>, Vec<(u32, Problem, String)>) {
    let source = if method == "one-time-list" {
        "list"
    } else {
        "secret"
    };
    parse_client(format!(
        "config door ssh\noption method {method}\noption {source}_file /etc/ssh\n{option}\n"
    ))
}

#[test]
fn limits_of_one_time_methods() {
    use Problem::{BadValue, OutOfRange};
    for (method, option, accepted, refused) in [
        (
            "one-time-clock",
            "period",
            "5s 30000ms 3600 1h",
            "4999ms 3601s 0",
        ),
        ("one-time-clock", "skew", "0 10", "11 256 65536"),
        ("one-time-seed", "look_ahead", "1 31", "0 32 257"),
        (
            "one-time-seed",
            "base",
            "1 10000 64536",
            "0 65536 99999999999",
        ),
        ("one-time-list", "grant_prefix4", "8 32", "7 33 264"),
        ("one-time-list", "grant_prefix6", "16 128", "15 129 256"),
    ] {
        for value in accepted.split(' ') {
            let (client, said) = one_time(method, &format!("option {option} {value}"));
            assert!(
                client.is_some() && said.is_empty(),
                "{option} {value}: {said:?}"
            );
        }
        for value in refused.split(' ') {
            let (_, said) = one_time(method, &format!("option {option} {value}"));
            assert_eq!((said.len(), said[0].1), (1, OutOfRange), "{option} {value}");
        }
        for value in ["''x", "-1", "+1", "1.0", "0x1"] {
            let (_, said) = one_time(method, &format!("option {option} {value}"));
            assert_eq!((said.len(), said[0].1), (1, BadValue), "{option} {value}");
        }
    }
}

#[test]
fn a_code_ends_at_the_last_port() {
    for (digits, highest) in [(6, 64_536), (8, 55_536)] {
        let base = |base| {
            let (client, said) = one_time(
                "one-time-clock",
                &format!("option base {base}\noption digits {digits}"),
            );
            (client, said.first().map(|said| said.1))
        };
        let (client, said) = base(highest);
        assert_eq!(said, None);
        let ranges = client.unwrap().doors[0].method.code().unwrap().ranges();
        assert_eq!(*ranges[0].1.end(), u16::MAX);
        assert_eq!(base(highest + 1), (None, Some(Problem::BaseTooHigh)));
    }
}

#[test]
fn capacities_of_a_client() {
    for (option, longest, accepted) in [
        ("address", "x".repeat(MAX_ADDRESS), true),
        ("address", "x".repeat(MAX_ADDRESS + 1), false),
        ("state_dir", format!("/{}", "x".repeat(MAX_PATH - 1)), true),
        ("state_dir", format!("/{}", "x".repeat(MAX_PATH)), false),
    ] {
        let text = format!("config client global\noption {option} {longest}\n{DOOR_OF_CLIENT}");
        let (client, said) = parse_client(text);
        assert_eq!(
            (client.is_some(), said.is_empty()),
            (accepted, accepted),
            "{said:?}"
        );
    }
}

const DOOR_OF_CLIENT: &str = "config door ssh\noption method one-time-list\n\
                              option list_file /etc/ssh.list\n";

#[test]
fn a_client_has_no_defaults_of_its_own() {
    let (client, said) = parse_client(DOOR_OF_CLIENT);
    let client = client.unwrap();
    assert_eq!(said, []);
    assert!(client.address.is_empty() && client.state_dir.is_empty());
    assert!(client.doors[0].guards.is_empty());
}

/// That `count` is accepted by the configuration `make` writes, and one more is not.
fn limit(count: usize, problem: Problem, make: impl Fn(usize) -> String) {
    let (config, said) = parse(make(count));
    assert!(config.is_some(), "{said:?}");
    let found = problems(make(count + 1));
    let errors = found.iter().filter(|at| at.severity() == Severity::Error);
    assert_eq!(errors.collect::<Vec<_>>(), [&problem]);
}

fn repeat(count: usize, make: impl Fn(usize) -> String) -> String {
    (0..count).map(make).collect()
}

#[test]
fn capacities() {
    let bare = "config postern global\nlist interface wan\nconfig door ssh\noption method sequence-separate\n";
    limit(MAX_INTERFACES, Problem::TooManyValues, |count| {
        let names = repeat(count - 1, |index| format!("list interface eth{index}\n"));
        format!("config postern global\n{names}{HEAD}{TAIL}")
    });
    limit(MAX_INTERFACE_NAME, Problem::BadValue, |count| {
        format!(
            "config postern global\nlist interface {}\n{HEAD}{TAIL}",
            "x".repeat(count)
        )
    });
    limit(MAX_PATH, Problem::BadValue, |count| {
        format!(
            "config postern global\noption control /{}\n{HEAD}{TAIL}",
            "x".repeat(count - 1)
        )
    });
    limit(MAX_NAME, Problem::DoorName, |count| {
        format!(
            "{HEAD}{TAIL}config door {}\noption method sequence-separate\nlist guard 23\nlist open 5\nlist open 3\n",
            "x".repeat(count)
        )
    });
    limit(MAX_GUARDS, Problem::TooManyValues, |count| {
        let guards = repeat(count, |index| format!("list guard {}\n", 100 + index));
        format!("{bare}{guards}list open 9\nlist open 7\n")
    });
    for (sequence, other) in [("open", "close"), ("close", "open")] {
        limit(MAX_STEPS, Problem::TooManyValues, |count| {
            let steps = repeat(count, |index| format!("list {sequence} {}\n", 100 + index));
            format!("{bare}list guard 22\n{steps}list {other} 9\nlist {other} 7\n")
        });
    }
    limit(MAX_DOORS, Problem::TooManyDoors, |count| {
        let doors = repeat(count, |index| door(index, &[index as u16 + 1000, 9]));
        format!("config postern global\nlist interface wan\n{doors}")
    });
    limit(MAX_SECTIONS, Problem::TooManySections, |count| {
        format!(
            "{HEAD}{TAIL}{}",
            repeat(count - 2, |index| format!("config x y{index}\n"))
        )
    });
}

/// A door that guards a port of its own and knocks on `ports`.
fn door(index: usize, ports: &[u16]) -> String {
    let ports: String = ports
        .iter()
        .map(|port| format!("list open {port}\n"))
        .collect();
    let guard = 60_000 + index;
    format!("config door d{index}\noption method sequence-separate\nlist guard {guard}\n{ports}")
}

#[test]
fn distinct_knock_ports_are_counted_over_all_doors() {
    let full = MAX_KNOCK_PORTS / MAX_STEPS;
    limit(MAX_KNOCK_PORTS, Problem::TooManyKnockPorts, |count| {
        let doors = repeat(full, |index| {
            let ports: Vec<u16> = (0..MAX_STEPS)
                .map(|step| (1 + index * MAX_STEPS + step) as u16)
                .collect();
            door(index, &ports)
        });
        // Ports that another door knocks on already, and what is beyond the limit.
        let last: Vec<u16> = vec![5, 40, count as u16];
        format!(
            "config postern global\nlist interface wan\n{doors}{}",
            door(full, &last)
        )
    });
}

/// A code door that asks for ports of both protocols from `base` on.
fn code_door(index: usize, base: usize) -> String {
    format!(
        "config door c{index}\noption method one-time-seed\noption cutoff '5 per 1h'\n\
         option secret_file /etc/c{index}\noption base {base}\noption protocol mixed\n\
         list guard {}\n",
        61_000 + index
    )
}

#[test]
fn a_range_of_ports_counts_as_one_and_the_engine_has_room_for_all() {
    let static_doors = repeat(30, |index| {
        let ports: Vec<u16> = (0..MAX_STEPS)
            .map(|step| (20_001 - 3 * (index * MAX_STEPS + step) as i32).try_into())
            .map(Result::unwrap)
            .collect();
        door(index, &ports)
    });
    let global = "config postern global\nlist interface wan\n";
    let text = |last: &str| {
        let codes = repeat(32, |index| code_door(index, 20_000 + 1_001 * index));
        // The ports of this door are counted already.
        let shared = code_door(32, 20_000);
        format!("{global}{static_doors}{codes}{shared}{last}")
    };
    let config = valid(text(""));
    let mut engine = std::boxed::Box::new(crate::engine::Engine::<8>::new());
    assert_eq!(engine.configure(&config.doors), Ok(()));
    let one_more = code_door(33, 20_007).replace("mixed", "tcp");
    assert_eq!(problems(text(&one_more)), [Problem::TooManyKnockPorts]);
}

#[test]
fn values_that_may_be_secrets_are_not_repeated() {
    let (_, said) = parse(format!(
        "{HEAD}option seed 'JBSWY3DP'\n{TAIL}option sede JBSWY3DP x\n\
         option secret_file 'JBSWY3DP'\noption payload JBSWY3DP\n"
    ));
    assert_eq!(said.len(), 5, "{said:?}");
    assert!(
        said.iter().all(|(_, _, message)| !message.contains("JBSW")),
        "{said:?}"
    );
}

/// George Marsaglia, "Xorshift RNGs": the same numbers in every run.
fn xorshift(state: &mut u64) -> usize {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    (*state >> 16) as usize
}

/// A text with some of its bytes changed.
fn mutated(text: &[u8], state: &mut u64) -> Vec<u8> {
    let words: [&[u8]; 16] = [
        b"'",
        b"\"",
        b"\\\n",
        b"#",
        b";",
        b"\0",
        b"\nconfig door ",
        b"\noption ",
        b"\nlist open ",
        b"\xff",
        b"\x1b[2J",
        b"tcp:22 ",
        b"\noption base ",
        b"\noption payload 'text:'",
        b"65535",
        b"\nlist close udp:9\n",
    ];
    let mut text = text.to_vec();
    for _ in 0..1 + xorshift(state) % 4 {
        let at = xorshift(state) % text.len();
        let to = (at + xorshift(state) % 9).min(text.len());
        match xorshift(state) % 4 {
            0 => text[at] = xorshift(state) as u8,
            1 => drop(text.drain(at..to)),
            2 => drop(text.splice(at..at, words[xorshift(state) % words.len()].to_vec())),
            _ => drop(text.splice(at..at, text[at..].to_vec())),
        }
        text.truncate(4096);
        if text.is_empty() {
            text.push(b'\n');
        }
    }
    text
}

fn check_diagnostic(text: &[u8], line: u32, message: &str) {
    let lines = text.iter().filter(|byte| **byte == b'\n').count() as u32;
    assert!((1..=lines + 1).contains(&line), "{message}");
    let printable = |byte: u8| byte == b' ' || byte.is_ascii_graphic();
    assert!(message.bytes().all(printable), "{message}");
}

/// That a client reads what is written of a door as the same door.
fn check_written(door: &Door) {
    let mut section = Text(String::new());
    let Ok(()) = write(door, &mut section);
    let (client, said) = parse_client(&section.0);
    assert_eq!(said, [], "{}", section.0);
    assert_eq!(
        client.unwrap().doors.as_slice(),
        core::slice::from_ref(door),
        "{}",
        section.0
    );
}

#[test]
fn mutated_files_never_panic_and_never_drive_a_terminal() {
    let mut state = 0x9e37_79b9_7f4a_7c15;
    let mut accepted = 0;
    for round in 0..20_000 {
        let router = round % 2 == 0;
        let text = mutated(if router { DESIGN } else { SEVEN }, &mut state);
        let (doors, said) = if router {
            let (config, said) = parse(&text);
            assert!(
                config
                    .iter()
                    .all(|config| !config.global.interfaces.is_empty())
            );
            (config.map(|config| config.doors), said)
        } else {
            let (client, said) = parse_client(&text);
            (client.map(|client| client.doors), said)
        };
        accepted += usize::from(doors.is_some());
        for (line, _, message) in &said {
            check_diagnostic(&text, *line, message);
        }
        for door in doors.iter().flatten() {
            assert!(!router || !door.guards.is_empty());
            check_written(door);
        }
    }
    assert!(
        (400..19_600).contains(&accepted),
        "{accepted} of 20000 were accepted"
    );
}

#[test]
fn every_line_of_the_example_can_be_left_out() {
    let text = core::str::from_utf8(DESIGN).unwrap();
    for missing in 0..text.lines().count() {
        let lines = text
            .lines()
            .enumerate()
            .filter(|(index, _)| *index != missing);
        let text: String = lines.map(|(_, line)| line.to_string() + "\n").collect();
        let _ = problems(text);
    }
}
