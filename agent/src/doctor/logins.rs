//! Passwords, which can be guessed by whoever gets through a door.

use super::finding::Finding;
use super::kinds;
use super::root::Root;
use super::servers::{SSHD, taking_passwords};
use super::sockets::Listener;

pub(super) fn examine(root: &Root, listeners: &[Listener], findings: &mut Vec<Finding>) {
    for server in taking_passwords(root, listeners) {
        let kind = match server.name {
            SSHD => &kinds::SSHD_PASSWORDS,
            _ => &kinds::DROPBEAR_PASSWORDS,
        };
        findings.push(Finding::new(kind, &[("file", &server.place)]));
    }
}
