//! Guesses at codes: how often anybody opens a door by chance, and what is asked of its owner meanwhile.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot set up its scene has failed"
)]

use core::net::{IpAddr, Ipv4Addr};

use postern_core::code::{Algorithm, Code, Digits};
use postern_core::door::{Door, Method, Order, Sequence};
use postern_core::engine::{Decision, Engine, Outcome};
use postern_core::knock::{Knock, Port, Protocol, tcp};
use postern_core::method::{Armed, Candidate};
use postern_core::time::{Duration, Instant};

const DAY: u64 = 86_400_000;
const SKEW: u8 = 1;
const CODES: usize = 3;

/// A repeatable source of chance (splitmix64).
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.0;
        value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ value >> 31
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

/// A door by the clock. Its codes are of so many values a group, which need not be a thousand.
struct Game {
    engine: Box<Engine<4096>>,
    now: Instant,
    chance: Chance,
    group: u64,
    /// The first step whose code was not used.
    next: u64,
}

impl Game {
    fn new(order: Order, group: u64) -> Self {
        let code = Code {
            secret_file: "/etc/postern/ssh.secret".try_into().unwrap(),
            algorithm: Algorithm::Sha1,
            digits: Digits::Six,
            base: 10_000,
            protocols: [Protocol::Tcp; 2],
            order,
        };
        let method = Method::Clock {
            code,
            period: 30,
            skew: SKEW,
            close: Sequence::new(),
        };
        let door = Door {
            cutoff: None,
            ..Door::new("ssh", &[tcp(22)], method).unwrap()
        };
        let mut engine = Box::new(const { Engine::new() });
        engine.seed([7; 8]);
        engine.configure(&[door].into_iter().collect()).unwrap();
        let mut game = Self {
            engine,
            now: Instant::from_millis(DAY),
            chance: Chance(1),
            group,
            next: 0,
        };
        game.arm();
        game
    }

    fn step(&self) -> u64 {
        self.now.as_millis() / 30_000
    }

    /// The code of a time step.
    fn code(&self, step: u64) -> [Port; 2] {
        let mut chance = Chance(step);
        [0; 2].map(|_| tcp(10_000 + chance.below(self.group) as u16))
    }

    fn arm(&mut self) {
        let step = self.step();
        let codes = (self.next.max(step - 1)..step + 2).map(|counter| Candidate {
            counter,
            knocks: self.code(counter),
        });
        self.engine.arm(0, Armed::Codes(codes.collect()));
    }

    fn wait(&mut self, millis: u64) {
        let step = self.step();
        self.now = self.now + Duration::from_millis(millis);
        if self.step() != step {
            self.arm();
        }
    }

    fn knock(&mut self, source: u32, port: Port) -> Decision {
        let knock = Knock {
            source: IpAddr::from(Ipv4Addr::from_bits(source)),
            source_port: self.chance.next() as u16,
            port,
            payload: &[],
        };
        let decision = self.engine.handle(self.now, &knock);
        if let Some(spent) = decision.spent {
            self.next = spent.counter + 1;
        }
        decision
    }

    fn spell(&mut self, source: u32, code: [Port; 2]) -> Decision {
        let [first, second] = code;
        _ = self.knock(source, first);
        self.knock(source, second)
    }

    /// A code whose halves differ, of this step or one after it.
    fn distinct(&mut self) -> [Port; 2] {
        loop {
            let code = self.code(self.step());
            if code[0] != code[1] {
                return code;
            }
            self.wait(30_000);
        }
    }

    fn asked(&self) -> u8 {
        self.engine.asked(0, self.now).unwrap().codes
    }

    fn any_port(&mut self) -> Port {
        tcp(10_000 + self.chance.below(self.group) as u16)
    }
}

