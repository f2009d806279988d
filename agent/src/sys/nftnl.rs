//! What the crate `nftnl` lacks: most expressions, sets with timeouts, maps, counters, and messages by themselves.
//!
//! libnftnl copies whatever it is given, and takes an attribute's width for granted: each
//! constructor here passes the widths of libnftnl's `src/expr/*.c` and `src/set*.c`.

use core::ffi::{CStr, c_void};
use core::ptr::NonNull;
use std::ffi::CString;
use std::process::abort;

use nftnl::expr::Expression;
use nftnl::{MsgType, NlMsg, Rule, nft_nlmsg_maxsize};
use nftnl_sys as c;

const INET: u16 = libc::NFPROTO_INET as u16;
/// NFT_OBJECT_COUNTER of nf_tables.h, which libc lacks.
const COUNTER: u32 = 1;

/// The most octets of a value: libnftnl before 1.2.7 copies more into memory of this size.
const MAX_VALUE_LEN: usize = 64;

/// An expression: `nftnl` has no type for many, and only register 1 for the rest.
pub(crate) struct Recipe<'v> {
    name: &'static CStr,
    attributes: Vec<(u32, Value<'v>)>,
}

enum Value<'v> {
    U8(u8),
    U16(u16),
    U32(u32),
    U64(u64),
    Text(CString),
    Data(&'v [u8]),
}

