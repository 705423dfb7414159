//! What leaves on a connection: replies in request order, their file slices sent by sendfile.
//!
//! ```text
//!  slots    | 7: ready | 8: ready | 9: pending | 10: ready |        front = oldest unanswered request
//!            `---- one send ----'   ^ stops here until 9 is answered
//! ```

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use shard::LogFile;
use types::ErrorCode;
use wire::{ApiKey, Response};

/// One run of bytes of a reply: from memory, or a range of a log file that never enters user space.
pub(crate) enum Segment {
    /// Bytes in memory.
    Memory(Bytes),
    /// `bytes` of `file` from `position`; all of them below the high watermark.
    File {
        /// The segment file.
        file: Arc<LogFile>,
        /// First byte.
        position: u64,
        /// How many; more than 0.
        bytes: usize,
    },
}

impl Segment {
    fn bytes(&self) -> usize {
        match self {
            Self::Memory(memory) => memory.len(),
            Self::File { bytes, .. } => *bytes,
        }
    }
}

/// What an answer says no to: its error codes, each with how often it stands there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Refusals {
    pub(crate) api: ApiKey,
    pub(crate) codes: Vec<(ErrorCode, u64)>,
    /// The first error message, where the API has them.
    pub(crate) reason: Option<String>,
}

impl Refusals {
    /// Those of `response` as `version` carries it. `None`: all went well.
    pub(crate) fn of<'a, R: Response<'a>>(version: i16, response: &R) -> Option<Box<Self>> {
        let mut found: Option<Box<Self>> = None;
        response.errors(version, &mut |code, message| {
            let code = ErrorCode::from_wire(code).unwrap_or(ErrorCode::UnknownServerError);
            let refusals =
                found.get_or_insert_with(|| Box::new(Self { api: R::API_KEY, codes: Vec::new(), reason: None }));
            match refusals.codes.iter_mut().find(|(known, _)| *known == code) {
                Some((_, count)) => *count += 1,
                None => refusals.codes.push((code, 1)),
            }
            if refusals.reason.is_none() {
                refusals.reason = message.map(str::to_owned);
            }
        });
        found
    }
}

/// A whole response frame, length prefix included.
pub(crate) struct Reply {
    segments: Vec<Segment>,
    refusals: Option<Box<Refusals>>,
}

impl Reply {
    /// A reply that lies in memory as a whole.
    pub(crate) fn from_memory(frame: Bytes) -> Self {
        Self { segments: vec![Segment::Memory(frame)], refusals: None }
    }

    /// A reply of memory and file slices, in order.
    pub(crate) fn from_segments(segments: Vec<Segment>) -> Self {
        Self { segments, refusals: None }
    }

    /// The same reply, which says no to something.
    pub(crate) fn refusing(self, refusals: Option<Box<Refusals>>) -> Self {
        Self { refusals, ..self }
    }

    /// The same reply; `reason` says why it says no, where its messages have no room for that.
    pub(crate) fn because(mut self, reason: Option<String>) -> Self {
        if let Some(refusals) = &mut self.refusals {
            refusals.reason = refusals.reason.take().or(reason);
        }
        self
    }

    /// What it says no to.
    pub(crate) fn refusals(&self) -> Option<&Refusals> {
        self.refusals.as_deref()
    }

    /// A reply that could not be put into bytes: its connection is closed.
    pub(crate) fn unsayable() -> Self {
        Self { segments: Vec::new(), refusals: None }
    }

    /// Whether it could not be put into bytes.
    pub(crate) fn is_unsayable(&self) -> bool {
        self.segments.is_empty()
    }

    /// Bytes on the wire.
    pub(crate) fn bytes(&self) -> usize {
        self.segments.iter().map(Segment::bytes).sum()
    }
}

enum Slot {
    Pending,
    Ready(Reply),
    /// acks=0: the request is answered by silence.
    Silent,
}

/// Names a request's place in its connection's reply order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct SlotId(u64);

/// The replies of one connection, answered in any order, released in request order.
#[derive(Default)]
pub(crate) struct ReplyQueue {
    slots: VecDeque<Slot>,
    front: u64,
    sending: VecDeque<Segment>,
}

