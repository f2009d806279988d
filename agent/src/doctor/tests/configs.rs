//! How servers that owners come in by are configured.

use super::*;

#[test]
fn dropbear_as_openwrt_configures_it() {
    for (section, found) in [
        (
            "config dropbear\n\toption PasswordAuth 'on'\n\toption RootPasswordAuth 'on'\n",
            true,
        ),
        ("config dropbear 'main'\n", true),
        ("config dropbear\n\toption PasswordAuth 'off'\n", false),
        ("config dropbear\n\toption PasswordAuth '0'\n", false),
        ("config dropbear\n\toption RootPasswordAuth 'off'\n", false),
        ("config dropbear\n\toption enable '0'\n", false),
        ("config other\n", false),
        ("\u{0}\u{1}' config", false),
    ] {
        let machine = Machine::new(&[("etc/config/dropbear", section)]);
        assert_eq!(
            ids(&machine.logins()) == ["dropbear-passwords"],
            found,
            "{section}"
        );
    }
}

#[test]
fn a_server_that_runs_is_judged_by_how_it_was_started() {
    let tcp = TCP.to_owned() + &socket(ANY, 22, "0A", 9);
    for (name, command_line, found) in [
        (
            "dropbear",
            "/usr/sbin/dropbear\x00-F\x00-p\x0022\x00-K\x00300\x00",
            true,
        ),
        ("dropbear", "/usr/sbin/dropbear\0-F\0-s\0", false),
        ("dropbear", "/usr/sbin/dropbear\0-Fsg\0", false),
        ("dropbear", "/usr/sbin/dropbear\0-r/etc/keys\0", true),
        (
            "sshd",
            "sshd: /usr/sbin/sshd -D -f /etc/keys_only [listener] 0 of 10-100 startups",
            false,
        ),
        (
            "sshd",
            "sshd: /usr/sbin/sshd -D -o PasswordAuthentication=no [listener]",
            false,
        ),
        (
            "sshd",
            "/usr/sbin/sshd\0-D\0-oPasswordAuthentication=no\0",
            false,
        ),
        ("sshd", "/usr/sbin/sshd\0-D\0", true),
        ("other", "", true),
    ] {
        let machine = Machine::new(&[
            ("proc/net/tcp", &tcp),
            ("etc/ssh/sshd_config", "PasswordAuthentication yes\n"),
            ("etc/keys_only", "PasswordAuthentication no\n"),
        ]);
        machine.process(5, name, command_line, 9);
        let findings = machine.logins();
        let of_it = findings.iter().filter(|each| match name {
            "dropbear" => each.kind.id() == "dropbear-passwords",
            _ => each.kind.id() == "sshd-passwords",
        });
        assert_eq!(of_it.count() == 1, found, "{command_line}: {findings:?}");
    }
}

