//! Groups and their members.

use std::collections::BTreeMap;

use types::{ErrorCode, TopicPartition};
use wire::delete_groups_request::DeleteGroupsRequest;
use wire::describe_groups_request::DescribeGroupsRequest;
use wire::list_groups_request::ListGroupsRequest;

use super::Admin;
use crate::error::ClientError;

/// A consumer group.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Group {
    /// Its id.
    pub id: String,
    /// Kafka's word: `Empty`, `Stable`, `PreparingRebalance`, ...; empty from nodes that do not say.
    pub state: String,
    /// `consumer`, `connect`, ...
    pub protocol_type: String,
    /// How partitions are assigned, `range`; only from [`Admin::describe_group`].
    pub protocol: String,
    /// `classic`, `consumer`, ...; empty from nodes that do not say.
    pub kind: String,
    /// Its members; only from [`Admin::describe_group`].
    pub members: Vec<GroupMember>,
}

/// A member of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupMember {
    /// Its id.
    pub id: String,
    /// Its `group.instance.id`, if it is a static member.
    pub instance_id: Option<String>,
    /// What its client calls itself.
    pub client_id: String,
    /// Where it connects from.
    pub client_host: String,
    /// What it was assigned.
    pub assignment: Vec<TopicPartition>,
}

impl Admin {
    /// Every group of the cluster, by id.
    ///
    /// # Errors
    /// A node does not answer.
    pub async fn list_groups(&self) -> Result<Vec<Group>, ClientError> {
        let mut groups = BTreeMap::new();
        for node in self.client.cluster().await?.nodes {
            let response = self
                .client
                .retry(|| async {
                    let response = self.client.node(node.id).await?.call(&ListGroupsRequest::default()).await?;
                    ClientError::check(response.error_code, None, || format!("list the groups of node {}", node.id))?;
                    Ok(response)
                })
                .await?;
            for group in response.groups {
                let id = group.group_id.into_owned();
                let listed = Group {
                    id: id.clone(),
                    state: group.group_state.into_owned(),
                    protocol_type: group.protocol_type.into_owned(),
                    kind: group.group_type.into_owned(),
                    ..Group::default()
                };
                groups.insert(id, listed);
            }
        }
        Ok(groups.into_values().collect())
    }

    /// One group with its members.
    ///
    /// # Errors
    /// There is no such group, or its coordinator does not answer.
    pub async fn describe_group(&self, id: &str) -> Result<Group, ClientError> {
        let request = &DescribeGroupsRequest { groups: vec![id.into()], ..Default::default() };
        let what = || format!("describe group {id}");
        let group = self
            .at_coordinator(id, |connection| async move {
                let mut response = connection.call(request).await?;
                let Some(group) = response.groups.pop() else {
                    return Err(ClientError::refused(what(), ErrorCode::GroupIdNotFound.code()));
                };
                ClientError::check(group.error_code, group.error_message.as_deref(), what)?;
                Ok(group)
            })
            .await?;
        let members = group.members.iter().map(|member| GroupMember {
            id: member.member_id.to_string(),
            instance_id: member.group_instance_id.as_deref().map(str::to_owned),
            client_id: member.client_id.to_string(),
            client_host: member.client_host.to_string(),
            assignment: crate::group::read_assignment(&member.member_assignment),
        });
        Ok(Group {
            id: group.group_id.to_string(),
            state: group.group_state.to_string(),
            protocol_type: group.protocol_type.to_string(),
            protocol: group.protocol_data.to_string(),
            kind: String::new(),
            members: members.collect(),
        })
    }

    /// Deletes a group without members and what it has committed.
    ///
    /// # Errors
    /// There is no such group, or it has members.
    pub async fn delete_group(&self, id: &str) -> Result<(), ClientError> {
        let request = &DeleteGroupsRequest { groups_names: vec![id.into()], ..Default::default() };
        self.at_coordinator(id, |connection| async move {
            let response = connection.call(request).await?;
            match response.results.first() {
                Some(result) => ClientError::check(result.error_code, None, || format!("delete group {id}")),
                None => Ok(()),
            }
        })
        .await
    }
}