impl<'v> Recipe<'v> {
    const fn new(name: &'static CStr, attributes: Vec<(u32, Value<'v>)>) -> Self {
        Self { name, attributes }
    }

    /// Loads what the kernel knows about the packet into a register.
    pub(crate) fn meta(key: u32, register: u32) -> Self {
        let attributes = vec![
            (c::NFTNL_EXPR_META_KEY, Value::U32(key)),
            (c::NFTNL_EXPR_META_DREG, Value::U32(register)),
        ];
        Self::new(c"meta", attributes)
    }

    /// Sets what the kernel knows about the packet from a register.
    pub(crate) fn set_meta(key: u32, register: u32) -> Self {
        let attributes = vec![
            (c::NFTNL_EXPR_META_KEY, Value::U32(key)),
            (c::NFTNL_EXPR_META_SREG, Value::U32(register)),
        ];
        Self::new(c"meta", attributes)
    }

    /// Loads a part of a header, given in octets, into a register.
    pub(crate) fn payload(base: u32, offset: u32, length: u32, register: u32) -> Self {
        let attributes = vec![
            (c::NFTNL_EXPR_PAYLOAD_DREG, Value::U32(register)),
            (c::NFTNL_EXPR_PAYLOAD_BASE, Value::U32(base)),
            (c::NFTNL_EXPR_PAYLOAD_OFFSET, Value::U32(offset)),
            (c::NFTNL_EXPR_PAYLOAD_LEN, Value::U32(length)),
        ];
        Self::new(c"payload", attributes)
    }

    /// Loads a part of an IPv6 extension header, given in octets, into a register.
    pub(crate) fn extension_header(header: u8, offset: u32, length: u32, register: u32) -> Self {
        let attributes = vec![
            (c::NFTNL_EXPR_EXTHDR_DREG, Value::U32(register)),
            (c::NFTNL_EXPR_EXTHDR_TYPE, Value::U8(header)),
            (c::NFTNL_EXPR_EXTHDR_OFFSET, Value::U32(offset)),
            (c::NFTNL_EXPR_EXTHDR_LEN, Value::U32(length)),
        ];
        Self::new(c"exthdr", attributes)
    }

    /// Loads what the routing tables know about a packet's address into a register.
    pub(crate) fn fib(flags: u32, result: u32, register: u32) -> Self {
        let attributes = vec![
            (c::NFTNL_EXPR_FIB_FLAGS, Value::U32(flags)),
            (c::NFTNL_EXPR_FIB_RESULT, Value::U32(result)),
            (c::NFTNL_EXPR_FIB_DREG, Value::U32(register)),
        ];
        Self::new(c"fib", attributes)
    }

    /// Loads what connection tracking knows about the packet into a register.
    pub(crate) fn conntrack(key: u32, register: u32) -> Self {
        let attributes = vec![
            (c::NFTNL_EXPR_CT_KEY, Value::U32(key)),
            (c::NFTNL_EXPR_CT_DREG, Value::U32(register)),
        ];
        Self::new(c"ct", attributes)
    }

    /// Loads a value of at most 64 octets into a register.
    pub(crate) fn immediate(value: &'v [u8], register: u32) -> Self {
        let attributes = vec![
            (c::NFTNL_EXPR_IMM_DREG, Value::U32(register)),
            (c::NFTNL_EXPR_IMM_DATA, Value::Data(value)),
        ];
        Self::new(c"immediate", attributes)
    }

    /// Goes on if a register's value is as asked beside this one of at most 64 octets.
    pub(crate) fn compare(register: u32, how: u32, value: &'v [u8]) -> Self {
        let attributes = vec![
            (c::NFTNL_EXPR_CMP_SREG, Value::U32(register)),
            (c::NFTNL_EXPR_CMP_OP, Value::U32(how)),
            (c::NFTNL_EXPR_CMP_DATA, Value::Data(value)),
        ];
        Self::new(c"cmp", attributes)
    }

    /// Keeps a register's bits of the mask, and turns those of `flip` over.
    pub(crate) fn bitwise(from: u32, to: u32, mask: &'v [u8], flip: &'v [u8]) -> Self {
        let attributes = vec![
            (c::NFTNL_EXPR_BITWISE_SREG, Value::U32(from)),
            (c::NFTNL_EXPR_BITWISE_DREG, Value::U32(to)),
            (c::NFTNL_EXPR_BITWISE_LEN, Value::U32(mask.len() as u32)),
            (c::NFTNL_EXPR_BITWISE_MASK, Value::Data(mask)),
            (c::NFTNL_EXPR_BITWISE_XOR, Value::Data(flip)),
        ];
        Self::new(c"bitwise", attributes)
    }

    /// Looks a register up in a set.
    pub(crate) fn lookup(register: u32, set: CString, flags: Option<u32>) -> Self {
        let mut attributes = vec![
            (c::NFTNL_EXPR_LOOKUP_SREG, Value::U32(register)),
            (c::NFTNL_EXPR_LOOKUP_SET, Value::Text(set)),
        ];
        attributes.extend(flags.map(|flags| (c::NFTNL_EXPR_LOOKUP_FLAGS, Value::U32(flags))));
        Self::new(c"lookup", attributes)
    }

    /// Looks a register up in a map, for a verdict.
    pub(crate) fn verdict_lookup(register: u32, map: CString) -> Self {
        let mut recipe = Self::lookup(register, map, None);
        let verdict = Value::U32(libc::NFT_REG_VERDICT as u32);
        recipe.attributes.push((c::NFTNL_EXPR_LOOKUP_DREG, verdict));
        recipe
    }

    /// Changes a set by a register's value, which then lasts so many milliseconds.
    pub(crate) fn dynamic(change: u32, set: CString, register: u32, timeout: Option<u64>) -> Self {
        let mut attributes = vec![
            (c::NFTNL_EXPR_DYNSET_SREG_KEY, Value::U32(register)),
            (c::NFTNL_EXPR_DYNSET_OP, Value::U32(change)),
            (c::NFTNL_EXPR_DYNSET_SET_NAME, Value::Text(set)),
        ];
        attributes
            .extend(timeout.map(|timeout| (c::NFTNL_EXPR_DYNSET_TIMEOUT, Value::U64(timeout))));
        Self::new(c"dynset", attributes)
    }

    /// Counts in a named counter.
    pub(crate) fn count(counter: CString) -> Self {
        let attributes = vec![
            (c::NFTNL_EXPR_OBJREF_IMM_TYPE, Value::U32(COUNTER)),
            (c::NFTNL_EXPR_OBJREF_IMM_NAME, Value::Text(counter)),
        ];
        Self::new(c"objref", attributes)
    }

    /// Copies the first `length` octets of the packet to an NFLOG group.
    pub(crate) fn log(group: u16, length: u32) -> Self {
        let attributes = vec![
            (c::NFTNL_EXPR_LOG_GROUP, Value::U16(group)),
            (c::NFTNL_EXPR_LOG_SNAPLEN, Value::U32(length)),
        ];
        Self::new(c"log", attributes)
    }

    /// Has the kernel's log say that the packet came, in a line that begins so.
    pub(crate) fn log_line(prefix: CString) -> Self {
        let attributes = vec![(c::NFTNL_EXPR_LOG_PREFIX, Value::Text(prefix))];
        Self::new(c"log", attributes)
    }

    /// Matches this many packets a second, and as many more at once.
    pub(crate) fn limit(per_second: u32, burst: u32) -> Self {
        let attributes = vec![
            (c::NFTNL_EXPR_LIMIT_RATE, Value::U64(per_second.into())),
            (c::NFTNL_EXPR_LIMIT_UNIT, Value::U64(1)),
            (c::NFTNL_EXPR_LIMIT_BURST, Value::U32(burst)),
        ];
        Self::new(c"limit", attributes)
    }
}

