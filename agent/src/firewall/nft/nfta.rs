//! Attributes and numbers of include/uapi/linux/netfilter/nf_tables.h that libc lacks, and libnftnl's user data.

pub(crate) const TABLE_NAME: u16 = 1;
pub(crate) const TABLE_FLAGS: u16 = 2;
pub(crate) const TABLE_USE: u16 = 3;
pub(crate) const TABLE_OWNER: u16 = 7;
pub(crate) const TABLE_USERDATA: u16 = 6;
pub(crate) const CHAIN_TABLE: u16 = 1;
pub(crate) const CHAIN_NAME: u16 = 3;
pub(crate) const CHAIN_HOOK: u16 = 4;
pub(crate) const CHAIN_POLICY: u16 = 5;
pub(crate) const CHAIN_TYPE: u16 = 7;
pub(crate) const CHAIN_USERDATA: u16 = 12;
pub(crate) const HOOK_NUMBER: u16 = 1;
pub(crate) const HOOK_PRIORITY: u16 = 2;
pub(crate) const RULE_TABLE: u16 = 1;
pub(crate) const RULE_CHAIN: u16 = 2;
pub(crate) const RULE_EXPRESSIONS: u16 = 4;
pub(crate) const EXPR_NAME: u16 = 1;
pub(crate) const EXPR_DATA: u16 = 2;
pub(crate) const META_REGISTER: u16 = 1;
pub(crate) const META_KEY: u16 = 2;
pub(crate) const PAYLOAD_BASE: u16 = 2;
pub(crate) const PAYLOAD_OFFSET: u16 = 3;
pub(crate) const PAYLOAD_LENGTH: u16 = 4;
pub(crate) const PAYLOAD_SOURCE: u16 = 5;
pub(crate) const FIB_FLAGS: u16 = 3;
pub(crate) const LOOKUP_SET: u16 = 1;
pub(crate) const LOOKUP_SOURCE: u16 = 2;
pub(crate) const LOOKUP_REGISTER: u16 = 3;
pub(crate) const LOOKUP_FLAGS: u16 = 5;
pub(crate) const RANGE_TO: u16 = 4;
pub(crate) const NAT_TYPE: u16 = 1;
pub(crate) const NAT_ADDRESS: u16 = 3;
pub(crate) const NAT_PORT: u16 = 5;
pub(crate) const REDIR_PORT: u16 = 1;
pub(crate) const BITWISE_SOURCE: u16 = 1;
pub(crate) const BITWISE_REGISTER: u16 = 2;
pub(crate) const BITWISE_MASK: u16 = 4;
pub(crate) const BITWISE_XOR: u16 = 5;
pub(crate) const BITWISE_OPERATION: u16 = 6;
pub(crate) const CMP_REGISTER: u16 = 1;
pub(crate) const CMP_OPERATION: u16 = 2;
pub(crate) const CMP_DATA: u16 = 3;
pub(crate) const IMMEDIATE_DATA: u16 = 2;
pub(crate) const IMMEDIATE_REGISTER: u16 = 1;
pub(crate) const LIMIT_FLAGS: u16 = 5;
pub(crate) const EXTENSION_NAME: u16 = 1;
pub(crate) const EXTENSION_INFO: u16 = 3;
pub(crate) const SET_TABLE: u16 = 1;
pub(crate) const SET_NAME: u16 = 2;
pub(crate) const SET_USERDATA: u16 = 13;
pub(crate) const OBJECT_TABLE: u16 = 1;
pub(crate) const OBJECT_NAME: u16 = 2;
pub(crate) const OBJECT_TYPE: u16 = 3;
pub(crate) const OBJECT_DATA: u16 = 4;
pub(crate) const COUNTER_OCTETS: u16 = 1;
pub(crate) const COUNTER_PACKETS: u16 = 2;
pub(crate) const GEN_ID: u16 = 1;
pub(crate) const GEN_PROCESS: u16 = 2;
pub(crate) const GEN_NAME: u16 = 3;
/// The table's name, in messages about whatever is in a table.
pub(crate) const TABLE_OF_ANY: u16 = 1;
pub(crate) const LIST_TABLE: u16 = 1;
pub(crate) const LIST_SET: u16 = 2;
pub(crate) const LIST_ELEMENTS: u16 = 3;
pub(crate) const LIST_ELEM: u16 = 1;
pub(crate) const ELEM_KEY: u16 = 1;
pub(crate) const ELEM_DATA: u16 = 2;
pub(crate) const ELEM_FLAGS: u16 = 3;
pub(crate) const ELEM_KEY_END: u16 = 10;
pub(crate) const ELEM_TIMEOUT: u16 = 4;
pub(crate) const ELEM_EXPIRATION: u16 = 5;
pub(crate) const DATA_VALUE: u16 = 1;
pub(crate) const DATA_VERDICT: u16 = 2;
pub(crate) const VERDICT_CODE: u16 = 1;
pub(crate) const VERDICT_CHAIN: u16 = 2;
/// libnftnl's NFTNL_UDATA_SET_KEYBYTEORDER.
pub(crate) const KEY_BYTE_ORDER: u8 = 0;
/// libnftnl's NFTNL_UDATA_SET_DATABYTEORDER.
pub(crate) const DATA_BYTE_ORDER: u8 = 1;
/// libnftnl's NFTNL_UDATA_SET_KEY_TYPEOF.
pub(crate) const KEY_EXPRESSION: u8 = 3;
/// libnftnl's NFTNL_UDATA_SET_DATA_INTERVAL.
pub(crate) const DATA_INTERVAL: u8 = 6;
/// libnftnl's NFTNL_UDATA_SET_COMMENT.
pub(crate) const COMMENT: u8 = 7;
