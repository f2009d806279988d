//! The renderers side by side: an nft script, libnftnl and our own encoder give the kernel the
//! same table.

use std::sync::mpsc;

use postern_core::config::Guard;

use super::examples::{self, Example};
use super::expressions;
#[cfg(feature = "libnftnl")]
use super::golden_messages;
use super::kernel::{comparable, in_namespace, listing, nft};
use crate::firewall::nft::batch::{Batch, Heritage, Kept, Ownership, making, replacement};
use crate::firewall::nft::connection::Connection;
use crate::firewall::nft::dump::KernelCounter;
use crate::firewall::nft::encoder::Encoder;
#[cfg(feature = "libnftnl")]
use crate::firewall::nft::libnftnl::Libnftnl;
use crate::firewall::nft::message::{Counted, Lasting, New, Renderer};
use crate::firewall::nft::{nfta, request};
use crate::firewall::table::model::Table;
use crate::firewall::table::names::TABLE;
use crate::firewall::table::text;
use crate::netlink::codec::{self, Attributes};
use crate::testing::eventually::eventually;

/// What the kernel says of the table, one line for each of its answers, octet for octet: but for
/// the numbers that it gives to whatever is made.
fn read_back(connection: &mut Connection, sets: &[String]) -> Vec<String> {
    let mut lines: Vec<String> = listing().lines().map(str::to_owned).collect();
    lines.extend(comparable(nft(&["--debug=netlink", "list", "ruleset"], "")));
    for (name, kind, numbers) in [
        ("table", libc::NFT_MSG_GETTABLE, &[4][..]),
        ("chain", libc::NFT_MSG_GETCHAIN, &[2]),
        ("set", libc::NFT_MSG_GETSET, &[16]),
        // A rule's own, and that of the one before.
        ("rule", libc::NFT_MSG_GETRULE, &[3, 6]),
        ("object", libc::NFT_MSG_GETOBJ, &[6]),
    ] {
        lines.extend(read(connection, name, kind, numbers));
    }
    for set in sets {
        lines.extend(elements(connection, set));
    }
    lines
}

fn read(connection: &mut Connection, name: &str, kind: i32, numbers: &[u16]) -> Vec<String> {
    // The first attribute of each of these messages is the name of the table.
    let of_table = |to: &mut Vec<u8>| codec::text(to, nfta::TABLE_NAME, &[TABLE]);
    let parse = |message: Attributes<'_>, found: &mut Vec<String>| {
        let mut line = name.to_owned();
        for (kind, value) in message.filter(|(kind, _)| !numbers.contains(kind)) {
            line += &format!(" {kind}:{}", hexadecimal(value));
        }
        found.push(line);
    };
    connection.dump(kind, &of_table, parse).unwrap()
}

/// The elements of a set, which come in the order of a hash table.
fn elements(connection: &mut Connection, set: &str) -> Vec<String> {
    let of_set = |to: &mut Vec<u8>| request::set_of_elements(to, &[set]);
    let parse = |message: Attributes<'_>, found: &mut Vec<String>| {
        let elements = message.inside(nfta::LIST_ELEMENTS).into_iter().flatten();
        found.extend(elements.map(|(_, value)| format!("{set} {}", hexadecimal(value))));
    };
    let mut found = connection
        .dump(libc::NFT_MSG_GETSETELEM, &of_set, parse)
        .unwrap();
    found.sort();
    found
}

