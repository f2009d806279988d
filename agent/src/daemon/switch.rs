//! The manual switch: what `open` and `close` do, in the agent and without it.

use core::net::IpAddr;

use postern_core::door::Door;
use postern_core::time::Duration;

use super::control::{Answer, Whom};
use crate::firewall::{CutOff, Firewall, MAX_GRANTS_AT_ONCE, Refusal, failing};
use crate::network::Network;
use crate::output::meant::there_are;
use crate::output::span;
use crate::validity::Phase;

/// How long a door can be opened for that is to be open for so long, as far as a configuration says.
pub(crate) fn allowed(door: Option<&Door>, lasting: Duration) -> Result<Duration, String> {
    let Some(door) = door else { return Ok(lasting) };
    let allowed = Phase::now(door).grant(door, lasting);
    allowed.map_err(|why| format!("door {} cannot be opened: {why}", door.name))
}

/// Opens a door.
pub(crate) fn open(firewall: &mut Firewall, door: &str, whom: &Whom, lasting: Duration) -> Answer {
    let name = match whom {
        Whom::Source(wanted) => grant(firewall, door, *wanted, lasting)?,
        Whom::Everyone => {
            let granted = firewall.grant_anyone(door, lasting);
            granted.map_err(|refusal| explain(firewall, &refusal))?;
            "everyone".into()
        }
        Whom::On(devices) => {
            let granted = firewall.grant_anyone_on(door, devices, lasting);
            granted.map_err(|refusal| explain(firewall, &refusal))?;
            format!("everyone on {}", devices.join(" and "))
        }
    };
    let locked = match firewall.locks() {
        Ok(locked) if locked.iter().any(|locked| locked == door) => {
            format!(", but it is locked: nobody gets in until 'postern unlock {door}'")
        }
        _ => String::new(),
    };
    let cut_off = match whom {
        Whom::Source(wanted) => cut_off_in(firewall, *wanted),
        _ => None,
    };
    let cut_off = cut_off.map_or_else(String::new, |(whose, source)| {
        format!("; {whose} knocks are ignored until 'postern pardon {source}'")
    });
    Ok(format!(
        "door {door} is open for {name} for {}{locked}{cut_off}\n",
        span(lasting)
    ))
}

/// Whose knocks are ignored, of those who are let in.
fn cut_off_in(firewall: &mut Firewall, wanted: Network) -> Option<(&'static str, Network)> {
    let cut_offs = firewall.cut_offs().unwrap_or_default();
    let mut cut_offs = cut_offs.iter().map(|cut_off| cut_off.source);
    let found = cut_offs.find(|source| source.overlaps(&wanted))?;
    Some(match found.includes(&wanted) {
        true => ("its own", wanted),
        false => ("some of its", found),
    })
}

/// Has a source's knocks heard again, or everybody's. `cut_offs` are all that there are, those of the kernel
/// included.
pub(crate) fn pardon(
    firewall: &mut Firewall,
    source: Option<IpAddr>,
    cut_offs: &[CutOff],
) -> Answer {
    match firewall.pardon(source) {
        Ok(_) | Err(Refusal::NotInstalled) => {}
        Err(refusal) => return Err(explain(firewall, &refusal)),
    }
    let Some(source) = source else {
        return Ok(match cut_offs.len() {
            0 => "nobody was cut off\n".into(),
            1 => "1 source is heard again\n".into(),
            count => format!("{count} sources are heard again\n"),
        });
    };
    let source = failing(source);
    match cut_offs.iter().any(|cut_off| cut_off.source == source) {
        true => Ok(format!("{source} is heard again\n")),
        false => Err(format!("{source} was not cut off")),
    }
}

/// Locks a door.
pub(crate) fn lock(firewall: &mut Firewall, door: &str) -> Answer {
    match firewall.lock(door) {
        Ok(()) => Ok(format!(
            "door {door} is locked: nobody gets in until 'postern unlock {door}', or a reboot\n"
        )),
        Err(refusal) => Err(explain(firewall, &refusal)),
    }
}

/// Unlocks a door.
pub(crate) fn unlock(firewall: &mut Firewall, door: &str) -> Answer {
    match firewall.unlock(door) {
        Ok(true) => Ok(format!("door {door} is unlocked\n")),
        Ok(false) => Ok(format!("door {door} was not locked\n")),
        Err(refusal) => Err(explain(firewall, &refusal)),
    }
}

/// Lets a network in; returns what was let in.
fn grant(
    firewall: &mut Firewall,
    door: &str,
    wanted: Network,
    lasting: Duration,
) -> Result<String, String> {
    let entrance = match firewall.entrance(door) {
        Ok(entrance) => entrance,
        Err(refusal) => return Err(explain(firewall, &refusal)),
    };
    let (family, bits) = (wanted.family(), entrance.prefix(wanted.family()));
    let Some(networks) = entrance.networks(wanted) else {
        let longest = bits.saturating_sub(MAX_GRANTS_AT_ONCE.ilog2() as u8);
        return Err(format!(
            "{wanted} is more than {MAX_GRANTS_AT_ONCE} grants of door {door}, each of which is a /{bits} \
             (option grant_prefix{}): name a /{longest} or narrower",
            family.digit()
        ));
    };
    let granted = match networks.as_slice() {
        [only] => firewall.grant(entrance, only.first(), lasting),
        all => firewall.grant_all(entrance, all, lasting),
    };
    match granted {
        Ok(()) => Ok(match networks.as_slice() {
            [only] => only.to_string(),
            _ => wanted.to_string(),
        }),
        Err(refusal) => Err(explain(firewall, &refusal)),
    }
}

/// Withdraws a door's grants, or those of one source or network.
pub(crate) fn close(firewall: &mut Firewall, door: &str, from: Option<Network>) -> Answer {
    let closed = match from {
        Some(wanted) => firewall.entrance(door).and_then(|entrance| {
            match wanted.prefix() < wanted.family().bits() {
                true => firewall.withdraw_within(entrance, wanted),
                false => firewall.withdraw(entrance, wanted.first()),
            }
        }),
        None => firewall.withdraw_all(door).map(|()| true),
    };
    match (closed.map_err(|refusal| explain(firewall, &refusal))?, from) {
        (true, Some(source)) => Ok(format!("door {door} is closed to {source}\n")),
        (true, None) => Ok(format!("door {door} is closed to everyone\n")),
        (false, _) => Ok(format!("door {door} was not open for this source\n")),
    }
}

/// Names the doors that there are to someone who mistyped one.
fn explain(firewall: &mut Firewall, refusal: &Refusal) -> String {
    match (refusal, firewall.doors()) {
        (Refusal::UnknownDoor(door), Ok(doors)) => {
            format!("{refusal}{}", there_are(door, &doors))
        }
        _ => refusal.to_string(),
    }
}
