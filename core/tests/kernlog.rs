//! What is read out of the lines that running kernels and log daemons wrote, under
//! tests/golden/kernlog.
//!
//! Those of kernels were each made by a packet that a raw socket sent: with and without options,
//! in pieces, cut short, with every flag and extension header; in the second half of a file, the
//! rule had `flags all`. Those of daemons were written by rsyslog 8.2302 in two formats, BusyBox
//! 1.35 and dmesg 2.38; some of them were users' lines.

use std::io;
use std::path::Path;

use postern_core::kernlog::{Line, line};

#[test]
fn lines_of_kernels_and_log_daemons() -> io::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/kernlog");
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let text = std::fs::read_to_string(&path)?;
        for (number, pair) in (1..).zip(text.lines()) {
            let (expected, log) = pair.split_once('\t').unwrap_or_default();
            assert_eq!(said(log), expected, "{}:{number}", path.display());
        }
        assert!(text.lines().count() > 10, "{}", path.display());
    }
    Ok(())
}

fn said(log: &str) -> String {
    match line(log.as_bytes()) {
        Line::Packet(Ok(knock)) => {
            let (protocol, number) = (knock.port.protocol.name(), knock.port.number);
            let (source, source_port) = (knock.source, knock.source_port);
            format!("{source} {source_port} {protocol}:{number}")
        }
        Line::Packet(Err(refusal)) => refusal.reason().to_owned(),
        other => format!("{other:?}"),
    }
}
