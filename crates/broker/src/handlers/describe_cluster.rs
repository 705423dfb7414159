//! DescribeCluster (KIP-700, endpoint types KIP-919, fenced brokers KIP-1073).

use std::borrow::Cow;
use std::rc::Rc;

use types::ErrorCode;
use wire::describe_cluster_request::DescribeClusterRequest;
use wire::describe_cluster_response::{DescribeClusterBroker, DescribeClusterResponse};

use crate::request::{Handled, Request};
use crate::shard_state::ShardState;

/// Kafka's numbers of endpoint types.
const ENDPOINT_BROKER: i8 = 1;
const ENDPOINT_CONTROLLER: i8 = 2;

pub(crate) async fn handle(state: &Rc<ShardState>, request: Request) -> Handled {
    let body: DescribeClusterRequest = request.decode()?;
    if body.endpoint_type != ENDPOINT_BROKER {
        let (code, message) = if body.endpoint_type == ENDPOINT_CONTROLLER {
            let message =
                "The request was sent to an endpoint of type BROKER, but we wanted an endpoint of type CONTROLLER";
            (ErrorCode::MismatchedEndpointType, message.to_owned())
        } else {
            (ErrorCode::UnsupportedEndpointType, format!("Unsupported endpoint type {}", body.endpoint_type))
        };
        let code = if request.version() == 0 { ErrorCode::InvalidRequest } else { code };
        return Ok(request.reply(&DescribeClusterResponse {
            error_code: code.code(),
            error_message: Some(Cow::Owned(message)),
            ..DescribeClusterResponse::default()
        }));
    }
    let image = state.image();
    let listener = &*request.connection.listener;
    let brokers = image.brokers().filter(|broker| !broker.fenced || body.include_fenced_brokers);
    let brokers: Vec<DescribeClusterBroker<'_>> = brokers
        .filter_map(|broker| {
            let endpoint = broker.endpoints.iter().find(|endpoint| &*endpoint.listener == listener)?;
            Some(DescribeClusterBroker {
                broker_id: broker.node.value(),
                host: Cow::Borrowed(&endpoint.host),
                port: i32::from(endpoint.port),
                rack: broker.rack.as_deref().map(Cow::Borrowed),
                is_fenced: broker.fenced,
                ..DescribeClusterBroker::default()
            })
        })
        .collect();
    // Kafka names any broker that lives: they all forward to the controller.
    let controller = brokers.iter().find(|broker| !broker.is_fenced).map_or(-1, |broker| broker.broker_id);
    let response = DescribeClusterResponse {
        cluster_id: Cow::Borrowed(&state.node.cluster_id),
        controller_id: controller,
        cluster_authorized_operations: if body.include_cluster_authorized_operations {
            super::CLUSTER_OPERATIONS
        } else {
            i32::MIN
        },
        brokers,
        ..DescribeClusterResponse::default()
    };
    Ok(request.reply(&response))
}
