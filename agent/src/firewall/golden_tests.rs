//! The text of every example under tests/golden/rulesets, for a person to read.
//!
//! `BLESS=1 cargo test -p postern golden` writes what is rendered now.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::{env, fs};

use super::{examples, render};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/rulesets")
}

/// Whether a golden file says the same, or will from now on.
pub(super) fn assert_golden(text: &str, path: &Path) {
    if env::var_os("BLESS").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let golden = fs::read_to_string(path).unwrap_or_default();
    assert_eq!(text, golden, "{}", path.display());
}

#[test]
fn examples_are_rendered_as_their_golden_files_say() {
    let examples = examples::all();
    assert!(examples.len() >= 25, "{} examples", examples.len());
    for example in &examples {
        let text = render(&(example.config)(), example.listed);
        let path = folder().join(example.name).with_extension("nft");
        assert_golden(&text, &path);
    }
}

#[test]
fn no_golden_file_lacks_its_example() {
    let names = examples::all()
        .into_iter()
        .map(|example| format!("{}.nft", example.name));
    let files = fs::read_dir(folder()).unwrap();
    let files: BTreeSet<String> = files
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(names.collect::<BTreeSet<_>>(), files);
}
