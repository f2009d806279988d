//! Our own client, run by somebody without privileges who has a home of their own.

use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::agent::program;
use crate::process::{Said, copy_program, run};
use crate::scratch::Scratch;
use crate::topology::{Host, Topology};

/// The name of the router, of both its addresses, as visitors know it.
pub const ROUTER: &str = "router.example";
/// Debian's nobody.
const NOBODY: u32 = 65534;

/// Mounts the hosts file where the resolver looks for it, seen by nobody else, and gives up
/// every privilege.
const SCRIPT: &str = "mount --bind \"$1\" /etc/hosts && shift && \
    exec setpriv --reuid 65534 --regid 65534 --clear-groups --bounding-set=-all --inh-caps=-all \
    --no-new-privs env -i \"$@\"";

/// Somebody without privileges, with a client file.
#[derive(Debug)]
pub struct Visitor {
    home: Scratch,
}

impl Visitor {
    /// Somebody who knows the router by [`ROUTER`] and by the names that `hosts` adds, and has
    /// this client file for it.
    pub fn new(net: &Topology, file: &str) -> Self {
        let visitor = Self {
            home: Scratch::new(),
        };
        // The program may lie where others cannot go.
        let copy = visitor.home.join("postern");
        copy_program(program(), &copy);
        fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).expect("may be run");
        chown(visitor.home.path(), Some(NOBODY), Some(NOBODY)).expect("give the home away");
        visitor.knows(&[
            (ROUTER, net.router.v4.into()),
            (ROUTER, net.router.v6.into()),
        ]);
        visitor.write(&format!(".config/postern/{ROUTER}"), file);
        visitor
    }

    /// Replaces the names that resolve.
    pub fn knows(&self, hosts: &[(&str, IpAddr)]) {
        let lines = hosts
            .iter()
            .map(|(name, address)| format!("{address} {name}\n"));
        self.home.write("hosts", &lines.collect::<String>());
    }

    /// Writes a file that belongs to the visitor alone, and returns its path.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.home.join(name);
        let folder = path.parent().expect("a folder");
        fs::create_dir_all(folder).expect("make folders");
        fs::write(&path, text).expect("write a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("keep it private");
        let below = path
            .ancestors()
            .take_while(|path| *path != self.home.path());
        for path in below {
            chown(path, Some(NOBODY), Some(NOBODY)).expect("give it away");
        }
        path
    }

    /// Where a file of the visitor's is.
    pub fn path(&self, name: &str) -> PathBuf {
        self.home.join(name)
    }

    /// Runs `postern knock` with these arguments on the host.
    pub fn knock(&self, from: &Host, arguments: &[&str]) -> Said {
        let home: &Path = self.home.path();
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "sh", "-c", SCRIPT, "sh"])
            .arg(home.join("hosts"));
        command
            .arg(format!("HOME={}", home.display()))
            .arg(home.join("postern"));
        command.arg("knock").args(arguments);
        from.namespace.enter(|| run(&mut command, ""))
    }
}
