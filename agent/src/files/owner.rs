//! Whose files are: those that decide who gets in belong to root or the agent's user, and nobody else can change
//! them, nor put others in their place.
//!
//! The agent gives up root once it has started. Whoever runs a verb as root before hands over to it what it has to
//! read, by its group, and the folders of its own, wholly.

use core::fmt;
use std::ffi::OsString;
use std::fs::{self, File, FileType, Metadata, OpenOptions, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown, lchown};
use std::path::{Component, Path, PathBuf};
use std::sync::OnceLock;

use postern_core::config::Global;
use postern_core::door::{Door, Method};

use super::config_file::{CONFIRMED, TRIAL};
use super::{atomic_file, bounded};
use crate::sys::process::{self, Capability};

/// The agent's user and group, as both packages make them.
pub(crate) const NAME: &str = "postern";
/// Their number where nobody made them: no account is given it, as it lies behind those of people, and before those
/// that systemd gives away.
const NUMBER: u32 = 60_917;
/// The longest list of accounts that is looked at, in bytes.
const MAX_ACCOUNTS: usize = 1 << 18;
/// As many symbolic links as the kernel follows.
const MAX_LINKS: usize = 40;

const WRITE: u32 = 0o022;
const STICKY: u32 = 0o1000;

/// Who the agent is once it has started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) user: u32,
    pub(crate) group: u32,
}

impl Account {
    /// Of an agent that root starts; any other stays who it is.
    pub(crate) fn of_agent() -> Self {
        static FOUND: OnceLock<Account> = OnceLock::new();
        *FOUND.get_or_init(|| {
            let read = |path| bounded::read(Path::new(path), MAX_ACCOUNTS).unwrap_or_default();
            Self::among(&read("/etc/passwd"), &read("/etc/group"))
        })
    }

    fn among(users: &[u8], groups: &[u8]) -> Self {
        let number = |list, field| {
            numbers(list, field)
                .find_map(|(name, number)| (name == NAME.as_bytes()).then_some(number))
        };
        let is_taken = |number: &u32| {
            let mut all = numbers(users, 2).chain(numbers(groups, 2));
            all.any(|(_, other)| other == *number)
        };
        let free = || {
            (NUMBER..)
                .find(|number| !is_taken(number))
                .unwrap_or(NUMBER)
        };
        match number(users, 2) {
            Some(user) => Self {
                user,
                group: number(users, 3).unwrap_or(user),
            },
            None => {
                let user = free();
                let group = number(groups, 2).unwrap_or(user);
                Self { user, group }
            }
        }
    }

    /// What others are told to write.
    fn group_name(self) -> String {
        let groups = bounded::read(Path::new("/etc/group"), MAX_ACCOUNTS).unwrap_or_default();
        let mut groups = numbers(&groups, 2);
        match groups.any(|(name, number)| name == NAME.as_bytes() && number == self.group) {
            true => NAME.into(),
            false => self.group.to_string(),
        }
    }
}

/// The names of a list of accounts (passwd(5), group(5)), with the number in one of their fields.
fn numbers(list: &[u8], field: usize) -> impl Iterator<Item = (&[u8], u32)> {
    list.split(|byte| *byte == b'\n').filter_map(move |line| {
        let mut fields = line.split(|byte| *byte == b':');
        let name = fields.next()?;
        let number = str::from_utf8(fields.nth(field - 1)?).ok()?;
        Some((name, number.parse().ok()?))
    })
}

/// What the agent does with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// Reads it.
    Read,
    /// Keeps files in it.
    Keep,
}

/// Why a file, or a folder, must not be relied on.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unsound {
    path: PathBuf,
    why: String,
    /// Nobody could look at it, so that it may as well be sound.
    pub(crate) is_unseen: bool,
}

impl fmt::Display for Unsound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&[&*self.path.to_string_lossy(), ": ", &self.why].concat())
    }
}

