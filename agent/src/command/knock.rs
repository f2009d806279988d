use crate::args::Options;
use crate::client;
use crate::output::{self, Failure};

/// `postern knock`
pub(crate) fn knock(options: &Options) -> Result<(), Failure> {
    let outcome = client::knock(options)?;
    if let Some(warning) = outcome.warning() {
        output::say(&format!("warning: {warning}"));
    }
    output::print(&outcome.render(options.json))?;
    outcome.verdict()
}
