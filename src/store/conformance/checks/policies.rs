use std::time::Duration;

use crate::error::ErrorKind;
use crate::event::EventType;
use crate::id::{PolicyId, ProjectId, TargetId};
use crate::policy::{Policy, PolicyDraft, Target};
use crate::store::conformance::sentences::*;
use crate::store::conformance::setup::*;
use crate::store::conformance::{Broken, Factory};
use crate::store::{Hold, Page, PolicyFilter, PolicySource, PolicyStore, Resolved};

/// Policies are kept as they were given, under names of their own; their targets keep their ids when they are replaced.
///
/// # Errors
///
/// What the store does against the contract.
pub async fn policies_keep_their_names_and_targets<F: Factory>(factory: &F) -> Result<(), Broken> {
    let store = factory.fresh().await;
    let full = Target::http("https://ci.example.com:8443/hook?token=t")?.auth_header("Bearer s3cret")?;
    let full = full.skip_cert_verify(true).payload_format("CloudEvents");
    let full = full.signing_keys(signing_key()?);
    let mut given = draft("a", &["http://x/"])?.target(full).target(Target::slack("https://s/")?);
    given = given.on(EventType::QuotaExceed).description("some words").creator("admin");
    let made = store.create(PROJECT, given.clone()).await?;
    promise_eq!(CREATED, as_given(&made), (PROJECT, given), "the policy that was created");
    let ids = ids(&made);
    let distinct = ids.iter().collect::<std::collections::BTreeSet<_>>().len();
    promise_eq!(CREATED, distinct, 3, "ids of three targets");
    let listed = store.policies(PolicyFilter::Id(made.id), Page::first(ALL)).await?;
    promise_eq!(CREATED, listed, std::slice::from_ref(&made), "the policy as it is kept");

    let taken = store.create(PROJECT, draft("a", &["http://x/"])?).await.err().map(|e| e.kind());
    promise_eq!(NAMES, taken, Some(ErrorKind::Conflict), "creating a second policy of one name");
    let elsewhere = store.create(OTHER, draft("a", &["http://x/"])?).await?;
    let second = store.create(PROJECT, draft("b", &["http://x/"])?).await?;
    let taken = store.replace(second.id, draft("a", &["http://x/"])?).await.err().map(|e| e.kind());
    promise_eq!(NAMES, taken, Some(ErrorKind::Conflict), "renaming a policy to a name that is taken");

    let new = draft("a", &["http://z/", "http://x/", "http://more/"])?.enabled(false);
    let replaced = store.replace(made.id, new.clone()).await?;
    promise_eq!(REPLACED, as_given(&replaced), (PROJECT, new.creator("admin")), "the policy that was replaced");
    promise_eq!(REPLACED, (replaced.id, replaced.creation_time), (made.id, made.creation_time), "its id and creation");
    let now = self::ids(&replaced);
    promise_eq!(TARGET_IDS, now[..2], [ids[1], ids[0]], "ids of a target of the same kind, and of the same address");
    promise!(TARGET_IDS, !ids.contains(&now[2]), "a new target has the id of an old one: {now:?} of {ids:?}");
    let other = store.replace(made.id, draft("a2", &["http://x/"])?.creator("robot")).await?;
    promise_eq!(
        REPLACED,
        (&*other.creator, &*other.name),
        ("robot", "a2"),
        "creator and name when the draft names one"
    );

    listed_and_deleted(&store, &[elsewhere, second, other], ids[2]).await
}

async fn listed_and_deleted<S: PolicyStore>(store: &S, kept: &[Policy], gone: TargetId) -> Result<(), Broken> {
    let [elsewhere, second, first] = kept else { return Ok(()) };
    let found = names(store, PolicyFilter::All, Page::first(2)).await?;
    promise_eq!(POLICIES, found, [second.id, elsewhere.id], "the newest two");
    let found = names(store, PolicyFilter::All, Page::after(elsewhere.id.0, 2)).await?;
    promise_eq!(POLICIES, found, [first.id], "what comes after them");
    let found = names(store, PolicyFilter::Project(PROJECT), Page::first(ALL)).await?;
    promise_eq!(POLICIES, found, [second.id, first.id], "the policies of a project");
    let missing = matches!(store.resolve(&[gone]).await?[..], [Resolved::Gone]);
    promise!(RESOLVED, missing, "a target that was replaced is still there");

    promise_eq!(DELETED, store.delete(PolicyFilter::Id(first.id)).await?, 1, "policies deleted");
    promise_eq!(DELETED, store.delete(PolicyFilter::Id(first.id)).await?, 0, "policies deleted again");
    let missing = store.replace(first.id, draft("c", &["http://x/"])?).await.err().map(|e| e.kind());
    promise_eq!(REPLACED, missing, Some(ErrorKind::NotFound), "replacing a policy that is gone");
    promise_eq!(DELETED, store.delete(PolicyFilter::Project(PROJECT)).await?, 1, "policies deleted of a project");
    promise_eq!(DELETED, names(store, PolicyFilter::All, Page::first(ALL)).await?, [elsewhere.id], "policies left");
    let newest = store.create(PROJECT, draft("a", &["http://x/"])?).await?;
    promise!(CREATED, newest.id > second.id, "the id of a deleted policy was given again: {}", newest.id);
    Ok(())
}