/// Judges a file, and every folder above it: they have to belong to root, to the agent's user or to whoever runs this,
/// and nobody else may write to them, but to a folder in which nobody can take away what is another's (sticky).
///
/// The file itself must not be a symbolic link. Folders above may be, as /var is on routers: then what the link is
/// in, and what it leads to, is judged. A file that is not there can be made by nobody else, if this says so.
pub(crate) fn judge(path: &Path) -> Result<(), Unsound> {
    walk(path, true, &mut |_, _| None)
}

/// Judges the folders above a file as [`judge`] does, and of the file itself whether it is a link.
pub(crate) fn judge_folders(path: &Path) -> Result<(), Unsound> {
    walk(path, false, &mut |_, _| None)
}

/// Judges a file as [`judge`] does, and whether the agent gets at it, once it has given up root.
pub(crate) fn judge_for_agent(path: &Path, wanted: Use) -> Result<(), Unsound> {
    let account = Account::of_agent();
    let changes = process::effective_user() == 0 && process::has(Capability::SetUid);
    walk(path, true, &mut |facts, is_last| {
        if !changes || account.user == 0 {
            return None;
        }
        let wanted = match (is_last, wanted) {
            (false, _) => 0o1,
            (true, Use::Read) => 0o4,
            (true, Use::Keep) => 0o7,
        };
        hindrance(facts, account, wanted)
    })
}

/// Why the agent does not get at a file, or through a folder.
fn hindrance(facts: &Metadata, account: Account, wanted: u32) -> Option<String> {
    let shift = match (facts.uid() == account.user, facts.gid() == account.group) {
        (true, _) => 6,
        (false, true) => 3,
        (false, false) => 0,
    };
    if facts.mode() >> shift & wanted == wanted {
        return None;
    }
    let group = account.group_name();
    let (verb, cure) = match wanted {
        0o1 => ("enter", format!("chgrp {group}' and 'chmod g+x")),
        0o4 => ("read", format!("chgrp {group}' and 'chmod g+r")),
        _ => ("write to", format!("chown {}:{group}", account.user)),
    };
    Some(format!(
        "the agent's user, {}, cannot {verb} it; '{cure}' lets it",
        account.user
    ))
}

fn walk(
    path: &Path,
    whole: bool,
    also: &mut dyn FnMut(&Metadata, bool) -> Option<String>,
) -> Result<(), Unsound> {
    let unsound = |path: &Path, why: String| Unsound {
        path: path.into(),
        why,
        is_unseen: false,
    };
    let unseen = |path: &Path, why: String| Unsound {
        is_unseen: true,
        ..unsound(path, why)
    };
    let absolute = std::path::absolute(path).map_err(|error| unseen(path, error.to_string()))?;
    let mut here = PathBuf::from("/");
    let mut to_go = Vec::new();
    pile(&mut to_go, &absolute);
    let mut links = 0;
    loop {
        let is_last = to_go.is_empty();
        let facts = match fs::symlink_metadata(&here) {
            Ok(facts) => facts,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => {
                let cure = match error.kind() {
                    ErrorKind::PermissionDenied => ["; ", FORBIDDEN].concat(),
                    _ => String::new(),
                };
                return Err(unseen(&here, error.to_string() + &cure));
            }
        };
        let judged = (whole || !is_last).then(|| blemish(&facts, is_last));
        if let Some(why) = judged.flatten() {
            return Err(unsound(&here, why));
        }
        if facts.is_symlink() {
            links += 1;
            let target = fs::read_link(&here).unwrap_or_default();
            if is_last || links > MAX_LINKS {
                let why = format!(
                    "it is a symbolic link, and none is followed here; name {} itself",
                    target.display()
                );
                return Err(unsound(&here, why));
            }
            pile(&mut to_go, &target);
            match target.is_absolute() {
                true => here = "/".into(),
                false => _ = here.pop(),
            }
        } else if let Some(why) = also(&facts, is_last) {
            return Err(unsound(&here, why));
        }
        match to_go.pop() {
            None => return Ok(()),
            // No link is left in front of it.
            Some(name) if name == ".." => _ = here.pop(),
            Some(name) => here.push(name),
        }
    }
}

