//! Codes of another time, as the engine and the log see them.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use postern_core::door::{Cutoff, Door};
use postern_core::engine::Outcome;
use postern_core::knock::{Port, tcp, udp};
use postern_core::time::Duration;

use super::examples::{clock_door, seed_door_with};
use super::mistimed::{
    CODES_PER_SLICE, SLICE_BURST, SLICE_INTERVAL, STRANGE_CODE_BURST, STRANGE_CODE_INTERVAL, around,
};
use super::tests::{Lab, NOON, knocks_of, text};
use super::*;
use crate::testing::scratch::Scratch;

const HOUR: u64 = 3_600_000;
const FIVE: Cutoff = Cutoff {
    failures: 5,
    within: Duration::from_secs(600),
};

fn with_cutoff(door: Door) -> Door {
    Door {
        cutoff: Some(FIVE),
        ..door
    }
}

/// A door whose codes so far were used long ago.
fn clock_lab() -> Lab {
    let mut lab = Lab::new(|scratch| {
        vec![with_cutoff(clock_door(
            "ssh",
            &text(scratch.path("secret")),
            1,
        ))]
    });
    state::save(lab.scratch.folder(), &lab.doors[0], 0).unwrap();
    lab.restart();
    lab.one_time.take_notices();
    lab
}

fn seed_lab(next: u64) -> Lab {
    let mut lab = Lab::new(|scratch| {
        vec![with_cutoff(seed_door_with(
            "ssh",
            &text(scratch.path("secret")),
        ))]
    });
    state::save(lab.scratch.folder(), &lab.doors[0], next).unwrap();
    lab.restart();
    lab.one_time.take_notices();
    lab
}

fn step_of(lab: &Lab) -> u64 {
    lab.clock.millis / 30_000
}

impl Lab {
    /// Knocks a code of this lead; how many of its knocks were heard at all.
    fn strange(&mut self, lead: i64) -> usize {
        let knocks = knocks_of(&self.doors[0], step_of(self).saturating_add_signed(lead));
        let heard = |outcome| outcome != Outcome::Silenced;
        knocks
            .into_iter()
            .filter(|port| heard(self.knock(*port).outcome))
            .count()
    }

    fn says(&mut self) -> String {
        self.one_time.take_notices().join("\n")
    }

    fn clock_says(&self) -> Option<(i64, String)> {
        let hint = self.progress(0)?.clock?;
        Some((hint.ahead, hint.text))
    }
}

/// Two ports that are no code of these days.
struct Guesses(Vec<[Port; 2]>);

impl Guesses {
    fn new(lab: &Lab) -> Self {
        let steps = step_of(lab) - 2_900..step_of(lab) + 4_000;
        Self(steps.map(|step| knocks_of(&lab.doors[0], step)).collect())
    }

    fn guess(&self, first: u16) -> [Port; 2] {
        let is_code = |pair: &[Port; 2]| {
            let numbers = pair.map(|port| port.number);
            let mut codes = self.0.iter();
            codes.any(|code| code.iter().all(|port| numbers.contains(&port.number)))
        };
        let seconds = (1..1000).map(|more| 10_000 + (first + more) % 1000);
        let mut pairs = seconds.map(|second| [tcp(10_000 + first), udp(second)]);
        pairs.find(|pair| !is_code(pair)).unwrap()
    }
}

#[test]
fn every_code_of_a_range_is_looked_at_once_the_nearest_first() {
    for (middle, length) in [(0, 1), (0, 7), (3, 7), (6, 7), (3, 8), (20, 8)] {
        let mut seen: Vec<u64> = (0..length)
            .map(|cursor| around(middle, cursor, length))
            .collect();
        assert_eq!(seen.first(), Some(&(middle % length)));
        seen.sort_unstable();
        assert!(seen.into_iter().eq(0..length), "{middle} of {length}");
    }
    let near: Vec<u64> = (0..5).map(|cursor| around(50, cursor, 100)).collect();
    assert_eq!(near, [50, 49, 51, 48, 52]);
}

/// A clock that was set since the codes were computed.
#[test]
fn a_code_that_is_right_by_now_has_others_computed() {
    let mut lab = clock_lab();
    lab.clock.millis -= 4 * HOUR;
    for _ in 0..4 {
        assert_eq!(lab.strange(0), 2);
        lab.look();
    }
    assert_eq!(
        (lab.one_time.keep_time_at(), lab.says()),
        (Some(lab.now), String::new())
    );
    lab.wait(30_000);
    assert!(lab.code(step_of(&lab)));
}

