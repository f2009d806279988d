use core::fmt::Write as _;
use core::slice;
use std::io::{self, IsTerminal};
use std::path::Path;

use postern_core::code::{Algorithm, Code};
use postern_core::config::Config;
use postern_core::door::{Door, Method};
use postern_core::spa::Hmac;
use zeroize::Zeroizing;

use super::{invitation, reach};
use crate::cli::options::Options;
use crate::cli::qr;
use crate::daemon::control::Request;
use crate::files::{atomic_file, bounded, config_file, owner};
use crate::onetime::{self, base32, state};
use crate::output::{self, Failure};
use crate::spa::keys;
use crate::sys::process;

/// `postern keygen`
///
/// The secret comes before the memory: a crash between the two leaves a new secret with an old
/// counter, which a resync mends, and never an old secret whose codes work again.
pub(crate) fn keygen(options: &Options) -> Result<(), Failure> {
    let config = config_file::load(&options.config)?;
    if options.print {
        return invitation::print(&config, options);
    }
    if options.like.is_some() || options.until.is_some() {
        return Err(Failure::Misused(
            "--like and --until are about a new door: they go with --print".into(),
        ));
    }
    let (_, door) = onetime::find(&config.doors, &options.door).map_err(Failure::Failed)?;
    let address = make(&config, door, options.force)?;
    tell_agent(&config, &options.door);
    show(&address)
}

/// Makes the door's secret or keys and begins its memory; returns what apps take.
pub(super) fn make(
    config: &Config,
    door: &Door,
    force: bool,
) -> Result<Zeroizing<String>, Failure> {
    let path = owner::material(door).filter(|_| !matches!(door.method, Method::List { .. }));
    let path = path.ok_or_else(|| {
        Failure::Failed(format!(
            "door {} needs no secret: it has a list of sequences",
            door.name
        ))
    })?;
    // Whatever has this name, a broken link too, may be what somebody still needs.
    if !force && path.symlink_metadata().is_ok() {
        return Err(Failure::Failed(format!(
            "{} is there already; --force replaces it, and the old secret is lost",
            path.display()
        )));
    }
    let (content, address) = match &door.method {
        Method::Spa(terms) => keys(terms.hmac)?,
        _ => secret(door)?,
    };
    store(path, &content)?;
    begin(Path::new(config.global.state_dir.as_str()), door)?;
    let doors = slice::from_ref(door);
    owner::hand_over(path, &config.global, doors);
    for obstacle in owner::obstacles(path, &config.global, doors, true) {
        output::warn(&obstacle);
    }
    Ok(address)
}

/// What a file holds, and what apps take.
type Made = (Zeroizing<String>, Zeroizing<String>);

fn secret(door: &Door) -> Result<Made, Failure> {
    let code = door.method.code();
    let code = code.ok_or_else(|| Failure::Failed("its method has no secret".into()))?;
    // As long as the digest (RFC 4226, section 4, R6; RFC 6238, section 5.1).
    let secret = random(match code.algorithm {
        Algorithm::Sha1 => 20,
        Algorithm::Sha256 => 32,
        Algorithm::Sha512 => 64,
    })?;
    let text = base32::encode(&secret);
    let content = Zeroizing::new(format!("base32:{}\n", *text));
    Ok((content, address(door, code, &text, &hostname())))
}

/// As long as fwknop's own, and as its apps scan them.
fn keys(hmac: Hmac) -> Result<Made, Failure> {
    let key = keys::written(&random(32)?);
    let hmac_key = keys::written(&random(match hmac {
        Hmac::Md5 => 16,
        Hmac::Sha1 => 20,
        Hmac::Sha256 => 64,
        Hmac::Sha384 | Hmac::Sha512 => 128,
    })?);
    let (key, hmac_key) = (&*key, &*hmac_key);
    Ok((keys::lines(key, hmac_key), keys::scanned(key, hmac_key)))
}

fn random(length: usize) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let mut secret = Zeroizing::new(vec![0; length]);
    process::random(&mut secret)
        .map_err(|error| Failure::Failed(format!("the kernel's random numbers: {error}")))?;
    Ok(secret)
}

fn store(path: &Path, content: &str) -> Result<(), Failure> {
    if let Some(folder) = path.parent() {
        make_folder(folder)?;
    }
    atomic_file::replace(path, content.as_bytes())
        .map_err(|error| Failure::Failed(error.to_string()))
}