/// Puts the names that a path is made of on a pile, the first one last.
fn pile(to_go: &mut Vec<OsString>, path: &Path) {
    for part in path.components().rev() {
        if matches!(part, Component::Normal(_) | Component::ParentDir) {
            to_go.push(part.as_os_str().to_owned());
        }
    }
}

/// What makes a file, or a folder, unsound.
fn blemish(facts: &Metadata, is_last: bool) -> Option<String> {
    let (owner, user) = (facts.uid(), process::effective_user());
    if ![0, user, Account::of_agent().user].contains(&owner) {
        let cure = match is_last {
            true => format!("'chown {user}' makes it this program's"),
            false => "keep what is in it in a folder of root's".into(),
        };
        return Some(format!(
            "it belongs to user {owner}, who could put anything in its place; {cure}"
        ));
    }
    let mode = facts.mode() & 0o7777;
    let is_shared = facts.is_dir() && mode & STICKY != 0;
    (mode & WRITE != 0 && !is_shared && !facts.is_symlink()).then(|| {
        format!("others can write to it (mode {mode:04o}); 'chmod go-w' keeps them from that")
    })
}

/// The file that a door takes its knocks from.
pub(crate) fn material(door: &Door) -> Option<&Path> {
    let file = match &door.method {
        Method::List { file, .. } => file.as_str(),
        Method::Spa(terms) => terms.key_file.as_str(),
        method => method.code()?.secret_file.as_str(),
    };
    Some(Path::new(file))
}

/// Hands over to the agent's user, as root, what a configuration's file names: returns what was changed, to be said.
pub(crate) fn hand_over(path: &Path, global: &Global, doors: &[Door]) -> Vec<String> {
    let account = Account::of_agent();
    let mut changed = Vec::new();
    let is_root = process::effective_user() == 0;
    if !is_root || account.user == 0 {
        return changed;
    }
    let mut note = |path: &Path, done: Option<bool>, what: &str| {
        if done == Some(true) {
            changed.push([&path.to_string_lossy(), ": ", what].concat());
        }
    };
    each_read(path, doors, &mut |file| {
        note(
            file,
            lend(file, account),
            "the agent's group may read it now",
        );
    });
    let state = Path::new(global.state_dir.as_str());
    // Where it cannot be made, it is said when something is to be kept there.
    _ = atomic_file::make_folder(state);
    let own = [Path::new(global.control.as_str()).parent(), Some(state)];
    for folder in own.into_iter().flatten() {
        let what = "it belongs to the agent's user now";
        note(folder, give(folder, account), what);
    }
    changed
}

/// What keeps the agent, once it has given up root, from a configuration's file and what that names; but for what
/// [`hand_over`] helps with, if that is still to come.
pub(crate) fn obstacles(
    path: &Path,
    global: &Global,
    doors: &[Door],
    is_handed_over: bool,
) -> Vec<String> {
    let account = Account::of_agent();
    let mut lasting = Vec::new();
    let mut look = |file: &Path, wanted| {
        let Err(unsound) = judge_for_agent(file, wanted) else {
            return;
        };
        let at = &*unsound.path;
        let passes = match (at == file, wanted) {
            _ if is_handed_over => false,
            (true, Use::Read) => lendable(file, account).is_some(),
            (true, Use::Keep) => givable(file, account).is_some(),
            (false, _) => private_folder(at).is_some(),
        };
        if !passes {
            lasting.push(unsound.to_string());
        }
    };
    each_read(path, doors, &mut |file| look(file, Use::Read));
    if doors.iter().any(|door| door.method.is_one_time()) {
        look(Path::new(global.state_dir.as_str()), Use::Keep);
    }
    lasting
}

/// A configuration's file, and those that its doors take their knocks from.
fn each_read(path: &Path, doors: &[Door], then: &mut dyn FnMut(&Path)) {
    then(path);
    doors.iter().filter_map(material).for_each(then);
}