#[test]
fn a_code_of_another_time_names_the_clock_and_is_no_failure() {
    for (lead, ahead, said) in [
        (
            -480,
            14_400,
            "is of 4h ago: is this machine's clock 4h ahead?",
        ),
        (
            -481,
            14_400,
            "is of 4h ago: is this machine's clock 4h ahead?",
        ),
        (
            480,
            -14_400,
            "is of 4h from now: is this machine's clock 4h behind?",
        ),
        (-2, 60, "is of 1m ago: is this machine's clock 1m ahead?"),
        (2_880, -86_400, "is this machine's clock 1d behind?"),
    ] {
        let mut lab = clock_lab();
        for round in 0..4 {
            assert_eq!(lab.strange(lead), 2, "{lead} {round}");
            lab.look();
        }
        let notice = lab.says();
        assert!(
            notice.starts_with("door ssh: the code that 192.0.2.1 knocked "),
            "{notice}"
        );
        assert!(
            notice.contains(said) && notice.lines().count() == 1,
            "{notice}"
        );
        assert!(
            notice.ends_with("'date -u' says 2027-01-15 08:00:00 UTC"),
            "{notice}"
        );
        let (hint, text) = lab.clock_says().unwrap();
        assert_eq!((hint, text), (ahead, notice.replace("door ssh: ", "")));
        // More codes of the same lead make it sure, and none of them counts.
        for round in 0..20 {
            lab.wait(30_000);
            assert_eq!(lab.strange(lead), 2, "{lead} {round}");
            lab.look();
        }
        let sure = lab.says();
        assert!(
            sure.contains("this machine's clock seems ") && sure.lines().count() == 1,
            "{sure}"
        );
        assert_eq!(lab.engine.counters().opened, 0);
        assert_eq!(lab.saved(), Some(0), "nothing is spent");
    }
}

#[test]
fn what_a_code_of_another_time_led_to_is_taken_back() {
    let mut lab = clock_lab();
    // All of this comes before there is time to look.
    for heard in [2, 2, 1, 0] {
        assert_eq!(lab.strange(-480), heard);
    }
    let (_, lifted) = lab.look();
    assert_eq!(lifted, [lab.source]);
    lab.wait(30_000);
    for _ in 0..3 {
        assert_eq!(lab.strange(-480), 2);
        lab.look();
    }
}

#[test]
fn a_clock_that_was_set_or_proved_right_is_not_named_any_more() {
    let mut lab = clock_lab();
    lab.strange(-480);
    lab.look();
    assert!(lab.clock_says().is_some());
    lab.set_clock(NOON - 4 * HOUR);
    assert_eq!(lab.clock_says(), None);
    let mut lab = clock_lab();
    lab.strange(-480);
    lab.look();
    lab.reload();
    assert!(lab.clock_says().is_some(), "a reload sets no clock");
    lab.wait(11_000);
    assert!(lab.code(step_of(&lab)));
    assert_eq!(lab.clock_says(), None);
    lab.strange(-480);
    lab.look();
    for _ in 0..24 {
        assert!(lab.clock_says().is_some());
        lab.wait(HOUR);
    }
    assert_eq!(lab.clock_says(), None);
}

#[test]
fn a_code_shown_before_its_time_is_not_taken_when_it_comes() {
    let mut lab = clock_lab();
    let early = step_of(&lab) + 10;
    lab.strange(10);
    lab.look();
    lab.wait(11 * 30_000);
    assert!(!lab.code(early));
    lab.reload();
    assert!(!lab.code(early), "a reload does not forget it");
    lab.wait(11_000);
    assert!(lab.code(early + 1));
}

/// Whoever guesses gets no more guesses by guessing a code of another time than are allowed, from
/// however many addresses, and none at all by knocking it again until its time comes.
#[test]
fn a_guesser_has_no_free_ride() {
    let mut lab = clock_lab();
    let guesses = Guesses::new(&lab);
    let lucky = step_of(&lab) + 1_000;
    let failures = |lab: &mut Lab, code: u64| {
        let knocks = knocks_of(&lab.doors[0], code);
        knocks
            .into_iter()
            .filter(|port| lab.knock(*port).outcome != Outcome::Silenced)
            .count()
    };
    assert_eq!(failures(&mut lab, lucky), 2);
    lab.look();
    // Knocked once more, as the code's time comes nearer.
    let mut heard = 0;
    for _ in 0..4 {
        lab.wait(100_000);
        heard += failures(&mut lab, lucky);
        lab.look();
    }
    assert_eq!(heard, 5, "cut off after five failures");
    // ForeignTables, each of another lead.
    let mut forgiven = 0;
    for number in 0..40_u8 {
        lab.wait(20_000);
        lab.source = IpAddr::V4(Ipv4Addr::new(198, 51, 100, number));
        let failures = |lab: &mut Lab, ports: &[Port]| -> usize {
            let mut counts = |port: &Port| lab.knock(*port).failed.contains(0);
            ports.iter().filter(|port| counts(port)).count()
        };
        let guess = guesses.guess(u16::from(number) * 7);
        let code = knocks_of(&lab.doors[0], step_of(&lab) - 100 - 10 * u64::from(number));
        let before = failures(&mut lab, &guess) + failures(&mut lab, &code);
        lab.look();
        let left = failures(&mut lab, &[tcp(10_000); 8]);
        forgiven += u32::from(before + left > 5);
    }
    assert_eq!(forgiven, STRANGE_CODE_BURST - 1);
    // What is forgiven is that code alone, and no guess beside it.
    lab.source = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 200));
    lab.wait(STRANGE_CODE_INTERVAL.as_millis());
    let mut heard = 0;
    for round in 0..10 {
        let guess = guesses.guess(500 + 20 * round);
        let outcomes = guess.map(|port| lab.knock(port).outcome);
        heard += outcomes
            .iter()
            .filter(|outcome| **outcome != Outcome::Silenced)
            .count();
        lab.look();
        lab.strange(-480);
        lab.look();
    }
    assert!(heard <= 5, "{heard}");
}

