//! What a one-time door remembers through a kill at any system call, and what it makes of
//! memories that it cannot use.

use std::fs::{self, Permissions};
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::sync::atomic::{AtomicU16, Ordering};

use postern_tests::agent::{Guard, Setup};
use postern_tests::clock;
use postern_tests::knocker::{FENCE, Knock, Knocker, fence};
use postern_tests::otp::{self, App};
use postern_tests::sender::{Random, Sender};
use postern_tests::strace::{SAVING, Strace};
use postern_tests::suite::{Suite, in_case_of};
use postern_tests::topology::Topology;
use postern_tests::wait::{SOON, poll_until};
use postern_tests::{nft, suite};

pub(crate) fn suite() -> Suite {
    suite![
        no_counter_code_works_twice_whatever_call_was_the_last needs "oathtool" "strace",
        no_clock_code_works_twice_whatever_call_was_the_last needs "oathtool" "strace",
        no_sequence_works_twice_whatever_call_was_the_last needs "strace",
        a_damaged_memory_shuts_its_door_and_no_other needs "oathtool",
        only_a_success_is_written needs "oathtool",
        knocks_of_two_doors_are_used_at_both,
        a_secret_under_two_names_opens_one_door needs "oathtool",
        lists_are_guarded_without_an_agent_too,
        a_memory_taken_back_to_what_it_was_opens_nothing_twice needs "oathtool",
        a_lost_memory_and_a_clock_set_back_open_nothing_twice needs "oathtool" "gcc",
    ]
}

const SEED_DOOR: &str = "
config door 'seed'
	list guard 'tcp:2201'
	option method 'one-time-seed'
	option secret_file '@/seed.secret'
	option base '10000'
	option digits '8'
	option look_ahead '10'
	option grant '60s'
";

const CLOCK_DOOR: &str = "
config door 'clock'
	list guard 'tcp:2202'
	option method 'one-time-clock'
	option secret_file '@/clock.secret'
	option base '20000'
	option digits '8'
	option skew '10'
	option grant '60s'
";

const LIST_DOOR: &str = "
config door 'list'
	list guard 'tcp:2203'
	option method 'one-time-list'
	option list_file '@/list.list'
	option grant '60s'
";

struct Stage {
    net: Topology,
    setup: Setup,
    sender: Sender,
}

impl Stage {
    fn new(doors: &str) -> Self {
        let net = Topology::new();
        let setup = Setup::new(&net.router, Guard::Gate, &format!("{FENCE}{doors}"));
        let sender = Sender::new(&net.client.namespace);
        Self { net, setup, sender }
    }

    fn verb(&self, verb: &str, arguments: &[&str]) -> String {
        self.setup.verb(&self.net.router, verb, arguments).ok()
    }

    /// Knocks as somebody who was never there before; returns his address.
    fn knock(&self, knocks: &[Knock]) -> IpAddr {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let [high, low] = NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        let from = Ipv4Addr::new(10, 1, high, low).into();
        Knocker::new(&self.sender, from, self.net.router.v4.into()).send(knocks);
        from
    }

    fn is_granted(&self, source: IpAddr) -> bool {
        nft::addresses(&self.net.router.namespace, "inet postern").contains(&source)
    }

    #[track_caller]
    fn expect_open(&self, knocks: &[Knock]) {
        let from = self.knock(knocks);
        poll_until(SOON, "a grant", || self.is_granted(from));
    }

    /// Whether the knocks open, once the agent has decided.
    fn opens(&self, knocks: &[Knock]) -> bool {
        let from = self.knock(knocks);
        fence(&self.net, &self.sender);
        self.is_granted(from)
    }

    /// Knocks, and waits until that opened the door or the agent died of it.
    fn opens_before_death(&self, knocks: &[Knock], at: Option<(&str, usize)>) -> Outcome {
        let mut agent = self.setup.start(&self.net.router);
        let strace = match at {
            Some((call, count)) => Strace::killing_at(agent.id(), call, count),
            None => Strace::counting(agent.id()),
        };
        let from = self.knock(knocks);
        poll_until(SOON, "the door opens or the agent dies", || {
            agent.has_ended() || self.is_granted(from)
        });
        let calls = strace.detach();
        agent.kill();
        Outcome {
            opened: self.is_granted(from),
            calls: calls.into_iter().collect(),
        }
    }
}

