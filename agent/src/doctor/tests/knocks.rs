//! Who else uses the ports that doors knock on and guard.

use super::*;

#[test]
fn a_service_on_a_knock_port_is_named_once() {
    let tcp = [socket(ANY, 7000, "0A", 1), socket(ANY, 6002, "01", 2)].concat();
    let machine = Machine::new(&[("proc/net/tcp", &(TCP.to_owned() + &tcp))]);
    let ipv6 = "0: 00000000000000000000000000000000:1B58 00000000000000000000000000000000:0000 0A 0:0 0:0 0 0 0 1\n";
    machine.write("proc/net/tcp6", &(TCP.to_owned() + ipv6));
    machine.process(44, "web\u{1b}min", "", 1);
    let findings = machine.ports(&ssh());
    assert_eq!(ids(&findings), ["knock-port-taken", "guard-port-silent"]);
    assert!(
        findings[0]
            .text()
            .contains("tcp:7000, where web?min (process 44) listens")
    );
}

#[test]
fn a_service_on_a_decoy_is_named() {
    let config = ssh();
    let mut decoys = postern_core::decoy::decoys(&config.doors[0], &config.doors);
    let decoy = decoys
        .find(|ports| ports.protocol == Protocol::Tcp)
        .unwrap();
    let machine = Machine::new(&[]);
    let taken = |number| {
        let tcp = TCP.to_owned() + &socket(ANY, number, "0A", 1);
        machine.write("proc/net/tcp", &tcp);
        let findings = machine.ports(&config);
        ids(&findings).contains(&"decoy-port-taken")
    };
    assert!(decoy.numbers().all(taken));
    assert!(!taken(22) && !taken(7000));
}

#[test]
fn a_service_that_only_programs_here_reach_is_left_alone() {
    let machine = Machine::new(&[]);
    let taken = |table: &str, line: &str| {
        machine.write(&format!("proc/net/{table}"), &(TCP.to_owned() + line));
        let found = ids(&machine.ports(&ssh())).contains(&"knock-port-taken");
        fs::remove_file(machine.0.path(&format!("proc/net/{table}"))).unwrap();
        found
    };
    let ipv6 = |address: [[u8; 4]; 4], port: u16| {
        let words = address.map(|word| format!("{:08X}", u32::from_ne_bytes(word)));
        format!(
            "0: {}:{port:04X} 0:0000 0A 0:0 0:0 0 0 0 1\n",
            words.concat()
        )
    };
    assert!(!taken("tcp", &socket([127, 0, 0, 1], 7000, "0A", 1)));
    assert!(!taken("tcp", &socket([127, 3, 0, 1], 7000, "0A", 1)));
    assert!(taken("tcp", &socket([192, 0, 2, 1], 7000, "0A", 1)));
    assert!(
        !taken("tcp", &socket(ANY, 8001, "0A", 1)),
        "it knocks on UDP there"
    );
    assert!(taken("udp", &socket(ANY, 8001, "07", 1)));
    assert!(
        !taken("udp", &socket(ANY, 8001, "01", 1)),
        "connected: it is somebody's own query"
    );
    assert!(!taken("tcp6", &ipv6([ANY, ANY, ANY, [0, 0, 0, 1]], 7000)));
    assert!(!taken(
        "tcp6",
        &ipv6([ANY, ANY, [0, 0, 255, 255], [127, 0, 0, 1]], 7000)
    ));
    assert!(taken(
        "tcp6",
        &ipv6([ANY, ANY, [0, 0, 255, 255], [192, 0, 2, 1]], 7000)
    ));
    assert!(taken(
        "tcp6",
        &ipv6([[32, 1, 13, 184], ANY, ANY, [0, 0, 0, 1]], 7000)
    ));
    for odd in [
        "",
        "0:",
        "0: x:1B58 0:0 0A 0:0 0:0 0 0 0 1\n",
        "0: 0:xxxx 0:0 0A 0:0 0:0 0 0 0 1\n",
    ] {
        _ = taken("tcp", odd);
    }
}

