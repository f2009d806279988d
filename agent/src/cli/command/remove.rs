use super::reach;
use crate::cli::options::Options;
use crate::daemon::control::Request;
use crate::files::config_file::Peeked;
use crate::output::{self, Failure};

/// `postern remove`
///
/// The way back in must not hang on the agent's health: when it fails to answer, or
/// answers that it failed, the kernel is told directly.
pub(crate) fn remove(options: &Options) -> Result<(), Failure> {
    let file = Peeked::read(&options.config);
    match reach::agent(&file, &Request::Remove) {
        Ok(Some(Ok(answer))) => return output::print(&answer),
        Ok(Some(Err(why))) => output::warn(&format!(
            "the agent failed ({why}); removing the guard without it"
        )),
        Err(Failure::Failed(why)) => output::warn(&format!("{why}; removing the guard without it")),
        Ok(None) => reach::forbid_unasked(&file)?,
        Err(_) => {}
    }
    let removed = reach::firewall()?
        .remove()
        .map_err(|refusal| Failure::Failed(refusal.to_string()))?;
    output::print(if removed {
        "guard removed\n"
    } else {
        "there was no guard\n"
    })
}
