use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use machine::Ticket;
use quorum::configs::ConfigEdit;
use quorum::topics::TopicRef;
use quorum::{Command, ConfigResource, MetadataImage, Reply};

use super::Invariant;
use crate::history::{History, Seen};

/// What the controller acked is in every later image, and no producer id is handed out twice.
///
/// Each command here is about one topic, with one config; its answer comes in the order of decisions.
#[derive(Default)]
pub struct AckedCommandsSurvive {
    asked: BTreeMap<Ticket, Command>,
    known: BTreeMap<Arc<str>, Known>,
    producer_ids: BTreeSet<i64>,
}

/// Of a topic, whether it is there, and with which value of its config.
type State = Option<Arc<str>>;

#[derive(Clone, Default, Debug)]
struct Known {
    settled: State,
    /// Asked for after that, of controllers that ended before they answered.
    perhaps: Vec<State>,
}

fn wish(command: &Command) -> Option<(Arc<str>, State)> {
    match command {
        Command::CreateTopics { topics, .. } => {
            let topic = topics.first()?;
            Some((topic.name.clone(), topic.configs.first()?.1.clone()))
        }
        Command::DeleteTopics { topics } => match topics.first()? {
            TopicRef::Name(name) => Some((name.clone(), None)),
            TopicRef::Id(_) => None,
        },
        Command::ChangeConfigs { resources, .. } => {
            let change = resources.first()?;
            match (&change.resource, &change.edits.first()?.1) {
                (ConfigResource::Topic(name), ConfigEdit::Set(value)) => Some((name.clone(), Some(value.clone()))),
                _ => None,
            }
        }
        _ => None,
    }
}

impl AckedCommandsSurvive {
    fn answered(&mut self, ticket: Ticket, reply: &Reply) -> Result<(), String> {
        let Some(command) = self.asked.remove(&ticket) else { return Ok(()) };
        let is_done = match reply {
            Reply::TopicsCreated(outcomes) => outcomes.iter().all(|(_, outcome)| outcome.is_ok()),
            Reply::TopicsDeleted(outcomes) => outcomes.iter().all(|outcome| outcome.result.is_ok()),
            Reply::ConfigsChanged(outcomes) => outcomes.iter().all(|(_, outcome)| outcome.is_ok()),
            Reply::ProducerIds(Ok(first)) if !self.producer_ids.insert(first.value()) => {
                return Err(format!("producer ids from {first:?} on are handed out twice"));
            }
            _ => false,
        };
        if let (true, Some((topic, state))) = (is_done, wish(&command)) {
            self.known.insert(topic, Known { settled: state, perhaps: Vec::new() });
        }
        Ok(())
    }

    /// A controller that has just been loaded, and has decided nothing yet.
    fn loaded(&mut self, image: &MetadataImage) -> Result<(), String> {
        for (topic, known) in &mut self.known {
            let configs = image.configs(&ConfigResource::Topic(topic.clone()));
            let there = image.topic(topic).and(configs).and_then(|configs| configs.values().next().cloned());
            if known.settled != there && !known.perhaps.contains(&there) {
                return Err(format!("topic {topic} is {there:?}, known {known:?}"));
            }
            *known = Known { settled: there, perhaps: Vec::new() };
        }
        let unasked = image.topics().find(|topic| !self.known.contains_key(&topic.name));
        unasked.map_or(Ok(()), |topic| Err(format!("nobody made topic {}", topic.name)))
    }
}

impl Invariant for AckedCommandsSurvive {
    fn name(&self) -> &'static str {
        "acked_commands_survive"
    }

    fn judge(&mut self, seen: &Seen<'_>, _: &History) -> Result<(), String> {
        match *seen {
            Seen::ControllerAsked { ticket, command } => {
                self.asked.insert(ticket, command.clone());
                Ok(())
            }
            Seen::ControllerAnswered { ticket, reply } => self.answered(ticket, reply),
            Seen::ControllerEnded => {
                for (topic, state) in std::mem::take(&mut self.asked).values().filter_map(wish) {
                    self.known.entry(topic).or_default().perhaps.push(state);
                }
                Ok(())
            }
            Seen::MetadataLoaded { image } => self.loaded(image),
            _ => Ok(()),
        }
    }
}
