use core::fmt::Write as _;
use std::path::Path;

use postern_core::config::Source;
use postern_core::door::{Door, Method};
use postern_core::knock::PortRange;
use postern_core::spa::{Allow, Terms};
use zeroize::Zeroizing;

use crate::cli::options::Options;
use crate::files::config_file;
use crate::onetime::list::{self, List};
use crate::onetime::secret::Secret;
use crate::onetime::{base32, state};
use crate::output::{self, Failure};
use crate::spa::keys::Keys;
use crate::spa::request;

/// `postern export`
pub(crate) fn export(options: &Options) -> Result<(), Failure> {
    let config = config_file::load(&options.config)?;
    let (_, door) = config_file::find(&config.doors, &options.door).map_err(Failure::Failed)?;
    let text = text(
        config.global.source,
        door,
        Path::new(config.global.state_dir.as_str()),
        options.secret,
    )?;
    output::print(&text)
}

/// What a client must know of a router that listens: it hears whole connections only.
const BY_SOCKETS: &str = "config client 'global'\n\toption source 'sockets'\n\n";

/// The door's section below comments that say what to do with it.
fn text(
    source: Source,
    door: &Door,
    state_dir: &Path,
    with_secret: bool,
) -> Result<Zeroizing<String>, Failure> {
    let name = &door.name;
    // A text that grows leaves copies of secrets behind; the longest list takes less than this.
    let capacity = if with_secret { 4 * list::MAX_FILE } else { 0 };
    let mut text = Zeroizing::new(String::with_capacity(capacity));
    _ = write!(
        text,
        "# Door {name}, for 'postern knock HOST {name}'. Save this on the client, readable by its\n\
         # owner alone, as ~/.config/postern/HOST, together with other doors of this router.\n"
    );
    match (&door.method, door.method.code()) {
        (Method::List { file, .. }, _) => {
            companion(&mut text, "list", file, "list_file", with_secret);
            if with_secret {
                sequences(&mut text, file, &door.guards)?;
            }
        }
        (Method::Spa(terms), _) => {
            companion(
                &mut text,
                "key file",
                &terms.key_file,
                "key_file",
                with_secret,
            );
            let keys = match with_secret {
                true => Some(keys(terms)?),
                false => None,
            };
            fwknoprc(&mut text, door, terms, keys.as_ref());
        }
        (_, Some(code)) => {
            let file = &code.secret_file;
            companion(&mut text, "secret", file, "secret_file", with_secret);
            if with_secret {
                secret(&mut text, file)?;
            }
        }
        _ => {}
    }
    progress(&mut text, door, state_dir);
    if source == Source::Sockets && !door.engine.is_in_kernel() {
        text.push_str(BY_SOCKETS);
    }
    text.push_str(&config_file::section(door));
    Ok(text)
}

fn companion(text: &mut String, what: &str, file: &str, option: &str, printed: bool) {
    let how = match printed {
        true => "it follows here",
        false => "it is not printed here, '--secret' does",
    };
    _ = write!(
        text,
        "# Its {what} is {file} on the router; {how}. The client needs a copy that\n\
         # only its owner can read: name its path there as {option}.\n"
    );
}

fn secret(text: &mut String, file: &str) -> Result<(), Failure> {
    let secret = Secret::read(Path::new(file)).map_err(|why| Failure::Failed(why.to_string()))?;
    let letters = base32::encode(secret.bytes());
    _ = writeln!(text, "#   base32:{}", letters.as_str());
    Ok(())
}

fn keys(terms: &Terms) -> Result<Keys, Failure> {
    let keys = Keys::read(Path::new(terms.key_file.as_str()), terms.hmac);
    keys.map_err(|why| Failure::Failed(why.to_string()))
}

/// What fwknop's client is told, and what its apps scan. In it, comments would end values.
fn fwknoprc(text: &mut String, door: &Door, terms: &Terms, keys: Option<&Keys>) {
    if let Some(keys) = keys {
        lines(text, &keys.lines());
        text.push_str("# Apps such as Fwknop2 scan a QR code of this text:\n");
        lines(text, &keys.scanned());
    }
    _ = writeln!(
        text,
        "# fwknop's own client takes this in ~/.fwknoprc, and then 'fwknop -n {name}':\n\
         #   [{name}]\n#   SPA_SERVER HOST\n#   SPA_SERVER_PORT {port}\n#   ACCESS {access}\n#   ALLOW_IP {allow}\n\
         #   USE_HMAC Y\n#   HMAC_DIGEST_TYPE {hmac}",
        name = door.name,
        port = terms.port,
        access = request::port_of(door).unwrap_or_default(),
        allow = match terms.allow {
            Allow::Any => "source",
            Allow::Named | Allow::Sender => "resolve",
        },
        hmac = terms.hmac.name().to_ascii_uppercase(),
    );
    if !terms.user.is_empty() {
        _ = writeln!(text, "#   SPOOF_USER {}", terms.user);
    }
    match keys {
        Some(keys) => lines(text, &keys.lines()),
        None => text.push_str("#   KEY_BASE64 ...\n#   HMAC_KEY_BASE64 ...\n"),
    }
}

fn lines(text: &mut String, said: &str) {
    for line in said.lines() {
        _ = writeln!(text, "#   {line}");
    }
}

fn sequences(text: &mut String, file: &str, guards: &[PortRange]) -> Result<(), Failure> {
    let list = List::read(Path::new(file), guards);
    let list = list.map_err(|why| Failure::Failed(why.to_string()))?;
    for sequence in (0..list.len()).filter_map(|number| list.sequence(number)) {
        text.push_str("#  ");
        for port in &sequence {
            _ = write!(text, " {}:{}", port.protocol.name(), port.number);
        }
        text.push('\n');
    }
    Ok(())
}

/// A client that begins with the first code would be behind.
fn progress(text: &mut String, door: &Door, state_dir: &Path) {
    let counts = matches!(door.method, Method::Seed { .. } | Method::List { .. });
    if let (true, Ok(next @ 1..)) = (counts, state::load(state_dir, door)) {
        _ = writeln!(
            text,
            "# Some were used already: a new client says '--next {next}' when it first knocks."
        );
    }
}
