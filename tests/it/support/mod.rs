pub(crate) mod events;
pub(crate) mod receiver;
pub(crate) mod stores;
