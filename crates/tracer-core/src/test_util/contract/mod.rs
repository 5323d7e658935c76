//! What a store is: the suite that every implementation of [`Repository`](crate::repository::Repository) passes.
//!
//! Behaviour that no test here asks for is accidental. A crate that implements a store lists the
//! suite with [`contract_tests!`](crate::contract_tests), once per way to open it; each test then
//! shows by name for each store.
//!
//! Invariant: a test sees a store through its traits only, and time moves only where it says so.
//! Not here: what a store survives (crashes, outages), and what it costs; its own tests show that.

#![expect(clippy::expect_used, reason = "what is expected and missing fails the test")]
#![expect(missing_docs, reason = "the functions are tests, whose names say what they show")]

pub mod bottlenecks;
pub mod changes;
pub mod cohorts;
pub mod concurrency;
pub mod events;
pub mod executions;
pub mod extremes;
pub mod failures;
pub mod filters;
pub mod history;
pub mod idempotency;
pub mod imports;
pub mod in_flight;
pub mod incidents;
pub mod judging;
mod lab;
pub mod listing;
pub mod live;
pub mod names;
pub mod outbox;
pub mod regressions;
pub mod retention;
pub mod runs;
pub mod services;
pub mod signals;
pub mod slo;
pub mod stats;
pub mod steps;
pub mod traces;
pub mod upkeep;

pub use lab::{Lab, Store};

