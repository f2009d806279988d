//! What a folder holds: getdents64(2).
//!
//! The standard library's way ends a program whose folder cannot be closed.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

/// Where the parts of a `linux_dirent64` are: its length, and its name with a zero behind it.
const LENGTH: usize = 16;
const NAME: usize = 19;

/// Aligned as the kernel's records are.
#[repr(align(8))]
struct Room([u8; 2048]);

/// The names in a folder, in no order, at most so many; names that are not UTF-8 are left out.
pub(crate) fn names(folder: &Path, most: usize) -> io::Result<Vec<String>> {
    let folder = File::open(folder)?;
    let mut names = Vec::new();
    let mut room = Room([0; 2048]);
    while names.len() < most {
        let (file, entries) = (folder.as_raw_fd(), &mut room.0);
        // SAFETY: the kernel writes at most as many bytes as there is room for.
        let filled = unsafe {
            let most = entries.len();
            libc::syscall(libc::SYS_getdents64, file, entries.as_mut_ptr(), most)
        };
        match usize::try_from(filled) {
            Ok(0) => break,
            Ok(filled) => read(entries.get(..filled).unwrap_or_default(), &mut names),
            Err(_) => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    }
    names.truncate(most);
    Ok(names)
}

fn read(mut entries: &[u8], names: &mut Vec<String>) {
    while let Some(length) = entries.get(LENGTH..).and_then(<[u8]>::first_chunk) {
        let length = usize::from(u16::from_ne_bytes(*length));
        let Some(name) = entries.get(NAME..length) else {
            return;
        };
        let mut parts = name.split(|octet| *octet == 0);
        let name = parts.next().map(str::from_utf8);
        if let Some(Ok(name)) = name.filter(|name| !matches!(name, Ok("." | ".."))) {
            names.push(name.into());
        }
        entries = entries.get(length..).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::scratch::Scratch;

    #[test]
    fn all_names_of_a_folder_are_told_but_its_own() {
        let scratch = Scratch::new();
        assert_eq!(names(scratch.folder(), 9).unwrap(), [""; 0]);
        let mut expected: Vec<String> = (0..300)
            .map(|number| format!("{}{number}", "a long name ".repeat(number % 20)))
            .collect();
        for name in &expected {
            scratch.file(name, "");
        }
        let mut found = names(scratch.folder(), 1000).unwrap();
        found.sort();
        expected.sort();
        assert_eq!(found, expected);
        assert_eq!(names(scratch.folder(), 7).unwrap().len(), 7);
        assert!(names(&scratch.path("nowhere"), 1).is_err());
        assert!(names(&scratch.file("file", ""), 1).is_err());
    }

    #[test]
    fn no_entries_are_too_odd() {
        let mut whole = [0; 24];
        whole[16] = 24;
        whole[19..22].copy_from_slice(b"abc");
        for length in 0..=24 {
            for reclen in [0, 1, 18, 19, 20, 24, 25, 255] {
                let mut entries = whole;
                entries[16] = reclen;
                let mut names = Vec::new();
                read(&entries[..length], &mut names);
                assert!(names.len() <= 1);
            }
        }
    }
}