struct Outcome {
    opened: bool,
    /// The system calls that were made, and how often each.
    calls: Vec<(String, usize)>,
}

fn no_counter_code_works_twice_whatever_call_was_the_last() {
    let stage = Stage::new(SEED_DOOR);
    let app = App::scan(&stage.verb("keygen", &["seed"]));
    let mut next = 0;
    kill_at_each(
        &stage,
        |_| true,
        || {
            next += 2;
            [next - 2, next - 1].map(|counter| code(&app, counter, 10_000))
        },
    );
}

fn no_clock_code_works_twice_whatever_call_was_the_last() {
    let stage = Stage::new(CLOCK_DOOR);
    kill_at_each(
        &stage,
        |call| SAVING.contains(&call),
        || {
            // With a new secret, no code is used.
            let app = App::scan(&stage.verb("keygen", &["clock", "--force"]));
            [app.step(), app.step() + 1].map(|step| code(&app, step, 20_000))
        },
    );
}

fn no_sequence_works_twice_whatever_call_was_the_last() {
    let stage = Stage::new(LIST_DOOR);
    write_list(&stage);
    stage.verb("resync", &["list"]);
    let mut next = 0;
    kill_at_each(
        &stage,
        |call| SAVING.contains(&call),
        || {
            next += 2;
            [next - 2, next - 1].map(|number| sequence(number).into())
        },
    );
}

fn code(app: &App, counter: u64, base: u16) -> Vec<Knock> {
    otp::knocks(&app.code(counter), base, [Knock::Tcp; 2]).into()
}

const SEQUENCES: u16 = 100;

fn sequence(number: u16) -> [Knock; 3] {
    let first = 30_000 + number * 3;
    [first + 1, first, first + 2].map(Knock::Tcp)
}

fn write_list(stage: &Stage) {
    let line = |number| sequence(number).map(|knock| format!("{knock} ")).concat() + "\n";
    let text: String = (0..SEQUENCES).map(line).collect();
    stage.setup.write_private("list.list", &text);
}

/// Kills the agent while it lets somebody in, at one system call after the other. `fresh`
/// makes knocks that were not used, and those that come after them.
fn kill_at_each(
    stage: &Stage,
    wanted: impl Fn(&str) -> bool,
    mut fresh: impl FnMut() -> [Vec<Knock>; 2],
) {
    let [knocks, next] = fresh();
    let undisturbed = stage.opens_before_death(&knocks, None);
    assert!(undisturbed.opened);
    expect_used(stage, &knocks, &next, 1);
    let names: Vec<&str> = undisturbed
        .calls
        .iter()
        .map(|(call, _)| call.as_str())
        .collect();
    assert!(names.contains(&"fsync"), "{names:?}");
    let mut shut = 0;
    for (call, count) in undisturbed.calls.iter().filter(|(call, _)| wanted(call)) {
        for nth in 1..=*count {
            in_case_of((call, nth), || {
                let [knocks, next] = fresh();
                let opened = stage.opens_before_death(&knocks, Some((call, nth))).opened;
                shut += usize::from(!opened);
                expect_used(stage, &knocks, &next, opened.into());
            });
        }
    }
    assert!(shut > 3, "it hardly ever died before the door was open");
}

/// Makes sure that knocks which opened so often open once altogether, and that the next go on.
fn expect_used(stage: &Stage, knocks: &[Knock], next: &[Knock], opened: usize) {
    let agent = stage.setup.start(&stage.net.router);
    // What was not used before the crash may be used now.
    let opened = opened + usize::from(stage.opens(knocks));
    assert!(opened <= 1, "it opened again after a crash");
    assert!(!stage.opens(knocks), "it opened again");
    stage.expect_open(next);
    agent.stop();
}