#[test]
fn answers_to_queries_must_not_look_like_knocks() {
    let count = |machine: &Machine, config: &Config| {
        let findings = machine.ports(config);
        let found = findings
            .iter()
            .find(|each| each.kind.id() == "knock-port-ephemeral");
        found.map(Finding::text)
    };
    let machine = Machine::new(&[("proc/sys/net/ipv4/ip_local_port_range", "32768\t60999\n")]);
    assert_eq!(count(&machine, &ssh()), None);
    let high = |ports: &str| {
        let door = door("tcp:22").replace("tcp:7000 udp:8001 tcp:6002", ports);
        config("", &door)
    };
    // A SYN is asked for where the knock is TCP: no answer is one.
    assert_eq!(
        count(&machine, &high("tcp:40000 tcp:50000 tcp:33000")),
        None
    );
    let text = count(&machine, &high("tcp:40000 udp:50000 udp:60999")).unwrap();
    assert!(
        text.contains("on 2 UDP ports") && text.contains("32768 to 60999"),
        "{text}"
    );
    machine.write(
        "proc/sys/net/ipv4/ip_local_reserved_ports",
        "8080,49999-50001\n",
    );
    let text = count(&machine, &high("tcp:40000 udp:50000 udp:60999")).unwrap();
    assert!(text.contains("on 1 UDP ports"), "{text}");
    machine.write("proc/sys/net/ipv4/ip_local_port_range", "1024 2047\n");
    assert_eq!(
        count(&machine, &high("tcp:40000 udp:50000 udp:60999")),
        None
    );
    let codes = code_door("one-time-seed", Path::new("/nowhere"));
    let codes = format!("{codes}\toption protocol 'udp'\n\toption base '1500'\n");
    let text = count(&machine, &config("", &codes)).unwrap();
    assert!(text.contains("on 548 UDP ports"), "{text}");
}

#[test]
fn a_guarded_port_where_nobody_listens() {
    let machine = Machine::new(&[("proc/net/tcp", &socket([127, 0, 0, 1], 22, "0A", 1))]);
    assert_eq!(ids(&machine.ports(&ssh())), ["guard-port-silent"]);
    machine.write("proc/net/tcp", &socket(ANY, 22, "0A", 1));
    assert!(machine.ports(&ssh()).is_empty());
}

/// Not one that is sent on, nor one of hosts behind this machine.
#[test]
fn nobody_need_listen_at_a_port_that_leads_on() {
    let machine = Machine::new(&[("proc/net/tcp", &socket(ANY, 300, "0A", 1))]);
    for (guards, more, silent) in [
        ("tcp:80", "", true),
        ("tcp:8080", "", false),
        ("tcp:80", "option behind '192.0.2.0/24'", false),
        ("icmp:echo", "", false),
        ("tcp:100-400", "", false),
        ("tcp:100-200", "", true),
    ] {
        let findings = machine.ports(&config("", &(door(guards) + more)));
        assert_eq!(ids(&findings) == ["guard-port-silent"], silent, "{guards}");
    }
}

#[test]
fn answers_to_queries_must_not_need_a_grant() {
    let machine = Machine::new(&[]);
    for (guards, more, expected) in [
        (
            "udp:60000-61000",
            "option on_expiry cut",
            Some("guards 1000 UDP ports"),
        ),
        ("udp:60000-61000", "", None),
        (
            "udp:51820 tcp:100-65535",
            "option on_expiry cut",
            Some("guards 1 UDP ports"),
        ),
        ("udp:500", "option on_expiry cut", None),
    ] {
        let findings = machine.ports(&config("", &(door(guards) + more)));
        let is_it = |found: &&Finding| found.kind.id() == "guard-port-ephemeral";
        let text = findings.iter().find(is_it).map(Finding::text);
        match expected {
            None => assert_eq!(text, None, "{guards}"),
            Some(words) => assert!(text.unwrap().contains(words), "{guards}"),
        }
    }
}

#[test]
fn a_service_sees_knocks_that_pass_on() {
    let machine = Machine::new(&[("proc/net/tcp", &socket(ANY, 7000, "0A", 1))]);
    let found = |more: &str| {
        let findings = machine.ports(&config("", &(door("tcp:22") + more)));
        ids(&findings).contains(&"knock-port-taken")
    };
    assert!(found("") && !found("option passive 1"));
}

#[test]
fn sockets_are_read_as_the_kernel_writes_them() {
    let machine = Machine::new(&[(
        "proc/net/tcp",
        &(TCP.to_owned() + &socket(ANY, 22, "0A", 5)),
    )]);
    let listeners = sockets::listeners(&machine.root());
    let port = Port {
        protocol: Protocol::Tcp,
        number: 22,
    };
    assert_eq!(listeners.len(), 1);
    assert_eq!((listeners[0].port, listeners[0].loopback), (port, false));
    assert_eq!(listeners[0].who(), "a service");
}
