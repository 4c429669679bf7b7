//! Resources by key, each with what it was before, for reads that answer with an older state.
//!
//! History is kept for each resource, not for the whole: a write costs the copy of one resource, and only when somebody
//! still remembers the older one.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use tokio::time::Instant;

use super::clock::Moment;

/// Which state a read sees.
#[derive(Debug, Clone, Copy)]
pub enum AsOf {
    Now,
    Then(Instant),
}

/// All resources of one kind, in the order of their keys.
#[derive(Debug)]
pub struct Table<T> {
    rows: BTreeMap<String, Row<T>>,
    /// What changed when, oldest first: what may be forgotten is found here, without a walk over all rows.
    changes: VecDeque<(Instant, String)>,
    present: usize,
}

#[derive(Debug)]
struct Row<T> {
    now: Option<Arc<T>>,
    /// What it was until an instant, oldest first.
    before: VecDeque<(Instant, Option<Arc<T>>)>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Table { rows: BTreeMap::new(), changes: VecDeque::new(), present: 0 }
    }
}

impl<T> Row<T> {
    fn at(&self, as_of: AsOf) -> Option<&Arc<T>> {
        let AsOf::Then(then) = as_of else { return self.now.as_ref() };
        let older = self.before.iter().find(|(until, _)| *until > then);
        older.map_or(self.now.as_ref(), |(_, value)| value.as_ref())
    }
}

impl<T: Clone> Table<T> {
    /// How many there are now.
    pub fn len(&self) -> usize {
        self.present
    }

    /// What there is now under a key.
    pub fn get(&self, key: &str) -> Option<&Arc<T>> {
        self.at(key, AsOf::Now)
    }

    /// What a read sees under a key.
    pub fn at(&self, key: &str, as_of: AsOf) -> Option<&Arc<T>> {
        self.rows.get(key)?.at(as_of)
    }

    /// What a read sees, from the first key after `after` on.
    pub fn after<'a>(&'a self, after: &str, as_of: AsOf) -> impl Iterator<Item = (&'a str, &'a Arc<T>)> + use<'a, T> {
        let range = (Bound::Excluded(after.to_owned()), Bound::Unbounded);
        self.rows.range(range).filter_map(move |(key, row)| Some((key.as_str(), row.at(as_of)?)))
    }

    /// All there are now.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Arc<T>)> {
        self.rows.iter().filter_map(|(key, row)| Some((key.as_str(), row.now.as_ref()?)))
    }

    /// Puts a resource under a key, new or in place of another.
    pub fn put(&mut self, key: &str, value: T, moment: Moment) {
        self.set(key, Some(Arc::new(value)), moment);
    }

    /// Takes a resource away.
    pub fn remove(&mut self, key: &str, moment: Moment) -> Option<Arc<T>> {
        self.get(key)?;
        self.set(key, None, moment)
    }

    /// Alters a resource; `None` when there is none. Nothing is copied unless its older form is still remembered.
    pub fn change<R>(&mut self, key: &str, moment: Moment, alter: impl FnOnce(&mut T) -> R) -> Option<R> {
        let row = self.rows.get_mut(key)?;
        row.now.as_ref()?;
        if moment.keep.is_zero() {
            row.before.clear();
            return row.now.as_mut().map(|value| alter(Arc::make_mut(value)));
        }
        let mut value = row.now.as_deref()?.clone();
        let result = alter(&mut value);
        self.set(key, Some(Arc::new(value)), moment);
        Some(result)
    }

    fn set(&mut self, key: &str, value: Option<Arc<T>>, moment: Moment) -> Option<Arc<T>> {
        let row = match self.rows.get_mut(key) {
            Some(row) => row,
            None => self.rows.entry(key.to_owned()).or_insert(Row { now: None, before: VecDeque::new() }),
        };
        let gone = value.is_none();
        self.present = self.present + usize::from(!gone) - usize::from(row.now.is_some());
        let older = std::mem::replace(&mut row.now, value);
        if moment.keep.is_zero() {
            row.before.clear();
            if gone {
                self.rows.remove(key);
            }
        } else {
            row.before.push_back((moment.now, older.clone()));
            self.changes.push_back((moment.now, key.to_owned()));
            self.forget(moment);
        }
        older
    }

    /// Drops what no read can ask for any more.
    fn forget(&mut self, moment: Moment) {
        while self.changes.front().is_some_and(|(at, _)| *at + moment.keep < moment.now) {
            let Some((_, key)) = self.changes.pop_front() else { return };
            let Some(row) = self.rows.get_mut(&key) else { continue };
            while row.before.front().is_some_and(|(until, _)| *until + moment.keep < moment.now) {
                row.before.pop_front();
            }
            if row.now.is_none() && row.before.is_empty() {
                self.rows.remove(&key);
            }
        }
    }
}
