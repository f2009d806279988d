//! Ways to lose access, each played for real, each with its owner inside at the end, and how long that
//! took. A table of them is printed last.

mod clock;
mod killed;
mod limits;
mod memory;
mod mistakes;
mod network;
mod others;
mod page;
mod processes;
mod restart;
mod stage;

use clock::*;
use killed::*;
use limits::*;
use memory::*;
use mistakes::*;
use network::*;
use others::*;
use page::*;
use processes::*;
use restart::*;

use postern_tests::suite;
use postern_tests::suite::Suite;

pub(crate) fn suite() -> Suite {
    suite![
        // The longest ones first.
        an_agent_killed_at_each_step_of_apply needs "strace",
        an_agent_killed_at_each_step_of_a_trial needs "strace",
        an_apply_without_agent_killed_at_each_step needs "strace",
        a_disk_full_at_each_write_of_apply needs "strace",
        a_wrong_knock_port_on_trial needs "knock",
        a_wrong_knock_port_for_good needs "knock",
        a_wrong_interface_on_trial needs "knock",
        a_wrong_interface_for_good needs "knock",
        a_wrong_configuration_that_was_confirmed needs "knock",
        a_trial_that_nobody_confirms_and_whose_agent_dies needs "knock",
        a_reboot_in_the_middle_of_a_trial needs "knock",
        a_confirmed_configuration_that_is_damaged needs "knock",
        a_configuration_deleted_while_the_agent_runs needs "knock",
        a_configuration_deleted_before_a_start needs "knock" "unshare",
        a_restart_with_a_wrong_file needs "knock",
        a_boot_with_a_wrong_file needs "knock",
        a_restart_without_a_file needs "knock" "unshare",
        a_restart_with_a_wrong_file_and_nothing_confirmed needs "knock",
        a_restart_with_a_wrong_file_and_doors_of_the_kernel needs "knock",
        a_second_agent_with_a_wrong_file needs "knock",
        a_restart_with_the_fallback_gone needs "knock" "unshare",
        a_reload_with_a_wrong_file needs "knock",
        an_upgrade_with_a_wrong_file needs "knock",
        a_wrong_file_and_a_hand_at_the_console needs "knock",
        the_guard_taken_away_for_want_of_better needs "knock",
        a_door_whose_name_is_mistyped needs "knock",
        a_guard_with_no_other_way_in needs "unshare",
        a_secret_deleted needs "oathtool",
        a_secret_that_others_can_read needs "oathtool",
        a_damaged_memory_of_used_codes needs "oathtool",
        a_full_disk_at_a_start_and_an_apply needs "knock" "unshare" "nsenter",
        a_full_disk_when_a_code_is_used needs "oathtool" "unshare" "nsenter",
        a_wrong_clock_and_a_fixed_sequence needs "knock" "gcc",
        a_wrong_clock_and_codes_of_the_clock needs "oathtool" "gcc",
        codes_used_up_by_a_clock_in_the_future needs "oathtool" "gcc",
        all_rules_flushed needs "knock",
        all_rules_flushed_with_a_dead_agent needs "knock",
        our_table_deleted needs "knock",
        a_firewall_of_another_tool_that_drops needs "knock",
        our_tables_name_taken needs "knock",
        our_tables_name_taken_by_a_living_owner needs "knock",
        a_table_of_an_earlier_version needs "knock",
        a_table_of_an_earlier_version_and_no_agent needs "knock",
        our_nflog_group_taken needs "knock" "tcpdump",
        the_control_socket_deleted needs "knock",
        a_second_agent needs "knock",
        the_routers_address_changes needs "knock",
        the_owners_address_changes needs "knock",
        an_interface_gone_and_back needs "knock",
        an_interface_renamed needs "knock",
        one_family_lost needs "knock",
        a_grant_that_ends_while_its_owner_is_inside needs "knock" "sshd" "ssh" "ssh-keygen",
        nothing_but_lan_is_left needs "knock",
        every_command_of_the_page_is_played needs "knock" "oathtool" "systemctl",
        a_killed_agent needs "knock",
        a_killed_agent_that_does_not_come_back needs "knock",
        a_killed_agent_that_owns_its_guard needs "knock",
        a_stopped_agent needs "knock",
        an_agent_out_of_memory needs "knock" "prlimit",
        a_log_that_nobody_reads needs "knock",
        a_log_whose_reader_is_gone needs "knock",
        the_owner_cut_off_for_a_time needs "knock",
        the_owner_cut_off_for_long needs "knock",
        a_full_set_of_cut_offs needs "knock",
        a_full_set_of_attempts_inside_the_kernel needs "knock",
    ]
    .then(stage::print_returns)
}
