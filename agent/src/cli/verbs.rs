//! The verbs: what each is called, takes and does. Dispatch, help, manual pages and completions go by this table.

use super::operand::Operand;
use super::options::{Opt, Options};
use super::{command, help};
use crate::output::Failure;
use crate::output::meant::Names;

/// One thing that Postern can be told to do.
pub(super) struct Verb {
    pub(super) name: &'static str,
    /// What stands on the line after the name, options aside.
    pub(super) operands: &'static [Operand],
    pub(super) summary: &'static str,
    pub(super) details: &'static str,
    pub(super) options: &'static [Opt],
    pub(super) run: fn(&Options) -> Result<(), Failure>,
}

/// Every verb, in the order in which help lists them.
pub(super) const VERBS: &[Verb] = &[
    Verb {
        name: "run",
        operands: &[],
        summary: "guard the doors, watch for knocks and act on them",
        details: "Installs the guard, then watches until SIGTERM. SIGHUP reads the configuration again; a wrong one \
                  is reported and the running one stays. The guard and its grants outlive the agent: 'postern \
                  remove' takes them away. With option enabled '0' it takes the guard away, says so, and waits. A \
                  configuration without a door is a mistake unless --allow-none is said; as soon as there is a door, \
                  a reload that leaves none is one all the same.\n\n\
                  There is one agent to a control socket. --take-over is for a service manager: procd's jailer may \
                  be killed, and the agent in it lives on as a child of process 1.\n\n\
                  The log goes to standard error, with priorities where systemd's journal reads it.",
        options: &[Opt::AllowNone, Opt::TakeOver, Opt::Procd, Opt::Config],
        run: command::run,
    },
    Verb {
        name: "check",
        operands: &[],
        summary: "report every mistake in a configuration",
        details: "Prints FILE:LINE:COLUMN: for each. That there is no door is a mistake, but for option enabled '0'.\n\
                  Exit status 1 when there is a mistake; warnings alone are none.\n\n\
                  The agent is not root once it has started. With --hand-over its group may read the configuration, \
                  secrets and lists, as far as they are root's and nobody else's to read, and state_dir and the \
                  folder of the control socket are its user's. So do run, apply, reload and keygen, as root.",
        options: &[Opt::HandOver, Opt::AllowNone, Opt::Config],
        run: command::check,
    },
    Verb {
        name: "render",
        operands: &[],
        summary: "print the nftables ruleset that 'apply' would install",
        details: "What it prints can be loaded with 'nft -f -' and is what 'nft list table inet postern' shows \
                  afterwards. With option enabled '0' it takes that table away.",
        options: &[Opt::AllowNone, Opt::Config],
        run: command::render,
    },
    Verb {
        name: "apply",
        operands: &[],
        summary: "install the guard, keeping the grants of doors that did not change",
        details: "In one transaction: all of it or nothing. A running agent takes over the configuration. Says which \
                  doors, ports and interfaces are not guarded any more. With option enabled '0' it takes the guard \
                  away. A configuration without a door is a mistake.\n\n\
                  Where other knocks, another secret_file or another payload open a door than before, whoever was \
                  let in there has to knock again; only 'open' without --from is kept. 'postern close --all' ends \
                  all grants.\n\n\
                  With --confirm-within the guard is on trial. Leave this login open, log in anew through the guard, \
                  and say 'postern confirm' there. Without that the kernel lets the doors fall open in time, \
                  whatever became of the agent; a running agent then goes back to the configuration before, and so \
                  does a reboot.",
        options: &[Opt::ConfirmWithin, Opt::AllowNone, Opt::Config],
        run: command::apply,
    },
    Verb {
        name: "reload",
        operands: &[],
        summary: "have the running agent read its configuration again",
        details: "As SIGHUP does, with an answer: exit status 1 where the file is refused, or the agent may not do \
                  what it says any more without a restart. The running configuration stays then.",
        options: &[Opt::Config],
        run: command::reload,
    },
    Verb {
        name: "confirm",
        operands: &[],
        summary: "make a guard that is on trial stay",
        details: "To be said over a connection that was made after the trial began, because that shows that you can \
                  come in, or on a console. A grant from before the trial lets you in without the new knocks: \
                  'postern close DOOR' ends it first.",
        options: &[Opt::Anyway, Opt::Config],
        run: command::confirm,
    },
    Verb {
        name: "remove",
        operands: &[],
        summary: "take the guard away: every door is left to the ordinary firewall",
        details: "A running agent lives on without a guard, until 'postern apply' or SIGHUP.",
        options: &[Opt::Config],
        run: command::remove,
    },
    Verb {
        name: "status",
        operands: &[],
        summary: "show doors, grants, attempts under way and counters",
        details: "Works without a running agent too, as far as the kernel knows.\n\n\
                  Exit status, for monitors: 0 the guard is in force and knocks are heard, 3 it is and nobody hears \
                  them, 4 nothing is guarded (or a trial was not confirmed), 1 it cannot be told.",
        options: &[Opt::Json, Opt::Config],
        run: command::status,
    },
    Verb {
        name: "watch",
        operands: &[],
        summary: "tell of knocks and doors as it happens",
        details: "Tells of each knock that the agent hears and of what it does, and every 0.2s of what changed at \
                  doors of the kernel's engines, until Ctrl-C. It shows which ports are knocked: the screen is as \
                  secret as they are. In a flood it leaves events out, and says how many.",
        options: &[Opt::Json, Opt::Config],
        run: command::watch,
    },
    Verb {
        name: "doctor",
        operands: &[],
        summary: "look for what could lock you out, and for what this kernel lacks",
        details: "Says of each finding what helps. Changes nothing and starts no program; run it as root, or it sees \
                  less. 'run' and 'apply' refuse where the finding is fatal.\n\
                  Exit status 1 when a finding is fatal, with --strict when one is a warning.",
        options: &[Opt::Json, Opt::Strict, Opt::Config],
        run: command::doctor,
    },
    Verb {
        name: "open",
        operands: &[Operand::DoorOrSayAll],
        summary: "open a door by hand",
        details: "Works without a running agent and with a broken configuration. What was opened before for the same\n\
                  source, or for everyone, then lasts as long as this says. --from a network takes as many grants\n\
                  as option grant_prefix4 or grant_prefix6 makes of it, at most 256.",
        options: &[Opt::All, Opt::From, Opt::On, Opt::For, Opt::Config],
        run: command::open,
    },
    Verb {
        name: "close",
        operands: &[Operand::DoorOrSayAll],
        summary: "withdraw a door's grants",
        details: "Without --from, all of them. Connections that are established live on, except at doors with option \
                  on_expiry 'cut'.",
        options: &[Opt::All, Opt::From, Opt::Config],
        run: command::close,
    },
    Verb {
        name: "lock",
        operands: &[Operand::DoorOrAll],
        summary: "let nobody in at a door, whatever is granted",
        details: "At every door, if none is named. Until 'postern unlock', which works without a running agent too; \
                  a reload, a restart of the agent and a flush of the firewall leave it locked. 'postern remove' and \
                  a reboot lift it: every way to be locked out ends somewhere. Connections that are established live \
                  on, except at doors with option on_expiry 'cut'.",
        options: &[Opt::All, Opt::Config],
        run: command::lock,
    },
    Verb {
        name: "unlock",
        operands: &[Operand::DoorOrAll],
        summary: "have a door's grants count again",
        details: "At every door, if none is named. Grants that did not end meanwhile are as they were.",
        options: &[Opt::All, Opt::Config],
        run: command::unlock,
    },
    Verb {
        name: "pardon",
        operands: &[Operand::SourceOrSayAll],
        summary: "listen again to a source that is cut off",
        details: "'postern status' lists who is cut off: an IPv4 address, or the /64 of an IPv6 address, any of \
                  whose addresses will do. Its failures are forgotten. Works without a running agent too.\n\
                  Exit status 1 when that source was not cut off.",
        options: &[Opt::Everyone, Opt::Config],
        run: command::pardon,
    },
    Verb {
        name: "knock",
        operands: &[Operand::Host, Operand::Door],
        summary: "knock at a router's door, from anywhere and without root",
        details: "Reads what 'postern export' printed at the router. A door opens for the address that its knocks \
                  come from, so whoever connects must have the same: over the same family (-4 or -6, as with ssh), \
                  not one inside a VPN and one outside. Behind NAT everyone with your public address is let in; \
                  where a carrier's NAT gives each connection another address, have the router grant more (option \
                  grant_prefix4).\n\n\
                  --wait tries a guarded TCP port, knocks again, 3 times in all, while there is no answer, and says \
                  at which step it failed. A code that was sent is never sent again.",
        options: &[
            Opt::Close,
            Opt::Wait,
            Opt::Ipv4,
            Opt::Ipv6,
            Opt::Delay,
            Opt::Next,
            Opt::Codes,
            Opt::As,
            Opt::For,
            Opt::DryRun,
            Opt::Json,
            Opt::ClientFile,
        ],
        run: command::knock,
    },
    Verb {
        name: "export",
        operands: &[Operand::Door],
        summary: "print what a client needs to knock at a door",
        details: "Run it on the router; its output belongs into the client's file, which 'postern knock' reads. It \
                  names files with secrets, but prints them only with --secret.",
        options: &[Opt::Secret, Opt::Config],
        run: command::export,
    },
    Verb {
        name: "keygen",
        operands: &[Operand::Door],
        summary: "make the secret of a door that is opened by one-time codes, or its keys",
        details: "Writes the door's secret_file, begins its memory anew, and prints the otpauth:// address that \
                  authenticator apps take: on a terminal, as a QR code too. For a door of method spa, it writes the \
                  key_file, and prints what fwknop's apps scan. Whoever sees it has the secret. A running agent \
                  takes it over.\n\
                  With --print, DOOR is a new one for somebody, at the ports of another door, with a secret or knocks \
                  of its own: its section is printed for the configuration to be pasted or appended to, before \
                  'postern reload', and its secret is made. What is not the section goes to standard error.",
        options: &[Opt::Print, Opt::Like, Opt::Until, Opt::Force, Opt::Config],
        run: command::keygen,
    },
    Verb {
        name: "resync",
        operands: &[Operand::Door],
        summary: "agree anew with a one-time door on what was used",
        details: "For a one-time-seed door, name --code or --to: codes are searched for among the 1000 after the \
                  last one used, and two in a row leave no doubt. For a one-time-list door, --to; alone, a list \
                  without a memory begins with its first sequence. For a one-time-clock door, neither: every code up \
                  to now counts as used.\n\
                  Going back, which only --to does, lets whoever heard old knocks repeat them.",
        options: &[Opt::Code, Opt::To, Opt::Config],
        run: command::resync,
    },
    Verb {
        name: "help",
        operands: &[Operand::VerbOrAll],
        summary: "explain a verb, or list them all",
        details: "What 'postern VERB --help' and 'postern --help' print.",
        options: &[],
        run: help::help,
    },
];

/// The verb of this name.
pub(super) fn find(name: &str) -> Result<&'static Verb, Failure> {
    let found = VERBS.iter().find(|verb| verb.name == name);
    found.ok_or_else(|| {
        let mut names = Names::instead_of(name);
        for verb in VERBS {
            names.add(verb.name);
        }
        let meant = names.did_you_mean();
        let name = name.escape_default();
        Failure::Misused(format!(
            "there is no verb '{name}'{meant}; 'postern --help' lists them"
        ))
    })
}
