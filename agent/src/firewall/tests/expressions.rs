//! Expressions that engines in the kernel are made of, and no table of today.

use crate::firewall::nft::expression::{Base, Comparison, Expression, MetaKey, Register};
use crate::firewall::nft::message::{Counted, New, NewSet};
use crate::firewall::nft::request::{self, KeyOrder};
use crate::firewall::table::model::{Chain, DynamicChange, Verdict};

/// What [`news`] makes, as a script.
pub(crate) const TEXT: &str = "table inet postern {
	counter hits {
		packets 0 bytes 0
	}

	set stage {
		type ipv4_addr . inet_service
		size 1024
		flags dynamic,timeout
	}

	chain stages {
		ip saddr . tcp dport @stage
		add @stage { ip saddr . tcp dport timeout 10s }
		update @stage { ip saddr . tcp dport }
		delete @stage { ip saddr . tcp dport } drop
		counter name \"hits\"
		meta mark set 0x00000011
		meta mark != 0x00000011 goto stages
	}
}
";

pub(crate) fn news() -> Vec<New<'static>> {
    let chain = Box::leak(Box::new(Chain {
        name: "stages".to_owned(),
        hook: None,
        rules: Vec::new(),
    }));
    let rules = [
        looking_up(),
        changing(DynamicChange::Add, Some(10_000)),
        changing(DynamicChange::Update, None),
        deleting(),
        vec![counting()],
        marking(),
        going_unmarked(),
    ];
    let mut news = vec![
        New::Table { owned: false },
        New::Counter("hits", Counted::default()),
        New::Chain(chain),
        New::Set(stage()),
    ];
    news.extend(rules.map(|rule| New::Rule("stages", rule)));
    news
}

pub(crate) fn stage() -> NewSet<'static> {
    NewSet {
        name: "stage",
        id: 1,
        flags: (libc::NFT_SET_EVAL | libc::NFT_SET_TIMEOUT) as u32,
        key_type: 7 << 6 | 13,
        key_length: 8,
        size: Some(1024),
        user_data: request::user_data(KeyOrder::Mixed, false, None).unwrap(),
    }
}

fn looking_up() -> Vec<Expression> {
    let (from, set) = (Register::FIRST, "stage".to_owned());
    let is_in = true;
    with_key(Expression::Lookup { from, set, is_in })
}

pub(crate) fn changing(change: DynamicChange, timeout: Option<u64>) -> Vec<Expression> {
    with_key(Expression::Dynamic {
        change,
        set: "stage".to_owned(),
        key: Register::FIRST,
        timeout,
    })
}

fn deleting() -> Vec<Expression> {
    let mut rule = changing(DynamicChange::Delete, None);
    rule.push(Expression::Verdict(Verdict::Drop));
    rule
}

pub(crate) fn counting() -> Expression {
    Expression::Count {
        counter: "hits".to_owned(),
    }
}

fn marking() -> Vec<Expression> {
    let value = 0x11_u32.to_ne_bytes().to_vec();
    let (to, key) = (Register::FIRST, MetaKey::Mark);
    vec![
        Expression::Immediate { value, to },
        Expression::SetMeta { key, from: to },
    ]
}

fn going_unmarked() -> Vec<Expression> {
    let goto = Verdict::Goto("stages".to_owned());
    vec![
        load(MetaKey::Mark),
        compare(Comparison::Unequal, 0x11_u32.to_ne_bytes().to_vec()),
        Expression::Verdict(goto),
    ]
}

/// The source address, and in the word behind it the port that it asks for.
fn with_key(last: Expression) -> Vec<Expression> {
    let octets = |base, offset, length, to| Expression::Payload {
        base,
        offset,
        length,
        to,
    };
    vec![
        load(MetaKey::Family),
        compare(Comparison::Equal, vec![libc::NFPROTO_IPV4 as u8]),
        load(MetaKey::Protocol),
        compare(Comparison::Equal, vec![libc::IPPROTO_TCP as u8]),
        octets(Base::Network, 12, 4, Register::word(0)),
        octets(Base::Transport, 2, 2, Register::word(1)),
        last,
    ]
}

const fn load(key: MetaKey) -> Expression {
    let to = Register::FIRST;
    Expression::Meta { key, to }
}

const fn compare(how: Comparison, value: Vec<u8>) -> Expression {
    let from = Register::FIRST;
    Expression::Compare { from, how, value }
}

#[test]
fn the_words_of_a_concatenated_key_are_registers_as_the_kernel_counts_them() {
    let words = [0, 1, 3, 4, 5, 8, 15].map(|word| Register::word(word).0);
    assert_eq!(words, [1, 9, 11, 2, 13, 3, 23]);
}

#[test]
fn what_is_too_long_is_not_written() {
    let fits = |expression: Expression| New::Rule("stages", vec![expression]).fits();
    assert!(fits(compare(Comparison::Equal, vec![0; 64])));
    assert!(!fits(compare(Comparison::Equal, vec![0; 65])));
    assert!(!fits(compare(Comparison::Equal, vec![])));
    let goto = |chain: &str| Expression::Verdict(Verdict::Goto(chain.to_owned()));
    assert!(fits(goto(&"x".repeat(255))));
    assert!(!fits(goto(&"x".repeat(256))));
    assert!(!fits(goto("a\0b")));
    let many = |count| New::Rule("stages", vec![counting(); count]);
    assert!(many(128).fits());
    assert!(!many(129).fits());
    assert!(!New::Counter(&"x".repeat(256), Counted::default()).fits());
}
