//! The interfaces on which knocks are heard, wherever they go.

use core::num::NonZeroU32;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use heapless::Vec;
use postern_core::config::{Interface, MAX_INTERFACES};

use crate::sys::link::{LinkWatch, interface_number};

/// Interfaces by name, and the numbers that the kernel knows them by just now.
pub(super) struct Interfaces {
    names: Vec<Interface, MAX_INTERFACES>,
    numbers: Vec<u32, MAX_INTERFACES>,
    watch: LinkWatch,
}

impl Interfaces {
    pub(super) fn new(names: &Vec<Interface, MAX_INTERFACES>) -> io::Result<Self> {
        let mut interfaces = Self {
            names: names.clone(),
            numbers: Vec::new(),
            // Before the first look, so that no change is missed.
            watch: LinkWatch::open()?,
        };
        interfaces.look();
        Ok(interfaces)
    }

    /// The numbers of those that are there.
    pub(super) fn numbers(&self) -> &[u32] {
        &self.numbers
    }

    /// Whether these are its interfaces.
    pub(super) fn are(&self, names: &[Interface]) -> bool {
        self.names == names
    }

    /// Looks again, now that the kernel told of a change; whether the numbers are others.
    pub(super) fn look_again(&mut self) -> bool {
        self.watch.clear();
        let before = self.numbers.clone();
        self.look();
        self.numbers != before
    }

    fn look(&mut self) {
        let found = self.names.iter().filter_map(|name| interface_number(name));
        self.numbers = found.map(NonZeroU32::get).collect();
    }
}

impl AsFd for Interfaces {
    /// Ready when an interface came, went or changed.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.watch.as_fd()
    }
}
