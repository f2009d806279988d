//! What the kernel says of tables, from whatever octets.

use postern_core::knock::Protocol;

use super::foreign_tables::ForeignTables;
use super::foreign_tables::journey::{Packet, Seer};
use super::nft::connection::{Connection, ElementChange};
use super::nft::dump;
use super::{Firewall, monitor};
use crate::netlink::codec::Message;
use crate::network::Family;

/// Every reader of an answer, one after the other.
pub(crate) fn answer(message: &Message<'_>) {
    let about = || message.attributes();
    _ = monitor::learn((&mut None, &mut false), message);
    _ = dump::read_table(about());
    dump::read_chain(about(), &mut Vec::new());
    dump::read_set(about(), &mut Vec::new());
    dump::read_counter(about(), &mut Vec::new());
    dump::read_elements(about(), &mut Vec::new());
    _ = dump::term(about());
}

/// Follows a packet through a chain at the guard's hook that has this rule of another table's.
pub(crate) fn journey(firewall: &mut Firewall, rule: &[u8]) {
    let mut others = ForeignTables::with_rule(rule);
    for (family, seen_by) in [(Family::V4, Seer::Guard), (Family::V6, Seer::Knocks)] {
        let packet = Packet {
            family,
            protocol: Protocol::Tcp,
            ports: 22..=23,
            interface: "lo",
            mark: None,
            seen_by,
            behind: false,
        };
        _ = others.fate(firewall, &packet);
    }
}

/// All that is in a set of the table, which is emptied.
pub(crate) fn take(connection: &mut Connection, set: &str) -> Vec<Vec<u8>> {
    let elements = connection.elements(set).expect("the set is there");
    if !elements.is_empty() {
        connection
            .apply(&[ElementChange::Flush(&[set])])
            .expect("it is emptied");
    }
    elements.into_iter().map(|element| element.key).collect()
}
