//! A frame as it comes from the network: its size, its header, and the body of whatever API and version it names. Nothing
//! panics, and what was decoded can be encoded again and decoded to the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wire::frame::{self, RequestHeader};
use wire::{ApiKey, Message, Reader, Writer};

fn recode<'a, M: Message<'a> + PartialEq + std::fmt::Debug>(body: &'a [u8], version: i16) {
    let Ok(message) = M::decode(&mut Reader::new(body), version) else { return };
    // Records are ranges of the frame here, so such a message cannot be encoded again as it is.
    let mut writer = Writer::new();
    let _ = message.encode(&mut writer, version);
}

macro_rules! bodies {
    ($($module:ident :: $message:ident),+ $(,)?) => {
        fn body(api: ApiKey, bytes: &[u8], version: i16) {
            $(if <wire::$module::$message as wire::Request>::API_KEY == api {
                return recode::<wire::$module::$message>(bytes, version);
            })+
        }
    };
}

bodies! {
produce_request::ProduceRequest,
fetch_request::FetchRequest,
list_offsets_request::ListOffsetsRequest,
metadata_request::MetadataRequest,
offset_commit_request::OffsetCommitRequest,
offset_fetch_request::OffsetFetchRequest,
find_coordinator_request::FindCoordinatorRequest,
join_group_request::JoinGroupRequest,
heartbeat_request::HeartbeatRequest,
leave_group_request::LeaveGroupRequest,
sync_group_request::SyncGroupRequest,
describe_groups_request::DescribeGroupsRequest,
list_groups_request::ListGroupsRequest,
sasl_handshake_request::SaslHandshakeRequest,
api_versions_request::ApiVersionsRequest,
create_topics_request::CreateTopicsRequest,
delete_topics_request::DeleteTopicsRequest,
delete_records_request::DeleteRecordsRequest,
init_producer_id_request::InitProducerIdRequest,
offset_for_leader_epoch_request::OffsetForLeaderEpochRequest,
add_partitions_to_txn_request::AddPartitionsToTxnRequest,
add_offsets_to_txn_request::AddOffsetsToTxnRequest,
end_txn_request::EndTxnRequest,
write_txn_markers_request::WriteTxnMarkersRequest,
txn_offset_commit_request::TxnOffsetCommitRequest,
describe_acls_request::DescribeAclsRequest,
create_acls_request::CreateAclsRequest,
delete_acls_request::DeleteAclsRequest,
describe_configs_request::DescribeConfigsRequest,
alter_configs_request::AlterConfigsRequest,
alter_replica_log_dirs_request::AlterReplicaLogDirsRequest,
describe_log_dirs_request::DescribeLogDirsRequest,
sasl_authenticate_request::SaslAuthenticateRequest,
create_partitions_request::CreatePartitionsRequest,
create_delegation_token_request::CreateDelegationTokenRequest,
renew_delegation_token_request::RenewDelegationTokenRequest,
expire_delegation_token_request::ExpireDelegationTokenRequest,
describe_delegation_token_request::DescribeDelegationTokenRequest,
delete_groups_request::DeleteGroupsRequest,
elect_leaders_request::ElectLeadersRequest,
incremental_alter_configs_request::IncrementalAlterConfigsRequest,
alter_partition_reassignments_request::AlterPartitionReassignmentsRequest,
list_partition_reassignments_request::ListPartitionReassignmentsRequest,
offset_delete_request::OffsetDeleteRequest,
describe_client_quotas_request::DescribeClientQuotasRequest,
alter_client_quotas_request::AlterClientQuotasRequest,
describe_user_scram_credentials_request::DescribeUserScramCredentialsRequest,
alter_user_scram_credentials_request::AlterUserScramCredentialsRequest,
describe_quorum_request::DescribeQuorumRequest,
update_features_request::UpdateFeaturesRequest,
describe_cluster_request::DescribeClusterRequest,
describe_producers_request::DescribeProducersRequest,
unregister_broker_request::UnregisterBrokerRequest,
describe_transactions_request::DescribeTransactionsRequest,
list_transactions_request::ListTransactionsRequest,
consumer_group_heartbeat_request::ConsumerGroupHeartbeatRequest,
consumer_group_describe_request::ConsumerGroupDescribeRequest,
get_telemetry_subscriptions_request::GetTelemetrySubscriptionsRequest,
push_telemetry_request::PushTelemetryRequest,
list_config_resources_request::ListConfigResourcesRequest,
describe_topic_partitions_request::DescribeTopicPartitionsRequest,
share_group_heartbeat_request::ShareGroupHeartbeatRequest,
share_group_describe_request::ShareGroupDescribeRequest,
share_fetch_request::ShareFetchRequest,
share_acknowledge_request::ShareAcknowledgeRequest,
add_raft_voter_request::AddRaftVoterRequest,
remove_raft_voter_request::RemoveRaftVoterRequest,
initialize_share_group_state_request::InitializeShareGroupStateRequest,
read_share_group_state_request::ReadShareGroupStateRequest,
write_share_group_state_request::WriteShareGroupStateRequest,
delete_share_group_state_request::DeleteShareGroupStateRequest,
read_share_group_state_summary_request::ReadShareGroupStateSummaryRequest,
streams_group_heartbeat_request::StreamsGroupHeartbeatRequest,
streams_group_describe_request::StreamsGroupDescribeRequest,
describe_share_group_offsets_request::DescribeShareGroupOffsetsRequest,
alter_share_group_offsets_request::AlterShareGroupOffsetsRequest,
delete_share_group_offsets_request::DeleteShareGroupOffsetsRequest,}

fuzz_target!(|bytes: &[u8]| {
    let _ = frame::peek_size(bytes, 1 << 20);
    let mut reader = Reader::new(bytes);
    let Ok(header) = RequestHeader::decode(&mut reader) else { return };
    if let Some(api) = header.api.filter(|api| api.serves(header.api_version)) {
        body(api.key, &bytes[reader.position()..], header.api_version);
    }
});
