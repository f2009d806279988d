//! What can be seen without a network.

use std::path::{Path, PathBuf};
use std::process::Command;

use postern_tests::agent::program;
use postern_tests::page::{self, Block};
use postern_tests::process::run;

use super::is_target;

/// Lines of prose and of blocks; a row of a table cannot be broken.
const WIDTH: usize = 120;

/// The page that leads whoever is locked out back in.
const RECOVERY: &str = "docs/recovery.md";

/// A link of a page, and what it leads to.
struct Link {
    page: String,
    path: PathBuf,
    anchor: Option<String>,
}

fn links(page: &str) -> Vec<Link> {
    let text = page::text(page);
    let (_, prose) = page::split(&text);
    let folder = Path::new(page).parent().expect("a folder");
    let targets = prose.into_iter().flat_map(|line| {
        let rest = line.split("](").skip(1);
        rest.map(|rest| rest.split(')').next().unwrap_or_default())
    });
    let own = targets.filter(|target| !target.contains("://"));
    own.map(|target| {
        let (path, anchor) = match target.split_once('#') {
            Some((path, anchor)) => (path, Some(anchor.to_owned())),
            None => (target, None),
        };
        let path = match path {
            "" => page.into(),
            path => normal(&folder.join(path)),
        };
        Link {
            page: page.into(),
            path,
            anchor,
        }
    })
    .collect()
}

/// A path without `..`.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part.as_os_str().to_str() {
            Some("..") => assert!(normal.pop(), "{} leads outside", path.display()),
            _ => normal.push(part),
        }
    }
    normal
}

/// What a heading is called in links, as GitHub and others make it.
fn anchors(page: &Path) -> Vec<String> {
    let text = page::text(&page.display().to_string());
    let (_, prose) = page::split(&text);
    let headings = prose.iter().filter_map(|line| {
        let title = line.trim_start_matches('#');
        (title.len() < line.len()).then_some(title.strip_prefix(' ')?)
    });
    headings
        .map(|title| {
            let kept = title.to_lowercase().replace(' ', "-");
            kept.chars()
                .filter(|letter| letter.is_alphanumeric() || matches!(letter, '-' | '_'))
                .collect()
        })
        .collect()
}

pub(crate) fn every_link_leads_somewhere() {
    let mut followed = 0;
    for link in page::all().iter().flat_map(|page| links(page)) {
        let (page, path) = (&link.page, &link.path);
        assert!(
            page::top().join(path).exists(),
            "{page}: there is no {}",
            path.display()
        );
        if let Some(anchor) = link.anchor {
            let anchors = anchors(path);
            assert!(
                anchors.contains(&anchor),
                "{page}: no #{anchor} in {}",
                path.display()
            );
        }
        followed += 1;
    }
    assert!(followed > 50, "{followed}");
}

/// By those who read from the top, and those in a hurry.
pub(crate) fn every_page_can_be_reached_and_leads_to_the_way_back_in() {
    let from_the_front: Vec<PathBuf> = links("README.md")
        .into_iter()
        .map(|link| link.path)
        .collect();
    for page in page::all() {
        let is_one_of_ours =
            page.starts_with("docs/") || page.starts_with("openwrt/") || page == "SECURITY.md";
        if is_one_of_ours {
            let is_linked = from_the_front.iter().any(|path| *path == Path::new(&page));
            assert!(is_linked, "the front page does not lead to {page}");
        }
        if (is_one_of_ours || page == "README.md") && page != RECOVERY {
            let text = page::text(&page);
            let head: Vec<&str> = text.lines().take(20).collect();
            let has_it = |line: &&str| line.contains("recovery.md");
            assert!(head.iter().any(has_it), "{page} hides the way back in");
        }
    }
}

/// One screen that sells, and one that installs.
pub(crate) fn the_front_page_is_two_screens() {
    let text = page::text("README.md");
    let (lines, words) = (text.lines().count(), text.split_whitespace().count());
    assert!(lines <= 110 && words <= 750, "{lines} lines, {words} words");
}

pub(crate) fn every_line_fits() {
    for page in page::all() {
        let text = page::text(&page);
        for (number, line) in text.lines().enumerate() {
            let fits = line.starts_with('|') || line.chars().count() <= WIDTH;
            assert!(fits, "{page}:{}: longer than {WIDTH}", number + 1);
        }
        let (blocks, prose) = page::split(&text);
        for Block { language, .. } in blocks {
            let is_known = ["sh", "uci", "text", "rust", "toml"].contains(&language.as_str());
            assert!(is_known, "{page}: a block of language {language:?}");
        }
        // Markdown's other kind of block, which nobody would check.
        for pair in prose.windows(2) {
            let is_block = pair[0].is_empty() && pair[1].starts_with("    ");
            assert!(!is_block, "{page}: a block without a fence: {}", pair[1]);
        }
    }
}

/// In the last column of a table stand files and targets of the Makefile.
pub(crate) fn every_test_of_a_feature_is_there() {
    let text = page::text("docs/features.md");
    let mut features = 0;
    let rows = text.lines().filter(|line| line.starts_with("| "));
    for row in rows.filter(|row| !row.starts_with("| feature |") && !row.starts_with("| ---")) {
        let row = row.trim_end_matches(" |");
        let (_, tests) = row.rsplit_once(" | ").expect("a last column");
        let mut named = 0;
        for test in page::spans(tests) {
            let is_there = is_target(test) || page::top().join(test).exists();
            assert!(is_there, "there is no {test}: {row}");
            named += 1;
        }
        assert!(named > 0, "no test: {row}");
        features += 1;
    }
    assert!(features > 40, "{features}");
}

/// A verb that pages mention is one of ours, and so are its options.
pub(crate) fn every_verb_and_option_of_ours_is_there() {
    let help = |verb: &str| run(Command::new(program()).args([verb, "--help"]), "");
    for page in page::all() {
        let text = page::text(&page);
        let (blocks, prose) = page::split(&text);
        let code = blocks.iter().flat_map(Block::commands);
        for command in code.chain(prose.into_iter().flat_map(page::spans)) {
            let Some(words) = command.strip_prefix("postern ") else {
                continue;
            };
            let mut words = words.split(' ');
            let verb = words.next().unwrap_or_default();
            if verb == "VERB" || verb.starts_with('-') {
                continue;
            }
            let said = help(verb);
            assert!(said.status == 0, "{page}: {command}: {said:?}");
            for option in words.filter(|word| word.starts_with("--") && *word != "--help") {
                assert!(said.stdout.contains(option), "{page}: {command}");
            }
        }
    }
}
