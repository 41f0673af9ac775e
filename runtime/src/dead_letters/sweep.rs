//! The same done with many dead letters: some at once, one outcome for each.

use futures::{StreamExt as _, stream};
use tokio_util::sync::CancellationToken;

use super::{Asked, Batch, DeadLetters, Entry, Errand, Refusal, Selection};
use crate::broker::SetupError;

/// How many are in hand at once: enough to hide the way to the server.
const AT_ONCE: usize = 64;

/// What is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// The events are run again.
    Replay(Errand),
    /// The events are published to this subject.
    SendTo(String),
    /// The letters are removed.
    Drop,
}

/// What became of one dead letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was asked to be run again.
    Asked(Asked),
    /// It was done.
    Done,
    /// There is none of this number.
    Missing,
    /// Nothing was done.
    Refused(Refusal),
}

/// What became of all.
#[derive(Debug, Default)]
pub struct Sweep {
    /// With how many it was done.
    pub done: u64,
    /// How many numbers are not there.
    pub missing: u64,
    /// With how many nothing was done.
    pub refused: u64,
    /// What ended it early.
    pub failure: Option<SetupError>,
    /// What the host has to do now.
    pub batch: Batch,
}

type Found = Result<Entry, u64>;

impl DeadLetters {
    /// Does `act` with every dead letter of `selection`, until `stop`; what is in
    /// hand then is finished. `tell` is called for each with its number.
    ///
    /// # Errors
    /// If the server does not say what there is. What ends it later is in the
    /// result.
    pub async fn sweep(
        &self,
        selection: &Selection,
        act: &Act,
        stop: &CancellationToken,
        mut tell: impl FnMut(u64, &Outcome),
    ) -> Result<Sweep, SetupError> {
        let Some(state) = self.state().await? else {
            return Ok(self.nothing(selection, tell));
        };
        if let (Selection::Filter(filter), Act::Drop) = (selection, act)
            && filter.is_by_subject()
        {
            let scope = self.scope(filter, 1, state.last);
            let below = state.last.saturating_add(1);
            let done = self.broker.purge_stored(&scope.stream, &scope.subject, below).await?;
            return Ok(Sweep { done, ..Sweep::default() });
        }
        let halt = stop.child_token();
        let selected = self.select(selection, *act == Act::Drop).await?;
        let entries = stream::try_unfold(selected, async |mut selected| {
            Ok::<_, SetupError>(selected.next().await?.map(|found| (found, selected)))
        });
        let entries = entries.take_until(halt.cancelled());
        let outcomes = entries.map(|found| self.act(found, act, state.created));
        let mut outcomes = std::pin::pin!(outcomes.buffer_unordered(AT_ONCE));
        let mut sweep = Sweep { batch: Batch::new(act, state.last), ..Sweep::default() };
        while let Some(outcome) = outcomes.next().await {
            match outcome {
                Ok((number, outcome)) => {
                    sweep.count(&outcome);
                    tell(number, &outcome);
                }
                Err(error) => {
                    halt.cancel();
                    sweep.failure.get_or_insert(error);
                }
            }
        }
        Ok(sweep)
    }

    fn nothing(&self, selection: &Selection, mut tell: impl FnMut(u64, &Outcome)) -> Sweep {
        let mut sweep = Sweep::default();
        if let Selection::Numbers(numbers) = selection {
            for number in numbers {
                sweep.count(&Outcome::Missing);
                tell(*number, &Outcome::Missing);
            }
        }
        sweep
    }

    async fn act(
        &self,
        found: Result<Found, SetupError>,
        act: &Act,
        created: i64,
    ) -> Result<(u64, Outcome), SetupError> {
        let entry = match found? {
            Ok(entry) => entry,
            Err(number) => return Ok((number, Outcome::Missing)),
        };
        let outcome = match act {
            Act::Replay(errand) => self.ask(&entry, errand, created).await?.map(Outcome::Asked),
            Act::SendTo(to) => self.send(&entry, to, created).await?.map(|()| Outcome::Done),
            Act::Drop => match self.remove(entry.number).await? {
                true => Ok(Outcome::Done),
                false => Ok(Outcome::Missing),
            },
        };
        Ok((entry.number, outcome.unwrap_or_else(Outcome::Refused)))
    }
}

impl Sweep {
    fn count(&mut self, outcome: &Outcome) {
        match outcome {
            Outcome::Asked(asked) => {
                self.done += 1;
                self.batch.asked(asked);
            }
            Outcome::Done => self.done += 1,
            Outcome::Missing => self.missing += 1,
            Outcome::Refused(_) => self.refused += 1,
        }
    }
}
