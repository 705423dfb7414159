//! InitProducerId (KIP-98, KIP-360) for idempotent producers: an id that no producer ever had, at epoch 0.

use std::rc::Rc;

use types::{ErrorCode, ProducerId};
use wire::init_producer_id_request::InitProducerIdRequest;
use wire::init_producer_id_response::InitProducerIdResponse;

use crate::request::{Handled, Request};
use crate::shard_state::ShardState;

pub(crate) async fn handle(state: &Rc<ShardState>, request: Request) -> Handled {
    let refusal = {
        let body: InitProducerIdRequest<'_> = request.decode()?;
        let one_without_the_other = (body.producer_id == -1) != (body.producer_epoch == -1);
        // Transactions are not built. The answer must be final: a client would wait for a retriable one for ever.
        (body.transactional_id.is_some() || one_without_the_other).then_some(ErrorCode::InvalidRequest)
    };
    let given = match refusal {
        Some(code) => Err(code),
        // What a producer does whose epoch is used up or fenced: Kafka gives it a new id too.
        None => state.node.control.producer_id().await.ok_or(ErrorCode::CoordinatorLoadInProgress),
    };
    let response = InitProducerIdResponse {
        error_code: given.err().unwrap_or(ErrorCode::None).code(),
        producer_id: given.map_or(-1, ProducerId::value),
        producer_epoch: if given.is_ok() { 0 } else { -1 },
        ..InitProducerIdResponse::default()
    };
    Ok(request.reply(&response))
}
