//! What streams and plugins mean for each other: overlaps, coverage, and what
//! an output stream must be like for an id to be stored once.
//!
//! What only the server can know (a stream that is not declared) is not here.

use super::loops;
use crate::{
    manifest::{
        Manifest, Plugin, Retention, Start, Stream,
        problem::Problem,
        reader::Report,
        source::{Target, join},
        suggest,
        value::spoken,
    },
    subject::Pattern,
};

/// Checks how the parts of `manifest` fit together.
pub fn check(manifest: &Manifest, report: &mut Report) {
    let wiring = Wiring { manifest };
    wiring.check_streams(report);
    for (name, plugin) in &manifest.plugins {
        let path = join("plugins", name);
        wiring.check_filters(&path, plugin, report);
        wiring.check_grants(&path, plugin, report);
        wiring.check_source(&path, plugin, report);
        wiring.check_outputs(&path, plugin, report);
    }
    wiring.check_work_queues(report);
    loops::check(manifest, report);
}

/// Patterns of one list, with the list's path.
type List<'m> = (String, &'m [Pattern]);

struct Wiring<'m> {
    manifest: &'m Manifest,
}

impl<'m> Wiring<'m> {
    /// The element of a list, as a label points at it.
    fn at(&self, list: &str, pattern: &Pattern) -> Target {
        Target::Value(self.manifest.source.element(list, pattern.as_str()))
    }

    fn subjects(&self) -> Vec<(&'m str, List<'m>)> {
        let subjects = |(name, stream): (&'m String, &'m Stream)| {
            (name.as_str(), (join("streams", name) + ".subjects", stream.subjects.as_slice()))
        };
        self.manifest.streams.iter().map(subjects).collect()
    }

    /// No two streams may store the same subject, nor one of them twice.
    fn check_streams(&self, report: &mut Report) {
        let streams = self.subjects();
        for (index, (name, list)) in streams.iter().enumerate() {
            for (left, right) in overlaps_within(list.1) {
                report.add(self.overlap((list, left), (list, right)).help(
                    "the server refuses a stream that names a subject twice: keep the wider one",
                ));
            }
            for (other, other_list) in streams.iter().skip(index + 1) {
                for (left, right) in overlaps(list.1, other_list.1) {
                    report.add(self.overlap((list, left), (other_list, right)).help(format!(
                        "the server refuses a message in two streams: make the subjects of `{name}` and `{other}` distinct"
                    )));
                }
            }
            self.check_reserved(name, list, report);
        }
    }

    fn overlap(&self, left: (&List<'_>, &Pattern), right: (&List<'_>, &Pattern)) -> Problem {
        let ((left_list, left), (right_list, right)) = (left, right);
        let message = match left_list.0 == right_list.0 {
            true => format!("`{}` overlap each other: `{left}` and `{right}`", left_list.0),
            false => format!("two streams would store the same messages: `{left}` and `{right}`"),
        };
        Problem::new("overlapping-streams", message)
            .label(self.at(&left_list.0, left), "")
            .label(self.at(&right_list.0, right), "")
    }

    /// A stream must leave alone the dead letters and the server's own subjects.
    fn check_reserved(&self, name: &str, list: &List<'_>, report: &mut Report) {
        let dead = &self.manifest.dead_letters;
        if name == dead.stream {
            let message = format!(
                "the stream `{name}` is the one for dead letters, which the host makes itself"
            );
            let problem = Problem::new("overlapping-streams", message)
                .label(Target::Key(join("streams", name)), "")
                .help("set its limits in `[dead-letters]`, or give this stream another name");
            report.add(problem);
        }
        self.check_replays(name, list, report);
        for pattern in list.1 {
            if Pattern::parse(&format!("{}.>", dead.prefix))
                .is_ok_and(|dead| dead.overlaps(pattern))
            {
                let message = format!(
                    "`{pattern}` takes in the dead letters, which are on `{}.>`",
                    dead.prefix
                );
                let problem = Problem::new("overlapping-streams", message)
                    .label(self.at(&list.0, pattern), "")
                    .help("dead letters have a stream of their own: narrow the subject, or choose another `[dead-letters] prefix`");
                report.add(problem);
            } else if takes_in_reserved(pattern) {
                let message =
                    format!("`{pattern}` takes in the server's own subjects (`$JS.>` and others)");
                let problem = Problem::new("overlapping-streams", message)
                    .label(self.at(&list.0, pattern), "")
                    .help("the server refuses such a stream: begin with a token of your own, as in `orders.>`");
                report.add(problem);
            }
        }
    }

