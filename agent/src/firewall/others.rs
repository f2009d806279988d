//! What other tables than ours do with the packets that ours lets pass.
//!
//! Only nf_tables is asked: rules of the older iptables are somewhere else.

use super::netlink::{Attributes, EVERY_FAMILY, as_text, as_u32, nfta};
use super::objects::Object;
use super::refusal::refused_object;
use super::{Firewall, Refusal};

/// The most chains and rules that are looked at.
const MAX_READ: usize = 8192;

/// Other tables, as far as they matter to a guard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Others {
    /// The chains that packets for this host enter and that drop what they do not know.
    pub(crate) dropping: Vec<String>,
    /// Whether some rule drops or rejects.
    pub(crate) refuses: bool,
    /// Whether some rule asks for the bits of the mark.
    pub(crate) asks_for_mark: bool,
    /// Whether some rule keeps packets from connection tracking.
    pub(crate) untracks: bool,
}

impl Firewall {
    /// What the tables of every family do, but ours; `mark` are the bits that we set.
    pub(crate) fn others(&mut self, mark: u32) -> Result<Others, Refusal> {
        let mut others = Others::default();
        for kind in [libc::NFT_MSG_GETCHAIN, libc::NFT_MSG_GETRULE] {
            let read = |message: Attributes<'_>, all: &mut Vec<Others>| {
                if all.len() < MAX_READ && message.find(TABLE_OF_EITHER) != Some(OURS) {
                    all.push(match kind {
                        libc::NFT_MSG_GETCHAIN => chain(message),
                        _ => rule(message, mark),
                    });
                }
            };
            let all = self.channel.dump_of(EVERY_FAMILY, kind, &|_| {}, read);
            for deeds in all.map_err(|failure| refused_object(&Object::Table, failure))? {
                others.dropping.extend(deeds.dropping);
                others.refuses |= deeds.refuses;
                others.asks_for_mark |= deeds.asks_for_mark;
                others.untracks |= deeds.untracks;
            }
        }
        Ok(others)
    }
}

/// NFTA_CHAIN_TABLE and NFTA_RULE_TABLE are the same number.
const TABLE_OF_EITHER: u16 = nfta::CHAIN_TABLE;
/// The name of our table, as the kernel writes it.
const OURS: &[u8] = b"postern\0";

fn chain(chain: Attributes<'_>) -> Others {
    let text = |kind| chain.find(kind).and_then(as_text).unwrap_or_default();
    let hook = chain.inside(nfta::CHAIN_HOOK);
    let hook = hook
        .and_then(|hook| hook.find(nfta::HOOK_NUMBER))
        .and_then(as_u32);
    let policy = chain.find(nfta::CHAIN_POLICY).and_then(as_u32);
    let drops = hook == Some(libc::NF_INET_LOCAL_IN as u32) && policy == Some(libc::NF_DROP as u32);
    let (table, name) = (text(nfta::CHAIN_TABLE), text(nfta::CHAIN_NAME));
    let mut deeds = Others::default();
    if drops {
        let chain = ["chain ", name, " of table ", table].concat();
        deeds.dropping.push(chain);
    }
    deeds
}

fn rule(rule: Attributes<'_>, mark: u32) -> Others {
    let expressions = rule.inside(nfta::RULE_EXPRESSIONS);
    deeds(expressions.unwrap_or(Attributes(&[])), mark)
}

/// Follows a mark from its loading to what it is compared with.
fn deeds(expressions: Attributes<'_>, mark: u32) -> Others {
    let mut deeds = Others::default();
    // The bits of the mark that are in the register.
    let mut loaded = 0;
    let holds = |bits: u32| bits & mark == mark;
    for (_, expression) in expressions {
        let expression = Attributes(expression);
        let name = expression.find(nfta::EXPR_NAME).and_then(as_text);
        let data = expression
            .inside(nfta::EXPR_DATA)
            .unwrap_or(Attributes(&[]));
        match name.unwrap_or_default() {
            "meta" => loaded = if loads_mark(data) { u32::MAX } else { 0 },
            "bitwise" => loaded &= host_value(data, nfta::BITWISE_MASK),
            "cmp" if holds(loaded) => {
                let value = host_value(data, nfta::CMP_DATA);
                deeds.asks_for_mark |= value == 0 || holds(value);
            }
            "lookup" => deeds.asks_for_mark |= holds(loaded),
            // Those of iptables, which nobody but iptables reads.
            "match" => deeds.asks_for_mark |= is_named(data, "mark"),
            "target" => deeds.refuses |= is_named(data, "REJECT"),
            "reject" => deeds.refuses = true,
            "immediate" => deeds.refuses |= drops(data),
            "notrack" => deeds.untracks = true,
            _ => {}
        }
    }
    deeds
}

