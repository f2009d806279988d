//! The programs that the kernel runs for each packet, so that only knocks wake the agent.
//!
//! They see a packet from its IP header on, and what the kernel knows of it beside. What they
//! let through is parsed again, so they may be coarse: they let some ports too many through
//! rather than grow too long, and they leave odd headers to the parser. What core takes for
//! a knock, they never hold back.

use core::ops::RangeInclusive;

use postern_core::knock::Protocol;
use postern_core::packet::MAX_EXTENSIONS;

use crate::collect::CollectVec;
use crate::sort::sort;
use crate::sys::raw::{EtherType, Step};

/// The most ranges of ports of one protocol that are told apart: no jump of the search is
/// then longer than the 255 steps that fit into one.
pub(super) const MAX_RANGES: usize = 120;

/// Which packets are let through.
pub(super) struct Wanted<'w> {
    /// The numbers of the interfaces that they came in on.
    pub(super) interfaces: &'w [u32],
    /// Whether they may have been for others than this machine.
    pub(super) for_others: bool,
    /// TCP ports, in ascending order, none of them twice.
    pub(super) tcp: &'w [RangeInclusive<u16>],
    /// UDP ports, likewise.
    pub(super) udp: &'w [RangeInclusive<u16>],
    /// How much an echo request carries, likewise.
    pub(super) echo: &'w [RangeInclusive<u16>],
    /// How many octets of each packet.
    pub(super) length: u16,
}

/// The program that lets through what is wanted of a family, with at most `ranges` ranges of
/// ports for each protocol.
pub(super) fn program(family: EtherType, wanted: &Wanted<'_>, ranges: usize) -> Vec<Step> {
    let mut program = Program::default();
    let [tcp, udp, echo, tcp_ports, udp_ports, lengths, reject] = program.labels();
    let echo_or_not = match wanted.echo {
        [] => reject,
        _ => echo,
    };
    program.receiver(wanted.for_others, reject);
    program.arrival(wanted.interfaces, reject);
    match family {
        EtherType::V4 => program.ipv4([tcp, udp, echo_or_not, reject]),
        EtherType::V6 => program.ipv6([tcp, udp, echo_or_not, reject]),
    }
    program.place(tcp);
    program.only_syn(reject);
    program.load_port();
    program.go(tcp_ports);
    program.place(udp);
    program.load_port();
    program.go(udp_ports);
    if !wanted.echo.is_empty() {
        program.place(echo);
        program.only_echo_requests(family, reject);
        program.load_echo_length(family);
        program.go(lengths);
    }
    program.place(reject);
    program.end(0);
    let searched = [
        (tcp_ports, wanted.tcp),
        (udp_ports, wanted.udp),
        (lengths, wanted.echo),
    ];
    for (label, ports) in searched {
        program.place(label);
        let ranges = coarse(ports, ranges.clamp(1, MAX_RANGES));
        program.search(&edges(&ranges), false, wanted.length);
    }
    program.steps()
}

/// The program that lets through whole packets, of those that came in on these interfaces.
pub(super) fn arrived_on(interfaces: &[u32]) -> Vec<Step> {
    let mut program = Program::default();
    let [reject] = program.labels();
    program.arrival(interfaces, reject);
    program.end(u32::MAX);
    program.place(reject);
    program.end(0);
    program.steps()
}

/// At most `most` ranges that hold all of these, and as little between them as can be.
fn coarse(ranges: &[RangeInclusive<u16>], most: usize) -> Vec<RangeInclusive<u16>> {
    let mut gaps: Vec<(u16, usize)> = ranges
        .windows(2)
        .enumerate()
        .filter_map(|(index, pair)| match pair {
            [before, after] => Some((after.start().saturating_sub(*before.end()), index)),
            _ => None,
        })
        .collect_vec();
    // The widest gaps stay.
    sort(&mut gaps, &|one, other| one > other);
    gaps.truncate(most.saturating_sub(1));
    let mut left: Vec<RangeInclusive<u16>> = Vec::new();
    for (index, range) in ranges.iter().enumerate() {
        let is_parted = index
            .checked_sub(1)
            .is_some_and(|before| gaps.iter().any(|(_, gap)| *gap == before));
        match left.last_mut() {
            Some(last) if !is_parted => *last = *last.start()..=*range.end(),
            _ => left.push(range.clone()),
        }
    }
    left
}

/// Where membership changes: in from the first on, out from the second, and so on.
fn edges(ranges: &[RangeInclusive<u16>]) -> Vec<u32> {
    let edges = ranges
        .iter()
        .map(|range| [u32::from(*range.start()), u32::from(*range.end()) + 1]);
    edges.flatten().collect_vec()
}

