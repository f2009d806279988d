//! What a knock costs the daemon: memory and calls of the kernel, on the real path from the
//! interface to the grant.
//!
//! ```text
//!   the test writes frames ---> wan (tap) ---> source, engine, firewall of an agent
//! ```

use std::os::fd::AsFd;

use postern_core::config::Config;
use postern_core::time::Duration;

use super::control::Request;
use super::*;
use crate::sys::costs::{allocations, netlink_calls};
use crate::sys::tap::{Link, Tap, in_a_namespace, ip};
use crate::testing::flows;
use crate::testing::scratch::Scratch;
use crate::testing::skipping::skip_for_the_kernel;

static ENGINE: Mutex<Engine<MAX_SOURCES>> = Mutex::new(Engine::new());

const KNOCKS: [u16; 3] = [7000, 8001, 6002];

fn configuration(source: &str, options: &str, folder: &Path) -> Config {
    let knocks = KNOCKS
        .map(|port| format!("list open udp:{port}\n"))
        .concat();
    let text = format!(
        "config postern global\noption source {source}\nlist interface wan\n\
         option fallback none\noption control '{}/control'\nconfig door ssh\nlist guard 22\n\
         option method sequence-separate\n{knocks}{options}",
        folder.display()
    );
    let mut said = String::new();
    let config = Config::parse(text.as_bytes(), |diagnostic| {
        said += &format!("{diagnostic:?}\n");
    });
    config.unwrap_or_else(|| panic!("{said}"))
}

/// A frame with a datagram from 192.0.2.`from` to port `to` of 192.0.2.1.
fn knock(from: u8, to: u16) -> Vec<u8> {
    let mut packet = vec![0x45, 0, 0, 32, 0, 0, 0, 0, 64, 17, 0, 0];
    packet.extend([192, 0, 2, from, 192, 0, 2, 1]);
    let words = packet
        .chunks(2)
        .map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])));
    let sum: u32 = words.sum();
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet.extend([0x9c, 0x40]);
    packet.extend(to.to_be_bytes());
    packet.extend([0, 12, 0, 0, 1, 2, 3, 4]);
    let header = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
    [&header, packet.as_slice()].concat()
}

/// What it costs the agent to hear a knock: allocations, and calls of netlink sockets.
fn cost(agent: &mut Agent<'_>, tap: &Tap, frame: &[u8]) -> (u64, u64) {
    tap.send(frame).unwrap();
    let seen = agent.engine.counters().seen;
    let before = (allocations(), netlink_calls());
    while agent.engine.counters().seen == seen {
        let timeout = Some(Duration::from_secs(5));
        let mut files = [PollFd::readable(agent.source.as_fd())];
        assert_eq!(poll(&mut files, timeout).unwrap(), 1, "the knock is heard");
        agent.hear_knocks();
    }
    (allocations() - before.0, netlink_calls() - before.1)
}