/// Whether a file is root's and nobody else may read it, or the agent's group at most.
fn is_lendable(facts: &Metadata, account: Account) -> bool {
    let mode = facts.mode();
    // Who is in another group may be meant to read it.
    let is_free = mode & 0o070 == 0 || [0, account.group].contains(&facts.gid());
    facts.is_file() && facts.nlink() == 1 && facts.uid() == 0 && is_free && mode & 0o027 == 0
}

/// A file that can be lent, as far as can be told without opening it.
fn lendable(path: &Path, account: Account) -> Option<Metadata> {
    let facts = path.symlink_metadata().ok()?;
    (is_lendable(&facts, account) && judge(path).is_ok()).then_some(facts)
}

/// Lets the agent's group read a file of root's that nobody else may read. `None`: it cannot, or must not.
fn lend(path: &Path, account: Account) -> Option<bool> {
    let facts = lendable(path, account)?;
    enter_by_group(path.parent()?, account);
    if facts.mode() & 0o040 != 0 && facts.gid() == account.group {
        return Some(false);
    }
    // Another file may have its name now.
    let file = open(path)?;
    let facts = file.metadata().ok()?;
    is_lendable(&facts, account).then_some(())?;
    fchown(&file, None, Some(account.group)).ok()?;
    let mode = Permissions::from_mode(facts.mode() & 0o700 | 0o040);
    file.set_permissions(mode).ok()?;
    Some(true)
}

/// The folder of our own files, where it is as earlier versions made it: for root alone.
fn private_folder(folder: &Path) -> Option<File> {
    // It may be a link of root's, to where flash lasts.
    let file = open_with(Path::new(FOLDER), libc::O_DIRECTORY)?;
    let (facts, other) = (file.metadata().ok()?, folder.metadata().ok()?);
    let is_same = facts.dev() == other.dev() && facts.ino() == other.ino();
    let is_private = facts.uid() == 0 && facts.gid() == 0 && facts.mode() & 0o077 == 0;
    (is_same && is_private).then_some(file)
}

/// Lets the agent's group into the folder of our own files.
fn enter_by_group(folder: &Path, account: Account) {
    if let Some(file) = private_folder(folder)
        && fchown(&file, None, Some(account.group)).is_ok()
    {
        _ = file.set_permissions(Permissions::from_mode(0o750));
    }
}

/// What helps where a file may not be read: the agent is not root once it has started.
pub(crate) const FORBIDDEN: &str =
    "as root, 'postern reload' hands it over to the agent's user, or run this as root";

/// Where secrets are, and state.
const FOLDER: &str = "/etc/postern";

/// A folder in which is nothing but what agents keep there, as far as it is root's: with the files of root's in it.
struct Given {
    file: File,
    /// Whether it was the agent's before.
    is_agents: bool,
    kept: Vec<(PathBuf, FileType)>,
}

fn givable(folder: &Path, account: Account) -> Option<Given> {
    // One that a path begins with is more than ours.
    folder.parent()?.parent()?;
    let file = open(folder)?;
    let facts = file.metadata().ok()?;
    let is_agents = facts.uid() == account.user;
    if !facts.is_dir() || (!is_agents && facts.uid() != 0) || judge(folder).is_err() {
        return None;
    }
    let mut kept = Vec::new();
    for entry in fs::read_dir(folder).ok()? {
        let path = entry.ok()?.path();
        let facts = path.symlink_metadata().ok()?;
        let kind = facts.file_type();
        let is_kept =
            facts.mode() & 0o077 == 0 && (kind.is_socket() || kind.is_file() && is_ours(&path));
        if !is_kept && !is_agents {
            return None;
        }
        if is_kept && facts.uid() == 0 {
            kept.push((path, kind));
        }
    }
    Some(Given {
        file,
        is_agents,
        kept,
    })
}

/// Whether a file is one that agents keep: what is named so, or is empty, or says that it is a memory of theirs.
fn is_ours(path: &Path) -> bool {
    const MEMORY: &[u8] = b"# What Postern";
    let name = path.file_name().and_then(|name| name.to_str());
    let name = name.unwrap_or_default();
    [CONFIRMED, TRIAL].contains(&name)
        || name.ends_with(".new")
        || bounded::read(path, MEMORY.len()).is_ok_and(|text| text.is_empty() || text == MEMORY)
}

