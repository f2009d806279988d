//! What was probably meant by a name that is not there.

use postern_core::near::{MAX_EDITS, is_near};

/// The names that there are, in place of one that is not.
pub(crate) struct Names<'n> {
    written: &'n str,
    /// Behind a semicolon, to end a sentence with.
    list: String,
    nearest: Option<&'n str>,
    /// Fewer make what was written of a name.
    edits: u8,
}

impl<'n> Names<'n> {
    pub(crate) fn instead_of(written: &'n str) -> Self {
        Self {
            written,
            list: String::new(),
            nearest: None,
            edits: MAX_EDITS + 1,
        }
    }

    /// Adds a name. It was meant if it is nearer than the others, by so few edits as two, or a third of its length.
    pub(crate) fn add(&mut self, name: &'n str) {
        let sign = if self.list.is_empty() {
            "; there are: "
        } else {
            ", "
        };
        self.list += sign;
        self.list += name;
        for edits in 0..self.edits {
            if name.len() / 3 >= edits.into() && is_near(self.written, name, edits) {
                self.nearest = Some(name);
                self.edits = edits;
                return;
            }
        }
    }

    /// Asks, behind what was written, whether another name was meant.
    pub(crate) fn did_you_mean(&self) -> String {
        match self.nearest {
            None => String::new(),
            Some(near) => [" (did you mean '", near, "'?)"].concat(),
        }
    }

    /// Asks that, and says which names there are.
    pub(crate) fn there_are(&self) -> String {
        self.did_you_mean() + &self.list
    }
}

/// What is said of the doors that there are, in place of one that is not.
pub(crate) fn there_are(written: &str, doors: &[String]) -> String {
    let mut names = Names::instead_of(written);
    for door in doors {
        names.add(door);
    }
    names.there_are()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(known: &[&'static str], written: &'static str) -> Option<&'static str> {
        let mut names = Names::instead_of(written);
        for name in known {
            names.add(name);
        }
        names.nearest
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
        let doors = ["ssh".to_owned(), "web".to_owned()];
        assert_eq!(there_are("vpn", &doors), "; there are: ssh, web");
        let meant = " (did you mean 'ssh'?); there are: ssh, web";
        assert_eq!(there_are("shs", &doors), meant);
        assert_eq!(there_are("ssh", &[]), "");
    }
}
