//! What kernels that lack something answer. None that runs these tests does.

use super::*;

fn judged(answers: &Answers, config: Option<&Config>) -> Vec<(&'static str, Severity)> {
    let mut findings = Vec::new();
    kernel::judge(answers, config, &mut findings);
    let judged = findings
        .iter()
        .map(|finding| (finding.kind.id(), finding.severity));
    judged.collect()
}

/// What a kernel that lacks a part answers, as `refusal` has it from the kernel's error numbers.
fn lacks(part: Part, object: &str) -> Answers {
    let lacking = Refusal::Lacks {
        object: object.into(),
        feature: "it".into(),
    };
    Answers {
        parts: vec![(part, Err(lacking))],
        ..Answers::default()
    }
}

/// No kernel that runs these tests lacks anything: here are the answers of those that do.
#[test]
fn what_a_kernel_lacks() {
    use Severity::{Fatal, Note};
    let udp = config("", &door("udp:51820"));
    let udp_mark = config("option guard mark", &door("udp:51820"));
    let without_decoys = config("", &(door("tcp:22") + "\toption decoys '0'\n"));
    let ssh = ssh();
    for (part, object, id, config, severity) in [
        (
            Part::Tables,
            "the transaction",
            "kernel-nf-tables-missing",
            &ssh,
            Fatal,
        ),
        (
            Part::Tables,
            "table postern",
            "kernel-inet-missing",
            &ssh,
            Fatal,
        ),
        (
            Part::Chains,
            "chain input",
            "kernel-inet-missing",
            &ssh,
            Fatal,
        ),
        (
            Part::TimedSets,
            "set timed",
            "kernel-timed-sets-missing",
            &ssh,
            Fatal,
        ),
        (
            Part::Log,
            "rule 1 of chain input",
            "kernel-log-missing",
            &ssh,
            Fatal,
        ),
        (
            Part::Limit,
            "rule 1 of chain input",
            "kernel-limit-missing",
            &ssh,
            Fatal,
        ),
        (
            Part::Limit,
            "rule 1 of chain input",
            "kernel-limit-missing",
            &without_decoys,
            Note,
        ),
        (
            Part::Conntrack,
            "rule 1 of chain input",
            "kernel-conntrack-missing",
            &ssh,
            Note,
        ),
        (
            Part::Conntrack,
            "rule 1 of chain input",
            "kernel-conntrack-missing",
            &udp,
            Fatal,
        ),
        (
            Part::Conntrack,
            "rule 1 of chain input",
            "kernel-conntrack-missing",
            &udp_mark,
            Note,
        ),
    ] {
        let answers = lacks(part, object);
        assert_eq!(judged(&answers, Some(config)), [(id, severity)], "{part:?}");
    }
    assert_eq!(
        judged(&lacks(Part::Conntrack, "rule 1"), None),
        [("kernel-conntrack-missing", Note)]
    );
    for error in [libc::EINVAL, libc::EOPNOTSUPP, libc::EPROTONOSUPPORT] {
        let answers = Answers {
            nflog: error,
            ..Answers::default()
        };
        assert_eq!(
            judged(&answers, Some(&ssh)),
            [("kernel-nflog-missing", Fatal)]
        );
    }
    let answers = Answers {
        packet: libc::EAFNOSUPPORT,
        ..Answers::default()
    };
    assert_eq!(
        judged(&answers, Some(&ssh)),
        [("kernel-packet-missing", Note)]
    );
    // Nobody holds the group, somebody does, or we may not ask: it is there.
    for nflog in [0, libc::ENODEV, libc::EPERM] {
        let packet = libc::EPERM;
        let answers = Answers {
            nflog,
            packet,
            ..Answers::default()
        };
        assert_eq!(judged(&answers, Some(&ssh)), []);
    }
}

#[test]
fn a_kernel_that_refuses_or_is_not_asked() {
    let no_socket = std::io::Error::from_raw_os_error(libc::EPROTONOSUPPORT);
    let answers = Answers {
        parts: vec![(Part::Tables, Err(Refusal::Socket(no_socket)))],
        nflog: libc::EPROTONOSUPPORT,
        ..Answers::default()
    };
    let expected = ["kernel-nf-tables-missing", "kernel-nflog-missing"];
    assert_eq!(
        judged(&answers, None),
        expected.map(|id| (id, Severity::Fatal))
    );
    let answers = Answers {
        parts: vec![(Part::Tables, Err(Refusal::NoPermission))],
        ..Answers::default()
    };
    assert_eq!(
        judged(&answers, None),
        [("kernel-unasked", Severity::Warning)]
    );
    // A table that an agent keeps to itself.
    let answers = Answers {
        permitted: true,
        ..answers
    };
    assert_eq!(judged(&answers, None), []);
    let answers = Answers {
        table: Some(Refusal::Restless),
        ..Answers::default()
    };
    assert_eq!(
        judged(&answers, Some(&ssh())),
        [("kernel-table-refused", Severity::Fatal)]
    );
}

#[test]
fn kernels_before_the_oldest() {
    for (version, is_old) in [
        ("6.18.44-fc\n", false),
        ("5.10.0\n", false),
        ("5.9.16\n", true),
        ("4.19.0-27-amd64\n", true),
        ("\n", false),
        ("new\n", false),
    ] {
        let machine = Machine::new(&[("proc/sys/kernel/osrelease", version)]);
        let mut findings = Vec::new();
        kernel::judge_version(&machine.root(), &mut findings);
        assert_eq!(ids(&findings) == ["kernel-old"], is_old, "{version}");
    }
}
