//! Storage on a pool of its own, in a file below /var/tmp. Run as root on a FreeBSD host with ZFS: each test in a process
//! of its own; pools are named `warder-test-…` and nothing else is touched.

#[cfg(target_os = "freebsd")]
mod archives;
#[cfg(target_os = "freebsd")]
mod pool;
#[cfg(target_os = "freebsd")]
#[path = "../kernel/runner.rs"]
mod runner;
#[cfg(target_os = "freebsd")]
mod templates;
#[cfg(target_os = "freebsd")]
mod trees;

#[cfg(target_os = "freebsd")]
fn main() -> std::process::ExitCode {
    macro_rules! tests {
        ($($module:ident::$test:ident,)*) => {
            &[$((stringify!($module::$test), $module::$test as fn()),)*]
        };
    }
    runner::run(tests![
        trees::a_tree_is_made_limited_and_destroyed,
        trees::a_store_is_found_again,
        trees::what_cannot_be_used_is_said,
        trees::volumes_outlive_trees,
        trees::volumes_are_bounded,
        trees::a_full_pool_is_named,
        trees::what_a_tree_costs,
        templates::a_snapshot_outlives_its_sandbox,
        templates::a_template_waits_for_its_clones,
        templates::base_knows_its_users,
        archives::an_archive_becomes_a_template,
        archives::a_hostile_archive_stays_inside,
    ])
}

#[cfg(not(target_os = "freebsd"))]
fn main() {}
