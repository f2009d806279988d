//! What the running kernel can do, asked of itself: nothing is read off version numbers or lists
//! of modules, as a kernel may have it built in, or load it when it is asked.

use std::io;
use std::path::Path;

use postern_core::config::{Config, Source};
use postern_core::knock::Port;

use super::finding::Finding;
use super::kinds::{self, Kind, Severity};
use super::root::Root;
use crate::firewall::{Firewall, Part, Refusal, needed_parts};
use crate::netlink::codec::{self, Messages};
use crate::sys::link::open_packet_socket;
use crate::sys::netlink::NetlinkSocket;
use crate::sys::process::{Capability, has};
use crate::sys::unix;

/// The oldest kernel that Postern is tested on.
const OLDEST_TESTED_KERNEL: (u32, u32) = (5, 10);
const DEFAULT_GROUP: u16 = 5;

/// What the kernel said.
#[derive(Default)]
pub(super) struct Answers {
    /// Whether this process may ask at all.
    pub(super) permitted: bool,
    /// What came of each part of nf_tables that was asked for.
    pub(super) parts: Vec<(Part, Result<(), Refusal>)>,
    /// Why it would not take the configuration's table.
    pub(super) table: Option<Refusal>,
    /// The error numbers of NFLOG and of packet sockets; 0: there is none.
    pub(super) nflog: i32,
    pub(super) packet: i32,
}

/// Asks for everything.
pub(super) fn ask(config: Option<&Config>, listed: &[Port]) -> Answers {
    let mut answers = ask_sockets(config);
    let mut firewall = match Firewall::open() {
        Ok(firewall) => firewall,
        Err(error) => {
            answers.parts.push((Part::Tables, Err(error.into())));
            return answers;
        }
    };
    for part in Part::ALL {
        let answer = firewall.rehearse_part(part);
        let hopeless = part == Part::Tables && answer.is_err();
        answers.parts.push((part, answer));
        if hopeless {
            return answers;
        }
    }
    if let Some(config) = config {
        answers.table = firewall.rehearse(config, listed).err();
    }
    answers
}

/// Asks no more than it takes to know that all is well; if it is not, for everything.
pub(super) fn ask_briefly(config: &Config, listed: &[Port]) -> Answers {
    let answers = ask_sockets(Some(config));
    let refused = match Firewall::open() {
        Ok(mut firewall) => firewall.rehearse(config, listed).is_err(),
        Err(_) => true,
    };
    if refused {
        ask(Some(config), listed)
    } else {
        answers
    }
}

fn ask_sockets(config: Option<&Config>) -> Answers {
    let group = config.map_or(DEFAULT_GROUP, |config| config.global.nflog_group);
    let number = |error: io::Error| error.raw_os_error().unwrap_or(libc::EIO);
    Answers {
        permitted: has(Capability::NetAdmin),
        nflog: ask_nflog(group).unwrap_or_else(number),
        packet: open_packet_socket().err().map_or(0, number),
        ..Answers::default()
    }
}

/// Asks that a group be given back by somebody who has it not: a refusal that changes nothing
/// and tells whether there are groups at all (`nfulnl_recv_config`).
fn ask_nflog(group: u16) -> io::Result<i32> {
    const KIND: i32 = libc::NFNL_SUBSYS_ULOG << 8 | libc::NFULNL_MSG_CONFIG;
    let mut octets = Vec::new();
    codec::message(
        &mut octets,
        KIND as u16,
        libc::NLM_F_ACK,
        1,
        (libc::AF_UNSPEC as u8, group),
        |to| {
            let unbind = [libc::NFULNL_CFG_CMD_UNBIND as u8];
            codec::attribute(to, libc::NFULA_CFG_CMD as u16, &unbind);
        },
    );
    let mut socket = NetlinkSocket::open()?;
    socket.send(&octets)?;
    let mut buffer = [0; 1024];
    let answer = socket.receive_queued(&mut buffer)?.unwrap_or_default();
    let outcome = Messages(answer).find_map(|message| message.outcome());
    Ok(outcome.map_or(libc::EIO, |(number, _)| number))
}

/// Whether an agent holds the configuration's control socket, and so may hold its group.
pub(super) fn agent_runs(config: &Config) -> bool {
    match unix::connect(Path::new(config.global.control.as_str())) {
        Ok(_) => true,
        Err(error) => error.kind() == io::ErrorKind::WouldBlock,
    }
}

