//! Stores that hold sealed secrets.

use std::path::Path;
use std::time::Duration;

use harbor_webhook::delivery::State;
use harbor_webhook::policy::{Policy, PolicyDraft, Target};
use harbor_webhook::sealing::{SealingKey, SealingKeys};
use harbor_webhook::signing::SigningKey;
use harbor_webhook::store::{
    Change, DeliveryStore, Filter, Hold, MemoryStore, Page, PolicyFilter, PolicySource, PolicyStore, Resolved, Sealed,
    SqliteStore,
};
use harbor_webhook::{ErrorKind, EventType, TargetId, Webhooks};

use crate::support::events::{PROJECT, push};
use crate::support::receiver::Receiver;
use crate::support::sending::{Running, end_state, impatient, loopback};

/// Stands in each secret.
const MARK: &str = "MARK3R";

fn key(letter: &str) -> SealingKey {
    format!("{}=", letter.repeat(43)).parse().unwrap()
}

fn old() -> SealingKeys {
    SealingKeys::new("old", key("A")).unwrap()
}

fn both() -> SealingKeys {
    SealingKeys::new("new", key("E")).unwrap().and("old", key("A")).unwrap()
}

fn new() -> SealingKeys {
    SealingKeys::new("new", key("E")).unwrap()
}

fn http(address: &str) -> Target {
    Target::http(address).unwrap()
}

fn draft(targets: impl IntoIterator<Item = Target>) -> PolicyDraft {
    named("ci", targets)
}

fn named(name: &str, targets: impl IntoIterator<Item = Target>) -> PolicyDraft {
    targets.into_iter().fold(PolicyDraft::new(name).on(EventType::PushArtifact), PolicyDraft::target)
}

/// One target with everything, and a Slack target.
fn secrets() -> [Target; 2] {
    let key: SigningKey = format!("whsec_{}", &MARK.repeat(6)[..32]).parse().unwrap();
    let full = http(&format!("https://u-{MARK}:p-{MARK}@ci.example.com/{MARK}?t={MARK}")).signing_keys(key);
    let full =
        full.auth_header(&format!("Bearer {MARK}")).unwrap().skip_cert_verify(true).payload_format("CloudEvents");
    [full, Target::slack(&format!("https://hooks.slack.com/services/{MARK}")).unwrap()]
}

fn ids(policy: &Policy) -> Vec<TargetId> {
    policy.targets.iter().map(|target| target.id).collect()
}

fn targets(policy: &Policy) -> Vec<Target> {
    policy.targets.iter().map(|target| target.target.clone()).collect()
}

async fn one<S: PolicyStore>(store: &S, policy: &Policy) -> harbor_webhook::Result<Policy> {
    Ok(store.policies(PolicyFilter::Id(policy.id), Page::first(1)).await?.remove(0))
}

async fn sqlite(folder: &Path) -> SqliteStore {
    let store = SqliteStore::open(folder.join("webhooks.db")).await.unwrap();
    store.migrate().await.unwrap();
    store
}

/// How often the mark stands in any file of a folder. A file may go meanwhile: SQLite's log does when the store is closed.
fn marks(folder: &Path) -> usize {
    let files = std::fs::read_dir(folder).unwrap().filter_map(|file| std::fs::read(file.unwrap().path()).ok());
    files.map(|bytes| bytes.windows(MARK.len()).filter(|window| *window == MARK.as_bytes()).count()).sum()
}

