//! What makes Postern a part of OpenWrt, with OpenWrt's own programs and scripts.

mod networks;
mod package;
mod uci;

use postern_tests::suite::Suite;

pub(crate) fn suites() -> [Suite; 3] {
    [uci::suite(), networks::suite(), package::suite()]
}