impl Expression for Recipe<'_> {
    fn to_expr(&self, _rule: &Rule<'_>) -> NonNull<c::nftnl_expr> {
        // SAFETY: the name is a C string that libnftnl compares with those it knows.
        let expression = allocated(unsafe { c::nftnl_expr_alloc(self.name.as_ptr()) });
        for (attribute, value) in &self.attributes {
            let (expression, attribute) = (expression.as_ptr(), *attribute as u16);
            // SAFETY: `expression` is live and ours alone; the constructors above gave this
            // attribute the width that libnftnl reads; text is copied, and so is data, which
            // is no longer than the memory for it.
            unsafe {
                match *value {
                    Value::U8(value) => c::nftnl_expr_set_u8(expression, attribute, value),
                    Value::U16(value) => c::nftnl_expr_set_u16(expression, attribute, value),
                    Value::U32(value) => c::nftnl_expr_set_u32(expression, attribute, value),
                    Value::U64(value) => c::nftnl_expr_set_u64(expression, attribute, value),
                    Value::Text(ref text) => {
                        copied(c::nftnl_expr_set_str(expression, attribute, text.as_ptr()));
                    }
                    Value::Data(data) => {
                        assert!(data.len() <= MAX_VALUE_LEN);
                        let (data, length) = (data.as_ptr().cast(), data.len() as u32);
                        copied(c::nftnl_expr_set(expression, attribute, data, length));
                    }
                }
            }
        }
        expression
    }
}

/// A named set or map of a table of family `inet`: the message that makes it.
pub(crate) struct Set(NonNull<c::nftnl_set>);

impl Set {
    /// A set; `id` must be unlike any other of the transaction.
    pub(crate) fn new(table: &CStr, name: &CStr, id: u32) -> Self {
        let set = Self::named(table, name);
        set.number(c::NFTNL_SET_FAMILY, INET.into());
        set.number(c::NFTNL_SET_ID, id);
        set
    }

    fn named(table: &CStr, name: &CStr) -> Self {
        // SAFETY: no argument.
        let set = Self(allocated(unsafe { c::nftnl_set_alloc() }));
        set.text(c::NFTNL_SET_TABLE, table);
        set.text(c::NFTNL_SET_NAME, name);
        set
    }

    /// nft's number for the type of its keys, and their octets.
    pub(crate) fn keyed(self, kind: u32, length: u32) -> Self {
        self.number(c::NFTNL_SET_KEY_TYPE, kind);
        self.number(c::NFTNL_SET_KEY_LEN, length);
        self
    }

    /// `NFT_SET_*`; a map is one to verdicts.
    pub(crate) fn flagged(self, flags: u32) -> Self {
        self.number(c::NFTNL_SET_FLAGS, flags);
        if flags & libc::NFT_SET_MAP as u32 != 0 {
            self.number(c::NFTNL_SET_DATA_TYPE, libc::NFT_DATA_VERDICT);
        }
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
            c::nftnl_set_set_data(self.0.as_ptr(), attribute, data.as_ptr().cast(), length)
        });
        self
    }

    fn text(&self, attribute: u32, text: &CStr) {
        // SAFETY: the set is live; `text` is a C string, which libnftnl copies.
        copied(unsafe { c::nftnl_set_set_str(self.0.as_ptr(), attribute as u16, text.as_ptr()) });
    }

    fn number(&self, attribute: u32, value: u32) {
        // SAFETY: the set is live; every attribute that is passed here is a u32 (src/set.c).
        unsafe { c::nftnl_set_set_u32(self.0.as_ptr(), attribute as u16, value) };
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
        unsafe { c::nftnl_set_free(self.0.as_ptr()) };
    }
}

