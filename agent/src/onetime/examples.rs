//! One-time doors for tests.

use postern_core::code::{Algorithm, Code, Digits};
use postern_core::door::{AtEnd, Door, EngineName, Method, OnExpiry, Order, Sequence};
use postern_core::knock::{Port, Protocol};
use postern_core::time::Duration;

pub(crate) const fn tcp(number: u16) -> Port {
    Port {
        protocol: Protocol::Tcp,
        number,
    }
}

pub(crate) const fn udp(number: u16) -> Port {
    Port {
        protocol: Protocol::Udp,
        number,
    }
}

pub(crate) fn door(name: &str, method: Method) -> Door {
    Door {
        name: name.try_into().unwrap(),
        guards: [tcp(22)].into_iter().collect(),
        engine: EngineName::Daemon,
        method,
        payload: None,
        window: Duration::from_secs(10),
        jitter: Duration::from_millis(50),
        grant: Duration::from_secs(30),
        grant_prefix4: 32,
        grant_prefix6: 128,
        decoys: 16,
        cutoff: None,
        on_expiry: OnExpiry::Keep,
    }
}

pub(crate) fn code(secret_file: &str) -> Code {
    Code {
        secret_file: secret_file.try_into().unwrap(),
        algorithm: Algorithm::Sha1,
        digits: Digits::Six,
        base: 10_000,
        protocols: [Protocol::Tcp, Protocol::Udp],
        order: Order::Any,
    }
}

pub(crate) fn seed_door(name: &str) -> Door {
    seed_door_with(name, "/nowhere/secret")
}

pub(crate) fn seed_door_with(name: &str, secret_file: &str) -> Door {
    let method = Method::Seed {
        code: code(secret_file),
        look_ahead: 5,
        close: Sequence::new(),
    };
    door(name, method)
}

pub(crate) fn clock_door(name: &str, secret_file: &str, skew: u8) -> Door {
    let method = Method::Clock {
        code: code(secret_file),
        period: 30,
        skew,
        close: Sequence::new(),
    };
    door(name, method)
}

pub(crate) fn list_door(name: &str, file: &str) -> Door {
    list_door_with(name, file, AtEnd::Stop)
}

pub(crate) fn list_door_with(name: &str, file: &str, at_end: AtEnd) -> Door {
    let method = Method::List {
        file: file.try_into().unwrap(),
        at_end,
        order: Order::Any,
        close: Sequence::new(),
    };
    door(name, method)
}