    /// Nor may it take the requests to run dead letters again.
    fn check_replays(&self, name: &str, list: &List<'_>, report: &mut Report) {
        let dead = &self.manifest.dead_letters;
        if name == dead.replays {
            let message = format!(
                "the stream `{name}` is the one for replays of dead letters, which the host makes itself"
            );
            let problem = Problem::new("overlapping-streams", message)
                .label(Target::Key(join("streams", name)), "")
                .help("give this stream another name, or the host (`[host] name`)");
            report.add(problem);
        }
        let Ok(replays) = Pattern::parse(&format!("{}.>", dead.replays_prefix)) else { return };
        for pattern in list.1.iter().filter(|pattern| pattern.overlaps(&replays)) {
            let message =
                format!("`{pattern}` takes in the replays of dead letters, on `{replays}`");
            let problem = Problem::new("overlapping-streams", message)
                .label(self.at(&list.0, pattern), "")
                .help("replays have a stream of their own: narrow the subject, or give the host another name");
            report.add(problem);
        }
    }

    /// One subscription must not be given an event twice.
    fn check_filters(&self, path: &str, plugin: &Plugin, report: &mut Report) {
        let list = format!("{path}.subscribe");
        for (left, right) in overlaps_within(&plugin.subscribe) {
            let help = match plugin.stream {
                Some(_) => {
                    "the server refuses a consumer with overlapping filters: keep the wider one"
                }
                None => "it would be given such an event twice: keep the wider one",
            };
            let message = format!("`{list}` has overlapping subjects: `{left}` and `{right}`");
            let problem = Problem::new("overlapping-filters", message)
                .label(self.at(&list, left), "")
                .label(self.at(&list, right), "")
                .help(help);
            report.add(problem);
        }
        let is_core = plugin.stream.is_none();
        for pattern in plugin.subscribe.iter().filter(|p| is_core && takes_in_inboxes(p)) {
            let message = format!(
                "`{pattern}` takes in NATS' own subjects: every inbox, every call to JetStream"
            );
            let problem = Problem::new("bad-subject", message)
                .label(self.at(&list, pattern), "")
                .help("begin with a token of your own, as in `orders.>`");
            report.add(problem);
        }
    }

    /// A subject is published either into a stream or over core NATS.
    fn check_grants(&self, path: &str, plugin: &Plugin, report: &mut Report) {
        for (stored, sent) in overlaps(&plugin.publish, &plugin.publish_core) {
            let message = format!(
                "`{path}` may publish the same subject in two ways: `{stored}` and `{sent}`"
            );
            let problem = Problem::new("overlapping-publish", message)
                .label(self.at(&format!("{path}.publish"), stored), "into a stream")
                .label(self.at(&format!("{path}.publish-core"), sent), "over core NATS")
                .help("keep it in one of the two: `publish` waits until a stream has it, `publish-core` sends it at most once");
            report.add(problem);
        }
    }

    /// The stream a plugin reads must be the one that was meant, and store what it asks for.
    fn check_source(&self, path: &str, plugin: &Plugin, report: &mut Report) {
        let Some(name) = &plugin.stream else { return };
        if !report.is_sound(&[&format!("{path}.stream")]) {
            return;
        }
        match self.manifest.streams.get(name) {
            Some(stream) => self.check_coverage(path, plugin, (name, stream), report),
            None => self.check_name(path, name, report),
        }
    }

