//! What was probably meant by a name that is not there.

use postern_core::near::{MAX_EDITS, is_near};

/// Names by their index, as far as there are any.
pub(crate) type Names<'f, 'n> = &'f dyn Fn(usize) -> Option<&'n str>;

/// The nearest of the names, if few edits make it of what was written: two, or a third of its length.
fn nearest<'n>(written: &str, names: Names<'_, 'n>) -> Option<&'n str> {
    (0..=MAX_EDITS).find_map(|edits| {
        let mut names = (0..).map_while(names);
        names.find(|name| name.len() / 3 >= edits.into() && is_near(written, name, edits))
    })
}

/// Asks, behind what was written, whether another name was meant.
pub(crate) fn did_you_mean(written: &str, names: Names<'_, '_>) -> String {
    match nearest(written, names) {
        None => String::new(),
        Some(near) => [" (did you mean '", near, "'?)"].concat(),
    }
}

/// Asks the same of a door, and says which there are.
pub(crate) fn there_are(written: &str, doors: Names<'_, '_>) -> String {
    let mut text = did_you_mean(written, doors);
    let mut sign = "; there are: ";
    for door in (0..).map_while(doors) {
        text += sign;
        text += door;
        sign = ", ";
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(names: &[&'static str], written: &str) -> Option<&'static str> {
        nearest(written, &|index| names.get(index).copied())
    }

    #[test]
    fn the_nearest_name_is_meant() {
        let verbs = ["lock", "unlock", "close"];
        for (written, meant) in [
            ("lokc", Some("lock")),
            ("LOCK", Some("lock")),
            ("unlokc", Some("unlock")),
            ("nlock", Some("lock")),
            ("clo", None),
            ("l", None),
            ("", None),
            ("knit", None),
        ] {
            assert_eq!(of(&verbs, written), meant, "{written}");
        }
        assert_eq!(of(&["web2", "web"], "wbe"), Some("web"));
        // Letters replaced make any short name of any other.
        assert_eq!(of(&["a", "ab"], "b"), None);
        assert_eq!(of(&["vnc"], "ssh"), None);
    }

    #[test]
    fn a_door_that_is_not_there() {
        let doors = |index| ["ssh", "web"].get(index).copied();
        assert_eq!(there_are("vpn", &doors), "; there are: ssh, web");
        let meant = " (did you mean 'ssh'?); there are: ssh, web";
        assert_eq!(there_are("shs", &doors), meant);
        assert_eq!(there_are("ssh", &|_| None), "");
    }
}
