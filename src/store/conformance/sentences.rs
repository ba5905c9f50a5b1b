//! The sentences of the contract that the checks hold stores to, word for word as the documentation of the traits has them.

macro_rules! sentences {
    ($($name:ident = $text:literal;)*) => {
        $(pub(super) const $name: &str = $text;)*
        #[cfg(test)]
        const ALL: &[&str] = &[$($name),*];
    };
}

sentences! {
    APPENDED = "Adds events to the outbox, all or none; durable, as far as the store promises, when it returns.";
    DUPLICATE = "An event whose id is remembered from the last 24 hours is a Duplicate and changes nothing.";
    EVENTS_CLAIMED = "Leases up to max events that are not fanned out, oldest first.";
    STALE = "a lease that ran out, or that was given to somebody else, is stale and settles nothing.";
    TOKENS = "Different for every lease of the same thing.";
    UNIQUE = "Deliveries are unique by event and target: one that exists is left as it is.";
    LAST_PART = "The last part takes the event out of the outbox; its id stays remembered.";
    SET_ASIDE = "Sets the event aside as unreadable, with this reason, instead of taking it out of the outbox.";
    BORN_DEAD = "A delivery whose lane already has max_waiting waiting is stored dead with the reason lane_full; one without a body is stored dead with the reason format.";
    BORN_PARKED = "One whose target is disabled, or that comes parked, is stored parked.";
    LANES = "picks lanes that are open and have due deliveries and room for one more in flight, then the oldest due in each.";
    ROUND = "No ready lane waits for more than one round of the others.";
    LIMITS = "A lane's limits hold over all claims: how many are in flight, no more than its health allows, and its rate.";
    LOSSES = "A delivery whose lease ran out counts as due, with one more loss; the fifth loss makes it dead with the reason poison instead.";
    CLAIMED = "A delivery is claimed as it stands: its id, event, project, policy, target and body, and the attempts and the age since it was made or last redelivered.";
    TOGETHER = "Every method is idempotent and may be called by any number of tasks at once.";
    SETTLED = "Writes what came of claimed deliveries: for each, the attempt, the next state and the lane's gate in one step.";
    JUDGED = "A verdict changes the lane's health, and perhaps its gate, as Breaker::after says.";
    DISABLED = "When it disables the target, all that is due in its lane is parked; what is given back to a disabled lane is parked too.";
    RELEASED = "Due again after this time, as if it had not been claimed.";
    GATE = "Closes the lane for so long from now, unless it is closed for longer already.";
    CHANGED = "Changes the deliveries (or lanes) that which selects, at most page.limit of them, newest first.";
    REDELIVER = "Final and parked deliveries become due now, with a fresh attempt budget and age: the same row, id and body.";
    NO_BODY = "A delivery without a body (dead by its format) is left as it is.";
    OPENED = "The lanes of the selected policy, target or project (of all, if none is given) that are closed for this reason open; deliveries are not touched.";
    ANEW = "Those that failures had closed (CircuitOpen, TargetDisabled) start anew, as if none had happened.";
    CANCEL = "Due, leased and parked deliveries are cancelled; a lease on one goes stale.";
    PARK = "Due and leased deliveries are parked; a lease on one goes stale.";
    UNPARK = "Parked deliveries become due now; their attempts and age go on.";
    FORGET = "The deliveries are deleted with their attempts, in whatever state";
    LISTED = "Lists deliveries, newest first unless the page says otherwise.";
    PAGED = "Listings run from the newest to the oldest, or the other way if the page says so, and leave out as many of the first as it says.";
    COUNTED = "How many deliveries are selected: as many as a listing without an end would show.";
    DETAIL = "One delivery with its body and its attempts.";
    SWEPT = "Removes history beyond keep, and gives up what waited too long.";
    WAITING_STAYS = "What waits is never removed.";
    STATUS = "What waits, how much and how old.";
    USAGE = "How much of what waits is each project's, those left out that have nothing waiting.";
    STANDING = "How the lanes of the selected policy, target or project stand (of all, if none is given).";
    HOURS = "What the attempts of the last 48 hours came to in the lanes of the selected policy, target or project (in all, if none is given): by targets, then by hours, those without attempts left out.";
    OUTLIVES = "What is counted is written with the attempt, outlives it, and goes with the policy.";
    NEWEST = "The newest delivery of each of these policies, for those that have one, in any order.";
    READY = "Returns when work may be due, or after at_most. May return early; must not return late for work that was appended, changed or became due in this store value.";
    SUBSCRIBERS = "The enabled policies of project that list event_type, oldest first; none while webhooks are switched off.";
    RESOLVED = "Where deliveries of these targets go now, in the order asked.";
    CREATED = "Stores a new policy and numbers it and its targets.";
    NAMES = "Conflict if the project has a policy of that name.";
    REPLACED = "Replaces everything but the id, the project, the creation time and the creator, which stays when the draft names none.";
    TARGET_IDS = "Targets keep their ids as pair_targets says; targets without a partner get new ids, the rest are gone.";
    DELETED = "Deletes policies and says how many. Deleting nothing is no error.";
    POLICIES = "Lists policies, newest first unless the page says otherwise.";
    SWITCH = "Reads the global switch, after setting it if on is given. It is on in a new store.";
    REOPENED = "What a store keeps beyond its process it keeps whole: policies with their ids and secrets, the switch, the outbox, remembered ids, bodies, deliveries, attempts, gates and hours.";
}

#[cfg(test)]
mod tests {
    use super::ALL;

    /// Documentation as running text: without comment marks, links and backticks.
    fn text(source: &str) -> String {
        let lines = source.lines().map(str::trim);
        let words = lines.map(|line| line.trim_start_matches("///").trim_start_matches("//!").trim());
        let joined = words.collect::<Vec<_>>().join(" ").replace(['`', '*', '['], "");
        let mut text = String::new();
        let mut rest = joined.as_str();
        while let Some((before, after)) = rest.split_once(']') {
            text.push_str(before);
            rest = if after.starts_with('(') { after.split_once(')').map_or("", |(_, after)| after) } else { after };
        }
        text + rest
    }

    #[test]
    fn the_sentences_are_those_of_the_documentation() {
        let contract =
            text(concat!(include_str!("../mod.rs"), include_str!("../types.rs"), include_str!("../listing.rs")));
        let strange: Vec<_> = ALL.iter().filter(|sentence| !contract.contains(**sentence)).collect();
        assert!(strange.is_empty(), "{strange:#?}");
    }
}