    fn check_name(&self, path: &str, name: &str, report: &mut Report) {
        let declared = self.manifest.streams.keys().chain([&self.manifest.dead_letters.stream]);
        if declared.clone().any(|declared| declared == name) {
            return;
        }
        let Some(meant) = declared.into_iter().find(|known| suggest::is_slip(name, known)) else {
            return;
        };
        let message = format!("the stream `{name}` is not declared here, but `{meant}` is");
        let problem = Problem::new("unknown-stream", message)
            .label(Target::Value(format!("{path}.stream")), "")
            .label(Target::Key(join("streams", meant)), "declared here")
            .help(format!("did you mean `{meant}`? If both exist, declare `[streams.{name}]` too"));
        report.add(problem);
    }

    fn check_coverage(
        &self,
        path: &str,
        plugin: &Plugin,
        (name, stream): (&str, &Stream),
        report: &mut Report,
    ) {
        let subjects = format!("streams.{name}.subjects");
        if !report.is_sound(&[&subjects]) {
            return;
        }
        let list = format!("{path}.subscribe");
        let is_stored = |filter: &Pattern| {
            stream.subjects.iter().any(|stored| stored.contains(filter) || filter.contains(stored))
        };
        for filter in plugin.subscribe.iter().filter(|filter| !is_stored(filter)) {
            let problem = Problem::new(
                "not-in-stream",
                format!("the stream `{name}` does not store `{filter}`"),
            )
            .label(self.at(&list, filter), "never arrives")
            .label(Target::Value(subjects.clone()), "what it stores");
            let other = self
                .subjects()
                .into_iter()
                .find(|(_, (_, stored))| stored.iter().any(|s| s.contains(filter)));
            report.add(match other {
                Some((other, _)) => problem.help(format!(
                    "the stream `{other}` stores it: did you mean `stream = \"{other}\"`?"
                )),
                None => problem.help(format!(
                    "add `{filter}` to the subjects of `{name}`, or correct the subject"
                )),
            });
        }
    }

    /// What a plugin publishes must be stored once, however late the last attempt is.
    fn check_outputs(&self, path: &str, plugin: &Plugin, report: &mut Report) {
        for (name, (list, subjects)) in self.subjects() {
            let Some((output, _)) = overlaps(&plugin.publish, subjects).next() else { continue };
            let Some(stream) = self.manifest.streams.get(name) else { continue };
            let stream_path = list.trim_end_matches(".subjects");
            let at = self.at(&format!("{path}.publish"), output);
            if stream.retention != Retention::Limits {
                report.add(forgetful(path, (name, stream_path), at.clone()));
            }
            self.check_budget((path, plugin), (name, stream_path, stream), report);
        }
    }

    fn check_budget(
        &self,
        (path, plugin): (&str, &Plugin),
        (name, stream_path, stream): (&str, &str, &Stream),
        report: &mut Report,
    ) {
        let window_path = format!("{stream_path}.duplicate-window");
        // Without a stream as its source a plugin is retried inside the host,
        // and an attempt ends with the time-out.
        let (wait_path, wait) = match plugin.stream {
            Some(_) => (format!("{path}.ack-wait"), plugin.ack_wait),
            None => (format!("{path}.timeout"), plugin.timeout),
        };
        let retry_path = format!("{path}.retry");
        let budget = plugin.retry_budget();
        if budget <= stream.duplicate_window
            || !report.is_sound(&[&window_path, &wait_path, &retry_path])
        {
            return;
        }
        let (retry, window) = (&plugin.retry, spoken(stream.duplicate_window));
        let wait_key = wait_path.rsplit('.').next().unwrap_or_default();
        let message = format!(
            "the retries of `{path}` may take {}, but the stream `{name}` remembers ids for {window} only: \
             a late retry would be stored twice",
            spoken(budget)
        );
        let help = format!(
            "{} attempts of up to {} (`{wait_key}`) and pauses of up to {} together; set `duplicate-window = \"{}\"` \
             in `[{stream_path}]`, or lower `attempts`, `backoff.max` or `{wait_key}` in `[{path}]`",
            retry.attempts,
            spoken(wait),
            spoken(retry.max),
            spoken(rounded_up(budget)),
        );
        let problem = Problem::new("retry-budget", message)
            .label(Target::Value(window_path), "")
            .label(Target::Value(retry_path), "")
            .help(help);
        report.add(problem);
    }

