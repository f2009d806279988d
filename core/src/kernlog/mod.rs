//! Reads knocks out of netfilter's log lines.
//!
//! A line of a log is whoever's who can write to that log, so it is looked at twice:
//! `envelope` says whether it is the kernel's word, as far as the log tells, and `fields`
//! reads what nf_log wrote (net/netfilter/nf_log_syslog.c). A line says nothing about a
//! packet's payload.

mod envelope;
mod fields;
#[cfg(test)]
mod tests;

use self::envelope::{LogMessage, Record};
use crate::knock::Knock;
use crate::packet::Refusal;

/// What the kernel writes before it describes a packet, because our rule tells it to.
pub const PREFIX: &str = "postern: ";

/// What the description of a packet begins with, in whichever line it stands.
const OURS: &[u8] = b"postern: IN=";

/// What a line amounts to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line<'l> {
    /// A packet that our rule had the kernel log: what it knocks on, or why it is no knock.
    Packet(Result<Knock<'l>, Refusal>),
    /// It reads as if the kernel had described a packet to us, but the log says that somebody
    /// else wrote it, or does not say who in a way that is known here.
    Forged,
    /// Any other line.
    Foreign,
}

/// Reads a line of a log that people can read, without the end of the line.
///
/// The kernel's lines are known by their facility where it is shown, and by `kernel:` in the
/// place of the program's name. A log daemon that lets programs choose both, as most do, lets
/// them forge lines: the log does not tell.
///
/// ```
/// use postern_core::kernlog::{self, Line};
///
/// let log = "Nov 27 06:00:00 gate kernel: [   12.345678] postern: IN=wan OUT= SRC=192.0.2.2 DST=192.0.2.1 LEN=60 \
///            TOS=0x00 PREC=0x00 TTL=64 ID=31167 DF PROTO=TCP SPT=33430 DPT=7000 WINDOW=64240 RES=0x00 SYN URGP=0";
/// let Line::Packet(Ok(knock)) = kernlog::line(log.as_bytes()) else {
///     panic!("a knock");
/// };
/// assert_eq!((knock.source.to_string(), knock.port.number), ("192.0.2.2".into(), 7000));
///
/// let forged = log.replace("kernel:", "su:");
/// assert_eq!(kernlog::line(forged.as_bytes()), Line::Forged);
/// ```
pub fn line(bytes: &[u8]) -> Line<'_> {
    match envelope::record(bytes) {
        Some(record) => of_record(record),
        None => of_message(envelope::message(bytes), bytes),
    }
}

/// Reads a record of `/dev/kmsg`; `None` if it is not one. With it comes its number: the
/// kernel counts its records, whatever they are about.
///
/// The kernel numbers facilities so that only its own records have facility 0
/// (`devkmsg_write` in kernel/printk/printk.c): nobody can forge a line here.
pub fn record(bytes: &[u8]) -> Option<(u64, Line<'_>)> {
    let record = envelope::record(bytes)?;
    Some((record.number, of_record(record)))
}

fn of_record(record: Record<'_>) -> Line<'_> {
    of_message(record.message, record.text)
}

fn of_message<'l>(message: LogMessage<'l>, line: &'l [u8]) -> Line<'l> {
    let text = match message {
        LogMessage::Kernel(text) if text.starts_with(OURS) => text.strip_prefix(PREFIX.as_bytes()),
        _ => None,
    };
    match text {
        Some(text) => Line::Packet(fields::knock(text)),
        None if contains_ours(line) => Line::Forged,
        None => Line::Foreign,
    }
}

fn contains_ours(line: &[u8]) -> bool {
    line.windows(OURS.len()).any(|window| window == OURS)
}
