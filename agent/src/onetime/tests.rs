//! One-time doors as the engine and the disk see them.

use core::net::{IpAddr, Ipv4Addr};
use std::fs;
use std::path::PathBuf;

use postern_core::engine::{Decision, Outcome};
use postern_core::knock::{Knock, tcp, udp};

use super::examples::{clock_door, list_door_with, seed_door_with};
use super::*;
use crate::sys::process;
use crate::testing::scratch::Scratch;

/// The key of the RFCs' examples.
const SECRET: &str = "base32:GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";
const KEY: &[u8] = b"12345678901234567890";
/// A believable moment at the beginning of a time step.
pub(super) const NOON: u64 = 1_800_000_000_000;

/// Doors, the engine, and the folder that survives when both are made anew.
pub(super) struct Lab {
    pub(super) scratch: Scratch,
    pub(super) engine: Box<Engine<4096>>,
    pub(super) doors: Vec<Door>,
    pub(super) one_time: OneTime,
    pub(super) now: Instant,
    pub(super) clock: WallClock,
    pub(super) source: IpAddr,
    source_port: u16,
}

impl Lab {
    pub(super) fn new(doors: impl FnOnce(&Scratch) -> Vec<Door>) -> Self {
        let scratch = Scratch::new();
        scratch.file("secret", SECRET);
        scratch.file("list", "1001 1002\n1003 1004\n1005 1006\n1007 1008\n");
        let mut lab = Self {
            doors: doors(&scratch),
            scratch,
            engine: Box::new(const { Engine::new() }),
            one_time: OneTime::default(),
            now: Instant::from_millis(1_000_000),
            clock: clock(NOON),
            source: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
            source_port: 40_000,
        };
        lab.reload();
        lab
    }

    pub(super) fn seed() -> Self {
        Self::with_memory(
            |scratch| seed_door_with("ssh", &text(scratch.path("secret"))),
            0,
        )
    }

    pub(super) fn clock(skew: u8) -> Self {
        Self::new(|scratch| vec![clock_door("ssh", &text(scratch.path("secret")), skew)])
    }

    fn list(at_end: AtEnd) -> Self {
        Self::with_memory(
            |scratch| list_door_with("ssh", &text(scratch.path("list")), at_end),
            0,
        )
    }

    fn with_memory(door: impl FnOnce(&Scratch) -> Door, next: u64) -> Self {
        let mut lab = Self::new(|scratch| vec![door(scratch)]);
        state::save(lab.scratch.folder(), &lab.doors[0], next).unwrap();
        lab.reload();
        lab.one_time.take_notices();
        lab
    }

    /// What SIGHUP does.
    pub(super) fn reload(&mut self) {
        let folder = self.scratch.folder().to_owned();
        self.adopt(&folder);
    }

    /// What a configuration with another `state_dir` does.
    fn adopt(&mut self, folder: &Path) {
        let one_time = OneTime::load(
            &self.doors,
            Lists::read(&self.doors),
            folder,
            &self.one_time,
        );
        self.engine
            .configure(&self.doors.iter().cloned().collect())
            .unwrap();
        self.one_time = one_time;
        self.one_time.begin(&mut self.engine, self.now, &self.clock);
    }

    /// What a crash and a new start do.
    pub(super) fn restart(&mut self) {
        *self.engine = const { Engine::new() };
        self.one_time = OneTime::default();
        self.reload();
    }

    /// As the daemon does it: whether the door opens.
    fn knocks(&mut self, ports: &[Port]) -> bool {
        let mut opened = false;
        for port in ports {
            let decision = self.knock(*port);
            if let Some(spent) = decision.spent {
                opened |= self
                    .one_time
                    .spend(&mut self.engine, spent, &self.clock)
                    .is_ok();
                for index in decision.open.filter(|index| *index != spent.door) {
                    _ = self.one_time.waste(&mut self.engine, index, &self.clock);
                }
            }
        }
        // Whatever was begun is forgotten, so that every call is an attempt of its own.
        self.now = self.now + Duration::from_secs(11);
        opened
    }

    pub(super) fn knock(&mut self, port: Port) -> Decision {
        self.now = self.now + Duration::from_millis(1);
        self.clock.millis += 1;
        self.source_port = self.source_port.wrapping_add(1);
        let knock = Knock {
            source: self.source,
            source_port: self.source_port,
            port,
            payload: &[],
        };
        let decision = self.engine.handle(self.now, &knock);
        (self.one_time).note(&self.doors, &knock, &decision, self.now);
        decision
    }