/// The real sshd says what it makes of a file; where this reads another thing out of it, this is
/// wrong.
#[test]
fn sshd_reads_its_files_the_same() {
    const SSHD: &str = "/usr/sbin/sshd";
    let keygen = std::process::Command::new("ssh-keygen").arg("-?").output();
    if !may_as_root() {
        return;
    }
    if !Path::new(SSHD).exists() || keygen.is_err() {
        return skip("no sshd to compare with (Debian's openssh-server)");
    }
    fs::create_dir_all("/run/sshd").unwrap();
    let scratch = Scratch::new();
    let key = scratch.path("key");
    let made = std::process::Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-f"])
        .arg(&key)
        .status();
    assert!(made.unwrap().success());
    let included = scratch.file("included.conf", "PasswordAuthentication no\nPort 2022\n");
    let folder = scratch.folder().display();
    for text in [
        "",
        "PasswordAuthentication no",
        "passwordauthentication=no",
        "PasswordAuthentication \"no\"",
        "  PasswordAuthentication   no   # never",
        "#PasswordAuthentication no",
        "PasswordAuthentication no\nPasswordAuthentication yes",
        "PasswordAuthentication no\nUsePAM yes",
        "PasswordAuthentication no\nUsePAM yes\nKbdInteractiveAuthentication no",
        "PasswordAuthentication no\nUsePAM yes\nChallengeResponseAuthentication no",
        "AuthenticationMethods publickey",
        "AuthenticationMethods publickey,password publickey,keyboard-interactive",
        "AuthenticationMethods publickey password",
        "AuthenticationMethods any",
        "Port 2022\nPort 2023",
        "ListenAddress 127.0.0.1:2024",
        "ListenAddress [::1]:2025",
        &format!("Include {}\nPasswordAuthentication yes", included.display()),
        &format!("PasswordAuthentication yes\nInclude {folder}/*.conf"),
        &format!("Include {folder}/inc*ed.conf"),
        &format!("Include {folder}/nothing*.conf"),
        "Match all\nPasswordAuthentication no",
    ] {
        let file = scratch.file(
            "sshd_config",
            format!("HostKey {}\n{text}\n", key.display()),
        );
        let said = std::process::Command::new(SSHD)
            .args(["-T", "-f"])
            .arg(&file)
            .output()
            .unwrap();
        let said = String::from_utf8(said.stdout).unwrap();
        assert!(
            said.contains("passwordauthentication"),
            "{text}: sshd refuses it"
        );
        let has = |line: &str| said.lines().any(|said| said == line);
        let methods = said
            .lines()
            .find_map(|line| line.strip_prefix("authenticationmethods "));
        let alone = |list: &str| list.split(',').all(|method| method != "publickey");
        let enough = methods.is_none_or(|methods| methods.split(' ').any(alone));
        let passwords = has("passwordauthentication yes")
            || has("kbdinteractiveauthentication yes") && has("usepam yes");
        let server = servers::sshd_of(&Root::new("/"), file.to_str().unwrap());
        assert_eq!(server.passwords, passwords && enough, "{text}\n{said}");
        let listens = said
            .lines()
            .filter_map(|line| line.strip_prefix("listenaddress "));
        let ports: BTreeSet<u16> = listens
            .filter_map(|address| address.rsplit(':').next()?.parse().ok())
            .collect();
        assert_eq!(BTreeSet::from_iter(server.ports), ports, "{text}\n{said}");
    }
}

#[test]
fn blocks_and_circles_in_sshd_config() {
    for (text, found) in [
        (
            "PasswordAuthentication no\nMatch User backup\nPasswordAuthentication yes\n",
            true,
        ),
        (
            "PasswordAuthentication no\nMatch User backup\nX11Forwarding no\n",
            false,
        ),
        (
            "PasswordAuthentication no\nMatch User x\nKbdInteractiveAuthentication yes\n",
            false,
        ),
        (
            "PasswordAuthentication no\nUsePAM yes\nKbdInteractiveAuthentication no\nMatch User x\n\
          KbdInteractiveAuthentication yes\n",
            true,
        ),
        (
            "Include /etc/ssh/sshd_config\nPasswordAuthentication no\n",
            false,
        ),
    ] {
        let machine = Machine::new(&[("etc/ssh/sshd_config", text)]);
        assert_eq!(
            ids(&machine.logins()) == ["sshd-passwords"],
            found,
            "{text}"
        );
    }
}

/// A user of the machine must not have a root's doctor open what he names, nor be taken for sshd.
#[test]
fn a_strangers_process_is_not_believed() {
    if !may_as_root() {
        return;
    }
    let tcp = TCP.to_owned() + &socket(ANY, 4022, "0A", 9);
    let machine = Machine::new(&[
        ("proc/net/tcp", &tcp),
        ("tmp/open", "PasswordAuthentication yes\n"),
    ]);
    machine.process(5, "sshd", "sshd: sshd -D -f /tmp/open [listener]", 9);
    assert_eq!(ids(&machine.logins()), ["sshd-passwords"]);
    chown(machine.0.path("proc/5"), Some(4242), None).unwrap();
    assert!(machine.logins().is_empty());
    let config = config("", &door("tcp:4022"));
    assert!(machine.fallback(&[], &config).is_empty());
}

#[test]
fn a_device_is_not_opened() {
    let machine = Machine::new(&[]);
    machine.link("etc/inittab", "/dev/zero");
    assert_eq!(machine.root().read("etc/inittab"), None);
    assert_eq!(machine.root().read("etc"), None);
}
