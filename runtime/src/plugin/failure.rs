//! From an error of the engine to what the dispatcher branches on: the one place
//! where wasmtime's errors are told apart.

use std::time::Duration;

use wasmtime::{Error, PoolConcurrencyLimitError, Trap, WasmBacktrace};
use wasmtime_wasi::I32Exit;

use super::{
    CallError,
    bindings::pelton::events::types::Failure,
    journal::{excerpt, printable},
    messages::OverLimit,
    state::{CpuExhausted, State},
};

/// The longest text of a guest that is kept as a reason, in bytes.
const LONGEST_REASON: usize = 1 << 10;

/// The longest backtrace, in bytes.
const LONGEST_TRACE: usize = 8 << 10;

/// What wasmtime says when a guest hands over more than it may. The error's type
/// is private, so it is known by its words; a test notices if they change.
const HOSTCALL_FUEL: &str = "fuel allocated for hostcalls has been exhausted";

/// The limits that a [`CallError`] names.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) memory: u64,
    pub(super) cpu: Duration,
}

/// Why a run ended without the guest's answer. `started`: the guest's instance
/// had been made.
pub(super) fn broken(error: &Error, state: &State, limits: Limits, started: bool) -> CallError {
    let trap = error.downcast_ref::<Trap>();
    let backtrace = error.downcast_ref::<WasmBacktrace>().and_then(trace);
    if error.is::<CpuExhausted>() {
        return CallError::Cpu(limits.cpu);
    }
    if let Some(OverLimit(text)) = error.downcast_ref() {
        return CallError::Outputs(text.clone());
    }
    if error.is::<PoolConcurrencyLimitError>() {
        return CallError::Unavailable(format!("{error:#}"));
    }
    if trap == Some(&Trap::StackOverflow) {
        return CallError::Stack { backtrace };
    }
    if state.memory.refused {
        return CallError::Memory(limits.memory);
    }
    if backtrace.is_none() && error.root_cause().to_string().contains(HOSTCALL_FUEL) {
        return CallError::Outputs("more bytes than one run may return".to_owned());
    }
    if !started && trap.is_none() && backtrace.is_none() {
        return CallError::Unavailable(excerpt(&format!("{error:#}"), LONGEST_REASON));
    }
    CallError::Trap { reason: reason(error, state), backtrace }
}

/// What the guest itself said.
pub(super) fn refused(failure: Failure) -> CallError {
    match failure {
        Failure::Retry(reason) => {
            CallError::Retry { reason: excerpt(&reason, LONGEST_REASON), after: None }
        }
        Failure::RetryAfter((millis, reason)) => CallError::Retry {
            reason: excerpt(&reason, LONGEST_REASON),
            after: Some(Duration::from_millis(millis)),
        },
        Failure::Reject(reason) => CallError::Reject { reason: excerpt(&reason, LONGEST_REASON) },
    }
}

/// What a guest said of a contract that knows only that it failed: it may
/// succeed later, until its attempts are used up.
pub(super) fn failed(reason: &str) -> CallError {
    CallError::Retry { reason: excerpt(reason, LONGEST_REASON), after: None }
}

fn reason(error: &Error, state: &State) -> String {
    let reason = match error.downcast_ref::<I32Exit>() {
        Some(I32Exit(status)) => format!("it called exit with status {status}"),
        None => excerpt(&error.root_cause().to_string(), LONGEST_REASON),
    };
    match state.journal.tail() {
        Some(stderr) => format!("{reason}; stderr: {stderr}"),
        None => reason,
    }
}

/// The frames, one a line, demangled, with files and lines where the guest was
/// built with them.
fn trace(backtrace: &WasmBacktrace) -> Option<String> {
    let text = backtrace.to_string();
    let lines: Vec<_> = text.lines().skip(1).map(|line| printable(line.trim_end())).collect();
    let mut text = lines.join("\n");
    text.truncate(text.floor_char_boundary(LONGEST_TRACE));
    (!text.is_empty()).then_some(text)
}