/// Lists the contract for a store, in a module of the given name.
///
/// `open` is an `async fn(Arc<FakeClock>, Arc<Policy>) -> Store`, which gives an empty store. Each
/// test runs under `#[tokio::test]` of the crate that invokes this.
#[macro_export]
macro_rules! contract_tests {
    ($store:ident, $open:path) => {
        $crate::contract_tests! { @subjects $store, $open,
            executions: [
                a_started_execution_is_found_as_it_was_given,
                a_plain_execution_has_nothing_that_was_not_given,
                starting_the_same_id_again_changes_nothing,
                an_unknown_parent_is_refused_and_nothing_is_stored,
                an_execution_ends_in_every_way_and_stays_so,
                repeating_an_end_answers_what_is_stored_and_counts_once,
                another_end_is_refused_and_changes_nothing,
                the_total_is_wall_clock_and_a_given_end_counts,
                an_end_before_the_start_is_refused_and_changes_nothing,
                ending_cancels_the_running_steps_which_enter_no_baseline,
                an_end_lists_the_bottlenecks_in_the_order_of_their_start,
                payloads_are_kept_to_the_letter,
                a_failure_is_kept_with_type_message_and_stack,
                an_unknown_execution_is_unknown_to_everything,
            ],
            failures: [
                failures_that_say_the_same_are_one_group,
                what_does_not_fail_or_says_nothing_is_no_failure,
                a_failure_is_counted_once_however_often_it_is_told,
                an_execution_that_fails_as_its_step_did_is_one_failure,
                groups_are_listed_last_seen_first_in_pages,
                a_workflow_has_its_own_view_of_a_group,
                similar_groups_are_those_that_comparing_all_would_find,
                groups_are_found_by_all_of_their_words,
                executions_are_found_by_the_words_of_their_errors,
                executions_are_found_by_what_groups_do_not_tell_apart,
                pages_by_error_have_no_gaps_or_repeats,
                failures_recorded_at_once_are_all_counted,
                hostile_errors_are_kept_and_found,
                an_execution_knows_its_failures,
                failures_are_forgotten_with_their_executions_and_groups_later,
            ],
            steps: [
                a_started_step_is_found_as_it_was_given,
                a_step_starts_when_its_request_arrived,
                starting_the_same_step_again_changes_nothing,
                a_step_of_an_unknown_execution_is_refused,
                a_named_parent_must_be_a_step_of_the_same_execution,
                a_traced_parent_may_arrive_later,
                the_same_step_id_in_two_executions_is_two_steps,
                a_step_of_another_execution_is_unknown,
                a_given_duration_counts_whatever_the_clock_says,
                a_step_without_times_is_measured_by_the_clock,
                a_given_end_makes_the_duration,
                an_end_before_the_start_leaves_the_step_running,
                a_step_ends_in_every_way_and_stays_so,
                repeating_a_completion_answers_what_is_stored_and_counts_once,
                a_failed_step_keeps_why,
                attributes_given_at_the_end_join_those_given_at_the_start,
                attributes_beyond_their_bounds_leave_the_step_running,
                a_step_recorded_whole_is_the_same_as_one_completed,
                a_whole_step_that_ends_before_it_starts_is_not_stored,
                an_ended_execution_takes_no_step,
                steps_are_paged_without_gaps_or_repeats,
                step_ids_of_every_size_are_kept_and_paged,
            ],
            judging: [
                five_times_the_average_is_critical,
                limits_are_strict,
                a_short_history_judges_nobody,
                a_step_is_not_part_of_its_own_history,
                the_verdict_is_stored_with_the_step,
                failed_steps_are_judged_and_change_no_average,
                skipped_and_cancelled_steps_are_neither_judged_nor_counted,
                histories_are_kept_apart_by_workflow_and_step,
                a_rule_chosen_by_pattern_holds_for_what_matches,
                a_running_step_is_to_be_looked_at_when_it_crosses_its_limit,
                a_workflow_has_at_most_a_thousand_step_histories,
                a_refused_step_leaves_no_history,
            ],
            changes: [
                sixty_at_three_times_the_average_are_sixty_bottlenecks,
                sixty_at_fifty_times_the_average_are_sixty_bottlenecks,
                after_a_whole_window_the_new_level_is_normal,
                rebaseline_makes_the_new_level_normal_at_once,
                rebaseline_of_what_was_never_recorded_is_refused,
                a_stall_does_not_move_the_reference,
            ],
            cohorts: [
                a_cohort_has_a_history_of_its_own,
                numbers_of_one_magnitude_share_a_cohort,
                until_it_has_enough_samples_a_cohort_is_compared_with_the_whole_step,
                a_step_without_what_its_cohort_needs_is_compared_with_the_whole_step,
                a_running_step_is_looked_at_by_the_limits_of_its_cohort,
                what_is_told_at_the_end_counts_for_the_cohort,
                cohorts_beyond_the_bound_are_compared_with_the_whole_step,
                cohorts_take_no_place_of_a_step_name,
                a_step_without_room_for_its_name_has_no_cohorts_either,
                an_execution_recorded_whole_is_compared_by_its_version_and_attributes,
                what_a_history_finds_by_itself_is_what_its_baseline_fed_by_hand_finds,
                a_steps_own_attribute_takes_the_place_of_its_executions,
            ],
            regressions: [
                a_lasting_change_is_one_regression_with_its_moment_and_what_changed,
                a_change_by_more_than_three_is_critical_and_one_regression_however_large,
                stalls_are_bottlenecks_and_no_regression,
                a_repetition_of_what_told_a_regression_is_not_news,
                executions_recorded_whole_tell_of_a_regression_too,
                a_cohort_has_regressions_of_its_own,
                what_is_compared_by_an_attribute_is_normal_after_a_whole_window_too,
                rebaseline_makes_a_regression_normal_at_once_and_may_be_followed_by_another,
                rebaseline_makes_the_level_of_every_cohort_normal_at_once,
            ],
            history: [
                days_roll_over_and_the_window_forgets,
                a_late_sample_joins_its_own_day,
                samples_of_any_day_in_any_order_are_as_the_baseline_says,
                an_end_in_the_future_opens_no_day_before_its_time,
                executions_as_wholes_have_a_history_too,
                baselines_and_answers_agree_on_what_was_measured,
            ],
            idempotency: [
                the_same_key_and_body_get_the_same_answer_once,
                the_same_key_with_another_body_is_refused,
                a_key_holds_for_a_day,
                a_refused_command_does_not_use_its_key_up,
                keys_hold_for_steps_and_ends_too,
                keys_are_told_apart_by_scope,
                concurrent_requests_with_one_key_record_once,
                a_reused_key_leaves_no_trace_of_the_other_body,
            ],
            traces: [
                the_root_is_the_execution_and_the_other_spans_are_its_steps,
                a_hundred_orders_make_the_same_execution,
                a_name_that_is_told_late_counts_all_the_same,
                an_execution_without_a_root_is_closed_by_silence_and_counts_for_nothing,
                a_root_that_comes_late_ends_what_was_closed_by_silence,
                spans_join_an_execution_that_its_client_started,
                a_step_told_to_run_is_judged_while_it_does_and_ends_with_its_span,
                what_is_slow_under_a_name_that_is_told_opens_its_incident_at_once_and_once,
                a_span_that_comes_after_its_trace_was_settled_is_learnt_as_it_comes,
                a_step_by_rest_counts_where_a_root_ends_the_execution,
                of_two_roots_the_earlier_is_the_execution,
                a_root_that_failed_fails_its_execution,
                failures_are_counted_under_the_name_that_their_trace_gets,
                what_a_span_has_beyond_a_step_is_kept,
                an_execution_is_found_by_the_attributes_of_its_root,
                steps_beyond_those_that_may_wait_enter_their_histories_while_it_runs,
            ],
            signals: [
                what_is_signalled_opens_once_and_ends_when_it_is_no_longer_so,
                what_is_signalled_becomes_worse_once_and_never_better,
                what_goes_on_is_heard_of_and_not_let_go,
                what_comes_back_reopens_silently_and_is_told_if_it_stays,
                an_alert_is_not_told_back_to_where_it_came_from,
                signals_of_many_at_once_are_one_incident,
            ],
            services: [
                services_and_workflows_are_known_with_what_they_do,
                executions_are_found_by_service_newest_start_first,
                an_execution_is_found_once_however_its_spans_come,
                spans_of_a_clients_execution_place_it_among_their_services,
                calls_are_counted_once_when_a_trace_settles,
                what_is_kept_of_services_goes_with_their_executions,
                of_names_without_end_a_bounded_number_is_known,
            ],
            slo: [
                each_end_counts_as_what_it_is,
                an_end_counts_for_every_objective_of_its_workflow_and_for_no_other,
                an_end_that_is_repeated_or_refused_counts_once,
                an_end_counts_when_it_was_and_not_when_it_is_told,
                windows_forget,
                invented_executions_count_for_no_objective,
                a_trace_counts_once_it_is_settled_and_once,
                what_was_closed_by_silence_timed_out_unless_its_root_comes_after_all,
                ends_that_come_at_once_are_all_counted,
                another_definition_begins_anew,
                counts_that_no_window_reaches_are_removed,
            ],
            imports: [
                an_execution_recorded_whole_is_found_with_its_steps,
                recording_it_again_changes_nothing,
                its_steps_are_judged_in_the_order_given,
                an_import_that_is_refused_leaves_nothing,
                an_import_of_thousands_of_steps_is_whole,
                imports_and_live_work_share_one_history,
            ],
            concurrency: [
                twenty_completions_of_one_step_count_once,
                completions_that_disagree_have_one_winner,
                twenty_ends_of_one_execution_count_once,
                steps_racing_with_the_end_are_counted_or_refused,
                many_commands_at_once_are_all_answered,
                many_new_names_at_once_are_all_learnt,
                one_refused_among_many_harms_no_other,
                reads_see_everything_answered_before,
            ],
            filters: [
                without_conditions_everything_is_listed_newest_first,
                by_workflow,
                by_status,
                by_correlation_id,
                by_start,
                by_duration,
                by_the_worst_verdict,
                by_the_verdicts_of_running_executions,
                by_attributes,
                by_attributes_with_odd_characters,
                all_conditions_must_hold,
            ],
            listing: [
                pages_have_no_gaps_or_repeats_when_starts_are_equal,
                pages_go_on_where_they_were_when_executions_arrive,
                filtered_pages_have_no_gaps_or_repeats,
                running_listings_of_bottlenecks_are_paged_too,
                a_listing_has_no_payloads,
                running_executions_are_counted_by_workflow,
            ],
            stats: [
                a_workflow_is_known_from_its_first_execution_on,
                a_name_never_recorded_is_unknown,
                the_history_of_a_workflow_names_its_steps,
                workflows_are_paged_by_name,
                workflows_show_their_counts_and_last_activity,
            ],
            bottlenecks: [
                an_ended_execution_shows_the_steps_judged,
                a_running_step_comes_with_its_history,
                a_running_step_without_history_comes_without,
                steps_within_limits_are_not_shown,
            ],
            runs: [
                past_runs_are_those_that_completed_newest_first,
                past_runs_have_the_times_of_their_steps,
                past_runs_are_at_most_as_many_as_asked_for,
                past_runs_are_whole_or_left_out,
                past_runs_of_an_unknown_workflow_are_none,
            ],
            in_flight: [
                a_step_is_reported_when_it_crosses_its_limit_and_once,
                a_warning_becomes_critical_and_is_left_alone,
                what_crossed_both_limits_unseen_is_critical_at_once,
                history_that_arrived_later_counts,
                without_history_there_is_no_verdict,
                a_verdict_is_taken_back_after_a_rebaseline_and_may_come_again,
                a_timeout_is_critical_without_history,
                old_work_is_not_looked_at,
                a_clock_that_steps_back_repeats_nothing,
                the_end_of_a_step_is_judged_anew,
                twenty_looks_at_one_step_say_it_once,
                a_silent_execution_is_stalled_and_what_is_heard_clears_it,
                steps_move_the_silence_without_moving_its_timer,
                a_step_that_runs_within_its_limits_is_no_silence,
                a_fixed_silence_holds_whatever_runs,
                an_end_cancels_everything,
                what_is_unknown_or_not_due_is_nothing_new,
                what_is_due_comes_in_order_and_in_portions,
                looking_is_no_sign_of_life,
                an_import_is_never_due,
            ],
            incidents: [
                an_incident_is_there_when_its_verdict_is_answered,
                a_thousand_findings_of_one_cause_at_once_are_one_incident,
                causes_that_open_at_once_are_incidents_of_their_own,
                a_worse_finding_raises_the_severity_once,
                normal_ends_and_time_together_resolve_it,
                too_few_normal_ends_do_not_resolve_it,
                time_alone_resolves_what_has_been_normal,
                soon_after_its_end_it_reopens_and_later_there_is_a_new_one,
                a_stuck_step_is_an_incident_until_it_ends_however_it_ends,
                a_silent_execution_is_an_incident_until_it_is_heard_of_or_ends,
                old_work_and_imports_that_tell_nobody_open_nothing,
                what_is_invented_is_marked_until_something_real_joins,
                a_new_reference_resolves_what_was_slow_by_the_old_one,
                failures_beyond_what_is_borne_are_an_incident_until_they_stop,
                what_is_said_of_it_by_hand_is_kept,
                an_unknown_incident_is_unknown_to_everything,
                incidents_are_listed_by_what_they_are,
                pages_of_incidents_have_no_gaps_or_repeats,
                a_long_history_shows_its_newest_lines_in_order,
                what_fires_is_counted_by_kind_and_severity,
                what_is_not_heard_of_is_repeated_once_and_let_go,
                incidents_are_due_in_order_and_in_portions,
                twenty_looks_at_one_incident_tell_of_it_once,
                incidents_of_cohorts_are_kept_apart,
                whatever_is_said_can_be_kept,
            ],
            outbox: [
                what_is_told_comes_in_the_order_in_which_it_happened,
                nothing_is_waiting_where_nothing_was_found,
                a_channel_waits_while_there_is_something_to_send_and_nobody_does,
                a_lease_is_had_by_one_until_it_runs_out,
                what_is_said_under_a_lost_lease_is_refused,
                a_lease_that_ran_out_takes_nothing_and_one_given_back_says_nothing,
                what_is_tried_again_keeps_its_place_and_pauses_the_channel,
                a_failure_of_no_notification_pauses_the_channel_too,
                what_is_refused_or_dropped_is_set_aside_and_the_next_goes_on,
                what_was_told_before_is_known_by_channel,
                what_is_held_back_holds_up_nothing_but_its_own_incident,
                what_becomes_critical_in_quiet_hours_is_told_in_them,
                what_one_execution_opens_is_told_together,
                what_ends_together_is_told_together_if_that_is_wished,
                no_message_tells_of_too_many_or_of_what_opened_much_later,
                what_is_quiet_is_not_told_together_with_what_is_not,
                a_posted_message_is_found_again_and_edited_when_it_is_outdated,
                a_message_that_was_edited_too_early_is_edited_again,
                what_a_channel_was_told_of_openings_is_known,
                what_an_action_answered_is_in_the_history_of_its_incidents,
                a_channel_settles_nothing_of_another_one,
                notifications_that_are_settled_are_removed_in_time_and_others_stay,
                incidents_that_fire_are_kept_however_old,
            ],
            events: [
                an_event_is_found_as_it_was_given,
                events_are_numbered_and_paged_in_the_order_in_which_they_were_recorded,
                an_event_of_an_unknown_execution_or_step_is_refused,
                an_event_recorded_again_changes_nothing,
                an_ended_execution_takes_events_and_stays_as_it_is,
                an_execution_has_at_most_ten_thousand_events,
                an_event_is_a_sign_of_life,
                events_go_with_their_execution,
            ],
            live: [
                every_change_is_heard_once_in_its_order,
                what_a_finding_opens_comes_after_it,
                what_is_found_in_flight_is_heard,
                repetitions_and_refusals_are_no_changes,
                of_an_import_only_its_end_is_heard,
                an_event_is_heard_with_its_attributes_unless_they_are_large,
                the_changes_of_an_execution_keep_their_order_when_batches_race,
                two_who_follow_hear_the_same_under_the_same_numbers,
                whoever_begins_late_hears_of_the_past,
                whoever_wants_no_past_hears_of_what_comes,
            ],
            retention: [
                what_is_old_is_removed_and_what_is_new_stays,
                baselines_outlive_the_detail,
                retention_counts_from_recording_not_from_the_start,
                old_days_of_baselines_are_removed,
                history_imported_from_years_ago_is_kept,
                expired_idempotency_keys_are_removed,
                pruning_an_empty_store_removes_nothing,
                requests_go_on_while_it_is_pruned,
            ],
            upkeep: [
                a_store_answers_a_ping_and_is_healthy,
                preparing_is_repeatable_and_months_arrive,
                an_execution_without_activity_is_silent,
                a_silent_listing_is_bounded,
                a_store_stamps_by_the_clock_it_was_given,
                shutting_down_answers_what_was_accepted_and_refuses_the_rest,
            ],
            names: [
                names_of_every_kind_of_character_are_kept_apart,
                names_of_full_length_are_kept,
                names_do_not_match_as_patterns,
                workflows_with_odd_names_are_paged,
            ],
            extremes: [
                work_of_1970_and_of_tomorrow_is_kept,
                a_duration_of_four_hundred_days_is_kept,
                work_that_takes_no_time_is_kept,
                work_open_since_1970_can_be_closed_and_moves_no_average,
                an_import_open_since_1970_moves_no_average,
                times_that_follow_from_a_duration_lie_where_given_ones_may,
                microseconds_are_kept,
                attributes_at_their_bounds_are_kept,
                payloads_at_their_bounds_are_kept,
                an_execution_of_a_thousand_steps_ends,
            ],
        }
    };
    (@subjects $store:ident, $open:path, $($subject:ident: [$($test:ident),+ $(,)?],)+) => {
        mod $store {
            use super::*;

            $(mod $subject {
                use super::*;

                $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    let lab = $crate::test_util::contract::Lab::open($open).await;
                    $crate::test_util::contract::$subject::$test(lab).await;
                })+
            })+
        }
    };
}