fn a_damaged_memory_shuts_its_door_and_no_other() {
    let static_door = "
config door 'ssh'
	list guard 'tcp:22'
	option method 'sequence-separate'
	list open 'tcp:7000'
	list open 'tcp:6000'
";
    let stage = Stage::new(&format!("{SEED_DOOR}{LIST_DOOR}{static_door}"));
    let app = App::scan(&stage.verb("keygen", &["seed"]));
    write_list(&stage);
    stage.verb("resync", &["list"]);
    let memory = stage.setup.path("state/seed");
    let mut next = 0;
    for (what, damage) in DAMAGES {
        in_case_of(what, || {
            damage(&stage);
            let agent = stage.setup.start(&stage.net.router);
            let status = stage.verb("status", &[]);
            assert!(status.contains("shut: "), "{status}");
            assert!(status.contains("'postern resync seed"), "{status}");
            assert!(!stage.opens(&code(&app, next, 10_000)));
            stage.expect_open(&sequence(u16::try_from(next).expect("some few")));
            stage.expect_open(&[Knock::Tcp(7000), Knock::Tcp(6000)]);
            stage.verb("resync", &["seed", "--to", &next.to_string()]);
            let status = stage.verb("status", &[]);
            assert!(!status.contains("shut: "), "{status}");
            stage.expect_open(&code(&app, next, 10_000));
            next += 1;
            agent.kill();
            let agent = stage.setup.start(&stage.net.router);
            assert!(!stage.opens(&code(&app, next - 1, 10_000)));
            agent.stop();
        });
    }
    let mode = fs::metadata(memory).expect("a memory").mode();
    assert_eq!(mode & 0o777, 0o600);
}

type Damage = fn(&Stage);

const DAMAGES: [(&str, Damage); 7] = [
    ("empty", |stage| rewrite(stage, |_| Vec::new())),
    ("torn", |stage| {
        rewrite(stage, |whole| whole[..whole.len() / 2].into());
    }),
    ("zeros", |stage| {
        rewrite(stage, |whole| vec![0; whole.len()])
    }),
    ("garbage", |stage| {
        rewrite(stage, |_| {
            (0..4096_u32).map(|number| (number % 251) as u8).collect()
        });
    }),
    ("another door's", |stage| {
        let other = fs::read(stage.setup.path("state/list")).expect("a memory");
        rewrite(stage, |_| other);
    }),
    ("anybody's", |stage| {
        let everybody = Permissions::from_mode(0o666);
        fs::set_permissions(stage.setup.path("state/seed"), everybody).expect("open it to all");
    }),
    ("gone", |stage| {
        fs::remove_file(stage.setup.path("state/seed")).expect("remove it");
    }),
];

fn rewrite(stage: &Stage, change: impl FnOnce(Vec<u8>) -> Vec<u8>) {
    let path = stage.setup.path("state/seed");
    let whole = fs::read(&path).expect("a memory");
    fs::write(path, change(whole)).expect("change it");
}

fn only_a_success_is_written() {
    let stage = Stage::new(&format!("{SEED_DOOR}{CLOCK_DOOR}{LIST_DOOR}"));
    let app = App::scan(&stage.verb("keygen", &["seed"]));
    stage.verb("keygen", &["clock"]);
    write_list(&stage);
    stage.verb("resync", &["list"]);
    // A configuration that was not in force before is remembered, once.
    stage.setup.start(&stage.net.router).stop();
    let before = traces(&stage);
    assert_eq!(before.len(), 5, "{before:?}");
    let agent = stage.setup.start(&stage.net.router);
    fail_to_open(&stage);
    agent.reload();
    fail_to_open(&stage);
    stage.verb("open", &["seed", "--from", "192.0.2.77"]);
    stage.verb("close", &["seed"]);
    agent.stop();
    let agent = stage.setup.start(&stage.net.router);
    fail_to_open(&stage);
    assert_eq!(traces(&stage), before);
    stage.expect_open(&code(&app, 0, 10_000));
    let after = traces(&stage);
    let changed = before
        .iter()
        .zip(&after)
        .filter(|(before, after)| before != after);
    let changed: Vec<&str> = changed.map(|(_, trace)| trace.name.as_str()).collect();
    assert_eq!(changed, ["", "seed"]);
    agent.kill();
    assert_eq!(traces(&stage), after);
}

