//! Storage, archives, and the processes started for them. Run as root: each test in a state directory of its own.

#[cfg(target_os = "linux")]
mod archives;
#[cfg(target_os = "linux")]
mod processes;
#[cfg(target_os = "linux")]
mod snapshots;
#[cfg(target_os = "linux")]
#[allow(dead_code, reason = "each test program uses a part")]
#[path = "../support/mod.rs"]
mod support;
#[cfg(target_os = "linux")]
mod trees;

#[cfg(target_os = "linux")]
fn main() {
    support::agent_if_asked();
    support::run(&[
        (
            "trees::a_hostile_tree_is_removed",
            trees::a_hostile_tree_is_removed,
        ),
        (
            "trees::clones_are_whole_or_absent",
            trees::clones_are_whole_or_absent,
        ),
        (
            "trees::base_is_made_anew_when_stale",
            trees::base_is_made_anew_when_stale,
        ),
        ("trees::base_holds_no_secret", trees::base_holds_no_secret),
        ("trees::a_full_disk_is_told", trees::a_full_disk_is_told),
        (
            "trees::directories_end_at_themselves",
            trees::directories_end_at_themselves,
        ),
        (
            "archives::an_archive_becomes_a_template",
            archives::an_archive_becomes_a_template,
        ),
        (
            "archives::hostile_archives_stay_inside",
            archives::hostile_archives_stay_inside,
        ),
        (
            "archives::an_archive_cannot_take_the_hosts_memory",
            archives::an_archive_cannot_take_the_hosts_memory,
        ),
        (
            "snapshots::a_clone_is_what_its_source_was",
            snapshots::a_clone_is_what_its_source_was,
        ),
        (
            "snapshots::as_many_layers_as_there_is_room_for",
            snapshots::as_many_layers_as_there_is_room_for,
        ),
        (
            "snapshots::a_hostile_tree_stays_outside",
            snapshots::a_hostile_tree_stays_outside,
        ),
        (
            "snapshots::what_was_being_made_is_discarded",
            snapshots::what_was_being_made_is_discarded,
        ),
        (
            "processes::programs_get_what_they_are_given",
            processes::programs_get_what_they_are_given,
        ),
        (
            "processes::programs_are_scheduled_as_asked",
            processes::programs_are_scheduled_as_asked,
        ),
        (
            "processes::workers_keep_little",
            processes::workers_keep_little,
        ),
        (
            "processes::workers_end_with_their_parent",
            processes::workers_end_with_their_parent,
        ),
        ("processes::signals_are_read", processes::signals_are_read),
    ]);
    if std::env::args().any(|arg| arg == "latency") {
        snapshots::latency();
    }
}

#[cfg(not(target_os = "linux"))]
fn main() {}
