//! From runs to figures: medians, ratios, tables, and the line at the end.

use std::{collections::BTreeMap, fmt, time::Duration};

use crate::{call::Calls, contender::Contender, latency::Latencies, noisy::Noisy};

/// One run of a contender.
#[derive(Debug, Clone, Copy)]
pub struct Run {
    /// Events per second.
    pub rate: f64,
    /// Processor time of the contender's process for an event, in microseconds.
    /// What else the machine does changes it less than the rate.
    pub processor: f64,
}

/// All runs.
#[derive(Debug, Default)]
pub struct Rounds(BTreeMap<Contender, Vec<Run>>);

/// The last line: `bench: jetstream reused=0.97 fresh=0.88 …`.
#[derive(Debug, Default)]
pub struct Summary(Vec<String>);

/// Smallest, middle and largest of some numbers.
#[derive(Debug, Clone, Copy)]
struct Spread {
    min: f64,
    median: f64,
    max: f64,
}

impl Rounds {
    /// Adds a run.
    pub fn add(&mut self, contender: Contender, run: Run) {
        self.0.entry(contender).or_default().push(run);
    }

    fn rates(&self, contender: Contender) -> impl Iterator<Item = f64> {
        self.0.get(&contender).into_iter().flatten().map(|run| run.rate)
    }

    fn processor(&self, contender: Contender) -> Spread {
        Spread::of(self.0.get(&contender).into_iter().flatten().map(|run| run.processor))
    }

    /// The rate as a part of the native one of the same round.
    fn ratio(&self, contender: Contender) -> Spread {
        let pairs = self.rates(contender).zip(self.rates(Contender::Native));
        Spread::of(pairs.map(|(rate, native)| rate / native))
    }
}

impl Spread {
    fn of(numbers: impl IntoIterator<Item = f64>) -> Spread {
        let mut numbers: Vec<_> = numbers.into_iter().collect();
        numbers.sort_unstable_by(f64::total_cmp);
        let at = |index: usize| numbers.get(index).copied().unwrap_or(f64::NAN);
        let (half, last) = (numbers.len() / 2, numbers.len().saturating_sub(1));
        let median =
            if numbers.len() % 2 == 1 { at(half) } else { (at(half - 1) + at(half)) / 2.0 };
        Spread { min: at(0), median, max: at(last) }
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Spread { min, median, max } = self;
        let places = f.precision().unwrap_or(2);
        write!(f, "{median:.places$} ({min:.places$} to {max:.places$})")
    }
}

impl Summary {
    /// Prints the table of a measurement of rates.
    pub fn rates(&mut self, name: &str, rounds: &Rounds) {
        println!(
            "  {:<14} {:>24} {:>21} {:>24}",
            "", "events/s (range)", "of native", "processor µs/event"
        );
        for contender in Contender::ALL {
            let rate = format!("{:.0}", Spread::of(rounds.rates(contender)));
            let ratio = rounds.ratio(contender).to_string();
            let processor = format!("{:.1}", rounds.processor(contender));
            println!("  {contender:<14} {rate:>24} {ratio:>21} {processor:>24}");
        }
        let [reused, fresh] = [Contender::Reused, Contender::Fresh].map(|c| rounds.ratio(c).median);
        self.0.push(format!("{name} reused={reused:.2} fresh={fresh:.2}"));
    }

    /// Prints the table of calls.
    pub fn calls(&mut self, calls: &Calls) {
        let rows = [
            ("reused", &calls.reused, &calls.bare_reused),
            ("fresh", &calls.fresh, &calls.bare_fresh),
        ];
        println!("  {:<14} {:>24} {:>24}", "", "pelton (range)", "wasmtime alone (range)");
        let mut text = "call".to_owned();
        for (name, ours, bare) in rows {
            let [ours, bare] = [ours, bare].map(|series| Spread::of(series.iter().copied()));
            println!("  {name:<14} {:>24} {:>24}", ours.to_string(), bare.to_string());
            text += &format!(" {name}={:.2}µs/{:.2}µs", ours.median, bare.median);
        }
        self.0.push(text);
    }

    /// Prints the table of latencies.
    pub fn latencies(&mut self, latencies: &Latencies) {
        println!("  {:<14} {:>8} {:>8} {:>8}", "", "p50", "p99", "max");
        for (contender, sorted) in latencies {
            let [p50, p99, max] = [0.5, 0.99, 1.0].map(|part| quantile(sorted, part).as_micros());
            println!("  {contender:<14} {p50:>8} {p99:>8} {max:>8}");
        }
        let both = |part| {
            let [reused, fresh] = [Contender::Reused, Contender::Fresh].map(|contender| {
                let sorted = latencies.get(&contender).map(Vec::as_slice).unwrap_or_default();
                quantile(sorted, part).as_micros()
            });
            format!("{reused}µs/{fresh}µs")
        };
        self.0.push(format!("p50={} p99={}", both(0.5), both(0.99)));
    }

    /// Prints the table of a plugin alone and beside noisy neighbours.
    pub fn noisy(&mut self, noisy: &Noisy) {
        println!("  {:<14} {:>8} {:>8} {:>8}", "", "p50", "p99", "max");
        for (name, sorted) in [("alone", &noisy.alone), ("beside them", &noisy.beside)] {
            let [p50, p99, max] = [0.5, 0.99, 1.0].map(|part| quantile(sorted, part).as_micros());
            println!("  {name:<14} {p50:>8} {p99:>8} {max:>8}");
        }
        let [alone, beside] = [&noisy.alone, &noisy.beside].map(|sorted| quantile(sorted, 0.99));
        let ratio = beside.as_secs_f64() / alone.as_secs_f64();
        let [alone, beside] = [alone, beside].map(|p99| p99.as_micros());
        self.0.push(format!("noisy-neighbour p99={alone}µs/{beside}µs ratio={ratio:.2}"));
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "bench: {}", self.0.join(" "))
    }
}

/// The smallest of `sorted` that this part of them does not exceed.
fn quantile(sorted: &[Duration], part: f64) -> Duration {
    let rank = (sorted.len() as f64 * part).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}
