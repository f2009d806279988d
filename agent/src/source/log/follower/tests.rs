use std::io::Write;

use super::*;
use crate::sys::poll::{PollFd, poll};
use crate::testing::scratch::Scratch;

/// A log and whoever follows it. No call of these tests waits for anything.
struct Trial {
    scratch: Scratch,
    follower: Follower,
    now: Instant,
}

impl Trial {
    fn new(content: &str) -> Self {
        let scratch = Scratch::new();
        let path = scratch.file("log", content);
        Self::follow(scratch, &path)
    }

    fn follow(scratch: Scratch, path: &Path) -> Self {
        let now = Instant::from_millis(1_000);
        let follower = Follower::open(path, now);
        Self {
            scratch,
            follower,
            now,
        }
    }

    fn append(&self, name: &str, text: &str) {
        let mut options = OpenOptions::new();
        let file = options.append(true).create(true);
        let mut file = file.open(self.scratch.path(name)).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    fn rename(&self, from: &str, to: &str) {
        fs::rename(self.scratch.path(from), self.scratch.path(to)).unwrap();
    }

    fn truncate(&self, length: u64) {
        let file = OpenOptions::new()
            .write(true)
            .open(self.scratch.path("log"));
        file.unwrap().set_len(length).unwrap();
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
    }

    fn read(&mut self) -> Vec<String> {
        let mut read = Vec::new();
        self.follower.for_each(self.now, |line| {
            read.push(String::from_utf8_lossy(line).into_owned());
        });
        read
    }

    /// Whether the kernel has word of a change, which the next read takes.
    fn is_told(&self) -> bool {
        let file = self.follower.fd().unwrap();
        poll(&mut [PollFd::readable(file)], Some(Duration::default())).unwrap() > 0
    }

    fn notices(&mut self) -> Vec<String> {
        let path = self.scratch.path("log").display().to_string();
        let notices = self.follower.take_notices().into_iter();
        notices.map(|notice| notice.replace(&path, "LOG")).collect()
    }
}

#[test]
fn what_is_appended_is_read_and_what_was_there_is_not() {
    let mut trial = Trial::new("old\n");
    assert!(trial.read().is_empty());
    assert!(!trial.is_told());
    trial.append("log", "one\ntw");
    assert!(trial.is_told());
    assert_eq!(trial.read(), ["one"]);
    assert!(!trial.is_told());
    trial.append("log", "o\n");
    assert_eq!(trial.read(), ["two"]);
    assert!(trial.read().is_empty());
    assert!(trial.notices().is_empty());
}

#[test]
fn the_end_of_a_line_that_was_begun_before_is_no_line() {
    let mut trial = Trial::new("old\nuser said: ");
    trial.append("log", "postern: IN=wan\none\n");
    assert_eq!(trial.read(), ["one"]);
}

#[test]
fn a_renamed_log_is_read_until_the_new_one_is_written_to() {
    let mut trial = Trial::new("old\n");
    trial.append("log", "one\n");
    trial.rename("log", "log.1");
    assert!(trial.is_told());
    assert_eq!(trial.read(), ["one"]);
    trial.append("log.1", "two\n");
    assert!(trial.is_told());
    assert_eq!(trial.read(), ["two"]);
    trial.append("log", "");
    assert!(trial.is_told());
    trial.append("log.1", "three\n");
    assert_eq!(trial.read(), ["three"]);
    trial.append("log.1", "four\nfi");
    trial.append("log", "six\n");
    assert!(trial.is_told());
    assert_eq!(trial.read(), ["four", "six"]);
    // Nobody watches the old one any longer.
    trial.append("log.1", "ve\n");
    assert!(trial.read().is_empty());
    trial.append("log.1", "seven\n");
    assert!(!trial.is_told());
    trial.append("log", "eight\n");
    assert!(trial.is_told());
    assert_eq!(trial.read(), ["eight"]);
    assert!(trial.notices().is_empty());
}

#[test]
fn a_log_is_renamed_again_and_again() {
    let mut trial = Trial::new("");
    for round in 0..20 {
        trial.append("log", &format!("a{round}\n"));
        trial.rename("log", "log.1");
        trial.append("log.1", &format!("b{round}\n"));
        trial.append("log", &format!("c{round}\n"));
        let expected = ["a", "b", "c"].map(|name| format!("{name}{round}"));
        assert_eq!(trial.read(), expected);
    }
    // Files that nobody looked at between two renamings are missed, and the next is not.
    for name in ["missed", "missed too", "found"] {
        trial.rename("log", "log.1");
        trial.append("log", &format!("{name}\n"));
    }
    assert_eq!(trial.read(), ["found"]);
}

#[test]
fn a_log_whose_name_comes_back_is_read_on() {
    let mut trial = Trial::new("");
    trial.rename("log", "log.1");
    trial.append("log", "");
    assert!(trial.read().is_empty());
    trial.rename("log.1", "log");
    trial.append("log", "one\n");
    assert_eq!(trial.read(), ["one"]);
    trial.append("log", "two\n");
    assert!(trial.is_told());
    assert_eq!(trial.read(), ["two"]);
}

#[test]
fn a_truncated_log_is_read_from_its_beginning() {
    let mut trial = Trial::new(&"old\n".repeat(10_000));
    trial.append("log", "one\nunfin");
    assert_eq!(trial.read(), ["one"]);
    trial.truncate(0);
    assert!(trial.is_told());
    trial.append("log", "two\n");
    assert_eq!(trial.read(), ["two"]);
    trial.truncate(0);
    assert!(trial.read().is_empty());
    trial.append("log", "three\n");
    assert_eq!(trial.read(), ["three"]);
    assert!(trial.notices().is_empty());
}

#[test]
fn a_writer_that_does_not_notice_the_truncation_leaves_zeros() {
    let mut trial = Trial::new(&"x".repeat(100_000));
    trial.truncate(0);
    assert!(trial.read().is_empty());
    trial.truncate(100_000);
    trial.append("log", "one\n");
    let mut read = trial.read();
    while trial.follower.poll_at() <= trial.now {
        read.extend(trial.read());
    }
    assert_eq!(read, ["one"]);
}

#[test]
fn an_old_log_in_its_place_is_not_read() {
    let old = "old\n".repeat(MAX_FRESH_LEN as usize / 4);
    let mut trial = Trial::new(&old);
    for edited in ["new", "newer"] {
        trial.append(edited, &format!("{old}begun "));
        trial.rename(edited, "log");
        assert!(trial.read().is_empty());
        assert_eq!(
            trial.notices(),
            [
                "LOG was replaced or cut short, and holds too much to be new: what is in it is left out"
            ]
        );
        trial.append("log", "and ended\none\n");
        assert_eq!(trial.read(), ["one"]);
    }
    trial.truncate(MAX_FRESH_LEN + 1);
    assert!(trial.read().is_empty());
    assert_eq!(trial.notices().len(), 1);
    trial.append("log", "\ntwo\n");
    assert_eq!(trial.read(), ["two"]);
    // As much as can be new is read.
    trial.append("newest", &old);
    trial.rename("newest", "log");
    assert_eq!(trial.read().len(), MAX_FRESH_LEN as usize / 4);
    assert!(trial.notices().is_empty());
}

#[test]
fn a_log_that_goes_away_is_said_to_be_missing_after_a_moment() {
    let mut trial = Trial::new("old\n");
    fs::remove_file(trial.scratch.path("log")).unwrap();
    assert!(trial.is_told());
    assert!(trial.read().is_empty());
    assert!(trial.notices().is_empty());
    let missing = "LOG: No such file or directory (os error 2); it is followed once it can be read";
    for expected in [vec![missing], vec![]] {
        trial.pass(ROTATION_GRACE);
        assert!(trial.follower.poll_at() <= trial.now);
        assert!(trial.read().is_empty());
        assert_eq!(trial.notices(), expected);
    }
    trial.append("log", "one\n");
    assert!(trial.is_told());
    assert_eq!(trial.read(), ["one"]);
    assert_eq!(trial.notices(), ["LOG is there"]);
}

#[test]
fn a_log_may_come_later_and_its_folder_too() {
    let scratch = Scratch::new();
    let path = scratch.path("folder/log");
    let mut trial = Trial::follow(scratch, &path);
    assert_eq!(trial.follower.take_notices().len(), 1);
    fs::create_dir(trial.scratch.path("folder")).unwrap();
    trial.append("folder/log", "one\n");
    assert_eq!(trial.read(), ["one"]);
    trial.append("folder/log", "two\n");
    assert!(trial.is_told());
    assert_eq!(trial.read(), ["two"]);
    trial.rename("folder/log", "folder/log.1");
    assert!(trial.read().is_empty());
    trial.append("folder/log", "");
    assert!(trial.is_told());
}

#[test]
fn what_is_no_file_is_not_opened_and_waited_for() {
    let scratch = Scratch::new();
    let path = scratch.path("log");
    fs::create_dir(&path).unwrap();
    let mut trial = Trial::follow(scratch, &path);
    assert_eq!(
        trial.notices(),
        ["LOG: not a file; it is followed once it can be read"]
    );
    fs::remove_dir(&path).unwrap();
    trial.append("log", "one\n");
    assert_eq!(trial.read(), ["one"]);
}

#[test]
fn much_at_once_is_read_bit_by_bit() {
    let mut trial = Trial::new("");
    let line = "x".repeat(99);
    let lines = PIECE_LEN * PIECES_PER_CALL / 100 + 1_000;
    trial.append("log", &format!("{line}\n").repeat(lines));
    let first = trial.read().len();
    assert!((1..lines).contains(&first));
    assert!(trial.follower.poll_at() <= trial.now);
    trial.rename("log", "log.1");
    trial.append("log", "last\n");
    let rest = trial.read();
    assert_eq!(first + rest.len(), lines + 1);
    assert_eq!(rest.last().unwrap(), "last");
    assert!(trial.follower.poll_at() > trial.now);
}

#[test]
fn without_word_from_the_kernel_time_tells() {
    let mut trial = Trial::new("old\n");
    trial.follower.events.inotify = None;
    assert!(trial.follower.fd().is_none());
    assert!(trial.read().is_empty());
    for (from, to) in [("log", "log.1"), ("log", "log.2")] {
        trial.rename(from, to);
        trial.append("log", "one\n");
        trial.pass(LOOK_INTERVAL_WITHOUT_INOTIFY);
        assert!(trial.follower.poll_at() <= trial.now);
        assert_eq!(trial.read(), ["one"]);
    }
}