fn hexadecimal(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// Makes something in a namespace of its own: what the kernel says of it; `None`: there can be
/// no namespace.
fn made(
    sets: Vec<String>,
    make: impl FnOnce(&mut Connection) + Send + 'static,
) -> Option<Vec<String>> {
    let (tell, told) = mpsc::channel();
    in_namespace(move || {
        let mut connection = Connection::open().unwrap();
        make(&mut connection);
        tell.send(read_back(&mut connection, &sets)).unwrap();
    });
    told.recv().ok()
}

/// Names the first line that differs, of the thousands that there may be.
fn assert_same(found: Option<Vec<String>>, expected: Option<&Vec<String>>) {
    let found = found.unwrap_or_default();
    for (found, expected) in found.iter().zip(expected.into_iter().flatten()) {
        assert_eq!(found, expected);
    }
    assert_eq!(found.len(), expected.map_or(0, Vec::len));
}

/// A renderer of messages, made anew for each namespace.
type Make = fn() -> Box<dyn Renderer>;

const RENDERERS: &[(&str, Make)] = &[
    #[cfg(feature = "libnftnl")]
    ("libnftnl", || Box::new(Libnftnl::new())),
    ("encoder", || Box::new(Encoder)),
];

fn commit(connection: &mut Connection, batch: impl FnOnce(u32) -> Batch) {
    let first = connection.reserve(0);
    let batch = batch(first);
    let count = batch.objects.len() as u32;
    connection.reserve(count + 1);
    connection.commit(&batch.octets, first, count - 1).unwrap();
}

fn table(example: &Example) -> Table {
    Table::new(&(example.config)(), example.listed)
}

fn every_example() -> impl Iterator<Item = Example> {
    examples::all().into_iter().chain(examples::LARGEST)
}

#[test]
fn the_kernel_reads_the_same_table_back_whatever_rendered_it() {
    for example in every_example() {
        let table = table(&example);
        let sets = || table.sets.iter().map(|set| set.name.clone()).collect();
        let script = text::render(&table);
        let scripted = made(sets(), move |_| {
            nft(&["-f", "-"], &script).expect("nft takes the script");
        });
        for (name, renderer) in RENDERERS {
            println!("{} by {name}", example.name);
            let table = table.clone();
            let rendered = made(sets(), move |connection| {
                commit(connection, |first| {
                    replacement(
                        &mut *renderer(),
                        &table,
                        &Heritage::default(),
                        first,
                        None,
                        Ownership::default(),
                        None,
                    )
                    .unwrap()
                });
            });
            assert_same(rendered, scripted.as_ref());
        }
    }
}

#[test]
fn the_kernel_reads_back_what_no_table_has_yet() {
    let sets = || vec!["stage".to_owned()];
    let scripted = made(sets(), |_| {
        nft(&["-f", "-"], expressions::TEXT).expect("nft takes the script");
    });
    for (name, renderer) in RENDERERS {
        println!("by {name}");
        let rendered = made(sets(), move |connection| {
            commit(connection, |first| {
                making(&mut *renderer(), first, &expressions::news())
            });
        });
        assert_same(rendered, scripted.as_ref());
    }
}

/// More grants than one message holds: some that last, some that stay. Counters that have counted.
fn heritage(table: &Table) -> Heritage {
    let grants = table
        .sets
        .iter()
        .position(|set| set.name.starts_with("grant4_"));
    let kept = |number: u32| Kept {
        set: grants.unwrap(),
        key: number.to_be_bytes().into(),
        lasting: number.is_multiple_of(2).then_some(Lasting {
            timeout: 600_000,
            remaining: 300_000 + u64::from(number),
        }),
    };
    let counted = |(packets, name): (u64, &String)| {
        let octets = packets * 40;
        KernelCounter {
            name: name.clone(),
            counted: Counted { packets, octets },
        }
    };
    Heritage {
        elements: (0..1_001).map(kept).collect(),
        counters: (7..).zip(&table.counters).map(counted).collect(),
    }
}

#[test]
fn grants_are_kept_whatever_renders_them() {
    for (name, renderer) in RENDERERS {
        println!("by {name}");
        in_namespace(move || {
            let table = Table::new(&examples::ssh(Guard::Gate), &[]);
            let heritage = heritage(&table);
            let kept = &heritage.elements;
            let mut connection = Connection::open().unwrap();
            commit(&mut connection, |first| {
                replacement(
                    &mut *renderer(),
                    &table,
                    &heritage,
                    first,
                    None,
                    Ownership::default(),
                    None,
                )
                .unwrap()
            });
            let mut found = connection.elements("grant4_ssh").unwrap();
            found.sort_by(|one, other| one.key.cmp(&other.key));
            assert_eq!(found.len(), kept.len());
            for (found, kept) in found.iter().zip(kept) {
                assert_eq!(found.key, kept.key);
                let times = found.lasting.zip(kept.lasting);
                assert_eq!(times.is_some(), kept.lasting.is_some());
                if let Some((found, kept)) = times {
                    assert_eq!(found.timeout, kept.timeout);
                    assert!((1..=kept.remaining).contains(&found.remaining));
                    assert!(found.remaining > 200_000);
                }
            }
        });
    }
}

#[test]
fn a_table_belongs_to_the_socket_that_it_is_made_for() {
    for (_, renderer) in RENDERERS {
        in_namespace(move || {
            let mut connection = Connection::open().unwrap();
            let owned = New::Table { owned: true };
            commit(&mut connection, |first| {
                making(&mut *renderer(), first, &[owned])
            });
            let table = connection.table().unwrap();
            assert_eq!(table.owner, connection.port().ok());
            assert!(table.plain);
            // The kernel takes it away at once (`nft_rcv_nl_event`).
            drop(connection);
            eventually(|| Connection::open().unwrap().table().is_err());
        });
    }
}

/// Whole transactions, with grants to be kept.
#[cfg(feature = "libnftnl")]
#[test]
fn the_encoder_writes_what_libnftnl_writes() {
    for example in every_example() {
        let table = table(&example);
        let heritage = heritage(&table);
        assert_alike(|renderer| {
            replacement(
                renderer,
                &table,
                &heritage,
                7,
                Some(9),
                Ownership::default(),
                None,
            )
            .unwrap()
        });
    }
    assert_alike(|renderer| making(renderer, 7, &expressions::news()));
    assert_alike(|renderer| making(renderer, 7, &[New::Table { owned: true }]));
}

#[cfg(feature = "libnftnl")]
fn assert_alike(batch: impl Fn(&mut dyn Renderer) -> Batch) {
    let library = batch(&mut Libnftnl::new());
    let own = batch(&mut Encoder);
    assert_eq!(library.objects, own.objects);
    assert_same(
        Some(messages(&own.octets)),
        Some(&messages(&library.octets)),
    );
}

#[cfg(feature = "libnftnl")]
fn messages(octets: &[u8]) -> Vec<String> {
    let described = |message: codec::Message<'_>| {
        let attributes = golden_messages::described(message.attributes().0);
        let (kind, flags, sequence) = (message.kind, message.flags, message.sequence);
        format!("{kind} {flags} {sequence}\n{attributes}")
    };
    codec::Messages(octets).map(described).collect()
}
