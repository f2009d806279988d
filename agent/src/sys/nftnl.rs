//! What the crate `nftnl` lacks: expressions, sets with timeouts, maps, and messages by themselves.
//!
//! libnftnl copies whatever it is given, and takes an attribute's width for granted: each
//! constructor here passes the widths of libnftnl's `src/expr/*.c` and `src/set*.c`.

use core::ffi::{CStr, c_void};
use core::ptr::NonNull;
use std::process::abort;

use nftnl::expr::Expression;
use nftnl::{MsgType, NlMsg, Rule, nft_nlmsg_maxsize};
use nftnl_sys as c;

const INET: u16 = libc::NFPROTO_INET as u16;

/// An expression that `nftnl` has no type for.
pub(crate) struct Recipe<'t> {
    name: &'static CStr,
    attributes: Vec<(u32, Value<'t>)>,
}

#[derive(Clone, Copy)]
enum Value<'t> {
    U8(u8),
    U16(u16),
    U32(u32),
    U64(u64),
    Text(&'t CStr),
}

impl<'t> Recipe<'t> {
    /// Looks register 1 up in a set.
    pub(crate) fn lookup(set: &'t CStr) -> Self {
        Self {
            name: c"lookup",
            attributes: vec![
                (
                    c::NFTNL_EXPR_LOOKUP_SREG,
                    Value::U32(libc::NFT_REG_1 as u32),
                ),
                (c::NFTNL_EXPR_LOOKUP_SET, Value::Text(set)),
            ],
        }
    }

    /// Looks register 1 up in a map, for a verdict.
    pub(crate) fn verdict_lookup(map: &'t CStr) -> Self {
        Self {
            name: c"lookup",
            attributes: vec![
                (
                    c::NFTNL_EXPR_LOOKUP_SREG,
                    Value::U32(libc::NFT_REG_1 as u32),
                ),
                (c::NFTNL_EXPR_LOOKUP_SET, Value::Text(map)),
                (
                    c::NFTNL_EXPR_LOOKUP_DREG,
                    Value::U32(libc::NFT_REG_VERDICT as u32),
                ),
            ],
        }
    }

    /// Copies the first `length` octets of the packet to an NFLOG group.
    pub(crate) fn log(group: u16, length: u32) -> Self {
        Self {
            name: c"log",
            attributes: vec![
                (c::NFTNL_EXPR_LOG_GROUP, Value::U16(group)),
                (c::NFTNL_EXPR_LOG_SNAPLEN, Value::U32(length)),
            ],
        }
    }

    /// Has the kernel's log say that the packet came, in a line that begins so.
    pub(crate) fn log_line(prefix: &'t CStr) -> Self {
        Self {
            name: c"log",
            attributes: vec![(c::NFTNL_EXPR_LOG_PREFIX, Value::Text(prefix))],
        }
    }

    /// Matches this many packets a second, and as many more at once.
    pub(crate) fn limit(per_second: u32, burst: u32) -> Self {
        Self {
            name: c"limit",
            attributes: vec![
                (c::NFTNL_EXPR_LIMIT_RATE, Value::U64(per_second.into())),
                (c::NFTNL_EXPR_LIMIT_UNIT, Value::U64(1)),
                (c::NFTNL_EXPR_LIMIT_BURST, Value::U32(burst)),
            ],
        }
    }

    /// Loads a part of an IPv6 extension header, given in octets, into register 1.
    pub(crate) fn extension_header(header: u8, offset: u32, length: u32) -> Self {
        Self {
            name: c"exthdr",
            attributes: vec![
                (
                    c::NFTNL_EXPR_EXTHDR_DREG,
                    Value::U32(libc::NFT_REG_1 as u32),
                ),
                (c::NFTNL_EXPR_EXTHDR_TYPE, Value::U8(header)),
                (c::NFTNL_EXPR_EXTHDR_OFFSET, Value::U32(offset)),
                (c::NFTNL_EXPR_EXTHDR_LEN, Value::U32(length)),
            ],
        }
    }
}