    /// Time goes on, for the clock too.
    pub(super) fn wait(&mut self, millis: u64) {
        self.now = self.now + Duration::from_millis(millis);
        self.set_clock(self.clock.millis + millis);
    }

    /// A door that was guessed at asks for more than one code.
    pub(super) fn forget_guesses(&mut self) {
        *self.engine = const { Engine::new() };
        self.reload();
    }

    /// Has all turns taken that may be taken now: how many, and who is listened to again.
    pub(super) fn look(&mut self) -> (u32, Vec<IpAddr>) {
        let (mut turns, mut lifted) = (0, Vec::new());
        while self
            .one_time
            .look_again_at()
            .is_some_and(|at| at <= self.now)
        {
            turns += 1;
            lifted.extend((self.one_time).look_again(&mut self.engine, self.now, &self.clock));
        }
        (turns, lifted)
    }

    pub(super) fn code(&mut self, counter: u64) -> bool {
        let knocks = knocks_of(&self.doors[0], counter);
        self.knocks(&knocks)
    }

    pub(super) fn resync(&mut self, how: &Resync) -> Result<String, String> {
        self.one_time
            .resync(&mut self.engine, "ssh", how, self.now, &self.clock)
    }

    pub(super) fn progress(&self, door: usize) -> Option<Progress> {
        (self.one_time).progress(&self.doors, door, self.now, &self.clock)
    }

    pub(super) fn shut(&self) -> Option<String> {
        self.progress(0).unwrap().shut
    }

    pub(super) fn saved(&self) -> Option<u64> {
        state::load(self.scratch.folder(), &self.doors[0]).ok()
    }

    pub(super) fn set_clock(&mut self, millis: u64) {
        self.clock = clock(millis);
        self.one_time
            .keep_time(&mut self.engine, self.now, &self.clock);
    }

    /// Nothing can be saved while this stands in the way.
    fn block(&self) -> PathBuf {
        let obstacle = self.scratch.path("ssh.new");
        fs::create_dir(&obstacle).unwrap();
        obstacle
    }
}

const fn clock(millis: u64) -> WallClock {
    WallClock {
        millis,
        distrust: None,
    }
}

pub(super) fn text(path: PathBuf) -> String {
    path.to_str().unwrap().to_owned()
}

pub(super) fn knocks_of(door: &Door, counter: u64) -> [Port; 2] {
    let code = door.method.code().unwrap();
    code.knocks(Digest::new(code.algorithm, KEY, counter).as_bytes())
        .unwrap()
}

fn digits_of(door: &Door, counter: u64) -> String {
    knocks_of(door, counter)
        .map(|port| format!("{:03}", port.number - 10_000))
        .concat()
}

#[test]
fn each_code_of_a_seed_opens_once_reboots_or_not() {
    let mut lab = Lab::seed();
    assert_eq!(knocks_of(&lab.doors[0], 0), [tcp(10_755), udp(10_224)]);
    for counter in 0..20 {
        assert!(lab.code(counter), "{counter}");
        assert_eq!(lab.saved(), Some(counter + 1));
        assert!(!lab.code(counter), "{counter} again");
        lab.restart();
        assert!(!lab.code(counter), "{counter} after a restart");
        lab.reload();
        assert!(!lab.code(counter), "{counter} after a reload");
    }
}

/// A program that knocks twice, or an owner who is not sure, after a reboot as before.
#[test]
fn the_last_used_codes_are_no_guesses_reboots_or_not() {
    let labs: [fn() -> Lab; 2] = [Lab::seed, || Lab::clock(1)];
    for mut lab in labs.map(|lab| lab()) {
        let is_clock = matches!(lab.doors[0].method, Method::Clock { .. });
        let first = if is_clock { step(NOON, 30) } else { 0 };
        if is_clock {
            state::save(lab.scratch.folder(), &lab.doors[0], first).unwrap();
            lab.restart();
        }
        assert!(lab.code(first));
        for restarts in 0..3 {
            for _ in 0..2 {
                assert!(!lab.code(first), "{restarts}");
            }
            let asked = lab.engine.asked(0, lab.now).unwrap();
            assert_eq!((asked.codes, asked.wrong), (1, 0), "{restarts}");
            lab.restart();
        }
        assert!(lab.code(first + 1));
    }
}

