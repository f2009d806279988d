//! Every kind of finding: what it is called, how bad it is, what is said and what helps.
//!
//! A name is for programs and never changes its meaning. Words in braces are replaced.

/// How bad a finding is, the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Severity {
    /// `run` and `apply` refuse.
    Fatal,
    /// Something will not work, or is less safe than it looks.
    Warning,
    /// Good to know.
    Note,
}

impl Severity {
    /// The worst first.
    pub(super) const ALL: [Self; 3] = [Self::Fatal, Self::Warning, Self::Note];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Fatal => "fatal",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

/// A kind of finding.
#[derive(Debug)]
pub(crate) struct Kind {
    /// At worst.
    pub(crate) severity: Severity,
    /// Its name, what is the matter and what helps, a line each: one text takes less room than
    /// three, with what a program that can lie anywhere in memory needs to know of each.
    lines: &'static str,
}

impl Kind {
    pub(crate) fn id(&self) -> &'static str {
        self.line(0)
    }

    /// What is the matter.
    pub(crate) fn text(&self) -> &'static str {
        self.line(1)
    }

    /// What helps.
    pub(crate) fn cure(&self) -> &'static str {
        self.line(2)
    }

    fn line(&self, number: usize) -> &'static str {
        self.lines.split('\n').nth(number).unwrap_or_default()
    }
}

macro_rules! kinds {
    ($($name:ident $severity:ident $id:literal: $text:literal; $cure:literal;)+) => {
        $(pub(super) static $name: Kind = Kind {
            severity: Severity::$severity,
            lines: concat!($id, "\n", $text, "\n", $cure),
        };)+

        /// All of them.
        pub(super) static ALL: &[&Kind] = &[$(&$name),+];
    };
}

