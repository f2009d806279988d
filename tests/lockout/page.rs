//! The way back in of docs/recovery.md, command by command as it stands there.

use std::fs;
use std::path::Path;
use std::process::Command;

use postern_tests::agent::Agent;
use postern_tests::page;
use postern_tests::process::run;
use postern_tests::scratch::Scratch;
use postern_tests::suite::in_case_of;

use super::limits::{fill_the_grants, pardon_the_owner};
use super::memory::{Phone, seed};
use super::stage::{LET_ME_IN, Stage};

/// What stands on the page, and how it is played.
type Play = (&'static str, fn(&str));

/// Each command.
const PLAYS: [Play; 12] = [
    ("postern open ssh --for 1h", open_for_everyone),
    ("postern open --all", open_for_everyone),
    ("postern unlock", undo_a_lock),
    ("postern status", tell_what_is_wrong),
    ("postern doctor", tell_what_is_wrong),
    ("postern remove", take_the_guard_away),
    ("nft delete table inet postern", take_the_guard_away),
    ("kill -9 PID", kill_an_owner),
    ("postern resync ssh --code CODE,NEXT", forget_used_codes),
    ("postern close ssh", fill_the_grants),
    ("postern pardon --all", pardon_the_owner),
    ("systemctl disable --now postern", start_no_more),
];

/// Mentioned as what others do, not as what helps; `all_rules_flushed` plays them, and
/// [`undo_a_lock`] the lock.
const MENTIONED: [&str; 4] = [
    "postern lock",
    "nft flush ruleset",
    "postern apply",
    "postern resync --help",
];

pub(crate) fn every_command_of_the_page_is_played() {
    let commands = page::commands(&page::section("docs/recovery.md", "On any Linux machine"));
    let played: Vec<&str> = PLAYS.iter().map(|(command, _)| *command).collect();
    page::expect_played(&commands, &[&played[..], &MENTIONED].concat());
    for (command, play) in PLAYS {
        in_case_of(command, || play(command));
    }
}

/// Plays it with an agent that lives, was killed, or hangs.
fn in_each_state(play: impl Fn(&Stage, &str)) {
    for state in ["alive", "dead", "hanging"] {
        in_case_of(state, || {
            let stage = Stage::gate();
            let agent = stage.start();
            let _agent = match state {
                "dead" => {
                    Agent::kill(agent);
                    None
                }
                "hanging" => {
                    agent.hang();
                    Some(agent)
                }
                _ => Some(agent),
            };
            assert!(!stage.owner_is_let_in());
            play(&stage, state);
        });
    }
}

fn open_for_everyone(command: &str) {
    in_each_state(|stage, state| {
        let loss = stage.lose(&format!("knocks forgotten, the agent {state}"));
        loss.typed(command).ends_for_everyone();
    });
}

fn undo_a_lock(command: &str) {
    in_each_state(|stage, state| {
        stage.verb("open ssh --for 1h").ok();
        assert!(stage.owner_is_let_in());
        stage.verb("lock").ok();
        let loss = stage.lose(&format!("every door locked, the agent {state}"));
        loss.is_felt();
        loss.typed(command).ends_for_everyone();
    });
}

fn tell_what_is_wrong(command: &str) {
    in_each_state(|stage, state| {
        let said = stage.verb(command.trim_start_matches("postern "));
        assert!(said.stdout.contains("ssh"), "{state}: {said:?}");
    });
}

fn take_the_guard_away(command: &str) {
    in_each_state(|stage, state| {
        if command.starts_with("nft") && state == "alive" {
            // The agent would put it back, as `all_rules_flushed` shows.
            return;
        }
        let loss = stage.lose(&format!("no door helps, the agent {state}: {command}"));
        loss.typed(command).ends_for_everyone();
    });
}

fn kill_an_owner(command: &str) {
    let stage = Stage::gate();
    stage.edit("guard 'gate'\n", "guard 'gate'\n\toption on_crash 'open'\n");
    let agent = stage.start();
    let loss = stage.lose("the agent stopped, on_crash 'open'");
    agent.hang();
    loss.is_felt();
    let cure = command.replace("PID", &agent.id().to_string());
    let said = stage.verb(LET_ME_IN);
    assert!(said.status == 1 && said.stderr.contains(&cure), "{said:?}");
    stage.net.router.namespace.run("sh", &["-c", &cure]).ok();
    loss.healed_by(&format!("console: {command}, as postern open says"))
        .ends_for_everyone();
}

fn forget_used_codes(command: &str) {
    let stage = seed();
    let phone = Phone::new(&stage);
    stage.start().kill();
    let loss = stage.lose("the state file damaged, and the counter unknown");
    fs::write(stage.setup.path("state/ssh"), [0xff; 300]).expect("damage a file");
    let _agent = stage.start();
    phone.knock(&stage, 0);
    assert!(!stage.owner_is_let_in());
    let codes = [1, 2].map(|counter| phone.app.code(counter));
    let typed = command.replace("CODE,NEXT", &codes.join(","));
    stage.verb(typed.trim_start_matches("postern ")).ok();
    let loss = loss.healed_by(&format!("console: {command}"));
    let mut counter = 3;
    loss.ends_once(|| {
        phone.knock(&stage, counter);
        counter += 1;
    });
}

/// No systemd runs here, so that `--now` fails; what would start at boot is looked at in a folder of its own.
fn start_no_more(command: &str) {
    let root = Scratch::new();
    let units = root.join("usr/lib/systemd/system");
    fs::create_dir_all(&units).expect("make folders");
    let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/postern.service");
    fs::copy(unit, units.join("postern.service")).expect("copy a file");
    let wanted = root.join("etc/systemd/system/multi-user.target.wants/postern.service");
    let systemctl = |command: &str| {
        let root = root.path().display();
        let script =
            format!("systemctl() {{ command systemctl --root='{root}' \"$@\"; }}; {command}");
        run(Command::new("sh").args(["-c", &script]), "");
    };
    systemctl("systemctl enable postern");
    assert!(wanted.symlink_metadata().is_ok());
    systemctl(command);
    assert!(wanted.symlink_metadata().is_err());
}
