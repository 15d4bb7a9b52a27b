//! Cells, from outside and from inside. Run as root on a FreeBSD host: makes a pool in a file, and each test has a
//! state directory on it, an instance tag and a slot of its own.

#[cfg(target_os = "freebsd")]
mod life;
#[cfg(target_os = "freebsd")]
mod machine;
#[cfg(target_os = "freebsd")]
mod pause;
#[cfg(target_os = "freebsd")]
#[path = "../kernel/runner.rs"]
#[allow(dead_code, reason = "each test program uses a part")]
mod runner;
#[cfg(target_os = "freebsd")]
mod seen;
#[cfg(target_os = "freebsd")]
mod support;
#[cfg(target_os = "freebsd")]
mod walls;

#[cfg(target_os = "freebsd")]
fn main() -> std::process::ExitCode {
    support::agent_if_asked();
    macro_rules! tests {
        ($($module:ident::$test:ident,)*) => {
            &[$((stringify!($module::$test), $module::$test as fn()),)*]
        };
    }
    let pool = support::Pool::new();
    let code = runner::run(tests![
        seen::nothing_of_the_host_but_its_programs,
        seen::its_own_names_and_devices,
        walls::attacks_are_refused,
        walls::the_hosts_devices_stay_as_they_are,
        walls::its_network_works_and_is_not_its_own,
        walls::limits_hold_or_are_absent,
        life::kill_leaves_nothing,
        life::what_the_first_process_leaves_is_killed,
        life::a_failed_stage_is_named,
        life::hostile_mount_points_are_refused,
        life::adopted_after_the_spawner_died,
        life::volumes_are_mounted_and_go,
        life::a_foreign_jail_is_left_alone,
        pause::stopped_and_gone_on,
        machine::what_the_host_lacks_is_named,
        machine::a_machine_is_made_as_far_as_the_host_can,
        machine::a_template_without_a_disk_is_refused,
        machine::a_template_with_more_than_a_disk_is_refused,
    ]);
    pool.destroy();
    code
}

#[cfg(not(target_os = "freebsd"))]
fn main() {}
