//! A guard on trial: the kernel disarms it unless its owner comes in anew and confirms it.
//!
//! The firewall holds how long a trial goes on, so that it ends whatever becomes of the agent.
//! `store` holds which configuration the next start uses, `session` tells over what a
//! confirmation came.

mod session;
mod store;

use std::path::Path;

use postern_core::config::{Config, DEFAULT_STATE_DIR, Global};
use postern_core::door::{Door, Method};

use postern_core::time::{Duration, Instant};

use crate::collect::CollectVec;
use crate::files::config_file::{self, Doors};
use crate::firewall::{Firewall, Trial};
use crate::output::{self, Failure, span};
use crate::sys::clock::boottime;
use session::Session;
use store::Start;
pub(crate) use store::Store;

/// What a trial that is over is answered with.
pub(crate) const OVER: &str =
    "the trial is over and was not confirmed: the guard does not stay; 'postern apply' begins anew";

/// Why a file is not used that was on trial.
pub(crate) const UNCONFIRMED: &str = "it was on trial and nobody confirmed it";

/// What whoever began a trial is to know.
pub(crate) fn announcement(lasting: Duration) -> String {
    format!(
        "guard installed on trial for {}: leave this login open, log in anew, and say \
         'postern confirm' there\n",
        span(lasting)
    )
}

/// The files of a configuration.
pub(crate) fn store(global: &Global) -> Store {
    Store::in_folder(Path::new(global.state_dir.as_str()))
}

/// The files of a configuration that may be wrong, or missing: then those where they would be without one.
pub(crate) fn store_of_file(path: &Path) -> Store {
    let folder = config_file::peek_state_dir(path);
    Store::in_folder(&folder.unwrap_or_else(|| DEFAULT_STATE_DIR.into()))
}

/// What is to be put into force at a start.
pub(crate) struct Chosen {
    pub(crate) config: Box<Config>,
    /// The text to remember as confirmed, once it is in force; none where it is the one before a
    /// trial.
    pub(crate) text: Option<Vec<u8>>,
}

/// Reads the configuration for a start: one that was on trial when the last one ended was not
/// confirmed, and the one before it is used.
pub(crate) fn configuration_of_a_start(path: &Path, doors: Doors) -> Result<Chosen, Failure> {
    let (config, text) = config_file::load_with_text(path, doors)?;
    let file = path.display();
    let before = match store(&config.global).at_start(&text) {
        Start::AsWritten => {
            let text = Some(text);
            return Ok(Chosen { config, text });
        }
        Start::Before(before) => before,
        Start::Unguarded => {
            return Err(Failure::Failed(format!(
                "{file} was on trial and nobody confirmed it, and no other was confirmed before: \
                 nothing is guarded; 'postern apply' puts it into force"
            )));
        }
    };
    let config = before_trial(path, &before)?;
    Ok(Chosen { config, text: None })
}

/// The configuration that is used in place of the file's, which was on trial and not confirmed.
pub(crate) fn before_trial(file: &Path, before: &[u8]) -> Result<Box<Config>, Failure> {
    output::warn(&format!(
        "{} was on trial and nobody confirmed it: the configuration before it is used; \
         'postern apply' puts the new one into force",
        file.display()
    ));
    parse_confirmed(before)
}

/// Reads the text that was confirmed last.
pub(crate) fn parse_confirmed(text: &[u8]) -> Result<Box<Config>, Failure> {
    config_file::parse(
        "the configuration that was confirmed last",
        text,
        Doors::Allowed,
    )
}

/// The names of doors that open otherwise than before: whoever came in by what may have leaked has to knock
/// again.
pub(crate) fn opened_otherwise(before: &[Door], doors: &[Door]) -> Vec<String> {
    let is_other = |door: &&Door| {
        let same_name = before.iter().find(|before| before.name == door.name);
        same_name.is_some_and(|before| {
            opening(&before.method) != opening(&door.method) || before.payload != door.payload
        })
    };
    let others = doors.iter().filter(is_other);
    others.map(|door| door.name.to_string()).collect_vec()
}

