//! A page of the list: so many dead letters from one end or from a number on.

use std::collections::VecDeque;

use super::{DeadLetters, Entry, Filter, now_ms};
use crate::broker::{SetupError, nats::Scope};

/// How many messages the first look back from the newest takes in, for each
/// entry that is wanted; each further look takes in twice as many.
const LOOK_BACK: u64 = 4;

/// Which part of the list is wanted.
#[derive(Debug, Clone, Copy)]
pub struct Paging {
    /// The order in which they are returned.
    pub newest_first: bool,
    /// Only those with lower numbers.
    pub before: Option<u64>,
    /// Only those with higher numbers.
    pub after: Option<u64>,
    /// The most entries.
    pub limit: usize,
}

/// A part of the list.
#[derive(Debug, Clone)]
pub struct Page {
    /// In the order that was wanted; without payloads.
    pub entries: Vec<Entry>,
    /// How many dead letters the filter takes in all.
    pub total: u64,
    /// Whether there are more in this direction.
    pub has_more: bool,
}

impl Paging {
    fn first(&self) -> u64 {
        self.after.map_or(1, |after| after.saturating_add(1))
    }

    fn last(&self, newest: u64) -> u64 {
        self.before.map_or(newest, |before| before.saturating_sub(1).min(newest))
    }
}

impl DeadLetters {
    /// The part of the list that `paging` wants of what `filter` takes.
    ///
    /// # Errors
    /// If the server does not hand it out.
    pub async fn page(&self, filter: &Filter, paging: Paging) -> Result<Page, SetupError> {
        let Some(state) = self.state().await?.filter(|state| state.messages > 0) else {
            return Ok(Page { entries: Vec::new(), total: 0, has_more: false });
        };
        // One more than wanted tells whether there are more.
        let wider = Paging { limit: paging.limit.saturating_add(1), ..paging };
        let (mut entries, total) = if filter.is_by_subject() {
            let total = self.broker.count_stored(&self.scope(filter, 1, u64::MAX)).await?;
            let (first, last) = (paging.first().max(state.first), paging.last(state.last));
            let entries = match paging.newest_first {
                true => self.newest(filter, (first, last), wider.limit).await?,
                false => self.oldest(filter, (first, last), wider.limit).await?,
            };
            (entries, total)
        } else {
            self.counted(filter, wider, state.last).await?
        };
        let has_more = entries.len() > paging.limit;
        entries.truncate(paging.limit);
        Ok(Page { entries, total, has_more })
    }

    async fn oldest(
        &self,
        filter: &Filter,
        (first, last): (u64, u64),
        limit: usize,
    ) -> Result<Vec<Entry>, SetupError> {
        let mut reading = self.broker.read(self.scope(filter, first, last));
        let mut entries = Vec::new();
        while entries.len() < limit
            && let Some(stored) = reading.next().await?
        {
            entries.push(Entry::new(stored));
        }
        Ok(entries)
    }

    /// Streams are read forwards: the newest are found by looking back further
    /// and further.
    async fn newest(
        &self,
        filter: &Filter,
        (first, mut last): (u64, u64),
        limit: usize,
    ) -> Result<Vec<Entry>, SetupError> {
        let mut entries = Vec::new();
        let mut look = (limit as u64).saturating_mul(LOOK_BACK);
        while entries.len() < limit && first <= last {
            let from = last.saturating_sub(look.saturating_sub(1)).max(first);
            let found = self.last_of(self.scope(filter, from, last), limit - entries.len());
            entries.extend(found.await?.into_iter().rev());
            let Some(before) = from.checked_sub(1) else { break };
            last = before;
            look = look.saturating_mul(2);
        }
        Ok(entries)
    }

    /// The last `limit` messages of `scope`, oldest first.
    async fn last_of(&self, scope: Scope, limit: usize) -> Result<VecDeque<Entry>, SetupError> {
        let mut reading = self.broker.read(scope);
        let mut entries = VecDeque::new();
        while let Some(stored) = reading.next().await? {
            if entries.len() == limit {
                entries.pop_front();
            }
            entries.push_back(Entry::new(stored));
        }
        Ok(entries)
    }

    /// The page and the total of a filter for which all have to be looked at.
    async fn counted(
        &self,
        filter: &Filter,
        paging: Paging,
        newest: u64,
    ) -> Result<(Vec<Entry>, u64), SetupError> {
        let (now_ms, limit) = (now_ms(), paging.limit);
        let page = paging.first()..=paging.last(newest);
        let mut reading = self.broker.read(self.scope(filter, 1, newest));
        let (mut entries, mut total) = (VecDeque::new(), 0);
        while let Some(stored) = reading.next().await? {
            let entry = Entry::new(stored);
            if !filter.takes(&entry, now_ms) {
                continue;
            }
            total += 1;
            if !page.contains(&entry.number) || (!paging.newest_first && entries.len() == limit) {
                continue;
            }
            if entries.len() == limit {
                entries.pop_front();
            }
            entries.push_back(entry);
        }
        let entries = Vec::from(entries);
        Ok((if paging.newest_first { entries.into_iter().rev().collect() } else { entries }, total))
    }
}
