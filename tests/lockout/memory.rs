//! Files that are damaged, gone, readable by others, or cannot be written.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use postern_tests::agent::{Agent, Guard, SSH_DOOR};
use postern_tests::knocker::{Knock, Knocker};
use postern_tests::namespace::Namespace;
use postern_tests::otp::{self, App};
use postern_tests::process::run;
use postern_tests::sender::Sender;

use super::stage::{LET_ME_IN, Stage};

const SEED_DOOR: &str = "
config door 'ssh'
	list guard 'tcp:22'
	option method 'one-time-seed'
	option secret_file '@/ssh.secret'
	option grant '30s'
";

/// An owner with an authenticator app.
pub(crate) struct Phone {
    pub(crate) app: App,
    sender: Sender,
}

impl Phone {
    pub(crate) fn new(stage: &Stage) -> Self {
        Self {
            app: App::scan(&stage.verb("keygen ssh --force").ok()),
            sender: Sender::new(&stage.net.client.namespace),
        }
    }

    pub(crate) fn knock(&self, stage: &Stage, counter: u64) {
        let knocks = otp::knocks(&self.app.code(counter), 10_000, [Knock::Tcp; 2]);
        let (owner, router) = (stage.net.client.v4.into(), stage.door().ip());
        Knocker::new(&self.sender, owner, router).send(&knocks);
    }
}

pub(crate) fn seed() -> Stage {
    Stage::new(Guard::Gate, SEED_DOOR)
}

/// Shuts the door behind the owner; whatever he knocks with next is another code.
fn shut(stage: &Stage) {
    stage.verb("close ssh").ok();
    assert!(!stage.owner_is_let_in());
}

pub(crate) fn a_secret_deleted() {
    let stage = seed();
    let phone = Phone::new(&stage);
    let agent = stage.start();
    let loss = stage.lose("the secret deleted");
    agent.kill();
    fs::remove_file(stage.setup.path("ssh.secret")).expect("delete a file");
    let _agent = stage.start();
    phone.knock(&stage, 0);
    assert!(!stage.owner_is_let_in());
    loss.at_console(LET_ME_IN).ends();
    shut(&stage);
    let loss = stage.lose("the secret deleted, and a new one made");
    let phone = Phone::new(&stage);
    let mut counter = 0;
    let loss = loss.healed_by("console: postern keygen ssh");
    loss.ends_once(|| {
        phone.knock(&stage, counter);
        counter += 1;
    });
}

pub(crate) fn a_secret_that_others_can_read() {
    let stage = seed();
    let phone = Phone::new(&stage);
    let secret = stage.setup.path("ssh.secret");
    let set_mode = |mode| fs::set_permissions(&secret, Permissions::from_mode(mode));
    let loss = stage.lose("the secret readable by others");
    set_mode(0o644).expect("change a mode");
    let _agent = stage.start();
    phone.knock(&stage, 0);
    assert!(!stage.owner_is_let_in());
    let said = stage.verb("doctor").stdout;
    assert!(said.contains("chmod go-rwx"), "{said}");
    let cure = format!("chmod go-rwx {}", secret.display());
    run(Command::new("sh").args(["-c", &cure]), "").ok();
    // By the verb, which lets the agent's group read it.
    stage.verb("reload").ok();
    let mut counter = 0;
    let loss = loss.healed_by("console: chmod go-rwx, as the doctor says, and 'postern reload'");
    loss.ends_once(|| {
        phone.knock(&stage, counter);
        counter += 1;
    });
}

pub(crate) fn a_damaged_memory_of_used_codes() {
    let stage = seed();
    let phone = Phone::new(&stage);
    stage.start().kill();
    let loss = stage.lose("the state file damaged");
    fs::write(stage.setup.path("state/ssh"), [0xff; 300]).expect("damage a file");
    let _agent = stage.start();
    phone.knock(&stage, 0);
    assert!(!stage.owner_is_let_in());
    let status = stage.verb("status").ok();
    assert!(status.contains("postern resync ssh"), "{status}");
    let mut counter = 1;
    let loss = loss.at_console("resync ssh --to 1");
    loss.ends_once(|| {
        phone.knock(&stage, counter);
        counter += 1;
    });
}