async fn names<S: PolicyStore>(store: &S, which: PolicyFilter, page: Page) -> Result<Vec<PolicyId>, Broken> {
    Ok(store.policies(which, page).await?.into_iter().map(|policy| policy.id).collect())
}

fn ids(policy: &Policy) -> Vec<TargetId> {
    policy.targets.iter().map(|target| target.id).collect()
}

fn as_given(policy: &Policy) -> (ProjectId, PolicyDraft) {
    let mut draft = PolicyDraft::new(&policy.name).on_all(policy.event_types.iter().copied());
    draft = draft.description(&policy.description).creator(&policy.creator).enabled(policy.enabled);
    let targets = policy.targets.iter().map(|target| target.target.clone());
    (policy.project_id, targets.fold(draft, PolicyDraft::target))
}

/// Who subscribes, and where a target's deliveries go, follows every change at once.
///
/// # Errors
///
/// What the store does against the contract.
pub async fn sending_follows_the_policies<F: Factory>(factory: &F) -> Result<(), Broken> {
    let store = factory.fresh().await;
    let first = store.create(PROJECT, draft("a", &["http://x/"])?).await?;
    let second = store.create(PROJECT, draft("b", &["http://y/", "http://z/"])?).await?;
    store.create(PROJECT, draft("off", &["http://y/"])?.enabled(false)).await?;
    store.create(OTHER, draft("a", &["http://y/"])?).await?;
    let found = subscribers(&store, EventType::PushArtifact).await?;
    promise_eq!(SUBSCRIBERS, found, [first.clone(), second.clone()], "the subscribers of a push");
    let found = subscribers(&store, EventType::PullArtifact).await?;
    promise_eq!(SUBSCRIBERS, found, [], "the subscribers of a pull");

    let asked = [second.targets[1].id, TargetId(i64::MAX), first.targets[0].id];
    let found = store.resolve(&asked).await?;
    let origin = |at: usize| match &found[at] {
        Resolved::Send(target) => Some(target.address.expose().to_owned()),
        _ => None,
    };
    promise_eq!(RESOLVED, found.len(), 3, "answers about three targets");
    promise_eq!(
        RESOLVED,
        (origin(0).as_deref(), origin(2).as_deref()),
        (Some("http://z/"), Some("http://x/")),
        "addresses"
    );
    promise!(RESOLVED, matches!(found[1], Resolved::Gone), "a target that never was is {:?}", found[1]);

    store.replace(first.id, draft("a", &["http://moved/"])?).await?;
    let found = store.resolve(&asked[2..]).await?;
    let moved = matches!(&found[..], [Resolved::Send(target)] if target.address.expose() == "http://moved/");
    promise!(RESOLVED, moved, "a target that moved is {found:?}");
    store.replace(first.id, draft("a", &["http://moved/"])?.enabled(false)).await?;
    let found = store.resolve(&asked[2..]).await?;
    let held = matches!(&found[..], [Resolved::Hold(Hold::Disabled)]);
    promise!(RESOLVED, held, "a target of a policy that was disabled is {found:?}");
    promise_eq!(
        SUBSCRIBERS,
        subscribers(&store, EventType::PushArtifact).await?,
        std::slice::from_ref(&second),
        "who is left"
    );
    store.delete(PolicyFilter::Id(second.id)).await?;
    let found = store.resolve(&asked[..1]).await?;
    promise!(RESOLVED, matches!(&found[..], [Resolved::Gone]), "a target of a policy that was deleted is {found:?}");
    Ok(())
}

async fn subscribers<S: PolicySource>(store: &S, event_type: EventType) -> Result<Vec<Policy>, Broken> {
    let found = store.subscribers(PROJECT, event_type, Duration::from_secs(1)).await?;
    Ok(found.into_iter().map(|policy| (*policy).clone()).collect())
}

/// Switched off, nobody subscribes and what waits is held; switched on, all is as before.
///
/// # Errors
///
/// What the store does against the contract.
pub async fn a_switch_holds_everything<F: Factory>(factory: &F) -> Result<(), Broken> {
    let store = factory.fresh().await;
    let policy = store.create(PROJECT, draft("a", &["http://x/"])?).await?;
    let target = [policy.targets[0].id];
    promise!(SWITCH, store.switch(None).await?, "a new store is switched off");
    for _ in 0..2 {
        promise!(SWITCH, !store.switch(Some(false)).await?, "switching off answers that it is on");
        promise!(SWITCH, !store.switch(None).await?, "it is on after switching it off");
        promise_eq!(SUBSCRIBERS, subscribers(&store, EventType::PushArtifact).await?, [], "subscribers when off");
        let found = store.resolve(&target).await?;
        let held = matches!(&found[..], [Resolved::Hold(Hold::SwitchedOff)]);
        promise!(RESOLVED, held, "a target is {found:?} while webhooks are switched off");
    }
    promise!(SWITCH, store.switch(Some(true)).await?, "switching on answers that it is off");
    promise_eq!(
        SUBSCRIBERS,
        subscribers(&store, EventType::PushArtifact).await?,
        [policy],
        "subscribers when on again"
    );
    let found = store.resolve(&target).await?;
    promise!(RESOLVED, matches!(&found[..], [Resolved::Send(_)]), "a target is {found:?} when on again");
    Ok(())
}
