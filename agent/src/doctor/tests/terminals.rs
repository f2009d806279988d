//! Logins at a console, on machines laid out as files.

use super::*;

#[test]
fn a_router_has_its_serial_line() {
    let machine = Machine::new(OPENWRT);
    let way = machine.way_in().unwrap();
    assert_eq!(way, "the login on console (/etc/inittab)");
    assert_eq!(ids(&machine.console()), ["console-open"]);
    // With a password it is a way in too, if there is one.
    machine.write(
        "etc/config/system",
        "config system\n\toption ttylogin '1'\n",
    );
    assert!(machine.way_in().is_some() && machine.console().is_empty());
    machine.write("etc/shadow", LOCKED);
    machine.write("etc/passwd", PASSWD);
    assert_eq!(machine.way_in(), None);
    assert_eq!(ids(&machine.console()), ["console-locked"]);
    // A kernel without a console, such as a board whose serial line nobody configured.
    machine.write("etc/config/system", "config system\n");
    machine.write("proc/consoles", "netcon0 -W- (E  p a)\n");
    assert_eq!(machine.way_in(), None);
    assert_eq!(ids(&machine.console()), ["console-missing"]);
}

#[test]
fn a_server_has_a_getty_of_systemd() {
    let machine = debian();
    let way = machine.way_in().unwrap();
    assert_eq!(way, "the login on tty1 (unit getty@tty1.service)");
    assert!(machine.console().is_empty());
    // As clouds hand machines out: there is a console, and nobody who could use it.
    machine.write("etc/shadow", LOCKED);
    assert_eq!(machine.way_in(), None);
    let findings = machine.console();
    assert_eq!(ids(&findings), ["console-locked"]);
    assert!(findings[0].text().contains("tty1"));
    // What root alone may read is no reason for alarm to others.
    fs::remove_file(machine.0.path("etc/shadow")).unwrap();
    assert!(machine.way_in().is_some());
}

#[test]
fn the_console_that_is_named_is_the_one_that_is_used() {
    let machine = debian();
    let generated = "run/systemd/generator/getty.target.wants/serial-getty@ttyS0.service";
    machine.link(generated, "/lib/systemd/system/serial-getty@.service");
    machine.write("dev/ttyS0", "");
    for (consoles, terminal) in [
        ("tty0 -WU (EC  p  ) 4:1\n", "tty1"),
        ("ttyS0 -W- (EC  p a) 4:64\n", "ttyS0"),
        ("ttyS0 -W- (E   p a) 4:64\ntty0 -WU (EC  p  ) 4:1\n", "tty1"),
        ("", "tty1"),
    ] {
        machine.write("proc/consoles", consoles);
        let way = machine.way_in().unwrap();
        assert!(
            way.starts_with(&format!("the login on {terminal} ")),
            "{consoles}: {way}"
        );
    }
}

#[test]
fn a_masked_getty_and_one_without_a_terminal_do_not_count() {
    let machine = debian();
    machine.link("etc/systemd/system/getty@tty1.service", "/dev/null");
    assert_eq!(machine.way_in(), None);
    let generated = "run/systemd/generator/getty.target.wants/serial-getty@ttyS1.service";
    machine.link(generated, "/lib/systemd/system/serial-getty@.service");
    assert_eq!(machine.way_in(), None);
    machine.write("dev/ttyS1", "");
    let serial = "serinfo:1.0 driver revision:\n0: uart:16550A port:000003F8\n1: uart:unknown port:000002F8\n";
    machine.write("proc/tty/driver/serial", serial);
    assert_eq!(machine.way_in(), None, "there is no such chip");
    machine.write(
        "proc/tty/driver/serial",
        &serial.replace("unknown", "16550A"),
    );
    let way = machine.way_in().unwrap();
    assert_eq!(way, "the login on ttyS1 (unit serial-getty@ttyS1.service)");
}

#[test]
fn gettys_of_busybox_and_sysvinit() {
    let machine = Machine::new(ALPINE);
    let way = machine.way_in().unwrap();
    assert_eq!(way, "the login on tty1 (/etc/inittab)");
    for line in [
        "1:2345:respawn:/sbin/getty --noclear 38400 tty1\n",
        "T0:23:respawn:/sbin/getty -L ttyS0 9600 vt100\n",
        "ttyS0::askfirst:-/bin/sh\n",
    ] {
        machine.write("etc/inittab", line);
        assert!(machine.way_in().is_some(), "{line}");
    }
    for line in [
        "",
        "tty9::respawn:/sbin/getty 38400 tty9\n",
        "tty1::once:/bin/login\n",
        "tty1::respawn:/usr/bin/top\n",
        "tty1::respawn:\n",
        "tty1\n",
        "::::\n",
    ] {
        machine.write("etc/inittab", line);
        assert_eq!(machine.way_in(), None, "{line}");
    }
}

#[test]
fn an_inittab_that_no_init_reads_does_not_count() {
    let machine = Machine::new(ALPINE);
    machine.write("proc/1/comm", "sh\n");
    assert_eq!(machine.way_in(), None);
    let jailed = Machine::new(OPENWRT);
    jailed.write("proc/1/comm", "ujail\n");
    assert!(jailed.way_in().is_some());
    machine.write("run/systemd/system/placeholder", "");
    machine.write("proc/1/comm", "init\n");
    assert_eq!(machine.way_in(), None);
}

#[test]
fn a_getty_that_runs_counts_whoever_started_it() {
    let machine = Machine::new(&[("etc/shadow", SHADOW), ("etc/passwd", PASSWD)]);
    let stat = |name: &str, device: u32| {
        let line = format!("700 ({name}) S 1 700 700 {device} 700 4194560 0 0\n");
        machine.write("proc/700/stat", &line);
        machine.way_in()
    };
    let serial = 4 << 8 | 64;
    for (name, device, way) in [
        ("agetty", serial, Some("ttyS0")),
        ("getty", 4 << 8 | 1, Some("tty1")),
        ("mgetty", 229 << 8, Some("hvc0")),
        ("agetty", 204 << 8 | 64, Some("terminal 204:64")),
        ("agetty", 5 << 8 | 1, Some("console")),
        // Those of containers hold a pseudo-terminal.
        ("agetty", 136 << 8 | 2, None),
        ("agetty", 0, None),
        ("bash", serial, None),
        ("a) (getty", serial, Some("ttyS0")),
    ] {
        let expected = way.map(|terminal| format!("the login on {terminal} (process 700)"));
        assert_eq!(stat(name, device), expected, "{name} {device}");
    }
    for odd in ["", "700", "700 (agetty) S", "700 (agetty) S 1 1 1 x"] {
        machine.write("proc/700/stat", odd);
        assert_eq!(machine.way_in(), None, "{odd}");
    }
}

#[test]
fn a_login_that_is_configured_and_runs_is_one_login() {
    let machine = debian();
    machine.write("etc/shadow", LOCKED);
    machine.write("proc/700/stat", "700 (agetty) S 1 700 700 1025 700 0\n");
    assert_eq!(ids(&machine.console()), ["console-locked"]);
}
