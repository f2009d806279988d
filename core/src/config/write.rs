//! A door as the section that it is read from.

use heapless::String;
use ufmt::{uDisplay, uWrite, uwrite};

use super::options::find;
use super::{Presence, Section};
use crate::code::Code;
use crate::door::{AtEnd, Door, EngineName, Method, Order};
use crate::knock::{Port, Protocol};
use crate::payload::{MAX_BYTES, Payload};
use crate::rfc3339;
use crate::time::Duration;

/// A value that is not in the door as a text; the longest is a payload in hexadecimal.
struct Value(String<{ 2 * MAX_BYTES + 8 }>);

/// The value is longer than any.
struct Full;

impl uWrite for Value {
    type Error = Full;

    fn write_str(&mut self, text: &str) -> Result<(), Full> {
        self.0.push_str(text).map_err(|_| Full)
    }
}

/// Writes a valid door as a section that [`super::Client::parse`] reads as an equal door.
///
/// Options at their defaults are left out, and the interfaces, of which a client knows none. Secrets are in files of their own, of which the
/// section names the path; the ports and the payload of static methods are in it.
///
/// ```
/// use postern_core::config::{Client, write};
///
/// struct Text(String);
///
/// impl ufmt::uWrite for Text {
///     type Error = core::convert::Infallible;
///
///     fn write_str(&mut self, text: &str) -> Result<(), Self::Error> {
///         self.0.push_str(text);
///         Ok(())
///     }
/// }
///
/// let read = |text: &str| Client::parse(text.as_bytes(), |wrong| panic!("{wrong}")).expect("a client's file").doors;
/// let doors = read("config door 'ssh'; option method 'single-same'; list open 'udp:9001'; option grant '30'");
/// let mut text = Text(String::new());
/// write(&doors[0], &mut text)?;
/// assert_eq!(text.0, "config door 'ssh'\n\toption method 'single-same'\n\tlist open 'udp:9001'\n");
/// assert_eq!(read(&text.0), doors);
/// # Ok::<(), core::convert::Infallible>(())
/// ```
pub fn write<W>(door: &Door, out: &mut W) -> Result<(), W::Error>
where
    W: uWrite + ?Sized,
{
    let mut section = Writer { out };
    uwrite!(section.out, "config door '{}'\n", door.name.as_str())?;
    section.list("guard", &door.guards)?;
    section.list("behind", &door.behind)?;
    section.list("to", &door.to)?;
    section.list("from", &door.from)?;
    for (name, moment) in [
        ("not_before", door.not_before),
        ("not_after", door.not_after),
    ] {
        if let Some(moment) = moment {
            section.value(name, |value| rfc3339::write(moment, value))?;
        }
    }
    section.option("passive", if door.passive { "1" } else { "0" })?;
    if door.engine != EngineName::Daemon {
        section.option("engine", door.engine.name())?;
    }
    section.option("method", door.method.name())?;
    section.method(&door.method)?;
    if let Some(payload) = &door.payload {
        section.payload(payload)?;
    }
    section.time("window", door.window)?;
    if !door.method.is_one_time() {
        if door.engine == EngineName::Daemon {
            section.time("jitter", door.jitter)?;
        }
        section.number("decoys", door.decoys.into())?;
    }
    section.time("grant", door.grant)?;
    section.number("grant_prefix4", door.grant_prefix4.into())?;
    section.number("grant_prefix6", door.grant_prefix6.into())?;
    if let Some(cutoff) = &door.cutoff {
        section.value("cutoff", |value| {
            uwrite!(value, "{} per ", cutoff.failures)?;
            write_time(value, cutoff.within)
        })?;
    }
    section.option("on_expiry", door.on_expiry.name())
}

struct Writer<'w, W: ?Sized> {
    out: &'w mut W,
}

