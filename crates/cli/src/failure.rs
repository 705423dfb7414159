//! Why a command ends without success, and the exit code that says so to scripts.

use std::process::ExitCode;

/// The exit codes, as `ringlog --help` lists them. 0 is success, 2 is clap's for wrong usage.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Code {
    Failed,
    Usage,
    NotFound,
    VerdictNotMet,
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> Self {
        Self::from(match code {
            Code::Failed => 1,
            Code::Usage => 2,
            Code::NotFound => 3,
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
}
