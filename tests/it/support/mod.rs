pub(crate) mod events;
#[cfg(feature = "postgres")]
pub(crate) mod postgres;
pub(crate) mod receiver;
pub(crate) mod sending;
pub(crate) mod stores;
