//! The kit for stores can fail: for each sentence of the contract, a store that breaks it and nothing else is caught, and the
//! sentence is named.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use harbor_webhook::delivery::breaker::News;
use harbor_webhook::delivery::{Attempt, CancelReason, Delivery, Outcome, Rate};
use harbor_webhook::policy::{Policy, PolicyDraft, TargetOptions};
use harbor_webhook::store::conformance::{Broken, Factory, checks};
use harbor_webhook::store::{
    Appended, Change, Changed, Claimed, ClaimedEvent, ClosedLane, DeliveryStore, Detail, FanOut, Fenced, Filter, Hold,
    Hour, LaneLimits, LaneState, Lease, MemoryStore, Next, Page, PolicyFilter, PolicySource, PolicyStore, Resolved,
    Retention, Settled, Settlement, StateKind, Status, Swept, Usage,
};
use harbor_webhook::{DeliveryId, Error, ErrorKind, Event, EventType, PolicyId, ProjectId, Result, TargetId};
use uuid::Uuid;

const LONG: Duration = Duration::from_secs(60 * 60);

/// What is wrong with a store.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Fault {
    AppendsTheFirstOnly,
    ForgetsEventIds,
    GivesNewestEvents,
    FansOutWithAnyLease,
    SettlesWithAnyLease,
    RepeatsTokens,
    DropsADelivery,
    KeepsTheEvent,
    LosesWhatIsUnreadable,
    HasEndlessLanes,
    IgnoresTheFlightLimit,
    GivesTheYoungest,
    StarvesLanes,
    HasEndlessLeases,
    ForgetsAttempts,
    ClaimsTwice,
    DeliversNothing,
    CountsReleases,
    LeavesLanesOpen,
    JudgesNothing,
    TakesBusyForLate,
    IgnoresTheRate,
    BeginsAtFullSpeed,
    LeavesDisabledDue,
    UnparksTheNew,
    KeepsGrudges,
    KeepsDisabledLanes,
    IgnoresThePage,
    OpensEveryLane,
    CannotRedeliver,
    CountsTheBodiless,
    CancelsOnlyWhatIsDue,
    ParksOnlyWhatIsDue,
    UnparksAnew,
    CancelsInsteadOfForgetting,
    RepeatsTheLastOfAPage,
    IgnoresTheSkip,
    IgnoresTheOrder,
    CountsEveryState,
    HidesAttempts,
    NeverSweeps,
    SweepsWhatWaits,
    CountsParkedAsWaiting,
    CountsOneProjectOnly,
    SendsWhatComesParked,
    HidesParked,
    CountsNoFailures,
    ForgetsHoursWithTheHistory,
    GivesTheOldestOfAPolicy,
    SleepsForEver,
    ReversesSubscribers,
    ResolvesInItsOwnOrder,
    DropsTheDescription,
    ForgetsTheOptions,
    ConfusesErrors,
    ForgetsTheCreation,
    RenumbersTargets,
    DeletesMoreThanThereIs,
    ListsOldestPoliciesFirst,
    IgnoresTheSwitch,
    ForgetsAtReopening,
}

use Fault::*;