/// Guesses from as many addresses as he likes, as often as he can; what the engine lets him try is what counts. Each
/// day the owner comes in, and whoever watches guesses with the halves of the codes that he used, too.
#[test]
fn a_guesser_with_any_number_of_addresses_opens_no_more_often_than_the_budgets_allow() {
    const GROUP: u64 = 40;
    const DAYS: u64 = 200;
    const GUESSES_A_DAY: u64 = 3_000;
    let orders = [Order::Any, Order::Strict];
    for (order, knows_used) in orders
        .into_iter()
        .flat_map(|order| [(order, true), (order, false)])
    {
        let orders = if order == Order::Any { 2 } else { 1 };
        let mut game = Game::new(order, GROUP);
        let mut source = 0x0a00_0000;
        let mut opened = 0;
        let mut used = [tcp(10_000); 2];
        for number in 0..DAYS * GUESSES_A_DAY {
            if number % GUESSES_A_DAY == 0 {
                let step = game.step();
                for code in [step - 1, step, step + 1].map(|step| game.code(step)) {
                    if game.spell(1, code).spent.is_some() {
                        used = code;
                    }
                }
            }
            source += 1;
            let [one, other] = [game.any_port(), game.any_port()];
            let [known, its] = used;
            let (guess, pause) = match number % 2 {
                _ if !knows_used => ([one, other], 0),
                0 => ([one, known], 1_001),
                _ => ([known, its], 0),
            };
            _ = game.knock(source, guess[0]);
            game.wait(pause);
            opened += game.knock(source, guess[1]).open.len();
            game.wait(DAY / GUESSES_A_DAY - pause);
        }
        // Of a code of six digits, a day's guesses hit once in 10,000 days: here a guess hits as much more often.
        let easier = 1_000_000 / (GROUP * GROUP);
        let expected = (DAYS * easier).div_ceil(10_000);
        // Four codes in a row are found out too, where there are so few.
        let rate = (CODES as u64 * orders) as f64 / (GROUP * GROUP) as f64;
        let in_a_row = (DAYS * GUESSES_A_DAY) as f64 * rate * rate;
        let most = expected as f64 + in_a_row;
        let most = most + 4.0 * most.sqrt() + 1.0;
        assert!(
            f64::from(opened) <= most,
            "{order:?} {knows_used}: {opened} of {most}"
        );
        assert!(game.asked() > 1);
    }
}

/// He sees the first half, and has the second guessed by his neighbours.
#[test]
fn who_sees_half_a_code_has_three_tries() {
    let mut game = Game::new(Order::Any, 1_000);
    let [first, second] = game.distinct();
    let mut tries = 0;
    while game.asked() == 1 {
        let wrong = loop {
            let port = game.any_port();
            if port != second && port != first {
                break port;
            }
        };
        tries += 1;
        let source = 0x0a00_0000 + tries;
        assert_eq!(game.knock(source, first).outcome, Outcome::Advanced);
        assert!(game.knock(source, wrong).open.is_empty());
    }
    assert!(tries <= 3, "{tries}");
    let spelled = game.spell(1, [first, second]);
    assert!(spelled.open.is_empty() && spelled.spent.is_none());
    assert_eq!(spelled.credit.unwrap().codes, 1);
}

#[test]
fn the_halves_that_a_flood_displaced_are_no_free_tries() {
    let mut game = Game::new(Order::Any, 1_000);
    let [first, second] = game.distinct();
    for source in 0..20_000 {
        _ = game.knock(0x0a00_0000 + source, first);
    }
    let mut opened = 0;
    for (source, port) in (0u32..20_000).zip((10_000..11_000).cycle()) {
        opened += game.knock(0x0a00_0000 + source, tcp(port)).open.len();
        if game.asked() > 1 && port > second.number {
            break;
        }
    }
    assert!(opened <= 1 && game.asked() > 1);
}

#[test]
fn a_scan_costs_one_guess_and_a_lone_knock_none() {
    let mut game = Game::new(Order::Any, 1_000);
    let wrong = |game: &Game| game.engine.asked(0, game.now).unwrap().wrong;
    for source in 0..1_000 {
        _ = game.knock(0x0a00_0000 + source, tcp(10_500));
        // Sent again, as a SYN is.
        game.wait(1_100);
        _ = game.knock(0x0a00_0000 + source, tcp(10_500));
    }
    assert_eq!((wrong(&game), game.asked()), (0, 1));
    for port in 10_000..11_000 {
        assert!(game.knock(1, tcp(port)).open.is_empty());
        game.wait(5);
    }
    assert!((1..=3).contains(&wrong(&game)), "{}", wrong(&game));
    assert_eq!(game.asked(), 1);
}

#[test]
fn what_was_guessed_comes_back_with_time_and_survives_a_reload() {
    let mut game = Game::new(Order::Any, 1_000);
    exhaust(&mut game);
    let doors = game.engine.doors().iter().cloned().collect();
    game.engine.configure(&doors).unwrap();
    game.arm();
    assert_eq!(game.asked(), 2);
    game.wait(DAY / 4);
    assert_eq!(game.asked(), 1);
    let code = game.distinct();
    assert!(game.spell(1, code).open.contains(0));
}

