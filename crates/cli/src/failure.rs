//! Why a command ends without success, and the exit code that says so to scripts.

use std::process::ExitCode;

use client::ClientError;
use types::ErrorCode;

/// The exit codes, as `ringlog --help` lists them. 0 is success; clap ends with 2 for wrong usage too.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Code {
    /// The cluster, the machine or a file said no.
    Failed,
    /// The command line asks for something that cannot be meant.
    Usage,
    /// What was named does not exist.
    NotFound,
    /// Nobody answered, or not in time: the same command may succeed later.
    Unreachable,
    /// Some of what was asked for was done.
    Partial,
    /// Everything was done, and the answer is below what was asked for.
    VerdictNotMet,
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> Self {
        Self::from(match code {
            Code::Failed => 1,
            Code::Usage => 2,
            Code::NotFound => 3,
            Code::Unreachable => 4,
            Code::Partial => 5,
            Code::VerdictNotMet => 6,
        })
    }
}

/// What happened, why, and what to do next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Failure {
    pub(crate) code: Code,
    /// Empty when everything was said on stdout.
    pub(crate) message: String,
}

impl Failure {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// The answer on stdout is the message.
    pub(crate) fn verdict() -> Self {
        Self::new(Code::VerdictNotMet, "")
    }

    /// Stdout could not be written.
    pub(crate) fn output(error: &std::io::Error) -> Self {
        Self::new(Code::Failed, format!("cannot write the output: {error}"))
    }

    /// The same with a next step that fits better than the general one.
    #[must_use]
    pub(crate) fn with_next(mut self, next: &str) -> Self {
        let what = self.message.split("\nNext: ").next().unwrap_or_default();
        self.message = format!("{what}\nNext: {next}");
        self
    }

    /// The end of a command that was asked for several things: the failure of one is its own, of some is *in part*, of
    /// all is what they share or *failed*. `what` says what was to be done (`delete topics`).
    pub(crate) fn of_many(what: &str, asked: usize, mut failures: Vec<Self>) -> Result<(), Self> {
        match failures.len() {
            0 => Ok(()),
            1 if asked == 1 => Err(failures.remove(0)),
            failed => {
                let first = failures[0].code;
                let code = match failed < asked {
                    true => Code::Partial,
                    false if failures.iter().all(|failure| failure.code == first) => first,
                    false => Code::Failed,
                };
                let reasons: Vec<&str> = failures.iter().map(|failure| failure.message.as_str()).collect();
                Err(Self::new(code, format!("{what}: {failed} of {asked} failed\n{}", reasons.join("\n"))))
            }
        }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let code = match &error {
            ClientError::Connect { .. }
            | ClientError::Disconnected { .. }
            | ClientError::NotKafka { .. }
            | ClientError::Timeout { .. } => Code::Unreachable,
            ClientError::Usage(_) => Code::Usage,
            ClientError::Refused { .. } => error.code().map_or(Code::Failed, refusal_code),
            _ => Code::Failed,
        };
        let failure = Self::new(code, error.to_string());
        match error.next_step() {
            Some(next) => failure.with_next(next),
            None => failure,
        }
    }
}

fn refusal_code(code: ErrorCode) -> Code {
    match code {
        ErrorCode::UnknownTopicOrPartition
        | ErrorCode::UnknownTopicId
        | ErrorCode::GroupIdNotFound
        | ErrorCode::ResourceNotFound
        | ErrorCode::LogDirNotFound => Code::NotFound,
        // What a node says while the cluster is not ready to answer.
        ErrorCode::RequestTimedOut
        | ErrorCode::BrokerNotAvailable
        | ErrorCode::LeaderNotAvailable
        | ErrorCode::NotController
        | ErrorCode::NotCoordinator
        | ErrorCode::CoordinatorNotAvailable
        | ErrorCode::CoordinatorLoadInProgress
        | ErrorCode::NetworkException => Code::Unreachable,
        _ => Code::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_have_the_exit_code_that_a_script_would_act_on() {
        let refused = |code: ErrorCode| Failure::from(ClientError::refused("describe topic t", code.code()));
        assert_eq!(refused(ErrorCode::UnknownTopicOrPartition).code, Code::NotFound);
        assert_eq!(refused(ErrorCode::CoordinatorNotAvailable).code, Code::Unreachable);
        assert_eq!(refused(ErrorCode::TopicAlreadyExists).code, Code::Failed);
        let closed = ClientError::Connect { address: "h:1".to_owned(), reason: "refused".to_owned() };
        let failure = Failure::from(closed);
        assert_eq!(failure.code, Code::Unreachable);
        assert!(failure.message.contains("cannot connect to h:1: refused\nNext: "), "{}", failure.message);
        assert_eq!(failure.with_next("try h:2").message, "cannot connect to h:1: refused\nNext: try h:2");
    }

    #[test]
    fn some_failures_of_many_are_done_in_part() {
        let failure = |code| Failure::new(code, "no");
        let of_many = |asked, failures| Failure::of_many("delete topics", asked, failures).map_err(|f| f.code);
        assert_eq!(of_many(2, vec![]), Ok(()));
        assert_eq!(of_many(1, vec![failure(Code::NotFound)]), Err(Code::NotFound));
        assert_eq!(of_many(2, vec![failure(Code::NotFound)]), Err(Code::Partial));
        assert_eq!(of_many(2, vec![failure(Code::NotFound); 2]), Err(Code::NotFound));
        assert_eq!(of_many(2, vec![failure(Code::NotFound), failure(Code::Failed)]), Err(Code::Failed));
    }
}
