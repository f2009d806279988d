//! Which doors a port concerns, found in the same time whatever their number.
//!
//! The ports of both protocols lie on one line, cut into segments at every port where
//! the set of doors changes. A segment reaches to the start of the next.

use heapless::Vec;

use crate::door::DoorSet;
use crate::knock::{Port, Protocol};

/// The most distinct knock ports of all doors together.
pub const MAX_KNOCK_PORTS: usize = 1024;
/// A lone port needs two cuts, before and behind it; a range no more.
const MAX_SEGMENTS: usize = 2 * MAX_KNOCK_PORTS + 1;

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

    /// Lets `port` concern the door.
    pub(crate) fn insert(&mut self, port: Port, door: usize) -> Result<(), TooManyPorts> {
        let start = position(port);
        self.cut(start)?;
        self.cut(start + 1)?;
        for segment in &mut self.segments {
            if segment.start == start {
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

/// Where a port lies on the line: TCP's 65536 first, then UDP's.
fn position(port: Port) -> u32 {
    let base = match port.protocol {
        Protocol::Tcp => 0,
        Protocol::Udp => 1 << 16,
    };
    base + u32::from(port.number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(number: u16) -> Port {
        Port {
            protocol: Protocol::Tcp,
            number,
        }
    }

    fn udp(number: u16) -> Port {
        Port {
            protocol: Protocol::Udp,
            number,
        }
    }

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
            map.insert(port, door).unwrap();
        }
        for number in 0..=u16::MAX {
            for port in [tcp(number), udp(number)] {
                let doors = knocks.iter().filter(|knock| knock.0 == port).map(|k| k.1);
                assert!(map.doors_at(port).eq(doors), "{port:?}");
            }
        }
    }

    #[test]
    fn holds_as_many_as_promised_and_refuses_more() {
        let mut map = PortMap::new();
        let ports = (1..).step_by(3).map(tcp);
        for port in ports.clone().take(MAX_KNOCK_PORTS) {
            map.insert(port, 0).unwrap();
        }
        let mut more = ports.skip(MAX_KNOCK_PORTS);
        assert_eq!(map.insert(more.next().unwrap(), 0), Err(TooManyPorts));
    }
}
