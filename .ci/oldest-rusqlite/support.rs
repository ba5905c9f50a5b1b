#[allow(dead_code)] // other tests use all of it
#[path = "../../tests/it/support/events.rs"]
pub(crate) mod events;
#[path = "../../tests/it/support/stores.rs"]
pub(crate) mod stores;
