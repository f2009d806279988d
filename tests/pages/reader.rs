//! Somebody who types what the pages say, at a router and at a client.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use postern_tests::agent::{Guard, SSH_DOOR, Setup, program};
use postern_tests::nft;
use postern_tests::otp::App;
use postern_tests::page::{self, Block};
use postern_tests::probe::{self, Answer};
use postern_tests::process::Said;
use postern_tests::scratch::Scratch;
use postern_tests::server::Sshd;
use postern_tests::suite::in_case_of;
use postern_tests::topology::{Family, Host, Topology};
use postern_tests::wait::{SOON, poll_until};

/// What the pages call the router.
const ROUTER: [&str; 2] = ["HOST", "ADDRESS"];

/// A configuration as packages bring it: the agent waits for a door.
const WAITING: &str = "config postern 'global'\n\tlist interface 'eth0'\n\toption enabled '0'\n";

struct Reader {
    net: Topology,
    setup: Setup,
    /// Programs that find their files, and the router, without being told.
    programs: Scratch,
    _sshd: Sshd,
}

impl Reader {
    fn new(configuration: &str) -> Self {
        let net = Topology::new();
        let setup = Setup::new(&net.router, Guard::Gate, "");
        let sshd = Sshd::start(&net.router.namespace, 22);
        let reader = Self {
            programs: Scratch::new(),
            setup,
            net,
            _sshd: sshd,
        };
        let (postern, config) = (program(), reader.setup.config());
        let (postern, config) = (postern.display(), config.display());
        let client = reader.setup.path("client");
        reader.install(
            "postern",
            &format!(
                "case $1 in knock) exec {postern} \"$@\" --config {} ;; esac\n\
                 exec {postern} \"$@\" --config {config}",
                client.display()
            ),
        );
        reader.install(
            "ssh",
            &format!(
                "exec /usr/bin/ssh -F none -o BatchMode=yes -o StrictHostKeyChecking=no -o IdentitiesOnly=yes \
                 -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -o ConnectTimeout=5 -l root -i {} \"$@\"",
                reader._sshd.key().display()
            ),
        );
        reader.configure(configuration);
        reader
    }

    fn install(&self, name: &str, script: &str) {
        let path = self.programs.write(name, &format!("#!/bin/sh\n{script}\n"));
        fs::set_permissions(path, Permissions::from_mode(0o755)).expect("may be run");
    }

    /// Writes a page's configuration, completed for this network.
    fn configure(&self, text: &str) {
        self.setup.rewrite_whole(&self.complete(text));
    }

    /// With interfaces and folders of ours, and with a way in beside the doors, which a namespace has not.
    fn complete(&self, text: &str) -> String {
        let folder = self.setup.path("");
        let own = format!(
            "\toption control '{0}control'\n\toption state_dir '{0}state'\n\toption fallback 'none'\n",
            folder.display()
        );
        const GLOBAL: &str = "config postern 'global'\n";
        let text = match text.contains(GLOBAL) {
            true => text.replace("'eth0'", "'wan'"),
            false => format!("{GLOBAL}\tlist interface 'wan'\n\tlist interface 'lan'\n{text}"),
        };
        let text = match text.contains("config door") || text.contains("option enabled '0'") {
            true => text,
            false => format!("{text}{SSH_DOOR}"),
        };
        let text = text.replace("'/etc/postern/", &format!("'{}", folder.display()));
        text.replace(GLOBAL, &format!("{GLOBAL}{own}"))
    }

    fn type_at(&self, host: &Host, line: &str, input: &str) -> Said {
        let router = self.net.router.v4.to_string();
        let line = ROUTER
            .iter()
            .fold(line.to_string(), |line, name| line.replace(name, &router));
        let script = format!("{}\n{line}", self.path());
        host.namespace.run_with_input("sh", &["-c", &script], input)
    }

    fn path(&self) -> String {
        format!("PATH={}:$PATH", self.programs.path().display())
    }

