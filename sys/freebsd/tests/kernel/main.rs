//! The kernel's calls as this crate makes them. Run as root on a FreeBSD host: each test in a process of its own;
//! names of what they make begin with `warder-test-`, and nothing else is touched.

#[cfg(target_os = "freebsd")]
mod directories;
#[cfg(target_os = "freebsd")]
mod jails;
#[cfg(target_os = "freebsd")]
mod limits;
#[cfg(target_os = "freebsd")]
mod mounts;
#[cfg(target_os = "freebsd")]
mod processes;
#[cfg(target_os = "freebsd")]
mod runner;
#[cfg(target_os = "freebsd")]
mod state;
#[cfg(target_os = "freebsd")]
mod watches;

#[cfg(target_os = "freebsd")]
fn main() -> std::process::ExitCode {
    macro_rules! tests {
        ($($module:ident::$test:ident,)*) => {
            &[$((stringify!($module::$test), $module::$test as fn()),)*]
        };
    }
    runner::run(tests![
        state::numbers_and_texts_by_name,
        state::processes_are_listed,
        state::a_boot_has_a_name,
        state::features_are_looked_at,
        state::peers_are_known,
        processes::programs_get_what_they_are_given,
        processes::processes_are_found_again,
        processes::what_a_process_uses_grows,
        processes::workers_keep_little,
        processes::workers_end_with_their_parent,
        processes::a_process_outlives_its_descriptor,
        processes::scheduling_is_not_inherited,
        processes::a_reaper_kills_its_descendants,
        watches::readable_descriptors_are_named_by_their_tokens,
        watches::ends_of_processes_are_told,
        watches::signals_are_read,
        jails::a_jail_lives_and_dies,
        jails::a_jail_in_a_slot_shares_its_network,
        jails::refusals_say_why,
        jails::descriptors_stay_that_jails,
        mounts::mounts_come_and_go,
        mounts::refusals_say_why,
        limits::limits_hold_or_are_absent,
        directories::directories_are_private,
        directories::no_name_leads_out_of_a_tree,
    ])
}

#[cfg(not(target_os = "freebsd"))]
fn main() {}
