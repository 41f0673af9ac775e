//! Runs a script in a world and writes its trace.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use pelton::{
    broker::{Delivery as _, Keep, Message, PublishError},
    event::Disposition,
};
use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, sleep_until},
};

use super::{
    script::{Answer, Line, Script, Step, TICK, quarters},
    world::{Client, World},
};

type SourceOf<W> = <<W as World>::Broker as pelton::broker::Broker>::Source;
type DeliveryOf<W> = <SourceOf<W> as pelton::broker::Source>::Delivery;

/// So late actions may be: `is_sure` has shown that it changes nothing.
pub const MOST_LATE: Duration = Duration::from_millis(40);

/// What came and is not answered, by source, sequence and attempt; and the trace.
struct Record<D> {
    began: Instant,
    held: BTreeMap<(&'static str, u64, u32), D>,
    lines: Vec<Line>,
}

struct Runner<'a, W: World> {
    world: &'a W,
    stream: &'a str,
    record: Arc<Mutex<Record<DeliveryOf<W>>>>,
    sources: BTreeMap<&'static str, Reader>,
    n_filled: u32,
    tick: u32,
    delay: Delay,
    is_late: bool,
}

/// What a run showed.
pub struct Trace {
    /// Sorted within a tick.
    pub lines: Vec<Line>,
    /// Whether actions were so late that the trace says nothing.
    pub is_late: bool,
}

/// A task that takes whatever a source brings.
struct Reader {
    allow: mpsc::Sender<usize>,
    task: JoinHandle<()>,
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// How late a group of actions is.
pub type Delay = fn(u32) -> Duration;

/// The trace of `script` with the stream `stream` in `world`.
pub async fn run<W: World>(world: &W, stream: &str, script: &Script, delay: Delay) -> Trace {
    let record = Record { began: Instant::now(), held: BTreeMap::new(), lines: Vec::new() };
    let mut runner = Runner {
        world,
        stream,
        record: Arc::new(Mutex::new(record)),
        sources: BTreeMap::new(),
        n_filled: 0,
        tick: 0,
        delay,
        is_late: false,
    };
    for group in &script.groups {
        runner.until_tick().await;
        for step in group {
            runner.step(step).await;
        }
        runner.tick += 1;
    }
    runner.until_tick().await;
    runner.sources.clear();
    world.delete_stream(stream).await;
    let mut lines = std::mem::take(&mut runner.record.lock().unwrap().lines);
    lines.sort();
    Trace { lines, is_late: runner.is_late }
}

impl<W: World> Runner<'_, W> {
    async fn until_tick(&mut self) {
        let began = self.record.lock().unwrap().began;
        let due = began + TICK * self.tick + (self.delay)(self.tick);
        sleep_until(due).await;
        self.is_late |= due.elapsed() > MOST_LATE;
    }

    fn note(&self, text: String) {
        let mut record = self.record.lock().unwrap();
        let (tick, n) = (self.tick, record.lines.len());
        record.lines.push(Line { tick, order: (0, String::new(), n), text });
    }

    async fn step(&mut self, step: &Step) {
        let (world, stream) = (self.world, self.stream);
        match step {
            Step::Publish { .. } | Step::Backlog(_) | Step::Stored | Step::DeleteMessage(_) => {}
            silent => self.note(format!("> {silent:?}")),
        }
        match step {
            Step::Stream(terms) => {
                let made = world.make_stream(stream, &terms.settings(stream)).await;
                made.unwrap();
            }
            Step::DeleteStream => world.delete_stream(stream).await,
            Step::Purge => world.purge(stream).await,
            Step::DeleteMessage(sequence) => {
                let deleted = world.delete_message(stream, *sequence).await;
                self.note(format!("delete {sequence}: {deleted}"));
            }
            Step::Open(name, terms) => {
                self.sources.remove(name);
                let (consumer, client) = client(name);
                match world.subscribe(terms.subscription(stream, consumer), client).await {
                    Ok(source) => {
                        self.sources.insert(name, self.read(name, source));
                    }
                    Err(_) => self.note(format!("{name}: refused")),
                }
            }
            Step::Close(name) => drop(self.sources.remove(name)),
            Step::DeleteConsumer(name) => world.delete_consumer(stream, &durable(name)).await,
            Step::Pause(name, pause) => {
                world.pause(stream, &durable(name), quarters(*pause)).await;
            }
            Step::Allow(name, n) => self.sources[name].allow.send(*n).await.unwrap(),
            Step::Publish { id, token, bytes } => {
                let published = self.publish(id, token, *bytes).await;
                self.note(format!("publish {id}: {published}"));
            }
            Step::Fill(n) => self.fill(*n).await,
            Step::Answer(name, which, answer) => self.answer(name, *which, *answer).await,
            Step::AckUnseen(name, sequence) => {
                world.ack_unseen(stream, &durable(name), *sequence).await;
            }
            Step::Backlog(name) => {
                let backlog = world.backlog(stream, &durable(name)).await;
                self.note(format!("{name}: backlog {backlog:?}"));
            }
            Step::Stored => {
                let stored = world.stored(stream).await;
                self.note(format!("stored {stored}"));
            }
            Step::Restart => self.restart().await,
        }
    }