    fn at_router(&self, line: &str) -> Said {
        self.type_at(&self.net.router, line, "")
    }

    fn at_client(&self, line: &str) -> Said {
        self.type_at(&self.net.client, line, "")
    }

    fn answer_to(&self, who: &Host) -> Answer {
        probe::tcp(&who.namespace, self.net.router.port(Family::V4, 22))
    }

    #[track_caller]
    fn expect_in(&self, who: &Host) {
        let ssh = self.net.router.port(Family::V4, 22);
        assert!(probe::tcp_opens(&who.namespace, ssh, SOON));
    }

    #[track_caller]
    fn expect_out(&self, who: &Host) {
        assert_eq!(self.answer_to(who), Answer::Silent);
    }
}

fn blocks(page: &str, title: &str) -> Vec<Block> {
    page::split(&page::section(page, title)).0
}

fn commands(blocks: &[Block]) -> Vec<&str> {
    blocks.iter().flat_map(Block::commands).collect()
}

fn configuration(blocks: &[Block]) -> String {
    let found = blocks.iter().find(|block| block.language == "uci");
    found.expect("a configuration").text()
}

pub(crate) fn every_configuration_is_right() {
    let reader = Reader::new(WAITING);
    reader.setup.write_private("ssh.list", &list());
    let mut checked = 0;
    for page in page::all() {
        for block in page::split(&page::text(&page)).0 {
            if block.language != "uci" {
                continue;
            }
            in_case_of((&page, &block), || {
                reader.configure(&block.text());
                // Another door of the same name remembers other things.
                let _ = fs::remove_dir_all(reader.setup.path("state"));
                if ["secret_file", "key_file"]
                    .iter()
                    .any(|option| block.text().contains(option))
                {
                    reader.at_router("postern keygen ssh --force").ok();
                }
                if block.text().contains("list_file") {
                    reader.at_router("postern resync ssh").ok();
                }
                let said = reader.at_router("postern check");
                assert_eq!(said.status, 0, "{said:?}");
                // Tests live in a folder that a reboot empties.
                let warnings = said
                    .stderr
                    .lines()
                    .filter(|line| !line.contains("a reboot empties"));
                assert_eq!(warnings.collect::<Vec<_>>(), [""; 0]);
            });
            checked += 1;
        }
    }
    assert!(checked >= 6, "{checked}");
}

pub(crate) fn the_first_door_of_the_readme() {
    first_door("README.md", "The first door");
}

pub(crate) fn the_first_door_of_the_guide() {
    first_door("docs/guide.md", "Your first door");
}

fn first_door(page: &str, title: &str) {
    let blocks = blocks(page, title);
    let reader = Reader::new(WAITING);
    let (client, stranger) = (&reader.net.client, &reader.net.stranger);
    let _agent = reader.setup.start(&reader.net.router);
    assert_eq!(reader.answer_to(stranger), Answer::Open);
    reader.configure(&configuration(&blocks));
    let mut commands = commands(&blocks).into_iter();
    while let Some(command) = commands.next() {
        if !command.contains("&& ssh HOST") {
            let said = reader.at_router(command).ok();
            assert_eq!(
                command.contains("apply"),
                said.contains("on trial"),
                "{said}"
            );
            continue;
        }
        reader.expect_out(client);
        let inside = commands.next().expect("what is typed inside");
        assert_eq!(inside, "postern confirm");
        let typed = format!("{}\n{inside}\n", reader.path());
        let said = reader.type_at(client, command, &typed).ok();
        assert!(said.contains("confirmed: the guard stays"), "{said}");
        reader.expect_out(stranger);
    }
    let status = reader.at_router("postern status").ok();
    assert!(!status.contains("ON TRIAL"), "{status}");
}