pub(super) fn judge(
    answers: &Answers,
    config: Option<&Config>,
    listed: &[Port],
    findings: &mut Vec<Finding>,
) {
    let needed = needed(config, listed);
    let refused = answers
        .parts
        .iter()
        .filter_map(|(part, answer)| answer.as_ref().err().map(|refusal| (*part, refusal)));
    for (part, refusal) in refused {
        if let Refusal::NoPermission = refusal {
            // To whoever may ask, it means that the table is an agent's own (NFT_TABLE_F_OWNER):
            // then the kernel has what it takes.
            if !answers.permitted {
                findings.push(missing(&kinds::KERNEL_UNASKED, refusal, true));
            }
            return;
        }
        let is_needed = needed.contains(&part);
        findings.push(missing(kind_of(part, refusal), refusal, is_needed));
    }
    let lacks = |finding: &Finding| finding.severity == Severity::Fatal;
    if let (Some(refusal), false) = (&answers.table, findings.iter().any(lacks)) {
        findings.push(missing(&kinds::TABLE_REFUSED, refusal, true));
    }
    let source = config.map_or(Source::Nflog, |config| config.global.source);
    let in_words = |number| io::Error::from_raw_os_error(number);
    // The answers of nfnetlink where nobody takes such messages, and of a kernel without it.
    if let libc::EINVAL | libc::EOPNOTSUPP | libc::EPROTONOSUPPORT = answers.nflog {
        let error = in_words(answers.nflog);
        let is_needed = needed.contains(&Part::Log);
        findings.push(missing(&kinds::NFLOG_MISSING, &error, is_needed));
    }
    if answers.packet == libc::EAFNOSUPPORT {
        let error = in_words(answers.packet);
        let is_needed = source == Source::Packet;
        findings.push(missing(&kinds::PACKET_MISSING, &error, is_needed));
    }
}

/// Whether another program has the group of source nflog.
pub(super) fn judge_group(answers: &Answers, config: &Config, findings: &mut Vec<Finding>) {
    let taken =
        answers.permitted && answers.nflog == libc::EPERM && config.global.source == Source::Nflog;
    if taken && !agent_runs(config) {
        let group = config.global.nflog_group.to_string();
        findings.push(Finding::new(&kinds::GROUP_TAKEN, &[("group", &group)]));
    }
}

pub(super) fn judge_version(root: &Root, findings: &mut Vec<Finding>) {
    let version = root.text("proc/sys/kernel/osrelease");
    let mut numbers = version.split(|each: char| !each.is_ascii_digit());
    let mut number = || numbers.next().and_then(|number| number.parse().ok());
    if let (Some(major), Some(minor)) = (number(), number())
        && (major, minor) < OLDEST_TESTED_KERNEL
    {
        let version = version.trim_end();
        findings.push(Finding::new(&kinds::KERNEL_OLD, &[("version", version)]));
    }
}

fn missing(kind: &'static Kind, answer: &dyn core::fmt::Display, needed: bool) -> Finding {
    let finding = Finding::new(kind, &[("answer", &answer.to_string())]);
    match needed {
        true => finding,
        false => finding.only(Severity::Note),
    }
}

fn kind_of(part: Part, refusal: &Refusal) -> &'static Kind {
    match part {
        // A kernel that knows nf_tables and not this family.
        Part::Tables => match refusal {
            Refusal::Lacks { object, .. } if object.starts_with("table") => &kinds::INET_MISSING,
            _ => &kinds::NF_TABLES_MISSING,
        },
        Part::Chains => &kinds::INET_MISSING,
        Part::TimedSets => &kinds::TIMED_SETS_MISSING,
        Part::Fib => &kinds::FIB_MISSING,
        Part::Log => &kinds::LOG_MISSING,
        Part::LogLine => &kinds::LOG_LINES_MISSING,
        Part::Limit => &kinds::LIMIT_MISSING,
        Part::Conntrack => &kinds::CONNTRACK_MISSING,
        Part::DynamicSets => &kinds::DYNAMIC_SETS_MISSING,
        Part::Counters => &kinds::COUNTERS_MISSING,
    }
}

/// The parts that the configuration does not do without; where there is none yet, a usual one.
fn needed(config: Option<&Config>, listed: &[Port]) -> Vec<Part> {
    match config {
        Some(config) => needed_parts(config, listed),
        None => vec![
            Part::Tables,
            Part::Chains,
            Part::TimedSets,
            Part::Fib,
            Part::Log,
            Part::Limit,
        ],
    }
}
