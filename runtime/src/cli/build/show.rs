//! What goes on, as it goes on: a line for each plugin on a terminal, elsewhere
//! a line for each step.

use std::{
    collections::BTreeMap,
    io::{IsTerminal as _, stderr},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use pelton::build::Progress;

use super::report;

/// Whether compilers shall colour what they say.
pub fn has_colour() -> bool {
    stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Where progress is shown.
pub struct Show {
    /// `None`: not a terminal.
    bars: Option<(MultiProgress, Mutex<BTreeMap<String, ProgressBar>>)>,
}

impl Show {
    pub fn new() -> Show {
        let is_terminal = stderr().is_terminal();
        Show { bars: is_terminal.then(|| (MultiProgress::new(), Mutex::default())) }
    }

    /// Shows one step.
    pub fn tell(&self, plugin: &str, progress: Progress<'_>) {
        match &self.bars {
            Some((all, bars)) => {
                let mut bars = bars.lock().unwrap_or_else(PoisonError::into_inner);
                let bar = bars.entry(plugin.to_owned()).or_insert_with(|| bar(all, plugin));
                draw(bar, plugin, progress);
            }
            None => match progress {
                Progress::Step(text) | Progress::Note(text) => {
                    report::note(&format!("{plugin}: {text}\n"));
                }
                Progress::Line(_) | Progress::Done => {}
            },
        }
    }

    /// Leaves the terminal as it was.
    pub fn clear(&self) {
        if let Some((all, _)) = &self.bars {
            all.clear().ok();
        }
    }
}

fn bar(all: &MultiProgress, plugin: &str) -> ProgressBar {
    let template = "{spinner} {prefix:.bold}  {wide_msg}  {elapsed:.dim}";
    let style = ProgressStyle::with_template(template);
    let bar = all.add(ProgressBar::new_spinner());
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
    bar.set_prefix(plugin.to_owned());
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

fn draw(bar: &ProgressBar, plugin: &str, progress: Progress<'_>) {
    match progress {
        Progress::Step(text) | Progress::Line(text) => {
            bar.set_message(anstream::adapter::strip_str(text).to_string());
        }
        Progress::Note(text) => bar.suspend(|| report::note(&format!("{plugin}: {text}\n"))),
        Progress::Done => bar.finish_and_clear(),
    }
}
