//! How many datagrams are authenticated: hashing is dear, and anybody can send some.
//!
//! There is a budget of checks for all. Once less than half of it is left, a datagram also needs some of its sender's
//! network, so that a flood from one does not take the others' share. Networks whose hashes end alike share one;
//! senders cannot choose which. Who forges all of them exhausts the budget, and the owner's datagram gets through by
//! chance.

use core::net::IpAddr;

use crate::hash::Key;
use crate::network::Network;
use crate::time::Instant;

/// In thousandths of a check.
const CHECK: u32 = 1000;
/// How many networks' worth of checks there are in all.
const SHARE: u32 = 16;
/// How many networks have a budget of their own.
const NETWORKS: usize = 256;

/// What was spent, and is forgiven over time.
#[derive(Clone, Copy)]
struct Account {
    /// In thousandths of a check, at the time below.
    spent: u32,
    at: Instant,
}

impl Account {
    const NEW: Self = Self {
        spent: 0,
        at: Instant::from_millis(0),
    };

    /// What is not forgiven yet at so many checks a second, which is as many thousandths a millisecond.
    fn settle(&mut self, now: Instant, rate: u32) -> u32 {
        let forgiven = now.since(self.at).as_millis().saturating_mul(rate.into());
        self.spent = self
            .spent
            .saturating_sub(u32::try_from(forgiven).unwrap_or(u32::MAX));
        self.at = self.at.max(now);
        self.spent
    }
}

pub(super) struct Budget {
    /// Checks a second, and at once.
    rate: u32,
    key: Key,
    all: Account,
    networks: [Account; NETWORKS],
}

/// Who pays for a datagram's checks.
pub(super) struct Payer {
    /// Only under pressure.
    network: Option<usize>,
}

impl Budget {
    pub(super) const fn new() -> Self {
        Self {
            rate: 0,
            key: Key::new([0; 8]),
            all: Account::NEW,
            networks: [Account::NEW; NETWORKS],
        }
    }

    pub(super) fn set_rate(&mut self, checks_per_second: u32) {
        self.rate = checks_per_second.min(u32::MAX / CHECK);
    }

    pub(super) const fn seed(&mut self, key: [u8; 8]) {
        self.key = Key::new(key);
    }

    /// Whether a datagram's checks can be paid for: as many as there are doors, so that a later door is no worse off.
    pub(super) fn admit(&mut self, now: Instant, source: IpAddr) -> Option<Payer> {
        let (rate, most) = (self.rate, self.rate * CHECK);
        let spent = self.all.settle(now, rate);
        if spent >= most {
            return None;
        }
        if spent <= most / 2 {
            return Some(Payer { network: None });
        }
        let place = self.place(source);
        let share = (rate / SHARE).max(1);
        let spent = self.networks.get_mut(place)?.settle(now, share);
        (spent < share * CHECK).then_some(Payer {
            network: Some(place),
        })
    }

    /// Takes what one check costs.
    pub(super) fn charge(&mut self, payer: &Payer) {
        let network = payer.network.and_then(|place| self.networks.get_mut(place));
        for account in [Some(&mut self.all), network].into_iter().flatten() {
            account.spent = account.spent.saturating_add(CHECK);
        }
    }

    fn place(&self, source: IpAddr) -> usize {
        let prefix = match source.to_canonical() {
            IpAddr::V4(_) => 24,
            IpAddr::V6(_) => 56,
        };
        let network = match Network::of(source, prefix).first() {
            IpAddr::V4(address) => address.to_ipv6_mapped(),
            IpAddr::V6(address) => address,
        };
        self.key.hash(network.octets()) as usize % NETWORKS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: u32 = 200;

    fn budget() -> Budget {
        let mut budget = Budget::new();
        budget.set_rate(RATE);
        budget.seed(*b"of a day");
        budget
    }

    fn take(budget: &mut Budget, now: u64, source: [u8; 4]) -> bool {
        let payer = budget.admit(Instant::from_millis(now), source.into());
        payer.inspect(|payer| budget.charge(payer)).is_some()
    }

    #[test]
    fn networks_pay_nothing_without_pressure() {
        let mut budget = budget();
        let taken =
            (0..100_000_u64).filter(|number| take(&mut budget, number * 10, [192, 0, 2, 1]));
        assert_eq!(taken.count(), 100_000);
        assert!(budget.networks.iter().all(|network| network.spent == 0));
    }

    #[test]
    fn there_are_no_more_checks_than_budgeted() {
        let mut budget = budget();
        let everywhere = |number: u64| {
            let [.., a, b] = number.to_be_bytes();
            [11, a, b, 1]
        };
        // 20,000 a second from everywhere, for 10 seconds.
        let taken =
            (0..200_000).filter(|number| take(&mut budget, number / 20, everywhere(*number)));
        let taken = taken.count() as u32;
        assert!((10 * RATE..=11 * RATE).contains(&taken), "{taken}");
    }

    #[test]
    fn a_flood_from_one_network_starves_no_other() {
        let mut budget = budget();
        let (mut heard, mut taken) = (0, 0);
        for number in 0..200_000_u64 {
            taken += u32::from(take(&mut budget, number / 20, [192, 0, 2, number as u8]));
            if number % 2_000 == 1_999 {
                heard += u32::from(take(&mut budget, number / 20, [198, 51, 100, 7]));
            }
        }
        assert_eq!(heard, 100);
        // It can make use of no more than half, and then of its share.
        assert!(taken < 11 * RATE, "{taken}");
    }

    #[test]
    fn a_network_is_a_24_or_a_56() {
        let budget = budget();
        let place = |address: &str| budget.place(address.parse().unwrap());
        for (one, other, are_same) in [
            ("192.0.2.1", "192.0.2.255", true),
            ("192.0.2.1", "::ffff:192.0.2.9", true),
            ("192.0.2.1", "192.0.3.1", false),
            ("2001:db8:0:1::1", "2001:db8:0:ff:8000::", true),
            ("2001:db8:0:1::1", "2001:db8:0:100::1", false),
        ] {
            assert_eq!(place(one) == place(other), are_same, "{one} {other}");
        }
    }

    #[test]
    fn without_a_rate_there_is_no_check_and_time_does_not_wrap() {
        let mut none = Budget::new();
        assert!(!take(&mut none, 1, [192, 0, 2, 1]));
        let mut budget = budget();
        budget.set_rate(u32::MAX);
        assert!(take(&mut budget, u64::MAX, [192, 0, 2, 1]));
        assert!(take(&mut budget, 0, [192, 0, 2, 1]));
    }
}
