//! Cells, from outside and from inside. Run as root: each test in a state directory of its own, under an
//! instance tag of its own.

#[cfg(target_os = "linux")]
#[allow(dead_code, reason = "each test program uses a part")]
#[path = "../support/mod.rs"]
mod support;

#[cfg(target_os = "linux")]
mod ahead;
#[cfg(target_os = "linux")]
mod latency;
#[cfg(target_os = "linux")]
mod life;
#[cfg(target_os = "linux")]
mod pause;
#[cfg(target_os = "linux")]
mod quotas;
#[cfg(target_os = "linux")]
mod seen;
#[cfg(target_os = "linux")]
mod volumes;
#[cfg(target_os = "linux")]
mod walls;

#[cfg(target_os = "linux")]
fn main() {
    support::agent_if_asked();
    support::run(&[
        (
            "seen::nothing_of_the_host_but_usr",
            seen::nothing_of_the_host_but_usr,
        ),
        (
            "seen::its_own_names_and_numbers",
            seen::its_own_names_and_numbers,
        ),
        ("seen::host_programs_work", seen::host_programs_work),
        ("seen::changes_stay_inside", seen::changes_stay_inside),
        ("walls::calls_are_refused", walls::calls_are_refused),
        (
            "walls::kernel_files_are_hidden",
            walls::kernel_files_are_hidden,
        ),
        ("walls::root_has_little", walls::root_has_little),
        ("walls::memory_is_limited", walls::memory_is_limited),
        ("walls::processes_are_limited", walls::processes_are_limited),
        ("walls::cpu_is_limited", walls::cpu_is_limited),
        (
            "ahead::it_becomes_a_sandbox_in_every_respect",
            ahead::it_becomes_a_sandbox_in_every_respect,
        ),
        (
            "ahead::one_that_is_ended_leaves_nothing",
            ahead::one_that_is_ended_leaves_nothing,
        ),
        (
            "ahead::one_that_cannot_be_built_is_not_sound",
            ahead::one_that_cannot_be_built_is_not_sound,
        ),
        ("life::kill_leaves_nothing", life::kill_leaves_nothing),
        ("life::agent_end_is_seen", life::agent_end_is_seen),
        (
            "life::a_fork_bomb_can_be_killed",
            life::a_fork_bomb_can_be_killed,
        ),
        (
            "life::a_failed_stage_is_named",
            life::a_failed_stage_is_named,
        ),
        (
            "life::hostile_mount_points_are_refused",
            life::hostile_mount_points_are_refused,
        ),
        (
            "life::adopted_after_the_spawner_died",
            life::adopted_after_the_spawner_died,
        ),
        (
            "life::a_lost_cell_is_found_and_killed",
            life::a_lost_cell_is_found_and_killed,
        ),
        ("life::two_at_once", life::two_at_once),
        ("pause::a_boot_id_of_its_own", pause::a_boot_id_of_its_own),
        ("pause::frozen_and_thawed", pause::frozen_and_thawed),
        ("pause::memory_is_pushed_out", pause::memory_is_pushed_out),
        (
            "pause::by_every_means_there_is",
            pause::by_every_means_there_is,
        ),
        (
            "quotas::who_is_full_leaves_its_neighbour_room",
            quotas::who_is_full_leaves_its_neighbour_room,
        ),
        (
            "quotas::the_full_wake_and_are_copied",
            quotas::the_full_wake_and_are_copied,
        ),
        (
            "quotas::what_was_made_before_wakes_without_a_limit",
            quotas::what_was_made_before_wakes_without_a_limit,
        ),
        (
            "quotas::nobody_inside_leaves_its_project",
            quotas::nobody_inside_leaves_its_project,
        ),
        ("quotas::volumes_have_a_size", quotas::volumes_have_a_size),
        ("quotas::files_are_told_apart", quotas::files_are_told_apart),
        (
            "quotas::in_a_project_of_somebody_there_are_none",
            quotas::in_a_project_of_somebody_there_are_none,
        ),
        (
            "volumes::one_in_two_cells_and_after_them",
            volumes::one_in_two_cells_and_after_them,
        ),
        (
            "volumes::what_is_in_the_way_is_named",
            volumes::what_is_in_the_way_is_named,
        ),
        (
            "volumes::a_bare_cell_gets_as_far_as_its_agent",
            volumes::a_bare_cell_gets_as_far_as_its_agent,
        ),
    ]);
    if std::env::args().any(|arg| arg == "latency") {
        latency::print();
    }
}

#[cfg(not(target_os = "linux"))]
fn main() {}
