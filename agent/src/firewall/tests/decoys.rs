//! Who hit a decoy is remembered by rules, and asked for before a door opens.

use postern_core::config::{Guard, Source};
use postern_core::time::Duration;

use super::examples;
use super::kernel::{address, in_namespace};
use crate::firewall::nft::connection::{ElementChange, Term};
use crate::firewall::nft::request::ElementKey;
use crate::firewall::table::names;
use crate::firewall::{Firewall, failing};
use crate::network::family;

const KEPT: Duration = Duration::from_secs(10);

#[test]
fn a_hit_counts_for_the_window_of_each_door_and_a_network_of_ipv6_is_one_source() {
    in_namespace(|| {
        let config = examples::heard_by(Guard::Gate, Source::Packet);
        let mut firewall = Firewall::open().unwrap();
        firewall.install(&config, &[]).unwrap();
        for (source, neighbour, other) in [
            ("192.0.2.1", "192.0.2.1", "192.0.2.2"),
            ("2001:db8::1", "2001:db8::ffff:1", "2001:db8:0:1::1"),
        ]
        .map(|(source, neighbour, other)| (address(source), address(neighbour), address(other)))
        {
            let set = [names::decoyed(family(source))];
            let key = ElementKey::Address(failing(source).first());
            let hit = |firewall: &mut Firewall, source, within| {
                let within = Duration::from_secs(within);
                firewall.hit_decoy(source, within, KEPT).unwrap()
            };
            assert!(!hit(&mut firewall, source, 10));
            // As if four seconds had passed.
            let left = Term::For(Duration::from_secs(6));
            firewall
                .connection
                .apply(&[ElementChange::Add(&set, key, left)])
                .unwrap();
            for source in [source, neighbour] {
                assert!(hit(&mut firewall, source, 10) && hit(&mut firewall, source, 5));
                assert!(!hit(&mut firewall, source, 3));
            }
            assert!(!hit(&mut firewall, other, 10));
            assert!(firewall.pardon(Some(neighbour)).unwrap());
            assert!(!hit(&mut firewall, source, 10));
            assert!(!firewall.pardon(Some(source)).unwrap());
            firewall
                .connection
                .apply(&[ElementChange::Add(&set, key, left)])
                .unwrap();
            firewall.pardon(None).unwrap();
            assert!(!hit(&mut firewall, source, 10));
        }
        assert_eq!(firewall.unremembered().unwrap(), 0);
    });
}