#[test]
fn codes_may_be_skipped_as_far_as_the_window_reaches() {
    let mut lab = Lab::seed();
    assert!(!lab.code(5), "the window is 0 to 4");
    lab.forget_guesses();
    assert!(lab.code(4));
    assert!((0..=4).all(|counter| !lab.code(counter)));
    lab.forget_guesses();
    assert!(lab.code(9));
    assert_eq!(lab.saved(), Some(10));
}

#[test]
fn nothing_is_written_unless_something_was_used() {
    use std::os::unix::fs::MetadataExt;
    let mut lab = Lab::seed();
    let inode = |lab: &Lab| lab.scratch.path("ssh").metadata().unwrap().ino();
    let before = inode(&lab);
    assert!(!lab.knocks(&[tcp(10_001), udp(10_002)]) && !lab.code(100));
    lab.reload();
    lab.restart();
    assert_eq!(inode(&lab), before);
    assert!(lab.code(0));
    assert_ne!(inode(&lab), before);
}

#[test]
fn what_cannot_be_saved_opens_nothing_and_is_not_taken_again() {
    let mut lab = Lab::seed();
    let obstacle = lab.block();
    assert!(!lab.code(0) && !lab.code(0));
    lab.reload();
    assert!(!lab.code(0), "a reload does not forget either");
    assert_eq!(lab.saved(), Some(0));
    assert!(lab.shut().unwrap().contains("cannot be saved"));
    fs::remove_dir(obstacle).unwrap();
    assert!(!lab.code(0));
    assert!(lab.code(1));
    assert_eq!((lab.saved(), lab.shut()), (Some(2), None));
}

#[test]
fn without_a_memory_a_seed_door_stays_shut_until_it_is_told() {
    let mut lab = Lab::seed();
    assert!(lab.code(0));
    fs::remove_file(lab.scratch.path("ssh")).unwrap();
    lab.restart();
    assert!(!lab.code(0) && !lab.code(1));
    let why = lab.shut().unwrap();
    assert!(
        why.contains("no such file") && why.contains("postern resync ssh --code"),
        "{why}"
    );
    assert_eq!(
        lab.one_time.take_notices(),
        [format!("door ssh: shut: {why}")]
    );
    for content in ["", "postern-state 1", "next 0\n", "\0\0\0\0"] {
        lab.scratch.file("ssh", content);
        lab.restart();
        assert!(!lab.code(0) && !lab.code(1));
        assert!(lab.shut().unwrap().contains("postern resync ssh"));
    }
    assert!(lab.resync(&Resync::Usual).unwrap_err().contains("--code"));
    let codes = Resync::Codes(
        digits_of(&lab.doors[0], 7),
        Some(digits_of(&lab.doors[0], 8)),
    );
    let answer = lab.resync(&codes).unwrap();
    assert_eq!(answer, "door ssh: the code of counter 9 is next");
    assert_eq!((lab.shut(), lab.saved()), (None, Some(9)));
    assert!(!lab.code(8) && lab.code(9));
}

#[test]
fn codes_are_searched_for_ahead_only() {
    let mut lab = Lab::seed();
    let door = lab.doors[0].clone();
    let codes = |first, second: Option<u64>| {
        Resync::Codes(
            digits_of(&door, first),
            second.map(|second| digits_of(&door, second)),
        )
    };
    lab.resync(&Resync::To(500)).unwrap();
    assert!(
        lab.resync(&codes(1499, Some(1500)))
            .unwrap()
            .ends_with("counter 1501 is next")
    );
    for (first, second) in [
        (1499, Some(1500)),
        (2501, None),
        (1600, Some(1602)),
        (3000, None),
    ] {
        let refused = lab.resync(&codes(first, second)).unwrap_err();
        assert!(
            refused.contains("not among the 1000 from counter 1501 on"),
            "{refused}"
        );
    }
    assert_eq!(lab.saved(), Some(1501));
    for typed in ["12345", "1234567", "12345x", "+12345", ""] {
        let refused = lab.resync(&Resync::Codes(typed.into(), None)).unwrap_err();
        assert!(refused.contains("expected 6 digits"), "{refused}");
    }
    lab.resync(&Resync::To(0)).unwrap();
    assert!(lab.code(0), "whoever says --to means it");
    lab.resync(&Resync::To(u64::MAX - 1)).unwrap();
    assert!(lab.code(u64::MAX - 1) && !lab.code(u64::MAX - 1) && !lab.code(u64::MAX));
}