// SAFETY: the message holds a few names and at most 128 octets of user data: far less than
// the 64 KiB that the buffer has.
unsafe impl NlMsg for Set {
    unsafe fn write(&self, buffer: *mut c_void, sequence: u32, _kind: MsgType) {
        let header = Self::header(buffer, sequence, libc::NFT_MSG_NEWSET);
        // SAFETY: `header` begins a buffer that has room, as above; the set is live.
        unsafe { c::nftnl_set_nlmsg_build_payload(header, self.0.as_ptr()) };
    }
}

fn annotate(element: NonNull<c::nftnl_set_elem>, note: &[u8]) {
    let attribute = c::NFTNL_SET_ELEM_USERDATA as u16;
    let (data, length) = (note.as_ptr().cast(), note.len() as u32);
    // SAFETY: the element is live; the pointer and the length describe `note`, which libnftnl copies.
    copied(unsafe { c::nftnl_set_elem_set(element.as_ptr(), attribute, data, length) });
}

/// Elements of a set: the message that adds them.
pub(crate) struct Elements {
    set: Set,
    /// The most octets that the elements so far take as a message.
    octets: usize,
}

/// What the attribute that holds all elements counts its octets in, less what surrounds them.
const MAX_ATTRIBUTE_LEN: usize = u16::MAX as usize - 4;
/// The most octets of a key.
const MAX_KEY_LEN: usize = 64;

impl Elements {
    /// No elements yet, for the set of this name.
    pub(crate) fn new(table: &CStr, set: &CStr) -> Self {
        Self {
            set: Set::named(table, set),
            octets: 0,
        }
    }

    /// Adds a key that goes to a chain, in a set of ranges the first of one, with a note that the
    /// kernel does not read.
    pub(crate) fn add_goto(&mut self, key: &[u8], chain: &CStr, note: &[u8]) {
        self.add(key, chain.count_bytes() + note.len(), |element| {
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
            if !note.is_empty() {
                annotate(element, note);
            }
        });
    }

    /// Adds the key behind the last one of a range.
    pub(crate) fn add_end(&mut self, key: &[u8]) {
        self.add(key, 0, |element| {
            let (attribute, flag) = (
                c::NFTNL_SET_ELEM_FLAGS as u16,
                libc::NFT_SET_ELEM_INTERVAL_END,
            );
            // SAFETY: the element is live; flags are a u32 (libnftnl, src/set_elem.c).
            unsafe { c::nftnl_set_elem_set_u32(element.as_ptr(), attribute, flag as u32) };
        });
    }

    /// Adds a key that stays.
    pub(crate) fn add_key(&mut self, key: &[u8]) {
        self.add(key, 0, |_| {});
    }

    /// Adds a key that lasts so many milliseconds in all, and so many from now.
    pub(crate) fn add_lasting(&mut self, key: &[u8], timeout: u64, remaining: u64) {
        self.add(key, 0, |element| {
            let attributes = [
                (c::NFTNL_SET_ELEM_TIMEOUT, timeout),
                (c::NFTNL_SET_ELEM_EXPIRATION, remaining),
            ];
            for (attribute, value) in attributes {
                // SAFETY: the element is live; both are u64 (libnftnl, src/set_elem.c).
                unsafe { c::nftnl_set_elem_set_u64(element.as_ptr(), attribute as u16, value) };
            }
        });
    }

    fn add(&mut self, key: &[u8], chain: usize, fill: impl FnOnce(NonNull<c::nftnl_set_elem>)) {
        /// Headers, padding, and what there is beside key and chain.
        const REST: usize = 64;
        self.octets += key.len() + chain + REST;
        assert!(key.len() <= MAX_KEY_LEN && self.octets <= MAX_ATTRIBUTE_LEN);
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
        unsafe { c::nftnl_set_elem_add(self.set.0.as_ptr(), element.as_ptr()) };
    }
}

// SAFETY: `add` lets no more elements in than fit an attribute; the buffer has a page more.
unsafe impl NlMsg for Elements {
    unsafe fn write(&self, buffer: *mut c_void, sequence: u32, _kind: MsgType) {
        let header = Set::header(buffer, sequence, libc::NFT_MSG_NEWSETELEM);
        // SAFETY: `header` begins a buffer that has room, as above; the set is live.
        unsafe { c::nftnl_set_elems_nlmsg_build_payload(header, self.set.0.as_ptr()) };
    }
}

/// A named counter of a table of family `inet`: the message that makes it.
pub(crate) struct Counter(NonNull<c::nftnl_obj>);