#[tokio::test]
async fn the_files_of_a_store_hold_no_secret() {
    let (clear, sealed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let bare = sqlite(clear.path()).await;
    bare.create(PROJECT, draft(secrets())).await.unwrap();
    assert!(marks(clear.path()) > 5, "the mark is not found where it is");

    let store = Sealed::new(sqlite(sealed.path()).await, old());
    let made = store.create(PROJECT, draft(secrets())).await.unwrap();
    assert_eq!(targets(&made), secrets());
    let [full, slack] = secrets();
    let replaced = store.replace(made.id, draft([slack, full])).await.unwrap();
    assert_eq!(ids(&replaced), [ids(&made)[1], ids(&made)[0]]);
    assert_eq!(one(&store, &made).await.unwrap(), replaced);
    let seen = store.subscribers(PROJECT, EventType::PushArtifact, Duration::from_secs(1)).await.unwrap();
    assert_eq!(*seen[0], replaced);
    assert_eq!(marks(sealed.path()), 0);
    assert!(!format!("{store:?} {:?}", one(store.inner(), &made).await.unwrap()).contains(MARK));
    drop(store);
    assert_eq!(marks(sealed.path()), 0);
}

/// As the contract has it: by equal address first, then by position among those of the same kind.
#[tokio::test]
async fn targets_keep_their_ids_though_the_store_sees_no_address() {
    let pairs = |store: Sealed<MemoryStore>, made: Policy| async move {
        let [a, b, c] = ids(&made)[..] else { panic!("{made:?}") };
        let turned = store.replace(made.id, draft([http("http://b/"), http("http://new/"), http("http://a/")])).await;
        let turned = turned.unwrap();
        assert_eq!(ids(&turned), [b, c, a]);
        let kept = turned.targets.iter().map(|target| target.target.address.expose().to_owned());
        assert_eq!(kept.collect::<Vec<_>>(), ["http://b/", "http://new/", "http://a/"]);
        let more =
            store.replace(made.id, draft(["a", "more", "new", "b"].map(|h| http(&format!("http://{h}/"))))).await;
        let more = ids(&more.unwrap());
        assert_eq!([more[0], more[2], more[3]], [a, c, b]);
        assert!(![a, b, c].contains(&more[1]));
    };
    let three = || draft([http("http://a/"), http("http://b/"), http("http://c/")]);
    let store = Sealed::new(MemoryStore::new(), old());
    let made = store.create(PROJECT, three()).await.unwrap();
    pairs(store, made).await;
    // Also where they lay in clear until now.
    let bare = MemoryStore::new();
    let made = bare.create(PROJECT, three()).await.unwrap();
    pairs(Sealed::new(bare, old()), made).await;
}

#[tokio::test]
async fn keys_change_and_what_lay_in_clear_is_sealed() {
    let bare = MemoryStore::new();
    let first = Sealed::new(bare.clone(), old());
    let by_old = first.create(PROJECT, draft(secrets())).await.unwrap();
    let clear = bare.create(PROJECT, named("clear", secrets())).await.unwrap();
    assert_eq!(targets(&one(&first, &clear).await.unwrap()), secrets());

    let changing = Sealed::new(bare.clone(), both());
    assert_eq!(targets(&one(&changing, &by_old).await.unwrap()), secrets());
    assert_eq!((changing.reseal().await.unwrap(), changing.reseal().await.unwrap()), (2, 0));
    let last = Sealed::new(bare.clone(), new());
    for policy in [by_old, clear] {
        let now = one(&last, &policy).await.unwrap();
        assert_eq!(
            (targets(&now), ids(&now), now.creator, now.name),
            (secrets().to_vec(), ids(&policy), policy.creator.clone(), policy.name.clone(),)
        );
        assert!(one(&bare, &policy).await.unwrap().targets.iter().all(|t| t.target.auth_header.is_none()));
        let error = one(&first, &policy).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Store);
        assert!(error.to_string().contains("the key new, which is not there"), "{error}");
    }
}

/// Deliveries wait for the key, and for a host that has forgotten to wrap its store.
#[tokio::test]
async fn nothing_is_lost_while_a_key_is_missing() {
    let receiver = Receiver::start(|_| 200).await;
    let bare = MemoryStore::new();
    let store = Sealed::new(bare.clone(), old());
    let made = store.create(PROJECT, draft([http(&receiver.url)])).await.unwrap();
    let without =
        |store: Sealed<MemoryStore>| Webhooks::builder(store, loopback()).settings(impatient()).build().unwrap();
    let unwrapped = Webhooks::builder(bare.clone(), loopback()).settings(impatient()).build().unwrap();
    for hooks in [without(Sealed::new(bare.clone(), new())), unwrapped] {
        hooks.notify(&push()).await.unwrap();
        let running = Running::start(&hooks);
        let closed = async {
            while hooks.status().await.unwrap().closed_lanes.iter().all(|lane| lane.why != Hold::Sealed) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), closed).await.expect("the lane is closed");
        running.stop().await;
        for delivery in hooks.deliveries(&Filter::all(), Page::first(10)).await.unwrap() {
            assert_eq!((delivery.state, delivery.attempts), (State::Due, 0));
        }
        bare.change(&Filter::all(), Change::OpenLanes(Hold::Sealed), Page::first(10)).await.unwrap();
    }
    // A change is refused, and changes nothing.
    let refused = Sealed::new(bare.clone(), new()).replace(made.id, draft([http("http://x/")])).await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Store);
    assert_eq!(one(&store, &made).await.unwrap(), made);

    let hooks = without(store);
    let running = Running::start(&hooks);
    assert_eq!(end_state(&hooks).await, State::Delivered);
    running.stop().await;
    assert_eq!(receiver.seen().len(), 2);
}

/// Whoever can write to the database, but has no key, cannot have a secret sent elsewhere, or without verification.
#[tokio::test]
async fn a_seal_opens_in_its_own_target_only() {
    let bare = MemoryStore::new();
    let store = Sealed::new(bare.clone(), old());
    let made = store.create(PROJECT, draft([http("http://mine/"), http("http://other/")])).await.unwrap();
    let sealed = one(&bare, &made).await.unwrap();
    let [mine, other] = &targets(&sealed)[..] else { panic!("{sealed:?}") };
    let mut moved = mine.clone();
    moved.options = other.options.clone();
    let unverified = mine.clone().skip_cert_verify(true);
    let mut slack = Target::slack(mine.address.expose()).unwrap();
    slack.options = mine.options.clone();
    for changed in [moved, unverified, slack] {
        bare.replace(made.id, draft([changed, other.clone()])).await.unwrap();
        let error = one(&store, &made).await.unwrap_err();
        assert!(error.to_string().contains("was changed, moved"), "{error}");
        let id = one(&bare, &made).await.unwrap().targets[0].id;
        let resolved = store.resolve(&[id]).await.unwrap().remove(0);
        let Resolved::Send(target) = resolved else { panic!("{resolved:?}") };
        assert!(target.address.expose().starts_with("https://sealed.invalid/"));
    }
    // Nor is a seal sealed again, which no key would open to an address.
    let again = store.create(PROJECT, named("again", [mine.clone()])).await;
    assert_eq!(again.unwrap_err().kind(), ErrorKind::Invalid);
}