#[test]
fn an_agent_and_none_resync_alike() {
    let mut lab = Lab::seed();
    let folder = lab.scratch.path("made/anew");
    let clock = lab.clock;
    let without = |how| {
        let done = resync_without_agent(&lab.doors, &folder, "ssh", &how, &clock);
        done.map(|(text, _)| text)
    };
    assert!(
        without(Resync::To(3))
            .unwrap()
            .ends_with("counter 3 is next")
    );
    assert_eq!(state::load(&folder, &lab.doors[0]), Ok(3));
    let code = digits_of(&lab.doors[0], 2);
    assert!(
        without(Resync::Codes(code.clone(), None)).is_err(),
        "2 is used"
    );
    assert!(
        resync_without_agent(&lab.doors, &folder, "sh", &Resync::Usual, &clock)
            .unwrap_err()
            .ends_with("there are: ssh")
    );
    let obstacle = lab.block();
    assert!(
        lab.resync(&Resync::To(9))
            .unwrap_err()
            .contains("ssh cannot be made")
    );
    fs::remove_dir(obstacle).unwrap();
    fs::remove_file(lab.scratch.path("secret")).unwrap();
    lab.restart();
    assert!(
        lab.resync(&Resync::Codes(code, None))
            .unwrap_err()
            .contains("postern keygen ssh")
    );
    assert!(
        lab.resync(&Resync::To(1))
            .unwrap()
            .contains("it stays shut: ")
    );
}

#[test]
fn another_state_dir_and_back_makes_nothing_new() {
    let mut lab = Lab::seed();
    let (first, other) = (lab.scratch.folder().to_owned(), Scratch::new());
    state::save(other.folder(), &lab.doors[0], 0).unwrap();
    assert!(lab.code(0));
    lab.adopt(other.folder());
    assert!(!lab.code(0) && lab.code(1));
    lab.adopt(&first);
    assert!(!lab.code(0) && !lab.code(1));
    assert_eq!(lab.saved(), Some(2), "a crash must not forget it either");
    lab.restart();
    assert!(!lab.code(1) && lab.code(2));
    let fresh = Scratch::new();
    lab.adopt(fresh.folder());
    assert_eq!(state::load(fresh.folder(), &lab.doors[0]), Ok(3));
    lab.adopt(&fresh.path("not made"));
    assert!(!lab.code(2));
    assert!(lab.shut().unwrap().contains("cannot be saved"));
}

#[test]
fn an_older_memory_is_not_believed_by_an_agent_that_knows_better() {
    let mut lab = Lab::seed();
    assert!(lab.code(0) && lab.code(1));
    for restored in [0, 1] {
        state::save(lab.scratch.folder(), &lab.doors[0], restored).unwrap();
        lab.reload();
        assert!(!lab.code(0) && !lab.code(1));
        assert_eq!(lab.saved(), Some(2));
    }
    lab.scratch.file("ssh", "torn");
    lab.reload();
    assert_eq!((lab.shut(), lab.saved()), (None, Some(2)));
    // Not even if the secret was away meanwhile.
    fs::remove_file(lab.scratch.path("secret")).unwrap();
    lab.reload();
    lab.reload();
    state::save(lab.scratch.folder(), &lab.doors[0], 0).unwrap();
    lab.scratch.file("secret", SECRET);
    lab.reload();
    assert!(!lab.code(0) && !lab.code(1));
    lab.forget_guesses();
    assert!(lab.code(2));
    state::save(lab.scratch.folder(), &lab.doors[0], 9).unwrap();
    lab.reload();
    assert!(!lab.code(8));
    lab.forget_guesses();
    assert!(lab.code(9), "a newer one is");
}

#[test]
fn another_secret_begins_with_the_memory_that_is_there() {
    let mut lab = Lab::seed();
    assert!(lab.code(0) && lab.code(1));
    // What `postern keygen` does when it cannot reach the agent.
    lab.scratch
        .file("secret", "hex:000102030405060708090a0b0c0d0e0f");
    state::save(lab.scratch.folder(), &lab.doors[0], 0).unwrap();
    lab.reload();
    assert_eq!(lab.progress(0).unwrap().next, Some(0));
    assert_eq!(lab.saved(), Some(0));
}

#[test]
fn an_older_memory_of_a_list_is_not_believed_either() {
    let mut lab = Lab::list(AtEnd::Stop);
    assert!(lab.knocks(&[tcp(1001), tcp(1002)]));
    state::save(lab.scratch.folder(), &lab.doors[0], 0).unwrap();
    lab.reload();
    assert!(!lab.knocks(&[tcp(1001), tcp(1002)]));
    lab.resync(&Resync::To(0)).unwrap();
    lab.reload();
    assert!(
        lab.knocks(&[tcp(1001), tcp(1002)]),
        "whoever says it means it"
    );
}

