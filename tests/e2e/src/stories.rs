//! The stories: one list, in the order in which they run.

use anyhow::Result;
use futures::future::LocalBoxFuture;

use crate::case::Case;

mod basic;
mod cards;
mod closed;
mod driver;
mod examples;
mod gate;
mod health;
mod install;
mod inventory;
mod refusals;
mod rights;
mod times;
mod traces;
mod trouble;

/// One story.
pub(crate) struct Story {
    pub(crate) name: &'static str,
    /// `@core`: told on every version of Kubernetes and containerd. `@card`: told of real cards, where there are any.
    pub(crate) tags: &'static [&'static str],
    pub(crate) tell: fn(&Case) -> LocalBoxFuture<'_, Result<()>>,
}

macro_rules! stories {
    ($($(@$tag:ident)* $module:ident::$name:ident),* $(,)?) => {
        &[$(Story {
            name: stringify!($name),
            tags: &[$(concat!("@", stringify!($tag))),*],
            tell: |case| Box::pin($module::$name(case)),
        }),*]
    };
}

/// All stories.
pub(crate) const STORIES: &[Story] = stories![
    @core driver::the_chart_installs_a_working_driver,
    @core basic::a_pod_gets_a_nic_and_gives_it_back,
    basic::a_nic_is_configured_as_the_claim_says,
    basic::a_pod_gets_several_nics,
    basic::a_claim_serves_pods_one_after_another,
    basic::a_second_pod_of_a_claim_waits_for_the_first,
    basic::a_deployment_over_all_nics_is_rolled,
    @core refusals::a_host_network_pod_is_refused,
    refusals::wrong_parameters_are_named_and_can_be_corrected,
    refusals::a_pod_too_many_waits_for_a_free_nic,
    refusals::two_nics_of_one_name_are_refused,
    inventory::the_nodes_own_links_are_never_offered,
    inventory::slices_follow_the_node,
    inventory::attributes_follow_the_link,
    inventory::a_hundred_and_fifty_links_are_all_offered,
    trouble::a_restarted_container_keeps_its_nic,
    trouble::a_sandbox_made_again_has_the_nic_each_time,
    @core trouble::a_force_deleted_pod_gives_its_nic_back,
    trouble::a_kubelet_restart_disturbs_nobody,
    trouble::a_runtime_restart_disturbs_nobody,
    trouble::a_pod_deleted_while_the_runtime_is_away_gives_its_nic_back,
    trouble::the_claims_status_arrives_after_the_api_server_was_away,
    traces::a_pods_start_is_one_trace,
    traces::a_new_sandbox_is_a_linked_trace,
    traces::a_published_change_is_one_trace,
    traces::a_failed_start_is_a_failed_trace,
    examples::every_example_keeps_its_promise,
    install::wrong_parameters_are_refused_where_they_are_written,
    times::times_are_measured,
    @card cards::a_pod_gets_a_whole_card,
    @card cards::a_pod_gets_a_function_of_a_card,
    @card cards::a_card_and_another_drivers_device_are_on_one_pcie_root,
    health::a_nic_without_carrier_is_told_until_it_is_well_again,
    health::a_nic_in_quarantine_is_offered_to_nobody_until_it_is_released,
    install::preflight_says_what_the_node_lacks,
    driver::a_replaced_driver_takes_over,
    driver::a_pod_deleted_while_the_driver_is_away_is_cleaned_up,
    driver::without_the_hook_no_claimed_container_starts,
    driver::without_the_driver_no_claimed_container_starts,
    @core driver::an_upgrade_disturbs_nobody,
    gate::a_driver_killed_before_the_sandbox_leaves_nothing_bare,
    gate::a_sandbox_made_again_while_the_driver_hangs_starts_nothing,
    closed::a_cri_client_finds_the_gate_closed,
    rights::a_driver_may_write_only_its_own_nodes_slices,
    rights::a_driver_may_not_read_what_it_does_not_need,
    rights::a_driver_may_tell_of_its_own_devices_only,
    @core driver::an_uninstall_is_refused_while_a_pod_has_a_nic,
    @core driver::an_uninstall_leaves_nothing,
];