impl ReplyQueue {
    /// Takes the next place in the order.
    pub(crate) fn reserve(&mut self) -> SlotId {
        self.slots.push_back(Slot::Pending);
        SlotId(self.front + self.slots.len() as u64 - 1)
    }

    /// Answers a request. `None`: it is answered by silence (acks=0). Each slot is answered once.
    pub(crate) fn answer(&mut self, slot: SlotId, reply: Option<Reply>) {
        assert!(slot.0 >= self.front);
        let place = &mut self.slots[(slot.0 - self.front) as usize];
        assert!(matches!(place, Slot::Pending), "a request is answered once");
        *place = reply.map_or(Slot::Silent, Slot::Ready);
        while let Some(Slot::Ready(_) | Slot::Silent) = self.slots.front() {
            if let Some(Slot::Ready(reply)) = self.slots.pop_front() {
                self.sending.extend(reply.segments);
            }
            self.front += 1;
        }
    }

    /// Requests taken and not yet released.
    pub(crate) fn unanswered(&self) -> usize {
        self.slots.len()
    }

    /// What goes out next, in order. The caller drops from the front what it sent.
    pub(crate) fn sending(&mut self) -> &mut VecDeque<Segment> {
        &mut self.sending
    }

    /// Whether nothing is under way: no request unanswered, no byte unsent.
    pub(crate) fn is_idle(&self) -> bool {
        self.slots.is_empty() && self.sending.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(text: &'static str) -> Option<Reply> {
        Some(Reply::from_memory(Bytes::from_static(text.as_bytes())))
    }

    fn sent(queue: &mut ReplyQueue) -> String {
        let mut text = String::new();
        for segment in queue.sending().drain(..) {
            let Segment::Memory(memory) = segment else { unreachable!("only memory here") };
            text.push_str(std::str::from_utf8(&memory).expect("test text"));
        }
        text
    }

    #[test]
    fn every_error_of_an_answer_is_found_and_counted() {
        use std::borrow::Cow;

        use wire::create_topics_response::{CreatableTopicResult, CreateTopicsResponse};

        let topic = |code: ErrorCode, message: Option<&'static str>| CreatableTopicResult {
            error_code: code.code(),
            error_message: message.map(Cow::Borrowed),
            ..CreatableTopicResult::default()
        };
        let well = CreateTopicsResponse { topics: vec![topic(ErrorCode::None, None)], ..Default::default() };
        assert_eq!(Refusals::of(7, &well), None);
        let exists = || topic(ErrorCode::TopicAlreadyExists, Some("it exists"));
        let bad = CreateTopicsResponse {
            topics: vec![exists(), topic(ErrorCode::None, None), topic(ErrorCode::InvalidPartitions, None), exists()],
            ..Default::default()
        };
        let codes = vec![(ErrorCode::TopicAlreadyExists, 2), (ErrorCode::InvalidPartitions, 1)];
        let expected = Refusals { api: ApiKey::CreateTopics, codes, reason: Some("it exists".to_owned()) };
        assert_eq!(Refusals::of(7, &bad).as_deref(), Some(&expected));
    }

    #[test]
    fn replies_leave_in_request_order() {
        let mut queue = ReplyQueue::default();
        let (first, second, third) = (queue.reserve(), queue.reserve(), queue.reserve());
        queue.answer(third, reply("c"));
        queue.answer(second, reply("b"));
        assert_eq!(sent(&mut queue), "");
        assert_eq!(queue.unanswered(), 3);
        queue.answer(first, reply("a"));
        assert_eq!(sent(&mut queue), "abc");
        assert!(queue.is_idle());
    }

    #[test]
    fn silent_request_holds_its_place_and_sends_nothing() {
        let mut queue = ReplyQueue::default();
        let (first, second) = (queue.reserve(), queue.reserve());
        queue.answer(second, reply("b"));
        assert_eq!(sent(&mut queue), "");
        queue.answer(first, None);
        assert_eq!(sent(&mut queue), "b");
    }
}