/// Starts the agent where its state folder is a disk of this size.
fn start_on_disk<'s>(stage: &'s Stage, options: &str) -> Agent<'s> {
    let folder = stage.setup.path("state");
    let _ = fs::create_dir(&folder);
    let folder = folder.display();
    let script = format!("mount -t tmpfs -o {options} none '{folder}' && exec \"$@\"");
    let words = ["unshare", "--mount", "sh", "-c", &script, "sh"];
    stage.setup.start_by(&words, &stage.net.router)
}

/// Gives that disk room.
fn mend_disk(stage: &Stage, agent: &Agent<'_>) {
    let remount = format!(
        "mount -o remount,size=1m,nr_inodes=100 '{}'",
        stage.setup.path("state").display()
    );
    let pid = agent.id().to_string();
    in_mounts_of(&stage.net.router.namespace, &pid, &remount);
}

fn in_mounts_of(namespace: &Namespace, pid: &str, script: &str) {
    let words = ["--target", pid, "--mount", "sh", "-c", script];
    namespace.run("nsenter", &words).ok();
}

/// No room for a file, or for nothing in it.
const FULL: [(&str, &str); 2] = [
    ("no room for a file", "size=4k,nr_inodes=1"),
    ("no room in a file", "size=4k,nr_inodes=100"),
];

pub(crate) fn a_full_disk_at_a_start_and_an_apply() {
    for (what, options) in FULL {
        let stage = Stage::gate();
        let loss = stage.lose(&format!("the disk full at a start: {what}"));
        let agent = start_on_disk(&stage, options);
        fill_disk(&stage, &agent);
        loss.healed_by("agent: guards all the same")
            .ends_by_knocking();
        shut(&stage);
        // What cannot be remembered is not tried out.
        stage
            .setup
            .rewrite(&SSH_DOOR.replace("tcp:7000", "tcp:7001"));
        let loss = stage.lose(&format!("the disk full at a trial: {what}"));
        let said = stage.verb("apply --confirm-within 1h");
        assert_eq!(said.status, 1, "{said:?}");
        loss.healed_by("postern apply: refuses").ends_by_knocking();
        shut(&stage);
        stage.setup.rewrite(SSH_DOOR);
        let loss = stage.lose(&format!("the disk full at an apply for good: {what}"));
        stage.verb("apply").ok();
        loss.healed_by("agent: guards all the same")
            .ends_by_knocking();
    }
}

fn fill_disk(stage: &Stage, agent: &Agent<'_>) {
    let fill = format!(
        "cd '{}' && (cat /dev/zero >rest) 2>/dev/null; true",
        stage.setup.path("state").display()
    );
    let pid = agent.id().to_string();
    in_mounts_of(&stage.net.router.namespace, &pid, &fill);
}

pub(crate) fn a_full_disk_when_a_code_is_used() {
    for (what, options) in FULL {
        let stage = seed();
        let phone = Phone::new(&stage);
        let agent = start_on_disk(&stage, "size=1m,nr_inodes=100");
        stage.verb("resync ssh --to 0").ok();
        let shrink = format!(
            "cd '{0}' && (cat /dev/zero >rest) 2>/dev/null; mount -o remount,{1} '{0}' || true",
            stage.setup.path("state").display(),
            options
                .replace("size=4k", "size=1m")
                .replace("nr_inodes=1,", "nr_inodes=3,")
        );
        let pid = agent.id().to_string();
        in_mounts_of(&stage.net.router.namespace, &pid, &shrink);
        let loss = stage.lose(&format!("the disk full when a code is used: {what}"));
        phone.knock(&stage, 0);
        assert!(!stage.owner_is_let_in(), "{}", agent.log());
        assert!(
            agent.log().contains("its use cannot be saved"),
            "{}",
            agent.log()
        );
        loss.at_console(LET_ME_IN).ends();
        shut(&stage);
        let loss = stage.lose(&format!("room made again on the disk: {what}"));
        in_mounts_of(
            &stage.net.router.namespace,
            &pid,
            &format!("rm -f '{}/rest'", stage.setup.path("state").display()),
        );
        mend_disk(&stage, &agent);
        let mut counter = 0;
        let loss = loss.healed_by("owner: knocks with the next code");
        loss.ends_once(|| {
            phone.knock(&stage, counter);
            counter += 1;
        });
    }
}
