//! What one-time doors remember: a small text file each, that says what is to be used next.
//!
//! The file is written when a code or a sequence was used, before the door opens, and at no
//! other time but by `postern keygen` and `postern resync`. It is replaced as a whole, so that
//! a crash leaves the old one or the new one. One that is empty, damaged or another door's opens
//! no door and stops no agent: its door stays shut, with the reason, until `postern resync`.
//!
//! So does a missing one, for seeds and lists: taking that for a beginning would let anyone who
//! heard the owner knock repeat it all once the file was lost. Where there is nothing to lose,
//! with a fresh secret, `postern keygen` writes the file. A clock door needs none to begin with:
//! that all codes up to now are used is always safe.

use core::fmt::Write as _;
use std::path::{Path, PathBuf};

use postern_core::door::Door;
use sha2::{Digest, Sha256};

use crate::files::atomic_file;
use crate::files::private_file::{self, Forbidden, Unfit};

/// The longest state file that is looked at, in bytes. Ours have less than 200.
const MAX_FILE: usize = 1024;
const COMMENT: &str = "# What Postern remembers of a one-time door; 'postern resync' changes it.\n";
const MARK: &str = "postern-state ";
const VERSION: u32 = 1;

/// Where a door's memory lies.
pub(crate) fn path(folder: &Path, door: &Door) -> PathBuf {
    folder.join(door.name.as_str())
}

/// The counter, time step or index that is the first not used yet.
pub(crate) fn load(folder: &Path, door: &Door) -> Result<u64, Unfit> {
    let path = path(folder, door);
    let content = private_file::read(&path, MAX_FILE, Forbidden::Writing)?;
    parse(&content, door).map_err(|why| Unfit::Bad(format!("{}: {why}", path.display())))
}

/// Remembers that everything before `next` is used. When this returns, a crash cannot undo
/// it; when it fails, the old memory or the new one is there.
pub(crate) fn save(folder: &Path, door: &Door, next: u64) -> Result<(), atomic_file::Failed> {
    atomic_file::replace(&path(folder, door), render(door, next).as_bytes())
}

pub(crate) fn render(door: &Door, next: u64) -> String {
    let (name, method) = (&door.name, door.method.name());
    let mut text = format!("{COMMENT}{MARK}{VERSION}\ndoor {name}\nmethod {method}\nnext {next}\n");
    let sum = sum(&text);
    _ = writeln!(text, "sum {sum}");
    text
}

/// Half of the text's SHA-256 in hexadecimal: against accidents, not against forgers, who could
/// as well write a new one.
fn sum(text: &str) -> String {
    let digest = Sha256::digest(text);
    digest.iter().take(16).fold(String::new(), |mut sum, byte| {
        _ = write!(sum, "{byte:02x}");
        sum
    })
}

/// Only what [`render`] writes, to the byte, is accepted.
pub(crate) fn parse(content: &[u8], door: &Door) -> Result<u64, String> {
    if content.is_empty() {
        return Err("it is empty".into());
    }
    let text = str::from_utf8(content).unwrap_or_default();
    let mut lines = text.lines();
    let mut field = |key: &str| {
        let value = lines.find_map(|line| line.strip_prefix(key));
        value.map(|value| value.strip_prefix(' ').unwrap_or(value))
    };
    let version = field(MARK.trim_end()).ok_or("it is no state file of Postern, or not whole")?;
    if version.parse() != Ok(VERSION) && text.ends_with('\n') {
        return Err(format!(
            "it is of version {version}, this Postern knows {VERSION}"
        ));
    }
    let [name, method, next] = ["door", "method", "next"].map(|key| field(key).unwrap_or_default());
    let next: u64 = next.parse().map_err(|_| DAMAGED)?;
    let last = text.split_inclusive('\n').next_back().unwrap_or_default();
    let body = text.strip_suffix(last).unwrap_or_default();
    if last != format!("sum {}\n", sum(body)) {
        return Err(DAMAGED.into());
    }
    if name != door.name.as_str() || method != door.method.name() {
        return Err(format!("it is of door {name} with method {method}"));
    }
    match render(door, next) == text {
        true => Ok(next),
        false => Err(DAMAGED.into()),
    }
}

