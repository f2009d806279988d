//! What kernels that lack something answer. None that runs these tests does.

use super::*;

fn judged(answers: &Answers, config: Option<&Config>) -> Vec<(&'static str, Severity)> {
    let mut findings = Vec::new();
    kernel::judge(answers, config, &[], &mut findings);
    let judged = findings
        .iter()
        .map(|finding| (finding.kind.id(), finding.severity));
    judged.collect()
}

/// What a kernel that lacks a part answers, as `refusal` has it from the kernel's error numbers.
fn lacks(part: Part) -> Answers {
    let object = match part {
        Part::Tables => "the transaction",
        Part::Chains => "chain input",
        Part::TimedSets => "set part",
        _ => "rule 1 of chain input",
    };
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
    let plain = ssh();
    let with = |global: &str, guards: &str, option: &str| {
        config(global, &format!("{}\t{option}\n", door(guards)))
    };
    let by_log = with("option source log", "tcp:22", "");
    let by_packet = with("option source packet", "tcp:22", "");
    let bare = with("", "tcp:22", "option decoys '0'");
    let udp = with("", "udp:51820", "");
    let udp_mark = with("option guard mark", "udp:51820", "");
    let chain = with("", "tcp:22", "option engine 'chain'");
    let track = with("", "tcp:22", "option engine 'track'");
    for (part, id, needing, others) in [
        (
            Part::Tables,
            "kernel-nf-tables-missing",
            &[&plain][..],
            &[][..],
        ),
        (Part::Chains, "kernel-inet-missing", &[&plain], &[]),
        (Part::TimedSets, "kernel-timed-sets-missing", &[&plain], &[]),
        (Part::Fib, "kernel-fib-missing", &[&plain, &udp_mark], &[]),
        (
            Part::Log,
            "kernel-log-missing",
            &[&plain],
            &[&by_log, &by_packet],
        ),
        (
            Part::LogLine,
            "kernel-log-lines-missing",
            &[&by_log],
            &[&plain, &by_packet],
        ),
        (Part::Limit, "kernel-limit-missing", &[&plain], &[&bare]),
        (
            Part::Conntrack,
            "kernel-conntrack-missing",
            &[&udp],
            &[&plain, &udp_mark],
        ),
        (
            Part::DynamicSets,
            "kernel-dynamic-sets-missing",
            &[&plain, &by_packet, &chain, &track],
            &[&bare],
        ),
        (
            Part::Counters,
            "kernel-counters-missing",
            &[&plain, &by_packet, &chain, &track],
            &[&bare],
        ),
    ] {
        let needing = needing.iter().map(|config| (config, Fatal));
        let others = others.iter().map(|config| (config, Note));
        for (config, severity) in needing.chain(others) {
            let judged = judged(&lacks(part), Some(config));
            assert_eq!(judged, [(id, severity)], "{part:?} {config:?}");
        }
    }
    // Before anything is configured: what most configurations need.
    assert_eq!(judged(&lacks(Part::Log), None)[0].1, Fatal);
    assert_eq!(judged(&lacks(Part::Conntrack), None)[0].1, Note);
    let mut no_inet = lacks(Part::Tables);
    if let Err(Refusal::Lacks { object, .. }) = &mut no_inet.parts[0].1 {
        *object = "table postern".into();
    }
    assert_eq!(judged(&no_inet, None), [("kernel-inet-missing", Fatal)]);
}

#[test]
fn what_a_kernel_lacks_beside_its_tables() {
    use Severity::{Fatal, Note};
    let ssh = ssh();
    let by_packet = config("option source packet", &door("tcp:22"));
    for error in [libc::EINVAL, libc::EOPNOTSUPP, libc::EPROTONOSUPPORT] {
        let answers = Answers {
            nflog: error,
            ..Answers::default()
        };
        assert_eq!(
            judged(&answers, Some(&ssh)),
            [("kernel-nflog-missing", Fatal)]
        );
        assert_eq!(
            judged(&answers, Some(&by_packet)),
            [("kernel-nflog-missing", Note)]
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
    assert_eq!(
        judged(&answers, Some(&by_packet)),
        [("kernel-packet-missing", Fatal)]
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
    let refused = ("kernel-table-refused", Severity::Fatal);
    assert_eq!(judged(&answers, Some(&ssh())), [refused]);
    // Where something is lacking, that is why; unless the table does without.
    let answers = |part| Answers {
        table: Some(Refusal::Restless),
        ..lacks(part)
    };
    assert_eq!(judged(&answers(Part::Log), Some(&ssh())).len(), 1);
    let unneeded = judged(&answers(Part::Conntrack), Some(&ssh()));
    assert_eq!(
        unneeded,
        [("kernel-conntrack-missing", Severity::Note), refused]
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