kinds! {
    CONFIG_UNUSABLE Fatal "config-unusable":
        "{file} cannot be used, so nothing that depends on it was looked at";
        "'postern check --config {file}' names every mistake and its line";
    CONFIG_FORBIDDEN Fatal "config-forbidden":
        "{file} is not for everyone to read, so nothing that depends on it was looked at";
        "run this as root";
    AGENT_MISSING Warning "agent-missing":
        "a guard is in force and no agent runs: nobody hears knocks at {doors}";
        "start it: systemctl start postern, on OpenWrt service postern start, or 'postern run'";

    CONFIG_NOT_IN_FORCE Warning "config-not-in-force":
        "the running agent does not use {file}: {why}";
        "'postern check --config {file}' names mistakes; mend them, then run 'postern apply'";

    NF_TABLES_MISSING Fatal "kernel-nf-tables-missing":
        "this kernel has no nf_tables ({answer})";
        "load it (modprobe nf_tables; OpenWrt: package kmod-nft-core), or use a kernel with CONFIG_NF_TABLES";
    INET_MISSING Fatal "kernel-inet-missing":
        "this kernel's nf_tables has no filter chains of family inet ({answer})";
        "use a kernel with CONFIG_NF_TABLES_INET";
    TIMED_SETS_MISSING Fatal "kernel-timed-sets-missing":
        "this kernel's nf_tables has no sets whose elements expire, so that no grant would end ({answer})";
        "use a kernel of version 5.10 or later, with CONFIG_NF_TABLES and all of its sets";
    FIB_MISSING Fatal "kernel-fib-missing":
        "this kernel's nf_tables cannot ask the routing tables whose an address is, which guards need ({answer})";
        "load it (modprobe nft_fib_inet; OpenWrt: package kmod-nft-fib), or use a kernel with CONFIG_NFT_FIB_INET";
    LOG_MISSING Fatal "kernel-log-missing":
        "this kernel's nf_tables cannot log, so that source nflog would hear no knock ({answer})";
        "load it (modprobe nft_log; OpenWrt: package kmod-nft-core), or use a kernel with CONFIG_NFT_LOG";
    NFLOG_MISSING Fatal "kernel-nflog-missing":
        "this kernel does not hand logged packets to programs, so that source nflog would hear no knock ({answer})";
        "load it (modprobe nfnetlink_log; OpenWrt: package kmod-nfnetlink-log), or use a kernel with CONFIG_NETFILTER_NETLINK_LOG";
    LOG_LINES_MISSING Fatal "kernel-log-lines-missing":
        "this kernel's nf_tables cannot write into the kernel's log, so that source log would hear no knock ({answer})";
        "load it (modprobe nf_log_syslog; OpenWrt: packages kmod-nf-log and kmod-nf-log6), or use another source";
    LIMIT_MISSING Fatal "kernel-limit-missing":
        "this kernel's nf_tables has no limits, which doors with decoys need ({answer})";
        "load it (modprobe nft_limit; OpenWrt: package kmod-nft-core), or set option decoys '0' in every door";
    CONNTRACK_MISSING Fatal "kernel-conntrack-missing":
        "this kernel's nf_tables cannot ask connection tracking, which guard gate needs for UDP ports ({answer})";
        "load it (modprobe nft_ct; OpenWrt: package kmod-nft-core), or guard no UDP port, or use guard mark";
    DYNAMIC_SETS_MISSING Fatal "kernel-dynamic-sets-missing":
        "this kernel's nf_tables has no sets that rules change, which decoys and engines chain and track need ({answer})";
        "set option decoys '0' in every door and use option engine 'daemon', or a kernel of version 5.10 or later";
    COUNTERS_MISSING Fatal "kernel-counters-missing":
        "this kernel's nf_tables has no counters with names, which decoys and engines chain and track need ({answer})";
        "load them (modprobe nft_objref; OpenWrt: package kmod-nft-core), or set option decoys '0' in every door and use \
         option engine 'daemon'";
    PACKET_MISSING Fatal "kernel-packet-missing":
        "this kernel has no packet sockets, so that source packet would hear no knock ({answer})";
        "load them (modprobe af_packet), or use another source";
    TABLE_REFUSED Fatal "kernel-table-refused":
        "this kernel refuses the guard: {answer}";
        "'postern render | nft --check --file -' shows where; kernels before 5.10 are not supported";
    KERNEL_OLD Warning "kernel-old":
        "this kernel is of version {version}";
        "use 5.10 or later: on older ones Postern is not tested";
    KERNEL_UNASKED Warning "kernel-unasked":
        "the kernel was not asked what it can do ({answer})";
        "run this as root";
    GROUP_TAKEN Fatal "nflog-group-taken":
        "another program reads NFLOG group {group}, so that no knock would be heard";
        "choose another with option nflog_group, or stop that program";

    FALLBACK_MISSING Fatal "fallback-missing":
        "door {door} guards {port} ({service}), and if it does not open there is no other way in: {searched}";
        "enable a login on a console or a serial line, leave an interface unguarded, or say in section postern \
         that there is a way in which cannot be seen from here, such as a provider's console or a VPN \
         (option fallback 'other'), or that you do without one (option fallback 'none')";
    FALLBACK_NONE Note "fallback-none":
        "door {door} guards {port} ({service}), and option fallback 'none' does without another way in";
        "keep a way to restart the machine without Postern";
    FALLBACK_FOUND Note "fallback-found":
        "whatever the doors do, there is a way in: {way}";
        "try it before you need it";
    CONSOLE_MISSING Note "console-missing":
        "nobody can log in at a console or a serial line: {searched}";
        "enable a login there, such as systemctl enable --now serial-getty@ttyS0, or a line in /etc/inittab";
    CONSOLE_LOCKED Warning "console-locked":
        "{way} asks for a password, and no account has one that works";
        "give one to an account that may become root: passwd ACCOUNT";
    CONSOLE_OPEN Note "console-open":
        "{way} gives a root shell to whoever plugs in, without a password";
        "where others can reach the machine, set a password and option ttylogin '1' in /etc/config/system";

    SSHD_PASSWORDS Warning "sshd-passwords":
        "sshd takes passwords ({file}): a knock hides the port, it does not lock it";
        "set PasswordAuthentication no and KbdInteractiveAuthentication no there, once a key works";
    DROPBEAR_PASSWORDS Warning "dropbear-passwords":
        "dropbear takes passwords ({file}): a knock hides the port, it does not lock it";
        "set option PasswordAuth 'off' in /etc/config/dropbear, or start it with -s, once a key works";

    CONFIG_EXPOSED Warning "config-exposed":
        "others can {verb} {file}, and the ports to knock are in it";
        "chown root {file}; chmod go-rwx {file}";
    PLACE_UNSAFE Warning "place-unsafe":
        "the configuration is refused, because others could put theirs in its place: {why}";
        "'postern check' says so until it is mended";
    SECRET_EXPOSED Warning "secret-exposed":
        "others can {verb} {file}, from which door {door} takes its knocks";
        "chown root {file}; chmod go-rwx {file}; and make a new one if somebody may have read it";
    STATE_EXPOSED Warning "state-exposed":
        "others can {verb} {file}, where one-time doors remember what is used";
        "chown root {file}; chmod go-w {file}";
    CONTROL_EXPOSED Warning "control-exposed":
        "others can {verb} {file}, so that they can talk to the agent, or in its name";
        "chown root {file}; chmod go-w {file}; or choose another place with option control";
    DOOR_SHUT Warning "door-shut":
        "a door stays shut: {why}";
        "'postern check' says so too, once it is mended";

    KNOCK_TAKEN Warning "knock-port-taken":
        "door {door} knocks on {port}, where {service} listens: from guarded interfaces nobody reaches it any more";
        "choose another port to knock on, or move the service";
    DECOY_TAKEN Warning "decoy-port-taken":
        "{service} listens on {port}, which is a decoy of door {door}: whoever was there opens no door with decoys for \
         as long as the window";
        "move the service, or have other decoys with another option decoys, or none ('0') in door {door}";
    KNOCK_EPHEMERAL Warning "knock-port-ephemeral":
        "door {door} knocks on {count} UDP ports that this machine also sends queries from ({range}): \
         answers to those queries, of DNS for one, are taken for knocks and lost";
        "choose UDP ports outside of that range, or add them to net.ipv4.ip_local_reserved_ports";
    GUARD_EPHEMERAL Warning "guard-port-ephemeral":
        "door {door} guards {count} UDP ports that queries are also sent from ({range}), of this machine and of hosts that it \
         masquerades: option on_expiry 'cut' drops the answers to them";
        "guard ports outside of that range, or use option on_expiry 'keep', which lets established flows live";
    GUARD_SILENT Note "guard-port-silent":
        "door {door} guards {port}, where nobody listens just now";
        "start the service, or correct the port";

    ADDRESS_MISSING Warning "address-missing":
        "door {door} guards {address} only, which is no address of this machine; there are: {others}";
        "correct option to, unless the address comes later, or use list behind where it is another host's";
    ADDRESS_OWN Note "address-own":
        "door {door} guards hosts in {network}, but not this machine, which has {address} there";
        "guard this machine by a door without list behind, if it is meant too";

    INTERFACE_MISSING Warning "interface-missing":
        "interface {interface} is not there, so nothing is guarded on it; there are: {others}";
        "correct the name, unless it comes later, as ppp interfaces do";
    INTERFACE_WHOLE Note "interface-whole":
        "interface {interface} is a part of {master}, where its packets arrive, so all of {master} is guarded";
        "list interface '{master}' if that is meant, or take {interface} out of it if not";
    INTERFACE_LOOPBACK Fatal "interface-loopback":
        "interface {interface} is the loopback, which is never guarded: programs here talk to each other over it";
        "list another interface";

    CLOCK_UNTRUSTED Warning "clock-untrusted":
        "door {door} stays shut: {why}";
        "start an NTP client, such as systemd-timesyncd, chrony or ntpd";

    CLOCK_OFF Warning "clock-off":
        "door {door}: {why}";
        "compare with a clock that is right; where local time was taken for UTC, set the time zone, then the clock, \
         and start an NTP client";

    CODES_GUESSED Note "codes-guessed":
        "door {door} asks for {why}";
        "knock the code that comes next too, as 'postern knock --wait' does; codes of 8 digits take a hundred times as \
         many guesses, and option from leaves out whom the door need not hear";

    GUARD_BYPASSED Warning "guard-bypassed":
        "door {door} does not guard {port}{over}: {chain} {deed} it elsewhere before the guard sees it, and \
         strangers come in";
        "take that port out of that rule, or give its chain a priority behind the guard's, such as dstnat (-100)";
    GUARD_FORWARDED Note "guard-forwarded":
        "door {door} guards {port}{over}, and {chain} {deed} on whom it lets in";
        "nothing is to be done: the guard decides before";
    OTHER_PORT Warning "guard-other-port":
        "{chain} {deed} what comes to {other}{over} on to {port}, and strangers come in there: door {door} guards {port} \
         by that number only";
        "have the door guard {other} too (list guard '{other}'), or take it out of that rule";
    WIRE_REDIRECTED Warning "guard-other-address":
        "{chain} {deed} on what comes to {port}{over} of whatever address: whoever is on the wire of a guarded interface \
         sends it packets for other addresses than its own, which door {door} does not guard";
        "have that rule ask for the machine's own addresses (fib daddr type local; on OpenWrt option src_dip), or use guard \
         mark and have it ask for the mark (on OpenWrt option mark '{mark}/{mark}')";
    KNOCK_UNHEARD Warning "knock-port-redirected":
        "door {door} knocks on {port}{over}, but {chain} {deed} that away first, so that it is not heard";
        "take those ports out of that rule, or knock on others";
    RULES_UNREAD Warning "firewall-unread":
        "what other tables do with packets could not be looked at in full ({why})";
        "look yourself whether they redirect or drop guarded ports and knocks: nft list ruleset";
    OLDER_TABLES Warning "firewall-older":
        "tables of the older iptables ({tables}) cannot be looked at, and may redirect or drop guarded ports and knocks";
        "look yourself (iptables-legacy-save), or use iptables-nft";
    OTHERS_DROP Warning "firewall-drops":
        "{chain} {deed} what comes to {port}{over}, so that door {door} lets nobody in when it opens: guard gate only lets \
         a granted source pass Postern";
        "have that firewall accept {port}, or use guard mark and have it accept the mark";
    MARK_UNREAD Warning "mark-unread":
        "{chain} {deed} what comes to {port} with mark {mark}{over}, so that door {door} lets nobody in when it opens";
        "have that firewall accept the mark, over IPv4 and IPv6, such as: meta mark & {mark} == {mark} accept; \
         on OpenWrt, by a rule for the zone that the interface is in";
    MARK_UNGUARDED Warning "mark-unguarded":
        "guard mark leaves it to the firewall to keep door {door} shut, and none of its rules drops or rejects \
         what strangers send to {port}{over}";
        "have the firewall drop new connections by default, or use guard gate";
    MARK_UNASKED Warning "mark-unasked":
        "{chain} {deed} what strangers send to {port}{over} on, marked or not, so that door {door} keeps nobody out";
        "have that rule ask for the mark, such as: meta mark & {mark} == {mark}, on OpenWrt option mark '{mark}/{mark}' in its \
         section redirect; or use guard gate";
    GATE_FLUSHED Note "gate-flushed":
        "guard gate on OpenWrt: where fw4 flushes all rules, doors stand open until Postern is back";
        "use guard mark: it fails closed";
    CONNTRACK_BYPASSED Warning "conntrack-bypassed":
        "some rule keeps packets from connection tracking (notrack): a UDP flow through door {door} may end with its grant";
        "take the guarded ports out of that rule";
}