/// What a test does with an agent that hears by a source, with a door of these options.
fn with_agent(
    source: &'static str,
    options: &'static str,
    body: impl FnOnce(Agent<'_>, Tap) + Send + 'static,
) {
    in_a_namespace(move || {
        let tap = Tap::new("wan", Link::Ethernet).unwrap();
        ip("link set wan address 02:00:00:00:00:01 up");
        ip("address add 192.0.2.1/24 dev wan");
        let scratch = Scratch::new();
        let config = configuration(source, options, scratch.folder());
        let mut engine = ENGINE.lock().unwrap_or_else(PoisonError::into_inner);
        let path = scratch.path("config");
        let chosen = Chosen {
            config: Box::new(config),
            text: None,
        };
        let Ok(agent) = Agent::start(
            &mut engine,
            &path,
            chosen,
            (Lists::default(), &[]),
            Networks::default(),
            Others {
                take_over: false,
                presence: &Presence::claim(),
            },
        ) else {
            panic!("the agent does not start");
        };
        body(agent, tap);
    });
}

fn expect_costs(source: &'static str, receiving: u64) {
    with_agent(source, "", move |mut agent, tap| {
        // The first grant finds out what the kernel can do.
        for port in KNOCKS {
            cost(&mut agent, &tap, &knock(2, port));
        }
        if !agent.firewall.replaces_at_once() {
            skip_for_the_kernel("it takes Linux 6.3");
            return;
        }
        for from in 3..10 {
            let frames = KNOCKS.map(|port| knock(from, port));
            let costs = frames.map(|frame| cost(&mut agent, &tap, &frame));
            // The question whether its source hit a decoy, and the answer; a batch, and its
            // acknowledgement. There is also a line in the log, after all: an ordinary write.
            assert_eq!(costs, [(0, receiving), (0, receiving), (0, receiving + 4)]);
            let opened = agent.firewall.grants().unwrap().len();
            assert_eq!(opened, usize::from(from) - 1);
            // What the agent did itself is no news to it.
            let mut files = [PollFd::readable(agent.watch.as_fd())];
            assert_eq!(poll(&mut files, Some(Duration::default())).unwrap(), 0);
        }
    });
}

#[test]
fn a_knock_that_nflog_brings_takes_no_memory_and_a_question_and_a_batch_if_it_opens() {
    // The knock, and the news that there is no other.
    expect_costs("nflog", 2);
}

#[test]
fn a_knock_at_packet_sockets_takes_no_memory_and_a_question_and_a_batch_if_it_opens() {
    expect_costs("packet", 0);
}

#[test]
fn a_knock_at_bound_sockets_takes_no_memory_and_a_question_and_a_batch_if_it_opens() {
    expect_costs("sockets", 0);
}

/// Anybody can forge them, from as many addresses as there are.
#[test]
fn closing_knocks_of_whoever_was_not_let_in_are_not_kept() {
    let options = "list close udp:9003\noption on_expiry cut\n";
    with_agent("nflog", options, |mut agent, tap| {
        let open = Request::Open {
            door: "ssh".into(),
            whom: control::Whom::Everyone,
            lasting: Some(Duration::from_secs(3600)),
        };
        agent.answer(&open).unwrap();
        let waits_at = agent.cutting.poll_at();
        for from in 3..30 {
            cost(&mut agent, &tap, &knock(from, 9003));
            agent.cut(boottime());
        }
        assert_eq!(agent.cutting.poll_at(), waits_at);
        // Whoever was let in is looked at when everyone's time is over.
        for port in KNOCKS {
            cost(&mut agent, &tap, &knock(2, port));
        }
        cost(&mut agent, &tap, &knock(2, 9003));
        agent.cut(boottime());
        assert!(agent.cutting.poll_at() > waits_at);
    });
}

/// Whoever has tens of thousands of connections, among hundreds of thousands of others', keeps nobody from knocking.
#[test]
fn connections_end_a_few_at_a_time_and_knocks_open_meanwhile() {
    const PORT: u16 = 51_820;
    const OF_THE_CLIENT: u32 = 10_850;
    /// A datagram of the kernel's list, one of deletions, and what it takes to ask who is let in.
    const MAX_CALLS: u64 = 40;
    let options = "list guard udp:51820\noption on_expiry cut\n";
    with_agent("nflog", options, |mut agent, tap| {
        for port in KNOCKS {
            cost(&mut agent, &tap, &knock(2, port));
        }
        let before = flows::count();
        let of_others = flows::most().min(262_144) - OF_THE_CLIENT - 100;
        flows::track(of_others, [198, 51, 100, 0], [192, 0, 2, 1], PORT);
        flows::track(OF_THE_CLIENT, [192, 0, 2, 2], [192, 0, 2, 1], PORT);
        let tracked = flows::count();
        assert!(tracked - before >= of_others, "{tracked}");
        let close = Request::Close {
            door: "ssh".into(),
            from: None,
        };
        agent.answer(&close).unwrap();
        let (mut turns, mut from) = (0, 3);
        while agent.cutting.poll_at().is_some() {
            let calls = netlink_calls();
            agent.cut(boottime());
            let calls = netlink_calls() - calls;
            assert!(calls <= MAX_CALLS, "{calls} calls in a turn");
            turns += 1;
            if turns % 500 == 0 {
                for port in KNOCKS {
                    cost(&mut agent, &tap, &knock(from, port));
                }
                assert_eq!(
                    agent.firewall.grants().unwrap().len(),
                    usize::from(from) - 2
                );
                from += 1;
            }
        }
        assert!(turns > tracked / 100, "{turns} turns");
        assert!(from > 3, "nobody knocked meanwhile");
        let left = flows::count();
        assert!(
            left.abs_diff(tracked - OF_THE_CLIENT) < 100,
            "{left} of {tracked}"
        );
    });
}