#[test]
fn secrets_are_read_again() {
    let mut lab = Lab::seed();
    let other = "hex:000102030405060708090a0b0c0d0e0f";
    lab.scratch.file("secret", other);
    assert!(lab.code(0));
    lab.reload();
    assert!(!lab.code(1));
    fs::remove_file(lab.scratch.path("secret")).unwrap();
    lab.reload();
    assert!(
        lab.shut()
            .unwrap()
            .contains("'postern keygen ssh' makes a secret")
    );
    lab.scratch.file("secret", SECRET);
    state::save(lab.scratch.folder(), &lab.doors[0], 0).unwrap();
    lab.one_time
        .reread(&mut lab.engine, "ssh", lab.now, &lab.clock)
        .unwrap();
    assert_eq!(lab.shut(), None);
    assert!(lab.code(0), "keygen begins anew");
}

#[test]
fn codes_of_the_clock_come_and_go() {
    let mut lab = Lab::clock(1);
    let step = NOON / 30_000;
    assert_eq!(lab.saved(), None);
    assert!(
        (step - 2..=step + 1).all(|step| !lab.code(step)),
        "they may have been used"
    );
    lab.set_clock(NOON + 30_000);
    assert!(lab.code(step + 2), "ahead by what is tolerated");
    assert_eq!(lab.saved(), Some(step + 3));
    assert!(!lab.code(step + 2) && !lab.code(step + 1) && !lab.code(step + 3));
    lab.set_clock(NOON + 5 * 30_000);
    assert!(!lab.code(step + 3) && !lab.code(step + 7));
    assert!(lab.code(step + 4), "behind by what is tolerated");
    assert!(lab.code(step + 6));
    lab.restart();
    assert!(!lab.code(step + 6) && !lab.code(step + 5));
    lab.set_clock(NOON + 6 * 30_000);
    assert!(lab.code(step + 7));
    assert_eq!(lab.shut(), None);
}

#[test]
fn a_clock_set_back_makes_no_code_new() {
    let mut lab = Lab::clock(0);
    let step = NOON / 30_000;
    lab.set_clock(NOON + 30_000);
    assert!(lab.code(step + 1));
    lab.set_clock(NOON - 3_600_000);
    let early = step - 120;
    assert!(!lab.code(step + 1) && !lab.code(early));
    let why = lab.shut().unwrap();
    assert!(why.contains("1h ahead of the clock"), "{why}");
    assert!(
        lab.resync(&Resync::Usual)
            .unwrap()
            .contains("every code up to now is used")
    );
    assert!(!lab.code(early));
    lab.set_clock(NOON - 3_570_000);
    assert!(lab.code(early + 1));
    lab.set_clock(NOON + 86_400_000);
    assert!(lab.code(step + 2880), "and forwards is where time goes");
}

#[test]
fn without_a_trusted_clock_a_clock_door_stays_shut() {
    let mut lab = Lab::clock(1);
    lab.clock.distrust = Some("the clock is not set");
    lab.restart();
    let look_again_at = lab.now + UNTRUSTED_CLOCK_INTERVAL;
    assert_eq!(lab.one_time.keep_time_at(), Some(look_again_at));
    assert_eq!(lab.shut().unwrap(), "the clock is not set");
    assert!((0..3).all(|ahead| !lab.code(NOON / 30_000 + ahead)));
    let refused = lab.resync(&Resync::Usual).unwrap_err();
    assert_eq!(refused, "the clock is not set");
    lab.one_time.take_notices();
    lab.set_clock(NOON);
    let [waits, opens] = lab.one_time.take_notices().try_into().unwrap();
    assert!(waits.starts_with("door ssh: codes count from "), "{waits}");
    assert_eq!(opens, "door ssh: can be opened again");
    lab.set_clock(NOON + 60_000);
    assert!(lab.code(NOON / 30_000 + 2));
}

#[test]
fn a_clock_ahead_at_boot_shuts_its_door_only_until_it_is_right() {
    let mut lab = Lab::clock(1);
    let step = NOON / 30_000;
    lab.clock = clock(NOON + 7_200_000);
    lab.restart();
    lab.reload();
    assert!(!lab.code(step + 240));
    lab.set_clock(NOON);
    assert_eq!((lab.shut(), lab.saved()), (None, None));
    assert!((step - 1..=step + 1).all(|step| !lab.code(step)));
    lab.set_clock(NOON + 60_000);
    assert!(lab.code(step + 2));
    assert_eq!(lab.saved(), Some(step + 3));
    lab.set_clock(NOON - 60_000);
    assert!(!lab.code(step - 1), "what was used stays used");
    assert!(lab.shut().unwrap().contains("ahead of the clock are used"));
}

