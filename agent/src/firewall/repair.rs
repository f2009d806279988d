//! Putting back what somebody took away.

use core::net::IpAddr;

use postern_core::config::Config;
use postern_core::knock::Port;
use postern_core::time::Duration;

use super::grants::{Grant, Who};
use super::nft::batch::Kept;
use super::nft::message::Lasting;
use super::table::model::{Table, timeout};
use super::table::names::{self, interface_key};
use super::trial::armed;
use super::{Firewall, Refusal};
use crate::collect::CollectVec;
use crate::network::family;

impl Firewall {
    /// Puts the table of this configuration back, on trial for what is left of it if it was.
    ///
    /// Where the kernel has lost a set of grants, it gets those that are remembered here; so it is
    /// with the doors that were locked.
    pub(crate) fn put_back(
        &mut self,
        config: &Config,
        listed: &[Port],
        on_trial: Option<(Duration, Duration)>,
        (grants, locked): (&[Grant], &[String]),
    ) -> Result<(), Refusal> {
        let (table, armed) = match on_trial {
            None => (Table::new(config, listed), Vec::new()),
            Some(times) => (Table::on_trial(config, listed), armed(config, times)),
        };
        let mut remembered = Vec::new();
        for grant in grants {
            remembered.extend(element(&table, grant));
        }
        for door in locked {
            remembered.extend(lock(&table, config, door));
        }
        self.replace(&table, &armed, &remembered)
    }
}

/// The element that a grant is; `None`: the table has no such door.
fn element(table: &Table, grant: &Grant) -> Option<Kept> {
    let (name, key) = match &grant.who {
        Who::Network(network) => {
            let first = network.first();
            let key = match first {
                IpAddr::V4(address) => address.octets().to_vec(),
                IpAddr::V6(address) => address.octets().to_vec(),
            };
            (names::grants(family(first), &grant.door), key)
        }
        Who::Anyone { interface } => {
            let key = interface_key(interface).to_vec();
            (names::anyone(&grant.door), key)
        }
    };
    let lasting = grant.remaining.map(|remaining| Lasting {
        timeout: timeout(remaining),
        remaining: timeout(remaining),
    });
    Some(Kept {
        set: table.sets.iter().position(|set| set.name == name)?,
        key,
        lasting,
    })
}

/// The elements that lock a door; none, if the table has no such door.
fn lock(table: &Table, config: &Config, door: &str) -> Vec<Kept> {
    let name = [names::LOCKED, door].concat();
    let Some(set) = table.sets.iter().position(|set| set.name == name) else {
        return Vec::new();
    };
    let names = names::interface_names(config).into_iter();
    let element = |name: String| Kept {
        set,
        key: interface_key(&name).to_vec(),
        lasting: None,
    };
    names.map(element).collect_vec()
}
