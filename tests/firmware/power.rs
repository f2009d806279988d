//! Power that goes in the middle of things.

use postern_tests::agent::SSH_DOOR;
use postern_tests::knocker::{Knock, Knocker};
use postern_tests::otp::{self, App};
use postern_tests::probe::{self, Answer};
use postern_tests::sender::Sender;
use postern_tests::suite::in_case_of;
use postern_tests::topology::Family;
use postern_tests::wait::poll_until;

use crate::disk::Unflushed;
use crate::machine::{Kind, PROMPTLY, Place, Router, address, port};
use crate::{SSH, VPN, VPN_DOOR, config, is_silent};

const SEED_DOOR: &str = "
config door 'seed'
	list guard 'tcp:22'
	option method 'one-time-seed'
	option secret_file '/etc/postern/seed.secret'
	option base '10000'
	option look_ahead '10'
	option digits '8'
	option grant '5m'
";

/// Cuts the power before each write to the disk while one configuration gives way to another.
pub(crate) fn a_cut_in_the_middle_of_apply(kind: &Kind) {
    cut_while_applying(kind, "postern apply", Guarded::Vpn);
}

/// Cuts the power before each write while another configuration is put on trial: who comes back has the one before.
pub(crate) fn a_cut_in_the_middle_of_a_trial(kind: &Kind) {
    // On a terminal it would show the time that is left.
    let command = "postern apply --confirm-within 5m > /tmp/said";
    cut_while_applying(kind, command, Guarded::Ssh);
}

/// What the configuration in force guards: SSH's port at first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Guarded {
    Ssh,
    Vpn,
}

/// The router comes back with the one configuration or with the other, as a whole; with that
/// of `after` if the command was done before the power went.
fn cut_while_applying(kind: &Kind, command: &str, after: Guarded) {
    let line = "option source 'nflog'";
    let [ssh, vpn] = [SSH_DOOR, VPN_DOOR].map(|door| config(line, door));
    let files = [
        ("config/postern", &*ssh),
        ("config/ssh", &ssh),
        ("config/vpn", &vpn),
    ];
    let place = Place::with_files(kind, &files);
    let mut router = place.boot();
    for writes in 0.. {
        router.run("cp /etc/config/ssh /etc/config/postern").ok();
        router.run("postern apply").ok();
        router.run("cp /etc/config/vpn /etc/config/postern").ok();
        router.run("sync").ok();
        place.disk.cut_after(writes);
        router.type_line(command);
        let mut done = false;
        poll_until(PROMPTLY, "the command is done, or the power gone", || {
            done = router.has_prompt();
            done || place.disk.is_refused()
        });
        router.cut_power();
        place.disk.power_on(unflushed(writes));
        router = place.boot();
        in_case_of((writes, unflushed(writes)), || {
            let guarded = guarded(&place);
            assert!(!done || guarded == after, "{guarded:?} is guarded");
        });
        if done {
            eprintln!(
                "{}: {command}: cut before each of {writes} writes",
                kind.name
            );
            return;
        }
    }
}

fn guarded(place: &Place<'_>) -> Guarded {
    let client = &place.net.client;
    let ssh = is_silent(client, port(Family::V4, SSH));
    let vpn = probe::udp(&client.namespace, port(Family::V4, VPN)) == Answer::Silent;
    match (ssh, vpn) {
        (true, false) => Guarded::Ssh,
        (false, true) => Guarded::Vpn,
        other => panic!("of SSH and the VPN these are guarded: {other:?}"),
    }
}

/// Cuts the power before each write to the disk that a one-time code causes. The code opens the
/// door once altogether, before the cut or after it, and the next one is good.
pub(crate) fn a_cut_in_the_middle_of_saving_a_code(kind: &Kind) {
    let place = Place::new(kind, &config("option source 'nflog'", SEED_DOOR));
    let mut router = place.boot();
    router.run("postern keygen seed > /tmp/address").ok();
    let app = App::scan(&router.run("cat /tmp/address").ok());
    router.run("sync").ok();
    for writes in 0.. {
        let [code, next] = [2 * writes, 2 * writes + 1].map(|counter| knocks(&app, counter));
        place.disk.cut_after(writes);
        knock(&place, &code);
        let mut opened = false;
        poll_until(PROMPTLY, "the door opens, or the power is gone", || {
            opened = is_open(&place);
            opened || place.disk.is_refused()
        });
        router.cut_power();
        place.disk.power_on(unflushed(writes));
        router = place.boot();
        in_case_of((writes, unflushed(writes)), || {
            let status = router.run("postern status").ok();
            assert!(!status.contains("shut: "), "{status}");
            // What was not used before the cut may be used now.
            let opens = opens(&place, &mut router, &code);
            assert!(!(opened && opens), "the code opened again after the cut");
            assert!(!opens_again(&place, &mut router, &code));
            // A port of the code that is used up may be one of another code, which then is begun.
            let mut tries = 0..3;
            assert!(tries.any(|_| self::opens(&place, &mut router, &next)));
            router.run("postern close seed").ok();
        });
        if opened {
            eprintln!("{}: a code: cut before each of {writes} writes", kind.name);
            return;
        }
    }
}

/// What is on the disk after the cut, by turns.
const fn unflushed(writes: usize) -> Unflushed {
    match writes % 2 {
        0 => Unflushed::Lost,
        _ => Unflushed::Kept,
    }
}

fn knocks(app: &App, counter: usize) -> [Knock; 2] {
    otp::knocks(&app.code(counter as u64), 10_000, [Knock::Tcp; 2])
}

fn knock(place: &Place<'_>, knocks: &[Knock]) {
    let client = &place.net.client;
    let sender = Sender::new(&client.namespace);
    Knocker::new(&sender, client.v4.into(), address(Family::V4)).send(knocks);
}

fn is_open(place: &Place<'_>) -> bool {
    probe::tcp(&place.net.client.namespace, port(Family::V4, SSH)) == Answer::Open
}

/// Whether the knocks open the door, once the agent has decided.
fn opens(place: &Place<'_>, router: &mut Router<'_>, knocks: &[Knock]) -> bool {
    let before = router.counter("seen");
    knock(place, knocks);
    poll_until(PROMPTLY, "the agent has seen the knocks", || {
        router.counter("seen") == before + 2
    });
    !is_silent(&place.net.client, port(Family::V4, SSH))
}

/// Whether the knocks open the door anew, after it was closed.
fn opens_again(place: &Place<'_>, router: &mut Router<'_>, knocks: &[Knock]) -> bool {
    router.run("postern close seed").ok();
    opens(place, router, knocks)
}