pub(crate) fn a_code_from_a_phone() {
    let blocks = blocks("docs/guide.md", "With a phone");
    let reader = Reader::new(&configuration(&blocks));
    let _agent = reader.setup.start(&reader.net.router);
    let [keygen, knock] = commands(&blocks)[..] else {
        panic!("other commands: {blocks:?}");
    };
    let app = App::scan(&reader.at_router(keygen).ok());
    reader.expect_out(&reader.net.client);
    let code = app.code(app.step());
    // The page's is 482913.
    let typed = knock
        .replace("10482", &format!("10{}", &code[..3]))
        .replace("10913", &format!("10{}", &code[3..]));
    assert!(
        knock.contains("10482") && knock.contains("10913"),
        "{knock}"
    );
    reader.at_client(&typed);
    reader.expect_in(&reader.net.client);
    reader.expect_out(&reader.net.stranger);
}

/// The page's sequences.
fn list() -> String {
    let blocks = blocks("docs/methods.md", "Lists");
    let found = blocks.iter().find(|block| block.language == "text");
    found.expect("a list").text()
}

pub(crate) fn a_list_from_its_first_line() {
    let blocks = blocks("docs/methods.md", "Lists");
    let reader = Reader::new(&configuration(&blocks));
    reader.setup.write_private("ssh.list", &list());
    let _agent = reader.setup.start(&reader.net.router);
    for command in commands(&blocks) {
        reader.at_router(command).ok();
    }
    reader.expect_out(&reader.net.client);
    reader
        .at_client("knock HOST 7000:tcp 8001:udp 9002:tcp")
        .ok();
    reader.expect_in(&reader.net.client);
    reader.at_router("postern close ssh").ok();
    // The second line, as knockd writes it.
    reader
        .at_client("knock HOST 9000:tcp 8100:udp 7200:tcp")
        .ok();
    reader.expect_in(&reader.net.client);
    reader.expect_out(&reader.net.stranger);
}

pub(crate) fn our_own_client() {
    let reader = Reader::new(SSH_DOOR);
    let _agent = reader.setup.start(&reader.net.router);
    let page = blocks("docs/guide.md", "With postern knock");
    let [export, knock] = commands(&page)[..] else {
        panic!("other commands: {page:?}");
    };
    let exported = reader.at_router(export).ok();
    reader.setup.write_private("client", &exported);
    reader.expect_out(&reader.net.client);
    let said = reader.at_client(knock).ok();
    assert!(said.contains("tcp:22 answers"), "{said}");
    reader.expect_out(&reader.net.stranger);
}

pub(crate) fn a_day_with_it() {
    let reader = Reader::new(SSH_DOOR);
    let _agent = reader.setup.start(&reader.net.router);
    let (router, stranger) = (&reader.net.router, &reader.net.stranger);
    for command in commands(&blocks("docs/guide.md", "A day with it")) {
        in_case_of(command, || {
            if command == "postern watch" {
                return watch(&reader, command);
            }
            reader.at_router(command).ok();
            match command {
                "postern open ssh --for 1h" => reader.expect_in(stranger),
                "postern lock ssh" => {
                    reader.at_router("postern open ssh --for 1h").ok();
                    reader.expect_out(stranger);
                }
                "postern unlock ssh" => {
                    reader.expect_in(stranger);
                    reader.at_router("postern close ssh").ok();
                }
                "postern remove" => assert_eq!(nft::table(&router.namespace, "inet postern"), None),
                _ => reader.expect_out(stranger),
            }
        });
    }
}

/// Until whoever types it has seen enough.
fn watch(reader: &Reader, command: &str) {
    let told = reader.setup.path("told");
    let mut shell = Command::new("sh");
    let script = format!("{}\nexec {command}", reader.path());
    shell.args(["-c", &script]).stdin(Stdio::null());
    shell.stdout(File::create(&told).expect("make a file"));
    let _watch = reader.net.router.namespace.spawn(&mut shell);
    let read = |path: &Path| fs::read_to_string(path).unwrap_or_default();
    poll_until(SOON, "it tells of a knock", || {
        reader.at_client("knock HOST 9002").ok();
        read(&told).contains("knocked on tcp:9002")
    });
}