fn exhaust(game: &mut Game) {
    let mut source = 0x0b00_0000;
    while game.asked() == 1 {
        source += 1;
        let guess = [game.any_port(), game.any_port()];
        _ = game.spell(source, guess);
    }
}

/// As a phone shows them, one each half minute, or as a client computes them, at once.
#[test]
fn two_codes_in_a_row_open_what_asks_for_two() {
    for pause in [0, 30_000] {
        let mut game = Game::new(Order::Any, 1_000);
        exhaust(&mut game);
        let first = game.distinct();
        let step = game.step();
        let spelled = game.spell(1, first);
        assert_eq!(spelled.outcome, Outcome::Advanced);
        let credit = spelled.credit.unwrap();
        assert_eq!((credit.codes, credit.needed), (1, 2));
        // Typed once more, which is no guess.
        game.wait(pause / 3);
        assert_eq!(game.spell(1, first).outcome, Outcome::Repeated);
        game.wait(pause - pause / 3);
        // To somebody else it is the first.
        assert!(game.spell(2, first).open.is_empty());
        let next = game.code(step + 1);
        assert!(game.spell(1, next).open.contains(0), "{pause}");
        assert!(game.spell(2, next).open.is_empty(), "used");
    }
}

#[test]
fn a_wrong_guess_loses_the_credit() {
    let mut game = Game::new(Order::Any, 1_000);
    exhaust(&mut game);
    let first = game.distinct();
    let next = game.code(game.step() + 1);
    assert!(game.spell(1, first).credit.is_some());
    let wrong = [0, 1].map(|add| tcp(10_000 + (next[0].number + 7 + add) % 1_000));
    assert!(game.spell(1, wrong).open.is_empty());
    game.wait(1_001);
    assert!(game.spell(1, next).open.is_empty());
}

/// A code that was shown in vain, and that its owner has no more use for, is of no use to who saw it either.
#[test]
fn what_gave_a_credit_opens_to_nobody_who_saw_it() {
    let mut game = Game::new(Order::Any, 1_000);
    exhaust(&mut game);
    let soon = |game: &Game| game.now + Duration::from_secs(20);
    while game.engine.asked(0, soon(&game)).unwrap().codes > 1 {
        game.wait(1_000);
    }
    let code = game.code(game.step() + 1);
    let shown = game.spell(1, code);
    assert!(shown.open.is_empty() && shown.credit.is_some());
    game.wait(20_000);
    assert_eq!(game.asked(), 1);
    assert!(game.spell(2, code).open.is_empty());
    let other = game.code(game.step() - 1);
    assert!(game.spell(3, other).open.contains(0));
}

/// All of the range, from a network of 2^24 addresses: each comes back, so that some guess right.
#[test]
fn an_owner_who_does_as_asked_is_let_in_under_a_flood() {
    for (pause, per_pause, owners) in [(20, 5_000, 20), (1_000, 250_000, 2)] {
        let mut game = Game::new(Order::Any, 1_000);
        flood(&mut game, 1_000_000, 4_000);
        for owner in 1..=owners {
            game.wait(91_000);
            flood(&mut game, 50_000, 200);
            let step = game.step();
            let codes = [0, 1, 2].map(|number| game.code(step - 1 + number));
            let mut opened = false;
            for half in codes.into_iter().flatten() {
                flood(&mut game, per_pause, pause);
                let decision = game.knock(owner, half);
                assert!(decision.failed.is_empty(), "{decision:?}");
                opened |= decision.open.contains(0);
            }
            let is_plain = codes.iter().all(|[first, second]| first != second);
            assert!(opened || !is_plain, "{pause}: {owner}");
        }
    }
}

/// So many knocks within so many milliseconds.
fn flood(game: &mut Game, knocks: u64, millis: u64) {
    for number in 0..knocks {
        let source = 0x2000_0000 + game.chance.below(1 << 24) as u32;
        let port = game.any_port();
        _ = game.knock(source, port);
        if number % (knocks / millis).max(1) == 0 {
            game.wait(1);
        }
    }
}

fn wrong(game: &Game) -> u32 {
    game.engine.asked(0, game.now).unwrap().wrong
}