/// The fault, a check that sees it, and how the sentence begins.
const FAULTS: [(Fault, &str, &str); 62] = [
    (AppendsTheFirstOnly, "an_event_is_appended_once", "Adds events to the outbox, all or none"),
    (ForgetsEventIds, "an_event_is_appended_once", "An event whose id is remembered"),
    (GivesNewestEvents, "events_come_oldest_first", "Leases up to max events"),
    (FansOutWithAnyLease, "a_lost_event_is_given_again", "a lease that ran out"),
    (SettlesWithAnyLease, "a_lost_lease_settles_nothing", "a lease that ran out"),
    (SettlesWithAnyLease, "forgeries_and_replays_settle_nothing", "a lease that ran out"),
    (RepeatsTokens, "five_lost_leases_are_poison", "Different for every lease"),
    (DropsADelivery, "each_delivery_is_made_once", "Deliveries are unique by event and target"),
    (KeepsTheEvent, "each_delivery_is_made_once", "The last part takes the event"),
    (LosesWhatIsUnreadable, "what_cannot_be_sent_is_kept_dead", "Sets the event aside"),
    (HasEndlessLanes, "what_cannot_be_sent_is_kept_dead", "A delivery whose lane already has"),
    (IgnoresTheFlightLimit, "a_lane_keeps_its_limits", "picks lanes that are open"),
    (GivesTheYoungest, "the_oldest_due_comes_first", "picks lanes that are open"),
    (StarvesLanes, "no_lane_waits_for_more_than_a_round", "No ready lane waits"),
    (HasEndlessLeases, "five_lost_leases_are_poison", "A delivery whose lease ran out"),
    (ForgetsAttempts, "each_result_leaves_its_state", "A delivery is claimed as it stands"),
    (ClaimsTwice, "sixteen_claimers_lose_nothing", "Every method is idempotent"),
    (DeliversNothing, "a_lost_lease_settles_nothing", "Writes what came of claimed deliveries"),
    (CountsReleases, "a_closed_lane_waits_and_opens", "Due again after this time, as if"),
    (LeavesLanesOpen, "a_closed_lane_waits_and_opens", "Closes the lane for so long"),
    (JudgesNothing, "failures_close_a_lane", "A verdict changes the lane's health"),
    (TakesBusyForLate, "failures_close_a_lane", "A verdict changes the lane's health"),
    (IgnoresTheRate, "a_lane_keeps_its_rate", "A lane's limits hold over all claims"),
    (BeginsAtFullSpeed, "a_lane_that_was_closed_begins_slowly", "A lane's limits hold over all claims"),
    (LeavesDisabledDue, "a_disabled_target_waits_for_somebody", "When it disables the target"),
    (UnparksTheNew, "a_disabled_target_waits_for_somebody", "One whose target is disabled"),
    (KeepsGrudges, "failures_close_a_lane", "Those that failures had closed"),
    (KeepsDisabledLanes, "a_deleted_policy_leaves_no_closed_lane", "The lanes of the selected policy"),
    (IgnoresThePage, "an_operator_can_forget", "Changes the deliveries (or lanes)"),
    (OpensEveryLane, "a_closed_lane_waits_and_opens", "The lanes of the selected policy"),
    (CannotRedeliver, "an_operator_can_redeliver", "Final and parked deliveries become due"),
    (CountsTheBodiless, "an_operator_can_redeliver", "A delivery without a body"),
    (CancelsOnlyWhatIsDue, "an_operator_can_cancel", "Due, leased and parked deliveries"),
    (ParksOnlyWhatIsDue, "an_operator_can_park", "Due and leased deliveries are parked"),
    (UnparksAnew, "an_operator_can_park", "Parked deliveries become due now"),
    (CancelsInsteadOfForgetting, "an_operator_can_forget", "The deliveries are deleted"),
    (RepeatsTheLastOfAPage, "listings_go_on_under_writes", "Lists deliveries, newest first"),
    (IgnoresTheSkip, "listings_skip_and_turn_round", "Listings run from the newest"),
    (IgnoresTheOrder, "listings_skip_and_turn_round", "Listings run from the newest"),
    (CountsEveryState, "counts_agree_with_listings", "How many deliveries are selected"),
    (HidesAttempts, "each_result_leaves_its_state", "One delivery with its body"),
    (NeverSweeps, "a_sweep_never_takes_what_waits", "Removes history beyond keep"),
    (SweepsWhatWaits, "a_sweep_never_takes_what_waits", "What waits is never removed"),
    (CountsParkedAsWaiting, "the_status_counts", "What waits, how much"),
    (CountsOneProjectOnly, "what_each_project_uses_is_counted", "How much of what waits"),
    (SendsWhatComesParked, "what_comes_parked_stays_parked", "One whose target is disabled, or that comes"),
    (HidesParked, "lanes_show_how_they_stand", "How the lanes of the selected policy"),
    (CountsNoFailures, "hours_outlive_the_history", "What the attempts of the last 48 hours"),
    (ForgetsHoursWithTheHistory, "hours_outlive_the_history", "What is counted is written with"),
    (GivesTheOldestOfAPolicy, "the_newest_of_each_policy_is_found", "The newest delivery of each"),
    (SleepsForEver, "waiting_ends_when_there_is_work", "Returns when work may be due"),
    (ReversesSubscribers, "sending_follows_the_policies", "The enabled policies of project"),
    (ResolvesInItsOwnOrder, "sending_follows_the_policies", "Where deliveries of these targets go"),
    (DropsTheDescription, "policies_keep_their_names_and_targets", "Stores a new policy"),
    (ForgetsTheOptions, "policies_keep_their_names_and_targets", "Stores a new policy"),
    (ConfusesErrors, "policies_keep_their_names_and_targets", "Conflict if the project has a policy"),
    (ForgetsTheCreation, "policies_keep_their_names_and_targets", "Replaces everything but"),
    (RenumbersTargets, "policies_keep_their_names_and_targets", "Targets keep their ids"),
    (DeletesMoreThanThereIs, "policies_keep_their_names_and_targets", "Deletes policies and says how many"),
    (ListsOldestPoliciesFirst, "policies_keep_their_names_and_targets", "Lists policies, newest first"),
    (IgnoresTheSwitch, "a_switch_holds_everything", "Reads the global switch"),
    (ForgetsAtReopening, "reopening_keeps_everything", "What a store keeps beyond its process"),
];