impl Counter {
    /// A counter that has counted so much.
    pub(crate) fn new(table: &CStr, name: &CStr, packets: u64, octets: u64) -> Self {
        // SAFETY: no argument.
        let counter = allocated(unsafe { c::nftnl_obj_alloc() });
        let object = counter.as_ptr();
        // SAFETY: the object is live, and its type is set before what depends on that; the
        // numbers have the widths of src/obj/counter.c and src/object.c, text is copied.
        unsafe {
            c::nftnl_obj_set_u32(object, c::NFTNL_OBJ_TYPE as u16, COUNTER);
            c::nftnl_obj_set_u32(object, c::NFTNL_OBJ_FAMILY as u16, INET.into());
            c::nftnl_obj_set_str(object, c::NFTNL_OBJ_TABLE as u16, table.as_ptr());
            c::nftnl_obj_set_str(object, c::NFTNL_OBJ_NAME as u16, name.as_ptr());
            c::nftnl_obj_set_u64(object, c::NFTNL_OBJ_CTR_PKTS as u16, packets);
            c::nftnl_obj_set_u64(object, c::NFTNL_OBJ_CTR_BYTES as u16, octets);
        }
        Self(counter)
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        // SAFETY: the counter is live, and nobody else frees it.
        unsafe { c::nftnl_obj_free(self.0.as_ptr()) };
    }
}

// SAFETY: the message holds two names, far less than the 64 KiB that the buffer has.
unsafe impl NlMsg for Counter {
    unsafe fn write(&self, buffer: *mut c_void, sequence: u32, _kind: MsgType) {
        let header = Set::header(buffer, sequence, libc::NFT_MSG_NEWOBJ);
        // SAFETY: `header` begins a buffer that has room, as above; the counter is live.
        unsafe { c::nftnl_obj_nlmsg_build_payload(header, self.0.as_ptr()) };
    }
}

/// A table of family `inet`: the message that makes it.
pub(crate) struct Table(NonNull<c::nftnl_table>);

impl Table {
    /// A table with these flags.
    pub(crate) fn new(name: &CStr, flags: u32) -> Self {
        // SAFETY: no argument.
        let table = allocated(unsafe { c::nftnl_table_alloc() });
        // SAFETY: the table is live; the numbers have the width of src/table.c, text is copied.
        unsafe {
            c::nftnl_table_set_u32(table.as_ptr(), c::NFTNL_TABLE_FAMILY as u16, INET.into());
            c::nftnl_table_set_u32(table.as_ptr(), c::NFTNL_TABLE_FLAGS as u16, flags);
            c::nftnl_table_set_str(table.as_ptr(), c::NFTNL_TABLE_NAME as u16, name.as_ptr());
        }
        Self(table)
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        // SAFETY: the table is live, and nobody else frees it.
        unsafe { c::nftnl_table_free(self.0.as_ptr()) };
    }
}

// SAFETY: the message holds a name, far less than the 64 KiB that the buffer has.
unsafe impl NlMsg for Table {
    unsafe fn write(&self, buffer: *mut c_void, sequence: u32, _kind: MsgType) {
        let header = Set::header(buffer, sequence, libc::NFT_MSG_NEWTABLE);
        // SAFETY: `header` begins a buffer that has room, as above; the table is live.
        unsafe { c::nftnl_table_nlmsg_build_payload(header, self.0.as_ptr()) };
    }
}

/// Turns objects into messages, one after another in the same memory.
pub(crate) struct Press(Vec<u64>);

impl Press {
    pub(crate) fn new() -> Self {
        let octets = nft_nlmsg_maxsize() as usize;
        Self(vec![0; octets.div_ceil(8)])
    }

    /// The attributes of the message that makes an object: all but its headers.
    pub(crate) fn attributes(&mut self, object: &impl NlMsg) -> &[u8] {
        /// `struct nlmsghdr` and `struct nfgenmsg`.
        const HEADERS: usize = 20;
        let start = self.0.as_mut_ptr();
        // SAFETY: the memory is as long as `NlMsg` asks for, and aligned for a header, which
        // every `write` begins with; its length counts the octets written.
        let message = unsafe {
            object.write(start.cast(), 0, MsgType::Add);
            let length = (*start.cast::<libc::nlmsghdr>()).nlmsg_len as usize;
            core::slice::from_raw_parts(start.cast::<u8>(), length.min(self.0.len() * 8))
        };
        message.get(HEADERS..).unwrap_or_default()
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
