//! What Harbor does not have: the history as it is kept, what operators do to it, and how it goes.

pub(super) mod deliveries;
mod explained;
pub(super) mod overview;
pub(super) mod policies;
pub(super) mod session;
mod shown;
