//! The manual switch: what `open` and `close` do, in the agent and without it.

use core::net::IpAddr;

use postern_core::door::Door;
use postern_core::time::Duration;

use super::control::{Answer, Whom};
use crate::firewall::{CutOff, Firewall, Refusal, failing};
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
    let granted = match whom {
        Whom::Source(source) => {
            grant(firewall, door, *source, lasting).map(|network| network.to_string())
        }
        Whom::Everyone => firewall
            .grant_anyone(door, lasting)
            .map(|()| "everyone".into()),
        Whom::On(devices) => firewall
            .grant_anyone_on(door, devices, lasting)
            .map(|()| format!("everyone on {}", devices.join(" and "))),
    };
    let name = granted.map_err(|refusal| explain(firewall, &refusal))?;
    let locked = match firewall.locks() {
        Ok(locked) if locked.iter().any(|locked| locked == door) => {
            format!(", but it is locked: nobody gets in until 'postern unlock {door}'")
        }
        _ => String::new(),
    };
    let cut_off = match whom {
        Whom::Source(source) if is_cut_off(firewall, *source) => {
            format!("; its own knocks are ignored until 'postern pardon {source}'")
        }
        _ => String::new(),
    };
    Ok(format!(
        "door {door} is open for {name} for {}{locked}{cut_off}\n",
        span(lasting)
    ))
}

fn is_cut_off(firewall: &mut Firewall, source: IpAddr) -> bool {
    let cut_offs = firewall.cut_offs().unwrap_or_default();
    cut_offs.iter().any(|cut_off| cut_off.source.has(source))
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

fn grant(
    firewall: &mut Firewall,
    door: &str,
    source: IpAddr,
    lasting: Duration,
) -> Result<Network, Refusal> {
    let entrance = firewall.entrance(door)?;
    firewall.grant(entrance, source, lasting)?;
    Ok(entrance.network(source))
}

/// Withdraws a door's grants, or one source's.
pub(crate) fn close(firewall: &mut Firewall, door: &str, from: Option<IpAddr>) -> Answer {
    let closed = match from {
        Some(source) => firewall
            .entrance(door)
            .and_then(|entrance| firewall.withdraw(entrance, source)),
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