fn loads_mark(meta: Attributes<'_>) -> bool {
    let key = meta.find(nfta::META_KEY).and_then(as_u32);
    key == Some(libc::NFT_META_MARK as u32) && meta.find(nfta::META_REGISTER).is_some()
}

/// A mark in a register is in the host's byte order.
fn host_value(data: Attributes<'_>, kind: u16) -> u32 {
    let value = data
        .inside(kind)
        .and_then(|data| data.find(nfta::DATA_VALUE));
    let value = value.and_then(|value| value.try_into().ok());
    value.map_or(0, u32::from_ne_bytes)
}

fn is_named(extension: Attributes<'_>, name: &str) -> bool {
    extension.find(nfta::EXTENSION_NAME).and_then(as_text) == Some(name)
}

fn drops(immediate: Attributes<'_>) -> bool {
    let verdict = immediate.inside(nfta::IMMEDIATE_DATA);
    let verdict = verdict.and_then(|data| data.inside(nfta::DATA_VERDICT));
    let code = verdict.and_then(|verdict| verdict.find(nfta::VERDICT_CODE));
    code.and_then(as_u32) == Some(libc::NF_DROP as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firewall::kernel_tests::{in_namespace, nft};

    const MARK: u32 = 0x1000_0000;

    fn others_of(rules: &'static str, check: fn(Others)) {
        in_namespace(move || {
            nft(&["-f", "-"], rules).expect("nft takes the rules");
            check(Firewall::open().unwrap().others(MARK).unwrap());
        });
    }

    #[test]
    fn our_own_table_is_none_of_the_others() {
        assert_eq!(as_text(OURS), Some(crate::firewall::TABLE));
        assert_eq!(nfta::RULE_TABLE, TABLE_OF_EITHER);
        in_namespace(|| {
            let mut firewall = Firewall::open().unwrap();
            let config = crate::firewall::examples::ssh(postern_core::config::Guard::Mark);
            firewall.install(&config, &[]).unwrap();
            assert_eq!(firewall.others(MARK).unwrap(), Others::default());
        });
    }

    #[test]
    fn a_firewall_that_drops_and_takes_the_mark() {
        others_of(
            "table inet fw {
                chain input { type filter hook input priority 0; policy drop;
                    meta mark & 0x10000000 == 0x10000000 accept
                    tcp dport 80 reject; }
                chain output { type filter hook output priority 0; policy drop; }
                chain other { udp dport 9 drop; }
             }
             table ip raw { chain pre { type filter hook prerouting priority -300; notrack; }; }
             table ip6 filter { chain INPUT { type filter hook input priority 0; policy drop; }; }\n",
            |others| {
                let dropping = ["chain input of table fw", "chain INPUT of table filter"];
                let expected = Others {
                    dropping: dropping.map(String::from).to_vec(),
                    refuses: true,
                    asks_for_mark: true,
                    untracks: true,
                };
                assert_eq!(others, expected);
            },
        );
    }

    #[test]
    fn which_rules_ask_for_the_mark() {
        for (rule, asks) in [
            ("meta mark 0x10000000 accept", true),
            ("meta mark { 0x1, 0x2 } accept", true),
            ("meta mark & 0x30000000 == 0x10000000 accept", true),
            ("meta mark & 0x10000000 != 0 accept", true),
            ("meta mark & 0x0f000000 == 0x01000000 accept", false),
            ("meta mark 0x1 accept", false),
            ("meta mark set 0x10000000", false),
            ("meta mark set meta mark | 0x1", false),
            ("ct mark 0x10000000 accept", false),
            ("meta iif 1 ip saddr & 0x10000000 == 0 accept", false),
        ] {
            in_namespace(move || {
                let script = format!("table inet fw {{ chain x {{ {rule}; }}; }}\n");
                nft(&["-f", "-"], &script).expect("nft takes the rule");
                let others = Firewall::open().unwrap().others(MARK).unwrap();
                assert_eq!(others.asks_for_mark, asks, "{rule}");
                assert!(!others.refuses && !others.untracks, "{rule}");
            });
        }
    }
}