fn begin(folder: &Path, door: &Door) -> Result<(), Failure> {
    make_folder(folder)?;
    state::save(folder, door, 0).map_err(|error| {
        Failure::Failed(format!(
            "the secret is made, but {error}; then say 'postern keygen {} --force'",
            door.name
        ))
    })
}

fn make_folder(folder: &Path) -> Result<(), Failure> {
    atomic_file::make_folder(folder)
        .map_err(|error| Failure::Failed(format!("{}: {error}", folder.display())))
}

/// An agent that does not know the door yet reads the secret when it learns of the door.
fn tell_agent(config: &Config, door: &str) {
    let socket = Path::new(config.global.control.as_str());
    let door = door.into();
    match reach::agent_at(socket, &Request::Reread { door }) {
        Ok(None | Some(Ok(_))) => {}
        Ok(Some(Err(why))) | Err(Failure::Failed(why)) => output::warn(&format!(
            "the running agent does not use the secret yet ({why}); 'postern apply' has it read everything again"
        )),
        Err(_) => {}
    }
}

fn show(address: &str) -> Result<(), Failure> {
    output::print(&Zeroizing::new(format!("{address}\n")))?;
    if io::stdout().is_terminal() {
        match qr::render(address) {
            Some(picture) => output::print(&picture)?,
            None => output::warn("the address is too long for a QR code"),
        }
    }
    Ok(())
}

/// What authenticator apps take (github.com/google/google-authenticator/wiki/Key-Uri-Format).
fn address(door: &Door, code: &Code, secret: &str, host: &str) -> Zeroizing<String> {
    let algorithm = code.algorithm.name().to_ascii_uppercase();
    let digits = code.digits.count();
    let (kind, moving) = match &door.method {
        Method::Clock { period, .. } => ("totp", format!("period={period}")),
        _ => ("hotp", "counter=0".into()),
    };
    let (name, host) = (&door.name, escaped(host));
    // Long enough for what follows: a longer one would leave a copy of the secret behind.
    let mut address = Zeroizing::new(String::with_capacity(512 + host.len() + secret.len()));
    _ = write!(
        address,
        "otpauth://{kind}/Postern:{name}@{host}?secret={secret}&issuer=Postern\
         &algorithm={algorithm}&digits={digits}&{moving}"
    );
    address
}

fn hostname() -> String {
    let name = bounded::read(Path::new("/proc/sys/kernel/hostname"), 256).unwrap_or_default();
    match core::str::from_utf8(&name).unwrap_or_default().trim() {
        "" => "router".into(),
        name => name.into(),
    }
}

/// RFC 3986, section 2.1.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        match byte {
            b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'-' | b'.' | b'_' | b'~' => {
                escaped.push(byte.into());
            }
            other => _ = write!(escaped, "%{other:02X}"),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onetime::examples::{clock_door, seed_door};
    use crate::onetime::secret::Secret;
    use crate::spa::keys::Keys;
    use crate::testing::scratch::Scratch;

    fn address_of(door: &Door, host: &str) -> String {
        let address = address(door, door.method.code().unwrap(), "GEZDGNBV", host);
        address.to_string()
    }

    #[test]
    fn apps_are_told_everything() {
        assert_eq!(
            address_of(&seed_door("ssh"), "gate"),
            "otpauth://hotp/Postern:ssh@gate?secret=GEZDGNBV&issuer=Postern&algorithm=SHA1&digits=6&counter=0"
        );
        assert_eq!(
            address_of(&clock_door("web", "/s", 1), "a b&\u{e4}"),
            "otpauth://totp/Postern:web@a%20b%26%C3%A4?secret=GEZDGNBV&issuer=Postern&algorithm=SHA1&digits=6&period=30"
        );
    }

    #[test]
    fn what_is_stored_is_read_again() {
        let scratch = Scratch::new();
        let path = scratch.path("new/folder/ssh.secret");
        let (content, address) = secret(&seed_door("ssh")).unwrap();
        store(&path, &content).unwrap();
        let letters = base32::encode(Secret::read(&path).ok().unwrap().bytes());
        assert!(address.contains(&*letters));
        for (_, hmac) in Hmac::ALL {
            let (content, scanned) = keys(*hmac).unwrap();
            store(&path, &content).unwrap();
            let read = Keys::read(&path, *hmac).ok().unwrap();
            assert_eq!(read.scanned(), scanned);
        }
    }
}