/// A place to jump to, further on in the program.
#[derive(Clone, Copy)]
struct Label(usize);

/// Where a comparison goes on.
#[derive(Clone, Copy)]
enum To {
    Next,
    Label(Label),
}

enum Instruction {
    Plain(u32, u32),
    Branch {
        code: u32,
        value: u32,
        yes: To,
        no: To,
    },
    Go(Label),
}

#[derive(Default)]
struct Program {
    instructions: Vec<Instruction>,
    /// The instruction of each label, once it is placed.
    places: Vec<usize>,
}

// What the kernel knows of a packet is loaded from there (SKF_AD_OFF in linux/filter.h).
const ANCILLARY_OFFSET: i32 = -0x1000;
/// PACKET_HOST, PACKET_BROADCAST and PACKET_MULTICAST are 0 to 2, PACKET_OTHERHOST is 3
/// (linux/if_packet.h).
const FOR_US: u32 = 2;
const FOR_OTHERS: u32 = 3;
/// The numbers of ICMP, of which the families have one each (IANA, Protocol Numbers).
const ICMP: u32 = 1;
const ICMPV6: u32 = 58;
/// A word of the kernel's scratch memory.
const SCRATCH_WORD: u32 = 0;

impl Program {
    fn labels<const N: usize>(&mut self) -> [Label; N] {
        core::array::from_fn(|_| {
            self.places.push(usize::MAX);
            Label(self.places.len() - 1)
        })
    }

    /// The label stands for the next instruction.
    fn place(&mut self, label: Label) {
        if let Some(place) = self.places.get_mut(label.0) {
            *place = self.instructions.len();
        }
    }

    fn plain(&mut self, code: u32, value: u32) {
        self.instructions.push(Instruction::Plain(code, value));
    }

    fn branch(&mut self, code: u32, value: u32, yes: To, no: To) {
        let code = libc::BPF_JMP | code | libc::BPF_K;
        let branch = Instruction::Branch {
            code,
            value,
            yes,
            no,
        };
        self.instructions.push(branch);
    }

    fn is(&mut self, value: u32, yes: To, no: To) {
        self.branch(libc::BPF_JEQ, value, yes, no);
    }

    fn go(&mut self, label: Label) {
        self.instructions.push(Instruction::Go(label));
    }

    /// Lets so many octets of the packet through; 0: none of it.
    fn end(&mut self, octets: u32) {
        self.plain(libc::BPF_RET | libc::BPF_K, octets);
    }

    /// Loads what the kernel knows of the packet.
    fn load_known(&mut self, what: libc::c_int) {
        let at = (ANCILLARY_OFFSET + what).cast_unsigned();
        self.plain(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, at);
    }

    fn load_octet(&mut self, at: u32) {
        self.plain(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, at);
    }

    /// Loads an octet from so far behind X.
    fn load_octet_behind(&mut self, at: u32) {
        self.plain(libc::BPF_LD | libc::BPF_B | libc::BPF_IND, at);
    }

    /// The destination port lies at the same place in both protocols, and X at their header.
    fn load_port(&mut self) {
        self.plain(libc::BPF_LD | libc::BPF_H | libc::BPF_IND, 2);
    }

    fn calculate(&mut self, operation: u32, value: u32) {
        self.plain(libc::BPF_ALU | operation | libc::BPF_K, value);
    }

    fn receiver(&mut self, for_others: bool, reject: Label) {
        let most = match for_others {
            true => FOR_OTHERS,
            false => FOR_US,
        };
        self.load_known(libc::SKF_AD_PKTTYPE);
        self.branch(libc::BPF_JGT, most, To::Label(reject), To::Next);
    }

    fn arrival(&mut self, interfaces: &[u32], reject: Label) {
        let [arrived] = self.labels();
        self.load_known(libc::SKF_AD_IFINDEX);
        for interface in interfaces {
            self.is(*interface, To::Label(arrived), To::Next);
        }
        self.go(reject);
        self.place(arrived);
    }

    /// RFC 791, section 3.1. Fragments are no knocks, as core has it.
    fn ipv4(&mut self, [tcp, udp, echo, reject]: [Label; 4]) {
        self.plain(libc::BPF_LD | libc::BPF_H | libc::BPF_ABS, 6);
        let (more_fragments, offset) = (0x2000, 0x1fff);
        self.branch(
            libc::BPF_JSET,
            more_fragments | offset,
            To::Label(reject),
            To::Next,
        );
        // X is the length of the header.
        self.plain(libc::BPF_LDX | libc::BPF_B | libc::BPF_MSH, 0);
        self.load_octet(9);
        self.is(Protocol::Tcp.number().into(), To::Label(tcp), To::Next);
        self.is(Protocol::Udp.number().into(), To::Label(udp), To::Next);
        self.is(ICMP, To::Label(echo), To::Label(reject));
    }