/// A program that knocks twice, a person who is not sure, and the same after the agent was started again.
#[test]
fn who_knocks_a_used_code_guesses_nothing_and_opens_nothing() {
    let mut game = Game::new(Order::Any, 1_000);
    let code = game.distinct();
    let step = game.step();
    assert!(game.spell(1, code).open.contains(0));
    // At once, within the window, and later; from there and from elsewhere.
    for (wait, source) in [(0, 1), (0, 1), (300, 1), (20_000, 1), (0, 2)] {
        game.wait(wait);
        let decision = game.spell(source, code);
        assert!(decision.open.is_empty() && decision.failed.is_empty());
    }
    let doors = game.engine.doors().iter().cloned().collect();
    game.engine.configure(&doors).unwrap();
    let used: Vec<Candidate> = (step - 3..=step)
        .map(|counter| Candidate {
            counter,
            knocks: game.code(counter),
        })
        .collect();
    game.engine.remind(0, &used);
    // As if it were acceptable.
    game.next = step;
    game.arm();
    for source in [1, 1, 2] {
        assert!(game.spell(source, code).open.is_empty());
    }
    assert_eq!((wrong(&game), game.asked()), (0, 1));
    // Nor is anybody kept waiting.
    let next = game.code(step + 1);
    assert!(game.spell(1, next).open.contains(0));
    // Unless its owner says that it was not used after all.
    game.engine.remind(0, &[]);
    game.next = step;
    game.arm();
    assert!(game.spell(3, code).open.contains(0));
}

/// What a guesser knows of used codes is worth nothing to him, before another half or after one.
#[test]
fn halves_of_used_codes_are_no_free_guesses() {
    let mut game = Game::new(Order::Any, 1_000);
    let used = game.distinct();
    assert!(game.spell(1, used).open.contains(0));
    for pause in [0, 1_100] {
        for (number, half) in (1..).zip(used.into_iter().cycle().take(8)) {
            let source = 0x0a00_0000 + pause * 100 + number;
            let other = game.code(game.step() + 100 + u64::from(number))[0];
            let guess = match number % 2 {
                0 => [half, other],
                _ => [other, half],
            };
            let before = wrong(&game);
            for knock in guess {
                assert!(game.knock(source, knock).open.is_empty());
                game.wait(pause.into());
            }
            assert_eq!(wrong(&game), before + 1, "{pause} {number}");
        }
    }
}

/// His addresses have made the first knock each, at every port, before he saw the half that is their second.
#[test]
fn who_sees_half_a_code_has_three_tries_at_the_half_before_it() {
    for pause in [0, 1_100] {
        let mut game = Game::new(Order::Any, 1_000);
        let [seen, other] = game.distinct();
        let codes = game.step() - 1..game.step() + 2;
        let known: Vec<Port> = codes.flat_map(|step| game.code(step)).collect();
        let ports = (10_000..11_000).map(tcp);
        let ports: Vec<Port> = ports.filter(|port| !known.contains(port)).collect();
        for (source, port) in (0x0a00_0000..).zip(&ports) {
            _ = game.knock(source, *port);
        }
        _ = game.knock(9, other);
        game.wait(pause);
        let mut tries = 0;
        for source in (0x0a00_0000..).take(ports.len()) {
            if game.asked() > 1 {
                break;
            }
            tries += 1;
            assert!(game.knock(source, seen).open.is_empty());
        }
        assert!(tries <= 3, "{pause}: {tries}");
        assert!(game.knock(9, seen).open.is_empty(), "{pause}");
    }
}

/// As TCP sends it, where nobody answers.
#[test]
fn a_half_that_is_sent_again_between_the_halves_of_the_next_code_does_no_harm() {
    let mut game = Game::new(Order::Any, 1_000);
    exhaust(&mut game);
    let code = game.distinct();
    let next = game.code(game.step() + 1);
    let before = wrong(&game);
    let send = |game: &mut Game, from: u16, port: Port| {
        let knock = Knock {
            source: Ipv4Addr::from_bits(1).into(),
            source_port: from,
            port,
            payload: &[],
        };
        game.engine.handle(game.now, &knock)
    };
    for (from, port) in [(1, code[0]), (2, code[1])] {
        _ = send(&mut game, from, port);
    }
    game.wait(1_000);
    _ = send(&mut game, 3, next[0]);
    for (from, port) in [(1, code[0]), (2, code[1])] {
        let again = send(&mut game, from, port);
        assert_eq!(again.outcome, Outcome::Repeated);
    }
    assert!(send(&mut game, 4, next[1]).open.contains(0));
    assert_eq!(wrong(&game), before);
}