/// Faults in what random operations look at.
const SEEN_AT_RANDOM: [Fault; 12] = [
    GivesNewestEvents,
    SettlesWithAnyLease,
    RepeatsTokens,
    DropsADelivery,
    IgnoresTheFlightLimit,
    HasEndlessLeases,
    ForgetsAttempts,
    DeliversNothing,
    LeavesLanesOpen,
    IgnoresThePage,
    ParksOnlyWhatIsDue,
    UnparksAnew,
];

async fn caught(fault: Fault, name: &str) -> Broken {
    let checks = checks::<Faults>();
    let check = checks.iter().find(|check| check.name == name).unwrap_or_else(|| panic!("no check {name}"));
    let run = tokio::time::timeout(Duration::from_secs(60), check.run(&Faults(fault))).await;
    run.unwrap_or_else(|_| panic!("{name} never ends")).expect_err(&format!("{fault:?} passes {name}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_breaks_a_sentence_is_told_which() {
    let running = FAULTS.map(|(fault, name, sentence)| (tokio::spawn(caught(fault, name)), fault, sentence));
    let mut wrong = Vec::new();
    for (run, fault, sentence) in running {
        let broken = run.await.unwrap();
        if !broken.sentence.starts_with(sentence) {
            wrong.push(format!("{fault:?}: {broken}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_check_sees_something() {
    let seen = |name: &str| FAULTS.iter().any(|(_, by, _)| *by == name);
    let unseen: Vec<_> = checks::<Faults>().into_iter().map(|check| check.name).filter(|name| !seen(name)).collect();
    assert_eq!(unseen, ["random_operations"]); // which has a test of its own
}

#[tokio::test(flavor = "multi_thread")]
async fn random_operations_find_faults_and_shorten_them() {
    let running = SEEN_AT_RANDOM.map(|fault| (tokio::spawn(caught(fault, "random_operations")), fault));
    for (run, fault) in running {
        let found = run.await.unwrap().found;
        assert!(found.contains("(seed "), "{fault:?}: {found}");
        let steps = found.lines().filter(|line| line.starts_with("    ") && !line.starts_with("     ")).count();
        assert!((2..=24).contains(&steps), "{fault:?} takes {steps} lines:\n{found}");
    }
}

struct Faults(Fault);

impl Factory for Faults {
    type Store = Faulty;

    async fn fresh(&self) -> Faulty {
        let (leases, again, disabled, shy) = Default::default();
        Faulty { fault: self.0, store: MemoryStore::new(), leases, again, disabled, shy }
    }

    /// The memory store itself stays, and with it everything.
    async fn reopen(&self, store: Faulty) -> Option<Faulty> {
        Some(if self.0 == ForgetsAtReopening { self.fresh().await } else { store })
    }
}

#[derive(Clone, Debug)]
struct Faulty {
    fault: Fault,
    store: MemoryStore,
    /// The lease that is good, of each thing.
    leases: Arc<Mutex<std::collections::HashMap<i64, Lease>>>,
    again: Arc<Mutex<Vec<Claimed>>>,
    /// A lane that was disabled once.
    disabled: Arc<Mutex<Option<ClosedLane>>>,
    /// Gives one at a time.
    shy: Arc<AtomicBool>,
}

impl Faulty {
    fn has(&self, fault: Fault) -> bool {
        self.fault == fault
    }

    fn good(&self, lease: Lease) -> Lease {
        self.leases.lock().unwrap().get(&lease.key).copied().unwrap_or(lease)
    }

    fn give(&self, lease: Lease) {
        self.leases.lock().unwrap().insert(lease.key, lease);
    }
}

#[async_trait]
impl DeliveryStore for Faulty {
    async fn append(&self, events: &[Event]) -> Result<Vec<Appended>> {
        if self.has(AppendsTheFirstOnly) && events.len() > 1 {
            return self.store.append(&events[..1]).await;
        }
        let mut events = events.to_vec();
        if self.has(ForgetsEventIds) {
            events.iter_mut().for_each(|event| event.id = Uuid::now_v7());
        }
        self.store.append(&events).await
    }

    async fn claim_events(&self, max: usize, lease: Duration) -> Result<Vec<ClaimedEvent>> {
        if !self.has(GivesNewestEvents) {
            let claimed = self.store.claim_events(max, lease).await?;
            claimed.iter().for_each(|event| self.give(event.lease));
            return Ok(claimed);
        }
        let mut all = self.store.claim_events(1000, lease).await?;
        all.reverse();
        all.truncate(max);
        Ok(all)
    }

    async fn fan_out(&self, lease: &Lease, mut part: FanOut) -> Result<Fenced> {
        match self.fault {
            DropsADelivery if part.deliveries.len() > 1 => drop(part.deliveries.pop()),
            KeepsTheEvent => part.last = false,
            LosesWhatIsUnreadable => part.set_aside = None,
            _ => {}
        }
        for new in &mut part.deliveries {
            match self.fault {
                HasEndlessLanes => new.lane = LaneLimits::new(10_000, new.lane.max_in_flight),
                IgnoresTheFlightLimit => new.lane = LaneLimits::new(new.lane.max_waiting, 1000),
                IgnoresTheRate => new.lane.rate = Rate::UNLIMITED,
                _ => {}
            }
        }
        let lease = if self.has(FansOutWithAnyLease) { self.good(*lease) } else { *lease };
        let fenced = self.store.fan_out(&lease, part).await?;
        if self.has(UnparksTheNew) || self.has(SendsWhatComesParked) {
            self.store.change(&Filter::all(), Change::Unpark, Page::first(1000)).await?;
        }
        Ok(fenced)
    }

    async fn claim(&self, max: usize, lease: Duration) -> Result<Vec<Claimed>> {
        let lease = if self.has(HasEndlessLeases) { LONG } else { lease };
        let max = if self.shy.load(Ordering::Relaxed) { max.min(1) } else { max };
        if self.has(BeginsAtFullSpeed) {
            self.store.change(&Filter::all(), Change::OpenLanes(Hold::CircuitOpen), Page::first(1000)).await?;
        }
        let mut claimed = match self.fault {
            StarvesLanes => self.claim_by(max, lease, |claimed| (claimed.target_id.0, claimed.id.0)).await?,
            GivesTheYoungest => self.claim_by(max, lease, |claimed| (-claimed.id.0, 0)).await?,
            _ => self.store.claim(max, lease).await?,
        };
        for claimed in &mut claimed {
            if self.has(ForgetsAttempts) {
                claimed.attempts = 0;
            }
            self.give(claimed.lease);
            if self.has(RepeatsTokens) {
                claimed.lease.token = 7;
            }
        }
        if self.has(ClaimsTwice) {
            let again = std::mem::replace(&mut *self.again.lock().unwrap(), claimed.clone());
            claimed.extend(again);
        }
        Ok(claimed)
    }

    async fn settle(&self, mut results: Vec<Settlement>) -> Result<Vec<Settled>> {
        for result in &mut results {
            match self.fault {
                SettlesWithAnyLease | RepeatsTokens => result.lease = self.good(result.lease),
                LeavesLanesOpen => result.close_lane = None,
                JudgesNothing => result.verdict = None,
                TakesBusyForLate => {
                    result.close_lane = result.close_lane.map(|(time, _)| (time, Hold::RetryAfter));
                }
                DeliversNothing if result.next == Next::Delivered => result.next = Next::Retry(LONG),
                CountsReleases if matches!(result.next, Next::Release(_)) => {
                    let outcome = Outcome::Answered { status: 500, body: String::new(), truncated: false };
                    result.attempt = Some(Attempt::new(chrono::Utc::now(), LONG, outcome));
                }
                _ => {}
            }
        }
        let mut settled = self.store.settle(results).await?;
        for settled in &mut settled {
            let Some((target, News::Disabled(_))) = settled.news else { continue };
            *self.disabled.lock().unwrap() = Some(ClosedLane::new(target, PolicyId(1), LONG, Hold::TargetDisabled));
            if self.has(LeavesDisabledDue) {
                self.store.change(&Filter::all(), Change::Unpark, Page::first(1000)).await?;
            }
        }
        Ok(settled)
    }

    async fn change(&self, which: &Filter, to: Change, page: Page) -> Result<Changed> {
        let change = |which, to, page| async move { self.store.change(&which, to, page).await };
        let due = || which.clone().state(StateKind::Due);
        match (self.fault, to) {
            (KeepsGrudges, Change::OpenLanes(Hold::CircuitOpen)) => {
                self.shy.store(true, Ordering::Relaxed);
                change(which.clone(), to, page).await
            }
            (IgnoresThePage, _) => change(which.clone(), to, Page::first(10_000)).await,
            (OpensEveryLane, Change::OpenLanes(_)) => {
                let mut count = 0;
                for why in Hold::ALL {
                    count += change(which.clone(), Change::OpenLanes(why), page).await?.count;
                }
                Ok(Changed::new(count, None))
            }
            (CannotRedeliver, Change::Redeliver) => change(which.clone(), Change::Unpark, page).await,
            (CountsTheBodiless, Change::Redeliver) => {
                let changed = change(which.clone(), to, page).await?;
                let dead = self.store.list(&which.clone().state(StateKind::Dead), page).await?.len() as u64;
                Ok(Changed::new(changed.count + dead, changed.next))
            }
            (CancelsOnlyWhatIsDue, Change::Cancel(_)) | (ParksOnlyWhatIsDue, Change::Park) => {
                change(due(), to, page).await
            }
            (UnparksAnew, Change::Unpark) => {
                change(which.clone().state(StateKind::Parked), Change::Redeliver, page).await
            }
            (CancelsInsteadOfForgetting, Change::Forget) => {
                let changed = change(which.clone(), Change::Cancel(CancelReason::Operator), page).await?;
                let selected = self.store.list(which, page).await?;
                Ok(Changed::new(selected.len() as u64, changed.next))
            }
            _ => change(which.clone(), to, page).await,
        }
    }

    async fn list(&self, which: &Filter, mut page: Page) -> Result<Vec<Delivery>> {
        if self.has(RepeatsTheLastOfAPage) {
            page.after = page.after.map(|id| id + 1);
        }
        if self.has(IgnoresTheSkip) {
            page.skip = 0;
        }
        if self.has(IgnoresTheOrder) {
            page.oldest_first = false;
        }
        self.store.list(which, page).await
    }

    async fn count(&self, which: &Filter) -> Result<u64> {
        let mut which = which.clone();
        which.state = which.state.filter(|_| !self.has(CountsEveryState));
        self.store.count(&which).await
    }

    async fn detail(&self, id: DeliveryId) -> Result<Option<Detail>> {
        let mut detail = self.store.detail(id).await?;
        if let Some(detail) = detail.as_mut().filter(|_| self.has(HidesAttempts)) {
            detail.attempts.clear();
        }
        Ok(detail)
    }

    async fn sweep(&self, keep: &Retention, max: usize) -> Result<Swept> {
        match self.fault {
            NeverSweeps => return Ok(Swept::default()),
            SweepsWhatWaits => {
                let due = Filter::all().state(StateKind::Due);
                self.store.change(&due, Change::Forget, Page::first(max)).await?;
            }
            _ => {}
        }
        self.store.sweep(keep, max).await
    }

    async fn status(&self) -> Result<Status> {
        let mut status = self.store.status().await?;
        if self.has(CountsParkedAsWaiting) {
            status.waiting += status.parked;
        }
        if self.has(KeepsDisabledLanes) {
            status.closed_lanes.extend(self.disabled.lock().unwrap().clone());
        }
        Ok(status)
    }

    async fn usage(&self) -> Result<Option<Vec<Usage>>> {
        let mut usage = self.store.usage().await?;
        if let (true, Some(usage)) = (self.has(CountsOneProjectOnly), &mut usage) {
            usage.sort_by_key(|usage| usage.project_id);
            usage.truncate(1);
        }
        Ok(usage)
    }

    async fn lanes(&self, which: &Filter) -> Result<Option<Vec<LaneState>>> {
        let mut lanes = self.store.lanes(which).await?;
        for lane in lanes.iter_mut().flatten().filter(|_| self.has(HidesParked)) {
            lane.parked = 0;
        }
        Ok(lanes)
    }

    async fn hours(&self, which: &Filter) -> Result<Option<Vec<Hour>>> {
        let mut hours = self.store.hours(which).await?.unwrap_or_default();
        hours.iter_mut().filter(|_| self.has(CountsNoFailures)).for_each(|hour| hour.failed = 0);
        if self.has(ForgetsHoursWithTheHistory) {
            let kept = self.store.list(&Filter::all(), Page::first(1000)).await?;
            hours.retain(|hour| kept.iter().any(|delivery| delivery.target_id == hour.target_id));
        }
        Ok(Some(hours))
    }

    async fn newest(&self, policies: &[PolicyId]) -> Result<Vec<Delivery>> {
        if !self.has(GivesTheOldestOfAPolicy) {
            return self.store.newest(policies).await;
        }
        let mut oldest = Vec::new();
        for policy in policies {
            oldest.extend(self.store.list(&Filter::policy(*policy), Page::first(1).oldest_first(true)).await?);
        }
        Ok(oldest)
    }

    async fn ready(&self, at_most: Duration) -> Result<()> {
        match self.has(SleepsForEver) {
            true => tokio::time::sleep(at_most).await,
            false => self.store.ready(at_most).await?,
        }
        Ok(())
    }
}

impl Faulty {
    /// Gives by an order of its own, whatever lanes and ages say.
    async fn claim_by(&self, max: usize, lease: Duration, by: fn(&Claimed) -> (i64, i64)) -> Result<Vec<Claimed>> {
        let mut all = self.store.claim(1000, lease).await?;
        all.sort_by_key(by);
        let rest = all.split_off(all.len().min(max));
        let back = rest.iter().map(|c| Settlement::new(c.lease, Next::Release(Duration::ZERO))).collect();
        self.store.settle(back).await?;
        Ok(all)
    }
}

#[async_trait]
impl PolicySource for Faulty {
    async fn subscribers(&self, project: ProjectId, kind: EventType, max_age: Duration) -> Result<Vec<Arc<Policy>>> {
        let mut found = self.store.subscribers(project, kind, max_age).await?;
        if self.has(ReversesSubscribers) {
            found.reverse();
        }
        Ok(found)
    }

    async fn resolve(&self, targets: &[TargetId]) -> Result<Vec<Resolved>> {
        let mut targets = targets.to_vec();
        if self.has(ResolvesInItsOwnOrder) {
            targets.sort();
        }
        self.store.resolve(&targets).await
    }
}

#[async_trait]
impl PolicyStore for Faulty {
    async fn create(&self, project: ProjectId, mut draft: PolicyDraft) -> Result<Policy> {
        if self.has(DropsTheDescription) {
            draft.description.clear();
        }
        if self.has(ForgetsTheOptions) {
            draft.targets.iter_mut().for_each(|target| target.options = TargetOptions::default());
        }
        match self.store.create(project, draft).await {
            Err(e) if self.has(ConfusesErrors) => Err(Error::new(ErrorKind::Invalid, e.to_string())),
            created => created,
        }
    }

    async fn replace(&self, id: PolicyId, draft: PolicyDraft) -> Result<Policy> {
        let mut policy = self.store.replace(id, draft).await?;
        match self.fault {
            ForgetsTheCreation => policy.creation_time += LONG,
            RenumbersTargets => policy.targets.iter_mut().for_each(|target| target.id.0 += 1000),
            _ => {}
        }
        Ok(policy)
    }

    async fn delete(&self, which: PolicyFilter) -> Result<u64> {
        let count = self.store.delete(which).await?;
        Ok(if self.has(DeletesMoreThanThereIs) { count.max(1) } else { count })
    }

    async fn policies(&self, which: PolicyFilter, page: Page) -> Result<Vec<Policy>> {
        let mut policies = self.store.policies(which, page).await?;
        if self.has(ListsOldestPoliciesFirst) {
            policies.reverse();
        }
        Ok(policies)
    }

    async fn switch(&self, on: Option<bool>) -> Result<bool> {
        if self.has(IgnoresTheSwitch) { Ok(on.unwrap_or(true)) } else { self.store.switch(on).await }
    }
}
