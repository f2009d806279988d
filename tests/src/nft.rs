//! What the kernel's rules say.

use std::net::IpAddr;
use std::time::Duration;

use crate::namespace::Namespace;

/// Carries out an nft script inside the namespace.
///
/// # Panics
/// When nft refuses it.
#[track_caller]
pub fn apply(namespace: &Namespace, script: &str) {
    namespace.run_with_input("nft", &["-f", "-"], script).ok();
}

/// Lets the time pass for which Postern remembers who hit a decoy.
pub fn forget_hits(namespace: &Namespace) {
    let sets = ["decoyed4", "decoyed6"].map(|set| format!("flush set inet postern {set}\n"));
    apply(namespace, &sets.concat());
}

/// Every rule inside the namespace, as nft writes them.
pub fn ruleset(namespace: &Namespace) -> String {
    namespace.run("nft", &["list", "ruleset"]).ok()
}

/// Every rule inside the namespace as JSON, in the schema of libnftables-json(5), but without
/// handles: these count what was there before.
pub fn ruleset_json(namespace: &Namespace) -> String {
    without_handles(&namespace.run("nft", &["-j", "list", "ruleset"]).ok())
}

/// One table as nft writes it; `None` where there is no such table. `name` is `inet postern`, say.
pub fn table(namespace: &Namespace, name: &str) -> Option<String> {
    let (family, name) = name.split_once(' ').expect("a family and a name");
    let said = namespace.run("nft", &["list", "table", family, name]);
    (said.status == 0).then_some(said.stdout)
}

/// One table without what changes by itself: counters, expiries and handles.
///
/// A set's elements are left in, without the time that they have left.
pub fn settled_table(namespace: &Namespace, name: &str) -> Option<String> {
    let (family, name) = name.split_once(' ').expect("a family and a name");
    let said = namespace.run("nft", &["--stateless", "list", "table", family, name]);
    (said.status == 0).then(|| without_expiries(&said.stdout))
}

/// Every address in the sets of the table.
pub fn addresses(namespace: &Namespace, table_name: &str) -> Vec<IpAddr> {
    let listing = table(namespace, table_name).unwrap_or_default();
    let words = listing.split([' ', ',', '\n', '\t']);
    words.filter_map(|word| word.parse().ok()).collect()
}

/// How long an address remains in some set of the table; `None` where it is in none.
pub fn expiry(namespace: &Namespace, table_name: &str, address: IpAddr) -> Option<Duration> {
    expiry_in(&table(namespace, table_name)?, address)
}

/// How long an address is let in by a door of Postern's, by the agent or the kernel itself.
pub fn granted(namespace: &Namespace, door: &str, address: IpAddr) -> Option<Duration> {
    let family = if address.is_ipv4() { '4' } else { '6' };
    ["grant", "knocked"].iter().find_map(|set| {
        let set = format!("{set}{family}_{door}");
        let said = namespace.run("nft", &["list", "set", "inet", "postern", &set]);
        expiry_in(&said.stdout, address)
    })
}

fn expiry_in(listing: &str, address: IpAddr) -> Option<Duration> {
    let mut words = listing
        .split([' ', ',', '\n', '\t'])
        .skip_while(|word| *word != address.to_string());
    words.find(|word| *word == "expires")?;
    Some(duration(words.next()?))
}

/// Reads a time as nft writes it, such as `1m29s980ms`.
fn duration(text: &str) -> Duration {
    let mut total = Duration::ZERO;
    let mut rest = text;
    while let Some(digits) = rest
        .find(|c: char| !c.is_ascii_digit())
        .filter(|end| *end > 0)
    {
        let number: u64 = rest[..digits].parse().expect("a number");
        let unit = rest[digits..].trim_start_matches(|c: char| !c.is_ascii_digit());
        total += match &rest[digits..rest.len() - unit.len()] {
            "ms" => Duration::from_millis(number),
            "s" => Duration::from_secs(number),
            "m" => Duration::from_secs(number * 60),
            "h" => Duration::from_secs(number * 3_600),
            "d" => Duration::from_secs(number * 86_400),
            other => panic!("no unit of nft's: {other}"),
        };
        rest = unit;
    }
    total
}

fn without_handles(json: &str) -> String {
    let mut pieces = json.split(", \"handle\": ");
    let first = pieces.next().map(ToString::to_string);
    let rest = pieces.map(|piece| piece.trim_start_matches(|c: char| c.is_ascii_digit()));
    first.into_iter().chain(rest.map(Into::into)).collect()
}

fn without_expiries(listing: &str) -> String {
    let mut settled = String::new();
    let mut words = listing.split_inclusive([' ', ',', '\n']);
    while let Some(word) = words.next() {
        if word == "expires " {
            let end = words.next().and_then(|time| time.chars().last());
            settled.extend(end);
        } else {
            settled.push_str(word);
        }
    }
    settled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handles_are_left_out() {
        let json = r#"{"table": {"name": "t", "handle": 12}}, {"chain": {"handle": 3, "x": 4}}"#;
        let left = r#"{"table": {"name": "t"}}, {"chain": {"handle": 3, "x": 4}}"#;
        assert_eq!(without_handles(json), left);
    }

    #[test]
    fn times_of_nft() {
        assert_eq!(duration("1m29s980ms"), Duration::from_millis(89_980));
        assert_eq!(duration("4ms"), Duration::from_millis(4));
    }

    #[test]
    fn expiries_are_left_out() {
        let listing =
            "elements = { 192.0.2.2 timeout 30s expires 29s980ms,\n\t1.2.3.4 expires 1s }";
        assert_eq!(
            without_expiries(listing),
            "elements = { 192.0.2.2 timeout 30s ,\n\t1.2.3.4  }"
        );
    }
}
