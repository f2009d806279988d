//! Packets that were accepted as knocks, so that they do not count as others when they are sent again.
//!
//! Kept where a sequence has a port several times, and only of those who made its first knock: what is kept of that
//! one, or forgotten in a flood, stands with the attempt. So nobody takes another's place here who knows no sequence.

use crate::knock::Port;
use crate::method::{since, stamp};
use crate::time::{Duration, Instant};

/// Packets whose fingerprints have the same end: of more, the oldest is forgotten.
const WAYS: usize = 4;
const BUCKETS: usize = 64;

/// Fingerprints, and when they came.
pub(crate) struct Accepted([[(u32, u32); WAYS]; BUCKETS]);

impl Accepted {
    pub(crate) const fn new() -> Self {
        Self([[(0, 0); WAYS]; BUCKETS])
    }

    pub(crate) fn insert(&mut self, fingerprint: u32, now: Instant) {
        if let Some(bucket) = self.0.get_mut(fingerprint as usize % BUCKETS) {
            let [first, second, third, _] = *bucket;
            // Not 0, which means none; a millisecond does not matter here.
            *bucket = [(fingerprint, stamp(now).max(1)), first, second, third];
        }
    }

    /// Whether the packet was accepted within this time, as far as is remembered.
    pub(crate) fn contains(&self, fingerprint: u32, now: Instant, within: Duration) -> bool {
        let bucket = self.0.get(fingerprint as usize % BUCKETS);
        let mut packets = bucket.into_iter().flatten();
        packets.any(|&(packet, at)| packet == fingerprint && at != 0 && since(at, now) <= within)
    }
}

/// Of which source a packet is, by its hash, and between which ports.
pub(crate) fn fingerprint(hash: u32, port: Port, source_port: u16) -> u32 {
    let protocol = u32::from(port.protocol.number()) << 8;
    let ports = u32::from(port.number) << 16 | u32::from(source_port);
    // The lowest bits are asked for first: they depend on all others (2^32 / golden ratio).
    ((hash ^ ports)
        .wrapping_add(protocol)
        .wrapping_mul(0x9e37_79b9))
    .rotate_left(8)
}
