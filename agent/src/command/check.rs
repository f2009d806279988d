use crate::args::Options;
use crate::config_file;
use crate::output::{self, Failure};

/// `postern check`
pub(crate) fn check(options: &Options) -> Result<(), Failure> {
    let config = config_file::load(&options.config)?;
    let doors = match config.doors.len() {
        1 => "1 door".to_string(),
        doors => format!("{doors} doors"),
    };
    output::print(&format!(
        "{}: no mistakes, {doors}\n",
        options.config.display()
    ))
}
