use std::time::Duration;

use harbor_webhook::delivery::State;
use harbor_webhook::delivery::retry::Schedule;
use harbor_webhook::store::{Filter, Page};
use harbor_webhook::transport::DestinationPolicy;
use harbor_webhook::{Settings, Webhooks};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub(crate) fn impatient() -> Settings {
    let mut settings = Settings::harbor();
    settings.retry.schedule = Schedule::Delays { delays: vec![Duration::from_millis(30)], jitter: 0.0 };
    settings
}

pub(crate) fn loopback() -> DestinationPolicy {
    DestinationPolicy::public_addresses().allow_network("127.0.0.0/8").unwrap()
}

/// `run`, until it is told to stop.
pub(crate) struct Running {
    stop: oneshot::Sender<()>,
    task: JoinHandle<harbor_webhook::Result<()>>,
}

impl Running {
    pub(crate) fn start(hooks: &Webhooks) -> Self {
        let (stop, stopped) = oneshot::channel();
        let hooks = hooks.clone();
        Self { stop, task: tokio::spawn(async move { hooks.run(stopped).await }) }
    }

    pub(crate) async fn stop(self) {
        let _ = self.stop.send(());
        self.task.await.unwrap().unwrap();
    }
}

/// Waits until every delivery has come to its end, and gives the newest one's state.
pub(crate) async fn end_state(hooks: &Webhooks) -> State {
    let wait = async {
        loop {
            let all = hooks.deliveries(&Filter::all(), Page::first(100)).await.unwrap();
            if !all.is_empty() && all.iter().all(|delivery| delivery.state.is_final()) {
                return all[0].state;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), wait).await.expect("the deliveries come to an end")
}