#[test]
fn a_clock_door_is_armed_anew_when_its_step_ends() {
    let mut lab = Lab::clock(1);
    for (past, wait) in [(0, 30_000), (12_345, 17_655), (29_999, 1)] {
        lab.set_clock(NOON + past);
        let wait = Duration::from_millis(wait);
        assert_eq!(lab.one_time.keep_time_at(), Some(lab.now + wait));
    }
    assert_eq!(Lab::seed().one_time.keep_time_at(), None);
    lab.scratch.file("ssh", "foreign");
    lab.restart();
    assert_eq!(lab.one_time.keep_time_at(), None, "waiting does not help");
    assert!(
        lab.shut()
            .unwrap()
            .contains("'postern resync ssh' takes everything")
    );
}

#[test]
fn a_reload_does_not_make_the_owner_of_a_clock_door_wait() {
    let mut lab = Lab::clock(0);
    let step = NOON / 30_000;
    lab.set_clock(NOON + 30_000);
    lab.reload();
    assert!(lab.code(step + 1));
}

#[test]
fn what_a_clock_door_took_for_used_is_not_new_by_an_older_memory() {
    let mut lab = Lab::clock(1);
    let step = NOON / 30_000;
    state::save(lab.scratch.folder(), &lab.doors[0], step).unwrap();
    lab.reload();
    assert!((step - 1..=step + 1).all(|step| !lab.code(step)));
    lab.set_clock(NOON + 30_000);
    assert!(lab.code(step + 2));
}

#[test]
fn the_sequences_of_a_list_open_in_turn() {
    let mut lab = Lab::list(AtEnd::Stop);
    assert_eq!(lab.one_time.list_ports().count(), 8);
    let sequences = [1001, 1003, 1005, 1007].map(|port| [tcp(port), tcp(port + 1)]);
    assert!(!lab.knocks(&sequences[1]), "it is not its turn");
    for (turn, sequence) in sequences.iter().enumerate() {
        assert!(lab.knocks(sequence));
        assert_eq!(lab.saved(), Some(turn as u64 + 1));
        assert!(!lab.knocks(sequence));
        lab.restart();
        assert!(!lab.knocks(sequence));
    }
    assert!(lab.shut().unwrap().contains("the list is used up"));
    assert!(
        lab.resync(&Resync::Usual)
            .unwrap()
            .contains("it stays shut")
    );
    let answer = lab.resync(&Resync::To(3)).unwrap();
    assert_eq!(answer, "door ssh: sequence 4 of 4 is next");
    assert!(lab.knocks(&sequences[3]));
}

#[test]
fn a_list_that_runs_out_says_so_in_time() {
    let mut lab = Lab::list(AtEnd::Stop);
    assert!(lab.knocks(&[tcp(1001), tcp(1002)]));
    assert!(lab.one_time.take_notices().is_empty());
    assert!(lab.knocks(&[tcp(1003), tcp(1004)]));
    assert_eq!(
        lab.one_time.take_notices(),
        ["door ssh: 2 sequences are left in its list"]
    );
    assert!(lab.knocks(&[tcp(1005), tcp(1006)]));
    assert_eq!(
        lab.one_time.take_notices(),
        ["door ssh: 1 sequence is left in its list"]
    );
}

#[test]
fn a_list_begins_again_where_that_is_wanted() {
    let mut lab = Lab::list(AtEnd::Wrap);
    for turn in 0..12 {
        let first = 1001 + 2 * (turn % 4);
        assert!(lab.knocks(&[tcp(first + 1), tcp(first)]));
        lab.restart();
    }
    assert_eq!(lab.saved(), Some(12));
}

