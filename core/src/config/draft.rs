//! What was read so far: the options of a door in any order, until its section ends.

use heapless::{String, Vec};

use super::methods::MethodName;
use super::options::Setter;
use super::{
    Global, Interface, MAX_ADDRESS, MAX_INTERFACES, OPTIONS, Presence, Problem, Section, Source,
};
use crate::code::{Algorithm, Code, Digits};
use crate::door::{
    AtEnd, Cutoff, Door, EngineName, InterfaceSet, MAX_ADDRESSES, MAX_DOORS, MAX_GUARDS,
    MAX_NETWORKS, MAX_PATH, Method, Name, OnExpiry, Order, Sequence,
};
use crate::knock::{Port, PortRange, Protocol};
use crate::method;
use crate::network::Network;
use crate::payload::Payload;
use crate::spa::{Allow, DEFAULT_PORT, Hmac, Terms};
use crate::time::Duration;

/// The configuration so far, and the door that is being read.
pub(super) struct Draft<'c> {
    pub(super) global: &'c mut Global,
    pub(super) address: &'c mut String<MAX_ADDRESS>,
    pub(super) doors: &'c mut Vec<Door, MAX_DOORS>,
    /// Where knocks are seen, also where the file says so further down.
    pub(super) source: Source,
    /// What serves doors that do not say.
    pub(super) engine: EngineName,
    /// The interfaces that are guarded, also where the file says so further down; none in a client's file.
    pub(super) interfaces: Vec<Interface, MAX_INTERFACES>,
    pub(super) door: DoorDraft,
}

/// Every option of a door, whatever its method.
pub(super) struct DoorDraft {
    pub(super) name: Name,
    pub(super) guards: Vec<PortRange, MAX_GUARDS>,
    pub(super) behind: Vec<Network, MAX_NETWORKS>,
    pub(super) to: Vec<Network, MAX_ADDRESSES>,
    pub(super) interfaces: InterfaceSet,
    pub(super) from: Vec<Network, MAX_NETWORKS>,
    pub(super) not_before: Option<u64>,
    pub(super) not_after: Option<u64>,
    pub(super) passive: bool,
    pub(super) engine: EngineName,
    /// `None` if it is missing or unknown.
    pub(super) method: Option<MethodName>,
    pub(super) open: Sequence,
    pub(super) close: Sequence,
    pub(super) list_file: String<MAX_PATH>,
    pub(super) at_end: AtEnd,
    /// Its order is that of a list too.
    pub(super) code: Code,
    pub(super) period: u32,
    pub(super) skew: u8,
    pub(super) look_ahead: u8,
    pub(super) spa: Terms,
    pub(super) payload: Option<Payload>,
    pub(super) window: Duration,
    pub(super) jitter: Duration,
    pub(super) grant: Duration,
    pub(super) grant_prefix4: u8,
    pub(super) grant_prefix6: u8,
    pub(super) decoys: u8,
    pub(super) cutoff: Option<Cutoff>,
    pub(super) on_expiry: OnExpiry,
}

/// Why a value is refused, or what it is warned of.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) problem: Problem,
    /// The door that the value is in conflict with.
    pub(super) other: Name,
}

impl From<Problem> for Fault {
    fn from(problem: Problem) -> Self {
        let other = Name::new();
        Self { problem, other }
    }
}

impl<'c> Draft<'c> {
    /// A draft without a door, its global options at their defaults.
    pub(super) fn new(
        global: &'c mut Global,
        address: &'c mut String<MAX_ADDRESS>,
        doors: &'c mut Vec<Door, MAX_DOORS>,
        section: Section,
    ) -> Self {
        let mut draft = Self {
            global,
            address,
            doors,
            source: Source::Nflog,
            engine: EngineName::Daemon,
            interfaces: Vec::new(),
            door: DoorDraft::new(Name::new()),
        };
        draft.set_defaults(section);
        draft
    }

    /// Begins another door, all of it at its defaults.
    pub(super) fn begin(&mut self, name: Name) {
        self.door = DoorDraft {
            engine: self.engine,
            ..DoorDraft::new(name)
        };
        self.set_defaults(Section::Door);
    }

    fn set_defaults(&mut self, section: Section) {
        for (set, text) in defaults(section) {
            // A test reads every default.
            _ = set(self, text);
        }
    }

    /// A fault that names the first of the finished doors of which `holds`.
    pub(super) fn conflict(
        &self,
        problem: Problem,
        holds: impl FnMut(&&Door) -> bool,
    ) -> Result<(), Fault> {
        match self.doors.iter().find(holds) {
            Some(door) => Err(fault(problem, &door.name)),
            None => Ok(()),
        }
    }

