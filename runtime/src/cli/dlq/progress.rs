//! A progress bar on a terminal; nothing where nobody looks.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

const TEMPLATE: &str = "{msg} [{bar:30}] {pos}/{len} {per_sec} {eta}";

/// A bar for `n` steps of `what`, on standard error.
pub fn bar(what: &'static str, n: u64) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(n), ProgressDrawTarget::stderr_with_hz(10));
    // The template is a constant; without it the bar looks otherwise, and works.
    let style = ProgressStyle::with_template(TEMPLATE).ok();
    bar.set_style(style.unwrap_or_else(ProgressStyle::default_bar).progress_chars("=> "));
    bar.set_message(what);
    bar
}