#[test]
fn a_list_without_a_memory_begins_when_it_is_told() {
    let mut lab = Lab::list(AtEnd::Wrap);
    fs::remove_file(lab.scratch.path("ssh")).unwrap();
    lab.restart();
    assert!(!lab.knocks(&[tcp(1001), tcp(1002)]));
    assert!(
        lab.shut()
            .unwrap()
            .contains("'postern resync ssh' begins with the first")
    );
    lab.resync(&Resync::Usual).unwrap();
    assert!(lab.knocks(&[tcp(1001), tcp(1002)]));
    lab.resync(&Resync::Usual).unwrap();
    assert_eq!(lab.saved(), Some(1), "what is known stays known");
    lab.scratch.file("ssh", "torn");
    lab.restart();
    assert!(lab.resync(&Resync::Usual).unwrap_err().contains("--to N"));
    assert!(lab.resync(&Resync::To(1)).is_ok());
    assert!(lab.knocks(&[tcp(1003), tcp(1004)]));
}

#[test]
fn a_bad_list_shuts_its_door_alone() {
    let mut lab = Lab::new(|scratch| {
        vec![
            list_door_with(
                "bad",
                &text(scratch.file("bad", "1001 tcp:22\n")),
                AtEnd::Stop,
            ),
            seed_door_with("ssh", &text(scratch.path("secret"))),
        ]
    });
    state::save(lab.scratch.folder(), &lab.doors[1], 0).unwrap();
    lab.restart();
    assert!(lab.shut().unwrap().contains("bad:1:6: tcp:22 is guarded"));
    let knocks = knocks_of(&lab.doors[1], 0);
    assert!(lab.knocks(&knocks));
}

#[test]
fn doors_that_share_a_secret_by_any_name_do_not_share_a_code() {
    let others: [fn(&Scratch) -> PathBuf; 4] = [
        |scratch| scratch.folder().join("./secret"),
        |scratch| {
            let link = scratch.path("symbolic");
            std::os::unix::fs::symlink(scratch.folder(), &link).unwrap();
            link.join("secret")
        },
        |scratch| {
            fs::hard_link(scratch.path("secret"), scratch.path("hard")).unwrap();
            scratch.path("hard")
        },
        |scratch| scratch.file("copy", "hex:3132333435363738393031323334353637383930"),
    ];
    for other in others {
        let mut lab = Lab::new(|scratch| {
            let file = text(other(scratch));
            let secret = text(scratch.path("secret"));
            vec![seed_door_with("ssh", &secret), seed_door_with("web", &file)]
        });
        for door in &lab.doors {
            state::save(lab.scratch.folder(), door, 0).unwrap();
        }
        lab.restart();
        assert_eq!(lab.shut(), None);
        let why = lab.progress(1).unwrap().shut.unwrap();
        assert!(
            why.contains("that of door ssh") && why.contains("'postern keygen web' makes another"),
            "{why}"
        );
        assert!(lab.code(0) && !lab.code(0));
        lab.reload();
        assert!(!lab.code(0) && lab.code(1));
    }
}

#[test]
fn a_secret_of_its_own_opens_a_door_that_shared_one() {
    let mut lab = Lab::new(|scratch| {
        let (secret, copy) = (scratch.path("secret"), scratch.file("copy", SECRET));
        vec![
            seed_door_with("ssh", &text(secret)),
            seed_door_with("web", &text(copy)),
        ]
    });
    for door in &lab.doors {
        state::save(lab.scratch.folder(), door, 0).unwrap();
    }
    lab.restart();
    let shut = |lab: &Lab| [0, 1].map(|door| lab.progress(door).unwrap().shut.is_some());
    let mut replace = |file: &str, door: &str, secret: &str| {
        lab.scratch.file(file, secret);
        let (engine, now, clock) = (&mut lab.engine, lab.now, lab.clock);
        _ = lab.one_time.reread(engine, door, now, &clock);
        shut(&lab)
    };
    let other = "hex:000102030405060708090a0b0c0d0e0f";
    assert_eq!(replace("secret", "ssh", SECRET), [false, true]);
    assert_eq!(replace("secret", "ssh", other), [false, false]);
    assert_eq!(replace("secret", "ssh", SECRET), [false, true]);
    assert_eq!(replace("copy", "web", other), [false, false]);
}

#[test]
fn doors_with_equal_lists_do_not_share_a_sequence() {
    let mut lab = Lab::new(|scratch| {
        let copy = scratch.file(
            "copy",
            "# Spelt otherwise\n1001:tcp,1002\n1003 1004\n1005 1006\n1007 1008",
        );
        vec![
            list_door_with("ssh", &text(scratch.path("list")), AtEnd::Stop),
            list_door_with("web", &text(copy), AtEnd::Stop),
        ]
    });
    for door in &lab.doors {
        state::save(lab.scratch.folder(), door, 0).unwrap();
    }
    lab.restart();
    let why = lab.progress(1).unwrap().shut.unwrap();
    assert!(why.contains("its list is that of door ssh"), "{why}");
    let knocks = [tcp(1001), tcp(1002)];
    assert!(lab.knocks(&knocks) && !lab.knocks(&knocks));
}