    /// A fault if ports to be guarded are guarded by this door already, or if one by itself is knocked on.
    pub(super) fn check_guard(&self, ports: PortRange) -> Result<(), Fault> {
        let own = &self.door;
        if own.guards.iter().any(|guard| guard.overlaps(&ports)) {
            return Err(fault(Problem::GuardTwice, &own.name));
        }
        let Some(port) = ports.single() else {
            return Ok(());
        };
        self.conflict(Problem::GuardIsKnock, |door| method::watches(door, port))?;
        match own.open.contains(&port) || own.close.contains(&port) {
            true => Err(fault(Problem::GuardIsKnock, &own.name)),
            false => Ok(()),
        }
    }

    /// A fault if a port to knock on is guarded.
    pub(super) fn check_knock(&self, port: Port) -> Result<(), Fault> {
        self.conflict(Problem::KnockIsGuard, |door| door.guards_alone(port))?;
        match self.door.guards.contains(&port.into()) {
            true => Err(fault(Problem::KnockIsGuard, &self.door.name)),
            false => Ok(()),
        }
    }

    /// A fault if another door's knocks come from this file too.
    pub(super) fn check_file(&self, path: &str) -> Result<(), Fault> {
        self.conflict(Problem::FileShared, |door| file(&door.method) == Some(path))
    }
}

pub(super) fn fault(problem: Problem, other: &Name) -> Fault {
    let other = other.clone();
    Fault { problem, other }
}

pub(super) fn defaults(section: Section) -> impl Iterator<Item = (Setter, &'static str)> {
    let options = OPTIONS.iter().filter(move |spec| spec.section == section);
    options.filter_map(|spec| match spec.presence {
        Presence::Default(text) => Some((spec.one()?, text)),
        _ => None,
    })
}

/// The file that a method's knocks come from.
fn file(method: &Method) -> Option<&str> {
    match method {
        Method::List { file, .. } => Some(file),
        _ => method.code().map(|code| code.secret_file.as_str()),
    }
}

impl DoorDraft {
    /// A door with nothing but a name; what it has of other options, defaults replace.
    const fn new(name: Name) -> Self {
        Self {
            name,
            guards: Vec::new(),
            behind: Vec::new(),
            to: Vec::new(),
            interfaces: InterfaceSet::EMPTY,
            from: Vec::new(),
            not_before: None,
            not_after: None,
            passive: false,
            engine: EngineName::Daemon,
            method: None,
            open: Sequence::new(),
            close: Sequence::new(),
            list_file: String::new(),
            at_end: AtEnd::Wrap,
            code: Code {
                secret_file: String::new(),
                algorithm: Algorithm::Sha1,
                digits: Digits::Six,
                base: 1,
                protocols: [Protocol::Tcp; 2],
                order: Order::Any,
            },
            period: 1,
            skew: 0,
            look_ahead: 1,
            spa: Terms {
                port: DEFAULT_PORT,
                key_file: String::new(),
                hmac: Hmac::Sha256,
                allow: Allow::Named,
                max_age: Duration::from_millis(0),
                grant_max: Duration::from_millis(0),
                user: String::new(),
            },
            payload: None,
            window: Duration::from_millis(0),
            jitter: Duration::from_millis(0),
            grant: Duration::from_millis(0),
            grant_prefix4: 32,
            grant_prefix6: 128,
            decoys: 0,
            cutoff: None,
            on_expiry: OnExpiry::Keep,
        }
    }

    /// The door. It is valid if no error was found in its section; if there was one, it is
    /// only good for finding conflicts with other doors.
    pub(super) fn finish(&self) -> Door {
        Door {
            name: self.name.clone(),
            guards: self.guards.clone(),
            behind: self.behind.clone(),
            to: self.to.clone(),
            interfaces: self.interfaces,
            from: self.from.clone(),
            not_before: self.not_before,
            not_after: self.not_after,
            passive: self.passive,
            engine: self.engine,
            method: self.method(),
            payload: self.payload.clone(),
            window: self.window,
            jitter: self.jitter,
            grant: self.grant,
            grant_prefix4: self.grant_prefix4,
            grant_prefix6: self.grant_prefix6,
            decoys: self.decoys,
            cutoff: self.cutoff,
            on_expiry: self.on_expiry,
        }
    }

    fn method(&self) -> Method {
        let close = self.close.clone();
        match self.method {
            Some(MethodName::SingleSame | MethodName::SequenceSame) => Method::Same {
                steps: self.open.clone(),
            },
            Some(MethodName::SingleSeparate | MethodName::SequenceSeparate) | None => {
                Method::Separate {
                    open: self.open.clone(),
                    close,
                }
            }
            Some(MethodName::OneTimeList) => Method::List {
                file: self.list_file.clone(),
                at_end: self.at_end,
                order: self.code.order,
                close,
            },
            Some(MethodName::OneTimeClock) => Method::Clock {
                code: self.code.clone(),
                period: self.period,
                skew: self.skew,
                close,
            },
            Some(MethodName::OneTimeSeed) => Method::Seed {
                code: self.code.clone(),
                look_ahead: self.look_ahead,
                close,
            },
            Some(MethodName::Spa) => Method::Spa(self.spa.clone()),
        }
    }
}
