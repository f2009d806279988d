//! Answers and news of nf_tables and of the kernel's interfaces, and other tables' rules.

#![no_main]

use std::cell::RefCell;

use libfuzzer_sys::fuzz_target;
use postern::fuzzing::{self, Kernel};

thread_local! {
    static KERNEL: RefCell<Kernel> = RefCell::new(Kernel::open());
}

fuzz_target!(|bytes: &[u8]| {
    fuzzing::netlink(bytes);
    KERNEL.with_borrow_mut(|kernel| kernel.journey(bytes));
});
