use crate::cli::options::Options;
use crate::client::{self, Settings};
use crate::output::{self, Failure};

/// What is said in place of knocking where the client was left out. What `cross/build` makes goes
/// without: routers are knocked at, and the C library's resolver of names is large.
pub(crate) const LEFT_OUT: Option<&str> = if cfg!(feature = "client") {
    None
} else {
    Some(
        "this program was built without 'knock': 'cargo build --features client' makes one with it, or 'POSTERN_FEATURES=client cross/build' for a router",
    )
};

/// `postern knock`
pub(crate) fn knock(options: &Options) -> Result<(), Failure> {
    if let Some(why) = LEFT_OUT {
        return Err(Failure::Failed(why.into()));
    }
    let outcome = client::knock(&Settings {
        host: options.host.clone(),
        door: options.door.clone(),
        client_file: options.client_file.clone(),
        closing: options.closing,
        family: options.family,
        delay: options.delay,
        wait: options.wait,
        next: options.next,
        codes: options.codes,
        whom: options.whom,
        lasting: options.lasting,
        dry_run: options.dry_run,
    })?;
    if let Some(warning) = outcome.warning() {
        output::warn(&format!("warning: {warning}"));
    }
    output::print(&outcome.render(options.json))?;
    outcome.verdict()
}
