//! The table in the real kernel, each test in a network namespace of its own.
//!
//! A namespace belongs to one thread and is gone when the thread ends.

use std::io::Write;
use std::process::{Command, Stdio};

use nix::sched::{CloneFlags, unshare};
use postern_core::config::{Config, Guard};

use super::{examples, render};

/// Runs a test in a fresh namespace; says so and skips where there can be none.
fn in_namespace(test: impl FnOnce() + Send + 'static) {
    let thread = std::thread::spawn(|| {
        if let Err(error) = unshare(CloneFlags::CLONE_NEWNET) {
            println!("skipped: no network namespace: {error}");
        } else if nft(&["list", "ruleset"], "").is_none() {
            println!("skipped: nft or nf_tables is missing");
        } else {
            test();
        }
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// What nft prints; `None` where it fails.
fn nft(arguments: &[&str], input: &str) -> Option<String> {
    let mut child = Command::new("nft")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .ok()?;
    child.stdin.take()?.write_all(input.as_bytes()).ok()?;
    let output = child.wait_with_output().ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8(output.stdout).unwrap())
}

fn listing() -> String {
    nft(&["list", "table", "inet", "postern"], "").expect("the table is there")
}

fn for_each_configuration(test: fn(&Config)) {
    for guard in [Guard::Gate, Guard::Mark] {
        for example in [
            examples::ssh,
            examples::three,
            examples::udp_only,
            examples::largest,
        ] {
            in_namespace(move || test(&example(guard)));
        }
    }
}

#[test]
fn nft_lists_the_text_that_it_was_given() {
    for_each_configuration(|config| {
        let text = render(config);
        nft(&["-f", "-"], &text).expect("nft takes the script");
        assert_eq!(listing(), text);
    });
}
