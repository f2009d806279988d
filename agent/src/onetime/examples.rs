//! One-time doors for tests.

use postern_core::code::{Algorithm, Code, Digits};
use postern_core::door::{AtEnd, Door, Method, Order, Sequence};
use postern_core::knock::{Protocol, tcp};

pub(crate) fn door(name: &str, method: Method) -> Door {
    Door::new(name, &[tcp(22)], method).unwrap()
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