fn knocks_of_two_doors_are_used_at_both() {
    let other = LIST_DOOR
        .replace("'list'", "'other'")
        .replace("list.list", "other.list")
        .replace("2203", "2204");
    let stage = Stage::new(&format!("{LIST_DOOR}{other}"));
    let common = "tcp:30000 tcp:30001\n";
    let write = |name, own: &str| stage.setup.write_private(name, &format!("{common}{own}"));
    write("list.list", "tcp:30002 tcp:30003\n");
    write("other.list", "tcp:30004 tcp:30005\n");
    for door in ["list", "other"] {
        stage.verb("resync", &[door]);
    }
    let knocks = [30_000, 30_001].map(Knock::Tcp);
    let mut agent = stage.setup.start(&stage.net.router);
    stage.expect_open(&knocks);
    assert!(!stage.opens(&knocks), "the other door's was not used");
    for (door, memory) in ["list", "other"].map(|door| (door, format!("state/{door}"))) {
        let memory = fs::read_to_string(stage.setup.path(&memory)).expect("a memory");
        assert!(memory.contains("\nnext 1\n"), "{door}: {memory}");
    }
    agent.kill();
    agent = stage.setup.start(&stage.net.router);
    assert!(!stage.opens(&knocks));
    for own in [30_002, 30_004] {
        stage.expect_open(&[own, own + 1].map(Knock::Tcp));
    }
    agent.stop();
}

fn a_secret_under_two_names_opens_one_door() {
    let other = SEED_DOOR
        .replace("'seed'", "'other'")
        .replace("@/seed.secret", "@/./seed.secret")
        .replace("2201", "2204")
        .replace("10000", "12000");
    let stage = Stage::new(&format!("{SEED_DOOR}{other}"));
    let app = App::scan(&stage.verb("keygen", &["seed"]));
    stage.verb("resync", &["other", "--to", "0"]);
    let _agent = stage.setup.start(&stage.net.router);
    let status = stage.verb("status", &[]);
    assert!(
        status.contains("shut: its secret is that of door seed"),
        "{status}"
    );
    let check = stage.setup.verb(&stage.net.router, "check", &[]);
    assert!(
        check.status == 1 && check.stderr.contains("door other: its secret"),
        "{}",
        check.stderr
    );
    stage.expect_open(&code(&app, 0, 10_000));
    assert!(!stage.opens(&code(&app, 0, 12_000)));
    stage.expect_open(&code(&app, 1, 10_000));
}

fn lists_are_guarded_without_an_agent_too() {
    let stage = Stage::new(LIST_DOOR);
    write_list(&stage);
    stage.verb("resync", &["list"]);
    stage.verb("apply", &[]);
    let alone = nft::settled_table(&stage.net.router.namespace, "inet postern").expect("a guard");
    for port in 30_000..30_000 + 3 * SEQUENCES {
        assert!(alone.contains(&format!("{port} : goto knock")), "{alone}");
    }
    let agent = stage.setup.start(&stage.net.router);
    let guided = nft::settled_table(&stage.net.router.namespace, "inet postern").expect("a guard");
    assert_eq!(alone, guided);
    agent.stop();
}

