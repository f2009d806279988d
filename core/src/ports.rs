//! Which doors a port concerns, found in the same time whatever their number.
//!
//! The ports of all protocols lie on one line, cut into segments at every port where
//! the set of doors changes. A segment reaches to the start of the next.

use core::ops::RangeInclusive;

use heapless::Vec;

use crate::door::{DoorSet, MAX_DECOYS, MAX_DOORS};
use crate::knock::{Port, Protocol};

/// The most distinct knock ports of all doors together.
pub const MAX_KNOCK_PORTS: usize = 1024;
/// A lone port needs two cuts, before and behind it; a range no more.
const MAX_SEGMENTS: usize = 2 * (MAX_KNOCK_PORTS + MAX_DOORS * MAX_DECOYS as usize);

/// The ports of all doors together are more than [`MAX_KNOCK_PORTS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyPorts;

struct Segment {
    start: u32,
    doors: DoorSet,
}

/// Finds the doors that a port concerns.
pub(crate) struct PortMap {
    segments: Vec<Segment, MAX_SEGMENTS>,
}

impl PortMap {
    pub(crate) const fn new() -> Self {
        Self {
            segments: Vec::new(),
        }
    }

    pub(crate) fn clear(&mut self) {
        self.segments.clear();
    }

    /// Lets a range of ports concern the door.
    pub(crate) fn insert(
        &mut self,
        protocol: Protocol,
        numbers: RangeInclusive<u16>,
        door: usize,
    ) -> Result<(), TooManyPorts> {
        let position = |number: &u16| {
            position(Port {
                protocol,
                number: *number,
            })
        };
        let (start, end) = (position(numbers.start()), position(numbers.end()) + 1);
        self.cut(start)?;
        self.cut(end)?;
        for segment in &mut self.segments {
            if (start..end).contains(&segment.start) {
                segment.doors.insert(door);
            }
        }
        Ok(())
    }

    /// The doors that `port` concerns.
    pub(crate) fn doors_at(&self, port: Port) -> DoorSet {
        self.segment_at(position(port))
            .map_or(DoorSet::EMPTY, |segment| segment.doors)
    }

    fn segment_at(&self, position: u32) -> Option<&Segment> {
        let behind = self
            .segments
            .partition_point(|segment| segment.start <= position);
        self.segments.get(behind.checked_sub(1)?)
    }

    /// Makes a segment start at `position`.
    fn cut(&mut self, position: u32) -> Result<(), TooManyPorts> {
        let before = self.segment_at(position);
        if before.is_some_and(|segment| segment.start == position) {
            return Ok(());
        }
        let doors = before.map_or(DoorSet::EMPTY, |segment| segment.doors);
        let index = self
            .segments
            .partition_point(|segment| segment.start < position);
        let segment = Segment {
            start: position,
            doors,
        };
        self.segments
            .insert(index, segment)
            .map_err(|_| TooManyPorts)
    }
}

/// Where a port lies on the line: TCP's 65536 first, then UDP's, then the lengths of echo requests.
fn position(port: Port) -> u32 {
    let base = match port.protocol {
        Protocol::Tcp => 0,
        Protocol::Udp => 1 << 16,
        Protocol::Icmp => 2 << 16,
    };
    base + u32::from(port.number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::knock::{tcp, udp};

    #[test]
    fn every_port_finds_its_doors_and_no_other() {
        let mut map = PortMap::new();
        let knocks = [
            (tcp(7000), 0),
            (tcp(7001), 1),
            (tcp(7000), 2),
            (udp(7000), 3),
            (tcp(65535), 4),
            (udp(0), 5),
            (udp(65535), 63),
        ];
        for (port, door) in knocks {
            map.insert(port.protocol, port.number..=port.number, door)
                .unwrap();
        }
        map.insert(Protocol::Tcp, 6_999..=7_001, 6).unwrap();
        map.insert(Protocol::Udp, 10_000..=19_999, 7).unwrap();
        let ranges = |port: Port| {
            let near = port.protocol == Protocol::Tcp && (6_999..=7_001).contains(&port.number);
            let code = port.protocol == Protocol::Udp && (10_000..=19_999).contains(&port.number);
            near.then_some(6).into_iter().chain(code.then_some(7))
        };
        for number in 0..=u16::MAX {
            for port in [tcp(number), udp(number)] {
                let doors = knocks.iter().filter(|knock| knock.0 == port).map(|k| k.1);
                let mut expected: std::vec::Vec<usize> = doors.chain(ranges(port)).collect();
                expected.sort_unstable();
                assert!(map.doors_at(port).eq(expected), "{port:?}");
            }
        }
    }

    #[test]
    fn holds_as_many_as_promised_and_refuses_more() {
        let mut map = PortMap::new();
        let ports = (1..).step_by(3).map(tcp);
        let most = MAX_KNOCK_PORTS + MAX_DOORS * usize::from(MAX_DECOYS);
        for port in ports.clone().take(most) {
            map.insert(port.protocol, port.number..=port.number, 0)
                .unwrap();
        }
        let one_more = ports.clone().nth(most).unwrap().number;
        let refused = map.insert(Protocol::Tcp, one_more..=one_more, 0);
        assert_eq!(refused, Err(TooManyPorts));
    }
}
