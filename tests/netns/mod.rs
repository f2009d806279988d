//! Postern itself, in network namespaces. The tests' own instruments are tried first.

mod approaches;
mod behind;
mod client;
mod crash;
mod cut_offs;
mod cutting;
mod doctor;
mod faults;
mod forwarding;
mod fw4;
mod guesses;
mod harness;
mod interfaces;
mod interference;
mod kernel_engines;
mod lifecycle;
mod log_source;
mod logging;
mod measurements;
mod methods;
mod mistakes;
mod opening;
mod other_knocks;
mod owners;
mod payloads;
mod people;
mod phone;
mod recovery;
mod reordering;
mod robustness;
mod scans;
mod services;
mod sources;
mod spa;
mod strangers;
mod trial;
mod verbs;
mod watch;

use postern_tests::suite::Suite;

pub(crate) fn suites() -> [Suite; 38] {
    [
        harness::suite(),
        opening::suite(),
        services::suite(),
        methods::suite(),
        measurements::suite(),
        approaches::suite(),
        sources::suite(),
        owners::suite(),
        log_source::suite(),
        kernel_engines::suite(),
        spa::suite(),
        other_knocks::suite(),
        payloads::suite(),
        people::suite(),
        client::suite(),
        phone::suite(),
        crash::suite(),
        faults::suite(),
        lifecycle::suite(),
        cutting::suite(),
        cut_offs::suite(),
        guesses::suite(),
        scans::suite(),
        reordering::suite(),
        robustness::suite(),
        recovery::suite(),
        verbs::suite(),
        mistakes::suite(),
        doctor::suite(),
        trial::suite(),
        interference::suite(),
        interfaces::suite(),
        logging::suite(),
        watch::suite(),
        fw4::suite(),
        forwarding::suite(),
        behind::suite(),
        strangers::suite(),
    ]
}
