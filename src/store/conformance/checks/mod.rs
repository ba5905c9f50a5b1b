//! The checks, by what they look at.

mod health;
mod history;
mod lanes;
mod leases;
mod operators;
mod outbox;
mod overview;
mod pages;
mod policies;
mod reopening;
mod results;
mod usage;
mod waking;

pub use health::{
    a_deleted_policy_leaves_no_closed_lane, a_disabled_target_waits_for_somebody, a_lane_keeps_its_rate,
    a_lane_that_was_closed_begins_slowly, failures_close_a_lane,
};
pub use history::{a_sweep_never_takes_what_waits, listings_go_on_under_writes, the_status_counts};
pub use lanes::{
    a_closed_lane_waits_and_opens, a_lane_keeps_its_limits, no_lane_waits_for_more_than_a_round,
    the_oldest_due_comes_first,
};
pub(super) use lanes::{open_lanes, opens};
pub use leases::{
    a_lost_lease_settles_nothing, five_lost_leases_are_poison, forgeries_and_replays_settle_nothing,
    sixteen_claimers_lose_nothing,
};
pub use operators::{an_operator_can_cancel, an_operator_can_forget, an_operator_can_park, an_operator_can_redeliver};
pub use outbox::{
    a_lost_event_is_given_again, an_event_is_appended_once, each_delivery_is_made_once, events_come_oldest_first,
    what_cannot_be_sent_is_kept_dead,
};
pub use overview::{hours_outlive_the_history, lanes_show_how_they_stand, the_newest_of_each_policy_is_found};
pub use pages::{counts_agree_with_listings, listings_skip_and_turn_round};
pub use policies::{a_switch_holds_everything, policies_keep_their_names_and_targets, sending_follows_the_policies};
pub use reopening::reopening_keeps_everything;
pub use results::each_result_leaves_its_state;
pub use usage::{what_comes_parked_stays_parked, what_each_project_uses_is_counted};
pub use waking::waiting_ends_when_there_is_work;