impl Expression for Recipe<'_> {
    fn to_expr(&self, _rule: &Rule<'_>) -> NonNull<c::nftnl_expr> {
        // SAFETY: the name is a C string that libnftnl compares with those it knows.
        let expression = allocated(unsafe { c::nftnl_expr_alloc(self.name.as_ptr()) });
        for (attribute, value) in &self.attributes {
            let (expression, attribute) = (expression.as_ptr(), *attribute as u16);
            // SAFETY: `expression` is live and ours alone; the constructors above gave this
            // attribute the width that libnftnl reads; text is copied.
            unsafe {
                match *value {
                    Value::U8(value) => c::nftnl_expr_set_u8(expression, attribute, value),
                    Value::U16(value) => c::nftnl_expr_set_u16(expression, attribute, value),
                    Value::U32(value) => c::nftnl_expr_set_u32(expression, attribute, value),
                    Value::U64(value) => c::nftnl_expr_set_u64(expression, attribute, value),
                    Value::Text(text) => {
                        copied(c::nftnl_expr_set_str(expression, attribute, text.as_ptr()));
                    }
                }
            }
        }
        expression
    }
}

/// A named set or map of a table of family `inet`: the message that makes it.
pub(crate) struct Set {
    set: NonNull<c::nftnl_set>,
    flags: i32,
}

impl Set {
    /// A set; `id` must be unlike any other of the batch, `key` is nft's number for the type and its octets.
    pub(crate) fn new(table: &CStr, name: &CStr, id: u32, key: (u32, u32)) -> Self {
        let set = Self::named(table, name);
        set.number(c::NFTNL_SET_FAMILY, INET.into());
        set.number(c::NFTNL_SET_ID, id);
        set.number(c::NFTNL_SET_KEY_TYPE, key.0);
        set.number(c::NFTNL_SET_KEY_LEN, key.1);
        set.number(c::NFTNL_SET_FLAGS, 0);
        set
    }

    fn named(table: &CStr, name: &CStr) -> Self {
        // SAFETY: no argument.
        let set = Self {
            set: allocated(unsafe { c::nftnl_set_alloc() }),
            flags: 0,
        };
        set.text(c::NFTNL_SET_TABLE, table);
        set.text(c::NFTNL_SET_NAME, name);
        set
    }

    /// Its elements may expire.
    pub(crate) fn timed(mut self) -> Self {
        self.flags |= libc::NFT_SET_TIMEOUT;
        self.number(c::NFTNL_SET_FLAGS, self.flags as u32);
        self
    }

    /// It maps its keys to verdicts.
    pub(crate) fn of_verdicts(mut self) -> Self {
        self.flags |= libc::NFT_SET_MAP;
        self.number(c::NFTNL_SET_FLAGS, self.flags as u32);
        self.number(c::NFTNL_SET_DATA_TYPE, libc::NFT_DATA_VERDICT);
        self
    }

    /// Its elements are ranges.
    pub(crate) fn of_ranges(mut self) -> Self {
        self.flags |= libc::NFT_SET_INTERVAL;
        self.number(c::NFTNL_SET_FLAGS, self.flags as u32);
        self
    }

    /// It holds so many elements at most.
    pub(crate) fn sized(self, size: u32) -> Self {
        self.number(c::NFTNL_SET_DESC_SIZE, size);
        self
    }

    /// It carries data that the kernel hands back but does not read.
    pub(crate) fn annotated(self, data: &[u8]) -> Self {
        let Ok(length) = u32::try_from(data.len()) else {
            return self;
        };
        let attribute = c::NFTNL_SET_USERDATA as u16;
        // SAFETY: the pointer and the length describe `data`, which libnftnl copies.
        copied(unsafe {
            c::nftnl_set_set_data(self.set.as_ptr(), attribute, data.as_ptr().cast(), length)
        });
        self
    }

    fn text(&self, attribute: u32, text: &CStr) {
        // SAFETY: the set is live; `text` is a C string, which libnftnl copies.
        copied(unsafe { c::nftnl_set_set_str(self.set.as_ptr(), attribute as u16, text.as_ptr()) });
    }

    fn number(&self, attribute: u32, value: u32) {
        // SAFETY: the set is live; every attribute that is passed here is a u32 (src/set.c).
        unsafe { c::nftnl_set_set_u32(self.set.as_ptr(), attribute as u16, value) };
    }

