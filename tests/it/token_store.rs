//! One contract, held by both token stores; then what each of them owes beyond it.

mod one_file;
mod one_redis;
mod one_time;
mod refresh;
mod refresh_table;
mod restored;
mod values;
mod walk;
mod world;

use crate::harness::redis_sets::RedisCluster;
use crate::harness::{Need, met};
use one_time::{
    a_use_is_remembered_beyond_expiry, kinds_never_meet, one_of_fifty_takes_gets_it,
    one_of_fifty_uses_is_the_first, our_now_decides_on_expiry, what_is_put_is_there_once,
    what_is_taken_is_gone,
};
use refresh::{
    a_hundred_refreshes_of_one_generation_have_one_successor, a_session_ends,
    a_session_expires_by_our_now, a_session_is_found_as_it_was_begun,
    every_refresh_is_decided_as_the_pure_function_decides,
};
use refresh_table::{
    a_profile_can_be_changed_while_a_session_runs, every_case_of_the_table_is_decided_so,
};
use restored::{
    a_restored_store_is_noticed_by_a_server_that_remembers, a_restored_store_is_noticed_by_the_log,
    ahead_counts_only_after_the_store_went_back, an_emptied_bucket_does_not_revive_what_ended,
    an_ending_that_never_reached_the_store_is_not_passed_over,
    an_unreachable_head_is_not_waited_for_forever, everything_is_there_after_a_new_start,
};
use std::sync::Arc;
use walk::{
    a_walk_comes_to_each_session_that_lives_once,
    a_walk_through_a_restored_store_does_not_come_to_what_ended, the_store_answers_a_ping,
};
use world::World;

macro_rules! contract {
    ($($case:ident),+ $(,)?) => {
        mod embedded {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                super::$case(super::World::embedded().await.unwrap()).await;
            })+
        }
        /// On one cluster, one after another.
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn a_cluster_keeps_the_contract() {
            if !met(&[Need::Redis]) {
                return;
            }
            let cluster = Arc::new(RedisCluster::start());
            $(Box::pin($case(World::cluster(&cluster).await)).await;)+
        }
        mod redis_server {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                if let Some(world) = super::World::redis().await {
                    super::$case(world).await;
                }
            })+
        }
    };
}

contract!(
    what_is_put_is_there_once,
    what_is_taken_is_gone,
    kinds_never_meet,
    a_use_is_remembered_beyond_expiry,
    our_now_decides_on_expiry,
    one_of_fifty_uses_is_the_first,
    one_of_fifty_takes_gets_it,
    a_session_is_found_as_it_was_begun,
    a_session_ends,
    a_session_expires_by_our_now,
    a_hundred_refreshes_of_one_generation_have_one_successor,
    every_refresh_is_decided_as_the_pure_function_decides,
    every_case_of_the_table_is_decided_so,
    a_profile_can_be_changed_while_a_session_runs,
    a_restored_store_is_noticed_by_the_log,
    a_restored_store_is_noticed_by_a_server_that_remembers,
    an_emptied_bucket_does_not_revive_what_ended,
    ahead_counts_only_after_the_store_went_back,
    an_ending_that_never_reached_the_store_is_not_passed_over,
    everything_is_there_after_a_new_start,
    an_unreachable_head_is_not_waited_for_forever,
    a_walk_comes_to_each_session_that_lives_once,
    a_walk_through_a_restored_store_does_not_come_to_what_ended,
    the_store_answers_a_ping,
);