    /// RFC 8200, section 4, as core walks the extension headers: at each step, A is the number
    /// of the next header and X the place where it begins.
    fn ipv6(&mut self, [tcp, udp, echo, reject]: [Label; 4]) {
        const EXTENSIONS: [u32; 3] = [0, 43, 60];
        self.plain(libc::BPF_LDX | libc::BPF_IMM, 40);
        self.load_octet(6);
        for walked in 0..=MAX_EXTENSIONS {
            let [extension] = self.labels();
            self.is(Protocol::Tcp.number().into(), To::Label(tcp), To::Next);
            self.is(Protocol::Udp.number().into(), To::Label(udp), To::Next);
            self.is(ICMPV6, To::Label(echo), To::Next);
            if walked == MAX_EXTENSIONS {
                break;
            }
            for number in EXTENSIONS {
                self.is(number, To::Label(extension), To::Next);
            }
            self.go(reject);
            self.place(extension);
            self.load_octet_behind(1);
            self.calculate(libc::BPF_ADD, 1);
            self.calculate(libc::BPF_LSH, 3);
            self.plain(libc::BPF_ALU | libc::BPF_ADD | libc::BPF_X, 0);
            self.plain(libc::BPF_ST, SCRATCH_WORD);
            self.load_octet_behind(0);
            self.plain(libc::BPF_LDX | libc::BPF_MEM, SCRATCH_WORD);
        }
        self.go(reject);
    }

    /// RFC 9293, section 3.1: of FIN, SYN, RST and ACK, SYN alone.
    fn only_syn(&mut self, reject: Label) {
        self.load_octet_behind(13);
        self.calculate(libc::BPF_AND, 0x17);
        self.is(0x02, To::Next, To::Label(reject));
    }

    /// RFC 792, and RFC 4443, section 4.1: the type and the code.
    fn only_echo_requests(&mut self, family: EtherType, reject: Label) {
        let request = match family {
            EtherType::V4 => 8,
            EtherType::V6 => 128,
        };
        self.load_octet_behind(0);
        self.is(request, To::Next, To::Label(reject));
        self.load_octet_behind(1);
        self.is(0, To::Next, To::Label(reject));
    }

    /// How long the packet is, less what is before X and the header there; more than any length if that is longer.
    fn load_echo_length(&mut self, family: EtherType) {
        let (at, headers) = match family {
            EtherType::V4 => (2, 0),
            EtherType::V6 => (4, 40),
        };
        self.plain(libc::BPF_LD | libc::BPF_H | libc::BPF_ABS, at);
        self.calculate(libc::BPF_ADD, headers);
        self.plain(libc::BPF_ALU | libc::BPF_SUB | libc::BPF_X, 0);
        self.calculate(libc::BPF_SUB, 8);
    }

    /// Searches for A between sorted edges; `inside` says what it is before the first of them.
    fn search(&mut self, edges: &[u32], inside: bool, length: u16) {
        let middle = edges.len() / 2;
        let (before, from) = edges.split_at(middle);
        let Some((edge, behind)) = from.split_first() else {
            return self.end(if inside { length.into() } else { 0 });
        };
        let [beyond] = self.labels();
        self.branch(libc::BPF_JGE, *edge, To::Label(beyond), To::Next);
        self.search(before, inside, length);
        self.place(beyond);
        // Each edge changes it.
        self.search(behind, inside ^ (middle.is_multiple_of(2)), length);
    }

    /// The program with jumps in place of labels.
    fn steps(&self) -> Vec<Step> {
        let instructions = self.instructions.iter().enumerate();
        instructions
            .map(|(at, instruction)| self.step(at, instruction))
            .collect_vec()
    }

    fn step(&self, at: usize, instruction: &Instruction) -> Step {
        let distance = |label: &Label| {
            let place = self.places.get(label.0).copied().unwrap_or_default();
            place.saturating_sub(at + 1)
        };
        let jump = |to: &To| match to {
            To::Next => 0,
            // A test sees to it that all of them fit.
            To::Label(label) => u8::try_from(distance(label)).unwrap_or(u8::MAX),
        };
        let (code, jt, jf, k) = match instruction {
            Instruction::Plain(code, value) => (*code, 0, 0, *value),
            Instruction::Branch {
                code,
                value,
                yes,
                no,
            } => (*code, jump(yes), jump(no), *value),
            Instruction::Go(label) => (libc::BPF_JMP | libc::BPF_JA, 0, 0, distance(label) as u32),
        };
        Step {
            code: code as u16,
            jt,
            jf,
            k,
        }
    }
}