    fn header(buffer: *mut c_void, sequence: u32, kind: i32) -> *mut libc::nlmsghdr {
        let flags = (libc::NLM_F_CREATE | libc::NLM_F_ACK) as u16;
        // SAFETY: the callers of `NlMsg::write` provide room for the largest message.
        unsafe { c::nftnl_nlmsg_build_hdr(buffer.cast(), kind as u16, INET, flags, sequence) }
    }
}

impl Drop for Set {
    fn drop(&mut self) {
        // SAFETY: the set is live, and nobody else frees it; its elements go with it.
        unsafe { c::nftnl_set_free(self.set.as_ptr()) };
    }
}

// SAFETY: the message holds a few names and at most 128 octets of user data: far less than
// the 64 KiB that the buffer has.
unsafe impl NlMsg for Set {
    unsafe fn write(&self, buffer: *mut c_void, sequence: u32, _kind: MsgType) {
        let header = Self::header(buffer, sequence, libc::NFT_MSG_NEWSET);
        // SAFETY: `header` begins a buffer that has room, as above; the set is live.
        unsafe { c::nftnl_set_nlmsg_build_payload(header, self.set.as_ptr()) };
    }
}

/// The most elements in one message: with [`LONGEST_KEY`] and [`LONGEST_CHAIN`] an element takes at
/// most 112 octets, and the attribute that holds them all counts its octets in 16 bits.
pub(crate) const MOST_ELEMENTS: usize = 500;
const LONGEST_KEY: usize = 16;
const LONGEST_CHAIN: usize = 31;

/// Elements of a set: the message that adds them.
pub(crate) struct Elements {
    set: Set,
    count: usize,
}

/// How long an element lasts, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lasting {
    /// From the beginning.
    pub timeout: u64,
    /// From now.
    pub remaining: u64,
}

impl Elements {
    /// No elements yet, for the set of this name.
    pub(crate) fn new(table: &CStr, set: &CStr) -> Self {
        Self {
            set: Set::named(table, set),
            count: 0,
        }
    }

    /// Adds a key that goes to a chain, in a set of ranges the first of one; `endless` says that
    /// no end will follow. `false` if it does not fit.
    pub(crate) fn add_goto(&mut self, key: &[u8], chain: &CStr, endless: bool) -> bool {
        if chain.count_bytes() > LONGEST_CHAIN {
            return false;
        }
        self.add(key, |element| {
            // SAFETY: the element is live; a verdict is a u32, a chain a C string that is
            // copied (libnftnl, src/set_elem.c).
            unsafe {
                let verdict = c::NFTNL_SET_ELEM_VERDICT as u16;
                c::nftnl_set_elem_set_u32(element.as_ptr(), verdict, libc::NFT_GOTO as u32);
                let attribute = c::NFTNL_SET_ELEM_CHAIN as u16;
                copied(c::nftnl_set_elem_set_str(
                    element.as_ptr(),
                    attribute,
                    chain.as_ptr(),
                ));
            }
            if endless {
                annotate(element, &OPEN_RANGE);
            }
        })
    }

    /// Adds the key behind the last one of a range; `false` if it does not fit.
    pub(crate) fn add_end(&mut self, key: &[u8]) -> bool {
        self.add(key, |element| {
            let (attribute, flag) = (
                c::NFTNL_SET_ELEM_FLAGS as u16,
                libc::NFT_SET_ELEM_INTERVAL_END,
            );
            // SAFETY: the element is live; flags are a u32 (libnftnl, src/set_elem.c).
            unsafe { c::nftnl_set_elem_set_u32(element.as_ptr(), attribute, flag as u32) };
        })
    }

    /// Adds a key that lasts, or that stays; `false` if it does not fit.
    pub(crate) fn add_key(&mut self, key: &[u8], lasting: Option<Lasting>) -> bool {
        self.add(key, |element| {
            let Some(lasting) = lasting else { return };
            let (timeout, expiration) = (
                c::NFTNL_SET_ELEM_TIMEOUT as u16,
                c::NFTNL_SET_ELEM_EXPIRATION as u16,
            );
            // SAFETY: the element is live; both attributes are u64 (libnftnl, src/set_elem.c).
            unsafe {
                c::nftnl_set_elem_set_u64(element.as_ptr(), timeout, lasting.timeout);
                c::nftnl_set_elem_set_u64(element.as_ptr(), expiration, lasting.remaining);
            }
        })
    }