#[test]
fn a_flood_of_wrong_codes_costs_bounded_cryptography_and_memory() {
    let mut lab = clock_lab();
    let (mut turns, mut number) = (0, 0_u32);
    let began = lab.now;
    for round in 0..600_u32 {
        for knock in 0..100 {
            number = number.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            // Many that knock three times, and one that does not stop.
            let host = if knock % 10 == 0 {
                0
            } else {
                round * 100 + knock / 3
            };
            lab.source = IpAddr::V6(Ipv6Addr::from_bits(u128::from(host) << 64));
            _ = lab.knock(tcp(10_000 + (number >> 16) as u16 % 1000));
        }
        turns += lab.look().0;
        if round % 10 == 0 {
            lab.wait(100);
        }
    }
    let elapsed = lab.now.since(began).as_millis();
    let allowed = u64::from(SLICE_BURST) + elapsed / SLICE_INTERVAL.as_millis() + 1;
    // A turn without a code ends each look, and one of them a called one.
    assert!(u64::from(turns) <= allowed + 601, "{turns} of {allowed}");
    assert!(
        u64::from(turns) > allowed / 2,
        "it was a flood: {turns} of {allowed}"
    );
    assert!(
        CODES_PER_SLICE * 1000 / SLICE_INTERVAL.as_millis() <= 320,
        "codes a second"
    );
    let before = lab.one_time.take_notices().len();
    assert!(before <= 8, "{before} lines");
}

/// A knock that stands alone starts no search, and a search that is under way delays no owner.
#[test]
fn more_codes_of_a_lead_that_is_known_are_found_at_once() {
    let mut lab = clock_lab();
    let owner = lab.source;
    lab.strange(-480);
    lab.look();
    lab.wait(30_000);
    let [first, second] = knocks_of(&lab.doors[0], step_of(&lab) - 480);
    assert_eq!(lab.knock(first).outcome, Outcome::Wrong);
    assert_eq!(lab.look(), (0, vec![]));
    // ForeignTables are looked at, until nothing is left to do it with.
    lab.source = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 7));
    let guesses = Guesses::new(&lab);
    for round in 0..4 {
        guesses
            .guess(round * 11)
            .into_iter()
            .for_each(|port| _ = lab.knock(port));
        lab.look();
        lab.wait(SLICE_INTERVAL.as_millis());
    }
    lab.source = owner;
    assert_eq!(lab.knock(second).outcome, Outcome::Wrong);
    lab.wait(SLICE_INTERVAL.as_millis());
    // At the last turn there is no token left.
    assert!(lab.look().0 <= 3);
    assert!(lab.says().contains("clock seems 4h ahead"));
}

/// The owner's code is found while others fail too.
#[test]
fn who_knocks_on_and_on_does_not_keep_the_owner_from_being_looked_at() {
    let mut lab = clock_lab();
    let guesses = Guesses::new(&lab);
    let owner = lab.source;
    for round in 0..40 {
        lab.source = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 7));
        let [first, second] = guesses.guess(round * 11);
        _ = (lab.knock(first), lab.knock(second));
        if round == 20 {
            lab.source = owner;
            lab.strange(-480);
        }
        (lab.one_time).look_again(&mut lab.engine, lab.now, &lab.clock);
    }
    lab.look();
    assert!(lab.says().contains("192.0.2.1 knocked is of 4h ago"));
}

