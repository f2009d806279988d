//! The manual switch.

use core::net::IpAddr;

use postern_core::door::{Door, OnExpiry};
use postern_core::time::Duration;

use super::reach;
use crate::cli::options::Options;
use crate::collect::CollectVec;
use crate::daemon::control::{Answer, Request, Whom};
use crate::daemon::{cut, switch};
use crate::files::config_file::Peeked;
use crate::firewall::{Firewall, Who};
use crate::netlink::conntrack::{self, Connections};
use crate::network::Network;
use crate::openwrt::networks;
use crate::output::{self, Failure};

/// How long a door opened by hand stays open when no configuration says.
const WITHOUT_CONFIG: Duration = Duration::from_secs(60);

/// `postern open`
pub(crate) fn open(options: &Options) -> Result<(), Failure> {
    let whom = whom(options)?;
    at_each(options, &|file, door| {
        open_one(file, door, &whom, options.lasting)
    })
}

fn open_one(
    file: &Peeked,
    door: &str,
    whom: &Whom,
    lasting: Option<Duration>,
) -> Result<(), Failure> {
    let request = Request::Open {
        door: door.into(),
        whom: whom.clone(),
        lasting,
    };
    reach::switch(file, &request, &mut || {
        let lasting = lasting.unwrap_or_else(|| grant_of(file, door));
        let mut firewall = reach::firewall()?;
        Ok(switch::allowed(find(file, door), lasting)
            .and_then(|lasting| switch::open(&mut firewall, door, whom, lasting)))
    })
}

fn whom(options: &Options) -> Result<Whom, Failure> {
    match (options.from, &options.on) {
        (Some(_), Some(_)) => Err(Failure::Misused(
            "--from and --on exclude each other; without either, everyone is let in".into(),
        )),
        (Some(source), None) => Ok(Whom::Source(source)),
        (None, Some(interface)) => networks::devices(interface).map(Whom::On),
        (None, None) => Ok(Whom::Everyone),
    }
}

/// `postern close`
pub(crate) fn close(options: &Options) -> Result<(), Failure> {
    at_each(options, &|file, door| close_one(file, door, options.from))
}

fn close_one(file: &Peeked, door: &str, from: Option<Network>) -> Result<(), Failure> {
    let request = Request::Close {
        door: door.into(),
        from,
    };
    reach::switch(file, &request, &mut || {
        let mut firewall = reach::firewall()?;
        let before = let_in(&mut firewall, door);
        let answer = switch::close(&mut firewall, door, from);
        let after = let_in(&mut firewall, door);
        let mut ended = before.into_iter().filter(|it| !after.contains(it));
        end_connections(&mut firewall, file, door, &mut ended);
        Ok(answer)
    })
}

/// `postern lock`
pub(crate) fn lock(options: &Options) -> Result<(), Failure> {
    switch_lock(options, |door| Request::Lock { door }, switch::lock)
}

/// `postern unlock`
pub(crate) fn unlock(options: &Options) -> Result<(), Failure> {
    switch_lock(options, |door| Request::Unlock { door }, switch::unlock)
}

fn switch_lock(
    options: &Options,
    request: fn(String) -> Request,
    directly: fn(&mut Firewall, &str) -> Answer,
) -> Result<(), Failure> {
    at_each(options, &|file, door| {
        reach::switch(file, &request(door.into()), &mut || {
            Ok(directly(&mut reach::firewall()?, door))
        })
    })
}

/// `postern pardon`
pub(crate) fn pardon(options: &Options) -> Result<(), Failure> {
    let source = match options.source.as_str() {
        "" => None,
        text => Some(source(text)?),
    };
    let file = Peeked::read(&options.config);
    reach::switch(&file, &Request::Pardon { source }, &mut || {
        let mut firewall = reach::firewall()?;
        Ok(match firewall.cut_offs() {
            Ok(cut_offs) => switch::pardon(&mut firewall, source, &cut_offs),
            Err(refusal) => Err(refusal.to_string()),
        })
    })
}

/// An address, or the IPv6 network of 64 bits that is cut off for one.
fn source(text: &str) -> Result<IpAddr, Failure> {
    let address: Option<IpAddr> = match text.strip_suffix("/64") {
        Some(address) => address.parse().ok().filter(IpAddr::is_ipv6),
        None => text.parse().ok(),
    };
    address
        .map(|address| address.to_canonical())
        .ok_or_else(|| {
            let text = text.escape_default();
            Failure::Misused(format!(
                "'{text}' is no address, expected one such as 192.0.2.7 or 2001:db8::7, or --all"
            ))
        })
}

/// Does it at the door that is named, or at every door of the guard; one that fails does not
/// keep it from the others.
fn at_each(
    options: &Options,
    act: &dyn Fn(&Peeked, &str) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let file = Peeked::read(&options.config);
    if !options.door.is_empty() {
        return act(&file, &options.door);
    }
    let doors = reach::firewall()?.doors();
    let doors = doors.map_err(|refusal| Failure::Failed(refusal.to_string()))?;
    let mut done = Ok(());
    for door in doors {
        if let Err(failure) = act(&file, &door) {
            failure.report();
            done = Err(Failure::Reported);
        }
    }
    done
}

/// Whom a door lets in.
fn let_in(firewall: &mut Firewall, door: &str) -> Vec<Network> {
    let grants = firewall.grants().unwrap_or_default().into_iter();
    let of_door = grants.filter(|grant| grant.door == door);
    of_door
        .filter_map(|grant| match grant.who {
            Who::Network(network) => Some(network),
            Who::Anyone { .. } => None,
        })
        .collect_vec()
}

/// Ends the connections of those who were let in, if that is what the door does, as far as a
/// configuration can be read.
fn end_connections(
    firewall: &mut Firewall,
    file: &Peeked,
    door: &str,
    networks: &mut dyn Iterator<Item = Network>,
) {
    let door = find(file, door);
    let Some((door, config)) = door
        .filter(|door| door.on_expiry == OnExpiry::Cut)
        .zip(file.config.as_deref())
    else {
        return;
    };
    let doomed: Vec<Connections> = networks
        .map(|network| cut::connections(door, network))
        .collect_vec();
    if doomed.is_empty() {
        return;
    }
    let grants = firewall.grants().unwrap_or_default();
    if let Err(error) = conntrack::cut(doomed, &cut::let_in(&grants, &config.doors)) {
        output::warn(&format!("connections cannot be told to end: {error}"));
    }
}

/// How long a grant of the door lasts, as far as a configuration can be read.
fn grant_of(file: &Peeked, door: &str) -> Duration {
    find(file, door).map_or(WITHOUT_CONFIG, |door| door.grant)
}

fn find<'c>(file: &'c Peeked, name: &str) -> Option<&'c Door> {
    let config = file.config.as_deref()?;
    config.doors.iter().find(|door| door.name == name)
}
