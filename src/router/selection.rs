use chrono::{DateTime, TimeDelta, Utc};

use super::paging::Paging;
use super::q::{Term, Test, Value};
use super::query::Query;
use super::refusal::Refusal;
use super::sort::Key;
use super::{Api, q, sort};
use crate::delivery::Delivery;
use crate::id::DeliveryId;
use crate::store::{Filter, Page, StateKind};

/// Deliveries that are looked at for what the store cannot answer.
const MOST: usize = 5000;

/// Which deliveries a client wants to see, in which order.
#[derive(Debug)]
pub(super) struct Selection {
    /// What the store answers.
    filter: Filter,
    /// What it does not.
    rest: Vec<Term>,
    sort: Vec<Key>,
}

impl Selection {
    /// Reads `q` and `sort`, and selects among these.
    pub(super) fn of(among: Filter, query: &Query) -> Result<Self, Refusal> {
        let terms = q::parse(query.get("q").unwrap_or_default()).map_err(Refusal::bad_request)?;
        let sort = sort::parse(query.get("sort").unwrap_or_default());
        let selection = Self { filter: among, rest: Vec::new(), sort };
        Ok(terms.into_iter().fold(selection, Self::and))
    }

    /// Narrows it: by the store if it can.
    #[must_use]
    pub(super) fn and(mut self, term: Term) -> Self {
        if !self.filter_by(&term) {
            self.rest.push(term);
        }
        self
    }

    /// Whether the term has become a part of the filter, which has room for one of each kind.
    fn filter_by(&mut self, Term { key, test }: &Term) -> bool {
        match (&**key, test) {
            ("extraattrs.eventtype" | "eventtype", Test::Is(name)) => {
                put(&mut self.filter.event_type, name.parse().ok())
            }
            ("status", Test::Is(name)) => put(&mut self.filter.state, state(name)),
            ("id", Test::Is(id)) => put(&mut self.filter.id, id.parse().ok().map(DeliveryId)),
            ("starttime" | "creationtime", Test::Between(min, max)) => {
                let (Some(min), Some(max)) = (time(min.as_ref()), time(max.as_ref())) else { return false };
                let free = self.filter.since.is_none() && self.filter.until.is_none();
                if free {
                    self.filter.since = min;
                    // Clients see whole seconds, and the last one is included.
                    self.filter.until = max.and_then(|max| max.checked_add_signed(TimeDelta::seconds(1)));
                }
                free
            }
            _ => false,
        }
    }

    /// Whether the oldest come first, if it is the order of time: that of the numbers too.
    fn oldest_first(&self) -> Option<bool> {
        match self.sort.first() {
            None => Some(false),
            Some(Key { key, descending }) => {
                ["id", "starttime", "creationtime"].contains(&&**key).then_some(!descending)
            }
        }
    }
}

impl Api {
    /// A page of the selected deliveries, and how many there are in all.
    pub(super) async fn select(&self, which: &Selection, paging: Paging) -> Result<(Vec<Delivery>, u64), Refusal> {
        match which.oldest_first().filter(|_| which.rest.is_empty()) {
            Some(oldest_first) => self.select_in_store(&which.filter, oldest_first, paging).await,
            None => self.select_here(which, paging).await,
        }
    }

    async fn select_in_store(
        &self,
        filter: &Filter,
        oldest_first: bool,
        paging: Paging,
    ) -> Result<(Vec<Delivery>, u64), Refusal> {
        let total = self.hooks.count_deliveries(filter).await?;
        // What lies behind the end need not be skipped.
        if paging.skip() as u64 >= total {
            return Ok((Vec::new(), total));
        }
        let page = Page::first(paging.limit()).skip(paging.skip()).oldest_first(oldest_first);
        Ok((self.hooks.deliveries(filter, page).await?, total))
    }

    async fn select_here(&self, which: &Selection, paging: Paging) -> Result<(Vec<Delivery>, u64), Refusal> {
        let mut found = self.hooks.deliveries(&which.filter, Page::first(MOST)).await?;
        found.retain(|delivery| which.rest.iter().all(|term| term.selects(delivery)));
        sort::apply(&mut found, &which.sort);
        let total = found.len() as u64;
        Ok((paging.cut(found), total))
    }
}

/// Puts a value where none is yet.
fn put<T>(place: &mut Option<T>, value: Option<T>) -> bool {
    let free = place.is_none() && value.is_some();
    if free {
        *place = value;
    }
    free
}

/// The one state that a final status stands for. `Running` stands for three.
fn state(status: &str) -> Option<StateKind> {
    match status {
        "Success" => Some(StateKind::Delivered),
        "Error" => Some(StateKind::Dead),
        "Stopped" => Some(StateKind::Cancelled),
        _ => None,
    }
}

/// The bound of a range that is open or a time.
#[allow(clippy::option_option)] // not a bound, open, a time
fn time(bound: Option<&Value>) -> Option<Option<DateTime<Utc>>> {
    match bound {
        None => Some(None),
        Some(Value::Time(time)) => Some(Some(*time)),
        Some(Value::Int(_) | Value::Text(_)) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::EventType;
    use crate::id::PolicyId;

    fn selection(query: &str) -> Selection {
        Selection::of(Filter::policy(PolicyId(1)), &Query::parse(Some(query))).unwrap()
    }

    #[test]
    fn the_store_answers_what_it_can() {
        let asked = selection(
            "q=extra_attrs.event_type=PUSH_ARTIFACT,status=Error,id=7,\
             start_time=[2026-11-26T00:00:00~2026-11-27 00:00:00]&sort=-start_time,-id",
        );
        let mut filter = Filter::policy(PolicyId(1)).state(StateKind::Dead);
        filter.event_type = Some(EventType::PushArtifact);
        filter.id = Some(DeliveryId(7));
        filter.since = Some("2026-11-26T00:00:00Z".parse().unwrap());
        filter.until = Some("2026-11-27T00:00:01Z".parse().unwrap());
        assert_eq!((asked.filter, asked.rest.len()), (filter, 0));
        assert_eq!(selection("sort=start_time").oldest_first(), Some(true));
        assert_eq!(selection("").oldest_first(), Some(false));
    }

    #[test]
    fn the_rest_is_looked_at_here() {
        for q in ["status=Running", "status={Error Success}", "event_type=~push", "id=x", "status=Error,status=Success"]
        {
            assert_eq!(selection(&format!("q={q}")).rest.len(), 1, "{q}");
        }
        assert_eq!(selection("sort=status").oldest_first(), None);
    }
}
