//! Wrong clocks. The kernel's own clock is everybody's, so one program is told another time.

use std::time::{Duration, Instant};

use postern_tests::agent::{Agent, Guard};
use postern_tests::clock::{self, now};
use postern_tests::knocker::{Knock, Knocker};
use postern_tests::otp::{self, App};
use postern_tests::sender::Sender;

use super::stage::{LET_ME_IN, Stage};

/// Seconds since 1970 of 1970-01-01 00:01 and of 2100-01-01.
const TIMES: [(&str, i64); 2] = [("1970", 60), ("2100", 4_102_444_800)];

/// More than a door is deaf to a source after a wrong code.
const PAUSE: Duration = Duration::from_millis(1_200);

fn set_clock(stage: &Stage, offset: i64) {
    clock::set(&stage.setup, offset);
}

fn start(stage: &Stage) -> Agent<'_> {
    clock::start(&stage.setup, &stage.net.router)
}

pub(crate) fn a_wrong_clock_and_a_fixed_sequence() {
    for (year, time) in TIMES {
        let stage = Stage::gate();
        set_clock(&stage, 0);
        let _agent = start(&stage);
        stage.expect_a_way_in();
        let loss = stage.lose(&format!("the clock set to {year}"));
        set_clock(&stage, time - now());
        let loss = loss.healed_by("nobody: it concerns no fixed sequence");
        loss.ends_by_knocking();
    }
}

const CLOCK_DOOR: &str = "
config door 'ssh'
	list guard 'tcp:22'
	option method 'one-time-clock'
	option secret_file '@/ssh.secret'
	option digits '8'
	option skew '10'
	option period '10s'
	option grant '30s'
";

pub(crate) fn a_wrong_clock_and_codes_of_the_clock() {
    for (year, time) in TIMES {
        let stage = Stage::new(Guard::Gate, CLOCK_DOOR);
        let app = App::scan(&stage.verb("keygen ssh").ok());
        let sender = Sender::new(&stage.net.client.namespace);
        let knock = |step: u64| {
            let knocks = otp::knocks(&app.code(step), 10_000, [Knock::Tcp; 2]);
            let (owner, router) = (stage.net.client.v4.into(), stage.door().ip());
            Knocker::new(&sender, owner, router).send(&knocks);
        };
        set_clock(&stage, time - now());
        let loss = stage.lose(&format!("the clock set to {year}, and a door of its codes"));
        let agent = start(&stage);
        knock(app.step());
        assert!(!stage.owner_is_let_in(), "{}", agent.log());
        loss.at_console(LET_ME_IN).ends();
        stage.verb("close ssh").ok();
        let loss = stage.lose(&format!("the clock set right after {year}, codes of 10s"));
        set_clock(&stage, 0);
        let mut ahead = 0;
        let mut tried_at: Option<Instant> = None;
        let loss = loss.healed_by("agent: looks at the clock again");
        // A code that was tried is used; the next one is at hand, after the pause that a wrong one asks for.
        loss.ends_once(|| {
            if tried_at.is_none_or(|at| at.elapsed() > PAUSE) {
                knock(app.step() + ahead);
                ahead = (ahead + 1) % 9;
                tried_at = Some(Instant::now());
            }
        });
    }
}

/// Somebody had the door take everything up to 2100 for used.
pub(crate) fn codes_used_up_by_a_clock_in_the_future() {
    // All that are acceptable now are used by a resync: what comes after them is to come soon.
    let short = CLOCK_DOOR
        .replace("skew '10'", "skew '1'")
        .replace("'10s'", "'5s'");
    let stage = Stage::new(Guard::Gate, &short);
    let app = App::scan(&stage.verb("keygen ssh").ok());
    let sender = Sender::new(&stage.net.client.namespace);
    let (_, time) = TIMES[1];
    let offset = time - now();
    set_clock(&stage, offset);
    let agent = start(&stage);
    stage.verb("resync ssh").ok();
    let knock = |step: u64| {
        let knocks = otp::knocks(&app.code(step), 10_000, [Knock::Tcp; 2]);
        let (owner, router) = (stage.net.client.v4.into(), stage.door().ip());
        Knocker::new(&sender, owner, router).send(&knocks);
    };
    let loss = stage.lose("every code up to 2100 used up by a wrong clock");
    set_clock(&stage, 0);
    agent.stop();
    let _agent = start(&stage);
    knock(app.step());
    assert!(!stage.owner_is_let_in());
    let loss = loss.at_console("resync ssh");
    loss.ends_once(|| knock(app.step() + 1));
}
