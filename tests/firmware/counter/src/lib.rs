//! Counts a program's instructions between two calls of getpid(2), and prints the count at each
//! of them to standard error.
//!
//! A plugin of QEMU's user-mode emulation (docs/devel/tcg-plugins.rst); the functions are those of
//! qemu-plugin.h, version 1 of its interface, which Debian 12's QEMU 7.2 speaks.

use std::ffi::{c_char, c_int, c_uint, c_void};
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};

type Id = u64;

unsafe extern "C" {
    fn qemu_plugin_register_vcpu_tb_trans_cb(id: Id, callback: extern "C" fn(Id, *mut c_void));
    fn qemu_plugin_register_vcpu_syscall_cb(id: Id, callback: OnSyscall);
    fn qemu_plugin_tb_n_insns(block: *const c_void) -> usize;
    fn qemu_plugin_tb_get_insn(block: *const c_void, index: usize) -> *mut c_void;
    fn qemu_plugin_register_vcpu_insn_exec_inline(
        instruction: *mut c_void,
        operation: c_int,
        operand: *mut c_void,
        immediate: u64,
    );
}

type OnSyscall = extern "C" fn(Id, c_uint, i64, u64, u64, u64, u64, u64, u64, u64, u64);

/// QEMU_PLUGIN_INLINE_ADD_U64
const ADD: c_int = 0;
/// `__NR_getpid` of MIPS (asm/unistd_o32.h).
const GETPID: i64 = 4020;

/// Instructions so far. The program has one thread.
static COUNT: AtomicU64 = AtomicU64::new(0);
/// How many there were at the last getpid(2).
static COUNTED: AtomicU64 = AtomicU64::new(0);

/// The version of the interface.
#[unsafe(no_mangle)]
pub static qemu_plugin_version: c_int = 1;

/// Where QEMU begins.
#[unsafe(no_mangle)]
pub extern "C" fn qemu_plugin_install(
    id: Id,
    _info: *const c_void,
    _argc: c_int,
    _argv: *mut *mut c_char,
) -> c_int {
    // SAFETY: QEMU's own functions, with the identity that it gave, and functions of this library,
    // which QEMU keeps loaded.
    unsafe {
        qemu_plugin_register_vcpu_tb_trans_cb(id, count_block);
        qemu_plugin_register_vcpu_syscall_cb(id, tell);
    }
    0
}

/// Has every instruction of a newly translated block counted.
extern "C" fn count_block(_: Id, block: *mut c_void) {
    let count = ptr::from_ref(&COUNT).cast_mut().cast();
    // SAFETY: the block and its instructions are QEMU's and valid until this returns; the counter
    // lives as long as the library.
    unsafe {
        for index in 0..qemu_plugin_tb_n_insns(block) {
            let instruction = qemu_plugin_tb_get_insn(block, index);
            qemu_plugin_register_vcpu_insn_exec_inline(instruction, ADD, count, 1);
        }
    }
}

extern "C" fn tell(
    _: Id,
    _: c_uint,
    number: i64,
    _: u64,
    _: u64,
    _: u64,
    _: u64,
    _: u64,
    _: u64,
    _: u64,
    _: u64,
) {
    if number == GETPID {
        let count = COUNT.load(Ordering::Relaxed);
        eprintln!("{}", count - COUNTED.swap(count, Ordering::Relaxed));
    }
}