/// A method without what closes.
fn opening(method: &Method) -> Method {
    let mut method = method.clone();
    match &mut method {
        Method::Same { .. } | Method::Spa(_) => {}
        Method::Separate { close, .. }
        | Method::List { close, .. }
        | Method::Clock { close, .. }
        | Method::Seed { close, .. } => close.clear(),
    }
    method
}

/// The names of doors that open otherwise than before, where what was confirmed last was in force before.
pub(crate) fn opened_otherwise_than_confirmed(store: &Store, doors: &[Door]) -> Vec<String> {
    let before = (store.confirmed()).and_then(|text| config_file::parse_silently(&text));
    before.map_or_else(Vec::new, |before| opened_otherwise(&before.doors, doors))
}

/// Remembers that a text is in force without a trial. That it cannot be remembered is no
/// reason not to guard.
pub(crate) fn settle(store: &Store, text: &[u8]) {
    if let Err(why) = store.settle(text) {
        output::warn(&format!(
            "it cannot be remembered that this configuration is in force ({why}): \
             a trial could not go back to it"
        ));
    }
}

/// Makes the guard on trial stay, in the kernel first, then at the next start.
pub(crate) fn confirm(firewall: &mut Firewall, store: Option<&Store>) -> Result<String, String> {
    match firewall.confirm().map_err(|refusal| refusal.to_string())? {
        Trial::None => return Err("no guard is on trial".into()),
        Trial::Lapsed => return Err(OVER.into()),
        Trial::Running { .. } => {}
    }
    let remembered = match store {
        Some(store) => store.confirm().map_err(|why| why.to_string()),
        None => Err("the configuration cannot be read".into()),
    };
    match remembered {
        Ok(()) => Ok("confirmed: the guard stays\n".into()),
        Err(why) => Err(format!(
            "the guard stays until the next start only, because its confirmation cannot be \
             saved: {why}; mend that and run 'postern apply'"
        )),
    }
}

/// Whether whoever asks came in after the trial began, and so can again.
pub(crate) fn admit(trial: Trial) -> Result<(), String> {
    let Trial::Running { for_so_long, .. } = trial else {
        return Ok(());
    };
    // Reckoned before the process file system is read, which takes its time.
    let trial_began_at = boottime() - for_so_long;
    let session = session::of_process(Path::new("/proc"), std::process::id());
    judge(session, trial_began_at)
}

fn judge(session: Session, trial_began_at: Instant) -> Result<(), String> {
    match session {
        Session::Console => Ok(()),
        Session::Connection { began_at, .. } if began_at + session::TICK > trial_began_at => Ok(()),
        Session::Connection { peer, began_at } => Err(format!(
            "this connection from {peer} is {} older than the trial, and shows nothing: \
             log in anew, through the guard, and confirm there",
            span(trial_began_at.since(began_at))
        )),
        Session::Unknown => Err(
            "it cannot be told over which connection this came (tmux, screen and jobs hide it): \
             log in anew and confirm there, or say --anyway if you did"
                .into(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_came_in_during_the_trial_confirms_it() {
        let began_at = Instant::from_millis;
        let peer = "192.0.2.2".parse().unwrap();
        let connection = |millis| Session::Connection {
            peer,
            began_at: began_at(millis),
        };
        let trial = began_at(10_000);
        assert_eq!(judge(Session::Console, trial), Ok(()));
        assert_eq!(judge(connection(10_000), trial), Ok(()));
        assert_eq!(
            judge(connection(9_991), trial),
            Ok(()),
            "procfs rounds down"
        );
        let refused = judge(connection(9_000), trial).unwrap_err();
        assert!(refused.contains("192.0.2.2 is 1s older"), "{refused}");
        let refused = judge(Session::Unknown, trial).unwrap_err();
        assert!(refused.contains("--anyway"), "{refused}");
    }
}
