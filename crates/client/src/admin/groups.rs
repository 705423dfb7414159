//! Groups and their members.

use std::collections::BTreeMap;

use types::TopicPartition;
use wire::delete_groups_request::DeleteGroupsRequest;
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
    /// How partitions are assigned, `range`; only from [`Admin::describe_groups`].
    pub protocol: String,
    /// `classic`, `consumer`, ...; empty from nodes that do not say.
    pub kind: String,
    /// Its members; only from [`Admin::describe_groups`].
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
