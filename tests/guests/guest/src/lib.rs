//! What the test guests share: the bindings, and how a good event is echoed.
//!
//! Not a guest, and nothing to copy: a handler of your own generates its
//! bindings itself, as those in `examples/` do.

wit_bindgen::generate!({
    path: "../../../wit",
    world: "plugin",
    pub_export_macro: true,
    export_macro_name: "export",
    default_bindings_module: "guest",
});

pub use exports::pelton::events::handler::{Event, Failure, Guest, Output};
pub use pelton::events::{config, log, types::Header};

/// What a handler returns.
pub type Handled = Result<Vec<Output>, Failure>;

/// The event as it came, on the subject `out.x` for `in.x`.
pub fn echo(event: Event) -> Handled {
    let subject = out(&event.subject);
    Ok(vec![Output { subject, headers: event.headers, payload: event.payload }])
}

/// One output with this payload and no headers, on the subject `out.x` for `in.x`.
pub fn answer(event: &Event, payload: impl Into<Vec<u8>>) -> Handled {
    let subject = out(&event.subject);
    Ok(vec![Output { subject, headers: Vec::new(), payload: payload.into() }])
}

/// The subject that answers `subject`: `out.x` for `in.x`.
pub fn out(subject: &str) -> String {
    match subject.strip_prefix("in.") {
        Some(rest) => format!("out.{rest}"),
        None => format!("out.{subject}"),
    }
}

/// The number that the payload consists of; none for any other payload.
pub fn number(event: &Event) -> Option<u64> {
    std::str::from_utf8(&event.payload).ok()?.trim().parse().ok()
}
