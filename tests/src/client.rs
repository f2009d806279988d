//! Clients that exist without us: `knock`, `ssh`, `curl`.

use std::net::IpAddr;
use std::process::{Command, Stdio};

use crate::namespace::Namespace;
use crate::process::{Process, Said};
use crate::server::Sshd;
use crate::topology::Host;

/// Knocks with the stock client of Debian's package knockd: ports as it writes them, `7000` or `8001:udp`.
pub fn knock(from: &Host, to: IpAddr, ports: &[&str]) {
    let family = if to.is_ipv4() { "-4" } else { "-6" };
    let to = to.to_string();
    let arguments = [&[family, to.as_str()], ports].concat();
    from.namespace.run("knock", &arguments).ok();
}

/// Runs a command at an OpenSSH server, entering with the server's key.
pub fn ssh(from: &Host, to: IpAddr, server: &Sshd, command: &str) -> Said {
    from.namespace.enter(|| ssh_by(to, server, command))
}

/// Runs a command at an OpenSSH server, as [`ssh`] does, from the namespace that this is called in.
pub fn ssh_by(to: IpAddr, server: &Sshd, command: &str) -> Said {
    crate::process::run(&mut ssh_command(to, server, command), "")
}

/// Opens a session at an OpenSSH server that runs a command, with pipes to its standard streams.
pub fn ssh_session(from: &Host, to: IpAddr, server: &Sshd, command: &str) -> Process {
    let mut ssh = ssh_command(to, server, command);
    from.namespace.spawn(
        ssh.stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null()),
    )
}

/// Asks an HTTP server for a page with curl.
pub fn curl(from: &Namespace, url: &str) -> Said {
    let arguments = [
        "--silent",
        "--show-error",
        "--globoff",
        "--noproxy",
        "*",
        "--max-time",
        "5",
        url,
    ];
    from.run("curl", &arguments)
}

fn ssh_command(to: IpAddr, server: &Sshd, command: &str) -> Command {
    let mut ssh = Command::new("ssh");
    ssh.args([
        "-F",
        "none",
        "-o",
        "BatchMode=yes",
        "-o",
        "StrictHostKeyChecking=no",
    ]);
    ssh.args([
        "-o",
        "UserKnownHostsFile=/dev/null",
        "-o",
        "LogLevel=ERROR",
        "-o",
        "ConnectTimeout=5",
    ]);
    ssh.args([
        "-o",
        "IdentitiesOnly=yes",
        "-p",
        &server.port.to_string(),
        "-i",
    ]);
    ssh.arg(server.key()).arg(format!("root@{to}")).arg(command);
    ssh
}
