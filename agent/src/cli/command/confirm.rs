use super::reach;
use crate::cli::options::Options;
use crate::daemon::control::Request;
use crate::files::config_file::Peeked;
use crate::firewall::Refusal;
use crate::output::Failure;
use crate::trial;

/// `postern confirm`
pub(crate) fn confirm(options: &Options) -> Result<(), Failure> {
    let mut firewall = reach::firewall()?;
    let failed = |refusal: Refusal| Failure::Failed(refusal.to_string());
    if !options.anyway {
        let trial = firewall.trial().map_err(failed)?;
        trial::admit(trial).map_err(Failure::Failed)?;
    }
    let file = Peeked::read(&options.config);
    reach::switch(&file, &Request::Confirm, &mut || {
        let store = (file.config.as_deref()).map(|config| trial::store(&config.global));
        Ok(trial::confirm(&mut firewall, store.as_ref()))
    })
}