impl<W: uWrite + ?Sized> Writer<'_, W> {
    fn method(&mut self, method: &Method) -> Result<(), W::Error> {
        match method {
            Method::Same { steps: open } | Method::Separate { open, .. } => {
                self.ports("open", open)?;
            }
            Method::List {
                file,
                at_end,
                order,
                ..
            } => {
                self.option("list_file", file)?;
                self.option("at_end", at_end_name(*at_end))?;
                self.option("order", order_name(*order))?;
            }
            Method::Clock {
                code, period, skew, ..
            } => {
                self.code(code)?;
                self.time("period", Duration::from_secs((*period).into()))?;
                self.number("skew", (*skew).into())?;
            }
            Method::Seed {
                code, look_ahead, ..
            } => {
                self.code(code)?;
                self.number("look_ahead", (*look_ahead).into())?;
            }
            Method::Spa(terms) => {
                self.number("port", terms.port)?;
                self.option("key_file", &terms.key_file)?;
                self.option("hmac", terms.hmac.name())?;
                self.option("allow", terms.allow.name())?;
                self.time("max_age", terms.max_age)?;
                self.time("grant_max", terms.grant_max)?;
                if !terms.user.is_empty() {
                    self.option("user", &terms.user)?;
                }
            }
        }
        self.ports("close", method.close())
    }

    fn code(&mut self, code: &Code) -> Result<(), W::Error> {
        self.option("secret_file", &code.secret_file)?;
        self.option("algorithm", code.algorithm.name())?;
        self.number("digits", code.digits.count() as u16)?;
        self.number("base", code.base)?;
        self.option("protocol", protocol_name(code.protocols))?;
        self.option("order", order_name(code.order))
    }

    fn ports(&mut self, name: &str, ports: &[Port]) -> Result<(), W::Error> {
        for port in ports {
            let (protocol, number) = (port.protocol.name(), port.number);
            uwrite!(self.out, "\tlist {} '{}:{}'\n", name, protocol, number)?;
        }
        Ok(())
    }

    fn list<T: uDisplay>(&mut self, name: &str, values: &[T]) -> Result<(), W::Error> {
        for value in values {
            uwrite!(self.out, "\tlist {} '{}'\n", name, value)?;
        }
        Ok(())
    }

    fn number(&mut self, name: &str, number: u16) -> Result<(), W::Error> {
        self.value(name, |value| uwrite!(value, "{}", number))
    }

    fn time(&mut self, name: &str, time: Duration) -> Result<(), W::Error> {
        self.value(name, |value| write_time(value, time))
    }

    fn payload(&mut self, payload: &Payload) -> Result<(), W::Error> {
        self.value("payload", |value| write_payload(value, payload))
    }

    /// An option whose value `make` writes; there is room for every value.
    fn value(
        &mut self,
        name: &str,
        make: impl FnOnce(&mut Value) -> Result<(), Full>,
    ) -> Result<(), W::Error> {
        let mut value = Value(String::new());
        _ = make(&mut value);
        self.option(name, &value.0)
    }

    /// An option, unless this is its default. In single quotes everything but a single
    /// quote stands for itself.
    fn option(&mut self, name: &str, value: &str) -> Result<(), W::Error> {
        let presence = find(Section::Door, name).map(|(_, spec)| spec.presence);
        if matches!(presence, Some(Presence::Default(default)) if default == value) {
            return Ok(());
        }
        uwrite!(self.out, "\toption {} '", name)?;
        for (index, piece) in value.split('\'').enumerate() {
            self.out.write_str(if index == 0 { "" } else { "'\\''" })?;
            self.out.write_str(piece)?;
        }
        self.out.write_str("'\n")
    }
}

/// In the largest unit that needs no fraction.
fn write_time(value: &mut Value, time: Duration) -> Result<(), Full> {
    let millis = time.as_millis();
    let units = [
        ("d", 86_400_000),
        ("h", 3_600_000),
        ("m", 60_000),
        ("s", 1_000),
    ];
    let mut units = units.into_iter();
    let whole = units.find(|(_, scale)| millis > 0 && millis.is_multiple_of(*scale));
    let (unit, scale) = whole.unwrap_or(("ms", 1));
    uwrite!(value, "{}{}", millis / scale, unit)
}

fn write_payload(value: &mut Value, payload: &Payload) -> Result<(), Full> {
    let bytes = match payload {
        Payload::Dns => return value.write_str("dns"),
        Payload::Ntp => return value.write_str("ntp"),
        Payload::Stun => return value.write_str("stun"),
        Payload::Quic => return value.write_str("quic"),
        Payload::Bytes(bytes) => bytes,
    };
    let printable = |byte: &u8| *byte == b' ' || byte.is_ascii_graphic();
    match core::str::from_utf8(bytes) {
        Ok(text) if bytes.iter().all(printable) => uwrite!(value, "text:{}", text),
        _ => write_hex(value, bytes),
    }
}

fn write_hex(value: &mut Value, bytes: &[u8]) -> Result<(), Full> {
    value.write_str("hex:")?;
    for nibble in bytes.iter().flat_map(|byte| [byte >> 4, byte & 0xf]) {
        let digit = char::from_digit(nibble.into(), 16);
        value.write_char(digit.unwrap_or_default())?;
    }
    Ok(())
}

const fn at_end_name(at_end: AtEnd) -> &'static str {
    match at_end {
        AtEnd::Wrap => "wrap",
        AtEnd::Stop => "stop",
    }
}

const fn order_name(order: Order) -> &'static str {
    match order {
        Order::Any => "any",
        Order::Strict => "strict",
    }
}

const fn protocol_name(protocols: [Protocol; 2]) -> &'static str {
    match protocols {
        [Protocol::Tcp, Protocol::Tcp] => "tcp",
        [Protocol::Udp, Protocol::Udp] => "udp",
        _ => "mixed",
    }
}
