//! Compares the traces of a server with those of the model.

use std::{fmt, sync::Arc, time::Duration};

use futures::StreamExt as _;

use super::{
    known::{self, Known},
    random, rules,
    run::{self, MOST_LATE, Trace},
    script::{Line, Script},
    world::{Modelled, Real},
};
use crate::harness::Server;

/// How many scripts run at once: they mostly wait.
const AT_ONCE: usize = 12;
/// A busy machine may be late by half a tick; a real difference comes back.
const TRIES: usize = 3;
/// With those in which we were late ourselves, which say nothing.
const MOST_TRIES: usize = 30;

/// Which scripts are run.
#[derive(Debug, Clone, Copy)]
pub struct Suite {
    /// How many scripts from seeds.
    pub seeds: u64,
    pub first_seed: u64,
}

/// What came of one server.
pub struct Comparison {
    pub version: String,
    pub scripts: usize,
    pub steps: usize,
    pub repeated: usize,
    pub skipped: usize,
    pub known: Vec<&'static Known>,
    pub differences: Vec<Difference>,
}

/// A script that ends otherwise on the server.
pub struct Difference {
    pub script: String,
    pub model: Vec<String>,
    pub server: Vec<String>,
}

/// What one script showed.
struct Outcome {
    script: Arc<Script>,
    tries: usize,
    difference: Option<Difference>,
}

/// Runs all scripts that the server of this binary can do.
pub async fn compare(binary: &std::path::Path, suite: Suite) -> Comparison {
    let server = Server::with_binary(binary, "jetstream {}").await;
    let version = server.client().await.server_info().version;
    let number = parse(&version);
    let all: Vec<_> = rules::scripts().into_iter().chain(seeded(suite).await).collect();
    let (able, unable): (Vec<_>, Vec<_>) = all.into_iter().partition(|it| it.since <= number);
    let url = server.url();
    let outcomes = futures::stream::iter(able.into_iter().enumerate())
        .map(|(n, script)| shared(url.clone(), n, Arc::new(script)))
        .buffer_unordered(AT_ONCE)
        .collect::<Vec<_>>();
    let mut outcomes = outcomes.await;
    drop(server);
    for script in rules::violent() {
        outcomes.push(alone(binary, Arc::new(script)).await);
    }
    summary(version, number, unable.len(), outcomes)
}

fn summary(
    version: String,
    number: (u32, u32),
    skipped: usize,
    outcomes: Vec<Outcome>,
) -> Comparison {
    let mut known = Vec::new();
    let mut differences = Vec::new();
    for outcome in &outcomes {
        if let Some(one) = known::of(&outcome.script.name, number) {
            known.push(one);
        }
    }
    let steps = |script: &Script| script.groups.iter().map(Vec::len).sum::<usize>();
    let (scripts, repeated) = (outcomes.len(), outcomes.iter().filter(|it| it.tries > 1).count());
    let n_steps = outcomes.iter().map(|it| steps(&it.script)).sum();
    for outcome in outcomes {
        match (known::of(&outcome.script.name, number), outcome.difference) {
            (None, Some(difference)) => differences.push(difference),
            (Some(known), None) => differences.push(Difference {
                script: outcome.script.name.clone(),
                model: vec![format!("(known: {})", known.what)],
                server: vec!["(no difference: take it off the table)".to_owned()],
            }),
            (Some(_), Some(_)) | (None, None) => {}
        }
    }
    Comparison { version, scripts, steps: n_steps, repeated, skipped, known, differences }
}

/// On a server that other scripts use, too.
async fn shared(url: String, n: usize, script: Arc<Script>) -> Outcome {
    let real = Real::connect(&url).await;
    let run = async |script: &Script, tries: usize| {
        run::run(&real, &format!("S{n}x{tries}"), script, |_| Duration::ZERO).await
    };
    until_sure(script, run).await
}

/// Runs a script until it ends as on the model, or never will.
async fn until_sure(script: Arc<Script>, run: impl AsyncFn(&Script, usize) -> Trace) -> Outcome {
    let (mut tries, mut in_time) = (0, 0);
    loop {
        tries += 1;
        let trace = run(&script, tries).await;
        in_time += usize::from(!trace.is_late);
        let difference = difference(&script, trace.lines).await;
        if difference.is_none() || in_time == TRIES || tries == MOST_TRIES {
            return Outcome { script, tries, difference };
        }
    }
}

async fn alone(binary: &std::path::Path, script: Arc<Script>) -> Outcome {
    let run = async |script: &Script, _: usize| {
        let server = Server::with_binary(binary, "jetstream {}").await;
        run::run(&Real::own(server).await, "S", script, |_| Duration::ZERO).await
    };
    until_sure(script, run).await
}

async fn difference(script: &Arc<Script>, server: Vec<Line>) -> Option<Difference> {
    let model = modelled(Arc::clone(script), |_| Duration::ZERO).await;
    let text = |lines: &[Line]| lines.iter().map(ToString::to_string).collect::<Vec<_>>();
    let (model, server) = (text(&model), text(&server));
    (model != server).then(|| Difference { script: script.name.clone(), model, server })
}

/// Scripts from seeds, without those in which two things happen at once.
async fn seeded(suite: Suite) -> Vec<Script> {
    let mut scripts = Vec::new();
    let mut seed = suite.first_seed;
    while (scripts.len() as u64) < suite.seeds {
        let script = Arc::new(random::script(seed));
        seed += 1;
        if is_sure(&script).await {
            scripts.push((*script).clone());
        }
    }
    scripts
}

/// Whether it does not matter that actions are a little late, as on a machine
/// that has other things to do.
pub async fn is_sure(script: &Arc<Script>) -> bool {
    let on_time = modelled(Arc::clone(script), |_| Duration::ZERO).await;
    let late: [run::Delay; 2] =
        [|tick| MOST_LATE * (tick % 2), |tick| MOST_LATE * ((tick + 1) % 2)];
    for delay in late {
        if modelled(Arc::clone(script), delay).await != on_time {
            return false;
        }
    }
    true
}

/// The model's trace, in a time of its own that passes at once.
async fn modelled(script: Arc<Script>, delay: run::Delay) -> Vec<Line> {
    let run = move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            // Timers tick in whole milliseconds since the runtime began, which is
            // some nanoseconds ago. From here on, it is whole milliseconds ago.
            tokio::time::sleep(Duration::from_millis(1)).await;
            run::run(&Modelled::new(), "S", &script, delay).await.lines
        })
    };
    tokio::task::spawn_blocking(run).await.unwrap()
}

fn parse(version: &str) -> (u32, u32) {
    let mut parts = version.split(['.', '-']).map_while(|part| part.parse().ok());
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Comparison { version, scripts, steps, differences, .. } = self;
        let n = differences.len();
        write!(f, "conformance: server={version} scripts={scripts} steps={steps} differences={n}")
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "--- {}\n    {:<44} server", self.script, "model")?;
        for row in 0..self.model.len().max(self.server.len()) {
            let cell = |lines: &[String]| lines.get(row).cloned().unwrap_or_default();
            let (model, server) = (cell(&self.model), cell(&self.server));
            let mark = if model == server { ' ' } else { '!' };
            writeln!(f, "  {mark} {model:<44} {server}")?;
        }
        Ok(())
    }
}
