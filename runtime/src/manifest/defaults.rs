//! What holds when a manifest says nothing. The JSON Schema repeats these
//! values for readers, and a test compares the two.

use std::time::Duration;

use super::raw::{GIB, KIB, MIB};

/// `[host] name`
pub const HOST: &str = "pelton";
/// `[host] max-in-flight`
pub const MAX_IN_FLIGHT: u64 = 1_024;
/// `[host] max-in-flight-bytes`
pub const MAX_IN_FLIGHT_BYTES: u64 = 256 * MIB;
/// `[host] drain`
pub const DRAIN: Duration = Duration::from_secs(30);
/// `[host] stack`
pub const STACK: u64 = 512 * KIB;
/// `[nats] url`
pub const URL: &str = "nats://127.0.0.1:4222";
/// `[nats] request-timeout`
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// `[nats] ping-interval`
pub const PING_INTERVAL: Duration = Duration::from_secs(10);
/// `[dead-letters] max-age`
pub const DEAD_LETTERS_MAX_AGE: Duration = Duration::from_secs(30 * 86_400);
/// `[dead-letters] max-bytes`
pub const DEAD_LETTERS_MAX_BYTES: u64 = GIB;
/// `replicas` of all streams
pub const REPLICAS: u64 = 1;
/// `[streams.<name>] duplicate-window`
pub const DUPLICATE_WINDOW: Duration = Duration::from_secs(600);
/// `[plugins.<name>] concurrency`
pub const CONCURRENCY: u64 = 16;
/// `[plugins.<name>] timeout`
pub const TIMEOUT: Duration = Duration::from_secs(5);
/// `[plugins.<name>] memory`
pub const MEMORY: u64 = 64 * MIB;
/// `[plugins.<name>] ack-wait`, if twice the time-out is not more
pub const ACK_WAIT: Duration = Duration::from_secs(30);
/// `[plugins.<name>] ack-wait` of an ordered plugin: so much above its time-out
pub const ORDERED_ACK_WAIT_BEYOND_TIMEOUT: Duration = Duration::from_secs(2);
/// `[plugins.<name>] queue`
pub const QUEUE: u64 = 1_024;
/// `[plugins.<name>.retry] attempts`
pub const ATTEMPTS: u64 = 5;
/// `[plugins.<name>.retry] backoff.first`
pub const BACKOFF_FIRST: Duration = Duration::from_millis(500);
/// `[plugins.<name>.retry] backoff.max`
pub const BACKOFF_MAX: Duration = Duration::from_secs(60);
/// `[plugins.<name>.retry] budget`
pub const RETRY_BUDGET: f64 = 0.25;
/// `[plugins.<name>.breaker] window`
pub const BREAKER_WINDOW: u64 = 50;
/// `[plugins.<name>.breaker] minimum-calls`
pub const BREAKER_MINIMUM_CALLS: u64 = 20;
/// `[plugins.<name>.breaker] failure-ratio`
pub const BREAKER_FAILURE_RATIO: f64 = 0.5;
/// `[plugins.<name>.breaker] slow-ratio`
pub const BREAKER_SLOW_RATIO: f64 = 1.0;
/// `[plugins.<name>.breaker] open.first`
pub const BREAKER_OPEN_FIRST: Duration = Duration::from_secs(5);
/// `[plugins.<name>.breaker] open.max`
pub const BREAKER_OPEN_MAX: Duration = Duration::from_secs(60);
/// `[plugins.<name>.breaker] probes`
pub const BREAKER_PROBES: u64 = 3;
/// `[plugins.<name>.limits] outputs`
pub const OUTPUTS: u64 = 1_000;
/// `[plugins.<name>.limits] output-bytes`
pub const OUTPUT_BYTES: u64 = 8 * MIB;
/// `[plugins.<name>.limits] requests`
pub const REQUESTS: u64 = 100;
/// `[plugins.<name>.limits] log-lines`
pub const LOG_LINES: u64 = 100;
/// `[plugins.<name>.limits] log-bytes`
pub const LOG_BYTES: u64 = 64 * KIB;