const DAMAGED: &str = "it is damaged: its checksum does not match";

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::io;
    use std::os::unix::fs::PermissionsExt;
    use std::process::{Command, Stdio};

    use super::*;
    use crate::files::atomic_file::{Step, replace_watched};
    use crate::onetime::examples::{list_door, seed_door};
    use crate::testing::scratch::Scratch;
    use crate::testing::skipping::{may_as_root, skip};

    const STEPS: [Step; 5] = [
        Step::Create,
        Step::Write,
        Step::Sync,
        Step::Rename,
        Step::SyncFolder,
    ];

    fn why(folder: &Path) -> String {
        load(folder, &seed_door("ssh")).unwrap_err().to_string()
    }

    #[test]
    fn what_was_saved_is_loaded() {
        let scratch = Scratch::new();
        let (door, other) = (seed_door("ssh"), list_door("web", "/list"));
        for next in [0, 42, u64::MAX] {
            save(scratch.folder(), &door, next).unwrap();
            save(scratch.folder(), &other, 7).unwrap();
            assert_eq!(load(scratch.folder(), &door), Ok(next));
        }
        assert_eq!(load(scratch.folder(), &other), Ok(7));
        let text = fs::read_to_string(scratch.path("ssh")).unwrap();
        assert!(text.contains("\ndoor ssh\nmethod one-time-seed\nnext 18446744073709551615\n"));
        let mode = scratch.path("ssh").metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(scratch.folder()).unwrap().count(), 2);
    }

    #[test]
    fn a_file_torn_or_changed_at_any_byte_is_not_believed() {
        let scratch = Scratch::new();
        let door = seed_door("ssh");
        let whole = render(&door, 1234).into_bytes();
        for length in 0..whole.len() {
            assert!(parse(&whole[..length], &door).is_err(), "{length}");
            let mut zeroed = whole.clone();
            zeroed[length..].fill(0);
            assert!(parse(&zeroed, &door).is_err(), "{length}");
            for bit in 0..8 {
                let mut flipped = whole.clone();
                flipped[length] ^= 1 << bit;
                assert!(parse(&flipped, &door).is_err(), "{length} {bit}");
            }
            let mut longer = whole.clone();
            longer.insert(length, b'1');
            assert!(parse(&longer, &door).is_err(), "{length}");
        }
        assert!(parse(&[&whole[..], b"\n"].concat(), &door).is_err());
        for content in ["", "postern-state", "postern-state 1", "next 5\n", "sum \n"] {
            scratch.file("ssh", content);
            assert!(why(scratch.folder()).contains("/ssh: it is"));
        }
        scratch.file("ssh", [b'x'; MAX_FILE + 1]);
        assert!(why(scratch.folder()).contains("longer"));
    }

    #[test]
    fn it_says_what_it_found() {
        let scratch = Scratch::new();
        let door = seed_door("ssh");
        scratch.file("ssh", "");
        assert!(why(scratch.folder()).ends_with("it is empty"));
        scratch.file("ssh", "\u{7f}ELF");
        assert!(why(scratch.folder()).contains("no state file of Postern"));
        scratch.file("ssh", render(&door, 5).replace("state 1", "state 2"));
        assert!(why(scratch.folder()).contains("version 2"));
        scratch.file("ssh", render(&door, 5).replace("next 5", "next 4"));
        assert!(why(scratch.folder()).contains("damaged"));
        scratch.file("ssh", render(&seed_door("web"), 5));
        assert!(why(scratch.folder()).contains("of door web"));
        scratch.file("ssh", render(&list_door("ssh", "/list"), 5));
        assert!(why(scratch.folder()).contains("method one-time-list"));
        fs::set_permissions(scratch.path("ssh"), Permissions::from_mode(0o620)).unwrap();
        assert!(why(scratch.folder()).contains("others can write it"));
        fs::remove_file(scratch.path("ssh")).unwrap();
        assert!(matches!(
            load(scratch.folder(), &door),
            Err(Unfit::Missing(_))
        ));
        let nowhere = scratch.path("nowhere");
        assert!(matches!(load(&nowhere, &door), Err(Unfit::Missing(_))));
        let error = save(&nowhere, &door, 1).unwrap_err().to_string();
        assert!(error.contains("nowhere/ssh cannot be made"), "{error}");
    }

    #[test]
    fn each_step_that_fails_is_reported_and_leaves_a_whole_file() {
        let scratch = Scratch::new();
        let door = seed_door("ssh");
        for failing in STEPS {
            save(scratch.folder(), &door, 1).unwrap();
            let mut fail = |step| match step == failing {
                true => Err(io::ErrorKind::StorageFull.into()),
                false => Ok(()),
            };
            let text = render(&door, 2);
            let path = path(scratch.folder(), &door);
            let failed = replace_watched(&path, text.as_bytes(), &mut fail).unwrap_err();
            assert!(failed.to_string().contains("/ssh cannot be "), "{failed}");
            let next = if failing == Step::SyncFolder { 2 } else { 1 };
            assert_eq!(load(scratch.folder(), &door), Ok(next), "{failing:?}");
            assert_eq!(fs::read_dir(scratch.folder()).unwrap().count(), 1);
        }
    }

    /// Not a test by itself: [`a_crash_at_any_step_loses_no_use`] kills it.
    #[test]
    #[ignore = "it is started, and killed, by another test"]
    fn victim() {
        let Ok(folder) = std::env::var("POSTERN_TEST_FOLDER") else {
            return;
        };
        let fatal: usize = std::env::var("POSTERN_TEST_STEP").unwrap().parse().unwrap();
        let door = seed_door("ssh");
        let next = load(Path::new(&folder), &door).unwrap() + 1;
        let mut die = |step| match STEPS.get(fatal) == Some(&step) {
            true => std::process::abort(),
            false => Ok(()),
        };
        let path = path(Path::new(&folder), &door);
        replace_watched(&path, render(&door, next).as_bytes(), &mut die).unwrap();
        println!("opened {next}");
    }

    /// That test's name, which says where this file is.
    fn name_of_victim() -> String {
        let module = module_path!().trim_start_matches("postern::");
        format!("{module}::victim")
    }

    #[test]
    fn a_crash_at_any_step_loses_no_use() {
        let scratch = Scratch::new();
        let door = seed_door("ssh");
        save(scratch.folder(), &door, 0).unwrap();
        let mut opened = 0;
        for fatal in 0..=STEPS.len() {
            let before = load(scratch.folder(), &door).unwrap();
            let mut victim = Command::new(std::env::current_exe().unwrap());
            victim.args(["--ignored", "--exact", "--nocapture", &name_of_victim()]);
            victim.env("POSTERN_TEST_FOLDER", scratch.folder());
            victim
                .env("POSTERN_TEST_STEP", fatal.to_string())
                .stderr(Stdio::null());
            let said = String::from_utf8(victim.output().unwrap().stdout).unwrap();
            let after = load(scratch.folder(), &door).unwrap();
            assert!(after == before || after == before + 1, "{before} {after}");
            // The door opens only once the use cannot be forgotten any more.
            if said.contains("opened") {
                opened += 1;
                assert_eq!(after, before + 1);
            }
            save(scratch.folder(), &door, after).unwrap();
        }
        assert_eq!(opened, 1, "only the one that was not killed got so far");
    }

    /// Killed at each system call, as if the kernel stopped there.
    #[test]
    fn a_kill_at_any_system_call_loses_no_use() {
        if Command::new("strace").arg("-V").output().is_err() {
            return skip("there is no strace (Debian's package strace)");
        }
        let scratch = Scratch::new();
        let door = seed_door("ssh");
        save(scratch.folder(), &door, 0).unwrap();
        for call in ["openat", "write", "fsync", "rename", "renameat2", "close"] {
            for count in 1..=40 {
                let before = load(scratch.folder(), &door).unwrap();
                let path = path(scratch.folder(), &door);
                let inject = format!("inject={call}:signal=SIGKILL:when={count}");
                let mut victim = Command::new("strace");
                victim.args(["-f", "-qq", "-o", "/dev/null", "-e", &inject]);
                victim.arg(std::env::current_exe().unwrap());
                victim.args(["--ignored", "--exact", "--nocapture", &name_of_victim()]);
                victim.env("POSTERN_TEST_FOLDER", scratch.folder());
                victim.env("POSTERN_TEST_STEP", STEPS.len().to_string());
                let ran = victim.stderr(Stdio::null()).output().unwrap();
                let said = String::from_utf8(ran.stdout).unwrap();
                let after = load(scratch.folder(), &door).unwrap();
                assert!(
                    after == before || after == before + 1,
                    "{path:?} {call} {count}"
                );
                assert!(
                    !said.contains("opened") || after == before + 1,
                    "{call} {count}"
                );
                if ran.status.success() {
                    break;
                }
            }
        }
    }

    #[test]
    fn a_folder_that_cannot_be_written_keeps_the_old_memory() {
        let scratch = Scratch::new();
        let door = seed_door("ssh");
        save(scratch.folder(), &door, 1).unwrap();
        // Only root can mount.
        if !may_as_root() {
            return;
        }
        let error = in_a_narrow_mount(&scratch, "remount,ro");
        assert!(error.contains("Read-only"), "{error}");
        let error = in_a_narrow_mount(&scratch, "remount,rw");
        assert!(error.contains("No space left"), "{error}");
        assert_eq!(load(scratch.folder(), &door), Ok(1));
    }

    /// Saves in a file system with room for no more than is there, mounted for one thread alone.
    fn in_a_narrow_mount(scratch: &Scratch, option: &str) -> String {
        let script = "mount -t tmpfs -o size=8k,nr_inodes=9 none \"$1\" && cp -p \"$2\" \"$1/ssh\" \
             && (head -c 9000 /dev/zero > \"$1/filler\"; mount -o \"$3\" \"$1\"; shift 3; \"$@\")";
        let full = Scratch::new();
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", script, "sh"]);
        command
            .args([full.folder(), &scratch.path("ssh")])
            .arg(option);
        command.arg(std::env::current_exe().unwrap());
        command.args(["--ignored", "--exact", "--nocapture", &name_of_victim()]);
        command.env("POSTERN_TEST_FOLDER", full.folder());
        command.env("POSTERN_TEST_STEP", STEPS.len().to_string());
        let ran = command.output().unwrap();
        assert!(!ran.status.success(), "{ran:?}");
        String::from_utf8_lossy(&[ran.stdout, ran.stderr].concat()).into_owned()
    }
}
