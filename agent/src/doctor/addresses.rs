//! Addresses of doors: those that are this machine's, and those that are not.

use core::net::IpAddr;

use postern_core::config::Config;

use super::finding::Finding;
use super::interfaces::listed;
use super::kinds;
use crate::collect::CollectVec;
use crate::netlink::links::Link;

pub(super) fn examine(config: &Config, links: &[Link], findings: &mut Vec<Finding>) {
    let outer = links.iter().filter(|link| !link.loopback);
    let own = outer.flat_map(|link| &link.addresses);
    let own: Vec<IpAddr> = own.map(|(address, _)| *address).collect_vec();
    for door in &config.doors {
        let name = ("door", door.name.as_str());
        for to in door
            .to
            .iter()
            .filter(|to| !own.iter().any(|own| to.has(*own)))
        {
            let others = listed(own.iter().map(IpAddr::to_string));
            let values = [name, ("address", &*to.to_string()), ("others", &*others)];
            findings.push(Finding::new(&kinds::ADDRESS_MISSING, &values));
        }
        for behind in &door.behind {
            if let Some(own) = own.iter().find(|own| behind.has(**own)) {
                let (network, own) = (behind.to_string(), own.to_string());
                let values = [name, ("network", &*network), ("address", &*own)];
                findings.push(Finding::new(&kinds::ADDRESS_OWN, &values));
            }
        }
    }
}