    /// The server gives a message of a work queue to one consumer only.
    fn check_work_queues(&self, report: &mut Report) {
        for (name, stream) in &self.manifest.streams {
            if stream.retention != Retention::WorkQueue {
                continue;
            }
            let reads = |plugin: &Plugin| plugin.stream.as_ref() == Some(name);
            let readers: Vec<_> =
                self.manifest.plugins.iter().filter(|(_, plugin)| reads(plugin)).collect();
            for (index, (reader, plugin)) in readers.iter().enumerate() {
                if plugin.start == Start::New {
                    report.add(late_start(&join("plugins", reader), name));
                }
                let later = readers.iter().skip(index + 1);
                for (other, other_plugin) in later {
                    let pair = [(reader.as_str(), *plugin), (other.as_str(), *other_plugin)];
                    self.check_rivals(name, pair, report);
                }
            }
        }
    }

    fn check_rivals(&self, stream: &str, rivals: [(&str, &Plugin); 2], report: &mut Report) {
        let [(name, plugin), (other, other_plugin)] = rivals;
        let shared = overlaps(&plugin.subscribe, &other_plugin.subscribe).next();
        let Some((left, right)) = shared else { return };
        let at =
            |name: &str, pattern| self.at(&format!("{}.subscribe", join("plugins", name)), pattern);
        let message = format!(
            "`{name}` and `{other}` read the same events of the work queue `{stream}`: `{left}` and `{right}`"
        );
        let problem = Problem::new("work-queue", message)
            .label(at(name, left), "")
            .label(at(other, right), "")
            .help("the server gives an event of a work queue to one consumer only: make the subjects distinct, or set `retention = \"limits\"`");
        report.add(problem);
    }
}

fn forgetful(path: &str, (name, stream_path): (&str, &str), at: Target) -> Problem {
    let message = format!(
        "`{path}` publishes into the stream `{name}`, which forgets ids with the messages it removes"
    );
    Problem::new("output-retention", message)
        .label(Target::Value(format!("{stream_path}.retention")), "")
        .label(at, "published here")
        .help("after a restart of the server a retried event would be stored twice: set `retention = \"limits\"`, with `max-age` to keep it small")
}

fn late_start(path: &str, stream: &str) -> Problem {
    let message = format!("`{path}` cannot start with new messages: `{stream}` is a work queue");
    Problem::new("work-queue", message)
        .label(Target::Value(format!("{path}.start")), "")
        .help("the server delivers all of a work queue: remove `start`")
}

/// The next full minute, so that a suggestion is easy to read.
fn rounded_up(time: std::time::Duration) -> std::time::Duration {
    std::time::Duration::from_secs(time.as_secs().div_ceil(60).saturating_add(1).saturating_mul(60))
}

fn overlaps_within(patterns: &[Pattern]) -> impl Iterator<Item = (&Pattern, &Pattern)> {
    patterns.iter().enumerate().flat_map(move |(index, left)| {
        let later = patterns.iter().skip(index + 1);
        later.filter(|right| left.overlaps(right)).map(move |right| (left, right))
    })
}

fn overlaps<'a>(
    left: &'a [Pattern],
    right: &'a [Pattern],
) -> impl Iterator<Item = (&'a Pattern, &'a Pattern)> {
    left.iter().flat_map(move |a| right.iter().filter(|b| a.overlaps(b)).map(move |b| (a, b)))
}

/// Whether the server would refuse to store `pattern`: it reaches into `$JS.>`.
fn takes_in_reserved(pattern: &Pattern) -> bool {
    let text = pattern.as_str();
    text == ">" || text.starts_with("*.")
}

/// Whether a subscription to `pattern` would be given whatever clients and the
/// server say to each other.
fn takes_in_inboxes(pattern: &Pattern) -> bool {
    let text = pattern.as_str();
    text == ">" || (text.starts_with("*.") && text.ends_with('>'))
}