#[test]
fn knocks_that_open_two_doors_are_used_at_both() {
    let code = |scratch: &Scratch| seed_door_with("code", &text(scratch.path("secret")));
    let list = |scratch: &Scratch, name: &str, content: &str| {
        list_door_with(
            name,
            &text(scratch.file(&format!("{name}.list"), content)),
            AtEnd::Stop,
        )
    };
    // What the third code asks for.
    let content = "10359 udp:10152\n1003 1004\n";
    let pairs: [fn(Door, Door) -> Vec<Door>; 2] =
        [|code, list| vec![code, list], |code, list| vec![list, code]];
    for pair in pairs {
        let mut lab = Lab::new(|scratch| pair(code(scratch), list(scratch, "list", content)));
        for door in &lab.doors {
            state::save(lab.scratch.folder(), door, 0).unwrap();
        }
        lab.restart();
        let knocks = [tcp(10_359), udp(10_152)];
        assert!(lab.knocks(&knocks));
        let saved = |lab: &Lab, name: &str| {
            let door = lab.doors.iter().find(|door| door.name == name).unwrap();
            state::load(lab.scratch.folder(), door)
        };
        assert_eq!((saved(&lab, "code"), saved(&lab, "list")), (Ok(3), Ok(1)));
        assert!(!lab.knocks(&knocks));
        lab.restart();
        assert!(!lab.knocks(&knocks));
        assert!(lab.knocks(&[tcp(1003), tcp(1004)]), "the next goes on");
    }
}

#[test]
fn the_last_acceptable_code_can_be_used_at_two_doors() {
    let mut lab = Lab::new(|scratch| {
        let list = scratch.file("last.list", "10338 udp:10314\n");
        vec![
            seed_door_with("ssh", &text(scratch.path("secret"))),
            list_door_with("list", &text(list), AtEnd::Stop),
        ]
    });
    for door in &lab.doors {
        state::save(lab.scratch.folder(), door, 0).unwrap();
    }
    lab.restart();
    assert!(lab.knocks(&[tcp(10_338), udp(10_314)]));
    assert_eq!(lab.saved(), Some(5));
    assert!(!lab.code(4) && lab.code(5));
}

#[test]
fn more_ports_than_there_is_room_for_shut_the_door_that_brings_them() {
    let lab = Lab::new(|scratch| {
        let doors = (0..4).map(|door| {
            let ports = (0..1024).map(|number| format!("udp:{}\n", 2048 * door + 2 * number + 1));
            let (name, list) = (format!("d{door}"), ports.collect::<String>());
            let list = scratch.file(&format!("{name}.list"), list);
            let door = list_door_with(&name, &text(list), AtEnd::Stop);
            state::save(scratch.folder(), &door, 0).unwrap();
            door
        });
        doors.collect()
    });
    let shut = |door| lab.progress(door).unwrap().shut;
    assert!((0..3).all(|door| shut(door).is_none()));
    let last = shut(3).unwrap();
    assert!(
        last.contains("more knock ports than there is room for"),
        "{last}"
    );
}

#[test]
fn a_port_of_another_turn_is_a_wrong_knock_from_the_beginning() {
    let mut lab = Lab::list(AtEnd::Stop);
    let knock = Knock {
        source: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
        source_port: 1,
        port: tcp(1007),
        payload: &[],
    };
    assert_eq!(lab.engine.handle(lab.now, &knock).outcome, Outcome::Wrong);
}

#[test]
fn random_use_opens_each_code_at_most_once() {
    let mut lab = Lab::seed();
    let mut opened = Vec::new();
    for _ in 0..300 {
        let mut byte = [0; 2];
        process::random(&mut byte).unwrap();
        let [what, ahead] = byte;
        let next = opened.last().map_or(0, |last| last + 1);
        match what % 8 {
            0 => lab.restart(),
            1 => lab.reload(),
            2 => {
                let obstacle = lab.block();
                assert!(!lab.code(next));
                fs::remove_dir(obstacle).unwrap();
            }
            _ => {
                let counter = (next + u64::from(ahead % 10)).saturating_sub(3);
                if lab.code(counter) {
                    assert!(counter >= next);
                    opened.push(counter);
                }
            }
        }
    }
    assert!(opened.len() > 20 && opened.is_sorted());
}
