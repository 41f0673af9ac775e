//! `[streams.<name>]` and `[dead-letters]` as they are written.

use schemars::JsonSchema;

use super::{DAY, GIB, KIB, MOST_BYTES, TENTH, YEAR};
use crate::{
    manifest::{
        Discard, Retention, Storage,
        problem::quoted,
        reader::{Node, Report, Table},
        value::{self, Empty, Filter, Name, Size, Time},
    },
    subject,
};

/// `[streams.<name>]`: created when missing; when present, a difference is
/// shown and refused, never overwritten.
#[derive(Debug, Default, JsonSchema)]
#[schemars(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Stream {
    /// The subjects it stores; no two streams of one NATS may overlap.
    /// `subjects = ["orders.>"]`
    #[schemars(required, length(min = 1), extend("examples" = [["orders.>"]]))]
    pub subjects: Option<Vec<Filter>>,
    /// When messages are removed: by the limits below only, when one consumer
    /// has acknowledged them (`work-queue`), or when all have (`interest`).
    /// Streams that plugins publish to need `limits`. `retention = "limits"`
    #[schemars(extend("default" = "limits", "examples" = ["work-queue"]))]
    pub retention: Option<Retention>,
    /// On disk, or in memory and gone with the server. `storage = "file"`
    #[schemars(extend("default" = "file", "examples" = ["memory"]))]
    pub storage: Option<Storage>,
    /// Copies in a cluster. `replicas = 3`
    #[schemars(range(min = 1, max = 5), extend("default" = 1, "examples" = [3]))]
    pub replicas: Option<u64>,
    /// How long messages are kept, at least `duplicate-window`; by default
    /// without limit. `max-age = "7days"`
    #[schemars(extend("examples" = ["7days"]))]
    pub max_age: Option<Time>,
    /// The most bytes kept; by default without limit. `max-bytes = "10GiB"`
    #[schemars(extend("examples" = ["10GiB"]))]
    pub max_bytes: Option<Size>,
    /// The most messages kept; by default without limit. `max-messages = 1000000`
    #[schemars(range(min = 1), extend("examples" = [1_000_000]))]
    pub max_messages: Option<u64>,
    /// The largest message accepted, up to 2 GiB; by default the server's own
    /// limit. `max-message-size = "1MiB"`
    #[schemars(extend("examples" = ["1MiB"]))]
    pub max_message_size: Option<Size>,
    /// What a full stream does: remove the oldest messages, or refuse new ones.
    /// `discard = "old"`
    #[schemars(extend("default" = "old", "examples" = ["new"]))]
    pub discard: Option<Discard>,
    /// How long the server remembers message ids, and so drops duplicates;
    /// 100 ms to 30 days, costs the server memory. Longer than the retries of
    /// the plugins that publish here. `duplicate-window = "10m"`
    #[schemars(extend("default" = "10m", "examples" = ["1h"]))]
    pub duplicate_window: Option<Time>,
}

/// `[dead-letters]`: a stream of its own, made by the host.
#[derive(Debug, Default, JsonSchema)]
#[schemars(rename_all = "kebab-case", deny_unknown_fields)]
pub struct DeadLetters {
    /// The stream; by default `<host>_DEAD_LETTERS`. `stream = "DEAD_LETTERS"`
    #[schemars(extend("examples" = ["DEAD_LETTERS"]))]
    pub stream: Option<Name>,
    /// The first tokens of its subjects, before `<plugin>.<subject>`; by
    /// default `dead-letters.<host>`. `prefix = "dead"`
    #[schemars(extend("examples" = ["dead"]))]
    pub prefix: Option<String>,
    /// How long they are kept; from 1 min. `max-age = "30days"`
    #[schemars(extend("default" = "30days", "examples" = ["1y"]))]
    pub max_age: Option<Time>,
    /// The most bytes kept, the oldest go first; from 1 KiB. `max-bytes = "1GiB"`
    #[schemars(extend("default" = "1GiB", "examples" = ["10GiB"]))]
    pub max_bytes: Option<Size>,
    /// Copies in a cluster. `replicas = 3`
    #[schemars(range(min = 1, max = 5), extend("default" = 1, "examples" = [3]))]
    pub replicas: Option<u64>,
}

const RETENTIONS: &[(&str, Retention)] = &[
    ("limits", Retention::Limits),
    ("work-queue", Retention::WorkQueue),
    ("interest", Retention::Interest),
];
const STORAGES: &[(&str, Storage)] = &[("file", Storage::File), ("memory", Storage::Memory)];
const DISCARDS: &[(&str, Discard)] = &[("old", Discard::Old), ("new", Discard::New)];
/// The longest a subject's prefix may be, so that the subject still fits behind it.
const MAX_PREFIX_TOKENS: usize = 4;
const MAX_PREFIX_BYTES: usize = 80;

impl Stream {
    pub(super) fn read(table: &mut Table<'_, '_>) -> Stream {
        let window = TENTH..=30 * DAY;
        Stream {
            subjects: table.need(
                "subjects",
                "subjects = [\"orders.>\"]",
                value::filters(Empty::Refused),
            ),
            retention: table.get("retention", value::choice(RETENTIONS)),
            storage: table.get("storage", value::choice(STORAGES)),
            replicas: table.get("replicas", value::count(1..=5)),
            max_age: table.get("max-age", value::time(TENTH..=100 * YEAR)),
            max_bytes: table.get("max-bytes", value::size(1..=MOST_BYTES)),
            max_messages: table.get("max-messages", value::count(1..=u64::MAX >> 1)),
            max_message_size: table.get("max-message-size", value::size(1..=2 * GIB - 1)),
            discard: table.get("discard", value::choice(DISCARDS)),
            duplicate_window: table.get("duplicate-window", value::time(window)),
        }
    }
}

impl DeadLetters {
    pub(super) fn read(table: &mut Table<'_, '_>) -> DeadLetters {
        let ages = DAY / 1440..=100 * YEAR;
        DeadLetters {
            stream: table.get("stream", value::name("the name of a stream")),
            prefix: table.get("prefix", prefix),
            max_age: table.get("max-age", value::time(ages)),
            max_bytes: table.get("max-bytes", value::size(KIB..=MOST_BYTES)),
            replicas: table.get("replicas", value::count(1..=5)),
        }
    }
}

/// Reads the beginning of subjects: a subject itself, and not a long one.
fn prefix(node: &Node<'_>, report: &mut Report) -> Option<String> {
    let text = node.text("the beginning of a subject", "write it in quotes: \"dead\"", report)?;
    if let Err(error) = subject::check(text) {
        report.add(value::bad_subject(node, text, &error));
        return None;
    }
    if text.len() > MAX_PREFIX_BYTES || text.split('.').count() > MAX_PREFIX_TOKENS {
        let message = format!("`{}` is {}, too long for a prefix", node.path, quoted(text));
        let help = format!(
            "at most {MAX_PREFIX_TOKENS} tokens and {MAX_PREFIX_BYTES} bytes: the plugin and the event's subject follow"
        );
        report.add(node.problem("out-of-range", message).help(help));
        return None;
    }
    Some(text.to_owned())
}
