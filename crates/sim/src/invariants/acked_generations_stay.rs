use std::collections::BTreeMap;
use std::sync::Arc;

use coordinator::{Command, Reply};
use machine::Ticket;
use types::ErrorCode;

use super::Invariant;
use crate::history::{History, Seen};

/// Once a member was given its part in a generation, its group is never again in an earlier one, and no crash takes the
/// group away. A group that was removed starts anew.
#[derive(Default)]
pub struct AckedGenerationsStay {
    /// The group and, of a member that asks for its part, the generation.
    asked: BTreeMap<Ticket, (Arc<str>, Option<i32>)>,
    acked: BTreeMap<Arc<str>, i32>,
}

impl Invariant for AckedGenerationsStay {
    fn name(&self) -> &'static str {
        "acked_generations_stay"
    }

    fn judge(&mut self, seen: &Seen<'_>, _: &History) -> Result<(), String> {
        match *seen {
            Seen::GroupAsked { ticket, command: Command::Join(request), .. } => {
                self.asked.insert(ticket, (request.group.clone(), None));
            }
            Seen::GroupAsked { ticket, command: Command::Sync(request), .. } => {
                self.asked.insert(ticket, (request.group.clone(), Some(request.generation)));
            }
            Seen::GroupAnswered { ticket, reply, .. } => {
                let Some((group, wanted)) = self.asked.remove(&ticket) else { return Ok(()) };
                let told = match reply {
                    Reply::Join(reply) if reply.error == ErrorCode::None => reply.generation,
                    Reply::Sync(reply) if reply.error == ErrorCode::None => wanted,
                    _ => None,
                };
                let (Some(told), acked) = (told, self.acked.get(&group).copied().unwrap_or(0)) else { return Ok(()) };
                if told < acked {
                    return Err(format!("{group} went back from generation {acked} to {told}"));
                }
                if wanted.is_some() {
                    self.acked.insert(group, told);
                }
            }
            Seen::CoordinatorEnded => self.asked.clear(),
            Seen::GroupsThere { groups, loaded } => {
                let lost = self.acked.keys().find(|group| !groups.contains(group)).cloned();
                if let (Some(lost), true) = (lost, loaded) {
                    return Err(format!("{lost} is gone"));
                }
                self.acked.retain(|group, _| groups.contains(group));
                // What is still to be answered was decided before the group was removed.
                self.asked.retain(|_, (group, _)| groups.contains(group));
            }
            _ => {}
        }
        Ok(())
    }
}