    fn add(&mut self, key: &[u8], fill: impl FnOnce(NonNull<c::nftnl_set_elem>)) -> bool {
        if self.count == MOST_ELEMENTS || key.len() > LONGEST_KEY {
            return false;
        }
        self.count += 1;
        // SAFETY: no argument.
        let element = allocated(unsafe { c::nftnl_set_elem_alloc() });
        let (attribute, length) = (c::NFTNL_SET_ELEM_KEY as u16, key.len() as u32);
        // SAFETY: the pointer and the length describe `key`, which libnftnl copies into the
        // 64 octets that it has for a key.
        copied(unsafe {
            c::nftnl_set_elem_set(element.as_ptr(), attribute, key.as_ptr().cast(), length)
        });
        fill(element);
        // SAFETY: both are live; the element belongs to the set from here on.
        unsafe { c::nftnl_set_elem_add(self.set.set.as_ptr(), element.as_ptr()) };
        true
    }
}

/// What nft notes at a range without an end, and needs to list it: NFTNL_UDATA_SET_ELEM_FLAGS
/// with its SET_ELEM_F_INTERVAL_OPEN, a u32 of the host (include/rule.h).
const OPEN_RANGE: [u8; 6] = {
    let [a, b, c, d] = 1_u32.to_ne_bytes();
    [c::NFTNL_UDATA_SET_ELEM_FLAGS as u8, 4, a, b, c, d]
};

fn annotate(element: NonNull<c::nftnl_set_elem>, data: &[u8; 6]) {
    let attribute = c::NFTNL_SET_ELEM_USERDATA as u16;
    // SAFETY: the element is live; the pointer and the length describe `data`, which libnftnl copies.
    copied(unsafe {
        c::nftnl_set_elem_set(
            element.as_ptr(),
            attribute,
            data.as_ptr().cast(),
            data.len() as u32,
        )
    });
}

// SAFETY: no more than `MOST_ELEMENTS` of at most 112 octets each: 56,000 of the 64 KiB that
// the buffer has.
unsafe impl NlMsg for Elements {
    unsafe fn write(&self, buffer: *mut c_void, sequence: u32, _kind: MsgType) {
        let header = Set::header(buffer, sequence, libc::NFT_MSG_NEWSETELEM);
        // SAFETY: `header` begins a buffer that has room, as above; the set is live.
        unsafe { c::nftnl_set_elems_nlmsg_build_payload(header, self.set.set.as_ptr()) };
    }
}

/// Turns objects into messages, one after another in the same memory.
pub(crate) struct Press(Vec<u64>);

impl Press {
    pub(crate) fn new() -> Self {
        let octets = nft_nlmsg_maxsize() as usize;
        Self(vec![0; octets.div_ceil(8)])
    }

    /// Appends the message that adds or deletes an object.
    pub(crate) fn append(
        &mut self,
        object: &impl NlMsg,
        kind: MsgType,
        sequence: u32,
        to: &mut Vec<u8>,
    ) {
        let start = self.0.as_mut_ptr();
        // SAFETY: the memory is as long as `NlMsg` asks for, and aligned for a header, which
        // every `write` begins with; its length counts the octets written.
        let message = unsafe {
            object.write(start.cast(), sequence, kind);
            let length = (*start.cast::<libc::nlmsghdr>()).nlmsg_len as usize;
            core::slice::from_raw_parts(start.cast::<u8>(), length.min(self.0.len() * 8))
        };
        to.extend_from_slice(message);
    }
}

/// There is no way on when memory for a few octets is lacking: as std does, and `nftnl`.
fn allocated<T>(pointer: *mut T) -> NonNull<T> {
    NonNull::new(pointer).unwrap_or_else(|| abort())
}

/// As [`allocated`], for what libnftnl copies.
fn copied(result: i32) {
    if result < 0 {
        abort();
    }
}
