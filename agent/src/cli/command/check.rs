use crate::cli::options::Options;
use crate::files::config_file::{self, DISABLED};
use crate::files::owner;
use crate::onetime::{self, Finding};
use crate::openwrt::networks;
use crate::output::{self, Failure, Level};
use crate::validity::{Phase, in_words};

/// `postern check`
pub(crate) fn check(options: &Options) -> Result<(), Failure> {
    let (config, _) = config_file::load_with_text(&options.config, options.doors())?;
    if options.hand_over {
        super::hand_over(&options.config, &config);
    }
    let obstacles = owner::obstacles(&options.config, &config.global, &config.doors, false);
    for obstacle in &obstacles {
        output::write_error(Level::Error, obstacle);
    }
    let findings = onetime::examine(&config);
    for Finding { is_mistake, text } in &findings {
        let (level, warning) = match is_mistake {
            true => (Level::Error, ""),
            false => (Level::Warning, "warning: "),
        };
        output::write_error(level, &format!("{warning}{text}"));
    }
    for door in &config.doors {
        let phase = Phase::now(door);
        if phase == Phase::Over {
            let why = in_words(door, phase);
            output::write_error(
                Level::Warning,
                &format!("warning: door {}: {why}", door.name),
            );
        }
    }
    let names = networks::look_up(&config).unwrap_or_default();
    for mistake in &names.mistakes {
        output::write_error(
            Level::Error,
            &format!("{}: {mistake}", options.config.display()),
        );
    }
    for meaning in &names.meanings {
        output::write_error(Level::Notice, &format!("note: {}", meaning.text));
    }
    let is_mistaken = !names.mistakes.is_empty() || !obstacles.is_empty();
    if is_mistaken || findings.iter().any(|finding| finding.is_mistake) {
        return Err(Failure::Reported);
    }
    let doors = match config.doors.len() {
        1 => "1 door".to_string(),
        doors => format!("{doors} doors"),
    };
    let file = options.config.display();
    output::print(&match config.global.enabled {
        true => format!("{file}: no mistakes, {doors}\n"),
        false => format!("{file}: no mistakes, {doors}, but {DISABLED}\n"),
    })
}