/// As a backup that is put back does. The kernel remembers for an hour.
fn a_memory_taken_back_to_what_it_was_opens_nothing_twice() {
    let stage = Stage::new(&format!("{SEED_DOOR}{LIST_DOOR}"));
    let app = App::scan(&stage.verb("keygen", &["seed"]));
    write_list(&stage);
    stage.verb("resync", &["list"]);
    let seed = |counter| code(&app, counter, 10_000);
    let memories = ["seed", "list"].map(|door| stage.setup.path(&format!("state/{door}")));
    let take_back = |earlier: &[Vec<u8>; 2]| {
        for (memory, text) in memories.iter().zip(earlier) {
            fs::write(memory, text).expect("put a backup back");
        }
    };
    let earlier = [0, 1].map(|at: usize| fs::read(&memories[at]).expect("a memory"));
    let agent = stage.setup.start(&stage.net.router);
    stage.expect_open(&seed(3));
    stage.expect_open(&sequence(0));
    agent.kill();
    take_back(&earlier);
    let agent = stage.setup.start(&stage.net.router);
    for counter in [2, 3] {
        assert!(!stage.opens(&seed(counter)), "{counter}");
    }
    assert!(!stage.opens(&sequence(0)));
    stage.expect_open(&seed(4));
    stage.expect_open(&sequence(1));
    // Over a reload, too, and another configuration.
    take_back(&earlier);
    agent.kill();
    stage
        .setup
        .rewrite(&format!("{FENCE}{LIST_DOOR}{SEED_DOOR}"));
    let agent = stage.setup.start(&stage.net.router);
    assert!(!stage.opens(&seed(4)) && !stage.opens(&sequence(1)));
    // Whoever says what is next means it, with an agent and without.
    stage.verb("resync", &["seed", "--to", "1"]);
    stage.expect_open(&seed(1));
    agent.kill();
    stage.verb("resync", &["seed", "--to", "0"]);
    let agent = stage.setup.start(&stage.net.router);
    stage.expect_open(&seed(0));
    agent.stop();
    // A new secret has used nothing.
    let app = App::scan(&stage.verb("keygen", &["seed", "--force"]));
    let agent = stage.setup.start(&stage.net.router);
    stage.expect_open(&code(&app, 0, 10_000));
    agent.stop();
}

fn a_lost_memory_and_a_clock_set_back_open_nothing_twice() {
    const STEP: i64 = 30;
    const SKEW: i64 = 10;
    let stage = Stage::new(CLOCK_DOOR);
    let app = App::scan(&stage.verb("keygen", &["clock"]));
    clock::set(&stage.setup, 0);
    let agent = clock::start(&stage.setup, &stage.net.router);
    let used = app.step();
    let knocks = |step| code(&app, step, 20_000);
    stage.expect_open(&knocks(used));
    agent.kill();
    fs::remove_dir_all(stage.setup.path("state")).expect("lose the memory");
    // So far that a lost memory says nothing of the code any more.
    clock::set(&stage.setup, -STEP * (SKEW + 5));
    let agent = clock::start(&stage.setup, &stage.net.router);
    assert!(!stage.opens(&knocks(used)));
    // Time passes.
    clock::set(&stage.setup, -STEP * 5);
    agent.reload_now();
    assert!(!stage.opens(&knocks(used)), "it opened again");
    stage.expect_open(&knocks(used + 1));
    agent.stop();
}

/// Half the code, numbers without a meaning, and the wrong sequence of the list.
fn fail_to_open(stage: &Stage) {
    let mut random = Random::new();
    for _ in 0..500 {
        let port = 10_000 + (random.number() % 11_000) as u16;
        stage.knock(&[Knock::Tcp(port)]);
    }
    assert!(!stage.opens(&sequence(1)));
    let [first, second, _] = sequence(0);
    assert!(!stage.opens(&[first, second]));
}

/// What a file shows of having been written.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Trace {
    /// Empty for the folder itself.
    name: String,
    inode: u64,
    modified: (i64, i64),
    content: Vec<u8>,
}

fn traces(stage: &Stage) -> Vec<Trace> {
    let folder = stage.setup.path("state");
    let trace = |name: String, content| {
        let facts = fs::metadata(folder.join(&name)).expect("a file");
        Trace {
            name,
            inode: facts.ino(),
            modified: (facts.mtime(), facts.mtime_nsec()),
            content,
        }
    };
    let entries = fs::read_dir(&folder).expect("a folder");
    let files = entries.map(|entry| {
        let name = entry
            .expect("an entry")
            .file_name()
            .into_string()
            .expect("a name");
        let content = fs::read(folder.join(&name)).expect("a memory");
        trace(name, content)
    });
    let mut traces: Vec<Trace> = files.chain([trace(String::new(), Vec::new())]).collect();
    traces.sort();
    traces
}