    async fn fill(&mut self, n: u32) {
        for _ in 0..n {
            self.n_filled += 1;
            let id = format!("fill-{}", self.n_filled);
            let published = self.publish(&id, "a", 10).await;
            if published != "Stored" {
                self.note(format!("fill: {published}"));
            }
        }
    }

    async fn publish(&self, id: &str, token: &str, bytes: usize) -> String {
        let message = Message {
            subject: format!("{}.{token}", self.stream),
            headers: Vec::new(),
            payload: Bytes::from(vec![b'x'; bytes]),
            keep: Keep::Stored { id: id.to_owned(), stream: None },
        };
        match self.world.publish(&message).await {
            Ok(published) => format!("{published:?}"),
            Err(PublishError::Unknown { .. }) => "Unknown".to_owned(),
            Err(PublishError::Unavailable { .. }) => "Unavailable".to_owned(),
            Err(PublishError::Refused { .. }) => "Refused".to_owned(),
        }
    }

    async fn answer(&self, name: &'static str, which: (u64, u32), answer: Answer) {
        let key = (name, which.0, which.1);
        let delivery = self.record.lock().unwrap().held.remove(&key);
        let what = format!("{name}: {answer:?} {}#{}", which.0, which.1);
        let Some(delivery) = delivery else { return self.note(format!("{what}: never came")) };
        let answered = match answer {
            Answer::Progress => {
                let told = delivery.progress().await;
                self.record.lock().unwrap().held.insert(key, delivery);
                told
            }
            Answer::Ack => delivery.settle(Disposition::Ack).await,
            Answer::Retry(delay) => delivery.settle(Disposition::Retry(quarters(delay))).await,
            Answer::Reject => delivery.settle(Disposition::Reject).await,
        };
        if answered.is_err() {
            self.note(format!("{what}: no"));
        }
    }

    /// The clock of the trace stands still meanwhile.
    async fn restart(&mut self) {
        let before = Instant::now();
        self.world.restart().await;
        self.record.lock().unwrap().began += before.elapsed();
    }

    fn read(&self, name: &'static str, source: SourceOf<W>) -> Reader {
        let (allow, allowed) = mpsc::channel(100);
        let task = tokio::spawn(read(name, source, allowed, Arc::clone(&self.record)));
        Reader { allow, task }
    }
}

async fn read<S: pelton::broker::Source>(
    name: &'static str,
    mut source: S,
    mut allowed: mpsc::Receiver<usize>,
    record: Arc<Mutex<Record<S::Delivery>>>,
) {
    loop {
        let delivery = tokio::select! {
            biased;
            Some(n) = allowed.recv() => {
                source.allow(n);
                continue;
            }
            delivery = source.next() => delivery,
        };
        let Some(delivery) = delivery else { return };
        let event = delivery.event().unwrap();
        let (sequence, attempt) = (event.position.unwrap().sequence, event.attempt);
        let mut record = record.lock().unwrap();
        let passed = record.began.elapsed().as_nanos() / TICK.as_nanos();
        let (tick, n) = (u32::try_from(passed).unwrap(), record.lines.len());
        let text = format!("{name}: came {sequence}#{attempt}");
        record.lines.push(Line { tick, order: (1, name.to_owned(), n), text });
        record.held.insert((name, sequence, attempt), delivery);
    }
}

fn durable(name: &str) -> String {
    pelton::broker::durable("h", client(name).0)
}

/// The consumer that the source `name` reads, and through which client.
fn client(name: &str) -> (&str, Client) {
    name.strip_suffix('\'').map_or((name, Client::First), |consumer| (consumer, Client::Second))
}