#[test]
fn codes_used_already_are_told_apart() {
    let mut lab = clock_lab();
    let step = step_of(&lab);
    assert!(lab.code(step));
    for _ in 0..4 {
        assert!(!lab.code(step));
        let (turns, _) = lab.look();
        assert_eq!(turns, 1, "found at once");
    }
    let said = lab.says();
    let expected = "door ssh: 192.0.2.1 knocked a code that was used or shown already, or one after it was; \
                    codes count from 2027-01-15 08:00:30 UTC on, in 30s: all before that are used";
    assert_eq!(said.lines().next(), Some(expected));
    lab.wait(30_000);
    assert!(lab.code(step + 1), "and are no failures");
    let mut lab = seed_lab(40);
    for _ in 0..4 {
        assert!(!lab.code(39) && !lab.code(7));
        lab.look();
    }
    lab.wait(60_000);
    assert!(lab.says().contains("knocked a code that was used"));
    lab.forget_guesses();
    assert!(lab.code(40));
}

#[test]
fn a_code_beyond_those_that_count_says_what_helps() {
    let mut lab = seed_lab(40);
    lab.source = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2));
    assert!(!lab.code(65));
    lab.look();
    let said = lab.says();
    let expected = "a code that is 25 ahead of the next: 'postern resync ssh --code CODE,NEXT' takes two of your app";
    assert!(said.contains(expected), "{said}");
    let mut heard = Vec::new();
    for counter in 66..70 {
        heard.extend(knocks_of(&lab.doors[0], counter).map(|port| lab.knock(port).outcome));
        lab.look();
    }
    assert!(
        heard.contains(&Outcome::Silenced),
        "they count: their time does not pass, and who guessed one would know"
    );
}

#[test]
fn without_a_memory_codes_say_from_when_on_they_count() {
    let door = |scratch: &Scratch| {
        vec![with_cutoff(clock_door(
            "ssh",
            &text(scratch.path("secret")),
            1,
        ))]
    };
    let mut lab = Lab::new(door);
    let waits = "codes count from 2027-01-15 08:01:00 UTC on, in 1m: of those before that nothing is known, \
                 as after a first start";
    assert_eq!(lab.says(), format!("door ssh: {waits}"));
    assert_eq!(lab.progress(0).unwrap().waits.as_deref(), Some(waits));
    let step = step_of(&lab);
    assert!(!lab.code(step));
    lab.look();
    let vain = format!("door ssh: 192.0.2.1 knocks in vain: {waits}");
    assert_eq!(lab.says().lines().next(), Some(vain.as_str()));
    for _ in 0..4 {
        lab.strange(0);
    }
    lab.set_clock(NOON + 45_000);
    assert!(!lab.code(step + 1));
    lab.look();
    let said = lab.says();
    assert!(
        said.contains(
            "knocked a code of before its memory begins, which may have been used; codes count from"
        ),
        "{said}"
    );
    lab.set_clock(NOON + 60_000);
    assert!(lab.code(step + 2), "and nobody was cut off");
    let next = lab.progress(0).unwrap();
    assert!(
        next.waits
            .is_some_and(|waits| waits.ends_with("all before that are used"))
    );
    lab.wait(60_000);
    assert_eq!(lab.progress(0).unwrap().waits, None);
}

#[test]
fn a_seed_door_without_a_memory_says_so_to_who_knocks() {
    let door = |scratch: &Scratch| {
        vec![with_cutoff(seed_door_with(
            "ssh",
            &text(scratch.path("secret")),
        ))]
    };
    let mut lab = Lab::new(door);
    lab.one_time.take_notices();
    for counter in 0..30 {
        assert!(!lab.code(counter));
        lab.look();
    }
    let said = lab.says();
    assert!(
        said.starts_with("door ssh: 192.0.2.1 knocks in vain: what was used is not known"),
        "{said}"
    );
    assert!(
        said.contains("postern resync ssh --code") && said.lines().count() == 1,
        "{said}"
    );
    lab.resync(&Resync::To(30)).unwrap();
    assert!(lab.code(30), "and nobody was cut off");
}

#[test]
fn slow_scans_and_mixed_doors_are_looked_at_in_turn() {
    let mut lab = Lab::new(|scratch| {
        scratch.file("other", "hex:000102030405060708090a0b0c0d0e0f");
        let first = clock_door("ssh", &text(scratch.path("secret")), 1);
        let second = clock_door("web", &text(scratch.path("other")), 1);
        vec![first, second]
    });
    for door in &lab.doors {
        state::save(lab.scratch.folder(), door, 0).unwrap();
    }
    lab.restart();
    lab.one_time.take_notices();
    lab.strange(-480);
    lab.look();
    let said = lab.says();
    assert!(
        said.starts_with("door ssh: ") && said.lines().count() == 1,
        "{said}"
    );
}