/// Gives the agent a folder of its own. `None`: it cannot, or must not.
fn give(folder: &Path, account: Account) -> Option<bool> {
    let given = givable(folder, account)?;
    enter_by_group(folder.parent()?, account);
    let (user, group) = (Some(account.user), Some(account.group));
    for (path, kind) in &given.kept {
        if kind.is_socket() {
            lchown(path, user, group).ok()?;
        } else if let Some(file) = open(path) {
            // Another name of it would be given away as well.
            let is_single = file.metadata().is_ok_and(|facts| facts.nlink() == 1);
            is_single.then(|| fchown(&file, user, group).ok())??;
        }
    }
    if !given.is_agents {
        fchown(&given.file, user, group).ok()?;
    }
    Some(!given.is_agents || !given.kept.is_empty())
}

fn open(path: &Path) -> Option<File> {
    open_with(path, libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY)
}

fn open_with(path: &Path, flags: i32) -> Option<File> {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(flags).open(path).ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{chown, symlink};

    use super::*;
    use crate::testing::scratch::Scratch;
    use crate::testing::skipping::may_as_root;

    fn mode(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    fn why(path: &Path) -> String {
        judge(path).unwrap_err().to_string()
    }

    #[test]
    fn the_account_is_by_name_or_by_a_number_that_nobody_has() {
        let among = |users: &str, groups: &str| {
            let Account { user, group } = Account::among(users.as_bytes(), groups.as_bytes());
            (user, group)
        };
        let root = "root:x:0:0:root:/root:/bin/sh\n";
        assert_eq!(among("", ""), (NUMBER, NUMBER));
        assert_eq!(among(root, "root:x:0:\n"), (NUMBER, NUMBER));
        let ours = format!("{root}postern:*:453:454:postern:/var:/bin/false\n");
        assert_eq!(among(&ours, "postern:x:454:\n"), (453, 454));
        let taken = format!("bob:x:{NUMBER}:7::/:\nbroken\npostern:x:nonsense:1\n");
        let group = format!("staff:x:{}:bob\n", NUMBER + 1);
        assert_eq!(among(&taken, &group), (NUMBER + 2, NUMBER + 2));
        assert_eq!(among(root, "postern:x:99:\n"), (NUMBER, 99));
    }

    #[test]
    fn whoever_could_change_a_file_or_a_folder_above_makes_it_unsound() {
        let scratch = Scratch::new();
        let folder = scratch.path("folder");
        fs::create_dir(&folder).unwrap();
        mode(&folder, 0o755);
        let file = folder.join("file");
        assert_eq!(judge(&file), Ok(()), "nobody but we can make it");
        fs::write(&file, "x").unwrap();
        mode(&file, 0o644);
        assert_eq!(judge(&file), Ok(()));
        for bits in [0o664, 0o646, 0o1777] {
            mode(&file, bits);
            let said = why(&file);
            assert!(
                said.contains("/folder/file: others") && said.contains("chmod go-w"),
                "{said}"
            );
        }
        mode(&file, 0o644);
        for bits in [0o775, 0o757] {
            mode(&folder, bits);
            let said = why(&file);
            assert!(said.contains("/folder: others can write to it"), "{said}");
            assert_eq!(why(&folder.join("nothing")), said);
        }
        // Nobody takes another's file away there.
        mode(&folder, 0o1777);
        assert_eq!(judge(&file), Ok(()));
        if may_as_root() {
            chown(&file, Some(4242), None).unwrap();
            assert!(why(&file).contains("/folder/file: it belongs to user 4242"));
            chown(&file, Some(0), None).unwrap();
            chown(&folder, Some(4242), None).unwrap();
            assert!(why(&file).contains("/folder: it belongs to user 4242"));
            chown(&folder, Some(Account::of_agent().user), None).unwrap();
            assert_eq!(judge(&file), Ok(()));
        }
    }

    #[test]
    fn links_are_followed_to_folders_only_and_what_they_are_in_is_judged() {
        let scratch = Scratch::new();
        for name in ["real", "open"] {
            fs::create_dir(scratch.path(name)).unwrap();
        }
        let file = scratch.path("real/file");
        fs::write(&file, "x").unwrap();
        mode(&file, 0o600);
        symlink(&file, scratch.path("to-file")).unwrap();
        assert!(why(&scratch.path("to-file")).contains("symbolic link"));
        symlink("real", scratch.path("to-folder")).unwrap();
        assert_eq!(judge(&scratch.path("to-folder/file")), Ok(()));
        symlink("../real", scratch.path("open/to-folder")).unwrap();
        symlink(scratch.path("open/to-folder"), scratch.path("by-open")).unwrap();
        assert_eq!(judge(&scratch.path("by-open/file")), Ok(()));
        mode(&scratch.path("open"), 0o777);
        assert!(why(&scratch.path("by-open/file")).contains("/open: others"));
        symlink("circle", scratch.path("circle")).unwrap();
        assert!(judge(&scratch.path("circle/file")).is_err());
    }

    #[test]
    fn a_file_of_roots_alone_is_lent_and_no_other() {
        if !may_as_root() {
            return;
        }
        let scratch = Scratch::new();
        let account = Account {
            user: 4242,
            group: 4243,
        };
        let file = scratch.file("secret", "x");
        let facts = || {
            let facts = fs::metadata(&file).unwrap();
            (facts.uid(), facts.gid(), facts.mode() & 0o7777)
        };
        mode(&file, 0o600);
        assert_eq!(lend(&file, account), Some(true));
        assert_eq!(facts(), (0, 4243, 0o640));
        assert_eq!(lend(&file, account), Some(false));
        // Whoever rewrote it may have left the mode, and not the group.
        chown(&file, None, Some(0)).unwrap();
        assert_eq!(lend(&file, account), Some(true));
        chown(&file, None, Some(7)).unwrap();
        assert_eq!(lend(&file, account), None, "another group reads it");
        chown(&file, Some(7), Some(0)).unwrap();
        assert_eq!(lend(&file, account), None, "it is another user's");
        chown(&file, Some(0), Some(0)).unwrap();
        mode(&file, 0o600);
        fs::hard_link(&file, scratch.path("other")).unwrap();
        assert_eq!(lend(&file, account), None, "it has another name");
        let link = scratch.path("link");
        symlink(&file, &link).unwrap();
        assert_eq!(lend(&link, account), None);
        assert_eq!(facts(), (0, 0, 0o600));
    }

    #[test]
    fn only_a_folder_of_an_agents_own_is_given_away() {
        if !may_as_root() {
            return;
        }
        let scratch = Scratch::new();
        let account = Account {
            user: 4242,
            group: 4243,
        };
        let folder = scratch.path("state");
        fs::create_dir(&folder).unwrap();
        let owner = |path: &Path| fs::metadata(path).unwrap().uid();
        let file = |name: &str, bits| {
            let path = folder.join(name);
            fs::write(&path, "# What Postern remembers\n").unwrap();
            mode(&path, bits);
            path
        };
        let key = scratch.file("state/id_rsa", "a key");
        assert_eq!(give(&folder, account), None, "it is somebody else's");
        fs::remove_file(key).unwrap();
        let stranger = file("passwd", 0o644);
        assert_eq!(give(&folder, account), None);
        fs::remove_file(stranger).unwrap();
        fs::create_dir(folder.join("folder")).unwrap();
        assert_eq!(give(&folder, account), None);
        fs::remove_dir(folder.join("folder")).unwrap();
        let kept = file("ssh", 0o600);
        assert_eq!(owner(&folder), 0);
        assert_eq!(give(&folder, account), Some(true));
        assert_eq!((owner(&folder), owner(&kept)), (4242, 4242));
        assert_eq!(give(Path::new("/tmp"), account), None);
    }
}
