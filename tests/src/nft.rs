//! What the kernel's rules say.

use crate::namespace::Namespace;

/// Carries out an nft script inside the namespace.
///
/// # Panics
/// When nft refuses it.
#[track_caller]
pub fn apply(namespace: &Namespace, script: &str) {
    namespace.run_with_input("nft", &["-f", "-"], script).ok();
}

/// Every rule inside the namespace, as nft writes them.
pub fn ruleset(namespace: &Namespace) -> String {
    namespace.run("nft", &["list", "ruleset"]).ok()
}

/// Every rule inside the namespace as JSON, in the schema of libnftables-json(5).
pub fn ruleset_json(namespace: &Namespace) -> String {
    namespace.run("nft", &["-j", "list", "ruleset"]).ok()
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
    fn expiries_are_left_out() {
        let listing =
            "elements = { 192.0.2.2 timeout 30s expires 29s980ms,\n\t1.2.3.4 expires 1s }";
        assert_eq!(
            without_expiries(listing),
            "elements = { 192.0.2.2 timeout 30s ,\n\t1.2.3.4  }"
        );
    }
}
