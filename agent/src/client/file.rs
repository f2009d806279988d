//! The client's file: found by the router's name, and what it says.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::{env, fs};

use postern_core::config::Client;
use postern_core::door::Door;

use crate::files::config_file;
use crate::output::{self, Failure};

/// Where the file and the memory of one router's doors are.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Place {
    file: PathBuf,
    /// Where one-time methods remember, unless the file says otherwise.
    state_dir: Option<PathBuf>,
}

impl Place {
    /// The file that was named, or the one named like the host in the user's folders.
    pub(super) fn of(host: &str, named: Option<&Path>) -> Result<Self, Failure> {
        Self::within(host, named, |name| env::var_os(name).map(PathBuf::from))
    }

    /// By the XDG Base Directory Specification 0.8, which says to ignore relative paths.
    fn within(
        host: &str,
        named: Option<&Path>,
        variable: impl Fn(&str) -> Option<PathBuf>,
    ) -> Result<Self, Failure> {
        let absolute = |name: &str| variable(name).filter(|path| path.is_absolute());
        let folder = |name: &str, usual: &str| {
            absolute(name).or_else(|| Some(absolute("HOME")?.join(usual)))
        };
        // A host named like a path must not lead out of the folder.
        let is_name = !host.contains('/') && !matches!(host, "" | "." | "..");
        let of_host = |folder: PathBuf| is_name.then(|| folder.join("postern").join(host));
        let usual = folder("XDG_CONFIG_HOME", ".config").and_then(of_host);
        let file = named.map(Path::to_path_buf).or(usual).ok_or_else(|| {
            let host = host.escape_default();
            let why = match is_name {
                true => "HOME is not set",
                false => "a host's name has no slashes",
            };
            Failure::Failed(format!(
                "no file for '{host}': {why}; name one with --config FILE"
            ))
        })?;
        let state_dir = folder("XDG_STATE_HOME", ".local/state").and_then(of_host);
        Ok(Self { file, state_dir })
    }

    /// Reads the file, and reports everything that is wrong with it.
    pub(super) fn read(&self) -> Result<Box<Client>, Failure> {
        let client = config_file::load_client(&self.file)?;
        if let Some(warning) = self.exposure(&client) {
            output::warn(&format!("warning: {warning}"));
        }
        Ok(client)
    }

    /// Reads the file without a word about what is wrong with it.
    pub(super) fn peek(&self) -> Option<Box<Client>> {
        config_file::peek_client(&self.file)
    }

    /// Where one-time methods remember what they used.
    pub(super) fn state_dir(&self, client: &Client) -> Result<PathBuf, Failure> {
        match client.state_dir.is_empty() {
            false => Ok(client.state_dir.as_str().into()),
            true => self.state_dir.clone().ok_or_else(|| {
                let file = self.file.display();
                Failure::Failed(format!(
                    "{file}: HOME is not set, so it needs option state_dir"
                ))
            }),
        }
    }

    /// A fixed sequence is as good as a password. Secrets and lists have files of their own.
    fn exposure(&self, client: &Client) -> Option<String> {
        let mode = fs::metadata(&self.file).ok()?.permissions().mode();
        let has_sequences = client.doors.iter().any(|door| !door.method.is_one_time());
        (has_sequences && mode & 0o077 != 0).then(|| {
            let file = self.file.display();
            format!("{file}: others can read or write how to knock; 'chmod 600' keeps it private")
        })
    }
}

/// The door of this name; if there is none, the error names those that there are.
pub(super) fn door<'c>(client: &'c Client, name: &str) -> Result<&'c Door, Failure> {
    let door = client.doors.iter().find(|door| door.name == name);
    door.ok_or_else(|| {
        let known = config_file::there_are(name, &client.doors);
        let name = name.escape_default();
        Failure::Failed(format!(
            "there is no door '{name}' in the client's file{known}"
        ))
    })
}

/// What to knock at: what the file says, or the host that was named.
pub(super) fn address<'a>(client: &'a Client, host: &'a str) -> &'a str {
    match client.address.as_str() {
        "" => host,
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(host: &str, variables: &[(&str, &str)]) -> Result<Place, Failure> {
        let value = |name: &str| {
            let found = variables.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| PathBuf::from(value))
        };
        Place::within(host, None, value)
    }

    #[test]
    fn the_users_folders_are_those_of_xdg() {
        let home = ("HOME", "/home/me");
        let usual = place("a.example", &[home]).unwrap();
        assert_eq!(usual.file, Path::new("/home/me/.config/postern/a.example"));
        let state = Path::new("/home/me/.local/state/postern/a.example");
        assert_eq!(usual.state_dir.as_deref(), Some(state));
        let elsewhere = [home, ("XDG_CONFIG_HOME", "/c"), ("XDG_STATE_HOME", "/s")];
        let elsewhere = place("2001:db8::1", &elsewhere).unwrap();
        assert_eq!(elsewhere.file, Path::new("/c/postern/2001:db8::1"));
        assert_eq!(
            elsewhere.state_dir.as_deref(),
            Some(Path::new("/s/postern/2001:db8::1"))
        );
        for relative in ["", "c"] {
            let ignored = place("a.example", &[home, ("XDG_CONFIG_HOME", relative)]);
            assert_eq!(ignored.unwrap().file, usual.file);
        }
    }

    #[test]
    fn no_host_leads_out_of_the_folder() {
        for host in ["", ".", "..", "../x", "/etc/passwd", "a/b"] {
            assert!(place(host, &[("HOME", "/home/me")]).is_err(), "{host}");
            let named = Place::within(host, Some(Path::new("f")), |_| None).unwrap();
            assert_eq!(
                (named.file.as_path(), named.state_dir),
                (Path::new("f"), None)
            );
        }
        assert!(place("a.example", &[]).is_err());
    }
}
