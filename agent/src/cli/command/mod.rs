//! The verbs, one file each; those that only reach for the agent or the kernel share `reach`.

mod apply;
mod check;
mod confirm;
mod doctor;
pub(super) mod doors;
mod export;
mod invitation;
mod keygen;
mod knock;
mod reach;
mod reload;
mod remove;
mod render;
mod resync;
mod run;
mod status;
mod switch;
mod watch;

use std::path::Path;

use postern_core::config::Config;

use crate::files::owner;
use crate::output;

pub(crate) use apply::apply;
pub(crate) use check::check;
pub(crate) use confirm::confirm;
pub(crate) use doctor::doctor;
pub(crate) use export::export;
pub(crate) use keygen::keygen;
pub(crate) use knock::{LEFT_OUT as KNOCK_LEFT_OUT, knock};
pub(crate) use reload::reload;
pub(crate) use remove::remove;
pub(crate) use render::render;
pub(crate) use resync::resync;
pub(crate) use run::run;
pub(crate) use status::status;
pub(crate) use switch::{close, lock, open, pardon, unlock};
pub(crate) use watch::watch;

/// Lets the agent's user have what a configuration names, and says what was changed for that.
fn hand_over(path: &Path, config: &Config) {
    for change in owner::hand_over(path, &config.global, &config.doors) {
        output::say(&change);
    }
}
