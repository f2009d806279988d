//! Every expression that there is, in the real kernel: the same as nft makes of the text.

use super::Firewall;
use super::expression::{Base, DynamicChange, Expression, MetaKey, Register};
use super::kernel_tests::{comparable, in_namespace, listing, nft};
use super::libnftnl::Libnftnl;
use super::message::{New, NewSet};
use super::netlink::{self, KeyOrder};
use super::objects::Object;
use super::ruleset::{Chain, Verdict};
use super::transaction::{Renderer, making};

/// What engines in the kernel are made of, and no table of today.
const TEXT: &str = "table inet postern {
	counter hits {
		packets 0 bytes 0
	}

	set stage {
		type ipv4_addr . inet_service
		size 1024
		flags dynamic,timeout
	}

	chain stages {
		ip saddr . tcp dport @stage counter name \"hits\"
		add @stage { ip saddr . tcp dport timeout 10s }
		update @stage { ip saddr . tcp dport }
		delete @stage { ip saddr . tcp dport } drop
		meta mark set 0x00000011
		meta mark != 0x00000011 goto stages
	}
}
";

fn add_everything(renderer: &mut dyn Renderer) {
    let chain = Chain {
        name: "stages".to_owned(),
        hooked: false,
        rules: Vec::new(),
    };
    let mut news = vec![
        New::Table,
        New::Counter("hits"),
        New::Chain(&chain),
        New::Set(stage()),
    ];
    news.extend(rules().map(|rule| New::Rule("stages", rule)));
    let mut firewall = Firewall::open().unwrap();
    let first = firewall.channel.reserve(100);
    let batch = making(renderer, first, &news);
    assert_eq!(batch.objects.first(), Some(&Object::Batch));
    firewall
        .channel
        .commit(&batch.octets, first, batch.objects.len() as u32 - 1)
        .unwrap();
}

fn stage() -> NewSet<'static> {
    NewSet {
        name: "stage",
        id: 1,
        flags: (libc::NFT_SET_EVAL | libc::NFT_SET_TIMEOUT) as u32,
        key_type: 7 << 6 | 13,
        key_length: 8,
        size: Some(1024),
        user_data: netlink::user_data(KeyOrder::Mixed, None).unwrap(),
    }
}

fn rules() -> impl Iterator<Item = Vec<Expression>> {
    let (first, set) = (Register::FIRST, || "stage".to_owned());
    let dynamic = |change, timeout| Expression::Dynamic {
        change,
        set: set(),
        key: first,
        timeout,
    };
    let mark = || 0x11_u32.to_ne_bytes().to_vec();
    let with_key = [
        vec![
            Expression::Lookup {
                from: first,
                set: set(),
            },
            Expression::Count {
                counter: "hits".to_owned(),
            },
        ],
        vec![dynamic(DynamicChange::Add, Some(10_000))],
        vec![dynamic(DynamicChange::Update, None)],
        vec![
            dynamic(DynamicChange::Delete, None),
            Expression::Verdict(Verdict::Drop),
        ],
    ]
    .map(|rest| [key(), rest].concat());
    let marks = [
        vec![
            Expression::Immediate {
                value: mark(),
                to: first,
            },
            Expression::SetMeta {
                key: MetaKey::Mark,
                from: first,
            },
        ],
        vec![
            load(MetaKey::Mark),
            compare(false, mark()),
            Expression::Verdict(Verdict::Goto("stages".to_owned())),
        ],
    ];
    with_key.into_iter().chain(marks)
}

/// The source address, and in the word behind it the port that it asks for.
fn key() -> Vec<Expression> {
    let load_octets = |base, offset, length, to| Expression::Payload {
        base,
        offset,
        length,
        to,
    };
    vec![
        load(MetaKey::Family),
        compare(true, vec![libc::NFPROTO_IPV4 as u8]),
        load(MetaKey::Protocol),
        compare(true, vec![libc::IPPROTO_TCP as u8]),
        load_octets(Base::Network, 12, 4, Register::word(0)),
        load_octets(Base::Transport, 2, 2, Register::word(1)),
    ]
}

const fn load(key: MetaKey) -> Expression {
    let to = Register::FIRST;
    Expression::Meta { key, to }
}

const fn compare(equal: bool, value: Vec<u8>) -> Expression {
    let from = Register::FIRST;
    Expression::Compare { from, equal, value }
}

#[test]
fn what_no_table_has_yet_is_what_nft_makes_of_it() {
    in_namespace(|| {
        let dump = || comparable(nft(&["--debug=netlink", "list", "ruleset"], ""));
        // A chain that goes to itself is refused where packets would enter it only.
        nft(&["-f", "-"], TEXT).unwrap();
        let (text, scripted) = (listing(), dump());
        nft(&["flush", "ruleset"], "").unwrap();
        add_everything(&mut Libnftnl::new());
        assert_eq!(listing(), text);
        assert_eq!(dump(), scripted);
    });
}

#[test]
fn the_words_of_a_concatenated_key_are_registers_as_the_kernel_counts_them() {
    let words = [0, 1, 3, 4, 5, 8, 15].map(|word| Register::word(word).0);
    assert_eq!(words, [1, 9, 11, 2, 13, 3, 23]);
}

#[test]
fn what_is_too_long_is_not_written() {
    let fits = |expression: Expression| New::Rule("stages", vec![expression]).fits();
    assert!(fits(compare(true, vec![0; 64])));
    assert!(!fits(compare(true, vec![0; 65])));
    assert!(!fits(compare(true, vec![])));
    let goto = |chain: &str| Expression::Verdict(Verdict::Goto(chain.to_owned()));
    assert!(fits(goto(&"x".repeat(255))));
    assert!(!fits(goto(&"x".repeat(256))));
    assert!(!fits(goto("a\0b")));
    assert!(!New::Counter(&"x".repeat(256)).fits());
}
